/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images that are listed in the `manifest.json` of an archive of `docker save`, and what chooses one of them: a name with
 * its tag, as in `RepoTags`, where "docker.io/library/" and ":latest" may be missing; a tag alone; or "@N", from 0 on.
 */
#ifndef HULL_OCI_IMAGE_DOCKER_TAGS_H
#define HULL_OCI_IMAGE_DOCKER_TAGS_H

#include "oci/json.h"

/*
 * The image, an object, of what manifest.json holds. tag NULL: the only one. Where there is none or more than one, the message
 * lists the tags.
 */
int docker_image_choose(const struct json_value *images, const char *tag,
			const struct json_value **found, struct error *err);

#endif
