/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts of images; store_use.c has their records.
 *
 * The topmost lower directory is uses/ID/top: empty, with the attributes that the image's root directory has by its
 * layers; for overlayfs shows those of the topmost layer, which mostly says nothing about the root.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/number.h"
#include "base/path.h"
#include "base/remove.h"
#include "oci/image/store_internal.h"

#define VALUE_MAX 65536 /* bytes of an extended attribute: the kernel's own limit */
#define OPEN_DIR  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- the root's attributes ---------------------------------------------------------------- */

static int copy_attribute(int from, int to, const char *name, char *value, struct error *err)
{
	ssize_t len;

	/* What layers are to overlayfs is not what the image's root is; labels are the host's. */
	if (!strncmp(name, "trusted.overlay.", 16) || !strncmp(name, "user.overlay.", 13) ||
	    !strncmp(name, "security.", 9))
		return 0;
	len = fgetxattr(from, name, value, VALUE_MAX);
	if (len < 0 || fsetxattr(to, name, value, (size_t)len, 0) < 0)
		return error_errno(err, errno, "copy the attribute `%s` of the root", name);
	return 0;
}

static int copy_attributes(int from, int to, struct error *err)
{
	/* The names, and behind them one value. */
	_cleanup_free_ char *names = malloc(2 * (size_t)VALUE_MAX);
	ssize_t len;

	if (!names)
		return error_errno(err, ENOMEM, "copy the attributes of the root");
	len = flistxattr(from, names, VALUE_MAX);
	if (len < 0)
		return errno == ENOTSUP ? 0 : error_errno(err, errno, "list attributes");
	for (const char *p = names; p < names + len; p += strlen(p) + 1) {
		int r = copy_attribute(from, to, p, names + VALUE_MAX, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_root(int from, int to, struct error *err)
{
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstat(from, &st) < 0)
		return error_errno(err, errno, "stat the root");
	if (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0)
		return error_errno(err, errno, "set owner and mode of the root");
	r = copy_attributes(from, to, err);
	if (r < 0)
		return r;
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return futimens(to, times) < 0 ? error_errno(err, errno, "set the times of the root") : 0;
}

/* Gives `to` what the topmost layer that has something to say about the root says. */
static int set_root(struct image_store *store, const struct image_manifest *manifest,
		    const struct digest *chain, int to, struct error *err)
{
	for (size_t i = manifest->layer_count; i-- > 0;) {
		_cleanup_close_ int layer = -EBADF, tree = -EBADF;
		struct store_record record = { 0 };
		struct store_key key = { 0 };
		int r = store_find_layer(store, manifest, chain, i, &key, err);

		if (r < 0)
			return r;
		layer = openat(store->layers, key.s, OPEN_DIR);
		if (layer < 0)
			return error_errno(err, errno, "open `layers/%s`", key.s);
		r = store_read_record(layer, &record, err);
		if (r < 0)
			return r;
		if (!record.root)
			continue;
		tree = openat(layer, "tree", OPEN_DIR);
		if (tree < 0)
			return error_errno(err, errno, "open `layers/%s/tree`", key.s);
		return copy_root(tree, to, err);
	}
	return fchmod(to, 0755) < 0 ? error_errno(err, errno, "set the mode of the root") : 0;
}

/* ---- mounting ----------------------------------------------------------------------------- */

struct mount {
	struct image_store *store;
	const struct image_reference *reference;
	struct image_manifest manifest;
	struct digest *chain;
	struct store_use_id id;
	int target, upper, work, top;
	bool made_upper, made_work;
	uint32_t first_id;
	bool is_volatile; /* what is changed lasts no longer than the workload, which no restart of the host survives */
};

static struct mount begin(struct image_store *store, const struct image_reference *reference)
{
	return (struct mount){
		.store = store,
		.reference = reference,
		.target = -EBADF,
		.upper = -EBADF,
		.work = -EBADF,
		.top = -EBADF,
	};
}

static void mount_close(struct mount *m)
{
	close_fd(&m->top);
	close_fd(&m->work);
	close_fd(&m->upper);
	close_fd(&m->target);
}

/* A directory of the user's, which must not be the store's own. Returns the descriptor. */
static int open_outside(struct image_store *store, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *real = fd < 0 ? NULL : realpath(path, NULL);
	_cleanup_free_ char *own = realpath(store->path, NULL);
	size_t len = own ? strlen(own) : 0;

	if (fd < 0)
		return error_errno(err, errno, "open directory `%s`", path);
	if (!real || !own)
		return error_errno(err, errno, "find directory `%s`", path);
	if (!strncmp(real, own, len) && (real[len] == '/' || !real[len]))
		return error_set(err, EINVAL, "directory `%s` is in the image store: give another",
				 path);
	return take_fd(&fd);
}

static int open_sub(int dir, const char *name, mode_t mode, bool *made, struct error *err)
{
	int fd;

	if (mkdirat(dir, name, mode) == 0)
		*made = true;
	else if (errno != EEXIST)
		return error_errno(err, errno, "make `%s`", name);
	fd = openat(dir, name, OPEN_DIR);
	return fd < 0 ? error_errno(err, errno, "open `%s`", name) : fd;
}

static int open_upper(struct mount *m, const char *path, struct error *err)
{
	_cleanup_close_ int dir = open_outside(m->store, path, err);
	int r;

	if (dir < 0)
		return dir;
	m->upper = open_sub(dir, "upper", 0755, &m->made_upper, err);
	if (m->upper < 0)
		return error_wrap(err, "directory `%s`", path);
	r = store_claim_upper(m->store, m->upper, err);
	if (r < 0)
		return error_wrap(err, "directory `%s`", path);
	m->work = open_sub(dir, "work", 0700, &m->made_work, err);
	if (m->work < 0)
		return error_wrap(err, "directory `%s`", path);
	r = m->made_upper ? set_root(m->store, &m->manifest, m->chain, m->upper, err) : 0;
	/* Else the next attempt would find a directory that it takes for one with changes. */
	if (r < 0)
		unlinkat(dir, "upper", AT_REMOVEDIR);
	return r;
}

static int make_use(struct mount *m, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	bool made = false;
	int r = random_hex(m->id.s, STORE_USE_ID, err);

	if (r < 0)
		return r;
	dir = open_sub(m->store->uses, m->id.s, 0700, &made, err);
	if (dir < 0)
		return dir;
	m->top = open_sub(dir, "top", 0755, &made, err);
	if (m->top < 0)
		return m->top;
	return set_root(m->store, &m->manifest, m->chain, m->top, err);
}

static int record_mount(struct mount *m, struct error *err)
{
	const struct store_use use = { .reference = m->reference, .upper = m->upper };

	return store_write_use(m->store, &m->id, &use, err);
}

/* Mounts it on the target; or returns a detached mount. user_ns: as in struct store_overlay. */
static int attach(struct mount *m, bool detached, int user_ns, struct error *err)
{
	struct store_overlay overlay = {
		.upper = m->upper,
		.work = m->work,
		.is_volatile = m->is_volatile,
		.user_ns = user_ns,
		.root_id = m->first_id,
		.store = m->store->dir,
	};
	char source[sizeof(STORE_USE_SOURCE) + sizeof(m->id.s)];
	int *fds, *lower, r;
	size_t count;

	r = store_open_lower(m->store, &m->manifest, m->chain, m->manifest.layer_count, &fds,
			     &count, err);
	if (r < 0)
		return r;
	lower = calloc(count + 1, sizeof(*lower));
	if (lower) {
		lower[0] = m->top;
		memcpy(lower + 1, fds, count * sizeof(*lower));
		overlay.lower = lower;
		overlay.count = count + 1;
		snprintf(source, sizeof(source), STORE_USE_SOURCE "%s", m->id.s);
		overlay.source = source;
		overlay.user_xattr = store_is_user(m->store);
		r = detached ? store_overlay_detached(&overlay, m->target, err)
			     : store_overlay_mount(&overlay, m->target, err);
	} else {
		r = error_errno(err, ENOMEM, "mount");
	}
	free(lower);
	store_close_lower(fds, count);
	return r;
}

static int check_layer_count(const struct image_manifest *manifest, struct error *err)
{
	if (manifest->layer_count && manifest->layer_count <= STORE_LAYERS_MAX)
		return 0;
	return error_set(err, E2BIG,
			 "the image has %zu layers; an overlay takes 1 to %d: unpack it",
			 manifest->layer_count, STORE_LAYERS_MAX);
}

/* What there is to know of the image for an overlay of its layers. */
static int identify_layers(struct mount *m, struct arena *arena, struct error *err)
{
	int r = check_layer_count(&m->manifest, err);

	return r < 0 ? r : store_chain_ids(&m->manifest, arena, &m->chain, err);
}

/* All its layers, unpacked. */
static int make_layers(struct mount *m, struct arena *arena, struct error *err)
{
	int r = identify_layers(m, arena, err);

	return r < 0 ? r : store_make_layers(m->store, &m->manifest, NULL, NULL, err);
}

static int mount_image(struct mount *m, const char *dir, const char *upper, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	r = m->target = open_outside(m->store, dir, err);
	if (r >= 0)
		r = image_store_load(m->store, m->reference, &arena, &m->manifest, err);
	if (r >= 0)
		r = make_layers(m, &arena, err);
	if (r >= 0 && upper)
		r = open_upper(m, upper, err);
	if (r < 0)
		return r;
	r = make_use(m, err);
	if (r >= 0)
		r = record_mount(m, err);
	if (r >= 0)
		r = attach(m, false, 0, err);
	if (r < 0)
		path_remove_tree(m->store->uses, m->id.s, NULL);
	return r;
}

int image_store_mount(struct image_store *store, const struct image_reference *reference,
		      const char *dir, const char *upper, struct error *err)
{
	struct mount m = begin(store, reference);
	int r = mount_image(&m, dir, upper, err);

	mount_close(&m);
	return r < 0 && r != -EINTR ? error_wrap(err, "mount `%s`", reference->name.s) : r;
}

/* ---- workloads ---------------------------------------------------------------------------- */

/* With ids of its own no other may choose while the record is not written. */
static int record_workload(struct mount *m, const char *state, const struct oci_id_mappings *pool,
			   struct image_store_workload *workload, struct error *err)
{
	struct store_use use = { .reference = m->reference, .upper = -1, .state = state };
	_cleanup_close_ int lock = -EBADF;
	int r = 0;

	if (pool) {
		lock = openat(m->store->uses, ".", OPEN_DIR);
		if (lock < 0)
			return error_errno(err, errno, "open `uses`");
		r = store_flock(m->store, lock, LOCK_EX, err);
		if (r >= 0)
			r = store_choose_ids(m->store, pool, &use.first_id, err);
	}
	workload->first_id = use.first_id;
	return r < 0 ? r : store_write_use(m->store, &m->id, &use, err);
}

/* What a workload is made of is in the directory of its use, its bundle's files, too. */
static int open_bundle(struct mount *m, int dir, struct error *err)
{
	bool made;
	int r = m->upper = open_sub(dir, "upper", 0755, &made, err);

	if (r >= 0)
		r = m->work = open_sub(dir, "work", 0700, &made, err);
	if (r >= 0)
		r = m->target = open_sub(dir, "rootfs", 0755, &made, err);
	return r;
}

static int make_bundle(struct mount *m, const char *state, const struct oci_id_mappings *pool,
		       struct image_store_workload *workload, struct error *err)
{
	_cleanup_close_ int dir = openat(m->store->uses, m->id.s, OPEN_DIR);
	int r;

	if (dir < 0)
		return error_errno(err, errno, "open `uses/%s`", m->id.s);
	r = store_flock(m->store, dir, LOCK_SH, err);
	if (r >= 0)
		r = record_workload(m, state, pool, workload, err);
	if (r >= 0)
		r = open_bundle(m, dir, err);
	if (r >= 0)
		r = copy_root(m->top, m->upper, err);
	if (r >= 0)
		workload->bundle = take_fd(&dir);
	return r;
}

static int make_workload(struct mount *m, const char *state, const struct oci_id_mappings *pool,
			 struct image_store_workload *workload, struct error *err)
{
	int r = make_use(m, err);

	if (r >= 0)
		r = make_bundle(m, state, pool, workload, err);
	/* Of two mounts only the last can be volatile. */
	m->is_volatile = !pool;
	if (r >= 0)
		r = workload->tree = attach(m, true, 0, err);
	snprintf(workload->id, sizeof(workload->id), "%s", m->id.s);
	if (r < 0)
		image_store_abandon(m->store, workload);
	return r;
}

int image_store_workload(struct image_store *store, const struct image_reference *reference,
			 const struct image_manifest *manifest, const char *state,
			 const struct oci_id_mappings *pool, struct image_store_workload *workload,
			 struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct mount m = begin(store, reference);
	int r = store_sweep_uses(store, err);

	*workload = (struct image_store_workload){ .bundle = -EBADF, .tree = -EBADF };
	arena_init(&arena, IMAGE_ARENA_MAX);
	m.manifest = *manifest;
	if (r >= 0)
		r = make_layers(&m, &arena, err);
	if (r >= 0)
		r = make_workload(&m, state, pool, workload, err);
	mount_close(&m);
	if (r >= 0)
		return 0;
	return r == -EINTR ? r : error_wrap(err, "image `%s`", reference->name.s);
}

int image_store_map_workload(struct image_store *store, const struct image_reference *reference,
			     const struct image_manifest *manifest, int user_ns,
			     struct image_store_workload *workload, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct mount m = begin(store, reference);
	int r;

	/* The first mount must be gone: it has the directory of changes. */
	close_fd(&workload->tree);
	arena_init(&arena, IMAGE_ARENA_MAX);
	snprintf(m.id.s, sizeof(m.id.s), "%.*s", STORE_USE_ID, workload->id);
	m.manifest = *manifest;
	m.first_id = workload->first_id;
	m.is_volatile = true;
	r = identify_layers(&m, &arena, err);
	if (r >= 0) {
		m.top = openat(workload->bundle, "top", OPEN_DIR);
		r = m.top < 0 ? error_errno(err, errno, "open `uses/%s/top`", m.id.s)
			      : open_bundle(&m, workload->bundle, err);
	}
	if (r >= 0)
		r = workload->tree = attach(&m, true, user_ns, err);
	mount_close(&m);
	return r < 0 ? error_wrap(err, "image `%s`", reference->name.s) : 0;
}

void image_store_abandon(struct image_store *store, struct image_store_workload *workload)
{
	close_fd(&workload->tree);
	if (workload->id[0])
		path_remove_tree(store->uses, workload->id, NULL);
	close_fd(&workload->bundle);
}

/* ---- trees -------------------------------------------------------------------------------- */

static int make_tree(struct mount *m, struct image_store_tree *tree, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	bool made;
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	r = identify_layers(m, &arena, err);
	if (r >= 0)
		r = tree->claim = store_claim(m->store, tree->name, true, err);
	if (r >= 0)
		r = m->top = open_sub(tree->claim, "top", 0755, &made, err);
	if (r >= 0)
		r = m->target = open_sub(tree->claim, "rootfs", 0755, &made, err);
	if (r >= 0)
		r = set_root(m->store, &m->manifest, m->chain, m->top, err);
	if (r >= 0)
		r = tree->tree = attach(m, true, 0, err);
	return r < 0 ? r : 0;
}

int image_store_open_tree(struct image_store *store, const struct image_manifest *manifest,
			  struct image_store_tree *tree, struct error *err)
{
	struct mount m = begin(store, NULL);
	int r;

	m.manifest = *manifest;
	tree->tree = tree->claim = -EBADF;
	snprintf(tree->name, sizeof(tree->name), "tree-%ld", (long)getpid());
	r = make_tree(&m, tree, err);
	mount_close(&m);
	if (r < 0)
		image_store_close_tree(store, tree);
	return r;
}

void image_store_close_tree(struct image_store *store, struct image_store_tree *tree)
{
	close_fd(&tree->tree);
	if (tree->claim >= 0)
		path_remove_tree(store->tmp, tree->name, NULL);
	close_fd(&tree->claim);
}

/* ---- unmounting --------------------------------------------------------------------------- */

/* Finds the line of a mount in this process's mountinfo and copies the id that is in it. */
static int find_id(uint64_t mount_id, struct store_use_id *id, struct error *err)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!file)
		return error_errno(err, errno, "open `/proc/self/mountinfo`");
	while (getline(&line, &size, file) >= 0) {
		const char *found = store_use_of_line(line);
		uint64_t number;

		if (!parse_u64_n(line, strcspn(line, " "), UINT64_MAX, &number) ||
		    number != mount_id)
			continue;
		if (!found)
			break;
		snprintf(id->s, sizeof(id->s), "%.*s", STORE_USE_ID, found);
		return 0;
	}
	return error_set(err, EINVAL, "no image is mounted there");
}

