/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping hull's own program out of a container's reach.
 *
 * A process of hull that is inside a container is visible there as /proc/PID/exe, and through that
 * link a container could open, and once nobody runs it overwrite, the program on the host
 * (CVE-2019-5736). Others run from a sealed copy, which costs a copy and a second execve(2) at every
 * start. hull instead lets go of its file: the process that will be in the container maps its code
 * anew, through a detached read-only mount of the program that is in no mount namespace, takes
 * its data as anonymous memory, and makes the kernel's record of its program an empty sealed memfd
 * (PR_SET_MM_MAP). Then no link leads to the program any more: what /proc/self/exe shows in the
 * container is an empty file, and executing that fails. What stays, until execve(2), are entries in
 * /proc/PID/map_files, which ask for CAP_CHECKPOINT_RESTORE over the host and lead to a read-only mount.
 *
 * Sources: prctl(2) PR_SET_MM; kernel/sys.c prctl_set_mm_map(), kernel/fork.c replace_mm_exe_file().
 */
#ifndef HULL_SANDBOX_EXE_H
#define HULL_SANDBOX_EXE_H

#include "base/error.h"

/*
 * For main(), before anything is opened: where this kernel cannot do what exe_hide() does (built without
 * CONFIG_CHECKPOINT_RESTORE), executes a sealed copy of the program with the same arguments and does not return. Returns 0
 * where nothing is needed, or when we run from the copy already.
 */
int exe_ensure(char **argv, struct error *err);

/*
 * In the caller, whose mount namespace the program is in: opens the program by a detached read-only mount, for exe_hide(). Returns
 * the descriptor, or -1 where we may not clone mounts; exe_hide() copies the program's memory then.
 */
int exe_open_detached(void);

/*
 * In the process that will enter a container, while it has one thread and CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in its user
 * namespace: lets go of the program file, and makes the process undumpable, so that nobody without CAP_SYS_PTRACE over it can look
 * into it. detached: from exe_open_detached(), stays the caller's. A no-op in a sealed copy.
 */
int exe_hide(int detached, struct error *err);

#endif
