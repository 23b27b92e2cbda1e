/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process may do: user and groups, capabilities, no_new_privs, resource limits, security
 * labels. Everything that needs thought (names, warnings) happens in privileges_plan(), in the
 * caller; privileges_drop() in the new process only makes system calls.
 *
 * Sources: capabilities(7), credentials(7), prctl(2), runtime-spec config.md "Process".
 */
#ifndef HULL_SANDBOX_PRIVILEGES_H
#define HULL_SANDBOX_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/error.h"
#include "oci/config.h"

struct capability_sets {
	uint64_t bounding, effective, permitted, inheritable, ambient; /* bit n: capability n */
};

struct privileges {
	const struct oci_process *process;
	struct capability_sets caps;
	int last_cap; /* the kernel's highest capability */
	bool filter_needs_admin; /* a seccomp filter without no_new_privs: CAP_SYS_ADMIN is kept for loading it */
};

/*
 * Looks up names and checks limits. Capabilities that do not exist here or that we do not have
 * ourselves are left out with a warning, as the specification asks.
 */
int privileges_plan(struct privileges *p, const struct oci_process *process, bool has_filter,
		    struct error *err);

/*
 * Sets the rlimits of process pid (0: the caller), except that RLIMIT_NPROC is only made possible: hull may need a process of the
 * same user until the workload is executed. privileges_set_nproc() then sets it, in the caller, without any privilege.
 */
int privileges_set_rlimits(const struct oci_process *process, pid_t pid, struct error *err);
int privileges_set_nproc(const struct oci_process *process, struct error *err);

/* Sets oom_score_adj; proc_dir: a descriptor of the process' /proc/PID. No-op where it is that already. */
int privileges_set_oom_score(const struct oci_process *process, int proc_dir, struct error *err);

/* Sets the AppArmor profile or SELinux label for the next execve(2); proc: a trusted /proc. */
int privileges_set_label(const struct oci_process *process, int proc, struct error *err);

/* Gives descriptors 0 to 2 to the process' user where they are pipes or sockets, so that /dev/stdout can be opened. */
void privileges_own_stdio(const struct oci_process *process);

/*
 * In the container's root: standard streams that are the host's null device become the container's own, where it has one. Nothing of
 * the host's /dev is held then, and a checkpoint can name what they are.
 */
void privileges_reopen_null(void);

/*
 * Becomes the user with the planned capabilities. Where filter_needs_admin, CAP_SYS_ADMIN stays permitted, not
 * effective, until privileges_finish(). umask is set, too.
 */
int privileges_drop(const struct privileges *p, struct error *err);

/* Raises CAP_SYS_ADMIN for loading the filter; no-op where that is not needed. */
int privileges_raise_for_filter(const struct privileges *p, struct error *err);

/* Gives up what was kept for the filter. */
int privileges_finish(const struct privileges *p, struct error *err);

/* Whether the calling process has a capability (CAP_MKNOD). */
bool privileges_have(int capability);

#endif
