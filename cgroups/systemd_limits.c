/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources as properties of a systemd unit, as far as it has them. What it has not (huge
 * pages, RDMA, throttled devices, the device filter) it does not touch either, so that it need not
 * know: our own writes to the cgroup's files stay.
 *
 * Source: systemd.resource-control(5); bus_cgroup_set_property() in systemd's dbus-cgroup.c for types.
 */
#include <inttypes.h>
#include <string.h>

#include "base/number.h"
#include "cgroups/internal.h"
#include "cgroups/systemd.h"

#define INFINITE UINT64_MAX

static void add_u64(struct strbuf *request, const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	systemd_request_add(request, name, "t", text);
}

static uint64_t limit_or_infinite(int64_t value)
{
	return value < 0 ? INFINITE : (uint64_t)value;
}

static int add_memory(struct strbuf *request, const struct oci_memory *m, struct error *err)
{
	bool limit = m->limit.set && m->limit.v, swap = m->swap.set && m->swap.v;
	int64_t swap_max = -1;

	if (swap) {
		int r = cgroup_swap_max(limit ? m->limit.v : -1, m->swap.v, &swap_max, err);

		if (r < 0)
			return r;
	}
	if (limit)
		add_u64(request, "MemoryMax", limit_or_infinite(m->limit.v));
	if (swap || (limit && m->limit.v < 0))
		add_u64(request, "MemorySwapMax", limit_or_infinite(swap_max));
	if (m->reservation.set && m->reservation.v)
		add_u64(request, "MemoryLow", limit_or_infinite(m->reservation.v));
	return 0;
}

/*
 * systemd keeps quotas as time a second and writes them with whole percents, so that they are
 * rounded up: the exact value is written by ourselves.
 */
static void add_quota(struct strbuf *request, int64_t quota, uint64_t period)
{
	uint64_t per_second = INFINITE, scaled;

	if (quota >= 0) {
		if (__builtin_mul_overflow((uint64_t)quota, 1000000ULL, &scaled))
			return;
		per_second = scaled / period;
		per_second += (10000 - per_second % 10000) % 10000;
	}
	add_u64(request, "CPUQuotaPeriodUSec", period);
	add_u64(request, "CPUQuotaPerSecUSec", per_second);
}

int systemd_cpu_mask(const char *list, char text[SYSTEMD_MASK_TEXT], unsigned *bytes)
{
	uint8_t mask[SYSTEMD_MASK_BYTES] = { 0 };
	size_t at = 0;

	*bytes = 0;
	while (*list) {
		size_t len = strcspn(list, ","), dash = strcspn(list, "-,");
		uint64_t first = 0, last;

		if (len && !parse_u64_n(list, dash, 8 * SYSTEMD_MASK_BYTES - 1, &first))
			return -EINVAL;
		last = len ? first : 0;
		if (len && dash < len &&
		    !parse_u64_n(list + dash + 1, len - dash - 1, 8 * SYSTEMD_MASK_BYTES - 1,
				 &last))
			return -EINVAL;
		for (uint64_t n = first; len && n <= last; n++)
			mask[n / 8] |= (uint8_t)(1U << n % 8);
		if (len && last / 8 + 1 > *bytes)
			*bytes = (unsigned)(last / 8 + 1);
		list += len + (list[len] == ',');
	}
	for (unsigned i = 0; i < *bytes; i++)
		at += (size_t)snprintf(text + at, SYSTEMD_MASK_TEXT - at, "%u", mask[i]) + 1;
	return (int)at;
}

static int add_mask(struct strbuf *request, const char *name, const char *property,
		    const char *list, struct error *err)
{
	char text[SYSTEMD_MASK_TEXT], count[16];
	unsigned bytes;
	int len = list && *list ? systemd_cpu_mask(list, text, &bytes) : 0;

	if (len < 0)
		return error_set(err, EINVAL,
				 "cgroup: linux.resources.%s `%.64s` is not a list like `0-3,7`; "
				 "correct it",
				 property, list);
	if (!len)
		return 0;
	snprintf(count, sizeof(count), "%u", bytes);
	strbuf_add(request, name, strlen(name) + 1);
	strbuf_add(request, "ay", sizeof("ay"));
	strbuf_add(request, count, strlen(count) + 1);
	strbuf_add(request, text, (size_t)len);
	return 0;
}

