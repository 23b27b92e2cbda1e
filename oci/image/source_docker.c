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
#include <limits.h>
#include <string.h>

#include "base/number.h"
#include "oci/image/archive.h"
#include "oci/image/decompress.h"
#include "oci/image/manifest.h"

#define NAMES_MAX  ((size_t)16 << 20) /* bytes of the names of all entries */
#define LISTED_MAX 20                 /* tags that an error message lists */
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
	struct arena arena;
	struct archive_member *members;
	size_t count, cap, names;
};

static int check_interrupted(const struct docker_source *d, struct error *err)
{
	const struct image_source_options *o = &d->options;

	return o->interrupted && o->interrupted(o->interrupted_data)
		       ? error_set(err, EINTR, "interrupted")
		       : 0;
}

/* ---- the archive's entries ------------------------------------------------------------------ */

static int keep_member(void *data, const struct archive_member *member, struct error *err)
{
	struct loading *l = data;
	struct archive_member *m;
	int r = check_interrupted(l->docker, err);

	if (r < 0)
		return r;
	l->names += strlen(member->name) + (member->target ? strlen(member->target) : 0);
	if (l->names > NAMES_MAX)
		return error_set(err, EFBIG,
				 "the names in the image archive have more than %zu bytes",
				 NAMES_MAX);
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct archive_member *more = reallocarray(l->members, cap, sizeof(*more));

		if (!more)
			return error_errno(err, ENOMEM, "read the image archive");
		l->members = more;
		l->cap = cap;
	}
	m = &l->members[l->count];
	*m = *member;
	m->name = arena_strdup(&l->arena, member->name);
	m->target = member->target ? arena_strdup(&l->arena, member->target) : NULL;
	if (!m->name || (member->target && !m->target))
		return error_errno(err, ENOMEM, "read the image archive");
	l->count++;
	return 0;
}

/* Two of one name are two images, depending on who reads. */
static int find_member(const struct loading *l, const char *name,
		       const struct archive_member **found, struct error *err)
{
	*found = NULL;
	for (size_t i = 0; i < l->count; i++) {
		if (strcmp(l->members[i].name, name) != 0)
			continue;
		if (*found)
			return error_set(err, EINVAL, "the image archive has `%.128s` twice", name);
		*found = &l->members[i];
	}
	return *found ? 0
		      : error_set(err, ENOENT, "there is no `%.128s` in the image archive", name);
}

/* The path of a link's target, with neither "." nor "..". dir: what it is relative to, the first len bytes of a name. */
static int link_path(const char *dir, size_t len, const char *target, char *path)
{
	size_t end = 0;
	char text[PATH_MAX];
	char *rest = text, *part;

	if (*target == '/' ||
	    snprintf(text, sizeof(text), "%.*s/%s", (int)len, dir, target) >= (int)sizeof(text))
		return -EINVAL;
	while ((part = strsep(&rest, "/"))) {
		if (!*part || !strcmp(part, "."))
			continue;
		if (!strcmp(part, "..")) {
			if (!end)
				return -EINVAL;
			while (end && path[--end] != '/')
				;
			continue;
		}
		end += (size_t)snprintf(path + end, PATH_MAX - end, "%s%s", end ? "/" : "", part);
	}
	path[end] = '\0';
	return end ? 0 : -EINVAL;
}

/* The regular file of that name, or behind a link of that name: old versions of docker write those for layers that they have already. */
static int find_file(const struct loading *l, const char *name, const struct archive_member **found,
		     struct error *err)
{
	const struct archive_member *m;
	const char *slash;
	char path[PATH_MAX];
	size_t dir = 0;
	int r;

	while (name[0] == '.' && name[1] == '/')
		name += 2;
	r = find_member(l, name, &m, err);
	if (r < 0)
		return r;
	if (m->kind == ARCHIVE_SYMLINK || m->kind == ARCHIVE_HARD_LINK) {
		slash = strrchr(name, '/');
		/* A hard link's target is a name in the archive. */
		if (m->kind == ARCHIVE_SYMLINK && slash)
			dir = (size_t)(slash - name);
		if (link_path(name, dir, m->target, path) < 0)
			return error_set(
				err, EINVAL,
				"`%.128s` of the image archive is a link that leads out of it",
				name);
		r = find_member(l, path, &m, err);
		if (r < 0)
			return r;
	}
	if (m->kind != ARCHIVE_FILE)
		return error_set(err, EINVAL,
				 "`%.128s` of the image archive is neither a regular file nor a "
				 "link to one",
				 name);
	*found = m;
	return 0;
}

static ssize_t read_file(struct loading *l, const char *name, char **text, struct error *err)
{
	const struct archive_member *m;
	int r = find_file(l, name, &m, err);

	return r < 0 ? r
		     : image_source_read(&l->docker->source, m->name, IMAGE_JSON_MAX, text, err);
}

