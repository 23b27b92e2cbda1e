/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which system calls each kind of thread may make once the guest runs, and what for. Whatever is not in its table ends the
 * process. The program is made here, call by call: these tables are short, and a library would be most of hull-vmm.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "microvm/jail.h"

#define PROGRAM_MAX 512 /* instructions */

static const unsigned vcpu_ioctls[] = { KVM_RUN, KVM_KVMCLOCK_CTRL, KVM_GET_REGS, TUNSETOFFLOAD };
static const unsigned device_ioctls[] = {
	TIOCGWINSZ,
	FIONREAD,
	TUNGETIFF,
	TUNSETVNETHDRSZ,
	TUNSETOFFLOAD,
	KVM_SET_USER_MEMORY_REGION,
	/* a snapshot */
	KVM_GET_MP_STATE,
	KVM_GET_REGS,
	KVM_GET_SREGS,
	KVM_GET_XSAVE,
	KVM_GET_XCRS,
	KVM_GET_DEBUGREGS,
	KVM_GET_LAPIC,
	KVM_GET_TSC_KHZ,
	KVM_GET_MSR_INDEX_LIST,
	KVM_GET_MSRS,
	KVM_GET_VCPU_EVENTS,
	KVM_GET_CPUID2,
	KVM_GET_CLOCK,
	KVM_GET_IRQCHIP,
	KVM_GET_DIRTY_LOG,
};
static const unsigned data_only[] = { PROT_READ | PROT_WRITE, PROT_READ,
				      PROT_NONE }; /* never code */

static const unsigned unix_only[] = { AF_UNIX };

#define ANY              0, NULL, 0
#define ONE_OF(n, words) (n), (words), ARRAY_SIZE(words)

static const struct jail_rule vcpu_rules[] = {
	{ SYS_ioctl, ONE_OF(1, vcpu_ioctls),
	  "enter the guest; what a tap takes over, when a driver begins" },
	{ SYS_futex, ANY, "locks of devices, pause and resume" },
	{ SYS_write, ANY, "raise an interrupt, wake the device thread, a line of the log" },
	{ SYS_read, ANY, "take an eventfd's count" },
	{ SYS_epoll_ctl, ANY, "a device that is reset or activated stops or begins to watch" },
	{ SYS_sendmsg, ANY, "the queues of virtiofs for the file server" },
	{ SYS_recvmsg, ANY, "its answer" },
	{ SYS_poll, ANY, "its answer, which it may owe" },
	{ SYS_close, ANY, "connections of a vsock that is reset" },
	{ SYS_shutdown, ANY, "the same" },
	{ SYS_fcntl, ANY, "a device looks at what it has" },
	{ SYS_fallocate, ANY, "pages of a balloon that is reset" },
	{ SYS_brk, ANY, "malloc" },
	{ SYS_mmap, ONE_OF(2, data_only), "malloc" },
	{ SYS_mprotect, ONE_OF(2, data_only), "malloc" },
	{ SYS_munmap, ANY, "malloc, the end of the thread" },
	{ SYS_mremap, ANY, "malloc" },
	{ SYS_madvise, ANY, "malloc, the end of the thread" },
	{ SYS_clock_gettime, ANY, "when something was logged last" },
	{ SYS_gettid, ANY, "abort" },
	{ SYS_getpid, ANY, "abort" },
	{ SYS_tgkill, ANY, "wake another processor; abort" },
	{ SYS_rt_sigprocmask, ANY, "the end of the thread" },
	{ SYS_rt_sigreturn, ANY, "the signal that says: look up" },
	{ SYS_restart_syscall, ANY, "a wait that it interrupted" },
	{ SYS_exit, ANY, "the end of the thread" },
	{ SYS_exit_group, ANY, "the end of the process" },
};

