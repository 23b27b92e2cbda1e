/* SPDX-License-Identifier: Apache-2.0 */
/* oci/image/reference, registry_challenge, registry_auth, registry_token and registry_mirrors: what is taken from users, servers and files. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "oci/image/registry_challenge.h"
#include "oci/image/registry_mirrors.h"
#include "oci/image/registry_token.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void references(void **state _unused_)
{
	struct image_reference r;
	struct error err = { 0 };

	assert_int_equal(image_reference_parse("localhost:5000/a/b__c:v1.0", &r, &err), 0);
	assert_string_equal(r.host, "localhost:5000");
	assert_string_equal(r.name, "a/b__c");
	assert_string_equal(image_reference_version(&r).s, "v1.0");
	assert_int_equal(image_reference_parse("[::1]:5000/a", &r, &err), 0);
	assert_string_equal(image_reference_version(&r).s, "latest");
	assert_int_equal(image_reference_parse("r.example/a:t@sha256:" HEX64, &r, &err), 0);
	assert_string_equal(image_reference_version(&r).s, "sha256:" HEX64);
}

static void references_refused(void **state _unused_)
{
	static const char *const wrong[] = {
		"",
		"image",
		"group/image",
		"localhost/",
		"localhost/A",
		"localhost/a//b",
		"localhost/../b",
		"localhost/a..b",
		"localhost/a___b",
		"localhost/a-",
		"localhost/a%2fb",
		"localhost/a?b",
		"localhost/a:",
		"localhost/a:.b",
		"localhost/a:b/c",
		"localhost/a@sha256:0",
		"localhost:0/a",
		"localhost:65536/a",
		"localhost:/a",
		"user@localhost/a",
		"-a.example/a",
		"a-.example/a",
		"a..example/a",
		"a.example./a",
		"[::1/a",
		"[]/a",
		"localhost/a\n",
	};
	struct image_reference r;
	struct error err;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (image_reference_parse(wrong[i], &r, &err) >= 0)
			fail_msg("`%s` was taken", wrong[i]);
}

static void challenges(void **state _unused_)
{
	struct registry_challenge c;

	assert_true(registry_challenge_parse(
		"Negotiate ab/c==, Basic realm=\"x, y\", bearer realm=\"https://a/\\\"t\" , "
		"service = s,scope=\"repository:a:pull,push\"",
		&c));
	assert_true(c.basic && c.bearer);
	assert_string_equal(c.realm, "https://a/\"t");
	assert_string_equal(c.service, "s");
	assert_string_equal(c.scope, "repository:a:pull,push");
	assert_true(registry_challenge_parse("Bearer service=\"no realm\"", &c));
	assert_false(c.bearer);
	assert_true(registry_challenge_parse("", &c));
	assert_false(registry_challenge_parse("Bearer realm=\"open", &c));
	assert_false(registry_challenge_parse("Bearer realm=\"open\\", &c));
	assert_false(registry_challenge_parse("Bearer realm=\"a\033b\"", &c));
	assert_false(registry_challenge_parse("Bearer realm=a\033b", &c));
}

/* The credentials that the text has for localhost:5000/group/image, NULL where they are none or an error. */
static const char *found(const char *text)
{
	static char basic[128];
	struct registry_credentials c = { 0 };
	struct image_reference r;
	struct error err = { 0 };
	const char *result = NULL;

	assert_int_equal(image_reference_parse("localhost:5000/group/image", &r, &err), 0);
	if (registry_auth_parse(text, strlen(text), &r, &c, &err) >= 0 && c.basic) {
		snprintf(basic, sizeof(basic), "%s", c.basic);
		result = basic;
	}
	registry_credentials_free(&c);
	return result;
}

static void auth_files(void **state _unused_)
{
	assert_string_equal(found("{\"auths\":{\"localhost:5000\":{\"auth\":\"dTpw\"}}}"), "dTpw");
	assert_string_equal(
		found("{\"auths\":{\"https://localhost:5000/v1/\":{\"auth\":\"dTpw\"}}}"), "dTpw");
	/* The longest part of the path, and only whole parts. */
	assert_string_equal(found("{\"auths\":{\"localhost:5000/group\":{\"auth\":\"Yjpi\"},"
				  "\"localhost:5000\":{\"auth\":\"YTph\"},"
				  "\"localhost:5000/group/im\":{\"auth\":\"Yzpj\"}}}"),
			    "Yjpi");
	assert_string_equal(
		found("{\"auths\":{\"localhost:5000\":{\"username\":\"u\",\"password\":\"p\"}}}"),
		"dTpw");
	assert_null(found("{\"auths\":{\"localhost\":{\"auth\":\"dTpw\"}}}"));
	assert_null(found("{\"auths\":{\"localhost:5000\":{}}}"));
	assert_null(found("{\"auths\":{\"localhost:5000\":{\"auth\":\"dTpw\\r\\nX: y\"}}}"));
	assert_null(found("{\"auths\":{\"localhost:5000\":{\"auth\":\"dXA=\"}}}"));
	assert_null(found("{\"credHelpers\":{\"localhost:5000\":\"../../bin/sh\"}}"));
	assert_null(found("{}"));
	assert_null(found("[]"));
}

