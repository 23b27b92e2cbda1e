/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.seccomp as a BPF program: compiled by libseccomp in the caller, loaded in the container's
 * process as the last thing before execve(2).
 *
 * A filter whose default is an errno answers ENOSYS, not that errno, to system calls newer than any
 * that it names: C libraries probe new calls and fall back on ENOSYS, but give up on EPERM.
 *
 * Sources: runtime-spec config-linux.md "Seccomp", seccomp(2), seccomp_rule_add(3).
 */
#ifndef HULL_SANDBOX_SECCOMP_H
#define HULL_SANDBOX_SECCOMP_H

#include <linux/filter.h>
#include <stdbool.h>

#include "base/error.h"
#include "oci/config.h"

struct seccomp_program {
	struct sock_filter *filter; /* freed by seccomp_free() */
	unsigned short len;         /* instructions; 0: no filter */
	unsigned flags;             /* SECCOMP_FILTER_FLAG_… */
};

/*
 * Compiles. seccomp may be NULL: no filter. What libseccomp or hull does not know is -EINVAL with the JSON path, and so is
 * SCMP_ACT_NOTIFY without an absolute listenerPath.
 */
int seccomp_compile(struct seccomp_program *program, const struct oci_seccomp *seccomp,
		    struct error *err);
void seccomp_free(struct seccomp_program *program);

/* Whether the configuration asks an agent about anything (SCMP_ACT_NOTIFY). */
bool seccomp_notifies(const struct oci_seccomp *seccomp);

/* The same of a compiled program, which notify_load() (notify.h) loads then. */
bool seccomp_has_listener(const struct seccomp_program *program);

/*
 * Loads the program into the calling thread. Returns 0, or the listener's descriptor, close-on-exec, where the program has
 * one. Makes no other system call: what follows runs under the filter.
 */
int seccomp_load_program(const struct seccomp_program *program, struct error *err);

#define _cleanup_seccomp_ __attribute__((cleanup(seccomp_free)))

/* Names for `features`: the index-th, NULL behind the last. */
const char *seccomp_action_name(unsigned index);
const char *seccomp_operator_name(unsigned index);
const char *seccomp_arch_name(unsigned index);
const char *seccomp_flag_name(unsigned index);

#endif
