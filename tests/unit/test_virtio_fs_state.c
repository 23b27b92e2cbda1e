/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-fs: a device that is in use is saved, with its file server, and another one with another server goes on; first with the server on
 * the guest's memory, then through the window.
 */
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/message.h"
#include "microvm/fs_protocol.h"
#include "microvm/fs_server.h"
#include "microvm/jail.h"
#include "microvm/snapshot.h"

#define FEATURES (BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))
#define WAIT_MS  20000
#define ROOM     4096u
#define PLACES   7 /* requests at once; each takes two descriptors */

struct fixture {
	struct driver d;
	char path[64];
	int base;
	pid_t server;
	uint64_t unique, node, fh;
	uint64_t in[PLACES], out[PLACES]; /* buffers */
	int state;                        /* the last that was saved */
	struct snapshot snapshot;
	char lost[ERROR_TEXT_MAX]; /* why */
};

static int confine(void *data, struct error *err)
{
	(void)data;
	return jail_enter_thread(JAIL_FILE_SERVER, err);
}

static void note_lost(void *data, const char *why)
{
	struct fixture *f = data;

	snprintf(f->lost, sizeof(f->lost), "%s", why);
}

/* A server that goes on from state (-1: begins), and a device for it. */
static struct virtio_device *make_device(struct fixture *f, int state)
{
	struct virtio_device *dev;
	struct error err = { 0 };
	int pair[2];

	assert_int_equal(message_pair(pair, &err), 0);
	f->server = fork();
	if (f->server == 0) {
		struct fs_server_config config = { .socket = pair[1],
						   .root = f->base,
						   .proc = -1,
						   .state = state,
						   .confine = confine };

		close(pair[0]);
		_exit(fs_server_main(&config, &err) < 0);
	}
	close(pair[1]);
	dev = virtio_fs_new(pair[0], "hull", &f->d.memory, &f->d.loop, &err);
	assert_non_null(dev);
	f->lost[0] = '\0';
	virtio_fs_watch(dev, note_lost, f);
	return dev;
}

static void free_device(struct fixture *f)
{
	int status;

	virtio_free(f->d.dev);
	f->d.dev = NULL;
	if (f->server <= 0)
		return;
	assert_int_equal(waitpid(f->server, &status, 0), f->server);
	assert_int_equal(status, 0);
}

/* ---- requests ----------------------------------------------------------------------------------- */

/* Puts a request into a place; nobody is told. */
static void offer(struct fixture *f, unsigned place, uint32_t opcode, uint64_t node,
		  const void *arg, uint32_t len)
{
	struct fuse_in_header header = { .opcode = opcode,
					 .nodeid = node,
					 .unique = ++f->unique,
					 .len = (uint32_t)sizeof(header) + len };
	struct driver_buffer buffers[2] = { { f->in[place], header.len, false },
					    { f->out[place], ROOM, true } };

	memcpy(driver_at(&f->d, f->in[place], ROOM), &header, sizeof(header));
	memcpy(driver_at(&f->d, f->in[place] + sizeof(header), len), arg, len);
	memset(driver_at(&f->d, f->out[place], ROOM), 0xee, ROOM);
	driver_offer(&f->d, FS_QUEUE_REQUEST, driver_describe(&f->d, FS_QUEUE_REQUEST, buffers, 2));
}

static void *answer_in(struct fixture *f, unsigned place, int error)
{
	struct fuse_out_header *header = driver_at(&f->d, f->out[place], ROOM);

	assert_int_equal(header->error, error);
	return header + 1;
}

/* Until there is an answer: the device's loop runs, and the server works by itself. */
static void *exchange(struct fixture *f, uint32_t opcode, uint64_t node, const void *arg,
		      uint32_t len)
{
	struct driver_queue *q = &f->d.queues[FS_QUEUE_REQUEST];
	uint32_t written;
	uint16_t head;

	offer(f, 0, opcode, node, arg, len);
	driver_notify(&f->d, FS_QUEUE_REQUEST);
	for (int i = 0; !driver_take_used(&f->d, FS_QUEUE_REQUEST, &head, &written); i++) {
		struct pollfd fds[2] = { { .fd = f->d.loop.epoll, .events = POLLIN },
					 { .fd = f->d.dev->irq_fd, .events = POLLIN } };

		assert_true(i < 1000);
		__atomic_store_n(&q->avail->ring[q->size], q->used_idx, __ATOMIC_SEQ_CST);
		poll(fds, 2, 20);
		driver_run(&f->d);
		driver_interrupted(&f->d);
	}
	return answer_in(f, 0, 0);
}

