/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an image comes from: something that holds files by path (`index.json`,
 * `blobs/sha256/…`), each read as a stream. Nothing that a source gives is trusted: see blob.h for
 * the checks.
 *
 * The kinds are an OCI layout directory, a tar archive of one, an archive of `docker save`, and a registry
 * (registry.h). The last two have one image and make an `index.json` of it.
 *
 * Source: image-spec image-layout.md.
 */
#ifndef HULL_OCI_IMAGE_SOURCE_H
#define HULL_OCI_IMAGE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct image_source;
struct image_descriptor; /* of blob.h */

/* A stream that is being read. */
struct image_reader {
	/* At most len bytes to buf. Returns how many, 0 at the end. */
	ssize_t (*read)(struct image_reader *reader, void *buf, size_t len, struct error *err);
	/*
	 * What was read is not what its digest says. True: opened once more it comes from elsewhere. NULL: there is only this
	 * one.
	 */
	bool (*wrong)(struct image_reader *reader);
	void (*close)(struct image_reader *reader);
};

struct image_source_ops {
	/* Opens a regular file of the source for reading: -ENOENT where it is absent. */
	int (*open)(struct image_source *source, const char *path, struct image_reader **reader,
		    struct error *err);
	/* Opens the blob of a descriptor from byte `offset` on; NULL: it is the file at its digest's path. */
	int (*open_blob)(struct image_source *source, const struct image_descriptor *descriptor,
			 uint64_t offset, struct image_reader **reader, struct error *err);
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
 * Opens "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]", "docker-archive:FILE[:TAG]", or DIR[:TAG] or FILE[:TAG] alone, and
 * checks the layout's version. *tag receives the tag, a part of name, or NULL (image_source_path() says where it begins). Of
 * docker-archive: it is chosen at once, and *tag is NULL: the source holds that one image. So it does with
 * "docker://" and a reference (reference.h), which asks the registry nothing yet.
 */
int image_source_open(const char *name, const struct image_source_options *options,
		      struct image_source **source, const char **tag, struct error *err);
void image_source_close(struct image_source *source);

/* How much of "PATH[:TAG]" is the path: all of it, or up to a colon; as much as exists. Where nothing does, up to the last colon. */
size_t image_source_path(const char *name);

/* The kinds, by path: an O_PATH descriptor of the directory or file, which is taken over. */
int image_source_open_layout(int dir, struct image_source **source, struct error *err);
int image_source_open_archive(int file, struct image_source **source, struct error *err);
/* tag: a name of `RepoTags`, its tag alone, "@N" for the image at that place, or NULL for the only one. */
int image_source_open_docker(int file, const char *tag, const struct image_source_options *options,
			     struct image_source **source, struct error *err);

int image_source_open_file(struct image_source *source, const char *path,
			   struct image_reader **reader, struct error *err);

/* A blob from byte `offset` on, which is not behind its end. Nothing of it is checked: see image_blob_open() for that. */
int image_source_open_blob(struct image_source *source, const struct image_descriptor *descriptor,
			   uint64_t offset, struct image_reader **reader, struct error *err);

/* Reads a whole small file of the source; a longer one than max bytes is -EFBIG. *data: the caller's, with a NUL. */
ssize_t image_source_read(struct image_source *source, const char *path, size_t max, char **data,
			  struct error *err);

/* A reader of a copy of these bytes. */
int image_reader_of_memory(const void *data, size_t len, struct image_reader **reader,
			   struct error *err);
/* Reads so many bytes and forgets them. On an error the reader is closed, and NULL. Returns 0. */
int image_reader_skip(struct image_reader **reader, uint64_t len, struct error *err);
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
