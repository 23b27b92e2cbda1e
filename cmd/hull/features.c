/* SPDX-License-Identifier: Apache-2.0 */
/* hull features: what this build can do, whatever the host (runtime-spec features.md). */
#include "oci/features.h"

#include <seccomp.h>

#include "base/file.h"
#include "cgroups/systemd.h"
#include "cmd/hull/command.h"
#include "namespaces/mount_options.h"
#include "oci/capability.h"
#include "sandbox/criu.h"
#include "sandbox/memory_policy.h"
#include "sandbox/privileges.h"
#include "sandbox/seccomp.h"

#define NAMES_MAX 128

struct names {
	const char *items[NAMES_MAX];
	struct oci_strings list;
};

static void add(struct names *n, const char *name)
{
	if (n->list.len < NAMES_MAX)
		n->items[n->list.len++] = name;
	n->list.items = n->items;
}

static const struct opt_bool yes = { true, true };

/* Everything that lists are made of, on one stack frame. */
struct document {
	struct names hooks, mount_options, namespaces, capabilities, actions, operators, archs,
		flags, memory_modes, memory_flags, unsafe_annotations;
	struct oci_features_cgroup cgroup;
	struct oci_features_seccomp seccomp;
	struct oci_feature apparmor, selinux, net_devices, idmap;
	struct oci_features_mount_extensions mount_extensions;
	struct oci_features_intel_rdt intel_rdt;
	struct oci_features_memory_policy memory_policy;
	struct oci_features_linux linux_;
	struct oci_map_entry annotations[2];
	char seccomp_version[32];
	struct oci_features features;
};

static void collect_names(struct document *d)
{
	static const char *const hooks[] = { "prestart",       "createRuntime", "createContainer",
					     "startContainer", "poststart",     "poststop" };
	const char *name;

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		add(&d->hooks, hooks[i]);
	for (size_t i = 0; (name = mount_option_name(i)); i++)
		add(&d->mount_options, name);
	for (int i = 0; i < OCI_NS_COUNT; i++)
		add(&d->namespaces, oci_namespace_name((enum oci_namespace_type)i));
	for (int i = 0; (name = capability_name(i)); i++)
		add(&d->capabilities, name);
	for (unsigned i = 0; (name = seccomp_action_name(i)); i++)
		add(&d->actions, name);
	for (unsigned i = 0; (name = seccomp_operator_name(i)); i++)
		add(&d->operators, name);
	for (unsigned i = 0; (name = seccomp_arch_name(i)); i++)
		add(&d->archs, name);
	for (unsigned i = 0; (name = seccomp_flag_name(i)); i++)
		add(&d->flags, name);
	for (unsigned i = 0; (name = memory_policy_mode_name(i)); i++)
		add(&d->memory_modes, name);
	for (unsigned i = 0; (name = memory_policy_flag_name(i)); i++)
		add(&d->memory_flags, name);
	/* Ours choose the isolation: an engine that passes on users' annotations should keep them to itself. */
	add(&d->unsafe_annotations, "run.hull.");
}

/* Versions, under the names that others use, too. */
static void collect_annotations(struct document *d)
{
	const struct scmp_version *v = seccomp_version();

	snprintf(d->seccomp_version, sizeof(d->seccomp_version), "%u.%u.%u", v ? v->major : 0,
		 v ? v->minor : 0, v ? v->micro : 0);
	d->annotations[0] = (struct oci_map_entry){ "run.hull.version", HULL_VERSION };
	d->annotations[1] = (struct oci_map_entry){ "io.github.seccomp.libseccomp.version",
						    d->seccomp_version };
}

static void fill(struct document *d)
{
	collect_names(d);
	collect_annotations(d);
	add(&d->unsafe_annotations, SYSTEMD_PROPERTY);
	add(&d->unsafe_annotations, CRIU_ANNOTATION);
	d->cgroup = (struct oci_features_cgroup){
		.v1 = yes, .v2 = yes, .systemd = yes, .systemd_user = yes, .rdma = yes
	};
	d->seccomp = (struct oci_features_seccomp){ .enabled = yes,
						    .actions = d->actions.list,
						    .operators = d->operators.list,
						    .archs = d->archs.list,
						    .known_flags = d->flags.list,
						    .supported_flags = d->flags.list };
	d->apparmor.enabled = yes;
	d->selinux.enabled = yes;
	d->net_devices.enabled = yes;
	d->idmap.enabled = yes;
	d->mount_extensions.idmap = &d->idmap;
	d->intel_rdt = (struct oci_features_intel_rdt){ .enabled = yes,
							.schemata = yes,
							.monitoring = yes };
	d->memory_policy = (struct oci_features_memory_policy){ .modes = d->memory_modes.list,
								.flags = d->memory_flags.list };
	d->linux_ = (struct oci_features_linux){ .namespaces = d->namespaces.list,
						 .capabilities = d->capabilities.list,
						 .cgroup = &d->cgroup,
						 .seccomp = &d->seccomp,
						 .apparmor = &d->apparmor,
						 .selinux = &d->selinux,
						 .intel_rdt = &d->intel_rdt,
						 .memory_policy = &d->memory_policy,
						 .mount_extensions = &d->mount_extensions,
						 .net_devices = &d->net_devices };
	d->features = (struct oci_features){
		.oci_version_min = "1.0.0",
		.oci_version_max = OCI_VERSION,
		.hooks = d->hooks.list,
		.mount_options = d->mount_options.list,
		.linux_ = &d->linux_,
		.annotations = { d->annotations, ARRAY_SIZE(d->annotations) },
		.potentially_unsafe_config_annotations = d->unsafe_annotations.list
	};
}

int cmd_features(struct context *ctx _unused_, int argc, char **argv, struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	const struct usage usage = {
		"features", "", "Print what this hull can do, as the OCI features document.",
		NULL,       0,  0
	};
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct document d = { 0 };
	int r = command_options(&usage, options, argc, argv, err);

	if (r < 0)
		return r;
	fill(&d);
	r = oci_features_print(&d.features, &out, err);
	if (r == 0)
		r = file_write_all(STDOUT_FILENO, out.data, out.len);
	return r;
}
