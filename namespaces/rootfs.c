/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, attaching and entering the root file system; the mounts inside are in mounts.c. */
#include "namespaces/rootfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/mount_options.h"

unsigned long rootfs_propagation(const struct oci_config *config, bool *recursive)
{
	const char *name = config->linux_ ? config->linux_->rootfs_propagation : NULL;
	unsigned long flags = name ? mount_propagation(name, recursive) : 0;

	if (!flags) {
		flags = MS_SLAVE;
		*recursive = true;
	}
	return flags;
}

const char *rootfs_mount_label(const struct oci_config *config)
{
	const char *label = config->linux_ ? config->linux_->mount_label : NULL;
	struct statfs fs;

	if (!label || !*label || statfs("/sys/fs/selinux", &fs) < 0 || fs.f_type != SELINUX_MAGIC)
		return NULL;
	return label;
}

/* The root directory itself: a link in the place of the last component could point anywhere. */
static int clone_root(const struct rootfs *rootfs, struct error *err)
{
	_cleanup_close_ int dir = path_open_dir(rootfs->path, true, err);
	int tree;

	if (dir < 0)
		return error_wrap(err, "/root/path");
	tree = open_tree(dir, "",
			 AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return tree < 0 ? error_errno(err, errno, "open the root file system `%s` as a mount",
				      rootfs->path)
			: tree;
}

static int open_root_tree(struct rootfs *rootfs, struct error *err)
{
	struct mount_attr slave = { .propagation = MS_SLAVE };

	close_fd(&rootfs->tree); /* of an attempt in which we might not clone mounts */
	rootfs->tree = rootfs->given > 0 ? fcntl(rootfs->given, F_DUPFD_CLOEXEC, 0)
					 : clone_root(rootfs, err);
	if (rootfs->tree < 0)
		return rootfs->given > 0 ? error_errno(err, errno, "hold the root file system")
					 : rootfs->tree;
	/* A clone of a shared mount is its peer: what we mount inside would appear on the host. */
	if (mount_setattr(rootfs->tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &slave, sizeof(slave)) <
	    0)
		return error_errno(err, errno, "make the root file system's mounts slaves");
	return 0;
}

/* What goes into the root: the bind mounts' sources, and with a user namespace the device nodes. */
static int open_sources(struct rootfs *rootfs, struct error *err)
{
	int r = mount_open_sources(rootfs, err);

	return r == 0 && rootfs->bind_devices ? devices_open_sources(rootfs, err) : r;
}

int rootfs_open(struct rootfs *rootfs, struct error *err)
{
	size_t mounts = rootfs->config->mounts.len;
	int r;

	rootfs->tree = -EBADF;
	rootfs->sources = malloc((mounts + 1) * sizeof(int));
	if (!rootfs->sources)
		return error_errno(err, ENOMEM, "open the mounts");
	for (size_t i = 0; i < mounts; i++)
		rootfs->sources[i] = -EBADF;
	if (rootfs->mode == ROOTFS_SHARED)
		return 0;
	r = rootfs->mode == ROOTFS_NEW ? open_root_tree(rootfs, err) : 0;
	if (r == -EPERM) {
		rootfs->deferred = true;
		return 0;
	}
	return r < 0 ? r : open_sources(rootfs, err);
}

int rootfs_open_deferred(struct rootfs *rootfs, struct error *err)
{
	int r = open_root_tree(rootfs, err);

	return r < 0 ? r : open_sources(rootfs, err);
}

void rootfs_close(struct rootfs *rootfs)
{
	size_t devices = rootfs->config->linux_ ? rootfs->config->linux_->devices.len : 0;

	close_fd(&rootfs->tree);
	for (size_t i = 0; rootfs->sources && i < rootfs->config->mounts.len; i++)
		close_fd(&rootfs->sources[i]);
	for (size_t i = 0; rootfs->device_sources && i < devices + ROOTFS_DEFAULT_DEVICES; i++)
		close_fd(&rootfs->device_sources[i]);
	free(rootfs->sources);
	free(rootfs->device_sources);
	rootfs->sources = rootfs->device_sources = NULL;
}

/*
 * The new mount namespace is a copy of the host's: without this, what we mount in a shared mount
 * would appear on the host. Slave, not private: an unmount on the host is not held up by us.
 */
static int cut_propagation(struct error *err)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return error_errno(err, errno, "make the mounts of the host slaves");
	return 0;
}

/*
 * The ids of a user namespace may not reach the root's directory, but "/" they do. A ".." that ends at "/" then
 * leads into the image, though: no hook may run in this namespace before the pivot.
 */
