/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is tried until it succeeds, is refused for good, or has failed too often. The first 401 of
 * it is answered: with a token that another thread has got meanwhile, else with a new one.
 */
#include "oci/image/registry_session.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "oci/image/registry_auth.h"
#include "oci/image/registry_challenge.h"
#include "oci/image/registry_token.h"
#include "oci/json.h"

#define BACK_OFF_MS     500u
#define BACK_OFF_MAX_MS 30000u
#define ERROR_BODY_MAX  16384

struct registry_session {
	struct image_reference reference;
	bool plain_http;
	unsigned tries;
	struct http_client *client;
	pthread_mutex_t lock; /* of what follows */
	bool looked;          /* for credentials */
	struct registry_credentials credentials;
	char *authorization; /* "Basic …" or "Bearer …"; NULL: not asked for yet */
};

int registry_session_open(const struct image_reference *reference,
			  const struct http_options *options, unsigned tries,
			  struct registry_session **session, struct error *err)
{
	struct registry_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_errno(err, ENOMEM, "ask a registry");
	s->reference = *reference;
	s->plain_http = options->plain_http;
	s->tries = tries;
	pthread_mutex_init(&s->lock, NULL);
	r = http_client_new(options, &s->client, err);
	if (r < 0) {
		registry_session_close(s);
		return r;
	}
	*session = s;
	return 0;
}

