/* SPDX-License-Identifier: Apache-2.0 */
/* hull image list, hull image inspect. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "cmd/hull-image/command.h"

#define DIGEST_SHOWN 19 /* "sha256:" and twelve digits */

/* What the list says of one image. */
struct row {
	uint64_t size;     /* bytes of its blobs */
	uint64_t unpacked; /* bytes of the files in its layers */
	size_t layers;
};

static int measure(struct image_store *store, const struct image_reference *reference,
		   struct row *row, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct image_store_layer *layers;
	struct image_manifest manifest;
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	memset(row, 0, sizeof(*row));
	r = image_store_load(store, reference, &arena, &manifest, err);
	if (r >= 0)
		r = image_store_layers(store, &manifest, &arena, &layers, err);
	if (r < 0)
		return r;
	row->layers = manifest.layer_count;
	row->size = manifest.blob.size + manifest.config_blob.size;
	for (size_t i = 0; i < manifest.layer_count; i++) {
		row->size += manifest.layers[i].blob.size;
		row->unpacked += layers[i].bytes;
	}
	return 0;
}

/* An image that is damaged does not hide the others; the status says that something is wrong. */
static bool measured(struct image_store *store, const struct image_reference *reference,
		     struct row *row, int *status)
{
	struct error err = { 0 };

	if (measure(store, reference, row, &err) >= 0)
		return true;
	log_error("image list: %s", err.text);
	*status = 1;
	return false;
}

static void format_size(uint64_t bytes, char *out, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t i = 0;

	while (value >= 1024 && i + 1 < sizeof(units) / sizeof(*units)) {
		value /= 1024;
		i++;
	}
	snprintf(out, size, i ? "%.1f %s" : "%.0f %s", value, units[i]);
}

static void format_time(int64_t seconds, char *out, size_t size)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, size, "?");
}

static void print_row(const struct image_reference *reference, const struct row *row, int width)
{
	char size[32], unpacked[32], pulled[40];

	format_size(row->size, size, sizeof(size));
	format_size(row->unpacked, unpacked, sizeof(unpacked));
	format_time(reference->pulled, pulled, sizeof(pulled));
	printf("%-*s  %-*.*s  %6zu  %10s  %10s  %s\n", width, reference->name.s, DIGEST_SHOWN,
	       DIGEST_SHOWN, digest_text(&reference->manifest.digest).s, row->layers, size,
	       unpacked, pulled);
}

static void add_row(struct json_writer *w, const struct image_reference *reference,
		    const struct row *row)
{
	char pulled[40];

	format_time(reference->pulled, pulled, sizeof(pulled));
	json_write_begin(w, '{');
	json_write_member(w, "name", reference->name.s);
	json_write_member(w, "digest", digest_text(&reference->manifest.digest).s);
	json_write_key(w, "layers");
	json_write_u64(w, row->layers);
	json_write_key(w, "size");
	json_write_u64(w, row->size);
	json_write_key(w, "unpackedSize");
	json_write_u64(w, row->unpacked);
	json_write_member(w, "pulled", pulled);
	json_write_end(w, '}');
}

static int print_text(const struct strbuf *text, struct error *err)
{
	if (strbuf_failed(text))
		return error_errno(err, ENOMEM, "print");
	return fputs(text->data, stdout) == EOF ? error_errno(err, errno, "print") : 0;
}

static int list_json(struct image_store *store, const struct image_reference *references,
		     size_t count, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct json_writer w;
	int status = 0, r;

	json_write_init(&w, &text, 2);
	json_write_begin(&w, '[');
	for (size_t i = 0; i < count; i++) {
		struct row row;

		if (!measured(store, &references[i], &row, &status))
			continue;
		add_row(&w, &references[i], &row);
	}
	json_write_end(&w, ']');
	strbuf_addc(&text, '\n');
	r = print_text(&text, err);
	return r < 0 ? r : status;
}

static int list_table(struct image_store *store, const struct image_reference *references,
		      size_t count)
{
	int width = 4, status = 0;

	for (size_t i = 0; i < count; i++)
		if ((int)strlen(references[i].name.s) > width)
			width = (int)strlen(references[i].name.s);
	printf("%-*s  %-*s  %6s  %10s  %10s  %s\n", width, "NAME", DIGEST_SHOWN, "DIGEST", "LAYERS",
	       "SIZE", "UNPACKED", "PULLED");
	for (size_t i = 0; i < count; i++) {
		struct row row;

		if (!measured(store, &references[i], &row, &status))
			continue;
		print_row(&references[i], &row, width);
	}
	return status;
}

