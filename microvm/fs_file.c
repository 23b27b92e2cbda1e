/* SPDX-License-Identifier: Apache-2.0 */
/* The table of open files; see fs_file.h. */
#include "microvm/fs_file.h"

#include <string.h>

#define NONE      UINT32_MAX
#define SLOTS_MIN 16
#define RESTS_MAX \
	1024 /* of a few KiB each; a directory that is read beyond that costs a seek more */

void fs_files_open(struct fs_files *files, uint32_t count_max)
{
	*files = (struct fs_files){ .first_free = NONE, .count_max = count_max };
}

void fs_files_clear(struct fs_files *files, struct fs_nodes *nodes)
{
	for (uint32_t i = 0; i < files->size; i++)
		if (files->slots[i].fd >= 0)
			fs_file_close(files, nodes, &files->slots[i]);
	free(files->slots);
	fs_files_open(files, files->count_max);
}

static int grow(struct fs_files *files)
{
	uint32_t size = files->size ? files->size * 2 : SLOTS_MIN;
	struct fs_file *slots;

	if (size > files->count_max)
		size = files->count_max;
	if (size <= files->size)
		return -ENFILE;
	slots = realloc(files->slots, size * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint32_t i = size; i-- > files->size;) {
		slots[i] = (struct fs_file){ .fd = -EBADF, .next_free = files->first_free };
		files->first_free = i;
	}
	files->slots = slots;
	files->size = size;
	return 0;
}

int fs_file_add(struct fs_files *files, struct fs_node *node, int fd, uint64_t *fh)
{
	_cleanup_close_ int owned = fd;
	struct fs_file *file;
	int r = 0;

	if (files->first_free == NONE)
		r = grow(files);
	if (r < 0)
		return r;
	file = &files->slots[files->first_free];
	*fh = (uint64_t)file->generation << 32 | files->first_free;
	files->first_free = file->next_free;
	*file = (struct fs_file){ .fd = take_fd(&owned),
				  .generation = file->generation,
				  .node = node };
	fs_node_hold(node);
	files->used++;
	return 0;
}

int fs_files_reserve(struct fs_files *files, uint32_t size)
{
	if (size > files->count_max)
		return -ENFILE;
	files->slots = calloc(size ? size : 1, sizeof(*files->slots));
	if (!files->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < size; i++)
		files->slots[i].fd = -EBADF;
	files->size = size;
	return 0;
}

void fs_file_restore(struct fs_files *files, uint32_t slot, uint32_t generation,
		     struct fs_node *node, int fd)
{
	struct fs_file *file = &files->slots[slot];

	*file = (struct fs_file){ .fd = node ? fd : -EBADF, .generation = generation };
	if (!node) {
		file->next_free = files->first_free;
		files->first_free = slot;
		return;
	}
	file->node = node;
	fs_node_hold(node);
	files->used++;
}

struct fs_file *fs_file_get(const struct fs_files *files, uint64_t fh, uint64_t id)
{
	struct fs_file *file;

	if ((uint32_t)fh >= files->size)
		return NULL;
	file = &files->slots[(uint32_t)fh];
	if (file->fd < 0 || file->generation != fh >> 32 || file->node->id != id)
		return NULL;
	return file;
}

void fs_file_close(struct fs_files *files, struct fs_nodes *nodes, struct fs_file *file)
{
	struct fs_node *node = file->node;

	fs_file_keep(files, file, NULL, 0);
	close(file->fd);
	*file = (struct fs_file){ .fd = -EBADF,
				  .generation = file->generation + 1,
				  .next_free = files->first_free };
	files->first_free = (uint32_t)(file - files->slots);
	files->used--;
	fs_node_put(nodes, node);
}

int fs_file_keep(struct fs_files *files, struct fs_file *file, const void *rest, uint32_t size)
{
	uint8_t *copy = NULL;

	if (size) {
		copy = files->rests < RESTS_MAX ? malloc(size) : NULL;
		if (copy)
			memcpy(copy, rest, size); /* it may be a part of what is freed now */
	}
	if (file->rest)
		files->rests--;
	free(file->rest);
	file->rest = copy;
	file->rest_size = copy ? size : 0;
	if (copy)
		files->rests++;
	return copy || !size ? 0 : -ENOMEM;
}
