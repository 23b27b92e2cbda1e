/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mmio's registers; see virtio_mmio.h. The driver's part of the device's state changes only in the order that the specification gives
 * (virtio 1.2, 3.1.1): what comes too early or too late is ignored, so a device that works never finds its queues changed.
 */
#include "microvm/virtio_mmio.h"

#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>

#define MAGIC  0x74726976u /* "virt" */
#define VENDOR 0x6c6c7568u /* "hull" */

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FAILED      VIRTIO_CONFIG_S_FAILED
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

/* ---- status ---------------------------------------------------------------------------------- */

static void reset(struct virtio_device *dev)
{
	if (dev->status & DRIVER_OK)
		dev->ops->reset(dev);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		virtq_disable(&dev->queues[i]);
		dev->layouts[i] = (struct virtq_layout){ 0 };
		dev->queue_ready[i] = false;
	}
	dev->status = 0;
	dev->negotiated = dev->driver_features = 0;
	dev->foreign_features = false;
	dev->device_features_select = dev->driver_features_select = dev->queue_select = 0;
	dev->interrupt_status = 0;
}

static bool features_acceptable(const struct virtio_device *dev)
{
	return !dev->foreign_features && !(dev->driver_features & ~dev->offered) &&
	       (dev->driver_features >> VIRTIO_F_VERSION_1 & 1);
}

/* DRIVER_OK: what the driver said of its queues is checked now, when it cannot be changed any more. */
static void activate(struct virtio_device *dev)
{
	struct error err = { 0 };
	int r = 0;

	dev->status |= DRIVER_OK;
	for (unsigned i = 0; r == 0 && i < dev->ops->queue_count; i++)
		if (dev->queue_ready[i])
			r = virtq_enable(&dev->queues[i], dev->memory, &dev->layouts[i],
					 dev->ops->queue_size, dev->negotiated, &err);
	if (r == 0)
		r = dev->ops->activate(dev, &err);
	if (r < 0) {
		virtio_broken(dev, err.text);
		return;
	}
	/* The driver may have filled queues before, and its notifications then came to nothing. */
	for (unsigned i = 0; i < dev->ops->queue_count; i++)
		if (dev->queues[i].enabled)
			virtio_kick(dev, i);
}

/* Each step adds the next bit, and none is taken away but all of them. The driver may give up at any point. */
static void write_status(struct virtio_device *dev, uint32_t value)
{
	uint32_t kept = dev->status & ~(uint32_t)NEEDS_RESET, added = value & ~dev->status;

	if (value == 0) {
		reset(dev);
		return;
	}
	if ((value & kept) != kept || (dev->status & FAILED))
		return;
	if (added == FAILED)
		dev->status |= FAILED;
	else if (added == ACKNOWLEDGE && kept == 0)
		dev->status |= ACKNOWLEDGE;
	else if (added == DRIVER && kept == ACKNOWLEDGE)
		dev->status |= DRIVER;
	else if (added == FEATURES_OK && kept == (ACKNOWLEDGE | DRIVER) &&
		 features_acceptable(dev)) {
		dev->negotiated = dev->driver_features;
		dev->status |= FEATURES_OK;
	} else if (added == DRIVER_OK && kept == (ACKNOWLEDGE | DRIVER | FEATURES_OK))
		activate(dev);
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t read_register(struct virtio_device *dev, uint32_t offset)
{
	bool selected = dev->queue_select < dev->ops->queue_count;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->ops->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return dev->device_features_select < 2
			       ? (uint32_t)(dev->offered >> 32 * dev->device_features_select)
			       : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return selected ? dev->ops->queue_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return selected && dev->queue_ready[dev->queue_select];
	case VIRTIO_MMIO_STATUS:
		return dev->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* there is no shared memory region */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return dev->config_generation;
	default:
		return 0;
	}
}

static void set_low(uint64_t *address, uint32_t value)
{
	*address = (*address & UINT64_C(0xffffffff00000000)) | value;
}

static void set_high(uint64_t *address, uint32_t value)
{
	*address = (*address & UINT32_MAX) | (uint64_t)value << 32;
}

