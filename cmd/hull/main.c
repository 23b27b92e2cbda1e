/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull, the command line: global options, the table of commands, and what all commands share.
 * Errors are printed here, once, as one line, and written to the log for engines.
 */
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/process.h"
#include "cmd/hull/command.h"
#include "sandbox/exe.h"

static command_fn cmd_help;

static const struct {
	const char *name;
	command_fn *run;
	const char *help;
} commands[] = {
	{ "run", cmd_run, "create and start a container, wait for it, delete it" },
	{ "create", cmd_create, "create a container from a bundle; it waits for start" },
	{ "start", cmd_start, "start a created container" },
	{ "exec", cmd_exec, "run another process in a running container" },
	{ "kill", cmd_kill, "send a signal to a container" },
	{ "delete", cmd_delete, "delete a stopped container (--force: any)" },
	{ "state", cmd_state, "print a container's state as JSON" },
	{ "list", cmd_list, "list containers" },
	{ "ps", cmd_ps, "list the processes of a container" },
	{ "pause", cmd_pause, "freeze all processes of a container" },
	{ "resume", cmd_resume, "let a paused container go on" },
	{ "mounts", cmd_mounts, "add mounts to a running container, or remove them" },
	{ "checkpoint", cmd_checkpoint, "make a directory of a running container" },
	{ "restore", cmd_restore, "make a container of such a directory, and let it go on" },
	{ "clone", cmd_clone, "make many containers of such a directory" },
	{ "update", cmd_update, "change the limits of a running container" },
	{ "events", cmd_events, "print statistics and out-of-memory events as JSON" },
	{ "image", cmd_image, "unpack OCI images, and keep them in a store" },
	{ "spec", cmd_spec, "write a config.json to begin with" },
	{ "check", cmd_check, "print what this host offers, and what to do about what is missing" },
	{ "features", cmd_features, "print what this hull can do, as OCI features JSON" },
	{ "help", cmd_help, "explain a command" },
};

struct globals {
	const char *log_level, *cgroup_manager, *rootless;
	bool systemd_cgroup, version, help, usage;
};

static void print_help(const struct option *options)
{
	printf("hull runs containers from OCI bundles and images.\n\n"
	       "Usage: hull [OPTIONS] COMMAND [ARGUMENTS]\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].help);
	printf("\nOptions:\n");
	options_help(options);
	printf("\nExamples:\n"
	       "  hull run --image oci:alpine:latest -it    run an image, with a terminal\n"
	       "  hull image unpack oci:alpine:latest box   make the bundle `box` from an image\n"
	       "  hull run -b box demo                      run it as the container `demo`\n"
	       "  hull exec -t demo sh                      look inside, from another terminal\n\n"
	       "`hull COMMAND --help` explains a command; `man hull` has the whole manual.\n");
}

static void print_version(void)
{
	const struct scmp_version *v = seccomp_version();

	printf("hull version " HULL_VERSION "\nspec: " OCI_VERSION "\n");
	if (v)
		printf("libseccomp: %u.%u.%u\n", v->major, v->minor, v->micro);
}

/* ---- shared by commands ------------------------------------------------------------------------------ */

/* command: NULL for the global options. */
static int wrong_option(const char *command, int r, struct error *err)
{
	const struct error inner = *err;

	return error_set(err, -r, "%s%s%s; see hull%s%s --help", command ? command : "",
			 command ? ": " : "", inner.text, command ? " " : "",
			 command ? command : "");
}

int wrong_usage(const struct usage *usage, const char *extra, struct error *err)
{
	if (extra)
		return error_set(
			err, EINVAL,
			"%s: `%.64s` is one argument too many; usage: hull %s [OPTIONS] %s",
			usage->command, extra, usage->command, usage->words);
	return error_set(err, EINVAL, "%s: an argument is missing; usage: hull %s [OPTIONS] %s",
			 usage->command, usage->command, usage->words);
}

int command_options(const struct usage *usage, const struct option *options, int argc, char **argv,
		    struct error *err)
{
	bool help = false;
	struct option all[64];
	size_t n = 0;
	int words, r;

	for (; options[n].name; n++)
		all[n] = options[n];
	all[n++] = (struct option){ "help", 'h', OPTION_FLAG, &help, NULL, "print this help" };
	all[n] = (struct option){ .name = NULL };
	r = options_parse(all, argc, argv, usage->max < 0, &words, err);
	if (r == 0 && help) {
		printf("Usage: hull %s [OPTIONS] %s\n\n%s\n\nOptions:\n", usage->command,
		       usage->words, usage->summary);
		options_help(all);
		if (usage->more)
			printf("\n%s\n", usage->more);
		return HELP_GIVEN;
	}
	if (r < 0)
		return wrong_option(usage->command, r, err);
	if (words < usage->min || (usage->max >= 0 && words > usage->max))
		return wrong_usage(usage, words < usage->min ? NULL : argv[usage->max], err);
	return words;
}

int command_begin(const struct context *ctx, const struct usage *usage,
		  const struct option *options, int argc, char **argv, unsigned begin,
		  struct store *store, struct error *err)
{
	int words = command_options(usage, options, argc, argv, err), r = 0;

	if (words < 0)
		return words;
	if (begin & BEGIN_ENTER)
		r = exe_ensure(ctx->original_argv, err);
	if (r == 0)
		r = store_open(store, ctx->root, begin & BEGIN_MAKE_STORE, err);
	return r < 0 ? r : words;
}

int program_failure_status(int r)
{
	return r == -ENOENT ? 127 : 126;
}

const char *user_name(struct user_name *name, unsigned uid)
{
	if (name->known && name->uid == uid)
		return name->text;
	*name = (struct user_name){ .known = true, .uid = uid };
	if (!process_user_name(uid, name->text, sizeof(name->text)))
		snprintf(name->text, sizeof(name->text), "%u", uid);
	return name->text;
}

/* ---- global options ------------------------------------------------------------------------------------ */

static int parse_level(const char *name, enum log_level *level, struct error *err)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	return error_set(err, EINVAL, "--log-level `%s`: must be error, warning, info or debug",
			 name);
}

