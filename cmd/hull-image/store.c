/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that change the store, or use what is in it. */
#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "cmd/hull-image/command.h"

int open_store(const struct arguments *a, enum image_store_access access,
	       struct image_store **store, struct error *err)
{
	_cleanup_free_ char *own = NULL;
	const char *path = a->store;

	if (!path && a->ids)
		return error_set(err, ENOENT, IMAGE_STORE_NO_PLACE);
	if (!path) {
		int r = image_store_default_path(&own, err);

		if (r < 0)
			return r;
		path = own;
	}
	return image_store_open(path, access, &progress_hooks, store, err);
}

int command_pull(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	const struct image_store_pull pull = {
		.source = a->args[0],
		.name = a->count > 1 ? a->args[1] : NULL,
		.plain_http = a->plain_http,
		/* Whiteouts can be made without privileges, owners cannot. */
		.no_layers = a->no_layers || a->rootless,
		.max_bytes = a->max_bytes,
		.max_entries = a->max_entries,
	};
	struct image_reference reference;
	int r = open_store(a, IMAGE_STORE_ADD, &store, err);

	if (r >= 0)
		r = image_store_pull(store, &pull, &reference, err);
	progress_wipe();
	if (r >= 0 && !a->quiet)
		printf("%s %s\n", reference.name.s, digest_text(&reference.manifest.digest).s);
	return r;
}

/* ---- unpack ------------------------------------------------------------------------------- */

static bool exists(const char *path, size_t len)
{
	char copy[PATH_MAX];

	return len && (size_t)snprintf(copy, sizeof(copy), "%.*s", (int)len, path) < sizeof(copy) &&
	       access(copy, F_OK) == 0;
}

bool is_source(const char *text)
{
	const char *colon = strrchr(text, ':');

	return !strncmp(text, "oci:", 4) || !strncmp(text, "oci-archive:", 12) ||
	       !strncmp(text, "docker-archive:", 15) || strstr(text, "://") ||
	       exists(text, strlen(text)) || (colon && exists(text, (size_t)(colon - text)));
}

/* An EROFS file is made from the layers as they are, where they are; and where not, or where they cannot be mounted, from a copy. */
static int unpack_loaded(struct image_store *store, const struct image_unpack_options *options,
			 const struct image_manifest *manifest, struct arena *arena,
			 struct error *err)
{
	_cleanup_image_source_ struct image_source *source = NULL;
	struct image_unpack_options with_tree = *options;
	struct image_store_tree tree;
	struct error why = { 0 };
	int r = image_store_source(store, &source, err);

	if (r < 0)
		return r;
	if (options->format != IMAGE_FORMAT_EROFS || options->rootless)
		return image_unpack_manifest(options, source, manifest, arena, err);
	if (image_store_open_tree(store, manifest, &tree, &why) < 0) {
		log_debug("the layers are unpacked once more: %s", why.text);
		return image_unpack_manifest(options, source, manifest, arena, err);
	}
	with_tree.tree = &tree.tree;
	r = image_unpack_manifest(&with_tree, source, manifest, arena, err);
	image_store_close_tree(store, &tree);
	return r;
}

static int unpack_name(struct arguments *a, const struct image_unpack_options *options,
		       struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	_cleanup_arena_ struct arena arena;
	struct image_reference reference;
	struct image_manifest manifest;
	int r = open_store(a, IMAGE_STORE_USE, &store, err);

	arena_init(&arena, IMAGE_ARENA_MAX);
	if (r >= 0)
		r = image_store_resolve(store, a->args[0], &reference, err);
	if (r == -ENOENT || r == -EINVAL)
		return error_set(
			err, -r,
			"image `%s`: no such directory or file, and none of that name in the "
			"store (give oci:DIR[:TAG], oci-archive:FILE[:TAG], "
			"docker-archive:FILE[:TAG] or a name that `hull image list` shows)",
			a->args[0]);
	if (r >= 0)
		r = image_store_load(store, &reference, &arena, &manifest, err);
	return r < 0 ? r : unpack_loaded(store, options, &manifest, &arena, err);
}

