/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known about paths of a root file system while a layer is applied: which of them this
 * layer made (a whiteout must spare those), and which times and modes directories get in the end.
 *
 * Paths are canonical: relative to the root, without "." or symbolic links, "" for the root itself.
 * Nothing is ever taken out. An entry may so outlive what it was about; that is harmless, for once a layer has made something
 * at a path, only that layer can put anything else there.
 */
#ifndef HULL_OCI_IMAGE_PATH_MAP_H
#define HULL_OCI_IMAGE_PATH_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/arena.h"

struct path_info {
	const char *path;
	uint64_t hash;
	bool made;      /* by the layer that is being applied */
	bool has_times; /* of a directory, to be set when nothing is put into it any more */
	mode_t mode;    /* permission bits */
	struct timespec times[2]; /* access, modification: for utimensat(2) */
};

struct path_map {
	struct path_info **slots; /* open addressing */
	size_t cap, len;
	uint64_t seed;
	struct arena arena;
};

void path_map_init(struct path_map *map);
void path_map_free(struct path_map *map);

/* The entry of a path, or NULL. */
struct path_info *path_map_find(const struct path_map *map, const char *path);

/* The entry of a path, new where there was none; NULL: no memory, or more than the map's limit. */
struct path_info *path_map_add(struct path_map *map, const char *path);

/* All entries in no order: i from 0 to cap - 1; NULL where a slot is empty. */
static inline struct path_info *path_map_at(const struct path_map *map, size_t i)
{
	return map->slots[i];
}

#endif
