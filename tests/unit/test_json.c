/* SPDX-License-Identifier: Apache-2.0 */
/* oci/json.h: the tree, each limit with its message, exact numbers, the writer. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "oci/json.h"

static int parse(const char *text, size_t len, struct arena *arena, struct json_value **root,
		 struct error *err)
{
	/* A copy without a NUL after it, so that a sanitizer sees a read past the end. */
	char *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, len);
	arena_init(arena, 0);
	r = json_parse(copy, len, arena, root, err);
	free(copy);
	return r;
}

static void expect_error(const char *text, size_t len, const char *message)
{
	struct json_value *root;
	struct error err = { 0 };
	struct arena arena;

	assert_int_equal(parse(text, len, &arena, &root, &err), -EINVAL);
	assert_string_equal(err.text, message);
	assert_int_equal(err.code, EINVAL);
	arena_free(&arena);
}

/* ---- the tree --------------------------------------------------------------------------------- */

static void tree_has_the_shape_of_the_text(void **state)
{
	static const char text[] =
		" {\"a\": [1, -2.5e3, true, false, null, \"x\\n\\u00e9\\ud83d\\ude00\"],"
		" \"b\": {}, \"\": []}\n";
	struct json_value *root;
	struct arena arena;
	const struct json_value *a, *v;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &arena, &root, NULL), 0);
	assert_int_equal(root->type, JSON_OBJECT);
	assert_int_equal(root->children, 3);
	a = json_get(root, "a");
	assert_non_null(a);
	assert_int_equal(a->type, JSON_ARRAY);
	assert_int_equal(a->children, 6);
	v = a->child;
	assert_null(v->key);
	assert_int_equal(v->type, JSON_NUMBER);
	assert_string_equal(v->string, "1");
	v = v->next;
	assert_string_equal(v->string, "-2.5e3");
	v = v->next;
	assert_true(v->type == JSON_BOOL && v->boolean);
	v = v->next;
	assert_true(v->type == JSON_BOOL && !v->boolean);
	v = v->next;
	assert_int_equal(v->type, JSON_NULL);
	v = v->next;
	assert_string_equal(v->string, "x\n\u00e9\U0001f600");
	assert_null(v->next);
	assert_int_equal(json_get(root, "b")->type, JSON_OBJECT);
	assert_null(json_get(root, "b")->child);
	assert_int_equal(json_get(root, "")->type, JSON_ARRAY);
	assert_null(json_get(root, "c"));
	assert_null(json_get(a, "a"));
	assert_null(json_get(NULL, "a"));
	assert_null(json_get_string(root, "a"));
	arena_free(&arena);
}

static void one_value_of_any_type_is_a_text(void **state)
{
	static const char *const texts[] = { "1",  "\"s\"", "null", "true",
					     "[]", "{}",    "-0",   "\t[ ]\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct json_value *root = NULL;
		struct arena arena;

		assert_int_equal(parse(texts[i], strlen(texts[i]), &arena, &root, NULL), 0);
		assert_non_null(root);
		arena_free(&arena);
	}
}

/* ---- what is refused -------------------------------------------------------------------------- */

static void malformed_texts_are_refused_with_line_and_column(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "", "invalid JSON at line 1, column 1: parse error: premature EOF" },
		{ "  ", "invalid JSON at line 1, column 3: parse error: premature EOF" },
		{ "[1", "invalid JSON at line 1, column 3: parse error: premature EOF" },
		{ "{} {}", "invalid JSON at line 1, column 4: parse error: trailing garbage" },
		{ "1 2", "invalid JSON at line 1, column 4: parse error: trailing garbage" },
		{ "{\n  \"a\": tru\n}", "invalid JSON at line 2, column 10: lexical error: "
					"invalid string in json text." },
		{ "[1,\n2,]", "invalid JSON at line 2, column 3: parse error: "
			      "unallowed token at this point in JSON text" },
		{ "[01]", "invalid JSON at line 1, column 3: parse error: "
			  "after array element, I expect ',' or ']'" },
		{ "{\"a\" 1}", "invalid JSON at line 1, column 6: parse error: "
			       "object key and value must be separated by a colon (':')" },
		{ "/* */1", "invalid JSON at line 1, column 1: lexical error: probable comment "
			    "found in input text, comments are not enabled." },
		{ "[\"\x01\"]", "invalid JSON at line 1, column 2: lexical error: "
				"invalid character inside string." },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect_error(cases[i].text, strlen(cases[i].text), cases[i].message);
}

static void bad_utf8_is_refused(void **state)
{
	static const char *const bad[] = {
		"\x80",         "\xc3",
		"\xc0\xaf", /* bare, cut, overlong */
		"\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\xff", /* surrogate, too large, never */
		"\xe2\x82",     "\xf8\x88\x80\x80\x80",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[64];

		snprintf(text, sizeof(text), "{\n\"key\": \"12345678%s\"}", bad[i]);
		expect_error(text, strlen(text),
			     "invalid JSON at line 2, column 17: not valid UTF-8");
		snprintf(text, sizeof(text), "{\"%s\": 1}", bad[i]);
		expect_error(text, strlen(text),
			     "invalid JSON at line 1, column 3: not valid UTF-8");
	}
}

