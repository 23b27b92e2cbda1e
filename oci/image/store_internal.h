/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share; see store.h for what is where. */
#ifndef HULL_OCI_IMAGE_STORE_INTERNAL_H
#define HULL_OCI_IMAGE_STORE_INTERNAL_H

#include <limits.h>
#include <pthread.h>

#include "oci/image/store.h"

#define STORE_REFERENCE_MAX 4096 /* bytes of a reference, a record or a use */
#define STORE_KEY_MAX       160  /* bytes of a layer's key, or of a name in tmp, with the NUL */
#define STORE_MAP_MAX       1200 /* bytes of an id mapping's text */

/* The id mapping that layers are made with, "0 1000 1, 1 100000 65536": of a user namespace, else both are "". */
struct store_ids {
	char uids[STORE_MAP_MAX], gids[STORE_MAP_MAX];
};

struct image_store {
	char *path;
	int dir;  /* STORE */
	int lock; /* STORE/lock, with the lock */
	int tmp, layers, images, uses;
	bool exclusive;
	struct store_ids ids; /* the caller's */
	const struct image_store_hooks *hooks;
	pthread_mutex_t telling; /* held while a hook is called */
};

/* ---- store.c: locks and what is being made ---- */

/* Takes a lock of flock(2); waits, and stops with -EINTR where the command is interrupted. */
int store_flock(struct image_store *store, int fd, int operation, struct error *err);

/*
 * Opens or makes the file or directory tmp/NAME and locks it, after whoever works on it. What a dead process left in there is
 * for the caller to remove. Returns the descriptor, which holds the lock.
 */
int store_claim(struct image_store *store, const char *name, bool is_dir, struct error *err);

/*
 * Removes what dead processes left in tmp. Of blobs that are not whole yet the store keeps STORE_PARTIAL_MAX for
 * STORE_PARTIAL_AGE seconds, for a pull goes on with them; unless `all`.
 */
#define STORE_PARTIAL     "blob-" /* and ALG-HEX: the name in tmp */
#define STORE_PARTIAL_MAX 16
#define STORE_PARTIAL_AGE (7 * 24 * 3600)
int store_clean(struct image_store *store, bool all, struct error *err);

/* The digest of "ALG-HEX", as it is in names in tmp and layers. */
bool store_digest_of_name(const char *name, struct digest *digest);

/* Makes a name in images, uses or layers last over a crash: what was renamed is in `dir`. */
int store_sync_dir(int dir, const char *what, struct error *err);

/* Writes a whole file by way of tmp to NAME in the directory. */
int store_write_file(struct image_store *store, int dir, const char *name, const char *data,
		     size_t len, struct error *err);

bool store_interrupted(struct image_store *store);
void store_progress(struct image_store *store, unsigned lane, const char *what, uint64_t done,
		    uint64_t total);
void store_step(struct image_store *store, const char *fmt, ...) _printf_(2, 3);

/* Calls the function for each name in the directory, "." and ".." left out, until it returns a negative errno. */
int store_each(int dir, const char *what,
	       int (*function)(void *data, const char *name, struct error *err), void *data,
	       struct error *err);

/* ---- store_blob.c ---- */

/* Copies an open blob block by block, with its digest checked, progress shown, and interruptions heeded. */
typedef int store_write_fn(void *data, const void *block, size_t len, struct error *err);
int store_copy_blob(struct image_store *store, unsigned lane, const char *what,
		    struct image_blob *blob, store_write_fn *write, void *data, struct error *err);

/*
 * Looks whether the blob is what its digest says, and removes it where not. 1: it was removed, and can be fetched anew. 0: it
 * is right, or not there.
 */
int store_drop_damaged(struct image_store *store, const struct digest *digest, struct error *err);

/* 1 where the blob is there, 0 where not, -EBADMSG where it has another size than its descriptor says. */
int store_has_blob(struct image_store *store, const struct image_descriptor *blob,
		   struct error *err);

