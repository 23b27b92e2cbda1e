/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whiteouts: entries that say what of lower layers is gone. They spare what their own layer made,
 * wherever they stand in it, so removal looks at every path beneath (layer.md, "Whiteouts"). In an overlay's layer nothing
 * is removed: there they become what overlayfs reads, see layer_overlay.c.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/image/layer_internal.h"

#define PREFIX      ".wh."
#define META_PREFIX ".wh..wh."
#define OPAQUE      ".wh..wh..opq"

static bool has_prefix(const char *s, size_t len, const char *prefix)
{
	size_t n = strlen(prefix);

	return len >= n && !memcmp(s, prefix, n);
}

enum layer_whiteout layer_whiteout_kind(const char *name)
{
	for (;;) {
		size_t len = strcspn(name, "/");

		if (!name[len])
			break;
		if (has_prefix(name, len, META_PREFIX))
			return LAYER_WHITEOUT_IGNORED;
		if (has_prefix(name, len, PREFIX))
			return LAYER_WHITEOUT_BAD;
		name += len + 1;
	}
	if (!strcmp(name, OPAQUE))
		return LAYER_WHITEOUT_OPAQUE;
	if (has_prefix(name, strlen(name), META_PREFIX))
		return LAYER_WHITEOUT_IGNORED;
	if (!has_prefix(name, strlen(name), PREFIX))
		return LAYER_NO_WHITEOUT;
	name += strlen(PREFIX);
	/* `.wh.` would remove the directory that it is in, `.wh...` the one above the root file system. */
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return LAYER_WHITEOUT_BAD;
	return LAYER_WHITEOUT;
}

static int prune(struct layer *layer, int dir, const char *name, char *path, struct error *err);

static int prune_entries(struct layer *layer, DIR *stream, char *path, struct error *err)
{
	size_t len = strlen(path);
	struct dirent *entry;
	int left = 0, r;

	while (errno = 0, (entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (len + strlen(entry->d_name) + 2 > PATH_MAX)
			return error_errno(err, ENAMETOOLONG, "`%s/%s`", path, entry->d_name);
		sprintf(path + len, "%s%s", len ? "/" : "", entry->d_name);
		r = prune(layer, dirfd(stream), entry->d_name, path, err);
		path[len] = '\0';
		if (r < 0)
			return r;
		left |= r;
	}
	return errno ? error_errno(err, errno, "read `%s`", path) : left;
}

/* Prunes every child of an open directory, of that path (a buffer of PATH_MAX). 1: something is left. */
static int prune_children(struct layer *layer, int dir, char *path, struct error *err)
{
	_cleanup_closedir_ DIR *stream = NULL;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct timespec times[2];
	struct stat st;
	int left;

	if (copy < 0)
		return error_errno(err, errno, "open `%s`", path);
	stream = fdopendir(copy);
	if (!stream) {
		close(copy);
		return error_errno(err, ENOMEM, "read `%s`", path);
	}
	if (fstat(dir, &st) < 0)
		return error_errno(err, errno, "stat `%s`", path);
	left = prune_entries(layer, stream, path, err);
	/* Where the directory is one of layer_dirs.h, that sets its own times in the end. */
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (left > 0 && futimens(dirfd(stream), times) < 0)
		return error_errno(err, errno, "set the times of `%s`", path);
	return left;
}

/*
 * Removes what lower layers have at name, and keeps what this layer made there. 1: something is left.
 * The depth of recursion is bounded by LAYER_DEPTH_MAX, as nothing deeper was ever made.
 */
static int prune(struct layer *layer, int dir, const char *name, char *path, struct error *err)
{
	bool made = name_set_has(&layer->made, path);
	_cleanup_close_ int child = -EBADF;
	struct stat st;
	int left;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat `%s`", path);
	if (!S_ISDIR(st.st_mode)) {
		if (made)
			return 1;
		if (unlinkat(dir, name, 0) < 0)
			return error_errno(err, errno, "remove `%s`", path);
		return 0;
	}
	child = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (child < 0)
		return error_errno(err, errno, "open `%s`", path);
	left = prune_children(layer, child, path, err);
	if (left < 0 || left || made)
		return left < 0 ? left : 1;
	layer_dirs_forget(&layer->dirs, path);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0)
		return error_errno(err, errno, "remove `%s`", path);
	return 0;
}

/* The path of what a whiteout is about, from the whiteout's own place. */
static void whiteout_target(struct place *place)
{
	size_t skip = strlen(PREFIX), name_len = strlen(place->name);

	memmove(place->name, place->name + skip, name_len - skip + 1);
	strcpy(place->path + strlen(place->path) - name_len, place->name);
}

static int apply_to_tree(struct layer *layer, struct place *place, enum layer_whiteout kind,
			 struct error *err)
{
	if (kind == LAYER_WHITEOUT) {
		whiteout_target(place);
		return prune(layer, place->dir->fd, place->name, place->path, err);
	}
	strcpy(place->path, place->dir->path);
	return prune_children(layer, place->dir->fd, place->path, err);
}

static int apply_to_overlay(struct layer *layer, struct place *place, enum layer_whiteout kind,
			    struct error *err)
{
	if (kind == LAYER_WHITEOUT_OPAQUE)
		return overlay_set_opaque(layer, place->dir, err);
	whiteout_target(place);
	return overlay_whiteout(layer, place, err);
}

int layer_whiteout_apply(struct layer *layer, const char *name, enum layer_whiteout kind,
			 struct error *err)
{
	bool overlay = layer->target->form == LAYER_OVERLAY;
	_cleanup_place_ struct place place = { 0 };
	int r;

	if (kind == LAYER_WHITEOUT_IGNORED)
		return 0;
	if (kind == LAYER_WHITEOUT_BAD)
		return error_set(err, EINVAL, "not a valid whiteout");
	if (overlay && layer->target->lower == LAYER_LOWER_NONE)
		return 0; /* nothing is beneath */
	r = layer_place_open(layer, name, overlay, &place, err);
	if (!overlay && (r == -ENOENT || r == -ENOTDIR))
		return 0; /* the directory is not there, so neither is what was in it */
	if (r < 0)
		return r;
	place.dir->changed = true;
	r = overlay ? apply_to_overlay(layer, &place, kind, err)
		    : apply_to_tree(layer, &place, kind, err);
	return r < 0 ? r : 0;
}
