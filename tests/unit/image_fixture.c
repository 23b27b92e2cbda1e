/* SPDX-License-Identifier: Apache-2.0 */
/* Making images for tests; see image_fixture.h. */
#include "tests/unit/image_fixture.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "oci/image/digest.h"
#include "oci/image/image.h"
#include "tests/unit/unit.h"

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fd = unit_make_dir(f->dir, sizeof(f->dir));
	umask(022);
	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	fixture_mkdir(f, "root");
	fixture_mkdir(f, "outside");
	fixture_write(f, "outside/file", "outside");
	assert_int_equal(fchmodat(f->fd, "outside/file", 0600, 0), 0);
	f->rootfs = openat(f->fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->rootfs >= 0);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	struct stat st = fixture_stat(f, "outside/file");

	assert_string_equal(fixture_read(f, "outside/file"), "outside");
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(fixture_stat(f, "outside").st_nlink, 2);
	fixture_read(f, NULL);
	close(f->rootfs);
	unit_remove_dir(f->fd, f->dir);
	free(f);
	return 0;
}

/* ---- tar ---------------------------------------------------------------------------------- */

/* As ustar has it: no NUL at the end where a field is full. */
static void put_field(char *field, size_t size, const char *text)
{
	memset(field, 0, size);
	memcpy(field, text, strnlen(text, size));
}

__attribute__((format(printf, 3, 4))) static void put_number(char *field, size_t size,
							     const char *fmt, ...)
{
	char text[32];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_field(field, size, text);
}

void tar_add(struct strbuf *tar, const struct tar_file *file)
{
	static const char magic[8] = { 'u', 's', 't', 'a', 'r', '\0', '0', '0' };
	static const char zeros[512];
	size_t len = file->len ? file->len : file->data ? strlen(file->data) : 0;
	char type = file->type ? file->type : '0';
	char header[512] = { 0 };
	unsigned sum = 0;

	put_field(header, 100, file->name);
	put_number(header + 100, 8, "%07o", file->mode ? file->mode : type == '5' ? 0755 : 0644);
	put_number(header + 108, 8, "%07o", file->uid);
	put_number(header + 116, 8, "%07o", file->gid);
	put_number(header + 124, 12, "%011zo", len);
	if (file->size_text)
		put_field(header + 124, 12, file->size_text);
	put_number(header + 136, 12, "%011lo", file->mtime);
	memset(header + 148, ' ', 8);
	header[156] = type;
	put_field(header + 157, 100, file->link ? file->link : "");
	memcpy(header + 257, magic, sizeof(magic));
	put_number(header + 329, 8, "%07o", file->major);
	put_number(header + 337, 8, "%07o", file->minor);
	for (size_t i = 0; i < sizeof(header); i++)
		sum += (unsigned char)header[i];
	snprintf(header + 148, 8, "%06o", sum);
	strbuf_add(tar, header, sizeof(header));
	strbuf_add(tar, file->data, len);
	strbuf_add(tar, zeros, (512 - len % 512) % 512);
}

void tar_add_pax(struct strbuf *tar, const char *key, const char *value, size_t value_len)
{
	_cleanup_strbuf_ struct strbuf record = { 0 };
	size_t body = strlen(key) + value_len + 3, digits = 1;

	for (size_t total = 10; body + digits >= total; total *= 10)
		digits++;
	strbuf_addf(&record, "%zu %s=", body + digits, key);
	strbuf_add(&record, value, value_len);
	strbuf_addc(&record, '\n');
	tar_put(tar, .name = "PaxHeaders/x", .type = 'x', .data = record.data, .len = record.len);
}

void tar_end(struct strbuf *tar)
{
	static const char zeros[1024];

	strbuf_add(tar, zeros, sizeof(zeros));
	assert_false(strbuf_failed(tar));
}

#define MEMORY_BLOCK 1234 /* bytes */

struct memory {
	const char *data;
	size_t left;
};

/* In pieces of odd sizes, so that nothing in the stream lies in one block by chance. */
static ssize_t read_memory(void *data, const char **block, struct error *err)
{
	struct memory *m = data;
	size_t len = m->left < MEMORY_BLOCK ? m->left : MEMORY_BLOCK;

	(void)err;
	*block = m->data;
	m->data += len;
	m->left -= len;
	return (ssize_t)len;
}

