/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a checkpoint: their digests, and the moment at which a directory becomes one. CRIU writes into a
 * directory with another name. When all is in it, the manifest too, and on the disk, one rename(2) gives it its own name, by
 * which another checkpoint may have been known until then.
 */
#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "base/remove.h"
#include "base/syscalls.h"
#include "cmd/hull-criu/criu.h"
#include "sandbox/manifest.h"

#define FILES_MAX   65536
#define PARENTS_MAX 1000 /* a checkpoint may build on one that builds on another */
#define CHUNK       (256 * 1024)

/* ---- digests ------------------------------------------------------------------------------------- */

static int digest_fd(int fd, const char *name, char hex[MANIFEST_SHA256 + 1], uint64_t *size,
		     struct error *err)
{
	static unsigned char buf[CHUNK];
	unsigned char md[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned len = 0;
	ssize_t n = -1;
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	*size = 0;
	while (ok && (n = read(fd, buf, sizeof(buf))) > 0) {
		ok = EVP_DigestUpdate(ctx, buf, (size_t)n);
		*size += (uint64_t)n;
	}
	ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, md, &len);
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return error_errno(err, n < 0 && errno ? errno : EIO, "read `%s`", name);
	for (unsigned i = 0; i < len; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", md[i]);
	return 0;
}

/* Nothing on the way may be a link: name is a file of the checkpoint's, or of one of its rounds. */
static int digest(int dir, const char *name, char hex[MANIFEST_SHA256 + 1], uint64_t *size,
		  struct error *err)
{
	const struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	_cleanup_close_ int fd = sys_openat2(dir, name, &how);
	struct stat st;

	if (fd < 0)
		return error_errno(err, errno, "open `%s`", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "`%s` is not a regular file", name);
	return digest_fd(fd, name, hex, size, err);
}

/* ---- listing ------------------------------------------------------------------------------------- */

/* CRIU's logs and statistics, where its working directory is the checkpoint's: it writes them before and after. */
static bool is_by_the_way(const char *name)
{
	static const char *const names[] = { "dump.log",      "restore.log", "stats-dump",
					     "stats-restore", MANIFEST_NAME, MANIFEST_SUM,
					     PARENT_LINK };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct manifest_file *)a)->name,
		      ((const struct manifest_file *)b)->name);
}

static int list_names(int dir, const char *prefix, struct arena *arena,
		      struct manifest_files *files, struct error *err);

/* Of a round, or a file that does not belong here. */
static int add_name(int dir, const char *prefix, const char *name, struct arena *arena,
		    struct manifest_files *files, struct error *err)
{
	_cleanup_close_ int round = -EBADF;

	if (!*prefix && rounds_number(name))
		round = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (round >= 0)
		return list_names(round, name, arena, files, err);
	if (files->len == FILES_MAX)
		return error_set(err, E2BIG, "the checkpoint has more than %d files", FILES_MAX);
	files->items[files->len].name =
		arena_printf(arena, "%s%s%s", prefix, *prefix ? "/" : "", name);
	return files->items[files->len++].name
		       ? 0
		       : error_errno(err, ENOMEM, "read the checkpoint's directory");
}

static int list_names(int dir, const char *prefix, struct arena *arena,
		      struct manifest_files *files, struct error *err)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	_cleanup_closedir_ DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!stream)
		return error_errno(err, errno, "read the checkpoint's directory");
	while (r == 0 && (entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    !is_by_the_way(entry->d_name))
			r = add_name(dir, prefix, entry->d_name, arena, files, err);
	return r;
}

/* The names of all files of the checkpoint, sorted. */
static int list(int dir, struct arena *arena, struct manifest_files *files, struct error *err)
{
	int r;

	files->items = arena_array(arena, FILES_MAX, sizeof(*files->items));
	if (!files->items)
		return error_errno(err, ENOMEM, "read the checkpoint's directory");
	r = list_names(dir, "", arena, files, err);
	qsort(files->items, files->len, sizeof(*files->items), by_name);
	return r;
}

/* CRIU writes memory, and nothing else, to files of these names. */
static bool holds_pages(const char *name)
{
	return !strncmp(name, "pages-", strlen("pages-"));
}

