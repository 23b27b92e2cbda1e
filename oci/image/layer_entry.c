/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making what an entry of a layer says: files, directories, links, devices and FIFOs, each by a call
 * on the descriptor of its parent directory that follows nothing. What is there already is removed
 * first, except a directory where a directory comes: so a file is never written through a link,
 * symbolic or hard, that an earlier entry put in its place.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/remove.h"
#include "oci/image/layer_internal.h"

/* Removes what is at the place. *existed: a directory is there and stays, as one is wanted. */
static int clear_place(const struct place *place, bool want_dir, bool *existed, struct error *err)
{
	struct stat st;

	*existed = false;
	if (fstatat(place->parent, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat");
	if (want_dir && S_ISDIR(st.st_mode)) {
		*existed = true;
		return 0;
	}
	return path_remove_tree(place->parent, place->name, err);
}

static int write_at(int fd, const void *data, size_t len, off_t offset)
{
	const char *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copies the entry's content; holes of sparse entries stay holes. */
static int copy_content(struct layer *layer, int fd, int64_t size, struct error *err)
{
	int64_t end = 0;

	for (;;) {
		const void *block;
		la_int64_t offset;
		size_t len;
		int r = archive_read_data_block(layer->archive, &block, &len, &offset);

		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK)
			return layer_archive_error(layer, err);
		if (offset < 0 || offset > size || len > (uint64_t)(size - offset))
			return error_set(err, EINVAL, "damaged layer: content beyond its end");
		r = write_at(fd, block, len, offset);
		if (r < 0)
			return error_errno(err, -r, "write");
		end = offset + (int64_t)len;
	}
	if (end < size && ftruncate(fd, size) < 0)
		return error_errno(err, errno, "make %lld bytes long", (long long)size);
	return 0;
}

static int make_file(struct layer *layer, struct archive_entry *entry, const struct place *place,
		     struct error *err)
{
	/* Ours alone until owner and mode are set; O_EXCL: nothing that exists is ever opened for writing. */
	_cleanup_close_ int fd = openat(place->parent, place->name,
					O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int64_t size = archive_entry_size(entry);

	if (fd < 0)
		return error_errno(err, errno, "create");
	if (size < 0)
		return error_set(err, EINVAL, "damaged layer: a negative size");
	return copy_content(layer, fd, size, err);
}

static int make_symlink(struct archive_entry *entry, const struct place *place, struct error *err)
{
	const char *target = archive_entry_symlink(entry);

	/* Whatever it says: it is resolved in the root by us, and in the container by the kernel. */
	if (!target || !*target)
		return error_set(err, EINVAL, "a symbolic link to nothing");
	if (symlinkat(target, place->parent, place->name) < 0)
		return error_errno(err, errno, "make a symbolic link");
	return 0;
}

/* 1: skipped. */
static int make_node(struct layer *layer, struct archive_entry *entry, const struct place *place,
		     mode_t type, struct error *err)
{
	dev_t dev = 0;

	if (type != S_IFIFO) {
		if (layer->target->rootless) {
			layer_warn_once(layer, LAYER_WARN_DEVICE,
					"device `%s` of the image is skipped: it needs root",
					place->path);
			return 1;
		}
		dev = makedev((unsigned)archive_entry_rdevmajor(entry),
			      (unsigned)archive_entry_rdevminor(entry));
	}
	if (mknodat(place->parent, place->name, type | 0600, dev) == 0)
		return 0;
	if (errno == EPERM && type != S_IFIFO) {
		/* Root of a user namespace, or without CAP_MKNOD. */
		layer_warn_once(layer, LAYER_WARN_DEVICE,
				"device `%s` of the image is skipped: not permitted", place->path);
		return 1;
	}
	return error_errno(err, errno, "make a special file");
}

static int make_dir(const struct place *place, bool existed, struct error *err)
{
	if (!existed && mkdirat(place->parent, place->name, 0700) < 0)
		return error_errno(err, errno, "make a directory");
	return 0;
}

/* Makes what is not a directory, and not a hard link. 1: skipped. */
static int make_other(struct layer *layer, struct archive_entry *entry, const struct place *place,
		      struct error *err)
{
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return make_file(layer, entry, place, err);
	case AE_IFLNK:
		return make_symlink(entry, place, err);
	case AE_IFCHR:
		return make_node(layer, entry, place, S_IFCHR, err);
	case AE_IFBLK:
		return make_node(layer, entry, place, S_IFBLK, err);
	case AE_IFIFO:
		return make_node(layer, entry, place, S_IFIFO, err);
	case AE_IFSOCK:
		layer_warn_once(layer, LAYER_WARN_SOCKET, "socket `%s` of the image is skipped",
				place->path);
		return 1;
	default:
		return error_set(err, EINVAL, "damaged layer: a file of an unknown type");
	}
}

static int mark_made(struct layer *layer, const struct place *place, struct error *err)
{
	struct path_info *info = path_map_add(&layer->paths, place->path);

	if (!info)
		return error_errno(err, ENOMEM, "apply a layer");
	info->made = true;
	return 0;
}

/*
 * A hard link shares its metadata with its target, which came with an entry of its own. The target
 * is looked up like any name, in the root; its last component is not followed, so that a symbolic
 * link to a file of the host's is linked as a link.
 */
static int make_hardlink(struct layer *layer, const char *target_name, const struct place *place,
			 struct error *err)
{
	_cleanup_place_ struct place target = { .parent = -EBADF };
	char clean[PATH_MAX];
	struct stat from, to;
	bool existed;
	int r;

	r = layer_clean_name(target_name, clean, sizeof(clean), err);
	if (r < 0)
		return error_wrap(err, "hard link");
	r = layer_place_open(layer, clean, false, &target, err);
	if (r < 0)
		return error_wrap(err, "hard link to `%.256s`", target_name);
	if (fstatat(target.parent, target.name, &from, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "hard link to `%.256s`", target_name);
	if (S_ISDIR(from.st_mode))
		return error_set(err, EINVAL, "hard link to `%.256s`: a directory", target_name);
	/* A link to itself must not remove its target first. */
	if (fstatat(place->parent, place->name, &to, AT_SYMLINK_NOFOLLOW) == 0 &&
	    to.st_dev == from.st_dev && to.st_ino == from.st_ino)
		return mark_made(layer, place, err);
	r = clear_place(place, false, &existed, err);
	if (r < 0)
		return r;
	if (linkat(target.parent, target.name, place->parent, place->name, 0) < 0)
		return error_errno(err, errno, "hard link to `%.256s`", target_name);
	return mark_made(layer, place, err);
}

int layer_entry_apply(struct layer *layer, struct archive_entry *entry, const char *name,
		      struct error *err)
{
	_cleanup_place_ struct place place = { .parent = -EBADF };
	const char *hardlink = archive_entry_hardlink(entry);
	bool is_dir = !hardlink && archive_entry_filetype(entry) == AE_IFDIR;
	bool existed;
	int r;

	/* As a link the root would lead all that follows somewhere else. */
	if (!*name && !is_dir)
		return error_set(err, EINVAL, "the root itself is not a directory");
	r = layer_place_open(layer, name, true, &place, err);
	if (r < 0)
		return r;
	if (hardlink)
		return make_hardlink(layer, hardlink, &place, err);
	r = clear_place(&place, is_dir, &existed, err);
	if (r < 0)
		return r;
	r = is_dir ? make_dir(&place, existed, err) : make_other(layer, entry, &place, err);
	if (r)
		return r < 0 ? r : 0;
	r = mark_made(layer, &place, err);
	if (r < 0)
		return r;
	return layer_metadata_apply(layer, entry, &place, existed, err);
}
