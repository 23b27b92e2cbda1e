/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-balloon: memory that comes back to the host, and drivers that give what is not theirs. */
#include "tests/unit/virtio_driver.h"

#include <linux/virtio_balloon.h>
#include <sys/stat.h>

#include "microvm/virtio_balloon.h"

#define PAGE     GUEST_PAGE_SIZE
#define STATS_F  BIT64(VIRTIO_BALLOON_F_STATS_VQ)
#define REPORT_F BIT64(VIRTIO_BALLOON_F_REPORTING)
#define POISON_F BIT64(VIRTIO_BALLOON_F_PAGE_POISON)
#define MEMORY   (GUEST_HOLE_START + (UINT64_C(8) << 20)) /* with a hole */
#define CONFIG   0x100u

enum { INFLATE, DEFLATE, STATS, REPORT };

static int setup(void **state)
{
	struct driver *d = calloc(1, sizeof(*d));
	struct error err = { 0 };

	assert_non_null(d);
	driver_open(d, MEMORY);
	driver_start(d, virtio_balloon_new(&d->memory, &d->loop, &err), STATS_F | REPORT_F);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct driver *d = *state;

	driver_close(d);
	free(d);
	return 0;
}

/* Pages in use, filled with ones. */
static uint64_t make_pages(struct driver *d, unsigned count)
{
	uint64_t gpa = driver_alloc(d, (uint64_t)count * PAGE, PAGE);

	memset(driver_at(d, gpa, (uint64_t)count * PAGE), 1, (size_t)count * PAGE);
	return gpa;
}

static bool is_filled(struct driver *d, uint64_t page)
{
	const uint8_t *data = driver_at(d, page, PAGE);

	for (unsigned i = 1; i < PAGE; i++)
		assert_int_equal(data[i], data[0]);
	return data[0] == 1;
}

static uint64_t allocated(struct driver *d)
{
	struct stat st;

	assert_int_equal(fstat(d->memory.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static uint16_t send_pages(struct driver *d, unsigned queue, const uint32_t *pages, uint32_t count)
{
	uint32_t len = count * (uint32_t)sizeof(*pages);
	struct driver_buffer buffer = { driver_copy(d, pages, len), len, false };

	return driver_send(d, queue, &buffer, 1);
}

/* ---- the balloon ----------------------------------------------------------------------------- */

static void the_driver_is_told_the_target(void **state)
{
	struct driver *d = *state;
	struct virtio_balloon_stats stats;

	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_ID), 5);
	assert_int_equal(driver_get(d, CONFIG), 0);
	virtio_balloon_set_target(d->dev, 100);
	assert_true(driver_interrupted(d));
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(driver_get(d, CONFIG), 100);
	/* The same again is nothing new. */
	virtio_balloon_set_target(d->dev, 100);
	assert_false(driver_interrupted(d));
	driver_set(d, CONFIG + 4, 60);
	assert_int_equal(driver_get(d, CONFIG + 4), 60);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.target, 100);
	assert_int_equal(stats.actual, 60);
	/* The target is the host's. */
	driver_set(d, CONFIG, 5);
	assert_int_equal(driver_get(d, CONFIG), 100);
	/* No more than there is; and it outlives a reset, unlike what was in the balloon. */
	virtio_balloon_set_target(d->dev, UINT32_MAX);
	driver_restart(d, 0);
	assert_int_equal(driver_get(d, CONFIG), MEMORY / PAGE);
	assert_int_equal(driver_get(d, CONFIG + 4), 0);
}

static void pages_in_the_balloon_are_the_hosts(void **state)
{
	struct driver *d = *state;
	uint64_t gpa = make_pages(d, 8), before;
	uint32_t base = (uint32_t)(gpa / PAGE);
	/* In any order, twice, and with gaps. */
	uint32_t pages[] = { base + 3, base + 1, base + 2, base + 6, base + 3 };
	struct virtio_balloon_stats stats;

	before = allocated(d);
	assert_int_equal(driver_finish(d, INFLATE, send_pages(d, INFLATE, pages, 5)), 0);
	assert_true(driver_interrupted(d));
	assert_true(allocated(d) <= before + PAGE - 4ull * PAGE);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(is_filled(d, gpa + (uint64_t)i * PAGE),
				 i == 0 || i == 4 || i == 5 || i == 7);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.discarded, 4 * PAGE);
	/* Taking them back needs nothing but a word. */
	assert_int_equal(driver_finish(d, DEFLATE, send_pages(d, DEFLATE, pages, 5)), 0);
	memset(driver_at(d, gpa, 8ull * PAGE), 1, 8ull * PAGE);
	assert_true(is_filled(d, gpa + 3ull * PAGE));
}

