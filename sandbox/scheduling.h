/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When and on which CPUs the kernel runs a process: process.scheduler, ioPriority and execCPUAffinity.
 *
 * Scheduler and I/O priority are set last, just before the filter and execve(2): hull's own work, its hooks and its
 * clones stay ordinary (a deadline task may not even fork). By then the process has given up its privileges, and in a
 * user namespace it had none that counts here. So it tries itself, and asks the caller where it may not (MSG_SCHEDULE).
 *
 * Sources: runtime-spec config.md "Linux Process", sched(7), sched_setattr(2), ioprio_set(2), sched_setaffinity(2),
 * kernel/sched/syscalls.c.
 */
#ifndef HULL_SANDBOX_SCHEDULING_H
#define HULL_SANDBOX_SCHEDULING_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "oci/config.h"

/*
 * Checks all three. -EINVAL for what contradicts itself or is out of the kernel's range (which the kernel would
 * silently change), -ENOTSUP for what Linux does not have: SCHED_ISO, and utilisation clamps, for which config.json has no values.
 */
int scheduling_check(const struct oci_process *process, struct error *err);

/* Whether there is a scheduler or an I/O priority to set. */
bool scheduling_wanted(const struct oci_process *process);

/* Sets scheduler and I/O priority of the process pid (0: the caller). -EPERM: takes CAP_SYS_NICE in the initial user namespace. */
int scheduling_set(const struct oci_process *process, pid_t pid, struct error *err);

/* For exec, of the caller, before it makes the process in the container's cgroup: the CPUs of execCPUAffinity.initial, if any. */
int affinity_set_initial(const struct oci_process *process, struct error *err);

/*
 * In the new process, in its cgroup: the CPUs of execCPUAffinity.final; without that, where there is an initial, all that
 * the cgroup has.
 */
int affinity_set_final(const struct oci_process *process, struct error *err);

#endif
