/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources, property group by property group: each goes to the v1 hierarchy of its
 * controller where that is mounted, else to the v2 tree, where the controller is enabled first.
 *
 * Engines written against runc send 0 where they mean "not given" (memory.limit, swap, reservation,
 * cpu.shares, quota, period, realtime*, blockIO.weight), as Go's zero value; no kernel file has a
 * use for these, so 0 is absence here, too. Where 0 is a limit, as in pids.limit, it is one.
 */
#include <limits.h>
#include <net/if.h>
#include <string.h>

#include "base/file.h"
#include "cgroups/internal.h"

/* Where a property group is written. */
struct target {
	int h;
	bool v2;
};

/*
 * Finds where the controller of a property is, as v1 and as v2 name it (v2: NULL where v2 has none).
 * In v2 it is enabled for this cgroup.
 */
static int find_target(const struct cgroup *cg, const char *v1, const char *v2,
		       const char *property, struct target *target, struct error *err)
{
	target->h = cgroup_v1_find(cg->host, v1);
	target->v2 = false;
	if (target->h < 0) {
		target->h = cgroup_v2_find(cg->host);
		target->v2 = true;
		if (target->h < 0)
			return cgroup_missing(cg, property, v1, err);
		if (!v2)
			return error_set(
				err, EOPNOTSUPP,
				"cgroup: linux.resources.%s needs the %s controller of cgroup "
				"v1, which this host does not mount and cgroup v2 does not "
				"have; remove the property and mark or shape traffic in the "
				"container's network namespace instead",
				property, v1);
	}
	if (cg->dirs[target->h] < 0)
		return error_set(
			err, ENOENT,
			"cgroup: linux.resources.%s: the container has no cgroup `%s%s`; it "
			"was removed by somebody else; recreate the container",
			property, cg->host->hierarchies[target->h].mount, cg->path);
	return target->v2 ? cgroup_v2_require(cg, v2, property, err) : 0;
}

/* ---- which property of a group is given: the first, for messages; NULL: none ---------------- */

static bool given(struct opt_i64 value)
{
	return value.set && value.v != 0;
}

static bool given_u(struct opt_u64 value)
{
	return value.set && value.v != 0;
}

static const char *memory_property(const struct oci_memory *m)
{
	if (given(m->limit))
		return "memory.limit";
	if (given(m->swap))
		return "memory.swap";
	if (given(m->reservation))
		return "memory.reservation";
	if (m->swappiness.set)
		return "memory.swappiness";
	return m->disable_oom_killer.set && m->disable_oom_killer.v ? "memory.disableOOMKiller"
								    : NULL;
}

static const char *cpu_property(const struct oci_cpu *c)
{
	if (given_u(c->shares))
		return "cpu.shares";
	if (given(c->quota))
		return "cpu.quota";
	if (given_u(c->period))
		return "cpu.period";
	if (c->burst.set)
		return "cpu.burst";
	if (given(c->realtime_runtime))
		return "cpu.realtimeRuntime";
	if (given_u(c->realtime_period))
		return "cpu.realtimePeriod";
	return c->idle.set ? "cpu.idle" : NULL;
}

static const char *block_io_property(const struct oci_block_io *b)
{
	if (b->weight.set && b->weight.v)
		return "blockIO.weight";
	if (b->leaf_weight.set && b->leaf_weight.v)
		return "blockIO.leafWeight";
	if (b->weight_device.len)
		return "blockIO.weightDevice";
	if (b->throttle_read_bps.len)
		return "blockIO.throttleReadBpsDevice";
	if (b->throttle_write_bps.len)
		return "blockIO.throttleWriteBpsDevice";
	if (b->throttle_read_iops.len)
		return "blockIO.throttleReadIOPSDevice";
	return b->throttle_write_iops.len ? "blockIO.throttleWriteIOPSDevice" : NULL;
}

/* ---- the groups --------------------------------------------------------------------------- */

static bool has_kernel_limit(const struct oci_memory *m)
{
	return given(m->kernel) || given(m->kernel_tcp);
}

