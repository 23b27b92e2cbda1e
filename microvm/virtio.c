/* SPDX-License-Identifier: Apache-2.0 */
/* What all virtio devices share; see virtio.h. */
#include "microvm/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"

#define COMPLAINT_INTERVAL 60 /* seconds */

static void signal_eventfd(int fd)
{
	const uint64_t one = 1;

	/* It fails only where the counter is full, and then it is signalled anyway. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

int virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, uint64_t features,
		const struct guest_memory *memory, struct loop *loop, struct error *err)
{
	dev->ops = ops;
	dev->memory = memory;
	dev->loop = loop;
	dev->offered = features | UINT64_C(1) << VIRTIO_F_VERSION_1 |
		       UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
		       UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
	dev->irq_fd = -EBADF;
	pthread_mutex_init(&dev->lock, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		dev->notify_fds[i] = -EBADF;
	for (unsigned i = 0; i < ops->queue_count; i++) {
		dev->notify_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (dev->notify_fds[i] < 0)
			return error_errno(err, errno, "virtio-%s: eventfd", ops->name);
	}
	dev->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->irq_fd < 0)
		return error_errno(err, errno, "virtio-%s: eventfd", ops->name);
	return 0;
}

void virtio_free(struct virtio_device *dev)
{
	if (!dev)
		return;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		if (dev->notify_sources[i].events)
			loop_watch(dev->loop, &dev->notify_sources[i], 0, NULL);
		close_fd(&dev->notify_fds[i]);
	}
	close_fd(&dev->irq_fd);
	pthread_mutex_destroy(&dev->lock);
	dev->ops->destroy(dev);
}

bool virtio_running(const struct virtio_device *dev)
{
	return (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(dev->status & (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED));
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void interrupt(struct virtio_device *dev, uint32_t cause)
{
	dev->interrupt_status |= cause;
	signal_eventfd(dev->irq_fd);
}

void virtio_interrupt_again(struct virtio_device *dev)
{
	signal_eventfd(dev->irq_fd);
}

void virtio_used(struct virtio_device *dev, unsigned queue)
{
	if (virtq_must_interrupt(&dev->queues[queue]))
		interrupt(dev, VIRTIO_MMIO_INT_VRING);
}

void virtio_config_changed(struct virtio_device *dev)
{
	dev->config_generation++;
	/* Before DRIVER_OK there is nobody to tell (virtio 1.2, 3.1.1); the driver reads the space when it begins. */
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

static void complain(struct virtio_device *dev, const char *why)
{
	struct timespec now;

	/* A guest that fills the host's disk with messages would be a denial of service. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (dev->complained && now.tv_sec - dev->complained < COMPLAINT_INTERVAL)
		return;
	dev->complained = now.tv_sec ? now.tv_sec : 1;
	log_warning("virtio-%s: %s; the device waits for a reset by the guest", dev->ops->name,
		    why);
}

void virtio_broken(struct virtio_device *dev, const char *why)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	complain(dev, why);
	virtio_config_changed(dev);
}

/* ---- queues ---------------------------------------------------------------------------------- */

void virtio_kick(struct virtio_device *dev, unsigned queue)
{
	signal_eventfd(dev->notify_fds[queue]);
}

bool virtio_pop(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain)
{
	int r;

	if (!virtio_running(dev))
		return false;
	r = virtq_pop(&dev->queues[queue], chain);
	if (r < 0)
		virtio_broken(dev, "the guest wrote nonsense into a queue");
	return r > 0;
}

void virtio_serve(struct virtio_device *dev, unsigned queue, unsigned budget,
		  virtio_serve_callback *serve)
{
	struct virtq *q = &dev->queues[queue];
	struct virtq_chain chain;

	do {
		virtq_ask_notify(q, false);
		while (virtio_pop(dev, queue, &chain)) {
			if (!budget--) {
				virtq_unpop(q, 1);
				virtio_kick(dev, queue);
				virtio_used(dev, queue);
				return;
			}
			if (!serve(dev, queue, &chain)) {
				virtq_unpop(q, 1);
				virtio_used(dev, queue);
				return;
			}
		}
	} while (virtio_running(dev) && virtq_ask_notify(q, true));
	virtio_used(dev, queue);
}

void virtio_config_copy(const void *config, size_t length, uint32_t offset, void *data,
			unsigned size)
{
	if (offset < length)
		memcpy(data, (const char *)config + offset,
		       size < length - offset ? size : length - offset);
}
