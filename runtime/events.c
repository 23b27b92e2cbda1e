/* SPDX-License-Identifier: Apache-2.0 */
/* events: statistics at intervals and out-of-memory events, until the container ends. */
#include <poll.h>
#include <time.h>

#include "base/process.h"
#include "runtime/runtime.h"

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int print_event(const struct container *c, const struct runtime_events *events,
		       const struct events_stats *stats, struct error *err)
{
	_cleanup_strbuf_ struct strbuf line = { 0 };
	int r = events_print(c->record.id, stats, &line, err);

	return r < 0 ? r : events->print(events->data, &line, err);
}

static int print_stats(struct container *c, const struct runtime_events *events, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	struct events_stats stats;
	int r = c->sandbox.ops->stats(&c->sandbox, &arena, &stats, err);

	return r < 0 ? r : print_event(c, events, &stats, err);
}

static int print_ooms(struct container *c, const struct runtime_events *events,
		      struct cgroup_oom *oom, struct error *err)
{
	int r = 0;

	for (unsigned n = cgroup_oom_read(oom); r == 0 && n > 0; n--)
		r = print_event(c, events, NULL, err);
	return r;
}

static int watch(struct container *c, const struct runtime_events *events, int init,
		 struct cgroup_oom *oom, struct error *err)
{
	int64_t next = now_ms() + (int64_t)events->interval_ms;
	int r = 0;

	while (r == 0) {
		struct pollfd fds[] = { { .fd = init, .events = POLLIN },
					{ .fd = oom->fd, .events = POLLIN } };
		int64_t left = next - now_ms();
		int ready = left > 0 ? poll(fds, 2, left > INT32_MAX ? INT32_MAX : (int)left) : 0;

		if (ready < 0 && errno != EINTR)
			return error_errno(err, errno, "wait for events");
		if (ready > 0 && fds[1].revents)
			r = print_ooms(c, events, oom, err);
		if (ready > 0 && fds[0].revents)
			return r < 0 ? r : print_ooms(c, events, oom, err);
		if (ready == 0 && now_ms() >= next) {
			next += (int64_t)events->interval_ms;
			r = print_stats(c, events, err);
			/* Its cgroup goes with it; that is an end like any other. */
			if (r == -ENOENT && poll(fds, 1, 1000) > 0)
				return 0;
		}
	}
	return r;
}

int runtime_events(const struct store *store, const char *id, const struct runtime_events *events,
		   struct error *err)
{
	struct cgroup_oom oom = { .fd = -EBADF, .dir = -EBADF };
	_cleanup_container_ struct container c;
	_cleanup_close_ int init = -EBADF;
	int r = container_open(store, id, CONTAINER_READ, &c, err);

	if (r < 0)
		return r;
	if (c.status == OCI_STOPPED || c.status == OCI_CREATING)
		return error_set(err, ESRCH, "container not running: `%s` %s", id,
				 c.status == OCI_STOPPED ? "has stopped" : "is being created");
	if (c.sandbox.ops->events)
		return c.sandbox.ops->events(&c.sandbox, events->interval_ms, events->once,
					     events->print, events->data, err);
	if (events->once)
		return print_stats(&c, events, err);
	init = process_open(c.record.pid, c.record.start_time, err);
	if (init < 0)
		return init;
	r = c.sandbox.ops->watch_oom(&c.sandbox, &oom, err);
	if (r == 0)
		r = watch(&c, events, init, &oom, err);
	cgroup_oom_close(&oom);
	return r;
}
