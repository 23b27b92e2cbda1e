/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk: what a disk does, and what a guest may not make it do. */
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR  512u
#define SECTORS 64u
#define FEATURES \
	(BIT64(VIRTIO_BLK_F_FLUSH) | BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES))
#define NO_STATUS 0xee

struct fixture {
	struct driver driver;
	int image;
	uint64_t header, data, status; /* guest-physical */
};

/* A disk of so many bytes, each sector filled with its number. */
static void make_image(struct fixture *f, uint64_t size)
{
	uint8_t sector[SECTOR];

	close_fd(&f->image);
	f->image = memfd_create("image", MFD_CLOEXEC);
	assert_true(f->image >= 0);
	for (uint64_t at = 0; at < size; at += SECTOR) {
		uint64_t len = size - at < SECTOR ? size - at : SECTOR;

		memset(sector, (int)(at / SECTOR + 1), sizeof(sector));
		assert_int_equal(pwrite(f->image, sector, len, (off_t)at), len);
	}
}

static struct virtio_device *make_disk(struct fixture *f, int fd, bool read_only, struct error *err)
{
	struct virtio_blk_options options = { fd, read_only, "root disk" };

	return virtio_blk_new(&options, &f->driver.memory, &f->driver.loop, err);
}

static int setup_empty(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct driver *d;

	assert_non_null(f);
	d = &f->driver;
	f->image = -EBADF;
	driver_open(d, DRIVER_MEMORY_SIZE);
	f->header = driver_alloc(d, sizeof(struct virtio_blk_outhdr), 16);
	f->status = driver_alloc(d, 1, 1);
	f->data = driver_alloc(d, SECTORS * SECTOR, 4096);
	make_image(f, SECTORS * SECTOR);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f;
	struct error err = { 0 };

	setup_empty(state);
	f = *state;
	driver_start(&f->driver, make_disk(f, dup(f->image), false, &err),
		     FEATURES | BIT64(VIRTIO_RING_F_INDIRECT_DESC));
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_close(&f->driver);
	close_fd(&f->image);
	free(f);
	return 0;
}

static void set_header(struct fixture *f, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };

	memcpy(driver_at(&f->driver, f->header, sizeof(header)), &header, sizeof(header));
	*(uint8_t *)driver_at(&f->driver, f->status, 1) = NO_STATUS;
}

/* A request with len bytes of data, which the device writes or reads; returns its status. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	struct driver_buffer buffers[] = {
		{ f->header, sizeof(struct virtio_blk_outhdr), false },
		{ f->data, len, in },
		{ f->status, 1, true },
	};
	uint32_t written;
	uint8_t status;

	set_header(f, type, sector);
	if (!len)
		buffers[1] = buffers[2];
	written = driver_finish(&f->driver, 0, driver_send(&f->driver, 0, buffers, len ? 3 : 2));
	status = *(uint8_t *)driver_at(&f->driver, f->status, 1);
	if (!in || !len)
		assert_int_equal(written, 1);
	else
		assert_int_equal(written, status == VIRTIO_BLK_S_OK ? len + 1 : 0);
	return status;
}

static uint8_t *data_of(struct fixture *f)
{
	return driver_at(&f->driver, f->data, SECTORS * SECTOR);
}

static void assert_filled(const uint8_t *data, size_t len, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(data[i], value);
}

static void assert_on_disk(struct fixture *f, uint64_t sector, uint8_t value)
{
	uint8_t data[SECTOR];

	assert_int_equal(pread(f->image, data, SECTOR, (off_t)(sector * SECTOR)), SECTOR);
	assert_filled(data, SECTOR, value);
}

/* ---- traffic --------------------------------------------------------------------------------- */

