/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References: how an image in a registry is named, `HOST[:PORT]/NAME[:TAG][@DIGEST]`. Each part becomes
 * a part of a URL, so nothing is taken that the grammar does not allow: no `..`, no `%`, no `?`.
 *
 * There is no default registry: a name without a host means whatever somebody else configured.
 *
 * Source: distribution-spec, "Pulling manifests" (names and tags); RFC 3986 section 3.2 (hosts).
 */
#ifndef HULL_OCI_IMAGE_REFERENCE_H
#define HULL_OCI_IMAGE_REFERENCE_H

#include <stdbool.h>

#include "base/error.h"
#include "oci/image/digest.h"

#define REFERENCE_HOST_MAX 255 /* bytes, with the port */
#define REFERENCE_NAME_MAX 255
#define REFERENCE_TAG_MAX  128

struct image_reference {
	char host[REFERENCE_HOST_MAX + 1]; /* "host", "host:port" or "[address]:port" */
	char name[REFERENCE_NAME_MAX + 1]; /* "group/image" */
	char tag[REFERENCE_TAG_MAX + 1];   /* "latest" where none was given */
	bool has_digest;                   /* then the digest counts, and not the tag */
	struct digest digest;
};

/* Reads a reference without "docker://". -EINVAL with what is wrong with it. */
int image_reference_parse(const char *s, struct image_reference *reference, struct error *err);

/* What goes behind ".../manifests/": the digest, or the tag. */
struct digest_text image_reference_version(const struct image_reference *reference);

#endif
