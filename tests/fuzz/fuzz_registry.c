/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a registry pull reads beside images: a reference, a WWW-Authenticate header, a file of credentials, a
 * token service's answer, and a configuration of mirrors. What is taken must be fit for a URL or a header.
 */
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "oci/image/registry_challenge.h"
#include "oci/image/registry_http.h"
#include "oci/image/registry_mirrors.h"
#include "oci/image/registry_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	/* Credential helpers that the input names are not to be found. */
	setenv("PATH", "/nonexistent", 1);
	return 0;
}

static void check(bool good)
{
	if (!good)
		abort();
}

static void check_failure(int r, const struct error *err)
{
	check(r >= 0 || (err->code && err->text[0]));
}

static bool is_visible(const char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s >= 0x7f)
			return false;
	return true;
}

/* A reference that was taken is one when it is written again, and the same. */
static void check_reference(const struct image_reference *r)
{
	struct image_reference again;
	struct error err = { 0 };
	char text[1024];

	check(!strpbrk(r->host, "/@?#% \\") && !strpbrk(r->name, ":@?#% \\") &&
	      !strstr(r->name, "..") && !strpbrk(r->tag, "/:@?#% \\"));
	snprintf(text, sizeof(text), "%s/%s:%s%s%s", r->host, r->name, r->tag,
		 r->has_digest ? "@" : "", r->has_digest ? digest_text(&r->digest).s : "");
	check(image_reference_parse(text, &again, &err) >= 0);
	check(!strcmp(r->host, again.host) && !strcmp(r->name, again.name) &&
	      !strcmp(r->tag, again.tag));
}

static void reference(const char *text)
{
	struct image_reference r;
	struct error err = { 0 };
	int taken = image_reference_parse(text, &r, &err);

	check_failure(taken, &err);
	if (taken >= 0)
		check_reference(&r);
}

static void challenge(const char *text)
{
	struct registry_challenge c;
	char url[HTTP_URL_MAX + 1] = "https://localhost/?scope=";

	if (!registry_challenge_parse(text, &c))
		return;
	check(!c.bearer || *c.realm);
	check(strlen(c.realm) <= CHALLENGE_REALM_MAX && strlen(c.scope) <= CHALLENGE_PARAM_MAX);
	for (const char *s = c.realm; *s; s++)
		check((unsigned char)*s >= 0x20 && *s != 0x7f);
	check(http_url_add(url, c.scope) && is_visible(url) && !strpbrk(url, " \"\\\r\n"));
}

static void credentials(const char *text, size_t size, const struct image_reference *image)
{
	struct registry_credentials c = { 0 };
	struct error err = { 0 };
	char *header = NULL;

	check_failure(registry_auth_parse(text, size, image, &c, &err), &err);
	check(!c.basic || (is_visible(c.basic) && !strchr(c.basic, ' ')));
	registry_credentials_free(&c);
	error_clear(&err);
	check_failure(registry_token_parse(text, size, &header, &err), &err);
	check(!header || is_visible(header));
	registry_secret_free(header);
}

static void mirrors(const char *text, size_t size, const struct image_reference *image)
{
	struct registry_mirrors m;
	struct error err = { 0 };
	int r = registry_mirrors_parse(text, size, image, &m, &err);

	check_failure(r, &err);
	for (size_t i = 0; r >= 0 && i < m.count; i++) {
		check_reference(&m.mirror[i].reference);
		check(!strcmp(m.mirror[i].reference.tag, image->tag));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_reference image;
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	check(image_reference_parse("localhost:5000/group/image:v1", &image, NULL) >= 0);
	reference(text);
	challenge(text);
	credentials(text, size, &image);
	mirrors(text, size, &image);
	free(text);
	return 0;
}
