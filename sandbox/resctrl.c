/* SPDX-License-Identifier: Apache-2.0 */
/* Cache and memory bandwidth by the resctrl file system; see resctrl.h. */
#include "sandbox/resctrl.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/number.h"
#include "base/process.h"
#include "base/strbuf.h"

#define NOTE          "resctrl"
#define MOUNTINFO_MAX ((size_t)64 << 20)
#define SCHEMATA_MAX  ((size_t)64 << 10)
#define TASKS_MAX     ((size_t)16 << 20)

/* Words of the note, each followed by a path below the root of resctrl. */
#define NOTE_MONITOR "monitor"
#define NOTE_OWN     "own"    /* the class that is named like the container */
#define NOTE_SHARED  "shared" /* a class with a closID, which others may use as well */

struct group_path {
	char s[2 * NAME_MAX + 32];
};

static bool has_clos_id(const struct oci_intel_rdt *rdt)
{
	return rdt->clos_id && *rdt->clos_id;
}

static bool wants_schemata(const struct oci_intel_rdt *rdt)
{
	return (rdt->l3_cache_schema && *rdt->l3_cache_schema) ||
	       (rdt->mem_bw_schema && *rdt->mem_bw_schema) || rdt->schemata.len;
}

/* The directory of the class, below the root of resctrl. */
static const char *class_name(const struct oci_intel_rdt *rdt, const char *id)
{
	if (!has_clos_id(rdt))
		return id;
	return strcmp(rdt->clos_id, "/") != 0 ? rdt->clos_id : ".";
}

static struct group_path monitor_path(const struct oci_intel_rdt *rdt, const char *id)
{
	struct group_path path;

	snprintf(path.s, sizeof(path.s), "%s/mon_groups/%s", class_name(rdt, id), id);
	return path;
}

int resctrl_check(const struct oci_intel_rdt *rdt, struct error *err)
{
	static const char *const reserved[] = { ".", "..", "info", "mon_groups", "mon_data" };

	if (!rdt || !has_clos_id(rdt) || !strcmp(rdt->clos_id, "/"))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (!strcmp(rdt->clos_id, reserved[i]))
			return error_set(err, EINVAL,
					 "/linux/intelRdt/closID: `%s` is no name of a class",
					 rdt->clos_id);
	if (strpbrk(rdt->clos_id, "/\n") || strlen(rdt->clos_id) > NAME_MAX)
		return error_set(err, EINVAL,
				 "/linux/intelRdt/closID: `%.64s` is no name of a class",
				 rdt->clos_id);
	return 0;
}

/* ---- finding it ---------------------------------------------------------------------------------- */

/* "36 35 0:30 / /sys/fs/resctrl rw shared:1 - resctrl resctrl rw": the mount point, where it is one of resctrl's root. */
static bool parse_mount(char *line, char **point)
{
	char *separator = strstr(line, " - "), *root = NULL, *save = NULL;

	if (!separator || strncmp(separator + 3, "resctrl ", 8) != 0)
		return false;
	*point = NULL;
	for (int i = 0; i < 5; i++) {
		char *field = strtok_r(i ? NULL : line, " ", &save);

		if (i == 3)
			root = field;
		if (i == 4)
			*point = field;
	}
	return root && *point && !strcmp(root, "/");
}

int resctrl_find_mount(const char *mountinfo, char *path, size_t size)
{
	_cleanup_free_ char *copy = strdup(mountinfo);
	char *lines = NULL, *point;

	if (!copy)
		return -ENOMEM;
	for (char *line = strtok_r(copy, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines))
		/* A name with blanks is written with escapes, and then is not found: nobody mounts resctrl there. */
		if (parse_mount(line, &point) && (size_t)snprintf(path, size, "%s", point) < size)
			return 0;
	return -ENOENT;
}

