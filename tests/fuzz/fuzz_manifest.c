/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the JSON of an image: as an index that is chosen from, as a manifest behind an index whose
 * digest is right, and as a configuration that is converted, for a bundle and to be run. What comes out of the conversion must be
 * printable, and the print must be parsed again.
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "oci/image/config_image.h"
#include "oci/image/manifest.h"
#include "oci/image/run.h"
#include "oci/image/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A source that holds the input as index.json and as every blob that it is asked for. */
struct memory_source {
	struct image_source source;
	const uint8_t *data;
	size_t size;
	const char *index; /* in place of the input, where not NULL */
};

struct memory_reader {
	struct image_reader reader;
	const uint8_t *data;
	size_t left;
};

static ssize_t memory_read(struct image_reader *reader, void *buf, size_t len,
			   struct error *err _unused_)
{
	struct memory_reader *m = (struct memory_reader *)reader;

	if (len > m->left)
		len = m->left;
	memcpy(buf, m->data, len);
	m->data += len;
	m->left -= len;
	return (ssize_t)len;
}

static void memory_close(struct image_reader *reader)
{
	free(reader);
}

static int memory_open(struct image_source *source, const char *path, struct image_reader **reader,
		       struct error *err)
{
	struct memory_source *s = (struct memory_source *)source;
	struct memory_reader *m = calloc(1, sizeof(*m));

	if (!m)
		return error_errno(err, ENOMEM, "open");
	m->reader.read = memory_read;
	m->reader.close = memory_close;
	m->data = s->data;
	m->left = s->size;
	if (s->index && !strcmp(path, "index.json")) {
		m->data = (const uint8_t *)s->index;
		m->left = strlen(s->index);
	}
	*reader = &m->reader;
	return 0;
}

static const struct image_source_ops memory_ops = { .open = memory_open };

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	return 0;
}

static void check_failure(int r, const struct error *err)
{
	if (r < 0 && (!err->code || !err->text[0]))
		abort();
}

static void find(struct memory_source *source)
{
	const struct image_platform platform = { "linux", "amd64", { "", "v1" } };
	_cleanup_arena_ struct arena arena;
	struct image_manifest manifest;
	struct error err = { 0 };

	arena_init(&arena, IMAGE_ARENA_MAX);
	check_failure(
		image_manifest_find(&source->source, NULL, &platform, &arena, &manifest, &err),
		&err);
	error_clear(&err);
	check_failure(image_manifest_find(&source->source, "t", &platform, &arena, &manifest, &err),
		      &err);
}

static void print_again(const struct oci_config *config, struct arena *arena)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct oci_config *again;
	struct error err = { 0 };

	if (oci_config_print(config, &text, &err) < 0)
		abort();
	/* An image may say what the runtime refuses (a variable without "="); then it says so, and does not crash. */
	check_failure(oci_config_parse(text.data, text.len, arena, &again, &err), &err);
}

/* run NULL: as a bundle; else as `hull run --image` does it. */
static void convert(const uint8_t *data, size_t size, const struct image_run *run)
{
	_cleanup_arena_ struct arena arena;
	struct oci_config *config;
	struct json_value *root;
	struct error err = { 0 };
	int r;

	arena_init(&arena, IMAGE_CONFIG_ARENA_MAX);
	if (json_parse((const char *)data, size, &arena, &root, &err) < 0 ||
	    root->type != JSON_OBJECT)
		return;
	/* A descriptor that is none: there are no users to look up. */
	r = run ? image_run_config(run, root, -1, &arena, &config, &err)
		: image_config_convert(root, -1, false, &arena, &config, &err);
	check_failure(r, &err);
	if (r >= 0)
		print_again(config, &arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory_source source = { { &memory_ops }, data, size, NULL };
	const struct digest like = { .algorithm = "sha256" };
	struct digest_stream *stream = digest_begin(&like);
	struct digest digest;
	char index[512];

	find(&source);
	if (!stream || !digest_update(stream, data, size) || !digest_finish(stream, &digest))
		abort();
	digest_free(stream);
	snprintf(index, sizeof(index),
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image."
		 "manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu}]}",
		 digest_text(&digest).s, size);
	source.index = index;
	find(&source);
	convert(data, size, NULL);
	convert(data, size, &(struct image_run){ .name = "box", .read_only = true });
	convert(data, size,
		&(struct image_run){ .name = "box", .network = "host", .rootless = true });
	return 0;
}
