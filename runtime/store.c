/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory; see store.h. */
#include "runtime/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/process.h"
#include "base/remove.h"

#define LOCK_POLL_NS 10000000 /* between two tries for a lock with a limit: 10 ms */

static const char *const files[] = { "init.sock",   "net-devices",      ".net-devices.new",
				     "config.json", ".config.json.new", ".state.json.new",
				     "state.json" };

static int default_root(char *path, size_t size, struct error *err)
{
	const char *runtime_dir = getenv("XDG_RUNTIME_DIR"), *user = getenv("USER");
	bool given = runtime_dir && *runtime_dir;
	bool is_root =
		user && strcmp(user, "root") == 0; /* logged in as root, of a system container */

	/* Root of a user's own namespace is that user, whose /run is the host's. */
	if (geteuid() == 0 && (!given || is_root || process_is_host_root())) {
		snprintf(path, size, "/run/hull");
		return 0;
	}
	if (!given)
		return error_set(
			err, EINVAL,
			"XDG_RUNTIME_DIR is not set: set it, or name a state directory with --root");
	if ((size_t)snprintf(path, size, "%s/hull", runtime_dir) >= size)
		return error_errno(err, ENAMETOOLONG, "XDG_RUNTIME_DIR");
	return 0;
}

static int make_dirs(const char *path, struct error *err)
{
	char part[PATH_MAX];

	for (size_t i = 1; path[i - 1]; i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return error_errno(err, errno, "make the state directory `%s`", part);
	}
	return 0;
}

int store_open(struct store *store, const char *root, bool make, struct error *err)
{
	char path[PATH_MAX] = "";
	int r;

	*store = (struct store){ .dir = -EBADF };
	if (root && (!*root || strlen(root) >= sizeof(path)))
		return error_set(err, EINVAL, "--root: is empty or too long");
	if (root)
		strcpy(path, root);
	r = root ? 0 : default_root(path, sizeof(path), err);
	if (r < 0)
		return r;
	store->path = strdup(path);
	if (!store->path)
		return error_errno(err, ENOMEM, "open the state directory");
	store->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir < 0 && errno == ENOENT && make) {
		r = make_dirs(path, err);
		if (r < 0)
			return r;
		store->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (store->dir < 0 && (errno != ENOENT || make))
		return error_errno(err, errno, "open the state directory `%s`", path);
	return 0;
}

void store_close(struct store *store)
{
	close_fd(&store->dir);
	free(store->path);
	store->path = NULL;
}

int store_check_id(const char *id, struct error *err)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-";
	size_t len = strlen(id);

	if (len > STORE_ID_MAX)
		return error_set(err, EINVAL,
				 "a container's id of %zu bytes is too long: at most %d", len,
				 STORE_ID_MAX);
	if (!len || strspn(id, allowed) != len || !strcmp(id, ".") || !strcmp(id, ".."))
		return error_set(
			err, EINVAL,
			"`%.64s` cannot be a container's id: use letters, digits, `_`, `+`, `.` and `-`",
			id);
	return 0;
}

static int missing(const char *id, struct error *err)
{
	return error_set(err, ENOENT, "container `%s` does not exist", id);
}

int store_peek(const struct store *store, const char *id, struct error *err)
{
	int dir, r = store_check_id(id, err);

	if (r < 0)
		return r;
	if (store->dir < 0)
		return missing(id, err);
	dir = openat(store->dir, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && errno == ENOENT)
		return missing(id, err);
	return dir < 0 ? error_errno(err, errno, "open the state of container `%s`", id) : dir;
}

