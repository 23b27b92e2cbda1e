/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources as properties of a systemd unit, as far as it has them. What it has not (huge
 * pages, RDMA, throttled devices, in v2 the device filter) it does not touch either, so that it need not
 * know: our own writes to the cgroup's files stay.
 *
 * Source: systemd.resource-control(5); bus_cgroup_set_property() in systemd's dbus-cgroup.c for types.
 */
#include <inttypes.h>
#include <string.h>

#include "base/number.h"
#include "cgroups/internal.h"
#include "cgroups/systemd.h"

#define INFINITE   UINT64_MAX
#define SHARES_MIN 2 /* the kernel's bounds of cpu.shares, which systemd insists on */
#define SHARES_MAX 262144

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
	char text[SYSTEMD_MASK_TEXT];
	unsigned bytes;
	int len = list && *list ? systemd_cpu_mask(list, text, &bytes) : 0;

	if (len < 0)
		return error_set(err, EINVAL,
				 "cgroup: linux.resources.%s `%.64s` is not a list like `0-3,7`; "
				 "correct it",
				 property, list);
	if (!len)
		return 0;
	systemd_request_add_array(request, name, "ay", bytes, text, (size_t)len);
	return 0;
}

static void add_cpu_quota(struct strbuf *request, const struct oci_cpu *c)
{
	if (c->quota.set && c->quota.v)
		add_quota(request, c->quota.v, c->period.set && c->period.v ? c->period.v : 100000);
}

static int add_cpu(struct strbuf *request, const struct oci_cpu *c, struct error *err)
{
	int r;

	/* An idle cgroup has no weight; 0 is how systemd (252 and later) says it. */
	if (c->idle.set && c->idle.v == 1)
		add_u64(request, "CPUWeight", 0);
	else if (c->shares.set && c->shares.v)
		add_u64(request, "CPUWeight", cgroup_weight_of_shares(c->shares.v));
	else if (c->idle.set)
		add_u64(request, "CPUWeight", INFINITE);
	add_cpu_quota(request, c);
	r = add_mask(request, "AllowedCPUs", "cpu.cpus", c->cpus, err);
	return r < 0 ? r : add_mask(request, "AllowedMemoryNodes", "cpu.mems", c->mems, err);
}

/* 0 is no value of systemd's; the nearest is what stays until the file is written again. */
static void add_pids(struct strbuf *request, const struct oci_pids *pids)
{
	if (pids)
		add_u64(request, "TasksMax", pids->limit == 0 ? 1 : limit_or_infinite(pids->limit));
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

/*
 * What systemd writes to files of v1: the values of v1. Its cpuset and its unified properties are for v2 alone, and the
 * rest of the memory it leaves alone.
 */
static void add_v1(struct strbuf *request, const struct oci_resources *res)
{
	const struct oci_cpu *c = res->cpu;
	bool idle = c && c->idle.set && c->idle.v == 1;

	if (res->memory && res->memory->limit.set && res->memory->limit.v)
		add_u64(request, "MemoryMax", limit_or_infinite(res->memory->limit.v));
	if (c && c->shares.set && c->shares.v && !idle)
		add_u64(request, "CPUShares",
			c->shares.v < SHARES_MIN   ? SHARES_MIN
			: c->shares.v > SHARES_MAX ? SHARES_MAX
						   : c->shares.v);
	if (c)
		add_cpu_quota(request, c);
	add_pids(request, res->pids);
	if (res->block_io && res->block_io->weight.set && res->block_io->weight.v)
		add_u64(request, "BlockIOWeight", res->block_io->weight.v);
}

int systemd_request_add_limits(struct strbuf *request, const struct oci_resources *res, bool v1,
			       struct error *err)
{
	int r = 0;

	if (res && v1)
		add_v1(request, res);
	if (!res || v1)
		return 0;
	if (res->memory)
		r = add_memory(request, res->memory, err);
	if (r == 0 && res->cpu)
		r = add_cpu(request, res->cpu, err);
	if (r < 0)
		return r;
	add_pids(request, res->pids);
	if (res->block_io && res->block_io->weight.set && res->block_io->weight.v)
		add_u64(request, "IOWeight", cgroup_io_weight(res->block_io->weight.v));
	return add_unified(request, &res->unified, err);
}

/* ---- devices ------------------------------------------------------------------------------ */

/* "/dev/char/1:3", "char-136" or "char-*", and letters; false: systemd has no words for all majors of one minor. */
static bool add_device(struct strbuf *fields, const struct cgroup_device_rule *rule)
{
	const char *kind = rule->type == 'b' ? "block" : "char";
	char device[64] = "", access[4] = "";

	if (rule->major < 0 && rule->minor >= 0)
		return false;
	if (rule->major < 0)
		snprintf(device, sizeof(device), "%s-*", kind);
	else if (rule->minor < 0)
		snprintf(device, sizeof(device), "%s-%" PRId64, kind, rule->major);
	else
		snprintf(device, sizeof(device), "/dev/%s/%" PRId64 ":%" PRId64, kind, rule->major,
			 rule->minor);
	snprintf(access, sizeof(access), "%s%s%s", rule->access & BPF_DEVCG_ACC_READ ? "r" : "",
		 rule->access & BPF_DEVCG_ACC_WRITE ? "w" : "",
		 rule->access & BPF_DEVCG_ACC_MKNOD ? "m" : "");
	strbuf_add(fields, device, strlen(device) + 1);
	strbuf_add(fields, access, strlen(access) + 1);
	return true;
}

int systemd_request_add_devices(struct strbuf *request, const struct oci_device_rules *configured,
				struct error *err)
{
	_cleanup_free_ struct cgroup_device_rule *rules = NULL, *exceptions = NULL;
	_cleanup_strbuf_ struct strbuf fields = { 0 };
	ssize_t n = cgroup_device_rules(configured, &rules, err);
	bool allow, said = true;

	if (n >= 0)
		n = cgroup_device_exceptions(rules, (size_t)n, &allow, &exceptions, err);
	if (n < 0)
		return (int)n;
	for (ssize_t i = 0; i < n; i++)
		said = said && add_device(&fields, &exceptions[i]);
	if (!said || (allow && n))
		return error_set(
			err, EOPNOTSUPP,
			"cgroup: linux.resources.devices: with cgroup v1, systemd can neither "
			"deny single devices nor allow one minor number of all majors; name "
			"the devices that are allowed, or leave out --systemd-cgroup");
	systemd_request_add(request, "DevicePolicy", "s", allow ? "auto" : "strict");
	/* An empty list takes the old one away. */
	systemd_request_add_array(request, "DeviceAllow", SYSTEMD_DEVICES, 0, NULL, 0);
	if (n)
		systemd_request_add_array(request, "DeviceAllow", SYSTEMD_DEVICES, (size_t)n,
					  fields.data, fields.len);
	return 0;
}
