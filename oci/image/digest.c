/* SPDX-License-Identifier: Apache-2.0 */
/* Digests by libcrypto; see digest.h. */
#include "oci/image/digest.h"

#include <openssl/evp.h>
#include <string.h>

static const struct algorithm {
	const char *name;
	size_t hex_len;
	const EVP_MD *(*md)(void);
} algorithms[] = {
	{ "sha256", 64, EVP_sha256 },
	{ "sha512", 128, EVP_sha512 },
};

struct digest_stream {
	EVP_MD_CTX *ctx;
	const struct algorithm *algorithm;
};

int digest_parse(const char *s, struct digest *digest, struct error *err)
{
	const char *colon = s ? strchr(s, ':') : NULL;

	memset(digest, 0, sizeof(*digest));
	if (!colon)
		return error_set(err, EINVAL, "`%.140s` is not a digest", s ? s : "");
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
		const struct algorithm *a = &algorithms[i];
		size_t name_len = strlen(a->name);

		if ((size_t)(colon - s) != name_len || memcmp(s, a->name, name_len) != 0)
			continue;
		/* Lower case only: two spellings of one digest would be two names of one blob. */
		if (strlen(colon + 1) != a->hex_len ||
		    strspn(colon + 1, "0123456789abcdef") != a->hex_len)
			return error_set(err, EINVAL, "`%.140s` is not a digest", s);
		digest->algorithm = a->name;
		memcpy(digest->hex, colon + 1, a->hex_len + 1);
		return 0;
	}
	return error_set(err, EOPNOTSUPP, "digest `%.140s`: this algorithm is not supported", s);
}

struct digest_text digest_text(const struct digest *digest)
{
	struct digest_text text;

	snprintf(text.s, sizeof(text.s), "%s:%s", digest->algorithm, digest->hex);
	return text;
}

struct digest_text digest_blob_path(const struct digest *digest)
{
	struct digest_text text;

	snprintf(text.s, sizeof(text.s), "blobs/%s/%s", digest->algorithm, digest->hex);
	return text;
}

struct digest_stream *digest_begin(const struct digest *like)
{
	struct digest_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (!strcmp(algorithms[i].name, like->algorithm))
			stream->algorithm = &algorithms[i];
	stream->ctx = EVP_MD_CTX_new();
	if (!stream->algorithm || !stream->ctx ||
	    EVP_DigestInit_ex(stream->ctx, stream->algorithm->md(), NULL) != 1) {
		digest_free(stream);
		return NULL;
	}
	return stream;
}

bool digest_update(struct digest_stream *stream, const void *data, size_t len)
{
	return EVP_DigestUpdate(stream->ctx, data, len) == 1;
}

bool digest_finish(struct digest_stream *stream, struct digest *digest)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	memset(digest, 0, sizeof(*digest));
	if (EVP_DigestFinal_ex(stream->ctx, bytes, &len) != 1 ||
	    (size_t)len * 2 != stream->algorithm->hex_len)
		return false;
	digest->algorithm = stream->algorithm->name;
	for (unsigned i = 0; i < len; i++)
		snprintf(digest->hex + (size_t)i * 2, 3, "%02x", bytes[i]);
	return true;
}

void digest_free(struct digest_stream *stream)
{
	if (!stream)
		return;
	EVP_MD_CTX_free(stream->ctx);
	free(stream);
}

bool digest_of(const void *data, size_t len, const struct digest *like, struct digest *digest)
{
	struct digest_stream *stream = digest_begin(like);
	bool done = stream && digest_update(stream, data, len) && digest_finish(stream, digest);

	digest_free(stream);
	return done;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->algorithm && b->algorithm && !strcmp(a->algorithm, b->algorithm) &&
	       !strcmp(a->hex, b->hex);
}
