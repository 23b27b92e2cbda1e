/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the file server has: its root is a tmpfs with nothing but the mounts that the guest is to see, each read-only where the
 * configuration says so, whatever the guest asks for. To a machine that runs mounts are added, and taken away again, by a process
 * that enters the file server's mount namespace for a moment: the file server itself has no privilege for that.
 *
 * The guest may remember names: none is used twice.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "base/hash.h"
#include "base/message.h"
#include "base/path.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "microvm/control.h"
#include "namespaces/mount_options.h"
#include "namespaces/vm_mounts.h"
#include "sandbox/microvm.h"

/* ---- the tree ----------------------------------------------------------------------------------------- */

static int make_place(int at, const char *name, bool directory, struct error *err)
{
	int fd;

	if (directory)
		return mkdirat(at, name, 0700) < 0 ? error_errno(err, errno, "make `%s`", name) : 0;
	fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "make `%s`", name);
	close(fd);
	return 0;
}

/* Where the file server's root is: to make places in, and to mount on them. */
struct tree {
	int writable, root;
};

static int attach(const struct tree *tree, int source, const char *name, bool readonly,
		  bool recursively, struct error *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	struct stat st;
	int r;

	if (fstat(source, &st) < 0)
		return error_errno(err, errno, "share `%s`", name);
	r = make_place(tree->writable, name, S_ISDIR(st.st_mode), err);
	if (r < 0)
		return r;
	if (readonly && mount_setattr(source, "", AT_EMPTY_PATH | (recursively ? AT_RECURSIVE : 0),
				      &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "make `%s` read-only", name);
	if (move_mount(source, "", tree->root, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, errno, "share `%s`", name);
	return 0;
}

static bool is_link(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

/* The source of `copy-symlink` is no mount: the link itself says all. */
static int share_link(int root, int link, const char *name, struct error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);

	if (n < 0)
		return error_errno(err, errno, "read the link of `%s`", name);
	target[n] = '\0';
	return symlinkat(target, root, name) < 0 ? error_errno(err, errno, "share `%s`", name) : 0;
}

/* The source of mount i, as name. */
static int share(const struct tree *tree, const struct oci_mount *mount, size_t i, int source,
		 const char *name, struct error *err)
{
	struct mount_options opts;
	bool below;
	int r = mount_options_parse(&opts, mount, i, err);

	if (r < 0)
		return r;
	if (opts.copy_symlink && is_link(source))
		return share_link(tree->writable, source, name, err);
	below = (opts.rattr_set & MOUNT_ATTR_RDONLY) != 0;
	return attach(tree, source, name, below || (opts.attr_set & MOUNT_ATTR_RDONLY), below, err);
}

static int share_mounts(const struct microvm_plan *plan, const struct tree *tree, struct error *err)
{
	const struct oci_mounts *mounts = &plan->sb->config->mounts;

	for (size_t i = 0; i < mounts->len; i++) {
		char name[24];
		int r;

		if (!microvm_is_shared(&mounts->items[i]))
			continue;
		microvm_share_name(i, name, sizeof(name));
		r = share(tree, &mounts->items[i], i, plan->rootfs.sources[i], name, err);
		if (r < 0)
			return error_wrap(err, "/mounts/%zu", i);
	}
	return 0;
}

int microvm_list_mounts(struct microvm_plan *plan, struct error *err)
{
	const struct oci_mounts *mounts = &plan->sb->config->mounts;
	_cleanup_free_ char *table = NULL;
	int r = vm_mounts_read_table(&table, err);

	if (r == 0)
		r = vm_mounts_list(table, plan->rootfs.tree, AT_FDCWD, plan->rootfs.path, "root",
				   &plan->mounts, err);
	for (size_t i = 0; r == 0 && i < mounts->len; i++) {
		char name[24];

		if (plan->rootfs.sources[i] < 0)
			continue;
		microvm_share_name(i, name, sizeof(name));
		r = vm_mounts_list(table, plan->rootfs.sources[i], plan->bundle,
				   mounts->items[i].source, name, &plan->mounts, err);
	}
	return r;
}

/* Whether an earlier mount covers the place: what is missing there is made in that. */
static bool is_covered(const struct oci_mounts *mounts, size_t i)
{
	const char *at = mounts->items[i].destination;

	for (size_t k = 0; k < i; k++) {
		const char *over = mounts->items[k].destination;
		size_t len = strlen(over);

		if (!strncmp(at, over, len) && at[len] == '/')
			return true;
	}
	return false;
}

static int make_mount_point(const struct microvm_plan *plan, size_t i, struct error *err)
{
	const struct oci_mount *m = &plan->sb->config->mounts.items[i];
	int source = plan->rootfs.sources[i];
	_cleanup_close_ int place = -EBADF;
	struct stat st = { .st_mode = S_IFDIR };
	struct mount_options opts;
	int r = mount_options_parse(&opts, m, i, err);

	if (r == 0 && opts.copy_symlink && is_link(source))
		return mount_copy_link(&plan->rootfs, i, err);
	if (r == 0 && source >= 0 && fstat(source, &st) < 0)
		return error_errno(err, errno, "look at the source");
	if (r < 0)
		return r;
	place = S_ISDIR(st.st_mode)
			? path_make_dir_in_root(plan->rootfs.tree, m->destination, 0755, err)
			: path_make_file_in_root(plan->rootfs.tree, m->destination, 0644, err);
	return place < 0 ? place : 0;
}

/*
 * The guest cannot make in a read-only root what is missing for its mounts, so it is made here, as for a container it is before
 * its root becomes read-only.
 */
static int make_mount_points(const struct microvm_plan *plan, struct error *err)
{
	const struct oci_config *config = plan->sb->config;
	const struct oci_mounts *mounts = &config->mounts;
	_cleanup_close_ int cwd = -EBADF;

	for (size_t i = 0; i < mounts->len; i++) {
		int r = is_covered(mounts, i) ? 0 : make_mount_point(plan, i, err);

		if (r < 0)
			return error_wrap(err, "/mounts/%zu", i);
	}
	cwd = path_make_dir_in_root(plan->rootfs.tree, config->process->cwd, 0755, err);
	return cwd < 0 ? error_wrap(err, "/process/cwd") : 0;
}

/* The root file system at its place in this mount namespace, which is a copy of the host's. */
static int mount_root_in_place(const struct microvm_plan *plan, struct error *err)
{
	_cleanup_close_ int place = open(plan->rootfs.path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (place < 0)
		return error_errno(err, errno, "/root/path: open `%s`", plan->rootfs.path);
	return mount_attach(plan->rootfs.tree, place, plan->rootfs.path, err);
}

int microvm_run_hooks(const struct microvm_plan *plan, int netns, struct error *err)
{
	int r;

	/* They end with whoever makes the container, and with us, who are the first process of their pid namespace. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return error_errno(err, errno, "prctl");
	r = mount_root_in_place(plan, err);
	if (r < 0)
		return r;
	if (setns(netns, CLONE_NEWNET) < 0)
		return error_errno(err, errno, "enter the container's network namespace");
	umask(0022);
	r = plan->hooks->run(plan->hooks->data, SANDBOX_STAGE_CREATE_CONTAINER, plan->sb->pid, err);
	if (r == 0 && (unshare(CLONE_NEWNET) < 0 || prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0))
		r = error_errno(err, errno, "leave the container's network namespace");
	return r;
}

int microvm_make_tree(const struct microvm_plan *plan, struct error *err)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	_cleanup_close_ int fs = -EBADF, root = -EBADF;
	struct tree tree;
	int r;

	fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "1m", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return error_errno(err, errno, "make the file server's root");
	root = fsmount(fs, FSMOUNT_CLOEXEC,
		       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (root < 0 || move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, errno, "mount the file server's root");
	tree = (struct tree){ .writable = root, .root = root };
	r = plan->sb->config->root->readonly.v ? make_mount_points(plan, err) : 0;
	if (r == 0)
		r = attach(&tree, plan->rootfs.tree, "root", plan->sb->config->root->readonly.v,
			   false, err);
	if (r == 0)
		r = share_mounts(plan, &tree, err);
	if (r < 0)
		return r;
	if (mount_setattr(root, "", AT_EMPTY_PATH, &readonly, sizeof(readonly)) < 0)
		return error_errno(err, errno, "make the file server's root read-only");
	if (fchdir(root) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return error_errno(err, errno, "enter the file server's root");
	return 0;
}

/* ---- for a machine that runs -------------------------------------------------------------------------- */

#define ADDED_NAME 48

struct change {
	int server; /* a pidfd */
	const struct oci_mounts *mounts;
	const struct rootfs *rootfs; /* with the sources of what is added */
	char (*names)[ADDED_NAME];   /* of what is added; else empty */
	bool add;
};

/* What the names of all mounts on a destination begin with. (Another that by chance begins so, too, is only the same guest's.) */
static void begin_name(const char *destination, char *name, size_t size)
{
	uint64_t hash = HASH_START;

	for (const char *p = destination; *p; p++)
		if (*p != '/' || (p[1] && p[1] != '/'))
			hash = hash_add(hash, p, 1);
	snprintf(name, size, "a%016llx.", (unsigned long long)hash);
}

/* Times grow, so the name of the topmost mount is the last in order. */
static int make_names(const struct change *change, struct error *err)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		return error_errno(err, errno, "clock_gettime");
	for (size_t i = 0; i < change->mounts->len; i++) {
		uint64_t time = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + i;
		char *name = change->names[i];
		size_t len;

		begin_name(change->mounts->items[i].destination, name, ADDED_NAME);
		len = strlen(name);
		snprintf(name + len, ADDED_NAME - len, "%016llx", (unsigned long long)time);
	}
	return 0;
}

static int share_added(const struct change *change, const struct tree *tree, struct error *err)
{
	for (size_t i = 0; i < change->mounts->len; i++) {
		int source = change->rootfs->sources[i];
		int r = source < 0 ? 0
				   : share(tree, &change->mounts->items[i], i, source,
					   change->names[i], err);

		if (r < 0)
			return error_wrap(err, "/mounts/%zu", i);
	}
	return 0;
}

/* The topmost on the destination; an empty name where none is shared. */
static int find_shared(const char *destination, char name[ADDED_NAME], struct error *err)
{
	DIR *root = opendir("/");
	struct dirent *entry;
	char begin[24];

	name[0] = '\0';
	if (!root)
		return error_errno(err, errno, "look into the file server's root");
	begin_name(destination, begin, sizeof(begin));
	while ((entry = readdir(root))) {
		size_t size = strlen(entry->d_name) + 1;

		if (size <= ADDED_NAME && !strncmp(entry->d_name, begin, strlen(begin)) &&
		    strcmp(entry->d_name, name) > 0)
			memcpy(name, entry->d_name, size);
	}
	closedir(root);
	return 0;
}

/* The last first, as they are unmounted. What the guest holds open of them it keeps. */
static int unshare_mounts(const struct change *change, const struct tree *tree, struct error *err)
{
	for (size_t i = change->mounts->len; i-- > 0;) {
		char found[ADDED_NAME], *name = found;
		int r = 0;

		if (change->names)
			name = change->names[i]; /* those that were just added */
		else
			r = find_shared(change->mounts->items[i].destination, found, err);
		if (r < 0)
			return r;
		if (!*name)
			continue;
		if (umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
		    errno != ENOENT)
			return error_errno(err, errno, "/mounts/%zu: stop sharing it", i);
		if (unlinkat(tree->writable, name, 0) < 0 && errno == EISDIR)
			unlinkat(tree->writable, name, AT_REMOVEDIR);
	}
	return 0;
}

/* For a child: it stays in the file server's mount namespace to its end. */
static int change_tree(void *data, struct error *err)
{
	const int namespaces = CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
	struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
	const struct change *change = data;
	struct tree tree;

	if (setns(change->server, namespaces) < 0)
		return error_errno(err, errno, "enter the file server's mount namespace");
	tree.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Another mount of the same tmpfs, which only we have: for the file server it stays read-only. */
	tree.writable = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree.root < 0 || tree.writable < 0 ||
	    mount_setattr(tree.writable, "", AT_EMPTY_PATH, &writable, sizeof(writable)) < 0)
		return error_errno(err, errno, "open the file server's root");
	return change->add ? share_added(change, &tree, err) : unshare_mounts(change, &tree, err);
}

/* below: what is mounted below those to add. */
static int ask_guest(const struct sandbox *sb, const struct oci_mounts *mounts, bool add,
		     const struct strbuf *below, struct error *err)
{
	_cleanup_strbuf_ struct strbuf json = { 0 };
	struct agent_mount order = { .add = add, .mounts_len = (uint32_t)below->len };
	struct iovec parts[3] = { { &order, sizeof(order) }, { 0 }, { below->data, below->len } };
	int r = oci_mounts_print(mounts, &json, err);

	order.json_len = (uint32_t)json.len;
	parts[1] = (struct iovec){ json.data, json.len };
	return r < 0 ? r : (int)microvm_request(sb, AGENT_MOUNT, parts, 3, NULL, 0, err);
}

static int list_below(const struct change *change, struct strbuf *below, struct error *err)
{
	_cleanup_free_ char *table = NULL;
	int r = vm_mounts_read_table(&table, err);

	for (size_t i = 0; r == 0 && i < change->mounts->len; i++)
		if (change->rootfs->sources[i] >= 0)
			r = vm_mounts_list(table, change->rootfs->sources[i],
					   change->rootfs->bundle, change->mounts->items[i].source,
					   change->names[i], below, err);
	return r;
}

/* Shares what is new, then has the guest mount it; if it cannot, nothing is shared. */
static int add_mounts(struct sandbox *sb, struct change *change, struct arena *arena,
		      struct oci_mounts *inside, struct error *err)
{
	_cleanup_strbuf_ struct strbuf below = { 0 };
	struct error second = { 0 };
	int r = make_names(change, err);

	if (r == 0)
		r = list_below(change, &below, err);
	for (size_t i = 0; r == 0 && i < inside->len; i++)
		if (change->rootfs->sources[i] >= 0)
			r = microvm_adjust_mount(&inside->items[i], change->names[i], arena) < 0
				    ? error_errno(err, ENOMEM, "add the mounts")
				    : 0;
	if (r == 0)
		r = process_in_child(change_tree, change, err);
	if (r == 0)
		r = ask_guest(sb, inside, true, &below, err);
	if (r < 0) {
		change->add = false;
		process_in_child(change_tree, change, &second);
	}
	return r;
}

int microvm_mount(struct sandbox *sb, const struct oci_mounts *mounts, bool add, struct error *err)
{
	_cleanup_close_ int pidfd = process_open(sb->file_server, sb->file_server_start, err);
	_cleanup_close_ int bundle = pidfd < 0 ? pidfd : path_open_dir(sb->bundle, true, err);
	_cleanup_arena_ struct arena arena = { 0 };
	struct oci_config view = *sb->config;
	struct rootfs rootfs = { .config = &view,
				 .bundle = bundle,
				 .tree = -EBADF,
				 .pid_ns = -EBADF,
				 .user_ns = -EBADF,
				 .user_namespace =
					 oci_namespace_find(sb->config, OCI_NS_USER) != NULL };
	struct change change = { .server = pidfd, .mounts = mounts, .rootfs = &rootfs, .add = add };
	struct oci_mounts inside = *mounts;
	int r = bundle < 0 ? bundle : microvm_paused(sb, err);

	if (r > 0)
		r = error_set(err, EBUSY, "the microVM is paused: resume it first");
	if (r < 0)
		return r;
	if (!add) {
		r = ask_guest(sb, mounts, false, &(struct strbuf){ 0 }, err);
		return r < 0 ? r : process_in_child(change_tree, &change, err);
	}
	view.mounts = *mounts;
	inside.items = arena_memdup(&arena, mounts->items, mounts->len * sizeof(*mounts->items));
	change.names = arena_array(&arena, mounts->len + 1, sizeof(*change.names));
	if (!inside.items || !change.names)
		return error_errno(err, ENOMEM, "add the mounts");
	r = rootfs_open_added(&rootfs, err);
	if (r == 0)
		r = add_mounts(sb, &change, &arena, &inside, err);
	rootfs_close(&rootfs);
	return r;
}
