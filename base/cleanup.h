/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership in C: every resource has a _cleanup_ form that releases it when the variable goes out
 * of scope, and take_fd()/take_ptr() show the place where ownership moves on.
 */
#ifndef HULL_BASE_CLEANUP_H
#define HULL_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

/* Closes *fd where it is open; errno is kept, so that a return of -errno stays right. */
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* A descriptor variable starts at -EBADF, so that a mistaken use of it fails loudly. */
#define _cleanup_close_    __attribute__((cleanup(cleanup_close)))
#define _cleanup_free_     __attribute__((cleanup(cleanup_free)))
#define _cleanup_fclose_   __attribute__((cleanup(cleanup_fclose)))
#define _cleanup_closedir_ __attribute__((cleanup(cleanup_closedir)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

static inline void close_fd(int *fd)
{
	cleanup_close(fd);
	*fd = -EBADF;
}

#define take_ptr(p)                         \
	({                                  \
		__typeof__(p) _taken = (p); \
		(p) = NULL;                 \
		_taken;                     \
	})

#define ARRAY_SIZE(a)       (sizeof(a) / sizeof((a)[0]))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _unused_            __attribute__((unused))

#endif
