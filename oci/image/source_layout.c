/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OCI layout directory as a source. Its content is hostile: paths are resolved inside it, so that
 * a symbolic link `blobs -> /etc` finds nothing of the host's, and only regular files are opened, so
 * that a FIFO cannot hang us and a device node cannot be set off.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/path.h"
#include "oci/image/source.h"

struct layout {
	struct image_source source;
	int dir; /* O_PATH */
};

struct file_reader {
	struct image_reader reader;
	int fd;
};

static ssize_t file_reader_read(struct image_reader *reader, void *buf, size_t len,
				struct error *err)
{
	struct file_reader *f = (struct file_reader *)reader;

	for (;;) {
		ssize_t n = read(f->fd, buf, len);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return error_errno(err, errno, "read");
	}
}

static void file_reader_close(struct image_reader *reader)
{
	struct file_reader *f = (struct file_reader *)reader;

	close(f->fd);
	free(f);
}

static int layout_open(struct image_source *source, const char *path, struct image_reader **reader,
		       struct error *err)
{
	struct layout *layout = (struct layout *)source;
	_cleanup_close_ int found = path_try_open_in_root(layout->dir, path, O_PATH);
	struct file_reader *f;
	struct stat st;

	if (found < 0)
		return error_errno(err, -found, "open `%s` of the image", path);
	if (fstat(found, &st) < 0)
		return error_errno(err, errno, "stat `%s` of the image", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "`%s` of the image is not a regular file", path);
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_errno(err, ENOMEM, "open `%s` of the image", path);
	f->reader.read = file_reader_read;
	f->reader.close = file_reader_close;
	/* The magic link leads to the very file that was just checked. */
	f->fd = open(path_of_fd(found).s, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0) {
		int code = errno;

		free(f);
		return error_errno(err, code, "open `%s` of the image", path);
	}
	*reader = &f->reader;
	return 0;
}

static void layout_close(struct image_source *source)
{
	struct layout *layout = (struct layout *)source;

	close(layout->dir);
	free(layout);
}

static const struct image_source_ops layout_ops = { layout_open, NULL, layout_close };

int image_source_open_layout(int dir, struct image_source **source, struct error *err)
{
	struct layout *layout = calloc(1, sizeof(*layout));

	if (!layout) {
		close(dir);
		return error_errno(err, ENOMEM, "open image");
	}
	layout->source.ops = &layout_ops;
	layout->dir = dir;
	*source = &layout->source;
	return 0;
}
