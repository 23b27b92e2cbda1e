/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An archive of `docker save` as a source: `manifest.json` says which files are an image's configuration and layers.
 * One image is chosen when it is opened, and `index.json` and a manifest are made of it, so that all
 * else sees an ordinary image.
 *
 * There are no digests in such an archive. The configuration is named by its own bytes, and a layer, being
 * a plain tar, by the configuration's diff_ids; so whatever is read is checked as any other blob. A
 * packed layer, which some tools write, is read once more, for its digest.
 *
 * Source: moby's image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format".
 */
#include <string.h>

#include "oci/image/archive_index.h"
#include "oci/image/decompress.h"
#include "oci/image/docker_tags.h"
#include "oci/image/manifest.h"

#define HASH_BLOCK 65536

#define TYPE(what) "application/vnd.oci.image." what

/* A blob of the chosen image. */
struct piece {
	struct digest digest;
	const char *data; /* NULL: it is in the archive, at path */
	size_t len;
	const char *path;
};

struct docker_source {
	struct image_source source;
	int file; /* O_PATH */
	struct image_source_options options;
	struct arena arena; /* of all that follows */
	char *index;
	struct piece *pieces; /* manifest, configuration, layers */
	size_t count;
};

/* What is known while the archive is opened. */
struct loading {
	struct docker_source *docker;
	struct archive_index *index;
	struct arena arena;
};

static int check_interrupted(const struct docker_source *d, struct error *err)
{
	const struct image_source_options *o = &d->options;

	return o->interrupted && o->interrupted(o->interrupted_data)
		       ? error_set(err, EINTR, "interrupted")
		       : 0;
}

static ssize_t read_file(struct loading *l, const char *name, char **text, struct error *err)
{
	const struct archive_member *m;
	int r = archive_index_find(l->index, name, &m, err);

	return r < 0 ? r
		     : image_source_read(&l->docker->source, m->name, IMAGE_JSON_MAX, text, err);
}

/* ---- its parts ------------------------------------------------------------------------------ */

static int hash_error(struct error *err)
{
	return error_set(err, ENOMEM, "hash a part of the image archive: libcrypto failed");
}

/* The digest of a whole file, which has the size that its entry says. */
static int hash_file(const struct docker_source *d, const struct archive_member *m,
		     struct digest *digest, struct error *err)
{
	static const struct digest sha256 = { .algorithm = "sha256" };
	_cleanup_image_reader_ struct image_reader *reader = NULL;
	struct digest_stream *hash = digest_begin(&sha256);
	_cleanup_free_ char *buf = malloc(HASH_BLOCK);
	ssize_t n = 1;
	int r = hash && buf ? image_archive_open(d->file, m->name, &reader, err) : hash_error(err);

	while (r >= 0 && n > 0) {
		r = check_interrupted(d, err);
		n = r < 0 ? r : reader->read(reader, buf, HASH_BLOCK, err);
		if (n < 0)
			r = (int)n;
		else if (!digest_update(hash, buf, (size_t)n))
			r = hash_error(err);
	}
	if (r >= 0 && !digest_finish(hash, digest))
		r = hash_error(err);
	digest_free(hash);
	return r;
}

/* As hash_file(), but a file that is named by a thousand layers is read once. Only for packed layers: their pieces have the file's own digest. */
static int hash_packed(const struct docker_source *d, const struct archive_member *m,
		       struct digest *digest, struct error *err)
{
	for (size_t i = 0; i < d->count; i++) {
		if (!d->pieces[i].path || strcmp(d->pieces[i].path, m->name) != 0)
			continue;
		*digest = d->pieces[i].digest;
		return 0;
	}
	return hash_file(d, m, digest, err);
}

static int describe_layer(const struct docker_source *d, const struct archive_member *m,
			  const struct digest *diff_id, struct image_descriptor *layer,
			  struct error *err)
{
	layer->size = m->size;
	switch (compression_of(m->start,
			       m->size < ARCHIVE_START ? (size_t)m->size : ARCHIVE_START)) {
	case COMPRESSION_GZIP:
		layer->media_type = TYPE("layer.v1.tar+gzip");
		break;
	case COMPRESSION_ZSTD:
		layer->media_type = TYPE("layer.v1.tar+zstd");
		break;
	case COMPRESSION_XZ:
		return error_set(err, EOPNOTSUPP,
				 "layer `%.128s` of the image archive is packed with xz, which no "
				 "image can have",
				 m->name);
	default:
		layer->media_type = TYPE("layer.v1.tar");
		layer->digest = *diff_id;
		return 0;
	}
	return hash_packed(d, m, &layer->digest, err);
}

