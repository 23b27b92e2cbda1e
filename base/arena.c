/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that double in size; an allocation takes the next bytes of the newest block. The first
 * block is small: a short configuration costs one malloc.
 */
#include "base/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_FIRST   16384
#define ARENA_LARGEST (1024 * 1024)
#define ARENA_ALIGN   _Alignof(max_align_t)

struct arena_block {
	struct arena_block *next;
	size_t size;
	size_t used;
	_Alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *arena, size_t limit)
{
	*arena = (struct arena){ .limit = limit };
}

void arena_free(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	while (block) {
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
	arena->blocks = NULL;
	arena->used = 0;
}

static struct arena_block *arena_grow(struct arena *arena, size_t size)
{
	size_t want = arena->blocks ? arena->blocks->size * 2 : ARENA_FIRST;
	struct arena_block *block;
	size_t bytes;

	if (want > ARENA_LARGEST)
		want = ARENA_LARGEST;
	if (want < size)
		want = size;
	/* A size near SIZE_MAX must not wrap into a small block. */
	if (__builtin_add_overflow(want, sizeof(*block), &bytes))
		return NULL;
	block = calloc(1, bytes);
	if (!block)
		return NULL;
	block->size = want;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	size_t rounded;
	void *p;

	if (__builtin_add_overflow(size ? size : 1, ARENA_ALIGN - 1, &rounded))
		goto full;
	rounded &= ~(ARENA_ALIGN - 1);
	if (arena->limit && (rounded > arena->limit || arena->used > arena->limit - rounded))
		goto full;
	if (!block || block->size - block->used < rounded) {
		block = arena_grow(arena, rounded);
		if (!block)
			goto full;
	}
	p = block->data + block->used;
	block->used += rounded;
	arena->used += rounded;
	return p;
full:
	errno = ENOMEM;
	return NULL;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return arena_alloc(arena, bytes);
}

void *arena_memdup(struct arena *arena, const void *data, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_alloc(arena, len + 1) : NULL;

	if (copy && len)
		memcpy(copy, data, len);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *s)
{
	return arena_memdup(arena, s, strlen(s));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return NULL;
	s = arena_alloc(arena, (size_t)len + 1);
	if (!s)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(s, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return s;
}
