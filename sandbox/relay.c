/* SPDX-License-Identifier: Apache-2.0 */
/* One direction of a stream; see relay.h. */
#include "sandbox/relay.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void finish(struct relay *relay)
{
	if (relay->ended)
		return;
	relay_stop(relay);
	if (relay->on_end)
		relay->on_end(relay);
}

/* The output took no more, or nobody reads it: what is in the buffer is lost, and the writer gets EPIPE in its turn. */
static void refuse(struct relay *relay)
{
	relay->refused = true;
	finish(relay);
}

static bool is_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) > 0; /* an error is told by the write */
}

/*
 * A pipe or a terminal that says it is writable takes PIPE_BUF bytes without blocking, if we are its only writer or
 * the others write no more than that; a socket is asked not to block.
 */
static ssize_t write_some(struct relay *relay)
{
	const char *data = relay->buffer + relay->start;
	size_t len = relay->end - relay->start;
	ssize_t n;

	if (relay->to_blocks && !is_writable(relay->to.fd)) {
		errno = EAGAIN;
		return -1;
	}
	if (relay->to_blocks && len > PIPE_BUF)
		len = PIPE_BUF;
	do {
		n = relay->to_is_socket ? send(relay->to.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT)
					: write(relay->to.fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

static ssize_t read_some(struct relay *relay)
{
	ssize_t n;

	do {
		n = relay->from_is_socket
			    ? recv(relay->from.fd, relay->buffer, RELAY_BUFFER, MSG_DONTWAIT)
			    : read(relay->from.fd, relay->buffer, RELAY_BUFFER);
	} while (n < 0 && errno == EINTR);
	return n;
}

static void wait_for(struct relay *relay, bool input, bool output)
{
	/* Without an output that is waited for, hear of its end all the same: the input's writer must learn of it. */
	uint32_t to = output ? EPOLLOUT : EPOLLERR;

	loop_watch(relay->loop, &relay->from, input && !relay->from_is_file ? EPOLLIN : 0, NULL);
	if (loop_watch(relay->loop, &relay->to, to, NULL) < 0 && !output)
		loop_watch(relay->loop, &relay->to, 0, NULL);
}

/* Writes what is in the buffer; false where some is left, or the relay has ended. */
static bool flush(struct relay *relay)
{
	while (relay->start < relay->end) {
		ssize_t n = write_some(relay);

		if (n < 0 && errno != EAGAIN) {
			refuse(relay);
			return false;
		}
		if (n <= 0) {
			wait_for(relay, false, true);
			return false;
		}
		relay->start += (uint32_t)n;
		relay->carried += (uint64_t)n;
	}
	if (relay->on_progress)
		relay->on_progress(relay);
	return !relay->ended && relay->start == relay->end;
}

/* Reads once and writes it. False where the input has nothing now, or has ended, or the output is full. */
static bool carry(struct relay *relay)
{
	ssize_t n;

	if (!relay->buffer)
		relay->buffer = malloc(RELAY_BUFFER);
	if (!relay->buffer) {
		finish(relay);
		return false;
	}
	n = read_some(relay);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) { /* EIO: a terminal whose other side nobody has open any more */
		finish(relay);
		return false;
	}
	relay->taken += (uint64_t)n;
	relay->start = 0;
	relay->end = (uint32_t)n;
	return flush(relay);
}

static void on_input(struct loop_source *source, uint32_t events)
{
	struct relay *relay = source->data;

	(void)events;
	if (relay->start == relay->end)
		carry(relay);
}

static void on_output(struct loop_source *source, uint32_t events)
{
	struct relay *relay = source->data;

	if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLOUT)) {
		refuse(relay);
		return;
	}
	if (!flush(relay))
		return;
	wait_for(relay, true, false);
	if (relay->from_is_file)
		while (carry(relay))
			;
}

static mode_t type_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

int relay_start(struct relay *relay, struct loop *loop, int from, int to, struct error *err)
{
	int r;

	relay->loop = loop;
	relay->from = (struct loop_source){ .fd = from, .callback = on_input, .data = relay };
	relay->to = (struct loop_source){ .fd = to, .callback = on_output, .data = relay };
	relay->from_is_socket = type_of(from) == S_IFSOCK;
	relay->to_is_socket = type_of(to) == S_IFSOCK;
	relay->to_blocks = (type_of(to) == S_IFIFO || type_of(to) == S_IFCHR) &&
			   !(fcntl(to, F_GETFL) & O_NONBLOCK);
	r = loop_watch(loop, &relay->from, EPOLLIN, err);
	relay->from_is_file = r == -EPERM;
	if (r < 0 && !relay->from_is_file) {
		relay_stop(relay);
		return r;
	}
	error_clear(err);
	if (relay->start < relay->end && !flush(relay))
		return 0;
	wait_for(relay, true, false);
	if (relay->from_is_file)
		while (carry(relay))
			;
	return 0;
}

int relay_preload(struct relay *relay, const void *data, size_t len, struct error *err)
{
	if (!len)
		return 0;
	if (len > RELAY_BUFFER)
		return error_set(err, EBADMSG, "more bytes than a stream has on its way");
	relay->buffer = malloc(RELAY_BUFFER);
	if (!relay->buffer)
		return error_errno(err, ENOMEM, "carry a stream");
	memcpy(relay->buffer, data, len);
	relay->start = 0;
	relay->end = (uint32_t)len;
	return 0;
}

void relay_drain(struct relay *relay)
{
	int available = 0;

	while (!relay->ended && relay->start == relay->end) {
		/* A blocking input is not read on suspicion. */
		if (!relay->from_is_socket && !(fcntl(relay->from.fd, F_GETFL) & O_NONBLOCK) &&
		    (ioctl(relay->from.fd, FIONREAD, &available) < 0 || available <= 0))
			return;
		if (!carry(relay))
			return;
	}
}

void relay_hold(struct relay *relay)
{
	if (!relay->loop || relay->ended)
		return;
	loop_watch(relay->loop, &relay->from, 0, NULL);
	loop_watch(relay->loop, &relay->to, 0, NULL);
}

void relay_go_on(struct relay *relay)
{
	bool full = relay->start < relay->end;

	if (!relay->loop || relay->ended)
		return;
	wait_for(relay, !full, full);
	if (relay->from_is_file && !full)
		while (carry(relay))
			;
}

void relay_stop(struct relay *relay)
{
	if (relay->ended)
		return;
	relay->ended = true;
	if (relay->from.events)
		loop_watch(relay->loop, &relay->from, 0, NULL);
	if (relay->to.events)
		loop_watch(relay->loop, &relay->to, 0, NULL);
	if (relay->from_is_socket)
		shutdown(relay->from.fd, SHUT_RD);
	if (relay->to_is_socket)
		shutdown(relay->to.fd, SHUT_WR);
	close_fd(&relay->from.fd);
	close_fd(&relay->to.fd);
	free(relay->buffer);
	relay->buffer = NULL;
}
