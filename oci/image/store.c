/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the store, its locks, and what is being made in it; see store.h. */
#include "oci/image/store.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/path.h"
#include "base/remove.h"
#include "oci/image/store_internal.h"

#define VERSION       "hull image store 1\n"
#define LOCK_POLL_NS  20000000L /* between two looks at a lock that another holds */
#define VERSION_NEW   "version.new"
#define FORMAT_FUTURE "the image store has a format that this hull does not know: use a newer one"

/* ---- what is told and asked --------------------------------------------------------------- */

bool store_interrupted(struct image_store *store)
{
	const struct image_store_hooks *hooks = store->hooks;

	return hooks && hooks->interrupted && hooks->interrupted(hooks->data);
}

void store_progress(struct image_store *store, unsigned lane, const char *what, uint64_t done,
		    uint64_t total)
{
	const struct image_store_hooks *hooks = store->hooks;

	if (!hooks || !hooks->progress)
		return;
	pthread_mutex_lock(&store->telling);
	hooks->progress(hooks->data, lane, what, done, total);
	pthread_mutex_unlock(&store->telling);
}

void store_step(struct image_store *store, const char *fmt, ...)
{
	const struct image_store_hooks *hooks = store->hooks;
	char line[512];
	va_list args;

	if (!hooks || !hooks->step)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	pthread_mutex_lock(&store->telling);
	hooks->step(hooks->data, line);
	pthread_mutex_unlock(&store->telling);
}

/* ---- locks -------------------------------------------------------------------------------- */

