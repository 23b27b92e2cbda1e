/* SPDX-License-Identifier: Apache-2.0 */
/* Names of images, and the references that they stand for; see store.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "oci/image/store_internal.h"

#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* ---- names -------------------------------------------------------------------------------- */

/* Whether what follows the last "/" has a tag or a digest. */
static bool has_tag(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strpbrk(slash ? slash + 1 : name, ":@") != NULL;
}

int image_name_parse(const char *text, struct image_name *name, struct error *err)
{
	size_t len = strlen(text);

	if (!len || strspn(text, PLAIN "._-/:@+") != len || !strchr(PLAIN, text[0]))
		return error_set(err, EINVAL,
				 "image name `%.64s`: it must begin with a letter or a digit, and "
				 "consist of letters, digits and the characters . _ - / : @ +",
				 text);
	if (strstr(text, "//") || strstr(text, "..") || !strchr(PLAIN, text[len - 1]))
		return error_set(err, EINVAL,
				 "image name `%.64s`: `//`, `..` and a last character "
				 "other than a letter or digit are not allowed",
				 text);
	len = (size_t)snprintf(name->s, sizeof(name->s), "%s%s", text,
			       has_tag(text) ? "" : ":latest");
	if (len >= sizeof(name->s))
		return error_set(err, ENAMETOOLONG, "image name `%.64s…` is longer than %d bytes",
				 text, STORE_NAME_MAX);
	return 0;
}

/* Cuts the ending that archives have. */
static void cut_ending(char *base)
{
	static const char *const endings[] = { ".tar", ".tar.gz", ".tgz", ".tar.zst" };

	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		size_t len = strlen(base), ending = strlen(endings[i]);

		if (len > ending && !strcmp(base + len - ending, endings[i])) {
			base[len - ending] = '\0';
			return;
		}
	}
}

/* A path with or without ":TAG", which may be a whole name. */
static int name_of_path(const char *path, struct image_name *name, struct error *err)
{
	size_t len = image_source_path(path);
	const char *tag = path[len] ? path + len + 1 : "latest", *base;
	char buf[PATH_MAX], text[PATH_MAX];

	if (strpbrk(tag, ":/"))
		return image_name_parse(tag, name, err);
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (len >= sizeof(buf))
		return error_errno(err, ENAMETOOLONG, "name the image");
	memcpy(buf, path, len);
	buf[len] = '\0';
	base = strrchr(buf, '/') ? strrchr(buf, '/') + 1 : buf;
	memmove(buf, base, strlen(base) + 1);
	cut_ending(buf);
	if ((size_t)snprintf(text, sizeof(text), "%s:%s", buf, tag) >= sizeof(text))
		return error_errno(err, ENAMETOOLONG, "name the image");
	if (image_name_parse(text, name, err) < 0)
		return error_wrap(err, "give the image a name behind its source");
	return 0;
}

int image_name_of_source(const char *source, struct image_name *name, struct error *err)
{
	const char *rest = strstr(source, "://");

	/* A registry's reference is a name already. */
	if (rest)
		return image_name_parse(rest + 3, name, err);
	if (!strncmp(source, "oci:", 4))
		return name_of_path(source + 4, name, err);
	if (!strncmp(source, "oci-archive:", 12))
		return name_of_path(source + 12, name, err);
	if (!strncmp(source, "docker-archive:", 15))
		return name_of_path(source + 15, name, err);
	return name_of_path(source, name, err);
}

/* "/" and ":" become "%2F" and "%3A": no name leads out of the directory, and no two become one. */
int store_file_name(const struct image_name *name, struct store_file_name *file, struct error *err)
{
	size_t len = 0;

	for (const char *p = name->s; *p; p++) {
		bool plain = strchr(PLAIN "._-+@", *p) != NULL;
		int n;

		n = snprintf(file->s + len, sizeof(file->s) - len, plain ? "%c" : "%%%02X",
			     (unsigned char)*p);
		len += (size_t)n;
		if (len >= sizeof(file->s))
			return error_set(err, ENAMETOOLONG, "image name `%s` is too long", name->s);
	}
	return 0;
}

/* ---- references --------------------------------------------------------------------------- */

int store_write_reference(struct image_store *store, const struct image_reference *reference,
			  struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct store_file_name file;
	struct json_writer w;
	int r = store_file_name(&reference->name, &file, err);

	if (r < 0)
		return r;
	json_write_init(&w, &text, 0);
	json_write_begin(&w, '{');
	json_write_member(&w, "name", reference->name.s);
	json_write_key(&w, "manifest");
	image_descriptor_write(&w, &reference->manifest);
	json_write_key(&w, "pulled");
	json_write_i64(&w, reference->pulled);
	json_write_end(&w, '}');
	strbuf_addc(&text, '\n');
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "write a reference");
	return store_write_file(store, store->images, file.s, text.data, text.len, err);
}

int store_parse_manifest(const struct json_value *object, struct image_reference *reference,
			 struct error *err)
{
	int r = image_descriptor_parse(json_get(object, "manifest"), &reference->manifest, err);

