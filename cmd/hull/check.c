/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull check: what this host offers to containers and virtual machines, found by trying, and what to do about each
 * thing that is missing. Nothing is changed.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/libexec.h"
#include "base/number.h"
#include "base/syscalls.h"
#include "cgroups/cgroup.h"
#include "cmd/hull/command.h"
#include "microvm/kvm.h"
#include "oci/json.h"

enum verdict { OK, LIMITED, MISSING };

struct finding {
	const char *name;
	enum verdict verdict;
	char detail[200];
	char advice[200]; /* empty where there is nothing to do */
};

#define FINDINGS_MAX 32

struct findings {
	struct finding items[FINDINGS_MAX];
	size_t len;
};

static struct finding *add(struct findings *all, const char *name, enum verdict verdict)
{
	struct finding *f = &all->items[all->len < FINDINGS_MAX - 1 ? all->len++ : all->len];

	*f = (struct finding){ .name = name, .verdict = verdict };
	return f;
}

static void say(char *text, const char *fmt, ...) _printf_(2, 3);
static void say(char *text, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, 200, fmt, ap);
	va_end(ap);
}

/* ---- kernel and namespaces ------------------------------------------------------------------------------ */

static void check_kernel(struct findings *all)
{
	struct finding *f = add(all, "kernel", OK);
	struct utsname u;
	unsigned long major, minor;
	char *dot;

	uname(&u);
	major = strtoul(u.release, &dot, 10);
	minor = *dot == '.' ? strtoul(dot + 1, NULL, 10) : 0;
	say(f->detail, "%s %s", u.sysname, u.release);
	if (major < 5 || (major == 5 && minor < 12)) {
		f->verdict = MISSING;
		say(f->advice, "hull needs Linux 5.12 or newer, for mount_setattr(2)");
	}
}

/* Tries in a child, so that nothing of ours changes. */
static bool can_unshare(unsigned long flags)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare((int)flags) < 0);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

static void check_namespaces(struct findings *all)
{
	struct finding *f = add(all, "namespaces", OK);
	char path[64];

	for (int i = 0; i < OCI_NS_COUNT; i++) {
		const char *name = oci_namespace_name((enum oci_namespace_type)i);
		size_t len = strlen(f->detail);

		snprintf(path, sizeof(path), "/proc/self/ns/%s",
			 oci_namespace_file((enum oci_namespace_type)i));
		if (access(path, F_OK) == 0) {
			snprintf(f->detail + len, sizeof(f->detail) - len, "%s%s", len ? " " : "",
				 name);
			continue;
		}
		f->verdict = LIMITED;
		say(f->advice,
		    "this kernel has no %s namespaces: leave that out of config.json, or use another kernel",
		    name);
	}
}

static void check_user_namespaces(struct findings *all)
{
	struct finding *f = add(all, "user namespaces", OK);
	char text[32];
	uint64_t max = 0;

	if (file_read_small(AT_FDCWD, "/proc/sys/user/max_user_namespaces", text, sizeof(text),
			    NULL) >= 0)
		parse_u64(text, UINT64_MAX, &max);
	if (can_unshare(CLONE_NEWUSER)) {
		say(f->detail, "can be made here; at most %llu", (unsigned long long)max);
		return;
	}
	f->verdict = MISSING;
	say(f->detail, "cannot be made here");
	if (!max)
		say(f->advice, "sysctl -w user.max_user_namespaces=15000");
	else
		say(f->advice,
		    "see kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, or run as root");
}

/* ---- cgroups --------------------------------------------------------------------------------------------- */

static void check_cgroups(struct findings *all)
{
	static const char *const controllers[] = { "memory",  "cpu",     "pids",   "cpuset",
						   "devices", "freezer", "hugetlb" };
	struct finding *f = add(all, "cgroups", OK);
	struct cgroup_host host;
	char missing[128] = "";

	if (cgroup_host_detect(&host, NULL) < 0 || host.layout == CGROUP_NONE) {
		f->verdict = MISSING;
		say(f->detail, "none mounted");
		say(f->advice, "mount -t cgroup2 none /sys/fs/cgroup");
		return;
	}
	say(f->detail, "%s:", cgroup_layout_name(host.layout));
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		bool io = cgroup_host_has(&host, controllers[i]);
		char *to = io ? f->detail : missing;
		size_t size = io ? sizeof(f->detail) : sizeof(missing), len = strlen(to);

		snprintf(to + len, size - len, " %s", controllers[i]);
	}
	if (!*missing)
		return;
	f->verdict = LIMITED;
	say(f->advice,
	    "no limits for%s here: boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or delegate them",
	    missing);
}

/* ---- confinement ----------------------------------------------------------------------------------------- */

static void check_seccomp(struct findings *all)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;
	bool ok = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
	struct finding *f = add(all, "seccomp", ok ? OK : MISSING);
	char actions[120];

	if (!ok) {
		say(f->detail, "not in this kernel");
		say(f->advice,
		    "leave linux.seccomp out of config.json, or use a kernel with CONFIG_SECCOMP_FILTER");
		return;
	}
	if (file_read_small(AT_FDCWD, "/proc/sys/kernel/seccomp/actions_avail", actions,
			    sizeof(actions), NULL) < 0)
		strcpy(actions, "available");
	say(f->detail, "%s", actions);
}

static void check_lsm(struct findings *all)
{
	struct finding *f = add(all, "LSM", OK);
	char list[150];

	if (file_read_small(AT_FDCWD, "/sys/kernel/security/lsm", list, sizeof(list), NULL) > 0)
		say(f->detail, "%s", list);
	else
		say(f->detail, "securityfs is not mounted");
	if (strstr(f->detail, "apparmor") || strstr(f->detail, "selinux"))
		return;
	f->verdict = LIMITED;
	say(f->advice,
	    "neither AppArmor nor SELinux is active: profiles and labels in config.json are refused");
}

