/* SPDX-License-Identifier: Apache-2.0 */
/* A tar archive of an OCI layout as a source; see archive.h. */
#include <string.h>

#include "oci/image/archive.h"

struct tar_source {
	struct image_source source;
	int file; /* O_PATH */
};

static int tar_open(struct image_source *source, const char *path, struct image_reader **reader,
		    struct error *err)
{
	const struct tar_source *tar = (struct tar_source *)source;

	return image_archive_open(tar->file, path, reader, err);
}

static void tar_close(struct image_source *source)
{
	struct tar_source *tar = (struct tar_source *)source;

	close(tar->file);
	free(tar);
}

static const struct image_source_ops tar_ops = { tar_open, NULL, tar_close };

int image_source_open_archive(int file, struct image_source **source, struct error *err)
{
	struct tar_source *tar = calloc(1, sizeof(*tar));

	if (!tar) {
		close(file);
		return error_errno(err, ENOMEM, "open image");
	}
	tar->source.ops = &tar_ops;
	tar->file = file;
	*source = &tar->source;
	return 0;
}
