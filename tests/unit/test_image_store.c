/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/image/store: names, what is fetched and what is not, what a bad source leaves, leftovers of dead processes, locks, and
 * what verify and prune find. Unpacking and mounting is for tests/integration/image_store.bats.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "oci/image/store_internal.h"
#include "tests/unit/image_fixture.h"

struct counts {
	unsigned fetched, there; /* steps of layers */
	unsigned questions;      /* "interrupted?" */
	unsigned stop_after;     /* of them; 0: never */
};

static void count_step(void *data, const char *line)
{
	struct counts *c = data;

	c->fetched += strstr(line, "fetched") != NULL;
	c->there += strstr(line, "is there") != NULL;
}

static bool is_interrupted(void *data)
{
	struct counts *c = data;

	return ++c->questions >= c->stop_after && c->stop_after;
}

static struct image_store_hooks hooks_of(struct counts *counts)
{
	return (struct image_store_hooks){
		.step = count_step,
		.interrupted = is_interrupted,
		.data = counts,
	};
}

static const char *path_in(const struct fixture *f, const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	return path;
}

static struct image_store *open_it(const struct fixture *f, enum image_store_access access,
				   const struct image_store_hooks *hooks)
{
	struct image_store *store = NULL;
	struct error err = { 0 };

	if (image_store_open(path_in(f, "store"), access, hooks, &store, &err) != 0)
		fail_msg("%s", err.text);
	return store;
}

static int pull_as(const struct fixture *f, struct image_store *store, const char *name,
		   struct error *err)
{
	char source[512];
	const struct image_store_pull pull = { .source = source, .name = name, .no_layers = true };
	struct image_reference reference;

	snprintf(source, sizeof(source), "oci:%s/layout", f->dir);
	return image_store_pull(store, &pull, &reference, err);
}

static void pull_ok(const struct fixture *f, struct image_store *store, const char *name)
{
	struct error err = { 0 };

	if (pull_as(f, store, name, &err) != 0)
		fail_msg("%s", err.text);
}

/* Two layers, and files of a text of the caller's, so that images can differ. */
static void make_image(const struct fixture *f, const char *text)
{
	struct strbuf one = { 0 }, two = { 0 };
	struct layout_image image = { 0 };

	tar_put(&one, .name = "shared", .data = "the same in all");
	layout_add_layer(f, &image, &one, GZIP);
	tar_put(&two, .name = "file", .data = text);
	layout_add_layer(f, &image, &two, PLAIN);
	layout_write(f, &image, NULL);
}

static int count_entry(void *data, const char *name, struct error *err)
{
	unsigned *count = data;

	(void)name;
	(void)err;
	(*count)++;
	return 0;
}

