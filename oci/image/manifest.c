/* SPDX-License-Identifier: Apache-2.0 */
/* Index, manifest and configuration of an image; see manifest.h. */
#include "oci/image/manifest.h"

#include <stdbool.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"

#define REF_NAME   "org.opencontainers.image.ref.name"
#define LISTED_MAX 20 /* tags that an error message lists */

static const char *const index_types[] = {
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	NULL,
};
static const char *const manifest_types[] = {
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
	NULL,
};
static const char *const config_types[] = {
	"application/vnd.oci.image.config.v1+json",
	"application/vnd.docker.container.image.v1+json",
	NULL,
};
/* How a layer is compressed is seen from its bytes: Docker has no media type for zstd, yet such layers exist. */
static const char *const layer_types[] = {
	"application/vnd.oci.image.layer.v1.tar",
	"application/vnd.oci.image.layer.v1.tar+gzip",
	"application/vnd.oci.image.layer.v1.tar+zstd",
	"application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
	"application/vnd.docker.image.rootfs.diff.tar",
	"application/vnd.docker.image.rootfs.diff.tar.gzip",
	"application/vnd.docker.image.rootfs.diff.tar.zstd",
	"application/vnd.docker.image.rootfs.foreign.diff.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	NULL,
};

static bool is_one_of(const char *type, const char *const *types)
{
	for (; type && *types; types++)
		if (!strcmp(type, *types))
			return true;
	return false;
}

int image_descriptor_parse(const struct json_value *object, struct image_descriptor *descriptor,
			   struct error *err)
{
	const struct json_value *size;
	int r;

	memset(descriptor, 0, sizeof(*descriptor));
	if (!object || object->type != JSON_OBJECT)
		return error_set(err, EINVAL, "a descriptor is missing");
	descriptor->media_type = json_get_string(object, "mediaType");
	if (!descriptor->media_type)
		return error_set(err, EINVAL, "a descriptor has no mediaType");
	r = digest_parse(json_get_string(object, "digest"), &descriptor->digest, err);
	if (r < 0)
		return r;
	size = json_get(object, "size");
	if (!size || !json_u64(size, INT64_MAX, &descriptor->size))
		return error_set(err, EINVAL, "the descriptor of %s has no valid size",
				 digest_text(&descriptor->digest).s);
	return 0;
}

void image_descriptor_write(struct json_writer *w, const struct image_descriptor *descriptor)
{
	json_write_begin(w, '{');
	json_write_member(w, "mediaType", descriptor->media_type);
	json_write_member(w, "digest", digest_text(&descriptor->digest).s);
	json_write_key(w, "size");
	json_write_u64(w, descriptor->size);
	json_write_end(w, '}');
}

/* ---- the index ---------------------------------------------------------------------------- */

static const char *ref_name(const struct json_value *descriptor)
{
	const struct json_value *annotations = json_get(descriptor, "annotations");

	if (!annotations || annotations->type != JSON_OBJECT)
		return NULL;
	return json_get_string(annotations, REF_NAME);
}

static bool is_image_or_index(const struct json_value *descriptor)
{
	const char *type;

	if (descriptor->type != JSON_OBJECT)
		return false;
	type = json_get_string(descriptor, "mediaType");
	return type && (is_one_of(type, index_types) || is_one_of(type, manifest_types));
}

/* An error that ends with the tags that there are. */
static int tag_error(const struct json_value *manifests, int code, struct error *err,
		     const char *what)
{
	_cleanup_strbuf_ struct strbuf tags = { 0 };
	unsigned count = 0;

	for (const struct json_value *m = manifests->child; m; m = m->next) {
		const char *name = is_image_or_index(m) ? ref_name(m) : NULL;

		if (!name)
			continue;
		if (count++ < LISTED_MAX)
			strbuf_addf(&tags, "%s%.100s", count > 1 ? ", " : "", name);
	}
	if (!count)
		return error_set(err, code, "%s; none of its images has a tag", what);
	return error_set(err, code, "%s; it has the tags: %s%s", what,
			 strbuf_failed(&tags) ? "?" : tags.data, count > LISTED_MAX ? ", …" : "");
}

