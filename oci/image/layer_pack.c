/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing a layer; see layer_pack.h. Every entry is opened from its directory's descriptor without following a link, and what is
 * written of it is read from that descriptor.
 */
#include "oci/image/layer_pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "oci/image/layer_internal.h"

#define NAMES_MAX 65536 /* the kernel's limit of a list of attributes (XATTR_LIST_MAX) */
#define VALUE_MAX 65536 /* and of a value (XATTR_SIZE_MAX) */
#define CHUNK     ((size_t)256 * 1024)
#define WHITEOUT  ".wh."
#define OPAQUE    ".wh..wh..opq"

struct pack {
	struct archive *archive;
	struct archive_entry_linkresolver *links;
	char path[PATH_MAX]; /* of the entry that is packed, from the top; "" is the top */
	size_t depth;
	char *names, *value, *chunk; /* buffers */
};

static int failed(struct pack *p, struct error *err)
{
	const char *text = archive_error_string(p->archive);

	return error_set(err, archive_errno(p->archive) > 0 ? archive_errno(p->archive) : EIO,
			 "write `%s` to the layer: %s", p->path, text ? text : "unknown error");
}

/* ---- attributes ------------------------------------------------------------------------------------- */

/* Orders of overlayfs to itself that a layer cannot say; whether the directory hides what is beneath it is one that it can. */
static int check_overlay(struct pack *p, const char *name, const char *value, ssize_t len,
			 bool *opaque, struct error *err)
{
	const char *what = name + strlen("trusted.overlay.");

	if (!strcmp(what, "opaque")) {
		*opaque = len > 0 && value[0] == 'y';
		return 0;
	}
	if (!strcmp(what, "redirect") || !strcmp(what, "metacopy"))
		return error_set(
			err, ENOTSUP,
			"`%s` was changed by an overlay with `%s`, which a layer cannot say",
			p->path, !strcmp(what, "redirect") ? "redirect_dir" : "metacopy");
	return 0;
}

static int add_xattrs(struct pack *p, int fd, struct archive_entry *entry, bool *opaque,
		      struct error *err)
{
	const struct path_of_fd file = path_of_fd(fd);
	ssize_t len = listxattr(file.s, p->names, NAMES_MAX);
	int r = 0;

	if (len < 0)
		return errno == ENOTSUP
			       ? 0
			       : error_errno(err, errno, "list the attributes of `%s`", p->path);
	for (const char *name = p->names; r == 0 && name < p->names + len;
	     name += strlen(name) + 1) {
		ssize_t n = getxattr(file.s, name, p->value, VALUE_MAX);

		if (n < 0)
			r = error_errno(err, errno, "read the attribute `%s` of `%s`", name,
					p->path);
		else if (!strncmp(name, "trusted.overlay.", strlen("trusted.overlay.")))
			r = check_overlay(p, name, p->value, n, opaque, err);
		else if (layer_xattr_allowed(name))
			archive_entry_xattr_add_entry(entry, name, p->value, (size_t)n);
	}
	return r;
}

/* ---- content ----------------------------------------------------------------------------------------- */

/* Holes stay holes: libarchive is told where the data is, and drops the rest of what it is given. */
static int add_sparse(struct pack *p, int fd, const struct stat *st, struct archive_entry *entry,
		      struct error *err)
{
	off_t data = lseek(fd, 0, SEEK_DATA), hole;

	if ((data == 0 && lseek(fd, 0, SEEK_HOLE) >= st->st_size) || st->st_size == 0)
		return 0;
	/* All of it is one hole: an extent of no length at its end says so. */
	if (data < 0 && errno == ENXIO)
		archive_entry_sparse_add_entry(entry, st->st_size, 0);
	else if (data < 0)
		return 0; /* the file system knows no holes */
	for (; data >= 0 && data < st->st_size; data = lseek(fd, hole, SEEK_DATA)) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return error_errno(err, errno, "read `%s`", p->path);
		archive_entry_sparse_add_entry(entry, data, hole - data);
	}
	return 0;
}

static int write_content(struct pack *p, int fd, off_t size, struct error *err)
{
	off_t done = 0;

	while (done < size) {
		size_t want = size - done < (off_t)CHUNK ? (size_t)(size - done) : CHUNK;
		ssize_t n = pread(fd, p->chunk, want, done);

		if (n <= 0)
			return error_errno(err, n < 0 ? errno : EIO, "read `%s`", p->path);
		if (archive_write_data(p->archive, p->chunk, (size_t)n) < 0)
			return failed(p, err);
		done += n;
	}
	return 0;
}

/* ---- entries ------------------------------------------------------------------------------------------ */

static int write_header(struct pack *p, struct archive_entry *entry, struct error *err)
{
	return archive_write_header(p->archive, entry) < ARCHIVE_WARN ? failed(p, err) : 0;
}

/* An empty file that says something is gone: in the directory whose path, with a slash, is the first len bytes of p->path. */
static int write_mark(struct pack *p, int len, const char *prefix, const char *name,
		      const struct stat *st, struct error *err)
{
	struct archive_entry *entry = archive_entry_new();
	char path[PATH_MAX + 32];
	int r;

	if (!entry)
		return error_errno(err, ENOMEM, "pack a layer");
	snprintf(path, sizeof(path), "%.*s%s%s", len, p->path, prefix, name);
	archive_entry_copy_pathname(entry, path);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0600);
	archive_entry_set_size(entry, 0);
	archive_entry_set_mtime(entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	r = write_header(p, entry, err);
	archive_entry_free(entry);
	return r;
}

