/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of an archive; see archive_index.h. */
#include "oci/image/archive_index.h"

#include <limits.h>
#include <string.h>

#include "base/arena.h"

#define NAMES_MAX ((size_t)16 << 20) /* bytes of the names of all entries */

struct archive_index {
	const struct image_source_options *options;
	struct arena arena; /* of the names */
	struct archive_member *members;
	size_t count, cap, names;
};

static int keep_member(void *data, const struct archive_member *member, struct error *err)
{
	struct archive_index *x = data;
	const struct image_source_options *o = x->options;
	struct archive_member *m;

	if (o->interrupted && o->interrupted(o->interrupted_data))
		return error_set(err, EINTR, "interrupted");
	x->names += strlen(member->name) + (member->target ? strlen(member->target) : 0);
	if (x->names > NAMES_MAX)
		return error_set(err, EFBIG,
				 "the names in the image archive have more than %zu bytes",
				 NAMES_MAX);
	if (x->count == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 64;
		struct archive_member *more = reallocarray(x->members, cap, sizeof(*more));

		if (!more)
			return error_errno(err, ENOMEM, "read the image archive");
		x->members = more;
		x->cap = cap;
	}
	m = &x->members[x->count];
	*m = *member;
	m->name = arena_strdup(&x->arena, member->name);
	m->target = member->target ? arena_strdup(&x->arena, member->target) : NULL;
	if (!m->name || (member->target && !m->target))
		return error_errno(err, ENOMEM, "read the image archive");
	x->count++;
	return 0;
}

int archive_index_make(int file, const struct image_source_options *options,
		       struct archive_index **index, struct error *err)
{
	struct archive_index *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return error_errno(err, ENOMEM, "read the image archive");
	x->options = options;
	arena_init(&x->arena, 4 * NAMES_MAX);
	r = image_archive_each(file, keep_member, x, err);
	if (r < 0)
		archive_index_free(x);
	else
		*index = x;
	return r;
}

void archive_index_free(struct archive_index *index)
{
	if (!index)
		return;
	arena_free(&index->arena);
	free(index->members);
	free(index);
}

/* Two of one name are two images, depending on who reads. */
static int find_member(const struct archive_index *x, const char *name,
		       const struct archive_member **found, struct error *err)
{
	const struct archive_member *m = NULL;

	for (size_t i = 0; i < x->count; i++) {
		if (strcmp(x->members[i].name, name) != 0)
			continue;
		if (m)
			return error_set(err, EINVAL, "the image archive has `%.128s` twice", name);
		m = &x->members[i];
	}
	*found = m;
	if (!m)
		return error_set(err, ENOENT, "there is no `%.128s` in the image archive", name);
	return 0;
}

/* The path of a link's target, with neither "." nor "..". dir: what it is relative to, the first len bytes of a name. */
static int link_path(const char *dir, size_t len, const char *target, char *path)
{
	size_t end = 0;
	char text[PATH_MAX];
	char *rest = text, *part;

	if (*target == '/' ||
	    snprintf(text, sizeof(text), "%.*s/%s", (int)len, dir, target) >= (int)sizeof(text))
		return -EINVAL;
	while ((part = strsep(&rest, "/"))) {
		if (!*part || !strcmp(part, "."))
			continue;
		if (!strcmp(part, "..")) {
			if (!end)
				return -EINVAL;
			while (end && path[--end] != '/')
				;
			continue;
		}
		end += (size_t)snprintf(path + end, PATH_MAX - end, "%s%s", end ? "/" : "", part);
	}
	path[end] = '\0';
	return end ? 0 : -EINVAL;
}

int archive_index_find(const struct archive_index *x, const char *name,
		       const struct archive_member **found, struct error *err)
{
	const struct archive_member *m = NULL;
	char path[PATH_MAX];
	int r;

	while (name[0] == '.' && name[1] == '/')
		name += 2;
	r = find_member(x, name, &m, err);
	if (r >= 0 && m && (m->kind == ARCHIVE_SYMLINK || m->kind == ARCHIVE_HARD_LINK)) {
		const char *slash = strrchr(name, '/');
		/* A hard link's target is a name in the archive. */
		size_t dir = m->kind == ARCHIVE_SYMLINK && slash ? (size_t)(slash - name) : 0;

		if (link_path(name, dir, m->target, path) < 0)
			return error_set(
				err, EINVAL,
				"`%.128s` of the image archive is a link that leads out of it",
				name);
		r = find_member(x, path, &m, err);
	}
	if (r < 0)
		return r;
	if (!m || m->kind != ARCHIVE_FILE)
		return error_set(err, EINVAL,
				 "`%.128s` of the image archive is neither a regular file nor a "
				 "link to one",
				 name);
	*found = m;
	return 0;
}
