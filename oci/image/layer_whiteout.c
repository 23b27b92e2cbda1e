/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whiteouts: entries that say what of lower layers is gone. They spare what their own layer made,
 * wherever they stand in it, so removal looks at every path beneath (layer.md, "Whiteouts").
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

/* Prunes every child of an open directory, of that path (a buffer of PATH_MAX). 1: something is left. */
static int prune_children(struct layer *layer, int dir, char *path, struct error *err)
{
	_cleanup_closedir_ DIR *stream = NULL;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t len = strlen(path);
	struct dirent *entry;
	int left = 0, r;

	if (copy < 0)
		return error_errno(err, errno, "open `%s`", path);
	stream = fdopendir(copy);
	if (!stream) {
		close(copy);
		return error_errno(err, ENOMEM, "read `%s`", path);
	}
	r = layer_keep_times(layer, path, dir, err);
	if (r < 0)
		return r;
	while (errno = 0, (entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (len + strlen(entry->d_name) + 2 > PATH_MAX)
			return error_errno(err, ENAMETOOLONG, "`%s/%s`", path, entry->d_name);
		sprintf(path + len, "%s%s", len ? "/" : "", entry->d_name);
		r = prune(layer, dir, entry->d_name, path, err);
		path[len] = '\0';
		if (r < 0)
			return r;
		left |= r;
	}
	if (errno)
		return error_errno(err, errno, "read `%s`", path);
	return left;
}

/*
 * Removes what lower layers have at name, and keeps what this layer made there. 1: something is left.
 * The depth of recursion is bounded by LAYER_DEPTH_MAX, as nothing deeper was ever made.
 */
static int prune(struct layer *layer, int dir, const char *name, char *path, struct error *err)
{
	const struct path_info *info = path_map_find(&layer->paths, path);
	bool made = info && info->made;
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
	if (left || made)
		return left < 0 ? left : 1;
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

int layer_whiteout_apply(struct layer *layer, const char *name, enum layer_whiteout kind,
			 struct error *err)
{
	_cleanup_place_ struct place place = { .parent = -EBADF };
	int r;

	if (kind == LAYER_WHITEOUT_IGNORED)
		return 0;
	if (kind == LAYER_WHITEOUT_BAD)
		return error_set(err, EINVAL, "not a valid whiteout");
	r = layer_place_open(layer, name, false, &place, err);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0; /* the directory is not there, so neither is what was in it */
	if (r < 0)
		return r;
	if (kind == LAYER_WHITEOUT) {
		whiteout_target(&place);
		r = prune(layer, place.parent, place.name, place.path, err);
	} else {
		size_t len = strlen(place.path), name_len = strlen(place.name);

		place.path[len > name_len ? len - name_len - 1 : 0] = '\0';
		r = prune_children(layer, place.parent, place.path, err);
	}
	return r < 0 ? r : 0;
}
