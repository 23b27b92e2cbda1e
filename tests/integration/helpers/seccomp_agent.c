/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent at linux.seccomp.listenerPath, as bypass4netns and its like are.
 *
 * usage: seccomp_agent SOCKET DIR COUNT ANSWER
 *
 * Listens at SOCKET for COUNT connections, one after the other. Each one's state goes to DIR/state.N (N from 1), a line
 * about the connection to DIR/log: how many descriptors came, and whether it ended after the state. The listener is served
 * by a process of its own until the container's processes have ended: ANSWER is `continue`, a number, which is the result
 * of getppid(2) (other calls continue), or `deaf`: nobody answers. The numbers of the calls go to DIR/calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "seccomp_agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* Whoever sees the path can connect: it gets its name only when somebody listens. */
	if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s.new", path) >=
	    sizeof(addr.sun_path))
		die("path too long");
	if (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(sock, 8) < 0 ||
	    rename(addr.sun_path, path) < 0)
		die(path);
	return sock;
}

/* Reads the state to its file; returns the listener. */
static int receive_listener(int peer, const char *dir, int number)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(4 * sizeof(int))];
	} control;
	char buf[4096], name[32];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	int fd = -1, state, log = open_in(dir, "log", O_APPEND);
	ssize_t n = recvmsg(peer, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	size_t fds = c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

	snprintf(name, sizeof(name), "state.%d", number);
	state = open_in(dir, name, O_TRUNC);
	if (fds)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	while (n > 0) {
		if (write(state, buf, (size_t)n) != n)
			die("write the state");
		n = read(peer, buf, sizeof(buf));
	}
	dprintf(log, "fds %zu end %s\n", fds, n == 0 ? "yes" : "no");
	close(state);
	close(log);
	close(peer);
	return fd;
}

static void serve(int listener, const char *dir, const char *answer)
{
	struct seccomp_notif_sizes sizes;
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
	struct seccomp_notif *request;
	struct seccomp_notif_resp *response;
	int calls = open_in(dir, "calls", O_APPEND);

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		die("SECCOMP_GET_NOTIF_SIZES");
	request = calloc(1, sizes.seccomp_notif);
	response = calloc(1, sizes.seccomp_notif_resp);
	if (!request || !response)
		die("calloc");
	while (poll(&poll_fd, 1, -1) > 0 && (poll_fd.revents & POLLIN)) {
		memset(request, 0, sizes.seccomp_notif);
		memset(response, 0, sizes.seccomp_notif_resp);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request) < 0)
			continue;
		dprintf(calls, "%d\n", request->data.nr);
		response->id = request->id;
		if (request->data.nr == SYS_getppid && strcmp(answer, "continue") != 0)
			response->val = strtol(answer, NULL, 10);
		else
			response->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	int sock, count;

	if (argc != 5) {
		fprintf(stderr, "usage: seccomp_agent SOCKET DIR COUNT ANSWER\n");
		return 2;
	}
	sock = listen_at(argv[1]);
	count = (int)strtol(argv[3], NULL, 10);
	for (int n = 1; n <= count; n++) {
		int peer = accept4(sock, NULL, NULL, SOCK_CLOEXEC), listener;

		if (peer < 0)
			die("accept");
		listener = receive_listener(peer, argv[2], n);
		if (listener >= 0 && strcmp(argv[4], "deaf") != 0 && fork() == 0) {
			close(sock);
			serve(listener, argv[2], argv[4]);
		}
		close(listener);
	}
	return 0;
}
