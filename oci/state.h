/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a container as the OCI runtime specification prints it (runtime.md, "State"). */
#ifndef HULL_OCI_STATE_H
#define HULL_OCI_STATE_H

#include <sys/types.h>

#include "oci/config.h"

enum oci_status { OCI_CREATING, OCI_CREATED, OCI_RUNNING, OCI_STOPPED, OCI_PAUSED };

/* "creating", "created", "running", "stopped", "paused" (the last is every runtime's extension). */
const char *oci_status_name(enum oci_status status);

/* What `state` and `list --format json` print and hooks read; strings are borrowed. */
struct oci_state {
	const char *oci_version;
	const char *id;
	enum oci_status status;
	pid_t pid;          /* as the runtime sees it; printed always, 0 where no process is left */
	const char *bundle; /* absolute */
	const char *rootfs; /* absolute; NULL: not printed */
	const char *created;               /* RFC 3339 with nanoseconds; NULL: not printed */
	const char *owner;                 /* user name or number; NULL: not printed */
	const char *systemd_scope;         /* the name of systemd's unit; NULL: not printed */
	const struct oci_map *annotations; /* NULL or empty: not printed */
};

/* Adds the state as a JSON object: members in the order above, on one line or indented by two blanks. */
int oci_state_print(const struct oci_state *state, bool indent, struct strbuf *out,
		    struct error *err);

/* What an agent is told of a process whose seccomp listener it gets (config-linux.md, "The Container Process State"). */
struct oci_process_state {
	pid_t pid;              /* of the process, as the runtime sees it */
	const char *metadata;   /* linux.seccomp.listenerMetadata; NULL: not printed */
	struct oci_state state; /* of its container */
};

#define OCI_SECCOMP_FD "seccompFd" /* the name in `fds` of the one descriptor that goes with it */

/* Adds it as a JSON object on one line. */
int oci_process_state_print(const struct oci_process_state *process, struct strbuf *out,
			    struct error *err);

#endif
