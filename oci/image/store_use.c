/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses: what is recorded of mounts and workloads in uses/, and what the kernel says of them. An overlay's source is "hull:ID"; the
 * use of a mount whose id is in no process's mountinfo is over. A workload that is stopped has no mount any more, but its state
 * directory.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "base/process.h"
#include "base/remove.h"
#include "oci/image/store_internal.h"

#define OVERLAY " - overlay " STORE_USE_SOURCE

/* ---- what is mounted ---------------------------------------------------------------------- */

static bool is_id(const char *s, size_t len)
{
	return len == (size_t)STORE_USE_ID && strspn(s, "0123456789abcdef") >= len;
}

/* The id in a line of mountinfo that is an overlay of a store. */
const char *store_use_of_line(const char *line)
{
	const char *found = strstr(line, OVERLAY);
	const char *id = found ? found + strlen(OVERLAY) : NULL;

	return id && is_id(id, strcspn(id, " ")) ? id : NULL;
}

/* Adds the ids of one mount namespace. -EACCES where it may not be seen. */
static int add_mounted(FILE *file, struct strbuf *ids)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (errno = 0, getline(&line, &size, file) >= 0) {
		const char *id = store_use_of_line(line);
		char text[STORE_USE_ID + 3];

		if (!id)
			continue;
		snprintf(text, sizeof(text), " %.*s ", STORE_USE_ID, id);
		if (!ids->data || !strstr(ids->data, text))
			strbuf_adds(ids, text);
	}
	return -errno;
}

static int look_into(int proc, const char *pid, struct strbuf *ids, struct error *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64];
	int r, fd;

	snprintf(path, sizeof(path), "%.16s/mountinfo", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		file = fdopen(fd, "re");
		if (!file) {
			close(fd);
			return error_errno(err, ENOMEM, "read `/proc/%s`", path);
		}
	}
	r = file ? add_mounted(file, ids) : -errno;
	/* The process has ended; a zombie has no mounts either. */
	if (r == 0 || r == -ENOENT || r == -ESRCH || r == -EINVAL)
		return 0;
	/* A user's images are mounted in the user's own namespaces only. */
	if ((r == -EACCES || r == -EPERM) && !process_is_host_root())
		return 0;
	return error_errno(err, -r, "read `/proc/%s`, to see what is mounted", path);
}

static int count_use(void *data, const char *id _unused_, struct error *err _unused_)
{
	size_t *uses = data;

	(*uses)++;
	return 0;
}

/* Most processes are in one mount namespace: it is read once for all that follow one another. */
int store_mounted_ids(struct image_store *store, struct strbuf *ids, struct error *err)
{
	_cleanup_closedir_ DIR *proc = NULL;
	char before[64] = "", path[64], namespace[64];
	struct dirent *entry;
	size_t uses = 0;
	int r = store_each(store->uses, "uses", count_use, &uses, err);

	if (r < 0 || !uses)
		return r;
	proc = opendir("/proc");
	if (!proc)
		return error_errno(err, errno, "open `/proc`");
	while (r >= 0 && (errno = 0, entry = readdir(proc))) {
		uint64_t pid;
		ssize_t len;

		if (!parse_u64(entry->d_name, INT32_MAX, &pid))
			continue;
		snprintf(path, sizeof(path), "%.16s/ns/mnt", entry->d_name);
		len = readlinkat(dirfd(proc), path, namespace, sizeof(namespace) - 1);
		namespace[len < 0 ? 0 : len] = '\0';
		if (len > 0 && !strcmp(namespace, before))
			continue;
		strcpy(before, namespace);
		r = look_into(dirfd(proc), entry->d_name, ids, err);
	}
	if (r >= 0 && errno)
		r = error_errno(err, errno, "read `/proc`");
	if (r >= 0 && strbuf_failed(ids))
		r = error_errno(err, ENOMEM, "read `/proc`");
	return r;
}

/* ---- the record --------------------------------------------------------------------------- */

static bool is_mounted(const char *mounts, const char *id)
{
	char pattern[STORE_USE_ID + 3];

	snprintf(pattern, sizeof(pattern), " %.*s ", STORE_USE_ID, id);
	return mounts && strstr(mounts, pattern);
}

/* The record of a use as JSON in the arena. -EIO where it cannot be read. */
static int load_record(struct image_store *store, const char *id, struct arena *arena,
		       struct json_value **object, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	char path[NAME_MAX + 16];
	ssize_t len;

	if (!is_id(id, strlen(id)))
		return error_set(err, EINVAL, "`uses/%s` is no use of an image", id);
	snprintf(path, sizeof(path), "%s/record", id);
	len = file_read(store->uses, path, STORE_REFERENCE_MAX, &text, err);
	if (len < 0)
		return error_set(err, EIO, "`uses/%s` has no record that can be read", id);
	if (json_parse(text, (size_t)len, arena, object, err) < 0 || (*object)->type != JSON_OBJECT)
		return error_set(err, EIO, "the record of `uses/%s` is damaged", id);
	return 0;
}

