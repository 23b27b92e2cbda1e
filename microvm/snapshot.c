/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots as files; see snapshot.h. */
#include "microvm/snapshot.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define STATE_START GUEST_PAGE_SIZE
#define GROWTH      (64u << 10)
/* Zeroes between pages that are not: so few are written, too. Each extent costs system calls, for ever after. */
#define GAP_MAX (8 * GUEST_PAGE_SIZE)

struct record {
	uint32_t tag, len;
};

/* ---- records ------------------------------------------------------------------------------- */

void snapshot_begin(struct snapshot *s)
{
	*s = (struct snapshot){ .fd = -EBADF };
}

static void append(struct snapshot *s, const void *data, size_t len)
{
	if (s->failed || len > SNAPSHOT_STATE_MAX - s->len) {
		s->failed = true;
		return;
	}
	if (len > s->size - s->len) {
		size_t size = s->len + len + GROWTH;
		uint8_t *more = realloc(s->data, size);

		if (!more) {
			s->failed = true;
			return;
		}
		s->data = more;
		s->size = size;
	}
	memcpy(s->data + s->len, data, len);
	s->len += len;
}

void snapshot_put(struct snapshot *s, enum snapshot_tag tag, const void *data, size_t len)
{
	const struct record record = { .tag = tag, .len = (uint32_t)len };

	append(s, &record, sizeof(record));
	append(s, data, len);
}

void snapshot_append(struct snapshot *s, const struct snapshot *records)
{
	s->failed = s->failed || records->failed;
	append(s, records->data, records->len);
}

size_t snapshot_enter(struct snapshot *s, enum snapshot_tag tag)
{
	size_t start = s->len;

	snapshot_put(s, tag, "", 0);
	return start;
}

void snapshot_leave(struct snapshot *s, size_t entered)
{
	struct record record;

	if (s->failed)
		return;
	memcpy(&record, s->data + entered, sizeof(record));
	record.len = (uint32_t)(s->len - entered - sizeof(record));
	memcpy(s->data + entered, &record, sizeof(record));
}

int snapshot_take(struct snapshot *s, enum snapshot_tag tag, const void **data, size_t *len,
		  struct error *err)
{
	struct record record;

	if (s->len - s->at < sizeof(record))
		return error_set(err, EBADMSG, "the snapshot ends before its record %u", tag);
	memcpy(&record, s->data + s->at, sizeof(record));
	if (record.tag != tag || record.len > s->len - s->at - sizeof(record))
		return error_set(err, EBADMSG, "the snapshot has something else for its record %u",
				 tag);
	*data = s->data + s->at + sizeof(record);
	*len = record.len;
	s->at += sizeof(record) + record.len;
	return 0;
}

int snapshot_get(struct snapshot *s, enum snapshot_tag tag, void *data, size_t len,
		 struct error *err)
{
	const void *from;
	size_t found;
	int r = snapshot_take(s, tag, &from, &found, err);

	if (r < 0)
		return r;
	if (found != len)
		return error_set(err, EBADMSG, "record %u of the snapshot has %zu bytes, not %zu",
				 tag, found, len);
	memcpy(data, from, len);
	return 0;
}

int snapshot_get_part(struct snapshot *s, enum snapshot_tag tag, struct snapshot *part,
		      struct error *err)
{
	const void *data;
	size_t len;
	int r = snapshot_take(s, tag, &data, &len, err);

	if (r == 0)
		*part = (struct snapshot){
			.data = s->data + ((const uint8_t *)data - s->data),
			.len = len,
			.fd = -EBADF,
		};
	return r;
}

/* ---- writing a file ------------------------------------------------------------------------ */

static int write_at(int fd, const void *data, size_t len, uint64_t at, struct error *err)
{
	int r = file_write_at(fd, data, len, (off_t)at);

	return r < 0 ? error_errno(err, -r, "write the snapshot") : 0;
}

struct extents {
	struct snapshot_extent *items;
	size_t count, limit; /* beyond which the last one grows, whatever lies between */
};

/* Pages come in ascending order; a region's first one never joins what is in the region before. */
static void add_page(struct extents *all, uint64_t gpa, bool first)
{
	struct snapshot_extent *last = all->count ? &all->items[all->count - 1] : NULL;

	if (last && !first &&
	    (gpa - (last->gpa + last->len) <= GAP_MAX || all->count == all->limit))
		last->len = gpa + GUEST_PAGE_SIZE - last->gpa;
	else
		all->items[all->count++] = (struct snapshot_extent){ gpa, GUEST_PAGE_SIZE };
}

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, GUEST_PAGE_SIZE - 1);
}

/* What was never touched is a hole in the memfd, and not looked at: that would give it a page. */
static int find_extents(const struct guest_memory *memory, const struct guest_region *region,
			struct extents *all, struct error *err)
{
	off_t end = (off_t)(region->offset + region->size), hole;
	bool first = true;
	off_t at = lseek(memory->fd, (off_t)region->offset, SEEK_DATA);

	while (at >= 0 && at < end) {
		hole = lseek(memory->fd, at, SEEK_HOLE);
		if (hole < 0)
			break;
		for (; at < hole && at < end; at += GUEST_PAGE_SIZE) {
			uint64_t within = (uint64_t)at - region->offset;

			if (is_zero(region->host + within))
				continue;
			add_page(all, region->gpa + within, first);
			first = false;
		}
		at = lseek(memory->fd, hole, SEEK_DATA);
	}
	if (at < 0 && errno != ENXIO)
		return error_errno(err, errno, "look through the guest's memory");
	return 0;
}

