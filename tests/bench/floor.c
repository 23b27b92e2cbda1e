/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: the least that the kernel charges for starting one container, with no runtime around
 * it. A yardstick for start time; neither a design nor a sandbox.
 *
 * usage: floor ROOTFS COMMAND [ARG...]
 *
 * It makes the namespaces and the mounts of the default configuration, enters ROOTFS and executes
 * COMMAND. It reads no configuration, keeps no state, and sets no limit, capability or filter.
 */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define NO_EXTRAS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static const struct {
	const char *type, *target;
	unsigned long flags;
	const char *data;
} mounts[] = {
	{ "proc", "proc", NO_EXTRAS, NULL },
	{ "tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k" },
	{ "devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5" },
	{ "tmpfs", "dev/shm", NO_EXTRAS, "mode=1777,size=65536k" },
	{ "mqueue", "dev/mqueue", NO_EXTRAS, NULL },
	{ "sysfs", "sys", NO_EXTRAS | MS_RDONLY, NULL },
};

static const struct {
	const char *path;
	unsigned major, minor;
} devices[] = {
	{ "dev/null", 1, 3 },   { "dev/zero", 1, 5 },    { "dev/full", 1, 7 },
	{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
};

static void must(long result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static _Noreturn void become_container(const char *rootfs, char **command)
{
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make / a slave");
	must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
	must(chdir(rootfs), rootfs);
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		if (mkdir(mounts[i].target, 0755) < 0 && errno != EEXIST)
			must(-1, mounts[i].target);
		must(mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
			   mounts[i].data),
		     mounts[i].target);
	}
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		must(mknod(devices[i].path, S_IFCHR | 0666,
			   makedev(devices[i].major, devices[i].minor)),
		     devices[i].path);
	must(sethostname("floor", 5), "sethostname");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount2");
	must(chdir("/"), "chdir");
	execv(command[0], command);
	must(-1, command[0]);
	_exit(125);
}

int main(int argc, char **argv)
{
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
	};
	int status;
	long pid;

	if (argc < 3) {
		fprintf(stderr, "usage: floor ROOTFS COMMAND [ARG...]\n");
		return 125;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	must(pid, "clone3");
	if (pid == 0)
		become_container(argv[1], argv + 2);
	must(waitpid((pid_t)pid, &status, 0), "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
