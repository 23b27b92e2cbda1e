/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an image's configuration to a bundle's config.json, as image-spec conversion.md says. What
 * that leaves open comes from oci_spec_default().
 */
#ifndef HULL_OCI_IMAGE_CONFIG_IMAGE_H
#define HULL_OCI_IMAGE_CONFIG_IMAGE_H

#include <sys/types.h>

#include "oci/config.h"
#include "oci/json.h"

#define IMAGE_CONFIG_ARENA_MAX ((size_t)64 << 20)

/*
 * Converts the image's configuration (an object; see config.md) for a bundle whose root file system is
 * open as rootfs and lies at `rootfs` in the bundle. Everything lives in the arena.
 */
int image_config_convert(const struct json_value *image, int rootfs, bool rootless,
			 struct arena *arena, struct oci_config **config, struct error *err);

/* Writes config.json, with that mode, into the bundle whose directory is open as dir. */
int image_config_write(const struct oci_config *config, int dir, mode_t mode, struct error *err);

#endif
