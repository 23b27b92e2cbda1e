/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with descriptors over Unix sockets; see message.h and unix(7). */
#include "base/message.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/path.h"

struct header {
	uint32_t type;
	uint32_t len;
};

int message_pair(int fds[2], struct error *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return error_errno(err, errno, "socketpair");
	return 0;
}

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * MESSAGE_FDS)];
};

static void attach_fds(struct msghdr *msg, union control *control, const int *fds, unsigned count)
{
	struct cmsghdr *cmsg;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->buf;
	msg->msg_controllen = CMSG_SPACE(sizeof(int) * count);
	cmsg = CMSG_FIRSTHDR(msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * count);
}

static int send_retry(int sock, const struct msghdr *msg)
{
	while (sendmsg(sock, msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int message_send(int sock, uint32_t type, const void *payload, size_t len, const int *fds,
		 unsigned fd_count, struct error *err)
{
	struct header header = { .type = type, .len = (uint32_t)len };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)(uintptr_t)payload, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };
	union control control;
	int r;

	if (len > MESSAGE_MAX || fd_count > MESSAGE_FDS)
		return error_errno(err, EMSGSIZE, "send a message of %zu bytes", len);
	if (fd_count)
		attach_fds(&msg, &control, fds, fd_count);
	r = send_retry(sock, &msg);
	if (r < 0)
		return error_errno(err, -r, "send a message to the other process of hull");
	return 0;
}

static void take_fds(struct msghdr *msg, struct message *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count && message->fd_count < MESSAGE_FDS; i++)
			memcpy(&message->fds[message->fd_count++], CMSG_DATA(c) + i * sizeof(int),
			       sizeof(int));
	}
}

int message_receive(int sock, struct message *message, void *payload, size_t size,
		    struct error *err)
{
	struct header header = { 0 };
	struct iovec iov[2] = { { &header, sizeof(header) }, { payload, size } };
	union control control;
	struct msghdr msg = {
		.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	*message = (struct message){ 0 };
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_errno(err, errno, "receive a message from the other process of hull");
	if (n == 0)
		return error_set(err, EPIPE, "the other process of hull ended unexpectedly");
	take_fds(&msg, message);
	if ((size_t)n < sizeof(header) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    header.len != (size_t)n - sizeof(header)) {
		for (unsigned i = 0; i < message->fd_count; i++)
			close(message->fds[i]);
		message->fd_count = 0;
		return error_errno(err, EMSGSIZE,
				   "receive a message from the other process of hull");
	}
	message->type = header.type;
	message->len = header.len;
	return 0;
}

int message_send_fd(int sock, const char *name, int fd, struct error *err)
{
	struct iovec iov = { (void *)(uintptr_t)name, strlen(name) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	int r;

	attach_fds(&msg, &control, &fd, 1);
	r = send_retry(sock, &msg);
	if (r < 0)
		return error_errno(err, -r, "send a descriptor");
	return 0;
}

int message_connect(const char *path, int type, struct error *err)
{
	_cleanup_close_ int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	_cleanup_close_ int file = -EBADF;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (sock < 0)
		return error_errno(err, errno, "socket");
	if (strlen(path) < sizeof(addr.sun_path)) {
		strcpy(addr.sun_path, path);
	} else {
		/* sun_path holds 108 bytes; a descriptor's name in procfs fits always. */
		file = open(path, O_PATH | O_CLOEXEC);
		if (file < 0)
			return error_errno(err, errno, "open socket `%s`", path);
		strcpy(addr.sun_path, path_of_fd(file).s);
	}
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_errno(err, errno, "connect to `%s`", path);
	return take_fd(&sock);
}
