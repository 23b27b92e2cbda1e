/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor tables of the features document, which are only printed from; see features.h. */
#include "oci/features.h"

#include "oci/schema.h"

static const struct schema_member feature_members[] = {
	MEMBER(struct oci_feature, enabled, "enabled"),
};
static const struct schema feature_schema = SCHEMA(struct oci_feature, feature_members);

static const struct schema_member cgroup_members[] = {
	MEMBER(struct oci_features_cgroup, v1, "v1"),
	MEMBER(struct oci_features_cgroup, v2, "v2"),
	MEMBER(struct oci_features_cgroup, systemd, "systemd"),
	MEMBER(struct oci_features_cgroup, systemd_user, "systemdUser"),
	MEMBER(struct oci_features_cgroup, rdma, "rdma"),
};
static const struct schema cgroup_schema = SCHEMA(struct oci_features_cgroup, cgroup_members);

static const struct schema_member seccomp_members[] = {
	MEMBER(struct oci_features_seccomp, enabled, "enabled"),
	MEMBER(struct oci_features_seccomp, actions, "actions"),
	MEMBER(struct oci_features_seccomp, operators, "operators"),
	MEMBER(struct oci_features_seccomp, archs, "archs"),
	MEMBER(struct oci_features_seccomp, known_flags, "knownFlags"),
	MEMBER(struct oci_features_seccomp, supported_flags, "supportedFlags"),
};
static const struct schema seccomp_schema = SCHEMA(struct oci_features_seccomp, seccomp_members);

static const struct schema_member intel_rdt_members[] = {
	MEMBER(struct oci_features_intel_rdt, enabled, "enabled"),
	MEMBER(struct oci_features_intel_rdt, schemata, "schemata"),
	MEMBER(struct oci_features_intel_rdt, monitoring, "monitoring"),
};
static const struct schema intel_rdt_schema =
	SCHEMA(struct oci_features_intel_rdt, intel_rdt_members);

static const struct schema_member memory_policy_members[] = {
	MEMBER(struct oci_features_memory_policy, modes, "modes"),
	MEMBER(struct oci_features_memory_policy, flags, "flags"),
};
static const struct schema memory_policy_schema =
	SCHEMA(struct oci_features_memory_policy, memory_policy_members);

static const struct schema_member mount_extensions_members[] = {
	OBJECT(struct oci_features_mount_extensions, idmap, "idmap", feature_schema),
};
static const struct schema mount_extensions_schema =
	SCHEMA(struct oci_features_mount_extensions, mount_extensions_members);

static const struct schema_member linux_members[] = {
	MEMBER(struct oci_features_linux, namespaces, "namespaces"),
	MEMBER(struct oci_features_linux, capabilities, "capabilities"),
	OBJECT(struct oci_features_linux, cgroup, "cgroup", cgroup_schema),
	OBJECT(struct oci_features_linux, seccomp, "seccomp", seccomp_schema),
	OBJECT(struct oci_features_linux, apparmor, "apparmor", feature_schema),
	OBJECT(struct oci_features_linux, selinux, "selinux", feature_schema),
	OBJECT(struct oci_features_linux, intel_rdt, "intelRdt", intel_rdt_schema),
	OBJECT(struct oci_features_linux, memory_policy, "memoryPolicy", memory_policy_schema),
	OBJECT(struct oci_features_linux, mount_extensions, "mountExtensions",
	       mount_extensions_schema),
	OBJECT(struct oci_features_linux, net_devices, "netDevices", feature_schema),
};
static const struct schema linux_schema = SCHEMA(struct oci_features_linux, linux_members);

static const struct schema_member features_members[] = {
	MEMBER(struct oci_features, oci_version_min, "ociVersionMin", .required = true),
	MEMBER(struct oci_features, oci_version_max, "ociVersionMax", .required = true),
	MEMBER(struct oci_features, hooks, "hooks"),
	MEMBER(struct oci_features, mount_options, "mountOptions"),
	OBJECT(struct oci_features, linux_, "linux", linux_schema),
	MEMBER(struct oci_features, annotations, "annotations"),
	MEMBER(struct oci_features, potentially_unsafe_config_annotations,
	       "potentiallyUnsafeConfigAnnotations"),
};
static const struct schema features_schema = SCHEMA(struct oci_features, features_members);

int oci_features_print(const struct oci_features *f, struct strbuf *out, struct error *err)
{
	struct json_writer w;

	json_write_init(&w, out, 4);
	schema_print(&features_schema, f, &w);
	strbuf_addc(out, '\n');
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "print the features") : 0;
}