static void the_disk_describes_itself(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_config config;
	uint64_t capacity;

	assert_int_equal(driver_get(&f->driver, VIRTIO_MMIO_DEVICE_ID), 2);
	virtio_mmio_read(f->driver.dev, 0x100, &capacity, sizeof(capacity));
	assert_int_equal(capacity, SECTORS);
	for (unsigned i = 0; i < sizeof(config); i++)
		virtio_mmio_read(f->driver.dev, 0x100 + i, (char *)&config + i, 1);
	assert_int_equal(config.capacity, SECTORS);
	assert_int_equal(config.blk_size, SECTOR);
	assert_int_equal(config.seg_max, VIRTQ_IOV_MAX - 2);
	assert_true(config.size_max >= 4096);
	assert_int_equal(config.discard_sector_alignment, 1);
	assert_true(config.max_discard_seg && config.max_write_zeroes_seg);
	assert_true(f->driver.dev->offered & BIT64(VIRTIO_BLK_F_FLUSH));
	assert_false(f->driver.dev->offered & BIT64(VIRTIO_BLK_F_RO));
	assert_false(f->driver.dev->offered & BIT64(VIRTIO_BLK_F_CONFIG_WCE));
	/* A driver changes nothing of it. */
	virtio_mmio_write(f->driver.dev, 0x100, "\377\377\377\377", 4);
	virtio_mmio_read(f->driver.dev, 0x100, &capacity, sizeof(capacity));
	assert_int_equal(capacity, SECTORS);
}

static void sectors_are_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 3, 2 * SECTOR, true), VIRTIO_BLK_S_OK);
	assert_filled(data_of(f), SECTOR, 4);
	assert_filled(data_of(f) + SECTOR, SECTOR, 5);
	assert_filled(data_of(f) + 2ull * SECTOR, SECTOR, 0);
	assert_true(driver_interrupted(&f->driver));
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, SECTORS * SECTOR, true), VIRTIO_BLK_S_OK);
	assert_filled(data_of(f) + (SECTORS - 1ull) * SECTOR, SECTOR, SECTORS);
}

static void sectors_are_written(void **state)
{
	struct fixture *f = *state;

	memset(data_of(f), 0xaa, 2ull * SECTOR);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS - 2, 2 * SECTOR, false),
			 VIRTIO_BLK_S_OK);
	assert_on_disk(f, SECTORS - 3, SECTORS - 2);
	assert_on_disk(f, SECTORS - 2, 0xaa);
	assert_on_disk(f, SECTORS - 1, 0xaa);
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
}

/* The device may assume nothing of how a request is cut into buffers (2.7.4.1). */
static void requests_are_cut_anywhere(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer out[] = {
		{ f->header, 3, false }, { f->header + 3, 12, false }, { f->header + 15, 1, false },
		{ f->data, 500, false }, { f->data + 500, 12, false }, { f->status, 1, true },
	};
	struct driver_buffer in[] = {
		{ f->header, 16, false },
		{ f->data, 100, true },
		{ f->data + 100, SECTOR - 100 + 1, true }, /* the status behind the data */
	};
	uint16_t head;

	memset(data_of(f), 0xbb, SECTOR);
	set_header(f, VIRTIO_BLK_T_OUT, 9);
	head = driver_describe_indirect(d, 0, out, ARRAY_SIZE(out));
	driver_offer(d, 0, head);
	driver_notify(d, 0);
	assert_int_equal(driver_finish(d, 0, head), 1);
	assert_int_equal(*(uint8_t *)driver_at(d, f->status, 1), VIRTIO_BLK_S_OK);
	assert_on_disk(f, 9, 0xbb);
	memset(data_of(f), 0xff, SECTOR + 1);
	set_header(f, VIRTIO_BLK_T_IN, 10);
	assert_int_equal(driver_finish(d, 0, driver_send(d, 0, in, ARRAY_SIZE(in))), SECTOR + 1);
	assert_filled(data_of(f), SECTOR, 11);
	assert_int_equal(data_of(f)[SECTOR], VIRTIO_BLK_S_OK);
}

static void the_disk_has_a_name(void **state)
{
	struct fixture *f = *state;

	memset(data_of(f), 0xff, 32);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data_of(f), "root disk\0\0\0\0\0\0\0\0\0\0\0", 20);
	assert_int_equal(data_of(f)[20], 0xff);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 19, true), VIRTIO_BLK_S_IOERR);
}

static uint8_t erase(struct fixture *f, uint32_t type, uint64_t sector, uint32_t count,
		     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = { sector, count, flags };

	memcpy(data_of(f), &range, sizeof(range));
	return request(f, type, 0, sizeof(range), false);
}

