/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of cmd/hull-criu share. */
#ifndef HULL_CMD_CRIU_H
#define HULL_CMD_CRIU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "sandbox/criu.h"

#define PARENT_LINK "parent" /* CRIU's link to the directory that another builds on */

/* What hull asks: fields "name=value", in the text that was received. */
struct request {
	const char *text;
	size_t len;
};

/* The value of the field after *at with this name (at NULL: of the first), or NULL. */
const char *request_next(const struct request *q, const char *name, const char *at);
const char *request_get(const struct request *q, const char *name);
bool request_flag(const struct request *q, const char *name);
/* A descriptor; -1 where the field is missing. */
int request_fd(const struct request *q, const char *name);

/* ---- rpc.c --------------------------------------------------------------------------------------- */

/*
 * Has CRIU do what q asks. At each of its notifications it calls notify(), of which an error makes the operation fail. hull:
 * a descriptor that becomes readable when hull is gone. pid: of the restored process.
 */
typedef int rpc_notify(void *data, const struct criu_notice *notice, int fd, struct error *err);
int rpc_run(const struct request *q, int hull, rpc_notify *notify, void *data, pid_t *pid,
	    struct error *err);

/* ---- files.c ------------------------------------------------------------------------------------- */

/* Completes the request's manifest with what is in the checkpoint's directory, writes it, and publishes the directory. */
int files_publish(const struct request *q, struct error *err);

/* How many pages of memory are in a directory that CRIU wrote, without what it builds on. */
uint64_t files_pages(int dir);

/* Removes what was not published. */
void files_discard(const struct request *q);

/* Checks every file of a checkpoint, and of those that it builds on, against the manifest. */
int files_verify(int dir, struct error *err);

/* ---- rounds.c ------------------------------------------------------------------------------------ */

/* The number of the round whose directory a name is; 0: it is none. */
unsigned rounds_number(const char *name);

/*
 * Checks that the directory of each round builds on that of the one before, as far as `last`, the name of the directory that the
 * dump itself builds on. What they hold is checked as the other files.
 */
int rounds_verify(int dir, const char *last, struct error *err);

#endif
