/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio-mmio. */
#include "tests/unit/virtio_dummy.h"

/* ---- what it is ------------------------------------------------------------------------------ */

static void the_device_introduces_itself(void **state)
{
	struct driver *d = *state;

	assert_int_equal(driver_get(d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_ID), 42);
	assert_int_not_equal(driver_get(d, VIRTIO_MMIO_VENDOR_ID), 0);
	/* There is no shared memory, whichever one is selected. */
	for (uint32_t id = 0; id < 3; id++) {
		driver_set(d, VIRTIO_MMIO_SHM_SEL, id);
		for (uint32_t reg = VIRTIO_MMIO_SHM_LEN_LOW; reg <= VIRTIO_MMIO_SHM_BASE_HIGH;
		     reg += 4)
			assert_int_equal(driver_get(d, reg), UINT32_MAX);
	}
}

static void features_are_offered_in_halves(void **state)
{
	struct driver *d = *state;
	uint64_t offered;

	driver_set(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	offered = driver_get(d, VIRTIO_MMIO_DEVICE_FEATURES);
	driver_set(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	offered |= (uint64_t)driver_get(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	assert_int_equal(offered, DUMMY_FEATURE | DUMMY_HIGH | BIT64(VIRTIO_F_VERSION_1) |
					  BIT64(VIRTIO_RING_F_INDIRECT_DESC) |
					  BIT64(VIRTIO_RING_F_EVENT_IDX));
	driver_set(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	driver_set(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, UINT32_MAX);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

static void accesses_of_a_wrong_width_or_place_do_nothing(void **state)
{
	struct driver *d = *state;
	const struct {
		uint32_t offset;
		unsigned size;
	} wrong[] = {
		{ 0, 1 },
		{ 0, 2 },
		{ 0, 8 },
		{ 1, 4 },
		{ 2, 4 },
		{ 0, 3 },
		{ 0, 0 },
		{ 0, 16 },
		{ 0x100, 3 },
		{ 0x101, 2 },
		{ 0x102, 4 },
		{ 0x104, 8 },
		{ 0x100, 16 },
		{ 0x100, 0 },
		{ VIRTIO_MMIO_SIZE, 4 },
		{ VIRTIO_MMIO_SIZE - 2, 4 },
		{ UINT32_MAX - 3, 4 },
		{ UINT32_MAX, 1 },
	};
	uint8_t data[16], zeroes[16] = { 0 };

	assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
	assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		memset(data, 0xff, sizeof(data));
		virtio_mmio_read(d->dev, wrong[i].offset, data, wrong[i].size);
		assert_memory_equal(data, zeroes, wrong[i].size);
		virtio_mmio_write(d->dev, wrong[i].offset, zeroes, wrong[i].size);
	}
	virtio_mmio_write(d->dev, VIRTIO_MMIO_STATUS, zeroes, 1);
	virtio_mmio_write(d->dev, VIRTIO_MMIO_STATUS, zeroes, 8);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_STATUS), STATUS_DRIVER);
	assert_memory_equal(dummy_of(d)->config, "abcdefgh", 8);
	/* Registers that there are not, and such that are only written. */
	assert_int_equal(driver_get(d, 0x0f8), 0);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_NOTIFY), 0);
	driver_set(d, VIRTIO_MMIO_MAGIC_VALUE, 1);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
}

static void the_configuration_is_read_in_its_bounds(void **state)
{
	struct driver *d = *state;
	char data[9] = "";

	virtio_mmio_read(d->dev, 0x100, data, 8);
	assert_string_equal(data, "abcdefgh");
	virtio_mmio_read(d->dev, 0x106, data, 2);
	assert_memory_equal(data, "gh", 2);
	virtio_mmio_read(d->dev, 0x108, data, 8);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
	virtio_mmio_read(d->dev, VIRTIO_MMIO_SIZE - 8, data, 8);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
	/* A part of it is inside. */
	memset(data, 'x', 8);
	virtio_config_copy("abc", 3, 2, data, 4);
	assert_memory_equal(data, "cxxx", 4);
	virtio_config_copy("abc", 3, 3, data, 4);
	virtio_config_copy("abc", 3, UINT32_MAX, data, 4);
	assert_memory_equal(data, "cxxx", 4);
}

