/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about processes; see process.h. */
#include "base/process.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/message.h"
#include "base/number.h"
#include "base/syscalls.h"

/* The fields of /proc/PID/stat after the command name, counted as proc(5) does (state is 3). */
#define STAT_STATE      3
#define STAT_PARENT     4
#define STAT_START_TIME 22

#define KILL_TIMEOUT 10000 /* milliseconds that a killed process may take to go */

#define UID_MAP_MAX 65536 /* bytes: 340 lines of three numbers fit */
#define INITIAL_USER_NS \
	0xEFFFFFFDU /* its inode in nsfs (PROC_USER_INIT_INO in the kernel's proc_ns.h) */

int process_read_stat(pid_t pid, struct process_stat *st, struct error *err)
{
	char path[64], buf[1024], *p, *save = NULL;
	uint64_t value;
	int field = STAT_STATE;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = file_read_small(AT_FDCWD, path, buf, sizeof(buf), NULL);
	if (n == -ENOENT && (kill(pid, 0) == 0 || errno == EPERM))
		return error_set(
			err, EACCES,
			"`/proc` hides process %d from this user; have it mounted without hidepid, or with "
			"the gid= of a group that the user is in",
			pid);
	if (n == -ENOENT || n == -ESRCH)
		return error_set(err, ESRCH, "process %d does not exist", pid);
	if (n < 0)
		return error_errno(err, (int)-n, "read `%s`", path);
	/* The command name is in parentheses and may hold any byte: go on after the last one. */
	p = strrchr(buf, ')');
	if (!p)
		return error_set(err, EINVAL, "`%s` is not as proc(5) says", path);
	*st = (struct process_stat){ 0 };
	for (p = strtok_r(p + 1, " ", &save); p; p = strtok_r(NULL, " ", &save), field++) {
		if (field == STAT_STATE)
			st->state = *p;
		if (field == STAT_PARENT && parse_u64(p, INT32_MAX, &value))
			st->parent = (pid_t)value;
		if (field == STAT_START_TIME && parse_u64(p, UINT64_MAX, &value)) {
			st->start_time = value;
			return 0;
		}
	}
	return error_set(err, EINVAL, "`%s` is not as proc(5) says", path);
}

int process_open(pid_t pid, uint64_t start_time, struct error *err)
{
	_cleanup_close_ int fd = pid > 0 ? sys_pidfd_open(pid, 0) : -1;
	struct process_stat st = { 0 };
	int r;

	/* EINVAL: the process is gone, but its number is that of a session or process group in which others are left. */
	if (fd < 0 && (pid <= 0 || errno == ESRCH || errno == EINVAL))
		return error_set(err, ESRCH, "process %d does not exist", pid);
	if (fd < 0)
		return error_errno(err, errno, "pidfd_open %d", pid);
	r = process_read_stat(pid, &st, err);
	if (r < 0 && (r != -ESRCH || sys_pidfd_send_signal(fd, 0, NULL, 0) == 0))
		return error_set(
			err, ENODEV,
			"process %d is there, but not to be seen in /proc: is that mounted, and "
			"without hidepid?",
			pid);
	if (r < 0 || st.start_time != start_time || st.state == 'Z' || st.state == 'X')
		return error_set(err, ESRCH, "process %d does not exist", pid);
	return take_fd(&fd);
}

int process_signal(pid_t pid, uint64_t start_time, int sig, struct error *err)
{
	_cleanup_close_ int pidfd = process_open(pid, start_time, err);

	if (pidfd < 0)
		return pidfd;
	if (sys_pidfd_send_signal(pidfd, sig, NULL, 0) < 0)
		return error_errno(err, errno, "send signal %d to process %d", sig, pid);
	return 0;
}

int process_kill(int pidfd, pid_t pid, struct error *err)
{
	if (sys_pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return error_errno(err, errno, "kill process %d", pid);
	return 0;
}

int process_await_end(int pidfd, pid_t pid, struct error *err)
{
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };
	int r;

	do {
		r = poll(&poll_fd, 1, KILL_TIMEOUT);
	} while (r < 0 && errno == EINTR);
	return r ? 0
		 : error_set(
			   err, ETIMEDOUT,
			   "process %d does not end although it was killed: it waits in the kernel",
			   pid);
}

