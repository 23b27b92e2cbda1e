/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in a snapshot's file: written in rounds, and mapped again (microvm/snapshot.h). */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/snapshot.h"
#include "microvm/virtio.h"
#include "microvm/virtio_mmio.h"
#include "tests/unit/unit.h"

#define MIB ((uint64_t)1 << 20)

struct world {
	struct guest_memory memory;
	struct snapshot_pages pages;
	uint64_t *changed;
	int fd;
};

static void open_world(struct world *w, uint64_t size)
{
	struct error err = { 0 };

	assert_int_equal(guest_memory_create(&w->memory, size, &err), 0);
	w->fd = memfd_create("snapshot", MFD_CLOEXEC);
	assert_int_equal(snapshot_pages_begin(&w->pages, w->fd, &err), 0);
	w->changed = calloc(guest_memory_dirty_words(&w->memory), sizeof(*w->changed));
	assert_non_null(w->changed);
	assert_int_equal(guest_memory_prepare_track(&w->memory, &err), 0);
	guest_memory_track(&w->memory);
}

static void close_world(struct world *w)
{
	snapshot_pages_free(&w->pages);
	guest_memory_free(&w->memory);
	free(w->changed);
	close(w->fd);
}

static void put(struct world *w, uint64_t gpa, uint8_t value)
{
	uint8_t page[GUEST_PAGE_SIZE];

	memset(page, value, sizeof(page));
	assert_true(guest_memory_write(&w->memory, gpa, page, sizeof(page)));
}

/* In steps of all sizes. */
static void run_round(struct snapshot_pages *pages, const struct guest_memory *memory,
		      const uint64_t *changed)
{
	static const uint64_t sizes[] = { GUEST_PAGE_SIZE, 7 * GUEST_PAGE_SIZE, MIB, 64 * MIB };
	struct error err = { 0 };
	unsigned i = 0;
	int r;

	snapshot_pages_round(pages, changed);
	do {
		/* Small steps through much memory take long. */
		r = snapshot_pages_step(
			pages, memory,
			memory->size > 64 * MIB ? 128 * MIB : sizes[i++ % ARRAY_SIZE(sizes)], &err);
	} while (r > 0);
	if (r < 0)
		fail_msg("%s", err.text);
}

/* A round: what was written since the last one. Returns how many pages it wrote. */
static uint64_t write_round(struct world *w, bool first)
{
	memset(w->changed, 0, guest_memory_dirty_words(&w->memory) * sizeof(*w->changed));
	guest_memory_take_dirty(&w->memory, w->changed);
	run_round(&w->pages, &w->memory, first ? NULL : w->changed);
	return w->pages.written;
}

/* What is mapped of the file is what the memory holds. */
static void assert_restored(struct world *w)
{
	const struct snapshot_header machine = { .memory_size = w->memory.size, .cpus = 1 };
	_cleanup_snapshot_ struct snapshot out, in;
	struct guest_memory copy;
	struct error err = { 0 };

	snapshot_begin(&out);
	snapshot_put(&out, SNAPSHOT_OWN, "state", 5);
	assert_int_equal(snapshot_finish(&out, &w->pages, &machine, &err), 0);
	assert_int_equal(snapshot_open(&in, w->fd, &err), 0);
	assert_int_equal(guest_memory_create_private(&copy, w->memory.size, &err), 0);
	if (snapshot_map_memory(&in, &copy, &err) < 0)
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < copy.region_count; i++) {
		/* Of large memory the first and the last part. */
		uint64_t size = copy.regions[i].size, some = size < 16 * MIB ? size : 16 * MIB;

		assert_memory_equal(copy.regions[i].host, w->memory.regions[i].host, some);
		assert_memory_equal(copy.regions[i].host + size - some,
				    w->memory.regions[i].host + size - some, some);
	}
	guest_memory_free(&copy);
}

