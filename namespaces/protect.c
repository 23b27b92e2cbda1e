/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.maskedPaths and linux.readonlyPaths. A masked file is covered by the null device, checked
 * on an open descriptor to be just that (CVE-2025-31133 put another file in its place); a masked
 * directory by one empty read-only tmpfs, made once and bound everywhere.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/rootfs.h"

struct masks {
	int null_device; /* O_PATH of the host's /dev/null */
	int empty_dir;   /* the tmpfs, once it is mounted somewhere */
	const char *label;
};

static int open_null_device(struct error *err)
{
	_cleanup_close_ int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open `/dev/null` of the host");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return error_set(err, EPERM, "`/dev/null` of the host is not the null device");
	return take_fd(&fd);
}

static int make_empty_dir(const char *label, struct error *err)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) < 0 ||
	    (label && fsconfig(fs, FSCONFIG_SET_STRING, "context", label, 0) < 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return error_errno(err, errno, "make an empty directory for masked paths");
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mnt < 0)
		return error_errno(err, errno, "make an empty directory for masked paths");
	return mnt;
}

static int mask_dir(struct masks *masks, int target, const char *path, struct error *err)
{
	_cleanup_close_ int tree = -EBADF;
	int r;

	if (masks->empty_dir < 0) {
		masks->empty_dir = make_empty_dir(masks->label, err);
		return masks->empty_dir < 0 ? masks->empty_dir
					    : mount_attach(masks->empty_dir, target, path, err);
	}
	tree = open_tree(masks->empty_dir, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "bind the empty directory");
	r = mount_attach(tree, target, path, err);
	return r;
}

static int mask_file(const struct masks *masks, int target, const char *path, struct error *err)
{
	_cleanup_close_ int tree = open_tree(masks->null_device, "",
					     AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return error_errno(err, errno, "bind the null device");
	return mount_attach(tree, target, path, err);
}

/* Opens a path to protect; 0 where there is nothing to protect. Any other failure must not pass silently. */
static int open_protected(const struct rootfs *rootfs, const char *path, int *fd, struct error *err)
{
	*fd = path_try_open_in_root(rootfs->tree, path, O_PATH);
	if (*fd == -ENOENT || *fd == -ENOTDIR)
		return 0;
	if (*fd < 0)
		return error_errno(err, -*fd, "open `%s` in the root file system", path);
	return 1;
}

static int mask_path(const struct rootfs *rootfs, struct masks *masks, const char *path,
		     struct error *err)
{
	_cleanup_close_ int target = -EBADF;
	struct stat st;
	int r = open_protected(rootfs, path, &target, err);

	if (r <= 0)
		return r;
	if (fstat(target, &st) < 0)
		return error_errno(err, errno, "stat `%s`", path);
	return S_ISDIR(st.st_mode) ? mask_dir(masks, target, path, err)
				   : mask_file(masks, target, path, err);
}

static int set_read_only(const struct rootfs *rootfs, const char *path, struct error *err)
{
	_cleanup_close_ int target = -EBADF, tree = -EBADF;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	int r = open_protected(rootfs, path, &target, err);

	if (r <= 0)
		return r;
	tree = open_tree(target, "",
			 AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "bind `%s`", path);
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "make `%s` read-only", path);
	return mount_attach(tree, target, path, err);
}

int protect_paths(const struct rootfs *rootfs, struct error *err)
{
	const struct oci_linux *linux_ = rootfs->config->linux_;
	struct masks masks = { .null_device = -EBADF,
			       .empty_dir = -EBADF,
			       .label = rootfs->mount_label };
	int r = 0;

	if (!linux_)
		return 0;
	for (size_t i = 0; r == 0 && i < linux_->readonly_paths.len; i++) {
		r = set_read_only(rootfs, linux_->readonly_paths.items[i], err);
		if (r < 0)
			error_wrap(err, "/linux/readonlyPaths/%zu", i);
	}
	if (r < 0 || !linux_->masked_paths.len)
		return r;
	masks.null_device = open_null_device(err);
	if (masks.null_device < 0)
		return masks.null_device;
	for (size_t i = 0; r == 0 && i < linux_->masked_paths.len; i++) {
		r = mask_path(rootfs, &masks, linux_->masked_paths.items[i], err);
		if (r < 0)
			error_wrap(err, "/linux/maskedPaths/%zu", i);
	}
	close_fd(&masks.null_device);
	close_fd(&masks.empty_dir);
	return r;
}