static void sectors_are_discarded_and_zeroed(void **state)
{
	struct fixture *f = *state;
	struct stat before, after;

	fstat(f->image, &before);
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, 8, 16, 0), VIRTIO_BLK_S_OK);
	assert_on_disk(f, 7, 8);
	assert_on_disk(f, 8, 0);
	assert_on_disk(f, 23, 0);
	assert_on_disk(f, 24, 25);
	fstat(f->image, &after);
	assert_int_equal(after.st_size, before.st_size);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(erase(f, VIRTIO_BLK_T_WRITE_ZEROES, 33, 1, 0), VIRTIO_BLK_S_OK);
	assert_on_disk(f, 32, 33);
	assert_on_disk(f, 33, 0);
	assert_on_disk(f, 34, 35);
	assert_int_equal(
		erase(f, VIRTIO_BLK_T_WRITE_ZEROES, 40, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
		VIRTIO_BLK_S_OK);
	assert_on_disk(f, 40, 0);
	/* Nothing is nothing. */
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, SECTORS, 0, 0), VIRTIO_BLK_S_OK);
	assert_on_disk(f, SECTORS - 1, SECTORS);
}

static void several_ranges_are_one_request(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes ranges[17] = { { 1, 1, 0 }, { 3, 1, 0 } };

	for (unsigned i = 2; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct virtio_blk_discard_write_zeroes){ 0, 0, 0 };
	memcpy(data_of(f), ranges, sizeof(ranges));
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, 16 * 16, false), VIRTIO_BLK_S_OK);
	assert_on_disk(f, 0, 1);
	assert_on_disk(f, 1, 0);
	assert_on_disk(f, 2, 3);
	assert_on_disk(f, 3, 0);
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, 17 * 16, false), VIRTIO_BLK_S_IOERR);
}

static void many_requests_are_served(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	const unsigned count = DRIVER_QUEUE_SIZE;
	struct driver_buffer buffers[3];
	uint16_t head;
	uint32_t written;

	set_header(f, VIRTIO_BLK_T_IN, 0);
	for (unsigned i = 0; i < count; i++) {
		buffers[0] = (struct driver_buffer){ f->header, 16, false };
		buffers[1] = (struct driver_buffer){ f->data, SECTORS * SECTOR, true };
		buffers[2] = (struct driver_buffer){ f->status, 1, true };
		driver_offer(d, 0, driver_describe_indirect(d, 0, buffers, 3));
	}
	driver_notify(d, 0);
	driver_run(d);
	for (unsigned i = 0; i < count; i++) {
		assert_true(driver_take_used(d, 0, &head, &written));
		assert_int_equal(written, SECTORS * SECTOR + 1);
	}
}

/* A driver that floods its disk does not keep the device thread from the others. */
static void large_requests_take_turns(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffers[VIRTQ_IOV_MAX];
	unsigned steps = 0;

	make_image(f, SECTORS * SECTOR);
	assert_int_equal(ftruncate(f->image, 64 << 20), 0);
	virtio_free(d->dev);
	driver_start(d, make_disk(f, dup(f->image), false, NULL),
		     BIT64(VIRTIO_RING_F_INDIRECT_DESC));
	set_header(f, VIRTIO_BLK_T_IN, 0);
	buffers[0] = (struct driver_buffer){ f->header, 16, false };
	for (unsigned i = 1; i < 65; i++)
		buffers[i] = (struct driver_buffer){ f->data, SECTORS * SECTOR, true };
	buffers[65] = (struct driver_buffer){ f->status, 1, true };
	for (unsigned i = 0; i < 8; i++)
		driver_offer(d, 0, driver_describe_indirect(d, 0, buffers, 66));
	driver_notify(d, 0);
	while (loop_step(&d->loop, 0, NULL) > 0)
		steps++;
	assert_int_equal(d->queues[0].used->idx, 8);
	assert_true(steps >= 8);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void requests_outside_the_disk_fail(void **state)
{
	struct fixture *f = *state;
	const struct {
		uint64_t sector;
		uint32_t len;
	} wrong[] = {
		{ SECTORS, SECTOR },
		{ SECTORS - 1, 2 * SECTOR },
		{ UINT64_MAX, SECTOR },
		{ UINT64_MAX / SECTOR, SECTOR },     /* times 512 it wraps */
		{ UINT64_MAX / SECTOR + 1, SECTOR }, /* to zero */
		{ UINT64_MAX - 1, 2 * SECTOR },
	};

	memset(data_of(f), 0xcc, 2ull * SECTOR);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(request(f, VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].len, false),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(f, VIRTIO_BLK_T_IN, wrong[i].sector, wrong[i].len, true),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(
			erase(f, VIRTIO_BLK_T_DISCARD, wrong[i].sector, wrong[i].len / SECTOR, 0),
			VIRTIO_BLK_S_IOERR);
		memset(data_of(f), 0xcc, 2ull * SECTOR);
	}
	assert_int_equal(erase(f, VIRTIO_BLK_T_WRITE_ZEROES, 1, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	for (unsigned i = 0; i < SECTORS; i++)
		assert_on_disk(f, i, (uint8_t)(i + 1));
	assert_int_equal(lseek(f->image, 0, SEEK_END), SECTORS * SECTOR);
	assert_false(driver_broken(&f->driver));
}

static void odd_lengths_fail(void **state)
{
	struct fixture *f = *state;
	const uint32_t wrong[] = { 1, 511, 513, 1000 };

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, wrong[i], true),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, wrong[i], false),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, wrong[i], false),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 0, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 0, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, 0, false), VIRTIO_BLK_S_IOERR);
	assert_on_disk(f, 0, 1);
}

