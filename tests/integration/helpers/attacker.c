/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an attacker runs, in a container or beside one, quicker than a shell could.
 *
 *   attacker swap A B
 *                              exchanges the names A and B without a pause, until it is killed; says "swapping" first
 *   attacker memory TEXT       looks for TEXT in the memory of each process of hull's, and says "found", or "none" where
 *                              there is no such process
 *   attacker snoop PATH BELOW INODE
 *                              looks at each process that turns up in /proc, until SIGTERM, and says, once each:
 *                                root, cwd, fd   through such a link of a process the host's file PATH can be reached,
 *                                                or BELOW, which is its path from a directory that hull has open
 *                                exe             its program is the file with that INODE, hull's
 *                                terminal        one of its first three descriptors is a terminal that is not of this
 *                                                container
 *                                readable        the process is hull's, and can be looked into
 *                                admin           it may have CAP_SYS_ADMIN, and no seccomp filter holds it
 *                              Says "snooping" first, and at the end "seen N": how many processes it looked at
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define UNIX98_PTY_MAJOR 136

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	stop = sig;
}

static int swap(const char *a, const char *b)
{
	printf("swapping\n");
	fflush(stdout);
	while (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0)
		;
	fprintf(stderr, "attacker: swap: %s\n", strerror(errno));
	return 1;
}

/* Whether /proc/PID/link/path exists for us. */
static bool leads_to(int pid, const char *link, const char *path)
{
	char name[8192];

	snprintf(name, sizeof(name), "/proc/%d/%s/%s", pid, link, path);
	return access(name, F_OK) == 0;
}

static bool fd_leads_to(int pid, const char *path, const char *below)
{
	char name[64], link[32], by_proc[4096];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(by_proc, sizeof(by_proc), "1/root%s", path); /* from the host's /proc */

	snprintf(name, sizeof(name), "/proc/%d/fd", pid);
	dir = opendir(name);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), "fd/%.10s", entry->d_name);
		found = leads_to(pid, link, path) || leads_to(pid, link, below) ||
			leads_to(pid, link, by_proc);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool has_foreign_terminal(int pid)
{
	char name[64];
	struct stat pts, st;

	if (stat("/dev/pts", &pts) < 0)
		return false;
	for (int fd = 0; fd <= 2; fd++) {
		snprintf(name, sizeof(name), "/proc/%d/fd/%d", pid, fd);
		if (stat(name, &st) == 0 && S_ISCHR(st.st_mode) &&
		    major(st.st_rdev) == UNIX98_PTY_MAJOR && st.st_dev != pts.st_dev)
			return true;
	}
	return false;
}

static bool is_program(int pid, ino_t inode)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "/proc/%d/exe", pid);
	return stat(name, &st) == 0 && st.st_ino == inode;
}

/* hull's program is a memfd of its name. */
static bool is_readable_hull(int pid)
{
	char name[64], target[64] = "";

	snprintf(name, sizeof(name), "/proc/%d/exe", pid);
	return readlink(name, target, sizeof(target) - 1) > 0 && strstr(target, "memfd:hull");
}

static unsigned long long field(const char *status, const char *name, int base)
{
	const char *at = strstr(status, name);

	return at ? strtoull(at + strlen(name), NULL, base) : 0;
}

static bool is_unconfined_admin(int pid)
{
	char name[64], status[4096];
	ssize_t n = -1;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/status", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, status, sizeof(status) - 1);
		close(fd);
	}
	status[n > 0 ? n : 0] = '\0';
	return (field(status, "CapPrm:", 16) & 1ULL << CAP_SYS_ADMIN) &&
	       field(status, "Seccomp:", 10) == 0;
}

static bool search(const char *mem, size_t len, const char *text)
{
	return memmem(mem, len, text, strlen(text)) != NULL;
}

static bool memory_has(int pid, const char *text)
{
	static char chunk[1 << 20];
	char name[64], line[512];
	unsigned long start, end;
	bool found = false;
	FILE *maps;
	int mem;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	maps = fopen(name, "re");
	snprintf(name, sizeof(name), "/proc/%d/mem", pid);
	mem = open(name, O_RDONLY | O_CLOEXEC);
	while (maps && mem >= 0 && !found && fgets(line, sizeof(line), maps)) {
		char *rest;

		start = strtoul(line, &rest, 16);
		end = strtoul(rest + 1, NULL, 16);
		for (; !found && start < end; start += sizeof(chunk)) {
			ssize_t n = pread(mem, chunk, sizeof(chunk), (off_t)start);

			found = n > 0 && search(chunk, (size_t)n, text);
		}
	}
	if (maps)
		fclose(maps);
	if (mem >= 0)
		close(mem);
	return found;
}

static int memory(const char *text)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool any = false;

	while (proc && (entry = readdir(proc))) {
		int pid = (int)strtol(entry->d_name, NULL, 10);

		if (pid <= 0 || !is_readable_hull(pid))
			continue;
		any = true;
		if (memory_has(pid, text))
			printf("found\n");
	}
	if (!any)
		printf("none\n");
	return 0;
}

static void say_once(const char *what)
{
	static const char *said[8];
	size_t i = 0;

	while (said[i] && said[i] != what)
		i++;
	if (said[i])
		return;
	said[i] = what;
	printf("%s\n", what);
	fflush(stdout);
}

struct wanted {
	const char *path, *below;
	ino_t program;
};

static void look_at(int pid, const struct wanted *w)
{
	if (leads_to(pid, "root", w->path))
		say_once("root");
	if (leads_to(pid, "cwd", w->path) || leads_to(pid, "cwd", w->below))
		say_once("cwd");
	if (is_program(pid, w->program))
		say_once("exe");
	if (has_foreign_terminal(pid))
		say_once("terminal");
	if (is_unconfined_admin(pid))
		say_once("admin");
	if (is_readable_hull(pid))
		say_once("readable");
	if (fd_leads_to(pid, w->path, w->below))
		say_once("fd");
}

static int snoop(const struct wanted *w)
{
	struct sigaction action = { .sa_handler = on_term };
	DIR *proc = opendir("/proc");
	unsigned seen = 0;
	int last = 0;

	if (!proc)
		return 1;
	sigaction(SIGTERM, &action, NULL);
	printf("snooping\n");
	fflush(stdout);
	while (!stop) {
		struct dirent *entry;

		rewinddir(proc);
		while ((entry = readdir(proc))) {
			int pid = (int)strtol(entry->d_name, NULL, 10);

			if (pid <= 0 || pid == getpid())
				continue;
			seen += pid != last;
			last = pid;
			look_at(pid, w);
		}
	}
	printf("seen %u\n", seen);
	return 0;
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (argc == 4 && !strcmp(argv[1], "swap"))
		return swap(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "memory"))
		return memory(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "snoop"))
		return snoop(&(struct wanted){ argv[2], argv[3], strtoul(argv[4], NULL, 10) });
	fprintf(stderr, "usage: attacker swap A B | memory TEXT | snoop PATH BELOW INODE\n");
	return 2;
}
