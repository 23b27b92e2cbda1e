/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio driver in the test's process: it lays out rings in a guest's memory, sets a device up by its registers and
 * exchanges requests with it. It does what a good driver does; for what a bad one does, a test writes into the rings itself.
 *
 * There is no device thread: driver_run() makes the device's loop do all that it has to do now, and returns.
 */
#ifndef HULL_TESTS_UNIT_VIRTIO_DRIVER_H
#define HULL_TESTS_UNIT_VIRTIO_DRIVER_H

#include "tests/unit/unit.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "microvm/virtio.h"
#include "microvm/virtio_mmio.h"

#define BIT64(n)           (UINT64_C(1) << (n))
#define DRIVER_QUEUE_SIZE  16u
#define DRIVER_MEMORY_SIZE (UINT64_C(8) << 20)

struct driver_queue {
	uint16_t size, next_descriptor, avail_idx, used_idx;
	struct virtq_layout layout;
	struct vring_desc *descriptors;
	struct vring_avail *avail;
	struct vring_used *used;
};

struct driver {
	struct guest_memory memory;
	struct loop loop;
	struct virtio_device *dev;
	uint64_t heap; /* guest-physical; what is above is free */
	struct driver_queue queues[VIRTIO_QUEUES_MAX];
};

struct driver_buffer {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

/* Memory of so many bytes and a loop, without a device. */
void driver_open(struct driver *d, uint64_t memory);
/* Frees the device, too. */
void driver_close(struct driver *d);

/* Zeroed memory of the guest, at a multiple of align. */
uint64_t driver_alloc(struct driver *d, uint64_t len, uint64_t align);
/* Where it is in this process; fails the test where there is no memory. */
void *driver_at(struct driver *d, uint64_t gpa, uint64_t len);
/* Memory of the guest that holds a copy of data. */
uint64_t driver_copy(struct driver *d, const void *data, uint64_t len);

/* ---- registers ---- */

uint32_t driver_get(struct driver *d, uint32_t reg);
void driver_set(struct driver *d, uint32_t reg, uint32_t value);

/* Takes over the device, begins to watch its notifications, and goes as far as FEATURES_OK with exactly these features. */
void driver_negotiate(struct driver *d, struct virtio_device *dev, uint64_t features);
/* Allocates rings (also without a device), and tells the device of them. */
void driver_make_queue(struct driver *d, unsigned queue, uint16_t size);
void driver_tell_queue(struct driver *d, unsigned queue, const struct virtq_layout *layout);
/* All of it: negotiation, with VIRTIO_F_VERSION_1 besides, all queues of DRIVER_QUEUE_SIZE entries, DRIVER_OK. */
void driver_start(struct driver *d, struct virtio_device *dev, uint64_t features);
/* Resets the device and starts it again. */
void driver_restart(struct driver *d, uint64_t features);

/* ---- requests ---- */

/* Describes the buffers in the next descriptors, links them, and returns the first one's index. */
uint16_t driver_describe(struct driver *d, unsigned queue, const struct driver_buffer *buffers,
			 unsigned count);
/* The same in an indirect table, and a descriptor that leads to it. */
uint16_t driver_describe_indirect(struct driver *d, unsigned queue,
				  const struct driver_buffer *buffers, unsigned count);
/* Makes a request available; the device is not notified. */
void driver_offer(struct driver *d, unsigned queue, uint16_t head);
void driver_notify(struct driver *d, unsigned queue);
/* Describe, offer, notify. */
uint16_t driver_send(struct driver *d, unsigned queue, const struct driver_buffer *buffers,
		     unsigned count);

/* Lets the device do what there is to do. */
void driver_run(struct driver *d);
/* The next used request; false where there is none. */
bool driver_take_used(struct driver *d, unsigned queue, uint16_t *head, uint32_t *written);
/* driver_run(), and the one request that must be used then; returns the length. */
uint32_t driver_finish(struct driver *d, unsigned queue, uint16_t head);

/* Whether there was an interrupt since the last call. */
bool driver_interrupted(struct driver *d);
/* Whether the device asks for a reset. */
bool driver_broken(struct driver *d);
/* Nothing came back from the queue, the device asks for a reset, and said so by a configuration interrupt. Restarts it. */
void driver_assert_broken(struct driver *d, unsigned queue);

#endif