uint64_t files_pages(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	uint64_t bytes = 0;
	struct dirent *entry;
	struct stat st;

	while (stream && (entry = readdir(stream)))
		if (holds_pages(entry->d_name) &&
		    fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_size;
	return bytes / (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- writing ------------------------------------------------------------------------------------- */

static int add_parent(int dir, struct arena *arena, struct manifest *m, struct error *err)
{
	_cleanup_close_ int parent = -EBADF;
	char target[4096], *hex = arena_alloc(arena, MANIFEST_SHA256 + 1);
	ssize_t n = readlinkat(dir, PARENT_LINK, target, sizeof(target) - 1);
	uint64_t size;

	m->parent = m->parent_digest = NULL;
	if (n < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "read `" PARENT_LINK "`");
	target[n] = '\0';
	m->parent = arena_strdup(arena, target);
	if (!hex || !m->parent)
		return error_errno(err, ENOMEM, "read the parent checkpoint");
	if (m->pre_copy && rounds_number(target)) {
		m->pre_copy->pages = files_pages(dir);
		return 0;
	}
	parent = openat(dir, target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return error_errno(err, errno, "open the parent checkpoint `%s`", target);
	m->parent_digest = hex;
	return digest(parent, MANIFEST_NAME, hex, &size, err);
}

static int add_files(int dir, struct arena *arena, struct manifest *m, struct strbuf *before,
		     struct error *err)
{
	int r = list(dir, arena, &m->files, err);

	if (r == 0)
		manifest_stamp_begin(dir, m, before);
	for (size_t i = 0; r == 0 && i < m->files.len; i++) {
		struct manifest_file *f = &m->files.items[i];
		char *hex = arena_alloc(arena, MANIFEST_SHA256 + 1);

		if (!hex)
			return error_errno(err, ENOMEM, "read the checkpoint");
		f->sha256 = hex;
		r = digest(dir, f->name, hex, &f->size, err);
		if (r == 0 && !strcmp(f->name, MANIFEST_CONFIG))
			m->config = hex;
	}
	return r;
}

static int write_sum(int dir, struct error *err)
{
	char line[MANIFEST_SHA256 + 2] = "";
	uint64_t size;
	int r = digest(dir, MANIFEST_NAME, line, &size, err);

	line[MANIFEST_SHA256] = '\n';
	return r < 0 ? r : file_replace(dir, MANIFEST_SUM, line, MANIFEST_SHA256 + 1, 0600, err);
}

static int complete(int dir, const char *text, struct arena *arena, struct manifest *m,
		    struct strbuf *before, struct error *err)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int r = manifest_parse(text, strlen(text), arena, m, err);

	if (r == 0)
		r = add_parent(dir, arena, m, err);
	if (r == 0)
		r = add_files(dir, arena, m, before, err);
	if (r < 0)
		return r;
	manifest_print(m, &out);
	if (strbuf_failed(&out))
		return error_errno(err, ENOMEM, "write `" MANIFEST_NAME "`");
	r = file_replace(dir, MANIFEST_NAME, out.data, out.len, 0600, err);
	if (r == 0)
		r = write_sum(dir, err);
	if (r == 0 && syncfs(dir) < 0)
		r = error_errno(err, errno, "write the checkpoint to the disk");
	return r;
}

/* In the place of an empty directory, or of another checkpoint, which is removed afterwards. */
static int give_name(int place, const char *temporary, const char *name, struct error *err)
{
	if (renameat2(place, temporary, place, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EEXIST && renameat2(place, temporary, place, name, RENAME_EXCHANGE) == 0) {
		path_remove_tree(place, temporary, NULL); /* or the next checkpoint removes it */
		return 0;
	}
	if (errno == EBUSY)
		return error_set(err, EBUSY,
				 "`%s` is a mount point: give a directory below it as --image-path",
				 name);
	return error_errno(err, errno, "give the checkpoint its name `%s`", name);
}

int files_publish(const struct request *q, struct error *err)
{
	const char *manifest = request_get(q, "manifest"), *name = request_get(q, "publish"),
		   *temporary = request_get(q, "temporary");
	int place = request_fd(q, "place"), images = request_fd(q, "images"), r;
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_strbuf_ struct strbuf before = { 0 };
	struct manifest m;

	if (!manifest || !name || !temporary || place < 0)
		return error_set(err, EPROTO, "read the request");
	r = complete(images, manifest, &arena, &m, &before, err);
	if (r == 0)
		r = give_name(place, temporary, name, err);
	if (r < 0)
		return r;
	/* A name makes the directory another than before. */
	manifest_stamp(images, &m, &before);
	fsync(place);
	return 0;
}

void files_discard(const struct request *q)
{
	const char *temporary = request_get(q, "temporary");
	int place = request_fd(q, "place");

	if (temporary && place >= 0)
		path_remove_tree(place, temporary, NULL);
}

/* ---- checking ------------------------------------------------------------------------------------- */

static int verify_file(int dir, const struct manifest_file *f, struct error *err)
{
	char hex[MANIFEST_SHA256 + 1] = "";
	uint64_t size = 0;
	int r = digest(dir, f->name, hex, &size, err);

	if (r < 0)
		return r;
	if (size != f->size)
		return error_set(err, EBADMSG, "`%s` was altered: it has %llu bytes, and had %llu",
				 f->name, (unsigned long long)size, (unsigned long long)f->size);
	return strcmp(hex, f->sha256) ? error_set(err, EBADMSG, "`%s` was altered", f->name) : 0;
}

/* CRIU reads whatever is there: nothing may be there that was not written with the rest. */
static int verify_names(int dir, const struct manifest *m, struct arena *arena, struct error *err)
{
	struct manifest_files there = { 0 };
	int r = list(dir, arena, &there, err);

	for (size_t i = 0, k = 0; r == 0 && i < there.len; i++) {
		while (k < m->files.len && strcmp(m->files.items[k].name, there.items[i].name) < 0)
			k++;
		if (k == m->files.len || strcmp(m->files.items[k].name, there.items[i].name) != 0)
			return error_set(err, EBADMSG, "`%s` does not belong to the checkpoint",
					 there.items[i].name);
	}
	return r;
}

static int open_parent(int dir, const struct manifest *m, struct error *err)
{
	_cleanup_close_ int parent = -EBADF;
	char target[4096], hex[MANIFEST_SHA256 + 1] = "";
	ssize_t n = readlinkat(dir, PARENT_LINK, target, sizeof(target) - 1);
	uint64_t size;
	int r;

	target[n > 0 ? n : 0] = '\0';
	if (strcmp(target, m->parent ? m->parent : "") != 0 ||
	    (m->parent && !m->parent_digest && !rounds_number(m->parent)))
		return error_set(err, EBADMSG, "`" PARENT_LINK "` was altered");
	if (!m->parent)
		return -ENOENT;
	if (!m->parent_digest) {
		r = rounds_verify(dir, m->parent, err);
		return r < 0 ? r : -ENOENT;
	}
	parent = openat(dir, m->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return error_errno(err, errno, "open the parent checkpoint `%s`", m->parent);
	r = digest(parent, MANIFEST_NAME, hex, &size, err);
	if (r == 0 && strcmp(hex, m->parent_digest) != 0)
		r = error_set(err, EBADMSG, "the parent checkpoint `%s` is another than it was",
			      m->parent);
	return r < 0 ? r : take_fd(&parent);
}

/* Its words for people, too: whoever reads when and where it was made relies on them. */
static int verify_manifest(int dir, struct error *err)
{
	char hex[MANIFEST_SHA256 + 1] = "", sum[MANIFEST_SHA256 + 8];
	uint64_t size;
	ssize_t len = file_read_small(dir, MANIFEST_SUM, sum, sizeof(sum), err);
	int r = len < 0 ? (int)len : digest(dir, MANIFEST_NAME, hex, &size, err);

	if (r < 0)
		return r;
	return strcmp(hex, sum) ? error_set(err, EBADMSG, "`" MANIFEST_NAME "` was altered") : 0;
}

static int verify_one(int dir, int *parent, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_strbuf_ struct strbuf before = { 0 };
	struct manifest m;
	int r = manifest_load(dir, &arena, &m, err);

	if (r == 0)
		r = verify_manifest(dir, err);
	if (r == 0)
		manifest_stamp_begin(dir, &m, &before);
	for (size_t i = 0; r == 0 && i < m.files.len; i++)
		r = verify_file(dir, &m.files.items[i], err);
	if (r == 0)
		r = verify_names(dir, &m, &arena, err);
	if (r < 0)
		return r;
	manifest_stamp(dir, &m, &before);
	*parent = open_parent(dir, &m, err);
	return *parent < 0 && *parent != -ENOENT ? *parent : 0;
}

int files_verify(int dir, struct error *err)
{
	_cleanup_close_ int at = fcntl(dir, F_DUPFD_CLOEXEC, 3);

	for (int i = 0; i < PARENTS_MAX; i++) {
		int parent = -ENOENT, r = verify_one(at, &parent, err);

		if (r < 0)
			return i ? error_wrap(err, "the parent checkpoint") : r;
		if (parent < 0)
			return 0;
		close_fd(&at);
		at = parent;
	}
	return error_set(err, ELOOP, "the checkpoint builds on too many others");
}
