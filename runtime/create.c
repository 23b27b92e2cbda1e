/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create, start and run. What leaves traces is recorded first: the id (by the state directory), the
 * cgroup's path, then the process. Whatever point we are killed at, the init process notices that
 * we are gone and ends, and `delete --force` finds the rest in the record.
 */
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "runtime/foreground.h"
#include "runtime/hooks.h"
#include "runtime/runtime.h"
#include "runtime/systemd.h"

#define ANNOTATION_SANDBOX "run.hull.sandbox"

/* ---- before anything is made --------------------------------------------------------------------- */

static int choose_kind(const struct runtime_create *o, const struct oci_config *config,
		       enum sandbox_kind *kind, struct error *err)
{
	const char *name = o->sandbox;

	if (!name && !o->prefer_microvm)
		name = oci_annotation(config, ANNOTATION_SANDBOX);
	*kind = !name && (o->prefer_microvm || config->vm) ? SANDBOX_MICROVM : SANDBOX_CONTAINER;
	if (!name || !strcmp(name, "container"))
		return 0;
	*kind = SANDBOX_MICROVM;
	if (strcmp(name, "microvm"))
		return error_set(err, EINVAL, "unknown sandbox `%s`: use container or microvm",
				 name);
	return 0;
}

static int absolute_bundle(const char *bundle, struct arena *arena, const char **out,
			   struct error *err)
{
	_cleanup_free_ char *real = realpath(bundle ? bundle : ".", NULL);

	if (!real)
		return error_errno(err, errno, "bundle `%s`", bundle ? bundle : ".");
	*out = arena_strdup(arena, real);
	return *out ? 0 : error_errno(err, ENOMEM, "bundle");
}

static int absolute_rootfs(const char *bundle, const struct oci_config *config, struct arena *arena,
			   const char **out, struct error *err)
{
	_cleanup_free_ char *real = NULL;
	char path[PATH_MAX];
	const char *root = config->root->path;

	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", root[0] == '/' ? "" : bundle,
			     root[0] == '/' ? "" : "/", root) >= sizeof(path))
		return error_errno(err, ENAMETOOLONG, "/root/path");
	real = realpath(path, NULL);
	if (!real)
		return error_errno(err, errno, "/root/path: `%s`", root);
	*out = arena_strdup(arena, real);
	return *out ? 0 : error_errno(err, ENOMEM, "/root/path");
}

/*
 * RFC 3339 in UTC, by the arithmetic of the Gregorian calendar with years that begin in March:
 * gmtime_r(3) would read the time zone's files at every start.
 */
static const char *now(struct arena *arena)
{
	struct timespec ts;
	long days, era, day_of_era, year_of_era, day_of_year, shifted_month, year, month, second;

	clock_gettime(CLOCK_REALTIME, &ts);
	days = ts.tv_sec / 86400 + 719468; /* since 1 March of the year 0 */
	second = ts.tv_sec % 86400;
	era = days / 146097;
	day_of_era = days % 146097;
	year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	shifted_month = (5 * day_of_year + 2) / 153;
	month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
	year = era * 400 + year_of_era + (month <= 2);
	return arena_printf(arena, "%04ld-%02ld-%02ldT%02ld:%02ld:%02ld.%09ldZ", year, month,
			    day_of_year - (153 * shifted_month + 2) / 5 + 1, second / 3600,
			    second / 60 % 60, second % 60, ts.tv_nsec);
}

/* The text that is saved becomes that of the changed configuration. */
static int adapt(const struct runtime_create *o, struct container *c, char **json, size_t *json_len,
		 struct error *err)
{
	struct strbuf text = { 0 };
	int r = o->adapt(o->adapt_data, c->config, &c->arena, err);

	if (r == 0)
		r = oci_config_print(c->config, &text, err);
	if (r < 0) {
		strbuf_free(&text);
		return r;
	}
	free(*json);
	*json = text.data;
	*json_len = text.len;
	return 0;
}