static unsigned count_entries(const struct fixture *f, const char *dir)
{
	int fd = openat(f->fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned count = 0;

	assert_true(fd >= 0);
	assert_int_equal(store_each(fd, dir, count_entry, &count, NULL), 0);
	close(fd);
	return count;
}

static uint64_t problems(struct image_store *store)
{
	struct image_store_verified verified;
	struct error err = { 0 };

	assert_int_equal(image_store_verify(store, false, NULL, NULL, &verified, &err), 0);
	return verified.problems;
}

/* ---- names -------------------------------------------------------------------------------- */

static void names_are_checked(void **state)
{
	static const char *const bad[] = {
		"",   "/x", "../x", "a//b", "a/../b", "a b",   "a\nb", ".x",
		"-x", "x/", "x:",   "x@",   "a\200b", "a%2Fb", "a\\b", "a..b",
	};
	struct store_file_name file;
	struct image_name name;
	char text[400];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(image_name_parse(bad[i], &name, NULL), -EINVAL);
	memset(text, 'n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(image_name_parse(text, &name, NULL), -ENAMETOOLONG);
	assert_int_equal(image_name_parse("a", &name, NULL), 0);
	assert_string_equal(name.s, "a:latest");
	assert_int_equal(image_name_parse("host:5000/a", &name, NULL), 0);
	assert_string_equal(name.s, "host:5000/a:latest");
	assert_int_equal(store_file_name(&name, &file, NULL), 0);
	assert_string_equal(file.s, "host%3A5000%2Fa%3Alatest");
	assert_int_equal(image_name_parse("a@sha256:00", &name, NULL), 0);
	assert_string_equal(name.s, "a@sha256:00");
}

static void sources_have_names(void **state)
{
	static const char *const cases[][2] = {
		{ "oci:/no/where/alpine:3", "alpine:3" },
		{ "oci:alpine", "alpine:latest" },
		{ "oci-archive:dir/image.tar:one", "image:one" },
		{ "oci-archive:image.tar.gz", "image:latest" },
		{ "docker://example.org/a/b:c", "example.org/a/b:c" },
		{ "docker://example.org/a/b", "example.org/a/b:latest" },
		{ "dir/image/", "image:latest" },
		{ "docker-archive:dir/saved.tar.gz", "saved:latest" },
		{ "docker-archive:saved.tar:v1", "saved:v1" },
		/* A tag that is a whole name: behind a path that exists. */
		{ "docker-archive:/:example.org/a/b:v1", "example.org/a/b:v1" },
		{ "oci-archive:/:a:v1", "a:v1" },
	};
	struct image_name name;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(image_name_of_source(cases[i][0], &name, NULL), 0);
		assert_string_equal(name.s, cases[i][1]);
	}
	assert_int_equal(image_name_of_source("oci:.", &name, NULL), -EINVAL);
	assert_int_equal(image_name_of_source("oci:/", &name, NULL), -EINVAL);
}

/* ---- pulling ------------------------------------------------------------------------------ */

static void what_is_there_is_not_fetched(void **state)
{
	struct fixture *f = *state;
	struct counts counts = { 0 };
	const struct image_store_hooks hooks = hooks_of(&counts);
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, &hooks);
	struct image_reference reference;
	struct error err = { 0 };

	make_image(f, "one");
	pull_ok(f, store, "one");
	assert_int_equal(counts.fetched, 2);
	pull_ok(f, store, "one");
	assert_int_equal(counts.fetched, 2);
	make_image(f, "two");
	pull_ok(f, store, "two");
	assert_int_equal(counts.fetched, 3);
	assert_int_equal(counts.there, 3);
	assert_int_equal(count_entries(f, "store/blobs/sha256"), 7);
	assert_int_equal(count_entries(f, "store/images"), 2);
	assert_int_equal(image_store_resolve(store, "two", &reference, &err), 0);
	assert_string_equal(reference.name.s, "two:latest");
	assert_int_equal(image_store_resolve(store, "three", &reference, &err), -ENOENT);
	assert_int_equal(problems(store), 0);
	image_store_close(store);
}

static void a_bad_blob_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, NULL);
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };
	struct error err = { 0 };
	char path[200];

	tar_put(&tar, .name = "file", .data = "text");
	layout_add_layer(f, &image, &tar, PLAIN);
	layout_write(f, &image, NULL);
	snprintf(path, sizeof(path), "layout/blobs/sha256/%.64s", image.layers[0].digest + 7);
	fixture_write(f, path, "something else");
	assert_int_equal(pull_as(f, store, "one", &err), -EBADMSG);
	assert_non_null(strstr(err.text, image.layers[0].digest));
	assert_int_equal(count_entries(f, "store/blobs/sha256"), 0);
	assert_int_equal(count_entries(f, "store/tmp"), 0);
	assert_int_equal(count_entries(f, "store/images"), 0);
	image_store_close(store);
}

/* The same digest with another size: one of the two lies, and neither is believed. */
static void a_size_that_lies_is_refused(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, NULL);
	struct layout_image image = { 0 };
	struct strbuf tar = { 0 };
	struct error err = { 0 };

	tar_put(&tar, .name = "file", .data = "text");
	layout_add_layer(f, &image, &tar, PLAIN);
	layout_write(f, &image, NULL);
	pull_ok(f, store, "one");
	image.layers[0].size++;
	layout_write(f, &image, NULL);
	assert_int_equal(pull_as(f, store, "two", &err), -EBADMSG);
	assert_int_equal(count_entries(f, "store/images"), 1);
	image_store_close(store);
}

static int check_partial(void *data, const char *name, struct error *err)
{
	(void)data;
	(void)err;
	assert_int_equal(strncmp(name, "blob-sha256-", 12), 0);
	return 0;
}

