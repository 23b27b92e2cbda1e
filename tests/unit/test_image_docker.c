/* SPDX-License-Identifier: Apache-2.0 */
/* oci/image/source_docker: archives of `docker save`, right and wrong; which image a tag chooses. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "base/file.h"
#include "oci/image/manifest.h"
#include "tests/unit/image_fixture.h"

#define LAYER_MAX ((size_t)1 << 20)

static const struct digest sha256 = { .algorithm = "sha256" };

static struct digest_text hash(const void *data, size_t len)
{
	struct digest digest;

	assert_true(digest_of(data, len, &sha256, &digest));
	return digest_text(&digest);
}

/* A layer: a tar of one file. */
static void make_layer(struct strbuf *layer, const char *text)
{
	tar_put(layer, .name = "file", .data = text);
	tar_end(layer);
}

static void put_bytes(struct strbuf *tar, const char *name, const void *data, size_t len)
{
	tar_put(tar, .name = name, .data = data, .len = len);
}

static char *make_config(const char *diff_ids)
{
	static char config[1024];

	snprintf(
		config, sizeof(config),
		"{\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
		diff_ids);
	return config;
}

static void save(const struct fixture *f, struct strbuf *tar)
{
	tar_end(tar);
	assert_false(strbuf_failed(tar));
	assert_int_equal(file_replace(f->fd, "saved.tar", tar->data, tar->len, 0644, NULL), 0);
	strbuf_free(tar);
}

/* An archive with the configuration `config.json`, a layer `layer.tar` of that text, and that manifest.json. */
static void save_image(const struct fixture *f, const char *text, const char *manifest)
{
	struct strbuf tar = { 0 }, layer = { 0 };
	char id[200];

	make_layer(&layer, text);
	snprintf(id, sizeof(id), "\"%s\"", hash(layer.data, layer.len).s);
	put_bytes(&tar, "layer.tar", layer.data, layer.len);
	tar_put(&tar, .name = "config.json", .data = make_config(id));
	tar_put(&tar, .name = "manifest.json", .data = manifest);
	save(f, &tar);
	strbuf_free(&layer);
}

/* Opens T/saved.tar, finds the image, and reads every layer. Returns how many there are. */
static int load(const struct fixture *f, const char *tag, struct digest *config, struct error *err)
{
	_cleanup_image_source_ struct image_source *source = NULL;
	const struct image_platform platform = image_platform_host();
	const struct image_source_options options = { 0 };
	_cleanup_arena_ struct arena arena;
	struct image_manifest manifest;
	char name[400];
	int r;

	arena_init(&arena, 0);
	snprintf(name, sizeof(name), "docker-archive:%s/saved.tar%s%s", f->dir, tag ? ":" : "",
		 tag ? tag : "");
	r = image_source_open(name, &options, &source, &tag, err);
	if (r >= 0)
		r = image_manifest_find(source, tag, &platform, &arena, &manifest, err);
	if (r < 0)
		return r;
	if (config)
		*config = manifest.config_blob.digest;
	for (size_t i = 0; i < manifest.layer_count; i++) {
		char *data;
		ssize_t len =
			image_blob_load(source, &manifest.layers[i].blob, LAYER_MAX, &data, err);

		if (len < 0)
			return (int)len;
		free(data);
	}
	return (int)manifest.layer_count;
}

static void load_fails(const struct fixture *f, const char *tag, const char *message)
{
	struct error err = { 0 };

	if (load(f, tag, NULL, &err) >= 0)
		fail_msg("it was taken, in place of: %s", message);
	if (!strstr(err.text, message))
		fail_msg("`%s` says nothing of `%s`", err.text, message);
}

#define ONE_IMAGE \
	"[{\"Config\":\"config.json\",\"RepoTags\":[\"one:v1\"],\"Layers\":[\"layer.tar\"]}]"

