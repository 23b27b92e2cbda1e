/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The features document (features.md, features-linux.md): what this build of the runtime can do,
 * whatever the host can. Absent means "unknown", which is not the same as empty or false. The
 * caller fills it from what each part of hull says of itself; strings and lists are borrowed.
 */
#ifndef HULL_OCI_FEATURES_H
#define HULL_OCI_FEATURES_H

#include "base/error.h"
#include "base/strbuf.h"
#include "oci/config.h"

struct oci_features_cgroup {
	struct opt_bool v1, v2, systemd, systemd_user, rdma;
};

struct oci_features_seccomp {
	struct opt_bool enabled;
	struct oci_strings actions, operators, archs; /* "SCMP_…" */
	struct oci_strings known_flags, supported_flags;
};

/* AppArmor, SELinux, id-mapped mounts, network devices: there or not. */
struct oci_feature {
	struct opt_bool enabled;
};

struct oci_features_intel_rdt {
	struct opt_bool enabled, schemata, monitoring;
};

struct oci_features_memory_policy {
	struct oci_strings modes, flags; /* "MPOL_…" */
};

struct oci_features_mount_extensions {
	struct oci_feature *idmap;
};

struct oci_features_linux {
	struct oci_strings namespaces;   /* as in config.json: "network" */
	struct oci_strings capabilities; /* "CAP_…" */
	struct oci_features_cgroup *cgroup;
	struct oci_features_seccomp *seccomp;
	struct oci_feature *apparmor, *selinux;
	struct oci_features_intel_rdt *intel_rdt;
	struct oci_features_memory_policy *memory_policy;
	struct oci_features_mount_extensions *mount_extensions;
	struct oci_feature *net_devices;
};

struct oci_features {
	const char *oci_version_min, *oci_version_max; /* required */
	struct oci_strings hooks;                      /* "createRuntime" */
	struct oci_strings mount_options;              /* without those of single file systems */
	struct oci_features_linux *linux_;
	struct oci_map annotations;
	/* Annotations of config.json that can widen what a workload may do; "prefix." names all under it. */
	struct oci_strings potentially_unsafe_config_annotations;
};

/* Adds the document as a JSON object, indented by four blanks, with a line end. */
int oci_features_print(const struct oci_features *f, struct strbuf *out, struct error *err);

#endif
