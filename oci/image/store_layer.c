/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacked layers: their keys, their records, and how they get there; see store.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/remove.h"
#include "oci/image/layer_unpack.h"
#include "oci/image/store_internal.h"

/*
 * The time that a tree's root has before the layer is applied. Where it is another afterwards, the layer has an entry for the
 * root, and says what the root of the merged tree is like. Nobody makes it by accident.
 */
static const struct timespec untouched = { .tv_sec = 1, .tv_nsec = 271828182 };

/* ---- keys --------------------------------------------------------------------------------- */

/* ChainID(n) = sha256(ChainID(n-1) + " " + DiffID(n)); image-spec config.md, "Layer ChainID". */
static int next_chain_id(const struct digest *before, const struct digest *diff_id,
			 struct digest *chain_id, struct error *err)
{
	const struct digest sha256 = { .algorithm = "sha256" };
	const struct digest_text one = digest_text(before), two = digest_text(diff_id);
	struct digest_stream *hash = digest_begin(&sha256);
	bool good = hash && digest_update(hash, one.s, strlen(one.s)) &&
		    digest_update(hash, " ", 1) && digest_update(hash, two.s, strlen(two.s)) &&
		    digest_finish(hash, chain_id);

	digest_free(hash);
	return good ? 0 : error_set(err, ENOMEM, "hash a layer's id: libcrypto failed");
}

int store_chain_ids(const struct image_manifest *manifest, struct arena *arena,
		    struct digest **chain, struct error *err)
{
	size_t count = manifest->layer_count;
	struct digest *ids = arena_array(arena, count ? count : 1, sizeof(*ids));
	int r = 0;

	if (!ids)
		return error_errno(err, ENOMEM, "hash a layer's id");
	if (count)
		ids[0] = manifest->layers[0].diff_id;
	for (size_t i = 1; i < count && r >= 0; i++)
		r = next_chain_id(&ids[i - 1], &manifest->layers[i].diff_id, &ids[i], err);
	*chain = ids;
	return r;
}

int store_image_load(struct image_store *store, const struct image_reference *reference,
		     struct store_image *image, struct error *err)
{
	int r;

	arena_init(&image->arena, IMAGE_ARENA_MAX);
	r = image_store_load(store, reference, &image->arena, &image->manifest, err);
	return r < 0 ? r : store_chain_ids(&image->manifest, &image->arena, &image->chain, err);
}

static struct store_key make_key(const char *kind, const struct digest *digest)
{
	struct store_key key = { 0 };

	snprintf(key.s, sizeof(key.s), "%s-%s-%s", kind, digest->algorithm, digest->hex);
	return key;
}

struct store_key store_chain_key(const struct digest *chain_id)
{
	return make_key("chain", chain_id);
}

struct store_key store_diff_key(const struct digest *diff_id)
{
	return make_key("diff", diff_id);
}

