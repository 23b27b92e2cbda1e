/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owner, extended attributes, mode and times of what was just made, through one O_PATH descriptor of
 * it, in this order: chown(2) clears set-user-id bits and file capabilities, so it comes first; without
 * privileges, extended attributes need write permission, so they come before the mode.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/path.h"
#include "oci/image/layer_internal.h"

#define ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "leave unchanged" */

static int set_owner(struct layer *layer, struct archive_entry *entry, int item, struct error *err)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (uid < 0 || uid > (int64_t)ID_MAX || gid < 0 || gid > (int64_t)ID_MAX)
		return error_set(err, ERANGE, "owner %lld:%lld is out of range", (long long)uid,
				 (long long)gid);
	if (layer->target->rootless)
		return 0;
	if (fchownat(item, "", (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the owner %lld:%lld", (long long)uid,
				   (long long)gid);
	return 0;
}

/*
 * The attributes that an image may set. Labels of LSMs are the host's own. trusted.overlay.* and
 * user.overlay.* are orders to an overlay that someone may mount over this root file system: a redirect in there
 * would show files from elsewhere.
 */
static bool xattr_allowed(const char *name)
{
	static const char *const overlay[] = { "trusted.overlay.", "user.overlay." };
	static const char *const whole[] = { "security.capability", "system.posix_acl_access",
					     "system.posix_acl_default" };

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

		if (xattr_allowed(name))
			removexattr(item, name);
		name += size;
		len -= (ssize_t)size;
	}
}

static int set_xattr(struct layer *layer, const struct place *place, const char *item,
		     const char *name, const void *value, size_t size, struct error *err)
{
	if (!xattr_allowed(name)) {
		layer_warn_once(
			layer, LAYER_WARN_XATTR_SKIPPED,
			"`%s` of the image: extended attribute `%.64s` is not set: not an image's to set",
			place->path, name);
		return 0;
	}
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
	default:
		return error_errno(err, errno, "set the extended attribute `%.256s`", name);
	}
}

static int set_xattrs(struct layer *layer, struct archive_entry *entry, const struct place *place,
		      const char *item, struct error *err)
{
	const char *name;
	const void *value;
	size_t size;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
		int r = set_xattr(layer, place, item, name, value, size, err);

		if (r < 0)
			return r;
	}
	if (archive_entry_acl_types(entry))
		layer_warn_once(layer, LAYER_WARN_ACL,
				"`%s` of the image: its access control list is not set",
				place->path);
	return 0;
}

static int set_mode(struct layer *layer, struct archive_entry *entry, const struct place *place,
		    const char *item, struct error *err)
{
	mode_t mode = archive_entry_perm(entry) & 07777;

	if (archive_entry_filetype(entry) == AE_IFLNK)
		return 0;
	if (layer->target->rootless && archive_entry_filetype(entry) == AE_IFDIR) {
		/* Without CAP_DAC_OVERRIDE we must be able to put things into it, until the last layer is done. */
		struct path_info *info = path_map_add(&layer->target->modes, place->path);

		if (!info)
			return error_errno(err, ENOMEM, "apply a layer");
		info->mode = mode;
		mode |= 0700;
	}
	if (chmod(item, mode) < 0)
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

static int set_times(struct layer *layer, struct archive_entry *entry, const struct place *place,
		     int item, struct error *err)
{
	struct timespec times[2];

	times[1] = time_of(archive_entry_mtime_is_set(entry), archive_entry_mtime(entry),
			   archive_entry_mtime_nsec(entry));
	times[0] = archive_entry_atime_is_set(entry) ? time_of(true, archive_entry_atime(entry),
							       archive_entry_atime_nsec(entry))
						     : times[1];
	if (archive_entry_filetype(entry) == AE_IFDIR) {
		struct path_info *info = path_map_add(&layer->paths, place->path);

		if (!info)
			return error_errno(err, ENOMEM, "apply a layer");
		memcpy(info->times, times, sizeof(times));
		info->has_times = true;
		return 0;
	}
	if (utimensat(item, "", times, AT_EMPTY_PATH) < 0)
		return error_errno(err, errno, "set the times");
	return 0;
}

int layer_metadata_apply(struct layer *layer, struct archive_entry *entry,
			 const struct place *place, bool existed, struct error *err)
{
	_cleanup_close_ int item =
		openat(place->parent, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct path_of_fd path;
	struct stat st;
	int r;

	if (item < 0)
		return error_errno(err, errno, "open");
	if (fstat(item, &st) < 0)
		return error_errno(err, errno, "stat");
	if ((st.st_mode & S_IFMT) != archive_entry_filetype(entry))
		return error_set(err, EIO, "was changed while it was unpacked");
	/* The magic link names the very object: a symbolic link itself, too, and nothing is followed. */
	path = path_of_fd(item);
	if (existed)
		clear_xattrs(path.s);
	r = set_owner(layer, entry, item, err);
	if (r >= 0)
		r = set_xattrs(layer, entry, place, path.s, err);
	if (r >= 0)
		r = set_mode(layer, entry, place, path.s, err);
	if (r >= 0)
		r = set_times(layer, entry, place, item, err);
	return r;
}
