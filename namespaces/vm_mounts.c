/* SPDX-License-Identifier: Apache-2.0 */
/* What is mounted on the host is mounted in the guest, too; see vm_mounts.h. */
#include "namespaces/vm_mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/rootfs.h"

#define TABLE_MAX ((size_t)32 << 20)

#define ATTRIBUTES                                                                      \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | \
	 MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW)

#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 0x2000
#endif

/* What is at a path beneath a directory, whatever others do to it meanwhile; no link is followed. A bare negative errno. */
static int open_place(int dir, const char *path)
{
	const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	int fd = sys_openat2(dir, path, &how);

	return fd < 0 ? -errno : fd;
}

/* ---- the mount table ------------------------------------------------------------------------ */

int vm_mounts_read_table(char **table, struct error *err)
{
	ssize_t len = file_read(AT_FDCWD, "/proc/self/mountinfo", TABLE_MAX, table, err);

	return len < 0 ? (int)len : 0;
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Blanks, tabs, line breaks and backslashes are "\ooo" in the table. */
static void unescape(char *text)
{
	char *out = text;

	for (char *p = text; *p; p++) {
		if (*p == '\\' && is_octal(p[1]) && is_octal(p[2]) && is_octal(p[3])) {
			*out++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
}

/* The fifth field of a line: the place that is mounted on, in the arena. "": no such line; NULL: no memory. */
static char *place_of(const char *line, size_t len, struct arena *arena)
{
	const char *end = line + len, *blank;
	char *place;

	for (int field = 0; field < 4; field++) {
		blank = memchr(line, ' ', (size_t)(end - line));
		line = blank ? blank + 1 : end;
	}
	blank = memchr(line, ' ', (size_t)(end - line));
	place = arena_memdup(arena, line, blank ? (size_t)(blank - line) : 0);
	if (place)
		unescape(place);
	return place;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **vm_mounts_below(const char *table, const char *top, struct arena *arena)
{
	size_t prefix = strcmp(top, "/") ? strlen(top) : 0, lines = 0, count = 0, kept = 0;
	const char **places;

	for (const char *p = table; (p = strchr(p, '\n')); p++)
		lines++;
	places = arena_array(arena, lines + 2, sizeof(*places));
	for (const char *line = table; places && *line;) {
		size_t len = strcspn(line, "\n");
		const char *place = place_of(line, len, arena);

		if (!place)
			return NULL;
		if (!strncmp(place, top, prefix) && place[prefix] == '/' && place[prefix + 1])
			places[count++] = place + prefix + 1;
		line += len + (line[len] != '\0');
	}
	if (!places)
		return NULL;
	/* A directory's name is the beginning of what is below it, so it is sorted before that. */
	qsort(places, count, sizeof(*places), compare);
	for (size_t i = 0; i < count; i++)
		if (!kept || strcmp(places[i], places[kept - 1]) != 0)
			places[kept++] = places[i];
	places[kept] = NULL;
	return places;
}

/* ---- on the host ---------------------------------------------------------------------------- */

/* MOUNT_ATTR_… of the mount that fd is on. */
static int get_attributes(int fd, uint64_t *attributes)
{
	static const struct {
		unsigned long flag;
		uint64_t attribute;
	} known[] = {
		{ ST_RDONLY, MOUNT_ATTR_RDONLY },
		{ ST_NOSUID, MOUNT_ATTR_NOSUID },
		{ ST_NODEV, MOUNT_ATTR_NODEV },
		{ ST_NOEXEC, MOUNT_ATTR_NOEXEC },
		{ ST_NODIRATIME, MOUNT_ATTR_NODIRATIME },
		{ ST_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
	};
	unsigned long flags;
	struct statfs fs;

	*attributes = 0;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	flags = (unsigned long)fs.f_flags;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (flags & known[i].flag)
			*attributes |= known[i].attribute;
	if (flags & ST_NOATIME)
		*attributes |= MOUNT_ATTR_NOATIME;
	else if (!(flags & ST_RELATIME))
		*attributes |= MOUNT_ATTR_STRICTATIME;
	return 0;
}

/*
 * Whether a mount begins at fd that the file server can look at: not what is hidden below another mount, is not in the tree at all, or
 * is another user's FUSE, which is closed to root.
 */
static bool is_mount(int fd)
{
	struct statx stx;

	return fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

static int add(struct strbuf *list, uint64_t attributes, const char *name, const char *below,
	       struct error *err)
{
	strbuf_addf(list, "%llu %s%s%s", (unsigned long long)attributes, name, below ? "/" : "",
		    below ? below : "");
	strbuf_addc(list, '\0');
	if (strbuf_failed(list))
		return error_errno(err, ENOMEM, "list the mounts");
	return list->len > VM_MOUNTS_BYTES
		       ? error_set(err, E2BIG,
				   "more is mounted below the sources of the mounts than a "
				   "microVM can be told")
		       : 0;
}

static int add_below(const char *table, int tree, const char *top, const char *name,
		     struct strbuf *list, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	const char **places = vm_mounts_below(table, top, &arena);
	int r = places ? 0 : error_errno(err, ENOMEM, "list the mounts");

	for (size_t i = 0; r == 0 && places[i]; i++) {
		_cleanup_close_ int place = open_place(tree, places[i]);
		uint64_t attributes;

		if (is_mount(place) && get_attributes(place, &attributes) == 0)
			r = add(list, attributes, name, places[i], err);
	}
	return r;
}

int vm_mounts_list(const char *table, int tree, int dir, const char *source, const char *name,
		   struct strbuf *list, struct error *err)
{
	_cleanup_close_ int place = -EBADF;
	char top[PATH_MAX];
	uint64_t attributes;
	struct stat st;
	ssize_t len;
	int r = 0;

	if (fstat(tree, &st) < 0 || get_attributes(tree, &attributes) < 0)
		return error_errno(err, errno, "look at the mount of `%s`", source);
	if (S_ISLNK(st.st_mode)) /* which is shared as one */
		return 0;
	if (attributes) /* relatime alone is what the guest's mount of all has anyway */
		r = add(list, attributes, name, NULL, err);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	place = openat(dir, source, O_PATH | O_CLOEXEC);
	len = place < 0 ? -1 : readlink(path_of_fd(place).s, top, sizeof(top) - 1);
	if (len < 0)
		return error_errno(err, errno, "look at the mount of `%s`", source);
	top[len] = '\0';
	return add_below(table, tree, top, name, list, err);
}

/* ---- in the guest --------------------------------------------------------------------------- */

/* Mounts what is at a place on itself. */
static int mount_on_itself(int place, uint64_t attributes, const char *path, struct error *err)
{
	struct mount_attr attr = { .attr_set = attributes, .attr_clr = ATTRIBUTES };
	_cleanup_close_ int tree =
		open_tree(place, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "mount `%s` in the microVM", path);
	return mount_attach(tree, place, path, err);
}

static int make_mount(const char *line, int shared, struct error *err)
{
	size_t digits = strcspn(line, " ");
	const char *path = line + digits + 1;
	_cleanup_close_ int place = -EBADF;
	uint64_t attributes;

	if (!line[digits] || !parse_u64_n(line, digits, UINT32_MAX, &attributes) ||
	    (attributes & ~(uint64_t)ATTRIBUTES) != 0)
		return error_errno(err, EPROTO, "the list of the mounts");
	place = open_place(shared, path);
	if (place >= 0)
		return mount_on_itself(place, attributes, path, err);
	log_warning("a mount of the host's below `%s` is not seen as one in the microVM: %s", path,
		    strerror(-place));
	return 0;
}

int vm_mounts_make(const char *list, size_t len, int shared, struct error *err)
{
	int r = len && list[len - 1] ? error_errno(err, EPROTO, "the list of the mounts") : 0;

	for (size_t at = 0; r == 0 && at < len; at += strlen(list + at) + 1)
		r = make_mount(list + at, shared, err);
	return r;
}
