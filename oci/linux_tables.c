/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor tables of config.json's linux object; resources have a file of their own. */
#include <string.h>
#include <sys/stat.h>

#include "oci/tables.h"

/* ---- namespaces ------------------------------------------------------------------------------- */

const char *const oci_namespace_names[] = {
	[OCI_NS_PID] = "pid",       [OCI_NS_NETWORK] = "network", [OCI_NS_MOUNT] = "mount",
	[OCI_NS_IPC] = "ipc",       [OCI_NS_UTS] = "uts",         [OCI_NS_USER] = "user",
	[OCI_NS_CGROUP] = "cgroup", [OCI_NS_TIME] = "time",       [OCI_NS_COUNT] = NULL,
};

static const struct schema_member namespace_members[] = {
	MEMBER(struct oci_namespace, type, "type", .required = true, .names = oci_namespace_names),
	MEMBER(struct oci_namespace, path, "path", .format = &oci_absolute_path,
	       .absent = oci_is_empty_string),
};
static const struct schema namespace_schema = SCHEMA(struct oci_namespace, namespace_members);

static const struct schema_member time_offset_members[] = {
	MEMBER(struct oci_time_offset, secs, "secs"),
	MEMBER(struct oci_time_offset, nanosecs, "nanosecs"),
};
static const struct schema time_offset_schema = SCHEMA(struct oci_time_offset, time_offset_members);

static const struct schema_member time_offsets_members[] = {
	OBJECT(struct oci_time_offsets, boottime, "boottime", time_offset_schema),
	OBJECT(struct oci_time_offsets, monotonic, "monotonic", time_offset_schema),
};
static const struct schema time_offsets_schema =
	SCHEMA(struct oci_time_offsets, time_offsets_members);

/* ---- devices ---------------------------------------------------------------------------------- */

static const char *const device_types[] = { "c", "b", "u", "p", NULL };

/* fileMode: what else than permissions may be in it, check_file_mode() says. */
static const struct schema_member device_members[] = {
	MEMBER(struct oci_device, path, "path", .required = true, .format = &oci_absolute_path),
	MEMBER(struct oci_device, type, "type", .required = true, .names = device_types),
	MEMBER(struct oci_device, major, "major"),
	MEMBER(struct oci_device, minor, "minor"),
	MEMBER(struct oci_device, file_mode, "fileMode"),
	MEMBER(struct oci_device, uid, "uid"),
	MEMBER(struct oci_device, gid, "gid"),
};
static const struct schema device_schema = SCHEMA(struct oci_device, device_members);

/*
 * The schema's most is 0777. hull also takes the st_mode of a device of that type, for podman passes
 * it as it is (8630 is a character device of 0666): the permissions in it are what counts.
 */
static int check_file_mode(struct oci_device *d, const struct schema_path *device,
			   struct error *err)
{
	const struct schema_path here = { device, "fileMode", 0 };
	uint32_t type = d->type[0] == 'b' ? S_IFBLK : d->type[0] == 'p' ? S_IFIFO : S_IFCHR;

	if (d->file_mode.v > 0777 && (d->file_mode.v & ~(uint32_t)07777) != type)
		return schema_fail(&here, err, "%u is out of range (0 to 511)", d->file_mode.v);
	d->file_mode.v &= 07777;
	return 0;
}

