/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device nodes and links in /dev (runtime-spec config-linux.md "Default Devices", runtime-linux.md
 * "File descriptors" and "Dev symbolic links"), and the container's console.
 *
 * Everything is made through a descriptor of the container's real /dev, never a symbolic link:
 * an image whose /dev pointed elsewhere had runtimes make nodes on the host (CVE-2026-41579).
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/rootfs.h"

#define MAJOR_MAX        0xfff /* the kernel's own: 12 and 20 bits */
#define MINOR_MAX        0xfffff
#define TTYAUX_MAJOR     5
#define UNIX98_PTY_MAJOR 136 /* to 143 */

static const struct {
	const char *name;
	unsigned major, minor;
} default_devices[ROOTFS_DEFAULT_DEVICES] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },    { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} links[] = {
	{ "fd", "/proc/self/fd" },       { "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },
};

static size_t device_count(const struct rootfs *rootfs)
{
	return rootfs->config->linux_ ? rootfs->config->linux_->devices.len : 0;
}

/* Whether the configuration binds a /dev from elsewhere: then what is in it is not ours to change. */
static bool dev_is_bound(const struct rootfs *rootfs)
{
	bool bound = false;

	for (size_t i = 0; i < rootfs->config->mounts.len; i++) {
		const char *d = rootfs->config->mounts.items[i].destination;

		if (!strcmp(d, "/dev") || !strcmp(d, "/dev/") || !strcmp(d, "dev"))
			bound = rootfs->sources[i] >= 0;
	}
	return bound;
}

int rootfs_check_devices(const struct oci_config *config, struct error *err)
{
	size_t count = config->linux_ ? config->linux_->devices.len : 0;

	for (size_t i = 0; i < count; i++) {
		const struct oci_device *d = &config->linux_->devices.items[i];
		bool major = d->major.v < 0 || d->major.v > MAJOR_MAX;

		if (d->type[0] != 'p' && (major || d->minor.v < 0 || d->minor.v > MINOR_MAX))
			return error_set(err, EINVAL,
					 "/linux/devices/%zu/%s: %lld is out of range (0 to %d)", i,
					 major ? "major" : "minor",
					 (long long)(major ? d->major.v : d->minor.v),
					 major ? MAJOR_MAX : MINOR_MAX);
	}
	return 0;
}

struct node {
	mode_t type_and_mode;
	dev_t device;
	uid_t uid;
	gid_t gid;
};

static struct node node_of(const struct oci_device *d)
{
	mode_t type = d->type[0] == 'b' ? S_IFBLK : d->type[0] == 'p' ? S_IFIFO : S_IFCHR;

	return (struct node){
		.type_and_mode = type | (d->file_mode.set ? d->file_mode.v & 07777 : 0666),
		.device = type == S_IFIFO ? 0 : makedev((unsigned)d->major.v, (unsigned)d->minor.v),
		.uid = d->uid.v,
		.gid = d->gid.v,
	};
}

/* A detached mount of one device node of the host's, for a user namespace, in which mknod(2) is refused. */
static int open_device_source(const char *path, const struct node *node, struct error *err)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	_cleanup_close_ int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct stat st;

	if (tree < 0 || fstat(tree, &st) < 0)
		return error_errno(err, errno, "bind the device `%s`", path);
	if ((st.st_mode & S_IFMT) != (node->type_and_mode & S_IFMT) || st.st_rdev != node->device)
		return error_set(err, ENODEV,
				 "bind the device `%s`: the host's is not that device (%u:%u)",
				 path, major(node->device), minor(node->device));
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0)
		return error_errno(err, errno, "bind the device `%s`", path);
	return take_fd(&tree);
}

static int open_default_source(size_t index, struct error *err)
{
	const struct node node = { .type_and_mode = S_IFCHR,
				   .device = makedev(default_devices[index].major,
						     default_devices[index].minor) };
	char path[32];

	snprintf(path, sizeof(path), "/dev/%s", default_devices[index].name);
	return open_device_source(path, &node, err);
}

/* -EBADF, without a message, for a FIFO: that anybody may make. */
static int open_configured_source(const struct oci_device *d, size_t index, struct error *err)
{
	const struct node node = node_of(d);
	int fd = -EBADF;

	if (!S_ISFIFO(node.type_and_mode)) {
		fd = open_device_source(d->path, &node, err);
		if (fd < 0)
			error_wrap(err, "/linux/devices/%zu", index);
	}
	return fd;
}

int devices_open_sources(struct rootfs *rootfs, struct error *err)
{
	size_t count = ROOTFS_DEFAULT_DEVICES + device_count(rootfs);

	rootfs->device_sources = malloc(count * sizeof(int));
	if (!rootfs->device_sources)
		return error_errno(err, ENOMEM, "open the devices");
	for (size_t i = 0; i < count; i++)
		rootfs->device_sources[i] = -EBADF;
	for (size_t i = 0; i < count; i++) {
		size_t index = i - ROOTFS_DEFAULT_DEVICES;
		int fd = i < ROOTFS_DEFAULT_DEVICES
				 ? open_default_source(i, err)
				 : open_configured_source(
					   &rootfs->config->linux_->devices.items[index], index,
					   err);

		if (fd < 0 && fd != -EBADF)
			return fd;
		rootfs->device_sources[i] = fd;
	}
	return 0;
}