/* On both sides of the hole, which is not memory, nor is what lies behind the end. */
static void only_memory_goes_into_the_balloon(void **state)
{
	struct driver *d = *state;
	const uint32_t good[] = { GUEST_HOLE_START / PAGE - 1, GUEST_HOLE_END / PAGE };
	const uint32_t bad[] = {
		GUEST_HOLE_START / PAGE,
		GUEST_HOLE_END / PAGE - 1,
		(uint32_t)((GUEST_HOLE_END + MEMORY - GUEST_HOLE_START) / PAGE),
		UINT32_MAX,
	};
	uint8_t *low = driver_at(d, (uint64_t)good[0] * PAGE, PAGE);
	uint8_t *high = driver_at(d, (uint64_t)good[1] * PAGE, PAGE);

	low[0] = high[0] = 1;
	driver_finish(d, INFLATE, send_pages(d, INFLATE, good, 2));
	assert_int_equal(low[0] | high[0], 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t pages[] = { good[0], bad[i] };

		send_pages(d, INFLATE, pages, 2);
		driver_assert_broken(d, INFLATE);
		send_pages(d, INFLATE, &bad[i], 1);
		driver_assert_broken(d, INFLATE);
	}
}

static void requests_have_whole_numbers_and_not_too_many(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer = { driver_alloc(d, 1 << 20, PAGE), 1024 * 4, false };

	/* The guest's first page, 1024 times. */
	driver_finish(d, INFLATE, driver_send(d, INFLATE, &buffer, 1));
	buffer.len += 4;
	driver_send(d, INFLATE, &buffer, 1);
	driver_assert_broken(d, INFLATE);
	buffer.len = 7;
	driver_send(d, INFLATE, &buffer, 1);
	driver_assert_broken(d, INFLATE);
}

static void requests_of_the_wrong_direction_break_it(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer = { make_pages(d, 1), PAGE, true };

	for (unsigned queue = INFLATE; queue <= STATS; queue++) {
		buffer.writable = true;
		driver_send(d, queue, &buffer, 1);
		driver_assert_broken(d, queue);
	}
	buffer.writable = false;
	driver_send(d, REPORT, &buffer, 1);
	driver_assert_broken(d, REPORT);
	assert_true(is_filled(d, buffer.gpa));
}

/* ---- free page reporting --------------------------------------------------------------------- */

static void reported_pages_are_given_back(void **state)
{
	struct driver *d = *state;
	uint64_t gpa = make_pages(d, 8);
	struct driver_buffer buffers[] = {
		{ gpa + PAGE, 2 * PAGE, true },
		{ gpa + 5ull * PAGE, PAGE, true },
		/* Parts of pages are none. */
		{ gpa + 6ull * PAGE + 1, 2 * PAGE - 2, true },
	};
	struct virtio_balloon_stats stats;

	assert_int_equal(driver_finish(d, REPORT, driver_send(d, REPORT, buffers, 3)), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(is_filled(d, gpa + (uint64_t)i * PAGE),
				 i != 1 && i != 2 && i != 5);
	virtio_balloon_stats(d->dev, &stats);
	assert_true(stats.discarded >= 3ull * PAGE);
}

/* The driver does not leave a gap in its queues' numbers. */
static void reporting_comes_without_statistics(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer;

	driver_restart(d, REPORT_F);
	buffer = (struct driver_buffer){ make_pages(d, 1), PAGE, true };
	driver_finish(d, STATS, driver_send(d, STATS, &buffer, 1));
	assert_false(is_filled(d, buffer.gpa));
}

static void poisoned_pages_stay(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer;

	driver_restart(d, STATS_F | REPORT_F | POISON_F);
	driver_set(d, CONFIG + 12, 0x01010101);
	assert_int_equal(driver_get(d, CONFIG + 12), 0x01010101);
	buffer = (struct driver_buffer){ make_pages(d, 1), PAGE, true };
	driver_finish(d, REPORT, driver_send(d, REPORT, &buffer, 1));
	assert_true(is_filled(d, buffer.gpa));
	/* Zeroes are what pages are when they come back. */
	driver_set(d, CONFIG + 12, 0);
	driver_finish(d, REPORT, driver_send(d, REPORT, &buffer, 1));
	assert_false(is_filled(d, buffer.gpa));
}

/* ---- statistics ------------------------------------------------------------------------------ */

static uint16_t send_stats(struct driver *d, const struct virtio_balloon_stat *stats,
			   unsigned count)
{
	uint32_t len = count * (uint32_t)sizeof(*stats);
	struct driver_buffer buffer = { driver_copy(d, stats, len), len, false };

	return driver_send(d, STATS, &buffer, 1);
}

static void statistics_come_when_they_are_wanted(void **state)
{
	struct driver *d = *state;
	const struct virtio_balloon_stat first[] = { { VIRTIO_BALLOON_S_MEMFREE, 1000 } };
	const struct virtio_balloon_stat second[] = {
		{ VIRTIO_BALLOON_S_MEMTOT, 5000 },
		{ VIRTIO_BALLOON_S_MEMFREE, 2000 },
		{ 0xffff, 1 }, /* not known here */
		{ VIRTIO_BALLOON_STATS, 1 },
		{ VIRTIO_BALLOON_STATS - 1, 7 },
	};
	struct virtio_balloon_stats stats;
	uint16_t head, used;
	uint32_t written;

	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.updates, 0);
	head = send_stats(d, first, 1);
	driver_run(d);
	/* The device keeps the buffer until the host asks. */
	assert_false(driver_take_used(d, STATS, &used, &written));
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.updates, 1);
	assert_int_equal(stats.known, 1 << VIRTIO_BALLOON_S_MEMFREE);
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MEMFREE], 1000);
	assert_true(driver_interrupted(d));
	assert_true(driver_take_used(d, STATS, &used, &written));
	assert_int_equal(used, head);
	send_stats(d, second, ARRAY_SIZE(second));
	driver_run(d);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.updates, 2);
	assert_int_equal(stats.known, 1 << VIRTIO_BALLOON_S_MEMFREE | 1 << VIRTIO_BALLOON_S_MEMTOT |
					      1 << (VIRTIO_BALLOON_STATS - 1));
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MEMFREE], 2000);
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MEMTOT], 5000);
	assert_int_equal(stats.values[VIRTIO_BALLOON_STATS - 1], 7);
	/* Asking again before the driver answered changes nothing. */
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.updates, 2);
	assert_int_equal(d->queues[STATS].used->idx, 2);
}