static void all_that_is_not_zero(void **state)
{
	struct world w;
	struct stat st;

	(void)state;
	open_world(&w, 16 * MIB);
	put(&w, 0, 1);
	put(&w, 5 * MIB, 2);
	put(&w, 5 * MIB + GUEST_PAGE_SIZE, 0); /* touched, and zero */
	put(&w, 16 * MIB - GUEST_PAGE_SIZE, 3);
	assert_int_equal(write_round(&w, true), 3);
	assert_int_equal(w.pages.count, 3);
	assert_restored(&w);
	assert_int_equal(fstat(w.fd, &st), 0);
	assert_in_range(st.st_size, 4 * GUEST_PAGE_SIZE, 5 * GUEST_PAGE_SIZE);
	close_world(&w);
}

static void rounds_write_what_changed_and_the_last_word_counts(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 16 * MIB);
	for (unsigned i = 0; i < 64; i++)
		put(&w, MIB + i * GUEST_PAGE_SIZE, 1);
	assert_int_equal(write_round(&w, true), 64);
	assert_int_equal(write_round(&w, false), 0);
	/* Within what is there, over its end, before it, and far from it; and what becomes zero. */
	put(&w, MIB + 3 * GUEST_PAGE_SIZE, 2);
	put(&w, MIB + 63 * GUEST_PAGE_SIZE, 3);
	put(&w, MIB + 64 * GUEST_PAGE_SIZE, 4);
	put(&w, MIB - GUEST_PAGE_SIZE, 5);
	put(&w, 9 * MIB, 6);
	put(&w, MIB + 10 * GUEST_PAGE_SIZE, 0);
	assert_int_equal(write_round(&w, false), 6);
	assert_restored(&w);
	close_world(&w);
}

static void random_rounds(void **state)
{
	struct world w;

	(void)state;
	for (unsigned seed = 1; seed <= 20; seed++) {
		srandom(seed);
		open_world(&w, 4 * MIB);
		for (unsigned round = 0; round < 8; round++) {
			for (unsigned i = random() % 200; i; i--)
				put(&w, (uint64_t)(random() % 1024) * GUEST_PAGE_SIZE,
				    (uint8_t)(random() % 3));
			write_round(&w, round == 0);
		}
		assert_restored(&w);
		close_world(&w);
	}
}

/* More pieces than the file's list has room for: it begins anew, and is right all the same. */
static void too_many_pieces(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 512 * MIB);
	put(&w, 0, 1);
	write_round(&w, true);
	for (uint64_t at = MIB; at < 500 * MIB; at += 6 * GUEST_PAGE_SIZE)
		put(&w, at, 7);
	write_round(&w, false);
	assert_in_range(w.pages.count, 1, SNAPSHOT_EXTENTS_MAX);
	assert_restored(&w);
	close_world(&w);
}

static void on_both_sides_of_the_hole(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, GUEST_HOLE_START + 8 * MIB);
	put(&w, 0, 1);
	put(&w, GUEST_HOLE_START - GUEST_PAGE_SIZE, 2);
	put(&w, GUEST_HOLE_END, 3);
	write_round(&w, true);
	put(&w, GUEST_HOLE_END + GUEST_PAGE_SIZE, 4);
	put(&w, GUEST_HOLE_START - 2 * GUEST_PAGE_SIZE, 5);
	put(&w, GUEST_HOLE_END, 6);
	assert_int_equal(write_round(&w, false), 3);
	assert_restored(&w);
	close_world(&w);
}

/* Of private memory, as a restored machine has it, all is looked at: what is mapped of a file, and what was written since. */
static void a_restored_machine_is_saved_again(void **state)
{
	struct world w, again = { .fd = -1 };
	const struct snapshot_header machine = { .memory_size = 16 * MIB, .cpus = 1 };
	_cleanup_snapshot_ struct snapshot out, in;
	struct error err = { 0 };
	uint8_t page[GUEST_PAGE_SIZE] = { 9 };

	(void)state;
	open_world(&w, 16 * MIB);
	put(&w, MIB, 1);
	put(&w, 2 * MIB, 2);
	write_round(&w, true);
	snapshot_begin(&out);
	assert_int_equal(snapshot_finish(&out, &w.pages, &machine, &err), 0);
	assert_int_equal(snapshot_open(&in, w.fd, &err), 0);
	assert_int_equal(guest_memory_create_private(&again.memory, 16 * MIB, &err), 0);
	assert_int_equal(snapshot_map_memory(&in, &again.memory, &err), 0);
	assert_true(guest_memory_write(&again.memory, 3 * MIB, page, sizeof(page)));
	again.fd = memfd_create("again", MFD_CLOEXEC);
	assert_int_equal(snapshot_pages_begin(&again.pages, again.fd, &err), 0);
	run_round(&again.pages, &again.memory, NULL);
	assert_int_equal(again.pages.written, 3);
	assert_restored(&again);
	close_world(&again);
	close_world(&w);
}

