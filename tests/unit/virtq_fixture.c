/* SPDX-License-Identifier: Apache-2.0 */
/* A virtqueue without a device; see virtq_fixture.h. */
#include "tests/unit/virtq_fixture.h"

int virtq_begin(struct virtq_fixture *f, uint64_t features)
{
	return virtq_enable(&f->q, &f->driver.memory, &f->driver.queues[0].layout, VIRTQ_SIZE_MAX,
			    features, NULL);
}

int virtq_setup(void **state)
{
	struct virtq_fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_open(&f->driver, LOW_END + HIGH_SIZE);
	driver_make_queue(&f->driver, 0, VIRTQ_ENTRIES);
	assert_int_equal(virtq_begin(f, INDIRECT), 0);
	*state = f;
	return 0;
}

int virtq_teardown(void **state)
{
	struct virtq_fixture *f = *state;

	driver_close(&f->driver);
	free(f);
	return 0;
}

uint16_t virtq_offer(struct virtq_fixture *f, const struct driver_buffer *buffers, unsigned count)
{
	uint16_t head = driver_describe(&f->driver, 0, buffers, count);

	driver_offer(&f->driver, 0, head);
	return head;
}

void virtq_offer_one(struct virtq_fixture *f, uint64_t gpa, uint32_t len)
{
	struct driver_buffer buffer = { gpa, len, false };

	virtq_offer(f, &buffer, 1);
}
