/* SPDX-License-Identifier: Apache-2.0 */
/* A client (fs_client.h) whose server is saved, and goes on as another one. */
#ifndef HULL_TESTS_UNIT_FS_STATE_CLIENT_H
#define HULL_TESTS_UNIT_FS_STATE_CLIENT_H

#include "tests/unit/fs_client.h"

/* An empty file for a state, to be closed. */
int fs_new_state(void);
/* The server's state in such a file. */
int fs_save(struct fs_client *c);

/* A server that knows nothing, on c->tree; the caller's to free. */
struct fs *fs_new_server(struct fs_client *c);
/* A new one in the place of the client's, on what T/tree is now, goes on from the state. fs_load() closes that. */
int fs_try_load(struct fs_client *c, int state, struct error *err);
void fs_load(struct fs_client *c, int state);

/* Runs a shell's command in T, which must succeed. */
void fs_host_run(struct fs_client *c, const char *command);

#endif
