/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources after an update: what the update gives, over what there was. A list whose
 * elements name something (a device, a page size, a file) is merged by that name; the device rules,
 * whose order is their meaning, are replaced as a whole.
 */
#include <string.h>

#include "oci/config.h"

/* A value of 0 means "not given" where Go programs write it so; see cgroups/apply.c. */
#define TAKE_SET(to, from, field)                    \
	do {                                         \
		if ((from)->field.set)               \
			(to)->field = (from)->field; \
	} while (0)
#define TAKE_NONZERO(to, from, field)                          \
	do {                                                   \
		if ((from)->field.set && (from)->field.v != 0) \
			(to)->field = (from)->field;           \
	} while (0)
#define TAKE_STRING(to, from, field)                 \
	do {                                         \
		if ((from)->field && *(from)->field) \
			(to)->field = (from)->field; \
	} while (0)

static void merge_memory(struct oci_memory *to, const struct oci_memory *m)
{
	TAKE_NONZERO(to, m, limit);
	TAKE_NONZERO(to, m, reservation);
	TAKE_NONZERO(to, m, swap);
	TAKE_NONZERO(to, m, kernel);
	TAKE_NONZERO(to, m, kernel_tcp);
	TAKE_SET(to, m, swappiness);
	TAKE_SET(to, m, disable_oom_killer);
	TAKE_SET(to, m, use_hierarchy);
	TAKE_SET(to, m, check_before_update);
}

static void merge_cpu(struct oci_cpu *to, const struct oci_cpu *c)
{
	TAKE_NONZERO(to, c, shares);
	TAKE_NONZERO(to, c, quota);
	TAKE_SET(to, c, burst);
	TAKE_NONZERO(to, c, period);
	TAKE_NONZERO(to, c, realtime_runtime);
	TAKE_NONZERO(to, c, realtime_period);
	TAKE_STRING(to, c, cpus);
	TAKE_STRING(to, c, mems);
	TAKE_SET(to, c, idle);
}

/*
 * Merges an array of structures: an element that same() finds in the other takes its place. All lists are
 * items and len, whatever their type.
 */
struct list {
	char *items;
	size_t len;
};

static int merge_list(void *to_list, const void *from_list, size_t size,
		      bool (*same)(const void *a, const void *b), struct arena *arena)
{
	struct list to, from;
	char *items;
	size_t len;

	memcpy(&to, to_list, sizeof(to));
	memcpy(&from, from_list, sizeof(from));
	if (!from.len)
		return 0;
	items = arena_array(arena, to.len + from.len, size);
	if (!items)
		return -ENOMEM;
	if (to.len)
		memcpy(items, to.items, to.len * size);
	len = to.len;
	for (size_t i = 0; i < from.len; i++) {
		size_t at = 0;

		while (at < len && !same(items + at * size, from.items + i * size))
			at++;
		memcpy(items + at * size, from.items + i * size, size);
		if (at == len)
			len++;
	}
	to = (struct list){ items, len };
	memcpy(to_list, &to, sizeof(to));
	return 0;
}

static bool same_weight_device(const void *a, const void *b)
{
	const struct oci_weight_device *x = a, *y = b;

	return x->major == y->major && x->minor == y->minor;
}

static bool same_throttle_device(const void *a, const void *b)
{
	const struct oci_throttle_device *x = a, *y = b;

	return x->major == y->major && x->minor == y->minor;
}

/* Structures whose first field is the name: page sizes, interfaces, RDMA devices, files. */
static bool same_name(const void *a, const void *b)
{
	const char *x, *y;

	memcpy((void *)&x, a, sizeof(x));
	memcpy((void *)&y, b, sizeof(y));
	return strcmp(x, y) == 0;
}

static int merge_block_io(struct oci_block_io *to, const struct oci_block_io *b,
			  struct arena *arena)
{
	const struct {
		struct oci_throttle_devices *to;
		const struct oci_throttle_devices *from;
	} throttles[] = {
		{ &to->throttle_read_bps, &b->throttle_read_bps },
		{ &to->throttle_write_bps, &b->throttle_write_bps },
		{ &to->throttle_read_iops, &b->throttle_read_iops },
		{ &to->throttle_write_iops, &b->throttle_write_iops },
	};
	int r;