static void statistics_are_bounded(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer = { driver_alloc(d, 1 << 20, 1), 1 << 20, false };
	struct virtio_balloon_stat *many = driver_at(d, buffer.gpa, buffer.len);
	struct virtio_balloon_stats stats;

	/* What comes after the first 64 is not looked at; a part of an entry is none. */
	many[64] = (struct virtio_balloon_stat){ VIRTIO_BALLOON_S_AVAIL, 1 };
	driver_send(d, STATS, &buffer, 1);
	driver_run(d);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.known, 1 << VIRTIO_BALLOON_S_SWAP_IN);
	buffer.len = 19;
	many[1].tag = VIRTIO_BALLOON_S_AVAIL;
	driver_send(d, STATS, &buffer, 1);
	driver_run(d);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.known, 1 << VIRTIO_BALLOON_S_SWAP_IN);
}

static void of_many_statistics_the_last_is_kept(void **state)
{
	struct driver *d = *state;
	struct virtio_balloon_stats stats;

	for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++) {
		struct virtio_balloon_stat stat = { VIRTIO_BALLOON_S_MEMFREE, i };

		send_stats(d, &stat, 1);
	}
	driver_run(d);
	assert_int_equal(d->queues[STATS].used->idx, DRIVER_QUEUE_SIZE - 1);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MEMFREE], DRIVER_QUEUE_SIZE - 1);
	assert_int_equal(d->queues[STATS].used->idx, DRIVER_QUEUE_SIZE);
}

/* A buffer that was held is not returned into the rings of the next driver. */
static void reset_forgets_the_buffer_of_statistics(void **state)
{
	struct driver *d = *state;
	const struct virtio_balloon_stat stat = { VIRTIO_BALLOON_S_MEMFREE, 1000 };
	struct virtio_balloon_stats stats;

	send_stats(d, &stat, 1);
	driver_run(d);
	driver_restart(d, STATS_F | REPORT_F);
	virtio_balloon_stats(d->dev, &stats);
	assert_int_equal(d->queues[STATS].used->idx, 0);
	assert_int_equal(stats.updates, 1);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_driver_is_told_the_target),
		test(pages_in_the_balloon_are_the_hosts),
		test(only_memory_goes_into_the_balloon),
		test(requests_have_whole_numbers_and_not_too_many),
		test(requests_of_the_wrong_direction_break_it),
		test(reported_pages_are_given_back),
		test(reporting_comes_without_statistics),
		test(poisoned_pages_stay),
		test(statistics_come_when_they_are_wanted),
		test(statistics_are_bounded),
		test(of_many_statistics_the_last_is_kept),
		test(reset_forgets_the_buffer_of_statistics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
