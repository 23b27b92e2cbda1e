/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's cgroup, from its making or that of its systemd scope to its end: who owns it, limits,
 * freezing, processes, statistics.
 */
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "base/process.h"
#include "sandbox/container.h"
#include "sandbox/resctrl.h"

#define OWNER_MARK_MAX 64
#define DYING_NAP_NS   20000000 /* 20 ms, at most so many times */
#define DYING_NAPS     50

int container_open_cgroup(const struct sandbox *sb, struct cgroup *cgroup, struct error *err)
{
	int r = cgroup_host_know(sb->cgroups, err);

	return r < 0 ? r : cgroup_open(sb->cgroups, sb->cgroup_path, cgroup, err);
}

/* What marks a cgroup as this container's: its state directory, of which there is one as long as there is the container. */
static int owner_mark(const struct sandbox *sb, char *mark, size_t size, struct error *err)
{
	struct stat st;

	if (fstat(sb->state_dir, &st) < 0)
		return error_errno(err, errno, "stat the state directory");
	snprintf(mark, size, "%llx:%llx", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return 0;
}

bool container_has_cgroup(const struct sandbox *sb)
{
	return sb->cgroup_path && *sb->cgroup_path;
}

/* The container's part of each hierarchy (without a cgroup of its own: the caller's), for mounts of type cgroup. */
static int plan_cgroup_mounts(struct container_plan *plan, struct error *err)
{
	const struct cgroup_host *host = plan->sb->cgroups;
	bool v2 = host->layout == CGROUP_V2;

	for (size_t i = 0; i < host->count; i++) {
		const struct cgroup_hierarchy *h = &host->hierarchies[i];
		const char *base = strrchr(h->mount, '/');
		struct rootfs_cgroup *m = &plan->cgroup_mounts[plan->rootfs.cgroup_count];

		m->v2 = h->v2;
		m->controllers = h->controllers;
		m->name = v2 ? NULL : base ? base + 1 : h->mount;
		m->host_path = arena_printf(&plan->strings, "%s%s", h->mount,
					    container_has_cgroup(plan->sb) ? plan->sb->cgroup_path
									   : h->own);
		if (!m->host_path)
			return error_errno(err, ENOMEM, "plan the cgroup mounts");
		plan->rootfs.cgroup_count++;
	}
	plan->rootfs.cgroups = plan->cgroup_mounts;
	return 0;
}

/* Whether the container sees its cgroup as a writable file system of its own. */
static bool has_writable_cgroup(const struct container_plan *plan)
{
	const struct oci_mounts *mounts = &plan->sb->config->mounts;

	if (!(plan->namespaces.new_flags & CLONE_NEWCGROUP))
		return false;
	for (size_t i = 0; i < mounts->len; i++) {
		const struct oci_mount *m = &mounts->items[i];
		bool readonly = false;

		if (!m->type || (strcmp(m->type, "cgroup") && strcmp(m->type, "cgroup2")) ||
		    strcmp(m->destination, "/sys/fs/cgroup"))
			continue;
		for (size_t o = 0; o < m->options.len; o++)
			if (!strcmp(m->options.items[o], "ro") ||
			    !strcmp(m->options.items[o], "rw"))
				readonly = m->options.items[o][1] == 'o';
		return !readonly;
	}
	return false;
}

/* The container's user, as the host numbers it; false: nobody, or it cannot be known (a user namespace of others). */
static bool host_uid(const struct container_plan *plan, uid_t *uid)
{
	const struct oci_config *config = plan->sb->config;
	const struct oci_user *user = config->process->user;
	const struct oci_linux *l = config->linux_;
	uint32_t inside = user ? user->uid.v : 0;

	*uid = inside;
	if (!l || !((plan->namespaces.new_flags | plan->namespaces.join_flags) & CLONE_NEWUSER))
		return true;
	for (size_t i = 0; i < l->uid_mappings.len; i++) {
		const struct oci_id_mapping *m = &l->uid_mappings.items[i];

		if (inside < m->container_id || inside - m->container_id >= m->size)
			continue;
		*uid = m->host_id + (inside - m->container_id);
		return true;
	}
	return false;
}

/* runtime-spec config-linux.md, "Cgroup ownership". */
static int delegate_cgroup(const struct container_plan *plan, struct error *err)
{
	uid_t uid;

	if (!has_writable_cgroup(plan) || !host_uid(plan, &uid) || uid == 0)
		return 0;
	return cgroup_delegate(&plan->cgroup, uid, err);
}

/* Whether systemd has controllers in cgroup v1, beside v2 or alone. */
static bool has_v1(const struct sandbox *sb)
{
	return sb->cgroups->layout != CGROUP_V2;
}

/*
 * systemd makes the cgroup, and only around a process; here is what can be said before there is one. A user's manager
 * passes on no controllers of cgroup v1.
 */
static int plan_scope(const struct own_cgroup *own, struct error *err)
{
	const struct sandbox *sb = own->sb;

	if (has_v1(own->sb) && (sb->scope->user || own->sb->cgroups->layout == CGROUP_NONE))
		return error_set(
			err, ENOTSUP,
			"--systemd-cgroup: %s needs a host with cgroup v2 alone, and this one's layout is "
			"%s; leave it out, or boot with systemd.unified_cgroup_hierarchy=1",
			sb->scope->user ? "without root it" : "it",
			cgroup_layout_name(own->sb->cgroups->layout));
	return systemd_scope_prepare(sb->scope, sb->id, own->resources, &sb->config->annotations,
				     has_v1(own->sb), own->scope, err);
}

/* Marks the cgroup as this container's, before anything of the container runs in it, and limits it. */
static int mark_and_limit(const struct own_cgroup *own, struct error *err)
{
	char mark[OWNER_MARK_MAX];
	int r = owner_mark(own->sb, mark, sizeof(mark), err);

	if (r == 0)
		r = cgroup_set_owner(own->cgroup, mark, err);
	return r < 0 ? r : cgroup_apply(own->cgroup, own->resources, own->devices, err);
}

int own_cgroup_make(const struct own_cgroup *own, struct error *err)
{
	int r = cgroup_host_know(own->sb->cgroups, err);

	if (r < 0)
		return r;
	if (!container_has_cgroup(own->sb))
		return cgroup_has_limits(own->resources)
			       ? error_set(err, ENOTSUP,
					   "/linux/resources: there is no cgroup to enforce limits "
					   "(see hull check)")
			       : 0;
	if (own->sb->scope)
		return plan_scope(own, err);
	r = cgroup_create(own->sb->cgroups, own->sb->cgroup_path, own->cgroup, err);
	return r < 0 ? r : mark_and_limit(own, err);
}

int own_cgroup_start_scope(const struct own_cgroup *own, struct error *err)
{
	const struct sandbox *sb = own->sb;
	char path[CGROUP_PATH_MAX];
	int r = systemd_scope_start(own->scope, sb->pid, path, sizeof(path), err);

	if (r == 0 && strcmp(path, sb->cgroup_path) != 0)
		return error_set(
			err, ENOTSUP,
			"cgroup: systemd put the scope into `%s`, not into `%s`; this host's systemd "
			"manages another part of the tree: leave out --systemd-cgroup",
			path, sb->cgroup_path);
	if (r == 0)
		r = cgroup_adopt(sb->cgroups, sb->cgroup_path, sb->pid, own->cgroup, err);
	if (r == 0)
		r = mark_and_limit(own, err);
	if (r == 0 && has_v1(own->sb))
		r = cgroup_enter(own->cgroup, sb->pid, false, err);
	return r;
}

static struct own_cgroup own_of(struct container_plan *plan)
{
	const struct oci_linux *l = plan->sb->config->linux_;

	return (struct own_cgroup){
		.sb = plan->sb,
		.resources = l ? l->resources : NULL,
		/* Device rules are the real root's: in a user namespace the kernel refuses them. */
		.devices = process_is_host_root(),
		.cgroup = &plan->cgroup,
		.scope = &plan->scope,
	};
}

int container_start_scope(struct container_plan *plan, struct error *err)
{
	const struct own_cgroup own = own_of(plan);
	int r = own_cgroup_start_scope(&own, err);

	return r < 0 ? r : delegate_cgroup(plan, err);
}

/* The process waits meanwhile: it does nothing before it is in its cgroup and limited. */
int container_make_scope(struct container_plan *plan, struct error *err)
{
	int r = container_start_scope(plan, err);

	return r < 0 ? r : message_send(plan->sb->channel, MSG_GO, NULL, 0, NULL, 0, err);
}

int container_make_cgroup(struct container_plan *plan, struct error *err)
{
	const struct own_cgroup own = own_of(plan);
	int r = own_cgroup_make(&own, err);

	if (r == 0 && container_has_cgroup(plan->sb) && !plan->sb->scope)
		r = delegate_cgroup(plan, err);
	return r < 0 ? r : plan_cgroup_mounts(plan, err);
}

/* Whether the cgroup of the recorded path is the container's: 1 or 0. */
static int find_own_cgroup(const struct sandbox *sb, struct error *err)
{
	char mark[OWNER_MARK_MAX];
	int r = cgroup_host_know(sb->cgroups, err);

	if (r == 0)
		r = owner_mark(sb, mark, sizeof(mark), err);
	return r < 0 ? r : cgroup_owned_by(sb->cgroups, sb->cgroup_path, mark);
}

int container_signal_all(const struct sandbox *sb, int sig, struct error *err)
{
	int r = find_own_cgroup(sb, err);

	if (r == 0)
		return error_set(err, ESRCH, "the container has no process");
	return r < 0 ? r : cgroup_kill(sb->cgroups, sb->cgroup_path, sig, err);
}

static int freeze(struct sandbox *sb, bool frozen, struct error *err)
{
	int r;

	if (!container_has_cgroup(sb))
		return error_set(err, ENOTSUP,
				 "the container has no cgroup, so it cannot be paused");
	r = cgroup_host_know(sb->cgroups, err);
	return r < 0 ? r : cgroup_freeze(sb->cgroups, sb->cgroup_path, frozen, err);
}

int container_pause(struct sandbox *sb, struct error *err)
{
	return freeze(sb, true, err);
}

int container_resume(struct sandbox *sb, struct error *err)
{
	return freeze(sb, false, err);
}

int container_paused(struct sandbox *sb, struct error *err)
{
	int r;

	if (!container_has_cgroup(sb))
		return 0;
	r = cgroup_host_know(sb->cgroups, err);
	return r < 0 ? r : cgroup_frozen(sb->cgroups, sb->cgroup_path, err);
}

ssize_t container_pids(struct sandbox *sb, pid_t **pids, struct error *err)
{
	int r;

	*pids = NULL;
	if (container_has_cgroup(sb)) {
		/* While it runs its cgroup is where it is; later somebody else's may have that path. */
		r = sb->pid ? cgroup_host_know(sb->cgroups, err) : find_own_cgroup(sb, err);
		if (r < 0 || (!sb->pid && r == 0))
			return r;
		return cgroup_pids(sb->cgroups, sb->cgroup_path, pids, err);
	}
	if (!sb->pid)
		return 0;
	*pids = malloc(sizeof(pid_t));
	if (!*pids)
		return error_errno(err, ENOMEM, "list the processes");
	(*pids)[0] = sb->pid;
	return 1;
}

/*
 * systemd removes a scope's cgroup and forgets it. It must be told before the directory goes, from whose events it would
 * learn that nobody is left. Where it does not answer, nothing is left all the same.
 */
static void stop_scope(const struct sandbox *sb)
{
	struct error err = { 0 };

	if (systemd_scope_stop(sb->scope, &err) < 0)
		log_warning("%s", err.text);
}

/*
 * What is in the cgroup of a scope that was not marked yet may be the process of a creation that was killed with its
 * command, and dies: waits for that. How many stay.
 */
static ssize_t wait_for_dying(const struct sandbox *sb, struct error *err)
{
	struct timespec nap = { .tv_nsec = DYING_NAP_NS };
	ssize_t count = -1;

	for (int i = 0; count && i < DYING_NAPS; i++) {
		_cleanup_free_ pid_t *pids = NULL;

		count = cgroup_pids(sb->cgroups, sb->cgroup_path, &pids, err);
		if (count <= 0 || !sb->scope)
			break;
		nanosleep(&nap, NULL);
	}
	return count;
}

/* A cgroup without our mark was never entered by us: what is in it is somebody else's and none of our business. */
static int destroy_unmarked(const struct sandbox *sb, struct error *err)
{
	ssize_t count = wait_for_dying(sb, err);

	if (count < 0)
		return (int)count;
	if (count) {
		log_warning(
			"the cgroup `%s` is not marked as the container's and holds processes: it is left alone",
			sb->cgroup_path);
		return 0;
	}
	/* Of a scope without processes systemd disposes, and of its name, for which the next one may wait. */
	if (sb->scope && sb->pid > 0)
		stop_scope(sb);
	return sb->scope && !has_v1(sb) ? 0 : cgroup_remove(sb->cgroups, sb->cgroup_path, err);
}

int container_destroy_cgroup(const struct sandbox *sb, bool kill_first, struct error *err)
{
	int r = find_own_cgroup(sb, err);

	if (r < 0)
		return r;
	if (r == 0)
		return destroy_unmarked(sb, err);
	r = kill_first ? cgroup_kill(sb->cgroups, sb->cgroup_path, SIGKILL, err) : 0;
	if (r == 0 && sb->scope)
		stop_scope(sb);
	if (r == 0)
		r = cgroup_remove(sb->cgroups, sb->cgroup_path, err);
	if (r != -EBUSY)
		return r;
	r = cgroup_kill(sb->cgroups, sb->cgroup_path, SIGKILL, err);
	return r < 0 ? r : cgroup_remove(sb->cgroups, sb->cgroup_path, err);
}

/* Gives the cgroup its new limits, and a scope's unit. */
static int apply_update(const struct sandbox *sb, const struct cgroup *cgroup,
			const struct oci_resources *changes, const struct oci_resources *merged,
			bool devices, struct error *err)
{
	bool v1 = has_v1(sb);
	int r = cgroup_apply(cgroup, changes, devices, err);

	if (r < 0 || !sb->scope)
		return r;
	/* First the kernel says what it does not like; then systemd learns it and writes what it rounded, which is put right. */
	r = systemd_scope_update(sb->scope, merged, v1, devices, err);
	return r < 0 ? r : cgroup_apply(cgroup, merged, v1 && devices, err);
}

/*
 * cgroup v1 takes new device rules one by one, from "all denied" on: nobody may meet the rules in between, so the container
 * stands still meanwhile. v2 changes them at once.
 */
int container_update(struct sandbox *sb, const struct oci_resources *changes,
		     const struct oci_resources *merged, struct error *err)
{
	bool devices = changes->devices.len && process_is_host_root(), thaw;
	_cleanup_cgroup_ struct cgroup cgroup = { .host = NULL };
	int r, second;

	if (!container_has_cgroup(sb))
		return error_set(err, ENOTSUP,
				 "the container has no cgroup, so it has no limits to change");
	r = container_open_cgroup(sb, &cgroup, err);
	if (r < 0)
		return r;
	thaw = devices && has_v1(sb) && container_paused(sb, NULL) == 0 &&
	       freeze(sb, true, NULL) == 0;
	r = apply_update(sb, &cgroup, changes, merged, devices, err);
	if (!thaw)
		return r;
	second = freeze(sb, false, r == 0 ? err : NULL);
	return r == 0 ? second : r;
}

/* A new class: with all that runs in the container by now; what they start later is born into it. */
static int make_class(struct sandbox *sb, int root, const struct oci_intel_rdt *rdt,
		      struct error *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	ssize_t count;
	int r = resctrl_make(root, rdt, sb->id, sb->state_dir, err);

	if (r < 0)
		return r;
	count = container_pids(sb, &pids, err);
	for (ssize_t i = 0; i < count && r == 0; i++) {
		r = resctrl_enter(root, rdt, sb->id, pids[i], err);
		if (r == -ESRCH && pids[i] != sb->pid)
			r = 0; /* it has ended meanwhile */
	}
	return count < 0 ? (int)count : r;
}

int container_update_class(struct sandbox *sb, const struct oci_intel_rdt *changes, bool make,
			   struct error *err)
{
	_cleanup_close_ int root = resctrl_open(err);
	int r;

	if (root < 0)
		return root;
	if (!make)
		return resctrl_update(root, changes, sb->id, err);
	r = make_class(sb, root, changes, err);
	if (r < 0)
		resctrl_destroy(root, sb->state_dir, NULL);
	return r;
}

static int open_own_cgroup(struct sandbox *sb, struct cgroup *cgroup, struct error *err)
{
	if (!container_has_cgroup(sb))
		return error_set(err, ENOTSUP,
				 "the container has no cgroup, so nothing counts what it uses");
	return container_open_cgroup(sb, cgroup, err);
}

int container_stats(struct sandbox *sb, struct arena *arena, struct events_stats *stats,
		    struct error *err)
{
	_cleanup_cgroup_ struct cgroup cgroup = { .host = NULL };
	int r = open_own_cgroup(sb, &cgroup, err);

	return r < 0 ? r : cgroup_stats(&cgroup, arena, stats, err);
}

int container_watch_oom(struct sandbox *sb, struct cgroup_oom *oom, struct error *err)
{
	_cleanup_cgroup_ struct cgroup cgroup = { .host = NULL };
	int r = open_own_cgroup(sb, &cgroup, err);

	return r < 0 ? r : cgroup_oom_open(&cgroup, oom, err);
}
