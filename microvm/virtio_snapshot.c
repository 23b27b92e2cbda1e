/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all virtio devices have in common, to and from a snapshot. A device is restored as its driver had set it up: what that said is
 * checked again, and then the device begins (activate()), with queues that go on where they were.
 */
#include <linux/virtio_config.h>

#include "microvm/snapshot.h"
#include "microvm/virtio.h"

#define STOPPED (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)

struct saved_queue {
	struct virtq_layout layout;
	uint16_t next_avail, next_used, signalled_used;
	uint8_t ready, signalled_valid, broken;
};

struct saved_virtio {
	uint64_t negotiated, driver_features;
	uint32_t device_id, status, foreign_features;
	uint32_t device_features_select, driver_features_select, queue_select;
	uint32_t config_generation, interrupt_status;
	struct saved_queue queues[VIRTIO_QUEUES_MAX];
};

static void save_queue(const struct virtio_device *dev, unsigned i, struct saved_queue *saved)
{
	const struct virtq *q = &dev->queues[i];

	saved->layout = dev->layouts[i];
	saved->ready = dev->queue_ready[i];
	saved->next_avail = q->next_avail;
	saved->next_used = q->next_used;
	saved->signalled_used = q->signalled_used;
	saved->signalled_valid = q->signalled_valid;
	saved->broken = q->broken;
}

static int save(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	int r = dev->ops->settle ? dev->ops->settle(dev, err) : 0;
	struct saved_virtio saved = {
		.negotiated = dev->negotiated,
		.driver_features = dev->driver_features,
		.device_id = dev->ops->device_id,
		.status = dev->status,
		.foreign_features = dev->foreign_features,
		.device_features_select = dev->device_features_select,
		.driver_features_select = dev->driver_features_select,
		.queue_select = dev->queue_select,
		.config_generation = dev->config_generation,
		.interrupt_status = dev->interrupt_status,
	};
	size_t entered;

	if (r < 0)
		return r;
	if (!dev->ops->save)
		return error_set(err, ENOTSUP, "a machine that has one cannot be saved");
	for (unsigned i = 0; i < dev->ops->queue_count; i++)
		save_queue(dev, i, &saved.queues[i]);
	entered = snapshot_enter(s, SNAPSHOT_DEVICE);
	snapshot_put(s, SNAPSHOT_VIRTIO, &saved, sizeof(saved));
	r = dev->ops->save(dev, s, err);
	snapshot_leave(s, entered);
	return r;
}

int virtio_save(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	int r;

	pthread_mutex_lock(&dev->lock);
	r = save(dev, s, err);
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "virtio-%s", dev->ops->name) : 0;
}

int virtio_save_nothing(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	(void)dev;
	(void)s;
	(void)err;
	return 0;
}

/* What the transport let the driver do, and nothing else. */
static bool is_possible(const struct virtio_device *dev, const struct saved_virtio *saved)
{
	bool agreed = saved->status & VIRTIO_CONFIG_S_FEATURES_OK;

	return saved->device_id == dev->ops->device_id && !(saved->negotiated & ~dev->offered) &&
	       (agreed || !saved->negotiated) &&
	       (agreed || !(saved->status & VIRTIO_CONFIG_S_DRIVER_OK)) &&
	       (!agreed || (saved->negotiated >> VIRTIO_F_VERSION_1 & 1));
}

static int restore_queue(struct virtio_device *dev, unsigned i, const struct saved_queue *saved,
			 struct error *err)
{
	struct virtq *q = &dev->queues[i];
	int r;

	if (!saved->ready || !(dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return 0;
	if (saved->broken) {
		q->broken = true;
		return 0;
	}
	r = virtq_enable(q, dev->memory, &saved->layout, dev->ops->queue_size, dev->negotiated,
			 err);
	if (r < 0)
		return r;
	if ((uint16_t)(saved->next_avail - saved->next_used) > q->size)
		return error_set(err, EBADMSG, "a queue with more requests than it has entries");
	q->next_avail = saved->next_avail;
	q->next_used = saved->next_used;
	q->signalled_used = saved->signalled_used;
	q->signalled_valid = saved->signalled_valid;
	return 0;
}

static int restore(struct virtio_device *dev, struct snapshot *part, struct error *err)
{
	struct saved_virtio saved;
	int r = snapshot_get(part, SNAPSHOT_VIRTIO, &saved, sizeof(saved), err);

	if (r < 0)
		return r;
	if (!is_possible(dev, &saved))
		return error_set(err, EBADMSG,
				 "the snapshot's device is another one, or has features that "
				 "this one does not offer");
	dev->negotiated = saved.negotiated;
	dev->driver_features = saved.driver_features;
	dev->foreign_features = saved.foreign_features;
	dev->status = saved.status;
	dev->device_features_select = saved.device_features_select;
	dev->driver_features_select = saved.driver_features_select;
	dev->queue_select = saved.queue_select;
	dev->config_generation = saved.config_generation;
	dev->interrupt_status = saved.interrupt_status;
	for (unsigned i = 0; r == 0 && i < dev->ops->queue_count; i++) {
		dev->layouts[i] = saved.queues[i].layout;
		dev->queue_ready[i] = saved.queues[i].ready;
		r = restore_queue(dev, i, &saved.queues[i], err);
	}
	if (r == 0 && dev->ops->restore)
		r = dev->ops->restore(dev, part, err);
	else if (r == 0 && (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) && !(dev->status & STOPPED))
		r = dev->ops->activate(dev, err);
	return r;
}

int virtio_restore(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	struct snapshot part;
	int r = snapshot_get_part(s, SNAPSHOT_DEVICE, &part, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&dev->lock);
	r = restore(dev, &part, err);
	/* What was under way when it was saved comes once more: that is allowed, and a wait in vain is not. */
	for (unsigned i = 0; r == 0 && i < dev->ops->queue_count; i++)
		if (dev->queues[i].enabled)
			virtio_kick(dev, i);
	if (r == 0 && dev->interrupt_status)
		virtio_interrupt_again(dev);
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "virtio-%s", dev->ops->name) : 0;
}