static int has_layer(struct image_store *store, const struct store_key *key, struct error *err)
{
	if (faccessat(store->layers, key->s, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : error_errno(err, errno, "look for `layers/%s`", key->s);
}

/* The key under which layer i is there, for whose ids it may be. */
static int locate(struct image_store *store, const struct image_manifest *manifest,
		  const struct digest *chain, size_t i, struct store_key *key, struct error *err)
{
	int r;

	*key = store_chain_key(&chain[i]);
	r = has_layer(store, key, err);
	/* The lowest layer's tree has no whiteouts, and may imply directories: it is of no use above others. */
	if (r != 0 || i == 0)
		return r;
	*key = store_diff_key(&manifest->layers[i].diff_id);
	return has_layer(store, key, err);
}

/* A record that cannot be read is for those to find who need it. */
static int check_key(struct image_store *store, const struct store_key *key, struct error *err)
{
	_cleanup_close_ int layer =
		openat(store->layers, key->s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct store_record record = { 0 };

	if (layer < 0 || store_read_record(layer, &record, NULL) < 0)
		return 0;
	return store_check_ids(store, &record.ids, key->s, err);
}

int store_find_layer(struct image_store *store, const struct image_manifest *manifest,
		     const struct digest *chain, size_t i, struct store_key *key, struct error *err)
{
	int r = locate(store, manifest, chain, i, key, err);

	if (r > 0 && check_key(store, key, err) < 0)
		return -EPERM;
	return r;
}

/* ---- records ------------------------------------------------------------------------------ */

static int write_record(int layer, const struct store_record *record, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct json_writer w;
	int r;

	json_write_init(&w, &text, 0);
	json_write_begin(&w, '{');
	json_write_member(&w, "tree", digest_text(&record->tree).s);
	json_write_key(&w, "bytes");
	json_write_u64(&w, record->bytes);
	json_write_key(&w, "entries");
	json_write_u64(&w, record->entries);
	json_write_key(&w, "root");
	json_write_bool(&w, record->root);
	if (record->ids.uids[0]) {
		json_write_member(&w, "uids", record->ids.uids);
		json_write_member(&w, "gids", record->ids.gids);
	}
	json_write_end(&w, '}');
	strbuf_addc(&text, '\n');
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "write a layer's record");
	fd = openat(layer, "record", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "create a layer's record");
	r = file_write_all(fd, text.data, text.len);
	return r < 0 ? error_errno(err, -r, "write a layer's record") : 0;
}

/* Absent in the record of a layer that root of the host has made. */
static int parse_map(const struct json_value *object, const char *key, char *map, struct error *err)
{
	const struct json_value *value = json_get(object, key);

	map[0] = '\0';
	if (!value)
		return 0;
	if (value->type != JSON_STRING || strlen(value->string) >= STORE_MAP_MAX)
		return error_set(err, EINVAL, "`%s` is wrong", key);
	strcpy(map, value->string);
	return 0;
}

static int parse_record(const struct json_value *object, struct store_record *record,
			struct error *err)
{
	const struct json_value *bytes, *entries, *root;

	if (object->type != JSON_OBJECT)
		return error_set(err, EINVAL, "it is no object");
	bytes = json_get(object, "bytes");
	entries = json_get(object, "entries");
	root = json_get(object, "root");
	if (!bytes || !json_u64(bytes, UINT64_MAX, &record->bytes) || !entries ||
	    !json_u64(entries, UINT64_MAX, &record->entries) || !root || root->type != JSON_BOOL)
		return error_set(err, EINVAL, "`bytes`, `entries` or `root` is missing or wrong");
	record->root = root->boolean;
	if (parse_map(object, "uids", record->ids.uids, err) < 0 ||
	    parse_map(object, "gids", record->ids.gids, err) < 0)
		return -EINVAL;
	return digest_parse(json_get_string(object, "tree"), &record->tree, err);
}

int store_read_record(int layer, struct store_record *record, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	_cleanup_free_ char *text = NULL;
	struct json_value *object;
	ssize_t len = file_read(layer, "record", STORE_REFERENCE_MAX, &text, err);
	int r;

	arena_init(&arena, (size_t)1 << 20);
	if (len < 0)
		return (int)len;
	r = json_parse(text, (size_t)len, &arena, &object, err);
	if (r >= 0)
		r = parse_record(object, record, err);
	return r < 0 ? error_wrap(err, "`record`") : 0;
}

static int look_at_layer(struct image_store *store, const struct store_key *key,
			 struct image_store_layer *layer, struct error *err)
{
	_cleanup_close_ int dir =
		openat(store->layers, key->s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct store_record record = { 0 };
	int r;

	if (dir < 0)
		return error_errno(err, errno, "open `layers/%s`", key->s);
	r = store_read_record(dir, &record, err);
	if (r < 0)
		return error_wrap(err, "`layers/%s`", key->s);
	layer->unpacked = true;
	layer->bytes = record.bytes;
	layer->entries = record.entries;
	return 0;
}

int image_store_layers(struct image_store *store, const struct image_manifest *manifest,
		       struct arena *arena, struct image_store_layer **layers, struct error *err)
{
	struct image_store_layer *found =
		arena_array(arena, manifest->layer_count + 1, sizeof(*found));
	struct digest *chain;
	int r;

	if (!found)
		return error_errno(err, ENOMEM, "look at layers");
	r = store_chain_ids(manifest, arena, &chain, err);
	for (size_t i = 0; i < manifest->layer_count && r >= 0; i++) {
		struct store_key key = { 0 };

		r = locate(store, manifest, chain, i, &key, err);
		if (r > 0)
			r = look_at_layer(store, &key, &found[i], err);
	}
	*layers = found;
	return r < 0 ? r : 0;
}

/* ---- unpacking ---------------------------------------------------------------------------- */

struct work {
	struct image_store *store;
	const struct store_unpack *unpack;
	size_t i;
	unsigned lane;
	int lower; /* as in struct layer_target */
	char what[64];
};

static void report_progress(void *data, uint64_t done, uint64_t total)
{
	const struct work *w = data;

	store_progress(w->store, w->lane, w->what, done, total);
}

static bool is_interrupted(void *data)
{
	const struct work *w = data;

	return store_interrupted(w->store);
}

static int apply(struct work *w, int tree, struct error *err)
{
	const struct layer_stream_hooks hooks = { report_progress, is_interrupted, w };
	struct layer_target target;
	int r;

	layer_target_init(&target, tree, false);
	target.form = LAYER_OVERLAY;
	target.lower = w->lower;
	target.user_xattr = store_is_user(w->store);
	if (w->unpack->max_bytes)
		target.max_bytes = w->unpack->max_bytes;
	if (w->unpack->max_entries)
		target.max_entries = w->unpack->max_entries;
	r = layer_unpack(w->unpack->blobs, &w->unpack->manifest->layers[w->i], &target, &hooks,
			 err);
	if (r >= 0)
		r = layer_target_finish(&target, err);
	layer_target_free(&target);
	return r;
}

/* The tree and its record, in the directory that is ours. */
static int fill(struct work *w, int layer, struct error *err)
{
	const struct timespec times[2] = { untouched, untouched };
	struct store_record record = { 0 };
	_cleanup_close_ int tree = -EBADF;
	struct stat st;
	int r;

	if (mkdirat(layer, "tree", 0755) < 0)
		return error_errno(err, errno, "make `tree`");
	tree = openat(layer, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "open `tree`");
	if (fchmod(tree, 0755) < 0 || futimens(tree, times) < 0)
		return error_errno(err, errno, "set the mode and time of `tree`");
	r = apply(w, tree, err);
	if (r < 0)
		return r;
	if (fstat(tree, &st) < 0)
		return error_errno(err, errno, "stat `tree`");
	record.root =
		st.st_mtim.tv_sec != untouched.tv_sec || st.st_mtim.tv_nsec != untouched.tv_nsec;
	record.ids = w->store->ids;
	r = store_tree_digest(w->store, tree, &record, err);
	return r < 0 ? r : write_record(layer, &record, err);
}

/* What a dead process left in the directory. */
static int empty(int layer, struct error *err)
{
	static const char *const names[] = { "tree", "record", "merged" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int r = path_remove_tree(layer, names[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int keep(struct image_store *store, int layer, const char *temporary,
		const struct store_key *key, struct error *err)
{
	/* One call for all files, however many: without it a crash could leave a layer of empty ones. */
	if (syncfs(layer) < 0)
		return error_errno(err, errno, "sync layer `%s`", key->s);
	if (renameat(store->tmp, temporary, store->layers, key->s) < 0)
		return error_errno(err, errno, "rename to `layers/%s`", key->s);
	return store_sync_dir(store->layers, "layers", err);
}

/* Opens what is beneath, merged: *lower is a descriptor of the caller's. */
static int open_merged(const struct work *w, int layer, int *lower, struct error *err)
{
	struct store_overlay overlay = { .upper = -1, .work = -1, .source = "hull" };
	_cleanup_close_ int target = -EBADF;
	size_t count;
	int *fds, r;

	r = store_open_lower(w->store, w->unpack->manifest, w->unpack->chain, w->i, &fds, &count,
			     err);
	if (r < 0)
		return r;
	overlay.lower = fds;
	overlay.count = count;
	overlay.user_xattr = store_is_user(w->store);
	if (w->i == 1) {
		/* The lowest layer alone is a plain tree. */
		*lower = take_fd(&fds[0]);
	} else if (mkdirat(layer, "merged", 0700) < 0) {
		r = error_errno(err, errno, "make `merged`");
	} else {
		target = openat(layer, "merged", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		*lower = target < 0 ? error_errno(err, errno, "open `merged`")
				    : store_overlay_open(&overlay, target, err);
		r = *lower < 0 ? *lower : 0;
		unlinkat(layer, "merged", AT_REMOVEDIR);
	}
	store_close_lower(fds, count);
	return r < 0 ? error_wrap(err, "merge the layers beneath") : 0;
}

static int make(struct work *w, int layer, bool dependent, struct error *err)
{
	_cleanup_close_ int merged = -EBADF;
	int r = empty(layer, err);

	if (r >= 0 && dependent) {
		r = open_merged(w, layer, &merged, err);
		w->lower = merged;
	}
	return r < 0 ? r : fill(w, layer, err);
}

static int unpack_as(struct work *w, const struct store_key *key, bool dependent, struct error *err)
{
	_cleanup_close_ int layer = -EBADF;
	char temporary[STORE_KEY_MAX + 8];
	int r;

	snprintf(temporary, sizeof(temporary), "layer-%s", key->s);
	layer = store_claim(w->store, temporary, true, err);
	if (layer < 0)
		return layer;
	/* Another command may have made it while we waited for the lock. */
	r = has_layer(w->store, key, err);
	if (r == 0) {
		r = make(w, layer, dependent, err);
		if (r >= 0)
			r = keep(w->store, layer, temporary, key, err);
		if (r >= 0)
			return 0;
	}
	path_remove_tree(w->store->tmp, temporary, NULL);
	return r < 0 ? r : 0;
}

static struct work work_of(struct image_store *store, const struct store_unpack *u, size_t i,
			   unsigned lane)
{
	struct work w = { .store = store, .unpack = u, .i = i, .lane = lane };

	snprintf(w.what, sizeof(w.what), "unpack layer %zu/%zu", i + 1, u->manifest->layer_count);
	return w;
}

int store_unpack_layer(struct image_store *store, const struct store_unpack *u, size_t i,
		       unsigned lane, struct error *err)
{
	struct work w = work_of(store, u, i, lane);
	struct store_key key = { 0 };
	int r = store_find_layer(store, u->manifest, u->chain, i, &key, err);

	if (r != 0)
		return r < 0 ? r : 0;
	w.lower = i ? LAYER_LOWER_UNKNOWN : LAYER_LOWER_NONE;
	key = i ? store_diff_key(&u->manifest->layers[i].diff_id) : store_chain_key(&u->chain[0]);
	r = unpack_as(&w, &key, false, err);
	return r < 0 ? r : 1;
}

int store_unpack_dependent(struct image_store *store, const struct store_unpack *u, size_t i,
			   struct error *err)
{
	struct work w = work_of(store, u, i, 0);
	struct store_key key = store_chain_key(&u->chain[i]);
	int r = unpack_as(&w, &key, true, err);

	return r < 0 ? r : 1;
}
