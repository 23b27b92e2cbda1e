/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing: by the v1 freezer where it is mounted (v2's then knows nothing of those frozen), else by
 * cgroup.freeze of v2. Both work in the background, and processes in an uninterruptible sleep do
 * not freeze, so the wait is bounded and a cgroup that did not freeze in time is thawed again: half
 * frozen is the one state that helps nobody.
 *
 * Sources: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst "cgroup.freeze".
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "cgroups/internal.h"

#define FREEZE_MS 10000

/* The cgroup's directory in the hierarchy that freezes. */
struct freezer {
	int dir;
	bool v2;
	char full[CGROUP_FULL_MAX];
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int find_freezer(const struct cgroup_host *host)
{
	int h = cgroup_v1_find(host, "freezer");

	return h >= 0 ? h : cgroup_v2_find(host);
}

/* Whether the calling process is in the cgroup: it would freeze itself and never come to thaw. */
static bool holds_caller(const struct cgroup_host *host, int h, const char *path)
{
	const char *own = host->hierarchies[h].own;
	size_t len = strlen(path);

	return strncmp(own, path, len) == 0 && (own[len] == '/' || own[len] == '\0');
}

static int freezer_open(const struct cgroup_host *host, const char *path, struct freezer *freezer,
			struct error *err)
{
	int h = find_freezer(host), r = cgroup_path_check(path, err);

	if (r < 0)
		return r;
	if (h < 0)
		return error_set(
			err, EOPNOTSUPP,
			"cgroup: to pause processes, hull needs the v1 freezer controller or "
			"a cgroup v2 tree, and this host has neither mounted; mount one");
	freezer->v2 = host->hierarchies[h].v2;
	cgroup_full_path(host, h, path, freezer->full);
	freezer->dir = open(freezer->full, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (freezer->dir < 0)
		return error_errno(err, errno, "cgroup: open `%s`", freezer->full);
	return h;
}

/* Whether it is frozen (1), is not (0), or is neither wholly (-EAGAIN). */
static int read_state(const struct freezer *freezer, struct error *err)
{
	char text[512];
	ssize_t n = file_read_small(freezer->dir, freezer->v2 ? "cgroup.events" : "freezer.state",
				    text, sizeof(text), err);

	if (n < 0)
		return error_wrap(err, "cgroup: `%s`", freezer->full), (int)n;
	if (freezer->v2)
		return cgroup_list_has(text, '\n', "frozen 1");
	if (strcmp(text, "FROZEN") == 0)
		return 1;
	return strcmp(text, "THAWED") == 0 ? 0 : -EAGAIN;
}

static int write_state(const struct freezer *freezer, bool freeze, struct error *err)
{
	int r;

	if (freezer->v2)
		r = file_write_existing(freezer->dir, "cgroup.freeze", freeze ? "1" : "0", err);
	else
		r = file_write_existing(freezer->dir, "freezer.state", freeze ? "FROZEN" : "THAWED",
					err);
	if (r == -ENOENT)
		return error_set(err, EOPNOTSUPP,
				 "cgroup: `%s` cannot be frozen: this kernel lacks cgroup.freeze "
				 "(it is in Linux 5.2 and later); use a newer kernel",
				 freezer->full);
	if (r < 0)
		error_wrap(err, "cgroup: `%s`", freezer->full);
	return r;
}

/* v2 tells of a change through poll(2); for v1 one looks again. */
static void wait_for_change(int events, int64_t ms, unsigned *delay_us)
{
	struct pollfd fd = { .fd = events, .events = POLLPRI };

	if (events < 0)
		cgroup_backoff(delay_us);
	else
		poll(&fd, 1, ms < 100 ? (int)ms : 100);
}

static int freeze_and_wait(const struct freezer *freezer, bool freeze, int ms, struct error *err)
{
	_cleanup_close_ int events = -EBADF;
	int64_t deadline = 0;
	unsigned delay_us = 100;
	int r;

	for (bool first = true;; first = false) {
		int64_t now;

		/*
		 * v1 stays FREEZING where a process forked at the wrong moment or a SIGKILL came
		 * between, until it is told again.
		 */
		if (first || !freezer->v2) {
			r = write_state(freezer, freeze, err);
			if (r < 0)
				return r;
		}
		r = read_state(freezer, err);
		if (r == freeze)
			return 0;
		if (r < 0 && r != -EAGAIN)
			return r;
		now = now_ms();
		if (first) {
			deadline = now + ms;
			if (freezer->v2)
				events =
					openat(freezer->dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
			/* A change before the first poll must not be missed, so read once more. */
			continue;
		}
		if (now >= deadline)
			break;
		wait_for_change(events, deadline - now, &delay_us);
		if (events >= 0) {
			char skip[256];

			/* Only a read of the same descriptor arms it for the next change. */
			if (pread(events, skip, sizeof(skip), 0) < 0)
				close_fd(&events);
		}
	}
	if (freeze)
		write_state(freezer, false, NULL);
	return error_set(err, ETIMEDOUT, "cgroup: `%s` did not %s within %d ms%s", freezer->full,
			 freeze ? "freeze" : "thaw", ms,
			 freeze ? "; a process in it waits for a device or file system (state D in "
				  "ps); it was thawed again, retry later"
				: "; a cgroup above it may be frozen, thaw that one");
}

int cgroup_freeze_within(const struct cgroup_host *host, const char *path, bool freeze, int ms,
			 struct error *err)
{
	struct freezer freezer = { .dir = -EBADF };
	int r = freezer_open(host, path, &freezer, err);

	if (r >= 0 && freeze && holds_caller(host, r, path))
		r = error_set(err, EDEADLK,
			      "cgroup: `%s` holds hull itself, which would freeze, too; run hull "
			      "from another cgroup",
			      freezer.full);
	if (r >= 0)
		r = freeze_and_wait(&freezer, freeze, ms, err);
	close_fd(&freezer.dir);
	return r;
}

int cgroup_freeze(const struct cgroup_host *host, const char *path, bool freeze, struct error *err)
{
	return cgroup_freeze_within(host, path, freeze, FREEZE_MS, err);
}

int cgroup_frozen(const struct cgroup_host *host, const char *path, struct error *err)
{
	struct freezer freezer = { .dir = -EBADF };
	int r = freezer_open(host, path, &freezer, err);

	if (r >= 0)
		r = read_state(&freezer, err);
	close_fd(&freezer.dir);
	return r == -EAGAIN ? 0 : r;
}

static int thaw_one(int dir, void *file, struct error *err)
{
	(void)err;
	file_write_existing(dir, file, strcmp(file, "cgroup.freeze") == 0 ? "0" : "THAWED", NULL);
	return 0;
}

void cgroup_thaw_all(const struct cgroup_host *host, const char *path)
{
	char full[CGROUP_FULL_MAX];
	int h = find_freezer(host);

	if (h < 0)
		return;
	cgroup_full_path(host, h, path, full);
	cgroup_walk(full, thaw_one, host->hierarchies[h].v2 ? "cgroup.freeze" : "freezer.state",
		    NULL);
}
