/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/image/layer_stream and decompress: from a blob to the tar stream, in every compression and as it should not be, and the
 * limits of what comes out.
 */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "base/cleanup.h"
#include "base/remove.h"
#include "oci/image/image.h"
#include "oci/image/ring.h"
#include "tests/unit/image_fixture.h"

static void unpack_ok(const struct fixture *f)
{
	struct error err = { 0 };

	if (fixture_unpack(f, NULL, &err) != 0)
		fail_msg("%s", err.text);
}

static void unpack_fails(const struct fixture *f, const char *message)
{
	struct error err = { 0 };

	assert_true(fixture_unpack(f, NULL, &err) < 0);
	if (!strstr(err.text, message))
		fail_msg("`%s` is not in `%s`", message, err.text);
	assert_false(fixture_exists(f, "bundle"));
}

/* A tar larger than both queues, so that everything waits for everything. */
static void make_large(struct strbuf *tar)
{
	size_t size = 3 * RING_BLOCKS * RING_BLOCK + 12345;
	char *data = malloc(size);

	assert_non_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * i >> 7);
	tar_put(tar, .name = "large", .data = data, .len = size);
	tar_put(tar, .name = "small", .data = "small");
	tar_end(tar);
	free(data);
}

static void check_large(const struct fixture *f)
{
	assert_int_equal(fixture_stat(f, "bundle/rootfs/large").st_size,
			 3 * RING_BLOCKS * RING_BLOCK + 12345);
	assert_string_equal(fixture_read(f, "bundle/rootfs/small"), "small");
}

static void write_image(const struct fixture *f, const struct strbuf *tar, const void *packed,
			size_t len)
{
	struct layout_image image = { 0 };

	layout_add_packed(f, &image, tar, packed, len);
	layout_write(f, &image, NULL);
}

static void every_compression_gives_the_same(void **state)
{
	static const enum compression hows[] = { PLAIN, GZIP, ZSTD, XZ };
	_cleanup_strbuf_ struct strbuf tar = { 0 };
	struct fixture *f = *state;
	struct error err = { 0 };

	make_large(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(hows); i++) {
		_cleanup_strbuf_ struct strbuf packed = { 0 };

		compress_to(&packed, hows[i], tar.data, tar.len);
		write_image(f, &tar, packed.data, packed.len);
		unpack_ok(f);
		check_large(f);
		assert_int_equal(path_remove_tree(f->fd, "bundle", &err), 0);
	}
}

/* Several gzip members (RFC 1952, 2.2), several zstd frames, cut where it suits nobody. */
static void members_follow_one_another(void **state)
{
	_cleanup_strbuf_ struct strbuf tar = { 0 };
	struct fixture *f = *state;
	struct error err = { 0 };

	make_large(&tar);
	for (int how = GZIP; how <= XZ; how++) {
		_cleanup_strbuf_ struct strbuf packed = { 0 };
		size_t cuts[] = { 0, 1, 777, 600001, tar.len };

		for (size_t i = 1; i < ARRAY_SIZE(cuts); i++)
			compress_to(&packed, how, tar.data + cuts[i - 1], cuts[i] - cuts[i - 1]);
		write_image(f, &tar, packed.data, packed.len);
		unpack_ok(f);
		check_large(f);
		assert_int_equal(path_remove_tree(f->fd, "bundle", &err), 0);
	}
}

/* zstd:chunked keeps its table of contents in a skippable frame (RFC 8878, 3.1.2). */
static void skippable_frames_are_skipped(void **state)
{
	static const char frame[] = "\x50\x2a\x4d\x18\x05\0\0\0table";
	_cleanup_strbuf_ struct strbuf tar = { 0 };
	struct fixture *f = *state;
	struct error err = { 0 };

	tar_put(&tar, .name = "small", .data = "small");
	tar_end(&tar);
	for (int where = 0; where < 3; where++) {
		_cleanup_strbuf_ struct strbuf packed = { 0 };

		if (where != 1)
			strbuf_add(&packed, frame, sizeof(frame) - 1);
		compress_to(&packed, ZSTD, tar.data, 300);
		if (where != 2)
			strbuf_add(&packed, frame, sizeof(frame) - 1);
		compress_to(&packed, ZSTD, tar.data + 300, tar.len - 300);
		strbuf_add(&packed, frame, sizeof(frame) - 1);
		write_image(f, &tar, packed.data, packed.len);
		unpack_ok(f);
		assert_string_equal(fixture_read(f, "bundle/rootfs/small"), "small");
		assert_int_equal(path_remove_tree(f->fd, "bundle", &err), 0);
	}
}

static void what_follows_a_gzip_stream_is_ignored(void **state)
{
	static const char *const rests[] = { "\0\0\0\0\0\0\0", "garbage" };
	_cleanup_strbuf_ struct strbuf tar = { 0 };
	struct fixture *f = *state;
	struct error err = { 0 };

	tar_put(&tar, .name = "small", .data = "small");
	tar_end(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(rests); i++) {
		_cleanup_strbuf_ struct strbuf packed = { 0 };

		compress_to(&packed, GZIP, tar.data, tar.len);
		for (int n = 0; n < 200000; n++)
			strbuf_add(&packed, rests[i], 7);
		write_image(f, &tar, packed.data, packed.len);
		unpack_ok(f);
		assert_int_equal(path_remove_tree(f->fd, "bundle", &err), 0);
	}
}

