/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hull-vmm that runs can be told, over a SOCK_SEQPACKET socket that it listens on (base/message.h): one order a
 * connection, one answer: CONTROL_OK with what belongs to it, or CONTROL_ERROR with a struct error.
 */
#ifndef HULL_MICROVM_CONTROL_H
#define HULL_MICROVM_CONTROL_H

#include <stdint.h>

enum control_message {
	CONTROL_OK = 1,
	CONTROL_ERROR,
	/* Orders. */
	CONTROL_PAUSE,	/* stop all processors; answered when they have stopped */
	CONTROL_RESUME, /* let them go on */
	CONTROL_STATUS, /* answer: struct control_status */
	CONTROL_MEMORY, /* uint64_t, MiB: what the guest may use of its memory; it gives the rest back by its balloon */
};

struct control_status {
	uint32_t paused;
	uint32_t balloon_mib; /* given back by the guest, as it says */
};

/* Between hull-vmm and the hull that starts it, over --sync: a SOCK_SEQPACKET pair. */
enum sync_message {
	SYNC_ERROR = 1, /* from hull-vmm: a struct error; it ends */
	SYNC_READY,	/* from hull-vmm: it is in its jail and its guest runs */
	SYNC_COMMIT,	/* to hull-vmm: you may outlive me */
};

#endif
