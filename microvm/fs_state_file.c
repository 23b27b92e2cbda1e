/* SPDX-License-Identifier: Apache-2.0 */
/* See fs_state_file.h. */
#include "microvm/fs_state_file.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct fs_state_file *fs_state_file_new(int fd, struct error *err)
{
	struct fs_state_file *f;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		error_set(err, EINVAL, "the file for the state is no regular file");
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		error_errno(err, ENOMEM, "the state");
		return NULL;
	}
	f->fd = fd;
	return f;
}

static ssize_t read_at(int fd, void *data, size_t size, off_t offset)
{
	struct iovec iov = { data, size };

	return preadv(fd, &iov, 1, offset);
}

static int write_at(int fd, const void *data, size_t size, off_t offset)
{
	while (size) {
		struct iovec iov = { (void *)(uintptr_t)data, size };
		ssize_t n = pwritev2(fd, &iov, 1, offset, 0);

		if (n < 0)
			return -errno;
		data = (const char *)data + n;
		offset += n;
		size -= (size_t)n;
	}
	return 0;
}

/*
 * Copies up to size bytes, in the kernel where it can do that between these two files. Returns how many there were, or a negative
 * errno. buffer: of FS_STATE_BUFFER bytes.
 */
static int64_t copy(int from, off_t from_at, int to, off_t to_at, uint64_t size, void *buffer)
{
	uint64_t done = 0;

	while (done < size) {
		size_t part = size - done < 1U << 30 ? (size_t)(size - done) : 1U << 30;
		ssize_t n = copy_file_range(from, &from_at, to, &to_at, part, 0);

		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	while (done < size) {
		size_t part =
			size - done < FS_STATE_BUFFER ? (size_t)(size - done) : FS_STATE_BUFFER;
		ssize_t n = read_at(from, buffer, part, from_at);
		int r = n < 0 ? -errno : write_at(to, buffer, (size_t)n, to_at);

		if (r < 0)
			return r;
		if (n == 0)
			break;
		from_at += n;
		to_at += n;
		done += (uint64_t)n;
	}
	return (int64_t)done;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void flush(struct fs_state_file *f)
{
	int r = f->err.code ? 0 : write_at(f->fd, f->buffer, f->used, f->at);

	if (r < 0)
		error_errno(&f->err, -r, "write the state");
	f->at += (off_t)f->used;
	f->used = 0;
}

void fs_state_put(struct fs_state_file *f, const void *data, size_t size)
{
	while (size) {
		size_t part = sizeof(f->buffer) - f->used;

		if (part > size)
			part = size;
		memcpy(f->buffer + f->used, data, part);
		f->used += part;
		data = (const char *)data + part;
		size -= part;
		if (f->used == sizeof(f->buffer))
			flush(f);
	}
}

void fs_state_put_file(struct fs_state_file *f, int from, off_t offset, uint64_t size)
{
	int64_t n;

	flush(f);
	if (f->err.code)
		return;
	n = copy(from, offset, f->fd, f->at, size, f->buffer);
	if (n < 0)
		error_errno(&f->err, (int)-n, "copy a file without a name to the state");
	f->at += (off_t)size;
	/* It got shorter meanwhile: a hole stands for the rest. */
	if (n >= 0 && (uint64_t)n < size && ftruncate(f->fd, f->at) < 0)
		error_errno(&f->err, errno, "write the state");
}

int fs_state_finish(struct fs_state_file *f, struct error *err)
{
	flush(f);
	if (f->err.code && err)
		*err = f->err;
	return f->err.code ? error_negative(f->err.code) : 0;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static int cut_off(struct fs_state_file *f)
{
	return error_set(&f->err, EBADMSG, "the state of the file server is cut off");
}

static int refill(struct fs_state_file *f)
{
	ssize_t n;

	f->at += (off_t)f->used;
	f->used = f->next = 0;
	n = read_at(f->fd, f->buffer, sizeof(f->buffer), f->at);
	if (n < 0)
		return error_errno(&f->err, errno, "read the state");
	if (n == 0)
		return cut_off(f);
	f->used = (size_t)n;
	return 0;
}

int fs_state_get(struct fs_state_file *f, void *data, size_t size)
{
	int r = f->err.code ? error_negative(f->err.code) : 0;

	while (r == 0 && size) {
		size_t part = f->used - f->next;

		if (part > size)
			part = size;
		memcpy(data, f->buffer + f->next, part);
		f->next += part;
		data = (char *)data + part;
		size -= part;
		if (size)
			r = refill(f);
	}
	return r;
}

int fs_state_get_file(struct fs_state_file *f, int to, off_t offset, uint64_t size)
{
	int64_t n;

	if (f->err.code)
		return error_negative(f->err.code);
	f->at += (off_t)f->next;
	f->used = f->next = 0;
	n = copy(f->fd, f->at, to, offset, size, f->buffer);
	if (n < 0)
		return error_errno(&f->err, (int)-n, "make a file without a name again");
	f->at += n;
	return (uint64_t)n < size ? cut_off(f) : 0;
}
