/* SPDX-License-Identifier: Apache-2.0 */
/* hull kill, delete, pause and resume. */
#include <regex.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "cmd/hull/command.h"

/* "RTMIN", "RTMIN+3", "RTMAX-2" without "SIG": the signal, or -1. SIGRTMIN is the C library's, 34, as engines count. */
static int realtime_signal(const char *name)
{
	bool from_end = !strncasecmp(name, "RTMAX", 5);
	uint64_t offset = 0;

	if (!from_end && strncasecmp(name, "RTMIN", 5) != 0)
		return -1;
	if (name[5] && (name[5] != (from_end ? '-' : '+') ||
			!parse_u64(name + 6, (uint64_t)(SIGRTMAX - SIGRTMIN), &offset)))
		return -1;
	return from_end ? SIGRTMAX - (int)offset : SIGRTMIN + (int)offset;
}

static int named_signal(const char *name)
{
	static const struct {
		const char *name;
		int sig;
	} others[] = { { "IOT", SIGABRT }, { "CLD", SIGCHLD }, { "IO", SIGIO } };

	for (int n = 1; n < 32; n++) {
		const char *abbreviation = sigabbrev_np(n);

		if (abbreviation && !strcasecmp(name, abbreviation))
			return n;
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (!strcasecmp(name, others[i].name))
			return others[i].sig;
	return realtime_signal(name);
}

/* "KILL", "SIGKILL", "sigkill", "9", "RTMIN+3", "SIGRTMAX-1". */
static int parse_signal(const char *text, int *sig, struct error *err)
{
	uint64_t number;

	if (parse_u64(text, 64, &number)) { /* 0 sends nothing and tells whether it could be sent */
		*sig = (int)number;
		return 0;
	}
	*sig = named_signal(strncasecmp(text, "SIG", 3) ? text : text + 3);
	if (*sig > 0)
		return 0;
	return error_set(err, EINVAL, "unknown signal `%s`: use a name as KILL or a number as 9",
			 text);
}

/*
 * What became of one of several containers: an error of one does not keep the command from the others. Each error is printed, the
 * last by the caller's caller. Returns the result of all so far.
 */
static int add_result(int before, int r, const struct error *one, struct error *err)
{
	if (r >= 0)
		return before;
	if (before < 0)
		log_error("%s", err->text);
	*err = *one;
	return r;
}

/* Calls act for the container named id, or (pattern) for each whose id matches the POSIX extended regular expression. */
static int for_each_container(const struct store *store, const char *id, bool pattern,
			      int (*act)(const struct store *, const char *, void *,
					 struct error *),
			      void *data, struct error *err)
{
	char **ids = NULL;
	size_t count;
	regex_t regex;
	int r;

	if (!pattern)
		return act(store, id, data, err);
	if (regcomp(&regex, id, REG_EXTENDED | REG_NOSUB))
		return error_set(err, EINVAL, "--regex `%.64s`: is not a regular expression", id);
	r = store_list(store, &ids, &count, err);
	for (size_t i = 0; i < count; i++) {
		struct error one = { 0 };

		if (regexec(&regex, ids[i], 0, NULL, 0) == 0)
			r = add_result(r, act(store, ids[i], data, &one), &one, err);
	}
	store_free_ids(ids);
	regfree(&regex);
	return r;
}

struct kill_request {
	int sig;
	bool all;
};

static int kill_one(const struct store *store, const char *id, void *data, struct error *err)
{
	const struct kill_request *request = data;

	return runtime_kill(store, id, request->sig, request->all, err);
}

static int delete_one(const struct store *store, const char *id, void *data, struct error *err)
{
	return runtime_delete(store, id, *(const bool *)data, err);
}

int cmd_kill(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct kill_request request = { .sig = SIGTERM };
	bool regex = false;
	const struct option options[] = {
		{ "all", 'a', OPTION_FLAG, &request.all, NULL,
		  "send it to all processes, not only the first" },
		{ "regex", 'r', OPTION_FLAG, &regex, NULL,
		  "ID is a regular expression: to all containers that match" },
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
	int words = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err), r;

	if (words < 0)
		return words;
	r = words > 1 ? parse_signal(argv[1], &request.sig, err) : 0;
	return r < 0 ? r : for_each_container(&store, argv[0], regex, kill_one, &request, err);
}

int cmd_delete(struct context *ctx, int argc, char **argv, struct error *err)
{
	bool force = false, regex = false;
	const struct option options[] = {
		{ "force", 'f', OPTION_FLAG, &force, NULL,
		  "kill what runs, and clean up after whatever went wrong" },
		{ "regex", 'r', OPTION_FLAG, &regex, NULL,
		  "ID is a regular expression: all containers that match" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"delete", "ID…", "Delete containers that have stopped or were never started.",
		NULL,     1,     64
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int words = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);
	int r = words < 0 ? words : 0;

	for (int i = 0; i < words; i++) {
		struct error one = { 0 };

		r = add_result(r,
			       for_each_container(&store, argv[i], regex, delete_one, &force, &one),
			       &one, err);
	}
	return r;
}

static int pause_or_resume(struct context *ctx, const struct usage *usage, int argc, char **argv,
			   int (*act)(const struct store *, const char *, struct error *),
			   struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, usage, options, argc, argv, BEGIN_LOOK, &store, err);

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
