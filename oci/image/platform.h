/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Platforms as images name them: operating system, architecture (Go's names) and variant.
 *
 * Source: image-spec image-index.md, "platform"; its table of variants.
 */
#ifndef HULL_OCI_IMAGE_PLATFORM_H
#define HULL_OCI_IMAGE_PLATFORM_H

#include <stdbool.h>

#include "oci/json.h"

#define PLATFORM_VARIANTS 5

struct image_platform {
	const char *os;                          /* "linux" */
	const char *architecture;                /* "amd64", "arm64", … */
	const char *variants[PLATFORM_VARIANTS]; /* that run here, the best first; "": none named */
};

/* The platform of this machine, by uname(2). */
struct image_platform image_platform_host(void);

/*
 * How well a "platform" object fits: 0 not at all, more is better. Where there is no such object
 * (NULL) the answer is 1: it may fit.
 */
int image_platform_score(const struct image_platform *platform, const struct json_value *object);

#endif
