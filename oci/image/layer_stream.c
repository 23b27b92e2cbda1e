/* SPDX-License-Identifier: Apache-2.0 */
/* Decompressing a layer with its digests checked; see layer_stream.h. */
#include "oci/image/layer_stream.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "oci/image/decompress.h"
#include "oci/image/ring.h"

enum { READER_CALLER, READER_HASH }; /* of the tar stream */
enum { THREAD_BLOB, THREAD_DECOMPRESS, THREAD_HASH, THREADS };

struct layer_stream {
	struct image_blob blob;
	const struct image_layer *layer;
	const struct layer_stream_hooks *hooks;
	struct ring packed, plain;
	pthread_t threads[THREADS];
	unsigned running;        /* threads that were started and not joined */
	struct error blob_error; /* of reading the blob; seen after the end of packed */
	struct error error;      /* of decompressing, or the former; seen after the end of plain */
	struct digest_stream *hash; /* of the tar stream */
	bool hash_failed;           /* seen after the threads ended */
	atomic_uint_fast64_t done;  /* bytes of the blob */
	bool taken, taken_packed;   /* whether a block is held by the caller, the decompressor */
};

/* ---- the threads ---------------------------------------------------------------------------- */

/* Fills a block, so that there are few of them however the source reads. */
static ssize_t read_block(struct layer_stream *s, char *block, struct error *err)
{
	size_t len = 0;

	while (len < RING_BLOCK) {
		ssize_t n = image_blob_read(&s->blob, block + len, RING_BLOCK - len, err);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		len += (size_t)n;
		atomic_store_explicit(&s->done, s->blob.done, memory_order_relaxed);
	}
	return (ssize_t)len;
}

static void *read_blob(void *data)
{
	struct layer_stream *s = data;
	char *block;

	while ((block = ring_reserve(&s->packed))) {
		ssize_t n = read_block(s, block, &s->blob_error);

		if (n <= 0)
			break;
		ring_publish(&s->packed, (size_t)n);
	}
	ring_end(&s->packed);
	return NULL;
}

/* The decompressor's block_read_fn. */
static ssize_t take_packed(void *data, const char **block, struct error *err)
{
	struct layer_stream *s = data;
	size_t len;

	if (s->taken_packed)
		ring_release(&s->packed, 0);
	*block = ring_take(&s->packed, 0, &len);
	s->taken_packed = *block;
	if (*block)
		return (ssize_t)len;
	if (!s->blob_error.code)
		return 0;
	*err = s->blob_error;
	return -err->code;
}

static int decompress_blocks(struct layer_stream *s, struct decompressor *d, struct error *err)
{
	char *block;

	while ((block = ring_reserve(&s->plain))) {
		ssize_t n = decompressor_read(d, block, RING_BLOCK, err);

		if (n <= 0)
			return (int)n;
		ring_publish(&s->plain, (size_t)n);
	}
	return 0;
}

static void skip_packed(struct layer_stream *s)
{
	const char *block;

	while (take_packed(s, &block, &s->error) > 0)
		;
}

static void *decompress(void *data)
{
	struct layer_stream *s = data;
	struct decompressor *d = NULL;
	bool plain;

	if (decompressor_open(take_packed, s, &d, &plain, &s->error) >= 0)
		decompress_blocks(s, d, &s->error);
	decompressor_close(d);
	/* Bytes behind the compressed stream belong to the blob's digest; those behind damage do not matter. */
	if (s->error.code)
		ring_stop(&s->packed);
	else
		skip_packed(s);
	ring_end(&s->plain);
	return NULL;
}

static void *hash_stream(void *data)
{
	struct layer_stream *s = data;
	const char *block;
	size_t len;

	while ((block = ring_take(&s->plain, READER_HASH, &len))) {
		if (!digest_update(s->hash, block, len))
			s->hash_failed = true;
		ring_release(&s->plain, READER_HASH);
	}
	return NULL;
}