/* Where the file's name is a digest, it has to be that of the file. */
static int check_config_name(const char *path, const struct digest *digest, struct error *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strspn(name, "0123456789abcdef");

	if (len != strlen(digest->hex) || (name[len] && strcmp(name + len, ".json") != 0) ||
	    !memcmp(name, digest->hex, len))
		return 0;
	return error_set(err, EBADMSG,
			 "the configuration `%.128s` of the image archive has another digest: %s",
			 path, digest_text(digest).s);
}

static const struct json_value *array_of(const struct json_value *object, const char *key)
{
	const struct json_value *array = object ? json_get(object, key) : NULL;

	return array && array->type == JSON_ARRAY ? array : NULL;
}

struct manifest_parts {
	const struct json_value *layers;   /* paths; NULL: none */
	const struct json_value *diff_ids; /* of the same number; NULL: none */
	size_t count;
	const char *config;
	size_t config_len;
	struct image_descriptor config_blob;
};

static int load_config(struct loading *l, const struct json_value *image, struct manifest_parts *p,
		       struct error *err)
{
	static const struct digest sha256 = { .algorithm = "sha256" };
	const char *path = json_get_string(image, "Config");
	const struct json_value *rootfs;
	_cleanup_free_ char *text = NULL;
	struct json_value *config;
	ssize_t len;

	if (!path)
		return error_set(err, EINVAL, "`manifest.json`: an image without `Config`");
	len = read_file(l, path, &text, err);
	if (len < 0)
		return (int)len;
	p->config = arena_memdup(&l->docker->arena, text, (size_t)len);
	p->config_len = (size_t)len;
	if (!p->config || !digest_of(text, (size_t)len, &sha256, &p->config_blob.digest))
		return hash_error(err);
	p->config_blob.media_type = TYPE("config.v1+json");
	p->config_blob.size = (uint64_t)len;
	if (check_config_name(path, &p->config_blob.digest, err) < 0)
		return -EBADMSG;
	if (json_parse(text, (size_t)len, &l->arena, &config, err) < 0)
		return error_wrap(err, "configuration `%.128s` of the image archive", path);
	rootfs = config->type == JSON_OBJECT ? json_get(config, "rootfs") : NULL;
	p->layers = array_of(image, "Layers");
	p->diff_ids = array_of(rootfs && rootfs->type == JSON_OBJECT ? rootfs : NULL, "diff_ids");
	p->count = p->layers ? p->layers->children : 0;
	if (p->count != (p->diff_ids ? p->diff_ids->children : 0) || p->count > IMAGE_LAYERS_MAX)
		return error_set(err, EINVAL,
				 "the image has %zu layers, and its configuration names %zu",
				 p->count, p->diff_ids ? p->diff_ids->children : 0);
	return 0;
}

static int write_layers(struct loading *l, const struct manifest_parts *p, struct json_writer *w,
			struct error *err)
{
	const struct json_value *path = p->layers ? p->layers->child : NULL;
	const struct json_value *id = p->diff_ids ? p->diff_ids->child : NULL;
	struct docker_source *d = l->docker;

	for (; path && id; path = path->next, id = id->next) {
		struct piece *piece = &d->pieces[d->count];
		struct image_descriptor layer = { 0 };
		const struct archive_member *m;
		struct digest diff_id;
		int r = digest_parse(id->type == JSON_STRING ? id->string : NULL, &diff_id, err);

		if (r < 0)
			return error_wrap(err, "rootfs.diff_ids");
		if (path->type != JSON_STRING)
			return error_set(err, EINVAL,
					 "`manifest.json`: a layer that is not a path");
		r = archive_index_find(l->index, path->string, &m, err);
		if (r >= 0)
			r = describe_layer(d, m, &diff_id, &layer, err);
		if (r < 0)
			return r;
		image_descriptor_write(w, &layer);
		piece->digest = layer.digest;
		piece->path = arena_strdup(&d->arena, m->name);
		if (!piece->path)
			return error_errno(err, ENOMEM, "read the image archive");
		d->count++;
	}
	return 0;
}

