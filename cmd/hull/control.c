/* SPDX-License-Identifier: Apache-2.0 */
/* hull kill, delete, pause and resume. */
#include <signal.h>
#include <string.h>

#include "base/number.h"
#include "cmd/hull/command.h"

/* "KILL", "SIGKILL", "sigkill", "9", "RTMIN+3". */
static int parse_signal(const char *text, int *sig, struct error *err)
{
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;
	uint64_t number;

	if (parse_u64(text, 64, &number) && number > 0) {
		*sig = (int)number;
		return 0;
	}
	if (!strncasecmp(name, "RTMIN", 5) &&
	    (!name[5] || (name[5] == '+' && parse_u64(name + 6, 30, &number)))) {
		*sig = SIGRTMIN + (name[5] ? (int)number : 0);
		return 0;
	}
	for (int n = 1; n < 32; n++) {
		const char *abbreviation = sigabbrev_np(n);

		if (abbreviation && !strcasecmp(name, abbreviation)) {
			*sig = n;
			return 0;
		}
	}
	return error_set(err, EINVAL, "unknown signal `%s`: use a name as KILL or a number as 9",
			 text);
}

int cmd_kill(struct context *ctx, int argc, char **argv, struct error *err)
{
	bool all = false;
	const struct option options[] = {
		{ "all", 'a', OPTION_FLAG, &all, NULL,
		  "send it to all processes, not only the first" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"kill",
		"ID [SIGNAL]",
		"Send a signal (default: TERM) to a container's init process.",
		"Examples:\n  hull kill demo\n  hull kill demo KILL\n  hull kill demo 10",
		1,
		2
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int words = command_options(&usage, options, argc, argv, err), sig = SIGTERM, r;

	if (words < 0)
		return words;
	r = words > 1 ? parse_signal(argv[1], &sig, err) : 0;
	if (r == 0)
		r = open_store(ctx, false, &store, err);
	return r < 0 ? r : runtime_kill(&store, argv[0], sig, all, err);
}

int cmd_delete(struct context *ctx, int argc, char **argv, struct error *err)
{
	bool force = false;
	const struct option options[] = {
		{ "force", 'f', OPTION_FLAG, &force, NULL,
		  "kill what runs, and clean up after whatever went wrong" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"delete", "ID…", "Delete containers that have stopped or were never started.",
		NULL,     1,     64
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int words = command_options(&usage, options, argc, argv, err);
	int r = words < 0 ? words : open_store(ctx, false, &store, err);

	for (int i = 0; r == 0 && i < words; i++)
		r = runtime_delete(&store, argv[i], force, err);
	return r;
}

static int pause_or_resume(struct context *ctx, const struct usage *usage, int argc, char **argv,
			   int (*act)(const struct store *, const char *, struct error *),
			   struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_options(usage, options, argc, argv, err);

	if (r >= 0)
		r = open_store(ctx, false, &store, err);
	return r < 0 ? r : act(&store, argv[0], err);
}

int cmd_pause(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct usage usage = { "pause", "ID", "Freeze all processes of a running container.",
				     NULL,    1,    1 };

	return pause_or_resume(ctx, &usage, argc, argv, runtime_pause, err);
}

int cmd_resume(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct usage usage = { "resume", "ID", "Let a paused container go on.", NULL, 1, 1 };

	return pause_or_resume(ctx, &usage, argc, argv, runtime_resume, err);
}
