/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes across a list of buffers; see fs_iov.h. */
#include "microvm/fs_iov.h"

#include <stdint.h>
#include <string.h>

size_t fs_iov_size(const struct iovec *iov, unsigned count)
{
	size_t size = 0;

	for (unsigned i = 0; i < count; i++)
		size += iov[i].iov_len;
	return size;
}

static bool within(const struct iovec *iov, unsigned count, size_t offset, size_t len)
{
	size_t size = fs_iov_size(iov, count);

	return offset <= size && len <= size - offset;
}

/* The next piece of what is left at offset, which is then behind it. */
static size_t piece(const struct iovec **iov, size_t *offset, size_t left, uint8_t **at)
{
	size_t len;

	while (*offset >= (*iov)->iov_len) {
		*offset -= (*iov)->iov_len;
		(*iov)++;
	}
	len = (*iov)->iov_len - *offset;
	len = len < left ? len : left;
	*at = (uint8_t *)(*iov)->iov_base + *offset;
	*offset += len;
	return len;
}

bool fs_iov_read(const struct iovec *iov, unsigned count, size_t offset, void *to, size_t len)
{
	uint8_t *at, *next = to;

	if (!within(iov, count, offset, len))
		return false;
	while (len) {
		size_t n = piece(&iov, &offset, len, &at);

		memcpy(next, at, n);
		next += n;
		len -= n;
	}
	/* The compiler must not take the copy for as good as the original, and look at that once more. */
	__asm__ volatile("" : : "r"(to) : "memory");
	return true;
}

bool fs_iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *from,
		  size_t len)
{
	const uint8_t *next = from;
	uint8_t *at;

	if (!within(iov, count, offset, len))
		return false;
	while (len) {
		size_t n = piece(&iov, &offset, len, &at);

		memcpy(at, next, n);
		next += n;
		len -= n;
	}
	return true;
}

unsigned fs_iov_slice(const struct iovec *iov, unsigned count, size_t offset, size_t len,
		      struct iovec *out)
{
	unsigned used = 0;
	uint8_t *at;

	if (!within(iov, count, offset, len))
		return 0;
	while (len) {
		size_t n = piece(&iov, &offset, len, &at);

		out[used++] = (struct iovec){ at, n };
		len -= n;
	}
	return used;
}
