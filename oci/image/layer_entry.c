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

#include "base/file.h"
#include "base/remove.h"
#include "oci/image/layer_internal.h"

static bool is_rootless(const struct layer *layer)
{
	return layer->target->rootless;
}

/*
 * Removes what is in the way at the place. 1: a directory is there and stays, as one is wanted. *opaque: a
 * whiteout was in the way, so of a lower directory nothing must show through the one to be made.
 */
static int clear_place(struct layer *layer, const struct place *place, bool want_dir, bool *opaque,
		       struct error *err)
{
	struct stat st;

	if (fstatat(place->dir->fd, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat");
	if (S_ISDIR(st.st_mode)) {
		if (want_dir)
			return 1;
		layer_dirs_forget(&layer->dirs, place->path);
	}
	*opaque = overlay_is_whiteout(layer, &st);
	return path_remove_tree(place->dir->fd, place->name, err);
}

/* Copies the entry's content; holes of sparse entries stay holes. */
static int copy_content(struct layer *layer, int fd, int64_t size, struct error *err)
{
	int64_t offset, end = 0;
	const void *piece;
	size_t len;
	int r;

	while ((r = layer_next_piece(layer, size, &piece, &len, &offset, err)) > 0) {
		r = file_write_at(fd, piece, len, offset);
		if (r < 0)
			return error_errno(err, -r, "write");
		end = offset + (int64_t)len;
	}
	if (r == 0 && end < size && ftruncate(fd, size) < 0)
		return error_errno(err, errno, "make %lld bytes long", (long long)size);
	return r;
}

static int make_file(struct layer *layer, struct archive_entry *entry, const struct place *place)
{
	/* O_EXCL: nothing that exists is ever opened for writing. */
	return openat(place->dir->fd, place->name,
		      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		      layer_create_mode(layer, entry));
}

static int make_node(struct archive_entry *entry, const struct place *place, mode_t type)
{
	dev_t dev = 0;

	if (type != S_IFIFO)
		dev = makedev((unsigned)archive_entry_rdevmajor(entry),
			      (unsigned)archive_entry_rdevminor(entry));
	return mknodat(place->dir->fd, place->name, type | 0600, dev);
}

static int make_once(struct layer *layer, struct archive_entry *entry, const struct place *place)
{
	mode_t type = archive_entry_filetype(entry);

	switch (type) {
	case AE_IFREG:
		return make_file(layer, entry, place);
	case AE_IFDIR:
		return mkdirat(place->dir->fd, place->name, layer_create_mode(layer, entry));
	case AE_IFLNK:
		/* Whatever it says: it is resolved in the root by us, and in the container by the kernel. */
		return symlinkat(archive_entry_symlink(entry), place->dir->fd, place->name);
	default:
		return make_node(entry, place, type);
	}
}

/* What became of an entry. */
struct made {
	int fd;       /* of a regular file, open for writing; else -EBADF */
	bool existed; /* a directory that was there stays */
	bool opaque;  /* a whiteout was in its place */
	bool skipped;
};

static bool is_device(mode_t type)
{
	return type == AE_IFCHR || type == AE_IFBLK;
}

/* Makes what is no hard link. Mostly nothing is in the way, so that is what is tried first. */
static int make(struct layer *layer, struct archive_entry *entry, const struct place *place,
		struct made *made, struct error *err)
{
	mode_t type = archive_entry_filetype(entry);
	int fd = make_once(layer, entry, place), r;

	if (fd < 0 && errno == EEXIST) {
		r = clear_place(layer, place, type == AE_IFDIR, &made->opaque, err);
		if (r < 0)
			return r;
		made->existed = r;
		fd = made->existed ? 0 : make_once(layer, entry, place);
	}
	if (fd < 0 && errno == EPERM && is_device(type)) {
		/* Root of a user namespace, or without CAP_MKNOD. */
		layer_warn_once(layer, LAYER_WARN_DEVICE,
				"device `%s` of the image is skipped: not permitted", place->path);
		made->skipped = true;
		return 0;
	}
	if (fd < 0)
		return error_errno(err, errno, "create");
	made->fd = type == AE_IFREG ? fd : -EBADF;
	return 0;
}

/* Whether the entry is one that is left out, with a warning; negative: that cannot be. */
static int check_kind(struct layer *layer, struct archive_entry *entry, const struct place *place,
		      struct error *err)
{
	const char *target;

	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		if (archive_entry_size(entry) < 0)
			return error_set(err, EINVAL, "damaged layer: a negative size");
		return 0;
	case AE_IFDIR:
	case AE_IFIFO:
		return 0;
	case AE_IFLNK:
		target = archive_entry_symlink(entry);
		return target && *target ? 0 : error_set(err, EINVAL, "a symbolic link to nothing");
	case AE_IFCHR:
	case AE_IFBLK:
		if (is_rootless(layer)) {
			layer_warn_once(layer, LAYER_WARN_DEVICE,
					"device `%s` of the image is skipped: it needs root",
					place->path);
			return 1;
		}
		if (layer->target->form == LAYER_OVERLAY &&
		    archive_entry_filetype(entry) == AE_IFCHR && !archive_entry_rdevmajor(entry) &&
		    !archive_entry_rdevminor(entry)) {
			layer_warn_once(layer, LAYER_WARN_WHITEOUT_DEVICE,
					"device `%s` of the image is skipped: "
					"in an overlay it would be a whiteout",
					place->path);
			return 1;
		}
		return 0;
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
	if (!name_set_add(&layer->made, place->path))
		return error_errno(err, ENOMEM, "apply a layer");
	return 0;
}

/* Finds the target of a hard link, which in an overlay may have to come from a lower layer first. */
static int find_target(struct layer *layer, const char *name, struct place *target, struct stat *st,
		       struct error *err)
{
	int r = layer_place_open(layer, name, layer->target->form == LAYER_OVERLAY, target, err);

	if (r < 0)
		return r;
	if (fstatat(target->dir->fd, target->name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st->st_mode) ? error_set(err, EINVAL, "a directory") : 0;
	if (errno != ENOENT || layer->target->form != LAYER_OVERLAY)
		return error_errno(err, errno, "stat");
	r = overlay_copy_up(layer, target, err);
	if (r < 0)
		return r;
	if (fstatat(target->dir->fd, target->name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "stat");
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
	_cleanup_place_ struct place target = { 0 };
	char clean[PATH_MAX];
	struct stat from, to;
	bool opaque = false;
	int r;

	r = layer_clean_name(target_name, clean, sizeof(clean), err);
	if (r < 0)
		return error_wrap(err, "hard link");
	r = find_target(layer, clean, &target, &from, err);
	if (r < 0)
		return error_wrap(err, "hard link to `%.256s`", target_name);
	/* A link to itself must not remove its target first. */
	if (fstatat(place->dir->fd, place->name, &to, AT_SYMLINK_NOFOLLOW) == 0 &&
	    to.st_dev == from.st_dev && to.st_ino == from.st_ino)
		return mark_made(layer, place, err);
	r = clear_place(layer, place, false, &opaque, err);
	if (r < 0)
		return r;
	if (linkat(target.dir->fd, target.name, place->dir->fd, place->name, 0) < 0)
		return error_errno(err, errno, "hard link to `%.256s`", target_name);
	return mark_made(layer, place, err);
}

/* Opens a directory that was made, and keeps it open: what follows in the layer is mostly in there. */
static int open_dir(struct layer *layer, const struct place *place, struct layer_dir **dir,
		    struct error *err)
{
	int fd;

	*dir = layer_dirs_find(&layer->dirs, place->path);
	if (*dir)
		return 0;
	fd = openat(place->dir->fd, place->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open");
	return layer_dirs_add(&layer->dirs, place->path, fd, dir, err);
}

static int finish_item(struct layer *layer, struct archive_entry *entry, const struct place *place,
		       int fd, struct layer_dir *self, bool existed, struct error *err)
{
	struct item item = { .fd = fd };

	if (fstat(fd, &item.st) < 0)
		return error_errno(err, errno, "stat");
	if ((item.st.st_mode & S_IFMT) != archive_entry_filetype(entry))
		return error_set(err, EIO, "was changed while it was unpacked");
	return layer_metadata_apply(layer, entry, place, &item, self, existed, err);
}

static int finish_dir(struct layer *layer, struct archive_entry *entry, const struct place *place,
		      const struct made *made, struct error *err)
{
	struct layer_dir *dir;
	int r = open_dir(layer, place, &dir, err);

	if (r >= 0 && made->opaque)
		r = overlay_set_opaque(layer, dir, err);
	return r < 0 ? r : finish_item(layer, entry, place, dir->fd, dir, made->existed, err);
}

static int finish_file(struct layer *layer, struct archive_entry *entry, const struct place *place,
		       int fd, struct error *err)
{
	_cleanup_close_ int own = fd;
	int r = copy_content(layer, own, archive_entry_size(entry), err);

	return r < 0 ? r : finish_item(layer, entry, place, own, NULL, false, err);
}

static int finish_other(struct layer *layer, struct archive_entry *entry, const struct place *place,
			struct error *err)
{
	_cleanup_close_ int fd =
		openat(place->dir->fd, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "open");
	return finish_item(layer, entry, place, fd, NULL, false, err);
}

int layer_entry_apply(struct layer *layer, struct archive_entry *entry, const char *name,
		      struct error *err)
{
	_cleanup_place_ struct place place = { 0 };
	const char *hardlink = archive_entry_hardlink(entry);
	bool is_dir = !hardlink && archive_entry_filetype(entry) == AE_IFDIR;
	struct made made = { .fd = -EBADF };
	int r;

	/* As a link the root would lead all that follows somewhere else. */
	if (!*name && !is_dir)
		return error_set(err, EINVAL, "the root itself is not a directory");
	r = layer_place_open(layer, name, true, &place, err);
	if (r < 0)
		return r;
	place.dir->changed = true;
	if (hardlink)
		return make_hardlink(layer, hardlink, &place, err);
	r = check_kind(layer, entry, &place, err);
	if (r)
		return r < 0 ? r : 0;
	r = make(layer, entry, &place, &made, err);
	if (r < 0 || made.skipped)
		return r;
	r = is_dir         ? finish_dir(layer, entry, &place, &made, err)
	    : made.fd >= 0 ? finish_file(layer, entry, &place, made.fd, err)
			   : finish_other(layer, entry, &place, err);
	return r < 0 ? r : mark_made(layer, &place, err);
}
