/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive of an OCI layout as a source, plain or compressed. Each file is found by reading the
 * archive from its start: skipping over an entry of a plain tar is one seek, so this costs little,
 * needs no room on a disk, and leaves nothing to clean up. Blobs are checked by their digests, so an
 * archive that changes under us, or that holds a name twice, is no danger.
 */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "oci/image/source.h"

#define ARCHIVE_BLOCK       65536
#define ARCHIVE_ENTRIES_MAX 100000 /* an image has a few hundred blobs; more is a bomb */

struct tar_source {
	struct image_source source;
	int file; /* O_PATH */
};

struct tar_reader {
	struct image_reader reader;
	struct archive *archive;
	int fd;
};

static ssize_t tar_reader_read(struct image_reader *reader, void *buf, size_t len,
			       struct error *err)
{
	struct tar_reader *t = (struct tar_reader *)reader;
	la_ssize_t n = archive_read_data(t->archive, buf, len);

	if (n < 0)
		return error_set(err, EIO, "read the image archive: %s",
				 archive_error_string(t->archive));
	return n;
}

static void tar_reader_close(struct image_reader *reader)
{
	struct tar_reader *t = (struct tar_reader *)reader;

	if (t->archive)
		archive_read_free(t->archive);
	close_fd(&t->fd);
	free(t);
}

/* Goes to the entry of that name. */
static int find_entry(struct archive *archive, const char *path, struct error *err)
{
	struct archive_entry *entry;

	for (unsigned long i = 0; i < ARCHIVE_ENTRIES_MAX; i++) {
		int r = archive_read_next_header(archive, &entry);
		const char *name;

		if (r == ARCHIVE_EOF)
			return error_set(err, ENOENT,
					 "open `%s` of the image archive: no such entry", path);
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return error_set(err, EINVAL, "read the image archive: %s",
					 archive_error_string(archive));
		name = archive_entry_pathname(entry);
		if (!name)
			continue;
		while (name[0] == '.' && name[1] == '/')
			name += 2;
		if (strcmp(name, path) != 0)
			continue;
		if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
			return error_set(err, EINVAL,
					 "`%s` of the image archive is not a regular file", path);
		return 0;
	}
	return error_set(err, EFBIG, "the image archive has more than %d entries",
			 ARCHIVE_ENTRIES_MAX);
}

/* Opens the archive anew and goes to the file. */
static int tar_reader_start(struct tar_reader *t, int file, const char *path, struct error *err)
{
	t->fd = open(path_of_fd(file).s, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (t->fd < 0)
		return error_errno(err, errno, "open the image archive");
	t->archive = archive_read_new();
	if (!t->archive)
		return error_errno(err, ENOMEM, "open the image archive");
	archive_read_support_filter_gzip(t->archive);
	archive_read_support_filter_zstd(t->archive);
	archive_read_support_format_tar(t->archive);
	if (archive_read_open_fd(t->archive, t->fd, ARCHIVE_BLOCK) != ARCHIVE_OK)
		return error_set(err, EINVAL, "read the image archive: %s",
				 archive_error_string(t->archive));
	return find_entry(t->archive, path, err);
}

static int tar_open(struct image_source *source, const char *path, struct image_reader **reader,
		    struct error *err)
{
	const struct tar_source *tar = (struct tar_source *)source;
	struct tar_reader *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_errno(err, ENOMEM, "open the image archive");
	t->reader.read = tar_reader_read;
	t->reader.close = tar_reader_close;
	t->fd = -EBADF;
	r = tar_reader_start(t, tar->file, path, err);
	if (r < 0) {
		tar_reader_close(&t->reader);
		return r;
	}
	*reader = &t->reader;
	return 0;
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
