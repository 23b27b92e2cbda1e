/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes that directories get when the last layer is applied: without privileges, a directory that its owner
 * may not write to or search must be open to us until then. Few are of that kind.
 *
 * Paths are canonical: relative to the root, without "." or symbolic links, "" for the root itself.
 * Nothing is ever taken out. An entry may so outlive what it was about.
 */
#ifndef HULL_OCI_IMAGE_PATH_MAP_H
#define HULL_OCI_IMAGE_PATH_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"

struct path_info {
	const char *path;
	uint64_t hash;
	mode_t mode; /* permission bits */
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

#endif
