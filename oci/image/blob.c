/* SPDX-License-Identifier: Apache-2.0 */
/* Reading blobs with their size and digest checked; see blob.h. */
#include "oci/image/blob.h"

#include <string.h>

#define KNOWN_BLOCK ((size_t)256 << 10)

/* Adds what is in the file to the hash. */
static int hash_known(struct image_blob *blob, int file, uint64_t len, struct error *err)
{
	_cleanup_free_ char *buf = malloc(KNOWN_BLOCK);

	if (!buf)
		return error_errno(err, ENOMEM, "hash what is there of a blob");
	while (blob->done < len) {
		uint64_t left = len - blob->done;
		ssize_t n = pread(file, buf, left < KNOWN_BLOCK ? (size_t)left : KNOWN_BLOCK,
				  (off_t)blob->done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_errno(err, n < 0 ? errno : EIO,
					   "read what is there of a blob");
		if (!digest_update(blob->hash, buf, (size_t)n))
			return error_set(err, ENOMEM, "hash a blob: libcrypto failed");
		blob->done += (uint64_t)n;
	}
	return 0;
}

int image_blob_resume(struct image_source *source, const struct image_descriptor *descriptor,
		      int file, uint64_t len, struct image_blob *blob, struct error *err)
{
	int r;

	memset(blob, 0, sizeof(*blob));
	blob->descriptor = descriptor;
	blob->hash = digest_begin(&descriptor->digest);
	if (!blob->hash)
		return error_set(err, ENOMEM, "hash %s: libcrypto failed",
				 digest_text(&descriptor->digest).s);
	r = len ? hash_known(blob, file, len, err) : 0;
	/* There is no range behind the last byte. */
	if (r >= 0 && (!len || len < descriptor->size))
		r = image_source_open_blob(source, descriptor, len, &blob->reader, err);
	if (r < 0)
		image_blob_close(blob);
	return r;
}

int image_blob_open(struct image_source *source, const struct image_descriptor *descriptor,
		    struct image_blob *blob, struct error *err)
{
	return image_blob_resume(source, descriptor, -EBADF, 0, blob, err);
}

bool image_blob_elsewhere(const struct image_blob *blob)
{
	return blob->reader && blob->reader->wrong && blob->reader->wrong(blob->reader);
}

static int wrong(const struct image_blob *blob, struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "blob %s: %s", digest_text(&blob->descriptor->digest).s,
			 what);
}

ssize_t image_blob_read(struct image_blob *blob, void *buf, size_t len, struct error *err)
{
	ssize_t n = blob->reader ? blob->reader->read(blob->reader, buf, len, err) : 0;

	if (n < 0)
		return error_wrap(err, "blob %s", digest_text(&blob->descriptor->digest).s);
	/* Checked while reading: a file without end must not be read for ever. */
	if ((uint64_t)n > blob->descriptor->size - blob->done)
		return wrong(blob, err, "is longer than its descriptor says");
	if (!digest_update(blob->hash, buf, (size_t)n))
		return wrong(blob, err, "libcrypto failed");
	blob->done += (uint64_t)n;
	return n;
}

int image_blob_finish(struct image_blob *blob, struct error *err)
{
	struct digest found;
	char buf[16384];
	ssize_t n;

	do {
		n = image_blob_read(blob, buf, sizeof(buf), err);
		if (n < 0)
			return (int)n;
	} while (n > 0);
	if (blob->done != blob->descriptor->size)
		return wrong(blob, err, "is shorter than its descriptor says");
	if (!digest_finish(blob->hash, &found))
		return wrong(blob, err, "libcrypto failed");
	if (!digest_equal(&found, &blob->descriptor->digest))
		return wrong(blob, err, "its content has another digest");
	return 0;
}

void image_blob_close(struct image_blob *blob)
{
	image_reader_close(blob->reader);
	digest_free(blob->hash);
	blob->reader = NULL;
	blob->hash = NULL;
}

/* Reads the whole blob to buf, which has room for its size. */
static ssize_t read_all(struct image_blob *blob, char *buf, struct error *err)
{
	size_t size = (size_t)blob->descriptor->size, len = 0;
	int r;

	while (len < size) {
		ssize_t n = image_blob_read(blob, buf + len, size - len, err);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	r = image_blob_finish(blob, err);
	return r < 0 ? r : (ssize_t)len;
}

/* *elsewhere: it was wrong, and may be right at the next attempt. */
static ssize_t try_load(struct image_source *source, const struct image_descriptor *descriptor,
			char **data, bool *elsewhere, struct error *err)
{
	_cleanup_image_blob_ struct image_blob blob = { 0 };
	ssize_t len = image_blob_open(source, descriptor, &blob, err);
	char *buf;

	*elsewhere = false;
	if (len < 0)
		return len;
	buf = malloc((size_t)descriptor->size + 1);
	if (!buf)
		return error_errno(err, ENOMEM, "read a blob");
	len = read_all(&blob, buf, err);
	if (len < 0) {
		*elsewhere = len == -EBADMSG && image_blob_elsewhere(&blob);
		free(buf);
		return len;
	}
	buf[len] = '\0';
	*data = buf;
	return len;
}

ssize_t image_blob_load(struct image_source *source, const struct image_descriptor *descriptor,
			size_t max, char **data, struct error *err)
{
	bool elsewhere;
	ssize_t len;

	if (descriptor->size > max)
		return error_set(err, EFBIG, "blob %s is larger than the limit of %zu bytes",
				 digest_text(&descriptor->digest).s, max);
	do {
		len = try_load(source, descriptor, data, &elsewhere, err);
		if (elsewhere)
			error_clear(err);
	} while (elsewhere);
	return len;
}