static int add_cpu(struct strbuf *request, const struct oci_cpu *c, struct error *err)
{
	bool quota = c->quota.set && c->quota.v;
	int r;

	/* An idle cgroup has no weight; 0 is how systemd (252 and later) says it. */
	if (c->idle.set && c->idle.v == 1)
		add_u64(request, "CPUWeight", 0);
	else if (c->shares.set && c->shares.v)
		add_u64(request, "CPUWeight", cgroup_weight_of_shares(c->shares.v));
	else if (c->idle.set)
		add_u64(request, "CPUWeight", INFINITE);
	if (quota)
		add_quota(request, c->quota.v, c->period.set && c->period.v ? c->period.v : 100000);
	r = add_mask(request, "AllowedCPUs", "cpu.cpus", c->cpus, err);
	return r < 0 ? r : add_mask(request, "AllowedMemoryNodes", "cpu.mems", c->mems, err);
}

/* ---- unified ------------------------------------------------------------------------------ */

static const struct {
	const char *file, *property;
} numbers[] = {
	{ "cpu.weight", "CPUWeight" },   { "io.weight", "IOWeight" },
	{ "memory.high", "MemoryHigh" }, { "memory.low", "MemoryLow" },
	{ "memory.max", "MemoryMax" },   { "memory.min", "MemoryMin" },
	{ "pids.max", "TasksMax" },      { "memory.swap.max", "MemorySwapMax" },
};

/* "QUOTA [PERIOD]"; what is not so is the kernel's to refuse. */
static void add_cpu_max(struct strbuf *request, const char *value)
{
	size_t len = strcspn(value, " ");
	uint64_t quota = 0, period = 100000;
	bool none = len == 3 && !strncmp(value, "max", 3);

	if (!none && !parse_u64_n(value, len, INT64_MAX, &quota))
		return;
	if (value[len] && (!parse_u64(value + len + 1, 1000000, &period) || !period))
		return;
	add_quota(request, none ? -1 : (int64_t)quota, period);
}

static int add_unified(struct strbuf *request, const struct oci_map *unified, struct error *err)
{
	for (size_t i = 0; i < unified->len; i++) {
		const char *file = unified->items[i].key, *value = unified->items[i].value;
		uint64_t number;
		int r = 0;

		for (size_t n = 0; n < ARRAY_SIZE(numbers); n++) {
			if (strcmp(file, numbers[n].file))
				continue;
			if (!strcmp(value, "max"))
				add_u64(request, numbers[n].property, INFINITE);
			else if (parse_u64(value, INT64_MAX, &number))
				add_u64(request, numbers[n].property, number);
		}
		if (!strcmp(file, "cpu.max"))
			add_cpu_max(request, value);
		else if (!strcmp(file, "cpuset.cpus"))
			r = add_mask(request, "AllowedCPUs", "unified.cpuset.cpus", value, err);
		else if (!strcmp(file, "cpuset.mems"))
			r = add_mask(request, "AllowedMemoryNodes", "unified.cpuset.mems", value,
				     err);
		if (r < 0)
			return r;
	}
	return 0;
}

int systemd_request_add_limits(struct strbuf *request, const struct oci_resources *res,
			       struct error *err)
{
	int r = 0;

	if (!res)
		return 0;
	if (res->memory)
		r = add_memory(request, res->memory, err);
	if (r == 0 && res->cpu)
		r = add_cpu(request, res->cpu, err);
	if (r < 0)
		return r;
	/* 0 is no value of systemd's; the nearest is what stays until the file is written again. */
	if (res->pids)
		add_u64(request, "TasksMax",
			res->pids->limit == 0 ? 1 : limit_or_infinite(res->pids->limit));
	if (res->block_io && res->block_io->weight.set && res->block_io->weight.v)
		add_u64(request, "IOWeight", cgroup_io_weight(res->block_io->weight.v));
	return add_unified(request, &res->unified, err);
}
