/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image of the store as an OCI layout, a directory or a tar archive. It is made beside its place under a hidden name, and
 * renamed when it is whole and on the disk.
 */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/path.h"
#include "base/remove.h"
#include "base/syscalls.h"
#include "oci/image/name_set.h"
#include "oci/image/store_internal.h"

struct export
{
	struct image_store *store;
	struct image_source *source;
	struct name_set done;
	char path[PATH_MAX]; /* where it goes */
	const char *tag;
	int parent;              /* the directory that it goes to */
	const char *name;        /* its name there, in path */
	char temporary[64];      /* its name there until it is whole */
	int fd;                  /* the new directory or file */
	struct archive *archive; /* a file's; NULL: a directory */
	struct archive_entry *header;
	int file; /* a directory's file that is written */
};

/* ---- one file of the layout --------------------------------------------------------------- */

static int archive_failed(struct export *e, struct error *err)
{
	int code = archive_errno(e->archive);

	return error_set(err, code > 0 ? code : EIO, "write the archive: %s",
			 archive_error_string(e->archive));
}

static int begin_file(struct export *e, const char *name, uint64_t size, struct error *err)
{
	if (!e->archive) {
		e->file = openat(e->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				 0644);
		return e->file < 0 ? error_errno(err, errno, "create `%s`", name) : 0;
	}
	archive_entry_clear(e->header);
	archive_entry_set_pathname(e->header, name);
	archive_entry_set_filetype(e->header, AE_IFREG);
	archive_entry_set_perm(e->header, 0644);
	archive_entry_set_size(e->header, (la_int64_t)size);
	return archive_write_header(e->archive, e->header) == ARCHIVE_OK ? 0
									 : archive_failed(e, err);
}

static int write_data(struct export *e, const void *data, size_t len, struct error *err)
{
	int r;

	if (e->archive)
		return archive_write_data(e->archive, data, len) == (la_ssize_t)len
			       ? 0
			       : archive_failed(e, err);
	r = file_write_all(e->file, data, len);
	return r < 0 ? error_errno(err, -r, "write a file") : 0;
}

static int end_file(struct export *e, struct error *err)
{
	int r = 0;

	if (e->archive)
		return archive_write_finish_entry(e->archive) == ARCHIVE_OK
			       ? 0
			       : archive_failed(e, err);
	if (fsync(e->file) < 0)
		r = error_errno(err, errno, "sync a file");
	close_fd(&e->file);
	return r;
}

static int put_text(struct export *e, const char *name, const char *text, size_t len,
		    struct error *err)
{
	int r = begin_file(e, name, len, err);

	if (r >= 0)
		r = write_data(e, text, len, err);
	return r < 0 ? r : end_file(e, err);
}

static int write_export(void *data, const void *block, size_t len, struct error *err)
{
	return write_data(data, block, len, err);
}

/* A blob that the image has twice is one file. Its digest is checked on the way. */
static int put_blob(struct export *e, const struct image_descriptor *descriptor, struct error *err)
{
	const struct digest_text path = digest_blob_path(&descriptor->digest);
	_cleanup_image_blob_ struct image_blob blob = { 0 };
	int r;

	if (name_set_has(&e->done, path.s))
		return 0;
	if (!name_set_add(&e->done, path.s))
		return error_errno(err, ENOMEM, "export");
	r = image_blob_open(e->source, descriptor, &blob, err);
	if (r >= 0)
		r = begin_file(e, path.s, descriptor->size, err);
	if (r >= 0)
		r = store_copy_blob(e->store, 0, "export", &blob, write_export, e, err);
	return r < 0 ? r : end_file(e, err);
}

/* ---- the layout --------------------------------------------------------------------------- */

