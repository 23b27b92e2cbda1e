/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs in the store, and the store as a source of them; see store.h and source.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
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
	struct image_store *store; /* to drop the blob where it is damaged */
	struct digest digest;
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

/* Where the store's was damaged, it is dropped, and the next attempt gets it from upstream. */
static bool blob_reader_wrong(struct image_reader *reader)
{
	const struct blob_reader *b = (struct blob_reader *)reader;
	struct error ignored;

	return store_drop_damaged(b->store, &b->digest, &ignored) > 0;
}

static void blob_reader_close(struct image_reader *reader)
{
	struct blob_reader *b = (struct blob_reader *)reader;

	close(b->fd);
	free(b);
}

/* Takes fd over. */
static int open_blob(int fd, struct blob_reader **reader, struct error *err)
{
	struct blob_reader *b = calloc(1, sizeof(*b));

	if (!b) {
		close(fd);
		return error_errno(err, ENOMEM, "open a blob");
	}
	b->reader.read = blob_reader_read;
	b->reader.close = blob_reader_close;
	b->fd = fd;
	*reader = b;
	return 0;
}

static int store_source_open(struct image_source *source, const char *path,
			     struct image_reader **reader, struct error *err)
{
	const struct store_source *s = (struct store_source *)source;

	if (!s->upstream)
		return error_errno(err, ENOENT, "open `%s` in the image store", path);
	return image_source_open_file(s->upstream, path, reader, err);
}

