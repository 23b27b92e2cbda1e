/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor tables of linux.resources, which is also what `update` reads. Ranges that only the
 * kernel knows (weights, swappiness, periods) are left to the kernel: engines write values out of
 * them that mean "not set", as a weight of 0, and cgroups/ knows what each version does with those.
 */
#include <string.h>

#include "oci/tables.h"

/* ---- devices ---------------------------------------------------------------------------------- */

static bool is_access(const char *s)
{
	return !s[strspn(s, "rwm")];
}

static const struct schema_format access_letters = { "letters of rwm", "rwm", is_access };

/* Departs from the schema, which takes any string; the text names these (config-linux.md). */
static const char *const rule_types[] = { "a", "b", "c", NULL };

static const struct schema_member device_rule_members[] = {
	MEMBER(struct oci_device_rule, allow, "allow", .required = true),
	MEMBER(struct oci_device_rule, type, "type", .names = rule_types,
	       .absent = oci_is_empty_string),
	MEMBER(struct oci_device_rule, major, "major"),
	MEMBER(struct oci_device_rule, minor, "minor"),
	MEMBER(struct oci_device_rule, access, "access", .format = &access_letters),
};
static const struct schema device_rule_schema = SCHEMA(struct oci_device_rule, device_rule_members);

/* ---- memory, CPU, pids ------------------------------------------------------------------------ */

static const struct schema_member memory_members[] = {
	MEMBER(struct oci_memory, limit, "limit"),
	MEMBER(struct oci_memory, reservation, "reservation"),
	MEMBER(struct oci_memory, swap, "swap"),
	MEMBER(struct oci_memory, kernel, "kernel"),
	MEMBER(struct oci_memory, kernel_tcp, "kernelTCP"),
	MEMBER(struct oci_memory, swappiness, "swappiness"),
	MEMBER(struct oci_memory, disable_oom_killer, "disableOOMKiller"),
	MEMBER(struct oci_memory, use_hierarchy, "useHierarchy"),
	MEMBER(struct oci_memory, check_before_update, "checkBeforeUpdate"),
};
static const struct schema memory_schema = SCHEMA(struct oci_memory, memory_members);

static const struct schema_member cpu_members[] = {
	MEMBER(struct oci_cpu, shares, "shares"),
	MEMBER(struct oci_cpu, quota, "quota"),
	MEMBER(struct oci_cpu, burst, "burst"),
	MEMBER(struct oci_cpu, period, "period"),
	MEMBER(struct oci_cpu, realtime_runtime, "realtimeRuntime"),
	MEMBER(struct oci_cpu, realtime_period, "realtimePeriod"),
	MEMBER(struct oci_cpu, cpus, "cpus"),
	MEMBER(struct oci_cpu, mems, "mems"),
	MEMBER(struct oci_cpu, idle, "idle"),
};
static const struct schema cpu_schema = SCHEMA(struct oci_cpu, cpu_members);

static const struct schema_member pids_members[] = {
	MEMBER(struct oci_pids, limit, "limit", .required = true),
};
static const struct schema pids_schema = SCHEMA(struct oci_pids, pids_members);

/* ---- block I/O -------------------------------------------------------------------------------- */

static const struct schema_member weight_device_members[] = {
	MEMBER(struct oci_weight_device, major, "major", .required = true),
	MEMBER(struct oci_weight_device, minor, "minor", .required = true),
	MEMBER(struct oci_weight_device, weight, "weight"),
	MEMBER(struct oci_weight_device, leaf_weight, "leafWeight"),
};
static const struct schema weight_device_schema =
	SCHEMA(struct oci_weight_device, weight_device_members);

static const struct schema_member throttle_device_members[] = {
	MEMBER(struct oci_throttle_device, major, "major", .required = true),
	MEMBER(struct oci_throttle_device, minor, "minor", .required = true),
	MEMBER(struct oci_throttle_device, rate, "rate"),
};
static const struct schema throttle_device_schema =
	SCHEMA(struct oci_throttle_device, throttle_device_members);

static const struct schema_member block_io_members[] = {
	MEMBER(struct oci_block_io, weight, "weight"),
	MEMBER(struct oci_block_io, leaf_weight, "leafWeight"),
	ARRAY(struct oci_block_io, weight_device, "weightDevice", weight_device_schema),
	ARRAY(struct oci_block_io, throttle_read_bps, "throttleReadBpsDevice",
	      throttle_device_schema),
	ARRAY(struct oci_block_io, throttle_write_bps, "throttleWriteBpsDevice",
	      throttle_device_schema),
	ARRAY(struct oci_block_io, throttle_read_iops, "throttleReadIOPSDevice",
	      throttle_device_schema),
	ARRAY(struct oci_block_io, throttle_write_iops, "throttleWriteIOPSDevice",
	      throttle_device_schema),
};
static const struct schema block_io_schema = SCHEMA(struct oci_block_io, block_io_members);

/* ---- huge pages, network, RDMA ---------------------------------------------------------------- */

static bool is_page_size(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return n && s[0] != '0' && s[n] && strchr("KMG", s[n]) && strcmp(s + n + 1, "B") == 0;
}

static const struct schema_format page_size = { "a size as 2MB", "2MB", is_page_size };

static const struct schema_member hugepage_limit_members[] = {
	MEMBER(struct oci_hugepage_limit, page_size, "pageSize", .required = true,
	       .format = &page_size),
	MEMBER(struct oci_hugepage_limit, limit, "limit", .required = true),
};
static const struct schema hugepage_limit_schema =
	SCHEMA(struct oci_hugepage_limit, hugepage_limit_members);

static const struct schema_member network_priority_members[] = {
	MEMBER(struct oci_network_priority, name, "name", .required = true),
	MEMBER(struct oci_network_priority, priority, "priority", .required = true),
};
static const struct schema network_priority_schema =
	SCHEMA(struct oci_network_priority, network_priority_members);

static const struct schema_member network_members[] = {
	MEMBER(struct oci_network, class_id, "classID"),
	ARRAY(struct oci_network, priorities, "priorities", network_priority_schema),
};
static const struct schema network_schema = SCHEMA(struct oci_network, network_members);

static const struct schema_member rdma_members[] = {
	MEMBER(struct oci_rdma, hca_handles, "hcaHandles"),
	MEMBER(struct oci_rdma, hca_objects, "hcaObjects"),
};
static const struct schema rdma_schema = SCHEMA(struct oci_rdma, rdma_members);

/* ---- the whole -------------------------------------------------------------------------------- */

static const struct schema_member resources_members[] = {
	ARRAY(struct oci_resources, devices, "devices", device_rule_schema),
	OBJECT(struct oci_resources, memory, "memory", memory_schema),
	OBJECT(struct oci_resources, cpu, "cpu", cpu_schema),
	OBJECT(struct oci_resources, pids, "pids", pids_schema),
	OBJECT(struct oci_resources, block_io, "blockIO", block_io_schema),
	ARRAY(struct oci_resources, hugepage_limits, "hugepageLimits", hugepage_limit_schema),
	OBJECT(struct oci_resources, network, "network", network_schema),
	KEYED(struct oci_resources, rdma, "rdma", rdma_schema),
	MEMBER(struct oci_resources, unified, "unified"),
};
const struct schema oci_resources_schema = SCHEMA(struct oci_resources, resources_members);
