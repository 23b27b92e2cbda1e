/* SPDX-License-Identifier: Apache-2.0 */
/* Where hull's helper programs are. */
#ifndef HULL_BASE_LIBEXEC_H
#define HULL_BASE_LIBEXEC_H

#include <stddef.h>

#include "base/error.h"

/*
 * The path of a helper program: in ../libexec/hull beside the directory of this program, installed and in the build alike;
 * where this program runs from a sealed copy, in the directory of the installation.
 */
int libexec_path(const char *name, char *path, size_t size, struct error *err);

#endif
