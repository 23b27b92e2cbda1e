/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.personality: the execution domain, by which a 64-bit kernel tells uname(2) of a 32-bit machine. Set for the
 * init process and each exec just before execve(2); their children inherit it.
 *
 * Sources: runtime-spec config-linux.md "Personality", personality(2).
 */
#ifndef HULL_SANDBOX_PERSONALITY_H
#define HULL_SANDBOX_PERSONALITY_H

#include "base/error.h"
#include "oci/config.h"

/*
 * p may be NULL. -EINVAL where the domain is missing, -ENOTSUP for any flag: "Currently no flag values are
 * supported" by the specification, and those of personality(2) weaken a process.
 */
int personality_check(const struct oci_personality *p, struct error *err);

/* Sets the domain of the calling thread. NULL: none, and no system call. */
int personality_set(const struct oci_personality *p, struct error *err);

#endif
