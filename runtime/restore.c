/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore: a container from a checkpoint's directory. It has its own id, and the bundle that it is given; the directory is only
 * read, and marked as found whole. What leaves traces is recorded first, as with create.
 */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "runtime/checkpoint.h"
#include "runtime/foreground.h"
#include "runtime/restore.h"
#include "sandbox/bundle.h"
#include "sandbox/criu.h"
#include "sandbox/layer.h"

#define DEFAULT_IMAGE_PATH "checkpoint"

/* ---- before anything is made -------------------------------------------------------------------------- */

static int check_kind(const struct manifest *m, struct error *err)
{
	if (strcmp(m->kind, sandbox_kind_name(SANDBOX_MICROVM)) != 0 &&
	    strcmp(m->kind, sandbox_kind_name(SANDBOX_CONTAINER)) != 0)
		return error_set(err, ENOTSUP, "it is of a `%s`, which this hull does not know",
				 m->kind);
	if (m->pre_dump)
		return error_set(err, EINVAL,
				 "it is a pre-dump, with memory only: restore the checkpoint that "
				 "builds on it");
	return 0;
}

static int verify_files(int images, struct error *err)
{
	_cleanup_criu_call_ struct criu_call call = { .data = NULL };

	criu_add(&call, "op", "verify");
	criu_add_fd(&call, "images", images);
	return criu_call(&call, err);
}

static int check_source(struct restore_source *s, struct error *err)
{
	struct manifest_host host;
	int r = manifest_load(s->images, &s->arena, &s->manifest, err);

	if (r == 0)
		r = check_kind(&s->manifest, err);
	if (r == 0)
		r = manifest_host(&s->arena, &host, err);
	if (r == 0)
		r = manifest_check_host(s->manifest.host, &host, err);
	if (r < 0 || manifest_is_stamped(s->images, &s->manifest))
		return r;
	return verify_files(s->images, err);
}

int restore_source_open(const char *path, struct restore_source *s, struct error *err)
{
	int r;

	*s = (struct restore_source){ .images = -EBADF };
	path = path ? path : DEFAULT_IMAGE_PATH;
	s->images = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = s->images < 0 ? error_errno(err, errno, "open it") : check_source(s, err);
	return r < 0 ? error_wrap(err, "checkpoint `%s`", path) : 0;
}

void restore_source_close(struct restore_source *s)
{
	close_fd(&s->images);
	arena_free(&s->arena);
}

/* ---- making --------------------------------------------------------------------------------------------- */

/* All is there, and nothing runs yet: whatever happens from now on, it is recorded. */
static int record_restored(void *data, struct error *err)
{
	struct container *c = data;

	c->record.pid = c->sandbox.pid;
	c->record.start_time = c->sandbox.start_time;
	c->record.file_server = c->sandbox.file_server;
	c->record.file_server_start = c->sandbox.file_server_start;
	c->record.started = true;
	c->status = OCI_RUNNING;
	return record_write(c->dir, &c->record, err);
}

static int make(struct container *c, const struct runtime_restore *o,
		const struct restore_source *s, int work, const struct sandbox_io *io,
		struct error *err)
{
	struct sandbox_hooks hooks = container_wanted_hooks(c);
	_cleanup_close_ int root = -EBADF;
	struct sandbox_restore request = {
		.common = o->common,
		.tcp_close = o->tcp_close,
		.lsm_profile = o->lsm_profile,
		.lsm_mount_context = o->lsm_mount_context,
		.hostname = o->identity ? o->identity->hostname : NULL,
		.images = s->images,
		.manifest = &s->manifest,
		.restored = record_restored,
		.data = c,
	};
	const bool layer = o->identity && !o->create.own_root;
	int r = layer ? clone_plan_layer(o->identity, c, err) : 0;

