/* SPDX-License-Identifier: Apache-2.0 */
/* oci/image: digests, choosing an image, users, configurations, and whole images unpacked or refused. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "oci/image/config_image.h"
#include "oci/image/digest.h"
#include "oci/image/image.h"
#include "oci/image/manifest.h"
#include "oci/image/user.h"
#include "oci/json.h"
#include "tests/unit/image_fixture.h"

#define HEX64    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define EMPTY    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MANIFEST "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":1"

static void unpack_ok(struct fixture *f, const char *tag)
{
	struct error err = { 0 };

	if (fixture_unpack(f, tag, &err) != 0)
		fail_msg("%s", err.text);
	assert_true(fixture_exists(f, "bundle/config.json"));
}

static void unpack_fails(struct fixture *f, const char *tag, const char *message)
{
	struct error err = { 0 };

	assert_true(fixture_unpack(f, tag, &err) < 0);
	if (!strstr(err.text, message))
		fail_msg("`%s` is not in `%s`", message, err.text);
	assert_false(fixture_exists(f, "bundle"));
}

/* ---- digests ------------------------------------------------------------------------------ */

static void digests_are_parsed_strictly(void **state)
{
	static const char *const bad[] = {
		"",
		"sha256",
		"sha256:",
		"sha256:" HEX64 "0",
		"sha256:0123",
		"sha256:../../../../../../../../../../../../../../../../../../etc/passwd.....",
		"sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
		"sha512:" HEX64,
		"Sha256:" HEX64,
		" sha256:" HEX64,
		"sha256:" HEX64 "\n",
	};
	struct digest digest;

	(void)state;
	assert_int_equal(digest_parse("sha256:" HEX64, &digest, NULL), 0);
	assert_string_equal(digest_text(&digest).s, "sha256:" HEX64);
	assert_string_equal(digest_blob_path(&digest).s, "blobs/sha256/" HEX64);
	assert_int_equal(digest_parse("sha512:" HEX64 HEX64, &digest, NULL), 0);
	assert_string_equal(digest_blob_path(&digest).s, "blobs/sha512/" HEX64 HEX64);
	assert_int_equal(digest_parse(NULL, &digest, NULL), -EINVAL);
	assert_int_equal(digest_parse("md5:0123456789abcdef0123456789abcdef", &digest, NULL),
			 -EOPNOTSUPP);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(digest_parse(bad[i], &digest, NULL) < 0);
}

static void streams_are_hashed(void **state)
{
	struct digest_stream *stream;
	struct digest like, found;

	(void)state;
	assert_int_equal(digest_parse("sha256:" EMPTY, &like, NULL), 0);
	stream = digest_begin(&like);
	assert_non_null(stream);
	assert_true(digest_update(stream, "", 0));
	assert_true(digest_finish(stream, &found));
	assert_true(digest_equal(&like, &found));
	digest_free(stream);
	found.hex[63] ^= 1;
	assert_false(digest_equal(&like, &found));
}

/* ---- choosing ----------------------------------------------------------------------------- */

static const struct image_platform amd64 = { "linux", "amd64", { "", "v1" } };

/* One entry of an index: DIGIT makes its digest. */
#define ENTRY(digit, more) "{" MANIFEST ",\"digest\":\"sha256:" digit "\"" more "}"
#define NAMED(name)        ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" name "\"}"
#define FOR(os, arch)      ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"}"
#define VARIANT(v) \
	",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"" v "\"}"

/* The digest that is chosen ("1", "2", …), or the error's text. */
static const char *choose(struct arena *arena, const char *entries, const char *tag)
{
	char *text = arena_printf(arena, "{\"schemaVersion\":2,\"manifests\":[%s]}", entries);
	const struct json_value *chosen;
	struct json_value *index;
	struct error err = { 0 };

	assert_int_equal(json_parse(text, strlen(text), arena, &index, &err), 0);
	if (image_index_choose(index, tag, &amd64, &chosen, &err) < 0)
		return arena_strdup(arena, err.text);
	return json_get_string(chosen, "digest") + strlen("sha256:");
}

