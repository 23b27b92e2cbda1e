/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of a snapshot, and its file as it is written; see snapshot.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "microvm/snapshot.h"

/* Zeroes between pages that are not: so few are written, too. Each extent costs system calls, for ever after. */
#define GAP_MAX (8 * GUEST_PAGE_SIZE)

static int write_at(int fd, const void *data, size_t len, uint64_t at, struct error *err)
{
	int r = file_write_at(fd, data, len, (off_t)at);

	return r < 0 ? error_errno(err, -r, "write the snapshot") : 0;
}

int snapshot_pages_begin(struct snapshot_pages *pages, int fd, struct error *err)
{
	*pages = (struct snapshot_pages){ .fd = fd, .end = GUEST_PAGE_SIZE };
	pages->items = malloc(SNAPSHOT_EXTENTS_MAX * sizeof(*pages->items));
	return pages->items ? 0 : error_errno(err, ENOMEM, "list the guest's memory");
}

void snapshot_pages_free(struct snapshot_pages *pages)
{
	free(pages->items);
	pages->items = NULL;
	pages->count = 0;
}

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, GUEST_PAGE_SIZE - 1);
}

/* Pages of one region in ascending order become extents, which may have some zeroes in them; those of another region none of these joins. */
struct run {
	struct snapshot_pages *pages;
	size_t first,
		limit; /* of this region: from here on; beyond the limit the last one grows, whatever lies between */
};

static void add_page(const struct run *run, uint64_t gpa)
{
	struct snapshot_pages *pages = run->pages;
	struct snapshot_extent *last =
		pages->count > run->first ? &pages->items[pages->count - 1] : NULL;
	uint64_t grown = last ? gpa + GUEST_PAGE_SIZE - last->gpa : 0;

	if (last && (gpa - (last->gpa + last->len) <= GAP_MAX || pages->count == run->limit)) {
		pages->end += grown - last->len;
		last->len = grown;
	} else {
		pages->items[pages->count++] =
			(struct snapshot_extent){ gpa, GUEST_PAGE_SIZE, pages->end };
		pages->end += GUEST_PAGE_SIZE;
	}
}

static void add_pages(const struct run *run, const struct guest_region *region, uint64_t from,
		      uint64_t to)
{
	for (uint64_t at = from; at < to; at += GUEST_PAGE_SIZE)
		if (!is_zero(region->host + at))
			add_page(run, region->gpa + at);
}

/* What was never touched is a hole in the memfd, and not looked at: that would give it a page. (Private memory has zeroes for all to read.) */
static int find_extents(const struct guest_memory *memory, const struct guest_region *region,
			const struct run *run, struct error *err)
{
	off_t end = (off_t)(region->offset + region->size), hole, at;

	if (memory->fd < 0) {
		add_pages(run, region, 0, region->size);
		return 0;
	}
	at = lseek(memory->fd, (off_t)region->offset, SEEK_DATA);
	while (at >= 0 && at < end) {
		hole = lseek(memory->fd, at, SEEK_HOLE);
		if (hole < 0)
			break;
		add_pages(run, region, (uint64_t)at - region->offset,
			  (uint64_t)(hole < end ? hole : end) - region->offset);
		at = lseek(memory->fd, hole, SEEK_DATA);
	}
	if (at < 0 && errno != ENXIO)
		return error_errno(err, errno, "look through the guest's memory");
	return 0;
}

static int write_all(struct snapshot_pages *pages, const struct guest_memory *memory,
		     struct error *err)
{
	int r = 0;

	pages->count = 0;
	pages->end = GUEST_PAGE_SIZE;
	for (unsigned i = 0; r == 0 && i < memory->region_count; i++) {
		const struct run run = { pages, pages->count,
					 SNAPSHOT_EXTENTS_MAX / ARRAY_SIZE(memory->regions) *
						 (i + 1) };

		r = find_extents(memory, &memory->regions[i], &run, err);
	}
	for (size_t i = 0; r == 0 && i < pages->count; i++) {
		const struct snapshot_extent *extent = &pages->items[i];

		r = write_at(pages->fd, guest_memory_at(memory, extent->gpa, extent->len),
			     extent->len, extent->at, err);
		pages->written += extent->len / GUEST_PAGE_SIZE;
	}
	return r;
}

