/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay carries the bytes of one stream from a descriptor to another, in an event loop and without ever blocking it: it
 * reads only when what it read before is written. The end of the input is passed on as the end of the output.
 */
#ifndef HULL_SANDBOX_RELAY_H
#define HULL_SANDBOX_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "microvm/loop.h"

#define RELAY_BUFFER 16384 /* bytes, allocated while there is something to carry */

struct relay {
	struct loop *loop;
	struct loop_source from, to;
	bool from_is_socket, to_is_socket, to_blocks;
	bool from_is_file; /* epoll(7) does not take it: it is always ready */
	char *buffer;
	uint32_t start, end;     /* what of the buffer is still to be written */
	uint64_t taken, carried; /* bytes read and written so far */
	bool refused;            /* ended because the output takes no more */
	bool ended; /* nothing more will come, and all that came was written or cannot be */
	void (*on_end)(struct relay *relay);      /* may be NULL; called once */
	void (*on_progress)(struct relay *relay); /* may be NULL; bytes were written */
	void *data;
};

/*
 * Begins to carry. Both descriptors become the relay's, and are closed when they have served. Descriptors that are not
 * non-blocking stay so, for they may be shared with others: reads and writes are made such that they do not block.
 */
int relay_start(struct relay *relay, struct loop *loop, int from, int to, struct error *err);

/* Before relay_start(): what is carried first, at most RELAY_BUFFER bytes that were taken before. */
int relay_preload(struct relay *relay, const void *data, size_t len, struct error *err);

/* Carries at once what can be had without waiting, to the input's end or until there is none: a process that wrote it has ended. */
void relay_drain(struct relay *relay);

/* Carries nothing until it goes on. */
void relay_hold(struct relay *relay);
void relay_go_on(struct relay *relay);

/* Stops and closes. */
void relay_stop(struct relay *relay);

#endif
