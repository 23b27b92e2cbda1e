/* SPDX-License-Identifier: Apache-2.0 */
/* Reading image archives by way of libarchive; see archive.h. */
#include "oci/image/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>

#include "base/path.h"

#define ARCHIVE_BLOCK       65536
#define ARCHIVE_ENTRIES_MAX 100000 /* an image has a few hundred blobs; more is a bomb */

struct tar_reader {
	struct image_reader reader;
	struct archive *archive;
	int fd;
};

static int archive_failed(struct archive *archive, int code, struct error *err)
{
	const char *why = archive_error_string(archive);

	return error_set(err, code, "read the image archive: %s", why ? why : "libarchive failed");
}

static ssize_t tar_reader_read(struct image_reader *reader, void *buf, size_t len,
			       struct error *err)
{
	struct tar_reader *t = (struct tar_reader *)reader;
	la_ssize_t n = archive_read_data(t->archive, buf, len);

	return n < 0 ? archive_failed(t->archive, EIO, err) : n;
}

static void tar_reader_close(struct image_reader *reader)
{
	struct tar_reader *t = (struct tar_reader *)reader;

	if (!t)
		return;
	if (t->archive)
		archive_read_free(t->archive);
	close_fd(&t->fd);
	free(t);
}

/* Opens the archive anew, before its first entry. */
static int tar_start(struct tar_reader *t, int file, struct error *err)
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
		return archive_failed(t->archive, EINVAL, err);
	return 0;
}

static int tar_new(int file, struct tar_reader **reader, struct error *err)
{
	struct tar_reader *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_errno(err, ENOMEM, "open the image archive");
	t->reader.read = tar_reader_read;
	t->reader.close = tar_reader_close;
	t->fd = -EBADF;
	r = tar_start(t, file, err);
	if (r < 0)
		tar_reader_close(&t->reader);
	else
		*reader = t;
	return r;
}

/* The next entry with a name, *name without "./". 1, or 0 at the end. */
static int next_entry(struct tar_reader *t, unsigned long *count, struct archive_entry **entry,
		      const char **name, struct error *err)
{
	for (;;) {
		int r = archive_read_next_header(t->archive, entry);

		if (r == ARCHIVE_EOF)
			return 0;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return archive_failed(t->archive, EINVAL, err);
		if (++*count > ARCHIVE_ENTRIES_MAX)
			return error_set(err, EFBIG, "the image archive has more than %d entries",
					 ARCHIVE_ENTRIES_MAX);
		*name = archive_entry_pathname(*entry);
		if (!*name)
			continue;
		while ((*name)[0] == '.' && (*name)[1] == '/')
			*name += 2;
		return 1;
	}
}

static enum archive_kind kind_of(struct archive_entry *entry)
{
	if (archive_entry_hardlink(entry))
		return ARCHIVE_HARD_LINK;
	if (archive_entry_filetype(entry) == AE_IFREG)
		return ARCHIVE_FILE;
	return archive_entry_filetype(entry) == AE_IFLNK && archive_entry_symlink(entry)
		       ? ARCHIVE_SYMLINK
		       : ARCHIVE_OTHER;
}

/* ---- one file ------------------------------------------------------------------------------- */

static int find_entry(struct tar_reader *t, const char *wanted, struct error *err)
{
	struct archive_entry *entry;
	unsigned long count = 0;
	const char *name;
	int r;

	while ((r = next_entry(t, &count, &entry, &name, err)) > 0) {
		if (strcmp(name, wanted) != 0)
			continue;
		return kind_of(entry) == ARCHIVE_FILE
			       ? 0
			       : error_set(err, EINVAL,
					   "`%s` of the image archive is not a regular file",
					   wanted);
	}
	return r < 0 ? r
		     : error_set(err, ENOENT, "open `%s` of the image archive: no such entry",
				 wanted);
}

int image_archive_open(int file, const char *name, struct image_reader **reader, struct error *err)
{
	struct tar_reader *t = NULL;
	int r = tar_new(file, &t, err);

	if (r >= 0)
		r = find_entry(t, name, err);
	if (r < 0)
		tar_reader_close((struct image_reader *)t);
	else
		*reader = &t->reader;
	return r;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static int tell_of(struct tar_reader *t, struct archive_entry *entry, const char *name,
		   int (*function)(void *data, const struct archive_member *member,
				   struct error *err),
		   void *data, struct error *err)
{
	struct archive_member member = { .name = name, .kind = kind_of(entry) };

	if (member.kind == ARCHIVE_SYMLINK)
		member.target = archive_entry_symlink(entry);
	else if (member.kind == ARCHIVE_HARD_LINK)
		member.target = archive_entry_hardlink(entry);
	if (member.kind == ARCHIVE_FILE) {
		int64_t size = archive_entry_size(entry);

		if (size < 0)
			return error_set(err, EINVAL, "`%s` of the image archive has no size",
					 name);
		member.size = (uint64_t)size;
		if (archive_read_data(t->archive, member.start, sizeof(member.start)) < 0)
			return archive_failed(t->archive, EIO, err);
	}
	return function(data, &member, err);
}

int image_archive_each(int file,
		       int (*function)(void *data, const struct archive_member *member,
				       struct error *err),
		       void *data, struct error *err)
{
	struct archive_entry *entry;
	struct tar_reader *t = NULL;
	unsigned long count = 0;
	const char *name;
	int r = tar_new(file, &t, err);

	if (r < 0)
		return r;
	while ((r = next_entry(t, &count, &entry, &name, err)) > 0) {
		r = tell_of(t, entry, name, function, data, err);
		if (r < 0)
			break;
	}
	tar_reader_close(&t->reader);
	return r;
}
