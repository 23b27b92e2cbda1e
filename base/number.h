/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers from text, strictly: the whole string, decimal digits only, in range. CVE-2026-30892 was
 * a user id taken from a string that was not parsed to its end.
 */
#ifndef HULL_BASE_NUMBER_H
#define HULL_BASE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* True and *value where s is an unsigned decimal number of at most max. No sign, no space, no prefix. */
bool parse_u64(const char *s, uint64_t max, uint64_t *value);

/* As parse_u64(), of the len bytes at s. */
bool parse_u64_n(const char *s, unsigned long len, uint64_t max, uint64_t *value);

/* As parse_u64(), with a "-" allowed in front. */
bool parse_i64(const char *s, int64_t *value);

/* A size of at most max bytes: a number, and perhaps one of k, m, g, t (KiB and so on) or b behind it, in either case. */
bool parse_size(const char *s, uint64_t max, uint64_t *bytes);

/* Fills hex with that many random hexadecimal digits, an even number of at most 64, and a NUL. -EIO. */
int random_hex(char *hex, size_t digits, struct error *err);

/*
 * Sets the bits that a list of numbers and ranges as "0-3,7" names; blanks may stand around each. bits is the caller's,
 * zeroed, with room for count of them. False where it is no such list, or has a number of count or more.
 */
bool parse_list(const char *s, unsigned long *bits, size_t count);

#endif
