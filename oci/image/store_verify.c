/* SPDX-License-Identifier: Apache-2.0 */
/* Checking a whole store; see store.h. A problem is a line to the caller, not an error. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/image/layer_unpack.h"
#include "oci/image/name_set.h"
#include "oci/image/store_internal.h"

#define READ_BLOCK ((size_t)256 << 10)

struct verification {
	struct image_store *store;
	void (*problem)(void *data, const char *line);
	void *data;
	struct image_store_verified *verified;
	const char *mounts;
	struct name_set damaged;  /* paths in the store of blobs and layers */
	struct strbuf list;       /* the same, each with a NUL behind it */
	bool repair, layers_stay; /* the latter: it is not known which are mounted */
	struct name_set mounted;  /* paths in the store of layers */
	struct name_set compared; /* keys of layers */
	const char *algorithm;    /* of the directory of blobs that is read */
	int blobs;                /* that directory */
	char *buf;
};

static void problem(struct verification *v, const char *fmt, ...) _printf_(2, 3);

static void problem(struct verification *v, const char *fmt, ...)
{
	char line[ERROR_TEXT_MAX + 256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	v->verified->problems++;
	if (v->problem)
		v->problem(v->data, line);
}

/* An error of one check is a problem of the store, but not where the command itself is to end. */
static int or_problem(struct verification *v, int r, const struct error *found, struct error *err)
{
	if (r >= 0)
		return 0;
	if (r == -EINTR || r == -ENOMEM) {
		*err = *found;
		return r;
	}
	problem(v, "%s", found->text);
	return 0;
}

/* ---- blobs -------------------------------------------------------------------------------- */

static int hash_file(struct verification *v, int fd, const char *name, const struct digest *like,
		     struct digest *digest, struct error *err)
{
	struct digest_stream *hash = digest_begin(like);
	uint64_t done = 0;
	struct stat st;
	ssize_t n = 1;
	bool good = hash && fstat(fd, &st) == 0;

	while (good && n > 0 && !store_interrupted(v->store)) {
		n = read(fd, v->buf, READ_BLOCK);
		good = n >= 0 && digest_update(hash, v->buf, (size_t)n);
		done += n > 0 ? (uint64_t)n : 0;
		store_progress(v->store, 0, "verify blobs", done, (uint64_t)st.st_size);
	}
	if (good && n > 0) {
		digest_free(hash);
		return error_set(err, EINTR, "interrupted");
	}
	good = good && digest_finish(hash, digest);
	digest_free(hash);
	return good ? 0 : error_errno(err, EIO, "read `blobs/%s/%s`", v->algorithm, name);
}

static int check_blob(struct verification *v, const char *name, struct error *err)
{
	_cleanup_close_ int fd =
		openat(v->blobs, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[NAME_MAX + 16];
	struct digest expected, found;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open `blobs/%s/%s`", v->algorithm, name);
	snprintf(text, sizeof(text), "%s:%s", v->algorithm, name);
	if (!S_ISREG(st.st_mode) || digest_parse(text, &expected, NULL) < 0)
		return error_set(err, EINVAL, "`blobs/%s/%s` is no blob", v->algorithm, name);
	r = hash_file(v, fd, name, &expected, &found, err);
	if (r < 0)
		return r;
	v->verified->blobs++;
	if (!digest_equal(&expected, &found))
		return error_set(err, EBADMSG, "blob %s: its content has another digest", text);
	return 0;
}

/* What is damaged is told again with the images that need it, for these must be pulled again. */
static int remember(struct verification *v, const char *dir, const char *name, struct error *err)
{
	char path[NAME_MAX + 64];

	snprintf(path, sizeof(path), "%.32s/%s", dir, name);
	strbuf_add(&v->list, path, strlen(path) + 1);
	return name_set_add(&v->damaged, path) && !strbuf_failed(&v->list)
		       ? 0
		       : error_errno(err, ENOMEM, "verify");
}

static int verify_blob(void *data, const char *name, struct error *err)
{
	struct verification *v = data;
	struct error found = { 0 };
	char dir[32];
	int r = check_blob(v, name, &found);

	if (r >= 0)
		return 0;
	snprintf(dir, sizeof(dir), "blobs/%s", v->algorithm);
	r = or_problem(v, r, &found, err);
	return r < 0 ? r : remember(v, dir, name, err);
}

static int verify_blobs(struct verification *v, const char *algorithm, struct error *err)
{
	char path[32];
	int r;

	snprintf(path, sizeof(path), "blobs/%s", algorithm);
	v->algorithm = algorithm;
	v->blobs = openat(v->store->dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (v->blobs < 0)
		return error_errno(err, errno, "open `%s`", path);
	r = store_each(v->blobs, path, verify_blob, v, err);
	close_fd(&v->blobs);
	return r;
}

/* ---- layers ------------------------------------------------------------------------------- */

static bool is_key(const char *name)
{
	const char *rest = !strncmp(name, "diff-", 5)    ? name + 5
			   : !strncmp(name, "chain-", 6) ? name + 6
							 : NULL;
	struct digest digest;

	return rest && store_digest_of_name(rest, &digest);
}

static int check_layer(struct verification *v, const char *name, struct error *err)
{
	_cleanup_close_ int layer = -EBADF, tree = -EBADF;
	struct store_record record = { 0 }, found = { 0 };
	int r;

	if (!is_key(name))
		return error_set(err, EINVAL, "`layers/%s` is no layer", name);
	layer = openat(v->store->layers, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (layer < 0)
		return error_errno(err, errno, "open `layers/%s`", name);
	r = store_read_record(layer, &record, err);
	if (r < 0)
		return error_wrap(err, "`layers/%s`", name);
	r = store_check_ids(v->store, &record.ids, name, err);
	if (r < 0)
		return r;
	tree = openat(layer, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "open `layers/%s/tree`", name);
	r = store_tree_digest(v->store, tree, &found, err);
	if (r < 0)
		return r == -EINTR ? r : error_wrap(err, "`layers/%s/tree`", name);
	v->verified->layers++;
	if (!digest_equal(&record.tree, &found.tree) || record.entries != found.entries)
		return error_set(err, EBADMSG,
				 "`layers/%s/tree` is not what was unpacked: %llu "
				 "entries, of %llu",
				 name, (unsigned long long)found.entries,
				 (unsigned long long)record.entries);
	return 0;
}

static int verify_layer(void *data, const char *name, struct error *err)
{
	struct verification *v = data;
	struct error found = { 0 };
	int r = check_layer(v, name, &found);

	if (r >= 0)
		return 0;
	r = or_problem(v, r, &found, err);
	return r < 0 ? r : remember(v, "layers", name, err);
}

/* ---- references and uses ------------------------------------------------------------------ */

/* Whether a layer (*key empty: it is not unpacked), or its blob, was found to be damaged. */
static bool is_damaged(const struct verification *v, const struct image_layer *layer,
		       const struct store_key *key)
{
	char path[STORE_KEY_MAX + 16];

	snprintf(path, sizeof(path), "layers/%s", key->s);
	return name_set_has(&v->damaged, path) ||
	       name_set_has(&v->damaged, digest_blob_path(&layer->blob.digest).s);
}

static void report_progress(void *data, uint64_t done, uint64_t total)
{
	const struct verification *v = data;

	store_progress(v->store, 0, "verify layers", done, total);
}

static bool is_interrupted(void *data)
{
	const struct verification *v = data;

	return store_interrupted(v->store);
}

/* The files of an unpacked layer beside its blob, which is whole; once, whatever images have it. */
static int compare_layer(struct verification *v, const struct image_layer *layer,
			 const struct store_key *key, struct error *err)
{
	const struct layer_stream_hooks hooks = { report_progress, is_interrupted, v };
	_cleanup_image_source_ struct image_source *source = NULL;
	_cleanup_close_ int tree = -EBADF;
	struct layer_target target;
	char path[STORE_KEY_MAX + 16];
	int r;

	if (name_set_has(&v->compared, key->s))
		return 0;
	if (!name_set_add(&v->compared, key->s))
		return error_errno(err, ENOMEM, "verify");
	snprintf(path, sizeof(path), "%s/tree", key->s);
	tree = openat(v->store->layers, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (tree < 0)
		return error_errno(err, errno, "open `layers/%s`", path);
	r = image_store_source(v->store, &source, err);
	if (r < 0)
		return r;
	layer_target_init(&target, tree, false);
	target.form = LAYER_COMPARE;
	r = layer_unpack(source, layer, &target, &hooks, err);
	layer_target_free(&target);
	if (r != -EBADMSG)
		return r;
	error_wrap(err, "`layers/%s`", path);
	return remember(v, "layers", key->s, NULL) < 0 ? error_errno(err, ENOMEM, "verify") : r;
}

static int check_image_layer(struct verification *v, const struct image_manifest *manifest,
			     const struct digest *chain, size_t i, struct error *err)
{
	const struct image_descriptor *blob = &manifest->layers[i].blob;
	struct store_key key = { 0 };
	int r = store_has_blob(v->store, blob, err);

	if (r < 0)
		return r;
	if (r == 0)
		return error_set(err, ENOENT, "blob %s of layer %zu is missing",
				 digest_text(&blob->digest).s, i + 1);
	r = store_find_layer(v->store, manifest, chain, i, &key, err);
	if (r > 0 && !is_damaged(v, &manifest->layers[i], &key))
		r = compare_layer(v, &manifest->layers[i], &key, err);
	if (r >= 0 && is_damaged(v, &manifest->layers[i], &key))
		return error_set(
			err, EBADMSG,
			"layer %zu is damaged: `hull image verify --repair` removes it, and "
			"a pull of the image brings it anew",
			i + 1);
	return r;
}

static int check_image(struct verification *v, const struct store_image *image, const char *name,
		       struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < image->manifest.layer_count; i++) {
		r = check_image_layer(v, &image->manifest, image->chain, i, err);
		if (r < 0)
			return error_wrap(err, "image `%s`", name);
	}
	return r;
}

static int verify_reference(void *data, const char *file, struct error *err)
{
	struct verification *v = data;
	_cleanup_store_image_ struct store_image image = { .chain = NULL };
	struct image_reference reference;
	struct error found = { 0 };
	int r = store_read_reference(v->store, file, &reference, &found);

	/* A name that another command removes meanwhile. */
	if (r == -ENOENT)
		return 0;
	if (r >= 0) {
		v->verified->images++;
		r = store_image_load(v->store, &reference, &image, &found);
	}
	if (r >= 0)
		r = check_image(v, &image, reference.name.s, &found);
	return or_problem(v, r, &found, err);
}

/* The layers of a mount. */
static int remember_mounted(struct verification *v, const struct store_image *image,
			    struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < image->manifest.layer_count; i++) {
		char path[STORE_KEY_MAX + 16];
		struct store_key key = { 0 };

		r = store_find_layer(v->store, &image->manifest, image->chain, i, &key, err);
		snprintf(path, sizeof(path), "layers/%s", key.s);
		if (r > 0 && !name_set_add(&v->mounted, path))
			r = error_errno(err, ENOMEM, "verify");
	}
	return r;
}

/* A use whose mount has gone is no problem: prune forgets it. */
static int verify_use(void *data, const char *id, struct error *err)
{
	struct verification *v = data;
	_cleanup_store_image_ struct store_image image = { .chain = NULL };
	struct image_reference reference;
	struct error found = { 0 };
	int r = store_read_use(v->store, id, v->mounts, &reference, &found);

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = store_image_load(v->store, &reference, &image, &found);
	/* Where the layers of a mount are not known, all may be. */
	v->layers_stay = v->layers_stay || r < 0;
	if (r >= 0)
		r = remember_mounted(v, &image, &found);
	if (r >= 0)
		r = check_image(v, &image, reference.name.s, &found);
	return or_problem(v, r, &found, err);
}

/* ---- repairing ---------------------------------------------------------------------------- */

static int discard(struct verification *v, char *path, struct error *err)
{
	char *slash = strrchr(path, '/');

	if (!strncmp(path, "layers/", 7) && (v->layers_stay || name_set_has(&v->mounted, path))) {
		problem(v, "`%s` %s: unmount it, and repair again", path,
			v->layers_stay ? "may be mounted" : "is mounted");
		return 0;
	}
	*slash = '\0';
	v->verified->removed++;
	return store_discard(v->store, path, slash + 1, err);
}

static int discard_damaged(struct verification *v, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < v->list.len; i += strlen(v->list.data + i) + 1) {
		_cleanup_free_ char *path = strdup(v->list.data + i);

		r = path ? discard(v, path, err) : error_errno(err, ENOMEM, "repair");
	}
	return r;
}

static int verify_all(struct verification *v, struct error *err)
{
	_cleanup_strbuf_ struct strbuf mounts = { 0 };
	int r = store_mounted_ids(v->store, &mounts, err);

	v->mounts = mounts.data;
	if (r >= 0)
		r = verify_blobs(v, "sha256", err);
	if (r >= 0)
		r = verify_blobs(v, "sha512", err);
	if (r >= 0)
		r = store_each(v->store->layers, "layers", verify_layer, v, err);
	if (r >= 0)
		r = store_each(v->store->images, "images", verify_reference, v, err);
	if (r >= 0)
		r = store_each(v->store->uses, "uses", verify_use, v, err);
	if (r >= 0 && v->repair)
		r = discard_damaged(v, err);
	return r;
}

int image_store_verify(struct image_store *store, bool repair,
		       void (*tell)(void *data, const char *line), void *data,
		       struct image_store_verified *verified, struct error *err)
{
	struct verification v = {
		.store = store,
		.problem = tell,
		.data = data,
		.verified = verified,
		.repair = repair,
		.buf = malloc(READ_BLOCK),
	};
	struct error local = { 0 };
	int r;

	memset(verified, 0, sizeof(*verified));
	if (!v.buf)
		return error_errno(err, ENOMEM, "verify");
	if (repair && !store->exclusive) {
		free(v.buf);
		return error_set(err, EINVAL, "repair: the store is not locked");
	}
	name_set_init(&v.damaged);
	name_set_init(&v.mounted);
	name_set_init(&v.compared);
	r = verify_all(&v, err ? err : &local);
	name_set_free(&v.damaged);
	name_set_free(&v.mounted);
	name_set_free(&v.compared);
	strbuf_free(&v.list);
	free(v.buf);
	return r;
}