static int configure_log(struct context *ctx, const struct globals *g, struct error *err)
{
	struct log_config config = { .fd = -1,
				     .level = ctx->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
				     .program = ctx->microvm ? "hull-vm" : "hull" };
	int r = g->log_level ? parse_level(g->log_level, &config.level, err) : 0;

	if (r < 0)
		return r;
	if (ctx->log_format && !strcmp(ctx->log_format, "json"))
		config.json = true;
	else if (ctx->log_format && strcmp(ctx->log_format, "text"))
		return error_set(err, EINVAL, "--log-format `%s`: must be text or json",
				 ctx->log_format);
	r = ctx->log ? log_open(&config, ctx->log, err) : 0;
	if (r < 0)
		return r;
	/* As with runc and crun: whoever asks for JSON and names no file reads standard error. */
	if (config.json && !ctx->log) {
		config.fd = STDERR_FILENO;
		config.quiet = true;
	}
	log_configure(&config);
	return 0;
}

/* What runc takes: a word of Go's strconv.ParseBool, or "auto". */
static int check_rootless(const char *value, struct error *err)
{
	static const char *const words[] = { "auto", "true", "false", "1",     "0",    "t",    "f",
					     "T",    "F",    "True",  "False", "TRUE", "FALSE" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!value || !strcmp(value, words[i]))
			return 0;
	return error_set(err, EINVAL, "--rootless `%s`: must be true, false or auto", value);
}

static int apply_globals(struct context *ctx, const struct globals *g, struct error *err)
{
	const char *manager = g->systemd_cgroup ? "systemd" : g->cgroup_manager;
	int r = configure_log(ctx, g, err);

	if (r == 0)
		r = check_rootless(g->rootless, err);

	if (r < 0 || !manager || !strcmp(manager, "cgroupfs"))
		return r;
	ctx->systemd_cgroup = !strcmp(manager, "systemd");
	if (ctx->systemd_cgroup)
		return 0;
	if (strcmp(manager, "disabled"))
		return error_set(err, EINVAL,
				 "--cgroup-manager `%s`: must be cgroupfs, systemd or disabled",
				 manager);
	ctx->without_cgroups = true;
	return 0;
}

