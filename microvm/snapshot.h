/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine in a file: the state of its parts, one record after the other, then the pages of its memory.
 *
 *	a page		struct snapshot_header
 *	records		a tag, a length, so many bytes; a record may hold records
 *	extents		which pages of the memory are there; all others are zeroes
 *	pages		of the extents, one after the other, from the next page of the file on
 *
 * The header is written last: a file that has one is whole. Numbers are the processor's own. Who reads takes nothing on trust: lengths are
 * bounded, what a device is told is checked as if its driver had said it.
 *
 *     snapshot_begin(), what the parts put, snapshot_finish()
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
#define SNAPSHOT_VERSION     1u
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
};

struct snapshot_header {
	char magic[8];
	uint32_t version;
	uint32_t extents;
	uint64_t memory_size; /* bytes of the guest's memory */
	uint64_t state_size;  /* bytes of records */
};

struct snapshot_extent {
	uint64_t gpa, len; /* whole pages of one region */
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
/* Writes records and memory, which nobody changes meanwhile, to fd. */
int snapshot_finish(const struct snapshot *s, const struct guest_memory *memory, int fd,
		    struct error *err);

/* ---- reading ------------------------------------------------------------------------------- */

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
