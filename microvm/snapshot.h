/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine in a file: the pages of its memory, then the state of its parts, one record after the other.
 *
 *	a page		struct snapshot_header
 *	pages		of the guest's memory
 *	records		a tag, a length, so many bytes; a record may hold records
 *	extents		where which pages of the memory are; all others are zeroes
 *
 * Pages come first, so that they can be written while the machine runs, and written again where it changed them; the header is written
 * last: a file that has one is whole. Numbers are the processor's own. Who reads takes nothing on trust: lengths are
 * bounded, what a device is told is checked as if its driver had said it.
 *
 *     snapshot_pages_begin(), one or more rounds; snapshot_begin(), what the parts put; snapshot_finish()
 *     snapshot_open(), what the parts get, snapshot_map_memory(), snapshot_close()
 */
#ifndef HULL_MICROVM_SNAPSHOT_H
#define HULL_MICROVM_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "microvm/guest_memory.h"

#define SNAPSHOT_MAGIC       "hull-vm"
#define SNAPSHOT_VERSION     2u
#define SNAPSHOT_STATE_MAX   (4u << 20) /* bytes of records */
#define SNAPSHOT_EXTENTS_MAX (1u << 14) /* a process may have so many mappings, and more */

enum snapshot_tag {
	SNAPSHOT_MACHINE = 1,
	SNAPSHOT_CLOCK,
	SNAPSHOT_INTERRUPTS, /* of each controller */
	SNAPSHOT_VCPU,       /* records: */
	SNAPSHOT_CPUID,
	SNAPSHOT_REGISTERS,
	SNAPSHOT_MSRS,
	SNAPSHOT_SERIAL,
	SNAPSHOT_DEVICE, /* records: */
	SNAPSHOT_VIRTIO, /* what all devices have */
	SNAPSHOT_OWN,    /* what this one has */
	SNAPSHOT_CONNECTION,
	SNAPSHOT_BYTES,    /* that are on their way */
	SNAPSHOT_WORKLOAD, /* of whoever runs the machine (struct vmm_hooks): records */
};

struct snapshot_header {
	char magic[8];
	uint32_t version;
	uint32_t extents;
	uint64_t memory_size; /* bytes of the guest's memory */
	uint64_t state_at;    /* where in the file the records begin */
	uint64_t state_size;  /* bytes of records; behind them are the extents */
	uint32_t cpus, cards; /* what a machine must have that goes on from here */
};

struct snapshot_extent {
	uint64_t gpa, len; /* whole pages of one region */
	uint64_t at;       /* in the file */
};

/* Pages that are in a file, or come there. */
struct snapshot_pages {
	int fd;
	struct snapshot_extent *items; /* by address */
	size_t count;
	uint64_t end;     /* of the file */
	uint64_t written; /* pages, in this round */
	/* Of the round that is under way. */
	const uint64_t *changed; /* NULL: all that is not zero */
	size_t known; /* extents that there were before; or, of all, before this region */
	unsigned region;
	uint64_t at; /* within the region */
};

/* Records that are written or read. A record that is read may be read as records, which lie in the same memory. */
struct snapshot {
	uint8_t *data;
	size_t len, size; /* bytes in data; of memory */
	size_t at;        /* where the next record to be read is */
	bool failed;      /* there was no memory for a record */
	/* Of one that was opened. */
	int fd;
	struct snapshot_header header;
};

/* ---- writing: into a file that is empty ---------------------------------------------------- */

void snapshot_begin(struct snapshot *s);
void snapshot_put(struct snapshot *s, enum snapshot_tag tag, const void *data, size_t len);
/* Begins a record that holds records; returns what snapshot_leave() ends it with. */
size_t snapshot_enter(struct snapshot *s, enum snapshot_tag tag);
void snapshot_leave(struct snapshot *s, size_t entered);
/* Puts the records of another one behind. */
void snapshot_append(struct snapshot *s, const struct snapshot *records);

/* Begins with an empty file, which stays the caller's. Freed by snapshot_pages_free(). */
int snapshot_pages_begin(struct snapshot_pages *pages, int fd, struct error *err);
/*
 * A round writes pages of the memory: those of changed (a bitmap as guest_memory_take_dirty() has it, which stays until the round is over), or, with
 * NULL and at first, all that are not zero. What is changed meanwhile must be written again. Each step looks at so many bytes, and says
 * 1 where there is more to do, and 0 at the end.
 */
void snapshot_pages_round(struct snapshot_pages *pages, const uint64_t *changed);
int snapshot_pages_step(struct snapshot_pages *pages, const struct guest_memory *memory,
			uint64_t bytes, struct error *err);
void snapshot_pages_free(struct snapshot_pages *pages);
#define _cleanup_snapshot_pages_ __attribute__((cleanup(snapshot_pages_free)))

/* Writes the records behind the pages, all of which are written, and the header. machine: of the header, memory_size, cpus and cards. */
int snapshot_finish(const struct snapshot *s, const struct snapshot_pages *pages,
		    const struct snapshot_header *machine, struct error *err);

/* ---- reading ------------------------------------------------------------------------------- */

/* Reads and checks the header alone. */
int snapshot_read_header(int fd, struct snapshot_header *header, struct error *err);

/* Reads the records of a whole file. fd stays the caller's, and open for snapshot_map_memory(). */
int snapshot_open(struct snapshot *s, int fd, struct error *err);
/* The next record, which must be of this tag and length. */
int snapshot_get(struct snapshot *s, enum snapshot_tag tag, void *data, size_t len,
		 struct error *err);
/* The next record's data, which stay the snapshot's, and their length. */
int snapshot_take(struct snapshot *s, enum snapshot_tag tag, const void **data, size_t *len,
		  struct error *err);
/* The next record as records. */
int snapshot_get_part(struct snapshot *s, enum snapshot_tag tag, struct snapshot *part,
		      struct error *err);
/*
 * Maps the pages into memory, which is new, private (guest_memory_create_private()) and of the same size. The file must stay as it is as
 * long as that is used.
 */
int snapshot_map_memory(const struct snapshot *s, const struct guest_memory *memory,
			struct error *err);

/* Frees what was written or read. */
void snapshot_close(struct snapshot *s);
#define _cleanup_snapshot_ __attribute__((cleanup(snapshot_close)))

#endif
