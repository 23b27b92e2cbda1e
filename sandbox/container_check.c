/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container cannot be asked for: contradictions in the configuration, and properties of the
 * specification that hull does not do yet. Each is refused by name; nothing is silently skipped.
 */
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "namespaces/link.h"
#include "namespaces/mount_options.h"
#include "sandbox/container.h"
#include "sandbox/memory_policy.h"
#include "sandbox/personality.h"
#include "sandbox/resctrl.h"
#include "sandbox/scheduling.h"

static int check_process(const struct oci_process *p, struct error *err)
{
	if (!p)
		return error_set(err, EINVAL, "/process: is missing");
	if (!p->args.len)
		return error_set(err, EINVAL, "/process/args: is missing");
	return scheduling_check(p, err);
}

static int check_user_namespace(const struct oci_config *config, struct error *err)
{
	const struct oci_linux *l = config->linux_;
	const struct oci_namespace *user = oci_namespace_find(config, OCI_NS_USER);

	if (user && !user->path && (!l->uid_mappings.len || !l->gid_mappings.len))
		return error_set(
			err, EINVAL,
			"/linux/uidMappings: a new user namespace needs uidMappings and gidMappings");
	if (!user && (l->uid_mappings.len || l->gid_mappings.len))
		return error_set(err, EINVAL,
				 "/linux/uidMappings: needs a user namespace in /linux/namespaces");
	return 0;
}

static int check_mount_namespace(const struct oci_config *config, struct error *err)
{
	const struct oci_linux *l = config->linux_;

	if (l && oci_namespace_find(config, OCI_NS_MOUNT))
		return 0;
	if (config->mounts.len)
		return error_set(err, EINVAL,
				 "/mounts: need a mount namespace in /linux/namespaces");
	if (config->root->readonly.v)
		return error_set(err, EINVAL,
				 "/root/readonly: needs a mount namespace in /linux/namespaces");
	if (l && (l->masked_paths.len || l->readonly_paths.len))
		return error_set(err, EINVAL,
				 "/linux/%s: need a mount namespace in /linux/namespaces",
				 l->masked_paths.len ? "maskedPaths" : "readonlyPaths");
	return 0;
}

static int check_linux(const struct oci_config *config, struct error *err)
{
	const struct oci_linux *l = config->linux_;
	const struct oci_namespace *time;
	int r = check_user_namespace(config, err);

	if (r < 0)
		return r;
	r = link_check_devices(config, err);
	if (r == 0)
		r = rootfs_check_devices(config, err);
	if (r == 0)
		r = memory_policy_check(l->memory_policy, err);
	if (r == 0)
		r = personality_check(l->personality, err);
	if (r == 0)
		r = resctrl_check(l->intel_rdt, err);
	if (r < 0)
		return r;
	if (l->mount_label && strpbrk(l->mount_label, "\"\n"))
		return error_set(err, EINVAL, "/linux/mountLabel: is not a label");
	time = oci_namespace_find(config, OCI_NS_TIME);
	if (l->time_offsets && (!time || time->path))
		return error_set(
			err, EINVAL,
			"/linux/timeOffsets: needs a new time namespace in /linux/namespaces");
	return 0;
}

static int check_mounts(const struct oci_config *config, struct error *err)
{
	struct mount_options opts;

	for (size_t i = 0; i < config->mounts.len; i++) {
		const struct oci_mount *m = &config->mounts.items[i];
		int r = mount_options_parse(&opts, m, i, err);

		if (r < 0)
			return r;
		if (opts.idmap && !opts.idmap_spec && !m->uid_mappings.len &&
		    !oci_namespace_find(config, OCI_NS_USER))
			return error_set(
				err, EINVAL,
				"/mounts/%zu/uidMappings: `idmap` needs uidMappings and gidMappings, "
				"of the mount or of a user namespace in /linux/namespaces",
				i);
		if (!opts.bind && !opts.remount && !m->type)
			return error_set(
				err, EINVAL,
				"/mounts/%zu/type: a mount that is no bind mount needs a type", i);
	}
	return 0;
}

int container_check(const struct oci_config *config, struct error *err)
{
	int r;

	if (!config->root)
		return error_set(err, EINVAL, "/root: is missing");
	r = check_process(config->process, err);
	if (r == 0)
		r = check_mount_namespace(config, err);
	if (r == 0)
		r = check_mounts(config, err);
	if (r < 0)
		return r;
	return config->linux_ ? check_linux(config, err) : 0;
}

/* An empty name is none: Go's writers leave it out, and others take it for that. */
static int check_name(const char *property, const char *name, bool own, struct error *err)
{
	size_t len = name ? strlen(name) : 0;

	if (len && !own)
		return error_set(
			err, EINVAL,
			"%s: needs a uts namespace in /linux/namespaces that is not the host's",
			property);
	if (len > HOST_NAME_MAX)
		return error_set(err, EINVAL,
				 "%s: has %zu bytes, and the kernel takes no more than %d",
				 property, len, HOST_NAME_MAX);
	return 0;
}

int container_check_shared(const struct oci_config *config, unsigned long own_namespaces,
			   struct error *err)
{
	bool own = own_namespaces & CLONE_NEWUTS;
	int r = check_name("/hostname", config->hostname, own, err);

	if (r == 0)
		r = check_name("/domainname", config->domainname, own, err);
	if (r < 0)
		return r;
	if (config->linux_ && config->linux_->net_devices.len && !(own_namespaces & CLONE_NEWNET))
		return error_set(
			err, EINVAL,
			"/linux/netDevices: needs a network namespace in /linux/namespaces that is not the host's");
	return rootfs_check_sysctl(config, own_namespaces, err);
}
