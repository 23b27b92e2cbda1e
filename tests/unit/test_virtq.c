/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues, for drivers that keep to the specification. */
#include "tests/unit/virtq_fixture.h"

#include <errno.h>

/* ---- requests -------------------------------------------------------------------------------- */

static void a_request_comes_and_goes(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t in = driver_alloc(d, 100, 1), out = driver_copy(d, "question", 8);
	struct driver_buffer buffers[] = { { out, 5, false },
					   { out + 5, 3, false },
					   { in, 100, true } };
	uint16_t head, used;
	uint32_t written;
	char text[9] = "";

	assert_int_equal(virtq_pop(&f->q, &f->chain), 0);
	head = virtq_offer(f, buffers, 3);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(virtq_pop(&f->q, &(struct virtq_chain){ 0 }), 0);
	assert_int_equal(f->chain.head, head);
	assert_int_equal(f->chain.readable, 2);
	assert_int_equal(f->chain.writable, 1);
	assert_int_equal(f->chain.readable_bytes, 8);
	assert_int_equal(f->chain.writable_bytes, 100);
	assert_ptr_equal(f->chain.iov[2].iov_base, driver_at(d, in, 100));
	assert_true(virtq_read(&f->chain, 0, text, 8));
	assert_string_equal(text, "question");
	assert_true(virtq_write(&f->chain, 0, "answer", 6));
	virtq_push(&f->q, &f->chain, 6);
	assert_true(driver_take_used(d, 0, &used, &written));
	assert_int_equal(used, head);
	assert_int_equal(written, 6);
	assert_memory_equal(driver_at(d, in, 6), "answer", 6);
}

/* Around all indexes of 16 bits, and the ring many times. */
static void indexes_wrap(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffer = { driver_alloc(d, 16, 1), 16, true };

	for (uint32_t i = 0; i < 70000; i++) {
		uint16_t head = virtq_offer(f, &buffer, 1), used;
		uint32_t written;

		assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
		virtq_push(&f->q, &f->chain, i % 17);
		assert_true(driver_take_used(d, 0, &used, &written));
		assert_int_equal(used, head);
		assert_int_equal(written, i % 17);
	}
	assert_int_equal(virtq_pop(&f->q, &f->chain), 0);
}

static void what_is_given_back_comes_again(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_buffer buffer = { driver_alloc(&f->driver, 16, 1), 16, true };
	uint16_t first = virtq_offer(f, &buffer, 1), second = virtq_offer(f, &buffer, 1);

	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.head, second);
	virtq_unpop(&f->q, 2);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.head, first);
	virtq_unpop(&f->q, 1);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.head, first);
}

static void several_are_used_at_once(void **state)
{
	struct virtq_fixture *f = *state;
	struct virtq_used all[] = { { 3, 10 }, { 1, 20 }, { 2, 30 } };
	uint16_t head;
	uint32_t written;

	virtq_push_all(&f->q, all, 3);
	assert_int_equal(f->driver.queues[0].used->idx, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(driver_take_used(&f->driver, 0, &head, &written));
		assert_int_equal(head, all[i].head);
		assert_int_equal(written, all[i].written);
	}
}

static void our_positions_are_not_the_guests_to_change(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_queue *queue = &f->driver.queues[0];
	struct driver_buffer buffer = { driver_alloc(&f->driver, 16, 1), 16, true };
	uint16_t head = virtq_offer(f, &buffer, 1);

	queue->used->idx = 0x1234;
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	queue->used->idx = 0x4321;
	virtq_push(&f->q, &f->chain, 1);
	assert_int_equal(queue->used->idx, 1);
	assert_int_equal(queue->used->ring[0].id, head);
}

/* ---- notifications --------------------------------------------------------------------------- */

static void push_one(struct virtq_fixture *f)
{
	struct virtq_used used = { 0, 0 };

	virtq_push_all(&f->q, &used, 1);
}

