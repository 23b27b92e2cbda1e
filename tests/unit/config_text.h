/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations in tests: members are written with ' for ", and stand in a configuration that is
 * valid otherwise.
 */
#ifndef HULL_TESTS_UNIT_CONFIG_TEXT_H
#define HULL_TESTS_UNIT_CONFIG_TEXT_H

#include "oci/config.h"

/* The three texts in a row, with " for each '; the caller frees. */
char *json_of(const char *before, const char *snippet, const char *after);

/* Makes the arena and parses `{"ociVersion": "1.2.0", <members>}` into it. */
int parse_config(const char *members, struct arena *arena, struct oci_config **config,
		 struct error *err);

/* The same, where anything but success, or but -EINVAL with that message, fails the test. */
struct oci_config *must_parse(const char *members, struct arena *arena);
void must_accept(const char *members);
void must_refuse(const char *members, const char *message);

#endif
