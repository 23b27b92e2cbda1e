/* SPDX-License-Identifier: Apache-2.0 */
/* namespaces/vm_mounts: reading the mount table, and lists that are none. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/arena.h"
#include "namespaces/vm_mounts.h"

static const char table[] = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
			    "30 21 0:20 / /srv/data rw,nosuid - tmpfs data rw\n"
			    "33 30 0:23 / /srv/data/b/below rw - tmpfs below rw\n"
			    "32 30 0:22 / /srv/data/b rw - tmpfs b rw\n"
			    "31 30 0:21 / /srv/data/a\\040\\134\\012x rw master:4 - tmpfs a rw\n"
			    "34 32 0:24 / /srv/data/b rw - tmpfs over rw\n"
			    "35 21 0:25 / /srv/database rw - tmpfs other rw\n"
			    "36 21 0:26 / /other rw - tmpfs other rw\n";

static void expect_below(const char *text, const char *top, const char *const *expected)
{
	_cleanup_arena_ struct arena arena = { 0 };
	const char **places = vm_mounts_below(text, top, &arena);
	size_t i = 0;

	assert_non_null(places);
	for (; expected[i]; i++) {
		assert_non_null(places[i]);
		assert_string_equal(places[i], expected[i]);
	}
	assert_null(places[i]);
}

#define EXPECT_BELOW(text, top, ...) \
	expect_below(text, top, (const char *const[]){ __VA_ARGS__, NULL })

static void places_below_a_directory_each_once_the_upper_first(void **state)
{
	(void)state;
	EXPECT_BELOW(table, "/srv/data", "a \\\nx", "b", "b/below");
	EXPECT_BELOW(table, "/srv/data/b", "below");
	EXPECT_BELOW(table, "/", "other", "srv/data", "srv/data/a \\\nx", "srv/data/b",
		     "srv/data/b/below", "srv/database");
	EXPECT_BELOW(table, "/srv/data/b/below", NULL);
	EXPECT_BELOW(table, "/sr", NULL);
}

static void a_table_that_is_none(void **state)
{
	(void)state;
	EXPECT_BELOW("", "/", NULL);
	EXPECT_BELOW("\n\n 1 2\n1 2 3 4\n1 2 3 4 \n1 2 3 4  x\n", "/", NULL);
	EXPECT_BELOW("1 2 3 4 /cut", "/", NULL);
	EXPECT_BELOW("1 2 3 4 /a\\04 ", "/", "a\\04");
	EXPECT_BELOW("1 2 3 4 /a/\\057 rw\n1 2 3 4 relative rw\n", "/a", "/");
}

static void make_fails(const char *list, size_t len, const char *text)
{
	int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct error err = { 0 };

	assert_true(dir >= 0);
	assert_int_equal(vm_mounts_make(list, len, dir, &err), -EPROTO);
	assert_non_null(strstr(err.text, text));
	close(dir);
}

static void a_list_that_is_none(void **state)
{
	static const char what[] = "the list of the mounts";

	(void)state;
	make_fails("1 m0", 4, what); /* no NUL */
	make_fails("", 1, what);
	make_fails("1", 2, what);
	make_fails(" m0", 4, what);
	make_fails("x m0", 5, what);
	make_fails("-1 m0", 6, what);
	make_fails("4294967296 m0", 14, what);
	make_fails("1048576 m0", 11, what); /* MOUNT_ATTR_IDMAP */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_below_a_directory_each_once_the_upper_first),
		cmocka_unit_test(a_table_that_is_none),
		cmocka_unit_test(a_list_that_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