static uint64_t page_after(uint64_t at)
{
	return (at + GUEST_PAGE_SIZE - 1) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
}

static int write_pages(const struct guest_memory *memory, const struct extents *all, int fd,
		       uint64_t at, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < all->count; i++) {
		const struct snapshot_extent *extent = &all->items[i];

		r = write_at(fd, guest_memory_at(memory, extent->gpa, extent->len), extent->len, at,
			     err);
		at += extent->len;
	}
	return r;
}

int snapshot_finish(const struct snapshot *s, const struct guest_memory *memory, int fd,
		    struct error *err)
{
	struct snapshot_header header = { .magic = SNAPSHOT_MAGIC,
					  .version = SNAPSHOT_VERSION,
					  .memory_size = memory->size,
					  .state_size = s->len };
	struct extents all = { 0 };
	uint64_t list = STATE_START + s->len, pages;
	int r = 0;

	all.items = malloc(SNAPSHOT_EXTENTS_MAX * sizeof(*all.items));
	if (s->failed || !all.items)
		r = error_errno(err, ENOMEM, "keep the machine's state");
	else if (memory->fd < 0)
		r = error_set(err, ENOTSUP, "it was restored itself: its memory is not all here");
	for (unsigned i = 0; r == 0 && i < memory->region_count; i++) {
		all.limit = SNAPSHOT_EXTENTS_MAX / ARRAY_SIZE(memory->regions) * (i + 1);
		r = find_extents(memory, &memory->regions[i], &all, err);
	}
	pages = page_after(list + all.count * sizeof(*all.items));
	if (r == 0)
		r = write_pages(memory, &all, fd, pages, err);
	if (r == 0)
		r = write_at(fd, s->data, s->len, STATE_START, err);
	if (r == 0)
		r = write_at(fd, all.items, all.count * sizeof(*all.items), list, err);
	header.extents = (uint32_t)all.count;
	if (r == 0)
		r = write_at(fd, &header, sizeof(header), 0, err);
	free(all.items);
	return r;
}

/* ---- reading a file ------------------------------------------------------------------------ */

static int read_at(int fd, void *data, size_t len, uint64_t at, struct error *err)
{
	for (char *to = data; len;) {
		ssize_t n = pread(fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read the snapshot");
		if (n == 0)
			return error_set(err, EBADMSG, "the snapshot is cut off");
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int snapshot_open(struct snapshot *s, int fd, struct error *err)
{
	struct snapshot_header *h = &s->header;
	int r;

	*s = (struct snapshot){ .fd = fd };
	r = read_at(fd, h, sizeof(*h), 0, err);
	if (r < 0)
		return r;
	if (memcmp(h->magic, SNAPSHOT_MAGIC, sizeof(h->magic)) != 0)
		return error_set(err, EBADMSG,
				 "it is no snapshot of a machine, or not a whole one");
	if (h->version != SNAPSHOT_VERSION)
		return error_set(err, EBADMSG,
				 "the snapshot has version %u, and this hull reads %u", h->version,
				 SNAPSHOT_VERSION);
	if (h->state_size > SNAPSHOT_STATE_MAX || h->extents > SNAPSHOT_EXTENTS_MAX)
		return error_set(err, EBADMSG, "the snapshot says that it is larger than any");
	s->len = s->size = h->state_size;
	s->data = malloc(s->size ? s->size : 1);
	if (!s->data)
		return error_errno(err, ENOMEM, "read the snapshot");
	r = read_at(fd, s->data, s->len, STATE_START, err);
	if (r < 0)
		snapshot_close(s);
	return r;
}

/* An access to what is mapped of a file beyond its end would end the process. */
static int check_length(int fd, const struct snapshot_extent *items, uint32_t count, uint64_t at,
			struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "read the snapshot");
	for (uint32_t i = 0; i < count; i++) {
		if (items[i].len > INT64_MAX || (at += items[i].len) > (uint64_t)st.st_size)
			return error_set(err, EBADMSG, "the snapshot is cut off");
	}
	return 0;
}

static int map_extents(const struct snapshot *s, const struct guest_memory *memory,
		       struct snapshot_extent *items, struct error *err)
{
	size_t size = s->header.extents * sizeof(*items);
	uint64_t list = STATE_START + s->header.state_size, at = page_after(list + size);
	int r = read_at(s->fd, items, size, list, err);

	if (r == 0)
		r = check_length(s->fd, items, s->header.extents, at, err);
	for (uint32_t i = 0; r == 0 && i < s->header.extents; i++) {
		r = guest_memory_map(memory, items[i].gpa, s->fd, at, items[i].len, err);
		at += items[i].len;
	}
	return r;
}

int snapshot_map_memory(const struct snapshot *s, const struct guest_memory *memory,
			struct error *err)
{
	struct snapshot_extent *items;
	int r;

	if (memory->size != s->header.memory_size)
		return error_set(err, EINVAL,
				 "the snapshot is of a machine with %llu MiB of memory, not %llu",
				 (unsigned long long)s->header.memory_size >> 20,
				 (unsigned long long)memory->size >> 20);
	items = calloc(s->header.extents + 1U, sizeof(*items));
	r = items ? map_extents(s, memory, items, err) : error_errno(err, ENOMEM, "list the pages");
	free(items);
	return r < 0 ? error_wrap(err, "the snapshot's memory") : 0;
}

void snapshot_close(struct snapshot *s)
{
	free(s->data);
	s->data = NULL;
	s->len = s->size = s->at = 0;
}
