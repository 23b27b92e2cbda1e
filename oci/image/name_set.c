/* SPDX-License-Identifier: Apache-2.0 */
/* A set of hashes of paths; see name_set.h. */
#include "oci/image/name_set.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

uint64_t name_seed(void)
{
	uint64_t seed;

	/* A layer whose names all fall into one slot would be slow to apply: the seed hinders that. */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)getpid() * 0x9e3779b97f4a7c15;
	return seed;
}

uint64_t name_hash(uint64_t seed, const char *path)
{
	uint64_t hash = 0xcbf29ce484222325 ^ seed;

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 0x100000001b3;
	hash ^= hash >> 32;
	hash *= seed | 1;
	return hash ^ (hash >> 29);
}

void name_set_init(struct name_set *set)
{
	memset(set, 0, sizeof(*set));
	set->seed = name_seed();
}

void name_set_free(struct name_set *set)
{
	free(set->slots);
	memset(set, 0, sizeof(*set));
}

/* 0 stands for an empty slot. */
static uint64_t hash_of(const struct name_set *set, const char *path)
{
	uint64_t hash = name_hash(set->seed, path);

	return hash ? hash : 1;
}

/* The slot that holds the hash, or the empty one where it belongs. */
static uint64_t *find_slot(uint64_t *slots, size_t cap, uint64_t hash)
{
	size_t i = hash & (cap - 1);

	while (slots[i] && slots[i] != hash)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

static bool grow(struct name_set *set)
{
	size_t cap = set->cap ? set->cap * 2 : 1024;
	uint64_t *slots = calloc(cap, sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < set->cap; i++)
		if (set->slots[i])
			*find_slot(slots, cap, set->slots[i]) = set->slots[i];
	free(set->slots);
	set->slots = slots;
	set->cap = cap;
	return true;
}

bool name_set_add(struct name_set *set, const char *path)
{
	uint64_t hash = hash_of(set, path), *slot;

	if (set->len >= set->cap / 4 * 3 && !grow(set))
		return false;
	slot = find_slot(set->slots, set->cap, hash);
	set->len += !*slot;
	*slot = hash;
	return true;
}

bool name_set_has(const struct name_set *set, const char *path)
{
	return set->cap && *find_slot(set->slots, set->cap, hash_of(set, path));
}
