/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seccomp filter of an image that is run; see run.h. It names what is refused, not what is allowed: programs find the
 * system calls of new kernels as they would outside, and the kernel's own checks hold for all that is not here.
 *
 * Why each is here: keyrings, BPF, io_uring, userfaultfd and performance counters are one for all containers, or have been
 * the way out of many of them; the others want a capability, and are refused before the kernel's code for them is reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "oci/image/run.h"

struct refused {
	const char *name;
	const char *unless[2]; /* capabilities with which it is allowed */
};

static const struct refused refused[] = {
	{ "add_key", { NULL } },
	{ "keyctl", { NULL } },
	{ "request_key", { NULL } },
	{ "userfaultfd", { "CAP_SYS_ADMIN", "CAP_SYS_PTRACE" } },
	{ "io_uring_enter", { NULL } },
	{ "io_uring_register", { NULL } },
	{ "io_uring_setup", { NULL } },
	{ "kcmp", { "CAP_SYS_PTRACE" } },
	{ "_sysctl", { NULL } },
	{ "sysfs", { NULL } },
	{ "uselib", { NULL } },
	{ "ustat", { NULL } },
	{ "nfsservctl", { NULL } },
	{ "vm86", { NULL } },
	{ "vm86old", { NULL } },
	{ "bpf", { "CAP_SYS_ADMIN", "CAP_BPF" } },
	{ "perf_event_open", { "CAP_SYS_ADMIN", "CAP_PERFMON" } },
	{ "fanotify_init", { "CAP_SYS_ADMIN" } },
	{ "fsconfig", { "CAP_SYS_ADMIN" } },
	{ "fsmount", { "CAP_SYS_ADMIN" } },
	{ "fsopen", { "CAP_SYS_ADMIN" } },
	{ "fspick", { "CAP_SYS_ADMIN" } },
	{ "lookup_dcookie", { "CAP_SYS_ADMIN" } },
	{ "mount", { "CAP_SYS_ADMIN" } },
	{ "mount_setattr", { "CAP_SYS_ADMIN" } },
	{ "move_mount", { "CAP_SYS_ADMIN" } },
	{ "open_tree", { "CAP_SYS_ADMIN" } },
	{ "open_tree_attr", { "CAP_SYS_ADMIN" } },
	{ "pivot_root", { "CAP_SYS_ADMIN" } },
	{ "quotactl", { "CAP_SYS_ADMIN" } },
	{ "quotactl_fd", { "CAP_SYS_ADMIN" } },
	{ "setdomainname", { "CAP_SYS_ADMIN" } },
	{ "sethostname", { "CAP_SYS_ADMIN" } },
	{ "setns", { "CAP_SYS_ADMIN" } },
	{ "swapoff", { "CAP_SYS_ADMIN" } },
	{ "swapon", { "CAP_SYS_ADMIN" } },
	{ "umount", { "CAP_SYS_ADMIN" } },
	{ "umount2", { "CAP_SYS_ADMIN" } },
	{ "open_by_handle_at", { "CAP_DAC_READ_SEARCH" } },
	{ "create_module", { "CAP_SYS_MODULE" } },
	{ "delete_module", { "CAP_SYS_MODULE" } },
	{ "finit_module", { "CAP_SYS_MODULE" } },
	{ "init_module", { "CAP_SYS_MODULE" } },
	{ "query_module", { "CAP_SYS_MODULE" } },
	{ "kexec_file_load", { "CAP_SYS_BOOT" } },
	{ "kexec_load", { "CAP_SYS_BOOT" } },
	{ "reboot", { "CAP_SYS_BOOT" } },
	{ "acct", { "CAP_SYS_PACCT" } },
	{ "clock_settime", { "CAP_SYS_TIME" } },
	{ "clock_settime64", { "CAP_SYS_TIME" } },
	{ "settimeofday", { "CAP_SYS_TIME" } },
	{ "stime", { "CAP_SYS_TIME" } },
	{ "ioperm", { "CAP_SYS_RAWIO" } },
	{ "iopl", { "CAP_SYS_RAWIO" } },
	{ "syslog", { "CAP_SYSLOG" } },
	{ "migrate_pages", { "CAP_SYS_NICE" } },
	{ "move_pages", { "CAP_SYS_NICE" } },
};

/* unshare(2) and clone(2) with any of these make a namespace. clone3(2) has its flags in memory, where no filter sees them. */
#define NEW_TIME 0x00000080 /* CLONE_NEWTIME; in clone(2) that is a part of the signal's number */
static const uint64_t namespaces[] = {
	NEW_TIME,   0x00020000, /* CLONE_NEWNS */
	0x02000000,             /* CLONE_NEWCGROUP */
	0x04000000,             /* CLONE_NEWUTS */
	0x08000000,             /* CLONE_NEWIPC */
	0x10000000,             /* CLONE_NEWUSER */
	0x20000000,             /* CLONE_NEWPID */
	0x40000000,             /* CLONE_NEWNET */
};

#if defined(__s390__)
#define CLONE_FLAGS_ARGUMENT 1
#else
#define CLONE_FLAGS_ARGUMENT 0
#endif

static const char *const architectures[] = {
#if defined(__x86_64__)
	"SCMP_ARCH_X86_64",
	"SCMP_ARCH_X86",
	"SCMP_ARCH_X32",
#elif defined(__aarch64__)
	"SCMP_ARCH_AARCH64",
	"SCMP_ARCH_ARM",
#endif
};

static bool has(const struct oci_strings *list, const char *name)
{
	for (size_t i = 0; list && name && i < list->len; i++)
		if (!strcmp(list->items[i], name))
			return true;
	return false;
}