static bool same_name(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

/* One image under two tags is one image. */
static bool same_blob(const struct json_value *a, const struct json_value *b)
{
	return same_name(json_get_string(a, "digest"), json_get_string(b, "digest"));
}

int image_index_choose(const struct json_value *index, const char *tag,
		       const struct image_platform *platform, const struct json_value **chosen,
		       struct error *err)
{
	const struct json_value *manifests = json_get(index, "manifests");
	const struct json_value *best = NULL;
	bool any = false, two_names = false, tie = false;
	int best_score = 0;

	*chosen = NULL;
	if (!manifests || manifests->type != JSON_ARRAY)
		return error_set(err, EINVAL, "the index has no array `manifests`");
	for (const struct json_value *m = manifests->child; m; m = m->next) {
		const struct json_value *object;
		int score;

		if (!is_image_or_index(m) || (tag && !same_name(tag, ref_name(m))))
			continue;
		any = true;
		object = json_get(m, "platform");
		score = image_platform_score(platform,
					     object && object->type == JSON_OBJECT ? object : NULL);
		if (!score || (best && same_blob(best, m)))
			continue;
		if (best && !same_name(ref_name(best), ref_name(m)))
			two_names = true;
		/* Among those for the same platform the first counts (image-index.md); without one, none does. */
		if (score == best_score && score == 1)
			tie = true;
		if (score <= best_score)
			continue;
		best = m;
		best_score = score;
		tie = false;
	}
	if (!any && tag)
		return tag_error(manifests, ENOENT, err, "the image has no such tag");
	if (!any)
		return error_set(err, ENOENT, "there is no image in the index");
	if (!best)
		return error_set(err, ENOENT, "there is no image for the platform %s/%s",
				 platform->os, platform->architecture);
	if (two_names && !tag)
		return tag_error(manifests, EINVAL, err, "more than one image: give a tag");
	if (tie)
		return tag_error(manifests, EINVAL, err,
				 tag ? "more than one image has this tag"
				     : "more than one image, and no way to choose");
	*chosen = best;
	return 0;
}

static int check_schema(const struct json_value *object, const char *const *types,
			struct error *err)
{
	const struct json_value *version;
	const char *type;
	uint64_t number;

	if (object->type != JSON_OBJECT)
		return error_set(err, EINVAL, "expected an object, found %s",
				 json_type_name(object->type));
	version = json_get(object, "schemaVersion");
	if (!version || !json_u64(version, UINT64_MAX, &number) || number != 2)
		return error_set(err, EINVAL, "schemaVersion is not 2");
	/* A blob that is a manifest to one reader and an index to another (CVE-2021-41190) is neither to us. */
	type = json_get_string(object, "mediaType");
	if (type && !is_one_of(type, types))
		return error_set(err, EINVAL,
				 "its mediaType `%.128s` is not what its descriptor said", type);
	if (types == manifest_types && json_get(object, "manifests"))
		return error_set(err, EINVAL, "a manifest with `manifests`");
	if (types == index_types && (json_get(object, "layers") || json_get(object, "config")))
		return error_set(err, EINVAL, "an index with `layers` or `config`");
	return 0;
}

/* ---- the manifest and the configuration --------------------------------------------------- */

/* Reads a JSON blob into the arena's tree. */
static int load_json(struct image_source *source, const struct image_descriptor *descriptor,
		     struct arena *arena, struct json_value **root, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t len = image_blob_load(source, descriptor, IMAGE_JSON_MAX, &text, err);

	if (len < 0)
		return (int)len;
	if (json_parse(text, (size_t)len, arena, root, err) < 0)
		return error_wrap(err, "blob %s", digest_text(&descriptor->digest).s);
	return 0;
}

static int parse_layers(const struct json_value *object, struct arena *arena,
			struct image_manifest *manifest, struct error *err)
{
	const struct json_value *layers = json_get(object, "layers");
	size_t i = 0;

	if (!layers || layers->type != JSON_ARRAY)
		return error_set(err, EINVAL, "no array `layers`");
	if (layers->children > IMAGE_LAYERS_MAX)
		return error_set(err, EFBIG, "more than %d layers", IMAGE_LAYERS_MAX);
	manifest->layers = arena_array(arena, layers->children ? layers->children : 1,
				       sizeof(*manifest->layers));
	if (!manifest->layers)
		return error_errno(err, ENOMEM, "parse");
	for (const struct json_value *l = layers->child; l; l = l->next, i++) {
		struct image_descriptor *blob = &manifest->layers[i].blob;

		if (image_descriptor_parse(l, blob, err) < 0)
			return error_wrap(err, "layer %zu", i + 1);
		if (!is_one_of(blob->media_type, layer_types))
			return error_set(err, EOPNOTSUPP,
					 "layer %zu: media type `%.128s` is not supported", i + 1,
					 blob->media_type);
	}
	manifest->layer_count = i;
	return 0;
}

static int parse_manifest(const struct json_value *object, struct arena *arena,
			  struct image_manifest *manifest, struct error *err)
{
	int r = check_schema(object, manifest_types, err);

	if (r < 0)
		return r;
	if (image_descriptor_parse(json_get(object, "config"), &manifest->config_blob, err) < 0)
		return error_wrap(err, "config");
	if (!is_one_of(manifest->config_blob.media_type, config_types))
		return error_set(err, EOPNOTSUPP,
				 "it is not a container image: its configuration is `%.128s`",
				 manifest->config_blob.media_type);
	return parse_layers(object, arena, manifest, err);
}

static int parse_diff_ids(const struct json_value *config, struct image_manifest *manifest,
			  struct error *err)
{
	const struct json_value *rootfs = json_get(config, "rootfs"), *ids;
	const char *type;
	size_t i = 0;

	if (!rootfs || rootfs->type != JSON_OBJECT)
		return error_set(err, EINVAL, "no object `rootfs`");
	type = json_get_string(rootfs, "type");
	if (!type || strcmp(type, "layers") != 0)
		return error_set(err, EINVAL, "rootfs.type is not `layers`");
	ids = json_get(rootfs, "diff_ids");
	/* "null" is what Go's encoder leaves for an image without layers. */
	if ((!ids || ids->type == JSON_NULL) && !manifest->layer_count)
		return 0;
	if (!ids || ids->type != JSON_ARRAY || ids->children != manifest->layer_count)
		return error_set(err, EINVAL, "rootfs.diff_ids does not name %zu layers",
				 manifest->layer_count);
	for (const struct json_value *id = ids->child; id; id = id->next, i++)
		if (digest_parse(id->type == JSON_STRING ? id->string : NULL,
				 &manifest->layers[i].diff_id, err) < 0)
			return error_wrap(err, "rootfs.diff_ids");
	return 0;
}

static int check_platform(const struct json_value *config, const struct image_platform *platform,
			  struct error *err)
{
	const char *os = json_get_string(config, "os");
	const char *architecture = json_get_string(config, "architecture");

	if (os && *os && strcmp(os, platform->os) != 0)
		return error_set(err, ENOENT, "the image is for `%.32s`, not for %s", os,
				 platform->os);
	/* No error: an emulator may be registered with binfmt_misc, or the bundle is for another machine. */
	if (architecture && *architecture && strcmp(architecture, platform->architecture) != 0)
		log_warning("the image is for the architecture `%.32s`, this machine is `%s`",
			    architecture, platform->architecture);
	return 0;
}

static int load_config(struct image_source *source, const struct image_platform *platform,
		       struct arena *arena, struct image_manifest *manifest, struct error *err)
{
	struct json_value *config;
	int r = load_json(source, &manifest->config_blob, arena, &config, err);

	if (r < 0)
		return r;
	if (config->type != JSON_OBJECT)
		return error_set(err, EINVAL, "the configuration of the image is not an object");
	if (parse_diff_ids(config, manifest, err) < 0)
		return error_wrap(err, "configuration of the image");
	manifest->config = config;
	return platform ? check_platform(config, platform, err) : 0;
}

/* From the manifest's own object on. */
static int load_image(struct image_source *source, const struct image_descriptor *descriptor,
		      const struct json_value *object, const struct image_platform *platform,
		      struct arena *arena, struct image_manifest *manifest, struct error *err)
{
	int r = parse_manifest(object, arena, manifest, err);

	if (r < 0)
		return error_wrap(err, "manifest %s", digest_text(&descriptor->digest).s);
	manifest->blob = *descriptor;
	return load_config(source, platform, arena, manifest, err);
}

int image_manifest_load(struct image_source *source, const struct image_descriptor *descriptor,
			const struct image_platform *platform, struct arena *arena,
			struct image_manifest *manifest, struct error *err)
{
	struct json_value *object;
	int r;

	memset(manifest, 0, sizeof(*manifest));
	if (!is_one_of(descriptor->media_type, manifest_types))
		return error_set(err, EINVAL, "`%.128s` is no manifest", descriptor->media_type);
	r = load_json(source, descriptor, arena, &object, err);
	return r < 0 ? r : load_image(source, descriptor, object, platform, arena, manifest, err);
}

int image_manifest_find(struct image_source *source, const char *tag,
			const struct image_platform *platform, struct arena *arena,
			struct image_manifest *manifest, struct error *err)
{
	struct image_descriptor descriptor;
	const struct json_value *chosen;
	_cleanup_free_ char *text = NULL;
	struct json_value *object;
	ssize_t len;
	int r;

	memset(manifest, 0, sizeof(*manifest));
	len = image_source_read(source, "index.json", IMAGE_JSON_MAX, &text, err);
	if (len < 0)
		return (int)len;
	if (json_parse(text, (size_t)len, arena, &object, err) < 0)
		return error_wrap(err, "`index.json`");
	for (int depth = 0; depth < IMAGE_NESTED_MAX; depth++) {
		r = check_schema(object, index_types, err);
		if (r < 0)
			return error_wrap(err, "index");
		r = image_index_choose(object, depth ? NULL : tag, platform, &chosen, err);
		if (r < 0)
			return r;
		r = image_descriptor_parse(chosen, &descriptor, err);
		if (r < 0)
			return r;
		r = load_json(source, &descriptor, arena, &object, err);
		if (r < 0)
			return r;
		if (!is_one_of(descriptor.media_type, manifest_types))
			continue;
		return load_image(source, &descriptor, object, platform, arena, manifest, err);
	}
	return error_set(err, ELOOP, "indexes are nested deeper than %d", IMAGE_NESTED_MAX);
}
