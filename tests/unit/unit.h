/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes: cmocka with the headers that it needs first, and a directory to work in. */
#ifndef HULL_TESTS_UNIT_UNIT_H
#define HULL_TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs all of the above */

/*
 * Makes a directory below $TMPDIR and returns an O_PATH descriptor of it; path (of size bytes)
 * receives its name. Fails the test where it cannot.
 */
int unit_make_dir(char *path, size_t size);

/* Removes such a directory with all that is in it, and closes fd. */
void unit_remove_dir(int fd, const char *path);

#endif
