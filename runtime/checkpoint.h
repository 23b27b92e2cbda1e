/* SPDX-License-Identifier: Apache-2.0 */
/* What checkpoint.c and restore.c share. */
#ifndef HULL_RUNTIME_CHECKPOINT_H
#define HULL_RUNTIME_CHECKPOINT_H

#include "base/error.h"

/*
 * Opens the directory for CRIU's log: at path, or (NULL) in the state directory behind state_dir. It is made where it is missing.
 */
int checkpoint_open_work(const char *path, int state_dir, struct error *err);

/* Makes a directory with those above it, and opens it. Relative to the working directory. */
int checkpoint_make_dir(const char *path, struct error *err);

#endif
