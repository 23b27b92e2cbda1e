/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream between the guest and a descriptor of the host's, for virtio_vsock.c: its state, its credit in both directions,
 * and what the guest sent and the host's side did not take yet. Nothing here looks at a queue.
 */
#ifndef HULL_MICROVM_VSOCK_CONNECTION_H
#define HULL_MICROVM_VSOCK_CONNECTION_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "microvm/loop.h"

enum vsock_state {
	VSOCK_COMMAND,     /* from the listening socket, and has not said where to yet */
	VSOCK_REQUESTED,   /* the guest was asked, and has not answered */
	VSOCK_ESTABLISHED, /* bytes flow */
	VSOCK_CLOSING,     /* the host's side is gone; the guest was told and has not agreed yet */
	VSOCK_DRAINING, /* the guest has ended it, and knows it no more; the host's side has not read all */
};

/* What is to be said to the guest as soon as there is a buffer for it: bits of `pending`. */
#define VSOCK_SAY_REQUEST  (1u << VIRTIO_VSOCK_OP_REQUEST)
#define VSOCK_SAY_RESPONSE (1u << VIRTIO_VSOCK_OP_RESPONSE)
#define VSOCK_SAY_RST      (1u << VIRTIO_VSOCK_OP_RST) /* and the connection is forgotten */
#define VSOCK_SAY_SHUTDOWN (1u << VIRTIO_VSOCK_OP_SHUTDOWN)
#define VSOCK_SAY_CREDIT   (1u << VIRTIO_VSOCK_OP_CREDIT_UPDATE)

struct vsock_connection {
	struct vsock_connection *next; /* of all connections */
	struct vsock_connection *next_ready;
	struct loop_source source; /* the host's side */
	void *device;
	enum vsock_state state;
	bool forgotten; /* no connection of the device's any more */
	uint32_t
		tag; /* its host's side is this process', which knows it by this; 0: somebody else's */
	bool queued;       /* in the list of those that have something for the guest */
	bool answer;       /* a line "OK" is owed to the host's side */
	bool input_ready;  /* there may be something to read */
	bool input_ended;  /* the host's side sends no more, or the guest wants no more */
	bool output_ended; /* the guest sends no more */
	uint32_t guest_port, host_port;
	uint32_t pending;
	uint32_t shutdown_flags; /* what SAY_SHUTDOWN says */

	/* To the guest: what it has room for, and what it got. All count bytes and wrap. */
	uint32_t peer_buffer, peer_taken, sent;
	/* From the guest: what came, and what the host's side took of it; what of that the guest was told. */
	uint32_t received, taken, told_taken;
	char *buffer; /* a ring of VSOCK_BUFFER bytes: received - taken of them, from taken on; NULL: empty */

	/* Of a restored one: what its host's side had sent, and the device not yet read. NULL: nothing. */
	char *unsent;
	size_t unsent_len;

	char command[32]; /* VSOCK_COMMAND: what was said so far */
	unsigned command_len;
};

struct vsock_connection *vsock_connection_new(void *device, int fd, loop_callback *callback);
/* Closes the descriptor; the source must not be in a loop any more. */
void vsock_connection_free(struct vsock_connection *c);

/*
 * A pair of connected stream sockets for a connection whose host's side is this process: what they hold does not depend on the host's settings, so
 * that it finds room again elsewhere. full: room for twice that, which vsock_settle() takes back. 0 or a negative errno.
 */
int vsock_pair(int pair[2], bool full);
void vsock_settle(int fd);

#define VSOCK_PEEK_MAX (1 << 20) /* bytes: more than such a socket holds */

/* A copy of what can be read from it, which stays there; the caller frees *data. Its length, or a negative errno. */
ssize_t vsock_peek(int fd, char **data);

/* How many bytes the guest has room for. */
uint32_t vsock_peer_room(const struct vsock_connection *c);

/*
 * Takes bytes from the guest: to the host's side at once as far as that takes them, the rest into the buffer. -ENOBUFS where the
 * guest sends more than it was told it may, -EPIPE where the host's side is gone, -ENOMEM.
 */
int vsock_take(struct vsock_connection *c, const struct iovec *iov, unsigned count, uint32_t len);

/* Hands on what is in the buffer. 0, or -EPIPE. vsock_backlog() says what is left. */
int vsock_flush(struct vsock_connection *c);

static inline uint32_t vsock_backlog(const struct vsock_connection *c)
{
	return c->received - c->taken;
}

/* Whether the guest should hear that there is room again. */
bool vsock_owes_credit(const struct vsock_connection *c);

/* Reads more of the line "CONNECT PORT". 1 and the port when it is whole, 0 when it is not yet, -EPROTO for another line, -EPIPE at its end. */
int vsock_read_command(struct vsock_connection *c, uint32_t *port);

#endif
