/* SPDX-License-Identifier: Apache-2.0 */
/* A container as the state directory remembers it and the kernel knows it. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/message.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "cgroups/cgroup.h"
#include "runtime/hooks.h"
#include "runtime/runtime.h"

int container_bind_sandbox(struct container *c, struct error *err)
{
	c->sandbox = (struct sandbox){
		.ops = sandbox_ops_of(c->record.kind, err),
		.config = c->config,
		.id = c->record.id,
		.bundle = c->record.bundle,
		.rootfs = c->record.rootfs,
		.cgroup_path = c->record.cgroup_path,
		.cgroups = &c->cgroups,
		.scope = c->record.scope.unit[0] ? &c->record.scope : NULL,
		.state_dir = c->dir,
		.no_new_keyring = c->record.no_new_keyring,
		.pid = c->record.pid,
		.start_time = c->record.start_time,
		.file_server = c->record.file_server,
		.file_server_start = c->record.file_server_start,
		.terminal = -1,
		.channel = -1,
		.net_namespace = -1,
	};
	return c->sandbox.ops ? 0 : -ENOTSUP;
}

/* What the record says is checked against the kernel: a process may have ended, a `start` may have been killed half-way. */
static int find_status(struct container *c, enum container_access access, struct error *err)
{
	_cleanup_close_ int pidfd = -EBADF;
	struct error why = { 0 };
	int r;

	c->status = OCI_STOPPED;
	if (c->record.pid <= 0) {
		/* Whoever makes it holds the lock, unless that is us, or it was killed. */
		if (access == CONTAINER_READ && flock(c->dir, LOCK_SH | LOCK_NB) < 0 &&
		    errno == EWOULDBLOCK)
			c->status = OCI_CREATING;
		return 0;
	}
	pidfd = process_open(c->record.pid, c->record.start_time, &why);
	/* Who cannot tell must not take it for stopped: delete would end what runs. */
	if (pidfd < 0 && pidfd != -ESRCH && access != CONTAINER_FORCE)
		return error_set(err, why.code, "%s", why.text);
	if (pidfd < 0)
		return 0;
	c->status = OCI_RUNNING;
	if (!c->record.started && access != CONTAINER_FORCE) {
		r = c->sandbox.ops->started(&c->sandbox, err);
		if (r < 0)
			return r;
		c->status = r ? OCI_RUNNING : OCI_CREATED;
	}
	if (c->record.paused) {
		r = c->sandbox.ops->paused(&c->sandbox, err);
		if (r < 0)
			return r;
		if (r)
			c->status = OCI_PAUSED;
	}
	return 0;
}

/* For a container without a record: its creation was cut short before it left traces elsewhere. */
static int empty_record(const char *id, struct container *c)
{
	c->record = (struct record){ .oci_version = OCI_VERSION,
				     .bundle = "",
				     .rootfs = "",
				     .created = "",
				     .cgroup_path = "" };
	c->record.id = arena_strdup(&c->arena, id);
	return c->record.id ? 0 : -ENOMEM;
}

/*
 * Where the cgroup of somebody else than the host's root goes: below the caller's own, if somebody delegated that. But that
 * one holds the caller, and so it passes no controllers on: what is to be limited goes beside it, if that is delegated,
 * too. False: nowhere.
 */
static bool find_parent(const struct cgroup_host *host, const struct oci_resources *resources,
			char parent[CGROUP_PATH_MAX])
{
	const char *own = host->hierarchies[0].own;
	int len = (int)(strrchr(own, '/') - own);

	if (cgroup_has_limits(resources) && own[1]) {
		snprintf(parent, CGROUP_PATH_MAX, "%.*s", len ? len : 1, own);
		if (cgroup_delegated(host, 0, parent))
			return true;
	}
	snprintf(parent, CGROUP_PATH_MAX, "%s", own);
	return cgroup_delegated(host, 0, own);
}

int container_plan_cgroup(struct container *c, const char *id, bool without_cgroups,
			  struct error *err)
{
	const struct oci_linux *l = c->config->linux_;
	bool named = l && l->cgroups_path && *l->cgroups_path;
	const struct cgroup_host *host = &c->cgroups;
	char path[CGROUP_PATH_MAX], parent[CGROUP_PATH_MAX] = "/", name[STORE_ID_MAX + 8];
	int r;

	c->record.cgroup_path = "";
	if (without_cgroups)
		return 0;
	r = cgroup_host_know(&c->cgroups, err);
	if (r < 0 || host->layout == CGROUP_NONE)
		return r;
	/* Others than the host's root may make cgroups only where somebody delegated that. */
	if (!process_is_host_root()) {
		if (host->layout != CGROUP_V2)
			return 0;
		if (named)
			snprintf(parent, sizeof(parent), "%s", host->hierarchies[0].own);
		else if (!find_parent(host, l ? l->resources : NULL, parent))
			return 0;
	}
	snprintf(name, sizeof(name), "hull-%s", id);
	r = cgroup_path(l ? l->cgroups_path : NULL, parent, name, path, sizeof(path), err);
	if (r < 0)
		return error_wrap(err, "/linux/cgroupsPath");
	c->record.cgroup_path = arena_strdup(&c->arena, path);
	return c->record.cgroup_path ? 0 : error_errno(err, ENOMEM, "/linux/cgroupsPath");
}

