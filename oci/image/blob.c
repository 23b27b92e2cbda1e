/* SPDX-License-Identifier: Apache-2.0 */
/* Reading blobs with their size and digest checked; see blob.h. */
#include "oci/image/blob.h"

#include <string.h>

static int open_reader(struct image_source *source, const struct image_descriptor *descriptor,
		       struct image_reader **reader, struct error *err)
{
	if (source->ops->open_blob)
		return source->ops->open_blob(source, descriptor, reader, err);
	return image_source_open_file(source, digest_blob_path(&descriptor->digest).s, reader, err);
}

int image_blob_open(struct image_source *source, const struct image_descriptor *descriptor,
		    struct image_blob *blob, struct error *err)
{
	int r;

	memset(blob, 0, sizeof(*blob));
	blob->descriptor = descriptor;
	r = open_reader(source, descriptor, &blob->reader, err);
	if (r < 0)
		return r;
	blob->hash = digest_begin(&descriptor->digest);
	if (!blob->hash) {
		image_blob_close(blob);
		error_set(err, ENOMEM, "hash %s: libcrypto failed",
			  digest_text(&descriptor->digest).s);
		return -ENOMEM;
	}
	return 0;
}

static int wrong(const struct image_blob *blob, struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "blob %s: %s", digest_text(&blob->descriptor->digest).s,
			 what);
}

ssize_t image_blob_read(struct image_blob *blob, void *buf, size_t len, struct error *err)
{
	ssize_t n = blob->reader->read(blob->reader, buf, len, err);

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

ssize_t image_blob_load(struct image_source *source, const struct image_descriptor *descriptor,
			size_t max, char **data, struct error *err)
{
	_cleanup_image_blob_ struct image_blob blob = { 0 };
	ssize_t len;
	char *buf;
	int r;

	if (descriptor->size > max)
		return error_set(err, EFBIG, "blob %s is larger than the limit of %zu bytes",
				 digest_text(&descriptor->digest).s, max);
	r = image_blob_open(source, descriptor, &blob, err);
	if (r < 0)
		return r;
	buf = malloc((size_t)descriptor->size + 1);
	if (!buf)
		return error_errno(err, ENOMEM, "read a blob");
	len = read_all(&blob, buf, err);
	if (len < 0) {
		free(buf);
		return len;
	}
	buf[len] = '\0';
	*data = buf;
	return len;
}
