/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing whole small files through directory descriptors, with bounds. */
#ifndef HULL_BASE_FILE_H
#define HULL_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Reads the whole of what fd holds, at most max bytes (a larger file: -EFBIG), into a new buffer
 * with a NUL after its end. *data is the caller's to free(). Returns the length.
 */
ssize_t file_read_fd(int fd, size_t max, char **data, struct error *err);

/* As file_read_fd(), of the file at path under dirfd (AT_FDCWD for the working directory). */
ssize_t file_read(int dirfd, const char *path, size_t max, char **data, struct error *err);

/*
 * Reads at most size - 1 bytes of a small file (procfs, sysfs, cgroupfs) into buf, without trailing
 * newlines, NUL-terminated. Returns the length. Longer content is -EFBIG.
 */
ssize_t file_read_small(int dirfd, const char *path, char *buf, size_t size, struct error *err);

/* Writes all of data in as few calls as the kernel allows. 0, or a negative errno without a message. */
int file_write_all(int fd, const void *data, size_t len);

/* The same at an offset; the file's own position stays. */
int file_write_at(int fd, const void *data, size_t len, off_t offset);

/* Opens an existing file (procfs, cgroupfs) for writing and writes text in one write(2), as those demand. */
int file_write_existing(int dirfd, const char *path, const char *text, struct error *err);

/*
 * Replaces the file name in the directory dirfd at once: readers see the old content or the new,
 * also after a crash of the process. mode: of the new file.
 */
int file_replace(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
		 struct error *err);

#endif
