/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device thread's loop; see loop.h. It takes one event at a time from the kernel, which gives the ready descriptors
 * in turn: so no callback can be due for a source that an earlier one removed, or whose memory it freed.
 */
#include "microvm/loop.h"

#include <sys/epoll.h>

int loop_open(struct loop *loop, struct error *err)
{
	loop->ended = false;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll < 0 ? error_errno(err, errno, "make an event loop") : 0;
}

void loop_close(struct loop *loop)
{
	close_fd(&loop->epoll);
}

int loop_watch(struct loop *loop, struct loop_source *source, uint32_t events, struct error *err)
{
	struct epoll_event event = { .events = events, .data.ptr = source };
	uint32_t before = __atomic_exchange_n(&source->events, events, __ATOMIC_SEQ_CST);
	int op = !events ? EPOLL_CTL_DEL : before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == before)
		return 0;
	if (epoll_ctl(loop->epoll, op, source->fd, &event) < 0) {
		int code = errno;

		__atomic_store_n(&source->events, before, __ATOMIC_SEQ_CST);
		return error_errno(err, code, "watch a descriptor");
	}
	return 0;
}

int loop_step(struct loop *loop, int timeout, struct error *err)
{
	struct epoll_event event;
	struct loop_source *source;
	int n = epoll_wait(loop->epoll, &event, 1, timeout);

	if (n < 0)
		return errno == EINTR ? 0 : error_errno(err, errno, "wait for events");
	if (n == 0)
		return 0;
	source = event.data.ptr;
	/* Another thread may have removed it since. */
	if (!__atomic_load_n(&source->events, __ATOMIC_SEQ_CST))
		return 0;
	source->callback(source, event.events);
	return 1;
}

int loop_run(struct loop *loop, struct error *err)
{
	int r = 0;

	while (r >= 0 && !loop->ended)
		r = loop_step(loop, -1, err);
	return r < 0 ? r : 0;
}

void loop_end(struct loop *loop)
{
	loop->ended = true;
}
