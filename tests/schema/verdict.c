/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says what hull makes of configurations, thousands a second: a JSON text a line on standard input, and for each a line on
 * standard output:
 *
 *	accept
 *	reject MESSAGE	the parser refuses it: it is no valid configuration
 *	refuse MESSAGE	it is one, but asks for what no container can have (sandbox/container_check.c)
 *
 * `hull run` makes the same two calls, in this order, before it makes anything.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "oci/config.h"
#include "sandbox/container.h"

static void judge(const char *text, size_t len)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	struct arena arena;

	arena_init(&arena, 0);
	if (oci_config_parse(text, len, &arena, &config, &err) < 0)
		printf("reject %s\n", err.text);
	else if (container_check(config, &err) < 0)
		printf("refuse %s\n", err.text);
	else
		puts("accept");
	arena_free(&arena);
}

int main(void)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	ssize_t len;

	while ((len = getline(&line, &size, stdin)) > 0)
		judge(line, (size_t)len);
	return ferror(stdin) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
