/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of config.json. Each is made detached, with all its attributes, and then attached to a
 * descriptor of its destination: between a check and its use there is no name to swap.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/mount_options.h"
#include "namespaces/rootfs.h"

#define FSCONFIG_VALUE_MAX 256 /* the kernel's limit of one fsconfig(2) string */

int mount_attach(int tree, int target, const char *name, struct error *err)
{
	if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return error_errno(err, errno, "mount on `%s`", name);
	return 0;
}

/* ---- bind mounts ---------------------------------------------------------------------------- */

static int set_attributes(int tree, const struct mount_options *opts, unsigned long propagation,
			  bool recursive, struct error *err)
{
	struct mount_attr top = { .attr_set = opts->attr_set, .attr_clr = opts->attr_clear };
	struct mount_attr deep = { .attr_set = opts->rattr_set, .attr_clr = opts->rattr_clear };

	if (recursive)
		deep.propagation = propagation;
	else
		top.propagation = propagation;
	if ((deep.attr_set || deep.attr_clr || deep.propagation) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &deep, sizeof(deep)) < 0)
		return error_errno(err, errno, "set the attributes of the mount");
	if ((top.attr_set || top.attr_clr || top.propagation) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH, &top, sizeof(top)) < 0)
		return error_errno(err, errno, "set the attributes of the mount");
	return 0;
}

/* The symbolic link at a source of `copy-symlink`, as a descriptor; -EBADF where it is none. */
static int open_link(const struct rootfs *rootfs, const struct oci_mount *m)
{
	_cleanup_close_ int fd = openat(rootfs->bundle, m->source, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode) ? take_fd(&fd) : -EBADF;
}

/* The detached source of one bind mount; -EBADF, without a message, where the mount is none. */
static int open_source(const struct rootfs *rootfs, size_t index, struct error *err)
{
	const struct oci_mount *m = &rootfs->config->mounts.items[index];
	_cleanup_close_ int tree = -EBADF;
	struct mount_options opts;
	bool recursive = false;
	unsigned long propagation;
	int r = mount_options_parse(&opts, m, index, err);

	if (r < 0)
		return r;
	if (!opts.bind || opts.remount)
		return -EBADF;
	if (!m->source)
		return error_set(err, EINVAL, "/mounts/%zu/source: a bind mount needs a source",
				 index);
	if (opts.copy_symlink) {
		tree = open_link(rootfs, m);
		if (tree >= 0)
			return take_fd(&tree);
	}
	/* The host's /sys holds mounts of its own, the cgroups: read-only must not stop at the top (CVE-2023-25809). */
	if (opts.recursive_bind && opts.read_only && !strcmp(m->source, "/sys"))
		opts.rattr_set |= MOUNT_ATTR_RDONLY;
	tree = open_tree(rootfs->bundle, m->source,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
				 (opts.recursive_bind ? AT_RECURSIVE : 0) |
				 (opts.src_nofollow ? AT_SYMLINK_NOFOLLOW : 0));
	if (tree < 0)
		return error_errno(err, errno, "/mounts/%zu/source: bind `%s`", index, m->source);
	r = opts.idmap ? mount_set_idmap(rootfs, index, &opts, tree, err) : 0;
	if (r < 0)
		return r;
	/* The tree is a peer of its source: unless sharing is asked for, cut what would flow back. */
	propagation = opts.propagation;
	recursive = opts.propagation_recursive;
	if (!propagation)
		propagation = rootfs_propagation(rootfs->config, &recursive);
	r = set_attributes(tree, &opts, propagation, recursive, err);
	if (r < 0)
		return error_wrap(err, "/mounts/%zu: bind `%s`", index, m->source);
	return take_fd(&tree);
}

int mount_open_sources(struct rootfs *rootfs, struct error *err)
{
	for (size_t i = 0; i < rootfs->config->mounts.len; i++) {
		int fd = open_source(rootfs, i, err);

		if (fd < 0 && fd != -EBADF)
			return fd;
		rootfs->sources[i] = fd;
	}
	return 0;
}

