/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A digest of a tree's metadata: each entry's name, kind, mode, owner, size, time, links and attributes. Entries are hashed
 * each for itself, with the hash of their directory in front, and the hashes are added up: so the order in which a
 * directory lists them does not matter, and memory does not grow with their number. It finds what broke, not what someone with
 * the right to write to the store forged.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "oci/image/layer.h"
#include "oci/image/store_internal.h"

#define ATTRIBUTES_MAX 65536 /* bytes of all names, and of one value: the kernel's own limits */
#define LANES          4     /* of 64 bits: sha256 */

struct walk {
	struct image_store *store;
	struct store_record *record;
	uint64_t sum[LANES];
	char names[ATTRIBUTES_MAX], value[ATTRIBUTES_MAX];
};

static const struct digest sha256 = { .algorithm = "sha256" };

static int hash_failed(struct error *err)
{
	return error_set(err, ENOMEM, "hash a layer: libcrypto failed");
}

static void add_up(uint64_t sum[LANES], const struct digest *digest)
{
	for (size_t i = 0; i < LANES; i++) {
		char part[17];

		memcpy(part, digest->hex + 16 * i, 16);
		part[16] = '\0';
		sum[i] += strtoull(part, NULL, 16);
	}
}

/* Of security.* only what belongs to the image: labels are the host's, and may change. */
static bool is_attribute_of_image(const char *name)
{
	return strncmp(name, "security.", 9) != 0 || !strcmp(name, "security.capability");
}

static int hash_attribute(struct walk *w, const char *path, const char *name, uint64_t *sum,
			  struct error *err)
{
	ssize_t len = lgetxattr(path, name, w->value, sizeof(w->value));
	struct digest_stream *hash;
	struct digest digest;
	bool good;

	if (len < 0)
		return error_errno(err, errno, "read attribute `%s`", name);
	hash = digest_begin(&sha256);
	good = hash && digest_update(hash, name, strlen(name) + 1) &&
	       digest_update(hash, w->value, (size_t)len) && digest_finish(hash, &digest);
	digest_free(hash);
	if (!good)
		return hash_failed(err);
	add_up(sum, &digest);
	return 0;
}

/* The sum of the attributes' hashes, for they are listed in any order. */
static int hash_attributes(struct walk *w, int dir, const char *name, uint64_t sum[LANES],
			   struct error *err)
{
	char path[NAME_MAX + 64];
	ssize_t len;

	memset(sum, 0, LANES * sizeof(*sum));
	snprintf(path, sizeof(path), "%s/%s", path_of_fd(dir).s, name);
	len = llistxattr(path, w->names, sizeof(w->names));
	if (len < 0)
		return errno == ENOTSUP ? 0 : error_errno(err, errno, "list attributes");
	for (const char *p = w->names; p < w->names + len; p += strlen(p) + 1) {
		int r = is_attribute_of_image(p) ? hash_attribute(w, path, p, sum, err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Sizes and link counts of directories are the file system's own. */
static int hash_entry(struct walk *w, int dir, const char *name, const char *parent,
		      const struct stat *st, struct digest *digest, struct error *err)
{
	bool is_dir = S_ISDIR(st->st_mode),
	     is_device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
	char target[PATH_MAX] = "", fields[256];
	struct digest_stream *hash;
	uint64_t attributes[LANES];
	ssize_t len = 0;
	bool good;
	int r = hash_attributes(w, dir, name, attributes, err);

	if (r < 0)
		return r;
	if (S_ISLNK(st->st_mode))
		len = readlinkat(dir, name, target, sizeof(target));
	if (len < 0)
		return error_errno(err, errno, "read the link");
	snprintf(fields, sizeof(fields), "%o %u %u %lld %lld.%09ld %lu %u:%u", st->st_mode,
		 st->st_uid, st->st_gid, is_dir ? 0 : (long long)st->st_size,
		 (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		 is_dir ? 0 : (unsigned long)st->st_nlink, is_device ? major(st->st_rdev) : 0,
		 is_device ? minor(st->st_rdev) : 0);
	hash = digest_begin(&sha256);
	good = hash && digest_update(hash, parent, strlen(parent) + 1) &&
	       digest_update(hash, name, strlen(name) + 1) &&
	       digest_update(hash, fields, strlen(fields) + 1) &&
	       digest_update(hash, attributes, sizeof(attributes)) &&
	       digest_update(hash, target, (size_t)len) && digest_finish(hash, digest);
	digest_free(hash);
	return good ? 0 : hash_failed(err);
}

static int walk_dir(struct walk *w, int fd, const char *id, unsigned depth, struct error *err);

static int walk_entry(struct walk *w, int dir, const char *name, const char *parent, unsigned depth,
		      struct error *err)
{
	struct digest digest;
	struct stat st;
	int r, fd;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "stat `%s`", name);
	r = hash_entry(w, dir, name, parent, &st, &digest, err);
	if (r < 0)
		return error_wrap(err, "`%s`", name);
	add_up(w->sum, &digest);
	w->record->entries++;
	/* A file of several names takes its space once. */
	if (S_ISREG(st.st_mode))
		w->record->bytes += (uint64_t)st.st_size / (uint64_t)st.st_nlink;
	if (!S_ISDIR(st.st_mode))
		return 0;
	if (depth == LAYER_DEPTH_MAX)
		return error_set(err, ELOOP, "`%s` is more than %d directories deep", name,
				 LAYER_DEPTH_MAX);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open `%s`", name);
	return walk_dir(w, fd, digest.hex, depth + 1, err);
}

static int walk_dir(struct walk *w, int fd, const char *id, unsigned depth, struct error *err)
{
	_cleanup_closedir_ DIR *stream = fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!stream) {
		close(fd);
		return error_errno(err, ENOMEM, "read a directory");
	}
	while (r >= 0 && (errno = 0, entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (store_interrupted(w->store))
			return error_set(err, EINTR, "interrupted");
		r = walk_entry(w, dirfd(stream), entry->d_name, id, depth, err);
	}
	return r < 0 ? r : errno ? error_errno(err, errno, "read a directory") : 0;
}

int store_tree_digest(struct image_store *store, int tree, struct store_record *record,
		      struct error *err)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct digest root;
	struct stat st;
	int r, fd = -EBADF;

	if (!w)
		return error_errno(err, ENOMEM, "hash a layer");
	w->store = store;
	w->record = record;
	record->bytes = record->entries = 0;
	r = fstat(tree, &st) < 0 ? error_errno(err, errno, "stat") : 0;
	if (r >= 0)
		r = hash_entry(w, tree, ".", "", &st, &root, err);
	if (r >= 0) {
		add_up(w->sum, &root);
		fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? error_errno(err, errno, "open") : walk_dir(w, fd, "", 1, err);
	}
	if (r >= 0) {
		record->tree = sha256;
		snprintf(record->tree.hex, sizeof(record->tree.hex), "%016llx%016llx%016llx%016llx",
			 (unsigned long long)w->sum[0], (unsigned long long)w->sum[1],
			 (unsigned long long)w->sum[2], (unsigned long long)w->sum[3]);
	}
	free(w);
	return r;
}
