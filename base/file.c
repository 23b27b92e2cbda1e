/* SPDX-License-Identifier: Apache-2.0 */
/* Whole-file reads and writes; see file.h. */
#include "base/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

ssize_t file_read_fd(int fd, size_t max, char **data, struct error *err)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, cap;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "stat an open file");
	if (S_ISDIR(st.st_mode))
		return error_set(err, EISDIR, "is a directory, not a file");
	/* The size is a hint only: procfs says 0, and a file may grow while it is read. */
	cap = st.st_size > 0 && (uintmax_t)st.st_size <= max ? (size_t)st.st_size + 2 : 4096;
	buf = malloc(cap);
	if (!buf)
		return error_errno(err, ENOMEM, "read a file");
	for (;;) {
		ssize_t n = read(fd, buf + len, cap - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read");
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return error_set(err, EFBIG, "is larger than the limit of %zu bytes", max);
		if (cap - 1 - len == 0) {
			char *more = realloc(buf, cap * 2);

			if (!more)
				return error_errno(err, ENOMEM, "read a file");
			buf = more;
			cap *= 2;
		}
	}
	buf[len] = '\0';
	*data = take_ptr(buf);
	return (ssize_t)len;
}

ssize_t file_read(int dirfd, const char *path, size_t max, char **data, struct error *err)
{
	/* O_NONBLOCK: a FIFO in the place of a file must not hang us. */
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return error_errno(err, errno, "open `%s`", path);
	n = file_read_fd(fd, max, data, err);
	if (n < 0)
		error_wrap(err, "`%s`", path);
	return n;
}

ssize_t file_read_small(int dirfd, const char *path, char *buf, size_t size, struct error *err)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0;

	if (fd < 0)
		return error_errno(err, errno, "open `%s`", path);
	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read `%s`", path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len >= size)
		return error_set(err, EFBIG, "read `%s`: longer than %zu bytes", path, size - 1);
	while (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return (ssize_t)len;
}

int file_write_at(int fd, const void *data, size_t len, off_t offset)
{
	const char *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_write_existing(int dirfd, const char *path, const char *text, struct error *err)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return error_errno(err, errno, "open `%s` for writing", path);
	do {
		n = write(fd, text, strlen(text));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_errno(err, errno, "write `%.64s` to `%s`", text, path);
	return 0;
}

int file_replace(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
		 struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	char temporary[NAME_MAX + 8];
	int r;

	if ((size_t)snprintf(temporary, sizeof(temporary), ".%s.new", name) >= sizeof(temporary))
		return error_errno(err, ENAMETOOLONG, "write `%s`", name);
	fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return error_errno(err, errno, "create `%s`", temporary);
	r = file_write_all(fd, data, len);
	if (r < 0) {
		unlinkat(dirfd, temporary, 0);
		return error_errno(err, -r, "write `%s`", temporary);
	}
	if (renameat(dirfd, temporary, dirfd, name) < 0) {
		r = errno;
		unlinkat(dirfd, temporary, 0);
		return error_errno(err, r, "rename `%s` to `%s`", temporary, name);
	}
	return 0;
}
