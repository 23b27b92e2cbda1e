/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtio-fs device in the monitor and its file server, another process, say to one another: messages (base/message.h) over a
 * SOCK_SEQPACKET socket. The server trusts the monitor no further than the guest, which may have taken it over.
 *
 *     monitor                                server
 *     START, with descriptors  ----------->  maps the guest's memory, and serves the queues
 *                              <-----------  STARTED, with a struct error
 *                              <-----------  BROKEN: the guest wrote nonsense into a queue; nothing is served until STOP
 *     SAVE, with a descriptor  ----------->  answers all requests that are in the queues (the guest makes no more meanwhile), and writes
 *                              <-----------  SAVED, with a struct error                      to the empty file what it knows (fs_state.h)
 *     TRACK, with a descriptor ----------->  from now on notes there what it writes of the memory (guest_memory_share_track()); without one, no more
 *                              <-----------  TRACKING, with a struct error
 *     STOP                     ----------->  touches neither queues nor memory any more
 *                              <-----------  STOPPED
 *
 * A server that is started with such a file (--state) goes on from there: where it cannot, that is its answer to START.
 *
 * The end of either process is the end of the connection. Without its monitor, a server ends.
 */
#ifndef HULL_MICROVM_FS_PROTOCOL_H
#define HULL_MICROVM_FS_PROTOCOL_H

#include <stdint.h>

#include "microvm/virtq.h"

enum fs_message {
	FS_START = 1,
	FS_STARTED,
	FS_BROKEN,
	FS_STOP,
	FS_STOPPED,
	FS_SAVE,
	FS_SAVED,
	FS_TRACK,
	FS_TRACKING
};

/* Of a virtio-fs device (virtio 1.2, 5.11.2): one for FORGET and its like, one for all else. */
enum fs_queue { FS_QUEUE_HIPRIO, FS_QUEUE_REQUEST, FS_QUEUES };

/* The descriptors of START, in this order. */
enum fs_descriptor {
	FS_FD_MEMORY,    /* guest_memory_open() */
	FS_FD_INTERRUPT, /* eventfds */
	FS_FD_KICK,      /* of the first queue, then the others' */
	FS_FDS = FS_FD_KICK + FS_QUEUES
};

struct fs_start {
	uint64_t features; /* negotiated by the driver */
	struct virtq_layout queues[FS_QUEUES];
};

#endif
