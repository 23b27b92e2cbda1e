/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts that come to a running container, and go. Unlike at its creation, hostile processes are there now. So every place is
 * found from a descriptor of the root, and used as a descriptor; and nothing is asked of the container's /proc.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/mount_options.h"
#include "namespaces/rootfs.h"

/* File systems that show the namespace or the cgroup of whoever mounts them, which is not the container's processes' here. */
static bool shows_its_mounter(const char *type)
{
	return type &&
	       (!strcmp(type, "proc") || !strcmp(type, "cgroup") || !strcmp(type, "cgroup2"));
}

static int check_added(const struct oci_mount *m, size_t index, struct error *err)
{
	struct mount_options opts;
	int r = mount_options_parse(&opts, m, index, err);

	if (r < 0)
		return r;
	if (!opts.bind && !opts.remount && !m->type)
		return error_set(err, EINVAL,
				 "/mounts/%zu/type: a mount that is no bind mount needs a type",
				 index);
	if (!opts.bind && shows_its_mounter(m->type))
		return error_set(
			err, ENOTSUP,
			"/mounts/%zu/type: `%s` can only be mounted when the container is created",
			index, m->type);
	return 0;
}

int rootfs_open_added(struct rootfs *rootfs, struct error *err)
{
	size_t count = rootfs->config->mounts.len;
	int r = 0;

	rootfs->sources = malloc((count + 1) * sizeof(int));
	if (!rootfs->sources)
		return error_errno(err, ENOMEM, "open the mounts");
	for (size_t i = 0; i < count; i++)
		rootfs->sources[i] = -EBADF;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = check_added(&rootfs->config->mounts.items[i], i, err);
	if (r == 0)
		r = mount_open_sources(rootfs, err);
	if (r == -EPERM && geteuid() != 0)
		error_wrap(err, "only root can bind to a running container");
	return r;
}

int rootfs_add_mounts(struct rootfs *rootfs, struct error *err)
{
	return mount_all(rootfs, err);
}

static int mount_id(int fd, uint64_t *id, bool *is_root)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
		return -errno;
	if (!(stx.stx_mask & STATX_MNT_ID) || !(stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
		return -ENOSYS; /* before Linux 5.8 */
	*id = stx.stx_mnt_id;
	*is_root = (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
	return 0;
}

/*
 * umount2(2) takes only a path. The descriptor's name in the host's procfs leads to the very mount that was looked at; a name in
 * the container's /proc would lead to whatever the container put there.
 */
static int unmount(int target, int proc, struct error *err)
{
	char name[32];

	snprintf(name, sizeof(name), "self/fd/%d", target);
	if (fchdir(proc) < 0)
		return error_errno(err, errno, "chdir to the host's `/proc`");
	if (umount2(name, MNT_DETACH) < 0)
		return error_errno(err, errno, "unmount");
	return 0;
}

static int remove_mount(const struct rootfs *rootfs, size_t index, int proc, struct error *err)
{
	const struct oci_mount *m = &rootfs->config->mounts.items[index];
	_cleanup_close_ int target = -EBADF;
	struct mount_options opts;
	uint64_t id = 0, root_id = 0;
	bool is_root = false, ignored;
	int r = mount_options_parse(&opts, m, index, err);

	if (r < 0)
		return r;
	target = path_open_in_root(rootfs->tree, m->destination,
				   O_PATH | (opts.dest_nofollow ? O_NOFOLLOW : 0), err);
	if (target < 0)
		return target;
	r = mount_id(target, &id, &is_root);
	if (r == 0)
		r = mount_id(rootfs->tree, &root_id, &ignored);
	if (r < 0)
		return error_errno(err, -r, "stat `%s`", m->destination);
	if (!is_root)
		return error_set(err, EINVAL, "nothing is mounted on `%s`", m->destination);
	if (id == root_id)
		return error_set(err, EINVAL, "`%s` is the root directory", m->destination);
	r = unmount(target, proc, err);
	return r < 0 ? error_wrap(err, "`%s`", m->destination) : 0;
}

int rootfs_remove_mounts(const struct rootfs *rootfs, int proc, struct error *err)
{
	for (size_t i = rootfs->config->mounts.len; i > 0; i--) {
		int r = remove_mount(rootfs, i - 1, proc, err);

		if (r < 0)
			return error_wrap(err, "/mounts/%zu/destination", i - 1);
	}
	return 0;
}
