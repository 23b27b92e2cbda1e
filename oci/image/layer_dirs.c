/* SPDX-License-Identifier: Apache-2.0 */
/* Open directories and their times; see layer_dirs.h. */
#include "oci/image/layer_dirs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "oci/image/name_set.h"

static void release(struct layer_dir *dir)
{
	close_fd(&dir->fd);
	free(dir->path);
	memset(dir, 0, sizeof(*dir));
	dir->fd = -EBADF;
}

static int set_times(struct layer_dir *dir, struct error *err)
{
	if (!dir->changed || dir->gone)
		return 0;
	if (utimensat(dir->fd, "", dir->times, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the times of `%s`", dir->path);
	dir->changed = false;
	return 0;
}

struct layer_dir *layer_dirs_find(struct layer_dirs *dirs, const char *path)
{
	uint64_t hash = name_hash(dirs->seed, path);

	for (size_t i = 0; i < LAYER_DIRS; i++) {
		struct layer_dir *dir = &dirs->slots[i];

		if (!dir->path || dir->gone || dir->hash != hash || strcmp(dir->path, path) != 0)
			continue;
		dir->used = ++dirs->clock;
		return dir;
	}
	return NULL;
}

/* An empty slot: one that is free, or that of the directory that was not used for longest. */
static int free_slot(struct layer_dirs *dirs, struct layer_dir **slot, struct error *err)
{
	struct layer_dir *oldest = NULL;
	int r;

	for (size_t i = 0; i < LAYER_DIRS; i++) {
		struct layer_dir *dir = &dirs->slots[i];

		if (!dir->path) {
			*slot = dir;
			return 0;
		}
		if (!dir->pins && (!oldest || dir->used < oldest->used))
			oldest = dir;
	}
	r = set_times(oldest, err);
	if (r < 0)
		return r;
	release(oldest);
	*slot = oldest;
	return 0;
}

int layer_dirs_add(struct layer_dirs *dirs, const char *path, int fd, struct layer_dir **dir,
		   struct error *err)
{
	_cleanup_close_ int owned = fd;
	struct layer_dir *slot;
	struct stat st;
	int r = free_slot(dirs, &slot, err);

	if (r < 0)
		return r;
	if (fstat(owned, &st) < 0)
		return error_errno(err, errno, "stat `%s`", path);
	slot->path = strdup(path);
	if (!slot->path)
		return error_errno(err, ENOMEM, "apply a layer");
	slot->hash = name_hash(dirs->seed, path);
	slot->used = ++dirs->clock;
	slot->fd = take_fd(&owned);
	slot->times[0] = st.st_atim;
	slot->times[1] = st.st_mtim;
	slot->default_acl =
		getxattr(path_of_fd(slot->fd).s, "system.posix_acl_default", NULL, 0) > 0;
	*dir = slot;
	return 0;
}

int layer_dirs_init(struct layer_dirs *dirs, int root, struct error *err)
{
	struct layer_dir *dir;
	int r, fd;

	memset(dirs, 0, sizeof(*dirs));
	for (size_t i = 0; i < LAYER_DIRS; i++)
		dirs->slots[i].fd = -EBADF;
	dirs->seed = name_seed();
	fd = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open the root file system");
	r = layer_dirs_add(dirs, "", fd, &dir, err);
	if (r >= 0)
		layer_dir_pin(dir);
	return r;
}

void layer_dir_unpin(struct layer_dir *dir)
{
	if (--dir->pins == 0 && dir->gone)
		release(dir);
}

void layer_dirs_forget(struct layer_dirs *dirs, const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < LAYER_DIRS; i++) {
		struct layer_dir *dir = &dirs->slots[i];

		if (!dir->path || strncmp(dir->path, path, len) != 0 ||
		    (dir->path[len] && dir->path[len] != '/'))
			continue;
		dir->gone = true;
		if (!dir->pins)
			release(dir);
	}
}

int layer_dirs_finish(struct layer_dirs *dirs, struct error *err)
{
	for (size_t i = 0; i < LAYER_DIRS; i++) {
		int r = dirs->slots[i].path ? set_times(&dirs->slots[i], err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

void layer_dirs_free(struct layer_dirs *dirs)
{
	for (size_t i = 0; i < LAYER_DIRS; i++)
		if (dirs->slots[i].path)
			release(&dirs->slots[i]);
}
