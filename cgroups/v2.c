/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits by the files of cgroup v2. What the OCI specification names after v1 is converted; what v2
 * cannot express is an error, never skipped. `unified` is written as it is given.
 *
 * Source: Documentation/admin-guide/cgroup-v2.rst.
 */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "cgroups/internal.h"

/* Fails for a property that only cgroup v1 can enforce. */
static int v1_only(const char *property, const char *instead, struct error *err)
{
	return error_set(
		err, EOPNOTSUPP,
		"cgroup: linux.resources.%s cannot be enforced by cgroup v2, which this host "
		"uses; %s",
		property, instead);
}

/* "max" or the number. */
static const char *limit_text(int64_t value, char text[32])
{
	if (value < 0)
		return "max";
	snprintf(text, 32, "%lld", (long long)value);
	return text;
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Reads a file of one number; "max" is -1. */
static int read_limit(const struct cgroup *cg, int h, const char *file, int64_t *value,
		      struct error *err)
{
	char text[32];
	ssize_t n = file_read_small(cg->dirs[h], file, text, sizeof(text), err);

	if (n < 0)
		return (int)n;
	*value = -1;
	if (strcmp(text, "max") != 0 && !parse_i64(text, value))
		return error_set(err, EINVAL, "cgroup: `%s` holds `%s`, not a number", file, text);
	return 0;
}

/* checkBeforeUpdate: v2 would enforce a limit below the usage by killing; v1 refused it. */
static int check_usage(const struct cgroup *cg, int h, const char *property, const char *file,
		       int64_t limit, struct error *err)
{
	int64_t usage;
	int r;

	if (limit < 0)
		return 0;
	r = read_limit(cg, h, file, &usage, err);
	if (r == -ENOENT) /* nothing is counted, so nothing is used */
		return 0;
	if (r < 0)
		return r;
	if (usage <= limit)
		return 0;
	return error_set(
		err, EBUSY,
		"cgroup: linux.resources.%s would be %lld, but the container uses %lld bytes, "
		"and checkBeforeUpdate is set; free some first or raise the limit",
		property, (long long)limit, (long long)usage);
}

/* The swap limit of v2 for the given one, which includes memory. *any: whether there is one to write. */
static int find_swap(const struct cgroup *cg, int h, const struct oci_memory *m, int64_t *swap,
		     bool *any, struct error *err)
{
	int64_t limit = m->limit.v;
	int r;

	*any = true;
	*swap = -1;
	if (!m->swap.set || m->swap.v == 0) {
		/* As in v1, memory without a limit has no limit with swap either. */
		*any = m->limit.set && m->limit.v < 0;
		return 0;
	}
	if (m->swap.v > 0 && (!m->limit.set || m->limit.v == 0)) {
		r = read_limit(cg, h, "memory.max", &limit, err);
		if (r < 0)
			return r;
	}
	return cgroup_swap_max(limit, m->swap.v, swap, err);
}

static int write_swap(const struct cgroup *cg, int h, int64_t swap, struct error *err)
{
	char text[32];
	const char *value = limit_text(swap, text);
	int r = cgroup_try_write(cg, h, "memory.swap.max", value);

	/* Without swap accounting "no limit" is the case anyway. So is 0 where there is no swap. */
	if (r == -ENOENT && (swap < 0 || (swap == 0 && access("/proc/swaps", F_OK) < 0)))
		return 0;
	return r < 0 ? cgroup_write_failed(cg, h, "memory.swap", "memory.swap.max", value, -r, err)
		     : 0;
}

int cgroup_v2_memory(const struct cgroup *cg, int h, const struct oci_memory *m, struct error *err)
{
	bool has_swap;
	char text[32];
	int64_t swap;
	int r;

	if (m->swappiness.set)
		return v1_only(
			"memory.swappiness",
			"remove it, and limit swap by memory.swap (equal to memory.limit: none)",
			err);
	if (m->disable_oom_killer.set && m->disable_oom_killer.v)
		return v1_only("memory.disableOOMKiller",
			       "remove it, and protect a process by process.oomScoreAdj", err);
	r = find_swap(cg, h, m, &swap, &has_swap, err);
	if (r == 0 && m->check_before_update.set && m->check_before_update.v) {
		if (m->limit.set && m->limit.v)
			r = check_usage(cg, h, "memory.limit", "memory.current", m->limit.v, err);
		if (r == 0 && has_swap)
			r = check_usage(cg, h, "memory.swap", "memory.swap.current", swap, err);
	}
	if (r == 0 && has_swap)
		r = write_swap(cg, h, swap, err);
	if (r == 0 && m->limit.set && m->limit.v)
		r = cgroup_write(cg, h, "memory.limit", "memory.max", limit_text(m->limit.v, text),
				 err);
	if (r == 0 && m->reservation.set && m->reservation.v)
		r = cgroup_write(cg, h, "memory.reservation", "memory.low",
				 limit_text(m->reservation.v, text), err);
	return r;
}

/* ---- cpu ---------------------------------------------------------------------------------- */

/* cpu.max is "QUOTA PERIOD"; of a period alone, the quota stays as it is. */
static int add_cpu_max(const struct cgroup *cg, int h, const struct oci_cpu *c,
		       struct cgroup_setting *s, size_t *n, struct error *err)
{
	bool has_quota = c->quota.set && c->quota.v, has_period = c->period.set && c->period.v;
	char quota[64] = "max", text[32];

	if (!has_quota && !has_period)
		return 0;
	if (has_quota) {
		snprintf(quota, sizeof(quota), "%s", limit_text(c->quota.v, text));
	} else {
		ssize_t r = file_read_small(cg->dirs[h], "cpu.max", quota, sizeof(quota), err);

		if (r < 0)
			return error_wrap(err, "cgroup: linux.resources.cpu.period"), (int)r;
		quota[strcspn(quota, " ")] = '\0';
	}
	if (has_period)
		cgroup_setting_add(s, n, has_quota ? "cpu.quota" : "cpu.period", "cpu.max",
				   "%s %llu", quota, (unsigned long long)c->period.v);
	else
		cgroup_setting_add(s, n, "cpu.quota", "cpu.max", "%s", quota);
	return 0;
}

int cgroup_v2_cpu(const struct cgroup *cg, int h, const struct oci_cpu *c, struct error *err)
{
	static const char no_rt[] =
		"remove it: v2 schedules real-time processes without a limit per cgroup";
	struct cgroup_setting s[4];
	size_t n = 0;
	int r;

	if (c->realtime_runtime.set && c->realtime_runtime.v)
		return v1_only("cpu.realtimeRuntime", no_rt, err);
	if (c->realtime_period.set && c->realtime_period.v)
		return v1_only("cpu.realtimePeriod", no_rt, err);
	if (c->shares.set && c->shares.v)
		cgroup_setting_add(s, &n, "cpu.shares", "cpu.weight", "%u",
				   cgroup_weight_of_shares(c->shares.v));
	r = add_cpu_max(cg, h, c, s, &n, err);
	if (r < 0)
		return r;
	if (c->burst.set)
		cgroup_setting_add(s, &n, "cpu.burst", "cpu.max.burst", "%llu",
				   (unsigned long long)c->burst.v);
	if (c->idle.set)
		cgroup_setting_add(s, &n, "cpu.idle", "cpu.idle", "%lld", (long long)c->idle.v);
	return cgroup_write_settings(cg, h, s, n, err);
}

/* ---- io ----------------------------------------------------------------------------------- */

/*
 * Two mechanisms weigh I/O: the BFQ scheduler (io.bfq.weight, as v1's) and io.cost (io.weight).
 * Which one a disk uses is the host's choice, so both are told, and one must have taken it.
 * device: "8:0 ", or "" for all.
 */
static int write_weight(const struct cgroup *cg, int h, const char *property, const char *device,
			unsigned weight, struct error *err)
{
	char value[64];
	int bfq, cost;

	snprintf(value, sizeof(value), "%s%u", device, weight);
	bfq = cgroup_try_write(cg, h, "io.bfq.weight", value);
	snprintf(value, sizeof(value), "%s%u", device, cgroup_io_weight(weight));
	cost = cgroup_try_write(cg, h, "io.weight", value);
	if (bfq == 0 || cost == 0)
		return 0;
	return cgroup_write_failed(cg, h, property, "io.weight", value, -cost, err);
}

static int write_weight_devices(const struct cgroup *cg, int h,
				const struct oci_weight_devices *devices, struct error *err)
{
	for (size_t i = 0; i < devices->len; i++) {
		const struct oci_weight_device *d = &devices->items[i];
		char device[48];
		int r;

		if (d->leaf_weight.set && d->leaf_weight.v)
			return v1_only("blockIO.weightDevice.leafWeight",
				       "remove it, and use weight", err);
		if (!d->weight.set || !d->weight.v)
			continue;
		snprintf(device, sizeof(device), "%lld:%lld ", (long long)d->major,
			 (long long)d->minor);
		r = write_weight(cg, h, "blockIO.weightDevice", device, d->weight.v, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_throttle(const struct cgroup *cg, int h, const char *property, const char *key,
			  const struct oci_throttle_devices *devices, struct error *err)
{
	for (size_t i = 0; i < devices->len; i++) {
		const struct oci_throttle_device *d = &devices->items[i];
		char value[96], rate[32] = "max";
		int r;

		if (!d->rate.set)
			continue;
		if (d->rate.v) /* 0 lifts the limit in v1, and is refused in v2 */
			snprintf(rate, sizeof(rate), "%llu", (unsigned long long)d->rate.v);
		snprintf(value, sizeof(value), "%lld:%lld %s=%s", (long long)d->major,
			 (long long)d->minor, key, rate);
		r = cgroup_write(cg, h, property, "io.max", value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int cgroup_v2_block_io(const struct cgroup *cg, int h, const struct oci_block_io *b,
		       struct error *err)
{
	const struct {
		const char *property, *key;
		const struct oci_throttle_devices *devices;
	} throttles[] = {
		{ "blockIO.throttleReadBpsDevice", "rbps", &b->throttle_read_bps },
		{ "blockIO.throttleWriteBpsDevice", "wbps", &b->throttle_write_bps },
		{ "blockIO.throttleReadIOPSDevice", "riops", &b->throttle_read_iops },
		{ "blockIO.throttleWriteIOPSDevice", "wiops", &b->throttle_write_iops },
	};
	int r = 0;

	if (b->leaf_weight.set && b->leaf_weight.v)
		return v1_only("blockIO.leafWeight", "remove it, and use blockIO.weight", err);
	if (b->weight.set && b->weight.v)
		r = write_weight(cg, h, "blockIO.weight", "", b->weight.v, err);
	if (r == 0)
		r = write_weight_devices(cg, h, &b->weight_device, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(throttles); i++)
		r = write_throttle(cg, h, throttles[i].property, throttles[i].key,
				   throttles[i].devices, err);
	return r;
}

/* ---- hugetlb ------------------------------------------------------------------------------ */

int cgroup_v2_hugetlb(const struct cgroup *cg, int h, const struct oci_hugepage_limits *limits,
		      struct error *err)
{
	for (size_t i = 0; i < limits->len; i++) {
		const struct oci_hugepage_limit *l = &limits->items[i];
		char file[48], value[32];
		int r;

		snprintf(value, sizeof(value), "%llu", (unsigned long long)l->limit);
		/* As in v1: with it mmap fails beyond the limit, without it a page fault kills. */
		snprintf(file, sizeof(file), "hugetlb.%s.rsvd.max", l->page_size);
		r = cgroup_try_write(cg, h, file, value);
		if (r < 0 && r != -ENOENT)
			return cgroup_write_failed(cg, h, "hugepageLimits", file, value, -r, err);
		snprintf(file, sizeof(file), "hugetlb.%s.max", l->page_size);
		r = cgroup_write(cg, h, "hugepageLimits", file, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- unified ------------------------------------------------------------------------------ */

/*
 * A key is the name of a file in the cgroup, and config.json may come from an attacker: a "/" would
 * lead out of the cgroup. Nor may it move processes or end them.
 */
static int check_key(const char *key, struct error *err)
{
	static const char *const refused[] = { "cgroup.procs", "cgroup.threads", "cgroup.kill" };
	bool bad = !*key || *key == '.' || strlen(key) > 64 || strchr(key, '/') ||
		   strchr(key, '\n') || !strchr(key, '.');

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		bad = bad || strcmp(key, refused[i]) == 0;
	if (bad)
		return error_set(
			err, EINVAL,
			"cgroup: linux.resources.unified: `%.64s` is not the name of a limit "
			"of cgroup v2, as `memory.high` is; correct it",
			key);
	return 0;
}

/* Files as io.max take one line a write. */
static int write_lines(const struct cgroup *cg, int h, const char *property, const char *file,
		       const char *value, struct error *err)
{
	char line[4096]; /* the kernel takes no more than a page */
	int r = 0;

	if (!strchr(value, '\n'))
		return cgroup_write(cg, h, property, file, value, err);
	while (r == 0 && *value) {
		size_t len = strcspn(value, "\n");

		if (len >= sizeof(line))
			return error_errno(err, E2BIG, "cgroup: linux.resources.%s", property);
		memcpy(line, value, len);
		line[len] = '\0';
		if (len)
			r = cgroup_write(cg, h, property, file, line, err);
		value += len;
		value += strspn(value, "\n");
	}
	return r;
}

int cgroup_v2_unified(const struct cgroup *cg, const struct oci_map *unified, struct error *err)
{
	int h = cgroup_v2_find(cg->host);

	for (size_t i = 0; i < unified->len; i++) {
		const struct oci_map_entry *entry = &unified->items[i];
		char property[96], controller[80];
		int r = check_key(entry->key, err);

		if (r < 0)
			return r;
		snprintf(property, sizeof(property), "unified.%s", entry->key);
		if (h < 0 || cg->dirs[h] < 0)
			return error_set(
				err, EOPNOTSUPP,
				"cgroup: linux.resources.%s needs cgroup v2, which is not "
				"mounted on this host (layout: %s); mount it, or give the limit "
				"by its v1 property",
				property, cgroup_layout_name(cg->host->layout));
		snprintf(controller, sizeof(controller), "%.*s", (int)strcspn(entry->key, "."),
			 entry->key);
		/* Some files, as cpu.pressure, are there without the controller of their name. */
		if (strcmp(controller, "cgroup") != 0 &&
		    faccessat(cg->dirs[h], entry->key, F_OK, 0) < 0) {
			r = cgroup_v2_require(cg, controller, property, err);
			if (r < 0)
				return r;
		}
		r = write_lines(cg, h, property, entry->key, entry->value, err);
		if (r < 0)
			return r;
	}
	return 0;
}
