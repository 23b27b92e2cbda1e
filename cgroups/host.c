/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which hierarchies the host has. /proc/self/cgroup lists those that exist, with their controllers
 * and our place in them; /proc/self/mountinfo says where they are mounted. Most hosts have just a
 * v2 tree on /sys/fs/cgroup, which one statfs(2) shows, so that the mount table, long on a busy
 * host, need not be read.
 *
 * Sources: proc(5), cgroups(7), cgroup_namespaces(7).
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "cgroups/internal.h"

#define DEFAULT_MOUNT "/sys/fs/cgroup"
#define PROC_FILE_MAX ((size_t)64 << 20)

const char *cgroup_layout_name(enum cgroup_layout layout)
{
	switch (layout) {
	case CGROUP_V1:
		return "v1";
	case CGROUP_HYBRID:
		return "hybrid";
	case CGROUP_V2:
		return "v2";
	case CGROUP_NONE:
		break;
	}
	return "none";
}

bool cgroup_list_has(const char *list, char sep, const char *word)
{
	size_t len = strlen(word);

	while (list) {
		if (strncmp(list, word, len) == 0 && (list[len] == sep || list[len] == '\0'))
			return true;
		list = strchr(list, sep);
		if (list)
			list++;
	}
	return false;
}

int cgroup_v1_find(const struct cgroup_host *host, const char *controller)
{
	for (size_t i = 0; i < host->count; i++)
		if (!host->hierarchies[i].v2 &&
		    cgroup_list_has(host->hierarchies[i].controllers, ',', controller))
			return (int)i;
	return -ENOENT;
}

int cgroup_v2_find(const struct cgroup_host *host)
{
	for (size_t i = 0; i < host->count; i++)
		if (host->hierarchies[i].v2)
			return (int)i;
	return -ENOENT;
}

bool cgroup_host_has(const struct cgroup_host *host, const char *controller)
{
	char file[sizeof(host->hierarchies[0].mount) + 32], available[512];
	int v2 = cgroup_v2_find(host);

	if (cgroup_v1_find(host, controller) >= 0)
		return true;
	if (v2 < 0)
		return false;
	/* In v2 these two are no controllers but always there. */
	if (strcmp(controller, "devices") == 0 || strcmp(controller, "freezer") == 0)
		return true;
	snprintf(file, sizeof(file), "%s/cgroup.controllers", host->hierarchies[v2].mount);
	if (file_read_small(AT_FDCWD, file, available, sizeof(available), NULL) < 0)
		return false;
	return cgroup_list_has(available, ' ',
			       strcmp(controller, "blkio") == 0 ? "io" : controller);
}

/* ---- parsing ------------------------------------------------------------------------------ */

/* A piece of a text that is not ours to change. */
struct span {
	const char *s;
	size_t len;
};

/* Cuts the part of *rest up to sep, or all of it, off its front. */
static struct span cut(struct span *rest, char sep)
{
	const char *end = rest->len ? memchr(rest->s, sep, rest->len) : NULL;
	struct span part = { rest->s, end ? (size_t)(end - rest->s) : rest->len };
	size_t used = part.len + (end ? 1 : 0);

	rest->s += used;
	rest->len -= used;
	return part;
}

static bool span_is(struct span span, const char *s)
{
	return strlen(s) == span.len && memcmp(span.s, s, span.len) == 0;
}

