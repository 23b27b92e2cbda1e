/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a token service; see registry_token.h. */
#include "oci/image/registry_token.h"

#include <string.h>

#include "oci/json.h"

#define ANSWER_MAX ((size_t)64 << 10)

/* A token becomes a header: it is made of visible characters only, and of no line's end. */
static bool is_token(const char *s)
{
	for (const char *c = s; *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return false;
	return *s;
}

int registry_token_parse(const char *text, size_t len, char **authorization, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct json_value *root;
	struct error ignored;
	const char *token = NULL;

	arena_init(&arena, 16 * ANSWER_MAX);
	/* What is wrong with the text is not said: a message must not quote a token. */
	if (json_parse(text, len, &arena, &root, &ignored) >= 0 && root->type == JSON_OBJECT) {
		token = json_get_string(root, "token");
		if (!token || !*token)
			token = json_get_string(root, "access_token");
	}
	if (!token || !is_token(token))
		return error_set(err, EPROTO, "the token service's answer has no valid token");
	if (asprintf(authorization, "Bearer %s", token) < 0) {
		*authorization = NULL;
		return error_errno(err, ENOMEM, "get a token");
	}
	return 0;
}

static bool add_param(char *url, const char *name, const char *value)
{
	size_t len = strlen(url);

	if (!*value)
		return true;
	if (len + strlen(name) + 3 > HTTP_URL_MAX)
		return false;
	sprintf(url + len, "%c%s=", strchr(url, '?') ? '&' : '?', name);
	return http_url_add(url, value);
}

static bool make_url(char *url, const struct registry_challenge *challenge,
		     const struct image_reference *reference)
{
	char scope[REFERENCE_NAME_MAX + sizeof("repository::pull")];

	strcpy(url, challenge->realm);
	snprintf(scope, sizeof(scope), "repository:%s:pull", reference->name);
	return !strchr(url, '#') && add_param(url, "service", challenge->service) &&
	       add_param(url, "scope", *challenge->scope ? challenge->scope : scope);
}

static int check_status(const struct http_response *r, const struct registry_credentials *c,
			struct error *err)
{
	if (r->status == 200)
		return 0;
	if (r->status == 429 || r->status >= 500)
		return error_set(err, EAGAIN, "the token service answers with status %ld",
				 r->status);
	if (c->basic)
		return error_set(err, EACCES,
				 "the token service refuses the credentials of `%s` (status %ld)",
				 c->file, r->status);
	return error_set(err, EACCES,
			 "the token service gives nothing without credentials (status %ld): log in "
			 "first, with `skopeo login` for example",
			 r->status);
}

int registry_token_get(struct http_client *client, const struct registry_challenge *challenge,
		       const struct image_reference *reference,
		       const struct registry_credentials *credentials, char **authorization,
		       struct error *err)
{
	_cleanup_http_ struct http_exchange *x = NULL;
	_cleanup_secret_ char *basic = NULL;
	_cleanup_secret_ char *text = NULL;
	char url[HTTP_URL_MAX + 1];
	struct http_request request = { .url = url };
	ssize_t len;
	int r;

	if (!make_url(url, challenge, reference))
		return error_set(err, EPROTO, "the registry names no usable token service");
	if (credentials->basic && asprintf(&basic, "Basic %s", credentials->basic) < 0) {
		basic = NULL;
		return error_errno(err, ENOMEM, "get a token");
	}
	request.authorization = basic;
	r = http_open(client, &request, &x, err);
	if (r >= 0)
		r = check_status(http_response(x), credentials, err);
	if (r < 0)
		return error_wrap(err, "get a token");
	len = http_read_all(x, ANSWER_MAX, &text, err);
	if (len < 0)
		return error_wrap(err, "get a token");
	return registry_token_parse(text, (size_t)len, authorization, err);
}