static void the_configuration_is_written_by_a_driver_only(void **state)
{
	struct driver *d = *state;

	virtio_mmio_write(d->dev, 0x100, "XY", 2);
	assert_memory_equal(dummy_of(d)->config, "abcdefgh", 8);
	dummy_negotiate(d);
	virtio_mmio_write(d->dev, 0x100, "XY", 2);
	assert_memory_equal(dummy_of(d)->config, "XYcdefgh", 8);
	virtio_mmio_write(d->dev, 0x100, "12345678", 8);
	assert_memory_equal(dummy_of(d)->config, "12345678", 8);
}

/* ---- status ---------------------------------------------------------------------------------- */

static void status_goes_step_by_step(void **state)
{
	struct driver *d = *state;
	const uint32_t steps[] = { 0, STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_FEATURES_OK,
				   STATUS_DRIVER_OK };

	for (unsigned at = 0; at < ARRAY_SIZE(steps); at++) {
		/* Every value of the byte and some beyond, but the next step, the reset and giving up. */
		for (uint32_t value = 1; value < 0x200; value++) {
			if ((at + 1 < ARRAY_SIZE(steps) && value == steps[at + 1]) ||
			    value == (steps[at] | STATUS_FAILED))
				continue;
			assert_status(d, value, steps[at]);
		}
		assert_status(d, UINT32_MAX, steps[at]);
		if (steps[at] == STATUS_DRIVER)
			dummy_set_features(d, BIT64(VIRTIO_F_VERSION_1));
		if (at + 1 < ARRAY_SIZE(steps))
			assert_status(d, steps[at + 1], steps[at + 1]);
	}
	assert_int_equal(dummy_of(d)->activations, 1);
	assert_status(d, STATUS_DRIVER_OK | STATUS_FAILED, STATUS_DRIVER_OK | STATUS_FAILED);
	assert_false(virtio_running(d->dev));
	assert_status(d, STATUS_DRIVER_OK, STATUS_DRIVER_OK | STATUS_FAILED);
	assert_status(d, 0, 0);
}

static void features_are_refused_that_were_not_offered(void **state)
{
	struct driver *d = *state;
	const uint64_t version = BIT64(VIRTIO_F_VERSION_1);
	const uint64_t wrong[] = { 0, DUMMY_FEATURE, version | BIT64(0), version | BIT64(63),
				   UINT64_MAX };
	const uint64_t right[] = { version, version | DUMMY_FEATURE | DUMMY_HIGH, d->dev->offered };

	assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
	assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		dummy_set_features(d, wrong[i]);
		assert_status(d, STATUS_FEATURES_OK, STATUS_DRIVER);
		assert_int_equal(d->dev->negotiated, 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(right); i++) {
		assert_status(d, 0, 0);
		assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
		assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
		dummy_set_features(d, right[i]);
		assert_status(d, STATUS_FEATURES_OK, STATUS_FEATURES_OK);
		assert_int_equal(d->dev->negotiated, right[i]);
	}
	/* Beyond the bits that there are. */
	assert_status(d, 0, 0);
	assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
	assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
	dummy_set_features(d, version);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, UINT32_MAX);
	driver_set(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	assert_status(d, STATUS_FEATURES_OK, STATUS_DRIVER);
}

