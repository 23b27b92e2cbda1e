/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio driver for tests; see virtio_driver.h. */
#include "tests/unit/virtio_driver.h"

#include <unistd.h>

#include "base/log.h"

#define HEAP_START UINT64_C(0x10000)

void driver_open(struct driver *d, uint64_t memory)
{
	struct error err = { 0 };

	/* What devices say of attacks is what a test provokes. */
	log_configure(&(struct log_config){ .fd = -1, .quiet = true, .level = LOG_LEVEL_WARNING });
	memset(d, 0, sizeof(*d));
	d->heap = HEAP_START;
	assert_int_equal(guest_memory_create(&d->memory, memory, &err), 0);
	assert_int_equal(loop_open(&d->loop, &err), 0);
}

void driver_close(struct driver *d)
{
	virtio_free(d->dev);
	loop_close(&d->loop);
	guest_memory_free(&d->memory);
}

uint64_t driver_alloc(struct driver *d, uint64_t len, uint64_t align)
{
	uint64_t gpa = (d->heap + align - 1) / align * align;

	assert_non_null(guest_memory_at(&d->memory, gpa, len));
	d->heap = gpa + len;
	return gpa;
}

void *driver_at(struct driver *d, uint64_t gpa, uint64_t len)
{
	void *host = guest_memory_at(&d->memory, gpa, len);

	assert_non_null(host);
	return host;
}

uint64_t driver_copy(struct driver *d, const void *data, uint64_t len)
{
	uint64_t gpa = driver_alloc(d, len, 1);

	memcpy(driver_at(d, gpa, len), data, len);
	return gpa;
}

/* ---- registers ------------------------------------------------------------------------------- */

uint32_t driver_get(struct driver *d, uint32_t reg)
{
	uint32_t value;

	virtio_mmio_read(d->dev, reg, &value, sizeof(value));
	return value;
}

void driver_set(struct driver *d, uint32_t reg, uint32_t value)
{
	virtio_mmio_write(d->dev, reg, &value, sizeof(value));
}

static void negotiate(struct driver *d, uint64_t features)
{
	const uint32_t acknowledge = VIRTIO_CONFIG_S_ACKNOWLEDGE;
	const uint32_t driver = acknowledge | VIRTIO_CONFIG_S_DRIVER;
	const uint32_t features_ok = driver | VIRTIO_CONFIG_S_FEATURES_OK;

	driver_set(d, VIRTIO_MMIO_STATUS, acknowledge);
	driver_set(d, VIRTIO_MMIO_STATUS, driver);
	for (uint32_t half = 0; half < 2; half++) {
		driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
		driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * half));
	}
	driver_set(d, VIRTIO_MMIO_STATUS, features_ok);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_STATUS), features_ok);
}

void driver_negotiate(struct driver *d, struct virtio_device *dev, uint64_t features)
{
	struct error err = { 0 };

	assert_non_null(dev);
	d->dev = dev;
	assert_int_equal(virtio_mmio_start(dev, &err), 0);
	negotiate(d, features);
}

void driver_make_queue(struct driver *d, unsigned queue, uint16_t size)
{
	struct driver_queue *q = &d->queues[queue];
	uint64_t avail = sizeof(struct vring_avail) + size * sizeof(uint16_t) + 2;
	uint64_t used = sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + 2;

	*q = (struct driver_queue){ .size = size };
	q->layout.size = size;
	q->layout.descriptors = driver_alloc(d, size * sizeof(struct vring_desc), 16);
	q->layout.driver = driver_alloc(d, avail, 2);
	q->layout.device = driver_alloc(d, used, 4);
	q->descriptors = driver_at(d, q->layout.descriptors, size * sizeof(struct vring_desc));
	q->avail = driver_at(d, q->layout.driver, avail);
	q->used = driver_at(d, q->layout.device, used);
}

void driver_tell_queue(struct driver *d, unsigned queue, const struct virtq_layout *layout)
{
	driver_set(d, VIRTIO_MMIO_QUEUE_SEL, queue);
	driver_set(d, VIRTIO_MMIO_QUEUE_NUM, layout->size);
	driver_set(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)layout->descriptors);
	driver_set(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(layout->descriptors >> 32));
	driver_set(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)layout->driver);
	driver_set(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(layout->driver >> 32));
	driver_set(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)layout->device);
	driver_set(d, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(layout->device >> 32));
	driver_set(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void make_ready(struct driver *d)
{
	uint32_t status = driver_get(d, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK;

	for (unsigned i = 0; i < d->dev->ops->queue_count; i++) {
		driver_make_queue(d, i, DRIVER_QUEUE_SIZE);
		driver_tell_queue(d, i, &d->queues[i].layout);
	}
	driver_set(d, VIRTIO_MMIO_STATUS, status);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_STATUS), status);
	driver_run(d);
}

