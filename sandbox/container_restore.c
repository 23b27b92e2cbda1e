/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restoring a container by CRIU. The cgroup is made and the host's part of the mounts is opened as for a new container. What
 * is different is who assembles it: CRIU makes the namespaces, mounts and processes.
 *
 * CRIU takes paths for what is the host's. So hull-criu, and CRIU with it, runs in a mount namespace of its own, in which all
 * that was opened is attached below one directory: under numbers, on a tmpfs that nobody else sees and that ends with
 * CRIU. No path from the configuration or the checkpoint is looked up by CRIU.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "sandbox/container.h"
#include "sandbox/criu.h"
#include "sandbox/manifest.h"

struct restore {
	struct container_plan plan;
	const struct sandbox_restore *request;
	struct criu_call call;
	struct arena arena;
	char stage[PATH_MAX]; /* the directory below which all is attached */
	bool ran_hooks, recorded;
};

/* ---- the stage: in hull-criu, before it is executed -------------------------------------------------- */

/* A place for what tree is: a directory or a file. */
static int make_place(int tree, const char *path, struct error *err)
{
	struct stat st;
	int fd;

	if (fstat(tree, &st) < 0)
		return error_errno(err, errno, "stage `%s`", path);
	if (S_ISDIR(st.st_mode))
		return mkdir(path, 0700) < 0 ? error_errno(err, errno, "make `%s`", path) : 0;
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "make `%s`", path);
	close(fd);
	return 0;
}