/* ---- new file systems ------------------------------------------------------------------------ */

/* The kernel explains a failed fsconfig(2) in messages that are read from the context ("e proc: …"). */
static int fs_error(int fs, int code, const struct oci_mount *m, const char *what,
		    struct error *err)
{
	char message[256];
	ssize_t n = read(fs, message, sizeof(message) - 1);
	const char *type = m->type ? m->type : "remount";

	if (n <= 2 || message[0] != 'e')
		return error_errno(err, code, "mount `%s` on `%s`: %s", type, m->destination, what);
	message[n] = '\0';
	message[strcspn(message, "\n")] = '\0';
	return error_errno(err, code, "mount `%s` on `%s`: %s: %s", type, m->destination, what,
			   message + 2);
}

/* File systems whose one superblock is shared by all mounts: read-only is the mount's, never the superblock's. */
static bool is_pseudo(const char *type)
{
	static const char *const pseudo[] = { "proc",   "sysfs",  "tmpfs",   "devpts",
					      "mqueue", "cgroup", "cgroup2", "bpf" };

	for (size_t i = 0; i < ARRAY_SIZE(pseudo); i++)
		if (!strcmp(type, pseudo[i]))
			return true;
	return false;
}

/* One option of the file system's own: "key" or "key=value". */
static int set_data(int fs, const struct oci_mount *m, const char *option, struct error *err)
{
	const char *equals = strchr(option, '=');
	char key[64];
	int r;

	if (equals && (size_t)(equals - option) >= sizeof(key))
		return error_set(err, EINVAL, "mount `%s` on `%s`: unknown option `%.80s`", m->type,
				 m->destination, option);
	if (equals) {
		memcpy(key, option, (size_t)(equals - option));
		key[equals - option] = '\0';
		r = fsconfig(fs, FSCONFIG_SET_STRING, key, equals + 1, 0);
	} else {
		r = fsconfig(fs, FSCONFIG_SET_FLAG, option, NULL, 0);
	}
	return r < 0 ? fs_error(fs, errno, m, option, err) : 0;
}

