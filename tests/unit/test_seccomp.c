/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/seccomp and sandbox/notify: filters that ask an agent, and the caller's side of handing the listener over. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <unistd.h>

#include "sandbox/container.h"

static const char *getppid_only[] = { "getppid" };
static struct oci_seccomp_syscall rule = { .names = { getppid_only, 1 },
					   .action = "SCMP_ACT_NOTIFY" };

static struct oci_seccomp asking(void)
{
	return (struct oci_seccomp){ .default_action = "SCMP_ACT_ALLOW",
				     .listener_path = "/run/agent.sock",
				     .syscalls = { &rule, 1 } };
}

static int compile(const struct oci_seccomp *s, unsigned *flags, struct error *err)
{
	_cleanup_seccomp_ struct seccomp_program program;
	int r = seccomp_compile(&program, s, err);

	*flags = program.flags;
	return r;
}

static void asking_makes_a_listener(void **state)
{
	static const char *both[] = { "SECCOMP_FILTER_FLAG_TSYNC",
				      "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" };
	struct oci_seccomp s = asking();
	struct error err = { 0 };
	unsigned flags;

	(void)state;
	assert_int_equal(compile(&s, &flags, &err), 0);
	assert_int_equal(flags, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	/* The thread that hands the listener over must stay outside. */
	s.flags = (struct oci_strings){ both, 2 };
	assert_int_equal(compile(&s, &flags, &err), 0);
	assert_int_equal(flags, SECCOMP_FILTER_FLAG_NEW_LISTENER | 1u << 5);
	s.syscalls.len = 0;
	assert_int_equal(compile(&s, &flags, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/linux/seccomp/flags/1: "));
	s.flags.len = 0;
	assert_int_equal(compile(&s, &flags, &err), 0);
	assert_int_equal(flags, 0);
	s.default_action = "SCMP_ACT_NOTIFY";
	assert_int_equal(compile(&s, &flags, &err), 0);
	assert_int_equal(flags, SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

static void asking_needs_somebody(void **state)
{
	struct oci_seccomp s = asking();
	struct error err = { 0 };
	unsigned flags;

	(void)state;
	s.listener_path = NULL;
	assert_int_equal(compile(&s, &flags, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/linux/seccomp/listenerPath: "));
	s.listener_path = "agent.sock";
	assert_int_equal(compile(&s, &flags, &err), -EINVAL);
	s.syscalls.len = 0; /* ignored where nobody asks */
	assert_int_equal(compile(&s, &flags, &err), 0);
	s.listener_path = NULL;
	s.listener_metadata = "x";
	assert_int_equal(compile(&s, &flags, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/linux/seccomp/listenerMetadata: "));
}

static struct message message_with(enum container_message type, int fd)
{
	return (struct message){ .type = type, .fds = { fd }, .fd_count = fd >= 0 };
}

/* The new process may be somebody else's by now: what it says is taken in its turn only. */
static void messages_out_of_turn_are_refused(void **state)
{
	struct oci_seccomp s = asking();
	struct notify_agent agent = { .connection = -EBADF };
	struct error err = { 0 };
	struct message m = message_with(MSG_LISTEN, -1);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(notify_answer(&agent, -1, &m, &err), -EPROTO); /* no filter at all */
	agent.seccomp = &s;
	m = message_with(MSG_LISTENER, fd);
	assert_int_equal(notify_answer(&agent, -1, &m, &err), -EPROTO); /* not begun */
	assert_int_equal(fcntl(fd, F_GETFD), -1);                       /* closed all the same */
	s.listener_path = "/no/such/agent.sock";
	m = message_with(MSG_LISTEN, -1);
	assert_int_equal(notify_answer(&agent, -1, &m, &err), -ENOENT);
	assert_int_equal(notify_answer(&agent, -1, &m, &err), -EPROTO); /* once only */
	m = message_with(MSG_LISTENER, -1);
	assert_int_equal(notify_answer(&agent, -1, &m, &err), -EPROTO); /* no descriptor */
	notify_close(&agent);
}

static void only_a_listener_goes_to_the_agent(void **state)
{
	struct oci_seccomp s = asking();
	int ends[2], channel[2];
	struct notify_agent agent = { .seccomp = &s, .begun = true };
	struct error err = { 0 };
	struct message m = message_with(MSG_LISTENER, open("/dev/null", O_RDONLY | O_CLOEXEC));
	char byte;

	(void)state;
	assert_int_equal(message_pair(ends, &err), 0);
	assert_int_equal(message_pair(channel, &err), 0);
	agent.connection = ends[0];
	assert_int_equal(notify_answer(&agent, channel[0], &m, &err), -EBADMSG);
	assert_int_equal(read(ends[1], &byte, 1),
			 0); /* the agent hears the end, and nothing else */
	notify_close(&agent);
	close(ends[1]);
	close(channel[0]);
	close(channel[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asking_makes_a_listener),
		cmocka_unit_test(asking_needs_somebody),
		cmocka_unit_test(messages_out_of_turn_are_refused),
		cmocka_unit_test(only_a_listener_goes_to_the_agent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