static void images_are_chosen_by_tag_and_platform(void **state)
{
	static const struct {
		const char *entries, *tag, *chosen;
	} cases[] = {
		{ ENTRY("1", ""), NULL, "1" },
		{ ENTRY("1", NAMED("a")), NULL, "1" },
		{ ENTRY("1", NAMED("a")) "," ENTRY("2", NAMED("b")), "b", "2" },
		{ ENTRY("1", NAMED("a")) "," ENTRY("2", NAMED("b")), NULL,
		  "more than one image: give a tag; it has the tags: a, b" },
		{ ENTRY("1", NAMED("a")) "," ENTRY("2", ""), NULL,
		  "more than one image: give a tag; it has the tags: a" },
		{ ENTRY("1", NAMED("a")) "," ENTRY("1", NAMED("b")), NULL, "1" },
		{ ENTRY("1", NAMED("a")), "b", "the image has no such tag; it has the tags: a" },
		{ ENTRY("1", ""), "b", "the image has no such tag; none of its images has a tag" },
		{ ENTRY("1", "") "," ENTRY("2", ""), NULL,
		  "more than one image, and no way to choose; none of its images has a tag" },
		{ ENTRY("1", FOR("linux", "arm64")) "," ENTRY("2", FOR("linux", "amd64")), NULL,
		  "2" },
		{ ENTRY("1", FOR("windows", "amd64")) "," ENTRY("2", FOR("linux", "amd64")), NULL,
		  "2" },
		{ ENTRY("1", FOR("linux", "arm64")), NULL,
		  "there is no image for the platform linux/amd64" },
		{ ENTRY("1", FOR("linux", "amd64")) "," ENTRY("2", FOR("unknown", "unknown")), NULL,
		  "1" },
		{ ENTRY("1", FOR("linux", "amd64")) "," ENTRY("2", FOR("linux", "amd64")), NULL,
		  "1" },
		{ ENTRY("1", VARIANT("v3")) "," ENTRY("2", FOR("linux", "amd64")), NULL, "2" },
		{ ENTRY("1", VARIANT("v1")) "," ENTRY("2", FOR("linux", "amd64")), NULL, "2" },
		{ ENTRY("1", VARIANT("v1")), NULL, "1" },
		{ "{\"mediaType\":\"x/y\",\"digest\":\"sha256:1\"}", NULL,
		  "there is no image in the index" },
		{ "\"x\",7,null," ENTRY("1", ""), NULL, "1" },
		{ "", NULL, "there is no image in the index" },
	};
	_cleanup_arena_ struct arena arena;

	(void)state;
	arena_init(&arena, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(choose(&arena, cases[i].entries, cases[i].tag),
				    cases[i].chosen);
}

static void the_tags_of_a_layout(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "f", .data = "1");
	layout_add_layer(f, &image, &tar, GZIP);
	layout_write(f, &image, "v1.0");
	unpack_fails(f, "v2", "it has the tags: v1.0");
	unpack_ok(f, "v1.0");
}

static void indexes_may_be_nested_but_not_for_ever(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };
	struct blob_text blob;
	struct strbuf tar = { 0 };
	char index[1000];

	tar_put(&tar, .name = "f", .data = "1");
	layout_add_layer(f, &image, &tar, PLAIN);
	blob = layout_add_image(f, &image);
	for (int depth = 0; depth < 10; depth++) {
		snprintf(
			index, sizeof(index),
			"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.%s"
			".v1+json\",\"digest\":\"%s\",\"size\":%zu}]}",
			depth ? "index" : "manifest", blob.digest, blob.size);
		layout_write_index(f, index);
		if (depth == 3) {
			unpack_ok(f, NULL);
			assert_int_equal(renameat(f->fd, "bundle", f->fd, "done"), 0);
		}
		blob = layout_blob(f, index, strlen(index));
	}
	unpack_fails(f, NULL, "nested deeper");
}

