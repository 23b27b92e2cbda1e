/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks between threads; see ring.h. */
#include "oci/image/ring.h"

#include <stdlib.h>
#include <string.h>

bool ring_init(struct ring *ring, unsigned readers)
{
	memset(ring, 0, sizeof(*ring));
	pthread_mutex_init(&ring->lock, NULL);
	pthread_cond_init(&ring->filled, NULL);
	pthread_cond_init(&ring->freed, NULL);
	ring->readers = readers;
	ring->memory = malloc(RING_BLOCKS * RING_BLOCK);
	return ring->memory;
}

void ring_free(struct ring *ring)
{
	free(ring->memory);
	pthread_cond_destroy(&ring->filled);
	pthread_cond_destroy(&ring->freed);
	pthread_mutex_destroy(&ring->lock);
}

static uint64_t slowest(const struct ring *ring)
{
	uint64_t least = ring->read[0];

	for (unsigned i = 1; i < ring->readers; i++)
		if (ring->read[i] < least)
			least = ring->read[i];
	return least;
}

static char *block(const struct ring *ring, uint64_t number)
{
	return ring->memory + number % RING_BLOCKS * RING_BLOCK;
}

static unsigned in_use(const struct ring *ring)
{
	return (unsigned)(ring->written - slowest(ring));
}

char *ring_reserve(struct ring *ring)
{
	char *free_block = NULL;

	pthread_mutex_lock(&ring->lock);
	ring->writer_waits = in_use(ring) == RING_BLOCKS;
	while (!ring->stopped && ring->writer_waits)
		pthread_cond_wait(&ring->freed, &ring->lock);
	if (!ring->stopped)
		free_block = block(ring, ring->written);
	pthread_mutex_unlock(&ring->lock);
	return free_block;
}

static void wake_readers(struct ring *ring)
{
	if (ring->waiting)
		pthread_cond_broadcast(&ring->filled);
}

void ring_publish(struct ring *ring, size_t len)
{
	pthread_mutex_lock(&ring->lock);
	ring->len[ring->written++ % RING_BLOCKS] = len;
	wake_readers(ring);
	pthread_mutex_unlock(&ring->lock);
}

void ring_end(struct ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	ring->ended = true;
	wake_readers(ring);
	pthread_mutex_unlock(&ring->lock);
}

const char *ring_take(struct ring *ring, unsigned reader, size_t *len)
{
	const char *taken = NULL;
	uint64_t number;

	pthread_mutex_lock(&ring->lock);
	number = ring->read[reader];
	ring->waiting++;
	while (!ring->stopped && !ring->ended && ring->written == number)
		pthread_cond_wait(&ring->filled, &ring->lock);
	ring->waiting--;
	if (!ring->stopped && ring->written != number) {
		taken = block(ring, number);
		*len = ring->len[number % RING_BLOCKS];
	}
	pthread_mutex_unlock(&ring->lock);
	return taken;
}

void ring_release(struct ring *ring, unsigned reader)
{
	pthread_mutex_lock(&ring->lock);
	ring->read[reader]++;
	if (ring->writer_waits && in_use(ring) <= RING_BLOCKS / 2) {
		ring->writer_waits = false;
		pthread_cond_signal(&ring->freed);
	}
	pthread_mutex_unlock(&ring->lock);
}

void ring_stop(struct ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	ring->stopped = true;
	pthread_cond_broadcast(&ring->filled);
	pthread_cond_signal(&ring->freed);
	pthread_mutex_unlock(&ring->lock);
}
