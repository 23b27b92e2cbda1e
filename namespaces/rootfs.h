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
	const char *path; /* of the root directory, absolute */
	int given; /* the root as a mount that is attached nowhere: path is where it goes, and no more. 0: none. Stays the caller's */
	int bundle;          /* descriptor of the bundle, for relative sources */
	bool user_namespace; /* the container has one of its own */
	bool bind_devices; /* nodes cannot be made (a user namespace, no CAP_MKNOD): bind those of /dev */
	bool private_cgroup_ns; /* a cgroup namespace of its own: cgroup mounts may be writable */
	const struct rootfs_cgroup *cgroups;
	size_t cgroup_count;
	int user_ns; /* descriptor of the user namespace that is joined, or -EBADF: for idmapped mounts */
	int pid_ns; /* descriptor of the pid namespace that will be joined, or -EBADF: procfs shows that one */
	bool running; /* the container runs already: its /proc is not to be trusted */
	const char *
		mount_label; /* SELinux context of new file systems, of rootfs_mount_label(); NULL: none */
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

/* Opens what was deferred, in a mount namespace of the caller's own, where it may. */
int rootfs_open_deferred(struct rootfs *rootfs, struct error *err);

/*
 * In the container's new mount namespace (and its other namespaces, umask 0): attaches the root, makes all mounts, devices,
 * links, masked and read-only paths. Afterwards rootfs->tree is the root, mounted but not yet entered.
 */
int rootfs_assemble(struct rootfs *rootfs, struct error *err);

/* Makes rootfs->tree the root of the mount namespace and of the process, detaches all of the host, applies propagation and read-only. */
int rootfs_enter(struct rootfs *rootfs, struct error *err);

/*
 * For a container that runs already (rootfs->running, tree and sources -EBADF and NULL): checks the mounts of rootfs->config and
 * opens, on the host, the sources of those that are bind mounts. rootfs_close() releases them.
 */
int rootfs_open_added(struct rootfs *rootfs, struct error *err);

/*
 * In the container's namespaces, but not in its pid namespace: makes the mounts of rootfs->config beneath rootfs->tree, its root
 * directory. Its processes may rename and link what they like meanwhile: nothing is looked up twice, nor in its /proc.
 */
int rootfs_add_mounts(struct rootfs *rootfs, struct error *err);

/*
 * As rootfs_add_mounts(): unmounts the topmost mount on each destination, the last first. -EINVAL where none is mounted exactly
 * there, or it is the root. proc: descriptor of the host's /proc.
 */
int rootfs_remove_mounts(const struct rootfs *rootfs, int proc, struct error *err);

/*
 * Makes the symbolic link that sources[index] is (a mount with `copy-symlink`) anew at the mount's destination beneath tree. -EEXIST
 * where there is anything but the same link. What is in the root may be hostile.
 */
int mount_copy_link(const struct rootfs *rootfs, size_t index, struct error *err);

/*
 * linux.mountLabel, where this host has SELinux enabled; else NULL, for there is nothing that it could mean: engines write it in any
 * case, and runc and crun ignore it there, too.
 */
const char *rootfs_mount_label(const struct oci_config *config);

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
enum rootfs_sysctl { SYSCTL_ALL, SYSCTL_NETWORK, SYSCTL_OTHERS };
int rootfs_write_sysctl(const struct oci_config *config, int proc, enum rootfs_sysctl which,
			struct error *err);

/* Checks that the kernel has device numbers as large as those of linux.devices: mknod(2) would cut them. -EINVAL. */
int rootfs_check_devices(const struct oci_config *config, struct error *err);

/* Brings up the loopback interface of the caller's network namespace. */
int net_loopback_up(struct error *err);

/* ---- between the files of this folder ------------------------------------------------------ */

/* Opens the detached source trees of all bind mounts, in the current mount namespace. */
int mount_open_sources(struct rootfs *rootfs, struct error *err);

/* Makes all mounts of the configuration. */
int mount_all(struct rootfs *rootfs, struct error *err);

/*
 * Maps the ids of the detached bind mount tree (and of all below it, where `ridmap` says so), as uidMappings and gidMappings
 * of the mount say, else "idmap=…", else the container's user namespace (mount_setattr(2) MOUNT_ATTR_IDMAP; config.md
 * "POSIX-platform Mounts"). Needs privilege over the file system. Call on the host, before there is a container.
 */
struct mount_options;
int mount_set_idmap(const struct rootfs *rootfs, size_t index, const struct mount_options *opts,
		    int tree, struct error *err);

/*
 * Parses crun's "uids=FS-HOST-SIZE#…;gids=…" to mappings as of config.json, in the arena. A triplet that begins with "@" has an
 * id of the container's in the place of HOST, which the container's mappings (of linux_, may be NULL) translate.
 */
int mount_parse_idmap(const char *spec, const struct oci_linux *linux_, struct arena *arena,
		      struct oci_id_mappings *uids, struct oci_id_mappings *gids,
		      struct error *err);

/*
 * Copies what is in the directory from to the root directory of the detached tmpfs to: modes, owners, times, extended attributes,
 * links. from is hostile: nothing in it is looked up by a path, and the size of the tmpfs bounds it. What is mounted below from is
 * left out. The owner of `to` stays where opts has uid= or gid=, the mode in any case.
 */
int mount_copy_up(int from, int to, const struct mount_options *opts, struct error *err);

/*
 * fsopen(2) of a procfs that shows rootfs->pid_ns. rootfs->tree must be mounted. Returns the file system's context, to be configured
 * and mounted. Nobody in that namespace can make it another file system, or get at more than its options.
 */
int procfs_open(const struct rootfs *rootfs, struct error *err);

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