/* "major, minor (int64, REQUIRED unless type is p)" (config-linux.md, "Devices"). */
static int check_devices(void *field, const struct schema_path *path, struct error *err)
{
	struct oci_devices *devices = field;

	for (size_t i = 0; i < devices->len; i++) {
		struct oci_device *d = &devices->items[i];
		struct schema_path element = { path, NULL, i };
		struct schema_path here = { &element, d->major.set ? "minor" : "major", 0 };
		int r;

		if (d->type[0] != 'p' && !(d->major.set && d->minor.set))
			return schema_fail(&here, err, "missing, but required for type \"%s\"",
					   d->type);
		r = check_file_mode(d, &element, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct schema_member net_device_members[] = {
	MEMBER(struct oci_net_device, name, "name", .absent = oci_is_empty_string),
};
static const struct schema net_device_schema = SCHEMA(struct oci_net_device, net_device_members);

/* ---- seccomp ---------------------------------------------------------------------------------- */

static const char *const seccomp_actions[] = { "SCMP_ACT_KILL",        "SCMP_ACT_KILL_PROCESS",
					       "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
					       "SCMP_ACT_ERRNO",       "SCMP_ACT_TRACE",
					       "SCMP_ACT_ALLOW",       "SCMP_ACT_LOG",
					       "SCMP_ACT_NOTIFY",      NULL };
static const char *const seccomp_archs[] = {
	"SCMP_ARCH_X86",         "SCMP_ARCH_X86_64",      "SCMP_ARCH_X32",     "SCMP_ARCH_ARM",
	"SCMP_ARCH_AARCH64",     "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",    "SCMP_ARCH_MIPS",
	"SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",   "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64",
	"SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",         "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",
	"SCMP_ARCH_S390",        "SCMP_ARCH_S390X",       "SCMP_ARCH_SH",      "SCMP_ARCH_SHEB",
	"SCMP_ARCH_PARISC",      "SCMP_ARCH_PARISC64",    "SCMP_ARCH_RISCV64", NULL
};
static const char *const seccomp_flags[] = { "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
					     "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
					     "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL };
static const char *const seccomp_operators[] = { "SCMP_CMP_NE",        "SCMP_CMP_LT", "SCMP_CMP_LE",
						 "SCMP_CMP_EQ",        "SCMP_CMP_GE", "SCMP_CMP_GT",
						 "SCMP_CMP_MASKED_EQ", NULL };

/* A system call has six arguments; the schema takes any index. */
static const struct schema_member seccomp_arg_members[] = {
	MEMBER(struct oci_seccomp_arg, index, "index", .required = true, .ranged = true, .max = 5),
	MEMBER(struct oci_seccomp_arg, value, "value", .required = true),
	MEMBER(struct oci_seccomp_arg, value_two, "valueTwo"),
	MEMBER(struct oci_seccomp_arg, op, "op", .required = true, .names = seccomp_operators),
};
static const struct schema seccomp_arg_schema = SCHEMA(struct oci_seccomp_arg, seccomp_arg_members);

static const struct schema_member seccomp_syscall_members[] = {
	MEMBER(struct oci_seccomp_syscall, names, "names", .required = true, .not_empty = true),
	MEMBER(struct oci_seccomp_syscall, action, "action", .required = true,
	       .names = seccomp_actions),
	MEMBER(struct oci_seccomp_syscall, errno_ret, "errnoRet"),
	ARRAY(struct oci_seccomp_syscall, args, "args", seccomp_arg_schema),
};
static const struct schema seccomp_syscall_schema =
	SCHEMA(struct oci_seccomp_syscall, seccomp_syscall_members);

static const struct schema_member seccomp_members[] = {
	MEMBER(struct oci_seccomp, default_action, "defaultAction", .required = true,
	       .names = seccomp_actions),
	MEMBER(struct oci_seccomp, default_errno_ret, "defaultErrnoRet"),
	MEMBER(struct oci_seccomp, architectures, "architectures", .names = seccomp_archs),
	MEMBER(struct oci_seccomp, flags, "flags", .names = seccomp_flags),
	MEMBER(struct oci_seccomp, listener_path, "listenerPath"),
	MEMBER(struct oci_seccomp, listener_metadata, "listenerMetadata"),
	ARRAY(struct oci_seccomp, syscalls, "syscalls", seccomp_syscall_schema),
};
static const struct schema seccomp_schema = SCHEMA(struct oci_seccomp, seccomp_members);

/* ---- Intel RDT, memory policy, personality ---------------------------------------------------- */

static bool is_mem_bw_schema(const char *s)
{
	return strncmp(s, "MB:", 3) == 0 && !strchr(s, '\n');
}

static const struct schema_format mem_bw_schema = { "MB: and one line", "MB:0=20;1=70",
						    is_mem_bw_schema };

static const struct schema_member intel_rdt_members[] = {
	MEMBER(struct oci_intel_rdt, clos_id, "closID"),
	MEMBER(struct oci_intel_rdt, schemata, "schemata"),
	MEMBER(struct oci_intel_rdt, l3_cache_schema, "l3CacheSchema"),
	MEMBER(struct oci_intel_rdt, mem_bw_schema, "memBwSchema", .format = &mem_bw_schema),
	MEMBER(struct oci_intel_rdt, enable_monitoring, "enableMonitoring"),
};
static const struct schema intel_rdt_schema = SCHEMA(struct oci_intel_rdt, intel_rdt_members);

static const char *const memory_policy_modes[] = { "MPOL_DEFAULT",    "MPOL_BIND",
						   "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
						   "MPOL_PREFERRED",  "MPOL_PREFERRED_MANY",
						   "MPOL_LOCAL",      NULL };
static const char *const memory_policy_flags[] = { "MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES",
						   "MPOL_F_STATIC_NODES", NULL };

static const struct schema_member memory_policy_members[] = {
	MEMBER(struct oci_memory_policy, mode, "mode", .names = memory_policy_modes),
	MEMBER(struct oci_memory_policy, nodes, "nodes"),
	MEMBER(struct oci_memory_policy, flags, "flags", .names = memory_policy_flags),
};
static const struct schema memory_policy_schema =
	SCHEMA(struct oci_memory_policy, memory_policy_members);

static const char *const personality_domains[] = { "LINUX", "LINUX32", NULL };

static const struct schema_member personality_members[] = {
	MEMBER(struct oci_personality, domain, "domain", .names = personality_domains),
	MEMBER(struct oci_personality, flags, "flags"),
};
static const struct schema personality_schema = SCHEMA(struct oci_personality, personality_members);

/* ---- the whole -------------------------------------------------------------------------------- */

/* The schema has the first four; engines also write the recursive ones, and runtimes take them. */
static const char *const propagations[] = { "private",    "shared",      "slave",
					    "unbindable", "rprivate",    "rshared",
					    "rslave",     "runbindable", NULL };

static const struct schema_member linux_members[] = {
	ARRAY(struct oci_linux, uid_mappings, "uidMappings", oci_id_mapping_schema),
	ARRAY(struct oci_linux, gid_mappings, "gidMappings", oci_id_mapping_schema),
	MEMBER(struct oci_linux, sysctl, "sysctl"),
	OBJECT(struct oci_linux, resources, "resources", oci_resources_schema),
	MEMBER(struct oci_linux, cgroups_path, "cgroupsPath"),
	ARRAY(struct oci_linux, namespaces, "namespaces", namespace_schema, .unique = true),
	ARRAY(struct oci_linux, devices, "devices", device_schema, .check = check_devices),
	KEYED(struct oci_linux, net_devices, "netDevices", net_device_schema),
	OBJECT(struct oci_linux, seccomp, "seccomp", seccomp_schema),
	MEMBER(struct oci_linux, rootfs_propagation, "rootfsPropagation", .names = propagations),
	MEMBER(struct oci_linux, masked_paths, "maskedPaths"),
	MEMBER(struct oci_linux, readonly_paths, "readonlyPaths"),
	MEMBER(struct oci_linux, mount_label, "mountLabel"),
	OBJECT(struct oci_linux, intel_rdt, "intelRdt", intel_rdt_schema),
	OBJECT(struct oci_linux, memory_policy, "memoryPolicy", memory_policy_schema),
	OBJECT(struct oci_linux, personality, "personality", personality_schema),
	OBJECT(struct oci_linux, time_offsets, "timeOffsets", time_offsets_schema),
};
const struct schema oci_linux_schema = SCHEMA(struct oci_linux, linux_members);