/*
 * Copies a blob from a source, unless it is there with the right size. What a pull that was killed had of it is not fetched
 * again. 1 where it was copied.
 */
int store_fetch_blob(struct image_store *store, struct image_source *source,
		     const struct image_descriptor *blob, unsigned lane, const char *what,
		     struct error *err);

/* The store's blobs, and those of `upstream` (not taken over; may be NULL) that it does not have, or has damaged: it drops them. */
int store_source_over(struct image_store *store, struct image_source *upstream,
		      struct image_source **source, struct error *err);

/* ---- store_ids.c ---- */

/* Of the calling process. */
int store_read_ids(struct store_ids *ids, struct error *err);

/* Whether layers are made in a user namespace: with attributes of overlayfs's in user.*, and to be mounted with `userxattr`. */
bool store_is_user(const struct image_store *store);

/* -EPERM, where a layer that was made with these ids is not what it seems to the caller. */
int store_check_ids(const struct image_store *store, const struct store_ids *made, const char *key,
		    struct error *err);

/* ---- store_layer.c ---- */

struct store_key {
	char s[STORE_KEY_MAX];
};

/* The ChainIDs of all layers of an image, the lowest first, in the arena. */
int store_chain_ids(const struct image_manifest *manifest, struct arena *arena,
		    struct digest **chain, struct error *err);

/* An image of the store with its ChainIDs; what it points to is in its own arena. */
struct store_image {
	struct arena arena;
	struct image_manifest manifest;
	struct digest *chain;
};
/* store_image_free() also after an error. */
int store_image_load(struct image_store *store, const struct image_reference *reference,
		     struct store_image *image, struct error *err);
static inline void store_image_free(struct store_image *image)
{
	arena_free(&image->arena);
}
#define _cleanup_store_image_ __attribute__((cleanup(store_image_free)))

struct store_key store_chain_key(const struct digest *chain_id);
struct store_key store_diff_key(const struct digest *diff_id);

struct store_record {
	struct digest tree; /* store_tree_digest() */
	uint64_t bytes, entries;
	bool root; /* the layer says what the root directory itself is like */
	struct store_ids ids;
};

/* The key under which layer i is there. 1, or 0 where it is not, -EPERM where it is for other ids. */
int store_find_layer(struct image_store *store, const struct image_manifest *manifest,
		     const struct digest *chain, size_t i, struct store_key *key,
		     struct error *err);
int store_read_record(int layer, struct store_record *record, struct error *err);

struct store_unpack {
	const struct image_manifest *manifest;
	struct digest *chain;
	struct image_source *blobs; /* the store's */
	uint64_t max_bytes, max_entries;
};

/*
 * Unpacks layer i without a look at those beneath, unless it is there. -EXDEV: it depends on them, and
 * store_unpack_dependent() must do it, once they are all there.
 */
int store_unpack_layer(struct image_store *store, const struct store_unpack *u, size_t i,
		       unsigned lane, struct error *err);
int store_unpack_dependent(struct image_store *store, const struct store_unpack *u, size_t i,
			   struct error *err);

/* ---- store_pull.c ---- */

/* All layers of an image whose blobs are there: or are fetched from source, where that is not NULL. */
int store_make_layers(struct image_store *store, const struct image_manifest *manifest,
		      struct image_source *source, const struct image_store_pull *pull,
		      struct error *err);

/* ---- store_gc.c ---- */

/* Removes DIR/NAME by way of tmp. dir: of the store, as "layers" or "blobs/sha256". */
int store_discard(struct image_store *store, const char *dir, const char *name, struct error *err);

/* ---- store_tree.c ---- */

/* A digest of all entries beneath a directory, without their contents, and how many and how big they are. */
int store_tree_digest(struct image_store *store, int tree, struct store_record *record,
		      struct error *err);

/* ---- store_overlay.c ---- */

