/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arena: many small allocations with one life. A parsed configuration lives in one and is freed
 * at once. Memory comes zeroed. Allocation failure and use past the limit return NULL.
 */
#ifndef HULL_BASE_ARENA_H
#define HULL_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks; /* the newest first */
	size_t used;                /* bytes handed out */
	size_t limit;               /* bytes that may be handed out; 0: no limit */
};

/* An arena that may hand out at most limit bytes (0: no limit). Needs no memory until first used. */
void arena_init(struct arena *arena, size_t limit);

/* Frees everything that came from the arena; it can be used again. */
void arena_free(struct arena *arena);

/* size bytes, zeroed, aligned for any type; NULL with errno ENOMEM where there is no more. */
void *arena_alloc(struct arena *arena, size_t size);

/* count elements of size bytes each, checked against overflow. */
void *arena_array(struct arena *arena, size_t count, size_t size);

/* Copies of strings and bytes; the copy of arena_memdup() of len bytes has a NUL after it. */
char *arena_strdup(struct arena *arena, const char *s);
void *arena_memdup(struct arena *arena, const void *data, size_t len);
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define _cleanup_arena_        __attribute__((cleanup(arena_free)))

#endif