static void stop(struct layer_stream *s)
{
	ring_stop(&s->packed);
	ring_stop(&s->plain);
	while (s->running)
		pthread_join(s->threads[--s->running], NULL);
}

static int start(struct layer_stream *s, struct error *err)
{
	static void *(*const run[THREADS])(void *) = { read_blob, decompress, hash_stream };
	sigset_t all, before;
	int r = 0;

	/* Signals are for the thread that waits for us. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!r && s->running < THREADS) {
		r = pthread_create(&s->threads[s->running], NULL, run[s->running], s);
		s->running += !r;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r ? error_errno(err, r, "start a thread") : 0;
}

/* ---- the stream ----------------------------------------------------------------------------- */

int layer_stream_open(struct image_source *source, const struct image_layer *layer,
		      const struct layer_stream_hooks *hooks, struct layer_stream **stream,
		      struct error *err)
{
	struct layer_stream *s = calloc(1, sizeof(*s));
	bool room;
	int r;

	if (!s)
		return error_errno(err, ENOMEM, "open a layer");
	s->layer = layer;
	s->hooks = hooks;
	room = ring_init(&s->packed, 1);
	room &= ring_init(&s->plain, 2);
	s->hash = digest_begin(&layer->diff_id);
	r = !room     ? error_errno(err, ENOMEM, "open a layer")
	    : s->hash ? image_blob_open(source, &layer->blob, &s->blob, err)
		      : error_set(err, ENOMEM, "open a layer: libcrypto failed");
	if (r >= 0)
		r = start(s, err);
	if (r < 0) {
		layer_stream_close(s);
		return r;
	}
	*stream = s;
	return 0;
}

static int stream_error(const struct layer_stream *s, struct error *err)
{
	*err = s->error;
	if (err->code == EBADMSG && !s->blob_error.code)
		error_wrap(err, "layer %s", digest_text(&s->layer->blob.digest).s);
	return -err->code;
}

ssize_t layer_stream_read(void *data, const char **block, struct error *err)
{
	struct layer_stream *s = data;
	size_t len;

	if (s->hooks->interrupted && s->hooks->interrupted(s->hooks->data))
		return error_set(err, EINTR, "interrupted");
	if (s->hooks->progress)
		s->hooks->progress(s->hooks->data,
				   atomic_load_explicit(&s->done, memory_order_relaxed),
				   s->layer->blob.size);
	if (s->taken)
		ring_release(&s->plain, READER_CALLER);
	*block = ring_take(&s->plain, READER_CALLER, &len);
	s->taken = *block;
	if (*block)
		return (ssize_t)len;
	return s->error.code ? stream_error(s, err) : 0;
}

int layer_stream_finish(struct layer_stream *s, struct error *err)
{
	struct digest found;
	int r;

	while (s->running)
		pthread_join(s->threads[--s->running], NULL);
	if (s->error.code)
		return stream_error(s, err);
	r = image_blob_finish(&s->blob, err);
	if (r < 0)
		return r;
	if (s->hash_failed || !digest_finish(s->hash, &found))
		return error_set(err, EIO, "hash a layer: libcrypto failed");
	if (!digest_equal(&found, &s->layer->diff_id))
		return error_set(
			err, EBADMSG,
			"layer %s: its content is %s, not the DiffID %s of the image's configuration",
			digest_text(&s->blob.descriptor->digest).s, digest_text(&found).s,
			digest_text(&s->layer->diff_id).s);
	return 0;
}

int layer_stream_check_blob(struct layer_stream *s, struct error *err)
{
	stop(s);
	if (!s->blob_error.code)
		return image_blob_finish(&s->blob, err);
	*err = s->blob_error;
	return -err->code;
}

void layer_stream_close(struct layer_stream *s)
{
	if (!s)
		return;
	stop(s);
	digest_free(s->hash);
	image_blob_close(&s->blob);
	ring_free(&s->packed);
	ring_free(&s->plain);
	free(s);
}