/* ---- which image ---------------------------------------------------------------------------- */

/* The tag without what is added where it is not given. */
static const char *familiar(const char *tag)
{
	static const char *const prefixes[] = { "docker.io/library/", "docker.io/" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(tag, prefixes[i], strlen(prefixes[i])))
			return tag + strlen(prefixes[i]);
	return tag;
}

/* "name:tag", or "name" for "name:latest". */
static bool is_name(const char *wanted, const char *tag)
{
	size_t len;

	wanted = familiar(wanted);
	tag = familiar(tag);
	len = strlen(wanted);
	return !strncmp(wanted, tag, len) && (!tag[len] || !strcmp(tag + len, ":latest"));
}

/* What is behind the name. */
static bool is_tag(const char *wanted, const char *tag)
{
	const char *colon = strrchr(tag, ':');

	return colon && !strcmp(colon + 1, wanted);
}

static bool has_tag(const struct json_value *image, const char *wanted,
		    bool (*match)(const char *wanted, const char *tag))
{
	const struct json_value *tags = json_get(image, "RepoTags");

	if (tags && tags->type == JSON_ARRAY)
		for (const struct json_value *t = tags->child; t; t = t->next)
			if (t->type == JSON_STRING && match(wanted, t->string))
				return true;
	return false;
}

static int tags_error(const struct json_value *images, int code, const char *what,
		      struct error *err)
{
	_cleanup_strbuf_ struct strbuf list = { 0 };
	unsigned count = 0;

	for (const struct json_value *image = images->child; image; image = image->next) {
		const struct json_value *tags = json_get(image, "RepoTags");

		if (!tags || tags->type != JSON_ARRAY)
			continue;
		for (const struct json_value *t = tags->child; t; t = t->next)
			if (t->type == JSON_STRING && count++ < LISTED_MAX)
				strbuf_addf(&list, "%s%.100s", count > 1 ? ", " : "", t->string);
	}
	if (!count)
		return error_set(err, code, "%s; none of its %zu images has a tag: @0 is the first",
				 what, images->children);
	return error_set(err, code, "%s; it has the tags: %s%s", what,
			 strbuf_failed(&list) ? "?" : list.data, count > LISTED_MAX ? ", …" : "");
}

/* The images that match: how many, and *found the last. */
static size_t match_all(const struct json_value *images, const char *wanted,
			bool (*match)(const char *wanted, const char *tag),
			const struct json_value **found)
{
	size_t count = 0;

	for (const struct json_value *image = images->child; image; image = image->next)
		if (has_tag(image, wanted, match)) {
			*found = image;
			count++;
		}
	return count;
}

static int choose_number(const struct json_value *images, const char *number,
			 const struct json_value **found, struct error *err)
{
	uint64_t n;

	if (!parse_u64(number, UINT32_MAX, &n) || n >= images->children)
		return error_set(err, ENOENT, "`@%.20s`: the archive has %zu images, from @0 on",
				 number, images->children);
	for (*found = images->child; n; n--)
		*found = (*found)->next;
	return 0;
}

static int choose(const struct json_value *images, const char *tag, const struct json_value **found,
		  struct error *err)
{
	size_t count;

	if (!tag) {
		*found = images->child;
		return images->children == 1
			       ? 0
			       : tags_error(images, EINVAL, "more than one image: give a tag", err);
	}
	if (*tag == '@')
		return choose_number(images, tag + 1, found, err);
	count = match_all(images, tag, is_name, found);
	if (!count)
		count = match_all(images, tag, is_tag, found);
	if (count == 1)
		return 0;
	return tags_error(images, count ? EINVAL : ENOENT,
			  count ? "more than one image has this tag" : "the image has no such tag",
			  err);
}

static int check_images(const struct json_value *images, struct error *err)
{
	if (images->type != JSON_ARRAY || !images->child)
		return error_set(err, EINVAL, "`manifest.json` is not a list of images");
	for (const struct json_value *image = images->child; image; image = image->next)
		if (image->type != JSON_OBJECT)
			return error_set(err, EINVAL, "`manifest.json` is not a list of images");
	return 0;
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
	return hash_file(d, m, &layer->digest, err);
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
		r = find_file(l, path->string, &m, err);
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
	int r = image_archive_each(l->docker->file, keep_member, l, err);

	if (r < 0)
		return r;
	len = read_file(l, "manifest.json", &text, err);
	if (len < 0)
		return error_wrap(err, "no archive of `docker save`");
	if (json_parse(text, (size_t)len, &l->arena, &images, err) < 0)
		return error_wrap(err, "`manifest.json`");
	r = check_images(images, err);
	if (r >= 0)
		r = choose(images, tag, &image, err);
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
	free(l.members);
	if (r < 0)
		docker_close(&d->source);
	else
		*source = &d->source;
	return r;
}
