/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs inside a container, static, and reports what a shell cannot see.
 *
 *   probe call NAME [ARG...]   makes one system call and prints "ok" or the error's name
 *   probe value NAME [ARG...]  the same, but prints the result
 *   probe tty                  prints whether standard input is a terminal, and its rows and columns
 *   probe open PATH            opens PATH for reading and writing: "ok" or the error's name
 *   probe signals              prints which signals are blocked and ignored, as masks
 *   probe umask                prints the umask
 *   probe memory MIB           touches so many MiB of memory and prints "ok"
 *   probe sleep                sleeps for ever, ignoring SIGTERM, SIGINT and SIGHUP
 *   probe notify TEXT...       sends each TEXT to $NOTIFY_SOCKET; "ok" or the error's name
 *   probe activated            prints the variables of socket activation and what the descriptors from 3 on are
 *   probe session              prints whether the process leads its session and process group
 *   probe scheduler            prints all of sched_getattr(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int report(long result)
{
	if (result < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("ok\n");
	return 0;
}

static int call(int argc, char **argv, bool print_value)
{
	static const struct {
		const char *name;
		long number;
	} calls[] = {
		{ "getppid", SYS_getppid },
		{ "io_uring_setup", SYS_io_uring_setup },
		{ "kexec_load", SYS_kexec_load },
		{ "keyctl", SYS_keyctl },
		{ "personality", SYS_personality },
		{ "sched_yield", SYS_sched_yield },
		{ "setns", SYS_setns },
		{ "unshare", SYS_unshare },
	};
	unsigned long args[6] = { 0 };

	for (int i = 0; i + 1 < argc && i < 6; i++)
		args[i] = strtoul(argv[i + 1], NULL, 0);
	for (size_t i = 0; argc > 0 && i < sizeof(calls) / sizeof(calls[0]); i++) {
		long result;

		if (strcmp(calls[i].name, argv[0]) != 0)
			continue;
		result = syscall(calls[i].number, args[0], args[1], args[2], args[3], args[4],
				 args[5]);
		if (!print_value || result < 0)
			return report(result);
		printf("%ld\n", result);
		return 0;
	}
	fprintf(stderr, "probe: unknown call\n");
	return 2;
}

static int tty(void)
{
	struct winsize size = { 0 };

	ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	printf("%s %u %u\n", isatty(STDIN_FILENO) ? "tty" : "none", size.ws_row, size.ws_col);
	return 0;
}

static int signals(void)
{
	unsigned long ignored = 0, blocked = 0;
	struct sigaction action;
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int sig = 1; sig < 64; sig++) {
		if (sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			ignored |= 1UL << (sig - 1);
		if (sigismember(&mask, sig) == 1)
			blocked |= 1UL << (sig - 1);
	}
	printf("blocked %lx ignored %lx\n", blocked, ignored);
	return 0;
}

static int memory(const char *mib)
{
	size_t size = strtoul(mib, NULL, 10) << 20;
	volatile char *p =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; p != MAP_FAILED && i < size; i += 4096)
		p[i] = 1;
	printf("%s\n", p != MAP_FAILED ? "ok" : "none");
	return 0;
}

static int notify(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path ? path : "");
	for (int i = 0; i < argc; i++)
		if (sendto(sock, argv[i], strlen(argv[i]), 0, (struct sockaddr *)&addr,
			   sizeof(addr)) < 0)
			return report(-1);
	return report(0);
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "unset";
}

static int activated(void)
{
	struct stat st;

	printf("fds %s pid %s names %s me %d\n", variable("LISTEN_FDS"), variable("LISTEN_PID"),
	       variable("LISTEN_FDNAMES"), getpid());
	for (int fd = 3; fd < 16; fd++) {
		int listening = 0;
		socklen_t size = sizeof(listening);

		if (fstat(fd, &st) < 0)
			continue;
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
		printf("%d %s\n", fd,
		       listening              ? "listens"
		       : S_ISSOCK(st.st_mode) ? "socket"
					      : "file");
	}
	return 0;
}

/* glibc has no sched_getattr(2), and the kernel's header of it cannot be included beside glibc's. */
static int scheduler(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
		uint32_t util_min, util_max;
	} attr = { 0 };

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0)
		return report(-1);
	printf("policy %u flags %#lx nice %d priority %u runtime %lu deadline %lu period %lu\n",
	       attr.policy, (unsigned long)attr.flags, attr.nice, attr.priority,
	       (unsigned long)attr.runtime, (unsigned long)attr.deadline,
	       (unsigned long)attr.period);
	return 0;
}

static _Noreturn void sleep_for_ever(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	mode_t mask;

	if (!strcmp(what, "call") || !strcmp(what, "value"))
		return call(argc - 2, argv + 2, what[0] == 'v');
	if (!strcmp(what, "tty"))
		return tty();
	if (!strcmp(what, "open") && argc > 2)
		return report(open(argv[2], O_RDWR | O_CLOEXEC));
	if (!strcmp(what, "signals"))
		return signals();
	if (!strcmp(what, "memory") && argc > 2)
		return memory(argv[2]);
	if (!strcmp(what, "notify"))
		return notify(argc - 2, argv + 2);
	if (!strcmp(what, "activated"))
		return activated();
	if (!strcmp(what, "scheduler"))
		return scheduler();
	if (!strcmp(what, "sleep"))
		sleep_for_ever();
	if (!strcmp(what, "umask")) {
		mask = umask(0);
		printf("%04o\n", mask);
		return 0;
	}
	if (!strcmp(what, "session")) {
		printf("session %s group %s\n", getsid(0) == getpid() ? "yes" : "no",
		       getpgrp() == getpid() ? "yes" : "no");
		return 0;
	}
	fprintf(stderr, "probe: unknown command\n");
	return 2;
}