/* ---- users -------------------------------------------------------------------------------- */

static void add_users(const struct fixture *f)
{
	fixture_mkdir(f, "root/etc");
	fixture_write(f, "root/etc/passwd",
		      "root:x:0:0:root:/root:/bin/sh\n"
		      "# a comment\n"
		      "broken:x:1x:5::/:\n"
		      "minus:x:-1:5::/:\n"
		      "big:x:4294967295:5::/:\n"
		      "huge:x:18446744073709551617:5::/:\n"
		      "short:x:5\n"
		      ":x:6:6::/:\n"
		      "app:x:1000:1001:An app:/:/bin/sh\n"
		      "app:x:7:7::/:\n"
		      "last:x:8:9::/:");
	fixture_write(f, "root/etc/group",
		      "root:x:0:\n"
		      "wheel:x:10:root,app\n"
		      "app:x:1001:app\n"
		      "broken:x:z:app\n"
		      "dup:x:10:app\n"
		      "other:x:11:application,xapp\n"
		      "audio:x:12:app");
}

static void users_become_numbers(void **state)
{
	static const struct {
		const char *text;
		unsigned uid, gid, groups, first;
	} cases[] = {
		{ "", 0, 0, 0, 0 },
		{ "0", 0, 0, 0, 0 },
		{ "1000", 1000, 1001, 0, 0 },
		{ "4242", 4242, 0, 0, 0 },
		{ "4242:4343", 4242, 4343, 0, 0 },
		{ "1000:5", 1000, 5, 0, 0 },
		{ "1000:wheel", 1000, 10, 0, 0 },
		{ "app", 1000, 1001, 2, 10 },
		{ "app:5", 1000, 5, 0, 0 },
		{ "app:audio", 1000, 12, 0, 0 },
		{ "last", 8, 9, 0, 0 },
		{ "root", 0, 0, 1, 10 },
		{ "4294967294", 4294967294, 0, 0, 0 },
	};
	static const char *const bad[] = { "nobody",
					   "broken",
					   "minus",
					   "big",
					   "huge",
					   "short",
					   ":",
					   "app:",
					   ":0",
					   "4294967295",
					   "18446744073709551616",
					   "-1",
					   "1000:-1",
					   "0:4294967295",
					   "app:none",
					   "1000:broken",
					   "# a comment",
					   "1 ",
					   "app:wheel:x" };
	struct fixture *f = *state;
	_cleanup_arena_ struct arena arena;
	struct oci_user user;

	arena_init(&arena, 0);
	add_users(f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		memset(&user, 0, sizeof(user));
		if (image_user_resolve(f->rootfs, cases[i].text, &arena, &user, &err) != 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_true(user.uid.set && user.gid.set);
		assert_int_equal(user.uid.v, cases[i].uid);
		assert_int_equal(user.gid.v, cases[i].gid);
		assert_int_equal(user.additional_gids.len, cases[i].groups);
		if (cases[i].groups)
			assert_int_equal(user.additional_gids.items[0], cases[i].first);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (image_user_resolve(f->rootfs, bad[i], &arena, &user, NULL) == 0)
			fail_msg("%s", bad[i]);
}

static void hostile_user_files_are_refused(void **state)
{
	struct fixture *f = *state;
	_cleanup_arena_ struct arena arena;
	struct oci_user user;
	struct error err = { 0 };
	char path[300];

	arena_init(&arena, 0);
	/* None: numbers work, names do not. */
	assert_int_equal(image_user_resolve(f->rootfs, "5", &arena, &user, &err), 0);
	assert_int_equal(image_user_resolve(f->rootfs, "app", &arena, &user, &err), -ENOENT);
	fixture_mkdir(f, "root/etc");
	assert_int_equal(mkfifoat(f->fd, "root/etc/passwd", 0644), 0);
	assert_int_equal(image_user_resolve(f->rootfs, "app", &arena, &user, &err), -EINVAL);
	unlinkat(f->fd, "root/etc/passwd", 0);
	/* Its links lead inside. */
	fixture_write(f, "outside/passwd", "app:x:666:666::/:\n");
	snprintf(path, sizeof(path), "%s/outside/passwd", f->dir);
	assert_int_equal(symlinkat(path, f->fd, "root/etc/passwd"), 0);
	assert_int_equal(image_user_resolve(f->rootfs, "app", &arena, &user, &err), -ENOENT);
	unlinkat(f->fd, "root/etc/passwd", 0);
	fixture_write(f, "root/etc/passwd", "app:x:1:1::/:\n");
	snprintf(path, sizeof(path), "%s/root/etc/passwd", f->dir);
	assert_int_equal(truncate(path, (off_t)1 << 40), 0);
	assert_int_equal(image_user_resolve(f->rootfs, "app", &arena, &user, &err), -EFBIG);
	unlinkat(f->fd, "outside/passwd", 0);
}

/* ---- configurations ----------------------------------------------------------------------- */

static struct oci_config *convert(struct fixture *f, struct arena *arena, const char *image)
{
	struct oci_config *config = NULL;
	struct json_value *root;
	struct error err = { 0 };

	if (json_parse(image, strlen(image), arena, &root, &err) < 0 ||
	    image_config_convert(root, f->rootfs, false, arena, &config, &err) < 0)
		fail_msg("%s", err.text);
	return config;
}

static const struct oci_mount *find_mount(const struct oci_config *config, const char *destination)
{
	for (size_t i = 0; i < config->mounts.len; i++)
		if (!strcmp(config->mounts.items[i].destination, destination))
			return &config->mounts.items[i];
	return NULL;
}

static void an_image_becomes_a_configuration(void **state)
{
	struct fixture *f = *state;
	_cleanup_arena_ struct arena arena;
	_cleanup_strbuf_ struct strbuf printed = { 0 };
	struct oci_config *c, *again;
	struct error err = { 0 };

	arena_init(&arena, 0);
	add_users(f);
	c = convert(
		f, &arena,
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v1\",\"author\":\"me\","
		"\"created\":\"2020-01-01T00:00:00Z\",\"os.features\":[\"a\",\"b\"],\"config\":{"
		"\"User\":\"app\",\"Env\":[\"A=b\",\"PATH=/mine\"],\"Entrypoint\":[\"/init\",\"-x\"],"
		"\"Cmd\":[\"run\"],\"WorkingDir\":\"/srv\",\"StopSignal\":\"SIGQUIT\","
		"\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},"
		"\"Volumes\":{\"/data\":{},\"/../x\":{},\"rel\":{},\"/\":{},\"/proc\":{}},"
		"\"Labels\":{\"x\":\"y\",\"org.opencontainers.image.author\":\"label\","
		"\"run.hull.sandbox\":\"container\",\"run.oci.hooks.stdout\":\"/x\","
		"\"org.systemd.property.X\":\"y\"}}}");
	assert_int_equal(c->process->args.len, 3);
	assert_string_equal(c->process->args.items[0], "/init");
	assert_string_equal(c->process->args.items[2], "run");
	assert_string_equal(c->process->env.items[0], "A=b");
	assert_string_equal(c->process->env.items[1], "PATH=/mine");
	for (size_t i = 2; i < c->process->env.len; i++)
		assert_true(strncmp(c->process->env.items[i], "PATH=", 5) != 0);
	assert_string_equal(c->process->cwd, "/srv");
	assert_int_equal(c->process->user->uid.v, 1000);
	assert_int_equal(c->process->user->additional_gids.len, 2);
	assert_false(c->process->terminal.v);
	assert_string_equal(c->root->path, "rootfs");
	assert_false(c->root->readonly.v);
	assert_non_null(find_mount(c, "/data"));
	assert_string_equal(find_mount(c, "/data")->type, "tmpfs");
	assert_null(find_mount(c, "/../x"));
	assert_null(find_mount(c, "rel"));
	assert_null(find_mount(c, "/"));
	assert_string_equal(find_mount(c, "/proc")->type, "proc");
#define ANNOTATED(key) oci_annotation(c, "org.opencontainers.image." key)
	assert_string_equal(ANNOTATED("os"), "linux");
	assert_string_equal(ANNOTATED("architecture"), "amd64");
	assert_string_equal(ANNOTATED("variant"), "v1");
	assert_string_equal(ANNOTATED("author"), "label");
	assert_string_equal(ANNOTATED("created"), "2020-01-01T00:00:00Z");
	assert_string_equal(ANNOTATED("os.features"), "a,b");
	assert_string_equal(ANNOTATED("stopSignal"), "SIGQUIT");
	assert_string_equal(ANNOTATED("exposedPorts"), "80/tcp,53/udp");
	assert_string_equal(oci_annotation(c, "x"), "y");
	assert_null(oci_annotation(c, "run.hull.sandbox"));
	assert_null(oci_annotation(c, "run.oci.hooks.stdout"));
	assert_null(oci_annotation(c, "org.systemd.property.X"));
	assert_int_equal(oci_config_print(c, &printed, &err), 0);
	if (oci_config_parse(printed.data, printed.len, &arena, &again, &err) < 0)
		fail_msg("%s", err.text);
}

static void an_empty_configuration_takes_the_defaults(void **state)
{
	static const char *const images[] = {
		"{}",
		"{\"config\":null}",
		"{\"config\":{}}",
		("{\"config\":{\"Env\":null,\"Cmd\":null,\"Entrypoint\":null,\"Volumes\":null,"
		 "\"Labels\":null,\"ExposedPorts\":null,\"User\":\"\",\"WorkingDir\":\"\"}}"),
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		_cleanup_arena_ struct arena arena;
		struct oci_config *c;

		arena_init(&arena, 0);
		c = convert(f, &arena, images[i]);
		assert_true(c->process->args.len > 0);
		assert_true(c->process->env.len > 0);
		assert_string_equal(c->process->cwd, "/");
		assert_int_equal(c->process->user->uid.v, 0);
	}
}

static void wrong_types_in_a_configuration_are_refused(void **state)
{
	static const char *const images[] = {
		"{\"config\":[]}",
		"{\"config\":{\"Env\":\"A=b\"}}",
		"{\"config\":{\"Env\":[7]}}",
		"{\"config\":{\"Cmd\":\"sh\"}}",
		"{\"config\":{\"User\":0}}",
		"{\"config\":{\"Labels\":{\"a\":1}}}",
		"{\"config\":{\"Volumes\":[]}}",
		"{\"config\":{\"User\":\"nobody\"}}",
		"{\"author\":[]}",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		_cleanup_arena_ struct arena arena;
		struct oci_config *c;
		struct json_value *root;

		arena_init(&arena, 0);
		assert_int_equal(json_parse(images[i], strlen(images[i]), &arena, &root, NULL), 0);
		assert_true(image_config_convert(root, f->rootfs, false, &arena, &c, NULL) < 0);
	}
}

/* ---- whole images ------------------------------------------------------------------------- */

static void images_are_unpacked(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { .config = "{\"Cmd\":[\"/f\"]}" };
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a", .data = "1");
	tar_put(&tar, .name = "b", .data = "1");
	layout_add_layer(f, &image, &tar, GZIP);
	tar_put(&tar, .name = ".wh.a");
	layout_add_layer(f, &image, &tar, ZSTD);
	tar_put(&tar, .name = "c", .data = "3");
	layout_add_layer(f, &image, &tar, PLAIN);
	layout_write(f, &image, NULL);
	unpack_ok(f, NULL);
	assert_false(fixture_exists(f, "bundle/rootfs/a"));
	assert_string_equal(fixture_read(f, "bundle/rootfs/b"), "1");
	assert_string_equal(fixture_read(f, "bundle/rootfs/c"), "3");
	assert_int_equal(fixture_stat(f, "bundle").st_mode, S_IFDIR | 0700);
	assert_non_null(strstr(fixture_read(f, "bundle/config.json"), "\"/f\""));
}

static void images_of_docker_are_unpacked(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { .docker = true };
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a", .data = "1");
	layout_add_layer(f, &image, &tar, GZIP);
	layout_write(f, &image, "latest");
	unpack_ok(f, "latest");
	assert_string_equal(fixture_read(f, "bundle/rootfs/a"), "1");
}

static void an_image_without_layers_is_empty(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };

	layout_write(f, &image, NULL);
	unpack_ok(f, NULL);
	assert_int_equal(fixture_stat(f, "bundle/rootfs").st_nlink, 2);
}

/* Each changes one thing about a good image. */
static void wrong_digests_and_sizes_are_found(void **state)
{
	struct fixture *f = *state;
	struct layout_image good = { 0 }, bad;
	struct strbuf tar = { 0 };
	char path[128], *content;

	tar_put(&tar, .name = "a", .data = "some content of a file");
	layout_add_layer(f, &good, &tar, PLAIN);

	bad = good;
	memcpy(bad.diff_ids[0] + 7, EMPTY, 64);
	layout_write(f, &bad, NULL);
	unpack_fails(f, NULL, "not the DiffID");

	bad = good;
	bad.layers[0].size++;
	layout_write(f, &bad, NULL);
	unpack_fails(f, NULL, "is shorter than");

	bad = good;
	bad.layers[0].size -= 512;
	layout_write(f, &bad, NULL);
	unpack_fails(f, NULL, "is longer than");

	bad = good;
	memcpy(bad.layers[0].digest + 7, EMPTY, 64);
	layout_write(f, &bad, NULL);
	unpack_fails(f, NULL, "No such file");

	snprintf(path, sizeof(path), "layout/blobs/sha256/%.64s", good.layers[0].digest + 7);
	content = calloc(1, good.layers[0].size + 1);
	assert_non_null(content);
	memset(content, 'x', good.layers[0].size);
	layout_write(f, &good, NULL);
	fixture_write(f, path, content);
	free(content);
	unpack_fails(f, NULL, "its content has another digest");
}

static void truncated_compression_is_found(void **state)
{
	for (int how = GZIP; how <= ZSTD; how++) {
		struct fixture *f = *state;
		struct layout_image image = { 0 };
		_cleanup_strbuf_ struct strbuf packed = { 0 };
		struct strbuf tar = { 0 };

		tar_put(&tar, .name = "a", .data = "some content of a file");
		layout_add_layer(f, &image, &tar, PLAIN);
		tar_put(&tar, .name = "a", .data = "some content of a file");
		tar_end(&tar);
		compress_to(&packed, how, tar.data, tar.len);
		strbuf_free(&tar);
		image.layers[0] = layout_blob(f, packed.data, packed.len / 2);
		layout_write(f, &image, NULL);
		unpack_fails(f, NULL, "layer 1/1");
	}
}

static void strange_files_in_place_of_blobs_are_refused(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };
	char path[128], target[300];

	tar_put(&tar, .name = "a", .data = "1");
	layout_add_layer(f, &image, &tar, GZIP);
	layout_write(f, &image, NULL);
	snprintf(path, sizeof(path), "layout/blobs/sha256/%.64s", image.layers[0].digest + 7);
	assert_int_equal(renameat(f->fd, path, f->fd, "outside/blob"), 0);
	assert_int_equal(mkfifoat(f->fd, path, 0644), 0);
	unpack_fails(f, NULL, "is not a regular file");
	unlinkat(f->fd, path, 0);
	snprintf(target, sizeof(target), "%s/outside/blob", f->dir);
	assert_int_equal(symlinkat(target, f->fd, path), 0);
	unpack_fails(f, NULL, "No such file");
	unlinkat(f->fd, path, 0);
	unlinkat(f->fd, "outside/blob", 0);
	assert_int_equal(symlinkat("/dev/zero", f->fd, path), 0);
	unpack_fails(f, NULL, "No such file");
	unlinkat(f->fd, "layout/index.json", 0);
	assert_int_equal(mkfifoat(f->fd, "layout/index.json", 0644), 0);
	unpack_fails(f, NULL, "is not a regular file");
}