	TAKE_NONZERO(to, b, weight);
	TAKE_NONZERO(to, b, leaf_weight);
	r = merge_list(&to->weight_device, &b->weight_device, sizeof(struct oci_weight_device),
		       same_weight_device, arena);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(throttles); i++)
		r = merge_list(throttles[i].to, throttles[i].from,
			       sizeof(struct oci_throttle_device), same_throttle_device, arena);
	return r;
}

/* A copy of object to change, or an empty one; NULL: no memory. */
static void *copy_or_new(const void *object, size_t size, struct arena *arena)
{
	return object ? arena_memdup(arena, object, size) : arena_alloc(arena, size);
}

static int merge_objects(struct oci_resources *to, const struct oci_resources *update,
			 struct arena *arena)
{
	if (update->memory) {
		to->memory = copy_or_new(to->memory, sizeof(*to->memory), arena);
		if (!to->memory)
			return -ENOMEM;
		merge_memory(to->memory, update->memory);
	}
	if (update->cpu) {
		to->cpu = copy_or_new(to->cpu, sizeof(*to->cpu), arena);
		if (!to->cpu)
			return -ENOMEM;
		merge_cpu(to->cpu, update->cpu);
	}
	if (update->pids)
		to->pids = update->pids;
	if (update->block_io) {
		to->block_io = copy_or_new(to->block_io, sizeof(*to->block_io), arena);
		if (!to->block_io)
			return -ENOMEM;
		return merge_block_io(to->block_io, update->block_io, arena);
	}
	return 0;
}

static int merge_network(struct oci_resources *to, const struct oci_resources *update,
			 struct arena *arena)
{
	if (!update->network)
		return 0;
	to->network = copy_or_new(to->network, sizeof(*to->network), arena);
	if (!to->network)
		return -ENOMEM;
	TAKE_SET(to->network, update->network, class_id);
	return merge_list(&to->network->priorities, &update->network->priorities,
			  sizeof(struct oci_network_priority), same_name, arena);
}

struct oci_resources *oci_resources_merge(const struct oci_resources *base,
					  const struct oci_resources *update, struct arena *arena)
{
	struct oci_resources *to = copy_or_new(base, sizeof(*base), arena);
	int r = to ? merge_objects(to, update, arena) : -ENOMEM;

	if (r == 0)
		r = merge_network(to, update, arena);
	if (r == 0)
		r = merge_list(&to->hugepage_limits, &update->hugepage_limits,
			       sizeof(struct oci_hugepage_limit), same_name, arena);
	if (r == 0)
		r = merge_list(&to->rdma, &update->rdma, sizeof(struct oci_rdma), same_name, arena);
	if (r == 0)
		r = merge_list(&to->unified, &update->unified, sizeof(struct oci_map_entry),
			       same_name, arena);
	if (r == 0 && update->devices.len)
		to->devices = update->devices;
	return r < 0 ? NULL : to;
}

/* ---- comparing device rules ---------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b, const char *absent)
{
	return strcmp(a ? a : absent, b ? b : absent) == 0;
}

static bool same_number(struct opt_i64 a, struct opt_i64 b)
{
	int64_t x = a.set && a.v >= 0 ? a.v : -1, y = b.set && b.v >= 0 ? b.v : -1;

	return x == y;
}

bool oci_device_rules_equal(const struct oci_device_rules *a, const struct oci_device_rules *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++) {
		const struct oci_device_rule *x = &a->items[i], *y = &b->items[i];

		if (x->allow != y->allow || !same_text(x->type, y->type, "a") ||
		    !same_number(x->major, y->major) || !same_number(x->minor, y->minor) ||
		    !same_text(x->access, y->access, "rwm"))
			return false;
	}
	return true;
}