static int attach_on_top(const struct rootfs *rootfs, struct error *err)
{
	const struct oci_hooks *h = rootfs->config->hooks;

	if (h && (h->prestart.len || h->create_runtime.len || h->create_container.len))
		return error_set(
			err, EACCES,
			"/root/path: `%s` cannot be reached by the user namespace's root, which hooks "
			"need: make its parent directories searchable",
			rootfs->path);
	if (move_mount(rootfs->tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, errno, "mount the root file system `%s`", rootfs->path);
	return 0;
}

/* The root as a mount of the new namespace: pivot_root(2) wants a mount. */
static int attach_root(struct rootfs *rootfs, struct error *err)
{
	int r = cut_propagation(err);

	if (r == 0 && rootfs->deferred)
		r = rootfs_open_deferred(rootfs, err);
	if (r < 0)
		return r;
	/* On top of its own directory, so that hooks find the container's mounts where its root is. */
	if (move_mount(rootfs->tree, "", AT_FDCWD, rootfs->path,
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
		return errno == EACCES
			       ? attach_on_top(rootfs, err)
			       : error_errno(err, errno, "mount the root file system on `%s`",
					     rootfs->path);
	return 0;
}

/*
 * In a mount namespace of others, who may have put any link on the way, also one of their procfs to a descriptor of ours: the
 * path means what it would mean to them.
 */
static int open_joined_root(struct rootfs *rootfs, struct error *err)
{
	_cleanup_close_ int top = path_open_dir("/", false, err);

	if (top < 0)
		return top;
	rootfs->tree = path_open_in_root(top, rootfs->path, O_PATH | O_DIRECTORY, err);
	return rootfs->tree < 0 ? error_wrap(err, "/root/path") : 0;
}

static int open_shared_root(struct rootfs *rootfs, struct error *err)
{
	rootfs->tree = path_open_dir(rootfs->path, true, err);
	return rootfs->tree < 0 ? error_wrap(err, "/root/path") : 0;
}

int rootfs_assemble(struct rootfs *rootfs, struct error *err)
{
	int r;

	if (rootfs->mode == ROOTFS_NEW)
		r = attach_root(rootfs, err);
	else
		r = rootfs->mode == ROOTFS_JOINED ? open_joined_root(rootfs, err)
						  : open_shared_root(rootfs, err);
	if (r < 0 || rootfs->mode == ROOTFS_SHARED)
		return r;
	r = mount_all(rootfs, err);
	if (r == 0)
		r = devices_make(rootfs, err);
	if (r == 0)
		r = protect_paths(rootfs, err);
	return r;
}

static int pivot(struct rootfs *rootfs, struct error *err)
{
	if (fchdir(rootfs->tree) < 0)
		return error_errno(err, errno, "enter the root file system");
	if (rootfs->no_pivot || rootfs->mode != ROOTFS_NEW) {
		if (rootfs->mode == ROOTFS_NEW &&
		    move_mount(rootfs->tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return error_errno(err, errno, "move the root file system to `/`");
		if (chroot(".") < 0)
			return error_errno(err, errno, "chroot to the root file system");
		return chdir("/") < 0 ? error_errno(err, errno, "chdir to `/`") : 0;
	}
	/*
	 * With "." twice the old root ends up on top of the new one, from where it is detached: no
	 * directory for it is needed inside the image (pivot_root(2), NOTES).
	 */
	if (sys_pivot_root(".", ".") < 0)
		return error_errno(
			err, errno,
			"pivot_root to `%s` (a host running from an initramfs needs --no-pivot)",
			rootfs->path);
	if (umount2(".", MNT_DETACH) < 0)
		return error_errno(err, errno, "detach the host's file systems");
	return chdir("/") < 0 ? error_errno(err, errno, "chdir to `/`") : 0;
}

int rootfs_enter(struct rootfs *rootfs, struct error *err)
{
	bool recursive = false;
	struct mount_attr attr = { .propagation = rootfs_propagation(rootfs->config, &recursive) };
	int r = pivot(rootfs, err);

	if (r < 0 || rootfs->mode == ROOTFS_SHARED)
		return r;
	/* By the descriptor that we held all along, not by a path that is the container's now (CVE-2026-115521). */
	if (rootfs->config->root->readonly.v)
		attr.attr_set = MOUNT_ATTR_RDONLY;
	if (attr.propagation == MS_SLAVE || rootfs->mode != ROOTFS_NEW)
		attr.propagation = 0; /* what it is already, or another container's */
	if (!attr.attr_set && !attr.propagation)
		return 0;
	if (recursive && attr.propagation) {
		struct mount_attr deep = { .propagation = attr.propagation };

		if (mount_setattr(rootfs->tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &deep,
				  sizeof(deep)) < 0)
			return error_errno(err, errno,
					   "set the propagation of the root file system");
		attr.propagation = 0;
	}
	if (mount_setattr(rootfs->tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "set the root file system read-only");
	return 0;
}
