/* SPDX-License-Identifier: Apache-2.0 */
/* Naming a source, and what all kinds of sources share; see source.h. */
#include "oci/image/source.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "oci/image/registry.h"
#include "oci/json.h"

#define LAYOUT_FILE_MAX 4096 /* bytes of the file `oci-layout` */

enum kind { KIND_ANY, KIND_DIR, KIND_FILE };

/* An O_PATH descriptor: a device or a FIFO in the place of an image is looked at, never opened. */
static int open_path(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Opens path, or path without ":TAG" where only that exists. */
static int open_named(const char *name, const char **tag)
{
	const char *colon = strrchr(name, ':');
	char path[PATH_MAX];
	int fd = open_path(name);

	*tag = NULL;
	if (fd != -ENOENT || !colon || strchr(colon, '/') || !colon[1])
		return fd;
	if ((size_t)(colon - name) >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, name, (size_t)(colon - name));
	path[colon - name] = '\0';
	fd = open_path(path);
	if (fd >= 0)
		*tag = colon + 1;
	return fd;
}

static int check_layout(struct image_source *source, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	_cleanup_free_ char *text = NULL;
	struct json_value *root;
	const char *version;
	ssize_t len;

	arena_init(&arena, 0);
	len = image_source_read(source, "oci-layout", LAYOUT_FILE_MAX, &text, err);
	if (len == -ENOENT)
		return error_set(err, ENOENT,
				 "no OCI image layout is there: `oci-layout` is missing");
	if (len < 0)
		return (int)len;
	if (json_parse(text, (size_t)len, &arena, &root, err) < 0)
		return error_wrap(err, "`oci-layout`");
	version = json_get_string(root, "imageLayoutVersion");
	if (!version)
		return error_set(err, EINVAL, "`oci-layout`: no imageLayoutVersion");
	if (strncmp(version, "1.", 2) != 0)
		return error_set(err, EOPNOTSUPP, "image layout version `%.32s` is not supported",
				 version);
	return 0;
}

static bool take_prefix(const char **name, const char *prefix)
{
	if (strncmp(*name, prefix, strlen(prefix)) != 0)
		return false;
	*name += strlen(prefix);
	return true;
}

static int open_kind(int fd, enum kind kind, struct image_source **source, struct error *err)
{
	_cleanup_close_ int owned = fd;
	struct stat st;

	if (fstat(owned, &st) < 0)
		return error_errno(err, errno, "stat");
	if (S_ISDIR(st.st_mode) && kind != KIND_FILE)
		return image_source_open_layout(take_fd(&owned), source, err);
	if (S_ISREG(st.st_mode) && kind != KIND_DIR)
		return image_source_open_archive(take_fd(&owned), source, err);
	return error_set(err, EINVAL,
			 kind == KIND_DIR    ? "is not a directory"
			 : kind == KIND_FILE ? "is not a regular file"
					     : "is neither a directory nor a regular file");
}

static int open_registry(const char *name, const char *reference,
			 const struct image_source_options *options, struct image_source **source,
			 struct error *err)
{
	if (image_source_open_registry(reference, options, source, err) < 0)
		return error_wrap(err, "image `%s`", name);
	return 0;
}

int image_source_open(const char *name, const struct image_source_options *options,
		      struct image_source **source, const char **tag, struct error *err)
{
	_cleanup_image_source_ struct image_source *opened = NULL;
	enum kind kind = KIND_ANY;
	const char *path = name;
	int fd;

	*tag = NULL;
	if (take_prefix(&path, "docker://"))
		return open_registry(name, path, options, source, err);
	if (take_prefix(&path, "oci-archive:"))
		kind = KIND_FILE;
	else if (take_prefix(&path, "oci:"))
		kind = KIND_DIR;
	fd = open_named(path, tag);
	if (fd == -ENOENT && kind == KIND_ANY)
		return error_set(err, ENOENT,
				 "image `%s`: no such directory or file (give oci:DIR[:TAG], "
				 "oci-archive:FILE[:TAG] or docker://HOST/NAME[:TAG])",
				 name);
	if (fd < 0)
		return error_errno(err, -fd, "open image `%s`", name);
	if (open_kind(fd, kind, &opened, err) < 0 || !opened || check_layout(opened, err) < 0)
		return error_wrap(err, "image `%s`", name);
	*source = take_ptr(opened);
	return 0;
}

void image_source_close(struct image_source *source)
{
	if (source)
		source->ops->close(source);
}

int image_source_open_file(struct image_source *source, const char *path,
			   struct image_reader **reader, struct error *err)
{
	return source->ops->open(source, path, reader, err);
}

ssize_t image_source_read(struct image_source *source, const char *path, size_t max, char **data,
			  struct error *err)
{
	_cleanup_image_reader_ struct image_reader *reader = NULL;
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, cap = 0;
	int r = image_source_open_file(source, path, &reader, err);

	if (r < 0)
		return r;
	for (;;) {
		ssize_t n;

		if (cap - len < 2) {
			char *more = realloc(buf, cap ? cap * 2 : 8192);

			if (!more)
				return error_errno(err, ENOMEM, "read `%s`", path);
			cap = cap ? cap * 2 : 8192;
			buf = more;
		}
		n = reader->read(reader, buf + len, cap - len - 1, err);
		if (n < 0)
			return error_wrap(err, "`%s`", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return error_set(err, EFBIG, "`%s` is larger than the limit of %zu bytes",
					 path, max);
	}
	buf[len] = '\0';
	*data = take_ptr(buf);
	return (ssize_t)len;
}

void image_reader_close(struct image_reader *reader)
{
	if (reader)
		reader->close(reader);
}
