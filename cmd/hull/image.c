/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull image: done by a program of its own, which loads the libraries for archives and digests that
 * starting a container does not need.
 */
#include <limits.h>
#include <string.h>

#include "cmd/hull/command.h"

/* Programs of hull's own lie in ../libexec/hull beside the directory of this one, installed and in the build alike. */
static int helper_path(const char *name, char *path, size_t size, struct error *err)
{
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return error_errno(err, errno, "find our own program");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	if ((size_t)snprintf(path, size, "%s/../libexec/hull/%s", self, name) >= size)
		return error_errno(err, ENAMETOOLONG, "find %s", name);
	return 0;
}

int cmd_image(struct context *ctx, int argc, char **argv, struct error *err)
{
	char path[PATH_MAX];
	char **args = calloc((size_t)argc + 8, sizeof(char *));
	int n = 0, r = helper_path("hull-image", path, sizeof(path), err);

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
