/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between hull's own processes, over a SOCK_SEQPACKET pair or socket: a type, a bounded
 * payload, and up to a few descriptors. The two ends come from one build, yet each length is
 * checked (CVE-2021-43784 was an unchecked one).
 */
#ifndef HULL_BASE_MESSAGE_H
#define HULL_BASE_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define MESSAGE_MAX 65536 /* bytes of payload */
#define MESSAGE_FDS 4

struct message {
	uint32_t type;
	uint32_t len;         /* of the payload, in bytes */
	int fds[MESSAGE_FDS]; /* the receiver's to close */
	unsigned fd_count;
};

/* A connected pair of message sockets, close-on-exec. */
int message_pair(int fds[2], struct error *err);

/* Sends one message. MSG_NOSIGNAL: a dead peer is -EPIPE. */
int message_send(int sock, uint32_t type, const void *payload, size_t len, const int *fds,
		 unsigned fd_count, struct error *err);

/*
 * Receives one message into *message and up to size bytes of payload. The end of the stream is
 * -EPIPE ("the other process ended"), a longer payload -EMSGSIZE.
 */
int message_receive(int sock, struct message *message, void *payload, size_t size,
		    struct error *err);

/* Sends one descriptor over a stream socket as consoles expect it: one byte, one SCM_RIGHTS (runc's protocol). */
int message_send_fd(int sock, const char *name, int fd, struct error *err);

/* Connects to the stream socket at a path of any length. Returns the descriptor. */
int message_connect(const char *path, int type, struct error *err);

#endif
