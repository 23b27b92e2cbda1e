/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times commands side by side: in each round every command runs once, one after the other, so that
 * a machine that grows slower or faster does so for all of them.
 *
 * usage: compare [--first-byte] ROUNDS NAME COMMAND [ARG...] [-- NAME COMMAND [ARG...]]...
 *
 * Prints a line a command: the median and the fastest wall time in milliseconds, the median's ratio
 * to the first command's, and the peak resident memory of the process itself. A command that fails
 * ends the program, for the time of a failure means nothing.
 *
 *   --first-byte   the time is that up to the first byte of the command's output, not up to its end
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP      3 /* rounds that are not counted */
#define COMMANDS_MAX 16

struct command {
	const char *name;
	char **argv;
	double *times; /* milliseconds, one a round */
	long max_rss;  /* KiB */
};

/* Waits for the first byte of the command's output; the rest is read, lest the command waits for us. */
static void read_output(const struct command *command, int output, struct timespec *first)
{
	char buf[4096];
	ssize_t n = read(output, buf, 1);

	clock_gettime(CLOCK_MONOTONIC, first);
	if (n != 1) {
		fprintf(stderr, "compare: %s printed nothing\n", command->name);
		exit(1);
	}
	while (n > 0)
		n = read(output, buf, sizeof(buf));
}

static void run_once(struct command *command, int devnull, bool first_byte, double *milliseconds)
{
	posix_spawn_file_actions_t actions;
	struct timespec start, end;
	struct rusage usage;
	int output[2] = { -1, devnull }, status, r;
	pid_t pid;

	if (first_byte && pipe2(output, O_CLOEXEC) < 0)
		exit(1);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, devnull, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
	clock_gettime(CLOCK_MONOTONIC, &start);
	r = posix_spawnp(&pid, command->argv[0], &actions, NULL, command->argv, environ);
	if (r) {
		fprintf(stderr, "compare: %s: %s\n", command->argv[0], strerror(r));
		exit(1);
	}
	if (first_byte) {
		close(output[1]);
		read_output(command, output[0], &end);
		close(output[0]);
	}
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			exit(1);
	if (!first_byte)
		clock_gettime(CLOCK_MONOTONIC, &end);
	posix_spawn_file_actions_destroy(&actions);
	if (status) {
		fprintf(stderr, "compare: %s failed with wait status %#x\n", command->name, status);
		exit(1);
	}
	*milliseconds = (double)(end.tv_sec - start.tv_sec) * 1e3 +
			(double)(end.tv_nsec - start.tv_nsec) / 1e6;
	if (usage.ru_maxrss > command->max_rss)
		command->max_rss = usage.ru_maxrss;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Cuts argv at each "--" into commands. Returns how many. */
static size_t split(char **argv, struct command *commands, size_t rounds)
{
	size_t n = 0;

	while (*argv && n < COMMANDS_MAX) {
		struct command *c = &commands[n++];

		*c = (struct command){ .name = argv[0], .argv = argv + 1 };
		c->times = calloc(rounds, sizeof(*c->times));
		while (*argv && strcmp(*argv, "--") != 0)
			argv++;
		if (*argv)
			*argv++ = NULL;
		if (!c->times || !c->name || !c->argv[0]) {
			fprintf(stderr, "compare: a name without a command\n");
			exit(2);
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	bool first_byte = argc > 1 && !strcmp(argv[1], "--first-byte");
	int devnull = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct command commands[COMMANDS_MAX];
	double ignored, first = 0;
	size_t rounds, n;

	argc -= first_byte;
	argv += first_byte;
	rounds = argc > 3 ? strtoul(argv[1], NULL, 10) : 0;
	if (!rounds || devnull < 0) {
		fprintf(stderr, "usage: compare [--first-byte] ROUNDS NAME COMMAND [ARG...] "
				"[-- NAME COMMAND...]\n");
		return 2;
	}
	n = split(argv + 2, commands, rounds);
	for (size_t round = 0; round < WARM_UP + rounds; round++)
		for (size_t i = 0; i < n; i++)
			run_once(&commands[i], devnull, first_byte,
				 round < WARM_UP ? &ignored : &commands[i].times[round - WARM_UP]);
	for (size_t i = 0; i < n; i++) {
		double median;

		qsort(commands[i].times, rounds, sizeof(double), by_size);
		median = commands[i].times[rounds / 2];
		if (i == 0)
			first = median;
		printf("  %-8s median %7.2f ms   fastest %7.2f ms   ratio %5.2f   peak %6.1f MB\n",
		       commands[i].name, median, commands[i].times[0], median / first,
		       (double)commands[i].max_rss / 1024);
		free(commands[i].times);
	}
	return 0;
}
