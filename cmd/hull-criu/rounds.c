/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rounds of a pre-copy: directories within the checkpoint's, "pre-copy-1" and so on, each with the memory that changed since the one
 * before. CRIU follows the links between them, which are no files and have no digest: they are what they must be.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "cmd/hull-criu/criu.h"
#include "sandbox/manifest.h"

#define ROUNDS_MAX 1000

unsigned rounds_number(const char *name)
{
	uint64_t number;

	return !strncmp(name, MANIFEST_ROUND, strlen(MANIFEST_ROUND)) &&
			       parse_u64(name + strlen(MANIFEST_ROUND), ROUNDS_MAX, &number)
		       ? (unsigned)number
		       : 0;
}

/* "" is that there is none. */
static int read_link(int dir, unsigned round, char *target, size_t size, struct error *err)
{
	char name[64];
	ssize_t n;

	snprintf(name, sizeof(name), MANIFEST_ROUND "%u/" PARENT_LINK, round);
	n = readlinkat(dir, name, target, size - 1);
	if (n < 0 && errno != ENOENT)
		return error_errno(err, errno, "read `%s`", name);
	target[n > 0 ? n : 0] = '\0';
	return 0;
}

int rounds_verify(int dir, const char *last, struct error *err)
{
	for (unsigned round = rounds_number(last); round; round--) {
		char target[64], expected[64] = "";
		int r = read_link(dir, round, target, sizeof(target), err);

		if (r < 0)
			return r;
		if (round > 1)
			snprintf(expected, sizeof(expected), "../" MANIFEST_ROUND "%u", round - 1);
		if (strcmp(target, expected) != 0)
			return error_set(err, EBADMSG,
					 "`" MANIFEST_ROUND "%u/" PARENT_LINK "` was altered",
					 round);
	}
	return 0;
}
