/* SPDX-License-Identifier: Apache-2.0 */
/* Network devices of the host's that a sandbox has; see net_devices.h. */
#include "sandbox/net_devices.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/log.h"
#include "base/syscalls.h"
#include "namespaces/link.h"

static const struct oci_net_devices *devices_of(const struct sandbox *sb)
{
	const struct oci_linux *l = sb->config ? sb->config->linux_ : NULL;

	return l && l->net_devices.len ? &l->net_devices : NULL;
}

/* Whether the sandbox has a network namespace that ends with it, unlike one that it joined. */
static bool owns_namespace(const struct sandbox *sb)
{
	const struct oci_namespace *net = oci_namespace_find(sb->config, OCI_NS_NETWORK);

	return net && !net->path;
}

int net_devices_move(struct sandbox *sb, int proc, struct error *err)
{
	const struct oci_net_devices *devices = devices_of(sb);
	char path[32];

	if (!devices)
		return 0;
	snprintf(path, sizeof(path), "%d/ns/net", sb->pid);
	sb->net_namespace = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (sb->net_namespace < 0)
		return error_errno(err, errno, "open the container's network namespace");
	return link_move_devices(devices, sb->net_namespace, sb->state_dir, err);
}

static void return_devices(struct sandbox *sb, bool restore)
{
	struct error err = { 0 };

	if (link_return_devices(sb->net_namespace, sb->state_dir, restore, &err) < 0)
		log_warning("move network devices back: %s", err.text);
}

void net_devices_settle(struct sandbox *sb, bool failed)
{
	if (sb->net_namespace < 0)
		return;
	if (failed)
		return_devices(sb, true);
	if (failed || !owns_namespace(sb))
		close_fd(&sb->net_namespace);
}

void net_devices_hold(struct sandbox *sb, int pidfd)
{
	char path[48];

	if (sb->net_namespace >= 0 || !devices_of(sb) || !owns_namespace(sb))
		return;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", sb->pid);
	sb->net_namespace = open(path, O_RDONLY | O_CLOEXEC);
	/* If the process is gone by now, the id may be another's, and so the namespace. */
	if (sb->net_namespace >= 0 && sys_pidfd_send_signal(pidfd, 0, NULL, 0) < 0)
		close_fd(&sb->net_namespace);
}

void net_devices_return(struct sandbox *sb)
{
	if (sb->net_namespace < 0)
		return;
	return_devices(sb, false);
	close_fd(&sb->net_namespace);
}
