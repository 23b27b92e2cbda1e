/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of a snapshot, and its file as it is written; see snapshot.h. */
#include <assert.h>
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

	assert(pages->items);
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
			uint64_t from, uint64_t to, const struct run *run, struct error *err)
{
	off_t end = (off_t)(region->offset + to), hole, at;

	if (memory->fd < 0) {
		add_pages(run, region, from, to);
		return 0;
	}
	at = lseek(memory->fd, (off_t)(region->offset + from), SEEK_DATA);
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

static int write_extent(struct snapshot_pages *pages, const struct guest_memory *memory,
			const struct snapshot_extent *extent, uint64_t skip, struct error *err)
{
	uint64_t len = extent->len - skip;

	pages->written += len / GUEST_PAGE_SIZE;
	return write_at(pages->fd, guest_memory_at(memory, extent->gpa + skip, len), len,
			extent->at + skip, err);
}

/* The last extent, which is at the end of the file, may grow. */
static int write_not_zero(struct snapshot_pages *pages, const struct guest_memory *memory,
			  const struct guest_region *region, uint64_t to, struct error *err)
{
	const struct run run = { pages, pages->known,
				 SNAPSHOT_EXTENTS_MAX / ARRAY_SIZE(memory->regions) *
					 (pages->region + 1) };
	size_t first = pages->count > pages->known ? pages->count - 1 : pages->count;
	uint64_t skip = first < pages->count ? pages->items[first].len : 0;
	int r = find_extents(memory, region, pages->at, to, &run, err);

	for (size_t i = first; r == 0 && i < pages->count; i++, skip = 0)
		if (pages->items[i].len > skip)
			r = write_extent(pages, memory, &pages->items[i], skip, err);
	return r;
}

/* ---- pages that have changed since --------------------------------------------------------- */

/* The last known extent that begins at gpa or before; NULL: none does. */
static struct snapshot_extent *find_before(const struct snapshot_pages *pages, uint64_t gpa)
{
	size_t low = 0, high = pages->known;

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

static int write_zeroes(int fd, uint64_t len, uint64_t at, struct error *err)
{
	static const uint8_t zeroes[16 * GUEST_PAGE_SIZE];
	int r = 0;

	for (uint64_t some; r == 0 && len; len -= some, at += some) {
		some = len < sizeof(zeroes) ? len : sizeof(zeroes);
		r = write_at(fd, zeroes, some, at, err);
	}
	return r;
}

/* How much from gpa on is a hole in the memfd, or not: what the guest has given back is not to be touched. */
static uint64_t measure(const struct guest_memory *memory, uint64_t gpa, uint64_t len,
			bool *is_hole)
{
	const struct guest_region *region =
		&memory->regions[memory->region_count > 1 && gpa >= memory->regions[1].gpa];
	off_t at = (off_t)(region->offset + (gpa - region->gpa)), next;

	*is_hole = false;
	if (memory->fd < 0)
		return len;
	next = lseek(memory->fd, at, SEEK_DATA);
	*is_hole = next != at;
	if (*is_hole)
		return next < 0 || (uint64_t)(next - at) > len ? len : (uint64_t)(next - at);
	next = lseek(memory->fd, at, SEEK_HOLE);
	return next < 0 || (uint64_t)(next - at) > len ? len : (uint64_t)(next - at);
}

static int write_known(const struct snapshot_pages *pages, const struct guest_memory *memory,
		       uint64_t gpa, uint64_t len, uint64_t at, struct error *err)
{
	bool is_hole;
	int r = 0;

	for (uint64_t some; r == 0 && len; gpa += some, at += some, len -= some) {
		some = measure(memory, gpa, len, &is_hole);
		r = is_hole ? write_zeroes(pages->fd, some, at, err)
			    : write_at(pages->fd, guest_memory_at(memory, gpa, some), some, at,
				       err);
	}
	return r;
}

/* Behind the end of the file; of what is a hole there need be nothing. */
static int write_new(struct snapshot_pages *pages, const struct guest_memory *memory, uint64_t gpa,
		     uint64_t len, struct error *err)
{
	bool is_hole;
	int r = 0;

	for (uint64_t some; r == 0 && len; gpa += some, len -= some) {
		some = measure(memory, gpa, len, &is_hole);
		if (is_hole)
			continue;
		if (pages->count == SNAPSHOT_EXTENTS_MAX)
			return -E2BIG;
		r = write_at(pages->fd, guest_memory_at(memory, gpa, some), some, pages->end, err);
		pages->items[pages->count++] = (struct snapshot_extent){ gpa, some, pages->end };
		pages->end += some;
		pages->written += some / GUEST_PAGE_SIZE;
	}
	return r;
}

/* A run of changed pages, to where they are in the file or, what is not there yet, behind its end. */
static int write_run(struct snapshot_pages *pages, const struct guest_memory *memory, uint64_t gpa,
		     uint64_t len, struct error *err)
{
	const struct snapshot_extent *known_end = pages->items + pages->known;
	int r = 0;

	for (uint64_t some = len; r == 0 && len; gpa += some, len -= some) {
		const struct snapshot_extent *there = find_before(pages, gpa),
					     *next = there ? there + 1 : pages->items;

		some = len;
		if (there && gpa - there->gpa < there->len) {
			if (some > there->gpa + there->len - gpa)
				some = there->gpa + there->len - gpa;
			pages->written += some / GUEST_PAGE_SIZE;
			r = write_known(pages, memory, gpa, some, there->at + (gpa - there->gpa),
					err);
		} else {
			if (next < known_end && some > next->gpa - gpa)
				some = next->gpa - gpa;
			r = write_new(pages, memory, gpa, some, err);
		}
	}
	return r;
}

static int write_changed(struct snapshot_pages *pages, const struct guest_memory *memory,
			 const struct guest_region *region, uint64_t to, struct error *err)
{
	const uint64_t first = region->offset / GUEST_PAGE_SIZE, end = to / GUEST_PAGE_SIZE;
	uint64_t from = pages->at / GUEST_PAGE_SIZE;
	int r = 0;

	for (uint64_t page = from; r == 0 && page <= end; page++) {
		if (page < end && is_changed(pages->changed, first + page))
			continue;
		if (page > from)
			r = write_run(pages, memory, region->gpa + from * GUEST_PAGE_SIZE,
				      (page - from) * GUEST_PAGE_SIZE, err);
		from = page + 1;
	}
	return r;
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void begin(struct snapshot_pages *pages, const uint64_t *changed)
{
	pages->changed = changed;
	pages->region = 0;
	pages->at = 0;
	if (!changed) {
		pages->count = 0;
		pages->end = GUEST_PAGE_SIZE;
	}
	pages->known = pages->count;
}

void snapshot_pages_round(struct snapshot_pages *pages, const uint64_t *changed)
{
	pages->written = 0;
	begin(pages, pages->count ? changed : NULL);
}

int snapshot_pages_step(struct snapshot_pages *pages, const struct guest_memory *memory,
			uint64_t bytes, struct error *err)
{
	const struct guest_region *region = &memory->regions[pages->region];
	uint64_t left = region->size - pages->at, to = pages->at + (bytes < left ? bytes : left);
	int r = pages->changed ? write_changed(pages, memory, region, to, err)
			       : write_not_zero(pages, memory, region, to, err);

	/* Too much to and fro: all of it once more, in larger pieces. */
	if (r == -E2BIG && pages->changed) {
		begin(pages, NULL);
		return 1;
	}
	if (r < 0)
		return r;
	pages->at = to;
	if (to < region->size)
		return 1;
	pages->at = 0;
	if (!pages->changed)
		pages->known = pages->count;
	if (++pages->region < memory->region_count)
		return 1;
	qsort(pages->items, pages->count, sizeof(*pages->items), by_address);
	return 0;
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
