/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues, for drivers that attack: whatever is in the rings, what is given out is memory of the guest, or the queue is broken. */
#include "tests/unit/virtq_fixture.h"

#include <errno.h>
#include <pthread.h>

static struct vring_desc *descriptor(struct virtq_fixture *f, unsigned index)
{
	return &f->driver.queues[0].descriptors[index];
}

/* What was offered breaks the queue, and it stays broken. Begins anew on fresh rings. */
static void assert_breaks(struct virtq_fixture *f)
{
	bool indirect = f->q.indirect;

	assert_int_equal(virtq_pop(&f->q, &f->chain), -EPROTO);
	assert_int_equal(virtq_pop(&f->q, &f->chain), -EPROTO);
	assert_true(f->q.broken);
	assert_false(f->q.enabled);
	/* Nothing is written any more. */
	virtq_push(&f->q, &f->chain, 0);
	assert_int_equal(f->driver.queues[0].used->idx, 0);
	assert_false(virtq_must_interrupt(&f->q));
	assert_false(virtq_ask_notify(&f->q, true));
	driver_make_queue(&f->driver, 0, VIRTQ_ENTRIES);
	assert_int_equal(virtq_begin(f, indirect ? INDIRECT : 0), 0);
}

/* ---- layout ---------------------------------------------------------------------------------- */

static void assert_layout(struct virtq_fixture *f, const struct virtq_layout *layout, int result)
{
	struct error err = { 0 };

	assert_int_equal(virtq_enable(&f->q, &f->driver.memory, layout, VIRTQ_SIZE_MAX, 0, &err),
			 result);
	assert_int_equal(f->q.enabled, result == 0);
	assert_int_equal(err.code, -result);
	/* A queue that was not enabled is empty, not broken. */
	assert_int_equal(virtq_pop(&f->q, &f->chain), 0);
}

static void sizes_are_powers_of_two_in_bounds(void **state)
{
	struct virtq_fixture *f = *state;
	const uint16_t wrong[] = { 0, 3, 7, 255, 257, 512, 0x8000, 0xffff };
	struct virtq_layout layout = { 1, 0x10000, 0x20000, 0x30000 };

	for (; layout.size <= VIRTQ_SIZE_MAX; layout.size *= 2)
		assert_layout(f, &layout, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		layout.size = wrong[i];
		assert_layout(f, &layout, -EINVAL);
	}
	layout.size = 16;
	assert_int_equal(virtq_enable(&f->q, &f->driver.memory, &layout, 8, 0, NULL), -EINVAL);
}

static void rings_are_aligned(void **state)
{
	struct virtq_fixture *f = *state;
	struct virtq_layout layout = { 8, 0x10008, 0x20000, 0x30000 };

	assert_layout(f, &layout, -EINVAL);
	layout = (struct virtq_layout){ 8, 0x10010, 0x20001, 0x30000 };
	assert_layout(f, &layout, -EINVAL);
	layout = (struct virtq_layout){ 8, 0x10010, 0x20002, 0x30002 };
	assert_layout(f, &layout, -EINVAL);
	layout = (struct virtq_layout){ 8, 0x10010, 0x20002, 0x30004 };
	assert_layout(f, &layout, 0);
}

/* Each ring with its last byte in memory, and with one step more; also around the hole and the end of the address space. */
static void rings_are_in_memory(void **state)
{
	struct virtq_fixture *f = *state;
	const uint64_t ends[] = { LOW_END, HIGH_START + HIGH_SIZE };
	const struct virtq_layout good = { 8, 0x10000, 0x20000, 0x30000 };

	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		struct virtq_layout layout = good;

		layout.descriptors = ends[i] - 8 * 16;
		assert_layout(f, &layout, 0);
		layout.descriptors += 16;
		assert_layout(f, &layout, -EINVAL);
		layout = good;
		layout.driver = ends[i] - (6 + 2 * 8);
		assert_layout(f, &layout, 0);
		layout.driver += 2;
		assert_layout(f, &layout, -EINVAL);
		layout = good;
		layout.device = ends[i] - (6 + 8 * 8) - 2;
		assert_layout(f, &layout, 0);
		layout.device += 4;
		assert_layout(f, &layout, -EINVAL);
	}
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t wrong[] = { LOW_END, LOW_END + 0x10000, HIGH_START - 16,
					   HIGH_START + HIGH_SIZE, UINT64_MAX - 15 };

		for (unsigned j = 0; j < ARRAY_SIZE(wrong); j++) {
			struct virtq_layout layout = good;

			*(i == 0   ? &layout.descriptors
			  : i == 1 ? &layout.driver
				   : &layout.device) = wrong[j];
			assert_layout(f, &layout, -EINVAL);
		}
	}
}

