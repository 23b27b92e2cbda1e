/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default configuration, built from constant lists; see spec.h. The lists are copied into the
 * arena, so that a caller may change what it got.
 */
#include "oci/spec.h"

#include <string.h>
#include <unistd.h>

/* A constant list of strings, for a compound literal in a call or a table. */
struct list {
	const char *const *items;
	size_t len;
};
#define LIST(...)                                                                           \
	{                                                                                   \
		.items = (const char *const[]){ __VA_ARGS__ },                              \
		.len = sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *), \
	}

static const struct list args = LIST("sh");
static const struct list env =
	LIST("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm");
static const struct list capabilities = LIST("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE");
static const struct list masked_paths =
	LIST("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	     "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
	     "/proc/scsi");
static const struct list readonly_paths =
	LIST("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger");

struct mount_entry {
	const char *destination, *type, *source;
	struct list options;
};

static const struct mount_entry mounts[] = {
	{ "/proc", "proc", "proc", { NULL, 0 } },
	{ "/dev", "tmpfs", "tmpfs", LIST("nosuid", "strictatime", "mode=755", "size=65536k") },
	{ "/dev/pts", "devpts", "devpts",
	  LIST("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5") },
	{ "/dev/shm", "tmpfs", "shm",
	  LIST("nosuid", "noexec", "nodev", "mode=1777", "size=65536k") },
	{ "/dev/mqueue", "mqueue", "mqueue", LIST("nosuid", "noexec", "nodev") },
	{ "/sys", "sysfs", "sysfs", LIST("nosuid", "noexec", "nodev", "ro") },
	{ "/sys/fs/cgroup", "cgroup", "cgroup",
	  LIST("nosuid", "noexec", "nodev", "relatime", "ro") },
};

/* Without root: group 5 is not mapped, and a sysfs can only be mounted by who owns the network. */
static const struct mount_entry rootless_pts = { "/dev/pts", "devpts", "devpts",
						 LIST("nosuid", "noexec", "newinstance",
						      "ptmxmode=0666", "mode=0620") };
static const struct mount_entry rootless_sys = { "/sys", "none", "/sys",
						 LIST("rbind", "nosuid", "noexec", "nodev", "ro") };

static bool copy_list(struct arena *arena, const struct list *list, struct oci_strings *out)
{
	if (!list->len)
		return true;
	out->items = arena_array(arena, list->len, sizeof(*out->items));
	if (!out->items)
		return false;
	memcpy(out->items, list->items, list->len * sizeof(*out->items));
	out->len = list->len;
	return true;
}

static bool add_process(struct arena *arena, struct oci_config *config)
{
	struct oci_process *p = arena_new(arena, struct oci_process);
	struct oci_user *user = arena_new(arena, struct oci_user);
	struct oci_capabilities *caps = arena_new(arena, struct oci_capabilities);
	struct oci_rlimit *rlimit = arena_new(arena, struct oci_rlimit);

	if (!p || !user || !caps || !rlimit)
		return false;
	*user = (struct oci_user){ .uid = { true, 0 }, .gid = { true, 0 } };
	*rlimit = (struct oci_rlimit){ "RLIMIT_NOFILE", 1024, 1024 };
	*p = (struct oci_process){
		.terminal = { true, true },
		.user = user,
		.cwd = "/",
		.capabilities = caps,
		.rlimits = { rlimit, 1 },
		.no_new_privileges = { true, true },
	};
	config->process = p;
	return copy_list(arena, &args, &p->args) && copy_list(arena, &env, &p->env) &&
	       copy_list(arena, &capabilities, &caps->bounding) &&
	       copy_list(arena, &capabilities, &caps->effective) &&
	       copy_list(arena, &capabilities, &caps->permitted);
}

static bool add_root(struct arena *arena, struct oci_config *config)
{
	config->root = arena_new(arena, struct oci_root);
	if (config->root)
		*config->root = (struct oci_root){ "rootfs", { true, true } };
	return config->root;
}

