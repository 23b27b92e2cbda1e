/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calling hull-criu, the program that speaks to CRIU and that knows SHA-256: hull itself is static and links neither
 * protobuf-c nor libcrypto. One process a call, and one socket pair (base/message.h), over which they say:
 *
 *	hull                         hull-criu
 *	CRIU_REQUEST  ------------->             fields "name=value", each with a NUL behind
 *	              <------------- CRIU_NOTIFY struct criu_notice, maybe a descriptor
 *	CRIU_GO, or CRIU_REFUSE ---> 	         the answer; refused, the operation fails
 *	              <------------- CRIU_DONE   struct criu_notice, or CRIU_FAILED: a struct error
 *
 * Fields, of which descriptors are numbers that hull-criu inherits:
 *
 *	op=dump, pre-dump, round (a pre-dump that is not published), restore; verify; publish (what was written without CRIU)
 *	images=FD, work=FD          directories: of the checkpoint, and of CRIU's log
 *	place=FD, publish=NAME, temporary=NAME
 *	                            dump: the checkpoint is written as `temporary` in the directory `place`, and gets the name
 *	                            `publish` once it is whole
 *	manifest=JSON               dump: the manifest without what hull-criu finds out: files and digests
 *	and those of CRIU's options that cmd/hull-criu/rpc.c has in a table.
 *
 * When hull dies while a workload is dumped, hull-criu goes on only if everything was agreed to; else the workload goes on. When
 * hull dies while one is restored, hull-criu ends what was restored.
 */
#ifndef HULL_SANDBOX_CRIU_H
#define HULL_SANDBOX_CRIU_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "oci/config.h"

#define CRIU_FDS_MAX 32

/* A file with more options for CRIU, which override hull's (criu(8), "CONFIGURATION FILES"); runc and crun know it, too. */
#define CRIU_ANNOTATION "org.criu.config"

enum criu_message {
	CRIU_REQUEST = 1,
	CRIU_GO,
	CRIU_REFUSE,
	CRIU_NOTIFY,
	CRIU_DONE,
	CRIU_FAILED,
};

struct criu_notice {
	pid_t pid;      /* 0: none */
	char name[60];  /* "post-dump", "setup-namespaces", …; "" in CRIU_DONE */
	uint64_t pages; /* in CRIU_DONE, of memory that was dumped to `images` */
};

struct criu_call {
	struct strbuf request;
	int keep[CRIU_FDS_MAX]; /* descriptors that hull-criu inherits */
	size_t keep_count;
	bool own_session; /* out of reach of the terminal's signals */
	void *data;       /* of the next three, each of which may be NULL */
	/* In the new process, before hull-criu is executed. */
	int (*enter)(void *data, struct error *err);
	/* In the caller, before anything is asked. */
	int (*place)(void *data, pid_t helper, struct error *err);
	/* At each of CRIU's notifications. fd: the terminal's, to be taken; else -1. */
	int (*notify)(void *data, const struct criu_notice *notice, int *fd, struct error *err);
	/* results */
	pid_t pid;      /* of the restored init process, which is a child of whoever reaps ours */
	uint64_t pages; /* that were dumped */
};

/* Adds a field to the request; the second is a flag, and the third a descriptor, which stays the caller's. */
void criu_add(struct criu_call *call, const char *name, const char *value);
void criu_add_flag(struct criu_call *call, const char *name, bool on);
void criu_add_fd(struct criu_call *call, const char *name, int fd);

/* Adds what checkpoint and restore have in common. */
struct sandbox_criu_options;
void criu_add_options(struct criu_call *call, const struct sandbox_criu_options *options,
		      const struct oci_config *config);

/*
 * Adds where a checkpoint is written, without what it is called then; state_dir: the workload's, whose lock hull-criu has as long as it is at
 * work, whether we live or not. And the manifest.
 */
struct sandbox_checkpoint;
void criu_add_target(struct criu_call *call, const struct sandbox_checkpoint *checkpoint,
		     int state_dir);
struct manifest;
int criu_add_manifest(struct criu_call *call, const struct manifest *manifest, struct error *err);

/* Runs hull-criu. Whatever goes wrong there comes back as its error, with CRIU's own last errors. */
int criu_call(struct criu_call *call, struct error *err);

void criu_call_free(struct criu_call *call);
#define _cleanup_criu_call_ __attribute__((cleanup(criu_call_free)))

#endif
