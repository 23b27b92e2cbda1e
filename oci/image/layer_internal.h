/* SPDX-License-Identifier: Apache-2.0 */
/* What the files layer*.c share; see layer.h for the whole. */
#ifndef HULL_OCI_IMAGE_LAYER_INTERNAL_H
#define HULL_OCI_IMAGE_LAYER_INTERNAL_H

#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>

#include "base/strbuf.h"
#include "oci/image/layer.h"
#include "oci/image/layer_dirs.h"
#include "oci/image/name_set.h"

struct layer {
	struct layer_target *target;
	struct archive *archive;
	struct layer_dirs dirs;
	uid_t uid; /* ours, which what we make has */
	gid_t gid;
	struct name_set made; /* canonical paths that this layer made: whiteouts must spare them */
	layer_read_fn read;
	void *read_data;
	uint64_t bytes;
	struct strbuf differing; /* LAYER_COMPARE: names of files, each with a NUL behind it */
	struct error
		read_error; /* code is not 0 where read() failed: what libarchive says then is of no use */
};

/* Where an entry goes: a name in a directory. */
struct place {
	struct layer_dir *dir;   /* pinned */
	char name[NAME_MAX + 1]; /* "." for the root itself */
	char path[PATH_MAX];     /* canonical; "" for the root itself */
};

/* What was just made, to be given its metadata. */
struct item {
	int fd; /* any kind of descriptor of it */
	struct stat st;
};

/* The message of a failed call to libarchive, or of the reading behind it. Returns the negative code. */
int layer_archive_error(struct layer *layer, struct error *err);

/* The next piece of an entry's content, of size bytes in all. 1, or 0 at the end. */
int layer_next_piece(struct layer *layer, int64_t size, const void **piece, size_t *len,
		     int64_t *offset, struct error *err);

/* A warning that is worth giving once an image. */
enum layer_warning {
	LAYER_WARN_DEVICE = 1 << 0,
	LAYER_WARN_SOCKET = 1 << 1,
	LAYER_WARN_XATTR_UNSUPPORTED = 1 << 2,
	LAYER_WARN_XATTR_DENIED = 1 << 3,
	LAYER_WARN_XATTR_SKIPPED = 1 << 4,
	LAYER_WARN_ACL = 1 << 5,
	LAYER_WARN_WHITEOUT_DEVICE = 1 << 6,
};
void layer_warn_once(struct layer *layer, enum layer_warning which, const char *fmt, ...)
	_printf_(3, 4);

/* ---- layer_place.c ---- */

/*
 * Finds where a clean name is. make: missing directories above are made; else they are -ENOENT.
 */
int layer_place_open(struct layer *layer, const char *name, bool make, struct place *place,
		     struct error *err);
void layer_place_close(struct place *place);
#define _cleanup_place_ __attribute__((cleanup(layer_place_close)))

/* Finds the directory of a clean name, through links inside the root. It is the caller's until the next call. */
int layer_dir_open(struct layer *layer, const char *name, bool make, struct layer_dir **dir,
		   struct error *err);

/* Opens (O_PATH) a directory by its canonical path. What is something else by now is -ELOOP, -ENOTDIR or -ENOENT. */
int layer_open_canonical(int root, const char *path);

int layer_set_modes(struct layer_target *target, struct error *err);

/* ---- layer_whiteout.c ---- */

enum layer_whiteout {
	LAYER_NO_WHITEOUT,
	LAYER_WHITEOUT,         /* `.wh.NAME`: NAME of lower layers is removed */
	LAYER_WHITEOUT_OPAQUE,  /* `.wh..wh..opq`: all of the directory's, of lower layers */
	LAYER_WHITEOUT_IGNORED, /* other names of aufs's own: `.wh..wh.plnk` and so on */
	LAYER_WHITEOUT_BAD, /* `.wh.`, `.wh..`, `.wh...`: names of nothing, of the directory, of its parent */
};
enum layer_whiteout layer_whiteout_kind(const char *name);
int layer_whiteout_apply(struct layer *layer, const char *name, enum layer_whiteout kind,
			 struct error *err);

/* ---- layer_overlay.c ---- */

/* Hides what lower layers have at the place. */
int overlay_whiteout(struct layer *layer, const struct place *place, struct error *err);

/* Hides what lower layers have in a directory. */
int overlay_set_opaque(struct layer *layer, struct layer_dir *dir, struct error *err);

/* Whether it is what overlay_whiteout() makes: nothing else in an overlay's layer is. */
bool overlay_is_whiteout(const struct layer *layer, const struct stat *st);

/*
 * Opens (O_PATH, a link itself) what lower layers have at a canonical path, seen from its directory: -ENOENT where
 * there is nothing, or it is hidden by this layer; -EXDEV where that is not known.
 */
int overlay_open_lower(struct layer *layer, const struct layer_dir *dir, const char *path,
		       struct error *err);

/* Makes a copy of what lower layers have at the place, a directory without its content. -ENOENT where there is nothing. */
int overlay_copy_up(struct layer *layer, const struct place *place, struct error *err);

/* ---- layer_entry.c ---- */

/* Makes what the entry says at the place, its content and metadata included. */
int layer_entry_apply(struct layer *layer, struct archive_entry *entry, const char *name,
		      struct error *err);

/* ---- layer_compare.c ---- */

/* Compares what was unpacked of the entry with it. */
int layer_compare_entry(struct layer *layer, struct archive_entry *entry, const char *name,
			struct error *err);
/* -EBADMSG where a file differs. */
int layer_compare_finish(const struct layer *layer, struct error *err);

/* ---- layer_metadata.c ---- */

/*
 * Owner, extended attributes, mode and times. dir: what holds the item; self: the item itself where it is a directory, else
 * NULL; existed: that was there before.
 */
int layer_metadata_apply(struct layer *layer, struct archive_entry *entry,
			 const struct place *place, struct item *item, struct layer_dir *self,
			 bool existed, struct error *err);

/* Whether an image may set it, and a copy keeps it. */
bool layer_xattr_allowed(const char *name);

/* The mode to create an entry's file or directory with: no more open than it will be, and its owner's alone until it has that. */
mode_t layer_create_mode(const struct layer *layer, struct archive_entry *entry);

/* ---- layer_acl.c ---- */

#define LAYER_ACL_BYTES 4096

/*
 * The entry's access control list of that type (ARCHIVE_ENTRY_ACL_TYPE_…, from pax records that are text) as the
 * extended attribute's value. Returns its size, 0 where there is none, -EINVAL where it cannot be one: it names users
 * without their numbers, or is too long.
 */
ssize_t layer_acl_encode(struct archive_entry *entry, int type, char *buf, size_t size);

/*
 * The entry's mode, 12 bits. Where it has a list, a file's group bits are the list's mask (acl(5)), for which libarchive puts
 * the owning group's.
 */
mode_t layer_acl_mode(struct archive_entry *entry);

#endif
