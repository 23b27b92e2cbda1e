/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of hull's sockets, as an engine, systemd or a log daemon is.
 *
 *   sockets pidfd PATH       listens at PATH, takes the descriptor that arrives there, and prints what was sent with
 *                            it and the process that it is a pidfd of
 *   sockets datagrams PATH   binds PATH ("@name": an abstract one) and prints what arrives, a datagram a line, with
 *                            line breaks as "|" and other bytes that are no text as "?". Until it is killed
 *   sockets pair COMMAND -- COMMAND
 *                            runs both with the ends of a connected pair of SOCK_SEQPACKET sockets as descriptor 9, and ends
 *                            like the second, or with 1 where only the first failed
 *   sockets listener PATH COMMAND
 *                            becomes COMMAND, with a socket that listens at PATH as descriptor 8
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "sockets: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A socket at a path, or at "@NAME"; a path gets its name only when the socket can be used. */
static int bound(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	bool abstract = path[0] == '@';
	int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int len = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s%s", path,
			   abstract ? "" : ".new");

	if (len < 0 || (size_t)len >= sizeof(addr.sun_path))
		die("path too long");
	if (abstract)
		addr.sun_path[0] = '\0';
	else
		len++;
	if (bind(sock, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)) < 0 ||
	    (type == SOCK_STREAM && listen(sock, 1) < 0) ||
	    (!abstract && rename(addr.sun_path, path) < 0))
		die(path);
	return sock;
}

/* Prints the line "Pid:" of what the kernel says about a pidfd. */
static void print_pid(int fd)
{
	char path[64], line[128];
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	while (info && fgets(line, sizeof(line), info))
		if (!strncmp(line, "Pid:", 4))
			fputs(line + 4 + strspn(line + 4, "\t"), stdout);
	if (info)
		fclose(info);
}

static int receive_pidfd(const char *path)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	char name[256];
	struct iovec iov = { name, sizeof(name) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	int listener = bound(path, SOCK_STREAM), peer, fd;
	ssize_t n;

	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	n = recvmsg(peer, &msg, MSG_CMSG_CLOEXEC);
	if (peer < 0 || n <= 0 || !CMSG_FIRSTHDR(&msg))
		die("receive the pidfd");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	name[n] = '\0';
	printf("%s ", name);
	print_pid(fd);
	return 0;
}

static int print_datagrams(const char *path)
{
	int sock = bound(path, SOCK_DGRAM);
	char buf[8192];
	ssize_t n;

	if (path[0] != '@' && chmod(path, 0777) < 0)
		die(path);
	/* Descriptors that come along are closed, which is the answer that a barrier waits for. */
	while ((n = recv(sock, buf, sizeof(buf), 0)) >= 0) {
		for (ssize_t i = 0; i < n; i++)
			putchar(buf[i] == '\n' ? '|' : buf[i] < ' ' || buf[i] > '~' ? '?' : buf[i]);
		putchar('\n');
		fflush(stdout);
	}
	return 1;
}

static pid_t run_with(int fd, int other, char **command)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (dup2(fd, 9) < 0)
		die("dup2");
	close(fd);
	close(other);
	execvp(command[0], command);
	die(command[0]);
	return -1;
}

static int status_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		die("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_pair(char **first)
{
	char **second = first;
	int fds[2], status;
	pid_t pids[2];

	while (*second && strcmp(*second, "--") != 0)
		second++;
	if (!*second || !second[1] || second == first)
		return 2;
	*second++ = NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		die("socketpair");
	pids[0] = run_with(fds[0], fds[1], first);
	pids[1] = run_with(fds[1], fds[0], second);
	close(fds[0]);
	close(fds[1]);
	status = status_of(pids[1]);
	return status_of(pids[0]) && !status ? 1 : status;
}

static int run_listener(const char *path, char **command)
{
	if (dup2(bound(path, SOCK_STREAM), 8) < 0)
		die("dup2");
	execvp(command[0], command);
	die(command[0]);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "pidfd"))
		return receive_pidfd(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "datagrams"))
		return print_datagrams(argv[2]);
	if (argc > 4 && !strcmp(argv[1], "pair"))
		return run_pair(argv + 2);
	if (argc > 3 && !strcmp(argv[1], "listener"))
		return run_listener(argv[2], argv + 3);
	fprintf(stderr, "usage: sockets pidfd|datagrams PATH, sockets pair COMMAND -- COMMAND, "
			"sockets listener PATH COMMAND\n");
	return 2;
}
