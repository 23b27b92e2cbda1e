/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs in the store, and the store as a source of them; see store.h and source.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "oci/image/store_internal.h"

#define COPY_BLOCK ((size_t)256 << 10)

/* ---- the source --------------------------------------------------------------------------- */

struct store_source {
	struct image_source source;
	struct image_store *store;
	struct image_source *upstream;
};

struct blob_reader {
	struct image_reader reader;
	int fd;
};

static ssize_t blob_reader_read(struct image_reader *reader, void *buf, size_t len,
				struct error *err)
{
	const struct blob_reader *b = (struct blob_reader *)reader;

	for (;;) {
		ssize_t n = read(b->fd, buf, len);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return error_errno(err, errno, "read");
	}
}

static void blob_reader_close(struct image_reader *reader)
{
	struct blob_reader *b = (struct blob_reader *)reader;

	close(b->fd);
	free(b);
}

static int open_blob(int fd, struct image_reader **reader, struct error *err)
{
	struct blob_reader *b = calloc(1, sizeof(*b));

	if (!b) {
		close(fd);
		return error_errno(err, ENOMEM, "open a blob");
	}
	b->reader.read = blob_reader_read;
	b->reader.close = blob_reader_close;
	b->fd = fd;
	*reader = &b->reader;
	return 0;
}

static int store_source_open(struct image_source *source, const char *path,
			     struct image_reader **reader, struct error *err)
{
	const struct store_source *s = (struct store_source *)source;
	int fd;

	if (!strncmp(path, "blobs/", 6)) {
		/* The path is made of a parsed digest (digest_blob_path()). */
		fd = openat(s->store->dir, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			return open_blob(fd, reader, err);
		if (errno != ENOENT || !s->upstream)
			return error_errno(err, errno, "open `%s` in the image store", path);
	}
	if (!s->upstream)
		return error_errno(err, ENOENT, "open `%s` in the image store", path);
	return image_source_open_file(s->upstream, path, reader, err);
}

/* From the store, or as whoever is behind it has it. */
static int store_source_open_blob(struct image_source *source,
				  const struct image_descriptor *descriptor,
				  struct image_reader **reader, struct error *err)
{
	const struct store_source *s = (struct store_source *)source;
	const struct digest_text path = digest_blob_path(&descriptor->digest);
	int fd = openat(s->store->dir, path.s, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		return open_blob(fd, reader, err);
	if (errno != ENOENT || !s->upstream)
		return error_errno(err, errno, "open `%s` in the image store", path.s);
	if (s->upstream->ops->open_blob)
		return s->upstream->ops->open_blob(s->upstream, descriptor, reader, err);
	return image_source_open_file(s->upstream, path.s, reader, err);
}

static void store_source_close(struct image_source *source)
{
	free(source);
}

static const struct image_source_ops store_source_ops = {
	.open = store_source_open,
	.open_blob = store_source_open_blob,
	.close = store_source_close,
};

int store_source_over(struct image_store *store, struct image_source *upstream,
		      struct image_source **source, struct error *err)
{
	struct store_source *s = calloc(1, sizeof(*s));

	if (!s)
		return error_errno(err, ENOMEM, "open the image store");
	s->source.ops = &store_source_ops;
	s->store = store;
	s->upstream = upstream;
	*source = &s->source;
	return 0;
}

int image_store_source(struct image_store *store, struct image_source **source, struct error *err)
{
	return store_source_over(store, NULL, source, err);
}

/* ---- copying ------------------------------------------------------------------------------ */

int store_has_blob(struct image_store *store, const struct image_descriptor *blob,
		   struct error *err)
{
	const struct digest_text path = digest_blob_path(&blob->digest);
	struct stat st;

