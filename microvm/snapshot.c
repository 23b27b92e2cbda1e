/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a snapshot, and its file as it is read; see snapshot.h. */
#include "microvm/snapshot.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define GROWTH (64u << 10)

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

int snapshot_read_header(int fd, struct snapshot_header *h, struct error *err)
{
	int r = read_at(fd, h, sizeof(*h), 0, err);

	if (r < 0)
		return r;
	if (memcmp(h->magic, SNAPSHOT_MAGIC, sizeof(h->magic)) != 0)
		return error_set(err, EBADMSG,
				 "it is no snapshot of a machine, or not a whole one");
	if (h->version != SNAPSHOT_VERSION)
		return error_set(err, EBADMSG,
				 "the snapshot has version %u, and this hull reads %u", h->version,
				 SNAPSHOT_VERSION);
	if (h->state_size > SNAPSHOT_STATE_MAX || h->extents > SNAPSHOT_EXTENTS_MAX ||
	    h->state_at > INT64_MAX / 2)
		return error_set(err, EBADMSG, "the snapshot says that it is larger than any");
	return 0;
}

int snapshot_open(struct snapshot *s, int fd, struct error *err)
{
	int r;

	*s = (struct snapshot){ .fd = fd };
	r = snapshot_read_header(fd, &s->header, err);
	if (r < 0)
		return r;
	s->len = s->size = s->header.state_size;
	s->data = malloc(s->size ? s->size : 1);
	if (!s->data)
		return error_errno(err, ENOMEM, "read the snapshot");
	r = read_at(fd, s->data, s->len, s->header.state_at, err);
	if (r < 0)
		snapshot_close(s);
	return r;
}

/* An access to what is mapped of a file beyond its end would end the process. */
static int check_extents(int fd, const struct snapshot_extent *items, uint32_t count,
			 struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "read the snapshot");
	for (uint32_t i = 0; i < count; i++) {
		uint64_t size = (uint64_t)st.st_size;

		if (items[i].at > size || items[i].len > size - items[i].at)
			return error_set(err, EBADMSG, "the snapshot is cut off");
		if (items[i].at % GUEST_PAGE_SIZE)
			return error_set(err, EBADMSG,
					 "the snapshot's list of pages makes no sense");
	}
	return 0;
}

static int map_extents(const struct snapshot *s, const struct guest_memory *memory,
		       struct snapshot_extent *items, struct error *err)
{
	int r = read_at(s->fd, items, s->header.extents * sizeof(*items),
			s->header.state_at + s->header.state_size, err);

	if (r == 0)
		r = check_extents(s->fd, items, s->header.extents, err);
	for (uint32_t i = 0; r == 0 && i < s->header.extents; i++)
		r = guest_memory_map(memory, items[i].gpa, s->fd, items[i].at, items[i].len, err);
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
