/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system of a container: opened on the host, assembled and entered in the container's
 * mount namespace.
 *
 * The idea to know before reading: whatever lies on the host (the root directory, the sources of
 * bind mounts, device nodes for user namespaces) is opened by rootfs_open() before there is a
 * container, as detached mounts held by descriptors. The init process then only attaches mounts to
 * places inside the root, each found with the functions of base/path.h. No path string of the
 * configuration is resolved twice, and none is resolved on the host by a process that the
 * container could influence.
 *
 * Sources: fsopen(2), open_tree(2), move_mount(2), mount_setattr(2), pivot_root(2); runtime-spec
 * config.md "Mounts", config-linux.md; CVE-2021-30465, CVE-2025-31133, CVE-2025-52565.
 */
#ifndef HULL_NAMESPACES_ROOTFS_H
#define HULL_NAMESPACES_ROOTFS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "oci/config.h"

/* A cgroup hierarchy to show at a mount of type "cgroup". */
struct rootfs_cgroup {
	const char *
		name; /* the directory's name: "memory", "cpu,cpuacct"; NULL: the whole mount (cgroup v2) */
	const char *controllers; /* v1: the mount option, "memory" or "name=systemd" */
	const char *host_path;   /* the container's own cgroup as a path of the host's */
	bool v2;
};

#define ROOTFS_DEFAULT_DEVICES 6

/* Whose mount namespace the root file system is set up in. */
enum rootfs_mode {
	ROOTFS_NEW,    /* a new one: the usual case, entered by pivot_root(2) */
	ROOTFS_JOINED, /* another container's: mounts are made there, entered by chroot(2) */
	ROOTFS_SHARED, /* the host's: nothing is mounted, entered by chroot(2) */
};

struct rootfs {
	/* set by the caller */
	const struct oci_config *config;
	enum rootfs_mode mode;
	const char *path;    /* of the root directory, absolute */
	int bundle;          /* descriptor of the bundle, for relative sources */
	bool user_namespace; /* the container has one of its own */
	bool bind_devices; /* it is in one, its own or ours, where nodes cannot be made: bind those of /dev */
	bool private_cgroup_ns; /* a cgroup namespace of its own: cgroup mounts may be writable */
	const struct rootfs_cgroup *cgroups;
	size_t cgroup_count;
	bool no_pivot; /* move the root over "/" and chroot (for a host on an initramfs) */

	/* filled by rootfs_open() */
	int tree;            /* the root's mount; detached until rootfs_assemble() */
	int *sources;        /* one a mount: the detached source of a bind mount, or -EBADF */
	int *device_sources; /* with bind_devices: the default devices, then linux.devices */
	bool deferred; /* we may not clone mounts here: the init process opens the sources itself */
};

/*
 * Opens all that is on the host. Without the privilege to do that in the current namespaces it sets deferred
 * and succeeds. rootfs_close() releases what it opened, also after an error.
 */
int rootfs_open(struct rootfs *rootfs, struct error *err);
void rootfs_close(struct rootfs *rootfs);

/*
 * In the container's new mount namespace (and its other namespaces, umask 0): attaches the root, makes all mounts, devices,
 * links, masked and read-only paths. Afterwards rootfs->tree is the root, mounted but not yet entered.
 */
int rootfs_assemble(struct rootfs *rootfs, struct error *err);

/* Makes rootfs->tree the root of the mount namespace and of the process, detaches all of the host, applies propagation and read-only. */
int rootfs_enter(struct rootfs *rootfs, struct error *err);

/*
 * Allocates a terminal from the devpts of the root file system behind root. *primary and *secondary are the caller's to close.
 */
int console_open(int root, int *primary, int *secondary, struct error *err);

/* Mounts a terminal on /dev/console. Call between rootfs_assemble() and rootfs_enter(). */
int console_mount(int root, int secondary, struct error *err);

/*
 * Checks that each of linux.sysctl belongs to one of own_namespaces (CLONE_NEW… flags), which are not the host's; and writes
 * them, in the namespaces of the caller.
 */
int rootfs_check_sysctl(const struct oci_config *config, unsigned long own_namespaces,
			struct error *err);
int rootfs_write_sysctl(const struct oci_config *config, int proc, struct error *err);

/* Brings up the loopback interface of the caller's network namespace. */
int net_loopback_up(struct error *err);

/* ---- between the files of this folder ------------------------------------------------------ */

/* Opens the detached source trees of all bind mounts, in the current mount namespace. */
int mount_open_sources(struct rootfs *rootfs, struct error *err);

/* Makes all mounts of the configuration. */
int mount_all(struct rootfs *rootfs, struct error *err);

/* Attaches the detached mount behind tree to the place behind target, both descriptors. */
int mount_attach(int tree, int target, const char *name, struct error *err);

/* Makes /dev/null and the others, links, linux.devices. */
int devices_open_sources(struct rootfs *rootfs, struct error *err);
int devices_make(struct rootfs *rootfs, struct error *err);

/* linux.maskedPaths and linux.readonlyPaths. */
int protect_paths(const struct rootfs *rootfs, struct error *err);

/* What the root's propagation shall be, and what mounts without an own option get meanwhile. */
unsigned long rootfs_propagation(const struct oci_config *config, bool *recursive);

#endif