	if (r < 0)
		return r;
	if (strlen(reference->manifest.media_type) >= sizeof(reference->media_type))
		return error_set(err, EINVAL, "a media type is too long");
	/* The parsed text goes, the reference stays. */
	strcpy(reference->media_type, reference->manifest.media_type);
	reference->manifest.media_type = reference->media_type;
	return 0;
}

static int parse_reference(const char *text, size_t len, const char *file,
			   struct image_reference *reference, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct store_file_name expected;
	struct json_value *object;
	const char *name;
	int r;

	arena_init(&arena, (size_t)1 << 20);
	r = json_parse(text, len, &arena, &object, err);
	if (r < 0)
		return r;
	if (object->type != JSON_OBJECT)
		return error_set(err, EINVAL, "it is no object");
	name = json_get_string(object, "name");
	r = image_name_parse(name ? name : "", &reference->name, err);
	if (r >= 0)
		r = store_file_name(&reference->name, &expected, err);
	if (r >= 0 && strcmp(expected.s, file) != 0)
		return error_set(err, EINVAL, "it says that its name is `%s`", reference->name.s);
	if (r >= 0 && (!json_get(object, "pulled") ||
		       !json_i64(json_get(object, "pulled"), 0, INT64_MAX, &reference->pulled)))
		return error_set(err, EINVAL, "no valid `pulled`");
	return r < 0 ? r : store_parse_manifest(object, reference, err);
}

int store_read_reference(struct image_store *store, const char *file,
			 struct image_reference *reference, struct error *err)
{
	_cleanup_close_ int fd =
		openat(store->images, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	ssize_t len;

	memset(reference, 0, sizeof(*reference));
	if (fd < 0)
		return error_errno(err, errno, "open `images/%s`", file);
	len = file_read_fd(fd, STORE_REFERENCE_MAX, &text, err);
	if (len < 0)
		return error_wrap(err, "`images/%s`", file);
	if (parse_reference(text, (size_t)len, file, reference, err) < 0)
		return error_wrap(err, "`images/%s`", file);
	return 0;
}

int image_store_resolve(struct image_store *store, const char *text,
			struct image_reference *reference, struct error *err)
{
	struct store_file_name file;
	struct image_name name;
	int r = image_name_parse(text, &name, err);

	if (r >= 0)
		r = store_file_name(&name, &file, err);
	if (r >= 0)
		r = store_read_reference(store, file.s, reference, err);
	if (r == -ENOENT)
		return error_set(
			err, ENOENT,
			"there is no image `%s` in the store; `hull image list` shows which "
			"there are",
			name.s);
	return r;
}

struct listing {
	struct image_store *store;
	struct image_reference *references;
	size_t count, cap;
};

static int list_one(void *data, const char *file, struct error *err)
{
	struct listing *l = data;
	int r;

	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct image_reference *more = reallocarray(l->references, cap, sizeof(*more));

		if (!more)
			return error_errno(err, ENOMEM, "list images");
		l->references = more;
		l->cap = cap;
	}
	r = store_read_reference(l->store, file, &l->references[l->count], err);
	/* Removed by another command while we looked. */
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		l->count++;
	return r;
}

static int compare_names(const void *a, const void *b)
{
	const struct image_reference *one = a, *two = b;

	return strcmp(one->name.s, two->name.s);
}

int image_store_list(struct image_store *store, struct image_reference **references, size_t *count,
		     struct error *err)
{
	struct listing l = { .store = store };
	int r = store_each(store->images, "images", list_one, &l, err);

	if (r < 0) {
		free(l.references);
		return r;
	}
	if (l.count)
		qsort(l.references, l.count, sizeof(*l.references), compare_names);
	for (size_t i = 0; i < l.count; i++)
		l.references[i].manifest.media_type = l.references[i].media_type;
	*references = l.references;
	*count = l.count;
	return 0;
}

int image_store_remove(struct image_store *store, const char *text, struct error *err)
{
	struct store_file_name file;
	struct image_name name;
	int r = image_name_parse(text, &name, err);

	if (r >= 0)
		r = store_file_name(&name, &file, err);
	if (r < 0)
		return r;
	if (unlinkat(store->images, file.s, 0) < 0) {
		if (errno == ENOENT)
			return error_set(err, ENOENT, "there is no image `%s` in the store",
					 name.s);
		return error_errno(err, errno, "remove image `%s`", name.s);
	}
	return store_sync_dir(store->images, "images", err);
}

int image_store_load(struct image_store *store, const struct image_reference *reference,
		     struct arena *arena, struct image_manifest *manifest, struct error *err)
{
	_cleanup_image_source_ struct image_source *source = NULL;
	int r = image_store_source(store, &source, err);

	if (r >= 0)
		r = image_manifest_load(source, &reference->manifest, NULL, arena, manifest, err);
	return r < 0 ? error_wrap(err, "image `%s`", reference->name.s) : 0;
}