int container_prepare(struct container *c, const char *id, const struct runtime_create *o,
		      char **json, size_t *json_len, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	const char *file = o->config ? o->config : "config.json";
	int r = absolute_bundle(o->bundle, &c->arena, &c->record.bundle, err);

	if (r < 0)
		return r;
	assert(c->record.bundle);
	dir = open(c->record.bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "bundle `%s`", c->record.bundle);
	r = oci_config_load(o->config ? AT_FDCWD : dir, file, &c->arena, &c->config, json, json_len,
			    err);
	if (r == 0 && o->adapt)
		r = adapt(o, c, json, json_len, err);
	if (r == 0)
		r = choose_kind(o, c->config, &c->record.kind, err);
	if (r < 0)
		return r;
	c->record.oci_version = c->config->oci_version;
	c->record.id = id;
	c->record.created = now(&c->arena);
	c->record.owner = geteuid();
	c->record.no_new_keyring = o->no_new_keyring;
	c->record.owns_bundle = o->own_root > 0;
	c->record.annotations = c->config->annotations;
	r = container_bind_sandbox(c, err);
	if (r == 0)
		r = c->sandbox.ops->check(c->config, err);
	if (r == 0)
		r = absolute_rootfs(c->record.bundle, c->config, &c->arena, &c->record.rootfs, err);
	if (r == 0)
		r = o->systemd_cgroup && !o->without_cgroups
			    ? container_plan_scope(c, id, err)
			    : container_plan_cgroup(c, id, o->without_cgroups, err);
	return r;
}

/* ---- making ----------------------------------------------------------------------------------------- */

/* Hooks are run here, also those that run in the container: its process is a copy of ours. */
static int run_stage(void *data, enum sandbox_stage stage, pid_t pid, struct error *err)
{
	struct container *c = data;
	const struct oci_hooks *hooks = c->config->hooks;
	struct oci_state state = container_state(c);
	int r;

	state.pid = pid;
	if (stage == SANDBOX_STAGE_CREATE_RUNTIME) {
		state.status = OCI_CREATING;
		r = hooks_run(&hooks->prestart, "prestart", &state, err);
		return r < 0 ? r : hooks_run(&hooks->create_runtime, "createRuntime", &state, err);
	}
	if (stage == SANDBOX_STAGE_CREATE_CONTAINER) {
		state.status = OCI_CREATING;
		return hooks_run(&hooks->create_container, "createContainer", &state, err);
	}
	state.status = OCI_CREATED;
	return hooks_run(&hooks->start_container, "startContainer", &state, err);
}

struct sandbox_hooks container_wanted_hooks(struct container *c)
{
	struct sandbox_hooks hooks = { .run = run_stage, .data = c };
	const struct oci_hooks *h = c->config->hooks;

	if (h) {
		hooks.wanted[SANDBOX_STAGE_CREATE_RUNTIME] =
			h->prestart.len || h->create_runtime.len;
		hooks.wanted[SANDBOX_STAGE_CREATE_CONTAINER] = h->create_container.len > 0;
		hooks.wanted[SANDBOX_STAGE_START_CONTAINER] = h->start_container.len > 0;
	}
	return hooks;
}

int container_save_config(struct container *c, const char *json, size_t len, struct error *err)
{
	return file_replace(c->dir, "config.json", json, len, 0600, err);
}

/* From an empty state directory to an init process that waits. */
static int make(struct container *c, const struct runtime_create *o, bool detach_later,
		const struct sandbox_io *io, struct error *err)
{
	struct sandbox_hooks hooks = container_wanted_hooks(c);
	int r = record_write(c->dir, &c->record, err);

	if (r < 0)
		return r;
	r = container_bind_sandbox(c, err);
	if (r < 0)
		return r;
	c->sandbox.no_pivot = o->no_pivot;
	c->sandbox.notify = c->notify;
	c->sandbox.owns_network = o->owns_network;
	c->sandbox.own_root = o->own_root;
	c->status = OCI_CREATING;
	r = c->sandbox.ops->create(&c->sandbox, &hooks, io, detach_later, err);
	if (r < 0)
		return r;
	c->record.pid = c->sandbox.pid;
	c->record.start_time = c->sandbox.start_time;
	c->record.file_server = c->sandbox.file_server;
	c->record.file_server_start = c->sandbox.file_server_start;
	c->status = OCI_CREATED;
	r = record_write(c->dir, &c->record, err);
	return r < 0 ? r : announce_pid(c->sandbox.pid, o->pid_file, o->pidfd_socket, err);
}

