/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of a checkpoint: what is written is read again; what is damaged, newer, or of another machine is refused. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "sandbox/manifest.h"

#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct manifest_host host = {
	.kernel = "6.12", .machine = "x86_64", .cpu = "one", .flags = "fpu sse sse2 avx avx2"
};

static struct manifest example(void)
{
	static struct manifest_file files[] = { { "config.json", 0, SHA256 },
						{ "pages-1.img", 4096, SHA256 } };
	static struct manifest_mount mounts[] = { { "hull-mount-7", "/data", "/below" } };
	static const char *stdio[] = { "pipe:[1]", "/dev/null", "/dev/null" };

	return (struct manifest){ .format = MANIFEST_FORMAT,
				  .kind = "container",
				  .id = "demo",
				  .hull = "0.1",
				  .created = "2026-11-26T12:00:00Z",
				  .pre_dump = true,
				  .parent = "../before",
				  .parent_digest = SHA256,
				  .host = &host,
				  .mounts = { mounts, 1 },
				  .stdio = { stdio, 3 },
				  .files = { files, 2 } };
}

static void what_is_written_is_read_again(void **state)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct manifest written = example(), read;
	struct arena arena = { 0 };
	struct error err = { 0 };

	(void)state;
	manifest_print(&written, &text);
	assert_int_equal(manifest_parse(text.data, text.len, &arena, &read, &err), 0);
	assert_string_equal(read.id, "demo");
	assert_true(read.pre_dump);
	assert_string_equal(read.parent, "../before");
	assert_string_equal(read.host->flags, host.flags);
	assert_int_equal(read.mounts.len, 1);
	assert_string_equal(read.mounts.items[0].path, "/below");
	assert_int_equal(read.stdio.len, 3);
	assert_int_equal(read.files.len, 2);
	assert_int_equal(read.files.items[1].size, 4096);
	arena_free(&arena);
}

static void refused(const char *text, int code, const char *why)
{
	struct arena arena = { 0 };
	struct error err = { 0 };
	struct manifest m;

	assert_int_equal(manifest_parse(text, strlen(text), &arena, &m, &err), -code);
	if (!strstr(err.text, why))
		fail_msg("no \"%s\" in: %s", why, err.text);
	arena_free(&arena);
}

static void others_are_refused(void **state)
{
	(void)state;
	refused("{", EINVAL, "manifest.json");
	refused("[]", EINVAL, "not that of a checkpoint");
	refused("{\"formatVersion\": 2, \"new\": true}", ENOTSUP, "format 2");
	refused("{\"formatVersion\": 1}", EINVAL, "kind");
#define REST                                                                                  \
	"\"kind\": \"container\", \"id\": \"a\", \"hullVersion\": \"1\", \"created\": \"x\"," \
	"\"host\": {\"kernel\": \"\", \"machine\": \"\", \"cpu\": \"\", \"cpuFlags\": \"\"},"
	refused("{\"formatVersion\": 1," REST "\"files\": [{\"name\": \"../x\", \"size\": 1, "
		"\"sha256\": \"" SHA256 "\"}]}",
		EINVAL, "/files/0/name");
	refused("{\"formatVersion\": 1," REST "\"files\": [{\"name\": \"x\", \"size\": 1, "
		"\"sha256\": \"0\"}]}",
		EINVAL, "/files/0/sha256");
}

static void hosts(void **state)
{
	struct manifest_host now = host;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(manifest_check_host(&host, &now, &err), 0);
	now.kernel = "5.15";
	now.flags = "fpu sse sse2 avx avx2 avx512f"; /* more is no harm */
	assert_int_equal(manifest_check_host(&host, &now, &err), 0);
	now.flags = "fpu sse sse2 avx512f avx2";
	assert_int_equal(manifest_check_host(&host, &now, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "use: avx"));
	now = host;
	now.machine = "aarch64";
	assert_int_equal(manifest_check_host(&host, &now, &err), -ENOTSUP);
}

static void this_host(void **state)
{
	struct manifest_host now;
	struct arena arena = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(manifest_host(&arena, &now, &err), 0);
	assert_true(now.kernel[0] && now.machine[0]);
	assert_int_equal(manifest_check_host(&now, &now, &err), 0);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(hosts),
		cmocka_unit_test(this_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
