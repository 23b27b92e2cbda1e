/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of the guest's memory as the host sees them: which of them a device wrote, and giving them back. Offsets are
 * those of the memfd: in it the regions lie one after the other, without the hole.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/guest_memory.h"

/* Where in the memfd host is. */
static bool find_offset(const struct guest_memory *memory, const void *host, uint64_t *offset)
{
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uintptr_t at = (uintptr_t)host - (uintptr_t)region->host;

		if (at < region->size) {
			*offset = region->offset + at;
			return true;
		}
	}
	return false;
}

int guest_memory_discard(const struct guest_memory *memory, void *host, uint64_t len)
{
	const uint64_t mask = GUEST_PAGE_SIZE - 1;
	uint64_t at, start, end;

	if (!find_offset(memory, host, &at))
		return -EFAULT;
	end = (at + len) & ~mask;
	start = (at + mask) & ~mask;
	if (start >= end)
		return 0;
	/* Of what was mapped from a file, that is to be seen again: the guest gave it up, whatever it holds. */
	if (memory->fd < 0) {
		uint8_t *page = (uint8_t *)host + (start - at);

		return madvise(page, end - start, MADV_DONTNEED) < 0 ? -errno : 0;
	}
	if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
		      (off_t)(end - start)) < 0)
		return -errno;
	guest_memory_wrote(memory, host, len);
	return 0;
}

/* ---- which pages were written ---------------------------------------------------------------- */

static size_t dirty_bytes(const struct guest_memory *memory)
{
	return guest_memory_dirty_words(memory) * sizeof(*memory->dirty);
}

static int map_dirty(struct guest_memory *memory, int fd, struct error *err)
{
	void *map = mmap(NULL, dirty_bytes(memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	memory->dirty_fd = fd;
	if (map == MAP_FAILED) {
		guest_memory_untrack(memory);
		return error_errno(err, errno, "track the guest's memory");
	}
	memory->dirty_map = map;
	return 0;
}

int guest_memory_prepare_track(struct guest_memory *memory, struct error *err)
{
	int fd = memfd_create("dirty pages", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	guest_memory_untrack(memory);
	if (fd < 0 || ftruncate(fd, (off_t)dirty_bytes(memory)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		close_fd(&fd);
		return error_errno(err, errno, "track the guest's memory");
	}
	return map_dirty(memory, fd, err);
}

int guest_memory_share_track(struct guest_memory *memory, int fd, struct error *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	guest_memory_untrack(memory);
	/* Who could shrink it would have us killed by SIGBUS. */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
	    (uint64_t)st.st_size < dirty_bytes(memory)) {
		close_fd(&fd);
		return error_set(err, EINVAL, "the bitmap of dirty pages is not one");
	}
	return map_dirty(memory, fd, err);
}

void guest_memory_track(struct guest_memory *memory)
{
	memory->dirty = memory->dirty_map;
}

void guest_memory_untrack(struct guest_memory *memory)
{
	memory->dirty = NULL;
	if (memory->dirty_map)
		munmap(memory->dirty_map, dirty_bytes(memory));
	memory->dirty_map = NULL;
	if (memory->dirty_fd > 0)
		close_fd(&memory->dirty_fd);
	memory->dirty_fd = 0;
}

static void mark(const struct guest_memory *memory, uint64_t offset, uint64_t len)
{
	uint64_t page = offset / GUEST_PAGE_SIZE, end = (offset + len - 1) / GUEST_PAGE_SIZE + 1;

	while (page < end) {
		uint64_t bit = page % 64, count = end - page < 64 - bit ? end - page : 64 - bit;

		__atomic_fetch_or(&memory->dirty[page / 64],
				  (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << bit,
				  __ATOMIC_RELAXED);
		page += count;
	}
}

void guest_memory_wrote(const struct guest_memory *memory, const void *host, uint64_t len)
{
	uint64_t offset;

	if (memory->dirty && len && find_offset(memory, host, &offset))
		mark(memory, offset, len);
}

void guest_memory_take_dirty(const struct guest_memory *memory, uint64_t *words)
{
	for (size_t i = 0; i < guest_memory_dirty_words(memory); i++)
		words[i] |= __atomic_exchange_n(&memory->dirty[i], 0, __ATOMIC_RELAXED);
}
