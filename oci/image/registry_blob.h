/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs of a registry as streams that outlive a broken connection: what is missing is asked for by
 * its range, from the next place where a mirror does not have it any more. A server that cannot do that sends all once more,
 * and what was read before is skipped.
 * Size and digest are checked by whoever reads (blob.h).
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_BLOB_H
#define HULL_OCI_IMAGE_REGISTRY_BLOB_H

#include "oci/image/blob.h"
#include "oci/image/registry_places.h"

/* From byte `offset` on, which is less than the size. The places and the descriptor have to live as long as the reader. */
int registry_blob_open(struct registry_places *places, const struct image_descriptor *descriptor,
		       uint64_t offset, struct image_reader **reader, struct error *err);

#endif
