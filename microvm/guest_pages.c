/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of the guest's memory as the host sees them: which of them a device wrote, and giving them back. Offsets are
 * those of the memfd: in it the regions lie one after the other, without the hole.
 */
#include <fcntl.h>

#include "microvm/guest_memory.h"

int guest_memory_track(struct guest_memory *memory, struct error *err)
{
	uint64_t *dirty = calloc(guest_memory_dirty_words(memory), sizeof(*dirty));

	if (!dirty)
		return error_errno(err, ENOMEM, "track the guest's memory");
	free(memory->dirty);
	memory->dirty = dirty;
	return 0;
}

static void mark(const struct guest_memory *memory, uint64_t offset, uint64_t len)
{
	uint64_t last = (offset + len - 1) / GUEST_PAGE_SIZE;

	for (uint64_t page = offset / GUEST_PAGE_SIZE; page <= last; page++)
		__atomic_fetch_or(&memory->dirty[page / 64], UINT64_C(1) << page % 64,
				  __ATOMIC_RELAXED);
}

void guest_memory_wrote(const struct guest_memory *memory, const void *host, uint64_t len)
{
	uintptr_t at = (uintptr_t)host;

	if (!memory->dirty || !len)
		return;
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uintptr_t start = (uintptr_t)region->host;

		if (at >= start && at - start < region->size)
			mark(memory, region->offset + (at - start), len);
	}
}

void guest_memory_take_dirty(const struct guest_memory *memory, uint64_t *words)
{
	for (size_t i = 0; i < guest_memory_dirty_words(memory); i++)
		words[i] |= __atomic_exchange_n(&memory->dirty[i], 0, __ATOMIC_RELAXED);
}

int guest_memory_discard(const struct guest_memory *memory, uint64_t gpa, uint64_t len)
{
	void *host = guest_memory_at(memory, gpa, len);

	if (!host)
		return -EFAULT;
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];

		if (gpa < region->gpa || gpa - region->gpa >= region->size)
			continue;
		if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(region->offset + (gpa - region->gpa)), (off_t)len) < 0)
			return -errno;
	}
	guest_memory_wrote(memory, host, len);
	return 0;
}
