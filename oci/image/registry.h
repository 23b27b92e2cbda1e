/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A registry as a source: `index.json` is made of the one manifest that a reference names, manifests
 * are read whole, and blobs are streamed, resumed where a connection breaks.
 *
 * Everything that a registry says is hostile. Nothing is believed but digests: that of a manifest is taken of
 * its very bytes and never of a header, and all else is checked in blob.h against a descriptor.
 *
 * Source: distribution-spec, "Pull".
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_H
#define HULL_OCI_IMAGE_REGISTRY_H

#include "oci/image/source.h"

/* reference: "HOST[:PORT]/NAME[:TAG|@DIGEST]". Asks nothing yet. */
int image_source_open_registry(const char *reference, const struct image_source_options *options,
			       struct image_source **source, struct error *err);

#endif