static int find_mount(struct image_store *store, const char *dir, struct store_use_id *id,
		      struct error *err)
{
	struct statx st;
	int r;

	if (statx(AT_FDCWD, dir, AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) < 0)
		return error_errno(err, errno, "stat");
	if (!(st.stx_mask & STATX_MNT_ID) || !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return error_set(err, EINVAL, "no image is mounted there");
	r = find_id(st.stx_mnt_id, id, err);
	if (r >= 0 && faccessat(store->uses, id->s, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(err, EINVAL, "what is mounted there is of another image store");
	return r;
}

int image_store_umount(struct image_store *store, const char *dir, struct error *err)
{
	_cleanup_strbuf_ struct strbuf mounts = { 0 };
	_cleanup_free_ char *real = realpath(dir, NULL);
	struct image_reference reference;
	struct store_use_id id;
	int r;

	if (!real)
		return error_errno(err, errno, "unmount `%s`", dir);
	r = find_mount(store, real, &id, err);
	if (r < 0)
		return error_wrap(err, "unmount `%s`", dir);
	if (umount2(real, UMOUNT_NOFOLLOW) < 0)
		return error_errno(err, errno, "unmount `%s`", dir);
	/* Another mount namespace may have it still: then it is for prune to forget it. */
	if (store_mounted_ids(store, &mounts, NULL) < 0 ||
	    store_read_use(store, id.s, mounts.data, &reference, NULL) != -ENOENT)
		return 0;
	return path_remove_tree(store->uses, id.s, err);
}
