/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the directory that an entry goes to: one component at a time from a directory that is open already,
 * without ever letting the kernel follow a link or a "..". Links are followed here, in the text, with the root
 * file system as "/"; so nothing outside it can be named, whatever the links say (CVE-2019-18837 and its kin).
 */
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "oci/image/layer_internal.h"

#define LINKS_MAX 40 /* as in the kernel */

/* A walk: from a directory, over what is left of the way. */
struct walk {
	struct layer_dir *dir;
	char rest[2 * PATH_MAX]; /* a link's text and what stood behind the link */
	const char *next;        /* in rest */
	unsigned links;
	bool make;
};

static int too_long(struct error *err, const char *name)
{
	return error_errno(err, ENAMETOOLONG, "`%.256s…`", name);
}

/* Starts at the lowest directory on the way that is open already. name: canonical as far as that one. */
static void start_below(struct layer *layer, struct walk *walk)
{
	char *end = walk->rest + strlen(walk->rest);

	for (;;) {
		char kept = *end;

		*end = '\0';
		walk->dir = layer_dirs_find(&layer->dirs, walk->rest);
		*end = kept;
		if (walk->dir)
			break;
		while (*--end != '/' && end > walk->rest)
			;
	}
	walk->next = end;
}

/* Goes on from the root by way of base, text and what is left. */
static int redirect(struct layer *layer, struct walk *walk, const char *base, const char *text,
		    struct error *err)
{
	char rest[sizeof(walk->rest)];
	int n = snprintf(rest, sizeof(rest), "%s/%s/%s", base, text, walk->next);

	if (n >= (int)sizeof(rest))
		return too_long(err, text);
	strcpy(walk->rest, rest);
	walk->next = walk->rest;
	walk->dir = layer_dirs_find(&layer->dirs, "");
	return 0;
}

/* ".." in a link: the parent by its canonical path. The kernel's ".." could lead out of a directory that was moved. */
static int go_up(struct layer *layer, struct walk *walk, struct error *err)
{
	char base[PATH_MAX];
	char *slash;

	strcpy(base, walk->dir->path);
	slash = strrchr(base, '/');
	*(slash ? slash : base) = '\0';
	return redirect(layer, walk, base, "", err);
}

/* 1: the walk goes on where the link leads. */
static int follow(struct layer *layer, struct walk *walk, int dir, const char *name,
		  struct error *err)
{
	char text[PATH_MAX];
	int r;
	ssize_t n = readlinkat(dir, name, text, sizeof(text) - 1);

	if (n < 0)
		return error_errno(err, errno == EINVAL ? ENOTDIR : errno, "open directory `%s`",
				   *name ? name : walk->dir->path);
	text[n] = '\0';
	if (++walk->links > LINKS_MAX)
		return error_errno(err, ELOOP, "open directory `%.256s`", text);
	r = redirect(layer, walk, text[0] == '/' ? "" : walk->dir->path, text, err);
	return r < 0 ? r : 1;
}

static int check_path(const char *path, struct error *err)
{
	size_t depth = 1;

	for (const char *p = path; *p; p++)
		depth += *p == '/';
	/* Links make a tree deeper than any name in the layer is long. */
	if (depth >= LAYER_DEPTH_MAX)
		return error_errno(err, ENAMETOOLONG, "`%.256s…` is too deep", path);
	return 0;
}

static int place_at(struct layer_dir *dir, const char *name, size_t name_len, struct place *place,
		    struct error *err)
{
	size_t len = strlen(dir->path);

	if (len + name_len + 2 > sizeof(place->path) || name_len > NAME_MAX)
		return too_long(err, name);
	place->dir = dir;
	memcpy(place->name, name, name_len);
	place->name[name_len] = '\0';
	memcpy(place->path, dir->path, len);
	sprintf(place->path + len, "%s%s", len ? "/" : "", place->name);
	return 0;
}

