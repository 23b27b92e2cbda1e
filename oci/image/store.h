/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store: blobs and unpacked layers that many images share, and the names of images.
 *
 *     STORE/version              "hull image store 1": nothing else is taken for a store
 *     STORE/lock                 shared by all that use the store, exclusive for what removes data
 *     STORE/blobs/ALG/HEX        a blob, whole and checked
 *     STORE/layers/KEY/tree      an unpacked layer in overlay form, for a lower directory
 *     STORE/layers/KEY/record    what it must be: a digest of its entries' metadata, sizes, for which ids
 *     STORE/images/NAME          a reference: JSON with the image's name and its manifest's descriptor
 *     STORE/uses/ID/             a mount or a workload: JSON with the manifest, and the topmost lower directory; a workload's
 *                                bundle and changes, too
 *     STORE/tmp/                 what is being made, or removed
 *
 * KEY is `diff-ALG-HEX`, a layer by its DiffID, for most layers do not depend on those beneath; else
 * `chain-ALG-HEX`, by its ChainID: the lowest layer of an image, and one that was unpacked with the lower
 * layers at hand (-EXDEV in layer_unpack.h).
 *
 * Ids. Root of the host makes layers with the owners that they say, and overlayfs's attributes in trusted.*. Root of a user namespace
 * makes them with the ids that the namespace maps those to, and the attributes in user.* (mount option `userxattr`); their records have the
 * mapping. Layers of one kind are of no use to the other, nor to a namespace that maps their ids elsewhere, and are refused there.
 *
 * Crashes. Whatever is in blobs, layers and images got there by a rename(2), after it was whole, checked and on the disk;
 * a layer leaves by a rename to tmp. So at each moment the store is valid. What is in tmp is locked (flock(2)) by the process
 * that works on it; what nobody has locked is left by a dead one, and the next command removes it. Only blobs that are not
 * whole yet stay, some of them for some days: the next pull hashes what is there and fetches the rest.
 *
 * Concurrency. Removing a name takes it away at once; data goes only under the exclusive lock, when nobody uses the
 * store. Two pulls of one blob or layer meet at the lock of its file in tmp: the second waits, and finds it there.
 *
 * Trust. The store belongs to the user who runs the command, and nobody else may write to it; what comes into it is hostile.
 * Blobs are checked by digest when they are written and whenever they are read; a pull drops those that it finds damaged, and
 * fetches them anew. Names of images are restricted to
 * a few characters and escaped for file names.
 *
 * All functions return a negative errno with a message on failure.
 */
#ifndef HULL_OCI_IMAGE_STORE_H
#define HULL_OCI_IMAGE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "oci/config.h"
#include "oci/image/image.h"
#include "oci/image/manifest.h"

#define STORE_NAME_MAX   200 /* bytes of an image's name */
#define STORE_LAYERS_MAX 400 /* layers of an image that is mounted; overlayfs takes 500 */

/* What a long command tells and asks; called by several threads, one at a time. Each may be NULL. */
struct image_store_hooks {
	/* Bytes of the work `what` in that lane (0 or 1: two go on at once). done == total: the work has ended. */
	void (*progress)(void *data, unsigned lane, const char *what, uint64_t done,
			 uint64_t total);
	/* A step is done, or nothing had to be done: a line for people. */
	void (*step)(void *data, const char *line);
	/* True: stop, -EINTR. */
	bool (*interrupted)(void *data);
	void *data;
};

enum image_store_access {
	IMAGE_STORE_USE, /* the store must exist: -ENOENT */
	IMAGE_STORE_ADD, /* made where it does not exist */
	IMAGE_STORE_REMOVE, /* as USE, with the exclusive lock: waits until nobody else uses the store */
};

struct image_store;

#define IMAGE_STORE_NO_PLACE "no place for an image store: HOME is not set; give --store DIR"

/* The user's own: /var/lib/hull for root, else $XDG_DATA_HOME/hull or ~/.local/share/hull. *path is the caller's to free(). */
int image_store_default_path(char **path, struct error *err);

