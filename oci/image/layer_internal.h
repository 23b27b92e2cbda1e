/* SPDX-License-Identifier: Apache-2.0 */
/* What the files layer*.c share; see layer.h for the whole. */
#ifndef HULL_OCI_IMAGE_LAYER_INTERNAL_H
#define HULL_OCI_IMAGE_LAYER_INTERNAL_H

#include <archive.h>
#include <archive_entry.h>
#include <limits.h>

#include "oci/image/layer.h"

#define LAYER_BUFFER 65536

struct layer {
	struct layer_target *target;
	struct archive *archive;
	struct path_map paths;    /* what this layer made, and the directories' times */
	char root_path[PATH_MAX]; /* the root file system's, to cut it off canonical ones */
	uint64_t entries, bytes;
	layer_read_fn read;
	void *read_data;
	struct error
		read_error; /* code is not 0 where read() failed: what libarchive says then is of no use */
	char buffer[LAYER_BUFFER];
};

/* Where an entry goes: a name in a directory. */
struct place {
	int parent;              /* O_PATH */
	char name[NAME_MAX + 1]; /* "." for the root itself */
	char path[PATH_MAX];     /* canonical; "" for the root itself */
};

/* The message of a failed call to libarchive, or of the reading behind it. Returns the negative code. */
int layer_archive_error(struct layer *layer, struct error *err);

/* A warning that is worth giving once an image. */
enum layer_warning {
	LAYER_WARN_DEVICE = 1 << 0,
	LAYER_WARN_SOCKET = 1 << 1,
	LAYER_WARN_XATTR_UNSUPPORTED = 1 << 2,
	LAYER_WARN_XATTR_DENIED = 1 << 3,
	LAYER_WARN_XATTR_SKIPPED = 1 << 4,
	LAYER_WARN_ACL = 1 << 5,
};
void layer_warn_once(struct layer *layer, enum layer_warning which, const char *fmt, ...)
	_printf_(3, 4);

/* ---- layer_place.c ---- */

/*
 * Finds where a clean name is. make: missing directories above are made; else they are -ENOENT. The
 * directory is remembered with its times, for the caller is about to change it.
 */
int layer_place_open(struct layer *layer, const char *name, bool make, struct place *place,
		     struct error *err);
void layer_place_close(struct place *place);
#define _cleanup_place_ __attribute__((cleanup(layer_place_close)))

/* Remembers the times of an open directory, unless they are known: adding to it must not change them. */
int layer_keep_times(struct layer *layer, const char *path, int dir, struct error *err);

/* Sets what was remembered, when all is in its place. */
int layer_set_times(struct layer *layer, struct error *err);
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

/* ---- layer_entry.c ---- */

/* Makes what the entry says at the place, its content and metadata included. */
int layer_entry_apply(struct layer *layer, struct archive_entry *entry, const char *name,
		      struct error *err);

/* ---- layer_metadata.c ---- */

/* Owner, extended attributes, mode and times. existed: a directory that was there before. */
int layer_metadata_apply(struct layer *layer, struct archive_entry *entry,
			 const struct place *place, bool existed, struct error *err);

#endif
