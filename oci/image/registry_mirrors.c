/* SPDX-License-Identifier: Apache-2.0 */
/* Reading registries.json; see registry_mirrors.h. */
#include "oci/image/registry_mirrors.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "oci/json.h"

#define FILE_MAX ((size_t)1 << 20)

/* "HOST[:PORT]/NAME" of an image. */
struct image_text {
	char s[REFERENCE_HOST_MAX + REFERENCE_NAME_MAX + 2];
};

/* A member of an object: its name, and what it has to be. */
struct member {
	const char *key;
	enum json_type type;
};

static int check_members(const struct json_value *object, const struct member *members,
			 size_t count, const char *what, struct error *err)
{
	if (object->type != JSON_OBJECT)
		return error_set(err, EINVAL, "%s: expected an object, found %s", what,
				 json_type_name(object->type));
	for (const struct json_value *m = object->child; m; m = m->next) {
		size_t i = 0;

		while (i < count && strcmp(members[i].key, m->key) != 0)
			i++;
		if (i == count)
			return error_set(err, EINVAL, "%s: there is no member `%.64s`", what,
					 m->key);
		if (m->type != members[i].type)
			return error_set(err, EINVAL, "%s: `%s` is %s", what, m->key,
					 json_type_name(m->type));
	}
	return 0;
}

static bool is_true(const struct json_value *object, const char *key)
{
	const struct json_value *v = json_get(object, key);

	return v && v->boolean;
}

/* A prefix or a location: what becomes a reference with more behind it. */
static int check_place(const char *place, const char *what, struct error *err)
{
	struct image_reference ignored;
	char text[sizeof(struct image_text) + 2];

	if (!place)
		return error_set(err, EINVAL, "%s is missing", what);
	if (snprintf(text, sizeof(text), "%s/x", place) >= (int)sizeof(text) ||
	    strpbrk(place, "@") || image_reference_parse(text, &ignored, NULL) < 0)
		return error_set(err, EINVAL,
				 "%s `%.128s` is not HOST[:PORT][/PATH], where HOST has a dot or a "
				 "port, or is `localhost`",
				 what, place);
	return 0;
}

/* How many bytes of the image the prefix names: whole parts of it; 0: it is another. */
static size_t prefix_match(const char *prefix, const char *image)
{
	size_t len = strlen(prefix);

	return !strncmp(prefix, image, len) && (image[len] == '/' || !image[len]) ? len : 0;
}

static int check_mirror(const struct json_value *mirror, struct error *err)
{
	static const struct member members[] = {
		{ "location", JSON_STRING },
		{ "plainHttp", JSON_BOOL },
		{ "digestsOnly", JSON_BOOL },
	};
	int r = check_members(mirror, members, ARRAY_SIZE(members), "a mirror", err);

	return r < 0 ? r
		     : check_place(json_get_string(mirror, "location"), "a mirror's `location`",
				   err);
}

static int check_registry(const struct json_value *registry, struct error *err)
{
	static const struct member members[] = {
		{ "prefix", JSON_STRING },
		{ "blocked", JSON_BOOL },
		{ "mirrors", JSON_ARRAY },
	};
	int r = check_members(registry, members, ARRAY_SIZE(members), "a registry", err);
	const struct json_value *mirrors;

	if (r >= 0)
		r = check_place(json_get_string(registry, "prefix"), "a registry's `prefix`", err);
	if (r < 0)
		return r;
	mirrors = json_get(registry, "mirrors");
	if (!mirrors)
		return 0;
	if (mirrors->children > REGISTRY_MIRRORS_MAX)
		return error_set(err, EINVAL, "`%.128s` has more than %d mirrors",
				 json_get_string(registry, "prefix"), REGISTRY_MIRRORS_MAX);
	for (const struct json_value *m = mirrors->child; m && r >= 0; m = m->next)
		r = check_mirror(m, err);
	return r;
}

/* The image by its name in a mirror: rest is what is behind the prefix. */
static int add_mirror(const struct json_value *mirror, const char *rest,
		      const struct image_reference *reference, struct registry_mirrors *mirrors,
		      struct error *err)
{
	const char *location = json_get_string(mirror, "location");
	struct registry_mirror *m = &mirrors->mirror[mirrors->count];
	char text[2 * sizeof(struct image_text)];
	int r;

