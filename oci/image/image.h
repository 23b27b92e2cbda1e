/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI images on disk: reading a layout, checking what it holds, and unpacking an image to a bundle.
 *
 * Everything in a layout is hostile: the index, the manifests, the configuration and above all the
 * layers. Blobs are read once and checked against their digest and size; JSON is bounded; a layer
 * is applied through descriptors of the root file system and never by path strings, so that it
 * cannot reach anything outside it.
 *
 * Sources: image-spec image-layout.md, image-index.md, manifest.md, config.md, layer.md, conversion.md.
 */
#ifndef HULL_OCI_IMAGE_H
#define HULL_OCI_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "oci/config.h"
#include "oci/image/manifest.h"

enum image_format {
	IMAGE_FORMAT_DIR,   /* a bundle */
	IMAGE_FORMAT_EROFS, /* a file with an EROFS file system of the whole root */
};

struct image_unpack_options {
	const char *source; /* as image_source_open() takes it */
	enum image_format format;
	/* A directory that does not exist, or is empty; made as 0700. IMAGE_FORMAT_EROFS: a file that does not exist. */
	const char *bundle;
	bool rootless; /* not root: owners are not kept, devices are skipped with a warning, config for a user namespace */
	/*
	 * The caller is in a user namespace of its own with these mappings (host ids are those outside of it): owners are kept, and
	 * the config is for such a namespace. NULL: it is not.
	 */
	const struct oci_id_mappings *uids, *gids;
	/* IMAGE_FORMAT_EROFS: the root file system, as a mount that is attached nowhere, in the place of the layers; may be NULL. */
	const int *tree;
	bool plain_http;      /* registries are spoken to without TLS */
	uint64_t max_bytes;   /* of all layers' tar streams; 0: LAYER_BYTES_MAX of layer.h */
	uint64_t max_entries; /* of all layers; 0: LAYER_ENTRIES_MAX */
	void (*progress)(void *data, const char *what, unsigned long done,
			 unsigned long total); /* may be NULL */
	void *progress_data;
	bool (*interrupted)(
		void *data); /* asked often; true: stop, clean up, -EINTR; may be NULL */
	void *interrupted_data;
};

/*
 * Unpacks an image: bundle/rootfs from its layers and bundle/config.json from its configuration. On an error nothing
 * is left of what it made.
 *
 * IMAGE_FORMAT_EROFS: makes one file of the root file system, by mkfs.erofs(1), which must be installed. The same image gives the
 * same bytes, where it is unpacked on the same kind of file system. It takes all owners: -EPERM for `rootless`. It appears when it is
 * whole; what a killed process leaves beside it, in `.NAME.hull`, the next one removes that makes the same file (-EBUSY while another
 * does).
 */
int image_unpack(const struct image_unpack_options *options, struct error *err);

/* As image_unpack(), of an image that is known already; options->source is not looked at. */
int image_unpack_manifest(const struct image_unpack_options *options, struct image_source *source,
			  const struct image_manifest *manifest, struct arena *arena,
			  struct error *err);

#endif
