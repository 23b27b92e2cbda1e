/* SPDX-License-Identifier: Apache-2.0 */
/* Talking to a microVM that runs: to hull-guest in it, by vsock, and to its hull-vmm. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/message.h"
#include "base/path.h"
#include "microvm/control.h"
#include "sandbox/microvm.h"

int microvm_open_dir(const struct sandbox *sb, struct error *err)
{
	int dir = openat(sb->state_dir, MICROVM_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir >= 0)
		return dir;
	return errno == ENOENT
		       ? error_set(err, ESRCH, "the microVM does not run")
		       : error_errno(err, errno, "open `%s` in the state directory", MICROVM_DIR);
}

static int connect_socket(int dir, const char *name, int type, struct error *err)
{
	char path[64];
	int sock;

	snprintf(path, sizeof(path), "%s/%s", path_of_fd(dir).s, name);
	sock = message_connect(path, type, err);
	if (sock == -ECONNREFUSED || sock == -ENOENT)
		return error_set(err, ESRCH, "the microVM does not run");
	return sock;
}

static void limit_wait(int sock, int seconds)
{
	const struct timeval timeout = { .tv_sec = seconds };

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

/* The line "OK PORT", byte by byte: what follows it is the guest's. */
static int read_answer(int sock, struct error *err)
{
	char line[32];

	for (size_t len = 0; len < sizeof(line); len++) {
		ssize_t n;

		do {
			n = recv(sock, &line[len], 1, 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0 && errno != ECONNRESET)
			return errno == EAGAIN
				       ? error_set(err, ETIMEDOUT, "the microVM does not answer")
				       : error_errno(err, errno, "connect to the microVM");
		if (n <= 0)
			return error_set(err, EPIPE, "the microVM has ended");
		if (line[len] == '\n')
			return len >= 3 && !memcmp(line, "OK ", 3)
				       ? 0
				       : error_errno(err, EPROTO, "connect to the microVM");
	}
	return error_errno(err, EPROTO, "connect to the microVM");
}

int microvm_connect(int dir, uint32_t port, int seconds, struct error *err)
{
	_cleanup_close_ int sock = connect_socket(dir, "vsock.sock", SOCK_STREAM, err);
	char line[32];
	int len = snprintf(line, sizeof(line), "CONNECT %u\n", port), r;

	if (sock < 0)
		return sock;
	limit_wait(sock, seconds);
	if (send(sock, line, (size_t)len, MSG_NOSIGNAL) != len)
		return error_set(err, EPIPE, "the microVM has ended");
	r = read_answer(sock, err);
	return r < 0 ? r : take_fd(&sock);
}

int microvm_connect_agent(const struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int dir = microvm_open_dir(sb, err);

	return dir < 0 ? dir : microvm_connect(dir, AGENT_PORT, MICROVM_ANSWER, err);
}

ssize_t microvm_request(const struct sandbox *sb, enum agent_type type, const struct iovec *parts,
			unsigned count, char **answer, size_t max, struct error *err)
{
	_cleanup_close_ int sock = microvm_connect_agent(sb, err);
	int r;

	if (sock < 0)
		return sock;
	r = agent_sendv(sock, type, parts, count, err);
	return r < 0 ? r : agent_receive_answer(sock, NULL, answer, max, NULL, err);
}

int microvm_open_control(const struct sandbox *sb, int seconds, struct error *err)
{
	_cleanup_close_ int dir = microvm_open_dir(sb, err);
	int sock;

	if (dir < 0)
		return dir;
	sock = connect_socket(dir, "control.sock", SOCK_SEQPACKET, err);
	if (sock >= 0)
		limit_wait(sock, seconds);
	return sock;
}

ssize_t microvm_order_on(int sock, uint32_t order, const void *payload, size_t len, const int *fds,
			 unsigned fd_count, void *answer, size_t size, struct error *err)
{
	union {
		struct error error;
		char bytes[sizeof(struct error)];
	} buf;
	struct message message = { 0 };
	int r = message_send(sock, order, payload, len, fds, fd_count, err);

	if (r == 0)
		r = message_receive(sock, &message, &buf, sizeof(buf), err);
	if (r < 0)
		return r;
	/* hull-vmm is where the guest is first when it breaks out: its words are read like the guest's. */
	for (unsigned i = 0; i < message.fd_count; i++)
		close(message.fds[i]);
	if (message.type == CONTROL_FAILED && message.len == sizeof(buf.error)) {
		buf.error.text[sizeof(buf.error.text) - 1] = '\0';
		return error_set(err, buf.error.code > 0 ? buf.error.code : EIO, "hull-vmm: %s",
				 buf.error.text);
	}
	if (message.type != CONTROL_DONE || message.len > size)
		return error_errno(err, EPROTO, "talk to hull-vmm");
	if (message.len)
		memcpy(answer, buf.bytes, message.len);
	return message.len;
}

ssize_t microvm_order(const struct sandbox *sb, uint32_t order, const void *payload, size_t len,
		      int fd, void *answer, size_t size, struct error *err)
{
	_cleanup_close_ int sock = microvm_open_control(sb, MICROVM_ANSWER, err);

	return sock < 0 ? sock
			: microvm_order_on(sock, order, payload, len, &fd, fd >= 0, answer, size,
					   err);
}