int resctrl_open(struct error *err)
{
	_cleanup_free_ char *mountinfo = NULL;
	_cleanup_close_ int root = -EBADF;
	char path[PATH_MAX];
	struct statfs fs;

	if (file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, err) < 0)
		return -err->code;
	if (resctrl_find_mount(mountinfo, path, sizeof(path)) < 0)
		return error_set(err, ENODEV,
				 "/linux/intelRdt: no resctrl file system is mounted on this host");
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_errno(err, errno, "/linux/intelRdt: open `%s`", path);
	if (fstatfs(root, &fs) < 0 || (unsigned long)fs.f_type != RDTGROUP_SUPER_MAGIC)
		return error_set(err, ENODEV, "/linux/intelRdt: `%s` is no resctrl file system",
				 path);
	return take_fd(&root);
}

/* ---- making -------------------------------------------------------------------------------------- */

static int write_note(int state_dir, const struct oci_intel_rdt *rdt, const char *id, bool make,
		      struct error *err)
{
	_cleanup_strbuf_ struct strbuf note = { 0 };
	_cleanup_close_ int fd = -EBADF;
	int r;

	/* In the order of removal. */
	if (rdt->enable_monitoring.v)
		strbuf_addf(&note, NOTE_MONITOR " %s\n", monitor_path(rdt, id).s);
	if (make)
		strbuf_addf(&note, "%s %s\n", has_clos_id(rdt) ? NOTE_SHARED : NOTE_OWN,
			    class_name(rdt, id));
	if (strbuf_failed(&note))
		return error_errno(err, ENOMEM, "/linux/intelRdt");
	if (!note.len)
		return 0;
	fd = openat(state_dir, NOTE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "make `%s` in the state directory", NOTE);
	r = file_write_all(fd, note.data, note.len);
	return r < 0 ? error_errno(err, -r, "write `%s` in the state directory", NOTE) : 0;
}

/* A monitoring group of our name is somebody else's where it is there before we made it. */
static int check_free(int root, const char *path, struct error *err)
{
	struct stat st;

	if (fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, EEXIST, "/linux/intelRdt: `%s` exists already in resctrl",
				 path);
	return 0;
}

int resctrl_make_group(int root, const struct oci_intel_rdt *rdt, const char *id, int state_dir,
		       bool *made, struct error *err)
{
	const char *name = class_name(rdt, id);
	struct stat st;
	bool exists = fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	int r = 0;

	*made = false;
	if (!has_clos_id(rdt))
		r = check_free(root, name, err);
	else if (!exists && !wants_schemata(rdt))
		r = error_set(err, ENOENT,
			      "/linux/intelRdt/closID: there is no class `%s`, and no schema to "
			      "make it from",
			      name);
	if (r == 0 && rdt->enable_monitoring.v)
		r = check_free(root, monitor_path(rdt, id).s, err);
	if (r == 0)
		r = write_note(state_dir, rdt, id, !exists, err);
	if (r < 0 || exists)
		return r;
	if (mkdirat(root, name, 0755) < 0) {
		r = errno;
		unlinkat(state_dir, NOTE, 0);
		return error_errno(err, r, "/linux/intelRdt: make the class `%s`%s", name,
				   r == ENOSPC ? " (the processor has no more)" : "");
	}
	*made = true;
	return 0;
}

int resctrl_make_monitor(int root, const struct oci_intel_rdt *rdt, const char *id,
			 struct error *err)
{
	struct group_path path = monitor_path(rdt, id);

	if (!rdt->enable_monitoring.v || mkdirat(root, path.s, 0755) == 0)
		return 0;
	return error_errno(err, errno, "/linux/intelRdt/enableMonitoring: make `%s`%s", path.s,
			   errno == ENOENT ? " (the processor has no monitoring)" : "");
}

int resctrl_make(int root, const struct oci_intel_rdt *rdt, const char *id, int state_dir,
		 struct error *err)
{
	bool made;
	int r = resctrl_make_group(root, rdt, id, state_dir, &made, err);

	if (r == 0)
		r = resctrl_configure(root, rdt, id, made, err);
	return r < 0 ? r : resctrl_make_monitor(root, rdt, id, err);
}

/* ---- schemata ------------------------------------------------------------------------------------ */

