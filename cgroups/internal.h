/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of cgroups/ share with each other, and with their unit test. An `h` is always an
 * index into host->hierarchies and cg->dirs; a `property` is the name in config.json for messages,
 * "memory.limit" for linux.resources.memory.limit.
 */
#ifndef HULL_CGROUPS_INTERNAL_H
#define HULL_CGROUPS_INTERNAL_H

#include <dirent.h>
#include <linux/bpf.h>

#include "cgroups/cgroup.h"

#define CGROUP_FULL_MAX (sizeof(((struct cgroup_hierarchy *)0)->mount) + CGROUP_PATH_MAX)

/* ---- host.c, path.c ----------------------------------------------------------------------- */

/* cgroup_host_detect() of given texts of /proc/self/mountinfo and /proc/self/cgroup. */
int cgroup_host_parse(const char *mountinfo, const char *self, struct cgroup_host *host,
		      struct error *err);

/* The hierarchy of a v1 controller, of the v2 tree; negative where the host has none. */
int cgroup_v1_find(const struct cgroup_host *host, const char *controller);
int cgroup_v2_find(const struct cgroup_host *host);

/* Whether word is one of the words of list, which sep separates. */
bool cgroup_list_has(const char *list, char sep, const char *word);

/* -EINVAL for what cgroup_path() would not return: a path from a file is not trusted either. */
int cgroup_path_check(const char *path, struct error *err);

/* The container's directory in a hierarchy, as an absolute path. */
void cgroup_full_path(const struct cgroup_host *host, int h, const char *path,
		      char full[CGROUP_FULL_MAX]);

/* ---- walk.c ------------------------------------------------------------------------------- */

/*
 * Calls visit for the cgroup at the absolute path and for each one below it, parents first, until
 * visit returns nonzero, and returns that. A cgroup that does not exist is visited by nobody: 0.
 */
int cgroup_walk(const char *full, int (*visit)(int dir, void *arg, struct error *err), void *arg,
		struct error *err);

/* Removes the cgroup at the absolute path and all below it, in one pass. 0, -EBUSY, -errno; no message. */
int cgroup_remove_tree(const char *full);

/* Sleeps *delay_us and doubles it up to 20 ms, for loops that wait for the kernel. */
void cgroup_backoff(unsigned *delay_us);

/* ---- freeze.c ----------------------------------------------------------------------------- */

/* cgroup_freeze() with a bound of its own, in ms. */
int cgroup_freeze_within(const struct cgroup_host *host, const char *path, bool freeze, int ms,
			 struct error *err);

/* Thaws the cgroup and all below it, as far as it goes: what the container froze cannot be killed in v1. */
void cgroup_thaw_all(const struct cgroup_host *host, const char *path);

/* ---- write.c ------------------------------------------------------------------------------ */

/* One limit on its way to its file. */
struct cgroup_setting {
	const char *property; /* "memory.limit" */
	const char *file;     /* "memory.limit_in_bytes" */
	char value[160];
	bool done;
};

/* Writes value to a file of the cgroup in one write(2); the message says what, where, why, what to do. */
int cgroup_write(const struct cgroup *cg, int h, const char *property, const char *file,
		 const char *value, struct error *err);

/* As cgroup_write() with a bare negative errno and no message, for files that a kernel may lack. */
int cgroup_try_write(const struct cgroup *cg, int h, const char *file, const char *value);

/* The message that cgroup_write() would have left for the failure `code` (a positive errno). Returns -code. */
int cgroup_write_failed(const struct cgroup *cg, int h, const char *property, const char *file,
			const char *value, int code, struct error *err);

/*
 * Writes several settings that constrain each other (a limit that must not exceed another), in any
 * order that the kernel takes: what is refused with EINVAL is tried again after the others.
 */
int cgroup_write_settings(const struct cgroup *cg, int h, struct cgroup_setting *settings,
			  size_t count, struct error *err);

/* Adds a setting to an array that is large enough. */
void cgroup_setting_add(struct cgroup_setting *settings, size_t *count, const char *property,
			const char *file, const char *fmt, ...) _printf_(5, 6);

/* Fails for a property whose controller this host does not have. */
int cgroup_missing(const struct cgroup *cg, const char *property, const char *controller,
		   struct error *err);

/* Warns of a property without effect: "memory.kernel", and why. */
void cgroup_warn_ignored(const char *property, const char *why);

#define CGROUP_KERNEL_MEMORY_GONE "the kernel deprecated it, use memory.limit"

/* ---- v1.c, v2.c: limits by version -------------------------------------------------------- */

/* Copies cpuset.cpus and .mems down from the nearest ancestor that has them; without, nothing can enter. */
int cgroup_v1_fill_cpuset(const struct cgroup_host *host, int h, const char *path,
			  struct error *err);

int cgroup_v1_memory(const struct cgroup *cg, int h, const struct oci_memory *memory,
		     struct error *err);
int cgroup_v1_cpu(const struct cgroup *cg, int h, const struct oci_cpu *cpu, struct error *err);
int cgroup_v1_block_io(const struct cgroup *cg, int h, const struct oci_block_io *bio,
		       struct error *err);
