/* SPDX-License-Identifier: Apache-2.0 */
/* Where hull's helper programs are; see libexec.h. */
#include "base/libexec.h"

#include <limits.h>
#include <string.h>

#include "base/cleanup.h"

#ifndef HULL_LIBEXECDIR
#define HULL_LIBEXECDIR "/usr/local/libexec/hull"
#endif

int libexec_path(const char *name, char *path, size_t size, struct error *err)
{
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return error_set(
			err, errno,
			"`/proc` is not mounted on this host: mount -t proc proc /proc (our own "
			"program is found there)");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	if ((size_t)snprintf(path, size, "%s/../libexec/hull/%s", self, name) >= size)
		return error_errno(err, ENAMETOOLONG, "find %s", name);
	if (access(path, F_OK) < 0 && access(HULL_LIBEXECDIR, F_OK) == 0 &&
	    (size_t)snprintf(path, size, HULL_LIBEXECDIR "/%s", name) >= size)
		return error_errno(err, ENAMETOOLONG, "find %s", name);
	return 0;
}
