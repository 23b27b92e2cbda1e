/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of the device thread: epoll(7) over the descriptors of devices, sockets and signals. Everything that a device does
 * happens in a callback from here, except register accesses, which vCPU threads make with the device's lock held.
 *
 * loop_watch() may be called in any thread, so a callback may be under way while another thread removes its source: a callback
 * that takes a lock looks at source->events again once it has it.
 */
#ifndef HULL_MICROVM_LOOP_H
#define HULL_MICROVM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct loop_source;
typedef void loop_callback(struct loop_source *source, uint32_t events /* EPOLLIN, … */);

/* Embedded in whatever it belongs to. The descriptor stays its owner's. */
struct loop_source {
	int fd;
	uint32_t events; /* 0: not in the loop */
	loop_callback *callback;
	void *data;
};

struct loop {
	int epoll;
	bool ended;
};

int loop_open(struct loop *loop, struct error *err);
void loop_close(struct loop *loop);

/* Adds source, changes what it waits for, or (events 0) removes it. A source that is removed is not called back any more, not even for what was ready. */
int loop_watch(struct loop *loop, struct loop_source *source, uint32_t events, struct error *err);

/* Waits until something is ready, at most timeout milliseconds (-1: for ever), and calls back for that. How many callbacks there were. */
int loop_step(struct loop *loop, int timeout, struct error *err);

/* Calls back until loop_end(). */
int loop_run(struct loop *loop, struct error *err);
void loop_end(struct loop *loop);

#endif
