/* SPDX-License-Identifier: Apache-2.0 */
/* See fs_window.h. The rings are those of a split virtqueue (virtio 1.2, 2.7), of which the monitor is the driver here. */
#include "microvm/fs_window.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SLOTS      64u /* requests at once, of each queue */
#define ENTRIES    (2 * SLOTS)
#define PAGE       GUEST_PAGE_SIZE
#define RING_PAGES 3u /* of each queue: descriptors, available, used */
#define DATA_START (FS_QUEUES * RING_PAGES * PAGE)
#define DATA_PAGES 2048u
#define SMALL      32u /* pages that stay with the window; others are given back when nobody uses them */

/* One READ or WRITE with all its data, and headers. */
#define REQUEST_MAX ((uint64_t)(256 + 4) * PAGE)

struct slot {
	bool busy;
	uint16_t head;
	unsigned first, pages;       /* of the window's data */
	uint64_t readable, writable; /* bytes */
	struct iovec *where;
	unsigned count;
};

struct ring {
	struct vring_desc *descriptors;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail, next_used; /* ours */
	struct slot slots[SLOTS];
	unsigned busy;
};

struct fs_window {
	struct guest_memory memory;
	struct ring rings[FS_QUEUES];
	int kicks[FS_QUEUES], interrupt;
	uint8_t taken[DATA_PAGES];
	bool large; /* pages beyond the small ones were used since they were given back */
};

/* ---- the window's pages ------------------------------------------------------------------------------- */

static uint64_t data_at(unsigned page)
{
	return DATA_START + (uint64_t)page * PAGE;
}

/* The first place with so many pages, so that what is small stays where it was. DATA_PAGES: there is none. */
static unsigned find_room(const struct fs_window *w, unsigned pages)
{
	unsigned run = 0;

	for (unsigned i = 0; i < DATA_PAGES; i++) {
		run = w->taken[i] ? 0 : run + 1;
		if (run == pages)
			return i + 1 - pages;
	}
	return DATA_PAGES;
}

static void release(struct fs_window *w, struct ring *ring, struct slot *slot)
{
	void *rest = guest_memory_at(&w->memory, data_at(SMALL), (DATA_PAGES - SMALL) * PAGE);

	memset(w->taken + slot->first, 0, slot->pages);
	*slot = (struct slot){ 0 };
	ring->busy--;
	if (!w->large || fs_window_busy(w))
		return;
	w->large = false;
	guest_memory_discard(&w->memory, rest, (DATA_PAGES - SMALL) * PAGE);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static uint64_t ring_at(unsigned queue, unsigned part)
{
	return (uint64_t)(queue * RING_PAGES + part) * PAGE;
}

static void map_rings(struct fs_window *w)
{
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		w->rings[i].descriptors = guest_memory_at(&w->memory, ring_at(i, 0), PAGE);
		w->rings[i].avail = guest_memory_at(&w->memory, ring_at(i, 1), PAGE);
		w->rings[i].used = guest_memory_at(&w->memory, ring_at(i, 2), PAGE);
	}
}

struct fs_window *fs_window_new(struct error *err)
{
	struct fs_window *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		error_errno(err, ENOMEM, "virtio-fs");
		return NULL;
	}
	w->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = w->interrupt;
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		w->kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r = r < 0 ? r : w->kicks[i];
	}
	if (r < 0)
		r = error_errno(err, errno, "virtio-fs: eventfd");
	else
		r = guest_memory_create(&w->memory, data_at(DATA_PAGES), err);
	if (r < 0) {
		w->memory.fd = -EBADF;
		fs_window_free(w);
		return NULL;
	}
	map_rings(w);
	return w;
}

static void forget_requests(struct fs_window *w)
{
	for (unsigned i = 0; i < FS_QUEUES; i++)
		for (unsigned k = 0; k < SLOTS; k++) {
			struct slot *slot = &w->rings[i].slots[k];

			free(slot->where);
			if (slot->busy)
				release(w, &w->rings[i], slot);
		}
}

void fs_window_free(struct fs_window *w)
{
	if (!w)
		return;
	forget_requests(w);
	for (unsigned i = 0; i < FS_QUEUES; i++)
		close_fd(&w->kicks[i]);
	close_fd(&w->interrupt);
	guest_memory_free(&w->memory);
	free(w);
}

int fs_window_interrupt(const struct fs_window *w)
{
	return w->interrupt;
}

bool fs_window_busy(const struct fs_window *w)
{
	return w->rings[FS_QUEUE_HIPRIO].busy || w->rings[FS_QUEUE_REQUEST].busy;
}