/* ---- attacks --------------------------------------------------------------------------------- */

static void more_available_than_there_can_be_is_refused(void **state)
{
	struct virtq_fixture *f = *state;
	const uint16_t jumps[] = { VIRTQ_ENTRIES + 1, 0x8000, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
		f->driver.queues[0].avail->idx = jumps[i];
		assert_breaks(f);
	}
	/* As many as there can be are fine. */
	for (unsigned i = 0; i < VIRTQ_ENTRIES; i++)
		virtq_offer_one(f, 0x10000, 1);
	for (unsigned i = 0; i < VIRTQ_ENTRIES; i++)
		assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	/* And an index that goes back, too, is one too many. */
	f->driver.queues[0].avail->idx--;
	assert_breaks(f);
}

/* Behind the table lie good descriptors, that would do if they were looked at. */
static void make_long_table(struct virtq_fixture *f)
{
	struct driver_queue *queue = &f->driver.queues[0];
	const struct vring_desc good = { .addr = 0x10000, .len = 1 };
	const uint64_t len = 0x10000 * sizeof(good);

	queue->layout.descriptors = driver_alloc(&f->driver, len, 16);
	queue->descriptors = driver_at(&f->driver, queue->layout.descriptors, len);
	for (unsigned i = 0; i < 0x10000; i++)
		queue->descriptors[i] = good;
	assert_int_equal(virtq_begin(f, INDIRECT), 0);
}

static void heads_and_links_are_in_the_table(void **state)
{
	struct virtq_fixture *f = *state;
	const uint16_t wrong[] = { VIRTQ_ENTRIES, VIRTQ_ENTRIES + 1, 0x7fff, 0xffff };
	struct driver_buffer buffers[] = { { 0x10000, 1, false }, { 0x10000, 1, false } };

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		make_long_table(f);
		driver_offer(&f->driver, 0, wrong[i]);
		assert_breaks(f);
		make_long_table(f);
		descriptor(f, virtq_offer(f, buffers, 2))->next = wrong[i];
		assert_breaks(f);
	}
}

static void chains_do_not_loop(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_buffer buffers[VIRTQ_ENTRIES + 1];
	uint16_t head;

	for (unsigned i = 0; i < ARRAY_SIZE(buffers); i++)
		buffers[i] = (struct driver_buffer){ 0x10000, 1, false };
	/* The longest possible. */
	virtq_offer(f, buffers, VIRTQ_ENTRIES);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable, VIRTQ_ENTRIES);
	/* To itself, and from the last to the first. */
	head = virtq_offer(f, buffers, 1);
	descriptor(f, head)->flags = VRING_DESC_F_NEXT;
	descriptor(f, head)->next = head;
	assert_breaks(f);
	head = virtq_offer(f, buffers, VIRTQ_ENTRIES);
	descriptor(f, VIRTQ_ENTRIES - 1)->flags = VRING_DESC_F_NEXT;
	descriptor(f, VIRTQ_ENTRIES - 1)->next = head;
	assert_breaks(f);
}

static void buffers_are_in_memory(void **state)
{
	struct virtq_fixture *f = *state;
	const struct {
		uint64_t gpa;
		uint32_t len;
	} wrong[] = {
		{ LOW_END - 1, 2 },                /* over the end of a region */
		{ LOW_END - 0x1000, UINT32_MAX },  /* across the hole into the other region */
		{ LOW_END, 1 },                    /* in the hole */
		{ HIGH_START - 1, 2 },             /* from the hole into a region */
		{ HIGH_START + HIGH_SIZE - 8, 9 }, /* over the end of all memory */
		{ HIGH_START + HIGH_SIZE, 1 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX - 7, 16 }, /* around the end of addresses */
		{ UINT64_MAX - UINT32_MAX + 1, UINT32_MAX },
		{ 0x10000, 0 }, /* nothing */
	};

	virtq_offer_one(f, LOW_END - 2, 2);
	virtq_offer_one(f, HIGH_START, (uint32_t)HIGH_SIZE);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		driver_make_queue(&f->driver, 0, VIRTQ_ENTRIES);
		assert_int_equal(virtq_begin(f, INDIRECT), 0);
		virtq_offer_one(f, wrong[i].gpa, wrong[i].len);
		assert_breaks(f);
	}
}

/* Buffers may overlap, so that a small guest can ask for much; but for no more than a length can say. */
static void a_request_has_less_than_4_gib(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_buffer buffers[] = { { 0, 0x80000000, false },
					   { 0, 0x7fffffff, true },
					   { 0, 1, true } };

	virtq_offer(f, buffers, 2);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable_bytes + f->chain.writable_bytes, UINT32_MAX);
	virtq_offer(f, buffers, 3);
	f->driver.queues[0].used->idx = 0;
	assert_breaks(f);
}

