/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/spawn: what a caller believes of a new process, which others may have taken over already. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "sandbox/container.h"

struct family {
	pid_t intermediate; /* ours, and it ended: as it does when it has said MSG_SPAWNED */
	pid_t real;         /* ours */
	pid_t grandchild;   /* the real one's: a process of the container */
	int channel[2];
};

static pid_t start(int *report, bool with_child)
{
	pid_t pid = fork(), child;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	child = with_child ? fork() : 0;
	if (with_child && child > 0 && write(*report, &child, sizeof(child)) != sizeof(child))
		_exit(1);
	for (;;)
		pause();
}

static int setup(void **state)
{
	struct family *f = calloc(1, sizeof(*f));
	int report[2];

	assert_non_null(f);
	assert_int_equal(pipe(report), 0);
	f->intermediate = fork();
	assert_true(f->intermediate >= 0);
	if (f->intermediate == 0)
		_exit(0);
	f->real = start(&report[1], true);
	assert_int_equal(read(report[0], &f->grandchild, sizeof(pid_t)), sizeof(pid_t));
	close(report[0]);
	close(report[1]);
	assert_int_equal(message_pair(f->channel, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct family *f = *state;

	kill(f->grandchild, SIGKILL);
	spawn_discard(&f->real);
	waitpid(f->intermediate, NULL, WNOHANG);
	close(f->channel[0]);
	close(f->channel[1]);
	free(f);
	return 0;
}

static int adopt(pid_t *pid, bool *staged, pid_t claimed)
{
	struct spawned spawned = { .pid = claimed };
	struct message message = { .type = MSG_SPAWNED, .len = sizeof(spawned) };
	struct error err = { 0 };

	return spawn_adopt(pid, staged, &message, &spawned, &err);
}

static void the_real_process_takes_the_place_of_the_intermediate_one(void **state)
{
	struct family *f = *state;
	pid_t pid = f->intermediate;
	bool staged = true;

	assert_int_equal(adopt(&pid, &staged, f->real), 0);
	assert_int_equal(pid, f->real);
	assert_false(staged);
	/* The intermediate one was waited for. */
	assert_int_equal(waitpid(f->intermediate, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void a_forged_id_is_refused(void **state)
{
	struct family *f = *state;
	const pid_t forged[] = {
		0, -1, 1, INT32_MAX, getpid(), getppid(), f->grandchild, f->intermediate
	};

	for (size_t i = 0; i < ARRAY_SIZE(forged); i++) {
		pid_t pid = f->intermediate;
		bool staged = true;

		assert_int_equal(adopt(&pid, &staged, forged[i]), -EPROTO);
		assert_int_equal(pid, f->intermediate);
		assert_true(staged);
	}
}

static void an_id_is_taken_once_and_only_where_one_is_awaited(void **state)
{
	struct family *f = *state;
	pid_t pid = f->intermediate, second = start(NULL, false);
	bool staged = false;

	assert_int_equal(adopt(&pid, &staged, f->real), -EPROTO);
	staged = true;
	assert_int_equal(adopt(&pid, &staged, f->real), 0);
	assert_int_equal(adopt(&pid, &staged, second), -EPROTO);
	assert_int_equal(pid, f->real);
	spawn_discard(&second);
}

static void an_id_of_another_length_is_refused(void **state)
{
	struct family *f = *state;
	struct spawned spawned = { .pid = f->real };
	pid_t pid = f->intermediate;
	bool staged = true;

	for (uint32_t len = 0; len <= 2 * sizeof(spawned); len++) {
		struct message message = { .type = MSG_SPAWNED, .len = len };
		struct error err = { 0 };

		if (len != sizeof(spawned))
			assert_int_equal(spawn_adopt(&pid, &staged, &message, &spawned, &err),
					 -EPROTO);
	}
	assert_int_equal(pid, f->intermediate);
}

static int receive(const struct family *f, void *payload, size_t size, struct error *err)
{
	struct message message;
	bool exec_failed = false;

	return spawn_receive(f->channel[1], &message, payload, size, &exec_failed, err);
}

static void errors_of_another_process_are_read_with_care(void **state)
{
	struct family *f = *state;
	struct error sent = { .code = EPERM }, err = { 0 };
	char wanted[8];

	/* A text without an end. */
	memset(sent.text, 'x', sizeof(sent.text));
	assert_int_equal(message_send(f->channel[0], MSG_ERROR, &sent, sizeof(sent), NULL, 0, NULL),
			 0);
	assert_int_equal(receive(f, wanted, sizeof(wanted), &err), -EPERM);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	/* An error that is none would be taken for success. */
	for (int code = -EPERM; code <= 0; code++) {
		sent.code = code;
		assert_int_equal(
			message_send(f->channel[0], MSG_ERROR, &sent, sizeof(sent), NULL, 0, NULL),
			0);
		assert_int_equal(receive(f, wanted, sizeof(wanted), &err), -EPROTO);
	}
	/* Less than an error, more than was asked for. */
	assert_int_equal(message_send(f->channel[0], MSG_ERROR, &sent, 8, NULL, 0, NULL), 0);
	assert_int_equal(receive(f, wanted, sizeof(wanted), &err), -EPROTO);
	assert_int_equal(
		message_send(f->channel[0], MSG_READY, &sent, sizeof(wanted) + 1, NULL, 0, NULL),
		0);
	assert_int_equal(receive(f, wanted, sizeof(wanted), &err), -EPROTO);
}

#define family_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		family_test(the_real_process_takes_the_place_of_the_intermediate_one),
		family_test(a_forged_id_is_refused),
		family_test(an_id_is_taken_once_and_only_where_one_is_awaited),
		family_test(an_id_of_another_length_is_refused),
		family_test(errors_of_another_process_are_read_with_care),
	};

	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
