/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing what nobody needs: mark all that references and mounts need, then remove the rest. It needs the exclusive lock,
 * so nothing is being pulled or mounted meanwhile. A doubt ends it before anything is removed.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/remove.h"
#include "oci/image/name_set.h"
#include "oci/image/store_internal.h"

struct collection {
	struct image_store *store;
	struct name_set needed; /* paths in the store */
	const char *mounts;     /* store_mounted_ids() */
	const char *dir;        /* the directory that is swept */
	struct image_store_pruned *pruned;
};

/* ---- mark --------------------------------------------------------------------------------- */

static int mark(struct collection *c, const char *dir, const char *name, struct error *err)
{
	char path[STORE_KEY_MAX + 16];

	snprintf(path, sizeof(path), "%s%s", dir, name);
	return name_set_add(&c->needed, path) ? 0 : error_errno(err, ENOMEM, "prune");
}

static int mark_blob(struct collection *c, const struct digest *digest, struct error *err)
{
	return mark(c, "", digest_blob_path(digest).s, err);
}

static int mark_layers(struct collection *c, const struct image_manifest *manifest,
		       const struct digest *chain, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < manifest->layer_count && r >= 0; i++) {
		struct store_key chain_key = store_chain_key(&chain[i]);
		struct store_key diff_key = store_diff_key(&manifest->layers[i].diff_id);

		r = mark_blob(c, &manifest->layers[i].blob.digest, err);
		if (r >= 0)
			r = mark(c, "layers/", chain_key.s, err);
		if (r >= 0 && i)
			r = mark(c, "layers/", diff_key.s, err);
	}
	return r;
}

static int mark_image(struct collection *c, const struct image_reference *reference,
		      struct error *err)
{
	_cleanup_store_image_ struct store_image image;
	int r = store_image_load(c->store, reference, &image, err);

	if (r < 0)
		return error_wrap(err, "nothing is removed, as it is not known what is needed");
	r = mark_blob(c, &image.manifest.blob.digest, err);
	if (r >= 0)
		r = mark_blob(c, &image.manifest.config_blob.digest, err);
	return r < 0 ? r : mark_layers(c, &image.manifest, image.chain, err);
}

static int mark_references(struct collection *c, struct error *err)
{
	struct image_reference *references;
	size_t count;
	int r = image_store_list(c->store, &references, &count, err);

	if (r < 0)
		return error_wrap(err, "nothing is removed, as it is not known what is needed");
	for (size_t i = 0; i < count && r >= 0; i++)
		r = mark_image(c, &references[i], err);
	free(references);
	return r;
}

/* A use whose mount has gone, after a reboot or by umount(8), is over. */
static int mark_use(void *data, const char *id, struct error *err)
{
	struct collection *c = data;
	struct image_reference reference;
	int r = store_read_use(c->store, id, c->mounts, &reference, err);

	if (r == -ENOENT)
		return path_remove_tree(c->store->uses, id, err);
	return r < 0 ? r : mark_image(c, &reference, err);
}

/* ---- sweep -------------------------------------------------------------------------------- */

static int sweep_blob(void *data, const char *name, struct error *err)
{
	struct collection *c = data;
	char path[NAME_MAX + 32];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", c->dir, name);
	if (name_set_has(&c->needed, path))
		return 0;
	if (fstatat(c->store->dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    unlinkat(c->store->dir, path, 0) < 0)
		return error_errno(err, errno, "remove `%s`", path);
	c->pruned->blobs++;
	c->pruned->bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

static void count_layer(struct collection *c, const char *name)
{
	_cleanup_close_ int layer =
		openat(c->store->layers, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct store_record record = { 0 };

	c->pruned->layers++;
	if (layer >= 0 && store_read_record(layer, &record, NULL) >= 0)
		c->pruned->bytes += record.bytes;
}

/* First out of sight: a layer that is half removed must never be found under its key. */
int store_discard(struct image_store *store, const char *dir, const char *name, struct error *err)
{
	char path[NAME_MAX + 64], trash[NAME_MAX + 1];

	snprintf(path, sizeof(path), "%.32s/%s", dir, name);
	if ((size_t)snprintf(trash, sizeof(trash), "trash-%s", name) >= sizeof(trash))
		return error_errno(err, ENAMETOOLONG, "remove `%s`", path);
	if (renameat(store->dir, path, store->tmp, trash) < 0)
		return error_errno(err, errno, "remove `%s`", path);
	return path_remove_tree(store->tmp, trash, err);
}

static int sweep_layer(void *data, const char *name, struct error *err)
{
	struct collection *c = data;
	char path[NAME_MAX + 32];

	snprintf(path, sizeof(path), "layers/%s", name);
	if (name_set_has(&c->needed, path))
		return 0;
	count_layer(c, name);
	return store_discard(c->store, "layers", name, err);
}

static int sweep_blobs(struct collection *c, const char *dir, struct error *err)
{
	_cleanup_close_ int fd =
		openat(c->store->dir, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "open `%s`", dir);
	c->dir = dir;
	return store_each(fd, dir, sweep_blob, c, err);
}

static int collect(struct collection *c, struct error *err)
{
	_cleanup_strbuf_ struct strbuf mounts = { 0 };
	int r = store_mounted_ids(c->store, &mounts, err);

	c->mounts = mounts.data;
	if (r >= 0)
		r = mark_references(c, err);
	if (r >= 0)
		r = store_each(c->store->uses, "uses", mark_use, c, err);
	if (r >= 0)
		r = store_each(c->store->layers, "layers", sweep_layer, c, err);
	if (r >= 0)
		r = sweep_blobs(c, "blobs/sha256", err);
	if (r >= 0)
		r = sweep_blobs(c, "blobs/sha512", err);
	/* Nobody pulls: what is there of blobs is of no use to anybody. */
	if (r >= 0)
		r = store_clean(c->store, true, err);
	return r;
}

int image_store_prune(struct image_store *store, struct image_store_pruned *pruned,
		      struct error *err)
{
	struct collection c = { .store = store, .pruned = pruned };
	int r;

	memset(pruned, 0, sizeof(*pruned));
	if (!store->exclusive)
		return error_set(err, EINVAL, "prune: the store is not locked");
	name_set_init(&c.needed);
	r = collect(&c, err);
	name_set_free(&c.needed);
	return r;
}