/* From the store, or as whoever is behind it has it. */
static int store_source_open_blob(struct image_source *source,
				  const struct image_descriptor *descriptor, uint64_t offset,
				  struct image_reader **reader, struct error *err)
{
	const struct store_source *s = (struct store_source *)source;
	const struct digest_text path = digest_blob_path(&descriptor->digest);
	/* The path is made of a parsed digest. */
	int fd = openat(s->store->dir, path.s, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r;
	struct blob_reader *b;

	if (fd < 0 && errno == ENOENT && s->upstream)
		return image_source_open_blob(s->upstream, descriptor, offset, reader, err);
	if (fd < 0)
		return error_errno(err, errno, "open `%s` in the image store", path.s);
	r = open_blob(fd, &b, err);
	if (r < 0)
		return r;
	*reader = &b->reader;
	if (s->upstream) {
		b->reader.wrong = blob_reader_wrong;
		b->store = s->store;
		b->digest = descriptor->digest;
	}
	return image_reader_skip(reader, offset, err);
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

/* The name in tmp: who has its lock writes the blob. */
static void partial_name(const struct digest *digest, char *name)
{
	snprintf(name, STORE_KEY_MAX, STORE_PARTIAL "%s-%s", digest->algorithm, digest->hex);
}

/* 1 where the file in the store is not what its digest says. */
static int is_damaged(struct image_store *store, const struct digest *digest, struct error *err)
{
	const struct digest_text path = digest_blob_path(digest);
	_cleanup_close_ int fd =
		openat(store->dir, path.s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct image_descriptor descriptor = { .digest = *digest };
	_cleanup_image_blob_ struct image_blob blob = { 0 };
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open `%s` in the image store", path.s);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "`%s` in the image store is no blob", path.s);
	descriptor.size = (uint64_t)st.st_size;
	if (!st.st_size)
		return 1;
	/* All of it is known: nothing is asked of a source. */
	r = image_blob_resume(NULL, &descriptor, fd, descriptor.size, &blob, err);
	if (r >= 0)
		r = image_blob_finish(&blob, err);
	if (r == -EBADMSG || r == -EIO) {
		error_clear(err);
		return 1;
	}
	return r;
}

int store_drop_damaged(struct image_store *store, const struct digest *digest, struct error *err)
{
	const struct digest_text path = digest_blob_path(digest);
	_cleanup_close_ int claim = -EBADF;
	char temporary[STORE_KEY_MAX];
	int r;

	/* With the lock of whoever writes it, or a good one that has come meanwhile could go. */
	partial_name(digest, temporary);
	claim = store_claim(store, temporary, false, err);
	if (claim < 0)
		return claim;
	r = is_damaged(store, digest, err);
	if (r > 0 && unlinkat(store->dir, path.s, 0) < 0 && errno != ENOENT)
		r = error_errno(err, errno, "remove `%s` in the image store", path.s);
	if (r > 0)
		log_warning("blob %s in the image store was damaged, and is fetched anew",
			    digest_text(digest).s);
	if (lseek(claim, 0, SEEK_END) == 0)
		unlinkat(store->tmp, temporary, 0);
	return r;
}

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
	struct image_source *source;
	const struct image_descriptor *descriptor;
	int fd; /* of tmp/TEMPORARY, with the lock */
	const char *temporary;
};

/* One attempt, after `known` bytes that are in the file. *elsewhere: it was wrong, and may be right at the next. */
static int try_fetch(const struct copy *c, uint64_t known, bool *elsewhere, struct error *err)
{
	struct destination to = { .fd = c->fd, .digest = &c->descriptor->digest };
	_cleanup_image_blob_ struct image_blob blob = { 0 };
	int r;

	*elsewhere = false;
	if (ftruncate(c->fd, (off_t)known) < 0 || lseek(c->fd, (off_t)known, SEEK_SET) < 0)
		return error_errno(err, errno, "truncate `tmp/%s` in the image store",
				   c->temporary);
	r = image_blob_resume(c->source, c->descriptor, c->fd, known, &blob, err);
	if (r >= 0)
		r = store_copy_blob(c->store, c->lane, c->what, &blob, write_blob, &to, err);
	/* First the bytes that are known are doubted, which nobody has checked, or the server has trouble with ranges. */
	if (known && (r == -EBADMSG || r == -EPROTO))
		*elsewhere = true;
	else if (r == -EBADMSG)
		*elsewhere = image_blob_elsewhere(&blob);
	return r;
}

/* How much of it a pull that came to no end has left. */
static uint64_t known_bytes(const struct copy *c)
{
	struct stat st;

	if (fstat(c->fd, &st) < 0 || (uint64_t)st.st_size > c->descriptor->size)
		return 0;
	if (st.st_size)
		log_debug("blob %s: %llu bytes of it are there",
			  digest_text(&c->descriptor->digest).s, (unsigned long long)st.st_size);
	return (uint64_t)st.st_size;
}

static int fetch(const struct copy *c, struct error *err)
{
	uint64_t known = known_bytes(c);
	bool elsewhere;
	int r;

	do {
		r = try_fetch(c, known, &elsewhere, err);
		if (elsewhere)
			error_clear(err);
		known = 0;
	} while (elsewhere);
	return r < 0 ? r : keep_blob(c->store, c->fd, c->temporary, &c->descriptor->digest, err);
}

/* 1 where the blob is there with the right size, 0 where it is to be fetched: one that is damaged goes. */
static int has_or_drop(struct image_store *store, const struct image_descriptor *blob,
		       struct error *err)
{
	struct error found = { 0 };
	int r = store_has_blob(store, blob, &found);

	if (r == -EBADMSG)
		r = store_drop_damaged(store, &blob->digest, err);
	else if (r < 0 && err)
		*err = found;
	/* Where it was right, the descriptor is wrong, and this says so. */
	return r < 0 ? r : store_has_blob(store, blob, err);
}

/* What a later pull could go on with. */
static bool is_worth_keeping(const struct copy *c, int r)
{
	struct stat st;

	return (r == -EINTR || r == -EAGAIN || r == -ECONNREFUSED || r == -EHOSTUNREACH ||
		r == -EACCES) &&
	       fstat(c->fd, &st) == 0 && st.st_size;
}

int store_fetch_blob(struct image_store *store, struct image_source *source,
		     const struct image_descriptor *blob, unsigned lane, const char *what,
		     struct error *err)
{
	struct copy copy = { store, lane, what, source, blob, -EBADF, NULL };
	_cleanup_close_ int fd = -EBADF;
	char temporary[STORE_KEY_MAX];
	int r = has_or_drop(store, blob, err);

	if (r != 0)
		return r < 0 ? r : 0;
	partial_name(&blob->digest, temporary);
	fd = store_claim(store, temporary, false, err);
	if (fd < 0)
		return fd;
	copy.fd = fd;
	copy.temporary = temporary;
	/* Another command may have fetched it while we waited for the lock. */
	r = store_has_blob(store, blob, err);
	if (r == 0) {
		r = fetch(&copy, err);
		if (r >= 0)
			return 1;
	}
	if (!is_worth_keeping(&copy, r))
		unlinkat(store->tmp, temporary, 0);
	return r < 0 ? r : 0;
}
