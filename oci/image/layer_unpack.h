/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One layer of an image, from its blob to a directory: what a bundle and a store are built on.
 *
 * A store that keeps each layer in a directory of its own, for overlayfs, sets form and lower of the target:
 *
 *     layer_target_init(&target, dir, rootless);
 *     target.form = LAYER_OVERLAY;
 *     target.lower = the lowest layer ? LAYER_LOWER_NONE : LAYER_LOWER_UNKNOWN;
 *     r = layer_unpack(source, layer, &target, &hooks, &err);
 *     if (r >= 0)
 *             r = layer_target_finish(&target, &err);
 *     layer_target_free(&target);
 *
 * Layers do not need one another so, and several threads may unpack one each. A layer that fails with -EXDEV says only a part
 * of something beneath: empty the directory and unpack it once more with `lower` a descriptor of what is beneath,
 * merged; the result then belongs to that chain of layers (ChainID) and not to the layer alone (DiffID).
 */
#ifndef HULL_OCI_IMAGE_LAYER_UNPACK_H
#define HULL_OCI_IMAGE_LAYER_UNPACK_H

#include "oci/image/layer.h"
#include "oci/image/layer_stream.h"

/*
 * Applies the layer to the target and checks its digests; see layer.h and layer_stream.h. The bytes are used before they
 * are checked, so after an error (-EBADMSG: a digest that differs; -EINTR; -ENOSPC; …) what is there must be
 * removed. Nothing is flushed to the disk.
 */
int layer_unpack(struct image_source *source, const struct image_layer *layer,
		 struct layer_target *target, const struct layer_stream_hooks *hooks,
		 struct error *err);

#endif
