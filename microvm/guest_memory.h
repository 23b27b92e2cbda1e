/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's physical memory: one memfd, mapped shared, in one or two regions around the hole below 4 GiB in which devices
 * live. A process that gets the memfd maps the same memory.
 *
 * All that is in it is the guest's and may change at any moment, from another processor: whoever looks at a value twice
 * may see two. So what is checked is copied first (guest_memory_read()), and addresses become pointers only here, for their
 * whole length.
 */
#ifndef HULL_MICROVM_GUEST_MEMORY_H
#define HULL_MICROVM_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define GUEST_HOLE_START UINT64_C(0xc0000000)  /* RAM ends here at the latest, */
#define GUEST_HOLE_END   UINT64_C(0x100000000) /* and goes on there */
#define GUEST_PAGE_SIZE  4096u

struct guest_region {
	uint64_t gpa;    /* guest-physical address of its first byte */
	uint64_t size;   /* bytes */
	uint64_t offset; /* in the memfd */
	uint8_t *host;   /* where it is mapped here */
	void *reserved; /* the address space that it has: with a page around it which nobody may touch */
	size_t reserved_size;
};

struct guest_memory {
	int fd;        /* -EBADF: it is private */
	uint64_t size; /* bytes of all regions */
	struct guest_region regions[2];
	unsigned region_count;
	uint64_t *dirty;     /* which pages were written; NULL: nobody wants to know */
	uint64_t *dirty_map; /* the same, once it is prepared */
	int dirty_fd;        /* a memfd of it; 0: none */
};

/* Makes size bytes (a multiple of the page size) of zeroed memory and maps it. Nothing is touched yet. */
int guest_memory_create(struct guest_memory *memory, uint64_t size, struct error *err);

/*
 * The same as memory of this process alone (fd is -EBADF), into which the pages of a file can be mapped: those that are only read
 * are shared with all who map them.
 */
int guest_memory_create_private(struct guest_memory *memory, uint64_t size, struct error *err);
/*
 * Puts len bytes at offset of a file at gpa; all three whole pages. The file must never become shorter, or the next access ends the process. What
 * is written to them is this memory's own.
 */
int guest_memory_map(const struct guest_memory *memory, uint64_t gpa, int fd, uint64_t offset,
		     uint64_t len, struct error *err);

/* Maps the memory that another process made. Takes fd over, also on an error. The memfd's size is checked and sealed against change. */
int guest_memory_open(struct guest_memory *memory, int fd, struct error *err);

void guest_memory_free(struct guest_memory *memory);
#define _cleanup_guest_memory_ __attribute__((cleanup(guest_memory_free)))

/* The len bytes at gpa, where all of them lie in one region; else NULL. len 0 is NULL, too. */
void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t len);

/*
 * Copy out of and into the guest's memory; false, and nothing copied, where the range is not all memory. What was written is noted
 * (guest_memory_wrote()).
 */
bool guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *to, size_t len);
bool guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *from,
			size_t len);

/*
 * Reads len bytes of a file, from offset on, into the memory at gpa, where nobody looks yet: by the kernel from one file to the
 * other, so that no page is zeroed or mapped for it. -EFAULT where the range is not all memory, -ENODATA where the file
 * is shorter. Moves the memfd's file offset.
 */
int guest_memory_load(const struct guest_memory *memory, uint64_t gpa, int fd, uint64_t offset,
		      uint64_t len, struct error *err);

/*
 * Gives the pages back to the host: they are zeroes again, and take no memory until they are touched. host and len are what
 * guest_memory_at() gave and was asked for; of a page that is not whole in the range nothing changes. 0 or a negative errno.
 */
int guest_memory_discard(const struct guest_memory *memory, void *host, uint64_t len);

/* ---- which pages this process wrote (guest_pages.c): KVM's dirty log knows the guest's own writes only ---- */

/*
 * Makes the bitmap, as a memfd (dirty_fd) which other processes can be given that write into the memory, too: they map it by
 * guest_memory_share_track(), which takes the descriptor over. Freed with the memory, or by guest_memory_untrack().
 */
int guest_memory_prepare_track(struct guest_memory *memory, struct error *err);
int guest_memory_share_track(struct guest_memory *memory, int fd, struct error *err);

/* Begins, and ends, to note written pages. Nothing may use the memory meanwhile: the devices are paused, or not there yet. */
void guest_memory_track(struct guest_memory *memory);
void guest_memory_untrack(struct guest_memory *memory);

/*
 * Notes that the len bytes at host, within one region, were written. Called after each write into guest memory that is not
 * guest_memory_write()'s, of data and of rings; any thread.
 */
void guest_memory_wrote(const struct guest_memory *memory, const void *host, uint64_t len);

/* How many words the bitmap has: a bit a page of the memfd, the lowest first. */
static inline size_t guest_memory_dirty_words(const struct guest_memory *memory)
{
	return (size_t)(memory->size / GUEST_PAGE_SIZE + 63) / 64;
}

/* Adds (or) the bitmap to words, and begins a new one. */
void guest_memory_take_dirty(const struct guest_memory *memory, uint64_t *words);

#endif
