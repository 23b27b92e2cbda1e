/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor tables of config.json: the whole, process, mounts, hooks and vm. Members stand in
 * the order in which the specification's Go types are written.
 *
 * What is demanded is what the specification's JSON schemas demand, and what its text says beyond
 * them: "Runtimes MUST generate an error when invalid or unsupported values are encountered"
 * (config.md, "Valid values"). Each place that departs from a schema says so and why.
 */
#include "oci/tables.h"

#include <string.h>

/* ---- forms of strings ------------------------------------------------------------------------- */

static bool is_absolute(const char *s)
{
	return s[0] == '/';
}

const struct schema_format oci_absolute_path = { "an absolute path", "/srv/a b", is_absolute };

static bool is_not_empty(const char *s)
{
	return s[0];
}

/* An empty path would quietly mean the directory that it is joined to: the bundle, or "/". */
const struct schema_format oci_some_path = { "a path", "some/path", is_not_empty };

static size_t digits(const char *s)
{
	return strspn(s, "0123456789");
}

/*
 * Semantic versioning promises that all of 1.x can be read (config.md, "Specification version");
 * development versions ("1.0.2-dev", "1.3.0+dev") are what engines write.
 */
static bool is_version(const char *s)
{
	if (strncmp(s, "1.", 2) != 0 || !digits(s + 2))
		return false;
	s += 2 + digits(s + 2);
	if (s[0] != '.' || !digits(s + 1))
		return false;
	s += 1 + digits(s + 1);
	if (!s[0])
		return true;
	return (s[0] == '-' || s[0] == '+') && s[1] &&
	       !s[1 + strspn(s + 1, "0123456789.-+abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

static const struct schema_format version = { "a version 1.x.y", "1.0.2-dev", is_version };

static bool is_rlimit(const char *s)
{
	return strncmp(s, "RLIMIT_", 7) == 0 && s[7] &&
	       !s[7 + strspn(s + 7, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

static const struct schema_format rlimit_type = { "RLIMIT_ and a name", "RLIMIT_NOFILE",
						  is_rlimit };

static bool is_cpu_list(const char *s)
{
	return !s[strspn(s, "0123456789, -")];
}

static const struct schema_format cpu_list = { "a list of CPUs as 0-3,7", "0-3, 7", is_cpu_list };

bool oci_is_empty_string(const struct json_value *value)
{
	return value->type == JSON_STRING && !value->string[0];
}

/* ---- root, mounts ----------------------------------------------------------------------------- */

static const struct schema_member root_members[] = {
	MEMBER(struct oci_root, path, "path", .required = true, .format = &oci_some_path),
	MEMBER(struct oci_root, readonly, "readonly"),
};
static const struct schema root_schema = SCHEMA(struct oci_root, root_members);

static const struct schema_member id_mapping_members[] = {
	MEMBER(struct oci_id_mapping, container_id, "containerID", .required = true),
	MEMBER(struct oci_id_mapping, host_id, "hostID", .required = true),
	MEMBER(struct oci_id_mapping, size, "size", .required = true),
};
const struct schema oci_id_mapping_schema = SCHEMA(struct oci_id_mapping, id_mapping_members);

/*
 * Two mounts on one destination are legal: "The runtime MUST mount entries in the listed order"
 * (config.md, "Mounts"), the later on top of the earlier. Only Windows forbids nested ones. A
 * relative destination is deprecated and means one relative to "/".
 */
static const struct schema_member mount_members[] = {
	MEMBER(struct oci_mount, destination, "destination", .required = true,
	       .format = &oci_some_path),
	MEMBER(struct oci_mount, type, "type"),
	MEMBER(struct oci_mount, source, "source"),
	MEMBER(struct oci_mount, options, "options"),
	ARRAY(struct oci_mount, uid_mappings, "uidMappings", oci_id_mapping_schema),
	ARRAY(struct oci_mount, gid_mappings, "gidMappings", oci_id_mapping_schema),
};
static const struct schema mount_schema = SCHEMA(struct oci_mount, mount_members);

/* A file of nothing but mounts, as the member that they are elsewhere. */
static const struct schema_member mounts_members[] = {
	ARRAY(struct oci_config, mounts, "mounts", mount_schema, .required = true),
};
const struct schema oci_mounts_schema = SCHEMA(struct oci_config, mounts_members);

/* ---- process ---------------------------------------------------------------------------------- */

static const struct schema_member console_size_members[] = {
	MEMBER(struct oci_console_size, height, "height", .required = true),
	MEMBER(struct oci_console_size, width, "width", .required = true),
};
static const struct schema console_size_schema =
	SCHEMA(struct oci_console_size, console_size_members);

/*
 * The last number is no id: to the kernel it is -1, "leave this as it is" (setresuid(2)), so a process that asked for it would
 * stay root.
 */
#define ID_RANGE .ranged = true, .max = UINT32_MAX - 1

static const struct schema_member user_members[] = {
	MEMBER(struct oci_user, uid, "uid", ID_RANGE),
	MEMBER(struct oci_user, gid, "gid", ID_RANGE),
	MEMBER(struct oci_user, umask, "umask"),
	MEMBER(struct oci_user, additional_gids, "additionalGids", ID_RANGE),
	MEMBER(struct oci_user, username, "username"),
};
static const struct schema user_schema = SCHEMA(struct oci_user, user_members);

/* Names are not checked: one that the kernel does not know is a warning (config.md, "Linux Process"). */
static const struct schema_member capabilities_members[] = {
	MEMBER(struct oci_capabilities, bounding, "bounding"),
	MEMBER(struct oci_capabilities, effective, "effective"),
	MEMBER(struct oci_capabilities, inheritable, "inheritable"),
	MEMBER(struct oci_capabilities, permitted, "permitted"),
	MEMBER(struct oci_capabilities, ambient, "ambient"),
};
static const struct schema capabilities_schema =
	SCHEMA(struct oci_capabilities, capabilities_members);

static const struct schema_member rlimit_members[] = {
	MEMBER(struct oci_rlimit, type, "type", .required = true, .format = &rlimit_type),
	MEMBER(struct oci_rlimit, hard, "hard", .required = true),
	MEMBER(struct oci_rlimit, soft, "soft", .required = true),
};
static const struct schema rlimit_schema = SCHEMA(struct oci_rlimit, rlimit_members);

static const char *const scheduler_policies[] = { "SCHED_OTHER",    "SCHED_FIFO", "SCHED_RR",
						  "SCHED_BATCH",    "SCHED_ISO",  "SCHED_IDLE",
						  "SCHED_DEADLINE", NULL };
static const char *const scheduler_flags[] = {
	"SCHED_FLAG_RESET_ON_FORK",  "SCHED_FLAG_RECLAIM",
	"SCHED_FLAG_DL_OVERRUN",     "SCHED_FLAG_KEEP_POLICY",
	"SCHED_FLAG_KEEP_PARAMS",    "SCHED_FLAG_UTIL_CLAMP_MIN",
	"SCHED_FLAG_UTIL_CLAMP_MAX", NULL
};

static const struct schema_member scheduler_members[] = {
	MEMBER(struct oci_scheduler, policy, "policy", .required = true,
	       .names = scheduler_policies),
	MEMBER(struct oci_scheduler, nice, "nice"),
	MEMBER(struct oci_scheduler, priority, "priority"),
	MEMBER(struct oci_scheduler, flags, "flags", .names = scheduler_flags),
	MEMBER(struct oci_scheduler, runtime, "runtime"),
	MEMBER(struct oci_scheduler, deadline, "deadline"),
	MEMBER(struct oci_scheduler, period, "period"),
};
static const struct schema scheduler_schema = SCHEMA(struct oci_scheduler, scheduler_members);

static const char *const io_priority_classes[] = { "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE",
						   "IOPRIO_CLASS_IDLE", NULL };

static const struct schema_member io_priority_members[] = {
	MEMBER(struct oci_io_priority, class, "class", .required = true,
	       .names = io_priority_classes),
	MEMBER(struct oci_io_priority, priority, "priority"),
};
static const struct schema io_priority_schema = SCHEMA(struct oci_io_priority, io_priority_members);

static const struct schema_member exec_cpu_affinity_members[] = {
	MEMBER(struct oci_exec_cpu_affinity, initial, "initial", .format = &cpu_list),
	MEMBER(struct oci_exec_cpu_affinity, final, "final", .format = &cpu_list),
};
static const struct schema exec_cpu_affinity_schema =
	SCHEMA(struct oci_exec_cpu_affinity, exec_cpu_affinity_members);

/*
 * From the text, not the schema: an absolute cwd, at least one of args, no rlimit twice, and the
 * kernel's range of oom_score_adj. What an entry of env holds is the program's affair.
 */
static const struct schema_member process_members[] = {
	MEMBER(struct oci_process, terminal, "terminal"),
	OBJECT(struct oci_process, console_size, "consoleSize", console_size_schema),
	OBJECT(struct oci_process, user, "user", user_schema),
	MEMBER(struct oci_process, args, "args", .not_empty = true),
	MEMBER(struct oci_process, command_line, "commandLine"),
	MEMBER(struct oci_process, env, "env"),
	MEMBER(struct oci_process, cwd, "cwd", .required = true, .format = &oci_absolute_path),
	OBJECT(struct oci_process, capabilities, "capabilities", capabilities_schema),
	ARRAY(struct oci_process, rlimits, "rlimits", rlimit_schema, .unique = true),
	MEMBER(struct oci_process, no_new_privileges, "noNewPrivileges"),
	MEMBER(struct oci_process, apparmor_profile, "apparmorProfile"),
	MEMBER(struct oci_process, oom_score_adj, "oomScoreAdj", .ranged = true, .min = -1000,
	       .max = 1000),
	OBJECT(struct oci_process, scheduler, "scheduler", scheduler_schema),
	MEMBER(struct oci_process, selinux_label, "selinuxLabel"),
	OBJECT(struct oci_process, io_priority, "ioPriority", io_priority_schema),
	OBJECT(struct oci_process, exec_cpu_affinity, "execCPUAffinity", exec_cpu_affinity_schema),
};
const struct schema oci_process_schema = SCHEMA(struct oci_process, process_members);

/* ---- hooks ------------------------------------------------------------------------------------ */

static const struct schema_member hook_members[] = {
	MEMBER(struct oci_hook, path, "path", .required = true, .format = &oci_absolute_path),
	MEMBER(struct oci_hook, args, "args"),
	MEMBER(struct oci_hook, env, "env"),
	MEMBER(struct oci_hook, timeout, "timeout", .ranged = true, .min = 1, .max = INT64_MAX),
};
static const struct schema hook_schema = SCHEMA(struct oci_hook, hook_members);

static const struct schema_member hooks_members[] = {
	ARRAY(struct oci_hooks, prestart, "prestart", hook_schema),
	ARRAY(struct oci_hooks, create_runtime, "createRuntime", hook_schema),
	ARRAY(struct oci_hooks, create_container, "createContainer", hook_schema),
	ARRAY(struct oci_hooks, start_container, "startContainer", hook_schema),
	ARRAY(struct oci_hooks, poststart, "poststart", hook_schema),
	ARRAY(struct oci_hooks, poststop, "poststop", hook_schema),
};
static const struct schema hooks_schema = SCHEMA(struct oci_hooks, hooks_members);

/* ---- vm --------------------------------------------------------------------------------------- */

/*
 * Departs from the schema: the Go types hold hypervisor and image by value, so whatever Go program
 * passes a vm object on writes `"hypervisor":{"path":""}` and `"image":{"path":"","format":""}` for
 * those that are not there. That and nothing else means absence.
 */
static bool is_empty_at(const struct json_value *object, const char *name)
{
	const char *value = json_get_string(object, name);

	return value && !*value;
}

static bool is_empty_hypervisor(const struct json_value *value)
{
	return value->children == 1 && is_empty_at(value, "path");
}

static bool is_empty_image(const struct json_value *value)
{
	return value->children == 2 && is_empty_at(value, "path") && is_empty_at(value, "format");
}

static const struct schema_member hypervisor_members[] = {
	MEMBER(struct oci_vm_hypervisor, path, "path", .required = true,
	       .format = &oci_absolute_path),
	MEMBER(struct oci_vm_hypervisor, parameters, "parameters"),
};
static const struct schema hypervisor_schema = SCHEMA(struct oci_vm_hypervisor, hypervisor_members);

static const struct schema_member kernel_members[] = {
	MEMBER(struct oci_vm_kernel, path, "path", .required = true, .format = &oci_absolute_path),
	MEMBER(struct oci_vm_kernel, parameters, "parameters"),
	MEMBER(struct oci_vm_kernel, initrd, "initrd", .format = &oci_absolute_path),
};
static const struct schema kernel_schema = SCHEMA(struct oci_vm_kernel, kernel_members);

static const char *const image_formats[] = { "raw", "qcow2", "vdi", "vmdk", "vhd", NULL };

static const struct schema_member image_members[] = {
	MEMBER(struct oci_vm_image, path, "path", .required = true, .format = &oci_absolute_path),
	MEMBER(struct oci_vm_image, format, "format", .required = true, .names = image_formats),
};
static const struct schema image_schema = SCHEMA(struct oci_vm_image, image_members);

static const struct schema_member iomem_members[] = {
	MEMBER(struct oci_vm_iomem, first_gfn, "firstGFN"),
	MEMBER(struct oci_vm_iomem, first_mfn, "firstMFN", .required = true),
	MEMBER(struct oci_vm_iomem, nr_mfns, "nrMFNs", .required = true),
};
static const struct schema iomem_schema = SCHEMA(struct oci_vm_iomem, iomem_members);

static const struct schema_member hw_config_members[] = {
	MEMBER(struct oci_vm_hw_config, device_tree, "deviceTree"),
	MEMBER(struct oci_vm_hw_config, vcpus, "vcpus"),
	MEMBER(struct oci_vm_hw_config, memory, "memory"),
	MEMBER(struct oci_vm_hw_config, dtdevs, "dtdevs"),
	ARRAY(struct oci_vm_hw_config, iomems, "iomems", iomem_schema),
	MEMBER(struct oci_vm_hw_config, irqs, "irqs"),
};
static const struct schema hw_config_schema = SCHEMA(struct oci_vm_hw_config, hw_config_members);

/* The text and the schema say hwConfig, the Go types write hwconfig. */
static const struct schema_member vm_members[] = {
	OBJECT(struct oci_vm, hypervisor, "hypervisor", hypervisor_schema,
	       .absent = is_empty_hypervisor),
	OBJECT(struct oci_vm, kernel, "kernel", kernel_schema, .required = true),
	OBJECT(struct oci_vm, image, "image", image_schema, .absent = is_empty_image),
	OBJECT(struct oci_vm, hw_config, "hwConfig", hw_config_schema),
	OBJECT(struct oci_vm, hw_config, "hwconfig", hw_config_schema, .alias = true),
};
static const struct schema vm_schema = SCHEMA(struct oci_vm, vm_members);

/* ---- the whole -------------------------------------------------------------------------------- */

/* The names of annotations "MUST NOT be an empty string" (config.md, "Annotations"). */
static const struct schema_member config_members[] = {
	MEMBER(struct oci_config, oci_version, "ociVersion", .required = true, .format = &version),
	OBJECT(struct oci_config, process, "process", oci_process_schema),
	OBJECT(struct oci_config, root, "root", root_schema),
	MEMBER(struct oci_config, hostname, "hostname"),
	MEMBER(struct oci_config, domainname, "domainname"),
	ARRAY(struct oci_config, mounts, "mounts", mount_schema),
	OBJECT(struct oci_config, hooks, "hooks", hooks_schema),
	MEMBER(struct oci_config, annotations, "annotations", .not_empty = true),
	OBJECT(struct oci_config, linux_, "linux", oci_linux_schema),
	OBJECT(struct oci_config, vm, "vm", vm_schema),
};
const struct schema oci_config_schema = SCHEMA(struct oci_config, config_members);
