/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device for tests of what all devices share; see virtio_dummy.h. */
#include "tests/unit/virtio_dummy.h"

#include <errno.h>
#include <unistd.h>

static void read_config(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	struct dummy *dummy = (struct dummy *)dev;

	virtio_config_copy(dummy->config, DUMMY_CONFIG, offset, data, size);
}

static void write_config(struct virtio_device *dev, uint32_t offset, const void *data,
			 unsigned size)
{
	struct dummy *dummy = (struct dummy *)dev;

	if (offset < DUMMY_CONFIG && size <= DUMMY_CONFIG - offset)
		memcpy(dummy->config + offset, data, size);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	struct dummy *dummy = (struct dummy *)dev;

	dummy->activations++;
	return dummy->refuse ? error_set(err, EIO, "no, thank you") : 0;
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	struct dummy *dummy = (struct dummy *)dev;
	struct virtq_chain chain;
	char byte;

	dummy->notifications[queue]++;
	if (dummy->work[0] >= 0) {
		__atomic_store_n(&dummy->working, true, __ATOMIC_SEQ_CST);
		if (read(dummy->work[0], &byte, 1) < 0)
			return;
		__atomic_store_n(&dummy->working, false, __ATOMIC_SEQ_CST);
	}
	while (virtio_pop(dev, queue, &chain))
		virtq_push(&dev->queues[queue], &chain, 0);
	virtio_used(dev, queue);
}

static void reset(struct virtio_device *dev)
{
	struct dummy *dummy = (struct dummy *)dev;

	dummy->resets++;
	dummy->interrupted_work = dummy->working;
	assert_true(dev->queues[0].enabled || dev->queues[0].broken || !dev->queue_ready[0]);
}

static void destroy(struct virtio_device *dev)
{
	free((struct dummy *)dev);
}

const struct virtio_ops dummy_ops = {
	.name = "dummy",
	.device_id = 42,
	.queue_count = DUMMY_QUEUES,
	.queue_size = DUMMY_QUEUE_SIZE,
	.read_config = read_config,
	.write_config = write_config,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.destroy = destroy,
};

const struct virtio_ops dummy_external_ops = {
	.name = "external",
	.device_id = 43,
	.queue_count = 1,
	.queue_size = DUMMY_QUEUE_SIZE,
	.external = true,
	.activate = activate,
	.reset = reset,
	.destroy = destroy,
};

struct dummy *dummy_make(struct driver *d, const struct virtio_ops *kind)
{
	struct dummy *dummy = calloc(1, sizeof(*dummy));
	struct error err = { 0 };

	assert_non_null(dummy);
	dummy->work[0] = dummy->work[1] = -1;
	strcpy(dummy->config, "abcdefgh");
	assert_int_equal(virtio_init(&dummy->dev, kind, DUMMY_FEATURE | DUMMY_HIGH, &d->memory,
				     &d->loop, &err),
			 0);
	assert_int_equal(virtio_mmio_start(&dummy->dev, &err), 0);
	return dummy;
}

int dummy_setup(void **state)
{
	struct driver *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	driver_open(d, DRIVER_MEMORY_SIZE);
	d->dev = &dummy_make(d, &dummy_ops)->dev;
	*state = d;
	return 0;
}

int dummy_teardown(void **state)
{
	struct driver *d = *state;

	driver_close(d);
	free(d);
	return 0;
}

void dummy_set_features(struct driver *d, uint64_t features)
{
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

/* From nothing to FEATURES_OK. */
void dummy_negotiate(struct driver *d)
{
	assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
	assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
	dummy_set_features(d, BIT64(VIRTIO_F_VERSION_1));
	assert_status(d, STATUS_FEATURES_OK, STATUS_FEATURES_OK);
}

void dummy_start(struct driver *d)
{
	dummy_negotiate(d);
	for (unsigned i = 0; i < d->dev->ops->queue_count; i++) {
		driver_make_queue(d, i, 8);
		driver_tell_queue(d, i, &d->queues[i].layout);
	}
	assert_status(d, STATUS_DRIVER_OK, STATUS_DRIVER_OK);
}
