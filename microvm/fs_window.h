/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window between the monitor and its file server, where that cannot have the guest's memory: of a machine that was restored, it is the
 * monitor's own (guest_memory_create_private()). The window is a small memory that both have, with queues like those of a
 * driver: the monitor copies a request of the guest's into it, and what was answered back to the guest.
 *
 * The server is trusted no further than a guest: what it writes into its rings is checked, and it can reach no other memory.
 */
#ifndef HULL_MICROVM_FS_WINDOW_H
#define HULL_MICROVM_FS_WINDOW_H

#include "microvm/fs_protocol.h"
#include "microvm/virtq.h"

struct fs_window;

/* What a request led to. The guest's buffers have it already. */
struct fs_window_answer {
	uint16_t head;    /* of the guest's chain */
	uint32_t written; /* bytes */
	struct iovec *
		where; /* the guest's buffers that may have been written to; the caller's to free() */
	unsigned count;
};

struct fs_window *fs_window_new(struct error *err);
void fs_window_free(struct fs_window *window);

/* The eventfd by which the server says that there are answers. */
int fs_window_interrupt(const struct fs_window *window);

/* Whether there are requests without an answer that was received. */
bool fs_window_busy(const struct fs_window *window);

/* Begins anew, with empty queues, and fills what FS_START says. The descriptors stay the window's. */
void fs_window_start(struct fs_window *window, struct fs_start *start, int fds[FS_FDS]);

/* Whether a request may be as large as this one. */
bool fs_window_can_hold(const struct virtq_chain *chain);

/* Copies a request that the window can hold into it. False: there is no room until there is an answer to another. */
bool fs_window_send(struct fs_window *window, enum fs_queue queue, const struct virtq_chain *chain);
/* Wakes the server for what was sent. */
void fs_window_kick(const struct fs_window *window, enum fs_queue queue);

/* The next answer: 1, 0 where there is none, -EPROTO where the server wrote nonsense. */
int fs_window_receive(struct fs_window *window, enum fs_queue queue,
		      struct fs_window_answer *answer);

#endif