static void wrong_layouts_are_refused(void **state)
{
	static const struct {
		const char *index, *message;
	} cases[] = {
		{ "", "index.json" },
		{ "[]", "expected an object" },
		{ "{}", "schemaVersion" },
		{ "{\"schemaVersion\":1,\"manifests\":[]}", "schemaVersion" },
		{ "{\"schemaVersion\":2}", "no array `manifests`" },
		{ "{\"schemaVersion\":2,\"manifests\":[{" MANIFEST "}]}", "not a digest" },
		{ "{\"schemaVersion\":2,\"manifests\":[{" MANIFEST
		  ",\"digest\":\"sha256:../../x\"}]}",
		  "not a digest" },
		{ "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image."
		  "manifest.v1+json\",\"size\":-1,\"digest\":\"sha256:" EMPTY "\"}]}",
		  "no valid size" },
		{ "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image."
		  "manifest.v1+json\",\"size\":99999999999,\"digest\":\"sha256:" EMPTY "\"}]}",
		  "larger than the limit" },
		{ "{\"schemaVersion\":2,\"manifests\":[{" MANIFEST ",\"digest\":\"sha256:" EMPTY
		  "\"}]}",
		  "No such file" },
		{ "{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}", "with `layers`" },
	};
	struct fixture *f = *state;

	unpack_fails(f, NULL, "No such file");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		layout_write_index(f, cases[i].index);
		unpack_fails(f, NULL, cases[i].message);
	}
	fixture_write(f, "layout/oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}");
	unpack_fails(f, NULL, "version `2.0.0`");
	unlinkat(f->fd, "layout/oci-layout", 0);
	unpack_fails(f, NULL, "`oci-layout` is missing");
}

