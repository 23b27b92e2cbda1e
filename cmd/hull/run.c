/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull run: of a bundle, or of an image, of which hull-image makes a bundle (bundle.h).
 */
#include <fcntl.h>
#include <string.h>

#include "base/number.h"
#include "base/path.h"
#include "cmd/hull/bundle.h"
#include "cmd/hull/create.h"
#include "sandbox/bundle.h"

#define ID_DIGITS 12

struct run {
	struct context *ctx;
	struct runtime_run runtime;
	const char *image, *name;
	char random_name[ID_DIGITS + 1];
	bool interactive, tty, rm;
	struct option_passed passed; /* to hull-image */
};

/* ---- running ---------------------------------------------------------------------------------- */

/*
 * Without -i a workload's input is at its end, as with podman: a script's input is the script's. Nor may it be read by way of a
 * terminal that is the output.
 */
static int close_input(struct error *err)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return error_errno(err, errno, "close the standard input");
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		_cleanup_close_ int again = -EBADF;

		if (!isatty(fd))
			continue;
		again = open(path_of_fd(fd).s, O_WRONLY | O_NOCTTY | O_CLOEXEC);
		/* A terminal of somebody else's, of sudo's caller say, stays as it is. */
		if (again >= 0 && dup2(again, fd) < 0)
			return error_errno(err, errno, "open the terminal for writing");
	}
	return 0;
}

static bool is_passed(const struct run *run, const char *name, const char *value)
{
	for (size_t i = 0; i < run->passed.len; i++)
		if (!strcmp(run->passed.items[i].name, name) && run->passed.items[i].value &&
		    !strcmp(run->passed.items[i].value, value))
			return true;
	return false;
}

static bool is_microvm(const struct run *run)
{
	const struct runtime_create *c = &run->runtime.create;

	return c->sandbox ? !strcmp(c->sandbox, "microvm") : c->prefer_microvm;
}

static int check_image_options(const struct run *run, struct error *err)
{
	const struct runtime_run *r = &run->runtime;

	if (is_microvm(run) && is_passed(run, "network", "host"))
		return error_set(
			err, ENOTSUP,
			"run: option --network host: a microVM has a network of its own; use "
			"--sandbox container");

	if (is_microvm(run) && is_passed(run, "userns", "auto"))
		return error_set(err, ENOTSUP,
				 "run: option --userns auto: a microVM's ids are its own already");
	if (r->create.bundle || r->create.config)
		return error_set(err, EINVAL,
				 "run: option --image makes a bundle and a configuration: --bundle "
				 "and --config cannot be given, too");
	if (run->rm && (r->detach || r->keep))
		return error_set(err, EINVAL, "run: option --rm cannot be given with --%s: %s",
				 r->keep ? "keep" : "detach",
				 r->keep ? "they say the opposite"
					 : "nobody would be there to delete it; use hull delete");
	return 0;
}

static bool exists(const struct store *store, const char *id)
{
	_cleanup_close_ int dir = store_peek(store, id, NULL);

	return dir >= 0;
}

static int run_made(struct run *run, const struct store *store, struct bundle_made *made,
		    struct error *err)
{
	struct error second = { 0 };
	int r = run->interactive || run->tty ? 0 : close_input(err);

	run->runtime.create.bundle = made->path;
	run->runtime.create.own_root = made->tree;
	if (r >= 0)
		r = runtime_run(store, run->name, &run->runtime, err);
	run->runtime.create.bundle = NULL;
	/* A container that could not be made, or of another with this id: nobody else knows of the bundle. */
	if (r < 0 && !run->runtime.created && bundle_remove(made->path, &second) < 0)
		error_wrap(err, "%s; and", second.text);
	return r;
}

static int run_image(struct run *run, const struct store *store, int words, char **argv,
		     struct error *err)
{
	struct bundle_made made = { .tree = -EBADF, .claim = -EBADF, .user_ns = -EBADF };
	struct bundle_order order;
	int used = 0, r = check_image_options(run, err);

	if (r >= 0 && !run->name && words)
		run->name = argv[used++];
	if (r >= 0 && !run->name) {
		r = random_hex(run->random_name, ID_DIGITS, err);
		run->name = run->random_name;
	}
	if (r >= 0)
		r = store_check_id(run->name, err);
	/* Before anything is fetched; that somebody is faster is found out later. */
	if (r >= 0 && exists(store, run->name))
		r = error_set(err, EEXIST, "container `%s` exists already", run->name);
	if (r < 0)
		return r;
	/* A container of an ordinary user's joins the namespace that its files belong to; a machine has files without one. */
	if (geteuid() != 0 && !is_microvm(run)) {
		made.user_ns = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (made.user_ns < 0)
			return error_errno(err, errno, "open `/dev/null`");
	}
	order = (struct bundle_order){ .id = run->name,
				       .image = run->image,
				       .passed = &run->passed,
				       .tty = run->tty,
				       .command = argv + used,
				       .command_len = words - used };
	r = bundle_make(run->ctx, store, &order, &made, err);
	if (r < 0)
		error_wrap(err, "run");
	else
		r = run_made(run, store, &made, err);
	bundle_close(&made);
	return r;
}

/* The first word ends the options where an image is run: what follows is the workload's. */
static bool names_image(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--image") || !strncmp(argv[i], "--image=", 8))
			return true;
	return false;
}