struct store_overlay {
	const int *lower; /* descriptors, the topmost first */
	size_t count;
	int upper, work; /* descriptors, or -1: read-only */
	bool user_xattr; /* store_is_user() */
	bool is_volatile; /* changes need not survive a crash of the host; such an upper directory can be mounted once */
	const char *source;
	int user_ns; /* whose ids the files have, only for what is detached; 0: they are as they are */
	uint32_t root_id; /* with user_ns: the host's id of its root */
	int store;        /* with user_ns: the directory that all of these are in */
};

/* Mounts on the directory `target`. */
int store_overlay_mount(const struct store_overlay *overlay, int target, struct error *err);

/* Mounts it where nobody else sees it, on the directory, and returns a descriptor of the merged tree: it lasts as long as that. */
int store_overlay_open(const struct store_overlay *overlay, int target, struct error *err);

/* The same as a mount that is attached nowhere, without nosuid and nodev. The directory stays as it is. */
int store_overlay_detached(const struct store_overlay *overlay, int target, struct error *err);

/* Opens the trees of layers 0 to count - 1, the topmost first, each once. *fds is the caller's to close and free. */
int store_open_lower(struct image_store *store, const struct image_manifest *manifest,
		     const struct digest *chain, size_t count, int **fds, size_t *opened,
		     struct error *err);
void store_close_lower(int *fds, size_t count);

/* ---- store_ref.c ---- */

/* The name as a file name. */
struct store_file_name {
	char s[NAME_MAX + 1];
};
int store_file_name(const struct image_name *name, struct store_file_name *file, struct error *err);
int store_read_reference(struct image_store *store, const char *file,
			 struct image_reference *reference, struct error *err);
int store_write_reference(struct image_store *store, const struct image_reference *reference,
			  struct error *err);

/* Parses the member "manifest" of an object into a reference's. */
int store_parse_manifest(const struct json_value *object, struct image_reference *reference,
			 struct error *err);

/* ---- store_use.c ---- */

#define STORE_USE_ID     16 /* hexadecimal digits */
#define STORE_USE_SOURCE "hull:"

struct store_use_id {
	char s[STORE_USE_ID + 1];
};

/* What is recorded of a use. */
struct store_use {
	const struct image_reference *reference;
	int upper;         /* of a mount's changes; -1: none */
	const char *state; /* a workload's state directory; NULL: a mount */
	uint32_t first_id; /* of a workload with ids of its own: of STORE_IDS; else 0 */
};

/* Writes the record of a use, whose directory is there. */
int store_write_use(struct image_store *store, const struct store_use_id *id,
		    const struct store_use *use, struct error *err);

/* The id in a line of mountinfo that is an overlay of a store, or NULL. */
const char *store_use_of_line(const char *line);

/*
 * The manifest of a use, with reference->manifest filled. -ENOENT where it is over: nothing is mounted by it any more, and if it was a
 * workload's, that is gone, too.
 */
int store_read_use(struct image_store *store, const char *id, const char *mounts,
		   struct image_reference *reference, struct error *err);

/*
 * The ids of all overlays of stores that are mounted in the mount namespace of any process, as " ID  ID  … "; nothing where
 * the store has no uses.
 */
int store_mounted_ids(struct image_store *store, struct strbuf *ids, struct error *err);

/*
 * Finds ids that no use in the store has, and that are in one of the ranges. The caller holds the lock of `uses` until the use is
 * written. -EBUSY where there are none.
 */
int store_choose_ids(struct image_store *store, const struct oci_id_mappings *pool, uint32_t *first,
		     struct error *err);

/* Removes what is left of workloads that never came to be: killed before they had a state directory. */
int store_sweep_uses(struct image_store *store, struct error *err);

/*
 * Locks a directory of changes, and refuses it (-EBUSY) where a mount of the store writes to it: two overlays would damage it,
 * and the kernel only warns. The lock lasts as long as the descriptor.
 */
int store_claim_upper(struct image_store *store, int upper, struct error *err);

#endif