	if (fstatat(store->dir, path.s, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT
			       ? 0
			       : error_errno(err, errno, "stat `%s` in the image store", path.s);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != blob->size)
		return error_set(err, EBADMSG,
				 "blob %s has %llu bytes in the image store, its descriptor says "
				 "%llu; `hull image verify` tells which is wrong",
				 digest_text(&blob->digest).s, (unsigned long long)st.st_size,
				 (unsigned long long)blob->size);
	return 1;
}

int store_copy_blob(struct image_store *store, unsigned lane, const char *what,
		    struct image_blob *blob, store_write_fn *write, void *data, struct error *err)
{
	_cleanup_free_ char *buf = malloc(COPY_BLOCK);

	if (!buf)
		return error_errno(err, ENOMEM, "copy a blob");
	for (;;) {
		ssize_t n;
		int r;

		if (store_interrupted(store))
			return error_set(err, EINTR, "interrupted");
		n = image_blob_read(blob, buf, COPY_BLOCK, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return image_blob_finish(blob, err);
		r = write(data, buf, (size_t)n, err);
		if (r < 0)
			return r;
		store_progress(store, lane, what, blob->done, blob->descriptor->size);
	}
}

/* Where a blob is written to, and which. */
struct destination {
	int fd;
	const struct digest *digest;
};

static int write_blob(void *data, const void *block, size_t len, struct error *err)
{
	const struct destination *to = data;
	int r = file_write_all(to->fd, block, len);

	return r < 0 ? error_errno(err, -r, "write blob %s", digest_text(to->digest).s) : 0;
}

/* Where the blob goes once it is whole. */
static int keep_blob(struct image_store *store, int fd, const char *temporary,
		     const struct digest *digest, struct error *err)
{
	const struct digest_text path = digest_blob_path(digest);
	_cleanup_close_ int dir = -EBADF;
	char parent[32];

	if (fsync(fd) < 0)
		return error_errno(err, errno, "sync `%s` in the image store", path.s);
	if (renameat(store->tmp, temporary, store->dir, path.s) < 0)
		return error_errno(err, errno, "rename to `%s` in the image store", path.s);
	snprintf(parent, sizeof(parent), "blobs/%s", digest->algorithm);
	dir = openat(store->dir, parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "open `%s` in the image store", parent);
	return store_sync_dir(dir, parent, err);
}

struct copy {
	struct image_store *store;
	unsigned lane;
	const char *what;
};

static int fetch_to(const struct copy *c, struct image_source *source,
		    const struct image_descriptor *descriptor, int fd, const char *temporary,
		    struct error *err)
{
	struct destination to = { .fd = fd, .digest = &descriptor->digest };
	_cleanup_image_blob_ struct image_blob blob = { 0 };
	int r;

	if (ftruncate(fd, 0) < 0)
		return error_errno(err, errno, "truncate `tmp/%s` in the image store", temporary);
	r = image_blob_open(source, descriptor, &blob, err);
	if (r >= 0)
		r = store_copy_blob(c->store, c->lane, c->what, &blob, write_blob, &to, err);
	if (r >= 0)
		r = keep_blob(c->store, fd, temporary, &descriptor->digest, err);
	return r;
}

int store_fetch_blob(struct image_store *store, struct image_source *source,
		     const struct image_descriptor *blob, unsigned lane, const char *what,
		     struct error *err)
{
	const struct copy copy = { store, lane, what };
	_cleanup_close_ int fd = -EBADF;
	char temporary[STORE_KEY_MAX];
	int r = store_has_blob(store, blob, err);

	if (r != 0)
		return r < 0 ? r : 0;
	snprintf(temporary, sizeof(temporary), "blob-%s-%s", blob->digest.algorithm,
		 blob->digest.hex);
	fd = store_claim(store, temporary, false, err);
	if (fd < 0)
		return fd;
	/* Another command may have fetched it while we waited for the lock. */
	r = store_has_blob(store, blob, err);
	if (r != 0) {
		unlinkat(store->tmp, temporary, 0);
		return r < 0 ? r : 0;
	}
	r = fetch_to(&copy, source, blob, fd, temporary, err);
	if (r < 0) {
		unlinkat(store->tmp, temporary, 0);
		return r;
	}
	return 1;
}