/* A directory that layers only imply; in an overlay as lower layers have it. 1: a link of theirs, opened as *link. */
static int imply_dir(struct layer *layer, const struct place *place, int *link, struct error *err)
{
	struct stat st;

	if (layer->target->form == LAYER_OVERLAY) {
		*link = overlay_open_lower(layer, place->dir, place->path, err);
		if (*link < 0 && *link != -ENOENT)
			return *link;
		if (*link >= 0) {
			if (fstat(*link, &st) < 0)
				return error_errno(err, errno, "stat `%s`", place->path);
			if (S_ISLNK(st.st_mode))
				return 1;
			if (!S_ISDIR(st.st_mode))
				return error_errno(err, ENOTDIR, "open directory `%s`",
						   place->path);
			return overlay_copy_up(layer, place, err);
		}
	}
	place->dir->changed = true;
	if (mkdirat(place->dir->fd, place->name, 0755) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make directory `%s`", place->path);
	return 0;
}

/* The whiteout of this very layer where it also says that a directory is there: all of the lower one is hidden. */
static int replace_whiteout(struct layer *layer, const struct place *place, struct error *err)
{
	struct layer_dir *dir;
	int fd;

	place->dir->changed = true;
	if (unlinkat(place->dir->fd, place->name, 0) < 0 ||
	    mkdirat(place->dir->fd, place->name, 0755) < 0)
		return error_errno(err, errno, "make directory `%s`", place->path);
	fd = openat(place->dir->fd, place->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open directory `%s`", place->path);
	if (layer_dirs_add(&layer->dirs, place->path, fd, &dir, err) < 0)
		return -err->code;
	return overlay_set_opaque(layer, dir, err);
}

static bool is_whiteout_at(const struct layer *layer, const struct place *place)
{
	struct stat st;

	return fstatat(place->dir->fd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       overlay_is_whiteout(layer, &st);
}

/* What is at the place is no directory that could be opened. 0: it is there now; 1: the walk goes somewhere else. */
static int enter_other(struct layer *layer, struct walk *walk, const struct place *place, int code,
		       struct error *err)
{
	_cleanup_close_ int link = -EBADF;
	int r;

	if (code == ENOENT && walk->make) {
		r = imply_dir(layer, place, &link, err);
		if (r == 1)
			r = follow(layer, walk, link, "", err);
		return r;
	}
	if ((code == ENOTDIR || code == ELOOP) && walk->make && is_whiteout_at(layer, place))
		return replace_whiteout(layer, place, err);
	if (code == ENOTDIR || code == ELOOP)
		return follow(layer, walk, place->dir->fd, place->name, err);
	return error_errno(err, code, "open directory `%s`", place->path);
}

/* Enters the component, which is behind walk->next already: a link's text goes in front of what follows. */
static int step(struct layer *layer, struct walk *walk, const char *name, size_t len,
		struct error *err)
{
	struct layer_dir *child;
	struct place place;
	int fd, r;

	r = place_at(walk->dir, name, len, &place, err);
	if (r < 0)
		return r;
	child = layer_dirs_find(&layer->dirs, place.path);
	if (!child) {
		r = check_path(place.path, err);
		if (r < 0)
			return r;
		fd = openat(place.dir->fd, place.name,
			    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0) {
			r = errno;
			layer_dir_pin(place.dir);
			r = enter_other(layer, walk, &place, r, err);
			layer_dir_unpin(place.dir);
			if (r == 0)
				walk->next = name; /* once more */
			return r < 0 ? r : 0;
		}
		r = layer_dirs_add(&layer->dirs, place.path, fd, &child, err);
		if (r < 0)
			return r;
	}
	walk->dir = child;
	return 0;
}

int layer_dir_open(struct layer *layer, const char *name, bool make, struct layer_dir **dir,
		   struct error *err)
{
	struct walk walk = { .make = make };

	if (snprintf(walk.rest, sizeof(walk.rest), "%s", name) >= PATH_MAX)
		return too_long(err, name);
	start_below(layer, &walk);
	for (;;) {
		const char *p = walk.next + strspn(walk.next, "/");
		size_t len = strcspn(p, "/");
		int r = 0;

		if (!len)
			break;
		walk.next = p + len;
		if (len == 2 && !memcmp(p, "..", 2))
			r = go_up(layer, &walk, err);
		else if (len != 1 || p[0] != '.')
			r = step(layer, &walk, p, len, err);
		if (r < 0)
			return r;
	}
	*dir = walk.dir;
	return 0;
}

int layer_place_open(struct layer *layer, const char *name, bool make, struct place *place,
		     struct error *err)
{
	const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
	struct layer_dir *dir;
	char parent[PATH_MAX];
	int r;

	place->dir = NULL;
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - name) : 0, name);
	r = layer_dir_open(layer, parent, make, &dir, err);
	if (r < 0)
		return r;
	r = place_at(dir, last, strlen(last), place, err);
	if (r < 0) {
		place->dir = NULL;
		return r;
	}
	if (!*last)
		strcpy(place->name, ".");
	layer_dir_pin(dir);
	return 0;
}

void layer_place_close(struct place *place)
{
	if (place->dir)
		layer_dir_unpin(place->dir);
	place->dir = NULL;
}

/* ---- modes at the end --------------------------------------------------------------------- */

int layer_open_canonical(int rootfs, const char *path)
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
		_cleanup_close_ int dir =
			layer_open_canonical(target->rootfs, modes->slots[i]->path);

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
