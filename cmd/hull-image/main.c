/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-image: what `hull image …` runs. A program of its own, so that the runtime never loads the
 * libraries for archives, compression and digests.
 *
 * It never calls setlocale(): in the locale "C" names in layers stay the bytes that they are.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/number.h"
#include "cmd/hull-image/command.h"

#define EXIT_USAGE 1

static const char help[] =
	"Usage: hull image COMMAND [OPTION]… ARGUMENT…\n"
	"\n"
	"Unpacks OCI images to bundles, and keeps images in a store: blobs and unpacked layers once,\n"
	"shared by all images.\n"
	"\n"
	"  pull SOURCE [NAME]          copy an image to the store\n"
	"  list                        show the images in the store, and their sizes\n"
	"  inspect NAME                print manifest, configuration and layers as JSON\n"
	"  unpack NAME|SOURCE BUNDLE   make a bundle: BUNDLE/rootfs from the layers, BUNDLE/config.json\n"
	"                              from the configuration. BUNDLE must not exist, or be empty.\n"
	"                              With --format erofs it is a new file, with the root file system\n"
	"  mount NAME DIR              mount an image on a directory, read-only unless --upper is given\n"
	"  umount DIR                  unmount it\n"
	"  remove NAME…                remove names, and the data that nothing needs any more\n"
	"  prune                       remove the data that nothing needs\n"
	"  verify                      check everything in the store\n"
	"  export NAME DESTINATION     write oci:DIR[:TAG] or oci-archive:FILE[:TAG]\n"
	"\n"
	"SOURCE is one of\n"
	"  oci:DIR[:TAG]           an OCI image layout\n"
	"  oci-archive:FILE[:TAG]  a tar archive of one, plain or compressed\n"
	"  docker-archive:FILE[:TAG]\n"
	"                          what `docker save` writes; TAG is NAME:TAG, TAG, or @N for the Nth image\n"
	"  docker://HOST[:PORT]/NAME[:TAG|@DIGEST]\n"
	"                          an image in a registry\n"
	"  DIR[:TAG], FILE[:TAG]   one of the first three, seen from what is there\n"
	"\n"
	"Options:\n"
	"  --store DIR          the store (default /var/lib/hull, or for users other than root\n"
	"                       $XDG_DATA_HOME/hull or ~/.local/share/hull)\n"
	"  --no-layers          pull: do not unpack layers; mount does it then\n"
	"  --upper DIR          mount: write changes to DIR/upper (DIR/work is overlayfs's own)\n"
	"  --format FORMAT      list: table (default) or json; unpack: dir (default), a bundle, or erofs\n"
	"  --rootless           unpack: do not keep owners, skip devices, make a configuration for a user\n"
	"                       namespace of one id; pull: as --no-layers (the default where you are not\n"
	"                       root, and /etc/subuid and /etc/subgid grant you no ids)\n"
	"  --max-size SIZE      pull, unpack: refuse an image that unpacks to more bytes (K, M, G, T: KiB\n"
	"                       and so on; default 1T)\n"
	"  --max-entries N      pull, unpack: refuse an image with more entries in its layers (default\n"
	"                       4194304)\n"
	"  --plain-http         pull, unpack: speak to the registry without TLS: whoever is on the way can\n"
	"                       read and change what is said\n"
	"  --repair             verify: remove what is damaged, so that the next pull brings it anew\n"
	"  --quiet              print neither progress nor warnings; list: names only\n"
	"  --log FILE           append messages to FILE, or journald:NAME or syslog:NAME\n"
	"  --log-format FORMAT  text (default) or json\n"
	"  --debug              print more\n"
	"  --help               print this\n"
	"\n"
	"Examples:\n"
	"  skopeo copy docker://alpine oci:alpine:latest\n"
	"  hull image unpack oci:alpine:latest bundle\n"
	"  hull run --bundle bundle my-container\n"
	"  hull image pull oci:alpine:latest alpine\n"
	"  hull image mount alpine /mnt\n";

enum {
	OPTION_ROOTLESS = 256,
	OPTION_MAX_SIZE,
	OPTION_MAX_ENTRIES,
	OPTION_STORE,
	OPTION_NO_LAYERS,
	OPTION_UPPER,
	OPTION_FORMAT,
	OPTION_PLAIN_HTTP,
	OPTION_REPAIR,
	OPTION_QUIET,
	OPTION_LOG,
	OPTION_LOG_FORMAT,
	OPTION_DEBUG
};

