/* SPDX-License-Identifier: Apache-2.0 */
/* What restore.c and clone.c share: a checkpoint is opened and checked once, and containers are made of it. */
#ifndef HULL_RUNTIME_RESTORE_H
#define HULL_RUNTIME_RESTORE_H

#include "runtime/runtime.h"
#include "sandbox/manifest.h"

struct restore_source {
	int images; /* the checkpoint's directory */
	struct manifest manifest;
	struct arena arena;
};

/* Opens a checkpoint and checks every file of it. path NULL: "checkpoint". restore_source_close() also after an error. */
int restore_source_open(const char *path, struct restore_source *source, struct error *err);
void restore_source_close(struct restore_source *source);

/*
 * Makes one container, with *c open and locked, the caller's to close. On an error nothing of it is left. May be called in several
 * processes at once for one source.
 */
int restore_one(const struct store *store, const char *id, const struct runtime_restore *options,
		const struct restore_source *source, struct container *c, struct error *err);

/* ---- clone.c ------------------------------------------------------------------------------------------ */

/* What makes one clone another than the rest. */
struct restore_identity {
	const char *id;
	const char *hostname; /* NULL: as it was */
	const char *network;  /* path of the network namespace that it joins; NULL: as configured */
	const char *
		layers; /* the directory in which its writable layer is made; NULL: the state directory */
	bool systemd_cgroup;
};

/* Changes the configuration accordingly, as runtime_create.adapt. data: the identity. */
int clone_adapt(const void *data, struct oci_config *config, struct arena *arena,
		struct error *err);

/* Notes in c->record where its writable layer will be. */
int clone_plan_layer(const struct restore_identity *identity, struct container *c,
		     struct error *err);

/* Makes that layer. Returns the root file system, a mount that is attached nowhere. */
int clone_open_root(const struct container *c, struct error *err);

#endif
