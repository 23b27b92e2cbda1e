/* SPDX-License-Identifier: Apache-2.0 */
/* namespaces/sub_ids: what /etc/subuid says; oci/image/store_ids: for whose ids a layer of the store is. */
#include "tests/unit/unit.h"

#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "namespaces/sub_ids.h"
#include "oci/image/store_internal.h"

struct expected {
	uint32_t inside, outside, size;
};

/* The ranges of user "me", 1000, behind the own id. */
static void parse_as(const char *text, const struct expected *expected, size_t count)
{
	struct oci_id_mapping items[SUB_IDS_MAX + 1] = { { .host_id = 1000, .size = 1 } };
	struct oci_id_mappings maps = { items, 1 };

	assert_int_equal(ns_sub_ids_parse(text, "me", 1000, &maps), count);
	assert_int_equal(maps.len, count + 1);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(items[i + 1].container_id, expected[i].inside);
		assert_int_equal(items[i + 1].host_id, expected[i].outside);
		assert_int_equal(items[i + 1].size, expected[i].size);
	}
}

static void ranges_follow_one_another(void **state _unused_)
{
	parse_as("", NULL, 0);
	parse_as("me:100000:65536\n", (struct expected[]){ { 1, 100000, 65536 } }, 1);
	parse_as("other:5:5\nme:100000:10\n1000:300000:20\nme:200000:30",
		 (struct expected[]){ { 1, 100000, 10 }, { 11, 300000, 20 }, { 31, 200000, 30 } },
		 3);
}

static void lines_that_are_none_are_left_out(void **state _unused_)
{
	static const char *const bad[] = {
		"me\n",
		"me:1\n",
		"me::\n",
		"me:x:1\n",
		"me:1:x\n",
		"me:1:2:3\n",
		"me:1:0\n",
		"me:-1:5\n",
		"mee:1:5\n",
		"m:1:5\n",
		":1:5\n",
		"\n\n:\n::\n",
		"me: 1:5\n",
		"me:1:5 \n",
		"10000:5:5\n",
		"me:4294967295:1\n",
		"me:4294967290:6\n",
		"me:99999999999:1\n",
		"#me:1:5\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		parse_as(bad[i], NULL, 0);
	parse_as("me:4294967290:5\n", (struct expected[]){ { 1, 4294967290, 5 } }, 1);
}

static void no_id_is_mapped_twice(void **state _unused_)
{
	/* The own id; a range again, from below, from above, around. */
	parse_as("me:1000:1\nme:999:2\nme:0:65536\nme:2000:10\nme:2000:10\nme:1995:6\nme:2009:1\n"
		 "me:1990:50\nme:2010:5\n",
		 (struct expected[]){ { 1, 2000, 10 }, { 11, 2010, 5 } }, 2);
}

static void ranges_are_bounded(void **state _unused_)
{
	struct oci_id_mapping items[SUB_IDS_MAX + 1] = { { .host_id = 1000, .size = 1 } };
	struct oci_id_mappings maps = { items, 1 };
	char text[4096] = "";

	for (unsigned i = 0; i < SUB_IDS_MAX + 20; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "me:%u:1\n",
			 2000 + 2 * i);
	assert_int_equal(ns_sub_ids_parse(text, "me", 1000, &maps), SUB_IDS_MAX);
	assert_int_equal(items[SUB_IDS_MAX].container_id, SUB_IDS_MAX);
	/* Inside no id is beyond the last one either. */
	parse_as("me:2000:4294000000\nme:0:900\nme:1001:900000\n",
		 (struct expected[]){ { 1, 2000, 4294000000U }, { 4294000001U, 0, 900 } }, 2);
	/* A user without a name is found by number only. */
	maps.len = 1;
	assert_int_equal(ns_sub_ids_parse("me:5:5\n1000:6:5\n", NULL, 1000, &maps), 1);
	assert_int_equal(items[1].host_id, 6);
}

static int fits(const char *made_uids, const char *made_gids, const char *uids, const char *gids)
{
	struct image_store store = { 0 };
	struct store_ids made = { 0 };
	struct error err = { 0 };

	snprintf(made.uids, sizeof(made.uids), "%s", made_uids);
	snprintf(made.gids, sizeof(made.gids), "%s", made_gids);
	snprintf(store.ids.uids, sizeof(store.ids.uids), "%s", uids);
	snprintf(store.ids.gids, sizeof(store.ids.gids), "%s", gids);
	return store_check_ids(&store, &made, "key", &err);
}

static void layers_are_for_those_who_see_their_owners(void **state _unused_)
{
	const char *map = "0 1000 1, 1 100000 65536";

	assert_int_equal(fits("", "", "", ""), 0);
	assert_int_equal(fits(map, map, map, map), 0);
	assert_int_equal(fits(map, map, "0 1000 1, 1 100000 65536, 65537 300000 5", map), 0);
	assert_int_equal(fits(map, map, "0 1000 1, 1 100000 655360", map), -EPERM);
	assert_int_equal(fits(map, map, "0 1000 1", map), -EPERM);
	assert_int_equal(fits(map, map, map, "0 1000 1, 1 200000 65536"), -EPERM);
	assert_int_equal(fits(map, map, "", ""), -EPERM);
	assert_int_equal(fits("", "", map, map), -EPERM);
	assert_int_equal(fits(map, "", map, map), -EPERM);
}

static void root_of_the_host_has_no_mapping(void **state _unused_)
{
	struct store_ids ids;
	struct error err = { 0 };

	assert_int_equal(store_read_ids(&ids, &err), 0);
	if (process_is_host_root())
		assert_string_equal(ids.uids, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_follow_one_another),
		cmocka_unit_test(lines_that_are_none_are_left_out),
		cmocka_unit_test(no_id_is_mapped_twice),
		cmocka_unit_test(ranges_are_bounded),
		cmocka_unit_test(layers_are_for_those_who_see_their_owners),
		cmocka_unit_test(root_of_the_host_has_no_mapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