static void readable_buffers_come_first(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_buffer buffers[] = { { 0x10000, 1, true }, { 0x10000, 1, false } };

	virtq_offer(f, buffers, 2);
	assert_breaks(f);
}

/* ---- indirect tables ------------------------------------------------------------------------- */

#define TABLE_ENTRIES 4

/* Offers a table of four readable buffers; returns it. */
static struct vring_desc *offer_table(struct virtq_fixture *f, struct vring_desc **link)
{
	struct driver_buffer buffers[TABLE_ENTRIES];
	uint16_t head;

	for (unsigned i = 0; i < TABLE_ENTRIES; i++)
		buffers[i] = (struct driver_buffer){ 0x10000 + i, 1, false };
	head = driver_describe_indirect(&f->driver, 0, buffers, TABLE_ENTRIES);
	driver_offer(&f->driver, 0, head);
	*link = descriptor(f, head);
	return driver_at(&f->driver, (*link)->addr, (*link)->len);
}

static void indirect_tables_are_followed(void **state)
{
	struct virtq_fixture *f = *state;
	struct vring_desc *link;

	offer_table(f, &link);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable, TABLE_ENTRIES);
	/* The flag for writing means nothing on a table (2.7.5.3.2). */
	offer_table(f, &link);
	link->flags |= VRING_DESC_F_WRITE;
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable, TABLE_ENTRIES);
	assert_int_equal(f->chain.writable, 0);
}

/* A table may be the end of a chain, and lie at any address. */
static void indirect_tables_follow_descriptors(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffers[] = { { 0x10000, 5, false }, { 0, 0, false } };
	struct vring_desc table = { .addr = 0x10000, .len = 7, .flags = VRING_DESC_F_WRITE };
	uint16_t head = driver_describe(d, 0, buffers, 2);

	d->heap = (d->heap | 15) + 2;
	descriptor(f, head + 1u)->addr = driver_copy(d, &table, sizeof(table));
	descriptor(f, head + 1u)->len = sizeof(table);
	descriptor(f, head + 1u)->flags = VRING_DESC_F_INDIRECT;
	driver_offer(d, 0, head);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable_bytes, 5);
	assert_int_equal(f->chain.writable_bytes, 7);
}

static void indirect_tables_are_negotiated(void **state)
{
	struct virtq_fixture *f = *state;
	struct vring_desc *link;

	assert_int_equal(virtq_begin(f, EVENT_IDX), 0);
	offer_table(f, &link);
	assert_breaks(f);
}

static void indirect_tables_have_sensible_lengths(void **state)
{
	struct virtq_fixture *f = *state;
	const uint32_t wrong[] = { 0,          1,         15, 65,
				   79,         17,        63, 16 * (VIRTQ_IOV_MAX + 1),
				   UINT32_MAX, 0xfffffff0 };
	struct vring_desc *link;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		offer_table(f, &link);
		link->len = wrong[i];
		assert_breaks(f);
	}
}

static void indirect_tables_are_in_memory(void **state)
{
	struct virtq_fixture *f = *state;
	const uint64_t wrong[] = { LOW_END - 16, LOW_END, HIGH_START - 16,
				   HIGH_START + HIGH_SIZE - 48, UINT64_MAX - 15 };
	struct vring_desc *link;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		offer_table(f, &link);
		link->addr = wrong[i];
		assert_breaks(f);
	}
}

static void indirect_tables_are_the_last_of_a_chain(void **state)
{
	struct virtq_fixture *f = *state;
	struct vring_desc *link;

	offer_table(f, &link);
	link->flags |= VRING_DESC_F_NEXT;
	assert_breaks(f);
}

static void indirect_tables_do_not_nest(void **state)
{
	struct virtq_fixture *f = *state;
	struct vring_desc *link, *table = offer_table(f, &link);

	table[1].flags = VRING_DESC_F_INDIRECT;
	table[1].len = 16;
	assert_breaks(f);
	/* Nor lead to themselves. */
	table = offer_table(f, &link);
	table[0] = *link;
	assert_breaks(f);
}

