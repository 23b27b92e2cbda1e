/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index of a tar archive's entries, for who looks for many files and follows links between them. No link is ever followed
 * by a kernel: its target is a name in the archive.
 */
#ifndef HULL_OCI_IMAGE_ARCHIVE_INDEX_H
#define HULL_OCI_IMAGE_ARCHIVE_INDEX_H

#include "oci/image/archive.h"

struct archive_index;

/* Reads the whole archive once. options: only who interrupts; must live as long as the index. */
int archive_index_make(int file, const struct image_source_options *options,
		       struct archive_index **index, struct error *err);
void archive_index_free(struct archive_index *index);

/*
 * The regular file of that name, or behind a link of that name: one link, and not out of the archive. -ENOENT; -EINVAL
 * where it is something else, or there are two of that name. It lasts as long as the index.
 */
int archive_index_find(const struct archive_index *index, const char *name,
		       const struct archive_member **found, struct error *err);

#endif
