/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.sysctl, and the loopback interface. A sysctl is accepted only where it belongs to a
 * namespace that is the container's own: all others are the host's, and a container's configuration
 * must not change those.
 */
#include <fcntl.h>
#include <linux/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/syscalls.h"
#include "namespaces/plan.h"
#include "namespaces/rootfs.h"

#define SYSCTL_PATH_MAX 256

/* "net.ipv4.ip_forward" or "net/ipv4/ip_forward" to "net/ipv4/ip_forward"; sysctl(8) swaps both characters. */
static bool sysctl_path(const char *key, char *path, size_t size)
{
	size_t len = strlen(key);
	bool dotted = strcspn(key, ".") <= strcspn(key, "/");

	if (!len || len >= size || key[0] == '/' || key[0] == '.')
		return false;
	for (size_t i = 0; i <= len; i++) {
		path[i] = key[i];
		if (dotted && (key[i] == '.' || key[i] == '/'))
			path[i] = key[i] == '.' ? '/' : '.';
	}
	return !strstr(path, "..") && !strstr(path, "//");
}

static bool is_ipc(const char *path)
{
	static const char *const names[] = {
		"kernel/msgmax",      "kernel/msgmnb",          "kernel/msgmni",
		"kernel/sem",         "kernel/shmall",          "kernel/shmmax",
		"kernel/shmmni",      "kernel/shm_rmid_forced", "kernel/auto_msgmni",
		"kernel/msg_next_id", "kernel/sem_next_id",     "kernel/shm_next_id",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(path, names[i]))
			return true;
	return !strncmp(path, "fs/mqueue/", 10);
}

static int check_one(unsigned long own, const char *key, const char *path, struct error *err)
{
	enum oci_namespace_type needed;

	if (!strncmp(path, "net/", 4))
		needed = OCI_NS_NETWORK;
	else if (is_ipc(path))
		needed = OCI_NS_IPC;
	else if (!strcmp(path, "kernel/domainname") || !strcmp(path, "kernel/hostname"))
		needed = OCI_NS_UTS;
	else if (!strncmp(path, "user/", 5))
		needed = OCI_NS_USER;
	else
		return error_set(
			err, EINVAL,
			"/linux/sysctl/%s: is not in any namespace, so it would change the host",
			key);
	if (!(own & ns_flag(needed)))
		return error_set(err, EINVAL,
				 "/linux/sysctl/%s: needs a %s namespace that is not the host's",
				 key, oci_namespace_name(needed));
	return 0;
}

int rootfs_check_sysctl(const struct oci_config *config, unsigned long own_namespaces,
			struct error *err)
{
	char path[SYSCTL_PATH_MAX];

	for (size_t i = 0; config->linux_ && i < config->linux_->sysctl.len; i++) {
		const char *key = config->linux_->sysctl.items[i].key;
		int r;

		if (!sysctl_path(key, path, sizeof(path)))
			return error_set(err, EINVAL,
					 "/linux/sysctl/%s: is not the name of a sysctl", key);
		r = check_one(own_namespaces, key, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A procfs of our own, that no mount on the host's or the image's /proc can shadow (CVE-2025-52881). */
static int open_own_procfs(void)
{
	_cleanup_close_ int fs = fsopen("proc", FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return fsmount(fs, FSMOUNT_CLOEXEC,
		       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

static bool is_network(const char *path)
{
	return !strncmp(path, "net/", 4);
}

int rootfs_write_sysctl(const struct oci_config *config, int proc, enum rootfs_sysctl which,
			struct error *err)
{
	_cleanup_close_ int own = -EBADF, sys = -EBADF;
	char path[SYSCTL_PATH_MAX];

	if (!config->linux_ || !config->linux_->sysctl.len)
		return 0;
	own = open_own_procfs();
	sys = openat(own >= 0 ? own : proc, "sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (sys < 0)
		return error_errno(err, errno, "open `/proc/sys`");
	for (size_t i = 0; i < config->linux_->sysctl.len; i++) {
		const struct oci_map_entry *entry = &config->linux_->sysctl.items[i];

		if (!sysctl_path(entry->key, path, sizeof(path)))
			return error_set(err, EINVAL,
					 "/linux/sysctl/%s: is not the name of a sysctl",
					 entry->key);
		if (which != SYSCTL_ALL && is_network(path) != (which == SYSCTL_NETWORK))
			continue;
		if (file_write_existing(sys, path, entry->value, err) < 0)
			return error_wrap(err, "/linux/sysctl/%s", entry->key);
	}
	return 0;
}

int net_loopback_up(struct error *err)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };

	if (sock < 0)
		return error_errno(err, errno, "open a socket to bring up the loopback interface");
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		return error_errno(err, errno, "read the flags of the loopback interface");
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
		return error_errno(err, errno, "bring up the loopback interface");
	return 0;
}
