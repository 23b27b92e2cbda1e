/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups of one container: found, made, limited, entered, emptied and removed, the same way
 * on hosts with cgroup v1, v2, and both (hybrid).
 *
 * The idea to know before reading: a container has one relative path that is the same in every
 * hierarchy, "/hull-ID". A struct cgroup_host says which hierarchies the host has. A struct cgroup
 * holds the container's directory in each of them open; what makes, limits or enters a cgroup works
 * on that, so that no path is looked up twice. What ends one (kill, pids, remove) needs only the
 * host and the path, because after a crash there is nothing else. On a hybrid host each v1
 * controller is used where it is mounted, and the v2 tree holds the processes, too.
 *
 * The usual order:
 *
 *	cgroup_host_detect, cgroup_path, (record the path), cgroup_create, cgroup_apply,
 *	cgroup_clone, in the child cgroup_enter,
 *	unshare(CLONE_NEWCGROUP); … cgroup_kill, cgroup_remove
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
#include "oci/events.h"

/* ---- the host ----------------------------------------------------------------------------- */

enum cgroup_layout { CGROUP_NONE, CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };

#define CGROUP_HIERARCHIES 20   /* more than the kernel has controllers */
#define CGROUP_PATH_MAX    1024 /* bytes of a cgroup's path in its hierarchy, NUL included */

struct cgroup_hierarchy {
	char mount[128];       /* "/sys/fs/cgroup/cpu,cpuacct" */
	char controllers[128]; /* v1: "cpu,cpuacct", "name=systemd"; v2: "" */
	bool v2;
	char own[512]; /* the caller's cgroup as seen from the mount's root: "/", "/a/b" */
};

/* Plain data. A CGROUP_NONE host has no hierarchies: every operation does nothing, a limit is an error. */
struct cgroup_host {
	bool known; /* all zero: nobody has looked yet */
	enum cgroup_layout layout;
	struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES];
	size_t count;
};

/*
 * Finds out what is mounted: from /proc/self/cgroup and, unless /sys/fs/cgroup itself is a v2 tree,
 * /proc/self/mountinfo. A host without cgroups is CGROUP_NONE.
 */
int cgroup_host_detect(struct cgroup_host *host, struct error *err);

/* The same unless it is known: a dozen system calls, of which a command needs the answer several times. */
int cgroup_host_know(struct cgroup_host *host, struct error *err);

/* The layout's name: "none", "v1", "hybrid", "v2". */
const char *cgroup_layout_name(enum cgroup_layout layout);

/*
 * Whether a controller ("memory", "pids", "devices", "freezer", …) can be used on this host. Reads
 * cgroup.controllers of a v2 tree; there "devices" and "freezer" are always true.
 */
bool cgroup_host_has(const struct cgroup_host *host, const char *controller);

/*
 * Whether the caller may make cgroups below that at path (its own one, or the one that this is in) in this hierarchy, and
 * move its own processes there: it is root, or somebody delegated the cgroup to it.
 */
bool cgroup_delegated(const struct cgroup_host *host, size_t h, const char *path);

/*
 * Computes the container's path: linux.cgroupsPath where given (absolute: from the mount's root;
 * relative: below default_parent), else default_parent/ID. The result starts with "/", has no ".."
 * and no empty component. -EINVAL for a path that would leave the tree or that is the root itself;
 * -ENAMETOOLONG.
 */
int cgroup_path(const char *cgroups_path, const char *default_parent, const char *id, char *path,
		size_t size, struct error *err);

/* ---- an open cgroup ----------------------------------------------------------------------- */

/* A container's cgroup, open. All zero is "not open", which cgroup_close() takes, too. */
struct cgroup {
	const struct cgroup_host *host; /* the caller's; must outlive this */
	char path[CGROUP_PATH_MAX];
	int dirs[CGROUP_HIERARCHIES]; /* O_PATH, as host->hierarchies; negative: it has none there */
	uint32_t made;            /* bit i: cgroup_create() made dirs[i], it was not there before */
	char v2_controllers[160]; /* cgroup.controllers of the v2 one as made; "": not read */
};

/*
 * Makes the cgroup at path in every hierarchy and opens it in *cg, enabling v2 controllers on the
 * way down and filling a v1 cpuset from its parent. One that exists is taken over where it is empty
 * (an engine made it), and is -EBUSY where it holds processes. Missing permission is -EACCES,
 * -EPERM or -EROFS with a message about delegation; a rootless caller may go on without a cgroup.
 * On failure what this call made is removed again, except parents. A caller that was killed in here
 * leaves nothing that cgroup_remove() does not find.
 */
int cgroup_create(const struct cgroup_host *host, const char *path, struct cgroup *cg,
		  struct error *err);

/*
 * The same where systemd has made the cgroup around the process `inside`, in some of the hierarchies: in these that process
 * may be in it.
 */
int cgroup_adopt(const struct cgroup_host *host, const char *path, pid_t inside, struct cgroup *cg,
		 struct error *err);

/* Opens an existing cgroup, for exec and update. -ENOENT where it exists in no hierarchy. */
int cgroup_open(const struct cgroup_host *host, const char *path, struct cgroup *cg,
		struct error *err);

/*
 * Marks the cgroup as owner's (a word of at most 127 bytes, unique to the container). Call right
 * after cgroup_create(), before a process is in it: see cgroup_owned_by().
 */
int cgroup_set_owner(const struct cgroup *cg, const char *owner, struct error *err);

