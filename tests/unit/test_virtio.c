/* SPDX-License-Identifier: Apache-2.0 */
/* What all virtio devices share: interrupts, reset, and what happens to a device whose driver does what it must not. */
#include "tests/unit/virtio_dummy.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

/* ---- interrupts ------------------------------------------------------------------------------ */

static void interrupts_are_acknowledged(void **state)
{
	struct driver *d = *state;
	struct driver_buffer buffer = { 0x10000, 16, true };
	uint32_t generation;

	dummy_start(d);
	driver_run(d);
	assert_false(driver_interrupted(d));
	driver_finish(d, 1, driver_send(d, 1, &buffer, 1));
	assert_true(driver_interrupted(d));
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	generation = driver_get(d, VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_config_changed(d->dev);
	assert_true(driver_interrupted(d));
	assert_int_not_equal(driver_get(d, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	driver_set(d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	driver_set(d, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	driver_set(d, VIRTIO_MMIO_INTERRUPT_STATUS, UINT32_MAX);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void nobody_is_interrupted_before_driver_ok(void **state)
{
	struct driver *d = *state;

	dummy_negotiate(d);
	virtio_config_changed(d->dev);
	assert_false(driver_interrupted(d));
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

/* A vCPU that handles an interrupt does not wait for a device that is at work: here it would wait for ever. */
static void interrupts_and_notifications_take_no_lock(void **state)
{
	struct driver *d = *state;

	dummy_start(d);
	pthread_mutex_lock(&d->dev->lock);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	driver_set(d, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	driver_notify(d, 0);
	pthread_mutex_unlock(&d->dev->lock);
}

static void another_process_interrupts_for_its_queues(void **state)
{
	struct driver *d = *state;
	struct dummy *external;
	uint64_t count;

	virtio_free(d->dev);
	external = dummy_make(d, &dummy_external_ops);
	d->dev = &external->dev;
	dummy_start(d);
	assert_int_equal(external->activations, 1);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	driver_set(d, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	/* Its notifications are not ours to read: it finds that of DRIVER_OK, and the driver's. */
	driver_notify(d, 0);
	driver_run(d);
	assert_int_equal(external->notifications[0], 0);
	assert_int_equal(read(d->dev->notify_fds[0], &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 2);
}

/* ---- reset, and what breaks ------------------------------------------------------------------ */

static void reset_clears_everything(void **state)
{
	struct driver *d = *state;

	/* Not before the device was started: it has nothing to stop then. */
	dummy_negotiate(d);
	assert_status(d, 0, 0);
	assert_int_equal(dummy_of(d)->resets, 0);
	dummy_start(d);
	virtio_config_changed(d->dev);
	driver_set(d, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_status(d, 0, 0);
	assert_int_equal(dummy_of(d)->resets, 1);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(d->dev->negotiated, 0);
	assert_int_equal(d->dev->driver_features, 0);
	for (unsigned i = 0; i < DUMMY_QUEUES; i++) {
		assert_false(d->dev->queue_ready[i]);
		assert_false(d->dev->queues[i].enabled);
		assert_int_equal(d->dev->layouts[i].size, 0);
	}
	/* Nothing of before is left over. */
	driver_notify(d, 0);
	driver_run(d);
	assert_int_equal(dummy_of(d)->notifications[0], 0);
	dummy_start(d);
	driver_run(d);
	assert_int_equal(dummy_of(d)->notifications[0], 1);
}

static void *step(void *arg)
{
	struct driver *d = arg;

	loop_step(&d->loop, -1, NULL);
	return NULL;
}

static void *write_zero_status(void *arg)
{
	driver_set(arg, VIRTIO_MMIO_STATUS, 0);
	return NULL;
}

static void reset_waits_for_the_device(void **state)
{
	struct driver *d = *state;
	struct dummy *dummy = dummy_of(d);
	pthread_t worker, vcpu;

	dummy_start(d);
	driver_run(d);
	assert_int_equal(pipe2(dummy->work, O_CLOEXEC), 0);
	driver_notify(d, 0);
	assert_int_equal(pthread_create(&worker, NULL, step, d), 0);
	while (!__atomic_load_n(&dummy->working, __ATOMIC_SEQ_CST))
		usleep(100);
	assert_int_equal(pthread_create(&vcpu, NULL, write_zero_status, d), 0);
	assert_int_equal(write(dummy->work[1], "x", 1), 1);
	pthread_join(worker, NULL);
	pthread_join(vcpu, NULL);
	assert_int_equal(dummy->resets, 1);
	assert_false(dummy->interrupted_work);
	close(dummy->work[0]);
	close(dummy->work[1]);
	dummy->work[0] = dummy->work[1] = -1;
}

static unsigned lines_in(int fd)
{
	char text[8192];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	unsigned lines = 0;

	assert_true(n >= 0 && n < (ssize_t)sizeof(text));
	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	return lines;
}

/* Breaks the device by an index out of the ring. */
static void attack(struct driver *d)
{
	driver_offer(d, 0, 0xffff);
	driver_notify(d, 0);
	driver_run(d);
	assert_true(driver_broken(d));
}

static void a_broken_device_stops_alone(void **state)
{
	struct driver *d = *state;
	struct driver other = *d;
	struct driver_buffer buffer = { 0x10000, 16, true };

	other.dev = &dummy_make(d, &dummy_ops)->dev;
	other.heap += 0x10000;
	dummy_start(d);
	dummy_start(&other);
	driver_run(d);
	attack(d);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	assert_true(driver_interrupted(d));
	/* The other queue of the broken one has nothing done either; the other device works. */
	driver_send(d, 1, &buffer, 1);
	driver_run(d);
	assert_int_equal(d->queues[1].used->idx, 0);
	driver_finish(&other, 0, driver_send(&other, 0, &buffer, 1));
	driver_finish(&other, 1, driver_send(&other, 1, &buffer, 1));
	assert_false(driver_broken(&other));
	/* Until it is reset. The bit is not the driver's. */
	assert_status(d, STATUS_DRIVER_OK, STATUS_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_status(d, 0, 0);
	dummy_start(d);
	driver_finish(d, 1, driver_send(d, 1, &buffer, 1));
	virtio_free(other.dev);
}

static void a_guest_cannot_fill_the_log(void **state)
{
	struct driver *d = *state;
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct log_config log = {
		.fd = fd, .quiet = true, .level = LOG_LEVEL_WARNING, .program = "test"
	};

	assert_true(fd >= 0);
	log_configure(&log);
	for (unsigned i = 0; i < 100; i++) {
		dummy_start(d);
		attack(d);
		virtio_broken(d->dev, "again");
		d->heap = 0x10000;
		assert_status(d, 0, 0);
		assert_int_equal(lines_in(fd), 1);
	}
	/* An hour later it is worth a line again. */
	d->dev->complained -= 3600;
	dummy_start(d);
	attack(d);
	assert_int_equal(lines_in(fd), 2);
	log.fd = -1;
	log_configure(&log);
	close(fd);
}

#define test(function) cmocka_unit_test_setup_teardown(function, dummy_setup, dummy_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(interrupts_are_acknowledged),
		test(nobody_is_interrupted_before_driver_ok),
		test(interrupts_and_notifications_take_no_lock),
		test(another_process_interrupts_for_its_queues),
		test(reset_clears_everything),
		test(reset_waits_for_the_device),
		test(a_broken_device_stops_alone),
		test(a_guest_cannot_fill_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
