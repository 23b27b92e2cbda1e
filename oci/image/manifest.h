/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a source's index.json to one image: the manifest for a tag and this machine, and its
 * configuration. Each blob on the way is checked by digest and size before it is parsed.
 *
 * Media types of OCI and of Docker's schema 2 are read alike. Sources: image-spec image-index.md,
 * manifest.md, config.md, media-types.md.
 */
#ifndef HULL_OCI_IMAGE_MANIFEST_H
#define HULL_OCI_IMAGE_MANIFEST_H

#include "base/arena.h"
#include "oci/image/blob.h"
#include "oci/image/platform.h"
#include "oci/json.h"

#define IMAGE_JSON_MAX   ((size_t)4 << 20)   /* bytes of an index, a manifest or a configuration */
#define IMAGE_ARENA_MAX  ((size_t)512 << 20) /* bytes that all of them may take when parsed */
#define IMAGE_NESTED_MAX 8                   /* indexes within indexes */
#define IMAGE_LAYERS_MAX 4096

struct image_layer {
	struct image_descriptor blob;
	struct digest diff_id; /* of the uncompressed tar stream */
};

struct image_manifest {
	struct image_layer *layers; /* the lowest first */
	size_t layer_count;
	struct image_descriptor blob; /* the manifest itself */
	struct image_descriptor config_blob;
	const struct json_value *config; /* the image's configuration, an object */
};

/*
 * Finds the image with that tag (org.opencontainers.image.ref.name), or the only one where tag is NULL,
 * for the platform. Where there is none or more than one, the message lists the tags. Everything
 * that *manifest points to lives in the arena.
 */
int image_manifest_find(struct image_source *source, const char *tag,
			const struct image_platform *platform, struct arena *arena,
			struct image_manifest *manifest, struct error *err);

/*
 * The image whose manifest is that blob. platform NULL: for any machine, and without a warning. As
 * image_manifest_find() otherwise; descriptor->media_type must live as long as the arena.
 */
int image_manifest_load(struct image_source *source, const struct image_descriptor *descriptor,
			const struct image_platform *platform, struct arena *arena,
			struct image_manifest *manifest, struct error *err);

/* Parses a descriptor object. */
int image_descriptor_parse(const struct json_value *object, struct image_descriptor *descriptor,
			   struct error *err);
/* {"mediaType": …, "digest": …, "size": …} as a value. */
void image_descriptor_write(struct json_writer *w, const struct image_descriptor *descriptor);

/*
 * Chooses the descriptor object of an index's "manifests" array, with *index the array's parent
 * object. Exposed for tests; image_manifest_find() uses it.
 */
int image_index_choose(const struct json_value *index, const char *tag,
		       const struct image_platform *platform, const struct json_value **chosen,
		       struct error *err);

#endif
