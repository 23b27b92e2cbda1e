/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's path in every hierarchy. cgroupsPath comes from a configuration, so a component
 * ".." is refused rather than resolved: it would name the cgroup of somebody else.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"

/* Appends the components of part to path, with one "/" before each. */
static int append(char *path, size_t size, const char *part, const char *what, struct error *err)
{
	size_t at = strlen(path);

	while (*part) {
		size_t len = strcspn(part, "/");

		if (len == 2 && part[0] == '.' && part[1] == '.')
			return error_set(err, EINVAL,
					 "cgroup: %s `%s` must not contain `..`; name a path below "
					 "the root of the cgroup tree",
					 what, part);
		if (memchr(part, '\n', len))
			return error_set(err, EINVAL, "cgroup: %s must not contain a line break",
					 what);
		if (len && !(len == 1 && part[0] == '.')) {
			/* A component of more than NAME_MAX is the kernel's to refuse. */
			if (len + 2 > size - at)
				return error_set(err, ENAMETOOLONG,
						 "cgroup: %s is longer than %d bytes; shorten it",
						 what, CGROUP_PATH_MAX - 1);
			path[at++] = '/';
			memcpy(path + at, part, len);
			at += len;
			path[at] = '\0';
		}
		part += len;
		part += strspn(part, "/");
	}
	return 0;
}

int cgroup_path(const char *cgroups_path, const char *default_parent, const char *id, char *path,
		size_t size, struct error *err)
{
	bool given = cgroups_path && *cgroups_path;
	int r;

	if (size > CGROUP_PATH_MAX)
		size = CGROUP_PATH_MAX;
	path[0] = '\0';
	if (!given || cgroups_path[0] != '/') {
		r = append(path, size, default_parent, "the default parent cgroup", err);
		if (r < 0)
			return r;
	}
	if (given)
		r = append(path, size, cgroups_path, "linux.cgroupsPath", err);
	else
		r = append(path, size, id, "the container's id", err);
	if (r < 0)
		return r;
	if (!path[0])
		return error_set(err, EINVAL,
				 "cgroup: linux.cgroupsPath `%s` is the root of the cgroup tree, "
				 "which is not a container's; name a cgroup below it",
				 given ? cgroups_path : "");
	return 0;
}

bool cgroup_delegated(const struct cgroup_host *host, size_t h, const char *path)
{
	char full[CGROUP_FULL_MAX], procs[CGROUP_FULL_MAX + sizeof("/cgroup.procs")];

	cgroup_full_path(host, (int)h, path, full);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", full);
	return faccessat(AT_FDCWD, full, W_OK, AT_EACCESS) == 0 &&
	       faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
}

int cgroup_path_check(const char *path, struct error *err)
{
	char clean[CGROUP_PATH_MAX];
	int r = cgroup_path(path, "/", "", clean, sizeof(clean), err);

	if (r < 0)
		return r;
	if (strcmp(clean, path) != 0)
		return error_set(err, EINVAL,
				 "cgroup: `%s` is not the absolute path of a cgroup; `%s` would be",
				 path, clean);
	return 0;
}

void cgroup_full_path(const struct cgroup_host *host, int h, const char *path,
		      char full[CGROUP_FULL_MAX])
{
	/* Both are bounded: by their array, and by cgroup_path_check(). */
	snprintf(full, CGROUP_FULL_MAX, "%s%s", host->hierarchies[h].mount, path);
}
