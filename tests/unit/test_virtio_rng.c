/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng. */
#include "tests/unit/virtio_driver.h"

#define REQUEST_MAX 65536u

static int setup(void **state)
{
	struct driver *d = calloc(1, sizeof(*d));
	struct error err = { 0 };

	assert_non_null(d);
	driver_open(d, DRIVER_MEMORY_SIZE);
	driver_start(d, virtio_rng_new(&d->memory, &d->loop, &err),
		     BIT64(VIRTIO_RING_F_INDIRECT_DESC));
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

static bool is_zero(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i])
			return false;
	return true;
}

static void buffers_are_filled(void **state)
{
	struct driver *d = *state;
	uint64_t gpa = driver_alloc(d, 3000, 1);
	struct driver_buffer buffers[] = { { gpa, 1000, true }, { gpa + 1500, 1000, true } };
	uint8_t *data = driver_at(d, gpa, 3000);

	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_ID), 4);
	assert_int_equal(driver_finish(d, 0, driver_send(d, 0, buffers, 2)), 2000);
	assert_true(driver_interrupted(d));
	/* A run of 64 zeroes is not random; what lies between and behind is not touched. */
	for (unsigned i = 0; i + 64 <= 1000; i += 64) {
		assert_false(is_zero(data + i, 64));
		assert_false(is_zero(data + 1500 + i, 64));
	}
	assert_false(is_zero(data + 1000 - 64, 64));
	assert_true(is_zero(data + 1000, 500));
	assert_true(is_zero(data + 2500, 500));
	assert_memory_not_equal(data, data + 1500, 1000);
}

static void a_request_is_bounded(void **state)
{
	struct driver *d = *state;
	uint64_t gpa = driver_alloc(d, 2ull * REQUEST_MAX, 1);
	struct driver_buffer buffer = { gpa, 2 * REQUEST_MAX, true }, many[200];
	uint8_t *data = driver_at(d, gpa, 2ull * REQUEST_MAX);
	uint16_t head;

	assert_int_equal(driver_finish(d, 0, driver_send(d, 0, &buffer, 1)), REQUEST_MAX);
	assert_false(is_zero(data + REQUEST_MAX - 64, 64));
	assert_true(is_zero(data + REQUEST_MAX, REQUEST_MAX));
	/* Overlapping buffers make a small guest ask for much. */
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct driver_buffer){ gpa, 0x1000000 / 4, true };
	head = driver_describe_indirect(d, 0, many, 100);
	driver_offer(d, 0, head);
	driver_notify(d, 0);
	assert_int_equal(driver_finish(d, 0, head), REQUEST_MAX);
}

/* More requests than the device serves at once. */
static void all_requests_are_served(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer = { driver_alloc(d, 16, 1), 16, true };
	uint16_t head;
	uint32_t written;

	for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++)
		driver_offer(d, 0, driver_describe(d, 0, &buffer, 1));
	driver_notify(d, 0);
	driver_run(d);
	for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++) {
		assert_true(driver_take_used(d, 0, &head, &written));
		assert_int_equal(written, 16);
	}
}

static void requests_of_the_wrong_direction_break_it(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffers[] = { { 0x10000, 16, false }, { 0x20000, 16, true } };

	driver_send(d, 0, buffers, 1);
	driver_assert_broken(d, 0);
	driver_send(d, 0, buffers, 2);
	driver_assert_broken(d, 0);
	buffers_are_filled(state);
}

static void requests_outside_memory_break_it(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer = { DRIVER_MEMORY_SIZE - 8, 16, true };

	driver_send(d, 0, &buffer, 1);
	driver_assert_broken(d, 0);
	buffers_are_filled(state);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(buffers_are_filled),
		test(a_request_is_bounded),
		test(all_requests_are_served),
		test(requests_of_the_wrong_direction_break_it),
		test(requests_outside_memory_break_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
