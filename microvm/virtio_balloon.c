/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon (virtio 1.2, 5.5): the guest gives memory up where the host asks for it (inflate), reports what it does not use
 * (free page reporting), and tells how much it needs (statistics). What is given up are holes in the memfd; the
 * guest may touch them again whenever it likes, so taking memory back (deflate) needs nothing of us.
 */
#include "microvm/virtio_balloon.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "microvm/snapshot.h"

#define QUEUE_SIZE  64
#define BUDGET      8
#define BATCH       256 /* page numbers that are looked at together; Linux sends no more in a request */
#define PAGES_MAX   1024u /* of a request */
#define STATS_BYTES (64 * sizeof(struct virtio_balloon_stat))

enum { INFLATE, DEFLATE, STATS, REPORT, QUEUES };

struct balloon {
	struct virtio_device dev;
	struct virtio_balloon_stats stats;
	uint32_t poison; /* what the guest expects in free pages */
	bool holds;      /* a buffer of statistics, to be returned when the host wants new ones: */
	uint16_t held;
};

/* What a queue is for. There is no gap where a feature was not negotiated: the driver counts on. */
static unsigned purpose(const struct virtio_device *dev, unsigned queue)
{
	return queue == STATS && !virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ) ? REPORT : queue;
}

static void discard(struct balloon *balloon, void *host, uint64_t len)
{
	if (guest_memory_discard(balloon->dev.memory, host, len) == 0)
		balloon->stats.discarded += len;
}

/* ---- inflate and deflate --------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Gives pages up, neighbours together. False where one is not the guest's memory. */
static bool inflate_batch(struct balloon *balloon, uint32_t *pages, unsigned count)
{
	qsort(pages, count, sizeof(*pages), compare);
	for (unsigned i = 0, end; i < count; i = end) {
		uint64_t gpa = (uint64_t)pages[i] << VIRTIO_BALLOON_PFN_SHIFT;
		uint64_t len;
		void *host;

		for (end = i + 1; end < count && pages[end] - pages[end - 1] <= 1;)
			end++;
		len = ((uint64_t)pages[end - 1] - pages[i] + 1) << VIRTIO_BALLOON_PFN_SHIFT;
		host = guest_memory_at(balloon->dev.memory, gpa, len);
		if (!host)
			return false;
		discard(balloon, host, len);
	}
	return true;
}

