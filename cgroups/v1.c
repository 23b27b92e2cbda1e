/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits by the files of cgroup v1. Their names and units are those of the OCI specification, which
 * was written for them; what needs care is the order of writes, and kernels that lack a file.
 *
 * Sources: Documentation/admin-guide/cgroup-v1/{memory,cpusets,blkio-controller,hugetlb}.rst,
 * Documentation/scheduler/{sched-bwc,sched-rt-group}.rst.
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "cgroups/internal.h"

/* ---- cpuset ------------------------------------------------------------------------------- */

/* Lists of processors on a large machine are long; the kernel shows at most a page. */
#define CPUSET_LIST_MAX 4096

static int read_list(const char *dir, const char *file, char list[CPUSET_LIST_MAX],
		     struct error *err)
{
	char full[CGROUP_FULL_MAX + 32];

	snprintf(full, sizeof(full), "%s/%s", dir, file);
	return (int)file_read_small(AT_FDCWD, full, list, CPUSET_LIST_MAX, err);
}

/*
 * Fills file in the directories from full up to the first that has a list, then down again. The
 * mount's root (its path is mount_len long) always has one.
 */
static int fill_list(char *full, size_t mount_len, const char *file, struct error *err)
{
	size_t len = strlen(full), end = len;
	char list[CPUSET_LIST_MAX];
	int r;

	for (;;) {
		r = read_list(full, file, list, err);
		if (r != 0 || end <= mount_len)
			break;
		while (end > mount_len && full[end] != '/')
			end--;
		full[end] = '\0';
	}
	while (r >= 0 && end < len) {
		char name[CGROUP_FULL_MAX + 32];

		full[end] = '/';
		end += strlen(full + end);
		snprintf(name, sizeof(name), "%s/%s", full, file);
		r = file_write_existing(AT_FDCWD, name, list, err);
	}
	return r < 0 ? r : 0;
}

int cgroup_v1_fill_cpuset(const struct cgroup_host *host, int h, const char *path,
			  struct error *err)
{
	size_t mount_len = strlen(host->hierarchies[h].mount);
	char full[CGROUP_FULL_MAX];
	int r;

	cgroup_full_path(host, h, path, full);
	r = fill_list(full, mount_len, "cpuset.cpus", err);
	if (r == 0)
		r = fill_list(full, mount_len, "cpuset.mems", err);
	if (r < 0)
		error_wrap(err, "cgroup: fill the cpuset of `%s` from its parent's", full);
	return r;
}

/* ---- memory ------------------------------------------------------------------------------- */

/*
 * limit must never exceed memsw, which is memory plus swap: lowering takes the limit first, raising
 * memsw. cgroup_write_settings() finds the order. A memsw of -1 is also right where the kernel does
 * not account swap.
 */
static int write_limits(const struct cgroup *cg, int h, const struct oci_memory *m,
			struct error *err)
{
	static const char memsw[] = "memory.memsw.limit_in_bytes";
	bool limit = m->limit.set && m->limit.v, swap = m->swap.set && m->swap.v;
	struct cgroup_setting settings[2];
	size_t n = 0;

	if (limit && swap && m->swap.v > 0 && m->limit.v > m->swap.v) {
		int64_t unused;

		return cgroup_swap_max(m->limit.v, m->swap.v, &unused, err);
	}
	/* Memory without a limit and memory plus swap with one cannot be: lift that, too. */
	if ((swap && m->swap.v < 0) || (limit && m->limit.v < 0 && !swap)) {
		int r = cgroup_try_write(cg, h, memsw, "-1");

		if (r < 0 && r != -ENOENT)
			return cgroup_write_failed(cg, h, "memory.swap", memsw, "-1", -r, err);
		swap = false;
	}
	if (limit)
		cgroup_setting_add(settings, &n, "memory.limit", "memory.limit_in_bytes", "%lld",
				   m->limit.v < 0 ? -1LL : (long long)m->limit.v);
	if (swap)
		cgroup_setting_add(settings, &n, "memory.swap", memsw, "%lld",
				   (long long)m->swap.v);
	return cgroup_write_settings(cg, h, settings, n, err);
}

/*
 * Limits of kernel memory, from which the kernel withdraws file by file: memory.kmem has no effect
 * since 5.16, whatever is written, memory.kmem.tcp still has one.
 */