void fs_window_start(struct fs_window *w, struct fs_start *start, int fds[FS_FDS])
{
	forget_requests(w);
	*start = (struct fs_start){ .features = UINT64_C(1) << VIRTIO_F_VERSION_1 };
	fds[FS_FD_MEMORY] = w->memory.fd;
	fds[FS_FD_INTERRUPT] = w->interrupt;
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		struct ring *ring = &w->rings[i];

		memset(ring->avail, 0, PAGE);
		memset(ring->used, 0, PAGE);
		ring->next_avail = ring->next_used = 0;
		start->queues[i] = (struct virtq_layout){ .size = ENTRIES,
							  .descriptors = ring_at(i, 0),
							  .driver = ring_at(i, 1),
							  .device = ring_at(i, 2) };
		fds[FS_FD_KICK + i] = w->kicks[i];
	}
}

/* ---- requests ----------------------------------------------------------------------------------------- */

static unsigned pages_of(const struct virtq_chain *chain)
{
	return (unsigned)((chain->readable_bytes + chain->writable_bytes + PAGE - 1) / PAGE);
}

bool fs_window_can_hold(const struct virtq_chain *chain)
{
	return chain->readable_bytes && chain->readable_bytes <= REQUEST_MAX &&
	       chain->writable_bytes <= REQUEST_MAX;
}

static struct slot *find_slot(struct ring *ring)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (!ring->slots[i].busy)
			return &ring->slots[i];
	return NULL;
}

static bool fill_slot(struct slot *slot, const struct virtq_chain *chain, unsigned first)
{
	size_t size = chain->writable * sizeof(struct iovec);
	struct iovec *where = malloc(size ? size : 1);

	if (!where)
		return false;
	memcpy(where, chain->iov + chain->readable, size);
	*slot = (struct slot){ .busy = true,
			       .head = chain->head,
			       .first = first,
			       .pages = pages_of(chain),
			       .readable = chain->readable_bytes,
			       .writable = chain->writable_bytes,
			       .where = where,
			       .count = chain->writable };
	return true;
}

/* A slot has two descriptors of its own: what the server reads, and behind that in memory what it writes. */
static void publish(struct ring *ring, const struct slot *slot)
{
	uint16_t index = (uint16_t)(2 * (slot - ring->slots));
	struct vring_desc *d = &ring->descriptors[index];

	d[0] = (struct vring_desc){ .addr = data_at(slot->first), .len = (uint32_t)slot->readable };
	if (slot->writable) {
		d[0].flags = VRING_DESC_F_NEXT;
		d[0].next = index + 1;
		d[1] = (struct vring_desc){ .addr = data_at(slot->first) + slot->readable,
					    .len = (uint32_t)slot->writable,
					    .flags = VRING_DESC_F_WRITE };
	}
	ring->avail->ring[ring->next_avail++ % ENTRIES] = index;
	/* Release: who sees the index sees the request. */
	__atomic_store_n(&ring->avail->idx, ring->next_avail, __ATOMIC_RELEASE);
}

bool fs_window_send(struct fs_window *w, enum fs_queue queue, const struct virtq_chain *chain)
{
	struct ring *ring = &w->rings[queue];
	struct slot *slot = find_slot(ring);
	unsigned first = find_room(w, pages_of(chain));

	if (!slot || first == DATA_PAGES || !fill_slot(slot, chain, first))
		return false;
	memset(w->taken + first, 1, slot->pages);
	w->large = w->large || first + slot->pages > SMALL;
	ring->busy++;
	virtq_read(chain, 0, guest_memory_at(&w->memory, data_at(first), slot->readable),
		   slot->readable);
	publish(ring, slot);
	return true;
}

void fs_window_kick(const struct fs_window *w, enum fs_queue queue)
{
	eventfd_write(w->kicks[queue], 1);
}

/* The bytes that the server wrote, to where the guest wants them. */
static void copy_back(const struct fs_window *w, const struct slot *slot, uint32_t written)
{
	uint64_t from = data_at(slot->first) + slot->readable;

	for (unsigned i = 0; i < slot->count && written; i++) {
		size_t len = slot->where[i].iov_len < written ? slot->where[i].iov_len : written;

		if (len)
			memcpy(slot->where[i].iov_base, guest_memory_at(&w->memory, from, len),
			       len);
		from += len;
		written -= (uint32_t)len;
	}
}

int fs_window_receive(struct fs_window *w, enum fs_queue queue, struct fs_window_answer *answer)
{
	struct ring *ring = &w->rings[queue];
	uint16_t index = __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE);
	struct vring_used_elem elem;
	struct slot *slot;

	if (index == ring->next_used)
		return 0;
	elem.id =
		__atomic_load_n(&ring->used->ring[ring->next_used % ENTRIES].id, __ATOMIC_RELAXED);
	elem.len =
		__atomic_load_n(&ring->used->ring[ring->next_used % ENTRIES].len, __ATOMIC_RELAXED);
	if (elem.id >= ENTRIES || elem.id % 2)
		return -EPROTO;
	slot = &ring->slots[elem.id / 2];
	if (!slot->busy || elem.len > slot->writable)
		return -EPROTO;
	ring->next_used++;
	copy_back(w, slot, elem.len);
	*answer = (struct fs_window_answer){
		.head = slot->head, .written = elem.len, .where = slot->where, .count = slot->count
	};
	release(w, ring, slot);
	return 1;
}