static int make_manifest(struct loading *l, const struct manifest_parts *p, struct error *err)
{
	struct image_descriptor manifest = { .media_type = TYPE("manifest.v1+json") };
	static const struct digest sha256 = { .algorithm = "sha256" };
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct docker_source *d = l->docker;
	struct json_writer w;
	int r;

	d->pieces = arena_array(&d->arena, p->count + 2, sizeof(*d->pieces));
	if (!d->pieces)
		return error_errno(err, ENOMEM, "read the image archive");
	d->count = 2;
	json_write_init(&w, &text, 0);
	json_write_begin(&w, '{');
	json_write_key(&w, "schemaVersion");
	json_write_u64(&w, 2);
	json_write_member(&w, "mediaType", manifest.media_type);
	json_write_key(&w, "config");
	image_descriptor_write(&w, &p->config_blob);
	json_write_key(&w, "layers");
	json_write_begin(&w, '[');
	r = write_layers(l, p, &w, err);
	if (r < 0)
		return r;
	json_write_end(&w, ']');
	json_write_end(&w, '}');
	if (strbuf_failed(&text) || !digest_of(text.data, text.len, &sha256, &manifest.digest))
		return hash_error(err);
	manifest.size = text.len;
	d->index = arena_printf(&d->arena,
				"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\","
				"\"digest\":\"%s\",\"size\":%zu}]}",
				manifest.media_type, digest_text(&manifest.digest).s, text.len);
	d->pieces[0] =
		(struct piece){ manifest.digest, arena_memdup(&d->arena, text.data, text.len),
				text.len, NULL };
	d->pieces[1] = (struct piece){ p->config_blob.digest, p->config, p->config_len, NULL };
	return d->index && d->pieces[0].data ? 0
					     : error_errno(err, ENOMEM, "read the image archive");
}

static int load(struct loading *l, const char *tag, struct error *err)
{
	struct manifest_parts parts = { 0 };
	const struct json_value *image = NULL;
	_cleanup_free_ char *text = NULL;
	struct json_value *images;
	ssize_t len;
	int r = archive_index_make(l->docker->file, &l->docker->options, &l->index, err);

	if (r < 0)
		return r;
	len = read_file(l, "manifest.json", &text, err);
	if (len < 0)
		return error_wrap(err, "no archive of `docker save`");
	if (json_parse(text, (size_t)len, &l->arena, &images, err) < 0)
		return error_wrap(err, "`manifest.json`");
	r = docker_image_choose(images, tag, &image, err);
	if (r >= 0)
		r = load_config(l, image, &parts, err);
	return r < 0 ? r : make_manifest(l, &parts, err);
}

/* ---- the source ----------------------------------------------------------------------------- */

static int docker_open(struct image_source *source, const char *path, struct image_reader **reader,
		       struct error *err)
{
	const struct docker_source *d = (struct docker_source *)source;

	if (d->index && !strcmp(path, "index.json"))
		return image_reader_of_memory(d->index, strlen(d->index), reader, err);
	return image_archive_open(d->file, path, reader, err);
}

static int docker_open_blob(struct image_source *source, const struct image_descriptor *descriptor,
			    uint64_t offset, struct image_reader **reader, struct error *err)
{
	const struct docker_source *d = (struct docker_source *)source;

	for (size_t i = 0; i < d->count; i++) {
		const struct piece *piece = &d->pieces[i];
		int r;

		if (!digest_equal(&piece->digest, &descriptor->digest))
			continue;
		r = piece->data ? image_reader_of_memory(piece->data, piece->len, reader, err)
				: image_archive_open(d->file, piece->path, reader, err);
		return r < 0 ? r : image_reader_skip(reader, offset, err);
	}
	return error_set(err, ENOENT, "there is no blob %s in the image archive",
			 digest_text(&descriptor->digest).s);
}

static void docker_close(struct image_source *source)
{
	struct docker_source *d = (struct docker_source *)source;

	arena_free(&d->arena);
	close(d->file);
	free(d);
}

static const struct image_source_ops docker_ops = { docker_open, docker_open_blob, docker_close };

int image_source_open_docker(int file, const char *tag, const struct image_source_options *options,
			     struct image_source **source, struct error *err)
{
	struct docker_source *d = calloc(1, sizeof(*d));
	struct loading l = { .docker = d };
	int r;

	if (!d) {
		close(file);
		return error_errno(err, ENOMEM, "open image");
	}
	d->source.ops = &docker_ops;
	d->file = file;
	d->options = *options;
	arena_init(&d->arena, IMAGE_ARENA_MAX);
	arena_init(&l.arena, IMAGE_ARENA_MAX);
	r = load(&l, tag, err);
	arena_free(&l.arena);
	archive_index_free(l.index);
	if (r < 0)
		docker_close(&d->source);
	else
		*source = &d->source;
	return r;
}
