/* SPDX-License-Identifier: Apache-2.0 */
/* Directories for unit tests; see unit.h. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

int unit_make_dir(char *path, size_t size)
{
	const char *base = getenv("TMPDIR");
	int fd;

	snprintf(path, size, "%s/hull-unit.XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(path));
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void unit_remove_dir(int fd, const char *path)
{
	close(fd);
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
}
