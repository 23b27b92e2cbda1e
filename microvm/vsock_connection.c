/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of a vsock stream; see vsock_connection.h. */
#include "microvm/vsock_connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/number.h"
#include "microvm/virtio_vsock.h"

#define SOCKET_ROOM 106496 /* as a socket has, where nobody set another */

struct vsock_connection *vsock_connection_new(void *device, int fd, loop_callback *callback)
{
	struct vsock_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->device = device;
	c->source = (struct loop_source){ .fd = fd, .callback = callback, .data = c };
	return c;
}

void vsock_connection_free(struct vsock_connection *c)
{
	close_fd(&c->source.fd);
	free(c->unsent);
	free(c->buffer);
	free(c);
}

/* The kernel doubles it, for what it needs itself. */
static void set_room(int fd, int bytes)
{
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

int vsock_pair(int pair[2], bool full)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		set_room(pair[i], full ? 2 * SOCKET_ROOM : SOCKET_ROOM);
	return 0;
}

void vsock_settle(int fd)
{
	set_room(fd, SOCKET_ROOM);
}

ssize_t vsock_peek(int fd, char **data)
{
	ssize_t n;

	*data = malloc(VSOCK_PEEK_MAX);
	if (!*data)
		return -ENOMEM;
	n = recv(fd, *data, VSOCK_PEEK_MAX, MSG_PEEK | MSG_DONTWAIT);
	if (n == VSOCK_PEEK_MAX)
		return -E2BIG;
	return n < 0 && errno == EAGAIN ? 0 : n < 0 ? -errno : n;
}

uint32_t vsock_peer_room(const struct vsock_connection *c)
{
	uint32_t under_way = c->sent - c->peer_taken;

	/* A guest may say that it took what it never got, or shrink its buffer: then there is no room. */
	return under_way < c->peer_buffer ? c->peer_buffer - under_way : 0;
}

/* How many bytes went out; 0 where it takes none now, -EPIPE where it will never again. */
static ssize_t write_out(const struct vsock_connection *c, const struct iovec *iov, unsigned count)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count };
	ssize_t n;

	do {
		n = sendmsg(c->source.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN ? 0 : -EPIPE;
}

static void store(struct vsock_connection *c, const char *data, size_t len)
{
	uint32_t at = c->received % VSOCK_BUFFER;
	size_t first = len < VSOCK_BUFFER - at ? len : VSOCK_BUFFER - at;

	memcpy(c->buffer + at, data, first);
	memcpy(c->buffer, data + first, len - first);
	c->received += (uint32_t)len;
}

int vsock_take(struct vsock_connection *c, const struct iovec *iov, unsigned count, uint32_t len)
{
	ssize_t out = 0;

	if (len > VSOCK_BUFFER - vsock_backlog(c))
		return -ENOBUFS;
	if (!vsock_backlog(c)) {
		out = write_out(c, iov, count);
		if (out < 0)
			return -EPIPE;
		c->received += (uint32_t)out;
		c->taken += (uint32_t)out;
	}
	if ((uint32_t)out == len)
		return 0;
	if (!c->buffer)
		c->buffer = malloc(VSOCK_BUFFER);
	if (!c->buffer)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		size_t skip = (size_t)out < iov[i].iov_len ? (size_t)out : iov[i].iov_len;

		out -= (ssize_t)skip;
		store(c, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
	}
	return 0;
}

int vsock_flush(struct vsock_connection *c)
{
	while (vsock_backlog(c)) {
		uint32_t at = c->taken % VSOCK_BUFFER, len = vsock_backlog(c);
		uint32_t first = len < VSOCK_BUFFER - at ? len : VSOCK_BUFFER - at;
		const struct iovec iov[] = { { c->buffer + at, first },
					     { c->buffer, len - first } };
		ssize_t n = write_out(c, iov, len > first ? 2 : 1);

		if (n <= 0)
			return (int)n;
		c->taken += (uint32_t)n;
	}
	free(c->buffer);
	c->buffer = NULL;
	return 0;
}

bool vsock_owes_credit(const struct vsock_connection *c)
{
	return c->taken - c->told_taken >= VSOCK_BUFFER / 2;
}

int vsock_read_command(struct vsock_connection *c, uint32_t *port)
{
	static const char word[] = "CONNECT ";

	/* Byte by byte: what follows the line is the guest's. */
	while (c->command_len < sizeof(c->command)) {
		char *at = &c->command[c->command_len];
		ssize_t n = recv(c->source.fd, at, 1, MSG_DONTWAIT);
		uint64_t number;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			return -EPIPE;
		if (*at != '\n') {
			c->command_len++;
			continue;
		}
		if (c->command_len <= strlen(word) || memcmp(c->command, word, strlen(word)) ||
		    !parse_u64_n(c->command + strlen(word), c->command_len - strlen(word),
				 UINT32_MAX - 1, &number))
			return -EPROTO;
		*port = (uint32_t)number;
		return 1;
	}
	return -EPROTO;
}