struct rules {
	struct oci_seccomp_syscalls list;
	struct arena *arena;
	bool failed;
};

static struct oci_seccomp_syscall *add_rule(struct rules *rules, uint32_t errno_ret, size_t names)
{
	struct oci_seccomp_syscall *rule = &rules->list.items[rules->list.len++];

	rule->names.items = arena_array(rules->arena, names, sizeof(*rule->names.items));
	rules->failed = rules->failed || !rule->names.items;
	rule->action = "SCMP_ACT_ERRNO";
	rule->errno_ret = (struct opt_u32){ true, errno_ret };
	return rule;
}

static void add_name(struct rules *rules, uint32_t errno_ret, const char *name,
		     const struct oci_seccomp_arg *arg)
{
	struct oci_seccomp_syscall *rule = add_rule(rules, errno_ret, 1);

	if (rules->failed)
		return;
	rule->names.items[rule->names.len++] = name;
	if (!arg)
		return;
	rule->args.items = arena_memdup(rules->arena, arg, sizeof(*arg));
	rule->args.len = 1;
	rules->failed = !rule->args.items;
}

static void add_refused(struct rules *rules, const struct oci_strings *capabilities)
{
	struct oci_seccomp_syscall *rule = add_rule(rules, EPERM, ARRAY_SIZE(refused));

	for (size_t i = 0; i < ARRAY_SIZE(refused) && !rules->failed; i++)
		if (!has(capabilities, refused[i].unless[0]) &&
		    !has(capabilities, refused[i].unless[1]))
			rule->names.items[rule->names.len++] = refused[i].name;
}

static void refuse_flag(struct rules *rules, const char *name, uint32_t argument, uint64_t flag)
{
	add_name(rules, EPERM, name,
		 &(struct oci_seccomp_arg){
			 .index = argument,
			 .value = flag,
			 .value_two = { true, flag },
			 .op = "SCMP_CMP_MASKED_EQ",
		 });
}

static void refuse_namespaces(struct rules *rules)
{
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
		refuse_flag(rules, "unshare", 0, namespaces[i]);
		if (namespaces[i] != NEW_TIME)
			refuse_flag(rules, "clone", CLONE_FLAGS_ARGUMENT, namespaces[i]);
	}
	/* C libraries take clone(2) then. */
	add_name(rules, ENOSYS, "clone3", NULL);
}

struct oci_seccomp *image_run_seccomp(const struct oci_strings *capabilities, struct arena *arena)
{
	struct oci_seccomp *seccomp = arena_new(arena, struct oci_seccomp);
	struct rules rules = { .arena = arena };

	rules.list.items =
		arena_array(arena, 2 + 2 * ARRAY_SIZE(namespaces), sizeof(*rules.list.items));
	if (!seccomp || !rules.list.items)
		return NULL;
	seccomp->default_action = "SCMP_ACT_ALLOW";
	if (ARRAY_SIZE(architectures)) {
		seccomp->architectures.items =
			arena_memdup(arena, architectures, sizeof(architectures));
		seccomp->architectures.len = ARRAY_SIZE(architectures);
		rules.failed = !seccomp->architectures.items;
	}
	add_refused(&rules, capabilities);
	if (!has(capabilities, "CAP_SYS_ADMIN"))
		refuse_namespaces(&rules);
	seccomp->syscalls = rules.list;
	return rules.failed ? NULL : seccomp;
}

/* ---- a profile of the user's ---------------------------------------------------------------- */

/* What profiles of engines have beside config.json's members: to ignore it would allow what they refuse. */
static int check_members(const struct json_value *profile, struct error *err)
{
	static const char *const engines[] = { "archMap", "includes", "excludes" };
	const struct json_value *syscalls;

	if (profile->type != JSON_OBJECT)
		return error_set(err, EINVAL, "is no JSON object");
	syscalls = json_get(profile, "syscalls");
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		bool found = json_get(profile, engines[i]) != NULL;

		for (const struct json_value *s = syscalls ? syscalls->child : NULL; s && !found;
		     s = s->next) {
			const struct json_value *m =
				s->type == JSON_OBJECT ? json_get(s, engines[i]) : NULL;

			found = m && m->children > 0;
		}
		if (found)
			return error_set(err, EINVAL,
					 "has `%s`, which engines resolve: give a profile as "
					 "linux.seccomp of config.json has it",
					 engines[i]);
	}
	return 0;
}

int image_run_load_seccomp(const char *path, struct arena *arena, struct oci_seccomp **seccomp,
			   struct error *err)
{
	_cleanup_strbuf_ struct strbuf whole = { 0 };
	_cleanup_free_ char *text = NULL;
	struct json_value *profile;
	struct oci_config *config;
	ssize_t len = file_read(AT_FDCWD, path, OCI_CONFIG_MAX / 2, &text, err);
	int r = len < 0 ? (int)len : json_parse(text, (size_t)len, arena, &profile, err);

	if (r >= 0)
		r = check_members(profile, err);
	if (r < 0)
		return error_wrap(err, "--security-opt seccomp: `%s`", path);
	strbuf_adds(&whole, "{\"ociVersion\":\"" OCI_VERSION "\",\"root\":{\"path\":\"rootfs\"},"
			    "\"linux\":{\"seccomp\":");
	strbuf_add(&whole, text, (size_t)len);
	strbuf_adds(&whole, "}}");
	if (strbuf_failed(&whole))
		return error_errno(err, ENOMEM, "--security-opt");
	r = oci_config_parse(whole.data, whole.len, arena, &config, err);
	if (r < 0)
		return error_wrap(err, "--security-opt seccomp: `%s`", path);
	*seccomp = config->linux_->seccomp;
	return 0;
}