static void indirect_links_are_in_the_table(void **state)
{
	struct virtq_fixture *f = *state;
	struct vring_desc *link, *table = offer_table(f, &link);

	table[1].next = TABLE_ENTRIES;
	assert_breaks(f);
	table = offer_table(f, &link);
	table[2].next = 0xffff;
	assert_breaks(f);
	/* Of the table's four entries the last is good, but not in its length. */
	table = offer_table(f, &link);
	link->len = 3 * sizeof(*table);
	assert_breaks(f);
	/* A loop in it. */
	table = offer_table(f, &link);
	table[3].flags = VRING_DESC_F_NEXT;
	table[3].next = 1;
	assert_breaks(f);
}

/* The number of buffers is bounded, whatever their descriptors are in. */
static void requests_have_a_bounded_number_of_buffers(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffers[VIRTQ_IOV_MAX],
		link[2] = { { 0x10000, 1, false }, { 0, 0, false } };
	uint16_t head, table;

	for (unsigned i = 0; i < VIRTQ_IOV_MAX; i++)
		buffers[i] = (struct driver_buffer){ 0x10000, 1, false };
	table = driver_describe_indirect(d, 0, buffers, VIRTQ_IOV_MAX);
	driver_offer(d, 0, table);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable, VIRTQ_IOV_MAX);
	head = driver_describe(d, 0, link, 2);
	*descriptor(f, head + 1u) = *descriptor(f, table);
	driver_offer(d, 0, head);
	assert_breaks(f);
}

/* ---- a guest that changes its mind while we look --------------------------------------------- */

struct flipper {
	struct vring_desc *target;
	struct vring_desc forms[4];
	bool stop;
};

static void *flip(void *arg)
{
	struct flipper *flipper = arg;
	unsigned i = 0;

	while (!__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED)) {
		const struct vring_desc *form = &flipper->forms[i++ % ARRAY_SIZE(flipper->forms)];

		__atomic_store_n(&flipper->target->addr, form->addr, __ATOMIC_RELAXED);
		__atomic_store_n(&flipper->target->len, form->len, __ATOMIC_RELAXED);
		__atomic_store_n(&flipper->target->flags, form->flags, __ATOMIC_RELAXED);
		__atomic_store_n(&flipper->target->next, form->next, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool is_in_region(const struct guest_memory *memory, const struct iovec *iov)
{
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uintptr_t at = (uintptr_t)iov->iov_base - (uintptr_t)region->host;

		if (at < region->size && iov->iov_len <= region->size - at)
			return true;
	}
	return false;
}

/* Whatever mixture of the forms is seen: what is given out is memory, or the queue is broken. */
static void what_was_checked_is_what_is_used(void **state)
{
	struct virtq_fixture *f = *state;
	struct flipper flipper = {
		.forms = {
			{ .addr = 0x10000, .len = 16 },
			{ .addr = LOW_END - 16, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1 },
			{ .addr = UINT64_MAX - 8, .len = 0x7fffffff, .flags = VRING_DESC_F_NEXT, .next = 0xffff },
			{ .addr = 0x10000, .len = 0x10, .flags = VRING_DESC_F_INDIRECT },
		},
	};
	unsigned good = 0, bad = 0;
	pthread_t thread;

	flipper.target = descriptor(f, 0);
	*descriptor(f, 1) = (struct vring_desc){ .addr = 0x10000, .len = 1 };
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	/* Both must have been seen, lest the test shows nothing; with one processor that takes a while. */
	while (good < 1000 || bad < 1000) {
		f->driver.queues[0].avail->ring[0] = 0;
		f->driver.queues[0].avail->idx = 1;
		assert_int_equal(virtq_begin(f, INDIRECT), 0);
		if (virtq_pop(&f->q, &f->chain) < 0) {
			bad++;
			continue;
		}
		good++;
		for (unsigned i = 0; i < f->chain.readable + f->chain.writable; i++)
			assert_true(is_in_region(&f->driver.memory, &f->chain.iov[i]));
	}
	__atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

#define test(function) cmocka_unit_test_setup_teardown(function, virtq_setup, virtq_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(sizes_are_powers_of_two_in_bounds),
		test(rings_are_aligned),
		test(rings_are_in_memory),
		test(more_available_than_there_can_be_is_refused),
		test(heads_and_links_are_in_the_table),
		test(chains_do_not_loop),
		test(buffers_are_in_memory),
		test(a_request_has_less_than_4_gib),
		test(readable_buffers_come_first),
		test(indirect_tables_are_followed),
		test(indirect_tables_follow_descriptors),
		test(indirect_tables_are_negotiated),
		test(indirect_tables_have_sensible_lengths),
		test(indirect_tables_are_in_memory),
		test(indirect_tables_are_the_last_of_a_chain),
		test(indirect_tables_do_not_nest),
		test(indirect_links_are_in_the_table),
		test(requests_have_a_bounded_number_of_buffers),
		test(what_was_checked_is_what_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
