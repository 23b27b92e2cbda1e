/* SPDX-License-Identifier: Apache-2.0 */
/* Naming a source, and what all kinds of sources share; see source.h. */
#include "oci/image/source.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "oci/image/blob.h"
#include "oci/image/registry.h"
#include "oci/json.h"

#define LAYOUT_FILE_MAX 4096 /* bytes of the file `oci-layout` */

enum kind { KIND_ANY, KIND_DIR, KIND_FILE, KIND_DOCKER };

/* An O_PATH descriptor: a device or a FIFO in the place of an image is looked at, never opened. */
static int open_path(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool exists(const char *name, size_t len)
{
	char path[PATH_MAX];

	return len && (size_t)snprintf(path, sizeof(path), "%.*s", (int)len, name) < sizeof(path) &&
	       access(path, F_OK) == 0;
}

size_t image_source_path(const char *name)
{
	size_t len = strlen(name), last = len;

	if (exists(name, len))
		return len;
	while (len--) {
		if (name[len] != ':' || !name[len + 1])
			continue;
		if (exists(name, len))
			return len;
		if (last == strlen(name) && !strchr(name + len, '/'))
			last = len;
	}
	return last;
}

/* Opens path, or path without ":TAG" where only that exists. */
static int open_named(const char *name, const char **tag)
{
	size_t len = image_source_path(name);
	char path[PATH_MAX];

	*tag = name[len] ? name + len + 1 : NULL;
	if (len >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, name, len);
	path[len] = '\0';
	return open_path(path);
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

static int open_docker(int fd, const char **tag, const struct image_source_options *options,
		       struct image_source **source, struct error *err)
{
	const char *wanted = *tag;

	*tag = NULL;
	return image_source_open_docker(fd, wanted, options, source, err);
}

static bool has_file(struct image_source *source, const char *path)
{
	_cleanup_image_reader_ struct image_reader *reader = NULL;
	struct error ignored;

	return image_source_open_file(source, path, &reader, &ignored) >= 0;
}

/* Of an OCI layout, or of `docker save`, which has become both: then it is the former. */
static int open_archive(int fd, enum kind kind, const char **tag,
			const struct image_source_options *options, struct image_source **source,
			struct error *err)
{
	_cleanup_image_source_ struct image_source *opened = NULL;
	_cleanup_close_ int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int r = image_source_open_archive(fd, &opened, err);

	if (r < 0 || !opened)
		return r;
	if (again < 0)
		return error_errno(err, errno, "open");
	r = check_layout(opened, err);
	if (r == -ENOENT && kind == KIND_ANY) {
		if (has_file(opened, "manifest.json"))
			return open_docker(take_fd(&again), tag, options, source, err);
		return error_set(err, ENOENT,
				 "it is no image archive: neither `oci-layout` nor `manifest.json` "
				 "is in it");
	}
	if (r >= 0)
		*source = take_ptr(opened);
	return r;
}

static int open_layout(int fd, struct image_source **source, struct error *err)
{
	_cleanup_image_source_ struct image_source *opened = NULL;
	int r = image_source_open_layout(fd, &opened, err);

	if (r >= 0 && opened)
		r = check_layout(opened, err);
	if (r >= 0)
		*source = take_ptr(opened);
	return r;
}

static int open_kind(int fd, enum kind kind, const char **tag,
		     const struct image_source_options *options, struct image_source **source,
		     struct error *err)
{
	_cleanup_close_ int owned = fd;
	struct stat st;

	if (fstat(owned, &st) < 0)
		return error_errno(err, errno, "stat");
	if (S_ISDIR(st.st_mode) && (kind == KIND_DIR || kind == KIND_ANY))
		return open_layout(take_fd(&owned), source, err);
	if (S_ISREG(st.st_mode) && kind == KIND_DOCKER)
		return open_docker(take_fd(&owned), tag, options, source, err);
	if (S_ISREG(st.st_mode) && kind != KIND_DIR)
		return open_archive(take_fd(&owned), kind, tag, options, source, err);
	return error_set(err, EINVAL,
			 kind == KIND_DIR   ? "is not a directory"
			 : kind == KIND_ANY ? "is neither a directory nor a regular file"
					    : "is not a regular file");
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
	enum kind kind = KIND_ANY;
	const char *path = name;
	int fd;

	*tag = NULL;
	if (take_prefix(&path, "docker://"))
		return open_registry(name, path, options, source, err);
	if (take_prefix(&path, "oci-archive:"))
		kind = KIND_FILE;
	else if (take_prefix(&path, "docker-archive:"))
		kind = KIND_DOCKER;
	else if (take_prefix(&path, "oci:"))
		kind = KIND_DIR;
	fd = open_named(path, tag);
	if (fd == -ENOENT && kind == KIND_ANY)
		return error_set(err, ENOENT,
				 "image `%s`: no such directory or file (give oci:DIR[:TAG], "
				 "oci-archive:FILE[:TAG], docker-archive:FILE[:TAG] or "
				 "docker://HOST/NAME[:TAG])",
				 name);
	if (fd < 0)
		return error_errno(err, -fd, "open image `%s`", name);
	if (open_kind(fd, kind, tag, options, source, err) < 0)
		return error_wrap(err, "image `%s`", name);
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

int image_source_open_blob(struct image_source *source, const struct image_descriptor *descriptor,
			   uint64_t offset, struct image_reader **reader, struct error *err)
{
	int r;

	if (source->ops->open_blob)
		return source->ops->open_blob(source, descriptor, offset, reader, err);
	r = image_source_open_file(source, digest_blob_path(&descriptor->digest).s, reader, err);
	return r < 0 ? r : image_reader_skip(reader, offset, err);
}

static ssize_t read_all(struct image_reader *reader, const char *path, size_t max, char **data,
			struct error *err)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, cap = 0;

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

ssize_t image_source_read(struct image_source *source, const char *path, size_t max, char **data,
			  struct error *err)
{
	_cleanup_image_reader_ struct image_reader *reader = NULL;
	int r = image_source_open_file(source, path, &reader, err);

	return r < 0 ? r : read_all(reader, path, max, data, err);
}

/* ---- readers -------------------------------------------------------------------------------- */

struct memory_reader {
	struct image_reader reader;
	size_t len, done;
	char data[];
};

static ssize_t memory_read(struct image_reader *reader, void *buf, size_t len,
			   struct error *err _unused_)
{
	struct memory_reader *m = (struct memory_reader *)reader;

	if (len > m->len - m->done)
		len = m->len - m->done;
	memcpy(buf, m->data + m->done, len);
	m->done += len;
	return (ssize_t)len;
}

static void memory_close(struct image_reader *reader)
{
	free(reader);
}

int image_reader_of_memory(const void *data, size_t len, struct image_reader **reader,
			   struct error *err)
{
	struct memory_reader *m = calloc(1, sizeof(*m) + len);

	if (!m)
		return error_errno(err, ENOMEM, "read an image");
	m->reader.read = memory_read;
	m->reader.close = memory_close;
	m->len = len;
	memcpy(m->data, data, len);
	*reader = &m->reader;
	return 0;
}

int image_reader_skip(struct image_reader **reader, uint64_t len, struct error *err)
{
	char buf[16384];

	while (len) {
		size_t part = len < sizeof(buf) ? (size_t)len : sizeof(buf);
		ssize_t n = (*reader)->read(*reader, buf, part, err);

		if (n <= 0) {
			image_reader_close(*reader);
			*reader = NULL;
			return n < 0 ? (int)n
				     : error_set(err, EBADMSG, "it has fewer bytes than before");
		}
		len -= (uint64_t)n;
	}
	return 0;
}

void image_reader_close(struct image_reader *reader)
{
	if (reader)
		reader->close(reader);
}
