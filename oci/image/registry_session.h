/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to one registry about one image: who we are, when to try again, and what its answers mean.
 * Safe to use from several threads.
 *
 * Sources: distribution-spec; distribution's token authentication specification; RFC 9110 sections 10.2.3 (Retry-After), 14
 * (ranges).
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_SESSION_H
#define HULL_OCI_IMAGE_REGISTRY_SESSION_H

#include "oci/image/reference.h"
#include "oci/image/registry_http.h"

#define REGISTRY_TRIES \
	5 /* of one thing, without any progress, where there is no other place to ask */

struct registry_session;

/* tries: how often one thing is tried without any progress, REGISTRY_TRIES or fewer. */
int registry_session_open(const struct image_reference *reference,
			  const struct http_options *options, unsigned tries,
			  struct registry_session **session, struct error *err);
void registry_session_close(struct registry_session *session);
unsigned registry_session_tries(const struct registry_session *session);

struct registry_request {
	const char *kind;   /* "manifests" or "blobs" */
	const char *what;   /* a digest; of manifests also a tag */
	const char *accept; /* media types; may be NULL */
	uint64_t offset;    /* of the first byte that is wanted */
};

/*
 * Asks for a manifest or a blob, as often as it takes, and answers challenges. On success the status is 200, or 206
 * where there was an offset. -ENOENT: there is no such thing; -EACCES: not for us; -ERANGE: there are
 * not so many bytes; -EAGAIN: it did not succeed in registry_session_tries() attempts.
 */
int registry_get(struct registry_session *session, const struct registry_request *request,
		 struct http_exchange **exchange, struct error *err);

/*
 * Waits before the next attempt after `tries` that failed: half a second, doubled each time, with up to as much
 * again at random, so that many who were turned away together do not come back together; or the
 * seconds that the server asked for, if any. -EINTR where it was interrupted.
 */
int registry_back_off(const struct registry_session *session, unsigned tries, unsigned asked_s,
		      struct error *err);

#endif