void driver_start(struct driver *d, struct virtio_device *dev, uint64_t features)
{
	driver_negotiate(d, dev, features | BIT64(VIRTIO_F_VERSION_1));
	make_ready(d);
}

void driver_restart(struct driver *d, uint64_t features)
{
	driver_set(d, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_STATUS), 0);
	driver_interrupted(d);
	negotiate(d, features | BIT64(VIRTIO_F_VERSION_1));
	make_ready(d);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Links count descriptors; entry i of the table is at (first + i) modulo size. */
static void fill(struct vring_desc *table, unsigned size, unsigned first,
		 const struct driver_buffer *buffers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		bool more = i + 1 < count;

		table[(first + i) % size] = (struct vring_desc){
			.addr = buffers[i].gpa,
			.len = buffers[i].len,
			.flags = (buffers[i].writable ? VRING_DESC_F_WRITE : 0) |
				 (more ? VRING_DESC_F_NEXT : 0),
			.next = more ? (uint16_t)((first + i + 1) % size) : 0,
		};
	}
}

uint16_t driver_describe(struct driver *d, unsigned queue, const struct driver_buffer *buffers,
			 unsigned count)
{
	struct driver_queue *q = &d->queues[queue];
	uint16_t head = q->next_descriptor;

	assert_true(count <= q->size);
	fill(q->descriptors, q->size, head, buffers, count);
	q->next_descriptor = (uint16_t)((head + count) % q->size);
	return head;
}

uint16_t driver_describe_indirect(struct driver *d, unsigned queue,
				  const struct driver_buffer *buffers, unsigned count)
{
	uint32_t len = count * (uint32_t)sizeof(struct vring_desc);
	struct driver_buffer table = { driver_alloc(d, len, 16), len, false };
	uint16_t head = driver_describe(d, queue, &table, 1);

	fill(driver_at(d, table.gpa, len), count, 0, buffers, count);
	d->queues[queue].descriptors[head].flags = VRING_DESC_F_INDIRECT;
	return head;
}

void driver_offer(struct driver *d, unsigned queue, uint16_t head)
{
	struct driver_queue *q = &d->queues[queue];

	q->avail->ring[q->avail_idx++ % q->size] = head;
	__atomic_store_n(&q->avail->idx, q->avail_idx, __ATOMIC_RELEASE);
}

void driver_notify(struct driver *d, unsigned queue)
{
	driver_set(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

uint16_t driver_send(struct driver *d, unsigned queue, const struct driver_buffer *buffers,
		     unsigned count)
{
	uint16_t head = driver_describe(d, queue, buffers, count);

	driver_offer(d, queue, head);
	driver_notify(d, queue);
	return head;
}

void driver_run(struct driver *d)
{
	struct error err = { 0 };
	int r;

	do {
		r = loop_step(&d->loop, 0, &err);
	} while (r > 0);
	assert_int_equal(r, 0);
}

bool driver_take_used(struct driver *d, unsigned queue, uint16_t *head, uint32_t *written)
{
	struct driver_queue *q = &d->queues[queue];
	const struct vring_used_elem *elem = &q->used->ring[q->used_idx % q->size];

	if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_idx)
		return false;
	*head = (uint16_t)elem->id;
	*written = elem->len;
	q->used_idx++;
	return true;
}

uint32_t driver_finish(struct driver *d, unsigned queue, uint16_t head)
{
	uint16_t used;
	uint32_t written;

	driver_run(d);
	assert_true(driver_take_used(d, queue, &used, &written));
	assert_int_equal(used, head);
	assert_int_equal(d->queues[queue].used->idx, d->queues[queue].used_idx);
	return written;
}

bool driver_interrupted(struct driver *d)
{
	uint64_t count;

	return read(d->dev->irq_fd, &count, sizeof(count)) == sizeof(count);
}

bool driver_broken(struct driver *d)
{
	return driver_get(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void driver_assert_broken(struct driver *d, unsigned queue)
{
	uint64_t features = d->dev->negotiated;

	driver_run(d);
	assert_true(driver_broken(d));
	assert_int_equal(d->queues[queue].used->idx, d->queues[queue].used_idx);
	assert_true(driver_interrupted(d));
	assert_true(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	driver_restart(d, features);
	assert_false(driver_broken(d));
}
