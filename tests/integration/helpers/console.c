/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of --console-socket, as an engine is.
 *
 * usage: console SOCKET [ROWS COLUMNS]
 *
 * Listens at SOCKET, takes the terminal's master that arrives there, sets its size where one is
 * given, then copies standard input to it and what it prints to standard output, until its other
 * side is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "console: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int receive_terminal(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	char name[256];
	struct iovec iov = { name, sizeof(name) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int peer, fd;

	/* Whoever sees the path can connect: it gets its name only when somebody listens. */
	if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s.new", path) >=
	    sizeof(addr.sun_path))
		die("path too long");
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 1) < 0 ||
	    rename(addr.sun_path, path) < 0)
		die(path);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0 || recvmsg(peer, &msg, MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&msg))
		die("receive the terminal");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	close(peer);
	close(listener);
	return fd;
}

/* Copies what is there; false at the end. */
static int copy(int from, int to)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof(buf));

	return n > 0 && write(to, buf, (size_t)n) == n;
}

int main(int argc, char **argv)
{
	struct winsize size = { 0 };
	struct pollfd fds[2] = { { .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };

	if (argc != 2 && argc != 4) {
		fprintf(stderr, "usage: console SOCKET [ROWS COLUMNS]\n");
		return 2;
	}
	fds[0].fd = receive_terminal(argv[1]);
	if (argc == 4) {
		size.ws_row = (unsigned short)strtoul(argv[2], NULL, 10);
		size.ws_col = (unsigned short)strtoul(argv[3], NULL, 10);
		if (ioctl(fds[0].fd, TIOCSWINSZ, &size) < 0)
			die("TIOCSWINSZ");
	}
	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents && !copy(fds[0].fd, STDOUT_FILENO))
			break;
		if (fds[1].revents && !copy(STDIN_FILENO, fds[0].fd))
			fds[1].fd = -1;
	}
	return 0;
}
