/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mirrors: where else the images of a registry are, and what is blocked. The first of these files that exists counts.
 *
 *     $XDG_CONFIG_HOME/hull/registries.json, or ~/.config/hull/registries.json where the variable is not set
 *     /etc/hull/registries.json
 *
 *     {"registries": [{
 *         "prefix": "docker.io/library",
 *         "blocked": false,
 *         "mirrors": [{"location": "mirror.example:5000/hub", "plainHttp": false, "digestsOnly": false}]
 *     }]}
 *
 * A prefix is HOST[:PORT][/PATH], and matches whole parts of a path; the longest that matches counts. In a
 * mirror `location` stands in the place of the prefix. A member that is not listed here is an error: it was meant
 * to do something.
 *
 * Source: the ideas are those of containers-registries.conf(5), which is TOML, for which Debian has no library for C.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_MIRRORS_H
#define HULL_OCI_IMAGE_REGISTRY_MIRRORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "oci/image/reference.h"

#define REGISTRY_MIRRORS_MAX 8 /* of a prefix */

struct registry_mirror {
	struct image_reference reference; /* the image there */
	bool plain_http;
	bool digests_only; /* it is not asked what a tag means */
};

struct registry_mirrors {
	bool blocked;
	size_t count;
	struct registry_mirror
		mirror[REGISTRY_MIRRORS_MAX]; /* in the order in which they are asked */
};

/* No file, and none for this image, is no error. -EPERM, with the file in the message, where it is blocked. */
int registry_mirrors_find(const struct image_reference *reference, struct registry_mirrors *mirrors,
			  struct error *err);

/* What a file's text says of the image. Exposed for tests. */
int registry_mirrors_parse(const char *text, size_t len, const struct image_reference *reference,
			   struct registry_mirrors *mirrors, struct error *err);

#endif