int container_plan_scope(struct container *c, const char *id, struct error *err)
{
	const struct oci_linux *l = c->config->linux_;
	char path[CGROUP_PATH_MAX];
	uid_t uid;
	bool user = systemd_is_user(&uid);
	int r = systemd_scope_name(l ? l->cgroups_path : NULL, id, user, &c->record.scope, err);

	if (r == 0)
		r = systemd_scope_path(&c->record.scope, uid, path, sizeof(path), err);
	if (r < 0)
		return error_wrap(err, "/linux/cgroupsPath");
	c->record.cgroup_path = arena_strdup(&c->arena, path);
	return c->record.cgroup_path ? 0 : error_errno(err, ENOMEM, "/linux/cgroupsPath");
}

/* A damaged record still leaves the saved configuration, which says where the container's processes are. */
static int rebuild_record(const char *id, struct container *c)
{
	struct error ignored = { 0 };
	int r = empty_record(id, c);

	log_warning("container `%s`: its record is damaged; removing what can be found", id);
	if (r == 0 && container_load_config(c, &ignored) == 0)
		r = container_plan_cgroup(c, id, false, &ignored);
	return r;
}

int container_open(const struct store *store, const char *id, enum container_access access,
		   struct container *c, struct error *err)
{
	int r;

	*c = (struct container){ .dir = -EBADF };
	c->dir = access == CONTAINER_WRITE ? store_lock(store, id, -1, err)
					   : store_peek(store, id, err);
	if (c->dir < 0)
		return c->dir;
	r = record_read(c->dir, &c->arena, &c->record, err);
	if (r == -ENOENT)
		r = empty_record(id, c);
	else if (r < 0 && access == CONTAINER_FORCE)
		r = rebuild_record(id, c);
	if (r == 0)
		r = container_bind_sandbox(c, err);
	if (r == 0)
		r = find_status(c, access, err);
	if (r < 0) {
		container_close(c);
		return error_wrap(err, "container `%s`", id);
	}
	return 0;
}

void container_close(struct container *c)
{
	close_fd(&c->dir);
	arena_free(&c->arena);
	c->config = NULL;
}

int container_load_config(struct container *c, struct error *err)
{
	int r = oci_config_load(c->dir, "config.json", &c->arena, &c->config, NULL, NULL, err);

	c->sandbox.config = c->config;
	return r < 0 ? error_wrap(err, "the saved configuration of container `%s`", c->record.id)
		     : 0;
}

int container_rename(const struct store *store, struct container *c, const char *id,
		     struct error *err)
{
	const char *copy = arena_strdup(&c->arena, id);
	int r = copy ? 0 : error_errno(err, ENOMEM, "rename container `%s`", c->record.id);

	if (r == 0 && strcmp(c->record.id, id) != 0)
		r = store_rename(store, c->record.id, id, err);
	if (r < 0)
		return r;
	c->record.id = c->sandbox.id = copy;
	return record_write(c->dir, &c->record, err);
}

struct oci_state container_state(const struct container *c)
{
	return (struct oci_state){
		.oci_version = OCI_VERSION,
		.id = c->record.id,
		.status = c->status,
		.pid = c->status == OCI_STOPPED ? 0 : c->record.pid,
		.bundle = c->record.bundle,
		.rootfs = c->record.rootfs,
		.created = c->record.created,
		.annotations = &c->record.annotations,
		.systemd_scope = c->record.scope.unit[0] ? c->record.scope.unit : NULL,
	};
}

int container_run_hooks(const struct container *c, const struct oci_hook_list *list,
			const char *name, struct error *err)
{
	struct oci_state state = container_state(c);

	return hooks_run(list, name, &state, err);
}

static int write_pid_file(const char *path, pid_t pid, struct error *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_close_ int dir = -EBADF;
	char parent[PATH_MAX] = ".", text[16];
	int r;

	if (slash && (size_t)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path + 1),
				      path) >= sizeof(parent))
		return error_errno(err, ENAMETOOLONG, "--pid-file");
	dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "--pid-file `%s`", path);
	snprintf(text, sizeof(text), "%d", pid);
	r = file_replace(dir, slash ? slash + 1 : path, text, strlen(text), 0644, err);
	return r < 0 ? error_wrap(err, "--pid-file `%s`", path) : 0;
}

static int send_pidfd(const char *path, pid_t pid, struct error *err)
{
	_cleanup_close_ int sock = message_connect(path, SOCK_STREAM, err);
	_cleanup_close_ int pidfd = -EBADF;

	if (sock < 0)
		return error_wrap(err, "--pidfd-socket");
	pidfd = sys_pidfd_open(pid, 0);
	if (pidfd < 0)
		return error_errno(err, errno, "--pidfd-socket: pidfd_open %d", pid);
	return message_send_fd(sock, "pidfd", pidfd, err);
}

int announce_pid(pid_t pid, const char *pid_file, const char *pidfd_socket, struct error *err)
{
	int r = pid_file ? write_pid_file(pid_file, pid, err) : 0;

	return r == 0 && pidfd_socket ? send_pidfd(pidfd_socket, pid, err) : r;
}

int check_preserved_fds(unsigned count, struct error *err)
{
	for (unsigned i = 0; i < count; i++)
		/* One that is close-on-exec is our own: it took the place of one that was not open. */
		if (fcntl(3 + (int)i, F_GETFD) != 0)
			return error_set(err, EBADF, "--preserve-fds %u: descriptor %u is not open",
					 count, 3 + i);
	return 0;
}

int open_console_socket(const char *path, bool terminal, bool detach, struct error *err)
{
	if (terminal && !path && detach)
		return error_set(err, EINVAL,
				 "/process/terminal: a detached container with a terminal needs "
				 "--console-socket to hand it to somebody");
	if (!terminal && path)
		return error_set(err, EINVAL,
				 "--console-socket is for a process with \"terminal\": true");
	if (!path)
		return -1;
	return message_connect(path, SOCK_STREAM, err);
}