/* A gzip header with every optional field, so long that no buffer holds it. */
static void long_gzip_headers_are_read(void **state)
{
	_cleanup_strbuf_ struct strbuf tar = { 0 }, packed = { 0 }, whole = { 0 };
	struct fixture *f = *state;

	tar_put(&tar, .name = "small", .data = "small");
	tar_end(&tar);
	compress_to(&packed, GZIP, tar.data, tar.len);
	strbuf_add(&whole, "\x1f\x8b\x08\x1c\0\0\0\0\0\x03", 10); /* extra, name, comment */
	strbuf_add(&whole, "\xff\xff", 2);
	for (int i = 0; i < 65535; i++)
		strbuf_addc(&whole, 'e');
	for (int i = 0; i < 400000; i++)
		strbuf_addc(&whole, 'n');
	strbuf_addc(&whole, '\0');
	strbuf_add(&whole, "comment", 8);
	strbuf_add(&whole, packed.data + 10, packed.len - 10);
	write_image(f, &tar, whole.data, whole.len);
	unpack_ok(f);
	assert_string_equal(fixture_read(f, "bundle/rootfs/small"), "small");
}

static void damage_is_found_wherever_it_is(void **state)
{
	_cleanup_strbuf_ struct strbuf tar = { 0 };
	struct fixture *f = *state;

	make_large(&tar);
	for (int how = GZIP; how <= XZ; how++) {
		_cleanup_strbuf_ struct strbuf packed = { 0 };
		size_t cut;

		compress_to(&packed, how, tar.data, tar.len);
		/* Cut off: a part of the end, nearly all, all but the magic number. */
		for (size_t kept = packed.len - 1; kept > 4; kept /= 60) {
			write_image(f, &tar, packed.data, kept);
			unpack_fails(f, "layer 1/1");
		}
		cut = packed.len / 2;
		packed.data[cut] ^= 0x55;
		write_image(f, &tar, packed.data, packed.len);
		unpack_fails(f, "layer 1/1");
	}
}

/* The digests fit, and what is in it is not what the configuration says. */
static void another_diff_id_is_found(void **state)
{
	_cleanup_strbuf_ struct strbuf tar = { 0 }, other = { 0 }, packed = { 0 };
	struct fixture *f = *state;

	tar_put(&tar, .name = "small", .data = "small");
	tar_end(&tar);
	tar_put(&other, .name = "other", .data = "small");
	tar_end(&other);
	compress_to(&packed, GZIP, other.data, other.len);
	write_image(f, &tar, packed.data, packed.len);
	unpack_fails(f, "not the DiffID");
}

static void limit(const struct fixture *f, uint64_t bytes, uint64_t entries, const char *message)
{
	char source[300], bundle[300];
	struct image_unpack_options options = { .source = source,
						.bundle = bundle,
						.rootless = geteuid() != 0,
						.max_bytes = bytes,
						.max_entries = entries };
	struct error err = { 0 };
	int r;

	snprintf(source, sizeof(source), "%s/layout", f->dir);
	snprintf(bundle, sizeof(bundle), "%s/bundle", f->dir);
	r = image_unpack(&options, &err);
	if (!message) {
		if (r < 0)
			fail_msg("%s", err.text);
		assert_int_equal(path_remove_tree(f->fd, "bundle", &err), 0);
		return;
	}
	assert_int_equal(r, -EFBIG);
	if (!strstr(err.text, message))
		fail_msg("`%s` is not in `%s`", message, err.text);
	assert_false(fixture_exists(f, "bundle"));
}

static void limits_are_of_the_whole_image(void **state)
{
	struct layout_image image = { 0 };
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		struct strbuf tar = { 0 };

		tar_put(&tar, .name = "a", .data = "a");
		tar_put(&tar, .name = "b", .data = "b");
		layout_add_layer(f, &image, &tar, GZIP); /* 4 blocks and 2 for the end */
	}
	layout_write(f, &image, NULL);
	limit(f, 18 * 512, 6, NULL);
	limit(f, 18 * 512 - 1, 6, "--max-size");
	limit(f, 18 * 512, 5, "--max-entries");
}

/* Behind the end of the tar, where nobody looks: zeros without end, in a few kilobytes. */
static void a_bomb_behind_the_tar_ends(void **state)
{
	_cleanup_strbuf_ struct strbuf tar = { 0 }, packed = { 0 };
	struct fixture *f = *state;
	char *zeros = calloc(1, 1 << 20);

	assert_non_null(zeros);
	tar_put(&tar, .name = "a", .data = "a");
	tar_end(&tar);
	for (int i = 0; i < 50; i++)
		strbuf_add(&tar, zeros, 1 << 20);
	free(zeros);
	compress_to(&packed, GZIP, tar.data, tar.len);
	assert_true(packed.len < 100000);
	write_image(f, &tar, packed.data, packed.len);
	limit(f, 10 << 20, 0, "--max-size");
	limit(f, 0, 0, NULL);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(every_compression_gives_the_same), test(members_follow_one_another),
		test(skippable_frames_are_skipped),     test(what_follows_a_gzip_stream_is_ignored),
		test(long_gzip_headers_are_read),       test(damage_is_found_wherever_it_is),
		test(another_diff_id_is_found),         test(limits_are_of_the_whole_image),
		test(a_bomb_behind_the_tar_ends),
	};

	return cmocka_run_group_tests_name("image streams", tests, NULL, NULL);
}
