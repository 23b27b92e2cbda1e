/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a layer, a tar stream, to a root file system. libarchive decodes the stream; whatever it
 * says is done by our own code, through descriptors beneath the root file system.
 *
 * What a layer may do: links and parents are resolved as a container would see them, "/" being the
 * root file system, for layers put files through links of lower ones (`lib -> usr/lib`, then `lib/x`).
 * What it may not: a name with ".." is refused; the last component of a name is never followed; an
 * existing file is never written to but replaced, so that no hard link is written through.
 *
 * Source: image-spec layer.md.
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
 * Bounds on one layer, far above any real image (the largest have some hundred thousand files), so
 * that a bomb of a few kilobytes ends. What the disk cannot hold ends earlier, with ENOSPC.
 */
#define LAYER_ENTRIES_MAX 4194304
#define LAYER_BYTES_MAX   ((uint64_t)1 << 40) /* of the uncompressed stream */
#define LAYER_DEPTH_MAX   200                 /* directories deep; 1 is the root's children */

struct layer_target {
	int rootfs;            /* a directory that nobody else changes meanwhile */
	bool rootless;         /* owners are not kept, devices are skipped */
	struct path_map modes; /* rootless: what directories' modes become at the end */
	unsigned warned;       /* which warnings were given: each once an image */
};

/* Where the tar stream comes from: at most len bytes, 0 at the end. */
typedef ssize_t (*layer_read_fn)(void *data, void *buf, size_t len, struct error *err);

void layer_target_init(struct layer_target *target, int rootfs, bool rootless);

/* Applies one layer; the lowest comes first. After an error the root file system is of no use. */
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
