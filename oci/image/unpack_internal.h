/* SPDX-License-Identifier: Apache-2.0 */
/* What the two forms of unpacking share: a bundle (unpack.c), and an EROFS image (unpack_erofs.c). */
#ifndef HULL_OCI_IMAGE_UNPACK_INTERNAL_H
#define HULL_OCI_IMAGE_UNPACK_INTERNAL_H

#include "oci/image/image.h"
#include "oci/image/layer.h"

/*
 * Opens (O_PATH) the directory that a path is in and copies its last component to name, of NAME_MAX + 1 bytes: "" for "/", "." and
 * "..".
 */
int unpack_open_parent(const char *path, char *name, struct error *err);

/* A directory that was made and opened by its name is the caller's: where others may write, they may have put theirs there. */
int unpack_check_ours(int dir, struct error *err);

/* Makes the directory `rootfs` in the directory, 0755. Returns its descriptor. *made: it must be removed after an error. */
int unpack_make_rootfs(int dir, bool *made, struct error *err);

/* A flat target with the bounds of the options; the caller's to finish and free. */
void unpack_target_init(struct layer_target *target, int rootfs,
			const struct image_unpack_options *options);

/* Applies all layers, the lowest first. */
int unpack_layers(const struct image_unpack_options *options, struct image_source *source,
		  const struct image_manifest *manifest, struct layer_target *target,
		  struct error *err);

/* IMAGE_FORMAT_EROFS. */
int unpack_erofs(const struct image_unpack_options *options, struct image_source *source,
		 const struct image_manifest *manifest, struct error *err);

#endif
