/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs of a registry as streams that outlive a broken connection: what is missing is asked for by
 * its range. A server that cannot do that sends all once more, and what was read before is skipped.
 * Size and digest are checked by whoever reads (blob.h).
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_BLOB_H
#define HULL_OCI_IMAGE_REGISTRY_BLOB_H

#include "oci/image/blob.h"
#include "oci/image/registry_session.h"

/* The session and the descriptor have to live as long as the reader. */
int registry_blob_open(struct registry_session *session, const struct image_descriptor *descriptor,
		       struct image_reader **reader, struct error *err);

#endif