/* Binds a device node on an empty file that is made in its place. */
static int bind_device(int dir, const char *name, int source, struct error *err)
{
	_cleanup_close_ int place =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (place < 0 && errno == EEXIST)
		place = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (place < 0)
		return error_errno(err, errno, "make a place for the device `%s`", name);
	return mount_attach(source, place, name, err);
}

/*
 * The same node from an earlier start in this root file system is as good as ours. It is looked at and changed by one descriptor:
 * another file may take its name at any time.
 */
static int make_node(int dir, const char *name, const struct node *node, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (mknodat(dir, name, node->type_and_mode, node->device) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make the device `%s`", name);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open the device `%s`", name);
	if ((st.st_mode & S_IFMT) != (node->type_and_mode & S_IFMT) || st.st_rdev != node->device)
		return error_set(err, EEXIST,
				 "make the device `%s`: something else is in its place", name);
	if ((node->uid || node->gid) && fchownat(fd, "", node->uid, node->gid, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the owner of the device `%s`", name);
	return 0;
}

static int make_configured(const struct rootfs *rootfs, size_t index, struct error *err)
{
	const struct oci_device *d = &rootfs->config->linux_->devices.items[index];
	const struct node node = node_of(d);
	_cleanup_close_ int dir = -EBADF;
	char name[NAME_MAX + 1];

	dir = path_make_parent_in_root(rootfs->tree, d->path, name, sizeof(name), err);
	if (dir < 0)
		return dir;
	if (rootfs->bind_devices && !S_ISFIFO(node.type_and_mode))
		return bind_device(dir, name,
				   rootfs->device_sources[ROOTFS_DEFAULT_DEVICES + index], err);
	return make_node(dir, name, &node, err);
}

static int make_links(int dev, struct error *err)
{
	if (unlinkat(dev, "ptmx", 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "replace `/dev/ptmx`");
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
			return error_errno(err, errno, "link `/dev/%s`", links[i].name);
	return 0;
}

int devices_make(struct rootfs *rootfs, struct error *err)
{
	_cleanup_close_ int dev = -EBADF;
	int r = 0;

	if (dev_is_bound(rootfs))
		return 0;
	dev = path_make_plain_dir_in_root(rootfs->tree, "/dev", 0755, err);
	if (dev < 0)
		return dev;
	for (size_t i = 0; r == 0 && i < ROOTFS_DEFAULT_DEVICES; i++) {
		struct node node = { .type_and_mode = S_IFCHR | 0666,
				     .device = makedev(default_devices[i].major,
						       default_devices[i].minor) };

		r = rootfs->bind_devices ? bind_device(dev, default_devices[i].name,
						       rootfs->device_sources[i], err)
					 : make_node(dev, default_devices[i].name, &node, err);
	}
	for (size_t i = 0; r == 0 && i < device_count(rootfs); i++) {
		r = make_configured(rootfs, i, err);
		if (r < 0)
			error_wrap(err, "/linux/devices/%zu", i);
	}
	return r < 0 ? r : make_links(dev, err);
}

/* ---- the console ------------------------------------------------------------------------------ */

/* The multiplexer of the devpts that is mounted in the container: major 5, minor 2, on devpts. */
static int open_multiplexer(int root, struct error *err)
{
	_cleanup_close_ int fd = path_open_in_root(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, err);
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return error_wrap(
			err,
			"allocate a terminal (process.terminal needs a devpts mount on /dev/pts)");
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_errno(err, errno, "stat `/dev/pts/ptmx`");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(TTYAUX_MAJOR, 2) || fs.f_type != 0x1cd1)
		return error_set(
			err, EPERM,
			"`/dev/pts/ptmx` in the container is not the terminal multiplexer");
	return take_fd(&fd);
}

int console_mount(int root, int secondary, struct error *err)
{
	_cleanup_close_ int dev = path_make_plain_dir_in_root(root, "/dev", 0755, err);
	_cleanup_close_ int tree = -EBADF;

	if (dev < 0)
		return dev;
	/* From descriptor to descriptor: a name in /dev/pts could be swapped in between (CVE-2025-52565). */
	tree = open_tree(secondary, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "open the terminal as a mount");
	return bind_device(dev, "console", tree, err);
}

int console_open(int root, int *primary, int *secondary, struct error *err)
{
	_cleanup_close_ int ptm = open_multiplexer(root, err);
	_cleanup_close_ int pts = -EBADF;
	struct stat st;
	int unlock = 0;

	if (ptm < 0)
		return ptm;
	if (ioctl(ptm, TIOCSPTLCK, &unlock) < 0)
		return error_errno(err, errno, "unlock the terminal");
	pts = ioctl(ptm, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pts < 0)
		return error_errno(err, errno, "open the terminal");
	if (fstat(pts, &st) < 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) < UNIX98_PTY_MAJOR ||
	    major(st.st_rdev) > UNIX98_PTY_MAJOR + 7)
		return error_set(err, EPERM, "the terminal is not a terminal");
	*primary = take_fd(&ptm);
	*secondary = take_fd(&pts);
	return 0;
}