static void features_are_written_between_driver_and_features_ok(void **state)
{
	struct driver *d = *state;

	dummy_set_features(d, d->dev->offered);
	assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
	dummy_set_features(d, d->dev->offered);
	assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
	assert_status(d, STATUS_FEATURES_OK, STATUS_DRIVER);
	dummy_set_features(d, BIT64(VIRTIO_F_VERSION_1));
	assert_status(d, STATUS_FEATURES_OK, STATUS_FEATURES_OK);
	dummy_set_features(d, d->dev->offered);
	assert_status(d, STATUS_DRIVER_OK, STATUS_DRIVER_OK);
	dummy_set_features(d, d->dev->offered);
	assert_int_equal(d->dev->negotiated, BIT64(VIRTIO_F_VERSION_1));
	assert_int_equal(d->dev->driver_features, BIT64(VIRTIO_F_VERSION_1));
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void queues_that_are_not_there_read_zero(void **state)
{
	struct driver *d = *state;
	const uint32_t wrong[] = { DUMMY_QUEUES, VIRTIO_QUEUES_MAX, 0x10000, UINT32_MAX };
	const struct virtq_layout layout = { 8, 0x10000, 0x20000, 0x30000 };

	for (uint32_t i = 0; i < DUMMY_QUEUES; i++) {
		driver_set(d, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_NUM_MAX), DUMMY_QUEUE_SIZE);
	}
	dummy_negotiate(d);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		driver_tell_queue(d, wrong[i], &layout);
		assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		assert_false(d->dev->queue_ready[i]);
		assert_int_equal(d->dev->layouts[i].size, 0);
	}
}

static void assert_layout(struct driver *d, const struct virtq_layout *layout)
{
	assert_int_equal(d->dev->layouts[0].size, layout->size);
	assert_int_equal(d->dev->layouts[0].descriptors, layout->descriptors);
	assert_int_equal(d->dev->layouts[0].driver, layout->driver);
	assert_int_equal(d->dev->layouts[0].device, layout->device);
}

static void queues_are_set_between_features_ok_and_driver_ok(void **state)
{
	struct driver *d = *state;
	const struct virtq_layout layout = { 8, 0x10000, 0x20000, 0x30000 };
	const struct virtq_layout other = { 16, 0x11000, UINT64_C(0x500021000), 0x31000 };

	driver_tell_queue(d, 0, &layout);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_status(d, STATUS_ACKNOWLEDGE, STATUS_ACKNOWLEDGE);
	assert_status(d, STATUS_DRIVER, STATUS_DRIVER);
	driver_tell_queue(d, 0, &layout);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(d->dev->layouts[0].size, 0);
	dummy_set_features(d, BIT64(VIRTIO_F_VERSION_1));
	assert_status(d, STATUS_FEATURES_OK, STATUS_FEATURES_OK);
	/* Ready, it keeps what it has; unready, it can be set again. */
	driver_tell_queue(d, 0, &layout);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_READY), 1);
	driver_tell_queue(d, 0, &other);
	assert_layout(d, &layout);
	driver_set(d, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_tell_queue(d, 0, &other);
	assert_layout(d, &other);
	driver_set(d, VIRTIO_MMIO_QUEUE_READY, 0);
	driver_tell_queue(d, 0, &layout);
	assert_status(d, STATUS_DRIVER_OK, STATUS_DRIVER_OK);
	assert_true(d->dev->queues[0].enabled);
	driver_set(d, VIRTIO_MMIO_QUEUE_READY, 0);
	driver_tell_queue(d, 0, &other);
	driver_tell_queue(d, 1, &other);
	assert_layout(d, &layout);
	assert_false(d->dev->queue_ready[1]);
	assert_true(d->dev->queue_ready[0]);
}