/* Opens the store and takes its lock; removes what dead processes left. hooks must outlive the store; NULL: none. */
int image_store_open(const char *path, enum image_store_access access,
		     const struct image_store_hooks *hooks, struct image_store **store,
		     struct error *err);
/*
 * From the shared to the exclusive lock. -EWOULDBLOCK, with the lock given up, where others use the store and wait is
 * false.
 */
int image_store_lock_exclusive(struct image_store *store, bool wait, struct error *err);
void image_store_close(struct image_store *store);

/* ---- names -------------------------------------------------------------------------------- */

struct image_name {
	char s[STORE_NAME_MAX + 1];
};

/* Checks an image's name and adds ":latest" where it has no tag and no digest. -EINVAL. */
int image_name_parse(const char *text, struct image_name *name, struct error *err);

/* The name for a source that was given without one: its last component and its tag, or a registry's whole reference. */
int image_name_of_source(const char *source, struct image_name *name, struct error *err);

struct image_reference {
	struct image_name name;
	char media_type[128];
	struct image_descriptor
		manifest; /* its media_type is the array above once image_store_resolve() has filled it */
	int64_t pulled; /* seconds since 1970 */
};

/* What a name refers to. -ENOENT. */
int image_store_resolve(struct image_store *store, const char *text,
			struct image_reference *reference, struct error *err);

/* All references, by name; the array is the caller's to free(). One that cannot be read is an error. */
int image_store_list(struct image_store *store, struct image_reference **references, size_t *count,
		     struct error *err);

/* Takes a name away; its data stays until image_store_prune(). -ENOENT. */
int image_store_remove(struct image_store *store, const char *text, struct error *err);

/* ---- content ------------------------------------------------------------------------------ */

/* The blobs of the store as a source without an index. The source must not outlive the store. */
int image_store_source(struct image_store *store, struct image_source **source, struct error *err);

/* The image of a reference, from the store's blobs. */
int image_store_load(struct image_store *store, const struct image_reference *reference,
		     struct arena *arena, struct image_manifest *manifest, struct error *err);

struct image_store_pull {
	const char *source;              /* as image_source_open() takes it */
	const char *name;                /* NULL: image_name_of_source() */
	bool plain_http;                 /* registries are spoken to without TLS */
	bool no_layers;                  /* blobs only: layers are unpacked when they are mounted */
	bool only_news;                  /* tell no step of what is there already */
	uint64_t max_bytes, max_entries; /* as in image_unpack_options */
};

/*
 * Copies an image to the store and unpacks its layers, two at once. What is there is neither fetched nor unpacked again, unless
 * it is found to be damaged. The
 * name refers to the image once all is there. *reference receives it.
 */
int image_store_pull(struct image_store *store, const struct image_store_pull *pull,
		     struct image_reference *reference, struct error *err);

/* An unpacked layer of an image in the store, or none. */
struct image_store_layer {
	bool unpacked;
	uint64_t bytes;   /* of the files in it */
	uint64_t entries; /* files, directories and so on */
};
/* All layers of an image, the lowest first, in the arena. */
int image_store_layers(struct image_store *store, const struct image_manifest *manifest,
		       struct arena *arena, struct image_store_layer **layers, struct error *err);

/* ---- mounts ------------------------------------------------------------------------------- */

/*
 * Mounts an image on a directory, as an overlay of its layers, which are unpacked where they are not yet. upper: a directory in
 * which `upper` and `work` are made, for changes; NULL: the mount is read-only. The use is recorded: what is
 * mounted anywhere is never removed. Needs CAP_SYS_ADMIN and a thread of its own for the work, so no other may wait for
 * the working directory to stay.
 */
int image_store_mount(struct image_store *store, const struct image_reference *reference,
		      const char *dir, const char *upper, struct error *err);

/* Unmounts what image_store_mount() mounted on the directory, and forgets the use. -EINVAL where it is no mount of this store. */
int image_store_umount(struct image_store *store, const char *dir, struct error *err);

/* ---- workloads ---------------------------------------------------------------------------- */

