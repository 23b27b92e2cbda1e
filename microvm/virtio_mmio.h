/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of a virtio-mmio device, version 2 (virtio 1.2, 4.2): what a vCPU's access to its page means. */
#ifndef HULL_MICROVM_VIRTIO_MMIO_H
#define HULL_MICROVM_VIRTIO_MMIO_H

#include <linux/virtio_mmio.h>

#include "microvm/virtio.h"

#define VIRTIO_MMIO_SIZE 0x1000u
/* KVM_IOEVENTFD is for the register VIRTIO_MMIO_QUEUE_NOTIFY, four bytes, with the queue's index as the data. */

/*
 * A read or a write of size bytes at offset into the page; takes the device's lock, but not for interrupts and notifications, so
 * that a vCPU never waits for a device at work. An access of a width or place that the
 * specification does not allow reads as zeroes and writes nothing. A write to QueueNotify that reaches this does what the eventfd would.
 */
void virtio_mmio_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned size);
void virtio_mmio_write(struct virtio_device *dev, uint32_t offset, const void *data, unsigned size);

/* Begins to watch the queues' eventfds in the loop. */
int virtio_mmio_start(struct virtio_device *dev, struct error *err);

#endif
