/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials for a registry, from where other tools keep them: the first of these files that has any
 * for the image counts.
 *
 *     $REGISTRY_AUTH_FILE, and where it is set no other
 *     $XDG_RUNTIME_DIR/containers/auth.json, /run/containers/UID/auth.json
 *     $XDG_CONFIG_HOME/containers/auth.json, ~/.config/containers/auth.json
 *     $DOCKER_CONFIG/config.json, ~/.docker/config.json
 *
 * Within a file: the host's entry of "credHelpers", the longest matching entry of "auths", "credsStore".
 * Credentials are never put in a message or in an argument of a program.
 *
 * Sources: containers-auth.json(5); docker-credential-helpers' protocol.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_AUTH_H
#define HULL_OCI_IMAGE_REGISTRY_AUTH_H

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"
#include "oci/image/reference.h"

#define REGISTRY_SECRET_MAX 8192 /* bytes of a name or a password */

struct registry_credentials {
	char *basic;         /* "user:password" in base64, or NULL: there are none */
	char file[PATH_MAX]; /* where they came from; for messages */
};

/* No credentials anywhere is no error: basic is NULL then. A file that is there and cannot be read is one. */
int registry_auth_find(const struct image_reference *reference,
		       struct registry_credentials *credentials, struct error *err);

/* As registry_auth_find(), of one file's text. Exposed for tests. */
int registry_auth_parse(const char *text, size_t len, const struct image_reference *reference,
			struct registry_credentials *credentials, struct error *err);

/*
 * Asks the program `docker-credential-NAME get`, found in $PATH, for the host's credentials. *basic stays NULL where it has none. It has
 * 30 seconds and may print 64 KiB.
 */
int registry_helper_get(const char *name, const char *host, char **basic, struct error *err);

/* "user:password" in base64, the caller's; NULL: no memory, or too long, or a user with a colon. */
char *registry_auth_basic(const char *user, const char *password);

/* Overwrites and frees. */
void registry_secret_free(char *secret);
void registry_credentials_free(struct registry_credentials *credentials);

static inline void cleanup_registry_secret(char **secret)
{
	registry_secret_free(*secret);
}

#define _cleanup_secret_ __attribute__((cleanup(cleanup_registry_secret)))

#endif
