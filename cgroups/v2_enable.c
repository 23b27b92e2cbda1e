/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controllers of v2: a cgroup has those that every cgroup above it passes on by its
 * cgroup.subtree_control. So one is enabled from the mount's root down to the parent, and stops
 * where a cgroup holds processes itself ("no internal processes"; only the real root may) or
 * belongs to somebody else.
 *
 * Source: Documentation/admin-guide/cgroup-v2.rst "Controlling Controllers".
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cgroups/internal.h"

#define CONTROLLERS_MAX  512 /* bytes of a list of them */
#define PROC_CGROUPS_MAX ((size_t)64 << 10)

/* Where enabling failed, for the message. */
struct level {
	char full[CGROUP_FULL_MAX];
};

/* The length of the list in a cgroup's file; -EFBIG where it is longer than CONTROLLERS_MAX. */
static int read_list(const char *full, const char *file, char list[CONTROLLERS_MAX])
{
	char name[CGROUP_FULL_MAX + 32];

	snprintf(name, sizeof(name), "%s/%s", full, file);
	return (int)file_read_small(AT_FDCWD, name, list, CONTROLLERS_MAX, NULL);
}

/*
 * Whether enabling in a cgroup is out of the question: it holds processes itself, and is not the root, which may. The
 * kernel refuses most controllers there, but not cpu and pids: with one of them enabled it would be threaded, and no
 * container could be below it. Where it is threaded already, the kernel knows best.
 */
static bool holds_processes(const char *full)
{
	enum cgroup_v2_type type = cgroup_v2_type_of(full);
	char list[CONTROLLERS_MAX];
	int r;

	if (type != CGROUP_V2_DOMAIN && type != CGROUP_V2_INVALID)
		return false;
	r = read_list(full, "cgroup.procs", list);
	return r > 0 || r == -EFBIG;
}

/* Enables at one level what is not enabled there yet. */
static int enable_at(const char *full, const char *const *controllers, size_t count)
{
	char name[CGROUP_FULL_MAX + 32], have[CONTROLLERS_MAX], text[CONTROLLERS_MAX];
	size_t len = 0;
	int r = read_list(full, "cgroup.subtree_control", have);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		if (!cgroup_list_has(have, ' ', controllers[i]) &&
		    len + strlen(controllers[i]) + 3 < sizeof(text))
			len += (size_t)sprintf(text + len, "%s+%s", len ? " " : "", controllers[i]);
	if (!len)
		return 0;
	if (holds_processes(full))
		return -EBUSY;
	snprintf(name, sizeof(name), "%s/cgroup.subtree_control", full);
	return file_write_existing(AT_FDCWD, name, text, NULL);
}

/* Enables at each level from the mount's root to path's parent. */
static int enable_down(const struct cgroup_host *host, int h, const char *path,
		       const char *const *controllers, size_t count, struct level *level)
{
	size_t mount_len = strlen(host->hierarchies[h].mount);
	char *full = level->full, *slash;

	cgroup_full_path(host, h, path, full);
	for (slash = full + mount_len; slash; slash = strchr(slash + 1, '/')) {
		int r;

		*slash = '\0';
		r = enable_at(full, controllers, count);
		if (r < 0)
			return r;
		*slash = '/';
	}
	return 0;
}

void cgroup_v2_enable(const struct cgroup_host *host, const char *path,
		      const char *const *controllers, size_t count)
{
	int h = cgroup_v2_find(host);
	char available[CONTROLLERS_MAX];
	const char *wanted[16];
	struct level level = { .full = "" };
	size_t n = 0;

	if (h < 0 || read_list(host->hierarchies[h].mount, "cgroup.controllers", available) < 0)
		return;
	for (size_t i = 0; i < count && n < ARRAY_SIZE(wanted); i++)
		if (cgroup_list_has(available, ' ', controllers[i]))
			wanted[n++] = controllers[i];
	if (!n || enable_down(host, h, path, wanted, n, &level) == 0)
		return;
	/* One write enables all or none; one controller (cpu, with real-time processes) may be it. */
	for (size_t i = 0; n > 1 && i < n; i++)
		enable_down(host, h, path, &wanted[i], 1, &level);
}

/* ---- why one cannot be had ---------------------------------------------------------------- */

/* The name that /proc/cgroups has for a controller of v2. */
static const char *kernel_name(const char *controller)
{
	return strcmp(controller, "io") == 0 ? "blkio" : controller;
}

