/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table says for every option of the specification what it sets and clears. The options with
 * an "r" in front act on the whole tree below a mount, in one mount_setattr(2).
 */
#include "namespaces/mount_options.h"

#include <string.h>

#include "base/syscalls.h"

enum option_kind {
	OPT_IGNORED, /* has no effect that can be asked for by the new mount calls */
	OPT_BIND,
	OPT_RBIND,
	OPT_REMOUNT,
	OPT_ATTR,  /* mount attribute */
	OPT_RATTR, /* recursive mount attribute */
	OPT_PROPAGATION,
	OPT_SB,      /* superblock flag, also MS_… for mount(2) */
	OPT_REFUSED, /* known, and not done yet */
};

#define ATIME_MASK MOUNT_ATTR__ATIME

static const struct option {
	const char *name;
	enum option_kind kind;
	uint64_t set, clear; /* MOUNT_ATTR_… for attributes, MS_… for the others */
} options[] = {
	{ "async", OPT_SB, 0, MS_SYNCHRONOUS },
	{ "atime", OPT_ATTR, 0, MOUNT_ATTR_NOATIME },
	{ "bind", OPT_BIND, 0, 0 },
	{ "defaults", OPT_IGNORED, 0, 0 },
	{ "dev", OPT_ATTR, 0, MOUNT_ATTR_NODEV },
	{ "diratime", OPT_ATTR, 0, MOUNT_ATTR_NODIRATIME },
	{ "dirsync", OPT_SB, MS_DIRSYNC, 0 },
	{ "exec", OPT_ATTR, 0, MOUNT_ATTR_NOEXEC },
	{ "idmap", OPT_REFUSED, 0, 0 },
	{ "iversion", OPT_SB, MS_I_VERSION, 0 },
	{ "lazytime", OPT_SB, MS_LAZYTIME, 0 },
	{ "loud", OPT_IGNORED, 0, 0 },
	{ "mand", OPT_SB, MS_MANDLOCK, 0 },
	{ "noatime", OPT_ATTR, MOUNT_ATTR_NOATIME, 0 },
	{ "nodev", OPT_ATTR, MOUNT_ATTR_NODEV, 0 },
	{ "nodiratime", OPT_ATTR, MOUNT_ATTR_NODIRATIME, 0 },
	{ "noexec", OPT_ATTR, MOUNT_ATTR_NOEXEC, 0 },
	{ "noiversion", OPT_SB, 0, MS_I_VERSION },
	{ "nolazytime", OPT_SB, 0, MS_LAZYTIME },
	{ "nomand", OPT_SB, 0, MS_MANDLOCK },
	{ "norelatime", OPT_ATTR, 0, MOUNT_ATTR_RELATIME },
	{ "nostrictatime", OPT_ATTR, 0, MOUNT_ATTR_STRICTATIME },
	{ "nosuid", OPT_ATTR, MOUNT_ATTR_NOSUID, 0 },
	{ "nosymfollow", OPT_ATTR, MOUNT_ATTR_NOSYMFOLLOW, 0 },
	{ "private", OPT_PROPAGATION, MS_PRIVATE, 0 },
	{ "ratime", OPT_RATTR, 0, MOUNT_ATTR_NOATIME },
	{ "rbind", OPT_RBIND, 0, 0 },
	{ "rdev", OPT_RATTR, 0, MOUNT_ATTR_NODEV },
	{ "rdiratime", OPT_RATTR, 0, MOUNT_ATTR_NODIRATIME },
	{ "relatime", OPT_ATTR, MOUNT_ATTR_RELATIME, 0 },
	{ "remount", OPT_REMOUNT, 0, 0 },
	{ "rexec", OPT_RATTR, 0, MOUNT_ATTR_NOEXEC },
	{ "ridmap", OPT_REFUSED, 0, 0 },
	{ "rnoatime", OPT_RATTR, MOUNT_ATTR_NOATIME, 0 },
	{ "rnodev", OPT_RATTR, MOUNT_ATTR_NODEV, 0 },
	{ "rnodiratime", OPT_RATTR, MOUNT_ATTR_NODIRATIME, 0 },
	{ "rnoexec", OPT_RATTR, MOUNT_ATTR_NOEXEC, 0 },
	{ "rnorelatime", OPT_RATTR, 0, MOUNT_ATTR_RELATIME },
	{ "rnostrictatime", OPT_RATTR, 0, MOUNT_ATTR_STRICTATIME },
	{ "rnosuid", OPT_RATTR, MOUNT_ATTR_NOSUID, 0 },
	{ "rnosymfollow", OPT_RATTR, MOUNT_ATTR_NOSYMFOLLOW, 0 },
	{ "ro", OPT_ATTR, MOUNT_ATTR_RDONLY, 0 },
	{ "rprivate", OPT_PROPAGATION, MS_PRIVATE | MS_REC, 0 },
	{ "rrelatime", OPT_RATTR, MOUNT_ATTR_RELATIME, 0 },
	{ "rro", OPT_RATTR, MOUNT_ATTR_RDONLY, 0 },
	{ "rrw", OPT_RATTR, 0, MOUNT_ATTR_RDONLY },
	{ "rshared", OPT_PROPAGATION, MS_SHARED | MS_REC, 0 },
	{ "rslave", OPT_PROPAGATION, MS_SLAVE | MS_REC, 0 },
	{ "rstrictatime", OPT_RATTR, MOUNT_ATTR_STRICTATIME, 0 },
	{ "rsuid", OPT_RATTR, 0, MOUNT_ATTR_NOSUID },
	{ "rsymfollow", OPT_RATTR, 0, MOUNT_ATTR_NOSYMFOLLOW },
	{ "runbindable", OPT_PROPAGATION, MS_UNBINDABLE | MS_REC, 0 },
	{ "rw", OPT_ATTR, 0, MOUNT_ATTR_RDONLY },
	{ "shared", OPT_PROPAGATION, MS_SHARED, 0 },
	{ "silent", OPT_IGNORED, 0, 0 },
	{ "slave", OPT_PROPAGATION, MS_SLAVE, 0 },
	{ "strictatime", OPT_ATTR, MOUNT_ATTR_STRICTATIME, 0 },
	{ "suid", OPT_ATTR, 0, MOUNT_ATTR_NOSUID },
	{ "symfollow", OPT_ATTR, 0, MOUNT_ATTR_NOSYMFOLLOW },
	{ "sync", OPT_SB, MS_SYNCHRONOUS, 0 },
	{ "tmpcopyup", OPT_REFUSED, 0, 0 },
	{ "unbindable", OPT_PROPAGATION, MS_UNBINDABLE, 0 },
};

