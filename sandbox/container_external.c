/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which mounts of a running container are the host's, so that CRIU does not dump them, and restore makes them anew.
 *
 * The container's processes may rename directories and change links while we look, and a mount taken for another would, once
 * restored, be writable where it should not be. So a mount counts only where its root is the very file that the
 * configuration names, and is read-only where that says so; and what CRIU is told are keys that we make and places that the
 * kernel names, in which nothing of CRIU's own syntax may be (CVE-2026-119101, CVE-2026-115520).
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/number.h"
#include "base/path.h"
#include "base/syscalls.h"
#include "namespaces/mount_options.h"
#include "sandbox/container.h"

#define MOUNTINFO_MAX ((size_t)16 << 20)
#define MOUNTS_MAX    4096 /* of one container */
#define NO_MOUNT      (-1)

/* One line of mountinfo (proc_pid_mountinfo(5)). */
struct line {
	uint64_t id, parent;
	char *root, *place;
	bool read_only;
	ssize_t index;     /* of the configuration's mount that it is, or is below; NO_MOUNT */
	const char *below; /* the place of that mount */
};

struct search {
	const struct sandbox *sb;
	struct arena *arena;
	int root, bundle; /* descriptors: the container's root, the bundle */
	struct line *lines;
	size_t count;
	struct external_mounts *found;
};

/* ---- mountinfo ----------------------------------------------------------------------------------- */

/* "\040" is a blank, and so on. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && strspn(s + 1, "01234567") >= 3) {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

static bool parse_line(char *text, struct line *line)
{
	char *save = NULL, *fields[6];

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strtok_r(i ? NULL : text, " ", &save);
		if (!fields[i])
			return false;
	}
	*line = (struct line){ .root = fields[3], .place = fields[4], .index = NO_MOUNT };
	line->read_only = !strncmp(fields[5], "ro", 2) && (!fields[5][2] || fields[5][2] == ',');
	unescape(line->root);
	unescape(line->place);
	return parse_u64(fields[0], INT32_MAX, &line->id) &&
	       parse_u64(fields[1], INT32_MAX, &line->parent);
}

static int read_mountinfo(struct search *s, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *copy, *save = NULL;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", s->sb->pid);
	len = file_read(AT_FDCWD, path, MOUNTINFO_MAX, &text, err);
	if (len < 0)
		return (int)len;
	copy = arena_memdup(s->arena, text, (size_t)len);
	s->lines = arena_array(s->arena, MOUNTS_MAX, sizeof(*s->lines));
	if (!copy || !s->lines)
		return error_errno(err, ENOMEM, "read the container's mounts");
	for (char *p = strtok_r(copy, "\n", &save); p; p = strtok_r(NULL, "\n", &save)) {
		if (s->count == MOUNTS_MAX)
			return error_set(err, E2BIG, "the container has more than %d mounts",
					 MOUNTS_MAX);
		if (!parse_line(p, &s->lines[s->count++]))
			return error_set(err, EINVAL, "`%s` is not understood", path);
	}
	return 0;
}

static struct line *find_line(const struct search *s, uint64_t id)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->lines[i].id == id)
			return &s->lines[i];
	return NULL;
}

/* The mount whose root is behind path in the container; NULL where none is mounted exactly there. */
static struct line *line_at(const struct search *s, const char *path, struct stat *st)
{
	_cleanup_close_ int fd = path_try_open_in_root(s->root, path, O_PATH);
	struct statx stx;

