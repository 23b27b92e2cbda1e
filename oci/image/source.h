/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an image comes from: something that holds files by path (`index.json`,
 * `blobs/sha256/…`), each read as a stream. Nothing that a source gives is trusted: see blob.h for
 * the checks.
 *
 * The kinds are an OCI layout directory, a tar archive of one, and a registry (registry.h), which has
 * one image and makes an `index.json` of it.
 *
 * Source: image-spec image-layout.md.
 */
#ifndef HULL_OCI_IMAGE_SOURCE_H
#define HULL_OCI_IMAGE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct image_source;
struct image_descriptor; /* of blob.h */

/* A stream that is being read. */
struct image_reader {
	/* At most len bytes to buf. Returns how many, 0 at the end. */
	ssize_t (*read)(struct image_reader *reader, void *buf, size_t len, struct error *err);
	void (*close)(struct image_reader *reader);
};

struct image_source_ops {
	/* Opens a regular file of the source for reading: -ENOENT where it is absent. */
	int (*open)(struct image_source *source, const char *path, struct image_reader **reader,
		    struct error *err);
	/* Opens the blob of a descriptor; NULL: it is the file at its digest's path. */
	int (*open_blob)(struct image_source *source, const struct image_descriptor *descriptor,
			 struct image_reader **reader, struct error *err);
	void (*close)(struct image_source *source);
};

/* The start of what each kind of source keeps. */
struct image_source {
	const struct image_source_ops *ops;
};

/* Copied by the source; what interrupted_data points to is the caller's, for the source's life. */
struct image_source_options {
	bool plain_http; /* registries are spoken to without TLS */
	/* Asked some times a second while a registry is waited for, from any thread; may be NULL. */
	bool (*interrupted)(void *data);
	void *interrupted_data;
};

/*
 * Opens "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]", or DIR[:TAG] or FILE[:TAG] alone, and checks the layout's
 * version. *tag receives the tag, a part of name, or NULL. A colon belongs to the path where
 * the whole name exists, else what follows the last colon is the tag. Or
 * "docker://" and a reference (reference.h), which asks the registry nothing yet; *tag is NULL then, for
 * the source holds that one image.
 */
int image_source_open(const char *name, const struct image_source_options *options,
		      struct image_source **source, const char **tag, struct error *err);
void image_source_close(struct image_source *source);

/* The kinds, by path: an O_PATH descriptor of the directory or file, which is taken over. */
int image_source_open_layout(int dir, struct image_source **source, struct error *err);
int image_source_open_archive(int file, struct image_source **source, struct error *err);

int image_source_open_file(struct image_source *source, const char *path,
			   struct image_reader **reader, struct error *err);

/* Reads a whole small file of the source; a longer one than max bytes is -EFBIG. *data: the caller's, with a NUL. */
ssize_t image_source_read(struct image_source *source, const char *path, size_t max, char **data,
			  struct error *err);

void image_reader_close(struct image_reader *reader);

static inline void cleanup_image_source(struct image_source **source)
{
	image_source_close(*source);
}

static inline void cleanup_image_reader(struct image_reader **reader)
{
	image_reader_close(*reader);
}

#define _cleanup_image_source_ __attribute__((cleanup(cleanup_image_source)))
#define _cleanup_image_reader_ __attribute__((cleanup(cleanup_image_reader)))

#endif