static void an_image_is_read(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	struct digest config;

	save_image(f, "text", ONE_IMAGE);
	assert_int_equal(load(f, NULL, &config, &err), 1);
	assert_int_equal(load(f, "one:v1", NULL, &err), 1);
	assert_int_equal(load(f, "v1", NULL, &err), 1);
	assert_int_equal(load(f, "docker.io/library/one:v1", NULL, &err), 1);
	assert_int_equal(load(f, "@0", NULL, &err), 1);
	load_fails(f, "one", "has the tags: one:v1");
	load_fails(f, "one:v", "has the tags: one:v1");
	load_fails(f, "@1", "has 1 images");
	load_fails(f, "@", "has 1 images");
	load_fails(f, "@-1", "has 1 images");
}

static void a_tag_chooses(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	save_image(
		f, "text",
		"[{\"Config\":\"config.json\",\"RepoTags\":[\"localhost:5000/one:latest\","
		"\"two:v2\"],\"Layers\":[\"layer.tar\"]},"
		"{\"Config\":\"config.json\",\"RepoTags\":[\"three:latest\"],\"Layers\":[\"layer.tar\"]},"
		"{\"Config\":\"config.json\",\"RepoTags\":null,\"Layers\":[\"nosuch\"]}]");
	load_fails(f, NULL,
		   "give a tag; it has the tags: localhost:5000/one:latest, two:v2, three:latest");
	load_fails(f, "latest", "more than one image has this tag");
	load_fails(f, "@2", "no `nosuch`");
	assert_int_equal(load(f, "localhost:5000/one", NULL, &err), 1);
	assert_int_equal(load(f, "two:v2", NULL, &err), 1);
	assert_int_equal(load(f, "three", NULL, &err), 1);
}

/* What old versions of docker write for a layer that is there already. */
static void links_lead_to_layers(void **state)
{
	static const struct {
		char type;
		const char *link, *message;
	} cases[] = {
		{ '2', "../layer.tar", NULL },
		{ '2', "./.././a/../layer.tar", NULL },
		{ '1', "layer.tar", NULL },
		{ '2', "../../layer.tar", "leads out of it" },
		{ '2', "/layer.tar", "leads out of it" },
		{ '2', "..", "leads out of it" },
		{ '2', "../nosuch", "no `nosuch`" },
		{ '2', "layer.tar", "neither a regular file nor a link to one" },
		{ '2', "../a", "neither a regular file nor a link to one" },
		{ '1', "../layer.tar", "leads out of it" },
		{ '3', NULL, "neither a regular file nor a link to one" },
		{ '6', NULL, "neither a regular file nor a link to one" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf tar = { 0 }, layer = { 0 };
		struct error err = { 0 };
		char id[200];

		make_layer(&layer, "text");
		snprintf(id, sizeof(id), "\"%s\"", hash(layer.data, layer.len).s);
		tar_put(&tar, .name = "a", .type = '2', .link = "layer.tar");
		put_bytes(&tar, "./layer.tar", layer.data, layer.len);
		tar_put(&tar, .name = "b/layer.tar", .type = cases[i].type, .link = cases[i].link);
		tar_put(&tar, .name = "config.json", .data = make_config(id));
		tar_put(&tar, .name = "manifest.json",
			.data = "[{\"Config\":\"config.json\",\"Layers\":[\"b/layer.tar\"]}]");
		save(f, &tar);
		strbuf_free(&layer);
		if (cases[i].message)
			load_fails(f, NULL, cases[i].message);
		else if (load(f, NULL, NULL, &err) != 1)
			fail_msg("%zu: %s", i, err.text);
	}
}

static void packed_layers_are_taken(void **state)
{
	static const enum compression kinds[] = { GZIP, ZSTD, XZ };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct strbuf tar = { 0 }, layer = { 0 }, packed = { 0 };
		struct error err = { 0 };
		char id[200];

		make_layer(&layer, "text");
		snprintf(id, sizeof(id), "\"%s\"", hash(layer.data, layer.len).s);
		compress_to(&packed, kinds[i], layer.data, layer.len);
		put_bytes(&tar, "layer.tar", packed.data, packed.len);
		tar_put(&tar, .name = "config.json", .data = make_config(id));
		tar_put(&tar, .name = "manifest.json", .data = ONE_IMAGE);
		save(f, &tar);
		strbuf_free(&layer);
		strbuf_free(&packed);
		if (kinds[i] == XZ)
			load_fails(f, NULL, "packed with xz");
		else if (load(f, NULL, NULL, &err) != 1)
			fail_msg("%s", err.text);
	}
}