/* flock(2) knows no time limit: with one, it is tried again and again. */
static int lock_dir(int dir, int timeout)
{
	const struct timespec nap = { .tv_nsec = LOCK_POLL_NS };

	if (timeout < 0) {
		while (flock(dir, LOCK_EX) < 0)
			if (errno != EINTR)
				return -errno;
		return 0;
	}
	for (long waited = 0;; waited += LOCK_POLL_NS / 1000000) {
		if (flock(dir, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (waited >= timeout)
			return -EBUSY;
		nanosleep(&nap, NULL);
	}
}

int store_lock(const struct store *store, const char *id, int timeout, struct error *err)
{
	_cleanup_close_ int dir = store_peek(store, id, err);
	struct stat st;
	int r;

	if (dir < 0)
		return dir;
	r = lock_dir(dir, timeout);
	if (r < 0)
		return error_errno(err, -r, "lock container `%s`", id);
	/* While we waited, the container may have been deleted, and even made anew. */
	if (fstat(dir, &st) < 0 || st.st_nlink == 0)
		return missing(id, err);
	return take_fd(&dir);
}

int store_add(const struct store *store, const char *id, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	int r = store_check_id(id, err);

	if (r < 0)
		return r;
	if (mkdirat(store->dir, id, 0700) < 0) {
		if (errno == EEXIST)
			return error_set(
				err, EEXIST,
				"container `%s` exists already: delete it, or choose another id",
				id);
		return error_errno(err, errno, "make the state directory of container `%s`", id);
	}
	dir = openat(store->dir, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "open the state directory of container `%s`", id);
	r = lock_dir(dir, -1);
	return r < 0 ? error_errno(err, -r, "lock container `%s`", id) : take_fd(&dir);
}

int store_rename(const struct store *store, const char *id, const char *new_id, struct error *err)
{
	int r = store_check_id(new_id, err);

	if (r < 0)
		return r;
	if (renameat2(store->dir, id, store->dir, new_id, RENAME_NOREPLACE) < 0)
		return error_errno(err, errno, "rename container `%s` to `%s`", id, new_id);
	return 0;
}

int store_remove(const struct store *store, const char *id, int dir, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (unlinkat(dir, files[i], 0) < 0 && errno != ENOENT)
			return error_errno(err, errno, "remove `%s` of container `%s`", files[i],
					   id);
	if (unlinkat(store->dir, id, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	/* What is left are the readiness socket, which the container saw, CRIU's log, and what the container wrote. */
	if (errno == ENOTEMPTY && (path_remove_tree(dir, "notify", err) < 0 ||
				   path_remove_tree(dir, STORE_CRIU, err) < 0 ||
				   path_remove_tree(dir, STORE_LAYER, err) < 0))
		return error_wrap(err, "remove the state of container `%s`", id);
	if (unlinkat(store->dir, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove the state directory of container `%s`", id);
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void store_free_ids(char **ids)
{
	for (size_t i = 0; ids && ids[i]; i++)
		free(ids[i]);
	free(ids);
}

static int collect_ids(DIR *stream, char ***ids, size_t *count)
{
	size_t cap = 0;
	struct dirent *entry;

	while ((entry = readdir(stream))) {
		if (store_check_id(entry->d_name, NULL) < 0 || entry->d_type == DT_REG)
			continue;
		if (*count + 1 >= cap) {
			char **more = realloc(*ids, (cap = cap ? cap * 2 : 16) * sizeof(char *));

			if (!more)
				return -ENOMEM;
			*ids = more;
		}
		(*ids)[*count] = strdup(entry->d_name);
		if (!(*ids)[*count])
			return -ENOMEM;
		(*ids)[++*count] = NULL;
	}
	return 0;
}

int store_list(const struct store *store, char ***ids, size_t *count, struct error *err)
{
	_cleanup_closedir_ DIR *stream = NULL;
	int fd, r;

	*ids = NULL;
	*count = 0;
	if (store->dir < 0)
		return 0;
	fd = openat(store->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream)
		return error_errno(err, errno, "read the state directory `%s`", store->path);
	r = collect_ids(stream, ids, count);
	if (r < 0) {
		store_free_ids(*ids);
		*ids = NULL;
		return error_errno(err, -r, "list the containers");
	}
	if (*count)
		qsort(*ids, *count, sizeof(char *), compare_ids);
	return 0;
}
