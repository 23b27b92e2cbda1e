/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Challenges: what a registry wants to know before it answers, from its WWW-Authenticate headers.
 *
 * Sources: RFC 7235 section 4.1, distribution's token authentication specification.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_CHALLENGE_H
#define HULL_OCI_IMAGE_REGISTRY_CHALLENGE_H

#include <stdbool.h>

#define CHALLENGE_REALM_MAX 2048
#define CHALLENGE_PARAM_MAX 1024

struct registry_challenge {
	bool basic;
	bool bearer; /* and a realm was given with it */
	char realm[CHALLENGE_REALM_MAX +
		   1]; /* a URL of the server's wish: to be checked before it is used */
	char service[CHALLENGE_PARAM_MAX + 1]; /* "" where none was given */
	char scope[CHALLENGE_PARAM_MAX + 1];
};

/*
 * Reads the value of a WWW-Authenticate header, or of several with ", " between them. Of several Bearer
 * challenges the first counts. False where it is malformed or a value is too long.
 */
bool registry_challenge_parse(const char *header, struct registry_challenge *challenge);

#endif
