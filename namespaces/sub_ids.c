/* SPDX-License-Identifier: Apache-2.0 */
/* See sub_ids.h. */
#include "namespaces/sub_ids.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "base/process.h"
#include "namespaces/plan.h"

/* ---- /etc/subuid, /etc/subgid --------------------------------------------------------------- */

/* NAME:FIRST:COUNT, without the end of the line. */
static bool parse_line(const char *line, size_t len, const char *user, uid_t uid,
		       struct oci_id_mapping *range)
{
	const char *first = memchr(line, ':', len);
	const char *count = first ? memchr(first + 1, ':', len - (size_t)(first + 1 - line)) : NULL;
	uint64_t owner, start, size;
	size_t n;

	if (!count)
		return false;
	n = (size_t)(first - line);
	if (!(user && strlen(user) == n && !memcmp(user, line, n)) &&
	    !(parse_u64_n(line, n, UINT32_MAX, &owner) && owner == uid))
		return false;
	if (!parse_u64_n(first + 1, (size_t)(count - first - 1), UINT32_MAX - 1, &start) ||
	    !parse_u64_n(count + 1, len - (size_t)(count + 1 - line), UINT32_MAX, &size) || !size ||
	    size > UINT32_MAX - start)
		return false;
	*range = (struct oci_id_mapping){ .host_id = (uint32_t)start, .size = (uint32_t)size };
	return true;
}

/* The kernel takes no id twice. */
static bool overlaps(const struct oci_id_mappings *maps, const struct oci_id_mapping *range)
{
	for (size_t i = 0; i < maps->len; i++) {
		const struct oci_id_mapping *m = &maps->items[i];

		if (range->host_id < (uint64_t)m->host_id + m->size &&
		    m->host_id < (uint64_t)range->host_id + range->size)
			return true;
	}
	return false;
}

size_t ns_sub_ids_parse(const char *text, const char *user, uid_t uid, struct oci_id_mappings *maps)
{
	uint64_t next = 1;
	size_t before = maps->len;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		struct oci_id_mapping range;

		if (!parse_line(line, strcspn(line, "\n"), user, uid, &range) ||
		    overlaps(maps, &range) || maps->len > SUB_IDS_MAX ||
		    next + range.size > UINT32_MAX)
			continue;
		range.container_id = (uint32_t)next;
		next += range.size;
		maps->items[maps->len++] = range;
	}
	return maps->len - before;
}

static int read_ranges(const char *path, const char *user, struct oci_id_mappings *maps,
		       struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t len = file_read(AT_FDCWD, path, SUB_IDS_FILE_MAX, &text, err);

	if (len < 0)
		return (int)len;
	if (!ns_sub_ids_parse(text, user, geteuid(), maps))
		return error_set(err, ENOENT, "`%s` grants no ids to this user", path);
	return 0;
}

int ns_sub_ids_find(struct ns_sub_ids *ids, const char *name, struct error *err)
{
	int r;

	ids->uid_items[0] = (struct oci_id_mapping){ .host_id = geteuid(), .size = 1 };
	ids->gid_items[0] = (struct oci_id_mapping){ .host_id = getegid(), .size = 1 };
	ids->uids = (struct oci_id_mappings){ ids->uid_items, 1 };
	ids->gids = (struct oci_id_mappings){ ids->gid_items, 1 };
	r = read_ranges("/etc/subuid", name, &ids->uids, err);
	/* Groups, too, are granted to a user. */
	return r < 0 ? r : read_ranges("/etc/subgid", name, &ids->gids, err);
}

/* ---- the namespace -------------------------------------------------------------------------- */

int ns_sub_ids_enter(const struct ns_sub_ids *ids, struct error *err)
{
	_cleanup_close_ int ns = ns_open_user_namespace(&ids->uids, &ids->gids, err);

	if (ns < 0)
		return ns;
	if (setns(ns, CLONE_NEWUSER) < 0)
		return error_errno(err, errno, "enter the user namespace");
	/* Mounts of the host's still come to this one; what is mounted here goes nowhere. */
	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, errno, "make a mount namespace");
	return 0;
}
