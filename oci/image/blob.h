/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs: files of a source whose digest and size are known beforehand from a descriptor. What is
 * read is hashed on its way; it must not be relied on before image_blob_finish() or image_blob_load() has said
 * that it was the right blob.
 *
 * Source: image-spec descriptor.md.
 */
#ifndef HULL_OCI_IMAGE_BLOB_H
#define HULL_OCI_IMAGE_BLOB_H

#include <stdint.h>

#include "oci/image/digest.h"
#include "oci/image/source.h"

struct image_descriptor {
	const char *media_type; /* lives in the arena of the parsed manifest */
	struct digest digest;
	uint64_t size; /* bytes */
};

struct image_blob {
	struct image_reader *reader; /* NULL: nothing is missing */
	struct digest_stream *hash;
	const struct image_descriptor *descriptor;
	uint64_t done; /* bytes read, or known before */
};

int image_blob_open(struct image_source *source, const struct image_descriptor *descriptor,
		    struct image_blob *blob, struct error *err);

/*
 * As image_blob_open(), of a blob whose first len bytes are in a file: those are hashed, and only what is missing is read from the
 * source. Where the two do not belong together, image_blob_finish() says so.
 */
int image_blob_resume(struct image_source *source, const struct image_descriptor *descriptor,
		      int file, uint64_t len, struct image_blob *blob, struct error *err);

/* At most len bytes; 0 at the end. A blob longer than its descriptor says is -EBADMSG. */
ssize_t image_blob_read(struct image_blob *blob, void *buf, size_t len, struct error *err);

/* Reads what is left and checks size and digest: -EBADMSG where they differ. */
int image_blob_finish(struct image_blob *blob, struct error *err);

/* After -EBADMSG: whether opened once more the blob comes from elsewhere. */
bool image_blob_elsewhere(const struct image_blob *blob);

void image_blob_close(struct image_blob *blob);

/*
 * Reads and checks a whole blob of at most max bytes. *data is the caller's to free() and has a NUL
 * after its end. Returns the length. A wrong blob is looked for wherever else it may be.
 */
ssize_t image_blob_load(struct image_source *source, const struct image_descriptor *descriptor,
			size_t max, char **data, struct error *err);

#define _cleanup_image_blob_ __attribute__((cleanup(image_blob_close)))

#endif
