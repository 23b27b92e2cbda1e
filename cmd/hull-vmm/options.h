/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of hull-vmm, on which its whole configuration is. */
#ifndef HULL_CMD_VMM_OPTIONS_H
#define HULL_CMD_VMM_OPTIONS_H

#include <stdbool.h>

#include "base/error.h"
#include "microvm/vmm.h"

struct options {
	struct vmm_config config;
	int control, sync; /* sockets, or -1 */
	int snapshot;      /* an empty file, or -1 */
	int jail;          /* the jail's root directory, or -1: an empty one */
	bool no_jail;
	bool workload,
		terminal; /* hull-guest runs in the guest; and its container has a terminal */
	bool debug, help, version;
};

/* Opens what is named, too: config's descriptors are the caller's, also on an error. */
int options_parse(struct options *options, int argc, char **argv, struct error *err);

void options_help(void);

#endif