/* Looks again and again, for a blocking flock(2) could miss the signal that comes just before it. */
int store_flock(struct image_store *store, int fd, int operation, struct error *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_POLL_NS };

	for (;;) {
		if (flock(fd, operation | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_errno(err, errno, "lock the image store");
		if (store_interrupted(store))
			return error_set(err, EINTR, "interrupted");
		nanosleep(&pause, NULL);
	}
}

static bool is_same(int dir, const char *name, int fd)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static int open_claim(struct image_store *store, const char *name, bool is_dir)
{
	if (!is_dir)
		return openat(store->tmp, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (mkdirat(store->tmp, name, 0700) < 0 && errno != EEXIST)
		return -1;
	return openat(store->tmp, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int store_claim(struct image_store *store, const char *name, bool is_dir, struct error *err)
{
	for (;;) {
		_cleanup_close_ int fd = open_claim(store, name, is_dir);
		int r;

		/* The directory went between the two calls: another process was done with it. */
		if (fd < 0 && errno == ENOENT && is_dir)
			continue;
		if (fd < 0)
			return error_errno(err, errno, "make `tmp/%s` in the image store", name);
		r = store_flock(store, fd, LOCK_EX, err);
		if (r < 0)
			return r;
		/* Whoever had it has renamed or removed it while we waited: then there may be a new one. */
		if (is_same(store->tmp, name, fd))
			return take_fd(&fd);
	}
}

/* ---- writing ------------------------------------------------------------------------------ */

int store_sync_dir(int dir, const char *what, struct error *err)
{
	return fsync(dir) < 0 ? error_errno(err, errno, "sync `%s` in the image store", what) : 0;
}

static int write_and_rename(struct image_store *store, int fd, const char *temporary, int dir,
			    const char *name, const char *data, size_t len, struct error *err)
{
	int r;

	if (ftruncate(fd, 0) < 0)
		return error_errno(err, errno, "write `%s` in the image store", name);
	r = file_write_all(fd, data, len);
	if (r < 0)
		return error_errno(err, -r, "write `%s` in the image store", name);
	if (fsync(fd) < 0)
		return error_errno(err, errno, "sync `%s` in the image store", name);
	if (renameat(store->tmp, temporary, dir, name) < 0)
		return error_errno(err, errno, "rename `%s` in the image store", name);
	return store_sync_dir(dir, name, err);
}

int store_write_file(struct image_store *store, int dir, const char *name, const char *data,
		     size_t len, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	char temporary[64];
	int r;

	snprintf(temporary, sizeof(temporary), "file-%ld", (long)getpid());
	fd = store_claim(store, temporary, false, err);
	if (fd < 0)
		return fd;
	r = write_and_rename(store, fd, temporary, dir, name, data, len, err);
	if (r < 0)
		unlinkat(store->tmp, temporary, 0);
	return r;
}

/* ---- what is left over -------------------------------------------------------------------- */

int store_each(int dir, const char *what,
	       int (*function)(void *data, const char *name, struct error *err), void *data,
	       struct error *err)
{
	_cleanup_closedir_ DIR *stream = NULL;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	int r = 0;

	if (copy < 0)
		return error_errno(err, errno, "open `%s` in the image store", what);
	stream = fdopendir(copy);
	if (!stream) {
		close(copy);
		return error_errno(err, ENOMEM, "read `%s` in the image store", what);
	}
	while (r >= 0 && (errno = 0, entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = function(data, entry->d_name, err);
	if (r >= 0 && errno)
		return error_errno(err, errno, "read `%s` in the image store", what);
	return r;
}

struct cleaning {
	struct image_store *store;
	bool all;
	unsigned partial; /* how many were kept */
};

bool store_digest_of_name(const char *name, struct digest *digest)
{
	char text[NAME_MAX + 1];
	char *dash;

	snprintf(text, sizeof(text), "%s", name);
	dash = strchr(text, '-');
	if (!dash)
		return false;
	*dash = ':';
	return digest_parse(text, digest, NULL) >= 0;
}

/* A blob that a pull can go on with. */
static bool is_partial(const char *name, int fd)
{
	struct digest digest;
	struct stat st;

	return !strncmp(name, STORE_PARTIAL, strlen(STORE_PARTIAL)) &&
	       store_digest_of_name(name + strlen(STORE_PARTIAL), &digest) && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size && time(NULL) - st.st_mtime < STORE_PARTIAL_AGE;
}

static int clean_one(void *data, const char *name, struct error *err)
{
	struct cleaning *c = data;
	int tmp = c->store->tmp;
	_cleanup_close_ int fd = openat(tmp, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct error found = { 0 };
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	/* Neither file nor directory, or not ours to open: nothing that the store has made. */
	if (fd < 0)
		return error_errno(err, errno, "open `tmp/%s` in the image store", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || !is_same(tmp, name, fd))
		return 0;
	if (!c->all && is_partial(name, fd) && c->partial++ < STORE_PARTIAL_MAX)
		return 0;
	log_debug("image store: `tmp/%s` was left by a dead process and is removed", name);
	r = path_remove_tree(tmp, name, &found);
	/* Made in a user namespace that we are not in: it is in nobody's way. */
	if (r == -EACCES || r == -EPERM) {
		log_debug("image store: %s", found.text);
		return 0;
	}
	if (r < 0)
		*err = found;
	return r;
}

int store_clean(struct image_store *store, bool all, struct error *err)
{
	struct cleaning cleaning = { .store = store, .all = all };

	return store_each(store->tmp, "tmp", clean_one, &cleaning, err);
}

/* ---- opening ------------------------------------------------------------------------------ */

int image_store_default_path(char **path, struct error *err)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n;

	if (geteuid() == 0)
		n = asprintf(path, "/var/lib/hull");
	else if (data && data[0] == '/')
		n = asprintf(path, "%s/hull", data);
	else if (home && home[0] == '/')
		n = asprintf(path, "%s/.local/share/hull", home);
	else
		return error_set(err, ENOENT, IMAGE_STORE_NO_PLACE);
	return n < 0 ? error_errno(err, ENOMEM, "open the image store") : 0;
}

/* Others could put a layer of theirs in the place of one that was checked. */
static int check_owner(int dir, struct error *err)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return error_errno(err, errno, "stat");
	if (st.st_uid != geteuid())
		return error_set(err, EPERM, "it belongs to another user");
	if (st.st_mode & 022)
		return error_set(err, EPERM, "others may write to it; `chmod go-w` it");
	return 0;
}

static int check_unknown(void *data _unused_, const char *name, struct error *err)
{
	if (!strcmp(name, "lock") || !strcmp(name, VERSION_NEW) || !strcmp(name, "version"))
		return 0;
	return error_set(
		err, ENOTEMPTY,
		"it is no image store, but not empty (there is `%.64s`): give another directory",
		name);
}

/* Says what this directory is, first of all; a crash before the rename leaves nothing but the two files. */
static int write_version(struct image_store *store, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	int r = store_each(store->dir, ".", check_unknown, NULL, err);

	if (r < 0)
		return r;
	fd = openat(store->dir, VERSION_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return error_errno(err, errno, "create `%s`", VERSION_NEW);
	r = file_write_all(fd, VERSION, strlen(VERSION));
	if (r >= 0 && fsync(fd) < 0)
		r = -errno;
	if (r >= 0 && renameat(store->dir, VERSION_NEW, store->dir, "version") < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(store->dir, VERSION_NEW, 0);
		return error_errno(err, -r, "write `version`");
	}
	return store_sync_dir(store->dir, "version", err);
}

/* 1 where the directory is a store, 0 where it has no version. */
static int check_version(struct image_store *store, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t n;

	if (faccessat(store->dir, "version", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	n = file_read(store->dir, "version", 256, &text, err);
	if (n < 0)
		return (int)n;
	return strcmp(text, VERSION) == 0 ? 1 : error_set(err, EPROTO, FORMAT_FUTURE);
}

static int make_dirs(struct image_store *store, struct error *err)
{
	static const char *const dirs[] = {
		"blobs", "blobs/sha256", "blobs/sha512", "layers", "images", "uses", "tmp",
	};
	bool made = false;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (mkdirat(store->dir, dirs[i], 0700) == 0)
			made = true;
		else if (errno != EEXIST)
			return error_errno(err, errno, "make `%s`", dirs[i]);
	}
	return made ? store_sync_dir(store->dir, ".", err) : 0;
}

static int open_dirs(struct image_store *store, struct error *err)
{
	const struct {
		const char *name;
		int *fd;
	} dirs[] = {
		{ "tmp", &store->tmp },
		{ "layers", &store->layers },
		{ "images", &store->images },
		{ "uses", &store->uses },
	};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		*dirs[i].fd = openat(store->dir, dirs[i].name,
				     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (*dirs[i].fd < 0)
			return error_errno(err, errno, "open `%s`", dirs[i].name);
	}
	return 0;
}

/* Makes the directories of the path that are missing: the store's with 0700. */
static int make_path(const char *path, struct error *err)
{
	_cleanup_close_ int parent = -EBADF;
	char *copy = strdup(path);
	int r = 0;

	if (!copy)
		return error_errno(err, ENOMEM, "make");
	for (char *p = copy + 1; r == 0 && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			r = error_errno(err, errno, "make `%s`", copy);
		*p = '/';
	}
	if (r == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
		r = error_errno(err, errno, "make");
	free(copy);
	return r;
}

/* Nothing is made in a directory that is something else. */
static int check_new(struct image_store *store, struct error *err)
{
	int r = check_version(store, err);

	if (r != 0 || store_each(store->dir, ".", check_unknown, NULL, err) == 0)
		return r;
	/* Or has another command made the store meanwhile? */
	return check_version(store, NULL) > 0 ? 1 : -err->code;
}

static int open_locked(struct image_store *store, enum image_store_access access, struct error *err)
{
	int r = access == IMAGE_STORE_ADD ? check_new(store, err) : 0;

	if (r < 0)
		return r;
	store->lock = openat(
		store->dir, "lock",
		O_RDWR | O_NOFOLLOW | O_CLOEXEC | (access == IMAGE_STORE_ADD ? O_CREAT : 0), 0600);
	if (store->lock < 0 && errno == ENOENT)
		return error_set(err, ENOENT, "there is none; `hull image pull` makes one");
	if (store->lock < 0)
		return error_errno(err, errno, "open `lock`");
	r = store_flock(store, store->lock, LOCK_SH, err);
	if (r < 0)
		return r;
	r = check_version(store, err);
	if (r == 0 && access == IMAGE_STORE_ADD) {
		/* Two commands may find no version; the second then finds the first one's. */
		r = store_flock(store, store->lock, LOCK_EX, err);
		if (r == 0 && check_version(store, err) == 0)
			r = write_version(store, err);
		if (r >= 0)
			r = store_flock(store, store->lock, LOCK_SH, err);
	} else if (r == 0) {
		return error_set(err, ENOENT, "there is none; `hull image pull` makes one");
	}
	if (r >= 0)
		r = make_dirs(store, err);
	return r < 0 ? r : open_dirs(store, err);
}

static int open_store(struct image_store *store, enum image_store_access access, struct error *err)
{
	int r = access == IMAGE_STORE_ADD ? make_path(store->path, err) : 0;

	if (r >= 0)
		r = store_read_ids(&store->ids, err);
	if (r < 0)
		return r;
	store->dir = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir < 0 && errno == ENOENT)
		return error_set(err, ENOENT, "there is none; `hull image pull` makes one");
	if (store->dir < 0)
		return error_errno(err, errno, "open");
	r = check_owner(store->dir, err);
	if (r >= 0)
		r = open_locked(store, access, err);
	if (r >= 0 && access == IMAGE_STORE_REMOVE)
		r = image_store_lock_exclusive(store, true, err);
	return r < 0 ? r : store_clean(store, false, err);
}

int image_store_open(const char *path, enum image_store_access access,
		     const struct image_store_hooks *hooks, struct image_store **store,
		     struct error *err)
{
	_cleanup_image_store_ struct image_store *opened = calloc(1, sizeof(*opened));
	struct error local = { 0 };

	if (!err)
		err = &local;
	if (!opened)
		return error_errno(err, ENOMEM, "open the image store");
	opened->dir = opened->lock = opened->tmp = -EBADF;
	opened->layers = opened->images = opened->uses = -EBADF;
	opened->hooks = hooks;
	pthread_mutex_init(&opened->telling, NULL);
	opened->path = strdup(path);
	if (!opened->path)
		return error_errno(err, ENOMEM, "open the image store");
	if (!*path)
		return error_set(err, EINVAL, "the image store has no name");
	if (open_store(opened, access, err) < 0)
		return error_wrap(err, "image store `%s`", path);
	*store = take_ptr(opened);
	return 0;
}

int image_store_lock_exclusive(struct image_store *store, bool wait, struct error *err)
{
	int r = 0;

	/* flock(2) gives the shared lock up on the way; two commands that convert do not wait for each other. */
	if (!wait && flock(store->lock, LOCK_EX | LOCK_NB) < 0)
		r = error_set(err, errno, "others use the image store");
	else if (wait)
		r = store_flock(store, store->lock, LOCK_EX, err);
	store->exclusive = r >= 0;
	return r;
}

void image_store_close(struct image_store *store)
{
	if (!store)
		return;
	close_fd(&store->uses);
	close_fd(&store->images);
	close_fd(&store->layers);
	close_fd(&store->tmp);
	close_fd(&store->lock);
	close_fd(&store->dir);
	pthread_mutex_destroy(&store->telling);
	free(store->path);
	free(store);
}
