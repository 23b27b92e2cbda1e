/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-console: output that does not keep up, input that nobody takes, and ends of both. */
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE, TRANSMIT };

struct fixture {
	struct driver driver;
	int input,
		output; /* our ends: what the guest receives is written here; what it sends is read there */
};

static void start(struct fixture *f, int input, int output)
{
	struct driver *d = &f->driver;
	struct error err = { 0 };

	driver_start(d, virtio_console_new(input, output, &d->memory, &d->loop, &err), 0);
}

static int setup_empty(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_open(&f->driver, DRIVER_MEMORY_SIZE);
	f->input = f->output = -EBADF;
	/* As in the monitor: a reader that is gone is an error of write(2). */
	signal(SIGPIPE, SIG_IGN);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f;
	int in[2], out[2];

	setup_empty(state);
	f = *state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	f->input = in[1];
	f->output = out[0];
	start(f, in[0], out[1]);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_close(&f->driver);
	close_fd(&f->input);
	close_fd(&f->output);
	free(f);
	return 0;
}

static uint16_t offer_buffer(struct fixture *f, uint32_t len, uint64_t *gpa)
{
	struct driver_buffer buffer = { driver_alloc(&f->driver, len, 1), len, true };

	*gpa = buffer.gpa;
	return driver_send(&f->driver, RECEIVE, &buffer, 1);
}

static uint16_t send_text(struct fixture *f, const char *text)
{
	uint32_t len = (uint32_t)strlen(text);
	struct driver_buffer buffer = { driver_copy(&f->driver, text, len), len, false };

	return driver_send(&f->driver, TRANSMIT, &buffer, 1);
}

static void assert_reads(int fd, const char *text)
{
	char buf[64] = "";

	assert_int_equal(read(fd, buf, sizeof(buf) - 1), strlen(text));
	assert_string_equal(buf, text);
}

static void output_goes_out(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa = driver_copy(d, "hello world", 11);
	struct driver_buffer buffers[] = { { gpa, 6, false }, { gpa + 6, 5, false } };

	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_ID), 3);
	assert_int_equal(driver_finish(d, TRANSMIT, driver_send(d, TRANSMIT, buffers, 2)), 0);
	assert_reads(f->output, "hello world");
	assert_true(driver_interrupted(d));
}

static void input_comes_in(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa;
	uint16_t head;

	/* First the buffer, then the input; then the other way round. */
	head = offer_buffer(f, 16, &gpa);
	driver_run(d);
	assert_false(driver_interrupted(d));
	assert_int_equal(write(f->input, "first", 5), 5);
	assert_int_equal(driver_finish(d, RECEIVE, head), 5);
	assert_memory_equal(driver_at(d, gpa, 5), "first", 5);
	assert_true(driver_interrupted(d));
	assert_int_equal(write(f->input, "second", 6), 6);
	driver_run(d);
	head = offer_buffer(f, 4, &gpa);
	assert_int_equal(driver_finish(d, RECEIVE, head), 4);
	assert_memory_equal(driver_at(d, gpa, 4), "seco", 4);
	head = offer_buffer(f, 4, &gpa);
	assert_int_equal(driver_finish(d, RECEIVE, head), 2);
	assert_memory_equal(driver_at(d, gpa, 2), "nd", 2);
}

/* Without buffers the input is not even read, so that its writer is held up, and the loop sleeps. */
static void input_waits_for_buffers(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa;
	int waiting;

	driver_finish(d, TRANSMIT, send_text(f, "x"));
	assert_int_equal(write(f->input, "abc", 3), 3);
	driver_run(d);
	assert_int_equal(loop_step(&d->loop, 0, NULL), 0);
	assert_int_equal(ioctl(f->input, FIONREAD, &waiting), 0);
	assert_int_equal(waiting, 3);
	assert_int_equal(driver_finish(d, RECEIVE, offer_buffer(f, 16, &gpa)), 3);
}