static int dispatch(struct context *ctx, int argc, char **argv, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[0], commands[i].name))
			return commands[i].run(ctx, argc, argv, err);
	return error_set(err, EINVAL, "unknown command `%s`: see hull --help", argv[0]);
}

static int run(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct globals g = { .log_level = NULL };
	const struct option options[] = {
		{ "root", 0, OPTION_STRING, &ctx->root, "DIR",
		  "where state is kept (/run/hull; for users $XDG_RUNTIME_DIR/hull)" },
		{ "log", 0, OPTION_STRING, &ctx->log, "FILE",
		  "write errors and warnings also to FILE, journald:NAME or syslog:NAME" },
		{ "log-format", 0, OPTION_STRING, &ctx->log_format, "FORMAT",
		  "of the log: text or json" },
		{ "log-level", 0, OPTION_STRING, &g.log_level, "LEVEL",
		  "error, warning, info or debug" },
		{ "debug", 0, OPTION_FLAG, &ctx->debug, NULL, "same as --log-level debug" },
		{ "cgroup-manager", 0, OPTION_STRING, &g.cgroup_manager, "NAME",
		  "who makes cgroups: cgroupfs (hull itself), systemd, or disabled (nobody)" },
		{ "systemd-cgroup", 0, OPTION_FLAG, &g.systemd_cgroup, NULL,
		  "same as --cgroup-manager systemd" },
		{ "rootless", 0, OPTION_STRING, &g.rootless, "VALUE",
		  "true, false or auto: without effect, who calls decides" },
		{ "version", 'v', OPTION_FLAG, &g.version, NULL, "print versions" },
		{ "help", 'h', OPTION_FLAG, &g.help, NULL, "print this help" },
		{ "usage", 'V', OPTION_HIDDEN_FLAG, &g.usage, NULL, NULL },
		{ .name = NULL },
	};
	int words, r = options_parse(options, argc, argv, true, &words, err);

	if (r < 0)
		return wrong_option(NULL, r, err);
	if (g.version || g.usage) {
		print_version();
		return 0;
	}
	if (g.help || !words) {
		print_help(options);
		return g.help ? 0 : 1;
	}
	r = apply_globals(ctx, &g, err);
	return r < 0 ? r : dispatch(ctx, words, argv, err);
}

/* As with --help. */
static int cmd_help(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	const struct usage usage = { "help", "[COMMAND]", "Explain a command, or list them all.",
				     NULL,   0,           1 };
	int words = command_options(&usage, options, argc, argv, err);
	char *ask[] = { argv[0], (char *)(uintptr_t) "--help", NULL };

	if (words < 0)
		return words;
	return words ? dispatch(ctx, 2, ask, err) : run(ctx, 2, ask, err);
}

/* What a caller may have left behind: closed standard streams, whose numbers our files would get, SIGCHLD ignored, a limit. */
static void settle(void)
{
	int fd;

	do {
		fd = open("/dev/null",
			  O_RDWR); /* not close-on-exec where it becomes a standard stream */
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	signal(SIGCHLD, SIG_DFL);
	/* With a limit for files a write fails, and says so, and what was made is undone. */
	signal(SIGXFSZ, SIG_IGN);
}

int main(int argc, char **argv)
{
	const char *name = argc && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1
			   : argc                        ? argv[0]
							 : "hull";
	struct context ctx = { .microvm = !strcmp(name, "hull-vm"), .failure_status = 1 };
	struct error err = { 0 };
	char **copy = calloc((size_t)argc + 1, sizeof(char *));
	int r;

	if (!copy)
		return 1;
	settle();
	memcpy(copy, argv, (size_t)argc * sizeof(char *));
	ctx.original_argv = copy;
	r = run(&ctx, argc, argv, &err);
	free(copy);
	if (r == HELP_GIVEN)
		r = 0;
	if (r < 0) {
		log_error("%s",
			  err.code ? err.text : "failed without a reason (please report this)");
		return ctx.failure_status;
	}
	if (fflush(stdout) != 0)
		return 1;
	return r;
}
