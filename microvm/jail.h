/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What confines hull-vmm and its file server once they have opened all that they need. A guest that takes over the process
 * finds a process that
 *
 *   - has an empty root, no network, no other process to see, and no capability, nor a way to get one (hull-vmm);
 *   - can make only the system calls of its thread's table (seccomp.c), whose every entry says what for.
 *
 * The order: open everything, jail_enter(), make the threads, in each jail_enter_thread().
 */
#ifndef HULL_MICROVM_JAIL_H
#define HULL_MICROVM_JAIL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/*
 * Enters, with one thread: mount, ipc, uts and network namespaces of its own, the directory root (-1: an empty one) as root
 * directory, no capabilities, no new privileges, no core dumps, not dumpable. Root of the host becomes user and group 65534, in a user
 * namespace of its own; others stay who they are, in the user namespace that they have privilege in, or else in a new one. What is not
 * possible on this host is an error, except root's user namespace, which many forbid.
 *
 * keep_network: the network namespace is the workload's already; whatever is in it, the filters let nobody make a socket for it.
 * descriptors: how many may be open in all (RLIMIT_NOFILE).
 */
int jail_enter(int root, bool keep_network, unsigned descriptors, struct error *err);

/*
 * The same for the file server, which stays who it is, for it makes files for every user of the guest's, and keeps the capabilities
 * that this takes; it must be in a root directory of its own already.
 */
int jail_enter_file_server(struct error *err);

enum jail_thread { JAIL_VCPU, JAIL_DEVICES, JAIL_FILE_SERVER, JAIL_THREADS };

/* Puts the calling thread behind the filter of its kind: any other system call ends the process (SIGSYS). */
int jail_enter_thread(enum jail_thread kind, struct error *err);

/* ---- seccomp.c, for tests ------------------------------------------------------------------------------ */

struct jail_rule {
	int nr;
	unsigned argument;      /* which one (0 to 5) must be one of */
	const unsigned *values; /* these; NULL: any arguments */
	size_t count;
	const char *why;
};

/* The table of a kind of thread. */
const struct jail_rule *jail_rules(enum jail_thread kind, size_t *count);

#endif