/* Wherever a pull stops, nothing half done is seen, and the next one goes on: with the blob that was being fetched, too. */
static void an_interrupted_pull_is_gone_on_with(void **state)
{
	struct fixture *f = *state;
	unsigned stops = 0;

	make_image(f, "text");
	for (unsigned stop = 1; stop < 100; stop++) {
		struct counts counts = { .stop_after = stop };
		const struct image_store_hooks hooks = hooks_of(&counts);
		struct image_store *store = open_it(f, IMAGE_STORE_ADD, &hooks);
		struct error err = { 0 };
		int r = pull_as(f, store, "one", &err);

		counts.stop_after = 0;
		assert_int_equal(store_each(store->tmp, "tmp", check_partial, NULL, NULL), 0);
		assert_int_equal(problems(store), 0);
		image_store_close(store);
		if (r == 0)
			break;
		assert_int_equal(r, -EINTR);
		assert_int_equal(count_entries(f, "store/images"), 0);
		stops++;
	}
	assert_true(stops > 0);
	assert_int_equal(count_entries(f, "store/images"), 1);
	assert_int_equal(count_entries(f, "store/tmp"), 0);
}

/* ---- the store itself --------------------------------------------------------------------- */

static void leftovers_of_the_dead_are_removed(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, NULL), *second;
	int held;

	fixture_write(f, "store/tmp/blob-sha256-dead", "half");
	fixture_mkdir(f, "store/tmp/layer-dead");
	fixture_mkdir(f, "store/tmp/layer-dead/tree");
	fixture_write(f, "store/tmp/layer-dead/tree/file", "half");
	held = store_claim(store, "blob-sha256-alive", false, NULL);
	assert_true(held >= 0);
	second = open_it(f, IMAGE_STORE_USE, NULL);
	assert_int_equal(count_entries(f, "store/tmp"), 1);
	assert_true(fixture_exists(f, "store/tmp/blob-sha256-alive"));
	close(held);
	image_store_close(second);
	second = open_it(f, IMAGE_STORE_USE, NULL);
	assert_int_equal(count_entries(f, "store/tmp"), 0);
	image_store_close(second);
	image_store_close(store);
}

static void only_a_store_is_taken_for_one(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = NULL;
	struct error err = { 0 };

	assert_int_equal(image_store_open(path_in(f, "none"), IMAGE_STORE_USE, NULL, &store, &err),
			 -ENOENT);
	assert_false(fixture_exists(f, "none"));
	assert_int_equal(
		image_store_open(path_in(f, "outside"), IMAGE_STORE_ADD, NULL, &store, &err),
		-ENOTEMPTY);
	assert_int_equal(image_store_open("", IMAGE_STORE_ADD, NULL, &store, &err), -EINVAL);
	fixture_mkdir(f, "future");
	fixture_write(f, "future/version", "hull image store 9\n");
	assert_int_equal(
		image_store_open(path_in(f, "future"), IMAGE_STORE_ADD, NULL, &store, &err),
		-EPROTO);
	/* A crash before the version was in its place. */
	fixture_mkdir(f, "begun");
	fixture_write(f, "begun/lock", "");
	fixture_write(f, "begun/version.new", "hull im");
	assert_int_equal(image_store_open(path_in(f, "begun"), IMAGE_STORE_ADD, NULL, &store, &err),
			 0);
	image_store_close(store);
	assert_int_equal(fchmodat(f->fd, "begun", 0770, 0), 0);
	assert_int_equal(image_store_open(path_in(f, "begun"), IMAGE_STORE_USE, NULL, &store, &err),
			 -EPERM);
}

static void the_exclusive_lock_excludes(void **state)
{
	struct fixture *f = *state;
	struct image_store *one = open_it(f, IMAGE_STORE_ADD, NULL);
	struct image_store *two = open_it(f, IMAGE_STORE_USE, NULL);
	struct image_store_pruned pruned;
	struct error err = { 0 };

	assert_int_equal(image_store_prune(one, &pruned, &err), -EINVAL);
	assert_int_equal(image_store_lock_exclusive(one, false, &err), -EWOULDBLOCK);
	image_store_close(two);
	assert_int_equal(image_store_lock_exclusive(one, true, &err), 0);
	assert_int_equal(image_store_prune(one, &pruned, &err), 0);
	image_store_close(one);
}

static void prune_removes_what_nothing_needs(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, NULL);
	struct image_store_pruned pruned;
	struct error err = { 0 };

	make_image(f, "one");
	pull_ok(f, store, "one");
	make_image(f, "two");
	pull_ok(f, store, "two");
	fixture_mkdir(f, "store/layers/diff-nobody");
	fixture_mkdir(f, "store/uses/0123456789abcdef");
	assert_int_equal(image_store_remove(store, "one", &err), 0);
	assert_int_equal(image_store_remove(store, "one", &err), -ENOENT);
	assert_int_equal(image_store_lock_exclusive(store, true, &err), 0);
	assert_int_equal(image_store_prune(store, &pruned, &err), 0);
	assert_int_equal(pruned.blobs, 3);
	assert_int_equal(pruned.layers, 1);
	assert_int_equal(count_entries(f, "store/uses"), 0);
	assert_int_equal(count_entries(f, "store/blobs/sha256"), 4);
	assert_int_equal(problems(store), 0);
	/* A reference that nobody can read: what it needs may be anything. */
	fixture_write(f, "store/images/broken", "{}");
	assert_int_equal(problems(store), 1);
	assert_true(image_store_prune(store, &pruned, &err) < 0);
	assert_int_equal(count_entries(f, "store/blobs/sha256"), 4);
	image_store_close(store);
}

