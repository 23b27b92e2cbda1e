/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of an image in a tar archive, plain or compressed with gzip or zstd: what oci-archive: and docker-archive:
 * share. Each file is found by reading the archive from its start: skipping over an entry of a plain
 * tar is one seek, so this costs little, needs no room on a disk, and leaves nothing to clean up. An
 * archive that changes under us is no danger: what is read is checked by its digest.
 */
#ifndef HULL_OCI_IMAGE_ARCHIVE_H
#define HULL_OCI_IMAGE_ARCHIVE_H

#include "oci/image/source.h"

#define ARCHIVE_START 6 /* bytes of a file, by which its compression is known */

enum archive_kind { ARCHIVE_FILE, ARCHIVE_SYMLINK, ARCHIVE_HARD_LINK, ARCHIVE_OTHER };

/* An entry; it lasts as long as the call that is told of it. */
struct archive_member {
	const char *name; /* without "./" before it */
	enum archive_kind kind;
	const char *target;                 /* of a link, as it is written there */
	uint64_t size;                      /* of a file, bytes */
	unsigned char start[ARCHIVE_START]; /* of a file; zeros behind its end */
};

/*
 * Calls the function for each entry with a name, until it returns a negative errno. file: an O_PATH descriptor of a regular
 * file. -EFBIG where there are more entries than an image has.
 */
int image_archive_each(int file,
		       int (*function)(void *data, const struct archive_member *member,
				       struct error *err),
		       void *data, struct error *err);

/* Opens the first entry of that name, a regular file. -ENOENT. */
int image_archive_open(int file, const char *name, struct image_reader **reader, struct error *err);

#endif
