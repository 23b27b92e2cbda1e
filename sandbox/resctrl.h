/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.intelRdt: a share of cache and memory bandwidth, and their monitoring, by the kernel's resctrl file system. A
 * directory of it is a class of service (CLOS): its `schemata` say what the processes in its `tasks` get; a directory in
 * its mon_groups counts for some of them.
 *
 * A container without closID gets a class of its own, named like it, which goes with it. One with a closID shares that class
 * with others: where it exists it must be as the configuration says, and stays; where hull made it, it goes with the
 * container, unless others are in it by then. "/" is the default class. Processes that an exec makes are put in, too; who is
 * born in the container inherits.
 *
 * What was made is noted in the file `resctrl` of the state directory before it is made, so that whatever command is
 * killed, delete finds it.
 *
 * Every function works on a descriptor of the mounted file system, so that tests can give an ordinary directory.
 *
 * Sources: runtime-spec config-linux.md "IntelRdt", Documentation/filesystems/resctrl.rst.
 */
#ifndef HULL_SANDBOX_RESCTRL_H
#define HULL_SANDBOX_RESCTRL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "oci/config.h"

/* Checks what needs no host; rdt may be NULL. -EINVAL with the JSON path. */
int resctrl_check(const struct oci_intel_rdt *rdt, struct error *err);

/* Opens the mounted resctrl, verified to be one. Returns the descriptor; -ENODEV where none is mounted. */
int resctrl_open(struct error *err);

/* Finds its mount point in the text of a mountinfo file: 0, or -ENOENT. */
int resctrl_find_mount(const char *mountinfo, char *path, size_t size);

/*
 * Makes what the configuration asks for of the container id: the three functions below in their order. What fails half-way
 * is removed by resctrl_destroy().
 */
int resctrl_make(int root, const struct oci_intel_rdt *rdt, const char *id, int state_dir,
		 struct error *err);

/*
 * Notes in state_dir and makes the class, where it does not exist (*made). -EEXIST where one of the container's name exists
 * already, -ENOENT where closID is to be one that was set up by others, and is not there.
 */
int resctrl_make_group(int root, const struct oci_intel_rdt *rdt, const char *id, int state_dir,
		       bool *made, struct error *err);

/* Writes the schemata of a class that was made; of another compares l3CacheSchema and memBwSchema (-EINVAL) and writes schemata. */
int resctrl_configure(int root, const struct oci_intel_rdt *rdt, const char *id, bool made,
		      struct error *err);

/* Writes l3CacheSchema and memBwSchema to the container's class, whoever made it. What they do not name stays as it is. */
int resctrl_update(int root, const struct oci_intel_rdt *rdt, const char *id, struct error *err);

/* With enableMonitoring: makes the group that counts for the container. */
int resctrl_make_monitor(int root, const struct oci_intel_rdt *rdt, const char *id,
			 struct error *err);

/* Puts a process into the class, and into the group that counts. */
int resctrl_enter(int root, const struct oci_intel_rdt *rdt, const char *id, pid_t pid,
		  struct error *err);

/* Removes what is noted in state_dir, and the note. root may be negative: no resctrl is mounted, and so nothing is there. */
int resctrl_destroy(int root, int state_dir, struct error *err);

/* Whether something is noted. */
bool resctrl_noted(int state_dir);

#endif
