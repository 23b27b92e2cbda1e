/* SPDX-License-Identifier: Apache-2.0 */
/* From a user's name to numbers; see user.h. */
#include "oci/image/user.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/number.h"
#include "base/path.h"

#define ID_MAX     (UINT32_MAX - 1) /* (uid_t)-1 means "leave unchanged" to chown(2) and setuid(2) */
#define GROUPS_MAX 65536            /* NGROUPS_MAX of the kernel */

/* A piece of a file that is not NUL-terminated and may hold NULs. */
struct text {
	const char *s;
	size_t len;
};

static struct text text_of(const char *s)
{
	return (struct text){ s, strlen(s) };
}

static bool text_equal(struct text a, struct text b)
{
	return a.len == b.len && !memcmp(a.s, b.s, a.len);
}

/* Takes what stands before the next separator off the front; false at the end. */
static bool text_cut(struct text *rest, char separator, struct text *piece)
{
	const char *end;

	if (!rest->s)
		return false;
	end = memchr(rest->s, separator, rest->len);
	*piece = (struct text){ rest->s, end ? (size_t)(end - rest->s) : rest->len };
	if (end)
		*rest = (struct text){ end + 1, rest->len - piece->len - 1 };
	else
		rest->s = NULL;
	return true;
}

static bool text_id(struct text t, uint32_t *id)
{
	uint64_t value;

	if (!t.len || !parse_u64_n(t.s, t.len, ID_MAX, &value))
		return false;
	*id = (uint32_t)value;
	return true;
}

static bool is_number(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.s[i] < '0' || t.s[i] > '9')
			return false;
	return t.len > 0;
}

/* Reads a file of the root file system. An absent one is empty. *data: the caller's to free(). */
static int read_users(int rootfs, const char *path, char **data, struct text *text,
		      struct error *err)
{
	_cleanup_close_ int found = path_try_open_in_root(rootfs, path, O_PATH);
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	ssize_t len;

	*text = (struct text){ NULL, 0 };
	if (found == -ENOENT || found == -ENOTDIR)
		return 0;
	if (found < 0)
		return error_errno(err, -found, "open `%s` of the image", path);
	/* A FIFO would hang us, a device could be set off: look before opening. */
	if (fstat(found, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "`%s` of the image is not a regular file", path);
	fd = open(path_of_fd(found).s, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_errno(err, errno, "open `%s` of the image", path);
	len = file_read_fd(fd, IMAGE_USERS_MAX, data, err);
	if (len < 0)
		return error_wrap(err, "`%s` of the image", path);
	*text = (struct text){ *data, (size_t)len };
	return 0;
}

/* The fields of a line; fewer than `count` of them: false. */
static bool split_line(struct text line, struct text *fields, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!text_cut(&line, ':', &fields[i]))
			return false;
	return true;
}

/* Finds a user by name, or by id where that is not NULL. The first valid line counts. */
static bool find_user(struct text passwd, struct text name, const uint32_t *id,
		      struct oci_user *user)
{
	struct text line, fields[4]; /* name, password, uid, gid */
	uint32_t uid, gid;

	while (text_cut(&passwd, '\n', &line)) {
		if (!split_line(line, fields, 4) || !fields[0].len || !text_id(fields[2], &uid) ||
		    !text_id(fields[3], &gid))
			continue;
		if (id ? uid != *id : !text_equal(fields[0], name))
			continue;
		user->uid = (struct opt_u32){ true, uid };
		user->gid = (struct opt_u32){ true, gid };
		return true;
	}
	return false;
}

static bool find_group(struct text groups, struct text name, uint32_t *gid)
{
	struct text line, fields[3]; /* name, password, gid */

	while (text_cut(&groups, '\n', &line))
		if (split_line(line, fields, 3) && fields[0].len && text_equal(fields[0], name) &&
		    text_id(fields[2], gid))
			return true;
	return false;
}

static bool has_member(struct text members, struct text name)
{
	struct text member;

	while (text_cut(&members, ',', &member))
		if (member.len && text_equal(member, name))
			return true;
	return false;
}

static bool is_listed(const struct oci_u32s *list, uint32_t gid)
{
	for (size_t i = 0; i < list->len; i++)
		if (list->items[i] == gid)
			return true;
	return false;
}

/* Collects the groups that have the user as a member, each once, without the user's own. */
static int add_groups(struct text groups, struct text name, struct arena *arena,
		      struct oci_user *user, struct error *err)
{
	struct oci_u32s *list = &user->additional_gids;
	struct text line, fields[4]; /* name, password, gid, members */
	size_t cap = 0;
	uint32_t gid;

