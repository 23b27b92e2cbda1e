/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes across a list of buffers, which are the guest's and may change at any moment: what is checked is read once. */
#ifndef HULL_MICROVM_FS_IOV_H
#define HULL_MICROVM_FS_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* The bytes of all buffers. */
size_t fs_iov_size(const struct iovec *iov, unsigned count);

/* Copies len bytes from or to offset; false, and nothing copied, where the buffers are shorter. */
bool fs_iov_read(const struct iovec *iov, unsigned count, size_t offset, void *to, size_t len);
bool fs_iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *from,
		  size_t len);

/* The part [offset, offset + len) as a list of its own, of at most count elements: how many they are; 0 where it is empty or not all there. */
unsigned fs_iov_slice(const struct iovec *iov, unsigned count, size_t offset, size_t len,
		      struct iovec *out);

#endif