static void a_list_that_leads_out_of_the_file_is_refused(void **state)
{
	static const struct snapshot_extent wrong[] = {
		{ MIB, GUEST_PAGE_SIZE, 64 * MIB },
		{ MIB, UINT64_MAX - 4095, GUEST_PAGE_SIZE },
		{ MIB, GUEST_PAGE_SIZE, UINT64_MAX - 4095 },
		{ MIB, GUEST_PAGE_SIZE, GUEST_PAGE_SIZE + 1 },
		{ 16 * MIB, GUEST_PAGE_SIZE, GUEST_PAGE_SIZE },
		{ MIB + 1, GUEST_PAGE_SIZE, GUEST_PAGE_SIZE },
		{ MIB, 1, GUEST_PAGE_SIZE },
	};
	const struct snapshot_header machine = { .memory_size = 16 * MIB, .cpus = 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_snapshot_ struct snapshot out, in;
		struct guest_memory copy;
		struct error err = { 0 };
		struct world w;

		open_world(&w, 16 * MIB);
		put(&w, MIB, 1);
		write_round(&w, true);
		w.pages.items[0] = wrong[i];
		snapshot_begin(&out);
		assert_int_equal(snapshot_finish(&out, &w.pages, &machine, &err), 0);
		assert_int_equal(snapshot_open(&in, w.fd, &err), 0);
		assert_int_equal(guest_memory_create_private(&copy, 16 * MIB, &err), 0);
		assert_true(snapshot_map_memory(&in, &copy, &err) < 0);
		guest_memory_free(&copy);
		close_world(&w);
	}
}

/* ---- devices that have nothing under way between two callbacks ---------------------------------------- */

static struct virtio_device *make_disk(const struct guest_memory *memory, struct loop *loop,
				       off_t size)
{
	struct virtio_blk_options options = { .fd = memfd_create("disk", MFD_CLOEXEC) };
	struct virtio_device *dev;
	struct error err = { 0 };

	assert_int_equal(ftruncate(options.fd, size), 0);
	dev = virtio_blk_new(&options, memory, loop, &err);
	assert_non_null(dev);
	assert_int_equal(virtio_mmio_start(dev, &err), 0);
	return dev;
}

static void a_disk_must_be_the_same(void **state)
{
	_cleanup_snapshot_ struct snapshot s;
	struct guest_memory memory;
	struct virtio_device *dev;
	struct error err = { 0 };
	struct loop loop;

	(void)state;
	assert_int_equal(guest_memory_create(&memory, MIB, &err), 0);
	assert_int_equal(loop_open(&loop, &err), 0);
	snapshot_begin(&s);
	dev = make_disk(&memory, &loop, MIB);
	assert_int_equal(virtio_save(dev, &s, &err), 0);
	virtio_free(dev);
	for (off_t size = MIB; size <= 2 * (off_t)MIB; size += MIB) {
		struct snapshot copy = { .data = s.data, .len = s.len, .fd = -EBADF };
		int r;

		dev = make_disk(&memory, &loop, size);
		r = virtio_restore(dev, &copy, &err);
		assert_int_equal(r, size == (off_t)MIB ? 0 : -EINVAL);
		virtio_free(dev);
	}
	loop_close(&loop);
	guest_memory_free(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_is_not_zero),
		cmocka_unit_test(rounds_write_what_changed_and_the_last_word_counts),
		cmocka_unit_test(random_rounds),
		cmocka_unit_test(too_many_pieces),
		cmocka_unit_test(on_both_sides_of_the_hole),
		cmocka_unit_test(a_restored_machine_is_saved_again),
		cmocka_unit_test(a_disk_must_be_the_same),
		cmocka_unit_test(a_list_that_leads_out_of_the_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
