/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing an image of an archive of `docker save`; see docker_tags.h. */
#include "oci/image/docker_tags.h"

#include <stdbool.h>
#include <string.h>

#include "base/number.h"

#define LISTED_MAX 20 /* tags that an error message lists */

/* The tag without what is added where it is not given. */
static const char *familiar(const char *tag)
{
	static const char *const prefixes[] = { "docker.io/library/", "docker.io/" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(tag, prefixes[i], strlen(prefixes[i])))
			return tag + strlen(prefixes[i]);
	return tag;
}

/* "name:tag", or "name" for "name:latest". */
static bool is_name(const char *wanted, const char *tag)
{
	size_t len;

	wanted = familiar(wanted);
	tag = familiar(tag);
	len = strlen(wanted);
	return !strncmp(wanted, tag, len) && (!tag[len] || !strcmp(tag + len, ":latest"));
}

/* What is behind the name. */
static bool is_tag(const char *wanted, const char *tag)
{
	const char *colon = strrchr(tag, ':');

	return colon && !strcmp(colon + 1, wanted);
}

static bool has_tag(const struct json_value *image, const char *wanted,
		    bool (*match)(const char *wanted, const char *tag))
{
	const struct json_value *tags = json_get(image, "RepoTags");

	if (tags && tags->type == JSON_ARRAY)
		for (const struct json_value *t = tags->child; t; t = t->next)
			if (t->type == JSON_STRING && match(wanted, t->string))
				return true;
	return false;
}

static int tags_error(const struct json_value *images, int code, const char *what,
		      struct error *err)
{
	_cleanup_strbuf_ struct strbuf list = { 0 };
	unsigned count = 0;

	for (const struct json_value *image = images->child; image; image = image->next) {
		const struct json_value *tags = json_get(image, "RepoTags");

		if (!tags || tags->type != JSON_ARRAY)
			continue;
		for (const struct json_value *t = tags->child; t; t = t->next)
			if (t->type == JSON_STRING && count++ < LISTED_MAX)
				strbuf_addf(&list, "%s%.100s", count > 1 ? ", " : "", t->string);
	}
	if (!count)
		return error_set(err, code, "%s; none of its %zu images has a tag: @0 is the first",
				 what, images->children);
	return error_set(err, code, "%s; it has the tags: %s%s", what,
			 strbuf_failed(&list) ? "?" : list.data, count > LISTED_MAX ? ", …" : "");
}

/* The images that match: how many, and *found the last. */
static size_t match_all(const struct json_value *images, const char *wanted,
			bool (*match)(const char *wanted, const char *tag),
			const struct json_value **found)
{
	size_t count = 0;

	for (const struct json_value *image = images->child; image; image = image->next)
		if (has_tag(image, wanted, match)) {
			*found = image;
			count++;
		}
	return count;
}

static int choose_number(const struct json_value *images, const char *number,
			 const struct json_value **found, struct error *err)
{
	uint64_t n;

	if (!parse_u64(number, UINT32_MAX, &n) || n >= images->children)
		return error_set(err, ENOENT, "`@%.20s`: the archive has %zu images, from @0 on",
				 number, images->children);
	for (*found = images->child; n; n--)
		*found = (*found)->next;
	return 0;
}

static int check_images(const struct json_value *images, struct error *err)
{
	if (images->type != JSON_ARRAY || !images->child)
		return error_set(err, EINVAL, "`manifest.json` is not a list of images");
	for (const struct json_value *image = images->child; image; image = image->next)
		if (image->type != JSON_OBJECT)
			return error_set(err, EINVAL, "`manifest.json` is not a list of images");
	return 0;
}

int docker_image_choose(const struct json_value *images, const char *tag,
			const struct json_value **found, struct error *err)
{
	int r = check_images(images, err);
	size_t count;

	if (r < 0)
		return r;
	if (!tag) {
		*found = images->child;
		return images->children == 1
			       ? 0
			       : tags_error(images, EINVAL, "more than one image: give a tag", err);
	}
	if (*tag == '@')
		return choose_number(images, tag + 1, found, err);
	count = match_all(images, tag, is_name, found);
	if (!count)
		count = match_all(images, tag, is_tag, found);
	if (count == 1)
		return 0;
	return tags_error(images, count ? EINVAL : ENOENT,
			  count ? "more than one image has this tag" : "the image has no such tag",
			  err);
}
