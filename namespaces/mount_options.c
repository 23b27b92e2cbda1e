/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table says for every option of the specification what it sets and clears. The options with
 * an "r" in front act on the whole tree below a mount, in one mount_setattr(2).
 */
#include "namespaces/mount_options.h"

#include <assert.h>
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
	OPT_SB,     /* superblock flag, also MS_… for mount(2) */
	OPT_LEGACY, /* a flag that only mount(2) has */
	OPT_IDMAP,  /* set: enum mount_idmap */
	OPT_TMPCOPYUP,
	OPT_COPY_SYMLINK,
	OPT_SRC_NOFOLLOW,
	OPT_DEST_NOFOLLOW,
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
	{ "copy-symlink", OPT_COPY_SYMLINK, 0, 0 },
	{ "defaults", OPT_IGNORED, 0, 0 },
	{ "dest-nofollow", OPT_DEST_NOFOLLOW, 0, 0 },
	{ "dev", OPT_ATTR, 0, MOUNT_ATTR_NODEV },
	{ "diratime", OPT_ATTR, 0, MOUNT_ATTR_NODIRATIME },
	{ "dirsync", OPT_SB, MS_DIRSYNC, 0 },
	{ "exec", OPT_ATTR, 0, MOUNT_ATTR_NOEXEC },
	{ "idmap", OPT_IDMAP, IDMAP_TOP, 0 },
	{ "iversion", OPT_LEGACY, MS_I_VERSION, 0 },
	{ "lazytime", OPT_SB, MS_LAZYTIME, 0 },
	{ "loud", OPT_LEGACY, 0, MS_SILENT },
	{ "mand", OPT_SB, MS_MANDLOCK, 0 },
	{ "noatime", OPT_ATTR, MOUNT_ATTR_NOATIME, 0 },
	{ "nodev", OPT_ATTR, MOUNT_ATTR_NODEV, 0 },
	{ "nodiratime", OPT_ATTR, MOUNT_ATTR_NODIRATIME, 0 },
	{ "noexec", OPT_ATTR, MOUNT_ATTR_NOEXEC, 0 },
	{ "noiversion", OPT_LEGACY, 0, MS_I_VERSION },
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
	{ "ridmap", OPT_IDMAP, IDMAP_RECURSIVE, 0 },
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
	{ "silent", OPT_LEGACY, MS_SILENT, 0 },
	{ "slave", OPT_PROPAGATION, MS_SLAVE, 0 },
	{ "src-nofollow", OPT_SRC_NOFOLLOW, 0, 0 },
	{ "strictatime", OPT_ATTR, MOUNT_ATTR_STRICTATIME, 0 },
	{ "suid", OPT_ATTR, 0, MOUNT_ATTR_NOSUID },
	{ "symfollow", OPT_ATTR, 0, MOUNT_ATTR_NOSYMFOLLOW },
	{ "sync", OPT_SB, MS_SYNCHRONOUS, 0 },
	{ "tmpcopyup", OPT_TMPCOPYUP, 0, 0 },
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
		if (index-- == 0)
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
	size_t kept = 0;

	opts->legacy_flags =
		(opts->legacy_flags & ~(unsigned long)o->clear) | (unsigned long)o->set;
	/* fsconfig(2) takes words; for iversion and silent there is none, only a bit of mount(2). */
	if (o->kind == OPT_LEGACY)
		return;
	/* Each once, in the order of their last mention: there is room for all that there are. */
	for (size_t i = 0; i < opts->sb_flag_count; i++)
		if (opts->sb_flags[i] != o->name)
			opts->sb_flags[kept++] = opts->sb_flags[i];
	assert(kept < ARRAY_SIZE(opts->sb_flags));
	opts->sb_flags[kept++] = o->name;
	opts->sb_flag_count = kept;
}

static void apply_option(struct mount_options *opts, const struct option *o)
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
	case OPT_LEGACY:
		apply_sb(opts, o);
		break;
	case OPT_IDMAP:
		opts->idmap = (enum mount_idmap)o->set;
		break;
	case OPT_TMPCOPYUP:
		opts->tmpcopyup = true;
		break;
	case OPT_COPY_SYMLINK:
		opts->copy_symlink = true;
		break;
	case OPT_SRC_NOFOLLOW:
		opts->src_nofollow = true;
		break;
	case OPT_DEST_NOFOLLOW:
		opts->dest_nofollow = true;
		break;
	case OPT_IGNORED:
		break;
	}
}

bool mount_option_is_idmap(const char *option)
{
	option += *option == 'r';
	return !strcmp(option, "idmap") || !strncmp(option, "idmap=", 6);
}

/* "idmap=uids=…;gids=…", crun's way to give a mount its own mapping. */
static bool apply_idmap_spec(struct mount_options *opts, const char *text)
{
	size_t r = text[0] == 'r';

	if (strncmp(text + r, "idmap=", 6))
		return false;
	opts->idmap = r ? IDMAP_RECURSIVE : IDMAP_TOP;
	opts->idmap_spec = text + r + 6;
	return true;
}

static int refuse(size_t index, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "/mounts/%zu/options: %s", index, what);
}

/* What contradicts itself, or would be without effect. */
static int check_options(struct mount_options *opts, const struct oci_mount *mount, size_t index,
			 struct error *err)
{
	bool own = mount->uid_mappings.len || mount->gid_mappings.len;

	if (!mount->uid_mappings.len != !mount->gid_mappings.len)
		return error_set(err, EINVAL,
				 "/mounts/%zu/%s: is missing, and both mappings are needed", index,
				 mount->uid_mappings.len ? "gidMappings" : "uidMappings");
	/* Mappings without the option mean the same: engines of before 1.2 write that. */
	if (own && !opts->idmap)
		opts->idmap = IDMAP_TOP;
	if (own && opts->idmap_spec)
		return refuse(index, "`idmap=…` and uidMappings exclude one another", err);
	if (opts->idmap && (!opts->bind || opts->remount))
		return refuse(index, "`idmap` and mappings are for bind mounts", err);
	if (opts->tmpcopyup &&
	    (opts->bind || opts->remount || !mount->type || strcmp(mount->type, "tmpfs")))
		return refuse(index, "`tmpcopyup` is for mounts of type tmpfs", err);
	if ((opts->copy_symlink || opts->src_nofollow) && (!opts->bind || opts->remount))
		return refuse(index, "`copy-symlink` and `src-nofollow` are for bind mounts", err);
	if (opts->copy_symlink && (opts->src_nofollow || opts->dest_nofollow))
		return refuse(index, "`copy-symlink` excludes `src-nofollow` and `dest-nofollow`",
			      err);
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

		if (o)
			apply_option(opts, o);
		if (o || apply_idmap_spec(opts, mount->options.items[i]))
			continue;
		if (opts->data_count == MOUNT_DATA_MAX)
			return error_set(
				err, E2BIG,
				"/mounts/%zu/options: more than %d options for the file system",
				index, MOUNT_DATA_MAX);
		opts->data[opts->data_count++] = mount->options.items[i];
	}
	opts->read_only = (opts->attr_set & MOUNT_ATTR_RDONLY) != 0;
	return check_options(opts, mount, index, err);
}