	if (fd < 0 || fstat(fd, st) < 0 ||
	    statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &stx) < 0 ||
	    !(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return NULL;
	return find_line(s, stx.stx_mnt_id);
}

/* ---- what is found --------------------------------------------------------------------------------- */

static int add(struct search *s, const char *place, const char *key, const char *destination,
	       const char *path, struct error *err)
{
	struct external_mount *m = &s->found->items[s->found->len];

	/* CRIU is told "mnt[PLACE]:KEY". */
	if (strpbrk(place, "[]:") || strchr(place, '\n'))
		return error_set(
			err, ENOTSUP,
			"the mount on `%s` cannot be checkpointed: CRIU cannot be told of a "
			"place with `[`, `]`, `:` or a line's end in its name",
			place);
	if (!key)
		return error_errno(err, ENOMEM, "list the mounts");
	*m = (struct external_mount){
		.place = place, .key = key, .destination = destination, .path = path
	};
	s->found->len++;
	return 0;
}

static bool is_deleted(const struct line *line)
{
	size_t len = strlen(line->root);

	return len > 9 && !strcmp(line->root + len - 9, "//deleted");
}

/* Whether it is the configuration's: a source that was replaced on the host meanwhile stays mounted as it was. */
static int check_identity(const struct search *s, size_t index, const struct line *line,
			  const struct stat *mounted, struct error *err)
{
	const struct oci_mount *m = &s->sb->config->mounts.items[index];
	struct mount_options opts;
	struct stat source;
	int r = mount_options_parse(&opts, m, index, err);

	if (r < 0)
		return r;
	if (fstatat(s->bundle, m->source, &source, opts.src_nofollow ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return error_errno(err, errno, "/mounts/%zu/source: `%s`", index, m->source);
	if (source.st_dev != mounted->st_dev ||
	    (source.st_ino != mounted->st_ino && !is_deleted(line)))
		return error_set(
			err, EPERM,
			"/mounts/%zu: what is mounted on `%s` in the container is not `%s`", index,
			line->place, m->source);
	if (((opts.attr_set | opts.rattr_set) & MOUNT_ATTR_RDONLY) && !line->read_only)
		return error_set(err, EPERM,
				 "/mounts/%zu: the mount on `%s` in the container is not read-only",
				 index, line->place);
	return 0;
}

static int find_bind(struct search *s, size_t index, struct error *err)
{
	const struct oci_mount *m = &s->sb->config->mounts.items[index];
	struct mount_options opts;
	struct stat st;
	struct line *line;
	int r = mount_options_parse(&opts, m, index, err);

	if (r < 0 || !opts.bind || opts.remount || !m->source)
		return r;
	line = line_at(s, m->destination, &st);
	/* The container, or `hull mounts remove`, has unmounted it; or a later one is on the same place. */
	if (!line || external_mount_index(s->sb->config, m->destination) != (ssize_t)index)
		return 0;
	r = check_identity(s, index, line, &st, err);
	if (r < 0)
		return r;
	line->index = (ssize_t)index;
	line->below = line->place;
	return add(s, line->place, arena_printf(s->arena, "hull-mount-%zu", index), m->destination,
		   "", err);
}

/* What came with a recursive bind mount: the same file on the host, at the same place below the source. */
static int find_below(struct search *s, struct line *line, struct error *err)
{
	const struct line *parent = find_line(s, line->parent);
	const struct oci_mount *m;
	_cleanup_free_ char *source = NULL;
	struct stat here, there;
	const char *path;

	if (line->index != NO_MOUNT || !parent || parent == line || parent->index == NO_MOUNT)
		return 0;
	m = &s->sb->config->mounts.items[parent->index];
	path = line->place + strlen(parent->below);
	if (asprintf(&source, "%s%s", m->source, path) < 0)
		return error_errno(err, ENOMEM, "list the mounts");
	if (line_at(s, line->place, &here) != line || fstatat(s->bundle, source, &there, 0) < 0 ||
	    here.st_dev != there.st_dev || here.st_ino != there.st_ino)
		return 0;
	line->index = parent->index;
	line->below = parent->below;
	return add(s, line->place,
		   arena_printf(s->arena, "hull-mount-%zd-%zu", line->index, s->found->len),
		   m->destination, path, err);
}

/* ---- devices --------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *path;
	unsigned major, minor;
} devices[] = {
	{ "null", "/dev/null", 1, 3 },       { "zero", "/dev/zero", 1, 5 },
	{ "full", "/dev/full", 1, 7 },       { "random", "/dev/random", 1, 8 },
	{ "urandom", "/dev/urandom", 1, 9 }, { "tty", "/dev/tty", 5, 0 },
};

const char *external_device(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (!strcmp(devices[i].name, name))
			return devices[i].path;
	return NULL;
}

/* A masked file, or a device in a user namespace. */
static int find_device(struct search *s, struct line *line, struct error *err)
{
	struct stat st;

	if (line->index != NO_MOUNT || !strcmp(line->place, "/") ||
	    line_at(s, line->place, &st) != line || !S_ISCHR(st.st_mode))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (st.st_rdev == makedev(devices[i].major, devices[i].minor))
			return add(s, line->place,
				   arena_printf(s->arena, EXTERNAL_DEVICE "%s", devices[i].name),
				   "", "", err);
	return 0;
}

/* ---- all --------------------------------------------------------------------------------------------- */

ssize_t external_mount_index(const struct oci_config *config, const char *destination)
{
	for (size_t i = config->mounts.len; i-- > 0;)
		if (!strcmp(config->mounts.items[i].destination, destination))
			return (ssize_t)i;
	return NO_MOUNT;
}

/* Of a file that was opened outside, CRIU would say no more than that it does not know its mount. */
int external_check_streams(const struct sandbox *sb, struct arena *arena, const char *const *names,
			   struct error *err)
{
	static const char *const streams[] = { "input", "output", "error" };
	struct search s = { .sb = sb, .arena = arena };
	int r = read_mountinfo(&s, err);

	for (int fd = 0; r == 0 && fd < 3; fd++) {
		struct statx stx;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", sb->pid, fd);
		if (names[fd][0] != '/' || statx(AT_FDCWD, path, 0, STATX_MNT_ID, &stx) < 0 ||
		    !(S_ISREG(stx.stx_mode) || S_ISCHR(stx.stx_mode)))
			continue;
		if (!find_line(&s, stx.stx_mnt_id))
			return error_set(
				err, ENOTSUP,
				"the container's standard %s is `%s` of the host, which CRIU "
				"cannot checkpoint: start it with a pipe, a terminal of its "
				"own, or `/dev/null`",
				streams[fd], names[fd]);
	}
	return r;
}

static int search(struct search *s, struct error *err)
{
	int r = read_mountinfo(s, err);

	for (size_t i = 0; r == 0 && i < s->sb->config->mounts.len; i++)
		r = find_bind(s, i, err);
	for (size_t i = 0; r == 0 && i < s->count; i++)
		r = find_below(s, &s->lines[i], err);
	for (size_t i = 0; r == 0 && i < s->count; i++)
		r = find_device(s, &s->lines[i], err);
	return r;
}

int external_find(const struct sandbox *sb, struct arena *arena, struct external_mounts *mounts,
		  struct error *err)
{
	_cleanup_close_ int root = -EBADF, bundle = -EBADF;
	struct search s = { .sb = sb, .arena = arena, .found = mounts };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", sb->pid);
	s.root = root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_errno(err, errno, "open the container's root directory");
	s.bundle = bundle = path_open_dir(sb->bundle, true, err);
	if (bundle < 0)
		return bundle;
	*mounts = (struct external_mounts){ .items = arena_array(arena, MOUNTS_MAX,
								 sizeof(*mounts->items)) };
	if (!mounts->items)
		return error_errno(err, ENOMEM, "list the mounts");
	return search(&s, err);
}

bool external_equal(const struct external_mounts *a, const struct external_mounts *b)
{
	bool equal = a->len == b->len;

	for (size_t i = 0; equal && i < a->len; i++)
		equal = !strcmp(a->items[i].place, b->items[i].place) &&
			!strcmp(a->items[i].key, b->items[i].key);
	return equal;
}
