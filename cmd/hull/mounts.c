/* SPDX-License-Identifier: Apache-2.0 */
/* hull mounts add, hull mounts remove. */
#include <string.h>

#include "cmd/hull/command.h"

int cmd_mounts(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	const struct usage usage = {
		"mounts",
		"add|remove ID FILE",
		"Add mounts to a running container, or unmount what is on their destinations. FILE is a JSON\n"
		"array of mounts as in config.json; - is standard input.",
		"Example:\n"
		"  echo '[{\"destination\": \"/data\", \"source\": \"/srv/data\", \"options\": [\"rbind\", \"ro\"]}]' |\n"
		"    hull mounts add demo -",
		3,
		3
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_ENTER, &store, err);

	if (r < 0)
		return r;
	if (strcmp(argv[0], "add") && strcmp(argv[0], "remove"))
		return error_set(err, EINVAL, "mounts: `%.64s` is neither add nor remove", argv[0]);
	return runtime_mount(&store, argv[1], argv[2], !strcmp(argv[0], "add"), err);
}
