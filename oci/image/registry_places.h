/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an image is asked for: its mirrors, one after the other, and the registry itself at last. A mirror
 * that fails is warned about and not asked again, so whatever mirrors do, the registry decides whether an image can be had.
 * Safe to use from several threads.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_PLACES_H
#define HULL_OCI_IMAGE_REGISTRY_PLACES_H

#include <stdbool.h>

#include "oci/image/registry_session.h"

struct registry_places;

/* -EPERM where the configuration blocks the image. Asks nothing yet. */
int registry_places_open(const struct image_reference *reference,
			 const struct http_options *options, struct registry_places **places,
			 struct error *err);
void registry_places_close(struct registry_places *places);

/* The first place that has not failed, for registry_places_session(). by_tag: it is to say what a tag means. */
size_t registry_places_first(const struct registry_places *places, bool by_tag);
struct registry_session *registry_places_session(const struct registry_places *places,
						 size_t place);

/*
 * A place failed, with `why`. True: it was a mirror, and there is another place to ask; `why` was told to the user and
 * is cleared. False: it was the registry itself, or the command is to end.
 */
bool registry_places_failed(struct registry_places *places, size_t place, struct error *why);

#endif
