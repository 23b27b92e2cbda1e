/* SPDX-License-Identifier: Apache-2.0 */
/* Decompressing a layer with its digests checked; see layer_stream.h. */
#include "oci/image/layer_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>

#include "oci/image/layer.h"

static ssize_t read_blob(struct layer_stream *s, void *buf, size_t len, struct error *err)
{
	ssize_t n;

	if (s->hooks.interrupted && s->hooks.interrupted(s->hooks.data))
		return error_set(err, EINTR, "interrupted");
	n = image_blob_read(&s->blob, buf, len, err);
	if (n >= 0 && s->hooks.progress)
		s->hooks.progress(s->hooks.data, s->blob.done, s->blob.descriptor->size);
	return n;
}

static la_ssize_t blob_callback(struct archive *archive, void *data, const void **buffer)
{
	struct layer_stream *s = data;
	ssize_t n = (ssize_t)s->peeked;

	s->peeked = 0;
	if (!n)
		n = read_blob(s, s->buffer, sizeof(s->buffer), &s->error);
	if (n < 0) {
		archive_set_error(archive, (int)-n, "read");
		return -1;
	}
	*buffer = s->buffer;
	return n;
}

static int filter_error(struct layer_stream *s, struct error *err)
{
	const char *text;

	if (s->error.code) {
		if (err)
			*err = s->error;
		return -s->error.code;
	}
	text = archive_error_string(s->filter);
	return error_set(err, EBADMSG, "layer %s: damaged compression: %s",
			 digest_text(&s->layer->blob.digest).s, text ? text : "unknown error");
}

/* The compression by the first bytes (RFC 1952, RFC 8878 with its skippable frames); -1: none. */
static int sniff(const char *data, size_t len)
{
	if (len >= 2 && !memcmp(data, "\x1f\x8b", 2))
		return ARCHIVE_FILTER_GZIP;
	if (len >= 4 && (!memcmp(data, "\x28\xb5\x2f\xfd", 4) ||
			 ((data[0] & 0xf0) == 0x50 && !memcmp(data + 1, "\x2a\x4d\x18", 3))))
		return ARCHIVE_FILTER_ZSTD;
	return -1;
}

static int open_filter(struct layer_stream *s, int code, struct error *err)
{
	struct archive_entry *entry;
	int r;

	s->filter = archive_read_new();
	if (!s->filter)
		return error_errno(err, ENOMEM, "open a layer");
	/*
	 * Exactly this one filter: left to guess, libarchive would unwrap gzip in gzip in gzip. It says
	 * ARCHIVE_WARN where it would start a program to decompress, which we do not want.
	 */
	if (archive_read_append_filter(s->filter, code) != ARCHIVE_OK ||
	    archive_read_support_format_raw(s->filter) != ARCHIVE_OK ||
	    archive_read_support_format_empty(s->filter) != ARCHIVE_OK ||
	    archive_read_open(s->filter, s, NULL, blob_callback, NULL) != ARCHIVE_OK)
		return filter_error(s, err);
	r = archive_read_next_header(s->filter, &entry);
	/* Nothing at all in it; archive_read_data() then says so, too. */
	if (r != ARCHIVE_OK && r != ARCHIVE_EOF)
		return filter_error(s, err);
	return 0;
}

/* Fills the buffer as far as the sniffing needs it. */
static int peek(struct layer_stream *s, struct error *err)
{
	while (s->peeked < 4) {
		ssize_t n = read_blob(s, s->buffer + s->peeked, sizeof(s->buffer) - s->peeked, err);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		s->peeked += (size_t)n;
	}
	return 0;
}

int layer_stream_open(struct image_source *source, const struct image_layer *layer,
		      const struct layer_stream_hooks *hooks, struct layer_stream **stream,
		      struct error *err)
{
	struct layer_stream *s = calloc(1, sizeof(*s));
	int code, r;

	if (!s)
		return error_errno(err, ENOMEM, "open a layer");
	s->layer = layer;
	s->hooks = *hooks;
	s->hash = digest_begin(&layer->diff_id);
	r = s->hash ? image_blob_open(source, &layer->blob, &s->blob, err)
		    : error_set(err, ENOMEM, "open a layer: libcrypto failed");
	if (r >= 0)
		r = peek(s, err);
	code = sniff(s->buffer, s->peeked);
	if (r >= 0 && code >= 0)
		r = open_filter(s, code, err);
	if (r < 0) {
		layer_stream_close(s);
		return r;
	}
	*stream = s;
	return 0;
}

static ssize_t read_plain(struct layer_stream *s, void *buf, size_t len, struct error *err)
{
	if (!s->peeked)
		return read_blob(s, buf, len, err);
	if (len > s->peeked)
		len = s->peeked;
	memcpy(buf, s->buffer + s->peeked_at, len);
	s->peeked_at += len;
	s->peeked -= len;
	return (ssize_t)len;
}

static ssize_t read_filtered(struct layer_stream *s, void *buf, size_t len, struct error *err)
{
	la_ssize_t n;

	/* One block of a bomb is gigabytes: the blob is not asked for more meanwhile, so ask here, too. */
	if (s->hooks.interrupted && s->hooks.interrupted(s->hooks.data))
		return error_set(err, EINTR, "interrupted");
	n = archive_read_data(s->filter, buf, len);
	return n < 0 ? filter_error(s, err) : n;
}

ssize_t layer_stream_read(void *data, void *buf, size_t len, struct error *err)
{
	struct layer_stream *s = data;
	ssize_t n = s->filter ? read_filtered(s, buf, len, err) : read_plain(s, buf, len, err);

	if (n < 0)
		return n;
	s->done += (uint64_t)n;
	if (!digest_update(s->hash, buf, (size_t)n))
		return error_set(err, EIO, "hash a layer: libcrypto failed");
	return n;
}

int layer_stream_finish(struct layer_stream *s, struct error *err)
{
	struct digest found;
	char buf[16384];
	ssize_t n;
	int r;

	/* What stands after the end of the tar belongs to the digests. */
	do {
		n = layer_stream_read(s, buf, sizeof(buf), err);
		if (n < 0)
			return (int)n;
		if (s->done > LAYER_BYTES_MAX)
			return error_set(err, EFBIG, "the layer is larger than %llu bytes",
					 (unsigned long long)LAYER_BYTES_MAX);
	} while (n > 0);
	s->peeked = 0;
	r = image_blob_finish(&s->blob, err);
	if (r < 0)
		return r;
	if (!digest_finish(s->hash, &found))
		return error_set(err, EIO, "hash a layer: libcrypto failed");
	if (!digest_equal(&found, &s->layer->diff_id))
		return error_set(
			err, EBADMSG,
			"layer %s: its content is %s, not the DiffID %s of the image's configuration",
			digest_text(&s->blob.descriptor->digest).s, digest_text(&found).s,
			digest_text(&s->layer->diff_id).s);
	return 0;
}

void layer_stream_close(struct layer_stream *s)
{
	if (!s)
		return;
	if (s->filter)
		archive_read_free(s->filter);
	digest_free(s->hash);
	image_blob_close(&s->blob);
	free(s);
}
