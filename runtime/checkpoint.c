/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint: the directory that a checkpoint becomes. It is written beside its place, as ".NAME.incomplete", and gets
 * its name once it is whole, so there is never half of one, nor none where there was one before.
 */
#include "runtime/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/path.h"
#include "base/process.h"
#include "base/remove.h"
#include "runtime/runtime.h"
#include "sandbox/manifest.h"

#define DEFAULT_IMAGE_PATH "checkpoint"

/* ---- directories ------------------------------------------------------------------------------------ */

/* An absolute path without a slash at its end. */
static int make_absolute(const char *path, char out[PATH_MAX], struct error *err)
{
	char cwd[PATH_MAX] = "";
	size_t len;

	if (path[0] != '/' && !getcwd(cwd, sizeof(cwd)))
		return error_errno(err, errno, "find the working directory");
	if ((size_t)snprintf(out, PATH_MAX, "%s%s%s", cwd, path[0] == '/' ? "" : "/", path) >=
	    PATH_MAX)
		return error_errno(err, ENAMETOOLONG, "`%s`", path);
	for (len = strlen(out); len > 1 && out[len - 1] == '/'; len--)
		out[len - 1] = '\0';
	return 0;
}

int checkpoint_make_dir(const char *path, struct error *err)
{
	_cleanup_close_ int root = -EBADF, dir = -EBADF;
	char absolute[PATH_MAX];
	int fd, r = make_absolute(path, absolute, err);

	if (r < 0)
		return r;
	root = path_open_dir("/", false, err);
	if (root < 0)
		return root;
	dir = path_make_dir_in_root(root, absolute, 0700, err);
	if (dir < 0)
		return dir;
	fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open `%s`", path) : fd;
}