static void verify_finds_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, NULL);

	make_image(f, "one");
	pull_ok(f, store, "one");
	fixture_write(f,
		      "store/blobs/sha256/"
		      "0000000000000000000000000000000000000000000000000000000000000000",
		      "");
	assert_int_equal(problems(store), 1);
	fixture_write(f, "store/blobs/sha256/no-digest", "");
	assert_int_equal(problems(store), 2);
	fixture_mkdir(f, "store/layers/no-key");
	assert_int_equal(problems(store), 3);
	fixture_mkdir(
		f, "store/layers/"
		   "diff-sha256-0000000000000000000000000000000000000000000000000000000000000000");
	assert_int_equal(problems(store), 4);
	image_store_close(store);
}

/* ---- trees -------------------------------------------------------------------------------- */

static struct store_record record_of(struct image_store *store, const struct fixture *f)
{
	struct store_record record = { 0 };
	struct error err = { 0 };

	if (store_tree_digest(store, f->rootfs, &record, &err) != 0)
		fail_msg("%s", err.text);
	return record;
}

static void a_tree_is_known_by_its_digest(void **state)
{
	struct fixture *f = *state;
	struct image_store *store = open_it(f, IMAGE_STORE_ADD, NULL);
	struct store_record before, after;
	struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 5 } };

	fixture_mkdir(f, "root/dir");
	fixture_write(f, "root/dir/a", "12345");
	fixture_write(f, "root/b", "");
	before = record_of(store, f);
	assert_int_equal(before.entries, 3);
	assert_int_equal(before.bytes, 5);
	after = record_of(store, f);
	assert_true(digest_equal(&before.tree, &after.tree));
	assert_int_equal(fchmodat(f->fd, "root/dir/a", 0600, 0), 0);
	after = record_of(store, f);
	assert_false(digest_equal(&before.tree, &after.tree));
	assert_int_equal(fchmodat(f->fd, "root/dir/a", 0644, 0), 0);
	after = record_of(store, f);
	assert_true(digest_equal(&before.tree, &after.tree));
	assert_int_equal(utimensat(f->fd, "root/b", times, 0), 0);
	after = record_of(store, f);
	assert_false(digest_equal(&before.tree, &after.tree));
	image_store_close(store);
}

/* A chain of layers has the ids of the specification's formula, and each is of all beneath. */
static void chains_have_ids(void **state)
{
	struct image_layer layers[2] = { 0 };
	const struct image_manifest manifest = { .layers = layers, .layer_count = 2 };
	_cleanup_arena_ struct arena arena;
	struct digest *chain;

	(void)state;
	arena_init(&arena, 0);
	assert_int_equal(
		digest_parse("sha256:"
			     "1111111111111111111111111111111111111111111111111111111111111111",
			     &layers[0].diff_id, NULL),
		0);
	layers[1].diff_id = layers[0].diff_id;
	assert_int_equal(store_chain_ids(&manifest, &arena, &chain, NULL), 0);
	assert_true(digest_equal(&chain[0], &layers[0].diff_id));
	/* printf 'sha256:11…1 sha256:11…1' | sha256sum */
	assert_string_equal(chain[1].hex,
			    "20b0c8810891d9ec8b5debc46617a9ee6898eb0cad35e0d79ff681ff6a787ef8");
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(names_are_checked),
		test(sources_have_names),
		test(what_is_there_is_not_fetched),
		test(a_bad_blob_leaves_nothing),
		test(a_size_that_lies_is_refused),
		test(an_interrupted_pull_is_gone_on_with),
		test(leftovers_of_the_dead_are_removed),
		test(only_a_store_is_taken_for_one),
		test(the_exclusive_lock_excludes),
		test(prune_removes_what_nothing_needs),
		test(verify_finds_what_is_wrong),
		test(a_tree_is_known_by_its_digest),
		test(chains_have_ids),
	};

	return cmocka_run_group_tests_name("image store", tests, NULL, NULL);
}
