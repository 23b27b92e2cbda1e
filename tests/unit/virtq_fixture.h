/* SPDX-License-Identifier: Apache-2.0 */
/* A virtqueue without a device, in memory on both sides of the hole; nothing of that exists until it is touched. */
#ifndef HULL_TESTS_UNIT_VIRTQ_FIXTURE_H
#define HULL_TESTS_UNIT_VIRTQ_FIXTURE_H

#include "tests/unit/virtio_driver.h"

#define VIRTQ_ENTRIES 8
#define INDIRECT      BIT64(VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX     BIT64(VIRTIO_RING_F_EVENT_IDX)
#define LOW_END       GUEST_HOLE_START
#define HIGH_START    GUEST_HOLE_END
#define HIGH_SIZE     (UINT64_C(1) << 20)

struct virtq_fixture {
	struct driver driver;
	struct virtq q;
	struct virtq_chain chain;
};

int virtq_setup(void **state);
int virtq_teardown(void **state);

/* Enables the queue, with these features. */
int virtq_begin(struct virtq_fixture *f, uint64_t features);

/* Makes a request of these buffers available; returns its head. */
uint16_t virtq_offer(struct virtq_fixture *f, const struct driver_buffer *buffers, unsigned count);
/* The same with one readable buffer. */
void virtq_offer_one(struct virtq_fixture *f, uint64_t gpa, uint32_t len);

#endif