static int put_index(struct export *e, const struct image_descriptor *manifest, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct json_writer w;

	json_write_init(&w, &text, 0);
	json_write_begin(&w, '{');
	json_write_key(&w, "schemaVersion");
	json_write_u64(&w, 2);
	json_write_member(&w, "mediaType", "application/vnd.oci.image.index.v1+json");
	json_write_key(&w, "manifests");
	json_write_begin(&w, '[');
	json_write_begin(&w, '{');
	json_write_member(&w, "mediaType", manifest->media_type);
	json_write_member(&w, "digest", digest_text(&manifest->digest).s);
	json_write_key(&w, "size");
	json_write_u64(&w, manifest->size);
	json_write_key(&w, "annotations");
	json_write_begin(&w, '{');
	json_write_member(&w, "org.opencontainers.image.ref.name", e->tag);
	json_write_end(&w, '}');
	json_write_end(&w, '}');
	json_write_end(&w, ']');
	json_write_end(&w, '}');
	strbuf_addc(&text, '\n');
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "write `index.json`");
	return put_text(e, "index.json", text.data, text.len, err);
}

static int put_layout(struct export *e, const struct image_manifest *manifest, struct error *err)
{
	static const char version[] = "{\"imageLayoutVersion\": \"1.0.0\"}\n";
	int r = put_text(e, "oci-layout", version, sizeof(version) - 1, err);

	if (r >= 0)
		r = put_index(e, &manifest->blob, err);
	if (r >= 0)
		r = put_blob(e, &manifest->blob, err);
	if (r >= 0)
		r = put_blob(e, &manifest->config_blob, err);
	for (size_t i = 0; r >= 0 && i < manifest->layer_count; i++)
		r = put_blob(e, &manifest->layers[i].blob, err);
	return r;
}

/* ---- where it goes ------------------------------------------------------------------------ */

static int make_temporary(struct export *e, struct error *err)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return error_errno(err, EIO, "get random bytes");
	snprintf(e->temporary, sizeof(e->temporary), ".hull-export-%016llx",
		 (unsigned long long)number);
	return 0;
}