/* Data in buffers of the other direction are no data. */
static void data_of_the_wrong_direction_fail(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, SECTOR, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, SECTOR, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 20, false), VIRTIO_BLK_S_IOERR);
	assert_on_disk(f, 0, 1);
}

/* A small guest cannot ask for much by buffers that overlap. */
static void requests_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffers[VIRTQ_IOV_MAX] = { { f->header, 16, false } };
	uint16_t head;

	assert_int_equal(ftruncate(f->image, INT64_C(1) << 32), 0);
	virtio_free(d->dev);
	driver_start(d, make_disk(f, dup(f->image), false, NULL),
		     BIT64(VIRTIO_RING_F_INDIRECT_DESC));
	for (unsigned i = 1; i < VIRTQ_IOV_MAX; i++)
		buffers[i] = (struct driver_buffer){ f->data, 4 << 20, true };
	buffers[VIRTQ_IOV_MAX - 1] = (struct driver_buffer){ f->status, 1, true };
	set_header(f, VIRTIO_BLK_T_IN, 0);
	head = driver_describe_indirect(d, 0, buffers, VIRTQ_IOV_MAX);
	driver_offer(d, 0, head);
	driver_notify(d, 0);
	assert_int_equal(driver_finish(d, 0, head), 0);
	assert_int_equal(*(uint8_t *)driver_at(d, f->status, 1), VIRTIO_BLK_S_IOERR);
	/* Nor by one range: a host may have to write what it zeroes. */
	driver_restart(d, FEATURES);
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, 1000, 1 << 22, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, 1000, (1 << 22) + 1, 0),
			 VIRTIO_BLK_S_IOERR);
}

