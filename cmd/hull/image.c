/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull image: done by a program of its own, which loads the libraries for archives and digests that
 * starting a container does not need.
 */
#include <limits.h>
#include <string.h>

#include "base/libexec.h"
#include "cmd/hull/command.h"

int cmd_image(struct context *ctx, int argc, char **argv, struct error *err)
{
	char path[PATH_MAX];
	char **args = calloc((size_t)argc + 8, sizeof(char *));
	int n = 0, r = libexec_path("hull-image", path, sizeof(path), err);

	if (!args)
		return error_errno(err, ENOMEM, "image");
	if (r == 0) {
		args[n++] = (char *)(uintptr_t) "hull-image";
		if (ctx->debug)
			args[n++] = (char *)(uintptr_t) "--debug";
		if (ctx->log) {
			args[n++] = (char *)(uintptr_t) "--log";
			args[n++] = (char *)(uintptr_t)ctx->log;
		}
		if (ctx->log_format) {
			args[n++] = (char *)(uintptr_t) "--log-format";
			args[n++] = (char *)(uintptr_t)ctx->log_format;
		}
		memcpy(args + n, argv + 1, (size_t)argc * sizeof(char *) - sizeof(char *));
		execv(path, args);
		r = error_errno(err, errno, "execute `%s`", path);
	}
	free(args);
	return r;
}
