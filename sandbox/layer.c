/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writable layer as an overlay of two: the root file system beneath, a directory of changes above. Both are named to the kernel by
 * descriptors, so no character of a path can end an option, and what is mounted is what was opened.
 */
#include "sandbox/layer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "base/file.h"
#include "base/number.h"
#include "base/path.h"
#include "base/syscalls.h"

#define WORK        "work"
#define XATTR_NAMES 65536              /* the kernel's limit of a list (XATTR_LIST_MAX) */
#define XATTR_VALUE 65536              /* and of a value (XATTR_SIZE_MAX) */
#define OVERLAY     "trusted.overlay." /* attributes that overlayfs keeps its own facts in */
#define MACHINE_ID  32                 /* hexadecimal digits */

/* ---- the directory of changes ------------------------------------------------------------------------ */

/* Access control lists and labels; what the layer's file system does not know is left out. */
static int copy_xattrs(int from, int to, struct error *err)
{
	_cleanup_free_ char *names = malloc(XATTR_NAMES), *value = malloc(XATTR_VALUE);
	ssize_t len = names && value ? flistxattr(from, names, XATTR_NAMES) : 0;

	if (!names || !value)
		return error_errno(err, ENOMEM, "make a writable layer");
	for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		ssize_t n = strncmp(name, OVERLAY, strlen(OVERLAY)) != 0
				    ? fgetxattr(from, name, value, XATTR_VALUE)
				    : -1;

		if (n >= 0 && fsetxattr(to, name, value, (size_t)n, 0) < 0 && errno != ENOTSUP)
			return error_errno(err, errno, "set the attribute `%s` of a writable layer",
					   name);
	}
	return 0;
}

/* The root directory of an overlay is that of its uppermost layer, whatever is beneath. */
static int copy_metadata(int lower, int changes, struct error *err)
{
	_cleanup_close_ int from = openat(lower, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0)
		return error_errno(err, errno, "open the root file system");
	if (fchown(changes, st.st_uid, st.st_gid) < 0 || fchmod(changes, st.st_mode & 07777) < 0)
		return error_errno(err, errno, "set the owner of a writable layer");
	r = copy_xattrs(from, changes, err);
	if (r == 0 && futimens(changes, (struct timespec[]){ st.st_atim, st.st_mtim }) < 0)
		r = error_errno(err, errno, "set the times of a writable layer");
	return r;
}

static int make_dir(int dir, const char *name, struct error *err)
{
	int fd;

	if (mkdirat(dir, name, 0700) < 0)
		return error_errno(err, errno, "make `%s` of a writable layer", name);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open `%s` of a writable layer", name) : fd;
}

/* ---- the overlay --------------------------------------------------------------------------------------- */

static int set(int fs, const char *option, int fd, struct error *err)
{
	if (fsconfig(fs, FSCONFIG_SET_STRING, option, path_of_fd(fd).s, 0) < 0)
		return error_errno(err, errno, "set `%s` of an overlay", option);
	return 0;
}

/* What the host's mount of the root file system forbids stays forbidden; that it is read-only is what the layer is for. */
static unsigned attributes_of(int dir)
{
	struct statvfs st;

	if (fstatvfs(dir, &st) < 0)
		return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	return (st.f_flag & ST_NOSUID ? MOUNT_ATTR_NOSUID : 0) |
	       (st.f_flag & ST_NODEV ? MOUNT_ATTR_NODEV : 0) |
	       (st.f_flag & ST_NOEXEC ? MOUNT_ATTR_NOEXEC : 0);
}

/* The changes last no longer than the workload, which no restart of the host survives: its fsync(2) need not reach the disk. */
static int configure(int fs, int lower, int changes, int work, struct error *err)
{
	int r = set(fs, "lowerdir", lower, err);

	if (r == 0)
		r = set(fs, "upperdir", changes, err);
	if (r == 0)
		r = set(fs, "workdir", work, err);
	if (r < 0)
		return r;
	if (fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
		return error_errno(err, errno, "set `volatile` of an overlay");
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return 0;
	return errno == EINVAL
		       ? error_set(
				 err, EINVAL,
				 "the kernel makes no overlay of the root file system and a "
				 "writable layer (see dmesg): the file system of the layer may not "
				 "be able to hold one")
		       : error_errno(err, errno, "make an overlay");
}

/* Where overlayfs cannot make what it needs in the directory of changes it mounts read-only, and succeeds. */
static int check_writable(int mount, struct error *err)
{
	struct statvfs st;

	if (fstatvfs(mount, &st) == 0 && (st.f_flag & ST_RDONLY))
		return error_set(err, EROFS,
				 "the kernel mounted an overlay read-only (see dmesg): is the disk "
				 "full?");
	return 0;
}

int layer_open(int dir, const char *rootfs, struct error *err)
{
	_cleanup_close_ int lower = path_open_dir(rootfs, true, err);
	_cleanup_close_ int changes = -EBADF, work = -EBADF, fs = -EBADF, tree = -EBADF;
	int r;

	if (lower < 0)
		return lower;
	changes = make_dir(dir, LAYER_CHANGES, err);
	if (changes < 0)
		return changes;
	work = make_dir(dir, WORK, err);
	if (work < 0)
		return work;
	r = copy_metadata(lower, changes, err);
	if (r < 0)
		return r;
	fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0)
		return error_errno(err, errno,
				   "make an overlay (the kernel may have no overlayfs)");
	r = configure(fs, lower, changes, work, err);
	if (r < 0)
		return r;
	tree = fsmount(fs, FSMOUNT_CLOEXEC, attributes_of(lower));
	if (tree < 0)
		return error_errno(err, errno, "open an overlay as a mount");
	r = check_writable(tree, err);
	return r < 0 ? r : take_fd(&tree);
}

/* ---- the machine's id ------------------------------------------------------------------------------------ */

static bool is_id(const char *text, ssize_t len)
{
	return len >= MACHINE_ID && strspn(text, "0123456789abcdef") == MACHINE_ID &&
	       (len == MACHINE_ID || (len == MACHINE_ID + 1 && text[MACHINE_ID] == '\n'));
}

/* The file that was looked at is the file that is written: it may be a link to a device, or a pipe. */
static int replace_id(int root, const char *path, const char *id, struct error *err)
{
	_cleanup_close_ int place = path_try_open_in_root(root, path, O_PATH | O_NOFOLLOW);
	_cleanup_close_ int file = -EBADF;
	char text[MACHINE_ID + 3] = "";
	struct stat st;
	int r;

	if (place < 0 || fstat(place, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	file = open(path_of_fd(place).s, O_RDWR | O_CLOEXEC);
	if (file < 0)
		return error_errno(err, errno, "open `%s` in the root file system", path);
	if (!is_id(text, pread(file, text, sizeof(text) - 1, 0)))
		return 0;
	/* As long as it was, for whoever has it open. */
	r = file_write_at(file, id, MACHINE_ID, 0);
	return r < 0 ? error_errno(err, -r, "write `%s` in the root file system", path) : 0;
}

int layer_new_machine_id(int root, struct error *err)
{
	char id[MACHINE_ID + 1];
	int r = random_hex(id, MACHINE_ID, err);

	if (r == 0)
		r = replace_id(root, "/etc/machine-id", id, err);
	return r < 0 ? r : replace_id(root, "/var/lib/dbus/machine-id", id, err);
}
