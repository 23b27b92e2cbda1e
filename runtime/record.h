/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a container, state.json: written before each step that leaves traces outside the
 * state directory, so that after a crash `delete --force` knows what may have to be removed.
 */
#ifndef HULL_RUNTIME_RECORD_H
#define HULL_RUNTIME_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/config.h"
#include "sandbox/sandbox.h"

#define RECORD_FORMAT 1 /* of state.json; a newer one is refused */

/* Strings are borrowed from the caller when it is written, from the arena when it was read. */
struct record {
	const char *oci_version;
	const char *id;
	enum sandbox_kind kind;
	pid_t pid; /* 0: no process was made yet */
	uint64_t start_time;
	pid_t file_server; /* of a microVM; 0: none */
	uint64_t file_server_start;
	const char *bundle, *rootfs; /* absolute */
	bool owns_bundle;            /* which is removed with the container */
	/*
	 * The directory with the workload's own writable layer, which is removed with it: absolute, or STORE_LAYER, in the state
	 * directory. NULL or "": none.
	 */
	const char *layer;
	const char *created; /* RFC 3339 */
	uid_t owner;
	const char *cgroup_path;    /* "" without one */
	struct systemd_scope scope; /* which systemd makes as that cgroup; unit "": hull makes it */
	bool started;               /* `start` returned */
	bool paused;                /* `pause` began */
	bool no_new_keyring;
	struct oci_map annotations;
};

/* Replaces state.json in the state directory dir. */
int record_write(int dir, const struct record *record, struct error *err);

/* Reads state.json. -ENOENT where there is none: the container's creation was cut short. */
int record_read(int dir, struct arena *arena, struct record *record, struct error *err);

#endif