static int write_kernel_limit(const struct cgroup *cg, int h, const char *property,
			      const char *file, struct opt_i64 limit, struct error *err)
{
	static const char unlimited[] = "9223372036854771712"; /* as far as pages can be counted */
	char value[32], now[32] = "";
	int r;

	if (!limit.set || !limit.v)
		return 0;
	snprintf(value, sizeof(value), "%lld", limit.v < 0 ? -1LL : (long long)limit.v);
	r = cgroup_try_write(cg, h, file, value);
	if (r < 0 && r != -ENOENT && r != -EOPNOTSUPP)
		return cgroup_write_failed(cg, h, property, file, value, -r, err);
	if (r == 0 && limit.v > 0)
		file_read_small(cg->dirs[h], file, now, sizeof(now), NULL);
	if (r < 0 || strcmp(now, unlimited) == 0)
		cgroup_warn_ignored(property, CGROUP_KERNEL_MEMORY_GONE);
	return 0;
}

int cgroup_v1_memory(const struct cgroup *cg, int h, const struct oci_memory *m, struct error *err)
{
	char value[32];
	int r;

	/*
	 * Kernels before 5.11 count a cgroup without those that the container makes below it, unless
	 * told so while it has none; a limit would be evaded by mkdir. Later ones always do.
	 */
	if (m->limit.set && m->limit.v)
		cgroup_try_write(cg, h, "memory.use_hierarchy", "1");
	r = write_limits(cg, h, m, err);
	if (r == 0 && m->reservation.set && m->reservation.v) {
		snprintf(value, sizeof(value), "%lld",
			 m->reservation.v < 0 ? -1LL : (long long)m->reservation.v);
		r = cgroup_write(cg, h, "memory.reservation", "memory.soft_limit_in_bytes", value,
				 err);
	}
	if (r == 0 && m->swappiness.set) {
		if (m->swappiness.v > 100)
			return error_set(
				err, EINVAL,
				"cgroup: linux.resources.memory.swappiness is %llu; give 0 "
				"to 100",
				(unsigned long long)m->swappiness.v);
		snprintf(value, sizeof(value), "%u", (unsigned)m->swappiness.v);
		r = cgroup_write(cg, h, "memory.swappiness", "memory.swappiness", value, err);
	}
	if (r == 0 && m->disable_oom_killer.set)
		r = cgroup_write(cg, h, "memory.disableOOMKiller", "memory.oom_control",
				 m->disable_oom_killer.v ? "1" : "0", err);
	if (r == 0)
		r = write_kernel_limit(cg, h, "memory.kernel", "memory.kmem.limit_in_bytes",
				       m->kernel, err);
	if (r == 0)
		r = write_kernel_limit(cg, h, "memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes",
				       m->kernel_tcp, err);
	return r;
}

/* ---- cpu ---------------------------------------------------------------------------------- */

int cgroup_v1_cpu(const struct cgroup *cg, int h, const struct oci_cpu *c, struct error *err)
{
	struct cgroup_setting s[7];
	size_t n = 0;

	if (c->shares.set && c->shares.v)
		cgroup_setting_add(s, &n, "cpu.shares", "cpu.shares", "%llu",
				   (unsigned long long)c->shares.v);
	if (c->period.set && c->period.v)
		cgroup_setting_add(s, &n, "cpu.period", "cpu.cfs_period_us", "%llu",
				   (unsigned long long)c->period.v);
	if (c->quota.set && c->quota.v)
		cgroup_setting_add(s, &n, "cpu.quota", "cpu.cfs_quota_us", "%lld",
				   c->quota.v < 0 ? -1LL : (long long)c->quota.v);
	if (c->burst.set)
		cgroup_setting_add(s, &n, "cpu.burst", "cpu.cfs_burst_us", "%llu",
				   (unsigned long long)c->burst.v);
	if (c->realtime_period.set && c->realtime_period.v)
		cgroup_setting_add(s, &n, "cpu.realtimePeriod", "cpu.rt_period_us", "%llu",
				   (unsigned long long)c->realtime_period.v);
	if (c->realtime_runtime.set && c->realtime_runtime.v)
		cgroup_setting_add(s, &n, "cpu.realtimeRuntime", "cpu.rt_runtime_us", "%lld",
				   (long long)c->realtime_runtime.v);
	if (c->idle.set)
		cgroup_setting_add(s, &n, "cpu.idle", "cpu.idle", "%lld", (long long)c->idle.v);
	return cgroup_write_settings(cg, h, s, n, err);
}

/* ---- blkio -------------------------------------------------------------------------------- */