static void output_waits_for_its_reader(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	const uint32_t len = 200000; /* more than a pipe holds, and than is written at once */
	uint64_t gpa = driver_alloc(d, len, 1), got = 0;
	struct driver_buffer buffer = { gpa, len, false };
	_cleanup_free_ uint8_t *received = calloc(1, len);
	uint8_t *data = driver_at(d, gpa, len);
	uint16_t first, second, used;
	uint32_t written;

	assert_non_null(received);
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 256);
	first = driver_send(d, TRANSMIT, &buffer, 1);
	second = send_text(f, "end");
	driver_run(d);
	/* It is stuck, and nothing is due: the thread is free for others. */
	assert_false(driver_take_used(d, TRANSMIT, &used, &written));
	assert_int_equal(loop_step(&d->loop, 0, NULL), 0);
	/* Notifications do not change that. */
	driver_notify(d, TRANSMIT);
	driver_run(d);
	assert_false(driver_take_used(d, TRANSMIT, &used, &written));
	while (got < len) {
		ssize_t n = read(f->output, received + got, len - got);

		assert_true(n > 0);
		got += (uint64_t)n;
		driver_run(d);
	}
	assert_memory_equal(received, data, len);
	assert_true(driver_take_used(d, TRANSMIT, &used, &written));
	assert_int_equal(used, first);
	assert_int_equal(driver_finish(d, TRANSMIT, second), 0);
	assert_reads(f->output, "end");
}

/* The guest changes a request of which a part is written. */
static void a_request_that_shrinks_ends(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffer = { driver_alloc(d, 200000, 1), 200000, false };
	_cleanup_free_ char *received = malloc(200000);
	uint16_t head = driver_send(d, TRANSMIT, &buffer, 1);

	assert_non_null(received);
	driver_run(d);
	d->queues[TRANSMIT].descriptors[head].len = 10;
	assert_true(read(f->output, received, 200000) > 10);
	assert_int_equal(driver_finish(d, TRANSMIT, head), 0);
	driver_finish(d, TRANSMIT, send_text(f, "more"));
	assert_reads(f->output, "more");
}

static void reset_forgets_what_was_stuck(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffer = { driver_alloc(d, 200000, 1), 200000, false };
	_cleanup_free_ char *received = malloc(200000);
	uint64_t gpa;

	assert_non_null(received);
	offer_buffer(f, 16, &gpa);
	driver_send(d, TRANSMIT, &buffer, 1);
	driver_run(d);
	driver_restart(d, 0);
	assert_true(read(f->output, received, 200000) > 0);
	assert_int_equal(write(f->input, "abc", 3), 3);
	driver_run(d);
	assert_int_equal(d->queues[TRANSMIT].used->idx, 0);
	driver_finish(d, TRANSMIT, send_text(f, "new"));
	assert_reads(f->output, "new");
	assert_int_equal(driver_finish(d, RECEIVE, offer_buffer(f, 16, &gpa)), 3);
}

static void output_without_reader_goes_nowhere(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;

	close_fd(&f->output);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(driver_finish(d, TRANSMIT, send_text(f, "lost")), 0);
	assert_false(driver_broken(d));
}

/* The reader goes while the device waits for it. */
static void a_reader_may_leave_while_output_waits(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer buffer = { driver_alloc(d, 200000, 1), 200000, false };
	uint16_t head = driver_send(d, TRANSMIT, &buffer, 1);

	driver_run(d);
	close_fd(&f->output);
	assert_int_equal(driver_finish(d, TRANSMIT, head), 0);
}

static void the_end_of_input_is_the_end(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa;
	uint16_t head;

	assert_int_equal(write(f->input, "last", 4), 4);
	close_fd(&f->input);
	head = offer_buffer(f, 16, &gpa);
	assert_int_equal(driver_finish(d, RECEIVE, head), 4);
	offer_buffer(f, 16, &gpa);
	driver_run(d);
	assert_int_equal(loop_step(&d->loop, 0, NULL), 0);
	assert_int_equal(d->queues[RECEIVE].used->idx, 1);
	driver_finish(d, TRANSMIT, send_text(f, "still here"));
	assert_reads(f->output, "still here");
}

/* Files cannot be waited for. */
static void files_are_read_and_written(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	int in = memfd_create("in", MFD_CLOEXEC);
	uint64_t gpa;
	uint16_t head;

	f->output = memfd_create("out", MFD_CLOEXEC);
	assert_int_equal(pwrite(in, "contents", 8, 0), 8);
	start(f, in, dup(f->output));
	assert_int_equal(driver_finish(d, RECEIVE, offer_buffer(f, 5, &gpa)), 5);
	head = offer_buffer(f, 5, &gpa);
	assert_int_equal(driver_finish(d, RECEIVE, head), 3);
	assert_memory_equal(driver_at(d, gpa, 3), "nts", 3);
	offer_buffer(f, 5, &gpa);
	driver_run(d);
	assert_int_equal(d->queues[RECEIVE].used->idx, 2);
	driver_finish(d, TRANSMIT, send_text(f, "to a file"));
	assert_int_equal(lseek(f->output, 0, SEEK_SET), 0);
	assert_reads(f->output, "to a file");
}