int cgroup_v1_hugetlb(const struct cgroup *cg, int h, const struct oci_hugepage_limits *limits,
		      struct error *err);

/* What a cgroup of v2 is, by its cgroup.type, which the root has not. */
enum cgroup_v2_type {
	CGROUP_V2_ROOT,
	CGROUP_V2_DOMAIN,
	CGROUP_V2_THREAD_ROOT, /* "domain threaded": it holds processes whose threads are in cgroups below */
	CGROUP_V2_INVALID, /* "domain invalid": below such; nothing can be in it */
	CGROUP_V2_THREADED,
};

enum cgroup_v2_type cgroup_v2_type_of(const char *full);

/* Makes the cgroup threaded where it, and what is above it, cannot be anything else. */
int cgroup_v2_join_threaded(const struct cgroup *cg, struct error *err);

/* Enables those of the controllers that are available down to path's parent; what cannot be is left. */
void cgroup_v2_enable(const struct cgroup_host *host, const char *path,
		      const char *const *controllers, size_t count);

/* Enables one controller for the cgroup, or says which property needs it and why it cannot be had. */
int cgroup_v2_require(const struct cgroup *cg, const char *controller, const char *property,
		      struct error *err);

int cgroup_v2_memory(const struct cgroup *cg, int h, const struct oci_memory *memory,
		     struct error *err);
int cgroup_v2_cpu(const struct cgroup *cg, int h, const struct oci_cpu *cpu, struct error *err);
int cgroup_v2_block_io(const struct cgroup *cg, int h, const struct oci_block_io *bio,
		       struct error *err);
int cgroup_v2_hugetlb(const struct cgroup *cg, int h, const struct oci_hugepage_limits *limits,
		      struct error *err);
int cgroup_v2_unified(const struct cgroup *cg, const struct oci_map *unified, struct error *err);

/* ---- convert.c ---------------------------------------------------------------------------- */

/* cpu.shares (2 to 262144, clamped) as cpu.weight (1 to 10000): 10^((l² + 125 l) / 612 - 7/34), l = log2 */
unsigned cgroup_weight_of_shares(uint64_t shares);

/* blkio.weight (10 to 1000) as io.weight (1 to 10000), linear. */
unsigned cgroup_io_weight(unsigned blkio_weight);

/*
 * memory.swap.max for linux.resources.memory.swap, which is memory plus swap: their difference.
 * -1: no limit. -EINVAL where there is no memory limit to subtract or it is larger.
 */
int cgroup_swap_max(int64_t limit, int64_t swap, int64_t *swap_max, struct error *err);

/* "2MB", "1GB", "64KB": the form that file names of hugetlb have. */
bool cgroup_page_size_valid(const char *page_size);

/* ---- devices.c, devices_bpf.c ------------------------------------------------------------- */

/* A rule, checked; access in BPF_DEVCG_ACC_* bits; major, minor -1: all. */
struct cgroup_device_rule {
	int64_t major, minor;
	unsigned access;
	char type; /* 'a': b and c */
	bool allow;
};

#define CGROUP_DEVICE_RULES_MAX 4096 /* of one configuration */

/*
 * Checks the configured rules, appends the default ones, and drops those that a later rule about
 * all devices makes pointless, so that only rules[0] may be one; where it is not, all is denied at
 * first. *rules is the caller's to free. Returns how many.
 */
ssize_t cgroup_device_rules(const struct oci_device_rules *configured,
			    struct cgroup_device_rule **rules, struct error *err);

/*
 * The same as cgroup v1 has it: a default, and the exceptions from it, of which each is about b or c. *exceptions is the
 * caller's to free. Returns how many. -EOPNOTSUPP for rules that cut a hole in an exception.
 */
ssize_t cgroup_device_exceptions(const struct cgroup_device_rule *rules, size_t count, bool *allow,
				 struct cgroup_device_rule **exceptions, struct error *err);

/* Sets the device filter, by v1 files or by a v2 program. */
int cgroup_devices_apply(const struct cgroup *cg, const struct oci_device_rules *configured,
			 struct error *err);

/* Assembles the v2 program; *insns is the caller's to free. Returns the number of instructions. */
ssize_t cgroup_device_program(const struct cgroup_device_rule *rules, size_t count,
			      struct bpf_insn **insns, struct error *err);

/* Loads the program of rules and attaches it in place of any that the cgroup has. */
int cgroup_device_attach(const struct cgroup *cg, int h, const struct cgroup_device_rule *rules,
			 size_t count, struct error *err);

/* ---- systemd_limits.c --------------------------------------------------------------------- */

#define SYSTEMD_MASK_BYTES 1024 /* for 8192 processors, the kernel's bound */
#define SYSTEMD_MASK_TEXT  (4 * SYSTEMD_MASK_BYTES + 4)

/*
 * "0-3,7" as systemd has it: bytes, the first for 0 to 7, each as a decimal number with a NUL after it.
 * Returns the length of the text; -EINVAL for what is no such list.
 */
int systemd_cpu_mask(const char *list, char text[SYSTEMD_MASK_TEXT], unsigned *bytes);

#endif