static void a_queue_of_nonsense_needs_a_reset(void **state)
{
	struct driver *d = *state;
	const struct virtq_layout wrong[] = {
		{ 0, 0x10000, 0x20000, 0x30000 },
		{ 3, 0x10000, 0x20000, 0x30000 },
		{ 128, 0x10000, 0x20000, 0x30000 }, /* larger than offered */
		{ 8, 0x10001, 0x20000, 0x30000 },
		{ 8, 0x10000, DRIVER_MEMORY_SIZE, 0x30000 },
		{ 8, 0x10000, 0x20000, UINT64_MAX & ~UINT64_C(3) },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		dummy_negotiate(d);
		driver_tell_queue(d, 1, &wrong[i]);
		driver_set(d, VIRTIO_MMIO_STATUS, STATUS_DRIVER_OK);
		assert_true(driver_broken(d));
		assert_false(d->dev->queues[1].enabled);
		assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS),
				 VIRTIO_MMIO_INT_CONFIG);
		assert_true(driver_interrupted(d));
		assert_int_equal(dummy_of(d)->activations, 0);
		assert_status(d, 0, 0);
	}
	/* A size that does not fit into the register's 16 bits is none that would. */
	dummy_negotiate(d);
	driver_set(d, VIRTIO_MMIO_QUEUE_SEL, 0);
	driver_set(d, VIRTIO_MMIO_QUEUE_NUM, 0x10008);
	assert_int_equal(d->dev->layouts[0].size, 0);
}

static void a_device_that_cannot_start_needs_a_reset(void **state)
{
	struct driver *d = *state;

	dummy_of(d)->refuse = true;
	dummy_negotiate(d);
	driver_set(d, VIRTIO_MMIO_STATUS, STATUS_DRIVER_OK);
	assert_true(driver_broken(d));
	assert_false(virtio_running(d->dev));
	/* What it did begin is undone. */
	assert_status(d, 0, 0);
	assert_int_equal(dummy_of(d)->resets, 1);
	dummy_of(d)->refuse = false;
	dummy_start(d);
}

static void only_queues_that_are_ready_are_notified(void **state)
{
	struct driver *d = *state;
	struct dummy *dummy = dummy_of(d);

	/* What comes before DRIVER_OK is not lost: each queue is looked at then. */
	dummy_negotiate(d);
	driver_make_queue(d, 0, 8);
	driver_tell_queue(d, 0, &d->queues[0].layout);
	driver_notify(d, 0);
	driver_run(d);
	assert_int_equal(dummy->notifications[0], 0);
	assert_status(d, STATUS_DRIVER_OK, STATUS_DRIVER_OK);
	driver_run(d);
	assert_int_equal(dummy->notifications[0], 1);
	assert_int_equal(dummy->notifications[1], 0);
	driver_notify(d, 0);
	driver_notify(d, 1);
	driver_run(d);
	assert_int_equal(dummy->notifications[0], 2);
	assert_int_equal(dummy->notifications[1], 0);
	assert_status(d, STATUS_DRIVER_OK | STATUS_FAILED, STATUS_DRIVER_OK | STATUS_FAILED);
	driver_notify(d, 0);
	driver_run(d);
	assert_int_equal(dummy->notifications[0], 2);
}

static void notifications_out_of_range_are_ignored(void **state)
{
	struct driver *d = *state;
	const uint32_t wrong[] = { DUMMY_QUEUES, VIRTIO_QUEUES_MAX, 0x10000, 0x80000000,
				   UINT32_MAX };

	dummy_start(d);
	driver_run(d);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		driver_notify(d, wrong[i]);
	driver_run(d);
	assert_int_equal(dummy_of(d)->notifications[0], 1);
	assert_int_equal(dummy_of(d)->notifications[1], 1);
}

#define test(function) cmocka_unit_test_setup_teardown(function, dummy_setup, dummy_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_device_introduces_itself),
		test(features_are_offered_in_halves),
		test(accesses_of_a_wrong_width_or_place_do_nothing),
		test(the_configuration_is_read_in_its_bounds),
		test(the_configuration_is_written_by_a_driver_only),
		test(status_goes_step_by_step),
		test(features_are_refused_that_were_not_offered),
		test(features_are_written_between_driver_and_features_ok),
		test(queues_that_are_not_there_read_zero),
		test(queues_are_set_between_features_ok_and_driver_ok),
		test(a_queue_of_nonsense_needs_a_reset),
		test(a_device_that_cannot_start_needs_a_reset),
		test(only_queues_that_are_ready_are_notified),
		test(notifications_out_of_range_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
