/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of hull-image share: the parsed command line, the commands, and what is shown while they work. */
#ifndef HULL_CMD_HULL_IMAGE_COMMAND_H
#define HULL_CMD_HULL_IMAGE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "namespaces/sub_ids.h"
#include "oci/image/store.h"

struct arguments {
	const struct command *command;
	char **args; /* what follows the command */
	int count;
	const char *store;      /* NULL: the user's own */
	char *own_store;        /* what store points to where it was not given */
	struct ns_sub_ids *ids; /* of the user namespace that the command runs in, or NULL */
	const char *upper, *log;
	uint64_t max_bytes, max_entries;
	bool rootless, no_layers, plain_http, repair;
	const char *format; /* one of the command's */
	bool log_json, quiet, debug, help;
};

/* Whether an ordinary user's command runs in the user namespace of namespaces/sub_ids.h. */
enum sub_ids { SUB_IDS_NONE, SUB_IDS_WHERE_GIVEN, SUB_IDS_NEEDED };

/* A command fills err and returns a negative errno, or an exit status. */
struct command {
	const char *name;
	int min, max; /* arguments; max -1: any number */
	const char *usage;
	const char *formats[2]; /* of --format: the default, and the other */
	unsigned options;       /* which OPTION_BIT()s it takes */
	enum sub_ids ids;       /* it touches layers, or what is left of them */
	int (*run)(struct arguments *a, struct error *err);
};

/* store.c */
int command_pull(struct arguments *a, struct error *err);
int command_unpack(struct arguments *a, struct error *err);
int command_mount(struct arguments *a, struct error *err);
int command_umount(struct arguments *a, struct error *err);
int command_remove(struct arguments *a, struct error *err);
int command_prune(struct arguments *a, struct error *err);
int command_verify(struct arguments *a, struct error *err);
int command_export(struct arguments *a, struct error *err);

/* Whether the text names a source, by its form or as a file that is there: all else is a name in the store. */
bool is_source(const char *text);

/* run.c: what `hull run --image` asks for; argv[0] is "bundle". Returns an exit status. */
int run_bundle(int argc, char **argv);
/* checkpoint.c: what `hull checkpoint` asks for; argv[0] is "pack". */
int run_pack(int argc, char **argv);

/* Makes of a workload, fresh from its image, the one in the checkpoint that the directory is: its configuration, and what it had changed. */
int restore_workload(int checkpoint, const struct image_store_workload *workload,
		     struct error *err);

/* show.c */
int command_list(struct arguments *a, struct error *err);
int command_inspect(struct arguments *a, struct error *err);

/* ---- main.c ---- */

/* Messages go where the arguments say; *fd: the log, the caller's to close. 0 or -1. */
int configure_log(const struct arguments *a, int *fd);
/* Makes an error ready to be shown: without control characters, and with what to do where the disk is full. */
void complete_error(struct error *err);
/* Prints an error, and returns the exit status for it. */
int report(const char *command, bool quiet, struct error *err);

/* Opens the store of the arguments, with what progress.c shows and asks. */
int open_store(const struct arguments *a, enum image_store_access access,
	       struct image_store **store, struct error *err);

/* ---- user.c ---- */

/*
 * Where an ordinary user has sub-ids, and the command is to run with them, it goes on in a user namespace with these: a->ids then is `ids`.
 * Else a->rootless is set, with a warning where the user would see a difference.
 */
int enter_user_namespace(struct arguments *a, struct ns_sub_ids *ids, struct error *err);

/* ---- progress.c ---- */

/* SIGINT, SIGTERM and SIGHUP end a command after it has cleaned up. */
void catch_signals(void);
/* The signal that was caught, or 0. */
int caught_signal(void);

/* Chooses what is shown: bars on a terminal, else a line a step, or nothing. */
void progress_init(bool quiet, bool debug);
/* Wipes out what is on the terminal, before a message or at the end. */
void progress_wipe(void);

extern const struct image_store_hooks progress_hooks;

/* The same for image_unpack(). */
void progress_of_unpack(struct image_unpack_options *options);

#endif