	snprintf(text, sizeof(text), "%s%s", location, rest);
	r = image_reference_parse(text, &m->reference, err);
	if (r < 0)
		return error_wrap(err, "the image in the mirror `%.128s`", location);
	memcpy(m->reference.tag, reference->tag, sizeof(m->reference.tag));
	m->reference.has_digest = reference->has_digest;
	m->reference.digest = reference->digest;
	m->plain_http = is_true(mirror, "plainHttp");
	m->digests_only = is_true(mirror, "digestsOnly");
	mirrors->count++;
	return 0;
}

/* The entry with the longest prefix, or none. *match: how long that is. */
static int find_registry(const struct json_value *registries, const char *image,
			 const struct json_value **found, size_t *match, struct error *err)
{
	*found = NULL;
	*match = 0;
	for (const struct json_value *r = registries->child; r; r = r->next) {
		size_t len;

		if (check_registry(r, err) < 0)
			return -EINVAL;
		len = prefix_match(json_get_string(r, "prefix"), image);
		if (len && len == *match)
			return error_set(err, EINVAL, "two entries for `%.*s`", (int)len, image);
		if (len <= *match)
			continue;
		*found = r;
		*match = len;
	}
	return 0;
}

static int parse(const struct json_value *root, const struct image_reference *reference,
		 struct registry_mirrors *mirrors, struct error *err)
{
	static const struct member members[] = { { "registries", JSON_ARRAY } };
	const struct json_value *registries, *found, *list;
	struct image_text image;
	size_t match;
	int r = check_members(root, members, ARRAY_SIZE(members), "the file", err);

	if (r < 0)
		return r;
	registries = json_get(root, "registries");
	if (!registries)
		return 0;
	snprintf(image.s, sizeof(image.s), "%s/%s", reference->host, reference->name);
	r = find_registry(registries, image.s, &found, &match, err);
	if (r < 0 || !found)
		return r;
	mirrors->blocked = is_true(found, "blocked");
	list = json_get(found, "mirrors");
	for (const struct json_value *m = list ? list->child : NULL; m && r >= 0; m = m->next)
		r = add_mirror(m, image.s + match, reference, mirrors, err);
	return r;
}

int registry_mirrors_parse(const char *text, size_t len, const struct image_reference *reference,
			   struct registry_mirrors *mirrors, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct json_value *root;
	int r;

	memset(mirrors, 0, sizeof(*mirrors));
	arena_init(&arena, 64 * FILE_MAX);
	r = json_parse(text, len, &arena, &root, err);
	return r < 0 ? r : parse(root, reference, mirrors, err);
}

/* ---- the files ------------------------------------------------------------------------------ */

/* 1 where the file is there. */
static int find_in_file(const char *path, const struct image_reference *reference,
			struct registry_mirrors *mirrors, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	struct error found = { 0 };
	ssize_t len = file_read(AT_FDCWD, path, FILE_MAX, &text, &found);

	if (len == -ENOENT || len == -ENOTDIR)
		return 0;
	if (len >= 0 && registry_mirrors_parse(text, (size_t)len, reference, mirrors, &found) >= 0)
		return !mirrors->blocked ? 1
					 : error_set(err, EPERM, "`%s/%s` is blocked by `%s`",
						     reference->host, reference->name, path);
	return error_set(err, found.code, "mirrors in `%s`: %s", path, found.text);
}

int registry_mirrors_find(const struct image_reference *reference, struct registry_mirrors *mirrors,
			  struct error *err)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	bool given = config && *config;
	char path[PATH_MAX] = "";
	int r = 0;

	memset(mirrors, 0, sizeof(*mirrors));
	if (given || (home && *home))
		snprintf(path, sizeof(path), "%s%s/hull/registries.json", given ? config : home,
			 given ? "" : "/.config");
	if (*path)
		r = find_in_file(path, reference, mirrors, err);
	if (!r)
		r = find_in_file("/etc/hull/registries.json", reference, mirrors, err);
	return r < 0 ? r : 0;
}