/*
 * What the root of the tree lacks the kernel keeps back; its own table of controllers, where it lists this one, says why.
 * A "root" that has a type is that of a cgroup namespace.
 */
static const char *why_not_available(const char *mount, const char *controller)
{
	_cleanup_free_ char *table = NULL;
	char *save = NULL;

	if (cgroup_v2_type_of(mount) != CGROUP_V2_ROOT)
		return "the cgroups above this cgroup namespace do not pass it on; enable it in the "
		       "cgroup.subtree_control of each of them, on the host (systemd: Delegate=)";
	if (file_read(AT_FDCWD, "/proc/cgroups", PROC_CGROUPS_MAX, &table, NULL) < 0)
		return "this kernel has none, or keeps it back";
	/* name, hierarchy, number of cgroups, enabled */
	for (char *line = strtok_r(table, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *rest = NULL, *name = strtok_r(line, "\t", &rest);
		char *hierarchy = strtok_r(NULL, "\t", &rest), *count = strtok_r(NULL, "\t", &rest);

		if (!count || strcmp(name, kernel_name(controller)) != 0)
			continue;
		if (strcmp(rest, "0") == 0)
			return "it is switched off; boot without cgroup_disable=, or with "
			       "cgroup_enable= and its name";
		if (strcmp(hierarchy, "0") != 0)
			return "a hierarchy of cgroup v1 has it; unmount that, or boot with "
			       "systemd.unified_cgroup_hierarchy=1";
	}
	return "this kernel has none; boot one that was built with it";
}

/* What to do where a level of the tree did not take it. */
static const char *hint(const char *full, int code)
{
	enum cgroup_v2_type type = cgroup_v2_type_of(full);

	if (type == CGROUP_V2_THREADED || type == CGROUP_V2_THREAD_ROOT)
		return "it is a threaded cgroup, and below such cgroup v2 has cpu, cpuset, "
		       "perf_event and pids only; choose a linux.cgroupsPath elsewhere, or remove "
		       "the property";
	switch (code) {
	case EBUSY:
		return "it holds processes itself, and cgroup v2 passes controllers on only from "
		       "cgroups without; move them to a cgroup below it, or choose a "
		       "linux.cgroupsPath elsewhere";
	case EACCES:
	case EPERM:
	case EROFS:
		return "this user may not; have it delegated (systemd: a drop-in of user@.service "
		       "with Delegate= and the controllers), enable it there as root, or remove the "
		       "property";
	case ENOENT:
		return "a cgroup above it does not pass it on; have it delegated (systemd: "
		       "Delegate=), or remove the property";
	default:
		return "enable it there by hand, or remove the property";
	}
}

int cgroup_v2_require(const struct cgroup *cg, const char *controller, const char *property,
		      struct error *err)
{
	int h = cgroup_v2_find(cg->host), r;
	const char *mount = cg->host->hierarchies[h].mount;
	char have[CONTROLLERS_MAX];
	struct level level = { .full = "" };

	if (cgroup_list_has(cg->v2_controllers, ' ', controller))
		return 0;
	r = (int)file_read_small(cg->dirs[h], "cgroup.controllers", have, sizeof(have), err);
	if (r < 0)
		return error_wrap(err, "cgroup: linux.resources.%s", property), r;
	if (cgroup_list_has(have, ' ', controller))
		return 0;
	r = read_list(mount, "cgroup.controllers", have);
	if (r < 0)
		return error_errno(err, -r,
				   "cgroup: linux.resources.%s: read `%s/cgroup.controllers`",
				   property, mount);
	if (!cgroup_list_has(have, ' ', controller))
		return error_set(
			err, EOPNOTSUPP,
			"cgroup: linux.resources.%s needs the %s controller, which is not "
			"available in %s (cgroup.controllers: %.256s): %s, or remove the property",
			property, controller, mount, r ? have : "none",
			why_not_available(mount, controller));
	r = enable_down(cg->host, h, cg->path, &controller, 1, &level);
	if (r == 0)
		return 0;
	return error_set(
		err, -r,
		"cgroup: linux.resources.%s needs the %s controller, which cannot be enabled "
		"in `%.400s/cgroup.subtree_control`: %s; %s",
		property, controller, level.full, strerror(-r), hint(level.full, -r));
}
