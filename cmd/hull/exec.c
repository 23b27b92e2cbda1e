/* SPDX-License-Identifier: Apache-2.0 */
/* hull exec. */
#include <string.h>

#include "cmd/hull/command.h"

/* Of an exec that was none: commands rarely end with it, as they do with 1. Also runc's. */
#define FAILURE_STATUS 255

int cmd_exec(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_exec e = { .process_file = NULL };
	struct option_strings env = { .len = 0 }, caps = { .len = 0 }, gids = { .len = 0 };
	struct option_strings cgroups = { .len = 0 };
	const struct option options[] = {
		{ "tty", 't', OPTION_FLAG, &e.tty, NULL, "give the process a terminal" },
		{ "detach", 'd', OPTION_FLAG, &e.detach, NULL, "return once the process runs" },
		{ "user", 'u', OPTION_STRING, &e.user, "UID[:GID]", "the user, in numbers" },
		{ "additional-gids", 'g', OPTION_STRINGS, &gids, "GID,…",
		  "supplementary groups, in numbers" },
		{ "cwd", 0, OPTION_STRING, &e.cwd, "DIR",
		  "the working directory in the container" },
		{ "env", 'e', OPTION_STRINGS, &env, "NAME=VALUE",
		  "set a variable (can be repeated)" },
		{ "cap", 'c', OPTION_STRINGS, &caps, "CAP_NAME",
		  "add a capability (can be repeated)" },
		{ "no-new-privs", 0, OPTION_FLAG, &e.no_new_privs, NULL, "set no_new_privs" },
		{ "process", 'p', OPTION_STRING, &e.process_file, "FILE",
		  "the whole process as an OCI process object in JSON" },
		{ "process-label", 0, OPTION_STRING, &e.process_label, "LABEL",
		  "the SELinux label" },
		{ "apparmor", 0, OPTION_STRING, &e.apparmor, "PROFILE", "the AppArmor profile" },
		{ "cgroup", 0, OPTION_STRINGS, &cgroups, "[CONTROLLER,…:]PATH",
		  "a cgroup below the container's own" },
		{ "console-socket", 0, OPTION_STRING, &e.console_socket, "PATH",
		  "a Unix socket that receives the terminal" },
		{ "pid-file", 0, OPTION_STRING, &e.pid_file, "FILE",
		  "write the process id to FILE" },
		{ "pidfd-socket", 0, OPTION_STRING, &e.pidfd_socket, "PATH",
		  "a Unix socket that receives a pidfd of the process" },
		{ "preserve-fds", 0, OPTION_UNSIGNED, &e.preserve_fds, "N",
		  "pass on N more descriptors, from 3 on" },
		{ "ignore-paused", 0, OPTION_FLAG, &e.ignore_paused, NULL,
		  "also in a paused container: it runs after resume" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"exec",
		"ID COMMAND [ARG…]  or  hull exec [OPTIONS] --process FILE ID",
		"Run another process in a running container. The exit status is the process'; 128+n where\n"
		"signal n ended it; 127 where its program does not exist.",
		"Example:\n  hull exec -t demo sh",
		1,
		-1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r;

	ctx->failure_status = FAILURE_STATUS;
	r = command_begin(ctx, &usage, options, argc, argv, BEGIN_ENTER, &store, err);
	if (r < 0)
		return r;
	if (!e.process_file && r < 2)
		return wrong_usage(&usage, NULL, err);
	e.args = (const char *const *)(argv + 1 + (r > 1 && !strcmp(argv[1], "--")));
	e.env = env.items;
	e.cgroups = cgroups.items;
	e.additional_gids = gids.items;
	e.capabilities = caps.items;
	r = runtime_exec(&store, argv[0], &e, err);
	if (e.exec_failed)
		ctx->failure_status = program_failure_status(r);
	return r < 0 ? r : e.exit_status;
}
