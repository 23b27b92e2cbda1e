/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations in tests; see config_text.h. */
#include "tests/unit/config_text.h"

#include <errno.h>

#include "tests/unit/unit.h"

char *json_of(const char *before, const char *snippet, const char *after)
{
	size_t size = strlen(before) + strlen(snippet) + strlen(after) + 1;
	char *json = malloc(size);

	assert_non_null(json);
	snprintf(json, size, "%s%s%s", before, snippet, after);
	for (char *s = json; (s = strchr(s, '\''));)
		*s = '"';
	return json;
}

int parse_config(const char *members, struct arena *arena, struct oci_config **config,
		 struct error *err)
{
	_cleanup_free_ char *json = json_of("{'ociVersion': '1.2.0', ", members, "}");

	arena_init(arena, 0);
	return oci_config_parse(json, strlen(json), arena, config, err);
}

struct oci_config *must_parse(const char *members, struct arena *arena)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };

	if (parse_config(members, arena, &config, &err) < 0)
		fail_msg("%s: %s", members, err.text);
	return config;
}

void must_accept(const char *members)
{
	struct arena arena;

	must_parse(members, &arena);
	arena_free(&arena);
}

void must_refuse(const char *members, const char *message)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	struct arena arena;

	if (parse_config(members, &arena, &config, &err) == 0)
		fail_msg("accepted: %s", members);
	assert_string_equal(err.text, message);
	assert_int_equal(err.code, EINVAL);
	assert_null(config);
	arena_free(&arena);
}
