/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of paths of which only hashes are kept, eight bytes each: what a layer made must be known until its
 * end, however many entries it has, and must fit the memory. Hashes are 64 bits and keyed with a random
 * number, so that among a million paths one that was never added is taken for a member once in 10^13 questions,
 * and nobody can make an image in which that is more likely.
 */
#ifndef HULL_OCI_IMAGE_NAME_SET_H
#define HULL_OCI_IMAGE_NAME_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_set {
	uint64_t *slots; /* open addressing, 0: empty */
	size_t cap, len;
	uint64_t seed;
};

void name_set_init(struct name_set *set);
void name_set_free(struct name_set *set);

/* False: no memory. */
bool name_set_add(struct name_set *set, const char *path);
bool name_set_has(const struct name_set *set, const char *path);

/* The hash of a path: FNV-1a from a seed, and mixed. */
uint64_t name_hash(uint64_t seed, const char *path);

/* A random seed. */
uint64_t name_seed(void);

#endif