static void what_was_changed_is_refused(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 }, layer = { 0 };
	char id[200], name[100];

	/* A layer that is not what the configuration says. */
	make_layer(&layer, "text");
	snprintf(id, sizeof(id), "\"%s\"", hash(layer.data, layer.len).s);
	layer.data[600] ^= 1;
	put_bytes(&tar, "layer.tar", layer.data, layer.len);
	tar_put(&tar, .name = "config.json", .data = make_config(id));
	tar_put(&tar, .name = "manifest.json", .data = ONE_IMAGE);
	save(f, &tar);
	load_fails(f, NULL, "another digest");
	/* A configuration that is not what its name says. */
	snprintf(name, sizeof(name), "%064d.json", 0);
	put_bytes(&tar, "layer.tar", layer.data, layer.len);
	tar_put(&tar, .name = name, .data = make_config(id));
	snprintf(id, sizeof(id), "[{\"Config\":\"%s\",\"Layers\":[\"layer.tar\"]}]", name);
	tar_put(&tar, .name = "manifest.json", .data = id);
	save(f, &tar);
	load_fails(f, NULL, "has another digest");
	strbuf_free(&layer);
}

static void malformed_archives_are_refused(void **state)
{
	static const char *const cases[][2] = {
		{ "{}", "not a list of images" },
		{ "[]", "not a list of images" },
		{ "[1]", "not a list of images" },
		{ "[{}]", "without `Config`" },
		{ "[{\"Config\":1}]", "without `Config`" },
		{ "[{\"Config\":\"../../etc/passwd\"}]", "no `../../etc/passwd`" },
		{ "[{\"Config\":\"manifest.json\",\"Layers\":[]}]", "not an object" },
		{ "[{\"Config\":\"config.json\",\"Layers\":[]}]",
		  "0 layers, and its configuration names 1" },
		{ "[{\"Config\":\"config.json\",\"Layers\":null}]", "0 layers" },
		{ "[{\"Config\":\"config.json\",\"Layers\":[\"layer.tar\",\"layer.tar\"]}]",
		  "2 layers" },
		{ "[{\"Config\":\"config.json\",\"Layers\":[{}]}]", "not a path" },
		{ "[{\"Config\":\"layer.tar\",\"Layers\":[\"layer.tar\"]}]",
		  "configuration `layer.tar`" },
		{ "[", "manifest.json" },
	};
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		save_image(f, "text", cases[i][0]);
		load_fails(f, NULL, cases[i][1]);
	}
	fixture_write(f, "saved.tar", "this is no tar archive");
	load_fails(f, NULL, "read the image archive");
	tar_put(&tar, .name = "manifest.json", .type = '2', .link = "/etc/passwd");
	save(f, &tar);
	load_fails(f, NULL, "leads out of it");
	tar_put(&tar, .name = "manifest.json", .data = ONE_IMAGE);
	tar_put(&tar, .name = "./manifest.json", .data = "[]");
	save(f, &tar);
	load_fails(f, NULL, "twice");
	tar_put(&tar, .name = "manifest.json", .data = "[]", .size_text = "77777777777");
	save(f, &tar);
	load_fails(f, NULL, "image archive");
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(an_image_is_read),
		test(a_tag_chooses),
		test(links_lead_to_layers),
		test(packed_layers_are_taken),
		test(what_was_changed_is_refused),
		test(malformed_archives_are_refused),
	};

	return cmocka_run_group_tests_name("docker archives", tests, NULL, NULL);
}
