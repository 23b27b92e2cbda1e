/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of cgroup v1, which the OCI specification speaks, as values of v2. The formulas are those
 * of crun(1) and runc, since monitoring reads the files and compares; cpu.shares is a curve through
 * its smallest (2 is 1), default (1024 is 100) and largest value (262144 is 10000).
 */
#include <string.h>

#include "cgroups/internal.h"

/*
 * log2 of x, 1 at least, to some 45 bits: squaring a number in [1, 2) doubles its logarithm, whose
 * next binary digit is whether the square reached 2. So libm is not linked for one formula.
 */
static double log2_of(uint64_t x)
{
	int whole = 63 - __builtin_clzll(x);
	double m = (double)x / (double)(1ULL << whole), log = whole, digit = 1;

	for (int i = 0; i < 45; i++) {
		m *= m;
		digit /= 2;
		if (m >= 2) {
			m /= 2;
			log += digit;
		}
	}
	return log;
}

unsigned cgroup_weight_of_shares(uint64_t shares)
{
	static const double log2_of_10 = 3.32192809488736234787;
	unsigned low = 1, high = 10000;
	double l, wanted;

	if (shares <= 2)
		return 1;
	if (shares >= 262144)
		return 10000;
	l = log2_of(shares);
	wanted = ((l * l + 125 * l) / 612 - 7.0 / 34) * log2_of_10;
	/* The smallest weight not below; the small term keeps 1024 from becoming 101 by rounding. */
	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (log2_of(middle) + 1e-9 >= wanted)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

unsigned cgroup_io_weight(unsigned blkio_weight)
{
	if (blkio_weight < 10)
		blkio_weight = 10;
	if (blkio_weight > 1000)
		blkio_weight = 1000;
	return 1 + (blkio_weight - 10) * 9999 / 990;
}

int cgroup_swap_max(int64_t limit, int64_t swap, int64_t *swap_max, struct error *err)
{
	if (swap < 0) {
		*swap_max = -1;
		return 0;
	}
	if (limit < 0)
		return error_set(err, EINVAL,
				 "cgroup: linux.resources.memory.swap is %lld, memory plus swap, "
				 "but the memory has no limit; set memory.limit, too",
				 (long long)swap);
	if (swap < limit)
		return error_set(err, EINVAL,
				 "cgroup: linux.resources.memory.swap is %lld, memory plus swap, "
				 "and below memory.limit, %lld; give at least that",
				 (long long)swap, (long long)limit);
	*swap_max = swap - limit;
	return 0;
}

bool cgroup_page_size_valid(const char *page_size)
{
	size_t digits = strspn(page_size, "0123456789");

	return digits > 0 && digits < 8 &&
	       (strcmp(page_size + digits, "KB") == 0 || strcmp(page_size + digits, "MB") == 0 ||
		strcmp(page_size + digits, "GB") == 0);
}
