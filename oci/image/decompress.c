/* SPDX-License-Identifier: Apache-2.0 */
/* Which decompressor, and the simple ones: nothing, and libarchive's filters; see decompress.h. */
#include "oci/image/decompress.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>

ssize_t packed_fill(struct packed *in, struct error *err)
{
	ssize_t n;

	if (in->left)
		return (ssize_t)in->left;
	n = in->read(in->data, &in->next, err);
	in->left = n > 0 ? (size_t)n : 0;
	return n;
}

/* ---- no compression ----------------------------------------------------------------------- */

static ssize_t plain_read(struct decompressor *d, char *buf, size_t len, struct error *err)
{
	ssize_t n = packed_fill(&d->in, err);

	if (n <= 0)
		return n;
	if (len > (size_t)n)
		len = (size_t)n;
	memcpy(buf, d->in.next, len);
	d->in.next += len;
	d->in.left -= len;
	return (ssize_t)len;
}

static void plain_close(struct decompressor *d)
{
	free(d);
}

struct decompressor *decompress_plain_new(void)
{
	struct decompressor *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->read = plain_read;
	d->close = plain_close;
	return d;
}

/* ---- libarchive's filters ----------------------------------------------------------------- */

struct archive_decompressor {
	struct decompressor base;
	struct archive *archive;
	struct error error; /* of reading what is compressed */
	int filter;
	bool opened;
};

static la_ssize_t packed_callback(struct archive *archive, void *data, const void **buffer)
{
	struct archive_decompressor *d = data;
	ssize_t n = packed_fill(&d->base.in, &d->error);

	if (n < 0) {
		archive_set_error(archive, (int)-n, "read");
		return -1;
	}
	*buffer = d->base.in.next;
	d->base.in.left = 0;
	return n;
}

static int archive_failure(const struct archive_decompressor *d, struct error *err)
{
	const char *text;

	if (d->error.code) {
		if (err)
			*err = d->error;
		return -d->error.code;
	}
	text = archive_error_string(d->archive);
	return error_set(err, EBADMSG, "damaged compression: %s", text ? text : "unknown error");
}

static int archive_start(struct archive_decompressor *d, struct error *err)
{
	struct archive_entry *entry;
	int r;

	/*
	 * Exactly this one filter: left to guess, libarchive would unwrap gzip in gzip in gzip. It says
	 * ARCHIVE_WARN where it would start a program to decompress, which we do not want.
	 */
	if (archive_read_append_filter(d->archive, d->filter) != ARCHIVE_OK ||
	    archive_read_support_format_raw(d->archive) != ARCHIVE_OK ||
	    archive_read_support_format_empty(d->archive) != ARCHIVE_OK ||
	    archive_read_open(d->archive, d, NULL, packed_callback, NULL) != ARCHIVE_OK)
		return archive_failure(d, err);
	r = archive_read_next_header(d->archive, &entry);
	/* Nothing at all in it; archive_read_data() then says so, too. */
	if (r != ARCHIVE_OK && r != ARCHIVE_EOF)
		return archive_failure(d, err);
	d->opened = true;
	return 0;
}

static ssize_t archive_read(struct decompressor *base, char *buf, size_t len, struct error *err)
{
	struct archive_decompressor *d = (struct archive_decompressor *)base;
	la_ssize_t n;

	if (!d->opened) {
		int r = archive_start(d, err);

		if (r < 0)
			return r;
	}
	n = archive_read_data(d->archive, buf, len);
	return n < 0 ? archive_failure(d, err) : n;
}

static void archive_close(struct decompressor *base)
{
	struct archive_decompressor *d = (struct archive_decompressor *)base;

	archive_read_free(d->archive);
	free(d);
}

struct decompressor *decompress_archive_new(int filter)
{
	struct archive_decompressor *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->archive = archive_read_new();
	if (!d->archive) {
		free(d);
		return NULL;
	}
	d->filter = filter;
	d->base.read = archive_read;
	d->base.close = archive_close;
	return &d->base;
}

/* ---- which ---------------------------------------------------------------------------------- */

static struct decompressor *gzip_new(void)
{
#ifdef HULL_ISAL
	return decompress_isal_new();
#else
	return decompress_archive_new(ARCHIVE_FILTER_GZIP);
#endif
}

enum compression_kind compression_of(const void *start, size_t len)
{
	const char *data = start;

	if (len >= 2 && !memcmp(data, "\x1f\x8b", 2))
		return COMPRESSION_GZIP;
	/* A frame, or a skippable frame in front of one. */
	if (len >= 4 && (!memcmp(data, "\x28\xb5\x2f\xfd", 4) ||
			 ((data[0] & 0xf0) == 0x50 && !memcmp(data + 1, "\x2a\x4d\x18", 3))))
		return COMPRESSION_ZSTD;
	if (len >= 6 && !memcmp(data,
				"\xfd"
				"7zXZ\0",
				6))
		return COMPRESSION_XZ;
	return COMPRESSION_NONE;
}

static struct decompressor *choose(const char *data, size_t len, bool *plain)
{
	enum compression_kind kind = compression_of(data, len);

	*plain = kind == COMPRESSION_NONE;
	switch (kind) {
	case COMPRESSION_GZIP:
		return gzip_new();
	case COMPRESSION_ZSTD:
		return decompress_archive_new(ARCHIVE_FILTER_ZSTD);
	case COMPRESSION_XZ:
		return decompress_archive_new(ARCHIVE_FILTER_XZ);
	default:
		return decompress_plain_new();
	}
}

int decompressor_open(block_read_fn read, void *data, struct decompressor **decompressor,
		      bool *plain, struct error *err)
{
	struct packed in = { .read = read, .data = data };
	ssize_t n = packed_fill(&in, err);

	if (n < 0)
		return (int)n;
	*decompressor = choose(in.next, in.left, plain);
	if (!*decompressor)
		return error_errno(err, ENOMEM, "decompress");
	(*decompressor)->in = in;
	return 0;
}

ssize_t decompressor_read(struct decompressor *decompressor, char *buf, size_t len,
			  struct error *err)
{
	return decompressor->read(decompressor, buf, len, err);
}

void decompressor_close(struct decompressor *decompressor)
{
	if (decompressor)
		decompressor->close(decompressor);
}
