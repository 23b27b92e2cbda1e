/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues; see virtq.h. The rings are shared with processors that run hostile code, so every access to them is one
 * atomic load or store, or one copy: the compiler cannot repeat it, and what was checked is what is used.
 */
#include "microvm/virtq.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define load(p)         __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store(p, value) __atomic_store_n((p), (value), __ATOMIC_RELAXED)

static bool is_power_of_two(uint16_t n)
{
	return n && !(n & (n - 1));
}

static void *ring_at(const struct guest_memory *memory, uint64_t gpa, uint64_t alignment,
		     uint64_t len)
{
	return gpa % alignment ? NULL : guest_memory_at(memory, gpa, len);
}

int virtq_enable(struct virtq *q, const struct guest_memory *memory,
		 const struct virtq_layout *layout, uint16_t size_max, uint64_t features,
		 struct error *err)
{
	uint64_t size = layout->size;

	*q = (struct virtq){ 0 };
	if (!is_power_of_two(layout->size) || size > size_max || size > VIRTQ_SIZE_MAX)
		return error_set(err, EINVAL, "a queue of %u entries", layout->size);
	q->descriptors = ring_at(memory, layout->descriptors, VRING_DESC_ALIGN_SIZE,
				 size * sizeof(struct vring_desc));
	/* The two bytes behind either ring are the other side's wish for an event. */
	q->driver = ring_at(memory, layout->driver, VRING_AVAIL_ALIGN_SIZE,
			    sizeof(struct vring_avail) + size * sizeof(uint16_t) + 2);
	q->device = ring_at(memory, layout->device, VRING_USED_ALIGN_SIZE,
			    sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + 2);
	if (!q->descriptors || !q->driver || !q->device) {
		*q = (struct virtq){ 0 };
		return error_set(err, EINVAL, "a queue that is not aligned, or not in memory");
	}
	q->memory = memory;
	q->size = layout->size;
	q->event_idx = (features >> VIRTIO_RING_F_EVENT_IDX & 1) != 0;
	q->indirect = (features >> VIRTIO_RING_F_INDIRECT_DESC & 1) != 0;
	q->enabled = true;
	return 0;
}

void virtq_disable(struct virtq *q)
{
	*q = (struct virtq){ 0 };
}

static uint16_t *used_event(const struct virtq *q)
{
	return &((struct vring_avail *)q->driver)->ring[q->size];
}

static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)(void *)&((struct vring_used *)q->device)->ring[q->size];
}

/* Copies out of what is shared. The compiler must not take the copy for as good as the original, and look at that once more. */
static void copy_once(void *to, const void *shared, size_t len)
{
	memcpy(to, shared, len);
	__asm__ volatile("" : : "r"(to) : "memory");
}

/* A table of descriptors: the queue's own, or an indirect one. */
struct table {
	const char *entries;
	unsigned count;
};

static bool add_buffer(const struct virtq *q, struct virtq_chain *chain,
		       const struct vring_desc *desc)
{
	unsigned n = chain->readable + chain->writable;
	bool write = desc->flags & VRING_DESC_F_WRITE;
	void *host = guest_memory_at(q->memory, desc->addr, desc->len);

	if (!host || n >= VIRTQ_IOV_MAX || (!write && chain->writable))
		return false;
	if (chain->readable_bytes + chain->writable_bytes + desc->len > UINT32_MAX)
		return false;
	chain->iov[n] = (struct iovec){ host, desc->len };
	if (write) {
		chain->writable++;
		chain->writable_bytes += desc->len;
	} else {
		chain->readable++;
		chain->readable_bytes += desc->len;
	}
	return true;
}

/* The table that desc leads to, which may lie anywhere. */
static bool enter_indirect(const struct virtq *q, const struct vring_desc *desc,
			   struct table *table)
{
	if (!q->indirect || (desc->flags & VRING_DESC_F_NEXT) ||
	    desc->len % sizeof(struct vring_desc))
		return false;
	table->count = (unsigned)(desc->len / sizeof(struct vring_desc));
	table->entries = guest_memory_at(q->memory, desc->addr, desc->len);
	return table->entries && table->count <= VIRTQ_IOV_MAX;
}

/*
 * Follows the links. A chain that has more links than its table has entries is a loop; so is one with an indirect table in an
 * indirect table, which is not allowed either.
 */
static bool walk(const struct virtq *q, uint16_t head, struct virtq_chain *chain)
{
	struct table table = { q->descriptors, q->size };
	unsigned index = head;
	bool indirect = false;

	for (unsigned steps = 0; steps < table.count;) {
		struct vring_desc desc;

		if (index >= table.count)
			return false;
		copy_once(&desc, table.entries + index * sizeof(desc), sizeof(desc));
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (indirect || !enter_indirect(q, &desc, &table))
				return false;
			indirect = true;
			index = steps = 0;
			continue;
		}
		if (!add_buffer(q, chain, &desc))
			return false;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return true;
		index = desc.next;
		steps++;
	}
	return false;
}