static void offer_read(struct fixture *f, unsigned place)
{
	struct fuse_read_in in = { .fh = f->fh, .size = 1000 };

	offer(f, place, FUSE_READ, f->node, &in, sizeof(in));
}

static void assert_read(struct fixture *f)
{
	struct fuse_read_in in = { .fh = f->fh, .size = 1000 };

	assert_memory_equal(exchange(f, FUSE_READ, f->node, &in, sizeof(in)), "hello\xee", 6);
}

/* ---- a machine that goes on --------------------------------------------------------------------- */

static int setup(void **state)
{
	struct fuse_init_in init = { .major = 7, .minor = 41, .flags = UINT32_MAX };
	struct fuse_open_in open_in = { .flags = O_RDWR };
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	*state = f;
	f->state = -1;
	snapshot_begin(&f->snapshot);
	f->base = unit_make_dir(f->path, sizeof(f->path));
	fd = openat(f->base, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	driver_open(&f->d, DRIVER_MEMORY_SIZE);
	for (unsigned i = 0; i < PLACES; i++) {
		f->in[i] = driver_alloc(&f->d, ROOM, 8);
		f->out[i] = driver_alloc(&f->d, ROOM, 8);
	}
	driver_start(&f->d, make_device(f, -1), FEATURES);
	exchange(f, FUSE_INIT, 0, &init, sizeof(init));
	f->node = ((struct fuse_entry_out *)exchange(f, FUSE_LOOKUP, FUSE_ROOT_ID, "file", 5))
			  ->nodeid;
	f->fh = ((struct fuse_open_out *)exchange(f, FUSE_OPEN, f->node, &open_in, sizeof(open_in)))
			->fh;
	assert_read(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free_device(f);
	snapshot_close(&f->snapshot);
	if (f->state >= 0)
		close(f->state);
	loop_close(&f->d.loop);
	guest_memory_free(&f->d.memory);
	unit_remove_dir(f->base, f->path);
	free(f);
	return 0;
}

static int try_save(struct fixture *f, struct error *err)
{
	*err = (struct error){ 0 };
	snapshot_close(&f->snapshot);
	snapshot_begin(&f->snapshot);
	if (f->state >= 0)
		close(f->state);
	f->state = memfd_create("state", MFD_CLOEXEC);
	virtio_fs_save_to(f->d.dev, f->state);
	return virtio_save(f->d.dev, &f->snapshot, err);
}

static void save(struct fixture *f)
{
	struct error err;

	if (try_save(f, &err) < 0)
		fail_msg("%s", err.text);
}

/* The guest in memory of its own, as hull-vmm has it of a restored machine. */
static void move(struct fixture *f)
{
	struct guest_memory memory;
	struct error err = { 0 };

	free_device(f);
	assert_int_equal(guest_memory_create_private(&memory, DRIVER_MEMORY_SIZE, &err), 0);
	memcpy(guest_memory_at(&memory, 0, DRIVER_MEMORY_SIZE),
	       guest_memory_at(&f->d.memory, 0, DRIVER_MEMORY_SIZE), DRIVER_MEMORY_SIZE);
	guest_memory_free(&f->d.memory);
	f->d.memory = memory;
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		struct driver_queue *q = &f->d.queues[i];

		q->descriptors = driver_at(&f->d, q->layout.descriptors, 16);
		q->avail = driver_at(&f->d, q->layout.driver, 4);
		q->used = driver_at(&f->d, q->layout.device, 4);
	}
}

static void restore(struct fixture *f)
{
	struct error err = { 0 };

	move(f);
	f->d.dev = make_device(f, f->state);
	f->snapshot.at = 0;
	assert_int_equal(virtio_mmio_start(f->d.dev, &err), 0);
	if (virtio_restore(f->d.dev, &f->snapshot, &err) < 0)
		fail_msg("%s", err.text);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void take_all(struct fixture *f)
{
	uint32_t written;
	uint16_t head;

	for (unsigned i = 0; i < PLACES; i++) {
		assert_true(driver_take_used(&f->d, FS_QUEUE_REQUEST, &head, &written));
		assert_int_equal(written, sizeof(struct fuse_out_header) + 5);
		assert_memory_equal(answer_in(f, i, 0), "hello\xee", 6);
	}
	assert_false(driver_take_used(&f->d, FS_QUEUE_REQUEST, &head, &written));
}

static void drop_used(struct fixture *f)
{
	uint32_t written;
	uint16_t head;

	while (driver_take_used(&f->d, FS_QUEUE_REQUEST, &head, &written))
		;
}

static void a_device_goes_on_again_and_again(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 4; i++) {
		/* Requests that nobody was told of are answered before it is saved. */
		for (unsigned k = 0; k < PLACES; k++)
			offer_read(f, k);
		save(f);
		take_all(f);
		driver_interrupted(&f->d);
		/* The one that was saved goes on, too. */
		assert_read(f);
		save(f);
		restore(f);
		/* The guest may have missed an interrupt. */
		assert_true(driver_interrupted(&f->d));
		assert_read(f);
		assert_string_equal(f->lost, "");
	}
}

/* Each system call that saving and going on takes is in the filter, or the server ends. */
static void the_filter_has_what_it_takes(void **state)
{
	struct fixture *f = *state;
	struct {
		struct fuse_create_in in;
		char name[9];
	} create = { { .flags = O_RDWR | O_SYNC, .mode = S_IFREG | 0640 }, "nameless" };
	struct {
		struct fuse_write_in in;
		char data[6];
	} write_in = { { .offset = 1 << 20, .size = 6 }, "thing" };
	struct {
		struct fuse_setxattr_in in;
		char text[8];
	} xattr = { { .size = 1 }, "user.a" };
	struct fuse_read_in read_in = { .offset = 1 << 20, .size = 100 };
	struct fuse_open_in open_in = { 0 };
	const uint8_t *answer;
	uint64_t node, dir;

	answer = exchange(f, FUSE_CREATE, FUSE_ROOT_ID, &create, sizeof(create.in) + 9);
	node = ((const struct fuse_entry_out *)answer)->nodeid;
	write_in.in.fh = read_in.fh =
		((const struct fuse_open_out *)(answer + sizeof(struct fuse_entry_out)))->fh;
	exchange(f, FUSE_WRITE, node, &write_in, sizeof(write_in.in) + 6);
	offer(f, 0, FUSE_SETXATTR, node, &xattr, sizeof(xattr.in) + 8); /* not every one has them */
	save(f);
	restore(f);
	drop_used(f);
	exchange(f, FUSE_UNLINK, FUSE_ROOT_ID, "nameless", 9);
	dir = ((struct fuse_open_out *)exchange(f, FUSE_OPENDIR, FUSE_ROOT_ID, &open_in,
						sizeof(open_in)))
		      ->fh;
	for (int i = 0; i < 2; i++) {
		save(f);
		restore(f);
		answer = exchange(f, FUSE_READ, node, &read_in, sizeof(read_in));
		assert_memory_equal(answer, "thing\0\xee", 7);
		exchange(f, FUSE_READDIR, FUSE_ROOT_ID,
			 &(struct fuse_read_in){ .fh = dir, .size = 1000 }, sizeof(read_in));
		assert_read(f);
	}
}

static void more_than_the_window_holds_is_answered(void **state)
{
	struct fixture *f = *state;

	save(f);
	restore(f);
	for (int i = 0; i < 100; i++) {
		for (unsigned k = 0; k < PLACES; k++)
			offer_read(f, k);
		/* Some are under way already. */
		if (i % 2) {
			driver_notify(&f->d, FS_QUEUE_REQUEST);
			driver_run(&f->d);
		}
		save(f);
		take_all(f);
	}
	assert_false(driver_broken(&f->d));
}

static void without_a_file_it_is_in_use(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	save(f);
	/* The file was for that one time. */
	assert_int_equal(virtio_save(f->d.dev, &f->snapshot, &err), -EBUSY);
}

static void await_lost(struct fixture *f)
{
	struct pollfd fd = { .fd = f->d.loop.epoll, .events = POLLIN };

	for (int i = 0; !f->lost[0] && i < 100; i++) {
		assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
		driver_run(&f->d);
	}
}

static void a_server_that_cannot_go_on_says_why(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	save(f);
	assert_int_equal(renameat(f->base, "file", f->base, "other"), 0);
	restore(f);
	await_lost(f);
	assert_string_equal(f->lost, "the file server: the open file `/file` is missing");
	assert_true(driver_broken(&f->d));
	assert_int_equal(try_save(f, &err), -EPIPE);
	assert_string_equal(err.text, "virtio-fs: the file server ended");
}

/* It is saved again before anybody looked at what its server said. */
static void check_hasty(struct fixture *f, bool asks)
{
	struct error err = { 0 };

	save(f);
	assert_int_equal(renameat(f->base, "file", f->base, "other"), 0);
	restore(f);
	if (asks)
		offer_read(f, 0);
	assert_true(try_save(f, &err) < 0);
	assert_non_null(strstr(err.text, "file server"));
	assert_string_equal(f->lost, "the file server: the open file `/file` is missing");
}

static void it_is_not_saved_without_its_files(void **state)
{
	check_hasty(*state, false);
}

static void nor_while_it_asks_for_them(void **state)
{
	check_hasty(*state, true);
}

static void what_the_server_cannot_save_is_said(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(linkat(f->base, "file", f->base, "other", 0), 0);
	assert_int_equal(unlinkat(f->base, "file", 0), 0);
	assert_int_equal(try_save(f, &err), -EBUSY);
	assert_non_null(strstr(err.text, "the file server: the open file `/file`"));
	/* The machine goes on. */
	assert_read(f);
	assert_int_equal(renameat(f->base, "other", f->base, "file"), 0);
	save(f);
	restore(f);
	assert_read(f);
}

static void a_server_that_is_gone_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	int status;

	for (int i = 0; i < 2; i++) {
		if (i) {
			/* The window of a new machine: something is under way. */
			f->d.dev = make_device(f, -1);
			driver_start(&f->d, f->d.dev, FEATURES);
			save(f);
			restore(f);
			offer_read(f, 0);
		}
		assert_int_equal(kill(f->server, SIGKILL), 0);
		assert_int_equal(waitpid(f->server, &status, 0), f->server);
		f->server = -1;
		assert_true(try_save(f, &err) < 0);
		assert_non_null(strstr(err.text, "file server"));
		free_device(f);
	}
	f->d.dev = make_device(f, -1);
}