static bool state_exists(const struct json_value *record)
{
	const char *state = json_get_string(record, "state");

	return state && (access(state, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR));
}

/*
 * A workload lasts as long as its state directory, or as long as somebody who makes it holds the lock of the use. That is given up
 * when the directory is there, so it is asked for first.
 */
static bool is_alive(struct image_store *store, const char *id, const struct json_value *record)
{
	_cleanup_close_ int dir = -EBADF;

	if (!json_get_string(record, "state"))
		return false;
	dir = openat(store->uses, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) < 0)
		return true;
	return state_exists(record);
}

int store_read_use(struct image_store *store, const char *id, const char *mounts,
		   struct image_reference *reference, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct json_value *object;
	bool mounted;
	int r;

	arena_init(&arena, (size_t)1 << 20);
	memset(reference, 0, sizeof(*reference));
	r = load_record(store, id, &arena, &object, err);
	if (r == -EINVAL)
		return r;
	mounted = is_mounted(mounts, id);
	if (!mounted && (r < 0 || !is_alive(store, id, object)))
		return error_set(err, ENOENT, "`uses/%s` is over", id);
	/* It is used: that it has no record must not be taken for an end of its use. */
	if (r < 0 || store_parse_manifest(object, reference, err) < 0)
		return error_set(err, EIO, "`uses/%s` is in use, but its record is damaged", id);
	snprintf(reference->name.s, sizeof(reference->name.s), "use-%s", id);
	return 0;
}

/* ---- workloads that never came to be ------------------------------------------------------- */

struct dead {
	struct image_store *store;
	char (*ids)[STORE_USE_ID + 1];
	size_t count, size;
};

static int find_dead(void *data, const char *id, struct error *err)
{
	struct dead *dead = data;
	_cleanup_arena_ struct arena arena;
	struct json_value *object;

	arena_init(&arena, (size_t)1 << 20);
	/* One without a record may be in the making, or is for prune. */
	if (load_record(dead->store, id, &arena, &object, NULL) < 0 ||
	    !json_get_string(object, "state") || is_alive(dead->store, id, object))
		return 0;
	if (dead->count == dead->size) {
		size_t size = dead->size ? 2 * dead->size : 16;
		void *ids = realloc(dead->ids, size * sizeof(*dead->ids));

		if (!ids)
			return error_errno(err, ENOMEM, "look for dead workloads");
		dead->ids = ids;
		dead->size = size;
	}
	snprintf(dead->ids[dead->count++], sizeof(*dead->ids), "%.*s", STORE_USE_ID, id);
	return 0;
}

/* What cannot be removed (a file that was made immutable) is in nobody's way. */
static void remove_dead(struct image_store *store, const char *id, const char *mounts)
{
	_cleanup_arena_ struct arena arena = { .limit = (size_t)1 << 20 };
	struct json_value *object;
	struct error err = { 0 };
	_cleanup_close_ int dir =
		openat(store->uses, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0 || is_mounted(mounts, id) || flock(dir, LOCK_EX | LOCK_NB) < 0)
		return;
	/* Once more, with the lock. */
	if (load_record(store, id, &arena, &object, NULL) < 0 || state_exists(object))
		return;
	if (path_remove_tree(store->uses, id, &err) < 0)
		log_warning("image store: `uses/%s` is left from a dead container: %s", id,
			    err.text);
}

int store_sweep_uses(struct image_store *store, struct error *err)
{
	_cleanup_strbuf_ struct strbuf mounts = { 0 };
	struct dead dead = { .store = store };
	int r = store_each(store->uses, "uses", find_dead, &dead, err);

	if (r >= 0 && dead.count)
		r = store_mounted_ids(store, &mounts, err);
	for (size_t i = 0; i < dead.count && r >= 0; i++)
		remove_dead(store, dead.ids[i], mounts.data);
	free(dead.ids);
	return r;
}

/* ---- making -------------------------------------------------------------------------------- */

/* What a directory of changes is known by. */
struct upper_id {
	char s[64];
};

static struct upper_id upper_id(int upper)
{
	struct upper_id id = { "" };
	struct stat st;

	if (upper >= 0 && fstat(upper, &st) == 0)
		snprintf(id.s, sizeof(id.s), "%llx:%llx", (unsigned long long)st.st_dev,
			 (unsigned long long)st.st_ino);
	return id;
}

