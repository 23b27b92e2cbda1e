/* SPDX-License-Identifier: Apache-2.0 */
/* Names and paths of systemd units from linux.cgroupsPath; see systemd.h. */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "cgroups/internal.h"
#include "cgroups/systemd.h"

bool systemd_is_user(uid_t *uid)
{
	char map[512], *save = NULL, *inside, *outside;
	uint64_t number;

	*uid = geteuid();
	if (*uid != 0)
		return true;
	/* Root of a user namespace is somebody else outside: "0 1000 1". */
	if (file_read_small(AT_FDCWD, "/proc/self/uid_map", map, sizeof(map), NULL) < 0)
		return false;
	inside = strtok_r(map, " \t\n", &save);
	outside = inside ? strtok_r(NULL, " \t\n", &save) : NULL;
	if (!outside || strcmp(inside, "0") || !parse_u64(outside, UINT32_MAX, &number))
		return false;
	*uid = (uid_t)number;
	return *uid != 0;
}

/* Adds text to a unit's name; an id may have a "+", which a name may not and systemd writes as "\x2b". */
static int add_name(char *name, const char *text, struct error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789:-_.\\@";
	size_t at = strlen(name);

	for (; *text; text++) {
		const char one[] = { *text, '\0' };
		const char *piece = *text == '+' ? "\\x2b" : one;

		if (*text != '+' && !strchr(allowed, *text))
			return error_set(err, EINVAL,
					 "cgroup: linux.cgroupsPath: a systemd unit's name cannot "
					 "have the character `%c`; use letters, digits and `_.-`",
					 *text);
		if (at + strlen(piece) + 1 > SYSTEMD_NAME_MAX)
			return error_set(err, ENAMETOOLONG,
					 "cgroup: linux.cgroupsPath: a systemd unit's name has at "
					 "most %d bytes; shorten it",
					 SYSTEMD_NAME_MAX - 1);
		memcpy(name + at, piece, strlen(piece) + 1);
		at += strlen(piece);
	}
	return 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

/* "a-b.slice" is below "a.slice", so no part between dashes may be empty. */
static bool is_slice(const char *name)
{
	size_t len = strlen(name) - strlen(".slice");

	if (strcmp(name, "-.slice") == 0)
		return true;
	if (!len || name[0] == '-' || name[len - 1] == '-' || name[0] == '.' || strchr(name, '@'))
		return false;
	return !strstr(name, "--");
}

static int find_slice(const char *given, bool user, struct systemd_scope *scope, struct error *err)
{
	int r;

	if (!*given)
		given = user ? SYSTEMD_USER_SLICE : SYSTEMD_DEFAULT_SLICE;
	if (strcmp(given, "-") == 0)
		given = "-.slice";
	r = add_name(scope->slice, given, err);
	if (r < 0)
		return r;
	if (!ends_with(given, ".slice") || !is_slice(given))
		return error_set(err, EINVAL,
				 "cgroup: linux.cgroupsPath: `%s` is not the name of a systemd "
				 "slice, as `system.slice` or `a-b.slice` is",
				 given);
	return 0;
}

static int find_unit(const char *prefix, const char *name, struct systemd_scope *scope,
		     struct error *err)
{
	int r = 0;

	if (ends_with(name, ".slice"))
		return error_set(err, EINVAL,
				 "cgroup: linux.cgroupsPath: `%s` is a slice, which holds units "
				 "and no container; name a scope",
				 name);
	if (*prefix) {
		r = add_name(scope->unit, prefix, err);
		if (r == 0)
			r = add_name(scope->unit, "-", err);
	}
	if (r == 0)
		r = add_name(scope->unit, name, err);
	if (r == 0)
		r = add_name(scope->unit, ".scope", err);
	if (r == 0 && strchr(scope->unit, '@'))
		r = error_set(err, EINVAL,
			      "cgroup: linux.cgroupsPath: the name of a scope cannot have an `@`");
	return r;
}

int systemd_scope_name(const char *cgroups_path, const char *id, bool user,
		       struct systemd_scope *scope, struct error *err)
{
	char text[CGROUP_PATH_MAX], *prefix, *name;
	int r;

	*scope = (struct systemd_scope){ .user = user };
	if (!cgroups_path || !*cgroups_path) {
		r = find_slice("", user, scope, err);
		return r < 0 ? r : find_unit("hull", id, scope, err);
	}
	if (strlen(cgroups_path) >= sizeof(text))
		return error_errno(err, ENAMETOOLONG, "cgroup: linux.cgroupsPath");
	strcpy(text, cgroups_path);
	prefix = strchr(text, ':');
	name = prefix ? strchr(prefix + 1, ':') : NULL;
	if (!name || strchr(name + 1, ':'))
		return error_set(
			err, EINVAL,
			"cgroup: linux.cgroupsPath `%.256s` is not of the form SLICE:PREFIX:NAME, which "
			"the systemd cgroup driver needs; correct it, or leave out --systemd-cgroup",
			cgroups_path);
	*prefix++ = '\0';
	*name++ = '\0';
	r = find_slice(text, user, scope, err);
	return r < 0 ? r : find_unit(prefix, *name ? name : id, scope, err);
}

int systemd_scope_path(const struct systemd_scope *scope, uid_t uid, char *path, size_t size,
		       struct error *err)
{
	size_t len = 0;
	int n;

	if (size > CGROUP_PATH_MAX)
		size = CGROUP_PATH_MAX;
	if (scope->user)
		len = (size_t)snprintf(path, size, "/user.slice/user-%u.slice/user@%u.service", uid,
				       uid);
	/* "a-b.slice" is in "a.slice". */
	for (const char *dash = scope->slice; strcmp(scope->slice, "-.slice") && *dash; dash++) {
		if (*dash != '-' && strcmp(dash, ".slice"))
			continue;
		n = len < size ? snprintf(path + len, size - len, "/%.*s.slice",
					  (int)(dash - scope->slice), scope->slice)
			       : 0;
		len += (size_t)n;
	}
	if (len < size)
		len += (size_t)snprintf(path + len, size - len, "/%s", scope->unit);
	if (len >= size)
		return error_errno(err, ENAMETOOLONG, "cgroup: linux.cgroupsPath");
	return 0;
}