void container_unmake(const struct store *store, struct container *c)
{
	struct error second = { 0 };

	if (container_destroy(store, c, &second) < 0)
		log_warning("clean up container `%s`: %s", c->record.id, second.text);
}

/* In the foreground the terminal is as large as ours, before the workload can ask for its size. */
static int set_console_size(struct container *c, struct error *err)
{
	struct oci_console_size size, *copy;

	if (c->config->process->console_size || !foreground_window_size(&size))
		return 0;
	copy = arena_memdup(&c->arena, &size, sizeof(size));
	if (!copy)
		return error_errno(err, ENOMEM, "/process/consoleSize");
	c->config->process->console_size = copy;
	return 0;
}

/* create up to the waiting init process, with *c open and locked. On an error nothing is left. */
static int create(const struct store *store, const char *id, const struct runtime_create *o,
		  bool detach_later, struct container *c, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	_cleanup_close_ int console = -EBADF;
	struct sandbox_io io = { .preserve_fds = o->preserve_fds };
	bool terminal;
	size_t len = 0;
	int r;

	*c = (struct container){ .dir = -EBADF };
	r = store_check_id(id, err);
	if (r == 0)
		r = container_prepare(c, id, o, &json, &len, err);
	if (r == 0)
		r = systemd_sockets(&io, err);
	if (r == 0)
		r = check_preserved_fds(io.preserve_fds, err);
	if (r < 0)
		return r;
	assert(json && c->config &&
	       c->config->process); /* container_prepare() read and checked them */
	terminal = c->config->process->terminal.v;
	io.console_socket = console =
		open_console_socket(o->console_socket, terminal, detach_later, err);
	if (console < 0 && (o->console_socket || (terminal && detach_later)))
		return console;
	if (terminal && !detach_later)
		r = set_console_size(c, err);
	if (r < 0)
		return r;
	c->dir = store_add(store, id, err);
	if (c->dir < 0)
		return c->dir;
	c->sandbox.state_dir = c->dir;
	r = container_save_config(c, json, len, err);
	if (r == 0)
		r = systemd_notify_offer(c, err);
	if (r == 0)
		r = make(c, o, detach_later, &io, err);
	if (r < 0)
		container_unmake(store, c);
	return r;
}

int runtime_create(const struct store *store, const char *id, const struct runtime_create *options,
		   bool *exec_failed, struct error *err)
{
	_cleanup_container_ struct container c;
	int r = create(store, id, options, true, &c, err);

	if (exec_failed)
		*exec_failed = c.sandbox.exec_failed;
	if (r < 0)
		return r;
	r = c.sandbox.ops->commit(&c.sandbox, err);
	if (r < 0)
		container_unmake(store, &c);
	return r;
}

/* ---- starting --------------------------------------------------------------------------------------- */

/* Whether a hook deleted the container: then there is nothing left to undo, and its id may be another's. */
static bool is_deleted(const struct container *c)
{
	struct stat st;

	return fstat(c->dir, &st) == 0 && st.st_nlink == 0;
}

/* Without the lock: such a hook may well use hull on the container. */
static int run_poststart(struct container *c, struct error *err)
{
	int r;

	flock(c->dir, LOCK_UN);
	r = container_run_hooks(c, &c->config->hooks->poststart, "poststart", err);
	while (flock(c->dir, LOCK_EX) < 0 && errno == EINTR)
		;
	return r;
}

/* Until the killed init process is gone, so that whoever looks next sees a container that has stopped. */
static void await_end(const struct container *c)
{
	_cleanup_close_ int pidfd = process_open(c->record.pid, c->record.start_time, NULL);

	if (pidfd >= 0)
		process_await_end(pidfd, c->record.pid, NULL);
}

/* What runs is not ended because that cannot be noted: the record saves later commands a question, no more. */
static void record_started(struct container *c)
{
	struct error err = { 0 };

	c->status = OCI_RUNNING;
	c->record.started = true;
	if (record_write(c->dir, &c->record, &err) < 0)
		log_warning("%s; the container runs all the same", err.text);
}

