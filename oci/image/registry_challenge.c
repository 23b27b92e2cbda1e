/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WWW-Authenticate is a list of challenges, each of them with a list of parameters, and both lists
 * have commas between their elements: a word followed by "=" is a parameter, any other a scheme.
 */
#include "oci/image/registry_challenge.h"

#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 64

static const char token_chars[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

enum scheme { SCHEME_OTHER, SCHEME_BASIC, SCHEME_BEARER };

static bool take_token(const char **s, char *token)
{
	size_t len = strspn(*s, token_chars);

	if (!len || len >= NAME_MAX_LEN)
		return false;
	memcpy(token, *s, len);
	token[len] = '\0';
	*s += len;
	return true;
}

/* A character of a value; false where there is no room. Control characters are of no use in any. */
static bool put(char *value, size_t *len, char c)
{
	if (*len >= CHALLENGE_REALM_MAX || (unsigned char)c < 0x20 || c == 0x7f)
		return false;
	value[(*len)++] = c;
	return true;
}

static bool take_quoted(const char **s, char *value)
{
	size_t len = 0;

	for (++*s; **s != '"'; ++*s) {
		if (**s == '\\')
			++*s;
		if (!**s || !put(value, &len, **s))
			return false;
	}
	++*s;
	value[len] = '\0';
	return true;
}

static bool take_value(const char **s, char *value)
{
	size_t len = 0;

	if (**s == '"')
		return take_quoted(s, value);
	/* Not within quotes a colon and a slash are wrong, yet there are servers that write realms so. */
	for (; **s && !strchr(", \t\"", **s); ++*s)
		if (!put(value, &len, **s))
			return false;
	value[len] = '\0';
	return len;
}

static bool keep(char *to, size_t max, const char *value)
{
	if (strlen(value) > max)
		return false;
	strcpy(to, value);
	return true;
}

static bool keep_param(struct registry_challenge *c, const char *name, const char *value)
{
	if (!strcasecmp(name, "realm"))
		return keep(c->realm, CHALLENGE_REALM_MAX, value);
	if (!strcasecmp(name, "service"))
		return keep(c->service, CHALLENGE_PARAM_MAX, value);
	if (!strcasecmp(name, "scope"))
		return keep(c->scope, CHALLENGE_PARAM_MAX, value);
	return true;
}

static enum scheme begin_scheme(struct registry_challenge *c, const char *name)
{
	if (!strcasecmp(name, "basic")) {
		c->basic = true;
		return SCHEME_BASIC;
	}
	if (!strcasecmp(name, "bearer") && !c->bearer) {
		c->bearer = true;
		return SCHEME_BEARER;
	}
	return SCHEME_OTHER;
}

bool registry_challenge_parse(const char *header, struct registry_challenge *challenge)
{
	char name[NAME_MAX_LEN], value[CHALLENGE_REALM_MAX + 1];
	enum scheme scheme = SCHEME_OTHER;
	const char *s = header;

	memset(challenge, 0, sizeof(*challenge));
	for (;;) {
		const char *after;

		s += strspn(s, ", \t");
		if (!*s)
			break;
		/* What is no word is the data of a scheme that we do not know ("Negotiate abc/=="). */
		if (!take_token(&s, name)) {
			if (scheme != SCHEME_OTHER)
				return false;
			s += strcspn(s, ",");
			continue;
		}
		after = s + strspn(s, " \t");
		if (*after != '=') {
			scheme = begin_scheme(challenge, name);
			continue;
		}
		s = after + 1 + strspn(after + 1, "= \t");
		if (!*s || *s == ',')
			continue;
		if (!take_value(&s, value))
			return false;
		if (scheme == SCHEME_BEARER && !keep_param(challenge, name, value))
			return false;
	}
	challenge->bearer = challenge->bearer && *challenge->realm;
	return true;
}
