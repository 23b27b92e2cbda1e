/* SPDX-License-Identifier: Apache-2.0 */
/* Files with credentials; see registry_auth.h. */
#include "oci/image/registry_auth.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/file.h"
#include "base/process.h"
#include "oci/json.h"

#define AUTH_FILE_MAX ((size_t)1 << 20)
#define AUTH_FILES    8

void registry_secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void registry_credentials_free(struct registry_credentials *credentials)
{
	registry_secret_free(credentials->basic);
	credentials->basic = NULL;
}

static char *encode(const char *pair, size_t len)
{
	char *text = malloc(4 * ((len + 2) / 3) + 1);

	if (text)
		EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)pair, (int)len);
	return text;
}

char *registry_auth_basic(const char *user, const char *password)
{
	_cleanup_secret_ char *pair = NULL;

	/* The first colon ends the user's name (RFC 7617): one in the name would be a part of the password. */
	if (strlen(user) > REGISTRY_SECRET_MAX || strlen(password) > REGISTRY_SECRET_MAX ||
	    strchr(user, ':'))
		return NULL;
	if (asprintf(&pair, "%s:%s", user, password) < 0) {
		pair = NULL;
		return NULL;
	}
	return encode(pair, strlen(pair));
}

/* Whether s is base64 of something with a colon. It becomes a header: nothing else may be in it. */
static bool is_basic(const char *s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len = strlen(s), data = strspn(s, digits), padding = strspn(s + data, "=");
	unsigned char pair[2 * REGISTRY_SECRET_MAX];
	bool found;
	int n;

	if (!len || len % 4 || data + padding != len || padding > 2 || len / 4 * 3 > sizeof(pair))
		return false;
	n = EVP_DecodeBlock(pair, (const unsigned char *)s, (int)len);
	found = n > 0 && memchr(pair, ':', (size_t)n - padding);
	explicit_bzero(pair, sizeof(pair));
	return found;
}

/* ---- one file ------------------------------------------------------------------------------- */

/*
 * How much of "host/name" the key of an entry names, in bytes; 0: it is for another. Old files have
 * URLs as keys, of which only the host counts.
 */
static size_t key_match(const char *key, const char *image)
{
	const char *host = strstr(key, "://");
	size_t len = host ? strcspn(host + 3, "/") : strlen(key);

	if (host)
		key = host + 3;
	while (len && key[len - 1] == '/')
		len--;
	if (!len || len > strlen(image) || memcmp(key, image, len) != 0)
		return 0;
	return image[len] == '/' || !image[len] ? len : 0;
}

static int entry_basic(const struct json_value *entry, char **basic, struct error *err)
{
	const char *auth = json_get_string(entry, "auth");
	const char *user = json_get_string(entry, "username");
	const char *password = json_get_string(entry, "password");

	if (auth && *auth) {
		if (!is_basic(auth))
			return error_set(err, EINVAL,
					 "the entry's `auth` is not base64 of USER:PASSWORD");
		*basic = strdup(auth);
	} else if (user && *user && password) {
		*basic = registry_auth_basic(user, password);
	} else if (json_get_string(entry, "identitytoken")) {
		return error_set(err, EOPNOTSUPP,
				 "the entry has an identity token, which hull cannot use: "
				 "log in with a password or an access token");
	} else {
		return 0;
	}
	return *basic ? 0 : error_set(err, EINVAL, "the entry's user or password cannot be used");
}

/* What is in "auths"; a part of a path that is longer is a better match. */
static int find_entry(const struct json_value *root, const char *image, char **basic,
		      struct error *err)
{
	const struct json_value *auths = json_get(root, "auths"), *best = NULL;
	size_t best_match = 0;

	if (!auths || auths->type != JSON_OBJECT)
		return 0;
	for (const struct json_value *e = auths->child; e; e = e->next) {
		size_t match = e->type == JSON_OBJECT ? key_match(e->key, image) : 0;

		/* Empty entries say only that somebody logged in; what for is in a helper's store. */
		if (match <= best_match || !e->children)
			continue;
		best = e;
		best_match = match;
	}
	return best ? entry_basic(best, basic, err) : 0;
}