static void check_exe(struct findings *all)
{
	unsigned size = 0;
	bool ok = prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0;
	struct finding *f = add(all, "hiding hull", ok ? OK : LIMITED);

	say(f->detail, ok ? "containers cannot reach hull's program"
			  : "by a sealed copy of hull at every start");
	if (!ok)
		say(f->advice,
		    "a kernel with CONFIG_CHECKPOINT_RESTORE does the same without the copy, and faster");
}

/* ---- virtual machines, checkpoints ------------------------------------------------------------------------- */

static void check_kvm(struct findings *all)
{
	_cleanup_close_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct finding *f = add(all, "KVM", OK);
	struct error err = { 0 };

	if (fd < 0) {
		f->verdict = MISSING;
		say(f->detail, "/dev/kvm: %s", strerror(errno));
		say(f->advice,
		    errno == ENOENT
			    ? "modprobe kvm_intel or kvm_amd, and enable virtualisation in the firmware"
			    : "add yourself to the group that owns /dev/kvm");
		return;
	}
	say(f->detail, "API %d", ioctl(fd, KVM_GET_API_VERSION, 0));
	if (kvm_check(&err) < 0) {
		f->verdict = LIMITED;
		say(f->detail, "%.199s", err.text);
		say(f->advice,
		    "microVMs need a host with VT-x or AMD-V that is offered to it; use containers");
	}
}

/* What microVMs are made of, beside the kernel's part. */
static void check_guest(struct findings *all)
{
	static const char *const files[] = { "hull-vmm", "vmlinux", "guest.cpio.gz" };
	struct finding *f = add(all, "guest kernel", OK);
	char path[300];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (libexec_path(files[i], path, sizeof(path), NULL) == 0 &&
		    access(path, R_OK) == 0) {
			if (i == 1)
				say(f->detail, "%.190s", path);
			continue;
		}
		f->verdict = MISSING;
		say(f->detail, "%.190s: missing", path);
		say(f->advice, "microVMs need it: `make kernel install` builds and installs it");
		return;
	}
}

static void check_hull_criu(struct finding *f)
{
	char path[300];

	f->verdict = OK;
	if (libexec_path("hull-criu", path, sizeof(path), NULL) == 0 && access(path, X_OK) == 0)
		return;
	f->verdict = MISSING;
	say(f->detail, "%.190s: missing", path);
	say(f->advice, "build hull where protobuf-c is: make deps install");
}

static void check_criu(struct findings *all)
{
	struct finding *f = add(all, "CRIU", MISSING);
	const char *path = getenv("PATH");
	char file[300];

	for (const char *dir = path ? path : "/usr/sbin:/usr/bin"; *dir;
	     dir += strcspn(dir, ":"), dir += *dir == ':') {
		snprintf(file, sizeof(file), "%.*s/criu", (int)strcspn(dir, ":"), dir);
		if (access(file, X_OK) == 0) {
			say(f->detail, "%.150s", file);
			check_hull_criu(f);
			return;
		}
	}
	say(f->detail, "not found in $PATH");
	say(f->advice, "checkpoints of containers need it: apt-get install criu");
}

/* ---- printing ---------------------------------------------------------------------------------------------- */

static void print_table(const struct findings *all)
{
	static const char *const marks[] = { "ok", "limited", "missing" };

	for (size_t i = 0; i < all->len; i++) {
		const struct finding *f = &all->items[i];

		printf("%-16s %-8s %s\n", f->name, marks[f->verdict], f->detail);
		if (*f->advice)
			printf("%-16s %-8s -> %s\n", "", "", f->advice);
	}
}

static int print_json(const struct findings *all, struct error *err)
{
	static const char *const marks[] = { "ok", "limited", "missing" };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct json_writer w;
	int r;

	json_write_init(&w, &out, 2);
	json_write_begin(&w, '[');
	for (size_t i = 0; i < all->len; i++) {
		const struct finding *f = &all->items[i];

		json_write_begin(&w, '{');
		json_write_member(&w, "name", f->name);
		json_write_member(&w, "status", marks[f->verdict]);
		json_write_member(&w, "detail", f->detail);
		if (*f->advice)
			json_write_member(&w, "advice", f->advice);
		json_write_end(&w, '}');
	}
	json_write_end(&w, ']');
	strbuf_addc(&out, '\n');
	r = strbuf_failed(&out) ? -ENOMEM : file_write_all(STDOUT_FILENO, out.data, out.len);
	return r < 0 ? error_errno(err, -r, "print") : 0;
}

int cmd_check(struct context *ctx _unused_, int argc, char **argv, struct error *err)
{
	const char *format = "table";
	const struct option options[] = {
		{ "format", 'f', OPTION_STRING, &format, "FORMAT", "table (default) or json" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"check", "", "Print what this host offers, and what to do about what is missing.",
		NULL,    0,  0
	};
	struct findings all = { .len = 0 };
	int r = command_options(&usage, options, argc, argv, err);

	if (r < 0)
		return r;
	if (strcmp(format, "table") && strcmp(format, "json"))
		return error_set(err, EINVAL, "--format `%s`: must be table or json", format);
	check_kernel(&all);
	check_namespaces(&all);
	check_user_namespaces(&all);
	check_cgroups(&all);
	check_seccomp(&all);
	check_lsm(&all);
	check_exe(&all);
	check_kvm(&all);
	check_guest(&all);
	check_criu(&all);
	if (!strcmp(format, "json"))
		return print_json(&all, err);
	print_table(&all);
	return 0;
}