#define PASS(name, letter, argument, help)                                \
	{                                                                 \
		name, letter, OPTION_PASS_ON, &run.passed, argument, help \
	}

int cmd_run(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct run run = { .ctx = ctx,
			   .runtime.create = { .prefer_microvm = ctx->microvm,
					       .without_cgroups = ctx->without_cgroups,
					       .systemd_cgroup = ctx->systemd_cgroup } };
	const struct option options[] = {
		{ "detach", 'd', OPTION_FLAG, &run.runtime.detach, NULL,
		  "return once the workload runs" },
		{ "keep", 0, OPTION_FLAG, &run.runtime.keep, NULL,
		  "do not delete the container when it has ended" },
		CREATE_OPTIONS(&run.runtime.create),
		{ "no-subreaper", 0, OPTION_FLAG, &run.runtime.no_subreaper, NULL,
		  "do not adopt orphans of the container" },
		{ "image", 0, OPTION_STRING, &run.image, "IMAGE",
		  "run an image: a name that `hull image list` shows, or what `hull image pull`\n"
		  "                              takes, as docker://HOST/NAME:TAG; the options below are for images" },
		{ "name", 0, OPTION_STRING, &run.name, "ID",
		  "the container's id (default: the first word, or a random one)" },
		{ "rm", 0, OPTION_FLAG, &run.rm, NULL,
		  "delete the container when it has ended (the default)" },
		{ "interactive", 'i', OPTION_FLAG, &run.interactive, NULL,
		  "give the workload our standard input" },
		{ "tty", 't', OPTION_FLAG, &run.tty, NULL, "give it a terminal" },
		PASS("env", 'e', "NAME[=VALUE]", "set a variable, or pass ours on"),
		PASS("env-file", 0, "FILE", "the same for each line of FILE"),
		PASS("volume", 'v', "SOURCE:DEST[:OPTIONS]",
		     "mount a directory or file of the host's (ro, noexec, …)"),
		PASS("tmpfs", 0, "DEST[:OPTIONS]", "mount a tmpfs"),
		PASS("workdir", 'w', "DIR", "the working directory"),
		PASS("user", 'u', "USER[:GROUP]", "names are looked up in the image"),
		PASS("entrypoint", 0, "PROGRAM", "run PROGRAM in the place of the image's"),
		PASS("hostname", 0, "NAME", "the host name (default: the id)"),
		PASS("memory", 0, "SIZE", "limit memory (b, k, m, g)"),
		PASS("cpus", 0, "N", "limit processor time, as 1.5"),
		PASS("pids-limit", 0, "N", "limit processes and threads"),
		{ "read-only", 0, OPTION_PASS_ON_FLAG, &run.passed, NULL,
		  "make the root file system read-only; /run, /tmp and /var/tmp are not" },
		PASS("network", 0, "NETWORK", "none (default): the loopback device only; or host"),
		PASS("cap-add", 0, "CAPABILITY", "add one to the usual capabilities, or ALL"),
		PASS("cap-drop", 0, "CAPABILITY", "take one away, or ALL"),
		PASS("security-opt", 0, "OPTION",
		     "no-new-privileges, seccomp=unconfined or seccomp=FILE"),
		PASS("userns", 0, "USERNS",
		     "host (default), or auto: ids that no other of the store has"),
		PASS("annotation", 0, "KEY=VALUE", "add an annotation"),
		PASS("pull", 0, "WHEN", "missing (default), always or never"),
		{ "plain-http", 0, OPTION_PASS_ON_FLAG, &run.passed, NULL,
		  "speak to the registry without TLS" },
		PASS("store", 0, "DIR", "the image store"),
		{ "quiet", 'q', OPTION_PASS_ON_FLAG, &run.passed, NULL, "print no progress" },
		{ .name = NULL },
	};
	const bool image = names_image(argc, argv);
	const struct usage usage = {
		"run",
		image ? "--image IMAGE [ID] [COMMAND…]" : "ID, or --image IMAGE [ID] [COMMAND…]",
		"Create a container from a bundle or an image, start it, wait for its end and delete it. The\n"
		"exit status is the workload's; 128+n where signal n ended it; 127 where its program does not\n"
		"exist.",
		"Examples:\n"
		"  hull image unpack oci:alpine box && hull run -b box demo\n"
		"  hull run --image docker://localhost:5000/alpine demo echo hello\n"
		"  hull run --image alpine --name demo -it -v ./src:/src --memory 256m sh",
		image ? 0 : 1,
		image ? -1 : 1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_MAKE_STORE | BEGIN_ENTER,
			      &store, err);

	if (r < 0)
		return r;
	if (image != (run.image != NULL))
		return error_set(err, EINVAL, "run: option --image must stand before the id");
	if (!image && (run.passed.len || run.name || run.interactive || run.tty || run.rm))
		return error_set(err, EINVAL, "run: option --%s is for images: give --image, too",
				 run.passed.len    ? run.passed.items[0].name
				 : run.name        ? "name"
				 : run.interactive ? "interactive"
				 : run.tty         ? "tty"
						   : "rm");
	r = image ? run_image(&run, &store, r, argv, err)
		  : runtime_run(&store, argv[0], &run.runtime, err);
	if (run.runtime.exec_failed)
		ctx->failure_status = program_failure_status(r);
	return r < 0 ? r : run.runtime.exit_status;
}