/* A guest that wrote nonsense just before: the device that goes on waits for a reset as this one does. */
static void a_broken_device_is_saved_as_one(void **state)
{
	struct driver_buffer wrong = { UINT64_MAX - 100, 4096, false };
	struct fixture *f = *state;

	driver_offer(&f->d, FS_QUEUE_REQUEST, driver_describe(&f->d, FS_QUEUE_REQUEST, &wrong, 1));
	save(f);
	assert_true(driver_broken(&f->d));
	restore(f);
	assert_true(driver_broken(&f->d));
	driver_restart(&f->d, FEATURES);
	assert_false(driver_broken(&f->d));
}

/* Also before the guest had a driver. */
static void a_device_without_a_driver_is_saved(void **state)
{
	struct fixture *f = *state;

	driver_set(&f->d, VIRTIO_MMIO_STATUS, 0);
	save(f);
	restore(f);
	driver_restart(&f->d, FEATURES);
	assert_false(driver_broken(&f->d));
	assert_string_equal(f->lost, "");
}

#define device_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		device_test(a_device_goes_on_again_and_again),
		device_test(the_filter_has_what_it_takes),
		device_test(more_than_the_window_holds_is_answered),
		device_test(without_a_file_it_is_in_use),
		device_test(a_server_that_cannot_go_on_says_why),
		device_test(it_is_not_saved_without_its_files),
		device_test(nor_while_it_asks_for_them),
		device_test(what_the_server_cannot_save_is_said),
		device_test(a_server_that_is_gone_is_an_error),
		device_test(a_broken_device_is_saved_as_one),
		device_test(a_device_without_a_driver_is_saved),
	};

	return cmocka_run_group_tests_name("virtio_fs_state", tests, NULL, NULL);
}
