/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory and the event loop of the monitor. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "microvm/guest_memory.h"
#include "microvm/loop.h"

#define MIB (UINT64_C(1) << 20)

/* ---- guest memory ------------------------------------------------------------------------- */

static void memory_is_where_it_should_be(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 8 * MIB, &err), 0);
	assert_int_equal(memory.region_count, 1);
	assert_ptr_equal(guest_memory_at(&memory, 0, 1), memory.regions[0].host);
	assert_non_null(guest_memory_at(&memory, 0, 8 * MIB));
	assert_non_null(guest_memory_at(&memory, 8 * MIB - 1, 1));
	assert_null(guest_memory_at(&memory, 8 * MIB, 1));
	assert_null(guest_memory_at(&memory, 8 * MIB - 1, 2));
	assert_null(guest_memory_at(&memory, 0, 8 * MIB + 1));
	assert_null(guest_memory_at(&memory, 0, 0));
	assert_null(guest_memory_at(&memory, 4 * MIB, UINT64_MAX));
	assert_null(guest_memory_at(&memory, UINT64_MAX, 1));
	assert_null(guest_memory_at(&memory, UINT64_MAX - 4095, 8192));
}

static void memory_goes_on_after_the_hole(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	struct error err = { 0 };
	uint64_t value = 0x1122334455667788, back = 0;

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 4096 * MIB, &err), 0);
	assert_int_equal(memory.region_count, 2);
	assert_int_equal(memory.regions[1].size, 1024 * MIB);
	assert_null(guest_memory_at(&memory, GUEST_HOLE_START, 1));
	assert_null(guest_memory_at(&memory, GUEST_HOLE_START - 1, 2));
	assert_null(guest_memory_at(&memory, GUEST_HOLE_END - 1, 2));
	assert_non_null(guest_memory_at(&memory, GUEST_HOLE_END, 1024 * MIB));
	assert_null(guest_memory_at(&memory, GUEST_HOLE_END, 1024 * MIB + 1));
	/* A range with all of the hole in its middle is no memory either. */
	assert_null(guest_memory_at(&memory, 0, 4096 * MIB));
	assert_true(guest_memory_write(&memory, GUEST_HOLE_END + 8, &value, sizeof(value)));
	assert_true(guest_memory_read(&memory, GUEST_HOLE_END + 8, &back, sizeof(back)));
	assert_int_equal(back, value);
	assert_false(guest_memory_write(&memory, GUEST_HOLE_START - 4, &value, sizeof(value)));
	back = 0;
	assert_true(guest_memory_read(&memory, GUEST_HOLE_START - 4, &back, 4));
	assert_int_equal(back, 0); /* nothing was written of what did not fit */
}

static void memory_takes_nothing_until_it_is_touched(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	struct error err = { 0 };
	struct stat st;

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 4096 * MIB, &err), 0);
	assert_int_equal(fstat(memory.fd, &st), 0);
	assert_int_equal(st.st_size, 4096 * MIB);
	assert_int_equal(st.st_blocks, 0);
}

static void memory_of_a_wrong_size_is_refused(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 4095, MIB + 1, UINT64_MAX & ~UINT64_C(4095) };
	struct guest_memory memory;
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(guest_memory_create(&memory, sizes[i], &err), -EINVAL);
		assert_int_equal(memory.fd, -EBADF);
	}
}

static void memory_is_shared_by_its_descriptor(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory, other;
	struct error err = { 0 };
	uint32_t value = 42, back = 0;

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 2 * MIB, &err), 0);
	assert_int_equal(guest_memory_open(&other, fcntl(memory.fd, F_DUPFD_CLOEXEC, 0), &err), 0);
	assert_int_equal(other.size, 2 * MIB);
	assert_true(guest_memory_write(&memory, MIB, &value, sizeof(value)));
	assert_true(guest_memory_read(&other, MIB, &back, sizeof(back)));
	assert_int_equal(back, 42);
	/* Nobody can cut it off below the other. */
	assert_int_equal(ftruncate(other.fd, 4096), -1);
	assert_int_equal(ftruncate(memory.fd, 4 * MIB), -1);
}

static void memory_that_could_shrink_is_refused(void **state)
{
	int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct guest_memory memory;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(ftruncate(fd, 2 * MIB), 0);
	assert_int_equal(guest_memory_open(&memory, fd, &err), -EINVAL);
	assert_non_null(strstr(err.text, "not sealed"));
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken over */
	assert_true(guest_memory_open(&memory, open("/dev/null", O_RDWR | O_CLOEXEC), &err) < 0);
}

/* In a child, for the fault ends it. */
static int touch(volatile uint8_t *at)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*at = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void memory_is_fenced(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	struct error err = { 0 };
	uint8_t *host;

	(void)state;
#ifdef HULL_SANITIZE
	skip(); /* the sanitizer answers the fault itself */
#endif
	assert_int_equal(guest_memory_create(&memory, 3 * MIB, &err), 0);
	host = memory.regions[0].host;
	assert_int_equal((uintptr_t)host % (2 * MIB), 0);
	assert_int_equal(touch(host), 0);
	assert_int_equal(touch(host + 3 * MIB - 1), 0);
	assert_int_equal(touch(host - 1), SIGSEGV);
	assert_int_equal(touch(host + 3 * MIB), SIGSEGV);
}

/* ---- loading ------------------------------------------------------------------------------ */

static int make_file(size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	uint8_t *data = malloc(size);

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(write(fd, data, size), size);
	free(data);
	return fd;
}

