/* SPDX-License-Identifier: Apache-2.0 */
/* mounts add and mounts remove. */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "base/file.h"
#include "runtime/runtime.h"

static int read_mounts(const char *file, struct arena *arena, struct oci_mounts *mounts,
		       struct error *err)
{
	_cleanup_free_ char *json = NULL;
	bool standard_input = !strcmp(file, "-");
	ssize_t len = standard_input ? file_read_fd(STDIN_FILENO, OCI_CONFIG_MAX, &json, err)
				     : file_read(AT_FDCWD, file, OCI_CONFIG_MAX, &json, err);
	int r = len < 0 ? (int)len : oci_mounts_parse(json, (size_t)len, arena, mounts, err);

	return r < 0 ? error_wrap(err, "`%s`", standard_input ? "standard input" : file) : 0;
}

int runtime_mount(const struct store *store, const char *id, const char *file, bool add,
		  struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	struct oci_mounts mounts = { .len = 0 };
	int r = container_open(store, id, CONTAINER_WRITE, &c, err);

	if (r < 0)
		return r;
	if (c.status == OCI_STOPPED || c.status == OCI_CREATING)
		return error_set(err, ESRCH, "container not running: `%s` has stopped", id);
	r = container_load_config(&c, err);
	if (r == 0)
		r = read_mounts(file, &c.arena, &mounts, err);
	if (r < 0)
		return r;
	/* What follows may wait for a file system that the container serves: it must stay possible to delete it. */
	if (flock(c.dir, LOCK_UN) < 0)
		return error_errno(err, errno, "unlock container `%s`", id);
	return c.sandbox.ops->mount(&c.sandbox, &mounts, add, err);
}
