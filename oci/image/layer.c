/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a layer entry by entry; see layer.h. */
#include "oci/image/layer.h"

#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "base/path.h"
#include "oci/image/layer_internal.h"

#define TAR_BLOCK 512

void layer_target_init(struct layer_target *target, int rootfs, bool rootless)
{
	memset(target, 0, sizeof(*target));
	target->rootfs = rootfs;
	target->rootless = rootless;
	path_map_init(&target->modes);
}

void layer_target_free(struct layer_target *target)
{
	path_map_free(&target->modes);
}

int layer_target_finish(struct layer_target *target, struct error *err)
{
	return layer_set_modes(target, err);
}

int layer_archive_error(struct layer *layer, struct error *err)
{
	const char *text;

	if (layer->read_error.code) {
		if (err)
			*err = layer->read_error;
		return -layer->read_error.code;
	}
	text = archive_error_string(layer->archive);
	return error_set(err, EINVAL, "damaged layer: %s", text ? text : "unknown error");
}

void layer_warn_once(struct layer *layer, enum layer_warning which, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (layer->target->warned & which)
		return;
	layer->target->warned |= which;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_warning("%s", text);
}

int layer_clean_name(const char *name, char *out, size_t size, struct error *err)
{
	size_t used = 0, depth = 0;
	const char *p = name;

	while (*(p += strspn(p, "/"))) {
		size_t len = strcspn(p, "/");

		if (len == 1 && p[0] == '.') {
			p += len;
			continue;
		}
		/* No tool that makes layers writes "..": it is there to leave the root file system. */
		if (len == 2 && !memcmp(p, "..", 2))
			return error_set(err, EINVAL, "the name `%.256s` has `..`", name);
		if (len > NAME_MAX || used + len + 2 > size || ++depth > LAYER_DEPTH_MAX)
			return error_errno(err, ENAMETOOLONG, "the name `%.256s…`", name);
		if (used)
			out[used++] = '/';
		memcpy(out + used, p, len);
		used += len;
		p += len;
	}
	out[used] = '\0';
	return 0;
}

/*
 * umoci 0.4 ends a tar without the padding of its last file, and Go's readers do not mind; so the stream is
 * filled up to a whole block. The DiffID is of the bytes that are there.
 */
static size_t pad_block(struct layer *layer)
{
	size_t missing = (TAR_BLOCK - layer->bytes % TAR_BLOCK) % TAR_BLOCK;

	memset(layer->buffer, 0, missing);
	layer->bytes += missing;
	return missing;
}

static la_ssize_t read_callback(struct archive *archive, void *data, const void **buffer)
{
	struct layer *layer = data;
	ssize_t n;

	n = layer->read(layer->read_data, layer->buffer, sizeof(layer->buffer), &layer->read_error);
	if (n < 0) {
		if (!layer->read_error.code)
			error_set(&layer->read_error, (int)-n, "read a layer");
		archive_set_error(archive, (int)-n, "read");
		return -1;
	}
	/* A stream of zeros without end compresses well. */
	layer->bytes += (uint64_t)n;
	if (n == 0)
		n = (ssize_t)pad_block(layer);
	if (layer->bytes > LAYER_BYTES_MAX) {
		error_set(&layer->read_error, EFBIG, "the layer is larger than %llu bytes",
			  (unsigned long long)LAYER_BYTES_MAX);
		archive_set_error(archive, EFBIG, "read");
		return -1;
	}
	*buffer = layer->buffer;
	return n;
}

static int apply_one(struct layer *layer, struct archive_entry *entry, struct error *err)
{
	const char *name = archive_entry_pathname(entry);
	char clean[PATH_MAX];
	enum layer_whiteout kind;
	int r;

	if (++layer->entries > LAYER_ENTRIES_MAX)
		return error_set(err, EFBIG, "the layer has more than %d entries",
				 LAYER_ENTRIES_MAX);
	if (!name || !*name)
		return error_set(err, EINVAL, "an entry of the layer has no name");
	r = layer_clean_name(name, clean, sizeof(clean), err);
	if (r < 0)
		return r;
	kind = layer_whiteout_kind(clean);
	r = kind == LAYER_NO_WHITEOUT ? layer_entry_apply(layer, entry, clean, err)
				      : layer_whiteout_apply(layer, clean, kind, err);
	if (r < 0)
		return error_wrap(err, "entry `%.256s`", name);
	return 0;
}

static int apply_entries(struct layer *layer, struct error *err)
{
	struct archive_entry *entry;

	for (;;) {
		int r = archive_read_next_header(layer->archive, &entry);

		if (r == ARCHIVE_EOF)
			return 0;
		/*
		 * ARCHIVE_WARN is about what does not matter here: mostly names that are no text in
		 * the locale "C", in which we stay so that names are the bytes that they were.
		 */
		if (r == ARCHIVE_WARN)
			log_debug("layer: %s", archive_error_string(layer->archive));
		else if (r != ARCHIVE_OK)
			return layer_archive_error(layer, err);
		r = apply_one(layer, entry, err);
		if (r < 0)
			return r;
	}
}

static int open_archive(struct layer *layer, struct error *err)
{
	/* The stream is decompressed already, and nothing but tar is a layer. */
	if (archive_read_support_format_tar(layer->archive) != ARCHIVE_OK ||
	    archive_read_support_format_empty(layer->archive) != ARCHIVE_OK ||
	    archive_read_open(layer->archive, layer, NULL, read_callback, NULL) != ARCHIVE_OK)
		return layer_archive_error(layer, err);
	return 0;
}

int layer_apply(struct layer_target *target, layer_read_fn read, void *data, struct error *err)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	ssize_t n;
	int r;

	if (!layer)
		return error_errno(err, ENOMEM, "apply a layer");
	layer->target = target;
	layer->read = read;
	layer->read_data = data;
	path_map_init(&layer->paths);
	layer->archive = archive_read_new();
	n = readlink(path_of_fd(target->rootfs).s, layer->root_path, sizeof(layer->root_path) - 1);
	if (n < 0)
		r = error_errno(err, errno, "find the root file system's path in /proc");
	else if (!layer->archive)
		r = error_errno(err, ENOMEM, "apply a layer");
	else
		r = open_archive(layer, err);
	if (!r)
		r = apply_entries(layer, err);
	if (!r)
		r = layer_set_times(layer, err);
	if (layer->archive)
		archive_read_free(layer->archive);
	path_map_free(&layer->paths);
	free(layer);
	return r;
}
