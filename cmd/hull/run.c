/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull run: of a bundle, or of an image. Images are the business of another program, hull-image, which this one executes: it
 * makes a bundle for this one container, and hands over the root file system as a mount that is attached nowhere, so that
 * nothing of it is to be seen on the host, and it ends with its last user.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>

#include "base/bundle_reply.h"
#include "base/libexec.h"
#include "base/message.h"
#include "base/number.h"
#include "base/path.h"
#include "base/process.h"
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

/* ---- asking hull-image ---------------------------------------------------------------------- */

struct words {
	char **argv;
	size_t argc, size;
	struct arena arena;
};

static void add_word(struct words *w, char *word)
{
	/* The last stays NULL; a failure leaves argc behind size. */
	if (word && w->argc + 1 < w->size)
		w->argv[w->argc++] = word;
	else
		w->size = 0;
}

static void add_option(struct words *w, const char *name, const char *value)
{
	add_word(w, value ? arena_printf(&w->arena, "--%s=%s", name, value)
			  : arena_printf(&w->arena, "--%s", name));
}

static int make_words(const struct run *run, const char *state, int reply, int user_ns,
		      char **command, int count, struct words *w, struct error *err)
{
	const struct context *ctx = run->ctx;

	w->size = run->passed.len + (size_t)count + 16;
	w->argv = arena_array(&w->arena, w->size, sizeof(*w->argv));
	if (!w->argv)
		return error_errno(err, ENOMEM, "run hull-image");
	add_word(w, arena_strdup(&w->arena, "hull-image"));
	add_word(w, arena_strdup(&w->arena, "bundle"));
	if (ctx->debug)
		add_option(w, "debug", NULL);
	if (ctx->log)
		add_option(w, "log", ctx->log);
	if (ctx->log_format)
		add_option(w, "log-format", ctx->log_format);
	add_word(w, arena_printf(&w->arena, "--reply=%d", reply));
	if (user_ns >= 0)
		add_word(w, arena_printf(&w->arena, "--user-namespace=%d", user_ns));
	add_option(w, "state", state);
	add_option(w, "name", run->name);
	if (run->tty)
		add_option(w, "tty", NULL);
	for (size_t i = 0; i < run->passed.len; i++)
		add_option(w, run->passed.items[i].name, run->passed.items[i].value);
	add_word(w, arena_strdup(&w->arena, "--"));
	add_word(w, arena_strdup(&w->arena, run->image));
	for (int i = 0; i < count; i++)
		add_word(w, command[i]);
	return w->size ? 0 : error_errno(err, ENOMEM, "run hull-image");
}

