/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.memoryPolicy: on which NUMA nodes the kernel allocates a process' memory. Set for the init process and each
 * exec just before execve(2); their children inherit it.
 *
 * Sources: runtime-spec config-linux.md "Memory policy", set_mempolicy(2), mm/mempolicy.c.
 */
#ifndef HULL_SANDBOX_MEMORY_POLICY_H
#define HULL_SANDBOX_MEMORY_POLICY_H

#include "base/error.h"
#include "oci/config.h"

/*
 * policy may be NULL. -EINVAL where the mode is missing, nodes are no list ("0-3,7"), or mode, nodes and flags contradict
 * one another. Which modes and nodes there are only the kernel knows.
 */
int memory_policy_check(const struct oci_memory_policy *policy, struct error *err);

/* Sets the policy of the calling thread. NULL: none, and no system call. */
int memory_policy_set(const struct oci_memory_policy *policy, struct error *err);

/* Names for `features`: the index-th, NULL behind the last. */
const char *memory_policy_mode_name(unsigned index);
const char *memory_policy_flag_name(unsigned index);

#endif
