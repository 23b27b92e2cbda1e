/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of paths; see path_map.h. */
#include "oci/image/path_map.h"

#include <stdlib.h>
#include <string.h>

#include "oci/image/name_set.h"

#define PATH_MAP_BYTES \
	((size_t)32 << 20) /* that a map may take; an image that needs more is refused */

void path_map_init(struct path_map *map)
{
	memset(map, 0, sizeof(*map));
	map->seed = name_seed();
	arena_init(&map->arena, PATH_MAP_BYTES);
}

void path_map_free(struct path_map *map)
{
	free(map->slots);
	arena_free(&map->arena);
	memset(map, 0, sizeof(*map));
}

/* The slot that holds the path, or the empty one where it belongs. */
static struct path_info **find_slot(struct path_info **slots, size_t cap, const char *path,
				    uint64_t hash)
{
	size_t i = hash & (cap - 1);

	while (slots[i] && (slots[i]->hash != hash || strcmp(slots[i]->path, path) != 0))
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

struct path_info *path_map_find(const struct path_map *map, const char *path)
{
	if (!map->cap)
		return NULL;
	return *find_slot(map->slots, map->cap, path, name_hash(map->seed, path));
}

static bool grow(struct path_map *map)
{
	size_t cap = map->cap ? map->cap * 2 : 1024;
	struct path_info **slots = calloc(cap, sizeof(struct path_info *));

	if (!slots)
		return false;
	for (size_t i = 0; i < map->cap; i++)
		if (map->slots[i])
			*find_slot(slots, cap, map->slots[i]->path, map->slots[i]->hash) =
				map->slots[i];
	free(map->slots);
	map->slots = slots;
	map->cap = cap;
	return true;
}

struct path_info *path_map_add(struct path_map *map, const char *path)
{
	uint64_t hash = name_hash(map->seed, path);
	struct path_info **slot, *info;

	if (map->len >= map->cap / 2 && !grow(map))
		return NULL;
	slot = find_slot(map->slots, map->cap, path, hash);
	info = *slot;
	if (info)
		return info;
	info = arena_new(&map->arena, struct path_info);
	if (!info)
		return NULL;
	info->path = arena_strdup(&map->arena, path);
	if (!info->path)
		return NULL;
	info->hash = hash;
	*slot = info;
	map->len++;
	return info;
}
