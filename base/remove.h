/* SPDX-License-Identifier: Apache-2.0 */
/* Removing a whole tree that may be hostile: no link is followed and no mount point is crossed. */
#ifndef HULL_BASE_REMOVE_H
#define HULL_BASE_REMOVE_H

#include "base/error.h"

/*
 * Removes name (one path component) in the directory dirfd, with all that is beneath it where it is
 * a directory. That nothing is there is success. Stops at the first thing that cannot be removed;
 * a mount point beneath is -EBUSY or -EXDEV and what is mounted there stays as it is. dirfd may be
 * an O_PATH descriptor. Uses three descriptors, however deep the tree is.
 */
int path_remove_tree(int dirfd, const char *name, struct error *err);

#endif
