/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shown while a command works, and the signals that end it. On a terminal one line with a bar for each of the two
 * things that go on at once, else a line for each step that is done; both on standard error.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cmd/hull-image/command.h"

#define LANES       2
#define LINE_MAX_   512
#define BAR_WIDTH   20
#define REDRAW_MS   100
#define WIDTH_GUESS 80

/* Set by the signal handler, read by the loops that wait. */
static volatile sig_atomic_t caught;

struct lane {
	char what[64]; /* empty: nothing goes on */
	uint64_t done, total;
};

static struct {
	bool bars, lines;
	struct lane lanes[LANES];
	struct timespec shown;
	bool any; /* a line is on the screen and must be wiped out */
} progress;

static void on_signal(int signal)
{
	caught = signal;
}

int caught_signal(void)
{
	return (int)caught;
}

void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	/* A registry that closes its connection is an error of that connection, and no more. */
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		/* The second signal kills, whatever we are busy with. */
		struct sigaction action = { .sa_handler = on_signal,
					    .sa_flags = (int)SA_RESETHAND };
		struct sigaction before;

		/* What nohup(1) ignores stays ignored. */
		if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
}

void progress_init(bool quiet, bool debug)
{
	bool terminal = isatty(STDERR_FILENO) == 1;

	memset(&progress, 0, sizeof(progress));
	progress.bars = terminal && !quiet && !debug;
	progress.lines = !quiet;
}

void progress_wipe(void)
{
	if (progress.any)
		fputs("\033[K", stderr);
	progress.any = false;
}

static bool is_early(void)
{
	struct timespec now;
	long passed;

	clock_gettime(CLOCK_MONOTONIC, &now);
	passed = (now.tv_sec - progress.shown.tv_sec) * 1000 +
		 (now.tv_nsec - progress.shown.tv_nsec) / 1000000;
	if (progress.any && passed < REDRAW_MS)
		return true;
	progress.shown = now;
	return false;
}

static int format_lane(const struct lane *lane, char *line, size_t size)
{
	static const char full[] = "####################", none[] = "....................";
	int marks = lane->total ? (int)(lane->done * BAR_WIDTH / lane->total) : 0;

	if (marks > BAR_WIDTH)
		marks = BAR_WIDTH;
	return snprintf(line, size, "%s [%.*s%.*s] %.1f of %.1f MiB  ", lane->what, marks, full,
			BAR_WIDTH - marks, none, (double)lane->done / (1 << 20),
			(double)lane->total / (1 << 20));
}

static void draw(void)
{
	struct winsize size = { 0 };
	char line[LINE_MAX_] = "";
	size_t len = 0, width;

	for (size_t i = 0; i < LANES; i++)
		if (progress.lanes[i].what[0] && len < sizeof(line))
			len += (size_t)format_lane(&progress.lanes[i], line + len,
						   sizeof(line) - len);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col)
		size.ws_col = WIDTH_GUESS;
	width = (size_t)size.ws_col - 1;
	/* The cursor goes back to the start, so that a warning is written over it. */
	fprintf(stderr, "\033[K%.*s\r", (int)(width < sizeof(line) ? width : sizeof(line)), line);
	progress.any = true;
}

static void show_progress(void *data _unused_, unsigned number, const char *what, uint64_t done,
			  uint64_t total)
{
	struct lane *lane = &progress.lanes[number % LANES];

	if (!progress.bars)
		return;
	snprintf(lane->what, sizeof(lane->what), "%s", done < total ? what : "");
	lane->done = done;
	lane->total = total;
	if (!is_early())
		draw();
}

static void show_step(void *data _unused_, const char *line)
{
	if (!progress.lines)
		return;
	progress_wipe();
	fprintf(stderr, "%s\n", line);
}

static bool is_interrupted(void *data _unused_)
{
	return caught != 0;
}

const struct image_store_hooks progress_hooks = {
	.progress = show_progress,
	.step = show_step,
	.interrupted = is_interrupted,
};

static void show_unpack(void *data, const char *what, unsigned long done, unsigned long total)
{
	show_progress(data, 0, what, done, total);
}

void progress_of_unpack(struct image_unpack_options *options)
{
	options->progress = show_unpack;
	options->interrupted = is_interrupted;
}