static int apply(struct layer_target *target, struct strbuf *tar, struct error *err)
{
	struct memory memory = { tar->data, tar->len };
	int r = layer_apply(target, read_memory, &memory, err);

	if (r >= 0)
		r = layer_target_finish(target, err);
	layer_target_free(target);
	strbuf_free(tar);
	memset(tar, 0, sizeof(*tar));
	return r;
}

int fixture_apply_to(struct layer_target *target, struct strbuf *tar, struct error *err)
{
	tar_end(tar);
	return apply(target, tar, err);
}

int fixture_apply(struct fixture *f, struct strbuf *tar, struct error *err)
{
	tar_end(tar);
	return fixture_apply_as_is(f, tar, err);
}

int fixture_apply_as_is(struct fixture *f, struct strbuf *tar, struct error *err)
{
	struct layer_target target;

	layer_target_init(&target, f->rootfs, geteuid() != 0);
	return apply(&target, tar, err);
}

/* ---- looking ------------------------------------------------------------------------------ */

bool fixture_exists(const struct fixture *f, const char *path)
{
	struct stat st;

	return fstatat(f->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

struct stat fixture_stat(const struct fixture *f, const char *path)
{
	struct stat st;

	if (fstatat(f->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("stat %s: %s", path, strerror(errno));
	return st;
}

const char *fixture_read(const struct fixture *f, const char *path)
{
	static char *text;
	struct error err = { 0 };
	struct stat st;
	ssize_t n;

	free(text);
	text = NULL;
	if (!path)
		return NULL;
	st = fixture_stat(f, path);
	if (S_ISLNK(st.st_mode)) {
		text = calloc(1, (size_t)st.st_size + 1);
		assert_non_null(text);
		assert_true(readlinkat(f->fd, path, text, (size_t)st.st_size) == st.st_size);
		return text;
	}
	assert_true(S_ISREG(st.st_mode));
	n = file_read(f->fd, path, 1 << 20, &text, &err);
	if (n < 0)
		fail_msg("%s", err.text);
	return text;
}

void fixture_write(const struct fixture *f, const char *path, const char *text)
{
	_cleanup_close_ int fd =
		openat(f->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

void fixture_mkdir(const struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(f->fd, path, 0755), 0);
}

/* ---- layouts ------------------------------------------------------------------------------ */

void compress_to(struct strbuf *out, enum compression how, const void *data, size_t len)
{
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	size_t used = 0, room = len * 2 + 65536;
	char *buf = malloc(room);

	assert_non_null(buf);
	if (how == PLAIN) {
		strbuf_add(out, data, len);
	} else {
		archive_write_set_format_raw(a);
		assert_int_equal(how == GZIP ? archive_write_add_filter_gzip(a)
				 : how == XZ ? archive_write_add_filter_xz(a)
					     : archive_write_add_filter_zstd(a),
				 ARCHIVE_OK);
		/* Else the same layer is another blob in the next second. */
		if (how == GZIP)
			assert_int_equal(
				archive_write_set_filter_option(a, "gzip", "timestamp", NULL),
				ARCHIVE_OK);
		archive_write_set_bytes_in_last_block(a, 1);
		assert_int_equal(archive_write_open_memory(a, buf, room, &used), ARCHIVE_OK);
		archive_entry_set_filetype(entry, AE_IFREG);
		assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
		assert_int_equal(archive_write_data(a, data, len), len);
		assert_int_equal(archive_write_close(a), ARCHIVE_OK);
		strbuf_add(out, buf, used);
	}
	archive_entry_free(entry);
	archive_write_free(a);
	free(buf);
}

static void hash(const void *data, size_t len, char *text, size_t size)
{
	const struct digest like = { .algorithm = "sha256" };
	struct digest_stream *stream = digest_begin(&like);
	struct digest digest;

	assert_non_null(stream);
	assert_true(digest_update(stream, data, len));
	assert_true(digest_finish(stream, &digest));
	digest_free(stream);
	snprintf(text, size, "sha256:%.64s", digest.hex);
}

static void make_layout(const struct fixture *f)
{
	if (fixture_exists(f, "layout"))
		return;
	fixture_mkdir(f, "layout");
	fixture_mkdir(f, "layout/blobs");
	fixture_mkdir(f, "layout/blobs/sha256");
}

struct blob_text layout_blob(const struct fixture *f, const void *data, size_t len)
{
	struct blob_text blob = { .size = len };
	_cleanup_close_ int fd = -EBADF;
	char path[128];

	make_layout(f);
	hash(data, len, blob.digest, sizeof(blob.digest));
	snprintf(path, sizeof(path), "layout/blobs/sha256/%s", blob.digest + strlen("sha256:"));
	fd = openat(f->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len), 0);
	return blob;
}

void layout_add_packed(const struct fixture *f, struct layout_image *image,
		       const struct strbuf *tar, const void *packed, size_t len)
{
	assert_true(image->count < ARRAY_SIZE(image->layers));
	hash(tar->data, tar->len, image->diff_ids[image->count], sizeof(image->diff_ids[0]));
	image->layers[image->count++] = layout_blob(f, packed, len);
}

void layout_add_layer(const struct fixture *f, struct layout_image *image, struct strbuf *tar,
		      enum compression how)
{
	_cleanup_strbuf_ struct strbuf packed = { 0 };

	tar_end(tar);
	compress_to(&packed, how, tar->data, tar->len);
	layout_add_packed(f, image, tar, packed.data, packed.len);
	strbuf_free(tar);
	memset(tar, 0, sizeof(*tar));
}

struct blob_text layout_add_image(const struct fixture *f, const struct layout_image *image)
{
	_cleanup_strbuf_ struct strbuf config = { 0 }, manifest = { 0 };
	const char *layer_type = image->media_type ? image->media_type
				 : image->docker
					 ? "application/vnd.docker.image.rootfs.diff.tar.gzip"
					 : "application/vnd.oci.image.layer.v1.tar+gzip";
	struct blob_text blob;

	strbuf_addf(&config,
		    "{\"os\":\"linux\",\"architecture\":\"amd64\",\"author\":\"a test\","
		    "\"config\":%s,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
		    image->config ? image->config : "{}");
	for (size_t i = 0; i < image->count; i++)
		strbuf_addf(&config, "%s\"%s\"", i ? "," : "", image->diff_ids[i]);
	strbuf_adds(&config, "]}}");
	blob = layout_blob(f, config.data, config.len);
	strbuf_addf(&manifest,
		    "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\","
		    "\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
		    image->docker ? "application/vnd.docker.distribution.manifest.v2+json"
				  : "application/vnd.oci.image.manifest.v1+json",
		    image->docker ? "application/vnd.docker.container.image.v1+json"
				  : "application/vnd.oci.image.config.v1+json",
		    blob.digest, blob.size);
	for (size_t i = 0; i < image->count; i++)
		strbuf_addf(&manifest, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}",
			    i ? "," : "", layer_type, image->layers[i].digest,
			    image->layers[i].size);
	strbuf_adds(&manifest, "]}");
	return layout_blob(f, manifest.data, manifest.len);
}

void layout_write_index(const struct fixture *f, const char *index)
{
	make_layout(f);
	fixture_write(f, "layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	fixture_write(f, "layout/index.json", index);
}

void layout_write(const struct fixture *f, const struct layout_image *image, const char *tag)
{
	_cleanup_strbuf_ struct strbuf index = { 0 };
	struct blob_text blob = layout_add_image(f, image);

	strbuf_addf(&index,
		    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
		    "\"size\":%zu",
		    image->docker ? "application/vnd.docker.distribution.manifest.v2+json"
				  : "application/vnd.oci.image.manifest.v1+json",
		    blob.digest, blob.size);
	if (tag)
		strbuf_addf(&index,
			    ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"%s\"}", tag);
	strbuf_adds(&index, "}]}");
	layout_write_index(f, index.data);
}

int fixture_unpack(const struct fixture *f, const char *tag, struct error *err)
{
	char source[400], bundle[300];
	struct image_unpack_options options = { .source = source,
						.bundle = bundle,
						.rootless = geteuid() != 0 };

	snprintf(source, sizeof(source), "oci:%s/layout%s%s", f->dir, tag ? ":" : "",
		 tag ? tag : "");
	snprintf(bundle, sizeof(bundle), "%s/bundle", f->dir);
	return image_unpack(&options, err);
}