void registry_session_close(struct registry_session *s)
{
	http_client_free(s->client);
	registry_credentials_free(&s->credentials);
	registry_secret_free(s->authorization);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

unsigned registry_session_tries(const struct registry_session *s)
{
	return s->tries;
}

int registry_back_off(const struct registry_session *s, unsigned tries, unsigned asked_s,
		      struct error *err)
{
	unsigned ms = tries < 7 ? BACK_OFF_MS << (tries ? tries - 1 : 0) : BACK_OFF_MAX_MS;
	unsigned random = 0;

	if (ms > BACK_OFF_MAX_MS)
		ms = BACK_OFF_MAX_MS;
	if (RAND_bytes((unsigned char *)&random, sizeof(random)) != 1)
		random = 0;
	ms += random % ms;
	if (ms < asked_s * 1000)
		ms = asked_s * 1000;
	return http_wait(s->client, ms, err);
}

/* ---- who we are ----------------------------------------------------------------------------- */

static int unauthorized(const struct registry_session *s, struct error *err)
{
	if (s->credentials.basic)
		return error_set(err, EACCES, "unauthorized: `%s` refuses the credentials of `%s`",
				 s->reference.host, s->credentials.file);
	return error_set(
		err, EACCES,
		"unauthorized: `%s` wants credentials, and there are none for it in "
		"$REGISTRY_AUTH_FILE, containers/auth.json or ~/.docker/config.json: log in "
		"first, with `skopeo login` for example",
		s->reference.host);
}

/* With the lock held. */
static int answer_challenge(struct registry_session *s, const char *header, struct error *err)
{
	struct registry_challenge challenge;
	char *authorization = NULL;
	int r;

	if (!registry_challenge_parse(header, &challenge))
		return error_set(err, EPROTO, "`%s` asks for credentials in a malformed way",
				 s->reference.host);
	if (!challenge.basic && !challenge.bearer)
		return error_set(err, EOPNOTSUPP,
				 "`%s` asks for credentials in a way that is not supported: it has "
				 "to be Basic or Bearer",
				 s->reference.host);
	r = s->looked ? 0 : registry_auth_find(&s->reference, &s->credentials, err);
	if (r < 0)
		return r;
	s->looked = true;
	if (challenge.bearer) {
		r = registry_token_get(s->client, &challenge, &s->reference, &s->credentials,
				       &authorization, err);
		if (r < 0)
			return r;
	} else if (!s->credentials.basic || s->authorization) {
		/* The same once more would be refused once more. */
		return unauthorized(s, err);
	} else if (asprintf(&authorization, "Basic %s", s->credentials.basic) < 0) {
		return error_errno(err, ENOMEM, "ask a registry");
	}
	registry_secret_free(s->authorization);
	s->authorization = authorization;
	return 0;
}

/* sent: what was refused; NULL: nothing. */
static int authorize(struct registry_session *s, const char *sent, const char *header,
		     struct error *err)
{
	bool other;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	other = s->authorization && (!sent || strcmp(sent, s->authorization) != 0);
	if (!other)
		r = answer_challenge(s, header, err);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int copy_authorization(struct registry_session *s, char **authorization, struct error *err)
{
	pthread_mutex_lock(&s->lock);
	*authorization = s->authorization ? strdup(s->authorization) : NULL;
	pthread_mutex_unlock(&s->lock);
	return *authorization || !s->authorization ? 0 : error_errno(err, ENOMEM, "ask a registry");
}

/* ---- what an answer means ------------------------------------------------------------------- */

/* The registry's own words, " (…)", as far as they can be printed; "" where it has none. */
static void own_words(struct http_exchange *x, char *words, size_t size)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_arena_ struct arena arena;
	const struct json_value *errors;
	struct json_value *root;
	struct error ignored;
	const char *message = NULL;
	char plain[200];
	ssize_t len = http_read_all(x, ERROR_BODY_MAX, &text, &ignored);

	words[0] = '\0';
	arena_init(&arena, (size_t)1 << 20);
	if (len <= 0 || json_parse(text, (size_t)len, &arena, &root, &ignored) < 0 ||
	    root->type != JSON_OBJECT)
		return;
	errors = json_get(root, "errors");
	if (errors && errors->type == JSON_ARRAY && errors->child &&
	    errors->child->type == JSON_OBJECT)
		message = json_get_string(errors->child, "message");
	if (!message)
		return;
	http_printable(plain, sizeof(plain), message);
	snprintf(words, size, " (it says: %s)", plain);
}

static bool is_transient(long status)
{
	return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

static int not_found(const struct registry_session *s, const struct registry_request *request,
		     const char *words, struct error *err)
{
	if (!strcmp(request->kind, "blobs"))
		return error_set(err, ENOENT, "`%s` has no blob %s of `%s`%s", s->reference.host,
				 request->what, s->reference.name, words);
	return error_set(err, ENOENT, "`%s` has no image `%s` with the %s `%s`%s",
			 s->reference.host, s->reference.name,
			 strchr(request->what, ':') ? "digest" : "tag", request->what, words);
}

/* An answer that is no success. */
static int refused(const struct registry_session *s, const struct registry_request *request,
		   struct http_exchange *x, struct error *err)
{
	long status = http_response(x)->status;
	char words[256];

	own_words(x, words, sizeof(words));
	switch (status) {
	case 401:
		if (!http_response(x)->redirected)
			return unauthorized(s, err);
		return error_set(err, EACCES,
				 "where `%s` redirects to, credentials are wanted; they are never "
				 "sent to another host",
				 s->reference.host);
	case 403:
		return error_set(err, EACCES, "`%s` forbids to read `%s`%s", s->reference.host,
				 s->reference.name, words);
	case 404:
		return not_found(s, request, words, err);
	case 416:
		return error_set(err, ERANGE, "`%s` has no more bytes of %s", s->reference.host,
				 request->what);
	default:
		return error_set(err, is_transient(status) ? EAGAIN : EPROTO,
				 "`%s` answers with status %ld%s", s->reference.host, status,
				 words);
	}
}

/* What must not be put together with what came before is refused. */
static int check_range(const struct registry_session *s, const struct registry_request *request,
		       const struct http_response *r, struct error *err)
{
	if (r->status != 206 ||
	    (request->offset && r->has_range && r->range_start == request->offset))
		return 0;
	return error_set(err, EPROTO, "`%s` gives another part of %s than was asked for",
			 s->reference.host, request->what);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* One attempt; *asked_s: how long the server wants us to wait before the next. */
static int attempt(struct registry_session *s, const struct registry_request *request,
		   const struct http_request *http, bool *challenged,
		   struct http_exchange **exchange, unsigned *asked_s, struct error *err)
{
	_cleanup_http_ struct http_exchange *x = NULL;
	const struct http_response *response;
	int r = http_open(s->client, http, &x, err);

	*asked_s = 0;
	if (r < 0)
		return r;
	response = http_response(x);
	*asked_s = response->retry_after;
	if (response->status == 200 || response->status == 206) {
		r = check_range(s, request, response, err);
		if (r >= 0)
			*exchange = take_ptr(x);
		return r;
	}
	/* Where another host wants to know who we are, it is not told. */
	if (response->status != 401 || *challenged || response->redirected)
		return refused(s, request, x, err);
	r = authorize(s, http->authorization, response->authenticate, err);
	*challenged = r >= 0;
	return r < 0 ? r : 1;
}

static int make_url(const struct registry_session *s, const struct registry_request *request,
		    char *url, struct error *err)
{
	int len =
		snprintf(url, HTTP_URL_MAX, "%s://%s/v2/%s/%s/%s", s->plain_http ? "http" : "https",
			 s->reference.host, s->reference.name, request->kind, request->what);

	return len < HTTP_URL_MAX ? 0 : error_errno(err, ENAMETOOLONG, "ask a registry");
}

int registry_get(struct registry_session *s, const struct registry_request *request,
		 struct http_exchange **exchange, struct error *err)
{
	char url[HTTP_URL_MAX];
	bool challenged = false;
	unsigned tries = 0, asked_s;
	int r = make_url(s, request, url, err);

	while (r >= 0) {
		_cleanup_secret_ char *authorization = NULL;
		struct http_request http = { url, request->accept, NULL, request->offset };

		r = copy_authorization(s, &authorization, err);
		if (r < 0)
			return r;
		http.authorization = authorization;
		r = attempt(s, request, &http, &challenged, exchange, &asked_s, err);
		if (r == 1)
			continue;
		if (r != -EAGAIN)
			return r;
		if (++tries >= s->tries)
			return error_wrap(err, "given up after %u attempts", tries);
		log_debug("%s; trying again", err ? err->text : "an attempt failed");
		error_clear(err);
		r = registry_back_off(s, tries, asked_s, err);
	}
	return r;
}
