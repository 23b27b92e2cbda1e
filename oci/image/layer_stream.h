/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer's blob as the tar stream that is in it: bytes of the blob are hashed for its digest, then
 * decompressed, then hashed again for the DiffID, and only then seen by the reader of the tar.
 */
#ifndef HULL_OCI_IMAGE_LAYER_STREAM_H
#define HULL_OCI_IMAGE_LAYER_STREAM_H

#include <stdbool.h>

#include "oci/image/manifest.h"

#define LAYER_STREAM_BUFFER 65536

/* What the reading tells and asks, both for the one who waits; either may be NULL. */
struct layer_stream_hooks {
	void (*progress)(void *data, uint64_t done, uint64_t total); /* bytes of the blob */
	bool (*interrupted)(void *data);
	void *data;
};

struct archive;

struct layer_stream {
	struct image_blob blob;
	const struct image_layer *layer;
	struct layer_stream_hooks hooks;
	struct archive *filter; /* NULL: the blob is the tar stream itself */
	struct digest_stream *hash;
	uint64_t done;            /* bytes of the tar stream */
	struct error error;       /* of reading the blob */
	size_t peeked, peeked_at; /* bytes in buffer that were read to see the compression */
	char buffer[LAYER_STREAM_BUFFER];
};

/* Opens the blob and finds its compression: gzip, zstd or none. The stream is the caller's to close. */
int layer_stream_open(struct image_source *source, const struct image_layer *layer,
		      const struct layer_stream_hooks *hooks, struct layer_stream **stream,
		      struct error *err);

/* A layer_read_fn; data is the stream. -EINTR where hooks.interrupted() said so. */
ssize_t layer_stream_read(void *data, void *buf, size_t len, struct error *err);

/* Reads both to their ends and checks the DiffID, the digest and the size. */
int layer_stream_finish(struct layer_stream *stream, struct error *err);

void layer_stream_close(struct layer_stream *stream);

#endif