int command_list(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	_cleanup_free_ struct image_reference *references = NULL;
	size_t count = 0;
	int r = open_store(a, IMAGE_STORE_USE, &store, err);

	/* No store yet is a store without images. */
	if (r < 0 && r != -ENOENT)
		return r;
	if (r >= 0)
		r = image_store_list(store, &references, &count, err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (a->quiet) {
		for (size_t i = 0; i < count; i++)
			puts(references[i].name.s);
		return 0;
	}
	return !strcmp(a->format, "json") ? list_json(store, references, count, err)
					  : list_table(store, references, count);
}

/* ---- inspect ------------------------------------------------------------------------------ */

/* A blob's own text: it is JSON that was parsed already. */
static int add_blob(struct strbuf *text, struct image_source *source,
		    const struct image_descriptor *descriptor, struct error *err)
{
	_cleanup_free_ char *blob = NULL;
	ssize_t len = image_blob_load(source, descriptor, IMAGE_JSON_MAX, &blob, err);

	if (len < 0)
		return (int)len;
	strbuf_add(text, blob, (size_t)len);
	return 0;
}

static void add_layer(struct json_writer *w, const struct image_layer *layer,
		      const struct image_store_layer *unpacked)
{
	json_write_begin(w, '{');
	json_write_member(w, "mediaType", layer->blob.media_type);
	json_write_member(w, "digest", digest_text(&layer->blob.digest).s);
	json_write_key(w, "size");
	json_write_u64(w, layer->blob.size);
	json_write_member(w, "diffId", digest_text(&layer->diff_id).s);
	json_write_key(w, "unpacked");
	json_write_bool(w, unpacked->unpacked);
	if (unpacked->unpacked) {
		json_write_key(w, "unpackedSize");
		json_write_u64(w, unpacked->bytes);
		json_write_key(w, "entries");
		json_write_u64(w, unpacked->entries);
	}
	json_write_end(w, '}');
}

static void add_layers(struct strbuf *text, const struct image_manifest *manifest,
		       const struct image_store_layer *layers)
{
	struct json_writer w;

	json_write_init(&w, text, 0);
	json_write_begin(&w, '[');
	for (size_t i = 0; i < manifest->layer_count; i++)
		add_layer(&w, &manifest->layers[i], &layers[i]);
	json_write_end(&w, ']');
}

static void add_strings(struct strbuf *text, const struct image_reference *reference)
{
	struct json_writer w;
	char pulled[40];

	format_time(reference->pulled, pulled, sizeof(pulled));
	strbuf_adds(text, "{\"name\":");
	json_write_init(&w, text, 0);
	json_write_string(&w, reference->name.s);
	strbuf_adds(text, ",\n\"digest\":");
	json_write_init(&w, text, 0);
	json_write_string(&w, digest_text(&reference->manifest.digest).s);
	strbuf_adds(text, ",\n\"pulled\":");
	json_write_init(&w, text, 0);
	json_write_string(&w, pulled);
}

int command_inspect(struct arguments *a, struct error *err)
{
	_cleanup_image_source_ struct image_source *source = NULL;
	_cleanup_image_store_ struct image_store *store = NULL;
	_cleanup_strbuf_ struct strbuf text = { 0 };
	_cleanup_arena_ struct arena arena;
	struct image_reference reference;
	struct image_store_layer *layers;
	struct image_manifest manifest;
	int r = open_store(a, IMAGE_STORE_USE, &store, err);

	arena_init(&arena, IMAGE_ARENA_MAX);
	if (r >= 0)
		r = image_store_resolve(store, a->args[0], &reference, err);
	if (r >= 0)
		r = image_store_load(store, &reference, &arena, &manifest, err);
	if (r >= 0)
		r = image_store_layers(store, &manifest, &arena, &layers, err);
	if (r >= 0)
		r = image_store_source(store, &source, err);
	if (r < 0)
		return r;
	add_strings(&text, &reference);
	strbuf_adds(&text, ",\n\"layers\":");
	add_layers(&text, &manifest, layers);
	strbuf_adds(&text, ",\n\"manifest\":");
	r = add_blob(&text, source, &manifest.blob, err);
	if (r >= 0) {
		strbuf_adds(&text, ",\n\"config\":");
		r = add_blob(&text, source, &manifest.config_blob, err);
	}
	strbuf_adds(&text, "}\n");
	return r < 0 ? r : print_text(&text, err);
}