static int set_fs_options(int fs, const struct oci_mount *m, const struct mount_options *opts,
			  struct error *err)
{
	for (size_t i = 0; i < opts->sb_flag_count; i++)
		if (fsconfig(fs, FSCONFIG_SET_FLAG, opts->sb_flags[i], NULL, 0) < 0)
			return fs_error(fs, errno, m, opts->sb_flags[i], err);
	for (size_t i = 0; i < opts->data_count; i++) {
		int r = set_data(fs, m, opts->data[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int configure_fs(int fs, const struct oci_mount *m, const struct mount_options *opts,
			struct error *err)
{
	int r;

	if (m->source && fsconfig(fs, FSCONFIG_SET_STRING, "source", m->source, 0) < 0)
		return fs_error(fs, errno, m, "set the source", err);
	if (opts->read_only && !is_pseudo(m->type) &&
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return fs_error(fs, errno, m, "set read-only", err);
	r = set_fs_options(fs, m, opts, err);
	if (r == 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = fs_error(fs, errno, m, "make the file system", err);
	return r;
}

/* Values that fsconfig(2) cannot carry (overlay's long lowerdir) or flags that it does not know. */
static bool needs_classic_mount(const struct mount_options *opts)
{
	if (opts->legacy_flags & MS_I_VERSION)
		return true;
	for (size_t i = 0; i < opts->data_count; i++)
		if (strlen(opts->data[i]) >= FSCONFIG_VALUE_MAX)
			return true;
	return false;
}

static int classic_mount(const struct rootfs *rootfs, const struct oci_mount *m,
			 const struct mount_options *opts, unsigned long flags, int target,
			 struct error *err)
{
	_cleanup_strbuf_ struct strbuf data = { 0 };

	/* This call takes only paths, in a /proc that may be of others; and procfs would show our own pid namespace. */
	if (rootfs->running || rootfs->mode == ROOTFS_JOINED ||
	    (rootfs->pid_ns >= 0 && m->type && !strcmp(m->type, "proc")))
		return error_set(err, ENOTSUP,
				 "mount on `%s`: `iversion` and options longer than %d bytes need "
				 "mount(2), which cannot be used safely among processes of others",
				 m->destination, FSCONFIG_VALUE_MAX);

	for (size_t i = 0; i < opts->data_count; i++) {
		/* A label has commas in it, and is one option only in quotes. */
		bool label = !strncmp(opts->data[i], "context=", 8) && !strchr(opts->data[i], '"');

		if (label)
			strbuf_addf(&data, "%scontext=\"%s\"", i ? "," : "", opts->data[i] + 8);
		else
			strbuf_addf(&data, "%s%s", i ? "," : "", opts->data[i]);
	}
	if (strbuf_failed(&data))
		return error_errno(err, ENOMEM, "mount on `%s`", m->destination);
	if (opts->read_only && (!m->type || !is_pseudo(m->type)))
		flags |= MS_RDONLY;
	/* The descriptor's name in the host's procfs, which is still ours: no name of the image is used. */
	if (mount(m->source ? m->source : m->type, path_of_fd(target).s, m->type,
		  flags | opts->legacy_flags, data.data) < 0)
		return error_errno(err, errno, "mount `%s` on `%s`", m->type ? m->type : "remount",
				   m->destination);
	return 0;
}

/* What lies on top of the place that target names, opened anew. */
static int reopen_mounted(const struct rootfs *rootfs, const struct oci_mount *m, struct error *err)
{
	return path_open_in_root(rootfs->tree, m->destination, O_PATH, err);
}

static int mount_classic(const struct rootfs *rootfs, const struct oci_mount *m,
			 const struct mount_options *opts, int target, struct error *err)
{
	_cleanup_close_ int mounted = -EBADF;
	int r = classic_mount(rootfs, m, opts, 0, target, err);

	if (r < 0)
		return r;
	mounted = reopen_mounted(rootfs, m, err);
	if (mounted < 0)
		return mounted;
	return set_attributes(mounted, opts, opts->propagation, opts->propagation_recursive, err);
}

static int open_fs(const struct rootfs *rootfs, const struct oci_mount *m, struct error *err)
{
	int fs;

	if (rootfs->pid_ns >= 0 && !strcmp(m->type, "proc"))
		return procfs_open(rootfs, err);
	fs = fsopen(m->type, FSOPEN_CLOEXEC);
	if (fs < 0 && errno == ENODEV)
		return error_set(err, ENODEV, "mount on `%s`: this kernel has no file system `%s`",
				 m->destination, m->type);
	return fs < 0 ? error_errno(err, errno, "mount `%s` on `%s`", m->type, m->destination) : fs;
}

static int make_fs(const struct rootfs *rootfs, const struct oci_mount *m,
		   const struct mount_options *opts, struct error *err)
{
	_cleanup_close_ int fs = open_fs(rootfs, m, err);
	int mnt, r;

	if (fs < 0)
		return fs;
	r = configure_fs(fs, m, opts, err);
	if (r < 0)
		return r;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)opts->attr_set);
	if (mnt < 0)
		return error_errno(err, errno, "mount `%s` on `%s`", m->type, m->destination);
	return mnt;
}

/*
 * A user namespace without a network namespace of its own may not mount sysfs; the host's, bound,
 * shows the same.
 */
static int bind_host_sysfs(const struct mount_options *opts, struct error *err)
{
	_cleanup_close_ int tree =
		open_tree(AT_FDCWD, "/sys", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	struct mount_options deep = *opts;
	int r;

	if (tree < 0)
		return error_errno(err, errno, "bind the host's `/sys`");
	deep.rattr_set |= opts->attr_set & MOUNT_ATTR_RDONLY;
	r = set_attributes(tree, &deep, MS_SLAVE, true, err);
	return r < 0 ? r : take_fd(&tree);
}

/* A tmpfs that shall be read-only, too, is filled first. */
static int fill_tmpfs(const struct mount_options *opts, int mnt, int target, struct error *err)
{
	struct mount_attr attr = { .attr_set = opts->attr_set & MOUNT_ATTR_RDONLY };
	int r = mount_copy_up(target, mnt, opts, err);

	if (r == 0 && attr.attr_set &&
	    mount_setattr(mnt, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		r = error_errno(err, errno, "set the mount read-only");
	return r;
}

static int mount_fs(const struct rootfs *rootfs, const struct oci_mount *m,
		    const struct mount_options *opts, int target, struct error *err)
{
	_cleanup_close_ int mnt = -EBADF;
	struct mount_attr attr = { .propagation = opts->propagation };
	struct mount_options writable = *opts;

	if (needs_classic_mount(opts) && opts->tmpcopyup)
		return error_set(err, ENOTSUP,
				 "mount on `%s`: `tmpcopyup` and `iversion` exclude one another",
				 m->destination);
	if (needs_classic_mount(opts))
		return mount_classic(rootfs, m, opts, target, err);
	if (opts->tmpcopyup)
		writable.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	mnt = make_fs(rootfs, m, &writable, err);
	if (mnt == -EPERM && rootfs->bind_devices && !rootfs->running && !strcmp(m->type, "sysfs"))
		mnt = bind_host_sysfs(opts, err);
	if (mnt < 0)
		return mnt;
	if (opts->tmpcopyup && fill_tmpfs(opts, mnt, target, err) < 0)
		return error_wrap(err, "`tmpcopyup` to `%s`", m->destination);
	if (attr.propagation && mount_setattr(mnt, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "set the attributes of the mount on `%s`",
				   m->destination);
	return mount_attach(mnt, target, m->destination, err);
}

/* ---- cgroups ---------------------------------------------------------------------------------- */

static int bind_cgroup(const struct rootfs_cgroup *cg, const struct mount_options *opts,
		       struct error *err)
{
	_cleanup_close_ int tree =
		open_tree(AT_FDCWD, cg->host_path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int r;

	if (tree < 0)
		return error_errno(err, errno, "bind the cgroup `%s`", cg->host_path);
	r = set_attributes(tree, opts, MS_SLAVE, true, err);
	return r < 0 ? r : take_fd(&tree);
}

/* The container's own part of one hierarchy, as a detached mount. */
static int open_cgroup(const struct rootfs *rootfs, const struct rootfs_cgroup *cg,
		       const struct mount_options *opts, struct error *err)
{
	struct oci_mount m = { .destination = "/sys/fs/cgroup",
			       .type = cg->v2 ? "cgroup2" : "cgroup" };
	struct mount_options plain = *opts;
	char names[128], *save = NULL;
	int mnt;

	plain.data_count = 0;
	/*
	 * Without a cgroup namespace of its own the container would see, and as root write, the
	 * whole host's tree (CVE-2023-25809): only its own directory is bound, read-only.
	 */
	if (!rootfs->private_cgroup_ns) {
		plain.attr_set |= MOUNT_ATTR_RDONLY;
		plain.attr_clear &= ~(uint64_t)MOUNT_ATTR_RDONLY;
		return bind_cgroup(cg, &plain, err);
	}
	/* Joint controllers, as cpu and cpuacct, are an option each. */
	snprintf(names, sizeof(names), "%s", cg->v2 ? "" : cg->controllers);
	for (char *n = strtok_r(names, ",", &save); n && plain.data_count < MOUNT_DATA_MAX;
	     n = strtok_r(NULL, ",", &save))
		plain.data[plain.data_count++] = n;
	m.source = "cgroup";
	mnt = make_fs(rootfs, &m, &plain, err);
	if (mnt == -EPERM || mnt == -EBUSY)
		mnt = bind_cgroup(cg, &plain, err);
	return mnt;
}

/* cgroup v1 as containers expect it: a tmpfs with a directory a hierarchy and links for joint controllers. */
static int mount_cgroup_v1(const struct rootfs *rootfs, const struct mount_options *opts,
			   int target, struct error *err)
{
	struct oci_mount tmpfs = { .destination = "/sys/fs/cgroup",
				   .type = "tmpfs",
				   .source = "tmpfs" };
	struct mount_options plain = { .attr_set = opts->attr_set & ~(uint64_t)MOUNT_ATTR_RDONLY,
				       .data = { "mode=755" },
				       .data_count = 1 };
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	_cleanup_close_ int top = make_fs(rootfs, &tmpfs, &plain, err);
	int r;

	if (top < 0)
		return top;
	r = mount_attach(top, target, tmpfs.destination, err);
	for (size_t i = 0; r == 0 && i < rootfs->cgroup_count; i++) {
		const struct rootfs_cgroup *cg = &rootfs->cgroups[i];
		_cleanup_close_ int mnt = -EBADF, place = -EBADF;
		char names[128], *save = NULL;

		if (mkdirat(top, cg->name, 0755) < 0)
			return error_errno(err, errno, "make `/sys/fs/cgroup/%s`", cg->name);
		place = openat(top, cg->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (place < 0)
			return error_errno(err, errno, "open `/sys/fs/cgroup/%s`", cg->name);
		mnt = open_cgroup(rootfs, cg, opts, err);
		if (mnt < 0)
			return mnt;
		r = mount_attach(mnt, place, cg->name, err);
		if (!strchr(cg->name, ','))
			continue;
		snprintf(names, sizeof(names), "%s", cg->name);
		for (char *n = strtok_r(names, ",", &save); n; n = strtok_r(NULL, ",", &save))
			if (symlinkat(cg->name, top, n) < 0 && errno != EEXIST)
				return error_errno(err, errno, "link `/sys/fs/cgroup/%s`", n);
	}
	if (r == 0 && opts->read_only &&
	    mount_setattr(top, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)) < 0)
		return error_errno(err, errno, "make `/sys/fs/cgroup` read-only");
	return r;
}

static int mount_cgroups(const struct rootfs *rootfs, const struct oci_mount *m,
			 const struct mount_options *opts, int target, struct error *err)
{
	_cleanup_close_ int mnt = -EBADF;

	if (!rootfs->cgroup_count)
		return error_set(err, ENOTSUP,
				 "mount `cgroup` on `%s`: the container has no cgroup",
				 m->destination);
	if (rootfs->cgroups[0].name)
		return mount_cgroup_v1(rootfs, opts, target, err);
	mnt = open_cgroup(rootfs, &rootfs->cgroups[0], opts, err);
	return mnt < 0 ? mnt : mount_attach(mnt, target, m->destination, err);
}

/* ---- one mount -------------------------------------------------------------------------------- */

/* procfs and sysfs go to no place that the image chose by a link (CVE-2019-19921, CVE-2023-27561). */
static bool wants_plain_place(const struct oci_mount *m)
{
	return m->type && (!strcmp(m->type, "proc") || !strcmp(m->type, "sysfs"));
}

/* With `dest-nofollow`: a symbolic link in the last place is itself what is mounted on. */
static int open_last(const struct rootfs *rootfs, const char *path, bool directory,
		     struct error *err)
{
	_cleanup_close_ int dir = -EBADF, made = -EBADF;
	char name[NAME_MAX + 1];
	int fd;

	dir = path_make_parent_in_root(rootfs->tree, path, name, sizeof(name), err);
	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? error_errno(err, errno, "open `%s`", path) : fd;
	if (directory && mkdirat(dir, name, 0755) < 0)
		return error_errno(err, errno, "make directory `%s`", path);
	if (!directory) {
		made = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			      0644);
		if (made < 0)
			return error_errno(err, errno, "make file `%s`", path);
	}
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open `%s`", path) : fd;
}

static int open_destination(const struct rootfs *rootfs, const struct oci_mount *m, int source,
			    bool nofollow, struct error *err)
{
	_cleanup_close_ int target = -EBADF;
	struct stat st = { .st_mode = S_IFDIR }, root;

	if (source >= 0 && fstat(source, &st) < 0)
		return error_errno(err, errno, "stat the source of the mount on `%s`",
				   m->destination);
	if (nofollow)
		target = open_last(rootfs, m->destination, S_ISDIR(st.st_mode), err);
	else if (!S_ISDIR(st.st_mode))
		target = path_make_file_in_root(rootfs->tree, m->destination, 0644, err);
	else if (wants_plain_place(m))
		target = path_make_plain_dir_in_root(rootfs->tree, m->destination, 0755, err);
	else
		target = path_make_dir_in_root(rootfs->tree, m->destination, 0755, err);
	if (target < 0)
		return target;
	if (fstat(target, &st) < 0 || fstat(rootfs->tree, &root) < 0)
		return error_errno(err, errno, "stat `%s`", m->destination);
	if (st.st_ino == root.st_ino && st.st_dev == root.st_dev && S_ISDIR(st.st_mode))
		return error_set(
			err, EINVAL,
			"a mount on the root directory itself (`%s`) is refused: set root.path",
			m->destination);
	return take_fd(&target);
}

/* `copy-symlink`: the link behind source is made anew; what is there already must be the same link. */
int mount_copy_link(const struct rootfs *rootfs, size_t index, struct error *err)
{
	const struct oci_mount *m = &rootfs->config->mounts.items[index];
	int source = rootfs->sources[index];
	char name[NAME_MAX + 1], target[PATH_MAX], there[PATH_MAX];
	_cleanup_close_ int dir = -EBADF;
	ssize_t n = readlinkat(source, "", target, sizeof(target) - 1), found;

	if (n < 0)
		return error_errno(err, errno, "read the link `%s`", m->source);
	target[n] = '\0';
	dir = path_make_parent_in_root(rootfs->tree, m->destination, name, sizeof(name), err);
	if (dir < 0)
		return dir;
	if (symlinkat(target, dir, name) == 0)
		return 0;
	if (errno != EEXIST)
		return error_errno(err, errno, "link `%s`", m->destination);
	found = readlinkat(dir, name, there, sizeof(there) - 1);
	if (found != n || memcmp(there, target, (size_t)n) != 0)
		return error_set(err, EEXIST, "`%s` exists and is not a symbolic link to `%.200s`",
				 m->destination, target);
	return 0;
}

/* Changes the options of a mounted file system: only those that are given, unlike mount(2) with MS_REMOUNT. */
static int reconfigure(const struct oci_mount *m, const struct mount_options *opts, int target,
		       struct error *err)
{
	_cleanup_close_ int fs = fspick(target, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
	int r;

	if (fs < 0)
		return error_errno(err, errno, "open the file system on `%s`", m->destination);
	r = set_fs_options(fs, m, opts, err);
	if (r == 0 && fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		r = fs_error(fs, errno, m, "change the options", err);
	return r;
}

static int remount(const struct rootfs *rootfs, const struct oci_mount *m,
		   const struct mount_options *opts, struct error *err)
{
	_cleanup_close_ int target = path_open_in_root(
		rootfs->tree, m->destination, O_PATH | (opts->dest_nofollow ? O_NOFOLLOW : 0), err);
	int r;

	if (target < 0)
		return target;
	r = set_attributes(target, opts, opts->propagation, opts->propagation_recursive, err);
	if (r == 0 && !opts->bind && needs_classic_mount(opts))
		r = classic_mount(rootfs, m, opts, MS_REMOUNT, target, err);
	else if (r == 0 && !opts->bind && (opts->data_count || opts->sb_flag_count))
		r = reconfigure(m, opts, target, err);
	return r < 0 ? error_wrap(err, "remount `%s`", m->destination) : 0;
}

/* The permissions of the directory that a tmpfs will cover; 0 for other mounts, and where there is none yet. */
static mode_t mode_of(const struct rootfs *rootfs, const struct oci_mount *m)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (!m->type || strcmp(m->type, "tmpfs"))
		return 0;
	fd = path_try_open_in_root(rootfs->tree, m->destination, O_PATH | O_DIRECTORY);
	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* A tmpfs without a mode gets that of the directory below it: /run stays 0755. The text is kept in buf. */
static void inherit_mode(const struct oci_mount *m, struct mount_options *opts, mode_t mode,
			 char *buf, size_t size)
{
	for (size_t i = 0; i < opts->data_count; i++)
		if (!strncmp(opts->data[i], "mode=", 5))
			return;
	if (!mode || strcmp(m->type, "tmpfs") || opts->data_count == MOUNT_DATA_MAX)
		return;
	snprintf(buf, size, "mode=%o", mode);
	opts->data[opts->data_count++] = buf;
}

/*
 * linux.mountLabel: the label of everything in a new file system. Not of those whose files have labels of their own from the
 * policy, as in runc; nor where the mount itself says something else. The text is kept in buf.
 */
static int add_label(const struct rootfs *rootfs, const struct oci_mount *m,
		     struct mount_options *opts, char *buf, size_t size, struct error *err)
{
	static const char *const own[] = { "proc", "sysfs", "mqueue", "cgroup", "cgroup2" };

	if (!rootfs->mount_label)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (!strcmp(m->type, own[i]))
			return 0;
	for (size_t i = 0; i < opts->data_count; i++)
		if (strstr(opts->data[i], "context="))
			return 0;
	if (opts->data_count == MOUNT_DATA_MAX ||
	    (size_t)snprintf(buf, size, "context=%s", rootfs->mount_label) >= size)
		return error_set(err, EINVAL, "/linux/mountLabel: too long");
	opts->data[opts->data_count++] = buf;
	return 0;
}

static int mount_one(struct rootfs *rootfs, size_t index, struct error *err)
{
	const struct oci_mount *m = &rootfs->config->mounts.items[index];
	int source = rootfs->sources[index];
	_cleanup_close_ int target = -EBADF;
	struct mount_options opts;
	mode_t existing_mode;
	struct stat st;
	char mode[16], label[FSCONFIG_VALUE_MAX];
	int r = mount_options_parse(&opts, m, index, err);

	if (r < 0)
		return r;
	if (opts.remount)
		return remount(rootfs, m, &opts, err);
	existing_mode = mode_of(rootfs, m);
	if (source < 0 && !m->type)
		return error_set(err, EINVAL,
				 "/mounts/%zu/type: a mount that is no bind mount needs a type",
				 index);
	if (opts.copy_symlink && source >= 0 && fstat(source, &st) == 0 && S_ISLNK(st.st_mode))
		return mount_copy_link(rootfs, index, err);
	target = open_destination(rootfs, m, source, opts.dest_nofollow, err);
	if (target < 0)
		return target;
	if (source >= 0)
		return mount_attach(source, target, m->destination, err);
	inherit_mode(m, &opts, existing_mode, mode, sizeof(mode));
	if (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2"))
		return mount_cgroups(rootfs, m, &opts, target, err);
	r = add_label(rootfs, m, &opts, label, sizeof(label), err);
	return r < 0 ? r : mount_fs(rootfs, m, &opts, target, err);
}

int mount_all(struct rootfs *rootfs, struct error *err)
{
	for (size_t i = 0; i < rootfs->config->mounts.len; i++) {
		int r = mount_one(rootfs, i, err);

		if (r < 0)
			return error_wrap(err, "/mounts/%zu", i);
	}
	return 0;
}
