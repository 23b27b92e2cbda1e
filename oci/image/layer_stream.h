/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer's blob as the tar stream that is in it, by a chain of threads with bounded queues between them:
 *
 *     read and hash the blob | decompress | hash the tar stream (DiffID)
 *                                         | whoever calls layer_stream_read()
 *
 * So all of these overlap, and what is done with the tar stream is done before the digests are known: it must not
 * be relied on before layer_stream_finish() has said that it was the right one. Memory: two queues of
 * RING_BLOCKS * RING_BLOCK bytes (3 MiB each), and what the decompressor takes.
 */
#ifndef HULL_OCI_IMAGE_LAYER_STREAM_H
#define HULL_OCI_IMAGE_LAYER_STREAM_H

#include <stdbool.h>

#include "oci/image/manifest.h"

/* What the reading tells and asks, both called by layer_stream_read() in its caller's thread; either may be NULL. */
struct layer_stream_hooks {
	void (*progress)(void *data, uint64_t done, uint64_t total); /* bytes of the blob */
	bool (*interrupted)(void *data);
	void *data;
};

struct layer_stream;

/*
 * Opens the blob and starts the threads. layer and hooks must outlive the stream, which is the caller's to close; the
 * source may be used by other threads meanwhile only for other files. Its reads must not block without end.
 */
int layer_stream_open(struct image_source *source, const struct image_layer *layer,
		      const struct layer_stream_hooks *hooks, struct layer_stream **stream,
		      struct error *err);

/* A layer_read_fn; data is the stream. -EINTR where hooks.interrupted() said so. */
ssize_t layer_stream_read(void *data, const char **block, struct error *err);

/* After the end of the stream: checks the DiffID, and the blob's digest and size. */
int layer_stream_finish(struct layer_stream *stream, struct error *err);

/* After a failure: reads the blob to its end; -EBADMSG where it was not the right one, which explains the failure. */
int layer_stream_check_blob(struct layer_stream *stream, struct error *err);

void layer_stream_close(struct layer_stream *stream);

#endif
