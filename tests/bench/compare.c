/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times commands side by side: in each round every command runs once, one after the other, so that
 * a machine that grows slower or faster does so for all of them.
 *
 * usage: compare [--first-byte] [--clean DIR] ROUNDS NAME COMMAND [ARG...] [-- NAME COMMAND [ARG...]]...
 *
 * Prints a line a command: the median and the fastest wall time in milliseconds, the median's ratio
 * to the first command's, the peak resident memory of the process itself, and the median of the processor time of the
 * process with its children. A command that fails
 * ends the program, for the time of a failure means nothing.
 *
 *   --clean DIR    DIR is removed and made anew before each run, outside the time; such runs are long, and one round of warming
 *                  up is enough
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
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP      3 /* rounds that are not counted; 1 with --clean */
#define COMMANDS_MAX 16

struct command {
	const char *name;
	char **argv;
	double *times; /* milliseconds, one a round */
	double *cpu;   /* the same, of processor time */
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

struct options {
	bool first_byte;
	char *clean;
};

static void clean_directory(char *dir)
{
	char *argv[] = { "sh", "-c", "rm -rf -- \"$1\" && mkdir -- \"$1\"", "sh", dir, NULL };
	int status;
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "compare: cannot clean %s\n", dir);
		exit(1);
	}
}

static double milliseconds_of(const struct timeval *t)
{
	return (double)t->tv_sec * 1e3 + (double)t->tv_usec / 1e3;
}

static void run_once(struct command *command, int devnull, const struct options *options,
		     double *milliseconds, double *cpu)
{
	posix_spawn_file_actions_t actions;
	struct timespec start, end;
	struct rusage usage;
	int output[2] = { -1, devnull }, status, r;
	pid_t pid;

	if (options->clean)
		clean_directory(options->clean);
	if (options->first_byte && pipe2(output, O_CLOEXEC) < 0)
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
	if (options->first_byte) {
		close(output[1]);
		read_output(command, output[0], &end);
		close(output[0]);
	}
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			exit(1);
	if (!options->first_byte)
		clock_gettime(CLOCK_MONOTONIC, &end);
	posix_spawn_file_actions_destroy(&actions);
	if (status) {
		fprintf(stderr, "compare: %s failed with wait status %#x\n", command->name, status);
		exit(1);
	}
	*milliseconds = (double)(end.tv_sec - start.tv_sec) * 1e3 +
			(double)(end.tv_nsec - start.tv_nsec) / 1e6;
	*cpu = milliseconds_of(&usage.ru_utime) + milliseconds_of(&usage.ru_stime);
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
		c->cpu = calloc(rounds, sizeof(*c->cpu));
		while (*argv && strcmp(*argv, "--") != 0)
			argv++;
		if (*argv)
			*argv++ = NULL;
		if (!c->times || !c->cpu || !c->name || !c->argv[0]) {
			fprintf(stderr, "compare: a name without a command\n");
			exit(2);
		}
	}
	return n;
}

/* Takes the options; argv[0] is the first argument behind them then. */
static char **parse_options(char **argv, struct options *options)
{
	for (argv++; *argv; argv++) {
		if (!strcmp(*argv, "--first-byte"))
			options->first_byte = true;
		else if (!strcmp(*argv, "--clean") && argv[1])
			options->clean = *++argv;
		else
			break;
	}
	return argv;
}

/* Prints the line of a command. Returns its median. */
static double report(const struct command *c, size_t rounds, double first)
{
	double median;

	qsort(c->times, rounds, sizeof(double), by_size);
	qsort(c->cpu, rounds, sizeof(double), by_size);
	median = c->times[rounds / 2];
	printf("  %-8s median %7.2f ms   fastest %7.2f ms   ratio %5.2f   peak %6.1f MB   cpu %7.2f ms\n",
	       c->name, median, c->times[0], first > 0 ? median / first : 1.0,
	       (double)c->max_rss / 1024, c->cpu[rounds / 2]);
	return median;
}

int main(int argc __attribute__((unused)), char **argv)
{
	int devnull = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct command commands[COMMANDS_MAX];
	struct options options = { 0 };
	char **rest = parse_options(argv, &options);
	size_t rounds = *rest ? strtoul(*rest, NULL, 10) : 0, n, warm_up;
	double ignored, first = 0;

	if (!rounds || devnull < 0 || !rest[1]) {
		fprintf(stderr, "usage: compare [--first-byte] [--clean DIR] ROUNDS NAME COMMAND "
				"[ARG...] [-- NAME COMMAND...]\n");
		return 2;
	}
	warm_up = options.clean ? 1 : WARM_UP;
	n = split(rest + 1, commands, rounds);
	for (size_t round = 0; round < warm_up + rounds; round++) {
		for (size_t i = 0; i < n; i++) {
			struct command *c = &commands[i];
			bool counts = round >= warm_up;

			run_once(c, devnull, &options,
				 counts ? &c->times[round - warm_up] : &ignored,
				 counts ? &c->cpu[round - warm_up] : &ignored);
		}
	}
	for (size_t i = 0; i < n; i++) {
		double median = report(&commands[i], rounds, first);

		if (i == 0)
			first = median;
		free(commands[i].times);
		free(commands[i].cpu);
	}
	return 0;
}