static void unknown_requests_are_unsupported(void **state)
{
	struct fixture *f = *state;
	const uint32_t types[] = { 2, 3, 5, 10, 14, 0x80000000, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		assert_int_equal(request(f, types[i], 0, SECTOR, false), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, 0, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(erase(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
	/* And what was not negotiated. */
	driver_restart(&f->driver, 0);
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(erase(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_UNSUPP);
	assert_on_disk(f, 0, 1);
}

static void requests_without_header_or_status_break_it(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffers[] = { { f->header, 16, false }, { f->status, 1, true } };

	set_header(f, VIRTIO_BLK_T_FLUSH, 0);
	driver_send(d, 0, buffers, 1);
	driver_assert_broken(d, 0);
	driver_send(d, 0, buffers + 1, 1);
	driver_assert_broken(d, 0);
	buffers[0].len = 15;
	driver_send(d, 0, buffers, 2);
	driver_assert_broken(d, 0);
	assert_int_equal(*(uint8_t *)driver_at(d, f->status, 1), NO_STATUS);
}

/* ---- kinds of disks -------------------------------------------------------------------------- */

static void a_read_only_disk_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct error err = { 0 };

	/* The descriptor would allow it. */
	driver_start(d, make_disk(f, dup(f->image), true, &err),
		     BIT64(VIRTIO_BLK_F_FLUSH) | BIT64(VIRTIO_BLK_F_RO));
	assert_false(d->dev->offered & BIT64(VIRTIO_BLK_F_DISCARD));
	assert_false(d->dev->offered & BIT64(VIRTIO_BLK_F_WRITE_ZEROES));
	memset(data_of(f), 0xdd, SECTOR);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, SECTOR, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(erase(f, VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(erase(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_on_disk(f, 0, 1);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	assert_filled(data_of(f), SECTOR, 1);
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
}

/* A driver that does not say VIRTIO_BLK_F_RO finds writing impossible all the same. */
static void read_only_holds_without_being_negotiated(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->driver, make_disk(f, dup(f->image), true, NULL), 0);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, SECTOR, false), VIRTIO_BLK_S_IOERR);
	assert_on_disk(f, 0, 1);
}

static void a_file_that_shrinks_ends_in_zeroes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->image, SECTOR + 100), 0);
	memset(data_of(f), 0xff, 4ull * SECTOR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 4 * SECTOR, true), VIRTIO_BLK_S_OK);
	assert_filled(data_of(f), SECTOR, 1);
	assert_filled(data_of(f) + SECTOR, 100, 2);
	assert_filled(data_of(f) + SECTOR + 100, 3 * SECTOR - 100, 0);
}

static void a_part_of_a_sector_is_only_read(void **state)
{
	struct fixture *f = *state;
	uint64_t capacity;

	make_image(f, 3 * SECTOR + 10);
	driver_start(&f->driver, make_disk(f, dup(f->image), true, NULL), 0);
	virtio_mmio_read(f->driver.dev, 0x100, &capacity, sizeof(capacity));
	assert_int_equal(capacity, 4);
	memset(data_of(f), 0xff, SECTOR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 3, SECTOR, true), VIRTIO_BLK_S_OK);
	assert_filled(data_of(f), 10, 4);
	assert_filled(data_of(f) + 10, SECTOR - 10, 0);
	virtio_free(f->driver.dev);
	driver_start(&f->driver, make_disk(f, dup(f->image), false, NULL), 0);
	virtio_mmio_read(f->driver.dev, 0x100, &capacity, sizeof(capacity));
	assert_int_equal(capacity, 3);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 3, SECTOR, false), VIRTIO_BLK_S_IOERR);
}

static void only_files_and_block_devices_are_disks(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	char path[64];
	int pipes[2], before = dup(f->image);

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_null(make_disk(f, pipes[0], true, &err));
	assert_int_equal(err.code, EINVAL);
	close(pipes[1]);
	assert_null(make_disk(f, open("/dev/null", O_RDWR | O_CLOEXEC), false, &err));
	assert_null(make_disk(f, -1, false, &err));
	assert_int_equal(err.code, EBADF);
	/* A disk that is to be written must be opened for it. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->image);
	assert_null(make_disk(f, open(path, O_RDONLY | O_CLOEXEC), false, &err));
	assert_int_equal(err.code, EINVAL);
	/* The descriptors were closed. */
	close(before);
	assert_int_equal(dup(f->image), before);
	close(before);
}

#define test(function)      cmocka_unit_test_setup_teardown(function, setup, teardown)
#define test_with(function) cmocka_unit_test_setup_teardown(function, setup_empty, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_disk_describes_itself),
		test(sectors_are_read),
		test(sectors_are_written),
		test(requests_are_cut_anywhere),
		test(the_disk_has_a_name),
		test(sectors_are_discarded_and_zeroed),
		test(several_ranges_are_one_request),
		test(many_requests_are_served),
		test(large_requests_take_turns),
		test(requests_outside_the_disk_fail),
		test(odd_lengths_fail),
		test(data_of_the_wrong_direction_fail),
		test(requests_are_bounded),
		test(unknown_requests_are_unsupported),
		test(requests_without_header_or_status_break_it),
		test_with(a_read_only_disk_is_not_written),
		test_with(read_only_holds_without_being_negotiated),
		test(a_file_that_shrinks_ends_in_zeroes),
		test_with(a_part_of_a_sector_is_only_read),
		test_with(only_files_and_block_devices_are_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
