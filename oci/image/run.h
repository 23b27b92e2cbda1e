/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `hull run --image` adds to an image's configuration: the choices of the person who runs it, in the words of
 * podman-run(1) and docker-run(1).
 *
 * image_config_convert() makes a bundle to be looked at and edited; this makes one to be run as it is, so it has what images
 * expect of engines: their usual capabilities and seccomp filter, /etc/hosts and its like, a host name.
 */
#ifndef HULL_OCI_IMAGE_RUN_H
#define HULL_OCI_IMAGE_RUN_H

#include <string.h>

#include "oci/config.h"
#include "oci/json.h"

/* Strings as they were given; NULL or none: not given. */
struct image_run {
	const char *name;           /* of the container: its host name, unless another is given */
	struct oci_strings command; /* in the place of the image's Cmd */
	const char *
		entrypoint; /* a program in the place of the image's; "": none. Its Cmd is left out then, too */
	struct oci_strings env;               /* "NAME=VALUE", or "NAME": the caller's value */
	struct oci_strings env_files;         /* of such lines; "#" begins a comment */
	struct oci_strings volumes;           /* "SOURCE:DESTINATION[:OPTION,…]" */
	struct oci_strings tmpfs;             /* "DESTINATION[:OPTION,…]" */
	struct oci_strings cap_add, cap_drop; /* "CAP_CHOWN", "chown", "ALL" */
	struct oci_strings annotations;       /* "KEY=VALUE" */
	struct oci_strings security; /* "no-new-privileges", "seccomp=unconfined", "seccomp=FILE" */
	const char *user;            /* as image_user_resolve() takes it */
	const char *workdir;         /* absolute */
	const char *hostname;
	const char *memory;     /* bytes, with b, k, m, g or t behind */
	const char *cpus;       /* "1.5" */
	const char *pids_limit; /* -1: no limit */
	const char *network;    /* "none" (the default) or "host" */
	bool (*known_option)(
		const char
			*option); /* of mounts: what nobody knows is refused. NULL: all are taken */
	bool tty, read_only;
	bool rootless; /* as in image_config_convert() */
	/* The mappings of a new user namespace, or NULL; rootless: or the path of one to join. */
	const struct oci_id_mappings *uids, *gids;
	const char *user_namespace;
};

/*
 * The configuration to run the image with. tree: its root file system, to look users up. Everything lives in the arena. Errors
 * name the option. -EINVAL, -ENOENT.
 */
int image_run_config(const struct image_run *run, const struct json_value *image, int tree,
		     struct arena *arena, struct oci_config **config, struct error *err);

/*
 * Puts into the writable tree what the configuration expects there: /etc/hostname, /etc/hosts, for the host's network
 * /etc/resolv.conf, and the directories of volumes. The tree is hostile, and what is no regular file there stays.
 */
int image_run_fill_tree(const struct image_run *run, const struct json_value *image,
			const struct oci_config *config, int tree, struct error *err);

/* Whether the container shares the host's network. */
static inline bool image_run_on_host_network(const struct image_run *run)
{
	return run->network && !strcmp(run->network, "host");
}

/* ---- run_seccomp.c ---- */

/*
 * The filter for a workload with these capabilities (bounding; may be NULL): all system calls but those that reach parts of the kernel
 * which no namespace divides, or that only an administrator has business with.
 */
struct oci_seccomp *image_run_seccomp(const struct oci_strings *capabilities, struct arena *arena);

/* A profile from a file: linux.seccomp of config.json as JSON. */
int image_run_load_seccomp(const char *path, struct arena *arena, struct oci_seccomp **seccomp,
			   struct error *err);

#endif
