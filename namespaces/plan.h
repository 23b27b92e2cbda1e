/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which namespaces a process gets: the new ones as clone(2) flags, the joined ones as descriptors
 * that were opened and checked while hull still stood on the host.
 *
 * Sources: runtime-spec config-linux.md "Namespaces", namespaces(7), setns(2), time_namespaces(7).
 */
#ifndef HULL_NAMESPACES_PLAN_H
#define HULL_NAMESPACES_PLAN_H

#include "base/error.h"
#include "oci/config.h"

struct ns_plan {
	unsigned long new_flags;    /* CLONE_NEW… of namespaces to make */
	unsigned long join_flags;   /* CLONE_NEW… of namespaces to join */
	int join_fds[OCI_NS_COUNT]; /* by enum oci_namespace_type; -EBADF where not joined */
};

/* The CLONE_NEW… flag of a namespace type. */
unsigned long ns_flag(enum oci_namespace_type type);

/*
 * Opens what config asks for. A path must name a namespace of the entry's type (ioctl_ns(2)); one
 * that is the caller's own already is left out, since entering it changes nothing and for user namespaces is
 * refused by the kernel. A joined pid namespace excludes a new user namespace.
 */
int ns_plan_open(struct ns_plan *plan, const struct oci_config *config, struct error *err);

void ns_plan_close(struct ns_plan *plan);

/* Whether the namespace of this type behind proc_dir (a descriptor of /proc/PID) is the caller's own. */
bool ns_shared_with(int proc_dir, enum oci_namespace_type type);

/* Joins one planned namespace and closes its descriptor. No-op where it is not planned. */
int ns_join(struct ns_plan *plan, enum oci_namespace_type type, struct error *err);

/*
 * Makes the time namespace of the plan and enters it. proc: a descriptor of a /proc that the caller trusts.
 * offsets may be NULL. The caller must be single-threaded and have CAP_SYS_TIME in its user namespace.
 */
int ns_make_time(const struct oci_time_offsets *offsets, int proc, struct error *err);

/*
 * Writes the id mappings of a process in a new user namespace, from outside. proc_dir: a descriptor of its /proc/PID,
 * pid: the same process. A caller without privilege uses newuidmap(1) and newgidmap(1) for more than its own id.
 */
int ns_write_id_mappings(int proc_dir, pid_t pid, const struct oci_id_mappings *uids,
			 const struct oci_id_mappings *gids, struct error *err);

/* Makes a user namespace with these mappings that no process is in. Returns its descriptor. */
int ns_open_user_namespace(const struct oci_id_mappings *uids, const struct oci_id_mappings *gids,
			   struct error *err);

#define _cleanup_ns_plan_ __attribute__((cleanup(ns_plan_close)))

#endif
