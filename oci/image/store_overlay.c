/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overlays of unpacked layers. The layers are given to the kernel as the numbers of descriptors, looked up in /proc/self/fd:
 * so hundreds fit the page that mount(2) takes, no character of a path can end an option, and what is mounted is what was
 * opened. The working directory is that of a thread of its own (CLONE_FS).
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "oci/image/store_internal.h"

#define OPTIONS_MAX 4096 /* a page: what mount(2) copies */

/* Where an overlay is mounted, and what of it is given back. */
enum form {
	FORM_PLACE,    /* on the directory, for all to see; nothing */
	FORM_HIDDEN,   /* in a mount namespace of the thread's own; its root directory */
	FORM_DETACHED, /* as hidden; a mount of it that is nowhere */
};

struct mounting {
	const struct store_overlay *overlay;
	int target;
	enum form form;
	int merged; /* the result */
	int code;   /* 0 or a negative errno */
	struct error err;
};

/*
 * What a workload writes lasts no longer than the workload, which no restart of the host survives: its fsync(2) need not reach the disk
 * (`volatile`).
 */
static int make_options(const struct store_overlay *overlay, char *options, struct error *err)
{
	size_t len = (size_t)snprintf(options, OPTIONS_MAX,
				      "%slowerdir=", overlay->user_xattr ? "userxattr," : "");

	for (size_t i = 0; i < overlay->count && len < OPTIONS_MAX; i++)
		len += (size_t)snprintf(options + len, OPTIONS_MAX - len, "%s%d", i ? ":" : "",
					overlay->lower[i]);
	if (overlay->upper >= 0 && len < OPTIONS_MAX)
		len += (size_t)snprintf(options + len, OPTIONS_MAX - len,
					",upperdir=%d,workdir=%d%s", overlay->upper, overlay->work,
					overlay->is_volatile ? ",volatile" : "");
	return len < OPTIONS_MAX ? 0 : error_set(err, E2BIG, "too many layers for one overlay");
}

/* What is at the path of a descriptor's directory, in the mount namespace of this thread. */
static int reopen(int fd, int flags, struct error *err)
{
	char path[PATH_MAX];
	ssize_t len = readlink(path_of_fd(fd).s, path, sizeof(path) - 1);
	int again;

	if (len < 0)
		return error_errno(err, errno, "find a directory");
	path[len] = '\0';
	again = open(path, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return again < 0 ? error_errno(err, errno, "open `%s`", path) : again;
}

static int enter_hidden(struct error *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, errno, "make a mount namespace");
	/* Nothing of it may come to the host's namespace. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return error_errno(err, errno, "make the mount namespace private");
	return 0;
}

/*
 * An image may hold set-user-id programs, which nobody on the host has any business with: only a mount that no namespace of the host ever
 * has is without nosuid. Devices are nobody's: those that a workload may have are in its /dev.
 */
static int mount_it(const struct mounting *m, const struct store_overlay *overlay, int target,
		    struct error *err)
{
	unsigned long flags = MS_NODEV | (m->form == FORM_DETACHED ? 0 : MS_NOSUID) |
			      (overlay->upper < 0 ? MS_RDONLY : 0);
	char name[16], options[OPTIONS_MAX];
	int r = make_options(overlay, options, err);

	if (r < 0)
		return r;
	if (m->form == FORM_PLACE && unshare(CLONE_FS) < 0)
		return error_errno(err, errno, "unshare");
	if (chdir("/proc/self/fd") < 0)
		return error_errno(err, errno, "enter `/proc/self/fd`");
	snprintf(name, sizeof(name), "%d", target);
	if (mount(overlay->source, name, "overlay", flags, options) < 0)
		return error_errno(err, errno, "mount an overlay of %zu layers", overlay->count);
	return 0;
}

/*
 * The store once more, on top of itself, with its files' ids as the user namespace has them: what is opened by a path from now on is in
 * there, and an overlay shows the ids of its layers' mounts.
 */
static int map_ids(const struct store_overlay *overlay, struct error *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP,
				   .userns_fd = (uint64_t)overlay->user_ns };
	_cleanup_close_ int place = reopen(overlay->store, O_PATH, err);
	_cleanup_close_ int tree = -EBADF;

	if (place < 0)
		return place;
	tree = open_tree(place, "",
			 AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "clone the mount of the image store");
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return error_errno(
			err, errno,
			"map ids in the image store (its file system may not be able to)");
	if (move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return error_errno(err, errno, "mount the image store with mapped ids");
	return 0;
}

/*
 * Overlayfs makes files as who mounted it, and who has no id in the store's mapping can make none there. Of this thread alone: its
 * capabilities, which setfsuid(2) takes from it, are put back.
 */
static int become_mapped(const struct store_overlay *overlay, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &header, caps) < 0)
		return error_errno(err, errno, "capget");
	setfsgid(overlay->root_id);
	setfsuid(overlay->root_id);
	if (syscall(SYS_capset, &header, caps) < 0)
		return error_errno(err, errno, "capset");
	return 0;
}

/* Where overlayfs cannot make what it needs in the directory of changes it does that, and succeeds. */
static bool overlay_is_read_only(const struct mounting *m)
{
	struct statvfs st;

	return m->overlay->upper >= 0 && fstatvfs(m->merged, &st) == 0 && (st.f_flag & ST_RDONLY);
}