static void unknown_layers_are_refused(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = {
		.media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
	};
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a", .data = "1");
	layout_add_layer(f, &image, &tar, GZIP);
	layout_write(f, &image, NULL);
	unpack_fails(f, NULL, "+encrypted` is not supported");
}

static void what_is_there_stays(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };
	struct error err = { 0 };

	tar_put(&tar, .name = "a", .data = "1");
	tar_put(&tar, .name = "../x", .data = "1");
	layout_add_layer(f, &image, &tar, GZIP);
	layout_write(f, &image, NULL);
	fixture_mkdir(f, "bundle");
	/* An empty one is used, and is still there after an error, empty. */
	assert_true(fixture_unpack(f, NULL, &err) < 0);
	assert_int_equal(fixture_stat(f, "bundle").st_nlink, 2);
	fixture_write(f, "bundle/mine", "mine");
	assert_int_equal(fixture_unpack(f, NULL, &err), -EEXIST);
	assert_string_equal(fixture_read(f, "bundle/mine"), "mine");
	assert_int_equal(fixture_stat(f, "bundle").st_nlink, 2);
}

static bool stop_at_once(void *data)
{
	int *calls = data;

	return ++*calls > 2;
}

static void an_interrupted_unpack_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };
	struct error err = { 0 };
	char source[300], bundle[300];
	int calls = 0;
	struct image_unpack_options options = { .source = source,
						.bundle = bundle,
						.rootless = geteuid() != 0,
						.interrupted = stop_at_once,
						.interrupted_data = &calls };

	for (int i = 0; i < 500; i++)
		tar_put(&tar, .name = "a/file", .data = "content");
	layout_add_layer(f, &image, &tar, PLAIN);
	layout_write(f, &image, NULL);
	snprintf(source, sizeof(source), "%s/layout", f->dir);
	snprintf(bundle, sizeof(bundle), "%s/bundle/", f->dir);
	assert_int_equal(image_unpack(&options, &err), -EINTR);
	assert_false(fixture_exists(f, "bundle"));
}

