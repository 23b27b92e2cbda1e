/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the parser of config.json: no input may break it, and what it accepts must print as a text
 * that it accepts again and prints alike.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const char *text, size_t len, struct arena *arena, struct oci_config **config)
{
	struct error err = { 0 };
	int r = oci_config_parse(text, len, arena, config, &err);

	/* An error has a message of one line. */
	if (r < 0 && (err.code != -r || !err.text[0] || strchr(err.text, '\n')))
		abort();
	return r;
}

static void print(const struct oci_config *config, struct strbuf *out)
{
	if (oci_config_print(config, out, NULL) < 0)
		abort();
}

static void check_printing(const struct oci_config *config, struct arena *arena)
{
	struct strbuf first = { 0 }, second = { 0 };
	struct oci_config *again;

	print(config, &first);
	if (parse(first.data, first.len, arena, &again) < 0)
		abort();
	print(again, &second);
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	strbuf_free(&first);
	strbuf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_config *config;
	struct oci_process *process;
	struct oci_resources *resources;
	struct arena arena;

	arena_init(&arena, 0);
	if (parse((const char *)data, size, &arena, &config) == 0)
		check_printing(config, &arena);
	oci_process_parse((const char *)data, size, &arena, &process, NULL);
	oci_resources_parse((const char *)data, size, &arena, &resources, NULL);
	arena_free(&arena);
	return 0;
}