static bool inflate(struct virtio_device *dev, const struct virtq_chain *chain)
{
	uint32_t pages[BATCH];
	uint64_t count = chain->readable_bytes / sizeof(*pages);

	if (chain->readable_bytes % sizeof(*pages) || count > PAGES_MAX)
		return false;
	for (uint64_t at = 0; at < count; at += BATCH) {
		unsigned some = count - at < BATCH ? (unsigned)(count - at) : BATCH;

		if (!virtq_read(chain, at * sizeof(*pages), pages, some * sizeof(*pages)) ||
		    !inflate_batch((struct balloon *)dev, pages, some))
			return false;
	}
	return true;
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void read_stats(struct virtio_balloon_stats *stats, const struct virtq_chain *chain)
{
	uint64_t len = chain->readable_bytes < STATS_BYTES ? chain->readable_bytes : STATS_BYTES;
	struct virtio_balloon_stat stat;

	stats->updates++;
	stats->known = 0;
	for (uint64_t at = 0; at + sizeof(stat) <= len; at += sizeof(stat)) {
		if (!virtq_read(chain, at, &stat, sizeof(stat)) || stat.tag >= VIRTIO_BALLOON_STATS)
			continue;
		stats->values[stat.tag] = stat.val;
		stats->known |= UINT32_C(1) << stat.tag;
	}
}

/* Returns the buffer, for the driver to fill it anew. */
static void release_stats(struct balloon *balloon)
{
	struct virtq_used used = { balloon->held, 0 };

	if (balloon->holds)
		virtq_push_all(&balloon->dev.queues[STATS], &used, 1);
	balloon->holds = false;
}

static void take_stats(struct balloon *balloon, const struct virtq_chain *chain)
{
	/* There should be only one (5.5.6.3); of a driver that has more we keep the last. */
	release_stats(balloon);
	read_stats(&balloon->stats, chain);
	balloon->held = chain->head;
	balloon->holds = true;
}

/* ---- free page reporting --------------------------------------------------------------------- */

/* The buffers are the free memory themselves. */
static void report(struct balloon *balloon, const struct virtq_chain *chain)
{
	/* A page that comes back is zeroes, or what the snapshot has: not what the guest expects, where it expects something else. */
	if (virtio_has(&balloon->dev, VIRTIO_BALLOON_F_PAGE_POISON) &&
	    (balloon->poison || balloon->dev.memory->fd < 0))
		return;
	for (unsigned i = 0; i < chain->writable; i++) {
		const struct iovec *range = &chain->iov[chain->readable + i];

		discard(balloon, range->iov_base, range->iov_len);
	}
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool serve(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	struct balloon *balloon = (struct balloon *)dev;
	unsigned what = purpose(dev, queue);

	if (what == REPORT ? chain->readable : chain->writable) {
		virtio_broken(dev, "a request of the wrong direction");
		return false;
	}
	if (what == STATS) {
		take_stats(balloon, chain);
		return true;
	}
	if (what == INFLATE && !inflate(dev, chain)) {
		virtio_broken(dev, "pages that are not memory, or too many at once");
		return false;
	}
	if (what == REPORT)
		report(balloon, chain);
	virtq_push(&dev->queues[queue], chain, 0);
	return true;
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	virtio_serve(dev, queue, BUDGET, serve);
}

/* ---- the host's side ------------------------------------------------------------------------- */

void virtio_balloon_set_target(struct virtio_device *dev, uint32_t pages)
{
	struct balloon *balloon = (struct balloon *)dev;
	uint64_t all = dev->memory->size >> VIRTIO_BALLOON_PFN_SHIFT;

	if (pages > all)
		pages = (uint32_t)all;
	pthread_mutex_lock(&dev->lock);
	if (balloon->stats.target != pages) {
		balloon->stats.target = pages;
		virtio_config_changed(dev);
	}
	pthread_mutex_unlock(&dev->lock);
}

void virtio_balloon_stats(struct virtio_device *dev, struct virtio_balloon_stats *stats)
{
	struct balloon *balloon = (struct balloon *)dev;

	pthread_mutex_lock(&dev->lock);
	*stats = balloon->stats;
	if (virtio_running(dev)) {
		release_stats(balloon);
		virtio_used(dev, STATS);
	}
	pthread_mutex_unlock(&dev->lock);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void read_config(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	const struct balloon *balloon = (const struct balloon *)dev;
	struct virtio_balloon_config config = {
		.num_pages = balloon->stats.target,
		.actual = balloon->stats.actual,
		.poison_val = balloon->poison,
	};

	virtio_config_copy(&config, sizeof(config), offset, data, size);
}

static void write_config(struct virtio_device *dev, uint32_t offset, const void *data,
			 unsigned size)
{
	struct balloon *balloon = (struct balloon *)dev;

	if (size != sizeof(uint32_t))
		return;
	if (offset == offsetof(struct virtio_balloon_config, actual))
		memcpy(&balloon->stats.actual, data, size);
	else if (offset == offsetof(struct virtio_balloon_config, poison_val))
		memcpy(&balloon->poison, data, size);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void reset(struct virtio_device *dev)
{
	struct balloon *balloon = (struct balloon *)dev;

	balloon->holds = false;
	balloon->stats.actual = 0;
	balloon->poison = 0;
}

struct saved_balloon {
	uint32_t target, actual, poison;
	uint16_t held;
	uint8_t holds;
};

static int save(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	const struct balloon *balloon = (const struct balloon *)dev;
	const struct saved_balloon saved = { .target = balloon->stats.target,
					     .actual = balloon->stats.actual,
					     .poison = balloon->poison,
					     .held = balloon->held,
					     .holds = balloon->holds };

	(void)err;
	snapshot_put(s, SNAPSHOT_OWN, &saved, sizeof(saved));
	return 0;
}

static int restore(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	struct balloon *balloon = (struct balloon *)dev;
	struct saved_balloon saved;
	int r = snapshot_get(s, SNAPSHOT_OWN, &saved, sizeof(saved), err);

	if (r < 0)
		return r;
	balloon->stats.target = saved.target;
	balloon->stats.actual = saved.actual;
	balloon->poison = saved.poison;
	balloon->held = saved.held;
	/* What was not taken cannot be held. */
	balloon->holds =
		saved.holds && dev->queues[STATS].next_avail != dev->queues[STATS].next_used;
	return 0;
}

static void destroy(struct virtio_device *dev)
{
	free((struct balloon *)dev);
}

static const struct virtio_ops ops = {
	.name = "balloon",
	.device_id = VIRTIO_ID_BALLOON,
	.queue_count = QUEUES,
	.queue_size = QUEUE_SIZE,
	.read_config = read_config,
	.write_config = write_config,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.save = save,
	.restore = restore,
	.destroy = destroy,
};

struct virtio_device *virtio_balloon_new(const struct guest_memory *memory, struct loop *loop,
					 struct error *err)
{
	const uint64_t features = UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ |
				  UINT64_C(1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				  UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON |
				  UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING;
	struct balloon *balloon = calloc(1, sizeof(*balloon));

	if (!balloon) {
		error_errno(err, ENOMEM, "virtio-balloon");
		return NULL;
	}
	if (virtio_init(&balloon->dev, &ops, features, memory, loop, err) < 0) {
		virtio_free(&balloon->dev);
		return NULL;
	}
	return &balloon->dev;
}