/* A file that has been written by another name already is a link to that. */
static int write_file(struct pack *p, int fd, const struct stat *st, struct archive_entry *entry,
		      struct error *err)
{
	_cleanup_close_ int content = -EBADF;
	struct archive_entry *again = NULL;
	int r = 0;

	if (S_ISREG(st->st_mode)) {
		content = open(path_of_fd(fd).s, O_RDONLY | O_CLOEXEC | O_NOATIME);
		if (content < 0)
			return error_errno(err, errno, "open `%s`", p->path);
		r = add_sparse(p, content, st, entry, err);
	}
	archive_entry_linkify(p->links, &entry, &again);
	if (r == 0)
		r = write_header(p, entry, err);
	if (r == 0 && content >= 0 && !archive_entry_hardlink(entry))
		r = write_content(p, content, st->st_size, err);
	return r;
}

static int set_target(struct pack *p, int fd, struct archive_entry *entry, struct error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);

	if (n < 0)
		return error_errno(err, errno, "read the link `%s`", p->path);
	target[n] = '\0';
	archive_entry_copy_symlink(entry, target);
	return 0;
}

static int write_entry(struct pack *p, int fd, const struct stat *st, bool *opaque,
		       struct error *err)
{
	struct archive_entry *entry = archive_entry_new();
	char path[PATH_MAX + 4];
	int r;

	if (!entry)
		return error_errno(err, ENOMEM, "pack a layer");
	snprintf(path, sizeof(path), "%s%s", *p->path ? p->path : ".",
		 S_ISDIR(st->st_mode) ? "/" : "");
	archive_entry_copy_stat(entry, st);
	archive_entry_copy_pathname(entry, path);
	if (!S_ISREG(st->st_mode))
		archive_entry_set_size(entry, 0);
	r = S_ISLNK(st->st_mode) ? set_target(p, fd, entry, err) : 0;
	if (r == 0)
		r = add_xattrs(p, fd, entry, opaque, err);
	if (r == 0)
		r = write_file(p, fd, st, entry, err);
	archive_entry_free(entry);
	return r;
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

static int pack_dir(struct pack *p, int dir, struct error *err);

static int pack_one(struct pack *p, int dir, const char *name, int parent_len, struct error *err)
{
	_cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool opaque = false;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open `%s`", p->path);
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
		return write_mark(p, parent_len, WHITEOUT, name, &st, err);
	r = write_entry(p, fd, &st, &opaque, err);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	strcat(p->path, "/"); /* there is room: pack_dir() */
	if (opaque)
		r = write_mark(p, (int)strlen(p->path), OPAQUE, "", &st, err);
	return r < 0 ? r : pack_dir(p, fd, err);
}

/* p->path is the directory's with a slash, or "". */
static int pack_dir(struct pack *p, int dir, struct error *err)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME), r = 0;
	_cleanup_closedir_ DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	size_t len = strlen(p->path);
	struct dirent *entry;

	if (!stream)
		return error_errno(err, errno, "open `%s`", p->path);
	if (++p->depth > LAYER_DEPTH_MAX)
		return error_set(err, ENAMETOOLONG,
				 "`%s`: there are more than %d directories within one another",
				 p->path, LAYER_DEPTH_MAX);
	while (r == 0 && (errno = 0, entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (len + strlen(entry->d_name) + 2 > sizeof(p->path))
			return error_errno(err, ENAMETOOLONG, "`%s%s`", p->path, entry->d_name);
		strcpy(p->path + len, entry->d_name);
		r = pack_one(p, dirfd(stream), entry->d_name, (int)len, err);
		p->path[len] = '\0';
	}
	if (r == 0 && errno)
		r = error_errno(err, errno, "read `%s`", p->path);
	p->depth--;
	return r;
}

static int pack_all(struct pack *p, int upper, struct error *err)
{
	bool opaque = false;
	struct stat st;
	int r;

	if (fstat(upper, &st) < 0)
		return error_errno(err, errno, "open the directory of changes");
	r = write_entry(p, upper, &st, &opaque, err);
	if (r == 0)
		r = pack_dir(p, upper, err);
	if (r == 0 && archive_write_close(p->archive) != ARCHIVE_OK)
		r = failed(p, err);
	return r;
}

int layer_pack(int upper, int out, struct error *err)
{
	struct pack p = { .archive = archive_write_new(),
			  .links = archive_entry_linkresolver_new(),
			  .names = malloc(NAMES_MAX),
			  .value = malloc(VALUE_MAX),
			  .chunk = malloc(CHUNK) };
	int r = 0;

	if (!p.archive || !p.links || !p.names || !p.value || !p.chunk)
		r = error_errno(err, ENOMEM, "pack a layer");
	if (r == 0) {
		archive_entry_linkresolver_set_strategy(p.links, ARCHIVE_FORMAT_TAR);
		/* Names are bytes, whatever the locale is. */
		if (archive_write_set_format_pax(p.archive) != ARCHIVE_OK ||
		    archive_write_set_options(p.archive, "hdrcharset=BINARY") != ARCHIVE_OK ||
		    archive_write_open_fd(p.archive, out) != ARCHIVE_OK)
			r = failed(&p, err);
	}
	if (r == 0)
		r = pack_all(&p, upper, err);
	archive_entry_linkresolver_free(p.links);
	archive_write_free(p.archive);
	free(p.names);
	free(p.value);
	free(p.chunk);
	return r;
}
