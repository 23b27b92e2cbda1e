/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json as C structures: the whole of the OCI runtime specification 1.3.0 for Linux and VMs.
 *
 * The idea to know before reading: every member of the specification has one field here and one
 * entry in a descriptor table (oci/config_tables.c), by which it is parsed, checked and printed.
 *
 * Conventions. An absent string, object or array is NULL. An absent number or boolean has set ==
 * false in its opt_ type; the field's comment says where absence means more than zero. An array is
 * items and len. Everything lives in the arena that oci_config_parse() was given; nothing is freed
 * alone. Strings are valid UTF-8 without NUL.
 *
 * What a comment says of a value is checked while parsing, but for resources: there, ranges that
 * only the kernel knows are told for the reader, and values out of them are passed on.
 */
#ifndef HULL_OCI_CONFIG_H
#define HULL_OCI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

#define OCI_VERSION    "1.3.0"            /* the specification that hull implements */
#define OCI_CONFIG_MAX ((size_t)16 << 20) /* bytes of a config.json; more is refused */

struct opt_bool {
	bool set, v;
};
struct opt_u16 {
	bool set;
	uint16_t v;
};
struct opt_u32 {
	bool set;
	uint32_t v;
};
struct opt_i32 {
	bool set;
	int32_t v;
};
struct opt_u64 {
	bool set;
	uint64_t v;
};
struct opt_i64 {
	bool set;
	int64_t v;
};

struct oci_strings {
	const char **items;
	size_t len;
};
struct oci_u32s {
	uint32_t *items;
	size_t len;
};
/* A JSON object whose values are strings, in the order of the file. */
struct oci_map_entry {
	const char *key, *value;
};
struct oci_map {
	struct oci_map_entry *items;
	size_t len;
};

/* ---- root, mounts ------------------------------------------------------------------------- */

struct oci_root {
	const char *path; /* required; relative to the bundle or absolute */
	struct opt_bool readonly;
};

struct oci_id_mapping {
	uint32_t container_id, host_id, size; /* all required */
};
struct oci_id_mappings {
	struct oci_id_mapping *items;
	size_t len;
};

struct oci_mount {
	const char *destination; /* required */
	const char *type;
	const char *source;
	struct oci_strings options;
	struct oci_id_mappings uid_mappings, gid_mappings;
};
struct oci_mounts {
	struct oci_mount *items;
	size_t len;
};

/* ---- process ------------------------------------------------------------------------------ */

struct oci_console_size {
	uint64_t height, width; /* characters, both required */
};

struct oci_user {
	struct opt_u32 uid, gid;
	struct opt_u32 umask;
	struct oci_u32s additional_gids;
	const char *username; /* Windows only */
};

struct oci_capabilities {
	struct oci_strings bounding, effective, inheritable, permitted, ambient; /* "CAP_…" */
};

struct oci_rlimit {
	const char *type;    /* "RLIMIT_…"; required, no type twice, known or not */
	uint64_t hard, soft; /* required */
};
struct oci_rlimits {
	struct oci_rlimit *items;
	size_t len;
};

struct oci_scheduler {
	const char *policy; /* "SCHED_…", required, one of the specification's */
	struct opt_i32 nice, priority;
	struct oci_strings flags;                 /* "SCHED_FLAG_…" */
	struct opt_u64 runtime, deadline, period; /* nanoseconds */
};

struct oci_io_priority {
	const char *class; /* "IOPRIO_CLASS_RT|BE|IDLE", required */
	struct opt_i32 priority;
};

struct oci_exec_cpu_affinity {
	const char *initial, *final; /* CPU lists as "0-3,7" */
};

struct oci_process {
	struct opt_bool terminal;
	struct oci_console_size *console_size;
	const char *cwd; /* required, absolute */
	struct oci_strings env;
	struct oci_strings args;  /* required for start; at least one entry where present */
	const char *command_line; /* Windows only */
	struct oci_rlimits rlimits;
	const char *apparmor_profile;
	struct oci_capabilities *capabilities;
	struct opt_bool no_new_privileges;
	struct opt_i32 oom_score_adj; /* -1000 to 1000 */
	struct oci_scheduler *scheduler;
	const char *selinux_label;
	struct oci_io_priority *io_priority;
	struct oci_exec_cpu_affinity *exec_cpu_affinity;
	struct oci_user *user;
};

