/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull ps: the processes of a container. The table is the host's own ps(1), of which the lines of
 * other processes are left out; where there is no ps(1), it is just the process ids.
 */
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "base/number.h"
#include "base/process.h"
#include "cmd/hull/command.h"

static bool has_pid(const pid_t *pids, ssize_t count, uint64_t pid)
{
	for (ssize_t i = 0; i < count; i++)
		if ((uint64_t)pids[i] == pid)
			return true;
	return false;
}

/* The number of the column named PID in a header line; -1 where there is none. */
static int find_pid_column(const char *header)
{
	int column = 0;

	for (const char *p = header + strspn(header, " "); *p; column++) {
		size_t len = strcspn(p, " \n");

		if (len == 3 && !strncmp(p, "PID", 3))
			return column;
		p += len;
		p += strspn(p, " \n");
	}
	return -1;
}

static bool line_pid(const char *line, int column, uint64_t *pid)
{
	const char *p = line + strspn(line, " ");

	for (int i = 0; i < column; i++) {
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	return parse_u64_n(p, strcspn(p, " \n"), INT32_MAX, pid);
}

static int filter_lines(FILE *in, const pid_t *pids, ssize_t count, struct error *err)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	uint64_t pid;
	int column;

	if (getline(&line, &size, in) < 0)
		return error_set(err, EIO, "ps: printed nothing");
	column = find_pid_column(line);
	if (column < 0)
		return error_set(err, EINVAL,
				 "ps: its output has no column PID: choose other options");
	fputs(line, stdout);
	while (getline(&line, &size, in) >= 0)
		if (line_pid(line, column, &pid) && has_pid(pids, count, pid))
			fputs(line, stdout);
	return 0;
}

static int print_table(const pid_t *pids, ssize_t count, char **ps_options, int option_count,
		       struct error *err)
{
	char *argv[66] = { (char *)(uintptr_t) "ps", (char *)(uintptr_t) "-ef" };
	posix_spawn_file_actions_t actions;
	_cleanup_fclose_ FILE *in = NULL;
	int pipe_ends[2], status, r;
	pid_t child;

	for (int i = 0; i < option_count && i < 64; i++)
		argv[1 + i] = ps_options[i];
	if (pipe2(pipe_ends, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
	r = posix_spawnp(&child, "ps", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_ends[1]);
	in = fdopen(pipe_ends[0], "r");
	if (r == ENOENT && !option_count) {
		printf("PID\n");
		for (ssize_t i = 0; i < count; i++)
			printf("%d\n", pids[i]);
		return 0;
	}
	if (r)
		return error_errno(err, r, "run ps");
	r = in ? filter_lines(in, pids, count, err) : error_errno(err, ENOMEM, "ps");
	/* Closed first: one that is not read to its end must not wait for us. */
	if (in)
		fclose(take_ptr(in));
	process_wait(child, &status);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return error_set(
			err, EINVAL,
			"ps: ps(1) failed with status %d; the words behind the id are its options",
			WEXITSTATUS(status));
	return r;
}

static void print_json(const pid_t *pids, ssize_t count)
{
	printf("[");
	for (ssize_t i = 0; i < count; i++)
		printf("%s%d", i ? "," : "", pids[i]);
	printf("]\n");
}

int cmd_ps(struct context *ctx, int argc, char **argv, struct error *err)
{
	const char *format = "table";
	const struct option options[] = {
		{ "format", 'f', OPTION_STRING, &format, "FORMAT",
		  "table (default) or json: an array of process ids" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"ps",
		"ID [PS-OPTION…]",
		"List the processes of a container, with the process ids of the host.",
		"Options behind the id are given to ps(1); default: -ef.",
		1,
		-1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	_cleanup_free_ pid_t *pids = NULL;
	_cleanup_free_ char *table = NULL;
	int words = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);
	bool as_table;
	ssize_t count;

	if (words < 0)
		return words;
	if (strcmp(format, "table") && strcmp(format, "json"))
		return error_set(err, EINVAL, "--format `%s`: must be table or json", format);
	as_table = !strcmp(format, "table");
	count = runtime_pids(&store, argv[0], &pids, as_table ? &table : NULL, err);
	if (count < 0)
		return (int)count;
	if (table && words > 1)
		return error_set(
			err, ENOTSUP,
			"ps options: the processes are in a microVM, where the host's ps(1) "
			"does not see them");
	if (table) {
		printf("%s", table);
		return 0;
	}
	if (as_table) {
		int skip = words > 1 && !strcmp(argv[1], "--"); /* as exec does */

		return print_table(pids, count, argv + 1 + skip, words - 1 - skip, err);
	}
	print_json(pids, count);
	return 0;
}
