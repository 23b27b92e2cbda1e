/* SPDX-License-Identifier: Apache-2.0 */
/* Running hooks: the state on standard input, a time limit, the first failure ends the list (runtime-spec config.md "POSIX-platform Hooks"). */
#ifndef HULL_RUNTIME_HOOKS_H
#define HULL_RUNTIME_HOOKS_H

#include "oci/config.h"
#include "oci/state.h"

/*
 * Runs the hooks of a list in order. name ("poststop") is for messages. A hook that cannot be run, ends with another status than
 * 0 or exceeds its timeout (it is killed then) is an error, and those behind it are not run.
 */
int hooks_run(const struct oci_hook_list *list, const char *name, const struct oci_state *state,
	      struct error *err);

#endif