/* Of those before OPTION_QUIET; what follows is every command's. */
#define OPTION_BIT(option) (1U << ((option)-OPTION_ROOTLESS))
#define OPTIONS_LIMITS                                                  \
	(OPTION_BIT(OPTION_MAX_SIZE) | OPTION_BIT(OPTION_MAX_ENTRIES) | \
	 OPTION_BIT(OPTION_ROOTLESS) | OPTION_BIT(OPTION_PLAIN_HTTP))

static const struct command commands[] = {
	{ "pull",
	  1,
	  2,
	  "SOURCE and perhaps NAME",
	  {},
	  OPTIONS_LIMITS | OPTION_BIT(OPTION_NO_LAYERS),
	  SUB_IDS_WHERE_GIVEN,
	  command_pull },
	{ "list",
	  0,
	  0,
	  "no arguments",
	  { "table", "json" },
	  OPTION_BIT(OPTION_FORMAT),
	  SUB_IDS_WHERE_GIVEN,
	  command_list },
	{ "inspect", 1, 1, "one argument, NAME", {}, 0, SUB_IDS_WHERE_GIVEN, command_inspect },
	{ "unpack",
	  2,
	  2,
	  "two arguments, SOURCE or NAME, and BUNDLE or FILE",
	  { "dir", "erofs" },
	  OPTIONS_LIMITS | OPTION_BIT(OPTION_FORMAT),
	  SUB_IDS_WHERE_GIVEN,
	  command_unpack },
	{ "mount",
	  2,
	  2,
	  "two arguments, NAME and DIR",
	  {},
	  OPTION_BIT(OPTION_UPPER),
	  SUB_IDS_NONE,
	  command_mount },
	{ "umount", 1, 1, "one argument, DIR", {}, 0, SUB_IDS_NONE, command_umount },
	{ "remove", 1, -1, "one NAME or more", {}, 0, SUB_IDS_WHERE_GIVEN, command_remove },
	{ "prune", 0, 0, "no arguments", {}, 0, SUB_IDS_WHERE_GIVEN, command_prune },
	{ "verify",
	  0,
	  0,
	  "no arguments",
	  {},
	  OPTION_BIT(OPTION_REPAIR),
	  SUB_IDS_WHERE_GIVEN,
	  command_verify },
	{ "export",
	  2,
	  2,
	  "two arguments, NAME and DESTINATION",
	  {},
	  0,
	  SUB_IDS_WHERE_GIVEN,
	  command_export },
};

/* ---- the command line --------------------------------------------------------------------- */

static int usage_error(const char *fmt, const char *what)
{
	fputs("hull: image: ", stderr);
	fprintf(stderr, fmt, what);
	fputs("; see `hull image --help`\n", stderr);
	return -1;
}

static int parse_format(const char *text, const char *plain, bool *json)
{
	*json = !strcmp(text, "json");
	return *json || !strcmp(text, plain) ? 0 : -1;
}

