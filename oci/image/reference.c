/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of references; see reference.h. */
#include "oci/image/reference.h"

#include <stdint.h>
#include <string.h>

#include "base/number.h"

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
	return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* Copies len bytes to a buffer of max + 1; false where they are too many. */
static bool copy(char *to, size_t max, const char *from, size_t len)
{
	if (len > max)
		return false;
	memcpy(to, from, len);
	to[len] = '\0';
	return true;
}

static bool is_port(const char *s, size_t len)
{
	uint64_t port;

	return len <= 5 && parse_u64_n(s, len, 65535, &port) && port;
}

/* An IPv6 address in brackets. Returns its length with them, or 0. */
static size_t bracketed(const char *s, size_t len)
{
	size_t end = strspn(s + 1, "0123456789abcdefABCDEF:.") + 1;

	return end > 2 && end < len && s[end] == ']' ? end + 1 : 0;
}

/* Labels of letters, digits and hyphens, with dots between them. Returns how long they are, or 0. */
static size_t labels(const char *s, size_t len)
{
	size_t i = 0;

	for (; i < len && s[i] != ':'; i++) {
		bool first = i == 0 || s[i - 1] == '.';
		bool last = i + 1 == len || s[i + 1] == ':' || s[i + 1] == '.';

		if (!is_word(s[i]) && (first || (s[i] != '.' && (s[i] != '-' || last))))
			return 0;
	}
	return i && s[i - 1] != '.' ? i : 0;
}

static bool is_host(const char *s, size_t len)
{
	size_t name = s[0] == '[' ? bracketed(s, len) : labels(s, len);

	if (!name)
		return false;
	if (name == len)
		return s[0] == '[' || memchr(s, '.', len) ||
		       (len == 9 && !memcmp(s, "localhost", 9));
	return s[name] == ':' && is_port(s + name + 1, len - name - 1);
}

/* Between two words of a name: one dot, one or two underscores, or hyphens. */
static size_t separator(const char *s)
{
	if (*s == '.')
		return 1;
	if (*s == '_')
		return s[1] == '_' ? 2 : 1;
	return strspn(s, "-");
}

static bool is_name(const char *s)
{
	for (;;) {
		size_t skip;

		if (!is_lower_or_digit(*s))
			return false;
		while (is_lower_or_digit(*s))
			s++;
		if (!*s)
			return true;
		skip = *s == '/' ? 1 : separator(s);
		if (!skip)
			return false;
		s += skip;
	}
}

static bool is_tag(const char *s)
{
	if (!is_word(*s) && *s != '_')
		return false;
	while (is_word(*s) || *s == '_' || *s == '.' || *s == '-')
		s++;
	return !*s;
}

/* The name and what is behind it, without the host. */
static int parse_rest(const char *s, struct image_reference *r, struct error *err)
{
	const char *at = strchr(s, '@');
	size_t len = at ? (size_t)(at - s) : strlen(s);
	const char *colon = memchr(s, ':', len);
	size_t name = colon ? (size_t)(colon - s) : len;

	if (!copy(r->name, REFERENCE_NAME_MAX, s, name) || !is_name(r->name))
		return error_set(
			err, EINVAL,
			"the image's name is not one: lower-case words, digits and `.`, `_`, `-` "
			"between them, with `/` between parts, up to %d bytes",
			REFERENCE_NAME_MAX);
	strcpy(r->tag, "latest");
	if (colon &&
	    (!copy(r->tag, REFERENCE_TAG_MAX, colon + 1, len - name - 1) || !is_tag(r->tag)))
		return error_set(err, EINVAL,
				 "the tag is not one: letters, digits, `_`, `.` and `-`, up to %d",
				 REFERENCE_TAG_MAX);
	r->has_digest = at;
	return at ? digest_parse(at + 1, &r->digest, err) : 0;
}

int image_reference_parse(const char *s, struct image_reference *reference, struct error *err)
{
	const char *slash = strchr(s, '/');

	memset(reference, 0, sizeof(*reference));
	if (!slash || !is_host(s, (size_t)(slash - s)) ||
	    !copy(reference->host, REFERENCE_HOST_MAX, s, (size_t)(slash - s)))
		return error_set(err, EINVAL,
				 "name the registry's host (with a dot or a port, or `localhost`): "
				 "docker://HOST[:PORT]/NAME[:TAG|@DIGEST]");
	return parse_rest(slash + 1, reference, err);
}

struct digest_text image_reference_version(const struct image_reference *reference)
{
	struct digest_text text;

	if (reference->has_digest)
		return digest_text(&reference->digest);
	strcpy(text.s, reference->tag);
	return text;
}