int command_unpack(struct arguments *a, struct error *err)
{
	struct image_unpack_options options = {
		.source = a->args[0],
		.format = !strcmp(a->format, "erofs") ? IMAGE_FORMAT_EROFS : IMAGE_FORMAT_DIR,
		.bundle = a->args[1],
		.rootless = a->rootless,
		.uids = a->ids ? &a->ids->uids : NULL,
		.gids = a->ids ? &a->ids->gids : NULL,
		.plain_http = a->plain_http,
		.max_bytes = a->max_bytes,
		.max_entries = a->max_entries,
	};

	progress_of_unpack(&options);
	return is_source(a->args[0]) ? image_unpack(&options, err) : unpack_name(a, &options, err);
}

/* ---- mount -------------------------------------------------------------------------------- */

int command_mount(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	struct image_reference reference;
	int r;

	if (geteuid() != 0)
		return error_set(
			err, EPERM,
			"mounting an image takes root, for an ordinary user's mount would end "
			"with this command: use `hull image unpack`");
	r = open_store(a, IMAGE_STORE_USE, &store, err);
	if (r >= 0)
		r = image_store_resolve(store, a->args[0], &reference, err);
	return r < 0 ? r : image_store_mount(store, &reference, a->args[1], a->upper, err);
}

int command_umount(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	int r = open_store(a, IMAGE_STORE_USE, &store, err);

	return r < 0 ? r : image_store_umount(store, a->args[0], err);
}

/* ---- remove, prune ------------------------------------------------------------------------ */

static int prune(const struct arguments *a, struct image_store *store, struct error *err)
{
	struct image_store_pruned pruned;
	int r = image_store_prune(store, &pruned, err);

	if (r >= 0 && !a->quiet)
		printf("%llu blobs and %llu layers removed, %.1f MiB\n",
		       (unsigned long long)pruned.blobs, (unsigned long long)pruned.layers,
		       (double)pruned.bytes / (1 << 20));
	return r;
}

int command_remove(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	struct image_reference reference;
	int r = open_store(a, IMAGE_STORE_USE, &store, err);

	/* All or none, where a name is wrong. */
	for (int i = 0; i < a->count && r >= 0; i++) {
		struct error found = { 0 };

		r = image_store_resolve(store, a->args[i], &reference, &found);
		/* A damaged reference can be removed, too. */
		if (r < 0 && (found.code == ENOENT || !strncmp(found.text, "image name", 10)))
			*err = found;
		else
			r = 0;
	}
	for (int i = 0; i < a->count && r >= 0; i++)
		r = image_store_remove(store, a->args[i], err);
	if (r < 0)
		return r;
	r = image_store_lock_exclusive(store, false, err);
	if (r == -EWOULDBLOCK) {
		if (!a->quiet)
			puts("the store is in use: `hull image prune` will free the space");
		return 0;
	}
	return r < 0 ? r : prune(a, store, err);
}

int command_prune(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	int r = open_store(a, IMAGE_STORE_REMOVE, &store, err);

	return r < 0 ? r : prune(a, store, err);
}

/* ---- verify, export ----------------------------------------------------------------------- */

static void print_problem(void *data _unused_, const char *line)
{
	progress_wipe();
	log_error("image verify: %s", line);
}

int command_verify(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	struct image_store_verified verified;
	int r = open_store(a, a->repair ? IMAGE_STORE_REMOVE : IMAGE_STORE_USE, &store, err);

	if (r >= 0)
		r = image_store_verify(store, a->repair, print_problem, NULL, &verified, err);
	if (r < 0)
		return r;
	progress_wipe();
	if (!a->quiet)
		printf("%llu blobs, %llu layers, %llu images: %llu problems\n",
		       (unsigned long long)verified.blobs, (unsigned long long)verified.layers,
		       (unsigned long long)verified.images, (unsigned long long)verified.problems);
	if (!a->quiet && a->repair)
		printf("%llu damaged blobs and layers removed\n",
		       (unsigned long long)verified.removed);
	return verified.problems ? 1 : 0;
}

int command_export(struct arguments *a, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	struct image_reference reference;
	int r = open_store(a, IMAGE_STORE_USE, &store, err);

	if (r >= 0)
		r = image_store_resolve(store, a->args[0], &reference, err);
	return r < 0 ? r : image_store_export(store, &reference, a->args[1], err);
}