static int apply_memory(const struct cgroup *cg, const struct oci_memory *m, struct error *err)
{
	bool v1 = cgroup_v1_find(cg->host, "memory") >= 0;
	const char *property = memory_property(m);
	struct target to;
	int r;

	if (m->use_hierarchy.set && !m->use_hierarchy.v)
		cgroup_warn_ignored(
			"memory.useHierarchy",
			"false is no longer possible, limits include the cgroups below");
	if (!v1 && given(m->kernel))
		cgroup_warn_ignored("memory.kernel", CGROUP_KERNEL_MEMORY_GONE);
	if (!v1 && given(m->kernel_tcp))
		cgroup_warn_ignored("memory.kernelTCP", CGROUP_KERNEL_MEMORY_GONE);
	/* disableOOMKiller: false is what an engine sends by default, and needs nothing but on v1. */
	if (!property && !(v1 && (m->disable_oom_killer.set || has_kernel_limit(m))))
		return 0;
	r = find_target(cg, "memory", "memory", property ? property : "memory.disableOOMKiller",
			&to, err);
	if (r < 0)
		return r;
	return to.v2 ? cgroup_v2_memory(cg, to.h, m, err) : cgroup_v1_memory(cg, to.h, m, err);
}

static int apply_cpu(const struct cgroup *cg, const struct oci_cpu *c, struct error *err)
{
	const char *property = cpu_property(c);
	struct target to;
	int r;

	if (!property)
		return 0;
	r = find_target(cg, "cpu", "cpu", property, &to, err);
	if (r < 0)
		return r;
	return to.v2 ? cgroup_v2_cpu(cg, to.h, c, err) : cgroup_v1_cpu(cg, to.h, c, err);
}

static int apply_cpuset_list(const struct cgroup *cg, const char *property, const char *file,
			     const char *list, struct error *err)
{
	struct target to;
	int r;

	if (!list || !*list)
		return 0;
	if (list[strspn(list, "0123456789,-")])
		return error_set(err, EINVAL,
				 "cgroup: linux.resources.%s `%.64s` is not a list like `0-3,7`; "
				 "correct it",
				 property, list);
	r = find_target(cg, "cpuset", "cpuset", property, &to, err);
	return r < 0 ? r : cgroup_write(cg, to.h, property, file, list, err);
}

static int apply_pids(const struct cgroup *cg, const struct oci_pids *pids, struct error *err)
{
	char value[32] = "max";
	struct target to;
	int r = find_target(cg, "pids", "pids", "pids.limit", &to, err);

	if (r < 0)
		return r;
	if (pids->limit >= 0)
		snprintf(value, sizeof(value), "%lld", (long long)pids->limit);
	return cgroup_write(cg, to.h, "pids.limit", "pids.max", value, err);
}

static int apply_block_io(const struct cgroup *cg, const struct oci_block_io *bio,
			  struct error *err)
{
	const char *property = block_io_property(bio);
	struct target to;
	int r;

	if (!property)
		return 0;
	r = find_target(cg, "blkio", "io", property, &to, err);
	if (r < 0)
		return r;
	return to.v2 ? cgroup_v2_block_io(cg, to.h, bio, err)
		     : cgroup_v1_block_io(cg, to.h, bio, err);
}

static int apply_hugetlb(const struct cgroup *cg, const struct oci_hugepage_limits *limits,
			 struct error *err)
{
	struct target to;
	int r;

	if (!limits->len)
		return 0;
	for (size_t i = 0; i < limits->len; i++)
		if (!cgroup_page_size_valid(limits->items[i].page_size))
			return error_set(
				err, EINVAL,
				"cgroup: linux.resources.hugepageLimits: `%.32s` is not a page "
				"size like `2MB`; correct it",
				limits->items[i].page_size);
	r = find_target(cg, "hugetlb", "hugetlb", "hugepageLimits", &to, err);
	if (r < 0)
		return r;
	return to.v2 ? cgroup_v2_hugetlb(cg, to.h, limits, err)
		     : cgroup_v1_hugetlb(cg, to.h, limits, err);
}

static int apply_network(const struct cgroup *cg, const struct oci_network *network,
			 struct error *err)
{
	char value[64];
	struct target to;
	int r;