static const struct option *option_find(const char *name)
{
	size_t low = 0, high = ARRAY_SIZE(options);

	while (low < high) {
		size_t mid = (low + high) / 2;
		int order = strcmp(name, options[mid].name);

		if (!order)
			return &options[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

const char *mount_option_name(size_t index)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].kind != OPT_REFUSED && index-- == 0)
			return options[i].name;
	return NULL;
}

unsigned long mount_propagation(const char *name, bool *recursive)
{
	const struct option *o = option_find(name);

	if (!o || o->kind != OPT_PROPAGATION)
		return 0;
	*recursive = (o->set & MS_REC) != 0;
	return o->set & ~(unsigned long)MS_REC;
}

/*
 * An attribute: what is set last wins. The access-time modes are one field of the kernel's, in which
 * relatime is 0: choosing a mode clears the field, and leaving noatime or strictatime means relatime.
 */
static void apply_attr(uint64_t *set, uint64_t *clear, const struct option *o)
{
	uint64_t touched = o->set | o->clear;
	bool mode = (touched & ATIME_MASK) || !touched;

	if (mode) {
		*set = (*set & ~(uint64_t)ATIME_MASK) | o->set;
		*clear |= ATIME_MASK;
		return;
	}
	*set = (*set & ~o->clear) | o->set;
	*clear = (*clear & ~o->set) | o->clear;
}

static void apply_sb(struct mount_options *opts, const struct option *o)
{
	opts->legacy_flags =
		(opts->legacy_flags & ~(unsigned long)o->clear) | (unsigned long)o->set;
	/* The kernel has no word for this one in fsconfig(2), only a bit of mount(2). */
	if ((o->set | o->clear) & MS_I_VERSION)
		return;
	if (opts->sb_flag_count < ARRAY_SIZE(opts->sb_flags))
		opts->sb_flags[opts->sb_flag_count++] = o->name;
}

static int apply_option(struct mount_options *opts, const struct option *o, const char *where,
			struct error *err)
{
	switch (o->kind) {
	case OPT_BIND:
		opts->bind = true;
		break;
	case OPT_RBIND:
		opts->bind = opts->recursive_bind = true;
		break;
	case OPT_REMOUNT:
		opts->remount = true;
		break;
	case OPT_ATTR:
		apply_attr(&opts->attr_set, &opts->attr_clear, o);
		break;
	case OPT_RATTR:
		/* Also of the top: what comes later in the list decides there, "r" or not. */
		apply_attr(&opts->rattr_set, &opts->rattr_clear, o);
		apply_attr(&opts->attr_set, &opts->attr_clear, o);
		break;
	case OPT_PROPAGATION:
		opts->propagation = mount_propagation(o->name, &opts->propagation_recursive);
		break;
	case OPT_SB:
		apply_sb(opts, o);
		break;
	case OPT_REFUSED:
		return error_set(err, ENOTSUP, "%s: mount option `%s` is not supported yet", where,
				 o->name);
	case OPT_IGNORED:
		break;
	}
	return 0;
}

int mount_options_parse(struct mount_options *opts, const struct oci_mount *mount, size_t index,
			struct error *err)
{
	*opts = (struct mount_options){ 0 };
	/* podman and docker write type "bind" with or without the option; both mean a bind mount. */
	if (mount->type && !strcmp(mount->type, "bind"))
		opts->bind = true;
	for (size_t i = 0; i < mount->options.len; i++) {
		const struct option *o = option_find(mount->options.items[i]);
		char where[64];
		int r;

		snprintf(where, sizeof(where), "/mounts/%zu/options/%zu", index, i);
		if (o) {
			r = apply_option(opts, o, where, err);
			if (r < 0)
				return r;
			continue;
		}
		if (!strncmp(mount->options.items[i], "idmap=", 6) ||
		    !strncmp(mount->options.items[i], "ridmap=", 7))
			return error_set(err, ENOTSUP, "%s: idmapped mounts are not supported yet",
					 where);
		if (opts->data_count == MOUNT_DATA_MAX)
			return error_set(
				err, E2BIG,
				"/mounts/%zu/options: more than %d options for the file system",
				index, MOUNT_DATA_MAX);
		opts->data[opts->data_count++] = mount->options.items[i];
	}
	opts->read_only = (opts->attr_set & MOUNT_ATTR_RDONLY) != 0;
	return 0;
}