/*
 * Executes the workload and runs the poststart hooks, whose failure stops the container (runtime-spec 1.3.0). *notify: the
 * workload's readiness socket, the caller's to close, or -1.
 */
static int start(struct container *c, int *notify, struct error *err)
{
	int r = systemd_notify_listen(c, notify, err);

	if (r == 0)
		r = c->sandbox.ops->start(&c->sandbox, err);
	if (r < 0)
		return r;
	record_started(c);
	if (c->config->hooks && c->config->hooks->poststart.len)
		r = run_poststart(c, err);
	if (r < 0 && !is_deleted(c)) {
		c->sandbox.ops->signal(&c->sandbox, SIGKILL, false, NULL);
		await_end(c);
	}
	return r;
}

/* Without the lock: that may take as long as the workload likes. */
static void await_readiness(struct container *c, int notify)
{
	if (notify < 0)
		return;
	close_fd(&c->dir);
	systemd_notify_wait(notify, c->record.pid, c->record.start_time);
}

int runtime_start(const struct store *store, const char *id, bool *exec_failed, struct error *err)
{
	_cleanup_container_ struct container c;
	_cleanup_close_ int notify = -1;
	int r = container_open(store, id, CONTAINER_WRITE, &c, err);

	if (r < 0)
		return r;
	if (c.status == OCI_STOPPED)
		return error_set(err, EINVAL, "cannot start container `%s`: it has stopped", id);
	if (c.status != OCI_CREATED)
		return error_set(err, EINVAL, "cannot start container `%s`: it is %s already", id,
				 oci_status_name(c.status));
	r = container_load_config(&c, err);
	if (r == 0)
		r = start(&c, &notify, err);
	if (exec_failed)
		*exec_failed = c.sandbox.exec_failed;
	if (r == 0)
		await_readiness(&c, take_fd(&notify));
	return r;
}

/* ---- run -------------------------------------------------------------------------------------------- */

int container_run_foreground(const struct store *store, struct container *c, int notify, bool keep,
			     int *exit_status, struct error *err)
{
	char *id = strdup(c->record.id);
	struct container again;
	int status = 0, r;

	/* The lock is given up while the workload runs, so that others can exec, kill and look. */
	close_fd(&c->dir);
	r = id ? foreground_wait(c->sandbox.pid, take_fd(&c->sandbox.terminal), notify, &status,
				 err)
	       : error_errno(err, ENOMEM, "run");
	if (r == 0)
		*exit_status = process_exit_status(status);
	if (r < 0 || keep) {
		free(id);
		return r;
	}
	r = container_open(store, id, CONTAINER_WRITE, &again, err);
	if (r == -ENOENT) {
		r = 0; /* somebody deleted it before we did */
	} else if (r == 0) {
		again.config = c->config; /* for the hooks; it need not be read again */
		again.sandbox.config = c->config;
		again.cgroups = c->cgroups; /* nor looked for */
		again.sandbox.net_namespace = take_fd(&c->sandbox.net_namespace);
		r = container_destroy(store, &again, err);
		again.config = NULL;
		container_close(&again);
	}
	free(id);
	return r;
}

int runtime_run(const struct store *store, const char *id, struct runtime_run *run,
		struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	_cleanup_close_ int notify = -1;
	bool foreground = !run->detach;
	int r;

	if (foreground) {
		r = foreground_begin(err);
		if (r < 0)
			return r;
		if (!run->no_subreaper && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
			return error_errno(err, errno, "become a subreaper");
	}
	r = create(store, id, &run->create, run->detach, &c, err);
	run->created = c.dir >= 0;
	if (r == 0) {
		r = start(&c, &notify, err);
		if (r < 0 && !is_deleted(&c))
			container_unmake(store, &c);
	}
	run->exec_failed = c.sandbox.exec_failed;
	if (r == 0 && !foreground)
		await_readiness(&c, take_fd(&notify));
	if (r < 0 || !foreground)
		return r;
	return container_run_foreground(store, &c, take_fd(&notify), run->keep, &run->exit_status,
					err);
}