static void interrupts_can_be_declined(void **state)
{
	struct virtq_fixture *f = *state;

	assert_false(virtq_must_interrupt(&f->q));
	push_one(f);
	assert_true(virtq_must_interrupt(&f->q));
	assert_false(virtq_must_interrupt(&f->q));
	f->driver.queues[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	push_one(f);
	assert_false(virtq_must_interrupt(&f->q));
	f->driver.queues[0].avail->flags = 0;
	push_one(f);
	assert_true(virtq_must_interrupt(&f->q));
}

static void interrupts_come_when_the_event_is_reached(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_queue *queue = &f->driver.queues[0];
	uint16_t *used_event = &queue->avail->ring[VIRTQ_ENTRIES];

	assert_int_equal(virtq_begin(f, EVENT_IDX), 0);
	/* The flag means nothing now. */
	queue->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	push_one(f);
	assert_true(virtq_must_interrupt(&f->q));
	*used_event = 3;
	push_one(f);
	push_one(f);
	assert_false(virtq_must_interrupt(&f->q));
	push_one(f); /* idx 4: it has passed 3 */
	assert_true(virtq_must_interrupt(&f->q));
	push_one(f);
	assert_false(virtq_must_interrupt(&f->q));
	/* Across the wrap of the index. */
	*used_event = 2;
	while (f->q.next_used != 2)
		push_one(f);
	assert_false(virtq_must_interrupt(&f->q));
	push_one(f);
	assert_true(virtq_must_interrupt(&f->q));
}

static void notifications_are_asked_for(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver_queue *queue = &f->driver.queues[0];
	uint16_t *avail_event = (void *)&queue->used->ring[VIRTQ_ENTRIES];

	assert_false(virtq_ask_notify(&f->q, false));
	assert_int_equal(queue->used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(virtq_ask_notify(&f->q, true));
	assert_int_equal(queue->used->flags, 0);
	virtq_offer_one(f, 0x10000, 1);
	assert_true(virtq_ask_notify(&f->q, true));

	assert_int_equal(virtq_begin(f, EVENT_IDX), 0);
	assert_true(virtq_ask_notify(&f->q, true));
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_false(virtq_ask_notify(&f->q, true));
	assert_int_equal(*avail_event, 1);
	assert_int_equal(queue->used->flags, 0);
}

/* ---- data ------------------------------------------------------------------------------------ */

static void data_cross_buffers(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t out = driver_copy(d, "abcdefghij", 10), in = driver_alloc(d, 10, 1);
	struct driver_buffer buffers[] = {
		{ out, 1, false }, { out + 1, 4, false }, { out + 5, 5, false },
		{ in, 3, true },   { in + 3, 3, true },
	};
	struct iovec iov[VIRTQ_IOV_MAX];
	char text[11] = "";

	virtq_offer(f, buffers, 5);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_true(virtq_read(&f->chain, 0, text, 10));
	assert_string_equal(text, "abcdefghij");
	memset(text, 0, sizeof(text));
	assert_true(virtq_read(&f->chain, 4, text, 3));
	assert_string_equal(text, "efg");
	assert_false(virtq_read(&f->chain, 4, text, 7));
	assert_false(virtq_read(&f->chain, 10, text, 1));
	assert_false(virtq_read(&f->chain, UINT64_MAX, text, 2));
	assert_true(virtq_write(&f->chain, 2, "xyz", 3));
	assert_memory_equal(driver_at(d, in, 6), "\0\0xyz\0", 6);
	assert_false(virtq_write(&f->chain, 4, "xyz", 3));
	assert_memory_equal(driver_at(d, in, 6), "\0\0xyz\0", 6);
	assert_int_equal(virtq_slice(&f->chain, false, 1, 4, iov), 1);
	assert_int_equal(virtq_slice(&f->chain, false, 0, 10, iov), 3);
	assert_int_equal(virtq_slice(&f->chain, false, 3, 3, iov), 2);
	assert_int_equal(iov[0].iov_len, 2);
	assert_int_equal(iov[1].iov_len, 1);
	assert_int_equal(virtq_slice(&f->chain, true, 5, 1, iov), 1);
	assert_ptr_equal(iov[0].iov_base, driver_at(d, in + 5, 1));
	assert_int_equal(virtq_slice(&f->chain, true, 5, 2, iov), 0);
	assert_int_equal(virtq_slice(&f->chain, true, 6, 0, iov), 0);
	assert_int_equal(virtq_slice(&f->chain, false, 1, UINT64_MAX, iov), 0);
}

/* ---- which pages were written ---------------------------------------------------------------- */

static bool is_dirty(const uint64_t *words, uint64_t gpa)
{
	uint64_t page = (gpa < LOW_END ? gpa : LOW_END + (gpa - HIGH_START)) / GUEST_PAGE_SIZE;

	return words[page / 64] >> page % 64 & 1;
}

static unsigned count_dirty(struct virtq_fixture *f, const uint64_t *words)
{
	unsigned count = 0;

	for (size_t i = 0; i < guest_memory_dirty_words(&f->driver.memory); i++)
		count += (unsigned)__builtin_popcountll(words[i]);
	return count;
}

/* Begins over with rings on pages of their own. */
static void use_separate_pages(struct virtq_fixture *f)
{
	struct driver_queue *queue = &f->driver.queues[0];

	driver_make_queue(&f->driver, 0, VIRTQ_ENTRIES);
	queue->layout.device = driver_alloc(&f->driver, GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	assert_int_equal(virtq_begin(f, EVENT_IDX), 0);
}

static void written_pages_are_noted(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t data = driver_alloc(d, 2ull * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	struct driver_buffer buffers[] = {
		{ data - 1, 1, false },
		{ data + GUEST_PAGE_SIZE - 1, 2, true },
		{ HIGH_START + HIGH_SIZE - 1, 1, true },
	};
	_cleanup_free_ uint64_t *words = NULL;
	struct error err = { 0 };

	use_separate_pages(f);
	virtq_offer(f, buffers, 3);
	assert_int_equal(guest_memory_prepare_track(&d->memory, &err), 0);
	guest_memory_track(&d->memory);
	words = calloc(guest_memory_dirty_words(&d->memory), sizeof(*words));
	assert_non_null(words);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	guest_memory_take_dirty(&d->memory, words);
	assert_int_equal(count_dirty(f, words), 0);
	virtq_push(&f->q, &f->chain, 3);
	guest_memory_take_dirty(&d->memory, words);
	assert_true(is_dirty(words, data));
	assert_true(is_dirty(words, data + GUEST_PAGE_SIZE));
	assert_true(is_dirty(words, HIGH_START + HIGH_SIZE - 1));
	assert_true(is_dirty(words, d->queues[0].layout.device));
	assert_int_equal(count_dirty(f, words), 4);
	/* It began anew; the wish for a notification is the ring's, too. */
	memset(words, 0, guest_memory_dirty_words(&d->memory) * sizeof(*words));
	guest_memory_take_dirty(&d->memory, words);
	assert_int_equal(count_dirty(f, words), 0);
	virtq_ask_notify(&f->q, true);
	guest_memory_take_dirty(&d->memory, words);
	assert_true(is_dirty(words, d->queues[0].layout.device));
	assert_int_equal(count_dirty(f, words), 1);
}

/* The used ring's index and its elements lie on two pages. */
static void all_of_the_used_ring_is_noted(void **state)
{
	struct virtq_fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_queue *queue = &d->queues[0];
	uint64_t page = driver_alloc(d, 2ull * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	struct virtq_used used = { 0, 0 };
	_cleanup_free_ uint64_t *words = NULL;

	queue->layout.device = page + GUEST_PAGE_SIZE - sizeof(struct vring_used);
	assert_int_equal(virtq_begin(f, 0), 0);
	assert_int_equal(guest_memory_prepare_track(&d->memory, NULL), 0);
	guest_memory_track(&d->memory);
	words = calloc(guest_memory_dirty_words(&d->memory), sizeof(*words));
	assert_non_null(words);
	virtq_push_all(&f->q, &used, 1);
	guest_memory_take_dirty(&d->memory, words);
	assert_true(is_dirty(words, page));
	assert_true(is_dirty(words, page + GUEST_PAGE_SIZE));
}

/* Ranges of any number of pages, from any one on: as many bits, and the right ones. */
static void ranges_of_pages_are_noted(void **state)
{
	struct virtq_fixture *f = *state;
	const struct guest_memory *memory = &f->driver.memory;
	const unsigned lengths[] = { 1, 2, 63, 64, 65, 127, 128, 129, 200 };
	uint8_t *host = driver_at(&f->driver, 0, 1);
	_cleanup_free_ uint64_t *words = NULL;

	assert_int_equal(guest_memory_prepare_track(&f->driver.memory, NULL), 0);
	guest_memory_track(&f->driver.memory);
	words = calloc(guest_memory_dirty_words(memory), sizeof(*words));
	assert_non_null(words);
	for (unsigned first = 0; first < 130; first++) {
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			memset(words, 0, 64 * sizeof(*words));
			guest_memory_wrote(memory, host + first * (size_t)GUEST_PAGE_SIZE,
					   lengths[i] * (size_t)GUEST_PAGE_SIZE);
			guest_memory_take_dirty(memory, words);
			for (unsigned page = 0; page < 64 * 64; page++)
				assert_int_equal(words[page / 64] >> page % 64 & 1,
						 page >= first && page - first < lengths[i]);
		}
	}
}

static void pages_are_given_back(void **state)
{
	struct virtq_fixture *f = *state;
	const struct guest_memory *memory = &f->driver.memory;
	char *low = driver_at(&f->driver, LOW_END - GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	char *high = driver_at(&f->driver, HIGH_START, 2ull * GUEST_PAGE_SIZE);

	low[0] = high[0] = high[GUEST_PAGE_SIZE] = 1;
	assert_int_equal(guest_memory_discard(memory, high, GUEST_PAGE_SIZE), 0);
	assert_int_equal(high[0], 0);
	assert_int_equal(high[GUEST_PAGE_SIZE], 1);
	assert_int_equal(low[0], 1);
	/* Pages of which a part is meant stay. */
	assert_int_equal(guest_memory_discard(memory, high + 1, 2 * GUEST_PAGE_SIZE - 2), 0);
	assert_int_equal(guest_memory_discard(memory, low + 1, GUEST_PAGE_SIZE - 1), 0);
	assert_int_equal(guest_memory_discard(memory, low, GUEST_PAGE_SIZE - 1), 0);
	assert_int_equal(high[GUEST_PAGE_SIZE], 1);
	assert_int_equal(guest_memory_discard(memory, &f, GUEST_PAGE_SIZE), -EFAULT);
	assert_int_equal(low[0], 1);
}

#define test(function) cmocka_unit_test_setup_teardown(function, virtq_setup, virtq_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_request_comes_and_goes),
		test(indexes_wrap),
		test(what_is_given_back_comes_again),
		test(several_are_used_at_once),
		test(our_positions_are_not_the_guests_to_change),
		test(interrupts_can_be_declined),
		test(interrupts_come_when_the_event_is_reached),
		test(notifications_are_asked_for),
		test(data_cross_buffers),
		test(written_pages_are_noted),
		test(all_of_the_used_ring_is_noted),
		test(ranges_of_pages_are_noted),
		test(pages_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