static int parse_option(int option, struct arguments *a)
{
	switch (option) {
	case OPTION_ROOTLESS:
		a->rootless = true;
		return 0;
	case OPTION_MAX_SIZE:
		if (!parse_size(optarg, UINT64_MAX, &a->max_bytes) || !a->max_bytes)
			return usage_error("--max-size takes a number of bytes, as 512M, not `%s`",
					   optarg);
		return 0;
	case OPTION_MAX_ENTRIES:
		if (!parse_u64(optarg, UINT64_MAX, &a->max_entries) || !a->max_entries)
			return usage_error("--max-entries takes a number, not `%s`", optarg);
		return 0;
	case OPTION_STORE:
		a->store = optarg;
		return 0;
	case OPTION_NO_LAYERS:
		a->no_layers = true;
		return 0;
	case OPTION_UPPER:
		a->upper = optarg;
		return 0;
	case OPTION_FORMAT:
		a->format = optarg;
		return 0;
	case OPTION_PLAIN_HTTP:
		a->plain_http = true;
		return 0;
	case OPTION_REPAIR:
		a->repair = true;
		return 0;
	case OPTION_QUIET:
		a->quiet = true;
		return 0;
	case OPTION_LOG:
		a->log = optarg;
		return 0;
	case OPTION_LOG_FORMAT:
		if (parse_format(optarg, "text", &a->log_json) < 0)
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

static const struct option options[] = {
	{ "rootless", no_argument, NULL, OPTION_ROOTLESS },
	{ "max-size", required_argument, NULL, OPTION_MAX_SIZE },
	{ "max-entries", required_argument, NULL, OPTION_MAX_ENTRIES },
	{ "plain-http", no_argument, NULL, OPTION_PLAIN_HTTP },
	{ "repair", no_argument, NULL, OPTION_REPAIR },
	{ "store", required_argument, NULL, OPTION_STORE },
	{ "no-layers", no_argument, NULL, OPTION_NO_LAYERS },
	{ "upper", required_argument, NULL, OPTION_UPPER },
	{ "format", required_argument, NULL, OPTION_FORMAT },
	{ "quiet", no_argument, NULL, OPTION_QUIET },
	{ "log", required_argument, NULL, OPTION_LOG },
	{ "log-format", required_argument, NULL, OPTION_LOG_FORMAT },
	{ "debug", no_argument, NULL, OPTION_DEBUG },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* An option that the command would not look at is refused: it was meant to do something. */
static int check_options(const struct command *command, unsigned given)
{
	unsigned wrong = given & ~(command->options | OPTION_BIT(OPTION_STORE));

	for (size_t i = 0; wrong && options[i].name; i++)
		if (options[i].val < OPTION_QUIET && options[i].val >= OPTION_ROOTLESS &&
		    (wrong & OPTION_BIT(options[i].val))) {
			fprintf(stderr,
				"hull: image: %s takes no option --%s; see `hull image --help`\n",
				command->name, options[i].name);
			return -1;
		}
	return 0;
}

static int choose_format(struct arguments *a)
{
	const char *const *formats = a->command->formats;

	if (!formats[0])
		return 0;
	if (!a->format)
		a->format = formats[0];
	for (size_t i = 0; i < ARRAY_SIZE(a->command->formats); i++)
		if (!strcmp(a->format, formats[i]))
			return 0;
	fprintf(stderr,
		"hull: image: --format of %s is %s or %s, not `%s`; see `hull image --help`\n",
		a->command->name, formats[0], formats[1], a->format);
	return -1;
}

static int find_command(int argc, char **argv, unsigned given, struct arguments *a)
{
	if (optind == argc)
		return usage_error("no command%s", "");
	a->args = argv + optind + 1;
	a->count = argc - optind - 1;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, argv[optind]))
			a->command = &commands[i];
	if (!a->command)
		return usage_error("unknown command `%s`", argv[optind]);
	if (a->count < a->command->min || (a->command->max >= 0 && a->count > a->command->max)) {
		fprintf(stderr, "hull: image: %s takes %s; see `hull image --help`\n",
			a->command->name, a->command->usage);
		return -1;
	}
	if (check_options(a->command, given) < 0)
		return -1;
	return choose_format(a);
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	unsigned given = 0;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == '?' || option == ':')
			return usage_error(option == '?' ? "unknown option `%s`"
							 : "option `%s` needs a value",
					   argv[optind - 1]);
		if (option >= OPTION_ROOTLESS && option < OPTION_QUIET)
			given |= OPTION_BIT(option);
		if (parse_option(option, a) < 0)
			return -1;
	}
	if (a->help)
		return 0;
	return find_command(argc, argv, given, a);
}

int configure_log(const struct arguments *a, int *fd)
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

void complete_error(struct error *err)
{
	if (err->code == ENOSPC || err->code == EDQUOT) {
		size_t len = strlen(err->text);

		snprintf(err->text + len, sizeof(err->text) - len,
			 "; nothing incomplete was kept: free some space, and try again");
	}
	make_printable(err->text);
}

int report(const char *command, bool quiet, struct error *err)
{
	complete_error(err);
	/* An error is printed though --quiet was given. */
	log_error("%s: %s", command, err->text);
	if (quiet)
		fprintf(stderr, "hull: %s: %s\n", command, err->text);
	return caught_signal() ? 128 + caught_signal() : 1;
}

static int run(struct arguments *a)
{
	struct ns_sub_ids ids;
	struct error err = { 0 };
	char command[32];
	int r;

	catch_signals();
	progress_init(a->quiet, a->debug);
	r = enter_user_namespace(a, &ids, &err);
	if (r >= 0)
		r = a->command->run(a, &err);
	free(a->own_store);
	progress_wipe();
	if (r >= 0)
		return r;
	snprintf(command, sizeof(command), "image %s", a->command->name);
	return report(command, a->quiet, &err);
}

int main(int argc, char **argv)
{
	struct arguments a = { 0 };
	_cleanup_close_ int log = -EBADF;

	if (argc > 1 && !strcmp(argv[1], "bundle"))
		return run_bundle(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "pack"))
		return run_pack(argc - 1, argv + 1);
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
	return run(&a);
}
