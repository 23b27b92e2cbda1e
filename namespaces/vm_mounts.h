/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of what a microVM's file server shares. To the guest a share is one file system, with the options of the guest's own
 * mount of it: it does not see what is mounted below on the host, nor nosuid and the like. So the host lists that, and the guest
 * mounts each place once more, on itself. A recursive bind mount there then finds the same tree as it would here.
 *
 * The mount table gives nothing but names; what is true of them the tree that is shared says itself. So a mount that comes, goes or
 * moves meanwhile is at worst not in the list: then it is seen with the options of what is around it, as what is mounted later.
 *
 * The list: "ATTRIBUTES PATH" a mount, each ended by a NUL, what is above before what is below; MOUNT_ATTR_…, all that are set, as a
 * decimal number, and a path in the file server's root.
 */
#ifndef HULL_NAMESPACES_VM_MOUNTS_H
#define HULL_NAMESPACES_VM_MOUNTS_H

#include "base/error.h"
#include "base/strbuf.h"

#define VM_MOUNTS_BYTES (512u << 10) /* of a list */

/* The mount table of the caller's mount namespace, as text. *table is the caller's to free(). */
int vm_mounts_read_table(char **table, struct error *err);

/*
 * Adds to list the detached mount tree, shared as name, and what is mounted below it. tree was cloned from what source, relative to
 * dir, leads to. -E2BIG where that is more than a list may have.
 */
int vm_mounts_list(const char *table, int tree, int dir, const char *source, const char *name,
		   struct strbuf *list, struct error *err);

/*
 * In the guest, in a mount namespace that nobody else needs: makes the mounts of a list below the directory shared. A place that is
 * not there (any more) is passed over with a warning; a symbolic link is none.
 */
int vm_mounts_make(const char *list, size_t len, int shared, struct error *err);

/* ---- for tests ------------------------------------------------------------------------------ */

/*
 * The places that the table has below the directory with the absolute path top, relative to that, in order, each once; what is above
 * comes before what is below. NULL behind the last; all in the arena. NULL: no memory.
 */
struct arena;
const char **vm_mounts_below(const char *table, const char *top, struct arena *arena);

#endif