/* It gets its end of the pair as the number that it was told, and none of our other descriptors. */
static int spawn(char **argv, int reply, pid_t *pid, struct error *err)
{
	posix_spawn_file_actions_t actions;
	char path[PATH_MAX];
	int r = libexec_path("hull-image", path, sizeof(path), err);

	if (r < 0)
		return r;
	if (posix_spawn_file_actions_init(&actions) != 0)
		return error_errno(err, ENOMEM, "run hull-image");
	/* Onto itself: what is left is that it is no longer close-on-exec. */
	r = posix_spawn_file_actions_adddup2(&actions, reply, reply);
	if (r == 0)
		r = posix_spawn(pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r ? error_errno(err, r, "execute `%s`", path) : 0;
}

/* What hull-image made for us. */
struct made {
	char bundle[PATH_MAX];
	int tree, claim;
	int user_ns; /* an ordinary user's: the number by which the configuration knows it is reserved first */
};

static int take_reply(struct message *m, const char *payload, struct made *made, struct error *err)
{
	if (m->type == BUNDLE_FAILED && m->len == sizeof(struct error)) {
		struct error why;

		memcpy(&why, payload, sizeof(why));
		why.text[sizeof(why.text) - 1] = '\0';
		return error_set(err, why.code > 0 ? why.code : EIO, "run: %s", why.text);
	}
	if (m->type != BUNDLE_READY || m->fd_count != (made->user_ns < 0 ? 2 : 3) ||
	    m->len >= sizeof(made->bundle))
		return error_set(err, EPROTO, "run: hull-image is not of this version of hull");
	memcpy(made->bundle, payload, m->len);
	made->bundle[m->len] = '\0';
	made->tree = take_fd(&m->fds[0]);
	made->claim = take_fd(&m->fds[1]);
	if (made->user_ns >= 0 && dup3(m->fds[2], made->user_ns, O_CLOEXEC) < 0)
		return error_errno(err, errno, "hold the user namespace");
	return 0;
}

static int receive(int sock, struct made *made, struct error *err)
{
	struct message m = { .fd_count = 0 };
	char payload[PATH_MAX];
	int r;

	_Static_assert(sizeof(payload) >= sizeof(struct error), "either fits");
	r = message_receive(sock, &m, payload, sizeof(payload), err);
	if (r >= 0)
		r = take_reply(&m, payload, made, err);
	for (unsigned i = 0; i < m.fd_count; i++)
		close_fd(&m.fds[i]);
	return r;
}

static int make_bundle(const struct run *run, const char *state, char **command, int count,
		       struct made *made, struct error *err)
{
	_cleanup_close_ int mine = -EBADF, its = -EBADF;
	struct words words = { .argc = 0 };
	int pair[2] = { -EBADF, -EBADF }, status = 0, r;
	pid_t pid = 0;

	r = message_pair(pair, err);
	if (r < 0)
		return r;
	mine = pair[0];
	its = pair[1];
	arena_init(&words.arena, 0);
	r = make_words(run, state, its, made->user_ns, command, count, &words, err);
	if (r >= 0)
		r = spawn(words.argv, its, &pid, err);
	arena_free(&words.arena);
	close_fd(&its);
	if (r < 0)
		return r;
	r = receive(mine, made, err);
	if (process_wait(pid, &status) == 0 && r == -EPIPE)
		return error_set(err, EINTR, "run: hull-image ended with status %d",
				 process_exit_status(status));
	return r;
}

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

static int run_made(struct run *run, const struct store *store, struct made *made,
		    struct error *err)
{
	struct error second = { 0 };
	int r = run->interactive || run->tty ? 0 : close_input(err);

	run->runtime.create.bundle = made->bundle;
	run->runtime.create.own_root = made->tree;
	if (r >= 0)
		r = runtime_run(store, run->name, &run->runtime, err);
	run->runtime.create.bundle = NULL;
	/* A container that could not be made, or of another with this id: nobody else knows of the bundle. */
	if (r < 0 && !run->runtime.created && bundle_remove(made->bundle, &second) < 0)
		error_wrap(err, "%s; and", second.text);
	return r;
}

static int run_image(struct run *run, const struct store *store, int words, char **argv,
		     struct error *err)
{
	struct made made = { .tree = -EBADF, .claim = -EBADF, .user_ns = -EBADF };
	_cleanup_free_ char *state = NULL, *root = NULL;
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
	/* For hull-image, and for whoever asks later, from another directory. */
	root = realpath(store->path, NULL);
	if (!root)
		return error_errno(err, errno, "state directory `%s`", store->path);
	if (asprintf(&state, "%s/%s", root, run->name) < 0)
		return error_errno(err, ENOMEM, "run");
	/* A container of an ordinary user's joins the namespace that its files belong to; a machine has files without one. */
	if (geteuid() != 0 && !is_microvm(run)) {
		made.user_ns = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (made.user_ns < 0)
			return error_errno(err, errno, "open `/dev/null`");
	}
	r = make_bundle(run, state, argv + used, words - used, &made, err);
	if (r >= 0)
		r = run_made(run, store, &made, err);
	close_fd(&made.tree);
	close_fd(&made.claim);
	close_fd(&made.user_ns);
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
