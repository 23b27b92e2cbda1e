/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open directories of the tree that a layer is applied to. Entries come directory by directory, so with a few dozen of
 * them at hand, an entry's parent costs no system call.
 *
 * A directory's modification time is what the layers say and not when we put something into it. So each
 * remembers its times when it is opened and sets them again when it is closed: of a directory that is not in here the times are
 * always right, and nothing is kept about it.
 *
 * Paths are canonical: relative to the root, without "." or links, "" for the root. Whoever removes a directory
 * calls layer_dirs_forget(), so that a path here never leads to what is gone.
 */
#ifndef HULL_OCI_IMAGE_LAYER_DIRS_H
#define HULL_OCI_IMAGE_LAYER_DIRS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "base/error.h"

#define LAYER_DIRS 64

struct layer_dir {
	char *path; /* NULL: an empty slot */
	uint64_t hash, used;
	int fd; /* O_PATH */
	unsigned pins;
	bool gone;        /* removed, and closed as soon as nobody pins it */
	bool changed;     /* its times must be set */
	bool default_acl; /* what is made in it inherits access control lists, and must not */
	struct timespec times[2]; /* access, modification: for utimensat(2) */
};

struct layer_dirs {
	struct layer_dir slots[LAYER_DIRS]; /* the first is the root, which stays */
	uint64_t seed, clock;
};

/* root is not taken over. */
int layer_dirs_init(struct layer_dirs *dirs, int root, struct error *err);

/* The directory of a canonical path where it is open, else NULL. */
struct layer_dir *layer_dirs_find(struct layer_dirs *dirs, const char *path);

/*
 * Adds an open directory, fd taken over also on an error. The result is valid until the next call, or longer where it
 * is pinned.
 */
int layer_dirs_add(struct layer_dirs *dirs, const char *path, int fd, struct layer_dir **dir,
		   struct error *err);

static inline void layer_dir_pin(struct layer_dir *dir)
{
	dir->pins++;
}
void layer_dir_unpin(struct layer_dir *dir);

/* What is at a canonical path is about to be removed, with all beneath it. */
void layer_dirs_forget(struct layer_dirs *dirs, const char *path);

/* Sets all times. */
int layer_dirs_finish(struct layer_dirs *dirs, struct error *err);
void layer_dirs_free(struct layer_dirs *dirs);

#endif
