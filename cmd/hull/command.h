/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of cmd/hull share: a command is one function that parses its options and calls the library. */
#ifndef HULL_CMD_COMMAND_H
#define HULL_CMD_COMMAND_H

#include "cmd/hull/options.h"
#include "runtime/runtime.h"

/* The global options, and the words by which hull was called. */
struct context {
	const char *root;
	const char *log, *log_format;
	bool debug;
	bool microvm;         /* called as hull-vm */
	bool without_cgroups; /* --cgroup-manager disabled */
	bool systemd_cgroup;  /* --systemd-cgroup, --cgroup-manager systemd */
	char **original_argv; /* for executing ourselves again */
	int failure_status;   /* the exit status for an error: 1, unless a command knows better */
};

/* argv[0] is the command's name. Returns the exit status, or a negative errno with a message. */
typedef int command_fn(struct context *ctx, int argc, char **argv, struct error *err);

command_fn cmd_check, cmd_create, cmd_delete, cmd_exec, cmd_features, cmd_image, cmd_kill, cmd_list,
	cmd_mounts, cmd_pause, cmd_ps, cmd_resume, cmd_run, cmd_spec, cmd_start, cmd_state;
command_fn cmd_checkpoint, cmd_clone, cmd_events, cmd_restore, cmd_update;

/*
 * Parses a command's options. Returns the number of words that are no options, which are argv[0…] then; -1 where --help
 * was given and printed (the command ends with status 0); or -EINVAL. usage: what follows the command's name; min and max: how many
 * words there must be (max -1: any number, and the first word ends the options).
 */
struct usage {
	const char *command, *words, *summary, *more;
	int min, max;
};
int command_options(const struct usage *usage, const struct option *options, int argc, char **argv,
		    struct error *err);
#define HELP_GIVEN (-1000000)

/* The error for too few words, or for one too many. */
int wrong_usage(const struct usage *usage, const char *extra, struct error *err);

enum begin {
	BEGIN_LOOK = 0,
	BEGIN_MAKE_STORE = 1, /* the state directory is made where it is missing */
	BEGIN_ENTER = 2,      /* a process of ours will be in a container: see exe_ensure() */
};

/*
 * What most commands begin with: command_options(), and opening the state directory that the global options name. Returns
 * what command_options() returns, or another negative errno.
 */
int command_begin(const struct context *ctx, const struct usage *usage,
		  const struct option *options, int argc, char **argv, unsigned begin,
		  struct store *store, struct error *err);

/* The exit status for an error r that is about the workload's program: 127 not found, 126 otherwise, as shells have it. */
int program_failure_status(int r);

/* The name of one user, or its number, kept: the next question about the same user reads no file. All zero to begin with. */
struct user_name {
	bool known;
	unsigned uid;
	char text[64];
};
const char *user_name(struct user_name *name, unsigned uid);

#endif