/* ---- hooks -------------------------------------------------------------------------------- */

struct oci_hook {
	const char *path; /* required, absolute */
	struct oci_strings args, env;
	struct opt_i64 timeout; /* seconds, greater than zero where set */
};
struct oci_hook_list {
	struct oci_hook *items;
	size_t len;
};
struct oci_hooks {
	struct oci_hook_list prestart, create_runtime, create_container, start_container, poststart,
		poststop;
};

/* ---- linux -------------------------------------------------------------------------------- */

enum oci_namespace_type {
	OCI_NS_PID,
	OCI_NS_NETWORK,
	OCI_NS_MOUNT,
	OCI_NS_IPC,
	OCI_NS_UTS,
	OCI_NS_USER,
	OCI_NS_CGROUP,
	OCI_NS_TIME,
	OCI_NS_COUNT,
};

struct oci_namespace {
	int type;         /* enum oci_namespace_type; required, no type twice */
	const char *path; /* absolute; NULL: a new namespace */
};
struct oci_namespaces {
	struct oci_namespace *items;
	size_t len;
};

struct oci_time_offset {
	struct opt_i64 secs;
	struct opt_u32 nanosecs;
};
struct oci_time_offsets {
	struct oci_time_offset *monotonic, *boottime;
};

struct oci_device {
	const char *type;            /* "c", "b", "u" or "p"; required */
	const char *path;            /* required, absolute */
	struct opt_i64 major, minor; /* required unless type is "p" */
	struct opt_u32 file_mode;    /* permission bits */
	struct opt_u32 uid, gid;
};
struct oci_devices {
	struct oci_device *items;
	size_t len;
};

struct oci_net_device {
	const char *key;  /* the interface's name on the host */
	const char *name; /* its name in the container; NULL: unchanged */
};
struct oci_net_devices {
	struct oci_net_device *items;
	size_t len;
};

struct oci_device_rule {
	bool allow;                  /* required */
	const char *type;            /* "a", "b" or "c"; NULL: "a" */
	struct opt_i64 major, minor; /* absent or negative: all */
	const char *access;          /* of "r", "w", "m"; NULL: "rwm" */
};
struct oci_device_rules {
	struct oci_device_rule *items;
	size_t len;
};

struct oci_memory {
	struct opt_i64 limit, reservation, swap; /* bytes; -1: no limit; swap is memory plus swap */
	struct opt_i64 kernel, kernel_tcp;       /* bytes */
	struct opt_u64 swappiness;               /* 0 to 100 */
	struct opt_bool disable_oom_killer, use_hierarchy, check_before_update;
};

struct oci_cpu {
	struct opt_u64 shares;
	struct opt_i64 quota;            /* microseconds a period; negative: no limit */
	struct opt_u64 burst;            /* microseconds */
	struct opt_u64 period;           /* microseconds */
	struct opt_i64 realtime_runtime; /* microseconds */
	struct opt_u64 realtime_period;  /* microseconds */
	const char *cpus, *mems;         /* lists as "0-3,7" */
	struct opt_i64 idle;             /* 0 or 1 */
};

struct oci_pids {
	int64_t limit; /* required; -1: no limit; 0 is a limit */
};

struct oci_weight_device {
	int64_t major, minor; /* required */
	struct opt_u16 weight, leaf_weight;
};
struct oci_weight_devices {
	struct oci_weight_device *items;
	size_t len;
};
struct oci_throttle_device {
	int64_t major, minor; /* required */
	struct opt_u64 rate;  /* bytes or operations a second */
};
struct oci_throttle_devices {
	struct oci_throttle_device *items;
	size_t len;
};
struct oci_block_io {
	struct opt_u16 weight, leaf_weight; /* 10 to 1000 */
	struct oci_weight_devices weight_device;
	struct oci_throttle_devices throttle_read_bps, throttle_write_bps, throttle_read_iops,
		throttle_write_iops;
};

