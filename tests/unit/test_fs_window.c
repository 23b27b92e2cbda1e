/* SPDX-License-Identifier: Apache-2.0 */
/* The window between the monitor and its file server: requests go in and answers come back whole, whatever the server writes. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "microvm/fs_window.h"

#define BUFFERS 3
#define LARGE   (256 * 4096)

/* The guest's buffers, and the server's side of the window. */
struct fixture {
	struct fs_window *window;
	struct guest_memory memory; /* the server's mapping of it */
	struct virtq queues[FS_QUEUES];
	int kick;
	struct virtq_chain chain, seen;
	uint8_t in[BUFFERS][LARGE], out[BUFFERS][LARGE];
};

static struct fixture f;

static void start(void)
{
	struct fs_start message;
	int fds[FS_FDS];

	fs_window_start(f.window, &message, fds);
	guest_memory_free(&f.memory);
	assert_int_equal(
		guest_memory_open(&f.memory, fcntl(fds[FS_FD_MEMORY], F_DUPFD_CLOEXEC, 0), NULL),
		0);
	f.kick = fds[FS_FD_KICK + FS_QUEUE_REQUEST];
	assert_int_equal(fds[FS_FD_INTERRUPT], fs_window_interrupt(f.window));
	for (unsigned i = 0; i < FS_QUEUES; i++)
		assert_int_equal(virtq_enable(&f.queues[i], &f.memory, &message.queues[i],
					      VIRTQ_SIZE_MAX, message.features, NULL),
				 0);
}

static int set_up(void **state)
{
	struct error err = { 0 };

	(void)state;
	memset(&f, 0, sizeof(f));
	f.memory.fd = -EBADF;
	f.window = fs_window_new(&err);
	if (!f.window)
		fail_msg("%s", err.text);
	start();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guest_memory_free(&f.memory);
	fs_window_free(f.window);
	return 0;
}

/* A chain of so many bytes in and out, each in several buffers. */
static const struct virtq_chain *make_chain(uint16_t head, size_t in, size_t out)
{
	f.chain = (struct virtq_chain){ .head = head, .readable_bytes = in, .writable_bytes = out };
	for (unsigned i = 0; i < BUFFERS && in; i++) {
		size_t len = i + 1 < BUFFERS && in > 7 ? in / 2 : in;

		for (size_t k = 0; k < len; k++)
			f.in[i][k] = (uint8_t)(head + i + k * 3);
		f.chain.iov[f.chain.readable++] = (struct iovec){ f.in[i], len };
		in -= len;
	}
	for (unsigned i = 0; i < BUFFERS && out; i++) {
		size_t len = i + 1 < BUFFERS && out > 7 ? out / 2 : out;

		memset(f.out[i], 0, len);
		f.chain.iov[f.chain.readable + f.chain.writable++] =
			(struct iovec){ f.out[i], len };
		out -= len;
	}
	return &f.chain;
}

/* As the server does: reads it all, and answers so many bytes that depend on what was read. */
static void serve(enum fs_queue queue, uint32_t answer)
{
	static uint8_t read[LARGE + 8192], written[LARGE + 8192];

	assert_int_equal(virtq_pop(&f.queues[queue], &f.seen), 1);
	assert_true(virtq_read(&f.seen, 0, read, f.seen.readable_bytes));
	for (uint32_t i = 0; i < answer; i++)
		written[i] = (uint8_t)(read[i % f.seen.readable_bytes] ^ 0x55);
	assert_true(!answer || virtq_write(&f.seen, 0, written, answer));
	virtq_push(&f.queues[queue], &f.seen, answer);
}

static uint8_t byte_of(const struct virtq_chain *chain, bool writable, uint64_t at)
{
	const struct iovec *iov = chain->iov + (writable ? chain->readable : 0);

	for (; at >= iov->iov_len; iov++)
		at -= iov->iov_len;
	return ((const uint8_t *)iov->iov_base)[at];
}

static void assert_answered(enum fs_queue queue, const struct virtq_chain *chain, uint32_t answer)
{
	struct fs_window_answer got;

	assert_int_equal(fs_window_receive(f.window, queue, &got), 1);
	assert_int_equal(got.head, chain->head);
	assert_int_equal(got.written, answer);
	assert_int_equal(got.count, chain->writable);
	free(got.where);
	for (uint32_t i = 0; i < answer; i++)
		if (byte_of(chain, true, i) !=
		    (byte_of(chain, false, i % chain->readable_bytes) ^ 0x55))
			fail_msg("byte %u", i);
	for (uint64_t i = answer; i < chain->writable_bytes; i++)
		assert_int_equal(byte_of(chain, true, i), 0);
}

