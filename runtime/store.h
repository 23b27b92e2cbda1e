/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state directory: ROOT/ID/ holds all that hull remembers of a container, so that any command
 * can take up where another one ended or was killed.
 *
 *	state.json    the record (record.h), replaced atomically
 *	config.json   the configuration as it was at creation
 *	init.sock     while the container is created and not started
 *	criu/         CRIU's log and statistics, where nobody asked for them elsewhere
 *	layer/        a clone's own: what it changed of the root file system
 *	notify/       where hull was started with NOTIFY_SOCKET: see systemd.h
 *
 * Commands on one container exclude one another by a lock (flock(2)) on its directory. The lock
 * falls with the process that holds it.
 */
#ifndef HULL_RUNTIME_STORE_H
#define HULL_RUNTIME_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define STORE_CRIU   "criu"
#define STORE_LAYER  "layer"
#define STORE_ID_MAX 255 /* bytes of a container's id, as a file name */

struct store {
	int dir;    /* descriptor of ROOT; -EBADF where it does not exist and was not to be made */
	char *path; /* of ROOT, absolute */
};

/*
 * Opens ROOT: root where given, else /run/hull, or $XDG_RUNTIME_DIR/hull for an ordinary user, who may be
 * root of a user namespace (where the variable is not set, or $USER is root, that is a system container with a
 * /run of its own: /run/hull). With make it is made (mode 0700); without, a missing one is an empty store.
 */
int store_open(struct store *store, const char *root, bool make, struct error *err);
void store_close(struct store *store);

#define _cleanup_store_ __attribute__((cleanup(store_close)))

/* Whether id can be a container's: letters, digits and "_+.-", not "." or "..", at most STORE_ID_MAX bytes. */
int store_check_id(const char *id, struct error *err);

/* Makes the directory of a new container and locks it. Returns its descriptor; -EEXIST where the id is taken. */
int store_add(const struct store *store, const char *id, struct error *err);

/*
 * Opens a container's directory and locks it. wait: until other commands on it are done (timeout in milliseconds, -1 for
 * no limit; -EBUSY when it is over). -ENOENT where there is no such container.
 */
int store_lock(const struct store *store, const char *id, int timeout, struct error *err);

/* Opens a container's directory without a lock, to read. */
int store_peek(const struct store *store, const char *id, struct error *err);

/* Gives a container's directory another name; what is in it stays. */
int store_rename(const struct store *store, const char *id, const char *new_id, struct error *err);

/* Removes a container's directory with what is in it; dir is its descriptor. The record goes last. */
int store_remove(const struct store *store, const char *id, int dir, struct error *err);

/* The ids of all containers, sorted; a NULL-terminated array that the caller frees with store_free_ids(). */
int store_list(const struct store *store, char ***ids, size_t *count, struct error *err);
void store_free_ids(char **ids);

#endif