	while (text_cut(&groups, '\n', &line)) {
		if (!split_line(line, fields, 4) || !text_id(fields[2], &gid) ||
		    !has_member(fields[3], name) || gid == user->gid.v || is_listed(list, gid))
			continue;
		if (list->len == GROUPS_MAX)
			return error_set(err, EFBIG, "user `%.*s` is in more than %d groups",
					 (int)name.len, name.s, GROUPS_MAX);
		if (list->len == cap) {
			size_t more = cap ? cap * 2 : 16;
			uint32_t *items = arena_array(arena, more, sizeof(*items));

			if (!items)
				return error_errno(err, ENOMEM, "resolve the image's user");
			if (list->len)
				memcpy(items, list->items, list->len * sizeof(*items));
			list->items = items;
			cap = more;
		}
		list->items[list->len++] = gid;
	}
	return 0;
}

struct user_files {
	struct text passwd, groups;
};

static int resolve(const struct user_files *files, const char *spec, struct arena *arena,
		   struct oci_user *user, struct error *err)
{
	struct text rest = text_of(spec), name, group = { NULL, 0 };
	bool has_group, numeric;
	uint32_t id;

	text_cut(&rest, ':', &name);
	has_group = rest.s != NULL;
	if (has_group)
		group = rest;
	numeric = is_number(name);
	if (!name.len || (has_group && !group.len))
		return error_set(err, EINVAL, "user `%.100s` of the image is not valid", spec);
	if (numeric) {
		if (!text_id(name, &id))
			return error_set(err, ERANGE, "user `%.100s` of the image is out of range",
					 spec);
		/* Its group from /etc/passwd where it is listed there, else root's, as config.md says. */
		if (!find_user(files->passwd, name, &id, user)) {
			user->uid = (struct opt_u32){ true, id };
			user->gid = (struct opt_u32){ true, 0 };
		}
	} else if (!find_user(files->passwd, name, NULL, user)) {
		return error_set(err, ENOENT, "user `%.*s` is not in /etc/passwd of the image",
				 (int)(name.len < 100 ? name.len : 100), name.s);
	}
	if (!has_group)
		return numeric ? 0 : add_groups(files->groups, name, arena, user, err);
	if (is_number(group)) {
		if (!text_id(group, &id))
			return error_set(err, ERANGE,
					 "group of `%.100s` of the image is out of range", spec);
	} else if (!find_group(files->groups, group, &id)) {
		return error_set(err, ENOENT, "group `%.100s` is not in /etc/group of the image",
				 group.s);
	}
	user->gid = (struct opt_u32){ true, id };
	return 0;
}

int image_user_resolve(int rootfs, const char *text, struct arena *arena, struct oci_user *user,
		       struct error *err)
{
	_cleanup_free_ char *passwd = NULL, *groups = NULL;
	struct user_files files;
	int r;

	user->uid = (struct opt_u32){ true, 0 };
	user->gid = (struct opt_u32){ true, 0 };
	user->additional_gids = (struct oci_u32s){ NULL, 0 };
	if (!text || !*text)
		return 0;
	r = read_users(rootfs, "/etc/passwd", &passwd, &files.passwd, err);
	if (r < 0)
		return r;
	r = read_users(rootfs, "/etc/group", &groups, &files.groups, err);
	if (r < 0)
		return r;
	return resolve(&files, text, arena, user, err);
}