static void files_are_loaded(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	_cleanup_close_ int fd = make_file(300000);
	struct error err = { 0 };
	const uint8_t *at;

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 4 * MIB, &err), 0);
	assert_int_equal(guest_memory_load(&memory, MIB + 3, fd, 5, 200000, &err), 0);
	at = guest_memory_at(&memory, MIB, 300000);
	for (size_t i = 0; i < 200000; i++)
		assert_int_equal(at[i + 3], (uint8_t)((i + 5) * 7 + (i + 5) / 4096));
	assert_int_equal(at[2], 0);
	assert_int_equal(at[200003], 0);
}

static void files_that_end_early_or_do_not_fit_are_refused(void **state)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	_cleanup_close_ int fd = make_file(10000), pipe_end = -EBADF;
	struct error err = { 0 };
	int ends[2];

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 4 * MIB, &err), 0);
	assert_int_equal(guest_memory_load(&memory, MIB, fd, 0, 10001, &err), -ENODATA);
	assert_string_equal(err.text, "the file ends at 10000, 1 bytes early");
	assert_int_equal(guest_memory_load(&memory, 4 * MIB - 100, fd, 0, 101, &err), -EFAULT);
	assert_int_equal(guest_memory_load(&memory, UINT64_MAX, fd, 0, 101, &err), -EFAULT);
	assert_int_equal(guest_memory_load(&memory, MIB, fd, 1 << 20, 1, &err), -ENODATA);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pipe_end = ends[0];
	close(ends[1]);
	assert_true(guest_memory_load(&memory, MIB, pipe_end, 0, 1, &err) < 0);
}

/* ---- the loop ----------------------------------------------------------------------------- */

struct counter {
	struct loop_source source;
	struct loop *loop;
	struct counter *other;
	unsigned calls;
	unsigned end_at;
};

static void count(struct loop_source *source, uint32_t events)
{
	struct counter *c = source->data;
	uint64_t value;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(source->fd, &value, sizeof(value)), sizeof(value));
	if (++c->calls == c->end_at)
		loop_end(c->loop);
}

/* Removes the other one. */
static void remove_other(struct loop_source *source, uint32_t events)
{
	struct counter *c = source->data;

	count(source, events);
	loop_watch(c->loop, &c->other->source, 0, NULL);
}

static void make_counter(struct counter *c, struct loop *loop, loop_callback *callback)
{
	*c = (struct counter){ .loop = loop };
	c->source = (struct loop_source){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.callback = callback,
		.data = c,
	};
}

static void loop_calls_back(void **state)
{
	struct counter a, b;
	struct error err = { 0 };
	struct loop loop;

	(void)state;
	assert_int_equal(loop_open(&loop, &err), 0);
	make_counter(&a, &loop, count);
	make_counter(&b, &loop, count);
	assert_int_equal(loop_watch(&loop, &a.source, EPOLLIN, &err), 0);
	assert_int_equal(loop_watch(&loop, &b.source, EPOLLIN, &err), 0);
	assert_int_equal(loop_step(&loop, 0, &err), 0);
	eventfd_write(a.source.fd, 1);
	eventfd_write(b.source.fd, 1);
	assert_int_equal(loop_step(&loop, -1, &err), 1);
	assert_int_equal(loop_step(&loop, -1, &err), 1);
	assert_int_equal(loop_step(&loop, 0, &err), 0);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	b.end_at = 2;
	eventfd_write(b.source.fd, 1);
	assert_int_equal(loop_run(&loop, &err), 0);
	assert_int_equal(b.calls, 2);
	close(a.source.fd);
	close(b.source.fd);
	loop_close(&loop);
}

static void loop_does_not_call_back_what_was_removed(void **state)
{
	struct counter a, b;
	struct error err = { 0 };
	struct loop loop;

	(void)state;
	assert_int_equal(loop_open(&loop, &err), 0);
	make_counter(&a, &loop, remove_other);
	make_counter(&b, &loop, remove_other);
	a.other = &b;
	b.other = &a;
	loop_watch(&loop, &a.source, EPOLLIN, &err);
	loop_watch(&loop, &b.source, EPOLLIN, &err);
	eventfd_write(a.source.fd, 1);
	eventfd_write(b.source.fd, 1);
	/* Both are ready; whichever comes first removes the other. */
	while (loop_step(&loop, 0, &err) > 0)
		;
	assert_int_equal(a.calls + b.calls, 1);
	close(a.source.fd);
	close(b.source.fd);
	loop_close(&loop);
}

static void loop_names_what_it_cannot_watch(void **state)
{
	struct loop_source source = { .fd = 1 << 20 };
	struct error err = { 0 };
	struct loop loop;

	(void)state;
	assert_int_equal(loop_open(&loop, &err), 0);
	assert_int_equal(loop_watch(&loop, &source, EPOLLIN, &err), -EBADF);
	assert_int_equal(source.events, 0);
	loop_close(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_where_it_should_be),
		cmocka_unit_test(memory_goes_on_after_the_hole),
		cmocka_unit_test(memory_takes_nothing_until_it_is_touched),
		cmocka_unit_test(memory_of_a_wrong_size_is_refused),
		cmocka_unit_test(memory_is_shared_by_its_descriptor),
		cmocka_unit_test(memory_that_could_shrink_is_refused),
		cmocka_unit_test(memory_is_fenced),
		cmocka_unit_test(files_are_loaded),
		cmocka_unit_test(files_that_end_early_or_do_not_fit_are_refused),
		cmocka_unit_test(loop_calls_back),
		cmocka_unit_test(loop_does_not_call_back_what_was_removed),
		cmocka_unit_test(loop_names_what_it_cannot_watch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