/* What a user without privileges gets: directories closed to their owner, filled by a later layer all the same. */
static void rootless_child(struct fixture *f)
{
	char source[300], bundle[300];
	struct image_unpack_options options = { .source = source,
						.bundle = bundle,
						.rootless = true };
	struct error err = { 0 };
	struct stat st;

	snprintf(source, sizeof(source), "%s/layout", f->dir);
	snprintf(bundle, sizeof(bundle), "%s/work/bundle", f->dir);
	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		_exit(2);
	if (image_unpack(&options, &err) < 0) {
		print_message("%s\n", err.text);
		_exit(3);
	}
	if (fstatat(f->fd, "work/bundle/rootfs/closed", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (st.st_mode & 07777) != 0555 || st.st_mtime != 77)
		_exit(4);
	if (fstatat(f->fd, "work/bundle/rootfs/shut", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (st.st_mode & 07777) != 0)
		_exit(5);
	if (fstatat(f->fd, "work/bundle/rootfs/closed/later", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    st.st_uid != geteuid())
		_exit(6);
	_exit(0);
}

static void without_root_owners_are_ours_and_closed_directories_work(void **state)
{
	struct fixture *f = *state;
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };
	int status;
	pid_t pid;

	tar_put(&tar, .name = "closed", .type = '5', .mode = 0555, .mtime = 77);
	tar_put(&tar, .name = "shut", .type = '5', .mode = 0100000,
		.uid = 5); /* no permission at all */
	tar_put(&tar, .name = "shut/in", .type = '5', .mode = 0500, .uid = 5);
	tar_put(&tar, .name = "closed/f", .data = "1", .mode = 0444, .uid = 5, .gid = 6);
	tar_put(&tar, .name = "null", .type = '3', .major = 1, .minor = 3);
	layout_add_layer(f, &image, &tar, GZIP);
	tar_put(&tar, .name = "closed/later", .data = "2");
	tar_put(&tar, .name = "closed/.wh.f");
	layout_add_layer(f, &image, &tar, GZIP);
	layout_write(f, &image, NULL);
	fixture_mkdir(f, "work");
	assert_int_equal(fchmodat(f->fd, "work", 0777, 0), 0);
	assert_int_equal(chmod(f->dir, 0755), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		rootless_child(f);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	if (geteuid() != 0) {
		assert_int_equal(fchmodat(f->fd, "work/bundle/rootfs/shut", 0700, 0), 0);
		assert_int_equal(fchmodat(f->fd, "work/bundle/rootfs/shut/in", 0700, 0), 0);
		assert_int_equal(fchmodat(f->fd, "work/bundle/rootfs/closed", 0700, 0), 0);
	}
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_are_parsed_strictly),
		cmocka_unit_test(streams_are_hashed),
		cmocka_unit_test(images_are_chosen_by_tag_and_platform),
		test(the_tags_of_a_layout),
		test(indexes_may_be_nested_but_not_for_ever),
		test(users_become_numbers),
		test(hostile_user_files_are_refused),
		test(an_image_becomes_a_configuration),
		test(an_empty_configuration_takes_the_defaults),
		test(wrong_types_in_a_configuration_are_refused),
		test(images_are_unpacked),
		test(images_of_docker_are_unpacked),
		test(an_image_without_layers_is_empty),
		test(wrong_digests_and_sizes_are_found),
		test(truncated_compression_is_found),
		test(strange_files_in_place_of_blobs_are_refused),
		test(wrong_layouts_are_refused),
		test(unknown_layers_are_refused),
		test(what_is_there_stays),
		test(an_interrupted_unpack_leaves_nothing),
		test(without_root_owners_are_ours_and_closed_directories_work),
	};

	return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
