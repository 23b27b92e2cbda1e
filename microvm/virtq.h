/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2, 2.7), for a guest that may write anything into it: each index,
 * address, length, flag and link is copied once and checked, chains have bounded length and cannot loop, and our own positions are
 * never read back from the guest. What is wrong breaks the queue: virtq_pop() says so from then on, and nothing else happens.
 */
#ifndef HULL_MICROVM_VIRTQ_H
#define HULL_MICROVM_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "microvm/guest_memory.h"

#define VIRTQ_SIZE_MAX 256 /* entries; the largest that any device here offers */
#define VIRTQ_IOV_MAX  VIRTQ_SIZE_MAX

/* What the driver set, by registers or in a message. Addresses are guest-physical. */
struct virtq_layout {
	uint16_t size;
	uint64_t descriptors, driver,
		device; /* "descriptor area", "driver area" (available ring), "device area" (used ring) */
};

struct virtq {
	const struct guest_memory *memory;
	bool enabled; /* virtq_enable() succeeded and neither virtq_disable() nor virtq_pop() ended it; else nothing here touches the rings */
	bool broken;
	bool event_idx, indirect; /* negotiated */
	uint16_t size;
	uint16_t next_avail, next_used; /* ours, running freely */
	uint16_t
		signalled_used; /* next_used when the driver was interrupted last (VIRTIO_F_EVENT_IDX) */
	bool signalled_valid;
	void *descriptors, *driver, *device; /* the rings, mapped */
};

/*
 * A request: the buffers to read from, then those to write into, as the guest linked them. The pointers lead into guest
 * memory, which the guest can change meanwhile.
 */
struct virtq_chain {
	uint16_t head;
	unsigned readable, writable; /* how many elements of iov: first the readable ones */
	uint64_t readable_bytes, writable_bytes; /* each at most UINT32_MAX */
	struct iovec iov[VIRTQ_IOV_MAX];
};

/*
 * Checks the layout (size a power of two and at most size_max, alignment, each ring all in memory) and begins at position 0; whoever
 * restores a queue sets next_avail and next_used afterwards. -EINVAL where the driver set nonsense.
 */
int virtq_enable(struct virtq *q, const struct guest_memory *memory,
		 const struct virtq_layout *layout, uint16_t size_max, uint64_t features,
		 struct error *err);
void virtq_disable(struct virtq *q);

/* Takes the next request: 1, 0 where there is none, -EPROTO where the queue is broken, now or before. */
int virtq_pop(struct virtq *q, struct virtq_chain *chain);

/* Gives the last count popped requests back, untaken: a device that cannot serve them yet. */
void virtq_unpop(struct virtq *q, unsigned count);

/* Returns a request to the driver, written bytes of its writable buffers filled. Notes these buffers as written (guest_memory_wrote()). */
void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint32_t written);

/* The same for several at once: the driver sees all of them or none. The buffers are noted by the caller. */
struct virtq_used {
	uint16_t head;
	uint32_t written;
};
void virtq_push_all(struct virtq *q, const struct virtq_used *used, unsigned count);

/* Whether the driver wants an interrupt for what was pushed since it got the last one. */
bool virtq_must_interrupt(struct virtq *q);

/*
 * Asks the driver to notify us of new requests, or (where it can be told so) not to. On asking, true means that there are some
 * already, to be popped before we sleep.
 */
bool virtq_ask_notify(struct virtq *q, bool wanted);

/* ---- the data of a request, across its buffers ------------------------------------------------------- */

/* Copies len bytes from offset on of the readable buffers; false where they are shorter. */
bool virtq_read(const struct virtq_chain *chain, uint64_t offset, void *to, size_t len);
/* The same, into the writable buffers. */
bool virtq_write(const struct virtq_chain *chain, uint64_t offset, const void *from, size_t len);
/*
 * The part [offset, offset + len) of the readable or writable buffers as an iovec array of at most VIRTQ_IOV_MAX elements.
 * Returns how many; 0 where the range is not in them.
 */
unsigned virtq_slice(const struct virtq_chain *chain, bool writable, uint64_t offset, uint64_t len,
		     struct iovec *out);

#endif
