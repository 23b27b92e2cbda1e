/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owner, extended attributes, mode and times of what was just made, through one descriptor of
 * it, in this order: chown(2) clears set-user-id bits and file capabilities, so it comes first; without
 * privileges, extended attributes need write permission, so they come before the mode. What is right already,
 * as the kernel says, costs no call.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "base/process.h"
#include "oci/image/layer_internal.h"

#define ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "leave unchanged" */

#define ACL_PREFIX  "system.posix_acl_"
#define ACL_ACCESS  ACL_PREFIX "access"
#define ACL_DEFAULT ACL_PREFIX "default"
#define CAPABILITY  "security.capability"

/* An owner, or an id in an access control list, that the user namespace that we are in does not have. */
static int no_such_id(const char *what, struct error *err)
{
	return error_set(err, EINVAL,
			 "%s is not among the ids of this user: grant it more in "
			 "/etc/subuid and /etc/subgid, or use --rootless",
			 what);
}

static bool owner_fits(int64_t uid, int64_t gid)
{
	return uid >= 0 && uid <= (int64_t)ID_MAX && gid >= 0 && gid <= (int64_t)ID_MAX;
}

static int set_owner(struct layer *layer, struct archive_entry *entry, const struct item *item,
		     struct error *err)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (!owner_fits(uid, gid))
		return error_set(err, ERANGE, "owner %lld:%lld is out of range", (long long)uid,
				 (long long)gid);
	if (layer->target->rootless ||
	    (item->st.st_uid == (uid_t)uid && item->st.st_gid == (gid_t)gid))
		return 0;
	if (fchownat(item->fd, "", (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno == EINVAL) {
		char what[64];

		snprintf(what, sizeof(what), "owner %lld:%lld", (long long)uid, (long long)gid);
		return no_such_id(what, err);
	}
	return error_errno(err, errno, "set the owner %lld:%lld", (long long)uid, (long long)gid);
}

mode_t layer_create_mode(const struct layer *layer, struct archive_entry *entry)
{
	mode_t mode = layer_acl_mode(entry) & 0777;
	bool is_dir = archive_entry_filetype(entry) == AE_IFDIR;
	bool ours = layer->target->rootless || (archive_entry_uid(entry) == (int64_t)layer->uid &&
						archive_entry_gid(entry) == (int64_t)layer->gid);

	if (!ours)
		return is_dir ? 0700 : 0600;
	return layer->target->rootless && is_dir ? mode | 0700 : mode;
}

/*
 * The attributes that an image may set. Labels of LSMs are the host's own. trusted.overlay.* and
 * user.overlay.* are orders to an overlay that someone may mount over this root file system: a redirect in there
 * would show files from elsewhere.
 */
bool layer_xattr_allowed(const char *name)
{
	static const char *const overlay[] = { "trusted.overlay.", "user.overlay." };
	static const char *const whole[] = { CAPABILITY, ACL_ACCESS, ACL_DEFAULT };

	for (size_t i = 0; i < ARRAY_SIZE(overlay); i++)
		if (!strncmp(name, overlay[i], strlen(overlay[i])))
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		if (!strcmp(name, whole[i]))
			return true;
	return !strncmp(name, "user.", 5) || !strncmp(name, "trusted.", 8);
}

/* A directory that stays gets the entry's attributes and keeps none of its own (layer.md). */
static void clear_xattrs(const char *item)
{
	char names[16384];
	ssize_t len = listxattr(item, names, sizeof(names));

	for (const char *name = names; len > 0;) {
		size_t size = strlen(name) + 1;

		if (layer_xattr_allowed(name))
			removexattr(item, name);
		name += size;
		len -= (ssize_t)size;
	}
}

/*
 * A capability of a file with a root of its own (version 3) is for a user namespace of whoever made the layer, where that
 * id was root; it says nothing here. In our user namespace it becomes one without (version 2), to which the kernel adds the root of
 * this namespace; it refuses an id that it does not know.
 */
static const void *own_capability(const void *value, size_t *size, struct vfs_cap_data *own)
{
	const struct vfs_ns_cap_data *theirs = value;
	uint32_t magic;

	if (*size != XATTR_CAPS_SZ_3 || process_is_host_root())
		return value;
	memcpy(own, value, sizeof(*own));
	memcpy(&magic, &theirs->magic_etc, sizeof(magic));
	magic = le32toh(magic);
	if ((magic & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_3)
		return value;
	own->magic_etc = htole32((magic & ~(uint32_t)VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_2);
	*size = sizeof(*own);
	return own;
}

static int set_xattr(struct layer *layer, const struct place *place, const char *item,
		     const char *name, const void *value, size_t size, struct error *err)
{
	struct vfs_cap_data own;

	if (!layer_xattr_allowed(name)) {
		layer_warn_once(
			layer, LAYER_WARN_XATTR_SKIPPED,
			"`%s` of the image: extended attribute `%.64s` is not set: not an image's to set",
			place->path, name);
		return 0;
	}
	if (!strcmp(name, CAPABILITY))
		value = own_capability(value, &size, &own);
	if (setxattr(item, name, value, size, 0) == 0)
		return 0;
	switch (errno) {
	case ENOTSUP:
		layer_warn_once(
			layer, LAYER_WARN_XATTR_UNSUPPORTED,
			"`%s` of the image: extended attribute `%.64s` is not set: the file system does not support it",
			place->path, name);
		return 0;
	case EPERM:
	case EACCES:
		/* Without root for trusted.* and security.*; user.* on what is neither file nor directory. */
		layer_warn_once(
			layer, LAYER_WARN_XATTR_DENIED,
			"`%s` of the image: extended attribute `%.64s` is not set: not permitted",
			place->path, name);
		return 0;
	case EINVAL:
		if (!strncmp(name, ACL_PREFIX, strlen(ACL_PREFIX)) && !process_is_host_root())
			return no_such_id("an id in the access control list", err);
		/* fall through */
	default:
		return error_errno(err, errno, "set the extended attribute `%.256s`", name);
	}
}

/*
 * An access control list that came as text. (Most tools write the extended attribute itself.) The list of a
 * directory for what is made in it is its own attribute.
 */
static int set_acl(struct layer *layer, struct archive_entry *entry, const struct place *place,
		   const char *item, int type, const char *name, struct error *err)
{
	char value[LAYER_ACL_BYTES];
	ssize_t size = layer_acl_encode(entry, type, value, sizeof(value));

	if (size > 0)
		return set_xattr(layer, place, item, name, value, (size_t)size, err);
	if (size < 0)
		layer_warn_once(layer, LAYER_WARN_ACL,
				"`%s` of the image: its access control list is not set: "
				"it has no numbers, or too many",
				place->path);
	return 0;
}

static int set_xattrs(struct layer *layer, struct archive_entry *entry, const struct place *place,
		      const char *item, struct error *err)
{
	const char *name;
	const void *value;
	size_t size;
	int r = 0;

	archive_entry_xattr_reset(entry);
	while (r >= 0 && archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
		r = set_xattr(layer, place, item, name, value, size, err);
	if (r >= 0)
		r = set_acl(layer, entry, place, item, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ACL_ACCESS,
			    err);
	if (r >= 0)
		r = set_acl(layer, entry, place, item, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, ACL_DEFAULT,
			    err);
	return r;
}

static bool has_xattrs(struct archive_entry *entry)
{
	return archive_entry_xattr_count(entry) > 0 || archive_entry_acl_types(entry);
}

/* All attributes of an item that may have some, or is to have some. */
static int replace_xattrs(struct layer *layer, struct archive_entry *entry,
			  const struct place *place, const char *item, struct layer_dir *self,
			  struct error *err)
{
	int r;

	/* Of a directory that was there, and what was inherited from the directory above. */
	clear_xattrs(item);
	r = set_xattrs(layer, entry, place, item, err);
	if (self)
		self->default_acl = getxattr(item, ACL_DEFAULT, NULL, 0) > 0;
	return r;
}

/* Without CAP_DAC_OVERRIDE we must be able to put things into a directory until the last layer is done. */
static int defer_mode(struct layer *layer, const struct place *place, mode_t *mode,
		      struct error *err)
{
	struct path_map *modes = &layer->target->modes;
	struct path_info *info = path_map_find(modes, place->path);

	if (!info && (*mode & 0700) == 0700)
		return 0;
	if (!info)
		info = path_map_add(modes, place->path);
	if (!info)
		return error_errno(err, ENOMEM, "remember the mode of a directory");
	info->mode = *mode;
	*mode |= 0700;
	return 0;
}

static int set_mode(struct layer *layer, struct archive_entry *entry, const struct place *place,
		    const struct item *item, bool always, struct error *err)
{
	mode_t mode = layer_acl_mode(entry);
	mode_t type = archive_entry_filetype(entry);
	int r;

	if (type == AE_IFLNK)
		return 0;
	if (layer->target->rootless && type == AE_IFDIR) {
		r = defer_mode(layer, place, &mode, err);
		if (r < 0)
			return r;
	}
	if (!always && (item->st.st_mode & 07777) == mode)
		return 0;
	/* The magic link names the very object, whatever kind of descriptor it is. */
	if (chmod(path_of_fd(item->fd).s, mode) < 0)
		return error_errno(err, errno, "set the mode %04o", mode);
	return 0;
}

static struct timespec time_of(bool is_set, time_t seconds, long nanoseconds)
{
	/* utimensat(2) has meanings of its own for nanoseconds out of range. */
	if (!is_set)
		return (struct timespec){ 0, 0 };
	return (struct timespec){ seconds,
				  nanoseconds >= 0 && nanoseconds < 1000000000L ? nanoseconds : 0 };
}

static int set_times(struct archive_entry *entry, const struct item *item, struct layer_dir *self,
		     struct error *err)
{
	struct timespec times[2];

	times[1] = time_of(archive_entry_mtime_is_set(entry), archive_entry_mtime(entry),
			   archive_entry_mtime_nsec(entry));
	times[0] = archive_entry_atime_is_set(entry) ? time_of(true, archive_entry_atime(entry),
							       archive_entry_atime_nsec(entry))
						     : times[1];
	if (self) {
		memcpy(self->times, times, sizeof(times));
		self->changed = true;
		return 0;
	}
	if (utimensat(item->fd, "", times, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the times");
	return 0;
}

int layer_metadata_apply(struct layer *layer, struct archive_entry *entry,
			 const struct place *place, struct item *item, struct layer_dir *self,
			 bool existed, struct error *err)
{
	bool xattrs = existed || place->dir->default_acl || has_xattrs(entry);
	int r = set_owner(layer, entry, item, err);

	if (r >= 0 && xattrs)
		r = replace_xattrs(layer, entry, place, path_of_fd(item->fd).s, self, err);
	/* chown(2) takes bits away, and an access control list sets some. */
	if (r >= 0)
		r = set_mode(layer, entry, place, item, xattrs || (item->st.st_mode & 07000), err);
	if (r >= 0)
		r = set_times(entry, item, self, err);
	return r;
}