static void tokens(void **state _unused_)
{
	static const char good[] = "{\"access_token\":\"a.b\"}",
			  bad[] = "{\"token\":\"a\\r\\nX: y\"}";
	struct error err = { 0 };
	char *header = NULL;

	assert_int_equal(registry_token_parse(good, sizeof(good) - 1, &header, &err), 0);
	assert_string_equal(header, "Bearer a.b");
	registry_secret_free(header);
	assert_true(registry_token_parse(bad, sizeof(bad) - 1, &header, &err) < 0);
	assert_true(registry_token_parse("{}", 2, &header, &err) < 0);
}

static int mirrors_of(const char *image, const char *text, struct registry_mirrors *m,
		      struct error *err)
{
	struct image_reference r;

	assert_int_equal(image_reference_parse(image, &r, err), 0);
	return registry_mirrors_parse(text, strlen(text), &r, m, err);
}

static void mirrors(void **state _unused_)
{
	static const char text[] =
		"{\"registries\":[{\"prefix\":\"r.example\",\"mirrors\":["
		"{\"location\":\"localhost:5000/all\",\"plainHttp\":true},"
		"{\"location\":\"b.example\",\"digestsOnly\":true}]},"
		"{\"prefix\":\"r.example/a/b\",\"mirrors\":[{\"location\":\"c.example/x/y\"}]},"
		"{\"prefix\":\"r.example/bad\",\"blocked\":true},"
		"{\"prefix\":\"r.example/all/of/it\",\"mirrors\":[{\"location\":\"d.example\"}]}]}";
	struct registry_mirrors m;
	struct error err = { 0 };

	assert_int_equal(mirrors_of("r.example/a:v1", text, &m, &err), 0);
	assert_int_equal(m.count, 2);
	assert_false(m.blocked);
	assert_string_equal(m.mirror[0].reference.host, "localhost:5000");
	assert_string_equal(m.mirror[0].reference.name, "all/a");
	assert_string_equal(image_reference_version(&m.mirror[0].reference).s, "v1");
	assert_true(m.mirror[0].plain_http);
	assert_string_equal(m.mirror[1].reference.name, "a");
	assert_false(m.mirror[1].plain_http);
	assert_true(m.mirror[1].digests_only && !m.mirror[0].digests_only);
	/* The longest prefix, of whole parts. */
	assert_int_equal(mirrors_of("r.example/a/b/c@sha256:" HEX64, text, &m, &err), 0);
	assert_int_equal(m.count, 1);
	assert_string_equal(m.mirror[0].reference.name, "x/y/c");
	assert_string_equal(image_reference_version(&m.mirror[0].reference).s, "sha256:" HEX64);
	assert_int_equal(mirrors_of("r.example/a/bb", text, &m, &err), 0);
	assert_int_equal(m.count, 2);
	assert_int_equal(mirrors_of("r.example/a/b", text, &m, &err), 0);
	assert_string_equal(m.mirror[0].reference.name, "x/y");
	assert_int_equal(mirrors_of("r.example/bad/image", text, &m, &err), 0);
	assert_true(m.blocked);
	assert_int_equal(mirrors_of("r.example:443/a", text, &m, &err), 0);
	assert_int_equal(m.count, 0);
	/* A host alone is no image. */
	assert_int_equal(mirrors_of("r.example/all/of/it", text, &m, &err), -EINVAL);
}

static void mirrors_refused(void **state _unused_)
{
	static const char *const wrong[] = {
		"",
		"[]",
		"{\"registry\":[]}",
		"{\"registries\":{}}",
		"{\"registries\":[1]}",
		"{\"registries\":[{}]}",
		"{\"registries\":[{\"prefix\":\"\"}]}",
		"{\"registries\":[{\"prefix\":\"group\"}]}",
		"{\"registries\":[{\"prefix\":\"*.example\"}]}",
		"{\"registries\":[{\"prefix\":\"a.example/\"}]}",
		"{\"registries\":[{\"prefix\":\"a.example/b:c\"}]}",
		"{\"registries\":[{\"prefix\":\"a.example/b@c\"}]}",
		"{\"registries\":[{\"prefix\":\"a.example\",\"blocked\":1}]}",
		"{\"registries\":[{\"prefix\":\"a.example\",\"insecure\":true}]}",
		"{\"registries\":[{\"prefix\":\"a.example\",\"mirrors\":[{}]}]}",
		"{\"registries\":[{\"prefix\":\"a.example\",\"mirrors\":[{\"location\":\"https://b.example\"}]}]}",
		"{\"registries\":[{\"prefix\":\"a.example\",\"mirrors\":[{\"location\":\"b.example/../c\"}]}]}",
		"{\"registries\":[{\"prefix\":\"r.example\"},{\"prefix\":\"r.example\"}]}",
	};
	struct registry_mirrors m;
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (mirrors_of("r.example/a", wrong[i], &m, &err) >= 0)
			fail_msg("`%s` was taken", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references),      cmocka_unit_test(references_refused),
		cmocka_unit_test(challenges),      cmocka_unit_test(auth_files),
		cmocka_unit_test(tokens),          cmocka_unit_test(mirrors),
		cmocka_unit_test(mirrors_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
