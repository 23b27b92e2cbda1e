/* SPDX-License-Identifier: Apache-2.0 */
/* A hash for names that must differ by accident only: nobody gains who finds two alike. */
#ifndef HULL_BASE_HASH_H
#define HULL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(0xcbf29ce484222325)

/* FNV-1a, 64 bits: of len bytes behind those whose hash is given, HASH_START for none. */
static inline uint64_t hash_add(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

#endif
