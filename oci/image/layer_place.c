/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the directory that an entry goes to, and keeping directories' times. A directory's
 * modification time is what the layers say and not when we put something into it, so the times are
 * remembered before it is changed and set again at the end of the layer.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "oci/image/layer_internal.h"

/* The path of an open directory beneath the root file system, as the kernel knows it. */
static int canonical_path(struct layer *layer, int dir, char *out, size_t size, struct error *err)
{
	size_t root_len = strlen(layer->root_path), depth = 1;
	char path[PATH_MAX];
	ssize_t n = readlink(path_of_fd(dir).s, path, sizeof(path) - 1);

	if (n < 0)
		return error_errno(err, errno, "find a directory's path in /proc");
	path[n] = '\0';
	if (root_len == 1)
		root_len = 0; /* the root file system is "/" itself */
	/* Cannot happen, for every way here was resolved in the root: if it does, stop at once. */
	if (strncmp(path, layer->root_path, root_len) != 0 ||
	    (path[root_len] != '/' && path[root_len] != '\0'))
		return error_set(err, EXDEV, "`%s` is outside the root file system", path);
	snprintf(out, size, "%s", path + root_len + (path[root_len] == '/'));
	for (const char *p = out; *p; p++)
		depth += *p == '/';
	/* Links make a tree deeper than any name in the layer is long. */
	if (depth >= LAYER_DEPTH_MAX)
		return error_errno(err, ENAMETOOLONG, "`%.256s…` is too deep", out);
	return 0;
}

int layer_keep_times(struct layer *layer, const char *path, int dir, struct error *err)
{
	struct path_info *info = path_map_add(&layer->paths, path);
	struct stat st;

	if (!info)
		return error_errno(err, ENOMEM, "apply a layer");
	if (info->has_times)
		return 0;
	if (fstat(dir, &st) < 0)
		return error_errno(err, errno, "stat `%s`", path);
	info->times[0] = st.st_atim;
	info->times[1] = st.st_mtim;
	info->has_times = true;
	return 0;
}

/* Keeps the times of the lowest directory of `path` that is there, as one will be made in it. */
static int keep_times_above(struct layer *layer, const char *path, struct error *err)
{
	char prefix[PATH_MAX], canonical[PATH_MAX];

	snprintf(prefix, sizeof(prefix), "%s", path);
	for (;;) {
		char *slash = strrchr(prefix, '/');
		_cleanup_close_ int dir = -EBADF;
		int r;

		if (slash)
			*slash = '\0';
		dir = path_try_open_in_root(layer->target->rootfs, slash ? prefix : ".",
					    O_PATH | O_DIRECTORY);
		if (dir < 0 && slash)
			continue;
		if (dir < 0)
			return error_errno(err, -dir, "open the root file system");
		r = canonical_path(layer, dir, canonical, sizeof(canonical), err);
		return r < 0 ? r : layer_keep_times(layer, canonical, dir, err);
	}
}

static int open_parent(struct layer *layer, const char *parent, bool make, struct error *err)
{
	int dir = path_try_open_in_root(layer->target->rootfs, parent, O_PATH | O_DIRECTORY);
	int r;

	if (dir >= 0)
		return dir;
	if (dir != -ENOENT || !make)
		return error_errno(err, -dir, "open directory `%s`", parent);
	r = keep_times_above(layer, parent, err);
	if (r < 0)
		return r;
	return path_make_dir_in_root(layer->target->rootfs, parent, 0755, err);
}

int layer_place_open(struct layer *layer, const char *name, bool make, struct place *place,
		     struct error *err)
{
	const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
	char parent[PATH_MAX];
	size_t len;
	int r;

	place->parent = -EBADF;
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - name) : 1,
		 slash ? name : ".");
	place->parent = open_parent(layer, parent, make, err);
	if (place->parent < 0)
		return place->parent;
	r = canonical_path(layer, place->parent, place->path, sizeof(place->path), err);
	if (r >= 0)
		r = layer_keep_times(layer, place->path, place->parent, err);
	if (r < 0)
		return r;
	len = strlen(place->path);
	if (len + strlen(last) + 2 > sizeof(place->path) || strlen(last) > NAME_MAX)
		return error_errno(err, ENAMETOOLONG, "`%.256s…`", name);
	if (*last)
		sprintf(place->path + len, "%s%s", len ? "/" : "", last);
	strcpy(place->name, *last ? last : ".");
	return 0;
}

void layer_place_close(struct place *place)
{
	close_fd(&place->parent);
}

/* Opens a directory of ours by its canonical path. What is something else by now is -ELOOP, -ENOTDIR or -ENOENT. */
static int reopen_dir(int rootfs, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd = sys_openat2(rootfs, *path ? path : ".", &how);

	return fd < 0 ? -errno : fd;
}

static bool is_gone(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP;
}

int layer_set_times(struct layer *layer, struct error *err)
{
	for (size_t i = 0; i < layer->paths.cap; i++) {
		const struct path_info *info = path_map_at(&layer->paths, i);
		_cleanup_close_ int dir = -EBADF;

		if (!info || !info->has_times)
			continue;
		dir = reopen_dir(layer->target->rootfs, info->path);
		if (is_gone(dir))
			continue;
		if (dir < 0)
			return error_errno(err, -dir, "open `%s`", info->path);
		if (utimensat(AT_FDCWD, path_of_fd(dir).s, info->times, 0) < 0)
			return error_errno(err, errno, "set the times of `%s`", info->path);
	}
	return 0;
}

static int by_length_descending(const void *a, const void *b)
{
	size_t x = strlen((*(struct path_info *const *)a)->path);
	size_t y = strlen((*(struct path_info *const *)b)->path);

	return (x < y) - (x > y);
}

int layer_set_modes(struct layer_target *target, struct error *err)
{
	struct path_map *modes = &target->modes;
	size_t count = 0;

	/* From the bottom up: a directory that its owner may not search hides what is beneath. The map is not used again. */
	for (size_t i = 0; i < modes->cap; i++)
		if (modes->slots[i])
			modes->slots[count++] = modes->slots[i];
	if (count)
		qsort(modes->slots, count, sizeof(struct path_info *), by_length_descending);
	for (size_t i = 0; i < count; i++) {
		_cleanup_close_ int dir = reopen_dir(target->rootfs, modes->slots[i]->path);

		if (is_gone(dir))
			continue;
		if (dir < 0)
			return error_errno(err, -dir, "open `%s`", modes->slots[i]->path);
		if (chmod(path_of_fd(dir).s, modes->slots[i]->mode) < 0)
			return error_errno(err, errno, "set the mode of `%s`",
					   modes->slots[i]->path);
	}
	modes->len = modes->cap = 0;
	return 0;
}