struct oci_hugepage_limit {
	const char *page_size; /* "2MB"; required */
	uint64_t limit;        /* bytes; required */
};
struct oci_hugepage_limits {
	struct oci_hugepage_limit *items;
	size_t len;
};

struct oci_network_priority {
	const char *name;  /* required */
	uint32_t priority; /* required */
};
struct oci_network_priorities {
	struct oci_network_priority *items;
	size_t len;
};
struct oci_network {
	struct opt_u32 class_id;
	struct oci_network_priorities priorities;
};

struct oci_rdma {
	const char *key; /* the device's name */
	struct opt_u32 hca_handles, hca_objects;
};
struct oci_rdmas {
	struct oci_rdma *items;
	size_t len;
};

struct oci_resources {
	struct oci_device_rules devices;
	struct oci_memory *memory;
	struct oci_cpu *cpu;
	struct oci_pids *pids;
	struct oci_block_io *block_io;
	struct oci_hugepage_limits hugepage_limits;
	struct oci_network *network;
	struct oci_rdmas rdma;
	struct oci_map unified; /* file name to value, cgroup v2 only */
};

struct oci_seccomp_arg {
	uint32_t index; /* 0 to 5; required */
	uint64_t value; /* required */
	struct opt_u64 value_two;
	const char *op; /* "SCMP_CMP_…"; required */
};
struct oci_seccomp_args {
	struct oci_seccomp_arg *items;
	size_t len;
};
struct oci_seccomp_syscall {
	struct oci_strings names; /* required, at least one */
	const char *action;       /* "SCMP_ACT_…"; required */
	struct opt_u32 errno_ret;
	struct oci_seccomp_args args;
};
struct oci_seccomp_syscalls {
	struct oci_seccomp_syscall *items;
	size_t len;
};
struct oci_seccomp {
	const char *default_action; /* required */
	struct opt_u32 default_errno_ret;
	struct oci_strings architectures, flags;
	const char *listener_path, *listener_metadata;
	struct oci_seccomp_syscalls syscalls;
};

struct oci_intel_rdt {
	const char *clos_id;
	struct oci_strings schemata;
	const char *l3_cache_schema, *mem_bw_schema;
	struct opt_bool enable_monitoring;
};

struct oci_memory_policy {
	const char *mode; /* "MPOL_…" */
	const char *nodes;
	struct oci_strings flags;
};

struct oci_personality {
	const char *domain; /* "LINUX" or "LINUX32" */
	struct oci_strings flags;
};

struct oci_linux {
	struct oci_namespaces namespaces;
	struct oci_id_mappings uid_mappings, gid_mappings;
	struct oci_time_offsets *time_offsets;
	struct oci_devices devices;
	struct oci_net_devices net_devices;
	const char *cgroups_path;
	struct oci_resources *resources;
	struct oci_intel_rdt *intel_rdt;
	struct oci_memory_policy *memory_policy;
	struct oci_map sysctl;
	struct oci_seccomp *seccomp;
	const char *
		rootfs_propagation; /* private, shared, slave, unbindable, also with "r" in front */
	struct oci_strings masked_paths, readonly_paths;
	const char *mount_label;
	struct oci_personality *personality;
};

/* ---- vm ----------------------------------------------------------------------------------- */

