/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-image: what `hull image …` runs. A program of its own, so that the runtime never loads the
 * libraries for archives, compression and digests.
 *
 * It never calls setlocale(): in the locale "C" names in layers stay the bytes that they are.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "base/number.h"
#include "oci/image/image.h"

#define EXIT_USAGE 1

static const char help[] =
	"Usage: hull image unpack [OPTION]… SOURCE BUNDLE\n"
	"\n"
	"Unpacks an OCI image to a bundle: BUNDLE/rootfs from its layers, BUNDLE/config.json from its\n"
	"configuration. BUNDLE must not exist, or be an empty directory.\n"
	"\n"
	"SOURCE is one of\n"
	"  oci:DIR[:TAG]           an OCI image layout\n"
	"  oci-archive:FILE[:TAG]  a tar archive of one, plain or compressed\n"
	"  docker://HOST[:PORT]/NAME[:TAG|@DIGEST]\n"
	"                          an image in a registry\n"
	"  DIR[:TAG], FILE[:TAG]   either, seen from what is there\n"
	"\n"
	"Options:\n"
	"  --rootless           do not keep owners, skip devices, make a configuration for a user\n"
	"                       namespace (the default where you are not root)\n"
	"  --max-size SIZE      refuse an image that unpacks to more bytes (K, M, G, T: KiB and so on;\n"
	"                       default 1T)\n"
	"  --max-entries N      refuse an image with more entries in its layers (default 4194304)\n"
	"  --plain-http         speak to the registry without TLS: whoever is on the way can read and\n"
	"                       change what is said\n"
	"  --quiet              print neither progress nor warnings\n"
	"  --log FILE           append messages to FILE, or journald:NAME or syslog:NAME\n"
	"  --log-format FORMAT  text (default) or json\n"
	"  --debug              print more\n"
	"  --help               print this\n"
	"\n"
	"Examples:\n"
	"  skopeo copy docker://alpine oci:alpine:latest\n"
	"  hull image unpack oci:alpine:latest bundle\n"
	"  hull run --bundle bundle my-container\n";

struct arguments {
	struct image_unpack_options unpack;
	const char *log;
	bool log_json, quiet, debug, help;
};

/* Set by the signal handler, read by the loops that wait. */
static volatile sig_atomic_t caught;

static void on_signal(int signal)
{
	caught = signal;
}

static bool is_interrupted(void *data _unused_)
{
	return caught != 0;
}

static void catch_signals(void)
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

/* ---- progress on a terminal --------------------------------------------------------------- */

struct progress {
	struct timespec shown;
	bool any; /* a line is on the screen and must be wiped out */
};

static void show_progress(void *data, const char *what, unsigned long done, unsigned long total)
{
	struct progress *p = data;
	struct timespec now;
	long passed;

	clock_gettime(CLOCK_MONOTONIC, &now);
	passed = (now.tv_sec - p->shown.tv_sec) * 1000 + (now.tv_nsec - p->shown.tv_nsec) / 1000000;
	if (p->any && passed < 100 && done < total)
		return;
	p->shown = now;
	p->any = true;
	/* The cursor goes back to the start, so that a warning is written over it. */
	fprintf(stderr, "\033[K%s: %.1f of %.1f MiB\r", what, (double)done / (1 << 20),
		(double)total / (1 << 20));
}

static void end_progress(const struct progress *p)
{
	if (p->any)
		fputs("\033[K", stderr);
}

/* ---- the command line --------------------------------------------------------------------- */

enum {
	OPTION_ROOTLESS = 256,
	OPTION_MAX_SIZE,
	OPTION_MAX_ENTRIES,
	OPTION_PLAIN_HTTP,
	OPTION_QUIET,
	OPTION_LOG,
	OPTION_LOG_FORMAT,
	OPTION_DEBUG
};

static int usage_error(const char *fmt, const char *what)
{
	fputs("hull: image: ", stderr);
	fprintf(stderr, fmt, what);
	fputs("; see `hull image --help`\n", stderr);
	return -1;
}