int process_open_procfs(struct error *err)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (proc < 0 || fstatfs(proc, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return error_set(err, ENODEV,
				 "`/proc` is not mounted on this host: mount -t proc proc /proc");
	return take_fd(&proc);
}

int process_open_dir(pid_t pid, struct error *err)
{
	char path[32];
	int dir;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? error_errno(err, errno, "open `%s`", path) : dir;
}

int process_mount_procfs(struct error *err)
{
	_cleanup_close_ int fs = fsopen("proc", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return fd < 0 ? error_errno(err, errno, "mount a procfs") : fd;
}

bool process_is_host_root(void)
{
	struct stat st;

	return geteuid() == 0 && stat("/proc/self/ns/user", &st) == 0 &&
	       st.st_ino == INITIAL_USER_NS;
}

uid_t process_outer_uid(void)
{
	_cleanup_free_ char *text = NULL;
	uint64_t own = geteuid(), fields[3];
	char *save = NULL, *word;
	size_t n = 0;

	if (file_read(AT_FDCWD, "/proc/self/uid_map", UID_MAP_MAX, &text, NULL) < 0)
		return geteuid();
	for (word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (!parse_u64(word, UINT32_MAX, &fields[n % 3]))
			break;
		/* First id inside, first id outside, how many. */
		if (++n % 3 == 0 && own >= fields[0] && own - fields[0] < fields[2])
			return (uid_t)(fields[1] + (own - fields[0]));
	}
	return geteuid();
}

int process_exit_status(int wait_status)
{
	if (WIFEXITED(wait_status))
		return WEXITSTATUS(wait_status);
	if (WIFSIGNALED(wait_status))
		return 128 + WTERMSIG(wait_status);
	return 255;
}

int process_wait(pid_t pid, int *wait_status)
{
	while (waitpid(pid, wait_status, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

void process_reset_signals(void)
{
	sigset_t none;

	for (int n = 1; n < NSIG; n++)
		if (n != SIGKILL && n != SIGSTOP)
			signal(n, SIG_DFL);
#ifndef HULL_VALGRIND /* which has them for itself, too */
	for (int n = 32; n < SIGRTMIN; n++) {
		/* struct sigaction as the kernel has it: handler, flags, restorer, mask. */
		const uint64_t action[4] = { 0 };

		syscall(SYS_rt_sigaction, n, action, NULL, sizeof(action[3]));
	}
#endif
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int process_in_child(int (*fn)(void *data, struct error *err), void *data, struct error *err)
{
	enum { DONE, FAILED };
	_cleanup_close_ int channel = -EBADF;
	struct error said = { 0 };
	struct message m = { .fd_count = 0 };
	int ends[2] = { -EBADF, -EBADF }, r = message_pair(ends, err);
	pid_t pid;

	if (r < 0)
		return r;
	channel = ends[0];
	pid = fork();
	if (pid == 0) {
		r = fn(data, &said);
		message_send(ends[1], r < 0 ? FAILED : DONE, &said, sizeof(said), NULL, 0, NULL);
		_exit(0);
	}
	close(ends[1]);
	if (pid < 0)
		return error_errno(err, errno, "fork");
	r = message_receive(channel, &m, &said, sizeof(said), err);
	process_wait(pid, &(int){ 0 });
	if (r < 0 || m.type == DONE)
		return r < 0 ? r : 0;
	said.text[sizeof(said.text) - 1] = '\0';
	return error_set(err, said.code > 0 ? said.code : EIO, "%s", said.text);
}

bool process_user_name(uid_t uid, char *name, size_t size)
{
	_cleanup_fclose_ FILE *passwd = fopen("/etc/passwd", "re");
	struct passwd *entry;

	while (passwd && (entry = fgetpwent(passwd)))
		if (entry->pw_uid == uid)
			return (size_t)snprintf(name, size, "%s", entry->pw_name) < size;
	return false;
}