static void halves_of_surrogate_pairs_are_refused(void **state)
{
	static const char *const bad[] = {
		"\"\\ud800\"",    "\"\\udc00\"",      "\"\\uD800x\"",    "\"\\ud800\\ud800\"",
		"\"\\udBff\\n\"", "{\"\\udfff\": 1}", "\"\\\\\\ud800\"",
	};
	static const char *const good[] = { "\"\\\\ud800\"", "\"\\ud83d\\ude00\"",
					    "\"\\ud7ff\\ue000\"" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct json_value *root;
		struct error err = { 0 };
		struct arena arena;

		assert_int_equal(parse(bad[i], strlen(bad[i]), &arena, &root, &err), -EINVAL);
		assert_non_null(strstr(err.text, "half of a surrogate pair in a string"));
		arena_free(&arena);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct json_value *root;
		struct arena arena;

		assert_int_equal(parse(good[i], strlen(good[i]), &arena, &root, NULL), 0);
		arena_free(&arena);
	}
}

static void nul_is_refused(void **state)
{
	(void)state;
	expect_error("[\"a\\u0000b\"]", 12, "invalid JSON at line 1, column 12: a NUL in a string");
	expect_error("{\"a\\u0000\": 1}", 14,
		     "invalid JSON at line 1, column 11: a NUL in the name of a member");
	expect_error("[\"a\0b\"]", 7,
		     "invalid JSON at line 1, column 3: lexical error: "
		     "invalid character inside string.");
	expect_error("[1 \0 2]", 7,
		     "invalid JSON at line 1, column 4: lexical error: invalid char in json text.");
}

static void nesting_has_a_limit(void **state)
{
	char text[2 * (JSON_DEPTH + 1)];
	struct json_value *root;
	struct arena arena;

	(void)state;
	memset(text, '[', sizeof(text) / 2);
	memset(text + sizeof(text) / 2, ']', sizeof(text) / 2);
	expect_error(text, sizeof(text),
		     "invalid JSON at line 1, column 66: nested deeper than 64 levels");
	assert_int_equal(parse(text + 1, sizeof(text) - 2, &arena, &root, NULL), 0);
	arena_free(&arena);
}

static void nesting_bombs_are_cheap(void **state)
{
	size_t len = (size_t)8 << 20;
	char *text = malloc(len);

	(void)state;
	assert_non_null(text);
	memset(text, '[', len);
	expect_error(text, len, "invalid JSON at line 1, column 66: nested deeper than 64 levels");
	for (size_t i = 0; i < len; i++)
		text[i] = "{\"a\":"[i % 5];
	expect_error(text, len, "invalid JSON at line 1, column 322: nested deeper than 64 levels");
	free(text);
}

static void number_of_values_has_a_limit(void **state)
{
	size_t len = 2 * JSON_VALUES + 1;
	char *text = malloc(len);
	struct json_value *root;
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	assert_non_null(text);
	text[0] = '[';
	for (size_t i = 1; i < len; i++)
		text[i] = i % 2 ? '0' : ',';
	text[len - 1] = ']'; /* the array and as many numbers */
	assert_int_equal(parse(text, len, &arena, &root, &err), -EINVAL);
	assert_non_null(strstr(err.text, ": too many values in one text"));
	arena_free(&arena);
	text[2] = ' ', text[1] = ' '; /* one fewer */
	assert_int_equal(parse(text, len, &arena, &root, NULL), 0);
	assert_int_equal(root->children, JSON_VALUES - 1);
	arena_free(&arena);
	free(text);
}

static void members_do_not_repeat(void **state)
{
	(void)state;
	expect_error("{\"a\":1,\"b\":2,\"a\":3}", 19,
		     "invalid JSON at line 1, column 17: "
		     "member \"a\" appears twice in one object");
	expect_error("{\"a\":1,\n\"\\u0061\":3}", 19,
		     "invalid JSON at line 2, column 9: "
		     "member \"a\" appears twice in one object");
	expect_error("[{\"x\":{\"\":1,\"\":1}}]", 19,
		     "invalid JSON at line 1, column 15: "
		     "member \"\" appears twice in one object");
}

/* An object of n members k0 to k(n-1); the last is named as the member `same`, where that is less. */
static size_t make_object(char *text, size_t n, size_t same)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, "%c\"k%zu\":{\"k%zu\":1}", i ? ',' : '{',
				       i == n - 1 && same < n ? same : i, i);
	text[len++] = '}';
	return len;
}

static void members_do_not_repeat_in_large_objects(void **state)
{
	char *text = malloc(4 << 20);

	(void)state;
	assert_non_null(text);
	for (size_t n = 20; n < 30; n++) {
		for (size_t same = 0; same < n - 1; same++) {
			struct json_value *root;
			struct error err = { 0 };
			struct arena arena;
			char message[64];

			snprintf(message, sizeof(message),
				 "member \"k%zu\" appears twice in one object", same);
			assert_int_equal(
				parse(text, make_object(text, n, same), &arena, &root, &err),
				-EINVAL);
			assert_non_null(strstr(err.text, message));
			arena_free(&arena);
		}
	}
	for (size_t n = 1; n <= 100000; n *= 10) {
		struct json_value *root;
		struct arena arena;

		assert_int_equal(parse(text, make_object(text, n, n), &arena, &root, NULL), 0);
		assert_int_equal(root->children, n);
		arena_free(&arena);
	}
	free(text);
}

