/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an overlay's directory of changes to a layer, an uncompressed tar stream with whiteouts as image-spec layer.md has them: what
 * layer_apply() reads back.
 */
#ifndef HULL_OCI_IMAGE_LAYER_PACK_H
#define HULL_OCI_IMAGE_LAYER_PACK_H

#include "base/error.h"

/*
 * Writes all that is in the directory upper to the file out. The content is hostile, but nobody changes it meanwhile. Sockets are left
 * out: no tar can have them. -ENOTSUP where overlayfs says of a file that it is elsewhere (`redirect_dir`, `metacopy`).
 */
int layer_pack(int upper, int out, struct error *err);

#endif
