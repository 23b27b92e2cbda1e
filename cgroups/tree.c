/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, opening and entering a container's cgroup. A start does this for every hierarchy, ten on
 * a v1 host, so the usual case is kept to two system calls each: mkdir of the whole path, and open.
 * Parents, controllers and a directory that is there already are the exceptions, looked at only
 * when mkdir says so.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/strbuf.h"
#include "base/syscalls.h"
#include "cgroups/internal.h"

void cgroup_close(struct cgroup *cg)
{
	if (!cg->host)
		return;
	for (size_t h = 0; h < cg->host->count; h++)
		close_fd(&cg->dirs[h]);
	cg->host = NULL;
}

/* Starts a handle with nothing open. */
static int init(struct cgroup *cg, const struct cgroup_host *host, const char *path,
		struct error *err)
{
	int r = cgroup_path_check(path, err);

	cg->host = NULL;
	if (r < 0)
		return r;
	cg->host = host;
	cg->made = 0;
	cg->v2_controllers[0] = '\0';
	strcpy(cg->path, path);
	for (size_t h = 0; h < CGROUP_HIERARCHIES; h++)
		cg->dirs[h] = -EBADF;
	return 0;
}

static int open_dir(const char *full)
{
	int fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

/* ---- making ------------------------------------------------------------------------------- */

static int make_failed(const char *full, int code, struct error *err)
{
	switch (code) {
	case EACCES:
	case EPERM:
		return error_set(
			err, code,
			"cgroup: make `%s`: %s; this user has no cgroup of its own: have one "
			"delegated (systemd-run --user --scope -p Delegate=yes), name one in "
			"linux.cgroupsPath, or run hull as root",
			full, strerror(code));
	case EROFS:
		return error_set(
			err, code,
			"cgroup: make `%s`: the cgroup tree is mounted read-only; remount it "
			"writable or have a writable one delegated",
			full);
	case EAGAIN:
		return error_set(
			err, code,
			"cgroup: make `%s`: a cgroup above it allows no more below "
			"(cgroup.max.depth, cgroup.max.descendants); raise that, or remove "
			"unused ones",
			full);
	default:
		return error_errno(err, code, "cgroup: make `%s`", full);
	}
}

/* Makes the parents of full that are missing below the first `skip` bytes; others may make them, too. */
static int make_parents(char *full, size_t skip)
{
	for (char *p = strchr(full + skip + 1, '/'); p; p = strchr(p + 1, '/')) {
		int r;

		*p = '\0';
		r = mkdir(full, 0755);
		*p = '/';
		if (r < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* Whether a cgroup holds processes beside `but` (0: any), itself or below it. */
static int holds_others(const struct cgroup *cg, int h, pid_t but, const char *full,
			struct error *err)
{
	bool events = cg->host->hierarchies[h].v2 && !but;
	char text[512], only[16];
	ssize_t n;

	n = file_read_small(cg->dirs[h], events ? "cgroup.events" : "cgroup.procs", text,
			    sizeof(text), err);
	if (n == -EFBIG)
		return 1;
	if (n < 0)
		return error_wrap(err, "cgroup: `%s`", full), (int)n;
	if (events)
		return cgroup_list_has(text, '\n', "populated 1");
	snprintf(only, sizeof(only), "%d", (int)but);
	return n > 0 && strcmp(text, only) != 0;
}

/* In a frozen cgroup nothing could start. */
static void thaw(const struct cgroup *cg, int h)
{
	const struct cgroup_hierarchy *hierarchy = &cg->host->hierarchies[h];

	if (hierarchy->v2)
		cgroup_try_write(cg, h, "cgroup.freeze", "0");
	else if (cgroup_list_has(hierarchy->controllers, ',', "freezer"))
		cgroup_try_write(cg, h, "freezer.state", "THAWED");
}

/*
 * Takes over a cgroup that exists, as an engine may have made it, or systemd, around one process. With others in it, it
 * belongs to another container: its limits and its end would hit them.
 */
static int take_over(const struct cgroup *cg, int h, pid_t inside, const char *full,
		     struct error *err)
{
	int r = holds_others(cg, h, inside, full, err);

	if (r > 0)
		return error_set(err, EBUSY,
				 "cgroup: `%s` already holds processes, so it is in use by another "
				 "container; choose another linux.cgroupsPath or container id",
				 full);
	if (r == 0)
		thaw(cg, h);
	return r;
}

static int make_one(struct cgroup *cg, int h, pid_t inside, struct error *err)
{
	const struct cgroup_hierarchy *hierarchy = &cg->host->hierarchies[h];
	char full[CGROUP_FULL_MAX];
	int r;

	cgroup_full_path(cg->host, h, cg->path, full);
	r = mkdir(full, 0755) < 0 ? -errno : 0;
	if (r == -ENOENT) {
		r = make_parents(full, strlen(hierarchy->mount));
		if (r == 0)
			r = mkdir(full, 0755) < 0 ? -errno : 0;
	}
	if (r < 0 && r != -EEXIST)
		return make_failed(full, -r, err);
	if (r == 0)
		cg->made |= 1U << h;
	cg->dirs[h] = open_dir(full);
	if (cg->dirs[h] < 0)
		return error_errno(err, -cg->dirs[h], "cgroup: open `%s`", full);
	if (r == -EEXIST) {
		r = take_over(cg, h, inside, full, err);
		if (r < 0)
			return r;
	}
	if (!hierarchy->v2 && cgroup_list_has(hierarchy->controllers, ',', "cpuset"))
		return cgroup_v1_fill_cpuset(cg->host, h, cg->path, err);
	return 0;
}

/*
 * Makes the v2 cgroup one that takes processes, and enables the controllers that have statistics and that nearly every
 * container has limits of. Any other is enabled when a limit asks for it. Best effort: without a limit, none is needed.
 * Where all are there, as is usual, it is no threaded cgroup: those have no memory controller.
 */
static int prepare_v2(struct cgroup *cg, struct error *err)
{
	static const struct {
		const char *v1, *v2;
	} usual[] = {
		{ "cpu", "cpu" }, { "blkio", "io" }, { "memory", "memory" }, { "pids", "pids" }
	};
	const char *wanted[ARRAY_SIZE(usual)];
	int h = cgroup_v2_find(cg->host), r;
	size_t n = 0, have = 0;

	if (h < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		if (cgroup_v1_find(cg->host, usual[i].v1) < 0)
			wanted[n++] = usual[i].v2;
	if (n && file_read_small(cg->dirs[h], "cgroup.controllers", cg->v2_controllers,
				 sizeof(cg->v2_controllers), NULL) < 0)
		cg->v2_controllers[0] = '\0';
	while (have < n && cgroup_list_has(cg->v2_controllers, ' ', wanted[have]))
		have++;
	if (have == ARRAY_SIZE(usual))
		return 0;
	r = cgroup_v2_join_threaded(cg, err);
	if (r == 0 && have < n) {
		cg->v2_controllers[0] = '\0';
		cgroup_v2_enable(cg->host, cg->path, wanted, n);
	}
	return r;
}

/* Undoes what make_one() did, after a failure. */
static void unmake(struct cgroup *cg)
{
	for (size_t h = 0; h < cg->host->count; h++) {
		char full[CGROUP_FULL_MAX];

		if (!(cg->made & 1U << h))
			continue;
		cgroup_full_path(cg->host, (int)h, cg->path, full);
		rmdir(full);
	}
	cgroup_close(cg);
}

int cgroup_adopt(const struct cgroup_host *host, const char *path, pid_t inside, struct cgroup *cg,
		 struct error *err)
{
	int r = init(cg, host, path, err);

	for (size_t h = 0; r == 0 && h < host->count; h++)
		r = make_one(cg, (int)h, inside, err);
	if (r == 0)
		r = prepare_v2(cg, err);
	if (r < 0 && cg->host)
		unmake(cg);
	return r;
}

int cgroup_create(const struct cgroup_host *host, const char *path, struct cgroup *cg,
		  struct error *err)
{
	return cgroup_adopt(host, path, 0, cg, err);
}

/* ---- opening, entering -------------------------------------------------------------------- */

int cgroup_open(const struct cgroup_host *host, const char *path, struct cgroup *cg,
		struct error *err)
{
	int r = init(cg, host, path, err);
	bool any = false;

	if (r < 0)
		return r;
	for (size_t h = 0; h < host->count; h++) {
		char full[CGROUP_FULL_MAX];

		cgroup_full_path(host, (int)h, path, full);
		cg->dirs[h] = open_dir(full);
		if (cg->dirs[h] >= 0) {
			any = true;
		} else if (cg->dirs[h] != -ENOENT) {
			r = error_errno(err, -cg->dirs[h], "cgroup: open `%s`", full);
			cgroup_close(cg);
			return r;
		}
	}
	if (any || !host->count)
		return 0;
	cgroup_close(cg);
	return error_set(
		err, ENOENT,
		"cgroup: `%s` exists in no hierarchy; the container was started without one "
		"or its cgroup was removed",
		path);
}

int cgroup_v2_fd(const struct cgroup *cg)
{
	int h = cg->host ? cgroup_v2_find(cg->host) : -ENOENT;

	if (h < 0 || cg->dirs[h] < 0)
		return -ENOENT;
	return cg->dirs[h];
}

pid_t cgroup_clone(const struct cgroup *cg, uint64_t flags, bool *in_cgroup)
{
	int fd = cg ? cgroup_v2_fd(cg) : -ENOENT;
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t pid;

	*in_cgroup = CLONE3_ENTERS_CGROUP && fd >= 0;
	if (*in_cgroup) {
		args.flags = flags | CLONE_INTO_CGROUP;
		args.cgroup = (unsigned)fd;
		pid = sys_clone3(&args);
		/* A pids limit of 0 forbids births there, not moving in. */
		if (pid >= 0 || errno != EAGAIN)
			return pid;
		*in_cgroup = false;
	}
	args.flags = flags;
	return sys_clone3(&args);
}

static const char *enter_hint(int code, bool v2)
{
	switch (code) {
	case EBUSY:
		return "; a controller is enabled in its cgroup.subtree_control, and then cgroup v2 "
		       "allows processes only in the cgroups below it";
	case EOPNOTSUPP:
		return "; a cgroup above it is threaded; choose a linux.cgroupsPath elsewhere";
	case EACCES:
	case EPERM:
		return "; this user may not move processes there: have the common parent cgroup "
		       "delegated, or run hull as root";
	case ENOSPC:
		return "; its cpuset has no processors or memory nodes";
	case EINVAL:
		return v2 ? ""
			  : "; a process of a real-time policy needs cpu.realtimeRuntime, and one "
			    "bound to a processor cannot leave its cpuset";
	default:
		return "";
	}
}

int cgroup_enter(const struct cgroup *cg, pid_t pid, bool skip_v2, struct error *err)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)pid);
	for (size_t h = 0; cg->host && h < cg->host->count; h++) {
		bool v2 = cg->host->hierarchies[h].v2;
		/*
		 * Writing "0" to tasks moves the writing thread alone; the kernel knows that it is
		 * not exiting and takes no lock against the whole machine's forks. v2 has no such
		 * file for processes.
		 */
		const char *file = pid == 0 && !v2 ? "tasks" : "cgroup.procs";
		char full[CGROUP_FULL_MAX];
		int r;

		if (cg->dirs[h] < 0 || (v2 && skip_v2))
			continue;
		r = cgroup_try_write(cg, (int)h, file, number);
		if (r == 0)
			continue;
		cgroup_full_path(cg->host, (int)h, cg->path, full);
		return error_set(err, -r, "cgroup: move process %s into `%s`: %s%s",
				 pid ? number : "(itself)", full, strerror(-r), enter_hint(-r, v2));
	}
	return 0;
}
