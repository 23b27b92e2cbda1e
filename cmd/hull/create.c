/* SPDX-License-Identifier: Apache-2.0 */
/* hull create and start. */
#include "cmd/hull/create.h"

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

int cmd_start(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	const struct usage usage = { "start", "ID", "Start a container that `hull create` made.",
				     NULL,    1,    1 };
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);

	return r < 0 ? r : runtime_start(&store, argv[0], NULL, err);
}
