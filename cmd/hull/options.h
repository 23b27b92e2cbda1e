/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of the command line: a table a command, from which they are parsed and their help is
 * printed. Engines and people write them in every usual form: --pid-file F, --pid-file=F, -b DIR,
 * -bDIR, -tu 0, --force=false, and Go's -no-subreaper.
 */
#ifndef HULL_CMD_OPTIONS_H
#define HULL_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum option_kind {
	OPTION_FLAG,     /* target: bool * */
	OPTION_STRING,   /* target: const char ** */
	OPTION_STRINGS,  /* target: struct option_strings *; may be given several times */
	OPTION_UNSIGNED, /* target: unsigned * */
	OPTION_OPTIONAL, /* target: const char **; a flag ("") or --NAME=VALUE, never another word */
	OPTION_PASS_ON, /* target: struct option_passed *; any value, which another program reads */
	OPTION_PASS_ON_FLAG, /* the same without a value */
	OPTION_HIDDEN_FLAG,  /* as OPTION_FLAG, and accepted for compatibility: not in the help */
};

#define OPTION_STRINGS_MAX 256

struct option_strings {
	const char *items[OPTION_STRINGS_MAX + 1]; /* NULL-terminated */
	size_t len;
};

struct option {
	const char *name; /* long, without dashes; NULL ends the table */
	char letter;      /* or 0 */
	enum option_kind kind;
	void *target;
	const char *argument; /* what the help calls its argument */
	const char *help;
};

/* Options that are passed on, in their order. */
struct option_passed {
	struct {
		const char *name, *value; /* value NULL: a flag */
	} items[OPTION_STRINGS_MAX];
	size_t len;
};

/*
 * Parses argv[1…argc-1]. What is no option is moved to the front of argv, from argv[0] on, and counted in
 * *rest. in_order: the first word that is no option ends them (exec: what follows is the workload's). "--" ends them always.
 */
int options_parse(const struct option *options, int argc, char **argv, bool in_order, int *rest,
		  struct error *err);

/* Prints the table, one line an option. */
void options_help(const struct option *options);

#endif
