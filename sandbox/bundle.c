/* SPDX-License-Identifier: Apache-2.0 */
/* Removing the bundle of a container that has ended; see bundle.h. */
#include "sandbox/bundle.h"

#include <string.h>

#include "base/path.h"
#include "base/process.h"
#include "base/remove.h"
#include "namespaces/sub_ids.h"

static int remove_tree(const char *path, struct error *err)
{
	const char *name = strrchr(path, '/');
	_cleanup_free_ char *parent = name ? strndup(path, (size_t)(name - path)) : NULL;
	_cleanup_close_ int dir = -EBADF;

	if (!name)
		return error_set(err, EINVAL, "it is not absolute");
	if (!parent)
		return error_errno(err, ENOMEM, "remove");
	dir = path_open_dir(parent, false, err);
	return dir < 0 ? dir : path_remove_tree(dir, name + 1, err);
}

static int remove_as_root(void *data, struct error *err)
{
	struct ns_sub_ids ids;
	char name[256];
	/* A user of a directory service is in no file; newuidmap(1) knows whose the ids are in any case. */
	const char *user = process_user_name(geteuid(), name, sizeof(name)) ? name
			   : getenv("LOGNAME")                              ? getenv("LOGNAME")
									    : getenv("USER");
	int r = ns_sub_ids_find(&ids, user, err);

	if (r >= 0)
		r = ns_sub_ids_enter(&ids, err);
	return r < 0 ? r : remove_tree(data, err);
}

int bundle_remove(const char *path, struct error *err)
{
	int r;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = geteuid() == 0 ? remove_tree(path, err)
			   : process_in_child(remove_as_root, (void *)(uintptr_t)path, err);
	return r < 0 ? error_wrap(err, "bundle `%s`", path) : 0;
}