#define STORE_IDS 65536 /* ids that a workload with ids of its own has */

/* An image made ready to run. */
struct image_store_workload {
	char id[32];       /* of the use */
	uint32_t first_id; /* of those that are this workload's own; 0: none are */
	int bundle; /* STORE/uses/ID, with a shared lock: while somebody holds it, the use lasts */
	int tree;   /* the root file system, writable, as a mount that is attached nowhere */
};

/*
 * Makes a root file system of an image, whose manifest image_store_load() gave, for one workload: an overlay of its layers, which are unpacked where they are not yet, and of
 * a directory for its changes; and a bundle without a config.json, with an empty directory `rootfs`. The use is recorded, and lasts as
 * long as a mount of it, the directory `state`, or the lock of workload->bundle. Whoever ends the workload removes the
 * bundle. The descriptors are the caller's. Needs CAP_SYS_ADMIN.
 *
 * pool: ranges of the host's ids (host_id, size), of which the workload gets STORE_IDS that no other in the store has; or NULL. With
 * them image_store_map_workload() has to follow.
 */
int image_store_workload(struct image_store *store, const struct image_reference *reference,
			 const struct image_manifest *manifest, const char *state,
			 const struct oci_id_mappings *pool, struct image_store_workload *workload,
			 struct error *err);

/*
 * Once nothing more is written to the tree by us: replaces it by one with the ids that the user namespace gives to those of the image
 * (an idmapped mount of the store beneath the overlay). What is stored stays as the image has it.
 */
int image_store_map_workload(struct image_store *store, const struct image_reference *reference,
			     const struct image_manifest *manifest, int user_ns,
			     struct image_store_workload *workload, struct error *err);

/* Removes a workload that nobody has seen yet, and closes its descriptors. */
void image_store_abandon(struct image_store *store, struct image_store_workload *workload);

/* ---- trees -------------------------------------------------------------------------------- */

/* The root file system of an image, to be read. */
struct image_store_tree {
	int tree;      /* a read-only mount that is attached nowhere */
	int claim;     /* the lock of what it is made of, in STORE/tmp */
	char name[32]; /* in there */
};

/*
 * Makes an overlay of the image's layers, which are all unpacked: -ENOENT where one is not. It lasts until image_store_close_tree(), before
 * which the store must not be closed. Needs CAP_SYS_ADMIN.
 */
int image_store_open_tree(struct image_store *store, const struct image_manifest *manifest,
			  struct image_store_tree *tree, struct error *err);
void image_store_close_tree(struct image_store *store, struct image_store_tree *tree);

/* ---- the whole store ---------------------------------------------------------------------- */

struct image_store_pruned {
	uint64_t blobs, layers;
	uint64_t bytes;
};

/*
 * Removes blobs and layers that no reference and no mount needs. Needs the exclusive lock. Where one of these cannot be read,
 * nothing is removed, for nobody knows what it needs.
 */
int image_store_prune(struct image_store *store, struct image_store_pruned *pruned,
		      struct error *err);

struct image_store_verified {
	uint64_t blobs, layers, images, problems;
	uint64_t removed; /* damaged blobs and layers */
};

/*
 * Checks everything: blobs against their digests, layers against their records, references and what they refer to.
 * Each problem goes to tell(); those are no error of the function. repair: what is damaged is removed, so that a pull brings
 * it anew, but for layers that are mounted; needs the exclusive lock.
 */
int image_store_verify(struct image_store *store, bool repair,
		       void (*tell)(void *data, const char *line), void *data,
		       struct image_store_verified *verified, struct error *err);

/*
 * Writes an image as an OCI layout: "oci:DIR[:TAG]", a directory that is absent or empty, or
 * "oci-archive:FILE[:TAG]", a new file. It is there when it is whole.
 */
int image_store_export(struct image_store *store, const struct image_reference *reference,
		       const char *destination, struct error *err);

static inline void cleanup_image_store(struct image_store **store)
{
	image_store_close(*store);
}

#define _cleanup_image_store_ __attribute__((cleanup(cleanup_image_store)))

#endif