static int make_directory(struct export *e, struct error *err)
{
	static const char *const dirs[] = { "blobs", "blobs/sha256", "blobs/sha512" };
	int r = make_temporary(e, err);

	if (r < 0)
		return r;
	if (mkdirat(e->parent, e->temporary, 0755) < 0)
		return error_errno(err, errno, "make a directory beside `%s`", e->path);
	e->fd = openat(e->parent, e->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (e->fd < 0)
		return error_errno(err, errno, "open the new directory");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (mkdirat(e->fd, dirs[i], 0755) < 0)
			return error_errno(err, errno, "make `%s`", dirs[i]);
	return 0;
}

static int make_archive(struct export *e, struct error *err)
{
	int r = make_temporary(e, err);

	if (r < 0)
		return r;
	e->fd = openat(e->parent, e->temporary,
		       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (e->fd < 0)
		return error_errno(err, errno, "make a file beside `%s`", e->path);
	e->archive = archive_write_new();
	e->header = archive_entry_new();
	if (!e->archive || !e->header)
		return error_errno(err, ENOMEM, "make an archive");
	if (archive_write_set_format_pax_restricted(e->archive) != ARCHIVE_OK ||
	    archive_write_open_fd(e->archive, e->fd) != ARCHIVE_OK)
		return archive_failed(e, err);
	return 0;
}

/* Splits "DIR/NAME[:TAG]". */
static int parse_destination(struct export *e, const char *text, struct error *err)
{
	size_t len = (size_t)snprintf(e->path, sizeof(e->path), "%s", text);
	char parent[PATH_MAX] = ".";
	char *colon = strrchr(e->path, ':'), *slash;

	if (len >= sizeof(e->path))
		return error_errno(err, ENAMETOOLONG, "export");
	if (colon && !strchr(colon, '/')) {
		*colon = '\0';
		e->tag = colon + 1;
	}
	len = strlen(e->path);
	while (len > 1 && e->path[len - 1] == '/')
		e->path[--len] = '\0';
	slash = strrchr(e->path, '/');
	e->name = slash ? slash + 1 : e->path;
	if (!*e->name || !strcmp(e->name, ".") || !strcmp(e->name, "..") || !*e->tag)
		return error_set(err, EINVAL, "`%s` is no name of a new directory or file", text);
	if (slash)
		snprintf(parent, sizeof(parent), "%.*s",
			 (int)(slash == e->path ? 1 : slash - e->path), e->path);
	e->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return e->parent < 0 ? error_errno(err, errno, "open directory `%s`", parent) : 0;
}

static int finish(struct export *e, struct error *err)
{
	/* An empty directory may be replaced, by what rename(2) does of itself; a file never. */
	unsigned flags = e->archive ? RENAME_NOREPLACE : 0;

	if (e->archive && archive_write_close(e->archive) != ARCHIVE_OK)
		return archive_failed(e, err);
	if (fsync(e->fd) < 0)
		return error_errno(err, errno, "sync `%s`", e->path);
	if (renameat2(e->parent, e->temporary, e->parent, e->name, flags) < 0)
		return error_errno(err, errno, "rename the finished layout to `%s`", e->path);
	e->temporary[0] = '\0';
	return fsync(e->parent) < 0 ? error_errno(err, errno, "sync beside `%s`", e->path) : 0;
}

static int any_entry(void *data _unused_, const char *name _unused_, struct error *err)
{
	return error_set(err, EEXIST, "not empty");
}

/* Before anything is copied. rename(2) checks again at the end. */
static int check_place(const struct export *e, bool is_archive, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	struct stat st;

	if (fstatat(e->parent, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat `%s`", e->path);
	if (!is_archive && S_ISDIR(st.st_mode)) {
		dir = openat(e->parent, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir >= 0 && store_each(dir, e->name, any_entry, NULL, NULL) == 0)
			return 0;
	}
	return error_set(err, EEXIST, "`%s` is there already%s", e->path,
			 is_archive ? "" : ", and no empty directory");
}

static int export_image(struct export *e, const struct image_reference *reference,
			const char *destination, struct error *err)
{
	bool is_archive = !strncmp(destination, "oci-archive:", 12);
	_cleanup_arena_ struct arena arena;
	struct image_manifest manifest;
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	if (!is_archive && strncmp(destination, "oci:", 4) != 0)
		return error_set(err, EINVAL, "`%s`: give oci:DIR[:TAG] or oci-archive:FILE[:TAG]",
				 destination);
	r = parse_destination(e, strchr(destination, ':') + 1, err);
	if (r >= 0)
		r = image_store_load(e->store, reference, &arena, &manifest, err);
	if (r >= 0)
		r = image_store_source(e->store, &e->source, err);
	if (r >= 0)
		r = check_place(e, is_archive, err);
	if (r >= 0)
		r = is_archive ? make_archive(e, err) : make_directory(e, err);
	if (r >= 0)
		r = put_layout(e, &manifest, err);
	return r < 0 ? r : finish(e, err);
}

static void export_close(struct export *e)
{
	archive_entry_free(e->header);
	if (e->archive)
		archive_write_free(e->archive);
	close_fd(&e->file);
	close_fd(&e->fd);
	if (e->temporary[0])
		path_remove_tree(e->parent, e->temporary, NULL);
	close_fd(&e->parent);
	image_source_close(e->source);
	name_set_free(&e->done);
}

/* The tag of a name, for the index. */
static const char *tag_of(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *mark = strpbrk(slash ? slash + 1 : name, ":@");

	return mark && *mark == ':' ? mark + 1 : "latest";
}

int image_store_export(struct image_store *store, const struct image_reference *reference,
		       const char *destination, struct error *err)
{
	struct export e = { .store = store, .parent = -EBADF, .fd = -EBADF, .file = -EBADF };
	int r;

	name_set_init(&e.done);
	e.tag = tag_of(reference->name.s);
	r = export_image(&e, reference, destination, err);
	export_close(&e);
	return r < 0 && r != -EINTR ? error_wrap(err, "export `%s`", reference->name.s) : r;
}
