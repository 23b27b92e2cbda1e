/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a cgroup of v2 to the user of its container, who then may make cgroups below it. Which files
 * that takes the kernel says; limits are not among them, these stay ours.
 *
 * Sources: cgroup-v2.rst "Delegation Containment"; runtime-spec config-linux.md "Cgroup ownership".
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "cgroups/internal.h"

static int give(int dir, const char *name, uid_t uid)
{
	if (fchownat(dir, name, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0)
		return 0;
	return errno == ENOENT && *name ? 0 : -errno;
}

int cgroup_delegate(const struct cgroup *cg, uid_t uid, struct error *err)
{
	char files[4096] = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n", known[4096];
	int dir = cgroup_v2_fd(cg), r;
	char *save = NULL;

	if (dir < 0 || cg->host->layout != CGROUP_V2)
		return 0;
	if (file_read_small(AT_FDCWD, "/sys/kernel/cgroup/delegate", known, sizeof(known), NULL) >
	    0)
		strcpy(files, known);
	r = give(dir, "", uid);
	for (char *name = strtok_r(files, "\n", &save); name && r == 0;
	     name = strtok_r(NULL, "\n", &save))
		if (!strchr(name, '/'))
			r = give(dir, name, uid);
	/* Without root a cgroup is one's own already, and nobody else's to be made. */
	if (r == -EPERM && geteuid() != 0) {
		log_debug("the cgroup `%s` stays with its owner", cg->path);
		return 0;
	}
	return r < 0 ? error_errno(err, -r, "cgroup: give `%s` to user %u", cg->path, uid) : 0;
}