/* ---- pages that have changed since --------------------------------------------------------- */

/* The last extent that begins at gpa or before; NULL: none does. */
static struct snapshot_extent *find_before(const struct snapshot_pages *pages, size_t count,
					   uint64_t gpa)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (pages->items[middle].gpa <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &pages->items[low - 1] : NULL;
}

static int by_address(const void *a, const void *b)
{
	uint64_t x = ((const struct snapshot_extent *)a)->gpa,
		 y = ((const struct snapshot_extent *)b)->gpa;

	return x < y ? -1 : x > y;
}

static bool is_changed(const uint64_t *changed, uint64_t page)
{
	return changed[page / 64] >> page % 64 & 1;
}

/* A run of changed pages, to where they are in the file or, what is not there yet, behind its end. The known ones are the first `known`. */
static int write_run(struct snapshot_pages *pages, const struct guest_memory *memory, size_t known,
		     uint64_t gpa, uint64_t len, struct error *err)
{
	int r = 0;

	pages->written += len / GUEST_PAGE_SIZE;
	while (r == 0 && len) {
		const struct snapshot_extent *there = find_before(pages, known, gpa),
					     *next = there ? there + 1 : pages->items;
		uint64_t some = len, at;

		if (there && gpa - there->gpa < there->len) {
			if (some > there->gpa + there->len - gpa)
				some = there->gpa + there->len - gpa;
			at = there->at + (gpa - there->gpa);
		} else {
			if (next < pages->items + known && some > next->gpa - gpa)
				some = next->gpa - gpa;
			if (pages->count == SNAPSHOT_EXTENTS_MAX)
				return -E2BIG;
			at = pages->end;
			pages->items[pages->count++] = (struct snapshot_extent){ gpa, some, at };
			pages->end += some;
		}
		r = write_at(pages->fd, guest_memory_at(memory, gpa, some), some, at, err);
		gpa += some;
		len -= some;
	}
	return r;
}

static int write_changed(struct snapshot_pages *pages, const struct guest_memory *memory,
			 const uint64_t *changed, struct error *err)
{
	const size_t known = pages->count;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uint64_t first = region->offset / GUEST_PAGE_SIZE,
			 count = region->size / GUEST_PAGE_SIZE, from = 0;

		for (uint64_t page = 0; r == 0 && page <= count; page++) {
			if (page < count && is_changed(changed, first + page))
				continue;
			if (page > from)
				r = write_run(pages, memory, known,
					      region->gpa + from * GUEST_PAGE_SIZE,
					      (page - from) * GUEST_PAGE_SIZE, err);
			from = page + 1;
		}
	}
	qsort(pages->items, pages->count, sizeof(*pages->items), by_address);
	return r;
}

int snapshot_pages_write(struct snapshot_pages *pages, const struct guest_memory *memory,
			 const uint64_t *changed, struct error *err)
{
	int r;

	pages->written = 0;
	if (!changed || !pages->count)
		return write_all(pages, memory, err);
	r = write_changed(pages, memory, changed, err);
	/* Too much to and fro: all of it once more, in larger pieces. */
	return r == -E2BIG ? write_all(pages, memory, err) : r;
}

int snapshot_finish(const struct snapshot *s, const struct snapshot_pages *pages,
		    const struct snapshot_header *machine, struct error *err)
{
	struct snapshot_header header = *machine;
	int r;

	if (s->failed)
		return error_errno(err, ENOMEM, "keep the machine's state");
	memcpy(header.magic, SNAPSHOT_MAGIC, sizeof(header.magic));
	header.version = SNAPSHOT_VERSION;
	header.extents = (uint32_t)pages->count;
	header.state_at = pages->end;
	header.state_size = s->len;
	r = write_at(pages->fd, s->data, s->len, pages->end, err);
	if (r == 0)
		r = write_at(pages->fd, pages->items, pages->count * sizeof(*pages->items),
			     pages->end + s->len, err);
	return r < 0 ? r : write_at(pages->fd, &header, sizeof(header), 0, err);
}