/*
 * Whether the cgroup at path exists and bears owner's mark wherever it exists. Without it, what is
 * in it was never the container's and must not be killed: its creation failed, or was cut short.
 */
bool cgroup_owned_by(const struct cgroup_host *host, const char *path, const char *owner);

/* Closes the descriptors; the cgroup stays. */
void cgroup_close(struct cgroup *cg);

#define _cleanup_cgroup_ __attribute__((cleanup(cgroup_close)))

/* Whether there is anything to be limited, device rules aside. resources may be NULL. */
bool cgroup_has_limits(const struct oci_resources *resources);

/*
 * Writes the limits. What this host cannot enforce is an error that names the property, the missing
 * controller and what to do; nothing is skipped, except memory.kernel, kernelTCP and useHierarchy
 * where the kernel has no such thing (any more), for which a warning is logged. Absent properties stay as they are. resources may be NULL.
 *
 * devices: also sets the device filter: resources->devices in order, the last match wins, what none
 * matches is denied; behind them the default devices (null, zero, full, random, urandom, tty, ptmx,
 * pts, console, net/tun, and mknod of all). v1 files or a v2 eBPF program. Pass true for create,
 * false for update (which leaves devices alone) and for rootless callers, who may not.
 */
int cgroup_apply(const struct cgroup *cg, const struct oci_resources *resources, bool devices,
		 struct error *err);

/*
 * The descriptor of the v2 directory for clone3(CLONE_INTO_CGROUP), owned by cg; -ENOENT where
 * there is no v2 tree. With pids.limit 0 on v2 such a clone3 is -EAGAIN, cgroup_enter() is not. Do not combine with CLONE_NEWCGROUP in one call: that would root the new
 * namespace at the caller's cgroup, so unshare(CLONE_NEWCGROUP) after cgroup_enter().
 */
int cgroup_v2_fd(const struct cgroup *cg);

/*
 * clone3(2) of a child of ours that is born in the v2 directory of cg (NULL or all zero: where we are) where that can be done, which
 * *in_cgroup says, for cgroup_enter() in the child. flags: without CLONE_NEWCGROUP. Returns as clone3(2) does.
 */
pid_t cgroup_clone(const struct cgroup *cg, uint64_t flags, bool *in_cgroup);

/*
 * Moves pid into the cgroup: into all hierarchies, or (skip_v2) into all but the v2 one, where
 * clone3 put it already. pid 0 is the caller, which must have one thread: much cheaper in v1, since
 * the kernel then need not stop all forks and exits of the machine. A forked child may call it.
 */
int cgroup_enter(const struct cgroup *cg, pid_t pid, bool skip_v2, struct error *err);

/*
 * Makes uid (as the host numbers it) the owner of the v2 cgroup and of the files that delegation takes, so that a container
 * can make cgroups below its own. Nothing where there is not v2 alone.
 */
int cgroup_delegate(const struct cgroup *cg, uid_t uid, struct error *err);

/* ---- watching ----------------------------------------------------------------------------- */

/*
 * Reads what the cgroup used, from v1 and v2 files alike; strings and lists are in the arena. What a kernel or a host
 * does not count is 0 or absent.
 */
int cgroup_stats(const struct cgroup *cg, struct arena *arena, struct events_stats *stats,
		 struct error *err);

/* Notices when the kernel ends processes of the cgroup for want of memory. */
struct cgroup_oom {
	int fd;  /* readable when there is something to ask; -EBADF: memory is not limited here */
	int dir; /* the cgroup's directory where memory is */
	bool v2;
	uint64_t kills; /* known so far (v2) */
};

int cgroup_oom_open(const struct cgroup *cg, struct cgroup_oom *oom, struct error *err);
/* How many out-of-memory events there were since the last call. */
unsigned cgroup_oom_read(struct cgroup_oom *oom);
void cgroup_oom_close(struct cgroup_oom *oom);

/* ---- by path: works from state.json alone, with any hierarchy missing --------------------- */

/* Freezes or thaws all processes and waits until it is so (-ETIMEDOUT after 10 s, thawed again). */
int cgroup_freeze(const struct cgroup_host *host, const char *path, bool freeze, struct error *err);

/* Whether the cgroup is frozen: 0, 1 or a negative errno. */
int cgroup_frozen(const struct cgroup_host *host, const char *path, struct error *err);

/*
 * The ids of all processes in the cgroup and below, in *pids (the caller frees; NULL where none),
 * sorted, each once. Returns how many. A cgroup that does not exist has none.
 */
ssize_t cgroup_pids(const struct cgroup_host *host, const char *path, pid_t **pids,
		    struct error *err);

/*
 * Sends a signal to every process in the cgroup and below. SIGKILL uses cgroup.kill where the kernel
 * has it, and reaches frozen processes; otherwise the list is read again until nothing new appears
 * (frozen meanwhile, so that a fork bomb cannot run away).
 */
int cgroup_kill(const struct cgroup_host *host, const char *path, int sig, struct error *err);

/*
 * Removes the cgroup and those below it, however many a container made, from every
 * hierarchy, waiting (2 s at most) for dying processes to leave. What is already gone is no error.
 * Parents are left. -EBUSY where processes stay. It costs one rmdir(2) a hierarchy, so where all
 * are thought to be dead call this first, and cgroup_kill() only on -EBUSY.
 */
int cgroup_remove(const struct cgroup_host *host, const char *path, struct error *err);

#endif
