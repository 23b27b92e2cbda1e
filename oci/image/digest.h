/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests: the names of everything in an image. Parsed strictly, for a digest becomes part of a
 * path (blobs/sha256/…) and is what all trust in an image rests on.
 *
 * Source: image-spec descriptor.md, "Digests". sha256 and sha512 are supported, nothing else.
 */
#ifndef HULL_OCI_IMAGE_DIGEST_H
#define HULL_OCI_IMAGE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define DIGEST_HEX_MAX 128 /* of sha512 */

struct digest {
	const char *algorithm;        /* "sha256" or "sha512", a constant */
	char hex[DIGEST_HEX_MAX + 1]; /* lower case, exactly as long as the algorithm's output */
};

/* The text "sha256:…" of a digest, and the path of its blob in a layout. */
struct digest_text {
	char s[sizeof("blobs/sha512/") + DIGEST_HEX_MAX];
};

/* -EINVAL where s is no digest, -EOPNOTSUPP where the algorithm is another. s may be NULL. */
int digest_parse(const char *s, struct digest *digest, struct error *err);

struct digest_text digest_text(const struct digest *digest);
struct digest_text digest_blob_path(const struct digest *digest);

/* Hashing a stream: begin, update, then finish or free. */
struct digest_stream;

/* A new stream with the algorithm of `like`; NULL: no memory. */
struct digest_stream *digest_begin(const struct digest *like);

/* False where libcrypto failed. */
bool digest_update(struct digest_stream *stream, const void *data, size_t len);

/* The digest of all that was added. False where libcrypto failed. */
bool digest_finish(struct digest_stream *stream, struct digest *digest);

void digest_free(struct digest_stream *stream);

/* The digest of bytes in memory, with the algorithm of `like`. False where libcrypto failed. */
bool digest_of(const void *data, size_t len, const struct digest *like, struct digest *digest);

bool digest_equal(const struct digest *a, const struct digest *b);

#endif