static void memory_runs_out_without_harm(void **state)
{
	static const char text[] = "{\"a\": [1, 2, {\"b\": \"c\"}], \"d\": null}";

	(void)state;
	for (size_t limit = 1; limit < 600; limit += 7) {
		struct json_value *root;
		struct error err = { 0 };
		struct arena arena;
		int r;

		arena_init(&arena, limit);
		r = json_parse(text, strlen(text), &arena, &root, &err);
		assert_true(r == 0 || (r == -ENOMEM && err.code == ENOMEM && err.text[0]));
		arena_free(&arena);
	}
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static void integers_are_exact(void **state)
{
	struct json_value v = { .type = JSON_NUMBER, .string = "18446744073709551615" };
	uint64_t u = 0;
	int64_t i = 0;

	(void)state;
	assert_true(json_u64(&v, UINT64_MAX, &u));
	assert_true(u == UINT64_MAX);
	assert_false(json_u64(&v, UINT64_MAX - 1, &u));
	assert_false(json_i64(&v, INT64_MIN, INT64_MAX, &i));
	v.string = "18446744073709551616";
	assert_false(json_u64(&v, UINT64_MAX, &u));
	v.string = "-9223372036854775808";
	assert_true(json_i64(&v, INT64_MIN, INT64_MAX, &i));
	assert_true(i == INT64_MIN);
	assert_false(json_i64(&v, INT64_MIN + 1, INT64_MAX, &i));
	v.string = "-9223372036854775809";
	assert_false(json_i64(&v, INT64_MIN, INT64_MAX, &i));
	v.string = "-1";
	assert_false(json_u64(&v, UINT64_MAX, &u));
	v.string = "-0";
	assert_true(json_u64(&v, UINT64_MAX, &u) && u == 0);
	v.string = "1e3";
	assert_false(json_u64(&v, UINT64_MAX, &u));
	assert_false(json_i64(&v, INT64_MIN, INT64_MAX, &i));
	v.string = "5.0";
	assert_false(json_u64(&v, UINT64_MAX, &u));
	v.type = JSON_STRING;
	v.string = "5";
	assert_false(json_u64(&v, UINT64_MAX, &u));
	assert_false(json_i64(&v, INT64_MIN, INT64_MAX, &i));
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void write_example(struct json_writer *w)
{
	json_write_begin(w, '{');
	json_write_member(w, "a", "x\"\\\n\x01\u00e9\xff");
	json_write_key(w, "b");
	json_write_begin(w, '[');
	json_write_u64(w, UINT64_MAX);
	json_write_i64(w, INT64_MIN);
	json_write_bool(w, true);
	json_write_begin(w, '{');
	json_write_end(w, '}');
	json_write_end(w, ']');
	json_write_key(w, "c");
	json_write_begin(w, '[');
	json_write_end(w, ']');
	json_write_end(w, '}');
}

static void writer_puts_commas_and_blanks(void **state)
{
	struct strbuf out = { 0 };
	struct json_writer w;

	(void)state;
	json_write_init(&w, &out, 0);
	write_example(&w);
	assert_string_equal(
		out.data, "{\"a\":\"x\\\"\\\\\\n\\u0001\u00e9\\ufffd\",\"b\":[18446744073709551615,"
			  "-9223372036854775808,true,{}],\"c\":[]}");
	strbuf_free(&out);
	json_write_init(&w, &out, 2);
	write_example(&w);
	assert_string_equal(out.data, "{\n"
				      "  \"a\": \"x\\\"\\\\\\n\\u0001\u00e9\\ufffd\",\n"
				      "  \"b\": [\n"
				      "    18446744073709551615,\n"
				      "    -9223372036854775808,\n"
				      "    true,\n"
				      "    {}\n"
				      "  ],\n"
				      "  \"c\": []\n"
				      "}");
	strbuf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tree_has_the_shape_of_the_text),
		cmocka_unit_test(one_value_of_any_type_is_a_text),
		cmocka_unit_test(malformed_texts_are_refused_with_line_and_column),
		cmocka_unit_test(bad_utf8_is_refused),
		cmocka_unit_test(halves_of_surrogate_pairs_are_refused),
		cmocka_unit_test(nul_is_refused),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(nesting_bombs_are_cheap),
		cmocka_unit_test(number_of_values_has_a_limit),
		cmocka_unit_test(members_do_not_repeat),
		cmocka_unit_test(members_do_not_repeat_in_large_objects),
		cmocka_unit_test(memory_runs_out_without_harm),
		cmocka_unit_test(integers_are_exact),
		cmocka_unit_test(writer_puts_commas_and_blanks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