static const struct jail_rule device_rules[] = {
	{ SYS_epoll_wait, ANY, "the loop" },
	{ SYS_epoll_pwait, ANY, "the loop" },
	{ SYS_epoll_ctl, ANY, "the loop" },
	{ SYS_read, ANY, "eventfds, signals, streams, taps" },
	{ SYS_readv, ANY, "streams, taps" },
	{ SYS_write, ANY, "eventfds, streams, the log" },
	{ SYS_writev, ANY, "streams, taps" },
	{ SYS_pread64, ANY, "disks" },
	{ SYS_preadv, ANY, "disks" },
	{ SYS_preadv2, ANY, "disks" },
	{ SYS_pwrite64, ANY, "disks, a snapshot" },
	{ SYS_pwritev, ANY, "disks" },
	{ SYS_pwritev2, ANY, "disks" },
	{ SYS_fdatasync, ANY, "a disk's flush" },
	{ SYS_fallocate, ANY, "a disk's discard, the balloon" },
	{ SYS_memfd_create, ANY, "which pages are dirty" },
	{ SYS_ftruncate, ANY, "its size" },
	{ SYS_lseek, ANY, "a disk's size, what of the guest's memory was touched" },
	{ SYS_getrandom, ANY, "the random device" },
	{ SYS_accept4, ANY, "vsock and control connections" },
	{ SYS_socket, ONE_OF(0, unix_only), "vsock: the host's sockets, by name" },
	{ SYS_connect, ANY, "the same" },
	{ SYS_fchdir, ANY, "the same: to the directory they are in" },
	{ SYS_socketpair, ANY, "vsock connections of our own" },
	{ SYS_sendto, ANY, "connections" },
	{ SYS_recvfrom, ANY, "connections" },
	{ SYS_sendmsg, ANY, "connections" },
	{ SYS_recvmsg, ANY, "connections" },
	{ SYS_shutdown, ANY, "connections" },
	{ SYS_close, ANY, "connections" },
	{ SYS_fcntl, ANY, "streams: whether they block, another descriptor of them" },
	{ SYS_fstat, ANY, "what a stream is" },
	{ SYS_newfstatat, ANY, "the same, as the C library asks" },
	{ SYS_ioctl, ONE_OF(1, device_ioctls),
	  "a terminal's size, what a pipe holds, a tap that is attached, a snapshot, the machine's end" },
	{ SYS_timerfd_settime, ANY, "the time that the guest gets to end" },
	{ SYS_prctl, ANY, "the command may end: its end is ours no more" },
	{ SYS_setsockopt, ANY, "how long an order may take" },
	{ SYS_futex, ANY, "locks" },
	{ SYS_poll, ANY, "flush the serial port" },
	{ SYS_brk, ANY, "malloc" },
	{ SYS_mmap, ONE_OF(2, data_only), "malloc" },
	{ SYS_munmap, ANY, "malloc" },
	{ SYS_mremap, ANY, "malloc" },
	{ SYS_madvise, ANY, "malloc" },
	{ SYS_mprotect, ONE_OF(2, data_only), "malloc" },
	{ SYS_clock_gettime, ANY, "when something was logged last" },
	{ SYS_clock_nanosleep, ANY, "rate limits" },
	{ SYS_sysinfo, ANY, "qsort of what the balloon takes: how much memory there is" },
	{ SYS_getpid, ANY, "wake a processor; abort" },
	{ SYS_gettid, ANY, "abort" },
	{ SYS_tgkill, ANY, "wake a processor; abort" },
	{ SYS_rt_sigprocmask, ANY, "abort" },
	{ SYS_rt_sigreturn, ANY, "signals" },
	{ SYS_restart_syscall, ANY, "signals" },
	{ SYS_exit, ANY, "the end" },
	{ SYS_exit_group, ANY, "the end" },
};

static const struct jail_rule file_server_rules[] = {
	{ SYS_epoll_wait, ANY, "the loop" },
	{ SYS_epoll_pwait, ANY, "the loop" },
	{ SYS_epoll_ctl, ANY, "the loop" },
	{ SYS_poll, ANY, "the loop" },
	{ SYS_recvmsg, ANY, "hull-vmm's messages" },
	{ SYS_sendmsg, ANY, "answers to them" },
	{ SYS_read, ANY, "eventfds of queues" },
	{ SYS_write, ANY, "interrupts" },
	{ SYS_openat, ANY, "a file, by its descriptor in our own procfs" },
	{ SYS_openat2, ANY, "one name in a directory" },
	{ SYS_close, ANY, "files" },
	{ SYS_statx, ANY, "attributes" },
	{ SYS_newfstatat, ANY, "attributes" },
	{ SYS_fstat, ANY, "attributes" },
	{ SYS_fstatfs, ANY, "attributes of a file system" },
	{ SYS_readlinkat, ANY, "a link's text, as the guest's" },
	{ SYS_fcntl, ANY, "another descriptor of a file; seals of the guest's memory" },
	{ SYS_getdents64, ANY, "a directory's entries" },
	{ SYS_fchdir, ANY, "where names are looked up" },
	{ SYS_preadv, ANY, "reading, into the guest's memory" },
	{ SYS_pwritev2, ANY, "writing, from the guest's memory" },
	{ SYS_lseek, ANY, "holes; a directory's position" },
	{ SYS_ftruncate, ANY, "a file's size" },
	{ SYS_fallocate, ANY, "space" },
	{ SYS_copy_file_range, ANY, "copying" },
	{ SYS_fsync, ANY, "durability" },
	{ SYS_fdatasync, ANY, "durability" },
	{ SYS_syncfs, ANY, "durability" },
	{ SYS_mkdirat, ANY, "making" },
	{ SYS_mknodat, ANY, "making" },
	{ SYS_symlinkat, ANY, "making" },
	{ SYS_linkat, ANY, "making" },
	{ SYS_unlinkat, ANY, "removing" },
	{ SYS_renameat, ANY, "renaming, as the C library does it without flags" },
	{ SYS_renameat2, ANY, "renaming" },
	{ SYS_fchmodat, ANY, "mode" },
	{ SYS_fchownat, ANY, "owner" },
	{ SYS_utimensat, ANY, "times" },
	{ SYS_getxattr, ANY, "extended attributes" },
	{ SYS_setxattr, ANY, "extended attributes" },
	{ SYS_listxattr, ANY, "extended attributes" },
	{ SYS_removexattr, ANY, "extended attributes" },
	{ SYS_setfsuid, ANY, "files belong to who makes them in the guest" },
	{ SYS_setfsgid, ANY, "the same" },
	{ SYS_umask, ANY, "the same" },
	{ SYS_capget, ANY, "the same: whether set-user-ID bits stay" },
	{ SYS_capset, ANY, "the same" },
	{ SYS_brk, ANY, "malloc" },
	{ SYS_mmap, ONE_OF(2, data_only), "malloc, the guest's memory" },
	{ SYS_mprotect, ONE_OF(2, data_only), "malloc" },
	{ SYS_munmap, ANY, "malloc" },
	{ SYS_mremap, ANY, "malloc" },
	{ SYS_madvise, ANY, "malloc" },
	{ SYS_clock_gettime, ANY, "how long something is known" },
	{ SYS_futex, ANY, "locks of the C library" },
	{ SYS_getpid, ANY, "abort" },
	{ SYS_gettid, ANY, "abort" },
	{ SYS_tgkill, ANY, "abort" },
	{ SYS_rt_sigprocmask, ANY, "abort" },
	{ SYS_rt_sigreturn, ANY, "signals" },
	{ SYS_restart_syscall, ANY, "signals" },
	{ SYS_exit_group, ANY, "the end" },
};

