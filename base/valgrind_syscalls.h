/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For `make VALGRIND=1` only: the mount calls of Linux 5.2 and 5.12, which valgrind before 3.22 does
 * not know and answers with ENOSYS. Those are made natively, past valgrind: they write to no memory of
 * ours. Included by syscalls.h.
 */
#ifndef HULL_BASE_VALGRIND_SYSCALLS_H
#define HULL_BASE_VALGRIND_SYSCALLS_H

#include <errno.h>
#include <valgrind/valgrind.h>

struct native_call {
	long number, args[5], result;
};

/* Runs on the real processor: no instrumented function may be called here. */
static long __attribute__((unused)) native_call_run(long thread, struct native_call *c)
{
	register long a4 __asm__("r10") = c->args[3];
	register long a5 __asm__("r8") = c->args[4];

	(void)thread;
	__asm__ volatile("syscall"
			 : "=a"(c->result)
			 : "a"(c->number), "D"(c->args[0]), "S"(c->args[1]), "d"(c->args[2]),
			   "r"(a4), "r"(a5)
			 : "rcx", "r11", "memory");
	return 0;
}

#define N(x)                                  ((long)(x))
#define native_syscall(number, a, b, c, d, e) native_syscall_(number, N(a), N(b), N(c), N(d), N(e))

static inline long native_syscall_(long number, long a, long b, long c, long d, long e)
{
	struct native_call call = { .number = number, .args = { a, b, c, d, e } };

	if (!RUNNING_ON_VALGRIND)
		return syscall(number, a, b, c, d, e);
	VALGRIND_NON_SIMD_CALL1(native_call_run, &call);
	if (call.result < 0) {
		errno = (int)-call.result;
		return -1;
	}
	return call.result;
}

#define open_tree(dir, path, flags) ((int)native_syscall(SYS_open_tree, dir, path, flags, 0, 0))
#define move_mount(from, path, to, to_path, flags) \
	((int)native_syscall(SYS_move_mount, from, path, to, to_path, flags))
#define fsopen(name, flags)       ((int)native_syscall(SYS_fsopen, name, flags, 0, 0, 0))
#define fspick(dir, path, flags)  ((int)native_syscall(SYS_fspick, dir, path, flags, 0, 0))
#define fsmount(fs, flags, attrs) ((int)native_syscall(SYS_fsmount, fs, flags, attrs, 0, 0))
#define fsconfig(fs, cmd, key, value, aux) \
	((int)native_syscall(SYS_fsconfig, fs, cmd, key, value, aux))
#define mount_setattr(dir, path, flags, attr, size) \
	((int)native_syscall(SYS_mount_setattr, dir, path, flags, attr, size))

#endif
