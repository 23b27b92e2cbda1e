/* SPDX-License-Identifier: Apache-2.0 */
/* What the host asks of a memory balloon (virtio_balloon_new()). Both functions take the device's lock. */
#ifndef HULL_MICROVM_VIRTIO_BALLOON_H
#define HULL_MICROVM_VIRTIO_BALLOON_H

#include "microvm/virtio.h"

#define VIRTIO_BALLOON_STATS 16

struct virtio_balloon_stats {
	uint32_t target, actual; /* pages of 4 KiB in the balloon: wanted, and as the driver says */
	uint64_t
		discarded; /* bytes that the balloon and page reporting gave back to the host, over all the time */
	uint64_t updates; /* how often the driver sent statistics; 0: what follows is empty */
	uint32_t known;   /* bit n: the driver said values[n] the last time */
	uint64_t values
		[VIRTIO_BALLOON_STATS]; /* by VIRTIO_BALLOON_S_…; the guest's word, nothing more */
};

/* How many pages of 4 KiB the guest is to give up in all. */
void virtio_balloon_set_target(struct virtio_device *dev, uint32_t pages);

/* What is known now; asks the driver for new statistics, which raise `updates` when they arrive. */
void virtio_balloon_stats(struct virtio_device *dev, struct virtio_balloon_stats *stats);

#endif
