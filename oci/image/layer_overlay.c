/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer as a lower directory of overlayfs: whiteouts, opaque directories, and what has to be copied up from the
 * layers beneath because this layer says only a part of it. Source: Documentation/filesystems/overlayfs.rst.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "oci/image/layer_internal.h"

static const char *opaque_name(const struct layer *layer)
{
	return layer->target->user_xattr ? "user.overlay.opaque" : "trusted.overlay.opaque";
}

bool overlay_is_whiteout(const struct layer *layer, const struct stat *st)
{
	return layer->target->form == LAYER_OVERLAY && S_ISCHR(st->st_mode) &&
	       st->st_rdev == makedev(0, 0);
}

int overlay_set_opaque(struct layer *layer, struct layer_dir *dir, struct error *err)
{
	dir->changed = true;
	/* Without it lower files would show that the image has removed: no warning would do. */
	if (setxattr(path_of_fd(dir->fd).s, opaque_name(layer), "y", 1, 0) < 0)
		return error_errno(err, errno, "make directory `%s` opaque", dir->path);
	return 0;
}

int overlay_whiteout(struct layer *layer, const struct place *place, struct error *err)
{
	struct layer_dir *dir;
	struct stat st;
	int r;

	/* 0/0 needs no privilege: nothing can be opened through it. */
	if (mknodat(place->dir->fd, place->name, S_IFCHR, makedev(0, 0)) == 0)
		return 0;
	if (errno != EEXIST)
		return error_errno(err, errno, "make a whiteout");
	/* What this layer made hides a lower file by itself, and a directory only where it is opaque. */
	if (fstatat(place->dir->fd, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "stat");
	if (!S_ISDIR(st.st_mode))
		return 0;
	r = layer_dir_open(layer, place->path, false, &dir, err);
	return r < 0 ? r : overlay_set_opaque(layer, dir, err);
}

/* ---- the layers beneath ------------------------------------------------------------------- */

/* Whether this layer hides the content of lower directories at the path, or above it. */
static bool is_hidden(const struct layer *layer, const char *path)
{
	char prefix[PATH_MAX];
	char *slash;

	strcpy(prefix, path);
	for (;;) {
		_cleanup_close_ int fd = layer_open_canonical(layer->target->rootfs, prefix);

		if (fd >= 0 && getxattr(path_of_fd(fd).s, opaque_name(layer), NULL, 0) > 0)
			return true;
		if (!*prefix)
			return false;
		slash = strrchr(prefix, '/');
		*(slash ? slash : prefix) = '\0';
	}
}

int overlay_open_lower(struct layer *layer, const struct layer_dir *dir, const char *path,
		       struct error *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_close_ int parent = -EBADF;
	int fd;

	if (is_hidden(layer, dir->path) || layer->target->lower == LAYER_LOWER_NONE)
		return -ENOENT;
	if (layer->target->lower == LAYER_LOWER_UNKNOWN)
		return error_set(err, EXDEV, "`%s` depends on the layers beneath", path);
	parent = layer_open_canonical(layer->target->lower, dir->path);
	if (parent < 0)
		return -ENOENT; /* no directory, so nothing that could be merged */
	fd = openat(parent, slash ? slash + 1 : path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT
			       ? -ENOENT
			       : error_errno(err, errno, "open `%s` of the layers beneath", path);
	return fd;
}

static int copy_xattrs(int from, int to, struct error *err)
{
	char names[16384], value[65536];
	const struct path_of_fd source = path_of_fd(from), target = path_of_fd(to);
	ssize_t len = listxattr(source.s, names, sizeof(names));

	for (const char *name = names; len > 0;) {
		size_t step = strlen(name) + 1;

		if (layer_xattr_allowed(name)) {
			ssize_t size = getxattr(source.s, name, value, sizeof(value));

			if (size < 0 || setxattr(target.s, name, value, (size_t)size, 0) < 0)
				return error_errno(err, errno, "copy the extended attribute `%s`",
						   name);
		}
		name += step;
		len -= (ssize_t)step;
	}
	return 0;
}

static int copy_data(int from, int to, const struct stat *st, struct error *err)
{
	_cleanup_close_ int in = open(path_of_fd(from).s, O_RDONLY | O_CLOEXEC);
	off_t done = 0;

	if (in < 0)
		return error_errno(err, errno, "open");
	while (done < st->st_size) {
		off_t start = lseek(in, done, SEEK_DATA), end;
		ssize_t n;

		if (start < 0)
			break; /* only a hole is left */
		end = lseek(in, start, SEEK_HOLE);
		if (end < 0 || lseek(to, start, SEEK_SET) < 0)
			return error_errno(err, errno, "seek");
		n = sendfile(to, in, &start, (size_t)(end - start));
		if (n <= 0)
			return error_errno(err, n < 0 ? errno : EIO, "copy");
		done = start;
	}
	return ftruncate(to, st->st_size) < 0 ? error_errno(err, errno, "copy") : 0;
}

/* Makes the object, without metadata; a descriptor of it. */
static int copy_object(int from, const struct stat *st, const struct place *place,
		       struct error *err)
{
	int dir = place->dir->fd, fd, r = 0;
	char text[PATH_MAX];
	ssize_t n;

	if (S_ISREG(st->st_mode)) {
		fd = openat(dir, place->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0600);
		if (fd >= 0 && copy_data(from, fd, st, err) < 0) {
			close(fd);
			return -err->code;
		}
		return fd < 0 ? error_errno(err, errno, "create") : fd;
	}
	if (S_ISDIR(st->st_mode)) {
		r = mkdirat(dir, place->name, 0700);
	} else if (S_ISLNK(st->st_mode)) {
		n = readlinkat(from, "", text, sizeof(text) - 1);
		text[n < 0 ? 0 : n] = '\0';
		r = symlinkat(text, dir, place->name);
	} else {
		r = mknodat(dir, place->name, (st->st_mode & S_IFMT) | 0600, st->st_rdev);
	}
	fd = r < 0 ? r : openat(dir, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "create") : fd;
}

static int copy_up(struct layer *layer, int from, const struct place *place, struct error *err)
{
	_cleanup_close_ int to = -EBADF;
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstat(from, &st) < 0)
		return error_errno(err, errno, "stat");
	to = copy_object(from, &st, place, err);
	if (to < 0)
		return to;
	if (!layer->target->rootless && fchownat(to, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the owner");
	r = copy_xattrs(from, to, err);
	if (r < 0)
		return r;
	if (!S_ISLNK(st.st_mode) && chmod(path_of_fd(to).s, st.st_mode & 07777) < 0)
		return error_errno(err, errno, "set the mode");
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (utimensat(to, "", times, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the times");
	return 0;
}

int overlay_copy_up(struct layer *layer, const struct place *place, struct error *err)
{
	_cleanup_close_ int from = overlay_open_lower(layer, place->dir, place->path, err);
	int r = from;

	if (from == -ENOENT)
		return error_errno(err, ENOENT, "open `%s`", place->path);
	if (from >= 0) {
		place->dir->changed = true;
		r = copy_up(layer, from, place, err);
	}
	return r < 0 ? error_wrap(err, "copy `%s` from the layers beneath", place->path) : 0;
}