static int stage(const struct restore *s, int tree, const char *name, struct error *err)
{
	char path[PATH_MAX + 64];
	int r;

	snprintf(path, sizeof(path), "%s/%s", s->stage, name);
	r = make_place(tree, path, err);
	if (r == 0 && move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		r = error_errno(err, errno, "attach `%s`", path);
	return r;
}

/* CRIU mounts things in its working directory, which must be of the namespace that it is in. */
static int reopen_work(int work, struct error *err)
{
	_cleanup_close_ int again = -EBADF;
	char path[PATH_MAX];
	ssize_t n = readlink(path_of_fd(work).s, path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = '\0';
	again = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (again < 0 || dup3(again, work, O_CLOEXEC) < 0)
		return error_errno(err, errno, "open the directory of CRIU's log");
	return 0;
}

static int enter_stage(void *data, struct error *err)
{
	const struct restore *s = data;
	const struct rootfs *rootfs = &s->plan.rootfs;
	char name[32];
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return error_errno(err, errno, "make a mount namespace for CRIU");
	r = reopen_work(s->request->common.work, err);
	if (r < 0)
		return r;
	if (mount("hull", s->stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711") < 0)
		return error_errno(err, errno, "mount a tmpfs for CRIU on `%s`", s->stage);
	r = stage(s, rootfs->tree, "root", err);
	for (size_t i = 0; r == 0 && i < rootfs->config->mounts.len; i++) {
		snprintf(name, sizeof(name), "%zu", i);
		if (rootfs->sources[i] >= 0)
			r = stage(s, rootfs->sources[i], name, err);
	}
	return r;
}

/* ---- mount points --------------------------------------------------------------------------------------- */

/* Whether it is in a file system that is mounted, too, and restored with what is in it. */
static bool is_below_mount(const struct oci_mounts *mounts, const char *destination)
{
	for (size_t i = 0; i < mounts->len; i++) {
		const char *above = mounts->items[i].destination;
		size_t len = strlen(above);

		if (len > 1 && strncmp(destination, above, len) == 0 && destination[len] == '/')
			return true;
	}
	return false;
}

/* The root may be another than that which the container was in: CRIU takes it that places to mount on are there. */
static int make_mount_points(const struct rootfs *rootfs, struct error *err)
{
	const struct oci_mounts *mounts = &rootfs->config->mounts;

	for (size_t i = 0; i < mounts->len; i++) {
		const char *destination = mounts->items[i].destination;
		_cleanup_close_ int place = -EBADF;
		struct stat st = { .st_mode = S_IFDIR };

		if (is_below_mount(mounts, destination))
			continue;
		if (rootfs->sources[i] >= 0 && fstat(rootfs->sources[i], &st) < 0)
			return error_errno(err, errno, "/mounts/%zu/source", i);
		place = S_ISDIR(st.st_mode)
				? path_make_dir_in_root(rootfs->tree, destination, 0755, err)
				: path_make_file_in_root(rootfs->tree, destination, 0644, err);
		if (place < 0)
			return error_wrap(err, "/mounts/%zu/destination", i);
	}
	return 0;
}

/* ---- what CRIU is told ------------------------------------------------------------------------------ */

static int add_device(struct restore *s, const struct manifest_mount *m, struct error *err)
{
	const char *path = external_device(m->key + strlen(EXTERNAL_DEVICE)), *text;

	if (!path)
		return error_set(err, ENOTSUP, "the checkpoint asks for the device `%s`", m->key);
	text = arena_printf(&s->arena, "mnt[%s]:%s", m->key, path);
	if (text)
		criu_add(&s->call, "external", text);
	return text ? 0 : error_errno(err, ENOMEM, "list the mounts");
}

static bool leads_upwards(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2)
		if ((p == path || p[-1] == '/') && (p[2] == '/' || !p[2]))
			return true;
	return false;
}

static int add_mount(struct restore *s, const struct manifest_mount *m, struct error *err)
{
	const struct rootfs *rootfs = &s->plan.rootfs;
	const char *text;
	ssize_t index;

	if (strpbrk(m->key, "[]:") || leads_upwards(m->path))
		return error_set(err, EINVAL, "`" MANIFEST_NAME "`: externalMounts: `%s`", m->key);
	if (!strncmp(m->key, EXTERNAL_DEVICE, strlen(EXTERNAL_DEVICE)))
		return add_device(s, m, err);
	index = external_mount_index(rootfs->config, m->destination);
	if (index < 0 || rootfs->sources[index] < 0)
		return error_set(err, ENOENT,
				 "the container had a bind mount on `%s`, which this bundle's "
				 "configuration has not",
				 m->destination);
	text = arena_printf(&s->arena, "mnt[%s]:%s/%zd%s", m->key, s->stage, index, m->path);
	if (!text)
		return error_errno(err, ENOMEM, "list the mounts");
	criu_add(&s->call, "external", text);
	return 0;
}

static int add_inherited(struct restore *s, int fd, const char *key, struct error *err)
{
	const char *text = arena_printf(&s->arena, "%d:%s", fd, key);

	if (!text)
		return error_errno(err, ENOMEM, "list descriptors");
	criu_add(&s->call, "inherit", text);
	return 0;
}

/* Pipes that were the workload's standard streams are replaced by ours. */
static int add_stdio(struct restore *s, struct error *err)
{
	const struct oci_strings *stdio = &s->request->manifest->stdio;
	int r = 0;

	for (size_t fd = 0; r == 0 && fd < stdio->len && fd < 3; fd++)
		if (!strncmp(stdio->items[fd], "pipe:", 5))
			r = add_inherited(s, (int)fd, stdio->items[fd], err);
	return r;
}

/* Namespaces that were of others are joined again, as this configuration says. */
static int add_joined(struct restore *s, struct error *err)
{
	const struct oci_strings *joined = &s->request->manifest->joined;
	int r = 0;

	for (size_t i = 0; r == 0 && i < joined->len; i++) {
		const char *name = joined->items[i];
		enum oci_namespace_type type = !strcmp(name, "net") ? OCI_NS_NETWORK : OCI_NS_PID;
		int fd = s->plan.namespaces.join_fds[type];
		char key[32], field[32];

		if (fd < 0 || (type == OCI_NS_PID && strcmp(name, "pid") != 0))
			return error_set(
				err, EINVAL,
				"the container was in the %s namespace of others, by a path: "
				"this bundle's configuration must have one, too",
				oci_namespace_name(type));
		snprintf(field, sizeof(field), "joined-%s", name);
		criu_add_fd(&s->call, field, fd);
		snprintf(key, sizeof(key), "hull-%s", name);
		r = add_inherited(s, fd, key, err);
	}
	return r;
}

static int add_all(struct restore *s, struct error *err)
{
	const struct sandbox_restore *q = s->request;
	const struct sandbox *sb = s->plan.sb;
	char root[PATH_MAX + 16];
	int r = 0;

	criu_add(&s->call, "op", "restore");
	criu_add_fd(&s->call, "images", q->images);
	criu_add_fd(&s->call, "lock", sb->state_dir);
	criu_add_options(&s->call, &q->common, sb->config);
	criu_add_flag(&s->call, "restore_sibling", true);
	criu_add_flag(&s->call, "tcp_close", q->tcp_close);
	/*
	 * CRIU's newer way to restore mounts makes slaves of the host's again by copying the propagation of a source, whose
	 * root must be wider than that of all mounts which it is copied to: a directory that is mounted on its own is not.
	 */
	criu_add_flag(&s->call, "old_mount_engine", true);
	snprintf(root, sizeof(root), "%s/root", s->stage);
	criu_add(&s->call, "root", root);
	if (container_has_cgroup(sb) && q->common.cgroup_mode != CGROUP_MODE_IGNORE)
		criu_add(&s->call, "cgroup_root", sb->cgroup_path);
	if (q->lsm_profile)
		criu_add(&s->call, "lsm_profile", q->lsm_profile);
	if (q->lsm_mount_context)
		criu_add(&s->call, "lsm_mount_context", q->lsm_mount_context);
	for (size_t i = 0; r == 0 && i < q->manifest->mounts.len; i++)
		r = add_mount(s, &q->manifest->mounts.items[i], err);
	if (r == 0)
		r = add_stdio(s, err);
	return r < 0 ? r : add_joined(s, err);
}

/* ---- following ---------------------------------------------------------------------------------------- */

/* CRIU, and so what it restores, is born in the container's cgroup. */
static int place_helper(void *data, pid_t helper, struct error *err)
{
	struct restore *s = data;
	struct sandbox *sb = s->plan.sb;
	int r;

	if (!container_has_cgroup(sb))
		return 0;
	if (!sb->scope)
		return cgroup_enter(&s->plan.cgroup, helper, false, err);
	sb->pid = helper;
	r = container_start_scope(&s->plan, err);
	sb->pid = 0;
	return r;
}

/* What CRIU leaves to others, done in the container's namespaces. */
struct settling {
	int uts, mount; /* descriptors of namespaces; -EBADF: nothing to do in there */
	const char *hostname;
};

static int settle_inside(void *data, struct error *err)
{
	const struct settling *s = data;
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };

	if (s->uts >= 0 &&
	    (setns(s->uts, CLONE_NEWUTS) < 0 || sethostname(s->hostname, strlen(s->hostname)) < 0))
		return error_errno(err, errno, "set the host name `%s`", s->hostname);
	/* Whose root directory is that of the namespace then. */
	if (s->mount >= 0 && setns(s->mount, CLONE_NEWNS) < 0)
		return error_errno(err, errno, "enter the container's mount namespace");
	if (s->mount >= 0 && mount_setattr(AT_FDCWD, "/", 0, &read_only, sizeof(read_only)) < 0)
		return error_errno(err, errno, "set the root file system read-only");
	return 0;
}

/* A namespace of the process, unless it is ours: nothing of the host is changed, whatever the checkpoint is. */
static int open_own(pid_t pid, enum oci_namespace_type type, int *fd, struct error *err)
{
	const char *name = oci_namespace_file(type);
	struct stat its, own;
	char path[64], ours[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	snprintf(ours, sizeof(ours), "/proc/self/ns/%s", name);
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &its) < 0 || stat(ours, &own) < 0)
		return error_errno(err, errno, "find the container's %s namespace", name);
	if (its.st_ino == own.st_ino)
		return error_set(err, EPERM, "the container is in the host's %s namespace", name);
	return 0;
}

/* CRIU makes the root's mount as it finds it, not as it was. */
static int settle(const struct restore *s, pid_t pid, struct error *err)
{
	_cleanup_close_ int uts = -EBADF, mount_ns = -EBADF;
	const struct oci_config *config = s->plan.sb->config;
	const struct oci_namespace *ns = oci_namespace_find(config, OCI_NS_UTS);
	const char *hostname = ns && !ns->path ? s->request->hostname : NULL;
	int r = 0;

	if (hostname)
		r = open_own(pid, OCI_NS_UTS, &uts, err);
	if (r == 0 && config->root->readonly.v)
		r = open_own(pid, OCI_NS_MOUNT, &mount_ns, err);
	if (r < 0 || (uts < 0 && mount_ns < 0))
		return r;
	return process_in_child(settle_inside, &(struct settling){ uts, mount_ns, hostname }, err);
}

/* All is there, and nothing runs yet. */
static int record(struct restore *s, pid_t pid, struct error *err)
{
	struct sandbox *sb = s->plan.sb;
	struct process_stat st;
	int r = process_read_stat(pid, &st, err);

	if (r < 0)
		return r;
	sb->pid = pid;
	sb->start_time = st.start_time;
	r = container_enter_resctrl(sb, s->plan.resctrl, pid, err);
	if (r == 0)
		r = settle(s, pid, err);
	if (r == 0)
		r = s->request->restored(s->request->data, err);
	s->recorded = r == 0;
	return r;
}

static int take_terminal(struct restore *s, int *fd, struct error *err)
{
	struct sandbox *sb = s->plan.sb;
	int r;

	if (*fd < 0 || !sb->config->process->terminal.v)
		return error_set(
			err, EINVAL,
			"the container had a terminal, and this bundle's configuration has "
			"none (/process/terminal)");
	r = process_hand_over_terminal(s->plan.io.console_socket, fd, err);
	if (r == 0 && *fd >= 0)
		sb->terminal = take_fd(fd);
	return r;
}

static int notified(void *data, const struct criu_notice *notice, int *fd, struct error *err)
{
	struct restore *s = data;
	const struct sandbox_hooks *hooks = s->plan.hooks;

	if (!strcmp(notice->name, "setup-namespaces") && !s->ran_hooks) {
		s->ran_hooks = true;
		return hooks->wanted[SANDBOX_STAGE_CREATE_RUNTIME]
			       ? hooks->run(hooks->data, SANDBOX_STAGE_CREATE_RUNTIME, notice->pid,
					    err)
			       : 0;
	}
	if (!strcmp(notice->name, "orphan-pts-master"))
		return take_terminal(s, fd, err);
	if (!strcmp(notice->name, "post-restore") && !s->recorded)
		return record(s, notice->pid, err);
	return 0;
}

/*
 * The state directory, which nobody else enters. Root of a user namespace, which CRIU is while it mounts, does not either: then it is
 * one of those that all may enter, and in which nothing is that CRIU needs.
 */
static int choose_stage(struct restore *s, struct error *err)
{
	static const char *const open_to_all[] = { "/mnt", "/media", "/srv" };
	ssize_t n;

	for (size_t i = 0; s->plan.rootfs.user_namespace && i < ARRAY_SIZE(open_to_all); i++) {
		struct stat st;

		if (lstat(open_to_all[i], &st) == 0 && S_ISDIR(st.st_mode)) {
			snprintf(s->stage, sizeof(s->stage), "%s", open_to_all[i]);
			return 0;
		}
	}
	n = readlink(path_of_fd(s->plan.sb->state_dir).s, s->stage, sizeof(s->stage) - 1);
	if (n < 0)
		return error_errno(err, errno, "find the state directory");
	s->stage[n] = '\0';
	return 0;
}

static int restore(struct restore *s, struct error *err)
{
	int r = container_plan_open(&s->plan, false, err);

	if (r < 0)
		return r;
	if (s->plan.rootfs.mode != ROOTFS_NEW || s->plan.rootfs.deferred)
		return error_set(err, ENOTSUP,
				 "a container can be restored only by root, and into a mount "
				 "namespace of its own");
	r = choose_stage(s, err);
	if (r == 0)
		r = make_mount_points(&s->plan.rootfs, err);
	if (r < 0)
		return r;
	s->call = (struct criu_call){
		.data = s, .enter = enter_stage, .place = place_helper, .notify = notified
	};
	r = add_all(s, err);
	if (r == 0)
		r = criu_call(&s->call, err);
	if (r == 0 && !s->recorded)
		r = record(s, s->call.pid, err);
	return r;
}

int container_restore(struct sandbox *sb, const struct sandbox_hooks *hooks,
		      const struct sandbox_io *io, const struct sandbox_restore *request,
		      struct error *err)
{
	struct restore s = { .request = request };
	int r;

	container_plan_init(&s.plan, sb, hooks, io);
	sb->terminal = -1;
	r = restore(&s, err);
	if (r < 0)
		close_fd(&sb->terminal);
	container_plan_close(&s.plan);
	criu_call_free(&s.call);
	arena_free(&s.arena);
	return r;
}
