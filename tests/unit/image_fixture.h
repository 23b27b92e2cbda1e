/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for tests: tar streams byte by byte, so that they can be wrong in every way, and layouts
 * of them. All of it works in a directory T, laid out so that an escape is seen:
 *
 *     T/root/      the root file system that layers are applied to
 *     T/outside/   what must never change; T/outside/file says "outside"
 */
#ifndef HULL_TESTS_UNIT_IMAGE_FIXTURE_H
#define HULL_TESTS_UNIT_IMAGE_FIXTURE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "oci/image/layer.h"

struct fixture {
	char dir[256];
	int fd;     /* of T, O_PATH */
	int rootfs; /* of T/root */
};

/* For cmocka: *state is the fixture. The teardown fails where T/outside was changed. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* ---- tar ---- */

struct tar_file {
	const char *name;
	char type; /* '0' file (default), '1' hard link, '2' symbolic link, '3' and '4' devices, '5' directory, '6' FIFO, 'x' pax, 'L' … */
	const char *link; /* of '1' and '2' */
	const char *data; /* of '0' and 'x' */
	size_t len;       /* of data; 0: strlen */
	unsigned mode;    /* 0: 0644, and 0755 of a directory */
	unsigned uid, gid;
	long mtime;
	unsigned major, minor;
	const char *size_text; /* in place of the true size field, up to 12 bytes */
};

void tar_add(struct strbuf *tar, const struct tar_file *file);
/* A pax header for the next file: "key=value" records, a newline after each but the last. */
void tar_add_pax(struct strbuf *tar, const char *key, const char *value, size_t value_len);
void tar_end(struct strbuf *tar);

#define tar_put(tar, ...) tar_add((tar), &(struct tar_file){ __VA_ARGS__ })

/* Applies a tar as one layer to T/root, which it ends before; frees the tar. */
int fixture_apply(struct fixture *f, struct strbuf *tar, struct error *err);
/* As fixture_apply(), to a target of the caller's, which is finished and freed. */
int fixture_apply_to(struct layer_target *target, struct strbuf *tar, struct error *err);
/* As fixture_apply() without the end of the tar. */
int fixture_apply_as_is(struct fixture *f, struct strbuf *tar, struct error *err);

/* ---- looking at the result, by paths relative to T ---- */

bool fixture_exists(const struct fixture *f, const char *path);
struct stat fixture_stat(const struct fixture *f, const char *path);
/* The content of a small file or the target of a link; freed by the next call. */
const char *fixture_read(const struct fixture *f, const char *path);
void fixture_write(const struct fixture *f, const char *path, const char *text);
void fixture_mkdir(const struct fixture *f, const char *path);

/* ---- layouts, in T/layout ---- */

struct blob_text {
	char digest[80];
	size_t size;
};

enum compression { PLAIN, GZIP, ZSTD, XZ };
void compress_to(struct strbuf *out, enum compression how, const void *data, size_t len);

/* Writes blobs/sha256/… and says its digest. */
struct blob_text layout_blob(const struct fixture *f, const void *data, size_t len);

/* Adds a layer whose blob is packed by the caller; the tar is what must come out of it. */
struct layout_image;
void layout_add_packed(const struct fixture *f, struct layout_image *image,
		       const struct strbuf *tar, const void *packed, size_t len);

struct layout_image {
	struct blob_text layers[8];
	char diff_ids[8][80];
	size_t count;
	const char *config;     /* the member "config", "{}" where NULL */
	const char *media_type; /* of layers, NULL: OCI's tar+gzip */
	bool docker;            /* Docker's media types */
};

/* Ends the tar, adds it as a layer, frees it. */
void layout_add_layer(const struct fixture *f, struct layout_image *image, struct strbuf *tar,
		      enum compression how);
/* Writes configuration and manifest. */
struct blob_text layout_add_image(const struct fixture *f, const struct layout_image *image);
/* Writes oci-layout and an index.json with that one manifest; tag may be NULL. */
void layout_write(const struct fixture *f, const struct layout_image *image, const char *tag);
/* Writes oci-layout and that index.json. */
void layout_write_index(const struct fixture *f, const char *index);

/* image_unpack() of T/layout, with ":TAG" where tag is not NULL, to T/bundle. */
int fixture_unpack(const struct fixture *f, const char *tag, struct error *err);

#endif