static int broken(struct virtq *q)
{
	q->enabled = false;
	q->broken = true;
	return -EPROTO;
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	struct vring_avail *avail = q->driver;
	uint16_t waiting, head;

	if (!q->enabled)
		return q->broken ? -EPROTO : 0;
	waiting = (uint16_t)(load_acquire(&avail->idx) - q->next_avail);
	if (!waiting)
		return 0;
	if (waiting > q->size)
		return broken(q);
	head = load(&avail->ring[q->next_avail & (q->size - 1)]);
	chain->head = head;
	chain->readable = chain->writable = 0;
	chain->readable_bytes = chain->writable_bytes = 0;
	if (!walk(q, head, chain))
		return broken(q);
	q->next_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q, unsigned count)
{
	q->next_avail = (uint16_t)(q->next_avail - count);
}

void virtq_push_all(struct virtq *q, const struct virtq_used *used, unsigned count)
{
	struct vring_used *ring = q->device;

	if (!q->enabled)
		return;
	for (unsigned i = 0; i < count; i++) {
		struct vring_used_elem *elem = &ring->ring[q->next_used & (q->size - 1)];

		store(&elem->id, used[i].head);
		store(&elem->len, used[i].written);
		guest_memory_wrote(q->memory, elem, sizeof(*elem));
		q->next_used++;
	}
	/* Release: who sees the index sees the elements, and the data. */
	__atomic_store_n(&ring->idx, q->next_used, __ATOMIC_RELEASE);
	guest_memory_wrote(q->memory, &ring->idx, sizeof(ring->idx));
}

void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
{
	struct virtq_used used = { chain->head, written };

	for (unsigned i = 0; i < chain->writable; i++) {
		const struct iovec *buffer = &chain->iov[chain->readable + i];

		guest_memory_wrote(q->memory, buffer->iov_base, buffer->iov_len);
	}
	virtq_push_all(q, &used, 1);
}

bool virtq_must_interrupt(struct virtq *q)
{
	uint16_t old = q->signalled_used;
	bool known = q->signalled_valid;

	if (!q->enabled || q->next_used == old)
		return false;
	/* Full fence: the used index is written before the driver's wish is read, or an interrupt would be missed. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->signalled_used = q->next_used;
	q->signalled_valid = true;
	if (!q->event_idx)
		return !(load(&((struct vring_avail *)q->driver)->flags) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	return !known || vring_need_event(load(used_event(q)), q->next_used, old);
}

bool virtq_ask_notify(struct virtq *q, bool wanted)
{
	struct vring_used *used = q->device;

	if (!q->enabled)
		return false;
	if (!q->event_idx) {
		store(&used->flags, wanted ? 0 : VRING_USED_F_NO_NOTIFY);
		guest_memory_wrote(q->memory, &used->flags, sizeof(used->flags));
	} else if (wanted) {
		store(avail_event(q), q->next_avail);
		guest_memory_wrote(q->memory, avail_event(q), sizeof(uint16_t));
	}
	if (!wanted)
		return false;
	/* Full fence: the wish is written before the index is read, or a request would be left lying. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load_acquire(&((struct vring_avail *)q->driver)->idx) != q->next_avail;
}

/* ---- data ------------------------------------------------------------------------------------ */

unsigned virtq_slice(const struct virtq_chain *chain, bool writable, uint64_t offset, uint64_t len,
		     struct iovec *out)
{
	const struct iovec *iov = writable ? chain->iov + chain->readable : chain->iov;
	uint64_t bytes = writable ? chain->writable_bytes : chain->readable_bytes;
	unsigned count = 0;

	if (!len || offset > bytes || len > bytes - offset)
		return 0;
	for (; len; iov++) {
		uint64_t part;

		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - offset < len ? iov->iov_len - offset : len;
		out[count++] = (struct iovec){ (char *)iov->iov_base + offset, part };
		len -= part;
		offset = 0;
	}
	return count;
}

bool virtq_read(const struct virtq_chain *chain, uint64_t offset, void *to, size_t len)
{
	struct iovec parts[VIRTQ_IOV_MAX];
	unsigned count = virtq_slice(chain, false, offset, len, parts);
	char *at = to;

	for (unsigned i = 0; i < count; i++) {
		copy_once(at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	return count != 0;
}

bool virtq_write(const struct virtq_chain *chain, uint64_t offset, const void *from, size_t len)
{
	struct iovec parts[VIRTQ_IOV_MAX];
	unsigned count = virtq_slice(chain, true, offset, len, parts);
	const char *at = from;

	for (unsigned i = 0; i < count; i++) {
		memcpy(parts[i].iov_base, at, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	return count != 0;
}