const struct jail_rule *jail_rules(enum jail_thread kind, size_t *count)
{
	switch (kind) {
	case JAIL_VCPU:
		*count = ARRAY_SIZE(vcpu_rules);
		return vcpu_rules;
	case JAIL_DEVICES:
		*count = ARRAY_SIZE(device_rules);
		return device_rules;
	default:
		*count = ARRAY_SIZE(file_server_rules);
		return file_server_rules;
	}
}

/* ---- the program --------------------------------------------------------------------------------------- */

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned short len;
};

static void emit(struct program *p, struct sock_filter instruction)
{
	if (p->len < PROGRAM_MAX)
		p->code[p->len] = instruction;
	p->len++;
}

static void load(struct program *p, size_t offset)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* Where the loaded word is value, the next instruction; else past so many. */
static void unless(struct program *p, uint32_t value, uint8_t skip)
{
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip));
}

static void finish(struct program *p, uint32_t verdict)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/* The number is loaded. Of an argument the kernel takes the lower half where these calls do; x86 has it first. */
static void add_rule(struct program *p, const struct jail_rule *rule)
{
	unless(p, (uint32_t)rule->nr, rule->values ? (uint8_t)(2 + 2 * rule->count) : 1);
	if (!rule->values) {
		finish(p, SECCOMP_RET_ALLOW);
		return;
	}
	load(p, offsetof(struct seccomp_data, args) + rule->argument * sizeof(uint64_t));
	for (size_t i = 0; i < rule->count; i++) {
		unless(p, rule->values[i], 1);
		finish(p, SECCOMP_RET_ALLOW);
	}
	finish(p, SECCOMP_RET_KILL_PROCESS);
}

static void add_rules(struct program *p, const struct jail_rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add_rule(p, &rules[i]);
}

/* What sanitizers do beside the program, and to print what they find. */
static void add_sanitizers_rules(struct program *p)
{
#ifdef HULL_SANITIZE
	static const struct jail_rule rules[] = {
		{ SYS_sigaltstack, ANY, "the end of a thread" },
		{ SYS_getrandom, ANY, "the heap" },
		{ SYS_sched_yield, ANY, "locks" },
		{ SYS_write, ANY, "a report" },
		{ SYS_readlink, ANY, "a report: the program's name" },
		{ SYS_open, ANY, "a report: /proc/self/maps" },
		{ SYS_openat, ANY, "the same" },
		{ SYS_newfstatat, ANY, "the same" },
		{ SYS_getpid, ANY, "the same" },
		{ SYS_gettid, ANY, "the same" },
		{ SYS_getuid, ANY, "the same" },
	};

	add_rules(p, rules, ARRAY_SIZE(rules));
#else
	(void)p;
#endif
}

int jail_enter_thread(enum jail_thread kind, struct error *err)
{
	struct program p = { .len = 0 };
	struct sock_fprog fprog;
	size_t count;
	const struct jail_rule *rules = jail_rules(kind, &count);

	/* Another architecture's numbers mean other calls. */
	load(&p, offsetof(struct seccomp_data, arch));
	unless(&p, AUDIT_ARCH_X86_64, 1);
	emit(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
	finish(&p, SECCOMP_RET_KILL_PROCESS);
	load(&p, offsetof(struct seccomp_data, nr));
	add_rules(&p, rules, count);
	add_sanitizers_rules(&p);
	finish(&p, SECCOMP_RET_KILL_PROCESS);
	if (p.len > PROGRAM_MAX)
		return error_errno(err, E2BIG, "jail: the filter of system calls");
	fprog = (struct sock_fprog){ .len = p.len, .filter = p.code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &fprog, 0, 0) < 0)
		return error_errno(err, errno, "jail: filter system calls");
	return 0;
}