/* A number of bytes, as "512M". */
static bool parse_size(const char *s, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	size_t len = strlen(s);
	const char *unit = len ? strchr(units, s[len - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (!parse_u64_n(s, unit ? len - 1 : len, UINT64_MAX >> shift, bytes) || !*bytes)
		return false;
	*bytes <<= shift;
	return true;
}

static int parse_option(int option, struct arguments *a)
{
	switch (option) {
	case OPTION_ROOTLESS:
		a->unpack.rootless = true;
		return 0;
	case OPTION_MAX_SIZE:
		if (!parse_size(optarg, &a->unpack.max_bytes))
			return usage_error("--max-size takes a number of bytes, as 512M, not `%s`",
					   optarg);
		return 0;
	case OPTION_MAX_ENTRIES:
		if (!parse_u64(optarg, UINT64_MAX, &a->unpack.max_entries) ||
		    !a->unpack.max_entries)
			return usage_error("--max-entries takes a number, not `%s`", optarg);
		return 0;
	case OPTION_PLAIN_HTTP:
		a->unpack.plain_http = true;
		return 0;
	case OPTION_QUIET:
		a->quiet = true;
		return 0;
	case OPTION_LOG:
		a->log = optarg;
		return 0;
	case OPTION_LOG_FORMAT:
		a->log_json = !strcmp(optarg, "json");
		if (!a->log_json && strcmp(optarg, "text") != 0)
			return usage_error("--log-format is text or json, not `%s`", optarg);
		return 0;
	case OPTION_DEBUG:
		a->debug = true;
		return 0;
	default:
		a->help = true;
		return 0;
	}
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{ "rootless", no_argument, NULL, OPTION_ROOTLESS },
		{ "max-size", required_argument, NULL, OPTION_MAX_SIZE },
		{ "max-entries", required_argument, NULL, OPTION_MAX_ENTRIES },
		{ "plain-http", no_argument, NULL, OPTION_PLAIN_HTTP },
		{ "quiet", no_argument, NULL, OPTION_QUIET },
		{ "log", required_argument, NULL, OPTION_LOG },
		{ "log-format", required_argument, NULL, OPTION_LOG_FORMAT },
		{ "debug", no_argument, NULL, OPTION_DEBUG },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	a->unpack.rootless = geteuid() != 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == '?' || option == ':')
			return usage_error(option == '?' ? "unknown option `%s`"
							 : "option `%s` needs a value",
					   argv[optind - 1]);
		if (parse_option(option, a) < 0)
			return -1;
	}
	if (a->help)
		return 0;
	if (optind == argc)
		return usage_error("no command%s", "");
	if (strcmp(argv[optind], "unpack") != 0)
		return usage_error("unknown command `%s`", argv[optind]);
	if (argc - optind != 3)
		return usage_error("unpack takes two arguments, SOURCE and BUNDLE%s", "");
	a->unpack.source = argv[optind + 1];
	a->unpack.bundle = argv[optind + 2];
	return 0;
}

static int configure_log(const struct arguments *a, int *fd)
{
	struct log_config config = {
		.fd = -1,
		.json = a->log_json,
		.quiet = a->quiet,
		.level = a->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
		.program = "hull",
	};
	struct error err = { 0 };

	if (a->log && log_open(&config, a->log, &err) < 0)
		return usage_error("%s", err.text);
	*fd = config.fd;
	log_configure(&config);
	return 0;
}

/* An image's names get into messages: none of them moves a terminal's cursor or begins a line. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static int unpack(struct arguments *a)
{
	struct progress progress = { 0 };
	struct error err = { 0 };
	int r;

	catch_signals();
	a->unpack.interrupted = is_interrupted;
	if (isatty(STDERR_FILENO) && !a->quiet && !a->debug) {
		a->unpack.progress = show_progress;
		a->unpack.progress_data = &progress;
	}
	r = image_unpack(&a->unpack, &err);
	make_printable(err.text);
	end_progress(&progress);
	if (r >= 0)
		return 0;
	/* An error is printed though --quiet was given. */
	log_error("image unpack: %s", err.text);
	if (a->quiet)
		fprintf(stderr, "hull: image unpack: %s\n", err.text);
	return caught ? 128 + (int)caught : 1;
}

int main(int argc, char **argv)
{
	struct arguments a = { 0 };
	_cleanup_close_ int log = -EBADF;

	if (parse_arguments(argc, argv, &a) < 0)
		return EXIT_USAGE;
	if (a.help) {
		fputs(help, stdout);
		return 0;
	}
	if (configure_log(&a, &log) < 0)
		return EXIT_USAGE;
	/* Directories that layers only imply get 0755, whatever the shell's umask is. */
	umask(022);
	return unpack(&a);
}
