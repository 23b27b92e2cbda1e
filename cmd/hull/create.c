/* SPDX-License-Identifier: Apache-2.0 */
/* hull create, run and start. */
#include "cmd/hull/command.h"

#define CREATE_OPTIONS(o)                                                                           \
	{ "bundle",     'b',   OPTION_STRING,                                                       \
	  &(o)->bundle, "DIR", "the bundle (default: the working directory)" },                     \
		{ "config",     'f',    OPTION_STRING,                                              \
		  &(o)->config, "FILE", "the configuration (default: config.json in the bundle)" }, \
		{ "sandbox",                                                                        \
		  0,                                                                                \
		  OPTION_STRING,                                                                    \
		  &(o)->sandbox,                                                                    \
		  "KIND",                                                                           \
		  "the isolation: container, or microvm: a virtual machine of its own" },           \
		{ "console-socket",     0,      OPTION_STRING,                                      \
		  &(o)->console_socket, "PATH", "a Unix socket that receives the terminal" },       \
		{ "pid-file",     0,      OPTION_STRING,                                            \
		  &(o)->pid_file, "FILE", "write the process id of the container's init to FILE" }, \
		{ "pidfd-socket", 0,                                                                \
		  OPTION_STRING,  &(o)->pidfd_socket,                                               \
		  "PATH",         "a Unix socket that receives a pidfd of the init process" },      \
		{ "preserve-fds",     0,   OPTION_UNSIGNED,                                         \
		  &(o)->preserve_fds, "N", "pass on N more descriptors, from 3 on" },               \
		{ "no-pivot",     0,    OPTION_FLAG,                                                \
		  &(o)->no_pivot, NULL, "do not use pivot_root (for hosts on an initramfs)" },      \
	{                                                                                           \
		"no-new-keyring", 0, OPTION_FLAG, &(o)->no_new_keyring, NULL,                       \
			"keep the caller's session keyring"                                         \
	}

int cmd_create(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_create o = { .prefer_microvm = ctx->microvm,
				    .without_cgroups = ctx->without_cgroups,
				    .systemd_cgroup = ctx->systemd_cgroup };
	bool ignored;
	const struct option options[] = {
		CREATE_OPTIONS(&o),
		{ "no-subreaper", 0, OPTION_HIDDEN_FLAG, &ignored, NULL, NULL },
		{ .name = NULL },
	};
	const struct usage usage = {
		"create",
		"ID",
		"Create a container from a bundle. It is set up completely and waits for `hull start`.",
		NULL,
		1,
		1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_MAKE_STORE | BEGIN_ENTER,
			      &store, err);

	return r < 0 ? r : runtime_create(&store, argv[0], &o, NULL, err);
}

int cmd_run(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_run run = { .create = { .prefer_microvm = ctx->microvm,
					       .without_cgroups = ctx->without_cgroups,
					       .systemd_cgroup = ctx->systemd_cgroup } };
	const struct option options[] = {
		{ "detach", 'd', OPTION_FLAG, &run.detach, NULL, "return once the workload runs" },
		{ "keep", 0, OPTION_FLAG, &run.keep, NULL,
		  "do not delete the container when it has ended" },
		CREATE_OPTIONS(&run.create),
		{ "no-subreaper", 0, OPTION_FLAG, &run.no_subreaper, NULL,
		  "do not adopt orphans of the container" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"run",
		"ID",
		"Create a container from a bundle, start it, wait for its end and delete it. The exit status\n"
		"is the workload's; 128+n where signal n ended it; 127 where its program does not exist.",
		"Example:\n  hull image unpack oci:alpine box && hull run -b box demo",
		1,
		1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_MAKE_STORE | BEGIN_ENTER,
			      &store, err);

	if (r < 0)
		return r;
	r = runtime_run(&store, argv[0], &run, err);
	if (run.exec_failed)
		ctx->failure_status = program_failure_status(r);
	return r < 0 ? r : run.exit_status;
}

int cmd_start(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	const struct usage usage = { "start", "ID", "Start a container that `hull create` made.",
				     NULL,    1,    1 };
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);

	return r < 0 ? r : runtime_start(&store, argv[0], NULL, err);
}