int store_write_use(struct image_store *store, const struct store_use_id *id,
		    const struct store_use *use, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	_cleanup_close_ int dir =
		openat(store->uses, id->s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct json_writer w;

	if (dir < 0)
		return error_errno(err, errno, "open `uses/%s`", id->s);
	json_write_init(&w, &text, 0);
	json_write_begin(&w, '{');
	json_write_member(&w, "image", use->reference->name.s);
	if (use->state)
		json_write_member(&w, "state", use->state);
	else
		json_write_member(&w, "upper", upper_id(use->upper).s);
	if (use->first_id) {
		json_write_key(&w, "firstId");
		json_write_u64(&w, use->first_id);
	}
	json_write_key(&w, "manifest");
	image_descriptor_write(&w, &use->reference->manifest);
	json_write_end(&w, '}');
	strbuf_addc(&text, '\n');
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "record a use");
	/* No workload outlives a crash of the host, so nothing of it need be on the disk. */
	if (use->state)
		return file_replace(dir, "record", text.data, text.len, 0600, err);
	return store_write_file(store, dir, "record", text.data, text.len, err);
}

/* ---- ids ------------------------------------------------------------------------------------ */

struct taken {
	struct image_store *store;
	struct oci_u32s first; /* of the ids of each workload */
	struct arena *arena;
	size_t size;
};

static int note_ids(void *data, const char *id, struct error *err)
{
	struct taken *taken = data;
	_cleanup_arena_ struct arena arena;
	const struct json_value *value;
	struct json_value *object;
	uint64_t first;

	arena_init(&arena, (size_t)1 << 20);
	/* One that is just being made writes its record under our lock. */
	if (load_record(taken->store, id, &arena, &object, NULL) < 0)
		return 0;
	value = json_get(object, "firstId");
	if (!value || !json_u64(value, UINT32_MAX, &first))
		return 0;
	if (taken->first.len == taken->size) {
		size_t size = taken->size ? 2 * taken->size : 64;
		uint32_t *items = arena_array(taken->arena, size, sizeof(*items));

		if (!items)
			return error_errno(err, ENOMEM, "find ids");
		if (taken->first.len)
			memcpy(items, taken->first.items, taken->first.len * sizeof(*items));
		taken->first.items = items;
		taken->size = size;
	}
	taken->first.items[taken->first.len++] = (uint32_t)first;
	return 0;
}

static bool is_taken(const struct taken *taken, uint64_t first)
{
	for (size_t i = 0; i < taken->first.len; i++)
		if (first < (uint64_t)taken->first.items[i] + STORE_IDS &&
		    taken->first.items[i] < first + STORE_IDS)
			return true;
	return false;
}

int store_choose_ids(struct image_store *store, const struct oci_id_mappings *pool, uint32_t *first,
		     struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct taken taken = { .store = store, .arena = &arena };
	int r;

	arena_init(&arena, (size_t)64 << 20);
	r = store_each(store->uses, "uses", note_ids, &taken, err);
	for (size_t i = 0; i < pool->len && r >= 0; i++) {
		uint64_t at = pool->items[i].host_id, end = at + pool->items[i].size;

		for (; at + STORE_IDS <= end; at += STORE_IDS)
			if (!is_taken(&taken, at)) {
				*first = (uint32_t)at;
				return 0;
			}
	}
	return r < 0 ? r
		     : error_set(err, EBUSY, "all ids are taken: %zu containers have %d each",
				 taken.first.len, STORE_IDS);
}

/* ---- directories of changes ----------------------------------------------------------------- */

struct upper_search {
	struct image_store *store;
	const char *mounts;
	struct upper_id wanted;
};

static int compare_upper(void *data, const char *id, struct error *err)
{
	const struct upper_search *search = data;
	_cleanup_arena_ struct arena arena = { .limit = (size_t)1 << 20 };
	struct json_value *object;
	const char *upper;
	int r;

	if (!is_mounted(search->mounts, id))
		return 0;
	r = load_record(search->store, id, &arena, &object, err);
	if (r < 0)
		return r;
	upper = json_get_string(object, "upper");
	return upper && !strcmp(upper, search->wanted.s)
		       ? error_set(err, EBUSY, "another mount writes its changes there")
		       : 0;
}

/* Two overlays that write to one directory damage it; the kernel only warns. The lock is held until the mount is there. */
int store_claim_upper(struct image_store *store, int upper, struct error *err)
{
	_cleanup_strbuf_ struct strbuf mounts = { 0 };
	struct upper_search search = { .store = store, .wanted = upper_id(upper) };
	int r = store_flock(store, upper, LOCK_EX, err);

	if (r >= 0)
		r = store_mounted_ids(store, &mounts, err);
	search.mounts = mounts.data;
	return r < 0 ? r : store_each(store->uses, "uses", compare_upper, &search, err);
}
