/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access control lists: what libarchive parsed from pax records SCHILY.acl.access and SCHILY.acl.default, as star and
 * GNU tar write them, in the form of the extended attribute. Source: <linux/posix_acl_xattr.h>; the
 * kernel wants the entries sorted by tag, then by number.
 */
#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

#include "oci/image/layer_internal.h"

#define ACL_ENTRIES_MAX                                              \
	((LAYER_ACL_BYTES - sizeof(struct posix_acl_xattr_header)) / \
	 sizeof(struct posix_acl_xattr_entry))

static unsigned short acl_tag(int tag)
{
	switch (tag) {
	case ARCHIVE_ENTRY_ACL_USER_OBJ:
		return ACL_USER_OBJ;
	case ARCHIVE_ENTRY_ACL_USER:
		return ACL_USER;
	case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
		return ACL_GROUP_OBJ;
	case ARCHIVE_ENTRY_ACL_GROUP:
		return ACL_GROUP;
	case ARCHIVE_ENTRY_ACL_MASK:
		return ACL_MASK;
	case ARCHIVE_ENTRY_ACL_OTHER:
		return ACL_OTHER;
	default:
		return 0;
	}
}

static int by_tag_and_id(const void *a, const void *b)
{
	const struct posix_acl_xattr_entry *x = a, *y = b;

	if (x->e_tag != y->e_tag)
		return le16toh(x->e_tag) < le16toh(y->e_tag) ? -1 : 1;
	return (le32toh(x->e_id) > le32toh(y->e_id)) - (le32toh(x->e_id) < le32toh(y->e_id));
}

static int fill_entry(struct posix_acl_xattr_entry *e, int permset, int tag, int id)
{
	unsigned short kind = acl_tag(tag);
	bool named = kind == ACL_USER || kind == ACL_GROUP;

	/* A name without a number would have to be looked up in the image's own files. */
	if (!kind || (named && id < 0))
		return -EINVAL;
	e->e_tag = htole16(kind);
	e->e_perm = htole16(permset & (ARCHIVE_ENTRY_ACL_READ | ARCHIVE_ENTRY_ACL_WRITE |
				       ARCHIVE_ENTRY_ACL_EXECUTE));
	e->e_id = htole32(named ? (unsigned)id : (unsigned)ACL_UNDEFINED_ID);
	return 0;
}

ssize_t layer_acl_encode(struct archive_entry *entry, int type, char *buf, size_t size)
{
	const struct posix_acl_xattr_header header = { htole32(POSIX_ACL_XATTR_VERSION) };
	struct posix_acl_xattr_entry entries[ACL_ENTRIES_MAX];
	int found, permset, tag, id;
	const char *name;
	size_t count = 0;

	if (!(archive_entry_acl_types(entry) & type))
		return 0;
	archive_entry_acl_reset(entry, type);
	while (archive_entry_acl_next(entry, type, &found, &permset, &tag, &id, &name) ==
	       ARCHIVE_OK) {
		if (count == ACL_ENTRIES_MAX || fill_entry(&entries[count++], permset, tag, id) < 0)
			return -EINVAL;
	}
	if (!count || sizeof(header) + count * sizeof(*entries) > size)
		return count ? -EINVAL : 0;
	qsort(entries, count, sizeof(*entries), by_tag_and_id);
	memcpy(buf, &header, sizeof(header));
	memcpy(buf + sizeof(header), entries, count * sizeof(*entries));
	return (ssize_t)(sizeof(header) + count * sizeof(*entries));
}

mode_t layer_acl_mode(struct archive_entry *entry)
{
	mode_t mode = archive_entry_perm(entry) & 07777;
	int type, permset, tag, id;
	const char *name;

	if (!(archive_entry_acl_types(entry) & ARCHIVE_ENTRY_ACL_TYPE_ACCESS))
		return mode;
	archive_entry_acl_reset(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS);
	while (archive_entry_acl_next(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, &type, &permset, &tag,
				      &id, &name) == ARCHIVE_OK)
		if (tag == ARCHIVE_ENTRY_ACL_MASK)
			mode = (mode & ~(mode_t)070) | ((mode_t)permset & 07) << 3;
	return mode;
}