static void write_features(struct virtio_device *dev, uint32_t value)
{
	if ((dev->status & (DRIVER | FEATURES_OK)) != DRIVER)
		return;
	if (dev->driver_features_select == 0)
		set_low(&dev->driver_features, value);
	else if (dev->driver_features_select == 1)
		set_high(&dev->driver_features, value);
	else if (value)
		dev->foreign_features = true;
}

/* A queue that is ready keeps its layout until it is made unready. */
static void write_queue(struct virtio_device *dev, uint32_t offset, uint32_t value)
{
	struct virtq_layout *layout = &dev->layouts[dev->queue_select];
	bool *ready = &dev->queue_ready[dev->queue_select];

	if (offset == VIRTIO_MMIO_QUEUE_READY)
		*ready = value & 1;
	if (*ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		layout->size = value <= UINT16_MAX ? (uint16_t)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&layout->descriptors, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&layout->descriptors, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&layout->driver, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&layout->driver, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&layout->device, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&layout->device, value);
		break;
	default:
		break;
	}
}

static void write_register(struct virtio_device *dev, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->device_features_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_features(dev, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_select = value;
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(dev, value);
		break;
	default:
		if (dev->queue_select < dev->ops->queue_count &&
		    (dev->status & (FEATURES_OK | DRIVER_OK | FAILED)) == FEATURES_OK)
			write_queue(dev, offset, value);
		break;
	}
}

/* ---- accesses -------------------------------------------------------------------------------- */

static bool allowed(uint32_t offset, unsigned size)
{
	if (offset >= VIRTIO_MMIO_SIZE || size > VIRTIO_MMIO_SIZE - offset)
		return false;
	if (offset < VIRTIO_MMIO_CONFIG)
		return size == 4 && offset % 4 == 0;
	return (size == 1 || size == 2 || size == 4 || size == 8) && offset % size == 0;
}

void virtio_mmio_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	uint32_t value;

	memset(data, 0, size);
	if (!allowed(offset, size))
		return;
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
		/* Another process interrupts without telling us why. */
		value = dev->interrupt_status | (dev->ops->external ? VIRTIO_MMIO_INT_VRING : 0);
		memcpy(data, &value, sizeof(value));
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		if (dev->ops->read_config)
			dev->ops->read_config(dev, offset - VIRTIO_MMIO_CONFIG, data, size);
	} else {
		value = read_register(dev, offset);
		memcpy(data, &value, sizeof(value));
	}
	pthread_mutex_unlock(&dev->lock);
}

void virtio_mmio_write(struct virtio_device *dev, uint32_t offset, const void *data, unsigned size)
{
	uint32_t value = 0;

	if (!allowed(offset, size))
		return;
	memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		dev->interrupt_status &= ~value;
		return;
	}
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		if (value < dev->ops->queue_count)
			virtio_kick(dev, value);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (offset < VIRTIO_MMIO_CONFIG)
		write_register(dev, offset, value);
	else if (dev->ops->write_config && (dev->status & DRIVER))
		dev->ops->write_config(dev, offset - VIRTIO_MMIO_CONFIG, data, size);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- notifications --------------------------------------------------------------------------- */

static void notified(struct loop_source *source, uint32_t events)
{
	struct virtio_device *dev = source->data;
	unsigned queue = (unsigned)(source - dev->notify_sources);
	uint64_t count;

	(void)events;
	/* Before the queue is looked at: what is notified later comes again. */
	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&dev->lock);
	if (virtio_running(dev) && dev->queues[queue].enabled)
		dev->ops->notify(dev, queue);
	pthread_mutex_unlock(&dev->lock);
}

int virtio_mmio_start(struct virtio_device *dev, struct error *err)
{
	for (unsigned i = 0; !dev->ops->external && i < dev->ops->queue_count; i++) {
		int r;

		dev->notify_sources[i] = (struct loop_source){
			.fd = dev->notify_fds[i],
			.callback = notified,
			.data = dev,
		};
		r = loop_watch(dev->loop, &dev->notify_sources[i], EPOLLIN, err);
		if (r < 0)
			return error_wrap(err, "virtio-%s", dev->ops->name);
	}
	return 0;
}
