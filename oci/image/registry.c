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
	struct registry_session *session;
	pthread_mutex_t lock; /* of what follows: the manifest that the reference names */
	char *manifest;       /* NULL: not read yet */
	size_t manifest_len;
	struct digest manifest_digest;
	char index[1024]; /* an index.json of this manifest alone */
};

/* ---- readers of what is in memory ----------------------------------------------------------- */

struct memory_reader {
	struct image_reader reader;
	char *data;
	size_t len, done;
};

static ssize_t memory_read(struct image_reader *reader, void *buf, size_t len,
			   struct error *err _unused_)
{
	struct memory_reader *m = (struct memory_reader *)reader;

	if (len > m->len - m->done)
		len = m->len - m->done;
	memcpy(buf, m->data + m->done, len);
	m->done += len;
	return (ssize_t)len;
}

static void memory_close(struct image_reader *reader)
{
	struct memory_reader *m = (struct memory_reader *)reader;

	free(m->data);
	free(m);
}

/* Takes data over; NULL is an error, too. */
static int open_memory(char *data, size_t len, struct image_reader **reader, struct error *err)
{
	struct memory_reader *m = data ? calloc(1, sizeof(*m)) : NULL;

	if (!m) {
		free(data);
		return error_errno(err, ENOMEM, "read from a registry");
	}
	m->reader.read = memory_read;
	m->reader.close = memory_close;
	m->data = data;
	m->len = len;
	*reader = &m->reader;
	return 0;
}

static int open_copy(const char *data, size_t len, struct image_reader **reader, struct error *err)
{
	char *copy = malloc(len + 1);

	if (copy)
		memcpy(copy, data, len);
	return open_memory(copy, len, reader, err);
}

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

/* One attempt, of which a part is of no use. */
static ssize_t try_manifest(struct registry *r, const char *version, char **data, char *type,
			    size_t type_size, struct error *err)
{
	const struct registry_request request = { "manifests", version, accepted, 0 };
	_cleanup_http_ struct http_exchange *x = NULL;
	int failed = registry_get(r->session, &request, &x, err);

	if (failed < 0)
		return failed == -EAGAIN ? error_set(err, EIO, "%s", err->text) : failed;
	http_printable(type, type_size, http_response(x)->content_type);
	return http_read_all(x, IMAGE_JSON_MAX, data, err);
}

/* type receives the answer's Content-Type. */
static ssize_t fetch_manifest(struct registry *r, const char *version, char **data, char *type,
			      size_t type_size, struct error *err)
{
	for (unsigned tries = 1;; tries++) {
		ssize_t len = try_manifest(r, version, data, type, type_size, err);
		int waited;

		if (len != -EAGAIN || tries == REGISTRY_TRIES)
			return len < 0 ? error_wrap(err, "manifest `%s`", version) : len;
		error_clear(err);
		waited = registry_back_off(r->session, tries, 0, err);
		if (waited < 0)
			return waited;
	}
}

static int hash(const char *data, size_t len, const struct digest *like, struct digest *digest,
		struct error *err)
{
	struct digest_stream *stream = digest_begin(like);
	bool done = stream && digest_update(stream, data, len) && digest_finish(stream, digest);

	digest_free(stream);
	return done ? 0 : error_set(err, EIO, "hash a manifest: libcrypto failed");
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
	if (hash(data, len, reference->has_digest ? &reference->digest : &sha256,
		 &r->manifest_digest, err) < 0)
		return -err->code;
	if (reference->has_digest && !digest_equal(&r->manifest_digest, &reference->digest))
		return error_set(err, EBADMSG, "`%s` gives a manifest with another digest than %s",
				 reference->host, digest_text(&reference->digest).s);
	if (json_parse(data, len, &arena, &root, err) < 0 ||
	    find_type(root, content_type, &type, err) < 0)
		return error_wrap(err, "manifest %s", digest_text(&r->manifest_digest).s);
	r->manifest_len = len;
	return make_index(r, type, err);
}

/* With the lock held. */
static int load_top(struct registry *r, struct error *err)
{
	struct digest_text version = image_reference_version(&r->reference);
	_cleanup_free_ char *data = NULL;
	char type[256] = "";
	ssize_t len;
	int failed;

	if (r->manifest)
		return 0;
	len = fetch_manifest(r, version.s, &data, type, sizeof(type), err);
	if (len < 0)
		return (int)len;
	failed = check_manifest(r, data, (size_t)len, type, err);
	if (failed >= 0)
		r->manifest = take_ptr(data);
	return failed;
}

static int open_manifest(struct registry *r, const struct image_descriptor *descriptor,
			 struct image_reader **reader, struct error *err)
{
	struct digest_text version = digest_text(&descriptor->digest);
	char *data = NULL, type[256];
	bool known;
	ssize_t len;

	pthread_mutex_lock(&r->lock);
	known = r->manifest && digest_equal(&r->manifest_digest, &descriptor->digest);
	pthread_mutex_unlock(&r->lock);
	/* Once it is there it stays. */
	if (known)
		return open_copy(r->manifest, r->manifest_len, reader, err);
	len = fetch_manifest(r, version.s, &data, type, sizeof(type), err);
	return len < 0 ? (int)len : open_memory(data, (size_t)len, reader, err);
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
	return failed < 0 ? failed : open_copy(r->index, strlen(r->index), reader, err);
}

static int registry_open_blob(struct image_source *source,
			      const struct image_descriptor *descriptor,
			      struct image_reader **reader, struct error *err)
{
	struct registry *r = (struct registry *)source;

	if (is_manifest_type(descriptor->media_type))
		return open_manifest(r, descriptor, reader, err);
	/* Their URLs lead to hosts that the image's author chose: no request goes there. */
	if (strstr(descriptor->media_type, ".foreign.") ||
	    strstr(descriptor->media_type, ".nondistributable."))
		return error_set(
			err, EOPNOTSUPP,
			"%s is a foreign layer, which is not in the registry, and hull fetches "
			"from no other host: copy the image with a tool that does, to an oci: "
			"layout",
			digest_text(&descriptor->digest).s);
	return registry_blob_open(r->session, descriptor, reader, err);
}

static void registry_close(struct image_source *source)
{
	struct registry *r = (struct registry *)source;

	if (r->session)
		registry_session_close(r->session);
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
		failed = registry_session_open(&r->reference, &http, &r->session, err);
	if (failed < 0) {
		registry_close(&r->source);
		return failed;
	}
	*source = &r->source;
	return 0;
}
