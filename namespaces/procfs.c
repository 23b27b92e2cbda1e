/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs of a pid namespace that others are in. It shows the pid namespace of the process that calls fsopen(2): some process
 * must be in there, with CAP_SYS_ADMIN, and whoever has CAP_SYS_PTRACE in there can take it over. So a helper does that
 * one step, and a seccomp filter, loaded before it is there, lets it do nothing else, whoever controls it. We configure, make and
 * mount what it opened, outside.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/message.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "namespaces/rootfs.h"

#define FS_NAME "proc"

/*
 * The name of the file system, where nobody can change it: a sealed file, mapped shared, since of a private page ptrace(2) and
 * /proc/PID/mem make a copy to write to. Another file system would read what the attacker names, with our privilege.
 */
static const char *map_name(struct error *err)
{
	_cleanup_close_ int fd = memfd_create(FS_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	void *name = MAP_FAILED;

	if (fd >= 0 && write(fd, FS_NAME, sizeof(FS_NAME)) == sizeof(FS_NAME) &&
	    fcntl(fd, F_ADD_SEALS, seals) == 0)
		name = mmap(NULL, sizeof(FS_NAME), PROT_READ, MAP_SHARED, fd, 0);
	if (name != MAP_FAILED)
		return name;
	error_errno(err, errno, "seal the name of a file system");
	return NULL;
}

/* ---- the helper ------------------------------------------------------------------------------- */

/* Nothing that opens, receives or maps; the clone is of the helper itself. All else is the end. */
static int load_filter(const char *name)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = ctx ? 0 : -ENOMEM;

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fsopen), 2,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)(uintptr_t)name),
				     SCMP_A1(SCMP_CMP_EQ, FSOPEN_CLOEXEC));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_EQ, SIGCHLD));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 0);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(wait4), 0);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(exit_group), 0);
#ifndef HULL_VALGRIND /* makes calls of its own in our name */
	if (r == 0)
		r = seccomp_load(ctx);
#endif
	return r; /* ctx ends with the process: giving it back could take other calls */
}

static int keep_only_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = 1U << CAP_SYS_ADMIN, .permitted = 1U << CAP_SYS_ADMIN },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Leaves all that a process in the pid namespace could find in our child: the host's root, descriptors, privileges. */
static int leave_host(const struct rootfs *rootfs, int *sync)
{
	if (fchdir(rootfs->tree) < 0 || chroot(".") < 0 ||
	    setns(rootfs->pid_ns, CLONE_NEWPID) < 0 || dup2(*sync, STDIN_FILENO) < 0)
		return -errno;
	*sync = STDIN_FILENO;
	if (sys_close_range(STDIN_FILENO + 1, ~0U, 0) < 0)
		return -errno;
	return keep_only_admin();
}

/* The answer's type is an errno, or 0 with the descriptor. */
static void answer(int sync, int code, int fd)
{
	message_send(sync, (uint32_t)code, NULL, 0, &fd, fd >= 0, NULL);
}

static void __attribute__((noreturn))
helper(const struct rootfs *rootfs, const char *name, int sync)
{
	int r, fs;
	pid_t pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	r = leave_host(rootfs, &sync);
	if (r == 0)
		r = load_filter(name);
	if (r < 0) {
		answer(sync, -r, -1);
		_exit(1);
	}
	pid = sys_clone(SIGCHLD);
	if (pid > 0) {
		process_wait(pid, &(int){ 0 });
		_exit(0);
	}
	/* In the pid namespace now, or not at all. */
	fs = pid == 0 ? fsopen(name, FSOPEN_CLOEXEC) : -1;
	answer(sync, fs < 0 ? errno : 0, fs);
	_exit(0);
}

/* ---- outside ---------------------------------------------------------------------------------- */

static int receive(int sync, struct error *err)
{
	struct message message;
	int r = message_receive(sync, &message, NULL, 0, err);

	if (r < 0)
		return error_wrap(err, "mount `proc` for a joined pid namespace");
	if (message.fd_count == 1)
		return message.fds[0];
	for (unsigned i = 0; i < message.fd_count; i++)
		close(message.fds[i]);
	return error_errno(err,
			   message.type && message.type <= INT16_MAX ? (int)message.type : EPROTO,
			   "open `proc` in a joined pid namespace");
}

int procfs_open(const struct rootfs *rootfs, struct error *err)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	_cleanup_close_ int sync = -EBADF;
	const char *name = map_name(err);
	int ends[2], r;
	pid_t pid;

	if (!name)
		return -err->code;
	r = message_pair(ends, err);
	if (r < 0)
		return r;
	sync = ends[0];
	pid = sys_clone3(&args);
	if (pid == 0)
		helper(rootfs, name, ends[1]);
	r = pid < 0 ? error_errno(err, errno, "clone3 a helper") : 0;
	close(ends[1]);
	if (r == 0)
		r = receive(sync, err);
	if (pid > 0 && r < 0)
		kill(pid, SIGKILL);
	if (pid > 0)
		process_wait(pid, &(int){ 0 });
	munmap((void *)(uintptr_t)name, sizeof(FS_NAME));
	return r;
}