	if (r == 0)
		r = record_write(c->dir, &c->record, err);
	if (r == 0)
		r = container_bind_sandbox(c, err);
	if (r < 0)
		return r;
	c->sandbox.own_root = o->create.own_root;
	if (layer) {
		c->sandbox.own_root = root = clone_open_root(c, err);
		if (root < 0)
			return root;
	}
	r = o->identity ? layer_new_machine_id(c->sandbox.own_root, err) : 0;
	if (r < 0)
		return r;
	request.common.work = work;
	c->sandbox.no_pivot = o->create.no_pivot;
	c->status = OCI_CREATING;
	r = c->sandbox.ops->restore(&c->sandbox, &hooks, io, &request, err);
	c->sandbox.own_root = 0;
	return r < 0 ? r
		     : announce_pid(c->sandbox.pid, o->create.pid_file, o->create.pidfd_socket,
				    err);
}

static int restore_into(const struct store *store, const char *id, const struct runtime_restore *o,
			const struct restore_source *s, struct container *c, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	_cleanup_close_ int console = -EBADF, work = -EBADF;
	struct sandbox_io io = { .console_socket = -1 };
	size_t len = 0;
	bool terminal;
	int r = container_prepare(c, id, &o->create, &json, &len, err);

	if (r < 0)
		return r;
	assert(json && c->config && c->config->process);
	terminal = c->config->process->terminal.v;
	io.console_socket = console =
		open_console_socket(o->create.console_socket, terminal, o->detach, err);
	if (console < 0 && (o->create.console_socket || (terminal && o->detach)))
		return console;
	c->dir = store_add(store, id, err);
	if (c->dir < 0)
		return c->dir;
	c->sandbox.state_dir = c->dir;
	r = container_save_config(c, json, len, err);
	if (r == 0)
		r = work = checkpoint_open_work(o->work_path, c->dir, err);
	if (r >= 0)
		r = make(c, o, s, work, &io, err);
	if (r < 0)
		container_unmake(store, c);
	return r;
}

/* Into a bundle that is made for it, and which goes with the container. */
static int restore_image(const struct store *store, const char *id, struct runtime_restore *o,
			 const struct restore_source *s, struct container *c, struct error *err)
{
	struct runtime_bundle bundle = { .tree = -EBADF, .claim = -EBADF };
	struct error second = { 0 };
	int r = o->make_bundle(o->bundle_data, id, s->images, s->manifest.image, &bundle, err);

	o->create.bundle = bundle.path;
	o->create.own_root = bundle.tree;
	if (r == 0)
		r = restore_into(store, id, o, s, c, err);
	/* A container that could not be made, or of another with this id: nobody else knows of the bundle. */
	if (r < 0 && c->dir < 0 && bundle.path && bundle_remove(bundle.path, &second) < 0)
		error_wrap(err, "%s; and", second.text);
	close_fd(&bundle.tree);
	close_fd(&bundle.claim);
	free(bundle.path);
	return r;
}

int restore_one(const struct store *store, const char *id, const struct runtime_restore *options,
		const struct restore_source *s, struct container *c, struct error *err)
{
	struct runtime_restore o = *options;
	int r = store_check_id(id, err);

	if (r < 0)
		return r;
	o.create.sandbox = s->manifest.kind;
	o.create.adapt = o.identity ? clone_adapt : NULL;
	o.create.adapt_data = o.identity;
	return s->manifest.image && !o.create.bundle && o.make_bundle
		       ? restore_image(store, id, &o, s, c, err)
		       : restore_into(store, id, &o, s, c, err);
}

/* What is restored is a child of hull-criu's, and ours when that has ended. */
static int become_parent(const struct runtime_restore *o, struct error *err)
{
	int r = o->detach ? 0 : foreground_begin(err);

	if (r == 0 && !o->detach && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		r = error_errno(err, errno, "become a subreaper");
	return r;
}

int runtime_restore(const struct store *store, const char *id, struct runtime_restore *o,
		    struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	struct restore_source s = { .images = -EBADF };
	int r = become_parent(o, err);

	if (r == 0)
		r = restore_source_open(o->image_path, &s, err);
	if (r == 0)
		r = restore_one(store, id, o, &s, &c, err);
	close_fd(&s.images);
	if (r == 0 && !o->detach && o->no_subreaper)
		prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	if (r == 0 && !o->detach)
		r = container_run_foreground(store, &c, -1, false, &o->exit_status, err);
	restore_source_close(&s);
	return r;
}