	if (network->class_id.set) {
		r = find_target(cg, "net_cls", NULL, "network.classID", &to, err);
		if (r < 0)
			return r;
		snprintf(value, sizeof(value), "%u", network->class_id.v);
		r = cgroup_write(cg, to.h, "network.classID", "net_cls.classid", value, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < network->priorities.len; i++) {
		const struct oci_network_priority *priority = &network->priorities.items[i];

		if (!*priority->name || strlen(priority->name) >= IFNAMSIZ ||
		    strpbrk(priority->name, " \t\n/"))
			return error_set(
				err, EINVAL,
				"cgroup: linux.resources.network.priorities: `%.32s` is not "
				"the name of a network interface; correct it",
				priority->name);
		r = find_target(cg, "net_prio", NULL, "network.priorities", &to, err);
		if (r < 0)
			return r;
		snprintf(value, sizeof(value), "%s %u", priority->name, priority->priority);
		r = cgroup_write(cg, to.h, "network.priorities", "net_prio.ifpriomap", value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_rdma(const struct cgroup *cg, const struct oci_rdmas *rdma, struct error *err)
{
	for (size_t i = 0; i < rdma->len; i++) {
		const struct oci_rdma *device = &rdma->items[i];
		char value[160], handles[32] = "", objects[32] = "";
		struct target to;
		int r;

		if (!*device->key || strlen(device->key) > 64 || strpbrk(device->key, " \t\n/"))
			return error_set(
				err, EINVAL,
				"cgroup: linux.resources.rdma: `%.64s` is not the name of a "
				"device; correct it",
				device->key);
		if (!device->hca_handles.set && !device->hca_objects.set)
			continue;
		r = find_target(cg, "rdma", "rdma", "rdma", &to, err);
		if (r < 0)
			return r;
		if (device->hca_handles.set)
			snprintf(handles, sizeof(handles), " hca_handle=%u", device->hca_handles.v);
		if (device->hca_objects.set)
			snprintf(objects, sizeof(objects), " hca_object=%u", device->hca_objects.v);
		snprintf(value, sizeof(value), "%s%s%s", device->key, handles, objects);
		r = cgroup_write(cg, to.h, "rdma", "rdma.max", value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_resources(const struct cgroup *cg, const struct oci_resources *res,
			   struct error *err)
{
	int r = 0;

	if (res->memory)
		r = apply_memory(cg, res->memory, err);
	if (r == 0 && res->cpu)
		r = apply_cpu(cg, res->cpu, err);
	if (r == 0 && res->cpu)
		r = apply_cpuset_list(cg, "cpu.cpus", "cpuset.cpus", res->cpu->cpus, err);
	if (r == 0 && res->cpu)
		r = apply_cpuset_list(cg, "cpu.mems", "cpuset.mems", res->cpu->mems, err);
	if (r == 0 && res->pids)
		r = apply_pids(cg, res->pids, err);
	if (r == 0 && res->block_io)
		r = apply_block_io(cg, res->block_io, err);
	if (r == 0)
		r = apply_hugetlb(cg, &res->hugepage_limits, err);
	if (r == 0 && res->network)
		r = apply_network(cg, res->network, err);
	if (r == 0)
		r = apply_rdma(cg, &res->rdma, err);
	/* Last, so that what is given for v2 overrides what was converted from v1. */
	if (r == 0)
		r = cgroup_v2_unified(cg, &res->unified, err);
	return r;
}

bool cgroup_has_limits(const struct oci_resources *r)
{
	return r && (r->memory || r->cpu || r->pids || r->block_io || r->hugepage_limits.len ||
		     r->network || r->rdma.len || r->unified.len);
}

int cgroup_apply(const struct cgroup *cg, const struct oci_resources *resources, bool devices,
		 struct error *err)
{
	static const struct oci_device_rules none = { 0 };
	int r = 0;

	if (!cg->host)
		return error_set(err, EINVAL, "cgroup: limits for a cgroup that is not open");
	if (devices && cg->host->count)
		r = cgroup_devices_apply(cg, resources ? &resources->devices : &none, err);
	if (r == 0 && resources)
		r = apply_resources(cg, resources, err);
	return r;
}
