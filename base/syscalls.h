/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls and constants that glibc 2.36 does not wrap or that older kernel headers lack. Each
 * function is the bare call: -1 and errno on failure.
 */
#ifndef HULL_BASE_SYSCALLS_H
#define HULL_BASE_SYSCALLS_H

#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#ifdef HULL_VALGRIND
#include "base/valgrind_syscalls.h"

/* valgrind follows clone(2), not clone3(2); CLONE_INTO_CGROUP is lost, and the child enters its cgroup itself. */
#define CLONE3_ENTERS_CGROUP false
static inline pid_t sys_clone3(struct clone_args *args)
{
	return (pid_t)syscall(SYS_clone, (args->flags & ~CLONE_INTO_CGROUP) | args->exit_signal, 0,
			      0, 0, 0);
}
#else
#define native_syscall(number, a, b, c, d, e) syscall(number, a, b, c, d, e)

#define CLONE3_ENTERS_CGROUP true
static inline pid_t sys_clone3(struct clone_args *args)
{
	return (pid_t)syscall(SYS_clone3, args, sizeof(*args));
}
#endif

/* fork(2) with flags, and without what the C library does around it. */
static inline pid_t sys_clone(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
}

static inline int sys_openat2(int dirfd, const char *path, const struct open_how *how)
{
	return (int)native_syscall(SYS_openat2, dirfd, path, how, sizeof(*how), 0);
}

static inline int sys_pidfd_open(pid_t pid, unsigned flags)
{
	return (int)native_syscall(SYS_pidfd_open, pid, flags, 0, 0, 0);
}

static inline int sys_pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned flags)
{
	return (int)native_syscall(SYS_pidfd_send_signal, pidfd, sig, info, flags, 0);
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
#ifdef HULL_VALGRIND
	/* valgrind's own descriptors lie above the limit that it shows. */
	unsigned limit = (unsigned)sysconf(_SC_OPEN_MAX);

	last = last < limit ? last : limit - 1;
	if (first > last)
		return 0;
#endif
	return (int)native_syscall(SYS_close_range, first, last, flags, 0, 0);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
	return (int)native_syscall(SYS_pivot_root, new_root, put_old, 0, 0, 0);
}

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

#endif