static void null_is_no_input_and_swallows_output(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa;

	start(f, open("/dev/null", O_RDONLY | O_CLOEXEC), open("/dev/null", O_WRONLY | O_CLOEXEC));
	offer_buffer(f, 5, &gpa);
	assert_int_equal(driver_finish(&f->driver, TRANSMIT, send_text(f, "x")), 0);
	assert_int_equal(f->driver.queues[RECEIVE].used->idx, 0);
}

static void a_console_needs_no_descriptors(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa;

	start(f, -1, -1);
	offer_buffer(f, 5, &gpa);
	assert_int_equal(driver_finish(&f->driver, TRANSMIT, send_text(f, "x")), 0);
}

/* A socket, or a terminal, is one descriptor for both directions. */
static void one_descriptor_may_be_both(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	int pair[2];
	uint64_t gpa;
	uint16_t head;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->input = pair[0];
	start(f, pair[1], pair[1]);
	head = offer_buffer(f, 16, &gpa);
	driver_finish(d, TRANSMIT, send_text(f, "ping"));
	assert_reads(f->input, "ping");
	assert_int_equal(write(f->input, "pong", 4), 4);
	assert_int_equal(driver_finish(d, RECEIVE, head), 4);
}

/* Who shares a pipe or a terminal with us finds it as it was. */
static void shared_descriptors_still_block(void **state)
{
	struct fixture *f = *state;
	int out[2], ours, master, terminal;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(terminal >= 0);
	f->output = out[0];
	ours = dup(out[1]);
	start(f, dup(terminal), out[1]);
	assert_int_equal(fcntl(ours, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(terminal, F_GETFL) & O_NONBLOCK, 0);
	driver_finish(&f->driver, TRANSMIT, send_text(f, "through"));
	assert_reads(f->output, "through");
	close(ours);
	close(terminal);
	close(master);
}

/* The master of a terminal is not opened anew: that would be another terminal. */
static void a_terminals_master_can_be_the_console(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), terminal;
	uint64_t gpa;
	uint16_t head;

	assert_true(master >= 0);
	assert_int_equal(unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(terminal >= 0);
	start(f, master, master);
	driver_finish(d, TRANSMIT, send_text(f, "typed\n"));
	assert_reads(terminal, "typed\n");
	head = offer_buffer(f, 64, &gpa);
	/* The terminal's echo of what was typed, which may take a moment. */
	while (!d->queues[RECEIVE].used->idx)
		assert_int_equal(loop_step(&d->loop, 20000, NULL), 1);
	assert_true(driver_finish(d, RECEIVE, head) > 0);
	assert_memory_equal(driver_at(d, gpa, 1), "t", 1);
	close(terminal);
}

static void requests_of_the_wrong_direction_break_it(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer readable = { 0x10000, 16, false }, writable = { 0x10000, 16, true };

	driver_send(d, TRANSMIT, &writable, 1);
	driver_assert_broken(d, TRANSMIT);
	driver_send(d, RECEIVE, &readable, 1);
	assert_int_equal(write(f->input, "abc", 3), 3);
	driver_assert_broken(d, RECEIVE);
	/* A broken device does not make the loop spin on its input. */
	driver_send(d, TRANSMIT, &writable, 1);
	driver_send(d, RECEIVE, &writable, 1);
	driver_run(d);
	assert_true(driver_broken(d));
	assert_int_equal(loop_step(&d->loop, 0, NULL), 0);
}

#define test(function)      cmocka_unit_test_setup_teardown(function, setup, teardown)
#define test_with(function) cmocka_unit_test_setup_teardown(function, setup_empty, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(output_goes_out),
		test(input_comes_in),
		test(input_waits_for_buffers),
		test(output_waits_for_its_reader),
		test(a_request_that_shrinks_ends),
		test(reset_forgets_what_was_stuck),
		test(output_without_reader_goes_nowhere),
		test(a_reader_may_leave_while_output_waits),
		test(the_end_of_input_is_the_end),
		test_with(files_are_read_and_written),
		test_with(null_is_no_input_and_swallows_output),
		test_with(a_console_needs_no_descriptors),
		test_with(one_descriptor_may_be_both),
		test_with(shared_descriptors_still_block),
		test_with(a_terminals_master_can_be_the_console),
		test(requests_of_the_wrong_direction_break_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
