/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups of one container: found, made, limited, entered, emptied and removed, the same way
 * on hosts with cgroup v1, v2, and both (hybrid).
 *
 * The idea to know before reading: a container has one relative path that is the same in every
 * hierarchy, "/user.slice/ID"; a struct cgroup_host says which hierarchies the host has; and each operation goes
 * through the hierarchies with the file names of its version. On a hybrid host each v1 controller is
 * used where it is mounted, and the v2 tree, where it is mounted, holds the processes, too.
 *
 * Sources: Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst; runtime-spec config-linux.md
 * "Control groups"; the conversions from v1 to v2 values are those that crun(1) documents.
 */
#ifndef HULL_CGROUPS_CGROUP_H
#define HULL_CGROUPS_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "oci/config.h"

enum cgroup_layout { CGROUP_NONE, CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };

#define CGROUP_HIERARCHIES 20 /* more than the kernel has controllers */

struct cgroup_hierarchy {
	char mount[128];       /* "/sys/fs/cgroup/cpu,cpuacct" */
	char controllers[128]; /* v1: "cpu,cpuacct", "name=systemd"; v2: "" */
	bool v2;
	char own[256]; /* the cgroup of the calling process in it, "/" or "/a/b", as seen from the mount's root */
};

struct cgroup_host {
	enum cgroup_layout layout;
	struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES];
	size_t count;
};

/* Finds out what is mounted, from /proc/self/mountinfo and /proc/self/cgroup. A host without cgroups is CGROUP_NONE. */
int cgroup_host_detect(struct cgroup_host *host, struct error *err);

/* The layout's name: "none", "v1", "hybrid", "v2". */
const char *cgroup_layout_name(enum cgroup_layout layout);

/* Whether a controller ("memory", "pids", "devices", …) can be used on this host, and where. */
bool cgroup_host_has(const struct cgroup_host *host, const char *controller);

/*
 * Computes the container's path: linux.cgroupsPath where given (absolute: from the mount's root;
 * relative: below default_parent), else default_parent/ID. The result starts with "/", has no ".." and no
 * empty component. -EINVAL for a path that would leave the tree.
 */
int cgroup_path(const char *cgroups_path, const char *default_parent, const char *id, char *path,
		size_t size, struct error *err);

/*
 * Makes the cgroup at path in every hierarchy, enabling v2 controllers on the way down and filling a v1 cpuset from
 * its parent. Directories made are ours alone: *existed tells whether the last one was there before and held processes or
 * limits (runc refuses or warns; a non-empty one is -EBUSY here).
 */
int cgroup_create(const struct cgroup_host *host, const char *path, struct error *err);

/*
 * Writes the limits. What this host cannot enforce is an error that names the property and the missing controller
 * and what to do, never skipped. devices: also the default rules (null, zero, full, random, urandom, tty, ptmx, pts, console,
 * mknod of all) behind the given ones; v1 files or a v2 eBPF program. resources may be NULL (then only default device
 * rules). rootless: a limit that fails for lack of permission is still an error, device rules are skipped.
 */
int cgroup_apply(const struct cgroup_host *host, const char *path,
		 const struct oci_resources *resources, bool rootless, struct error *err);

/* A descriptor of the v2 directory for clone3(CLONE_INTO_CGROUP); -ENOENT where the host has no v2 tree. */
int cgroup_open_v2(const struct cgroup_host *host, const char *path, struct error *err);

/* Moves pid into the cgroup: into all hierarchies, or (skip_v2) into all but the v2 one, where clone3 put it already. */
int cgroup_enter(const struct cgroup_host *host, const char *path, pid_t pid, bool skip_v2,
		 struct error *err);

/* Freezes or thaws all processes and waits until it is so (bounded: -ETIMEDOUT after 10 s, thawed again). */
int cgroup_freeze(const struct cgroup_host *host, const char *path, bool freeze, struct error *err);

/* Whether the cgroup is frozen; 0, 1 or a negative errno. */
int cgroup_frozen(const struct cgroup_host *host, const char *path, struct error *err);

/*
 * The ids of all processes in the cgroup and below, in *pids (the caller frees), each once. Returns how many. A cgroup that
 * does not exist has none.
 */
ssize_t cgroup_pids(const struct cgroup_host *host, const char *path, pid_t **pids,
		    struct error *err);

/*
 * Sends a signal to every process in the cgroup and below. SIGKILL uses cgroup.kill where the kernel
 * has it; otherwise the list is read again until nothing new appears (a fork bomb is frozen first).
 */
int cgroup_kill(const struct cgroup_host *host, const char *path, int sig, struct error *err);

/*
 * Removes the cgroup and those below it from every hierarchy, waiting (bounded) for dying processes to leave. What is already
 * gone is no error. Parents are left. -EBUSY where processes stay.
 */
int cgroup_remove(const struct cgroup_host *host, const char *path, struct error *err);

#endif