/* l3CacheSchema and memBwSchema as one text, of which the second has the last word about memory bandwidth. */
static void combine(const struct oci_intel_rdt *rdt, struct strbuf *out)
{
	bool has_mb = rdt->mem_bw_schema && *rdt->mem_bw_schema;

	for (const char *line = rdt->l3_cache_schema; line && *line;) {
		size_t len = strcspn(line, "\n");

		if (len && !(has_mb && !strncmp(line, "MB:", 3))) {
			strbuf_add(out, line, len);
			strbuf_addc(out, '\n');
		}
		line += len + (line[len] == '\n');
	}
	if (has_mb)
		strbuf_addf(out, "%s\n", rdt->mem_bw_schema);
}

/* Finds what a text of schemata says of a domain ("0") of a resource ("L3"). */
static const char *find_value(char *text, const char *resource, const char *domain)
{
	char *lines = NULL;

	for (char *line = strtok_r(text, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
		char *pairs = NULL, *name = strtok_r(line, " \t:", &pairs);

		if (!name || strcmp(name, resource) != 0)
			continue;
		for (char *pair = strtok_r(NULL, " \t;", &pairs); pair;
		     pair = strtok_r(NULL, " \t;", &pairs)) {
			size_t len = strcspn(pair, "=");

			if (pair[len] && strlen(domain) == len && !strncmp(pair, domain, len))
				return pair + len + 1;
		}
	}
	return NULL;
}

/* The kernel pads numbers with zeros. */
static bool same_value(const char *a, const char *b)
{
	return !strcasecmp(a + strspn(a, "0"), b + strspn(b, "0"));
}

/* Whether all that one line says is so in the text of a schemata file. */
static bool line_holds(char *line, const char *schemata)
{
	char *pairs = NULL, *resource = strtok_r(line, " \t:", &pairs);

	for (char *pair = strtok_r(NULL, " \t;", &pairs); resource && pair;
	     pair = strtok_r(NULL, " \t;", &pairs)) {
		_cleanup_free_ char *copy = strdup(schemata);
		char *value = strchr(pair, '=');
		const char *now;

		if (!value || !copy)
			return false;
		*value++ = '\0';
		now = find_value(copy, resource, pair);
		if (!now || !same_value(value, now))
			return false;
	}
	return resource != NULL;
}

static int compare(int group, const struct strbuf *wanted, const char *name, struct error *err)
{
	_cleanup_free_ char *schemata = NULL, *copy = NULL;
	char *lines = NULL;

	if (file_read(group, "schemata", SCHEMATA_MAX, &schemata, err) < 0)
		return error_wrap(err, "/linux/intelRdt: class `%s`", name);
	copy = strdup(wanted->data);
	if (!copy)
		return error_errno(err, ENOMEM, "/linux/intelRdt");
	for (char *line = strtok_r(copy, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines))
		if (!line_holds(line, schemata))
			return error_set(err, EINVAL,
					 "/linux/intelRdt: the class `%s` exists, and its schemata "
					 "are not those of l3CacheSchema and memBwSchema",
					 name);
	return 0;
}

static int write_schemata(int root, int group, const struct strbuf *text, const char *name,
			  struct error *err)
{
	char reason[256] = "";
	int r = file_write_existing(group, "schemata", text->data, NULL);

	if (r == 0)
		return 0;
	/* The kernel says there what it did not like. */
	if (file_read_small(root, "info/last_cmd_status", reason, sizeof(reason), NULL) < 0)
		reason[0] = '\0';
	return error_errno(err, -r, "/linux/intelRdt: write the schemata of the class `%s`%s%s",
			   name, *reason ? ": " : "", reason);
}

static int open_class(int root, const char *name, struct error *err)
{
	int group = openat(root, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return group < 0 ? error_errno(err, errno, "/linux/intelRdt: open the class `%s`", name)
			 : group;
}

int resctrl_configure(int root, const struct oci_intel_rdt *rdt, const char *id, bool made,
		      struct error *err)
{
	_cleanup_strbuf_ struct strbuf combined = { 0 }, schemata = { 0 };
	const char *name = class_name(rdt, id);
	_cleanup_close_ int group = -EBADF;
	int r = 0;

	if (!wants_schemata(rdt))
		return 0;
	combine(rdt, &combined);
	for (size_t i = 0; i < rdt->schemata.len; i++)
		strbuf_addf(&schemata, "%s\n", rdt->schemata.items[i]);
	if (strbuf_failed(&combined) || strbuf_failed(&schemata))
		return error_errno(err, ENOMEM, "/linux/intelRdt");
	group = open_class(root, name, err);
	if (group < 0)
		return group;
	if (combined.len)
		r = made ? write_schemata(root, group, &combined, name, err)
			 : compare(group, &combined, name, err);
	if (r == 0 && schemata.len)
		r = write_schemata(root, group, &schemata, name, err);
	return r;
}

int resctrl_update(int root, const struct oci_intel_rdt *rdt, const char *id, struct error *err)
{
	_cleanup_strbuf_ struct strbuf combined = { 0 };
	const char *name = class_name(rdt, id);
	_cleanup_close_ int group = open_class(root, name, err);

	if (group < 0)
		return group;
	combine(rdt, &combined);
	if (strbuf_failed(&combined))
		return error_errno(err, ENOMEM, "/linux/intelRdt");
	return combined.len ? write_schemata(root, group, &combined, name, err) : 0;
}

/* ---- entering, removing -------------------------------------------------------------------------- */

int resctrl_enter(int root, const struct oci_intel_rdt *rdt, const char *id, pid_t pid,
		  struct error *err)
{
	struct group_path monitor = monitor_path(rdt, id);
	char file[sizeof(monitor.s) + 8], text[16];
	int r;

	snprintf(text, sizeof(text), "%d\n", pid);
	snprintf(file, sizeof(file), "%s/tasks", class_name(rdt, id));
	r = file_write_existing(root, file, text, err);
	/* In this order: a process can be counted only in its own class. */
	if (r == 0 && rdt->enable_monitoring.v) {
		snprintf(file, sizeof(file), "%s/tasks", monitor.s);
		r = file_write_existing(root, file, text, err);
	}
	return r < 0 ? error_wrap(err, "/linux/intelRdt") : 0;
}

/* Whether processes are in a class. Those that have ended and wait for their parents do not count. */
static bool is_used(int root, const char *name)
{
	_cleanup_free_ char *tasks = NULL;
	char file[NAME_MAX + 8], *lines = NULL;

	snprintf(file, sizeof(file), "%s/tasks", name);
	if (file_read(root, file, TASKS_MAX, &tasks, NULL) < 0)
		return false;
	for (char *line = strtok_r(tasks, "\n", &lines); line;
	     line = strtok_r(NULL, "\n", &lines)) {
		struct process_stat st;
		uint64_t pid;

		if (parse_u64(line, INT32_MAX, &pid) &&
		    process_read_stat((pid_t)pid, &st, NULL) == 0 && st.state != 'Z' &&
		    st.state != 'X')
			return true;
	}
	return false;
}

/* One line of the note: a word and a path. */
static int remove_noted(int root, char *line, struct error *err)
{
	char *path = strchr(line, ' ');

	if (!path)
		return 0; /* its writing was cut short, so nothing was made yet */
	*path++ = '\0';
	if (!strcmp(line, NOTE_SHARED) && is_used(root, path))
		return 0;
	if (unlinkat(root, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove `%s` from resctrl", path);
	return 0;
}

int resctrl_destroy(int root, int state_dir, struct error *err)
{
	_cleanup_free_ char *note = NULL;
	char *lines = NULL;
	ssize_t n = file_read(state_dir, NOTE, 4 * PATH_MAX, &note, NULL);
	int r = 0;

	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return error_errno(err, (int)-n, "read `%s` in the state directory", NOTE);
	for (char *line = strtok_r(note, "\n", &lines); line && r == 0 && root >= 0;
	     line = strtok_r(NULL, "\n", &lines))
		r = remove_noted(root, line, err);
	if (r == 0 && unlinkat(state_dir, NOTE, 0) < 0)
		r = error_errno(err, errno, "remove `%s` from the state directory", NOTE);
	return r;
}

bool resctrl_noted(int state_dir)
{
	return faccessat(state_dir, NOTE, F_OK, 0) == 0;
}
