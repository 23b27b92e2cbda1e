/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a layer, a tar stream, to a directory. libarchive decodes the stream; whatever it
 * says is done by our own code, through descriptors beneath that directory.
 *
 * What a layer may do: links and parents are resolved as a container would see them, "/" being the
 * root file system, for layers put files through links of lower ones (`lib -> usr/lib`, then `lib/x`).
 * What it may not: a name with ".." is refused; the last component of a name is never followed; an
 * existing file is never written to but replaced, so that no hard link is written through.
 *
 * There are two forms. Flat: all layers are applied to one tree, the lowest first, and whiteouts remove. Overlay:
 * each layer has a tree of its own, for a lower directory of overlayfs, and whiteouts are what overlayfs takes for them
 * (a character device 0/0; an extended attribute for opaque directories).
 *
 * Nothing here is global: several layers may be applied by several threads, each to a target of its own.
 * Memory does not grow with the layer's size; it grows with the number of its entries by ten to twenty bytes each.
 *
 * Sources: image-spec layer.md; Documentation/filesystems/overlayfs.rst.
 */
#ifndef HULL_OCI_IMAGE_LAYER_H
#define HULL_OCI_IMAGE_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "oci/image/path_map.h"

/*
 * Bounds on one image, far above any real one (the largest have some hundred thousand files), so
 * that a bomb of a few kilobytes ends. What the disk cannot hold ends earlier, with ENOSPC.
 */
#define LAYER_ENTRIES_MAX 4194304
#define LAYER_BYTES_MAX   ((uint64_t)1 << 40) /* of the uncompressed streams */
#define LAYER_DEPTH_MAX   200                 /* directories deep; 1 is the root's children */

enum layer_form {
	LAYER_FLAT,
	LAYER_OVERLAY,
	LAYER_COMPARE, /* nothing is made: files that were unpacked of this layer must have its content, or it is -EBADMSG */
};

/*
 * LAYER_OVERLAY: what is beneath. Only a few layers depend on it: those that put files into directories or through
 * links that they do not hold themselves, or hard links to files of lower layers.
 */
enum {
	LAYER_LOWER_NONE = -1, /* nothing: this is the lowest layer; its whiteouts mean nothing */
	LAYER_LOWER_UNKNOWN = -2, /* not known: a layer that depends on it fails with -EXDEV */
};

struct layer_target {
	int rootfs;    /* a directory that nobody else changes meanwhile */
	bool rootless; /* owners are not kept, devices are skipped */
	enum layer_form form;
	/*
	 * LAYER_OVERLAY: a directory with the lower layers merged (a mounted overlay, or a flat tree), or
	 * LAYER_LOWER_…. Directories that the layer only implies, and files that it only links to, are copied
	 * up from there, as overlayfs would do it.
	 */
	int lower;
	bool user_xattr; /* LAYER_OVERLAY: user.overlay.opaque, for mounts with `userxattr`, instead of trusted.overlay.opaque */
	uint64_t max_bytes, max_entries; /* -EFBIG where all layers together have more */

	uint64_t bytes, entries; /* of the layers so far */
	struct path_map modes;   /* rootless: what directories' modes become at the end */
	unsigned warned;         /* which warnings were given: each once an image */
};

/*
 * Where the tar stream comes from: *block becomes its next bytes, which stay until the next call. Returns how
 * many, 0 at the end.
 */
typedef ssize_t (*layer_read_fn)(void *data, const char **block, struct error *err);

/*
 * A flat target with the largest bounds and nothing beneath; the fields above may be changed after. Takes over nothing.
 * Missing directories are made with mode 0755 less the process's umask, which should be 022.
 */
void layer_target_init(struct layer_target *target, int rootfs, bool rootless);

/*
 * Applies one layer and reads the stream to its end. After an error the tree is of no use. Flat: the lowest layer
 * comes first. Overlay: a target has one layer.
 */
int layer_apply(struct layer_target *target, layer_read_fn read, void *data, struct error *err);

/* After the last layer. */
int layer_target_finish(struct layer_target *target, struct error *err);
void layer_target_free(struct layer_target *target);

/*
 * Makes name relative and clean: no "/" in front or at the end, no "." or empty component; the root is "".
 * -EINVAL where it has "..", -ENAMETOOLONG where it does not fit size bytes.
 */
int layer_clean_name(const char *name, char *out, size_t size, struct error *err);

#endif