struct oci_vm_hypervisor {
	const char *path; /* required, absolute */
	struct oci_strings parameters;
};
struct oci_vm_kernel {
	const char *path; /* required, absolute */
	struct oci_strings parameters;
	const char *initrd; /* absolute */
};
struct oci_vm_image {
	const char *path;   /* required, absolute */
	const char *format; /* raw, qcow2, vdi, vmdk, vhd; required */
};
struct oci_vm_iomem {
	struct opt_u64 first_gfn;
	uint64_t first_mfn, nr_mfns; /* required */
};
struct oci_vm_iomems {
	struct oci_vm_iomem *items;
	size_t len;
};
struct oci_vm_hw_config { /* "hwConfig"; "hwconfig" is accepted, too */
	const char *device_tree;
	struct opt_u32 vcpus;
	struct opt_u64 memory; /* bytes */
	struct oci_strings dtdevs;
	struct oci_vm_iomems iomems;
	struct oci_u32s irqs;
};
struct oci_vm {
	struct oci_vm_hypervisor *hypervisor;
	struct oci_vm_kernel *kernel; /* required */
	struct oci_vm_image *image;
	struct oci_vm_hw_config *hw_config;
};

/* ---- the whole ---------------------------------------------------------------------------- */

struct oci_config {
	const char *oci_version; /* required, 1.x.y */
	struct oci_root *root;
	struct oci_mounts mounts;
	struct oci_process *process;
	const char *hostname, *domainname;
	struct oci_hooks *hooks;
	struct oci_map annotations;
	struct oci_linux *linux_;
	struct oci_vm *vm;
};

/*
 * Parses and checks len bytes of JSON into *config, in the arena. The message of an error starts
 * with the JSON path of the member: "/linux/resources/memory/limit: expected an integer, found a
 * string". Unknown members are ignored (config.md, "Extensibility"). -EINVAL, -EFBIG, -ENOMEM.
 */
int oci_config_parse(const char *json, size_t len, struct arena *arena, struct oci_config **config,
		     struct error *err);

/* Reads path under dirfd and parses it. *json, where not NULL, receives the text (the caller frees) and *json_len its length. */
int oci_config_load(int dirfd, const char *path, struct arena *arena, struct oci_config **config,
		    char **json, size_t *json_len, struct error *err);

/* As oci_config_parse(), of a process object alone (`exec --process`), and of a linux.resources object (`update`). */
int oci_process_parse(const char *json, size_t len, struct arena *arena,
		      struct oci_process **process, struct error *err);
int oci_resources_parse(const char *json, size_t len, struct arena *arena,
			struct oci_resources **resources, struct error *err);

/* As oci_config_parse(), of an array of mounts alone (`mounts add`); messages call it /mounts. */
int oci_mounts_parse(const char *json, size_t len, struct arena *arena, struct oci_mounts *mounts,
		     struct error *err);

/*
 * What base (NULL: nothing) becomes by an update: absent properties stay, and so does what Go programs write as 0 for
 * "not given". Device rules are replaced, other lists merged by what their elements name. In the arena; shares strings
 * and items with both. NULL: no memory.
 */
struct oci_resources *oci_resources_merge(const struct oci_resources *base,
					  const struct oci_resources *update, struct arena *arena);
bool oci_device_rules_equal(const struct oci_device_rules *a, const struct oci_device_rules *b);

/* Prints what oci_config_parse() would read back as the same structures, indented by four blanks. */
int oci_config_print(const struct oci_config *config, struct strbuf *out, struct error *err);

/* The same of a process object, and of a linux.resources object, in one line. */
int oci_process_print(const struct oci_process *process, struct strbuf *out, struct error *err);
int oci_resources_print(const struct oci_resources *resources, struct strbuf *out,
			struct error *err);

/* The same of mounts, as oci_mounts_parse() reads them. */
int oci_mounts_print(const struct oci_mounts *mounts, struct strbuf *out, struct error *err);

/* Finds the value of an annotation; NULL where it is absent. */
const char *oci_annotation(const struct oci_config *config, const char *key);

/* Finds the entry of a namespace type; NULL where the container shares the runtime's. */
const struct oci_namespace *oci_namespace_find(const struct oci_config *config,
					       enum oci_namespace_type type);

/* The name of a namespace type in config.json ("network"), and in /proc/PID/ns ("net"). */
const char *oci_namespace_name(enum oci_namespace_type type);
const char *oci_namespace_file(enum oci_namespace_type type);

#endif