static bool span_list_has(struct span list, struct span word)
{
	while (list.len) {
		struct span item = cut(&list, ',');

		if (item.len == word.len && memcmp(item.s, word.s, word.len) == 0)
			return true;
	}
	return false;
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Copies a field of mountinfo, where blanks, tabs, line breaks and backslashes are "\ooo". */
static bool unescape(struct span field, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < field.len; i++) {
		char c = field.s[i];

		if (c == '\\' && field.len - i > 3 && is_octal(field.s[i + 1]) &&
		    is_octal(field.s[i + 2]) && is_octal(field.s[i + 3])) {
			c = (char)((field.s[i + 1] - '0') << 6 | (field.s[i + 2] - '0') << 3 |
				   (field.s[i + 3] - '0'));
			i += 3;
		}
		if (n + 1 >= size)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

/* A line of mountinfo, as far as it matters here. */
struct mount_line {
	struct span root, point, type, options;
};

/* "36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue" */
static bool parse_mount_line(struct span line, struct mount_line *m)
{
	struct span field;

	for (int i = 0; i < 3; i++)
		cut(&line, ' ');
	m->root = cut(&line, ' ');
	m->point = cut(&line, ' ');
	cut(&line, ' ');
	do {
		if (!line.len)
			return false;
		field = cut(&line, ' ');
	} while (!span_is(field, "-"));
	m->type = cut(&line, ' ');
	cut(&line, ' ');
	m->options = cut(&line, ' ');
	return m->type.len && m->point.len && m->point.s[0] == '/';
}

/* A line of /proc/self/cgroup: "4:cpu,cpuacct:/user.slice", and of the v2 tree "0::/user.slice" */
struct self_line {
	struct span controllers, path;
};

static struct self_line parse_self_line(struct span line)
{
	struct self_line self;

	cut(&line, ':');
	self.controllers = cut(&line, ':');
	self.path = line;
	return self;
}

/*
 * Our cgroup as seen from the mount's root. In a container without a cgroup namespace the two are
 * "/docker/ID/a" and "/docker/ID"; what lies outside the mount ("/../a") cannot be named, so "/".
 */
static int set_own(struct cgroup_hierarchy *h, struct span self, struct span root_field,
		   struct error *err)
{
	static const char deleted[] = " (deleted)";
	char root[4096];
	size_t len;

	if (self.len > strlen(deleted) &&
	    memcmp(self.s + self.len - strlen(deleted), deleted, strlen(deleted)) == 0)
		self.len -= strlen(deleted);
	if (!unescape(root_field, root, sizeof(root)))
		return error_errno(err, ENAMETOOLONG, "cgroup: the root of mount `%s`", h->mount);
	len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (self.len > len && memcmp(self.s, root, len) == 0 && self.s[len] == '/' &&
	    (self.len - len < 3 || memcmp(self.s + len, "/..", 3) != 0)) {
		if (self.len - len >= sizeof(h->own))
			return error_errno(err, ENAMETOOLONG, "cgroup: hull's own cgroup `%.*s`",
					   (int)self.len, self.s);
		memcpy(h->own, self.s + len, self.len - len);
		h->own[self.len - len] = '\0';
	} else {
		strcpy(h->own, "/");
	}
	return 0;
}

static int add_hierarchy(struct cgroup_host *host, const struct mount_line *m,
			 const struct self_line *self, bool v2, struct error *err)
{
	struct cgroup_hierarchy *h = &host->hierarchies[host->count];

	if (host->count == CGROUP_HIERARCHIES)
		return error_set(err, E2BIG, "cgroup: more than %d hierarchies are mounted",
				 CGROUP_HIERARCHIES);
	memset(h, 0, sizeof(*h));
	h->v2 = v2;
	if (!unescape(m->point, h->mount, sizeof(h->mount)) ||
	    self->controllers.len >= sizeof(h->controllers))
		return error_set(err, ENAMETOOLONG,
				 "cgroup: the mount point `%.*s` is longer than %zu bytes; mount "
				 "the cgroup tree on " DEFAULT_MOUNT,
				 (int)m->point.len, m->point.s, sizeof(h->mount) - 1);
	memcpy(h->controllers, self->controllers.s, self->controllers.len);
	host->count++;
	return set_own(h, self->path, m->root, err);
}

/*
 * Matches one mount with its line of /proc/self/cgroup. The names of a v1 hierarchy's controllers
 * are among the mount's options; one that is mounted twice counts where it was mounted first.
 */
static int match_mount(struct cgroup_host *host, const struct mount_line *m, const char *self,
		       struct error *err)
{
	struct span rest = { self, strlen(self) };
	bool v2 = span_is(m->type, "cgroup2");

	while (rest.len) {
		struct self_line line = parse_self_line(cut(&rest, '\n'));
		struct span all = line.controllers;
		struct span first = cut(&all, ',');
		bool known = false;

		if (v2 ? first.len != 0 : first.len == 0 || !span_list_has(m->options, first))
			continue;
		for (size_t i = 0; i < host->count && !known; i++)
			known = host->hierarchies[i].v2 == v2 &&
				span_is(line.controllers, host->hierarchies[i].controllers);
		if (!known)
			return add_hierarchy(host, m, &line, v2, err);
	}
	return 0;
}

static void set_layout(struct cgroup_host *host)
{
	bool v1 = false, v2 = false;

	for (size_t i = 0; i < host->count; i++)
		if (host->hierarchies[i].v2)
			v2 = true;
		else
			v1 = true;
	host->layout = v1 && v2 ? CGROUP_HYBRID : v1 ? CGROUP_V1 : v2 ? CGROUP_V2 : CGROUP_NONE;
}

int cgroup_host_parse(const char *mountinfo, const char *self, struct cgroup_host *host,
		      struct error *err)
{
	struct span rest = { mountinfo, strlen(mountinfo) };
	int r;

	host->count = 0;
	while (rest.len) {
		struct mount_line m;

		if (!parse_mount_line(cut(&rest, '\n'), &m) ||
		    !(span_is(m.type, "cgroup") || span_is(m.type, "cgroup2")))
			continue;
		r = match_mount(host, &m, self, err);
		if (r < 0)
			return r;
	}
	set_layout(host);
	return 0;
}

/* ---- detecting ---------------------------------------------------------------------------- */

static bool is_v2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;
}

/*
 * The host of one v2 tree. False where our own cgroup is not found below its mount: then its root is
 * not the one that /proc/self/cgroup speaks of, and the mount table has to say which it is.
 */
static bool detect_v2(const char *self, struct cgroup_host *host)
{
	static const char line[] = "0 0 0:0 / " DEFAULT_MOUNT " rw - cgroup2 cgroup2 rw\n";
	char own[sizeof(host->hierarchies[0].mount) + sizeof(host->hierarchies[0].own)];

	if (cgroup_host_parse(line, self, host, NULL) < 0 || host->count != 1)
		return false;
	if (strcmp(host->hierarchies[0].own, "/") == 0)
		return true;
	snprintf(own, sizeof(own), "%s%s", host->hierarchies[0].mount, host->hierarchies[0].own);
	return access(own, F_OK) == 0;
}

static int detect(struct cgroup_host *host, struct error *err)
{
	_cleanup_free_ char *mountinfo = NULL, *self = NULL;
	ssize_t n;

	host->count = 0;
	host->layout = CGROUP_NONE;
	n = file_read(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &self, err);
	if (n == -ENOENT) { /* a kernel without cgroups */
		error_clear(err);
		return 0;
	}
	if (n < 0)
		return error_wrap(err, "cgroup"), (int)n;
	if (is_v2(DEFAULT_MOUNT) && detect_v2(self, host))
		return 0;
	n = file_read(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, &mountinfo, err);
	if (n < 0)
		return error_wrap(err, "cgroup"), (int)n;
	return cgroup_host_parse(mountinfo, self, host, err);
}

int cgroup_host_detect(struct cgroup_host *host, struct error *err)
{
	int r = detect(host, err);

	host->known = r == 0;
	return r;
}

int cgroup_host_know(struct cgroup_host *host, struct error *err)
{
	return host->known ? 0 : cgroup_host_detect(host, err);
}