/* Weights are the I/O scheduler's: files of CFQ in old kernels, of BFQ in new ones. */
static int write_weight(const struct cgroup *cg, int h, const char *property, const char *file,
			const char *bfq_file, const char *value, struct error *err)
{
	int r = cgroup_try_write(cg, h, file, value);

	if (r == -ENOENT && bfq_file)
		r = cgroup_try_write(cg, h, bfq_file, value);
	return r < 0 ? cgroup_write_failed(cg, h, property, file, value, -r, err) : 0;
}

static int write_weight_devices(const struct cgroup *cg, int h,
				const struct oci_weight_devices *devices, struct error *err)
{
	for (size_t i = 0; i < devices->len; i++) {
		const struct oci_weight_device *d = &devices->items[i];
		char value[64];
		int r = 0;

		if (d->weight.set && d->weight.v) {
			snprintf(value, sizeof(value), "%lld:%lld %u", (long long)d->major,
				 (long long)d->minor, d->weight.v);
			r = write_weight(cg, h, "blockIO.weightDevice", "blkio.weight_device",
					 "blkio.bfq.weight_device", value, err);
		}
		if (r == 0 && d->leaf_weight.set && d->leaf_weight.v) {
			snprintf(value, sizeof(value), "%lld:%lld %u", (long long)d->major,
				 (long long)d->minor, d->leaf_weight.v);
			r = write_weight(cg, h, "blockIO.weightDevice", "blkio.leaf_weight_device",
					 NULL, value, err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_throttle(const struct cgroup *cg, int h, const char *property, const char *file,
			  const struct oci_throttle_devices *devices, struct error *err)
{
	for (size_t i = 0; i < devices->len; i++) {
		const struct oci_throttle_device *d = &devices->items[i];
		char value[64];
		int r;

		if (!d->rate.set)
			continue;
		snprintf(value, sizeof(value), "%lld:%lld %llu", (long long)d->major,
			 (long long)d->minor, (unsigned long long)d->rate.v);
		r = cgroup_write(cg, h, property, file, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int cgroup_v1_block_io(const struct cgroup *cg, int h, const struct oci_block_io *b,
		       struct error *err)
{
	const struct {
		const char *property, *file;
		const struct oci_throttle_devices *devices;
	} throttles[] = {
		{ "blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device",
		  &b->throttle_read_bps },
		{ "blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device",
		  &b->throttle_write_bps },
		{ "blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device",
		  &b->throttle_read_iops },
		{ "blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device",
		  &b->throttle_write_iops },
	};
	char value[16];
	int r = 0;

	if (b->weight.set && b->weight.v) {
		snprintf(value, sizeof(value), "%u", b->weight.v);
		r = write_weight(cg, h, "blockIO.weight", "blkio.weight", "blkio.bfq.weight", value,
				 err);
	}
	if (r == 0 && b->leaf_weight.set && b->leaf_weight.v) {
		snprintf(value, sizeof(value), "%u", b->leaf_weight.v);
		r = write_weight(cg, h, "blockIO.leafWeight", "blkio.leaf_weight", NULL, value,
				 err);
	}
	if (r == 0)
		r = write_weight_devices(cg, h, &b->weight_device, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(throttles); i++)
		r = write_throttle(cg, h, throttles[i].property, throttles[i].file,
				   throttles[i].devices, err);
	return r;
}

/* ---- hugetlb ------------------------------------------------------------------------------ */

int cgroup_v1_hugetlb(const struct cgroup *cg, int h, const struct oci_hugepage_limits *limits,
		      struct error *err)
{
	for (size_t i = 0; i < limits->len; i++) {
		const struct oci_hugepage_limit *l = &limits->items[i];
		char file[64], value[32];
		int r;

		snprintf(value, sizeof(value), "%llu", (unsigned long long)l->limit);
		/*
		 * Where reservations are counted (5.7 and later), mmap fails beyond the limit; by
		 * the other file alone a page fault does, with SIGBUS.
		 */
		snprintf(file, sizeof(file), "hugetlb.%s.rsvd.limit_in_bytes", l->page_size);
		r = cgroup_try_write(cg, h, file, value);
		if (r < 0 && r != -ENOENT)
			return cgroup_write_failed(cg, h, "hugepageLimits", file, value, -r, err);
		snprintf(file, sizeof(file), "hugetlb.%s.limit_in_bytes", l->page_size);
		r = cgroup_write(cg, h, "hugepageLimits", file, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}