static const struct mount_entry *choose_mount(const struct mount_entry *entry, bool rootless)
{
	if (rootless && strcmp(entry->destination, rootless_pts.destination) == 0)
		return &rootless_pts;
	if (rootless && strcmp(entry->destination, rootless_sys.destination) == 0)
		return &rootless_sys;
	return entry;
}

static bool add_mounts(struct arena *arena, struct oci_config *config, bool rootless)
{
	struct oci_mounts *out = &config->mounts;

	out->items = arena_array(arena, ARRAY_SIZE(mounts), sizeof(*out->items));
	if (!out->items)
		return false;
	for (; out->len < ARRAY_SIZE(mounts); out->len++) {
		const struct mount_entry *entry = choose_mount(&mounts[out->len], rootless);
		struct oci_mount *m = &out->items[out->len];

		m->destination = entry->destination;
		m->type = entry->type;
		m->source = entry->source;
		if (!copy_list(arena, &entry->options, &m->options))
			return false;
	}
	return true;
}

static bool add_namespaces(struct arena *arena, struct oci_linux *l, bool rootless)
{
	static const enum oci_namespace_type as_root[] = {
		OCI_NS_PID, OCI_NS_NETWORK, OCI_NS_IPC, OCI_NS_UTS, OCI_NS_MOUNT, OCI_NS_CGROUP
	};
	static const enum oci_namespace_type as_user[] = {
		OCI_NS_PID, OCI_NS_IPC, OCI_NS_UTS, OCI_NS_MOUNT, OCI_NS_USER, OCI_NS_CGROUP
	};
	size_t len = ARRAY_SIZE(as_root);

	_Static_assert(ARRAY_SIZE(as_root) == ARRAY_SIZE(as_user), "one length for both");
	l->namespaces.items = arena_array(arena, len, sizeof(*l->namespaces.items));
	if (!l->namespaces.items)
		return false;
	for (size_t i = 0; i < len; i++)
		l->namespaces.items[i].type = (int)(rootless ? as_user[i] : as_root[i]);
	l->namespaces.len = len;
	return true;
}

static bool add_mapping(struct arena *arena, struct oci_id_mappings *mappings, uint32_t host_id)
{
	mappings->items = arena_new(arena, struct oci_id_mapping);
	if (!mappings->items)
		return false;
	*mappings->items = (struct oci_id_mapping){ 0, host_id, 1 };
	mappings->len = 1;
	return true;
}

/* All devices are refused, but those that every container gets (config-linux.md, "Default Devices"). */
static bool add_device_rule(struct arena *arena, struct oci_linux *l)
{
	struct oci_device_rule *rule = arena_new(arena, struct oci_device_rule);

	l->resources = arena_new(arena, struct oci_resources);
	if (!rule || !l->resources)
		return false;
	*rule = (struct oci_device_rule){ .allow = false, .access = "rwm" };
	l->resources->devices.items = rule;
	l->resources->devices.len = 1;
	return true;
}

static bool add_linux(struct arena *arena, struct oci_config *config, bool rootless)
{
	struct oci_linux *l = config->linux_ = arena_new(arena, struct oci_linux);

	if (!l || !add_namespaces(arena, l, rootless) ||
	    !copy_list(arena, &masked_paths, &l->masked_paths) ||
	    !copy_list(arena, &readonly_paths, &l->readonly_paths))
		return false;
	if (!rootless)
		return add_device_rule(arena, l);
	return add_mapping(arena, &l->uid_mappings, geteuid()) &&
	       add_mapping(arena, &l->gid_mappings, getegid());
}

struct oci_config *oci_spec_default(struct arena *arena, bool rootless, struct error *err)
{
	struct oci_config *config = arena_new(arena, struct oci_config);

	if (!config || !add_process(arena, config) || !add_root(arena, config) ||
	    !add_mounts(arena, config, rootless) || !add_linux(arena, config, rootless)) {
		error_errno(err, ENOMEM, "make a configuration");
		return NULL;
	}
	config->oci_version = OCI_VERSION;
	config->hostname = "hull";
	return config;
}
