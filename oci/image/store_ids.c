/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For whose ids layers are. In a user namespace a file that belongs to user 5 of the image is given whatever id 5 is there, so
 * the same store without that namespace, or in another, would show other owners, or those of strangers. The text is that of uid_map
 * and gid_map (user_namespaces(7)). A mapping that has grown at its end is still good for what was made before.
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/process.h"
#include "oci/image/store_internal.h"

/* Numbers that are separated by any white space become "0 1000 1, 1 100000 65536". */
static int read_map(const char *path, char *text, struct error *err)
{
	_cleanup_free_ char *raw = NULL;
	ssize_t len = file_read(AT_FDCWD, path, (size_t)1 << 16, &raw, err);
	char *save = NULL;
	size_t used = 0;
	unsigned count = 0;

	if (len < 0)
		return (int)len;
	for (char *n = strtok_r(raw, " \n", &save); n; n = strtok_r(NULL, " \n", &save)) {
		const char *between = !count ? "" : count % 3 ? " " : ", ";

		used += (size_t)snprintf(text + used, STORE_MAP_MAX - used, "%s%s", between, n);
		if (used >= STORE_MAP_MAX)
			return error_set(err, E2BIG, "the user namespace has too many id ranges");
		count++;
	}
	return 0;
}

int store_read_ids(struct store_ids *ids, struct error *err)
{
	int r;

	ids->uids[0] = ids->gids[0] = '\0';
	/* Whoever is not root makes no layers. */
	if (geteuid() != 0 || process_is_host_root())
		return 0;
	r = read_map("/proc/self/uid_map", ids->uids, err);
	return r < 0 ? r : read_map("/proc/self/gid_map", ids->gids, err);
}

bool store_is_user(const struct image_store *store)
{
	return store->ids.uids[0] != '\0';
}

/* Whether all of the mapping `made` is in the mapping `now`. */
static bool fits(const char *made, const char *now)
{
	size_t len = strlen(made);

	if (!len || strncmp(made, now, len) != 0)
		return !len && !*now;
	return !now[len] || now[len] == ',';
}

int store_check_ids(const struct image_store *store, const struct store_ids *made, const char *key,
		    struct error *err)
{
	if (fits(made->uids, store->ids.uids) && fits(made->gids, store->ids.gids))
		return 0;
	if (!made->uids[0])
		return error_set(
			err, EPERM,
			"`layers/%s` was unpacked by root of the host, and is of no use in a user "
			"namespace: use another store (--store)",
			key);
	return error_set(
		err, EPERM,
		"`layers/%s` was unpacked with other sub-ids (uids %.200s; gids %.200s) than "
		"there are now (uids %.200s): have root remove that directory, or use another "
		"store (--store)",
		key, made->uids, made->gids, store->ids.uids[0] ? store->ids.uids : "none");
}