int checkpoint_open_work(const char *path, int state_dir, struct error *err)
{
	int fd;

	if (path) {
		fd = checkpoint_make_dir(path, err);
		return fd < 0 ? error_wrap(err, "--work-path") : fd;
	}
	if (mkdirat(state_dir, STORE_CRIU, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make `" STORE_CRIU "` in the state directory");
	fd = openat(state_dir, STORE_CRIU, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open `" STORE_CRIU "` in the state directory")
		      : fd;
}

struct target {
	int place;  /* the directory that it is in */
	int images; /* what is written: locked, as long as somebody writes */
	char name[NAME_MAX + 1], temporary[NAME_MAX + 32];
};

static int split(const char *path, struct target *t, struct error *err)
{
	char absolute[PATH_MAX], *slash;
	_cleanup_free_ char *real = NULL;
	int r = make_absolute(path, absolute, err);

	if (r < 0)
		return r;
	/* What is there already may be a link to a directory. */
	real = realpath(absolute, NULL);
	slash = strrchr(real ? real : absolute, '/');
	if (!slash[1] || !strcmp(slash + 1, ".") || !strcmp(slash + 1, "..") ||
	    strlen(slash + 1) + sizeof(".."
				       "incomplete") >
		    NAME_MAX)
		return error_set(err, EINVAL,
				 "--image-path `%s`: cannot be a checkpoint's directory", path);
	snprintf(t->name, sizeof(t->name), "%s", slash + 1);
	snprintf(t->temporary, sizeof(t->temporary), ".%s.incomplete", t->name);
	slash[slash == (real ? real : absolute)] = '\0';
	t->place = checkpoint_make_dir(real ? real : absolute, err);
	return t->place < 0 ? error_wrap(err, "--image-path") : 0;
}

static bool is_empty(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	while (stream && (entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return false;
	return true;
}

/* What is replaced is a checkpoint, or nothing. */
static int check_replaced(const struct target *t, const char *path, struct error *err)
{
	_cleanup_close_ int old = openat(t->place, t->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (old < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "--image-path `%s`", path);
	if (faccessat(old, MANIFEST_NAME, F_OK, 0) == 0 || is_empty(old))
		return 0;
	return error_set(err, ENOTEMPTY,
			 "--image-path `%s`: the directory is not empty, and holds no checkpoint",
			 path);
}

/* What a checkpoint left that was cut short goes; that somebody writes there is told by the lock. */
static int clear(const struct target *t, struct error *err)
{
	_cleanup_close_ int old =
		openat(t->place, t->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (old >= 0 && flock(old, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, EBUSY, "another checkpoint is being written to `%s`",
				 t->name);
	return path_remove_tree(t->place, t->temporary, err);
}

static int open_target(const char *path, struct target *t, struct error *err)
{
	int r = split(path, t, err);

	if (r == 0)
		r = check_replaced(t, path, err);
	if (r == 0)
		r = clear(t, err);
	if (r < 0)
		return r;
	/* Not to be listed or read by others; but CRIU, as root of a user namespace, must be able to open what it made in there. */
	if (mkdirat(t->place, t->temporary, 0711) < 0)
		return error_errno(err, errno, "make the directory of the checkpoint `%s`", path);
	t->images = openat(t->place, t->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (t->images < 0 || flock(t->images, LOCK_EX | LOCK_NB) < 0)
		return error_errno(err, errno, "open the directory of the checkpoint `%s`", path);
	return 0;
}

/* CRIU's log may go where the checkpoint goes: then it is written, and gets its name, with the rest. */
static int open_work(const struct target *t, const char *path, int state_dir, struct error *err)
{
	_cleanup_close_ int target = openat(t->place, t->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int work = checkpoint_open_work(path, state_dir, err);
	struct stat a, b;

	if (work >= 0 && target >= 0 && fstat(work, &a) == 0 && fstat(target, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
		close_fd(&work);
		work = fcntl(t->images, F_DUPFD_CLOEXEC, 3);
	}
	return take_fd(&work);
}

/* ---- what is in it ---------------------------------------------------------------------------------- */

static int copy_config(const struct container *c, const struct target *t, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	ssize_t len = file_read(c->dir, "config.json", OCI_CONFIG_MAX, &json, err);

	return len < 0 ? (int)len
		       : file_replace(t->images, MANIFEST_CONFIG, json, (size_t)len, 0600, err);
}

static int check_parent(const struct runtime_checkpoint *o, const struct target *t,
			struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_close_ int dir = -EBADF;
	struct manifest manifest;
	int r;

	if (!o->parent_path)
		return 0;
	dir = openat(t->images, o->parent_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? error_errno(err, errno, "open it")
		    : manifest_load(dir, &arena, &manifest, err);
	return r < 0 ? error_wrap(err, "--parent-path `%s` (seen from --image-path)",
				  o->parent_path)
		     : 0;
}

static int describe(const struct container *c, const struct runtime_checkpoint *o, char *created,
		    size_t size, struct arena *arena, struct manifest_host *host,
		    struct manifest *m, struct error *err)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(created, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
	*m = (struct manifest){
		.format = MANIFEST_FORMAT,
		.kind = sandbox_kind_name(c->record.kind),
		.id = c->record.id,
		.hull = HULL_VERSION,
		.created = created,
		.pre_dump = o->pre_dump,
		.host = host,
	};
	return manifest_host(arena, host, err);
}

/* ---- doing it ----------------------------------------------------------------------------------------- */

static int check(const struct container *c, const struct runtime_checkpoint *o, struct error *err)
{
	if (!c->sandbox.ops->checkpoint)
		return error_set(err, ENOTSUP, "it cannot be checkpointed");
	if (c->status != OCI_RUNNING && c->status != OCI_PAUSED)
		return error_set(err, EINVAL, "cannot checkpoint container `%s`: it is %s",
				 c->record.id, oci_status_name(c->status));
	if (o->pre_dump && c->status == OCI_PAUSED)
		return error_set(err, EINVAL, "cannot pre-dump container `%s`: it is paused",
				 c->record.id);
	if (o->rounds_max && (o->pre_dump || o->parent_path))
		return error_set(
			err, EINVAL,
			"option --pre-copy makes its own pre-dumps: --%s cannot be given, too",
			o->pre_dump ? "pre-dump" : "parent-path");
	if (c->record.owns_bundle && !process_is_host_root())
		return error_set(
			err, EPERM,
			"container `%s` is of an image, whose files are the user's sub-ids': "
			"only root can checkpoint it",
			c->record.id);
	if (c->record.layer && c->record.layer[0])
		return error_set(
			err, ENOTSUP,
			"container `%s` is a clone: what it changed of its root file system "
			"ends with it, so it cannot be checkpointed",
			c->record.id);
	return 0;
}

struct changes {
	const char *bundle;
	int images;
};

/* Of the image that it runs. */
static int add_changes(void *data, struct error *err)
{
	const struct changes *changes = data;

	return checkpoint_add_changes(changes->bundle, changes->images, err);
}

static int write_checkpoint(struct container *c, const struct runtime_checkpoint *o,
			    const struct target *t, struct error *err)
{
	_cleanup_close_ int work = open_work(t, o->work_path, c->dir, err);
	/* The memory of what is paused does not change while it is copied. */
	const unsigned rounds = c->status == OCI_PAUSED ? 0 : o->rounds_max;
	struct changes changes = { c->record.bundle, t->images };
	struct manifest_pre_copy pre_copy = { 0 };
	struct manifest_image image;
	struct manifest_host host;
	struct manifest manifest;
	char created[32];
	struct sandbox_checkpoint request = {
		.rounds_max = rounds,
		.progress = o->progress,
		.progress_data = o->progress_data,
		.frozen = c->record.owns_bundle ? add_changes : NULL,
		.frozen_data = &changes,
		.common = o->common,
		.leave_running = o->leave_running,
		.pre_dump = o->pre_dump,
		.tcp_skip_in_flight = o->tcp_skip_in_flight,
		.link_remap = o->link_remap,
		.parent = o->parent_path,
		.images = t->images,
		.place = t->place,
		.temporary = t->temporary,
		.name = t->name,
		.manifest = &manifest,
	};
	int r;

	if (work < 0)
		return work;
	request.common.work = work;
	r = check_parent(o, t, err);
	if (r == 0)
		r = copy_config(c, t, err);
	if (r == 0)
		r = describe(c, o, created, sizeof(created), &c->arena, &host, &manifest, err);
	manifest.pre_copy = rounds ? &pre_copy : NULL;
	if (r == 0 && c->record.owns_bundle) {
		manifest.image = &image;
		r = checkpoint_find_image(c->record.bundle, &c->arena, &image, err);
	}
	return r < 0 ? r : c->sandbox.ops->checkpoint(&c->sandbox, &request, err);
}

int runtime_checkpoint(const struct store *store, const char *id,
		       const struct runtime_checkpoint *options, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	struct target target = { .place = -EBADF, .images = -EBADF };
	int r = container_open(store, id, CONTAINER_WRITE, &c, err);

	if (r == 0)
		r = check(&c, options, err);
	if (r == 0)
		r = container_load_config(&c, err);
	if (r < 0)
		return r;
	r = open_target(options->image_path ? options->image_path : DEFAULT_IMAGE_PATH, &target,
			err);
	if (r == 0) {
		r = write_checkpoint(&c, options, &target, err);
		if (r < 0)
			path_remove_tree(target.place, target.temporary, NULL);
	}
	close_fd(&target.images);
	close_fd(&target.place);
	return r;
}
