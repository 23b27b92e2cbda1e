/* SPDX-License-Identifier: Apache-2.0 */
/* What checkpoint.c and restore.c share. */
#ifndef HULL_RUNTIME_CHECKPOINT_H
#define HULL_RUNTIME_CHECKPOINT_H

#include "base/error.h"
#include "sandbox/manifest.h"

/*
 * Opens the directory for CRIU's log: at path, or (NULL) in the state directory behind state_dir. It is made where it is missing.
 */
int checkpoint_open_work(const char *path, int state_dir, struct error *err);

/* Makes a directory with those above it, and opens it. Relative to the working directory. */
int checkpoint_make_dir(const char *path, struct error *err);

/* ---- checkpoint_image.c --------------------------------------------------------------------------------- */

/* Of which image the bundle is that `hull run --image` has made. Strings are in the arena. -ENOTSUP where it has ids of its own. */
int checkpoint_find_image(const char *bundle, struct arena *arena, struct manifest_image *image,
			  struct error *err);

/* Adds what was changed of the image to the checkpoint's directory. The workload stands still. */
int checkpoint_add_changes(const char *bundle, int images, struct error *err);

#endif
