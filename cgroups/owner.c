/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose cgroup it is: a mark on its directories, as an extended attribute. A recorded path alone says
 * only which cgroup a container was going to have; before what is in it is killed, the mark says
 * whether the container ever got it, or whether it is somebody else's.
 */
#include <string.h>
#include <sys/xattr.h>

#include "base/log.h"
#include "base/path.h"
#include "cgroups/internal.h"

#define OWNER_MAX 128

/* trusted.* needs the host's CAP_SYS_ADMIN, user.* a kernel of 5.7. */
static const char *const names[] = { "trusted.hull.owner", "user.hull.owner" };

static int set_mark(int dir, const char *owner)
{
	struct path_of_fd path = path_of_fd(dir);
	int r = -ENOTSUP;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (setxattr(path.s, names[i], owner, strlen(owner), 0) == 0)
			return 0;
		r = -errno;
	}
	return r;
}

int cgroup_set_owner(const struct cgroup *cg, const char *owner, struct error *err)
{
	for (size_t h = 0; cg->host && h < cg->host->count; h++) {
		int r = cg->dirs[h] < 0 ? 0 : set_mark(cg->dirs[h], owner);

		/* Root of a user namespace, before Linux 5.7 or on v1: it goes without, and only the init process is killed. */
		if (r == -ENOTSUP || r == -EPERM) {
			log_debug("the cgroup `%s` cannot be marked", cg->path);
			continue;
		}
		if (r < 0)
			return error_errno(err, -r, "mark the cgroup `%s%s` as the container's",
					   cg->host->hierarchies[h].mount, cg->path);
	}
	return 0;
}

/* 1: has this mark; 0: there, with another or without; -ENOENT: not there. */
static int has_mark(const char *path, const char *owner)
{
	char value[OWNER_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ssize_t n = getxattr(path, names[i], value, sizeof(value));

		if (n < 0 && errno == ENOENT)
			return -ENOENT;
		if (n >= 0)
			return (size_t)n == strlen(owner) && !memcmp(value, owner, (size_t)n);
	}
	return 0;
}

bool cgroup_owned_by(const struct cgroup_host *host, const char *path, const char *owner)
{
	bool found = false;

	for (size_t h = 0; h < host->count; h++) {
		char full[CGROUP_PATH_MAX + sizeof(host->hierarchies[h].mount)];
		int r;

		snprintf(full, sizeof(full), "%s%s", host->hierarchies[h].mount, path);
		r = has_mark(full, owner);
		if (r == 0)
			return false;
		found = found || r > 0;
	}
	return found;
}
