/* SPDX-License-Identifier: Apache-2.0 */
/* Strict decimal numbers; see number.h. */
#include "base/number.h"

#include <string.h>
#include <sys/random.h>

bool parse_u64_n(const char *s, unsigned long len, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (!len)
		return false;
	for (unsigned long i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return false;
	}
	if (v > max)
		return false;
	*value = v;
	return true;
}

bool parse_u64(const char *s, uint64_t max, uint64_t *value)
{
	return parse_u64_n(s, strlen(s), max, value);
}

bool parse_i64(const char *s, int64_t *value)
{
	bool negative = s[0] == '-';
	uint64_t v;

	if (!parse_u64(s + negative, (uint64_t)INT64_MAX + negative, &v))
		return false;
	*value = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

/* "3" or "0-3" in the len bytes at s, with blanks around. */
static bool parse_range(const char *s, size_t len, uint64_t max, uint64_t *first, uint64_t *last)
{
	const char *dash;

	while (len && *s == ' ') {
		s++;
		len--;
	}
	while (len && s[len - 1] == ' ')
		len--;
	dash = memchr(s, '-', len);
	if (!dash)
		return parse_u64_n(s, len, max, first) && parse_u64_n(s, len, max, last);
	return parse_u64_n(s, (size_t)(dash - s), max, first) &&
	       parse_u64_n(dash + 1, (size_t)(s + len - dash - 1), max, last) && *first <= *last;
}

bool parse_list(const char *s, unsigned long *bits, size_t count)
{
	const size_t word = 8 * sizeof(*bits);

	for (;; s++) {
		size_t len = strcspn(s, ",");
		uint64_t first, last;

		if (!parse_range(s, len, count - 1, &first, &last))
			return false;
		for (uint64_t n = first; n <= last; n++)
			bits[n / word] |= 1UL << n % word;
		s += len;
		if (!*s)
			return true;
	}
}

bool parse_size(const char *s, uint64_t max, uint64_t *bytes)
{
	static const char units[] = "bkmgt";
	size_t len = strlen(s);
	const char *unit = len ? strchr(units, s[len - 1] | 0x20) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units) : 0;

	/* A digit with that bit is itself. */
	if (!parse_u64_n(s, unit ? len - 1 : len, max >> shift, bytes))
		return false;
	*bytes <<= shift;
	return true;
}

int random_hex(char *hex, size_t digits, struct error *err)
{
	unsigned char bytes[32];
	size_t len = digits / 2;

	if (len > sizeof(bytes) || getrandom(bytes, len, 0) != (ssize_t)len)
		return error_errno(err, EIO, "get random bytes");
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}
