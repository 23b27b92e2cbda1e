/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noticing that the kernel ended processes of a cgroup for want of memory: v1 counts up an eventfd that
 * is registered for memory.oom_control, v2 changes memory.events, of which inotify tells.
 *
 * Sources: Documentation/admin-guide/cgroup-v1/memory.rst "OOM Control"; cgroup-v2.rst "memory.events".
 */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "base/file.h"
#include "base/number.h"
#include "base/path.h"
#include "cgroups/internal.h"

/* oom_kill of memory.events, of the cgroup and those below it; what cannot be read stays as it was. */
static uint64_t read_kills(const struct cgroup_oom *oom)
{
	char text[512], *at;
	uint64_t kills;

	if (file_read_small(oom->dir, "memory.events", text, sizeof(text), NULL) < 0)
		return oom->kills;
	at = strstr(text, "\noom_kill ");
	if (!at)
		return oom->kills;
	at += strlen("\noom_kill ");
	return parse_u64_n(at, strcspn(at, "\n"), UINT64_MAX, &kills) ? kills : oom->kills;
}

static int watch_v2(struct cgroup_oom *oom)
{
	char file[64];

	oom->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (oom->fd < 0)
		return -errno;
	snprintf(file, sizeof(file), "%s/memory.events", path_of_fd(oom->dir).s);
	if (inotify_add_watch(oom->fd, file, IN_MODIFY) < 0)
		return -errno;
	oom->kills = read_kills(oom);
	return 0;
}

static int watch_v1(struct cgroup_oom *oom)
{
	_cleanup_close_ int control = openat(oom->dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	char text[32];

	if (control < 0)
		return -errno;
	oom->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (oom->fd < 0)
		return -errno;
	snprintf(text, sizeof(text), "%d %d", oom->fd, control);
	return file_write_existing(oom->dir, "cgroup.event_control", text, NULL);
}

int cgroup_oom_open(const struct cgroup *cg, struct cgroup_oom *oom, struct error *err)
{
	int h = cgroup_v1_find(cg->host, "memory"), r;

	*oom = (struct cgroup_oom){ .fd = -EBADF, .dir = -EBADF, .v2 = h < 0 };
	if (h < 0)
		h = cgroup_v2_find(cg->host);
	if (h < 0 || cg->dirs[h] < 0)
		return 0;
	oom->dir = fcntl(cg->dirs[h], F_DUPFD_CLOEXEC, 3);
	if (oom->dir < 0)
		return error_errno(err, errno, "cgroup: watch `%s` for out-of-memory events",
				   cg->path);
	r = oom->v2 ? watch_v2(oom) : watch_v1(oom);
	if (r == 0)
		return 0;
	cgroup_oom_close(oom);
	/* A kernel that does not let us (a container on v1, PREEMPT_RT), or no memory controller: there is nothing to notice. */
	if (r == -ENOENT || r == -EINVAL || r == -EOPNOTSUPP)
		return 0;
	return error_errno(err, -r, "cgroup: watch `%s` for out-of-memory events", cg->path);
}

unsigned cgroup_oom_read(struct cgroup_oom *oom)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	uint64_t count = 0, before = oom->kills;

	if (oom->fd < 0)
		return 0;
	if (!oom->v2) {
		/* The removal of the cgroup counts it up, too. */
		if (read(oom->fd, &count, sizeof(count)) != sizeof(count) ||
		    faccessat(oom->dir, "memory.oom_control", F_OK, 0) < 0)
			return 0;
		return count > 1000 ? 1000 : (unsigned)count;
	}
	while (read(oom->fd, events, sizeof(events)) > 0)
		;
	oom->kills = read_kills(oom);
	count = oom->kills > before ? oom->kills - before : 0;
	return count > 1000 ? 1000 : (unsigned)count;
}

void cgroup_oom_close(struct cgroup_oom *oom)
{
	close_fd(&oom->fd);
	close_fd(&oom->dir);
}
