/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded queue of blocks between threads: one fills blocks, one or more read each of them in order, in
 * place. A block is filled again when all its readers are done with it, so nothing is copied, and a
 * slow reader stops the writer instead of taking memory.
 */
#ifndef HULL_OCI_IMAGE_RING_H
#define HULL_OCI_IMAGE_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BLOCK   \
	((size_t)256 \
	 << 10) /* bytes; large enough that waiting and waking cost nothing beside the work */
#define RING_BLOCKS  12
#define RING_READERS 2

struct ring {
	pthread_mutex_t lock;
	pthread_cond_t filled, freed;
	char *memory;
	size_t len[RING_BLOCKS];              /* bytes in each block */
	uint64_t written, read[RING_READERS]; /* blocks since the start */
	unsigned readers;
	unsigned waiting; /* readers that wait for a block */
	bool writer_waits; /* for half of the blocks to be free: waking it for each would cost more than the work */
	bool ended, stopped;
};

/* False: no memory. Readers are numbered from 0. */
bool ring_init(struct ring *ring, unsigned readers);
void ring_free(struct ring *ring);

/* The writer: waits for a block of RING_BLOCK bytes to fill. NULL where the ring was stopped. */
char *ring_reserve(struct ring *ring);
/* Hands the block over with len bytes in it, not 0. */
void ring_publish(struct ring *ring, size_t len);
/* Nothing more will come; what was written before by this thread is seen by who sees the end. */
void ring_end(struct ring *ring);

/* A reader: waits for the next block. NULL at the end, and where the ring was stopped. */
const char *ring_take(struct ring *ring, unsigned reader, size_t *len);
/* Gives back what the reader took last. */
void ring_release(struct ring *ring, unsigned reader);

/* Somebody gives up: nobody waits any more. */
void ring_stop(struct ring *ring);

#endif