static int detach(int *merged, struct error *err)
{
	int tree = open_tree(*merged, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return error_errno(err, errno, "open an overlay as a mount");
	close(*merged);
	*merged = tree;
	return 0;
}

/* Turns the layers' descriptors into those of the thread's own mount namespace. *opened of them are to be closed. */
static int reopen_all(const struct store_overlay *overlay, struct store_overlay *own, int *lower,
		      size_t *opened, struct error *err)
{
	int r = 0;

	*own = *overlay;
	own->lower = lower;
	own->upper = own->work = -EBADF;
	for (*opened = 0; *opened < overlay->count && r >= 0;) {
		r = reopen(overlay->lower[*opened], O_PATH, err);
		if (r >= 0)
			lower[(*opened)++] = r;
	}
	if (r >= 0 && overlay->upper >= 0)
		r = own->upper = reopen(overlay->upper, O_PATH, err);
	if (r >= 0 && overlay->upper >= 0)
		r = own->work = reopen(overlay->work, O_PATH, err);
	return r < 0 ? r : 0;
}

/* The kernel takes only directories of the caller's own mount namespace, for layers and for the place. */
static int mount_hidden(struct mounting *m, struct error *err)
{
	int *lower = calloc(m->overlay->count, sizeof(*lower));
	_cleanup_close_ int target = -EBADF;
	struct store_overlay own = { .upper = -EBADF, .work = -EBADF };
	size_t opened = 0;
	int r = lower ? enter_hidden(err) : error_errno(err, ENOMEM, "mount");

	if (r >= 0 && m->overlay->user_ns > 0)
		r = map_ids(m->overlay, err);
	if (r >= 0)
		r = reopen_all(m->overlay, &own, lower, &opened, err);
	if (r >= 0)
		r = target = reopen(m->target, O_PATH, err);
	if (r >= 0 && m->overlay->user_ns > 0)
		r = become_mapped(m->overlay, err);
	if (r >= 0)
		r = mount_it(m, &own, target, err);
	/* By the name once more: the descriptor is of what lies beneath the mount. */
	if (r >= 0)
		r = m->merged = reopen(target, O_RDONLY, err);
	if (r >= 0 && overlay_is_read_only(m))
		r = error_set(
			err, EROFS,
			"the kernel mounted an overlay read-only (see dmesg): is the disk full?");
	if (r >= 0 && m->form == FORM_DETACHED)
		r = detach(&m->merged, err);
	store_close_lower(lower, opened);
	close_fd(&own.upper);
	close_fd(&own.work);
	return r < 0 ? r : 0;
}

static void *mount_thread(void *data)
{
	struct mounting *m = data;

	m->code = m->form == FORM_PLACE ? mount_it(m, m->overlay, m->target, &m->err)
					: mount_hidden(m, &m->err);
	return NULL;
}

static int run(struct mounting *m, struct error *err)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, mount_thread, m);

	if (r != 0)
		return error_errno(err, r, "start a thread");
	pthread_join(thread, NULL);
	if (m->code < 0 && err)
		*err = m->err;
	return m->code;
}

int store_overlay_mount(const struct store_overlay *overlay, int target, struct error *err)
{
	struct mounting m = { .overlay = overlay, .target = target, .merged = -EBADF };

	return run(&m, err);
}

static int open_hidden(const struct store_overlay *overlay, int target, enum form form,
		       struct error *err)
{
	struct mounting m = {
		.overlay = overlay, .target = target, .form = form, .merged = -EBADF
	};
	int r = run(&m, err);

	if (r < 0)
		close_fd(&m.merged);
	return r < 0 ? r : m.merged;
}

int store_overlay_open(const struct store_overlay *overlay, int target, struct error *err)
{
	return open_hidden(overlay, target, FORM_HIDDEN, err);
}

int store_overlay_detached(const struct store_overlay *overlay, int target, struct error *err)
{
	return open_hidden(overlay, target, FORM_DETACHED, err);
}

/* ---- what is beneath ---------------------------------------------------------------------- */

void store_close_lower(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close_fd(&fds[i]);
	free(fds);
}

/*
 * A layer that an image has twice shows all that it has at its upper place; overlayfs wants no
 * directory twice.
 */
static bool is_above(const struct store_key *keys, size_t count, const struct store_key *key)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(keys[i].s, key->s))
			return true;
	return false;
}

static int open_layer_tree(struct image_store *store, const struct store_key *key,
			   struct error *err)
{
	char path[STORE_KEY_MAX + 8];
	int fd;

	snprintf(path, sizeof(path), "%s/tree", key->s);
	fd = openat(store->layers, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open `layers/%s`", path) : fd;
}

int store_open_lower(struct image_store *store, const struct image_manifest *manifest,
		     const struct digest *chain, size_t count, int **fds, size_t *opened,
		     struct error *err)
{
	_cleanup_free_ struct store_key *keys = calloc(count, sizeof(*keys));
	int *found = calloc(count, sizeof(*found));
	size_t n = 0;
	int r = 0;

	if (!keys || !found)
		r = error_errno(err, ENOMEM, "open layers");
	for (size_t i = count; i-- > 0 && r >= 0;) {
		r = store_find_layer(store, manifest, chain, i, &keys[n], err);
		if (r == 0)
			r = error_set(err, ENOENT, "layer %zu is not unpacked", i + 1);
		if (r < 0 || is_above(keys, n, &keys[n]))
			continue;
		r = open_layer_tree(store, &keys[n], err);
		if (r >= 0)
			found[n++] = r;
	}
	if (r < 0) {
		store_close_lower(found, n);
		return r;
	}
	*fds = found;
	*opened = n;
	return 0;
}
