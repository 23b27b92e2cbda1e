/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bearer tokens: what a registry's token service gives for credentials, or to anybody.
 *
 * Source: distribution's token authentication specification.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_TOKEN_H
#define HULL_OCI_IMAGE_REGISTRY_TOKEN_H

#include "oci/image/registry_auth.h"
#include "oci/image/registry_challenge.h"
#include "oci/image/registry_http.h"

/*
 * Gets a token for pulling the image from the challenge's realm, which is https, or http where the
 * client speaks it. *authorization: a header's value, the caller's, to be freed with registry_secret_free().
 * -EACCES where the service refuses; -EAGAIN where it may not do so later.
 */
int registry_token_get(struct http_client *client, const struct registry_challenge *challenge,
		       const struct image_reference *reference,
		       const struct registry_credentials *credentials, char **authorization,
		       struct error *err);

/* Takes the token from the service's answer: a Bearer header's value. Exposed for tests. */
int registry_token_parse(const char *text, size_t len, char **authorization, struct error *err);

#endif
