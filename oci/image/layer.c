/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a layer entry by entry; see layer.h. */
#include "oci/image/layer.h"

#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "oci/image/layer_internal.h"

#define TAR_BLOCK 512

void layer_target_init(struct layer_target *target, int rootfs, bool rootless)
{
	memset(target, 0, sizeof(*target));
	target->rootfs = rootfs;
	target->rootless = rootless;
	target->form = LAYER_FLAT;
	target->lower = LAYER_LOWER_NONE;
	target->max_bytes = LAYER_BYTES_MAX;
	target->max_entries = LAYER_ENTRIES_MAX;
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

int layer_next_piece(struct layer *layer, int64_t size, const void **piece, size_t *len,
		     int64_t *offset, struct error *err)
{
	la_int64_t at;
	int r = archive_read_data_block(layer->archive, piece, len, &at);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK)
		return layer_archive_error(layer, err);
	if (at < 0 || at > size || *len > (uint64_t)(size - at))
		return error_set(err, EINVAL, "damaged layer: content beyond its end");
	*offset = at;
	return 1;
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

/* The next block, counted: a stream of zeros without end compresses well. */
static ssize_t read_block(struct layer *layer, const char **block, struct error *err)
{
	struct layer_target *target = layer->target;
	ssize_t n = layer->read(layer->read_data, block, err);

	if (n < 0)
		return err->code ? n : error_set(err, (int)-n, "read a layer");
	layer->bytes += (uint64_t)n;
	target->bytes += (uint64_t)n;
	if (target->bytes > target->max_bytes)
		return error_set(
			err, EFBIG,
			"the layers unpack to more than %llu bytes, the limit (--max-size)",
			(unsigned long long)target->max_bytes);
	return n;
}

/*
 * umoci 0.4 ends a tar without the padding of its last file, and Go's readers do not mind; so the stream is
 * filled up to a whole block. The DiffID is of the bytes that are there.
 */
static la_ssize_t pad_block(struct layer *layer, const void **buffer)
{
	static const char zeros[TAR_BLOCK];
	size_t missing = (TAR_BLOCK - layer->bytes % TAR_BLOCK) % TAR_BLOCK;

	*buffer = zeros;
	layer->bytes += missing;
	return (la_ssize_t)missing;
}

static la_ssize_t read_callback(struct archive *archive, void *data, const void **buffer)
{
	struct layer *layer = data;
	const char *block;
	ssize_t n = read_block(layer, &block, &layer->read_error);

	if (n < 0) {
		archive_set_error(archive, (int)-n, "read");
		return -1;
	}
	if (n == 0)
		return pad_block(layer, buffer);
	*buffer = block;
	return n;
}

static int apply_one(struct layer *layer, struct archive_entry *entry, struct error *err)
{
	const char *name = archive_entry_pathname(entry);
	struct layer_target *target = layer->target;
	char clean[PATH_MAX];
	enum layer_whiteout kind;
	int r;

	if (++target->entries > target->max_entries)
		return error_set(
			err, EFBIG,
			"the layers have more than %llu entries, the limit (--max-entries)",
			(unsigned long long)target->max_entries);
	if (!name || !*name)
		return error_set(err, EINVAL, "an entry of the layer has no name");
	r = layer_clean_name(name, clean, sizeof(clean), err);
	if (r < 0)
		return r;
	kind = layer_whiteout_kind(clean);
	if (target->form == LAYER_COMPARE)
		return kind == LAYER_NO_WHITEOUT ? layer_compare_entry(layer, entry, clean, err)
						 : 0;
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

/* What stands behind the end of the tar belongs to the layer's digests. */
static int read_rest(struct layer *layer, struct error *err)
{
	const char *block;
	ssize_t n;

	do
		n = read_block(layer, &block, err);
	while (n > 0);
	return (int)n;
}

static int apply(struct layer *layer, struct error *err)
{
	bool compare = layer->target->form == LAYER_COMPARE;
	int r = compare ? 0 : layer_dirs_init(&layer->dirs, layer->target->rootfs, err);

	if (r < 0)
		return r;
	layer->archive = archive_read_new();
	if (!layer->archive)
		return error_errno(err, ENOMEM, "apply a layer");
	r = open_archive(layer, err);
	if (r >= 0)
		r = apply_entries(layer, err);
	if (r >= 0)
		r = read_rest(layer, err);
	if (r < 0)
		return r;
	return compare ? layer_compare_finish(layer, err) : layer_dirs_finish(&layer->dirs, err);
}

int layer_apply(struct layer_target *target, layer_read_fn read, void *data, struct error *err)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	struct error local = { 0 };
	int r;

	if (!err)
		err = &local;
	if (!layer)
		return error_errno(err, ENOMEM, "apply a layer");
	layer->target = target;
	layer->read = read;
	layer->read_data = data;
	layer->uid = geteuid();
	layer->gid = getegid();
	name_set_init(&layer->made);
	r = apply(layer, err);
	if (layer->archive)
		archive_read_free(layer->archive);
	layer_dirs_free(&layer->dirs);
	name_set_free(&layer->made);
	strbuf_free(&layer->differing);
	free(layer);
	return r;
}
