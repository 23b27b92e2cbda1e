/* SPDX-License-Identifier: Apache-2.0 */
/* A registry as a source; see registry.h. */
#include "oci/image/registry.h"

#include <pthread.h>
#include <string.h>

#include "oci/image/manifest.h"
#include "oci/image/registry_blob.h"

static const char accepted[] = "application/vnd.oci.image.index.v1+json, "
			       "application/vnd.oci.image.manifest.v1+json, "
			       "application/vnd.docker.distribution.manifest.list.v2+json, "
			       "application/vnd.docker.distribution.manifest.v2+json";

static const char oci_index[] = "application/vnd.oci.image.index.v1+json";
static const char oci_manifest[] = "application/vnd.oci.image.manifest.v1+json";

struct registry {
	struct image_source source;
	struct image_reference reference;
	struct registry_places *places;
	pthread_mutex_t lock; /* of what follows: the manifest that the reference names */
	char *manifest;       /* NULL: not read yet */
	size_t manifest_len;
	struct digest manifest_digest;
	char index[1024]; /* an index.json of this manifest alone */
};

/* ---- manifests ------------------------------------------------------------------------------ */

static bool is_manifest_type(const char *type)
{
	static const char *const types[] = {
		oci_index,
		oci_manifest,
		"application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.docker.distribution.manifest.v2+json",
	};

	for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

/* One attempt, of which a part is of no use. err is not NULL. */
static ssize_t try_manifest(struct registry_session *session, const char *version, char **data,
			    char *type, size_t type_size, struct error *err)
{
	const struct registry_request request = { "manifests", version, accepted, 0 };
	_cleanup_http_ struct http_exchange *x = NULL;
	int failed = registry_get(session, &request, &x, err);

	/* It was tried as often as it takes. */
	if (failed == -EAGAIN) {
		err->code = EIO;
		return -EIO;
	}
	if (failed < 0)
		return failed;
	http_printable(type, type_size, http_response(x)->content_type);
	return http_read_all(x, IMAGE_JSON_MAX, data, err);
}

/* type receives the answer's Content-Type. */
static ssize_t fetch_manifest(struct registry_session *session, const char *version, char **data,
			      char *type, size_t type_size, struct error *err)
{
	for (unsigned tries = 1;; tries++) {
		ssize_t len = try_manifest(session, version, data, type, type_size, err);
		int waited;

		if (len != -EAGAIN || tries >= registry_session_tries(session))
			return len < 0 ? error_wrap(err, "manifest `%s`", version) : len;
		error_clear(err);
		waited = registry_back_off(session, tries, 0, err);
		if (waited < 0)
			return waited;
	}
}

/*
 * Whether a manifest is an index: by what it says itself, by what the server says, by what it
 * has. Some servers say "text/plain", some manifests nothing.
 */
static int find_type(const struct json_value *root, const char *content_type, const char **type,
		     struct error *err)
{
	const struct json_value *version;
	uint64_t number;

	if (root->type != JSON_OBJECT)
		return error_set(err, EINVAL, "it is not a JSON object");
	version = json_get(root, "schemaVersion");
	if (version && json_u64(version, UINT64_MAX, &number) && number == 1)
		return error_set(
			err, EOPNOTSUPP,
			"the image has a manifest of Docker's schema 1, which has no digests of "
			"its layers' contents and is not supported: push the image again "
			"with a tool of today");
	*type = json_get_string(root, "mediaType");
	if (!is_manifest_type(*type) && json_get(root, "mediaType"))
		return error_set(err, EOPNOTSUPP,
				 "it is no image: its mediaType is not one of an "
				 "image's manifest or index");
	if (!*type)
		*type = is_manifest_type(content_type) ? content_type
			: json_get(root, "manifests")  ? oci_index
						       : oci_manifest;
	return 0;
}

static int make_index(struct registry *r, const char *type, struct error *err)
{
	int len = snprintf(
		r->index, sizeof(r->index),
		"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
		"\"size\":%zu}]}",
		type, digest_text(&r->manifest_digest).s, r->manifest_len);

	return (size_t)len < sizeof(r->index) ? 0 : error_errno(err, ENAMETOOLONG, "manifest");
}

/* The manifest's digest is that of its bytes: Docker-Content-Digest is only the server's word for it. */
static int check_manifest(struct registry *r, const char *data, size_t len,
			  const char *content_type, struct error *err)
{
	static const struct digest sha256 = { .algorithm = "sha256" };
	const struct image_reference *reference = &r->reference;
	_cleanup_arena_ struct arena arena;
	struct json_value *root;
	const char *type;

	arena_init(&arena, IMAGE_ARENA_MAX);
	if (!digest_of(data, len, reference->has_digest ? &reference->digest : &sha256,
		       &r->manifest_digest))
		return error_set(err, EIO, "hash a manifest: libcrypto failed");
	if (reference->has_digest && !digest_equal(&r->manifest_digest, &reference->digest))
		return error_set(err, EBADMSG, "`%s` gives a manifest with another digest than %s",
				 reference->host, digest_text(&reference->digest).s);
	if (json_parse(data, len, &arena, &root, err) < 0 ||
	    find_type(root, content_type, &type, err) < 0)
		return error_wrap(err, "manifest %s", digest_text(&r->manifest_digest).s);
	r->manifest_len = len;
	return make_index(r, type, err);
}

/* A manifest by its digest. */
static int check_digest(const struct digest *digest, const char *data, size_t len,
			struct error *err)
{
	struct digest found;

	if (!digest_of(data, len, digest, &found))
		return error_set(err, EIO, "hash a manifest: libcrypto failed");
	return digest_equal(&found, digest)
		       ? 0
		       : error_set(err, EBADMSG, "manifest %s: its content has another digest",
				   digest_text(digest).s);
}

/*
 * From one place after the other, until one has what is good: the manifest of that digest, or where that is NULL, the one that
 * the reference names, with the lock held.
 */
static ssize_t find_manifest(struct registry *r, const char *version, const struct digest *digest,
			     char **data, struct error *err)
{
	struct error local = { 0 };

	if (!err)
		err = &local;
	for (;;) {
		size_t place =
			registry_places_first(r->places, !digest && !r->reference.has_digest);
		_cleanup_free_ char *text = NULL;
		char type[256] = "";
		ssize_t len = fetch_manifest(registry_places_session(r->places, place), version,
					     &text, type, sizeof(type), err);
		int failed = len < 0  ? (int)len
			     : digest ? check_digest(digest, text, (size_t)len, err)
				      : check_manifest(r, text, (size_t)len, type, err);

		if (failed >= 0) {
			*data = take_ptr(text);
			return len;
		}
		if (!registry_places_failed(r->places, place, err))
			return failed;
	}
}

/* With the lock held. */
static int load_top(struct registry *r, struct error *err)
{
	struct digest_text version = image_reference_version(&r->reference);
	ssize_t len = 0;

	if (!r->manifest)
		len = find_manifest(r, version.s, NULL, &r->manifest, err);
	return len < 0 ? (int)len : 0;
}

static int open_manifest(struct registry *r, const struct image_descriptor *descriptor,
			 struct image_reader **reader, struct error *err)
{
	struct digest_text version = digest_text(&descriptor->digest);
	_cleanup_free_ char *data = NULL;
	bool known;
	ssize_t len;

	pthread_mutex_lock(&r->lock);
	known = r->manifest && digest_equal(&r->manifest_digest, &descriptor->digest);
	pthread_mutex_unlock(&r->lock);
	/* Once it is there it stays. */
	if (known)
		return image_reader_of_memory(r->manifest, r->manifest_len, reader, err);
	len = find_manifest(r, version.s, &descriptor->digest, &data, err);
	return len < 0 ? (int)len : image_reader_of_memory(data, (size_t)len, reader, err);
}

/* From byte `offset` on. */
static int open_rest(struct registry *r, const struct image_descriptor *descriptor, uint64_t offset,
		     struct image_reader **reader, struct error *err)
{
	int failed = open_manifest(r, descriptor, reader, err);

	return failed < 0 ? failed : image_reader_skip(reader, offset, err);
}

/* ---- the source ----------------------------------------------------------------------------- */

static int registry_open(struct image_source *source, const char *path,
			 struct image_reader **reader, struct error *err)
{
	struct registry *r = (struct registry *)source;
	int failed;

	if (strcmp(path, "index.json") != 0)
		return error_set(err, ENOENT, "a registry has no file `%s`", path);
	pthread_mutex_lock(&r->lock);
	failed = load_top(r, err);
	pthread_mutex_unlock(&r->lock);
	return failed < 0 ? failed
			  : image_reader_of_memory(r->index, strlen(r->index), reader, err);
}

static int registry_open_blob(struct image_source *source,
			      const struct image_descriptor *descriptor, uint64_t offset,
			      struct image_reader **reader, struct error *err)
{
	struct registry *r = (struct registry *)source;

	if (is_manifest_type(descriptor->media_type))
		return open_rest(r, descriptor, offset, reader, err);
	/* Their URLs lead to hosts that the image's author chose: no request goes there. */
	if (strstr(descriptor->media_type, ".foreign.") ||
	    strstr(descriptor->media_type, ".nondistributable."))
		return error_set(
			err, EOPNOTSUPP,
			"%s is a foreign layer, which is not in the registry, and hull fetches "
			"from no other host: copy the image with a tool that does, to an oci: "
			"layout",
			digest_text(&descriptor->digest).s);
	return registry_blob_open(r->places, descriptor, offset, reader, err);
}

static void registry_close(struct image_source *source)
{
	struct registry *r = (struct registry *)source;

	registry_places_close(r->places);
	pthread_mutex_destroy(&r->lock);
	free(r->manifest);
	free(r);
}

static const struct image_source_ops registry_ops = { registry_open, registry_open_blob,
						      registry_close };

int image_source_open_registry(const char *reference, const struct image_source_options *options,
			       struct image_source **source, struct error *err)
{
	const struct http_options http = { options->plain_http, options->interrupted,
					   options->interrupted_data };
	struct registry *r = calloc(1, sizeof(*r));
	int failed;

	if (!r)
		return error_errno(err, ENOMEM, "open image");
	r->source.ops = &registry_ops;
	pthread_mutex_init(&r->lock, NULL);
	failed = image_reference_parse(reference, &r->reference, err);
	if (failed >= 0)
		failed = registry_places_open(&r->reference, &http, &r->places, err);
	if (failed < 0) {
		registry_close(&r->source);
		return failed;
	}
	*source = &r->source;
	return 0;
}
