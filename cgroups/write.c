/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing limits. The kernel answers a bad limit with a bare errno; here it becomes one line that
 * says which property of config.json it was, which file refused which value, why, and what to do.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "cgroups/internal.h"

int cgroup_try_write(const struct cgroup *cg, int h, const char *file, const char *value)
{
	_cleanup_close_ int fd = openat(cg->dirs[h], file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		n = write(fd, value, strlen(value));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* What to do about it, by errno and, where that says more, by file. */
static const char *hint(const char *file, int code)
{
	bool memory = strncmp(file, "memory.", 7) == 0;

	switch (code) {
	case ENOENT:
		if (strstr(file, "memsw") || strstr(file, "swap.max"))
			return "this kernel does not account swap: boot it with swapaccount=1, or "
			       "remove the property";
		return "this kernel or its configuration lacks it: use another kernel, or remove "
		       "the property";
	case EACCES:
		if (strncmp(file, "cpuset.", 7) == 0)
			return "the value is not a subset of the parent cgroup's: choose from "
			       "those, or enlarge the parent's";
		/* fallthrough */
	case EPERM:
	case EROFS:
		return "this user may not write there: have the cgroup delegated (systemd: "
		       "Delegate=yes), or run hull as root";
	case EBUSY:
		return memory ? "the processes already use more: stop some first, or raise the limit"
			      : "it is in use: change it before processes enter, or recreate the "
				"container";
	case EINVAL:
		if (memory)
			return "memory.limit must not exceed memory.swap (memory plus swap), nor what "
			       "a parent cgroup allows: change them together";
		return "the kernel refuses this value, alone or with the cgroup's other limits or "
		       "its parent's: see the property in config-linux.md, and correct it";
	case ERANGE:
		return "it is out of the range that the kernel allows: correct the value";
	case ENODEV:
	case ENXIO:
		return "there is no such device on this host: correct the value or remove it";
	case EOPNOTSUPP:
		return "the device's scheduler or the kernel does not support it: remove the property";
	default:
		return "correct the value or remove the property";
	}
}

int cgroup_write_failed(const struct cgroup *cg, int h, const char *property, const char *file,
			const char *value, int code, struct error *err)
{
	char full[CGROUP_FULL_MAX];

	cgroup_full_path(cg->host, h, cg->path, full);
	return error_set(
		err, code,
		"cgroup: linux.resources.%s: cannot write `%.64s` to `%.400s/%.64s`: %s; %s",
		property, value, full, file, strerror(code), hint(file, code));
}

int cgroup_write(const struct cgroup *cg, int h, const char *property, const char *file,
		 const char *value, struct error *err)
{
	int r = cgroup_try_write(cg, h, file, value);

	return r < 0 ? cgroup_write_failed(cg, h, property, file, value, -r, err) : 0;
}

void cgroup_setting_add(struct cgroup_setting *settings, size_t *count, const char *property,
			const char *file, const char *fmt, ...)
{
	struct cgroup_setting *setting = &settings[(*count)++];
	va_list ap;

	setting->property = property;
	setting->file = file;
	setting->done = false;
	va_start(ap, fmt);
	vsnprintf(setting->value, sizeof(setting->value), fmt, ap);
	va_end(ap);
}

int cgroup_write_settings(const struct cgroup *cg, int h, struct cgroup_setting *settings,
			  size_t count, struct error *err)
{
	for (;;) {
		const struct cgroup_setting *refused = NULL;
		bool progress = false;

		for (size_t i = 0; i < count; i++) {
			struct cgroup_setting *s = &settings[i];
			int r;

			if (s->done)
				continue;
			r = cgroup_try_write(cg, h, s->file, s->value);
			if (r == 0) {
				s->done = true;
				progress = true;
			} else if (r != -EINVAL) {
				return cgroup_write_failed(cg, h, s->property, s->file, s->value,
							   -r, err);
			} else if (!refused) {
				refused = s;
			}
		}
		if (!refused)
			return 0;
		if (!progress)
			return cgroup_write_failed(cg, h, refused->property, refused->file,
						   refused->value, EINVAL, err);
	}
}

/* "v1: cpu, memory; v2: hugetlb", for a message. */
static void list_controllers(const struct cgroup_host *host, struct strbuf *out)
{
	for (size_t i = 0; i < host->count; i++)
		if (!host->hierarchies[i].v2)
			strbuf_addf(out, "%s%s",
				    out->len ? ", " : "v1: ", host->hierarchies[i].controllers);
	strbuf_adds(out, out->len ? "" : "no hierarchy");
}

int cgroup_missing(const struct cgroup *cg, const char *property, const char *controller,
		   struct error *err)
{
	_cleanup_strbuf_ struct strbuf mounted = { 0 };

	list_controllers(cg->host, &mounted);
	return error_set(err, EOPNOTSUPP,
			 "cgroup: linux.resources.%s needs the %s controller, which is not mounted "
			 "on this host (%.512s); mount it (mount -t cgroup -o %s none "
			 "/sys/fs/cgroup/%s), boot a kernel that has it, or remove the property",
			 property, controller, mounted.data ? mounted.data : "out of memory",
			 controller, controller);
}

void cgroup_warn_ignored(const char *property, const char *why)
{
	log_warning("linux.resources.%s is ignored: %s", property, why);
}