static const char *host_helper(const struct json_value *root, const char *host)
{
	const struct json_value *helpers = json_get(root, "credHelpers");

	return helpers && helpers->type == JSON_OBJECT ? json_get_string(helpers, host) : NULL;
}

static int find_in(const struct json_value *root, const struct image_reference *reference,
		   char **basic, struct error *err)
{
	char image[sizeof(reference->host) + sizeof(reference->name)];
	const char *helper = host_helper(root, reference->host);
	int r;

	if (helper && *helper)
		return registry_helper_get(helper, reference->host, basic, err);
	snprintf(image, sizeof(image), "%s/%s", reference->host, reference->name);
	r = find_entry(root, image, basic, err);
	if (r < 0 || *basic)
		return r;
	helper = json_get_string(root, "credsStore");
	return helper && *helper ? registry_helper_get(helper, reference->host, basic, err) : 0;
}

int registry_auth_parse(const char *text, size_t len, const struct image_reference *reference,
			struct registry_credentials *credentials, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct json_value *root;
	int r;

	arena_init(&arena, 16 * AUTH_FILE_MAX);
	r = json_parse(text, len, &arena, &root, err);
	if (r < 0)
		return r;
	if (root->type != JSON_OBJECT)
		return error_set(err, EINVAL, "it is not a JSON object");
	return find_in(root, reference, &credentials->basic, err);
}

/* ---- all files ------------------------------------------------------------------------------ */

struct paths {
	char path[AUTH_FILES][PATH_MAX];
	size_t count;
};

/* Adds a path of two parts; nothing where dir comes from a variable that is not set. */
static void add(struct paths *p, const char *dir, const char *rest)
{
	if (!dir || !*dir)
		return;
	if (snprintf(p->path[p->count], PATH_MAX, "%s%s", dir, rest) < PATH_MAX)
		p->count++;
}

static void list_files(struct paths *p)
{
	const char *home = getenv("HOME"), *only = getenv("REGISTRY_AUTH_FILE");
	const char *config = getenv("XDG_CONFIG_HOME"), *docker = getenv("DOCKER_CONFIG");
	char run[64];

	p->count = 0;
	if (only && *only) {
		add(p, only, "");
		return;
	}
	snprintf(run, sizeof(run), "/run/containers/%u", (unsigned)process_outer_uid());
	add(p, getenv("XDG_RUNTIME_DIR"), "/containers/auth.json");
	add(p, run, "/auth.json");
	add(p, config, "/containers/auth.json");
	add(p, home, "/.config/containers/auth.json");
	add(p, docker, "/config.json");
	add(p, home, "/.docker/config.json");
}

static int find_in_file(const char *path, const struct image_reference *reference,
			struct registry_credentials *credentials, struct error *err)
{
	char *text = NULL;
	ssize_t len = file_read(AT_FDCWD, path, AUTH_FILE_MAX, &text, err);
	int r;

	if (len == -ENOENT || len == -ENOTDIR)
		return 0;
	if (len < 0)
		return (int)len;
	r = registry_auth_parse(text, (size_t)len, reference, credentials, err);
	explicit_bzero(text, (size_t)len);
	free(text);
	if (r < 0)
		return error_wrap(err, "credentials of `%s`", path);
	if (credentials->basic)
		snprintf(credentials->file, sizeof(credentials->file), "%s", path);
	return 0;
}

int registry_auth_find(const struct image_reference *reference,
		       struct registry_credentials *credentials, struct error *err)
{
	struct paths *paths = malloc(sizeof(*paths));
	int r = 0;

	memset(credentials, 0, sizeof(*credentials));
	if (!paths)
		return error_errno(err, ENOMEM, "look for credentials");
	list_files(paths);
	for (size_t i = 0; i < paths->count && r >= 0 && !credentials->basic; i++)
		r = find_in_file(paths->path[i], reference, credentials, err);
	free(paths);
	return r;
}