static void requests_and_answers_are_whole(void **state)
{
	static const struct {
		size_t in, out;
		uint32_t answer;
	} cases[] = {
		{ 40, 104, 104 },  { 40, 104, 16 },      { 40, 0, 0 },
		{ 1, 1, 1 },       { 80, LARGE, LARGE }, { LARGE + 80, 24, 24 },
		{ 4096, 4096, 0 }, { 4095, 4097, 4097 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct virtq_chain *chain =
			make_chain((uint16_t)(i * 7), cases[i].in, cases[i].out);
		enum fs_queue queue = i % 2 ? FS_QUEUE_HIPRIO : FS_QUEUE_REQUEST;
		struct fs_window_answer none;
		eventfd_t count;

		assert_true(fs_window_can_hold(chain));
		assert_true(fs_window_send(f.window, queue, chain));
		assert_int_equal(fs_window_receive(f.window, queue, &none), 0);
		serve(queue, cases[i].answer);
		assert_answered(queue, chain, cases[i].answer);
		fs_window_kick(f.window, FS_QUEUE_REQUEST);
		assert_int_equal(eventfd_read(f.kick, &count), 0);
	}
}

static void what_is_larger_than_any_request_is_not_taken(void **state)
{
	(void)state;
	assert_false(fs_window_can_hold(make_chain(0, 0, 100)));
	f.chain = (struct virtq_chain){ .readable_bytes = 3 << 20 };
	assert_false(fs_window_can_hold(&f.chain));
	f.chain = (struct virtq_chain){ .readable_bytes = 40, .writable_bytes = UINT32_MAX };
	assert_false(fs_window_can_hold(&f.chain));
}

/* Requests wait where there is no room, and none is lost. */
static void the_window_fills_and_empties(void **state)
{
	unsigned sent = 0;

	(void)state;
	for (int round = 0; round < 3; round++) {
		size_t out = round == 1 ? LARGE : 100;

		for (sent = 0; fs_window_send(f.window, FS_QUEUE_REQUEST,
					      make_chain((uint16_t)sent, 64, out));)
			sent++;
		assert_in_range(sent, round == 1 ? 4 : 32, 200);
		/* The other queue has slots of its own; room there is for small ones. */
		if (round != 1) {
			assert_true(
				fs_window_send(f.window, FS_QUEUE_HIPRIO, make_chain(500, 40, 0)));
			serve(FS_QUEUE_HIPRIO, 0);
			assert_answered(FS_QUEUE_HIPRIO, &f.chain, 0);
		}
		for (unsigned i = 0; i < sent; i++) {
			serve(FS_QUEUE_REQUEST, 8);
			assert_answered(FS_QUEUE_REQUEST, make_chain((uint16_t)i, 64, out), 0 + 8);
		}
	}
}

static void nonsense_of_the_server_is_found(void **state)
{
	static const struct {
		uint32_t id, len;
	} cases[] = { { 1, 0 }, { 2, 0 }, { UINT32_MAX, 0 }, { 256, 0 }, { 0, 105 } };
	struct fs_window_answer answer;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct virtq_used used = { (uint16_t)cases[i].id, cases[i].len };

		start();
		assert_true(fs_window_send(f.window, FS_QUEUE_REQUEST, make_chain(9, 40, 104)));
		virtq_push_all(&f.queues[FS_QUEUE_REQUEST], &used, 1);
		assert_int_equal(fs_window_receive(f.window, FS_QUEUE_REQUEST, &answer), -EPROTO);
	}
	/* The same answer twice. */
	start();
	assert_true(fs_window_send(f.window, FS_QUEUE_REQUEST, make_chain(9, 40, 104)));
	serve(FS_QUEUE_REQUEST, 4);
	virtq_push(&f.queues[FS_QUEUE_REQUEST], &f.seen, 4);
	assert_answered(FS_QUEUE_REQUEST, &f.chain, 4);
	assert_int_equal(fs_window_receive(f.window, FS_QUEUE_REQUEST, &answer), -EPROTO);
}

static void a_new_start_forgets_what_was_under_way(void **state)
{
	struct fs_window_answer answer;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		assert_true(fs_window_send(f.window, FS_QUEUE_REQUEST,
					   make_chain((uint16_t)i, 40, 104)));
	start();
	assert_int_equal(fs_window_receive(f.window, FS_QUEUE_REQUEST, &answer), 0);
	assert_int_equal(virtq_pop(&f.queues[FS_QUEUE_REQUEST], &f.seen), 0);
	assert_true(fs_window_send(f.window, FS_QUEUE_REQUEST, make_chain(1, 40, 104)));
	serve(FS_QUEUE_REQUEST, 104);
	assert_answered(FS_QUEUE_REQUEST, &f.chain, 104);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_and_answers_are_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_larger_than_any_request_is_not_taken,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_window_fills_and_empties, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nonsense_of_the_server_is_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_new_start_forgets_what_was_under_way, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
