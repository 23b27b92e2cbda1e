/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LAYER_COMPARE: a layer's stream once more, beside what was unpacked of it. Only the content of regular files is looked at. An entry
 * may come twice, and the last counts: so a file that differs is kept in mind, until the end or another entry of its name.
 */
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "oci/image/layer_internal.h"

#define NAMES_MAX  4096 /* of files that differ: more are a damaged layer in any case */
#define COMPARE_AT 65536

/* 1 where the file has these bytes there; beyond its end it has none. */
static int has_bytes(int fd, const char *block, size_t len, int64_t offset, struct error *err)
{
	char buf[COMPARE_AT];

	while (len) {
		size_t want = len < sizeof(buf) ? len : sizeof(buf);
		ssize_t n = pread(fd, buf, want, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read");
		if (n == 0 || memcmp(buf, block, (size_t)n) != 0)
			return 0;
		block += n;
		len -= (size_t)n;
		offset += n;
	}
	return 1;
}

/* Between two pieces of a sparse entry there is nothing but zeros. */
static int has_zeros(int fd, int64_t from, int64_t to, struct error *err)
{
	static const char zeros[COMPARE_AT];
	int r = 1;

	while (from < to && r > 0) {
		size_t len = to - from < COMPARE_AT ? (size_t)(to - from) : COMPARE_AT;

		r = has_bytes(fd, zeros, len, from, err);
		from += (int64_t)len;
	}
	return r;
}

/* 1 where the content is the entry's. */
static int has_content(struct layer *layer, int fd, int64_t size, struct error *err)
{
	int64_t offset, end = 0;
	const void *piece;
	int same = 1, r;
	size_t len;

	while ((r = layer_next_piece(layer, size, &piece, &len, &offset, err)) > 0) {
		if (same > 0)
			same = has_zeros(fd, end, offset, err);
		if (same > 0)
			same = has_bytes(fd, piece, len, offset, err);
		end = offset + (int64_t)len;
	}
	if (r < 0)
		return r;
	return same > 0 ? has_zeros(fd, end, size, err) : same;
}

static void forget(struct layer *layer, const char *name)
{
	struct strbuf *names = &layer->differing;

	for (size_t i = 0; i < names->len;) {
		size_t size = strlen(names->data + i) + 1;

		if (strcmp(names->data + i, name) != 0) {
			i += size;
			continue;
		}
		memmove(names->data + i, names->data + i + size, names->len - i - size);
		names->len -= size;
	}
}

int layer_compare_entry(struct layer *layer, struct archive_entry *entry, const char *name,
			struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	forget(layer, name);
	if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG)
		return 0;
	/* What is not there as a file, or not by this name, is for the digest of the tree's metadata to tell. */
	fd = path_try_open_in_root(layer->target->rootfs, name,
				   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	r = has_content(layer, fd, archive_entry_size(entry), err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (layer->differing.len > (size_t)NAMES_MAX * 64)
		return 0;
	strbuf_add(&layer->differing, name, strlen(name) + 1);
	return strbuf_failed(&layer->differing) ? error_errno(err, ENOMEM, "compare") : 0;
}

int layer_compare_finish(const struct layer *layer, struct error *err)
{
	size_t count = 0;

	for (size_t i = 0; i < layer->differing.len; i += strlen(layer->differing.data + i) + 1)
		count++;
	if (!count)
		return 0;
	if (count == 1)
		return error_set(err, EBADMSG, "`%.256s` has another content",
				 layer->differing.data);
	return error_set(err, EBADMSG, "`%.256s` and %zu more files have another content",
			 layer->differing.data, count - 1);
}
