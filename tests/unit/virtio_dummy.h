/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device that only notes what is done to it, and uses requests as they come. */
#ifndef HULL_TESTS_UNIT_VIRTIO_DUMMY_H
#define HULL_TESTS_UNIT_VIRTIO_DUMMY_H

#include "tests/unit/virtio_driver.h"

#define DUMMY_FEATURE    BIT64(7)
#define DUMMY_HIGH       BIT64(40)
#define DUMMY_QUEUES     2
#define DUMMY_QUEUE_SIZE 64
#define DUMMY_CONFIG     8

#define STATUS_ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define STATUS_DRIVER      (STATUS_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define STATUS_FEATURES_OK (STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define STATUS_DRIVER_OK   (STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
#define STATUS_FAILED      VIRTIO_CONFIG_S_FAILED

struct dummy {
	struct virtio_device dev;
	unsigned activations, resets, notifications[DUMMY_QUEUES];
	bool refuse, working, interrupted_work;
	int work[2]; /* pipe: notify() waits until it can read a byte */
	char config[9];
};

/* The common kind, and one with a single queue of another process. */
extern const struct virtio_ops dummy_ops, dummy_external_ops;

/* A new device that is watched by the loop. */
struct dummy *dummy_make(struct driver *d, const struct virtio_ops *kind);

/* A driver with a device of the common kind. */
int dummy_setup(void **state);
int dummy_teardown(void **state);

static inline struct dummy *dummy_of(struct driver *d)
{
	return (struct dummy *)d->dev;
}

void dummy_set_features(struct driver *d, uint64_t features);
/* From nothing to FEATURES_OK, and to DRIVER_OK with queues of 8 entries. */
void dummy_negotiate(struct driver *d);
void dummy_start(struct driver *d);

/* What the status is after one was written. */
static inline void assert_status(struct driver *d, uint32_t written, uint32_t result)
{
	driver_set(d, VIRTIO_MMIO_STATUS, written);
	assert_int_equal(driver_get(d, VIRTIO_MMIO_STATUS), result);
}

#endif
