/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.personality: the execution domain, by which a 64-bit kernel tells uname(2) of a 32-bit machine, and the flags
 * of personality(2), by their names there. Set for the init process and each exec just before execve(2); their children
 * inherit both.
 *
 * The specification has flags and names none ("Currently no flag values are supported"). What a name of the manual page
 * means is beyond doubt, so those are taken, and no other. Some weaken a process (ADDR_NO_RANDOMIZE): whoever may write
 * the configuration may run without a container, too. The kernel takes READ_IMPLIES_EXEC away from 64-bit programs of
 * x86, and all that weakens from programs that are set-user-ID.
 *
 * Sources: runtime-spec config-linux.md "Personality", personality(2).
 */
#ifndef HULL_SANDBOX_PERSONALITY_H
#define HULL_SANDBOX_PERSONALITY_H

#include "base/error.h"
#include "oci/config.h"

/* p may be NULL. -EINVAL where the domain is missing or a flag is none of personality(2)'s. */
int personality_check(const struct oci_personality *p, struct error *err);

/* Sets domain and flags of the calling thread. NULL: none, and no system call. */
int personality_set(const struct oci_personality *p, struct error *err);

#endif
