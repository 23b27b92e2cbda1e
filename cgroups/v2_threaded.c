/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threaded cgroups of v2. Somebody may have made a part of the tree threaded, to spread the threads of one process
 * over cgroups. Below it, each new cgroup is a "domain invalid", which takes no process, until it is made threaded as
 * well. A container can live there: all its threads are in one cgroup, only the memory and block I/O of such a part of
 * the tree cannot be told apart. Listing processes goes by their threads then.
 *
 * Source: Documentation/admin-guide/cgroup-v2.rst "Threads".
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cgroups/internal.h"

enum cgroup_v2_type cgroup_v2_type_of(const char *full)
{
	static const char *const names[] = {
		[CGROUP_V2_DOMAIN] = "domain",
		[CGROUP_V2_THREAD_ROOT] = "domain threaded",
		[CGROUP_V2_INVALID] = "domain invalid",
		[CGROUP_V2_THREADED] = "threaded",
	};
	char file[CGROUP_FULL_MAX + 32], type[32];

	snprintf(file, sizeof(file), "%s/cgroup.type", full);
	if (file_read_small(AT_FDCWD, file, type, sizeof(type), NULL) < 0)
		return CGROUP_V2_ROOT;
	for (int i = CGROUP_V2_DOMAIN; i <= CGROUP_V2_THREADED; i++)
		if (strcmp(type, names[i]) == 0)
			return (enum cgroup_v2_type)i;
	return CGROUP_V2_DOMAIN;
}

/* An invalid one becomes threaded only where the one above it is not invalid: so from the top. */
int cgroup_v2_join_threaded(const struct cgroup *cg, struct error *err)
{
	char full[CGROUP_FULL_MAX], *end;
	int h = cgroup_v2_find(cg->host);

	cgroup_full_path(cg->host, h, cg->path, full);
	if (cgroup_v2_type_of(full) != CGROUP_V2_INVALID)
		return 0;
	end = full + strlen(cg->host->hierarchies[h].mount);
	do {
		char file[CGROUP_FULL_MAX + 32];
		int r = 0;

		end = strchr(end + 1, '/');
		if (end)
			*end = '\0';
		snprintf(file, sizeof(file), "%s/cgroup.type", full);
		if (cgroup_v2_type_of(full) == CGROUP_V2_INVALID)
			r = file_write_existing(AT_FDCWD, file, "threaded", err);
		if (r < 0)
			return error_wrap(err,
					  "cgroup: `%s` is below a threaded cgroup, and cannot be "
					  "made one; choose a linux.cgroupsPath elsewhere",
					  full),
			       r;
		if (end)
			*end = '/';
	} while (end);
	return 0;
}
