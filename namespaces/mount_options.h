/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount options of config.json ("ro", "rbind", "rprivate", "size=64k") sorted by what the kernel
 * does with them (runtime-spec config.md "Linux mount options"; mount_setattr(2), fsconfig(2)).
 */
#ifndef HULL_NAMESPACES_MOUNT_OPTIONS_H
#define HULL_NAMESPACES_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "oci/config.h"

#define MOUNT_DATA_MAX 64 /* options for the file system itself, a mount */

enum mount_idmap {
	IDMAP_NONE,
	IDMAP_TOP,       /* "idmap": of this mount only */
	IDMAP_RECURSIVE, /* "ridmap": of all mounts below it, too */
};

struct mount_options {
	bool bind, recursive_bind, remount;
	bool tmpcopyup;                   /* a tmpfs gets a copy of what it covers */
	bool copy_symlink;                /* a source that is a symbolic link is made anew */
	bool src_nofollow, dest_nofollow; /* a link in the last place is itself what is meant */
	enum mount_idmap idmap;
	const char *idmap_spec;          /* what follows "idmap=", borrowed; NULL without */
	uint64_t attr_set, attr_clear;   /* MOUNT_ATTR_…, of this mount */
	uint64_t rattr_set, rattr_clear; /* the same of this mount and all below it */
	unsigned long propagation;       /* MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE or 0 */
	bool propagation_recursive;
	bool read_only;             /* "ro" came last, before any "rw" */
	unsigned long legacy_flags; /* MS_… that only mount(2) knows, for the classic call */
	const char *sb_flags[8];    /* superblock flags for fsconfig(2): "sync", "lazytime", … */
	size_t sb_flag_count;
	const char *data
		[MOUNT_DATA_MAX]; /* "key" or "key=value", in order, borrowed from the configuration */
	size_t data_count;
};

/* Whether an option is one that maps the ids of a mount: idmap, ridmap, and crun's idmap=…, ridmap=… */
bool mount_option_is_idmap(const char *option);

/* Sorts the options of one mount. index: its place in /mounts, for messages. */
int mount_options_parse(struct mount_options *opts, const struct oci_mount *mount, size_t index,
			struct error *err);

/*
 * The name of the index-th option that hull handles itself, for `features`; NULL after the last.
 */
const char *mount_option_name(size_t index);

/* MS_PRIVATE, … of "private", "rshared", …; 0 where it is none. */
unsigned long mount_propagation(const char *name, bool *recursive);

#endif
