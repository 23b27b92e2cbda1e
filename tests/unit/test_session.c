/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of a process in a microVM, with this test as the guest: what a good one says, and what a hostile one might. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/log.h"
#include "microvm/snapshot.h"
#include "sandbox/session.h"

struct guest {
	struct loop loop;
	struct session session;
	int control;                    /* the guest's end */
	int streams[AGENT_STREAMS_MAX]; /* the guest's ends, in the order of connections */
	unsigned connected;
	int held;
	unsigned gone;               /* bits of streams of which there is no connection any more */
	int host[AGENT_STREAMS_MAX]; /* the other ends of the session's stdio */
	bool hello, ended;
	int status;
	struct error error;
};

static void on_held(void *data, int code)
{
	((struct guest *)data)->held = code;
}

static int on_connect(void *data, uint32_t port, unsigned stream _unused_, struct error *err)
{
	struct guest *g = data;
	int pair[2];

	(void)err;
	assert_int_equal(port, 4321);
	assert_true(g->connected < AGENT_STREAMS_MAX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	g->streams[g->connected++] = pair[0];
	return pair[1];
}

static void on_hello(void *data)
{
	((struct guest *)data)->hello = true;
}

static void on_end(void *data, int status, const struct error *err)
{
	struct guest *g = data;

	assert_false(g->ended);
	g->ended = true;
	g->status = status;
	if (err)
		g->error = *err;
}

static int setup(void **state)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct error err = { 0 };
	int pair[2];

	assert_non_null(g);
	assert_int_equal(loop_open(&g->loop, &err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	g->control = pair[0];
	g->session = (struct session){
		.loop = &g->loop,
		.control = { .fd = pair[1] },
		.wants_hello = true,
		.connect = on_connect,
		.on_hello = on_hello,
		.on_end = on_end,
		.data = g,
	};
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		/* Pipes, as engines give them: blocking. */
		assert_int_equal(pipe(pair), 0);
		g->host[i] = pair[i == 0];
		g->session.stdio[i] = pair[i != 0];
		g->streams[i] = -1;
	}
	assert_int_equal(session_begin(&g->session, &err), 0);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct guest *g = *state;

	session_end(&g->session);
	loop_close(&g->loop);
	close_fd(&g->control);
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		close_fd(&g->streams[i]);
		close_fd(&g->host[i]);
	}
	free(g);
	return 0;
}

static void run(struct guest *g)
{
	while (loop_step(&g->loop, 20, NULL) > 0)
		;
}

static void say(struct guest *g, uint32_t type, const void *payload, size_t len)
{
	assert_int_equal(agent_send(g->control, type, payload, len, NULL), 0);
	run(g);
}

static void say_hello(struct guest *g)
{
	const struct agent_hello hello = { AGENT_MAGIC, AGENT_VERSION };

	say(g, AGENT_HELLO, &hello, sizeof(hello));
}

static void say_streams(struct guest *g)
{
	const struct agent_streams streams = { 4321, 3 };

	say(g, AGENT_STREAMS, &streams, sizeof(streams));
}

static size_t read_some(int fd, char *buf, size_t size)
{
	ssize_t n;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	n = read(fd, buf, size);
	return n < 0 ? 0 : (size_t)n;
}

/* ---- a good guest -------------------------------------------------------------------------------------- */

static void streams_and_status(void **state)
{
	struct guest *g = *state;
	struct agent_exited exited = { .status = 7, .bytes = { 0, 3, 4 } };
	char buf[64];

	say_hello(g);
	assert_true(g->hello);
	say_streams(g);
	assert_int_equal(g->connected, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read_some(g->streams[i], buf, 1), 1);
		assert_int_equal(buf[0], i); /* which of them it is */
	}
	assert_int_equal(write(g->host[0], "input", 5), 5);
	run(g);
	assert_int_equal(read_some(g->streams[0], buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "input", 5);
	close_fd(&g->host[0]);
	run(g);
	assert_int_equal(recv(g->streams[0], buf, 1, 0), 0); /* its end, too */

	/* It has ended, but its output is still on the way: first that, then the end. */
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	assert_false(g->ended);
	assert_int_equal(write(g->streams[1], "out", 3), 3);
	run(g);
	assert_false(g->ended);
	assert_int_equal(write(g->streams[2], "errs", 4), 4);
	run(g);
	assert_true(g->ended);
	assert_int_equal(g->status, 7);
	assert_int_equal(read_some(g->host[1], buf, sizeof(buf)), 3);
	assert_int_equal(read_some(g->host[2], buf, sizeof(buf)), 4);
}

static void signals_are_passed_on(void **state)
{
	struct guest *g = *state;
	uint32_t frame[3];

	session_signal(&g->session, 15);
	assert_int_equal(recv(g->control, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(frame[0], AGENT_SIGNAL);
	assert_int_equal(frame[1], 4);
	assert_int_equal(frame[2], 15);
	/* One that does not listen does not hold us up. */
	for (int i = 0; i < 100000; i++)
		session_signal(&g->session, 15);
}

/* The reader is slow: nothing is lost, and nobody is blocked. */
static void much_output(void **state)
{
	struct guest *g = *state;
	struct agent_exited exited = { .status = 0, .bytes = { 0, 1000000, 0 } };
	static char data[1000000], buf[65536];
	size_t sent = 0, got = 0;

	say_hello(g);
	say_streams(g);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	while (got < sizeof(data)) {
		ssize_t n = send(g->streams[1], data + sent, sizeof(data) - sent, MSG_DONTWAIT);
		size_t r;

		sent += n > 0 ? (size_t)n : 0;
		run(g);
		r = read_some(g->host[1], buf, 10000);
		assert_memory_equal(buf, data + got, r);
		got += r;
	}
	run(g);
	assert_true(g->ended);
	assert_int_equal(g->status, 0);
}

static void a_reader_that_is_gone(void **state)
{
	struct guest *g = *state;
	struct agent_exited exited = { .status = 1, .bytes = { 0, 100, 0 } };
	char c;

	say_hello(g);
	say_streams(g);
	close_fd(&g->host[1]);
	run(g);
	/* The guest's writer learns of it, and the end is not waited for in vain. */
	assert_int_equal(recv(g->streams[1], &c, 1, MSG_DONTWAIT), 1);
	assert_true(send(g->streams[1], "x", 1, MSG_NOSIGNAL) == 1 || errno == EPIPE);
	run(g);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	assert_true(g->ended);
	assert_int_equal(g->status, 1);
}

static void an_error_instead(void **state)
{
	struct guest *g = *state;
	struct error theirs = { .code = ENOENT, .text = "find \033[31m`prog`\n\007" };

	say_hello(g);
	assert_int_equal(agent_send_error(g->control, &theirs, true, NULL), 0);
	run(g);
	assert_true(g->ended);
	assert_int_equal(g->status, -1);
	assert_int_equal(g->error.code, ENOENT);
	assert_string_equal(g->error.text, theirs.text); /* the log makes it harmless */
	assert_true(g->session.exec_failed);
}

/* What nobody reads is waited for, until somebody asks for the end. */
static void asked_to_end_twice(void **state)
{
	struct guest *g = *state;
	struct agent_exited exited = { .status = 3, .bytes = { 0, 1000, 0 } };

	say_hello(g);
	say_streams(g);
	session_signal(&g->session, SIGTERM); /* the process' */
	assert_false(g->ended);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	session_signal(&g->session, SIGWINCH);
	session_signal(&g->session, SIGUSR1);
	assert_false(g->ended);
	session_signal(&g->session, SIGTERM);
	assert_true(g->ended);
	assert_int_equal(g->status, 3);
	session_signal(&g->session, SIGTERM); /* once is enough */
}

static void warnings_before_an_answer(void **state)
{
	const struct log_config quiet = { .fd = -1, .quiet = true, .program = "test" };
	int pair[2];

	(void)state;
	log_configure(&quiet);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(agent_send(pair[0], AGENT_WARNING, "beware", 6, NULL), 0);
	assert_int_equal(agent_send(pair[0], AGENT_OK, NULL, 0, NULL), 0);
	assert_int_equal(agent_receive_answer(pair[1], NULL, NULL, 0, NULL, NULL), 0);
	/* No end of them is no answer. */
	for (int i = 0; i <= AGENT_WARNINGS_MAX; i++)
		assert_int_equal(agent_send(pair[0], AGENT_WARNING, "beware", 6, NULL), 0);
	assert_true(agent_receive_answer(pair[1], NULL, NULL, 0, NULL, NULL) < 0);
	close(pair[0]);
	close(pair[1]);
}

/* A message is heard also where no bytes are expected; but no more bytes than were. */
static void errors_where_nothing_is_expected(void **state)
{
	struct error theirs = { .code = ERANGE, .text = "that is too little" }, err = { 0 };
	_cleanup_free_ char *data = NULL;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(agent_send_error(pair[0], &theirs, false, NULL), 0);
	assert_int_equal(agent_receive_answer(pair[1], NULL, NULL, 0, NULL, &err), -ERANGE);
	assert_string_equal(err.text, theirs.text);
	assert_int_equal(agent_send(pair[0], AGENT_DATA, "12345", 5, NULL), 0);
	assert_int_equal(agent_receive_answer(pair[1], NULL, &data, 4, NULL, NULL), -EMSGSIZE);
	close(pair[0]);
	close(pair[1]);
}

/* ---- a hostile one ------------------------------------------------------------------------------------- */

static void assert_refused(struct guest *g)
{
	assert_true(g->ended);
	assert_int_equal(g->status, -1);
	assert_true(g->error.code > 0);
}

static void nothing_before_hello(void **state)
{
	struct guest *g = *state;

	say_streams(g);
	assert_refused(g);
	assert_int_equal(g->connected, 0);
}

static void another_version(void **state)
{
	struct guest *g = *state;
	const struct agent_hello hello = { AGENT_MAGIC, AGENT_VERSION + 1 };

	say(g, AGENT_HELLO, &hello, sizeof(hello));
	assert_refused(g);
	assert_false(g->hello);
}

static void a_frame_that_is_too_long(void **state)
{
	struct guest *g = *state;
	const uint32_t frame[2] = { AGENT_EXITED, UINT32_MAX - 4 };

	say_hello(g);
	assert_int_equal(write(g->control, frame, sizeof(frame)), sizeof(frame));
	run(g);
	assert_refused(g);
}

static void streams_twice(void **state)
{
	struct guest *g = *state;

	say_hello(g);
	say_streams(g);
	say_streams(g);
	assert_refused(g);
	assert_int_equal(g->connected, 3);
}

static void streams_of_a_terminal(void **state)
{
	struct guest *g = *state;
	const struct agent_streams streams = { 4321, 1 };

	say_hello(g);
	say(g, AGENT_STREAMS, &streams, sizeof(streams));
	assert_refused(g);
}

static void a_status_that_is_none(void **state)
{
	struct guest *g = *state;
	const struct agent_exited exited = { .status = 256 };

	say_hello(g);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	assert_refused(g);
}

static void types_that_do_not_belong_here(void **state)
{
	struct guest *g = *state;

	say_hello(g);
	say(g, AGENT_CREATE, "x", 1);
	assert_refused(g);
}

static void an_end_without_a_status(void **state)
{
	struct guest *g = *state;

	say_hello(g);
	close_fd(&g->control);
	run(g);
	assert_refused(g);
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

/* The guest's end of a new connection, with what had come and was not read. */
static int on_adopt(void *data, unsigned stream, const void *unread, size_t len, struct error *err)
{
	struct guest *g = data;
	int pair[2];

	(void)err;
	assert_true(stream <= AGENT_STREAMS_MAX);
	if (g->gone & 1u << stream)
		return -ENOENT;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(send(pair[0], unread, len, MSG_DONTWAIT), len);
	if (stream == AGENT_STREAMS_MAX) {
		close(g->control);
		g->control = pair[0];
	} else {
		close(g->streams[stream]);
		g->streams[stream] = pair[0];
	}
	return pair[1];
}

/* Another session in the place of this one, with new pipes. */
static int move_session(struct guest *g, const struct snapshot *saved)
{
	struct snapshot s = { .data = saved->data, .len = saved->len, .fd = -EBADF };
	const struct session old = g->session;
	struct error err = { 0 };
	int pair[2], r;

	session_end(&g->session);
	g->ended = false;
	g->session = (struct session){
		.loop = &g->loop,
		.control = { .fd = -1 },
		.wants_hello = true,
		.connect = old.connect,
		.on_hello = old.on_hello,
		.on_held = old.on_held,
		.on_end = old.on_end,
		.data = g,
	};
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		close_fd(&g->host[i]);
		assert_int_equal(pipe(pair), 0);
		g->host[i] = pair[i == 0];
		g->session.stdio[i] = pair[i != 0];
	}
	r = session_restore(&g->session, &s, on_adopt, &err);
	if (r == 0)
		assert_int_equal(s.at, s.len);
	return r;
}

static void a_session_goes_on_elsewhere(void **state)
{
	struct agent_exited exited = { .status = 7, .bytes = { 0, 200000, 4 } };
	static char out[200000], got[300000];
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	size_t sent = 0, before, after = 0;
	struct error err = { 0 };
	char buf[64];

	say_hello(g);
	say_streams(g);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read_some(g->streams[i], buf, 1), 1);
	/* Nobody reads the output: some is in the pipe, some with the relay, some in the socket. */
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7);
	for (int i = 0; i < 50; i++) {
		ssize_t n = send(g->streams[1], out + sent, sizeof(out) - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		run(g);
	}
	assert_true(sent > 100000 && sent <= sizeof(out));
	/* A half of a word of the guest's. */
	assert_int_equal(send(g->control, "\x06\0\0", 3, 0), 3);
	run(g);
	snapshot_begin(&s);
	assert_int_equal(session_save(&g->session, &s, &err), 0);
	/* What is in the first one's pipe is whose it was. */
	before = read_some(g->host[1], got, sizeof(got));
	assert_true(before > 0 && before < sent);
	/* And nothing comes behind it: that is the other's. */
	run(g);
	assert_int_equal(read_some(g->host[1], buf, sizeof(buf)), 0);
	assert_int_equal(move_session(g, &s), 0);
	for (int i = 0; i < 1000 && before + after < sizeof(out); i++) {
		ssize_t n = send(g->streams[1], out + sent, sizeof(out) - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		run(g);
		after += read_some(g->host[1], got + before + after, 10000);
	}
	assert_int_equal(before + after, sizeof(out));
	assert_memory_equal(got, out, sizeof(out));
	/* Input comes through, and the end is as ever; the rest of the word is AGENT_STARTED's frame, which is empty. */
	assert_int_equal(write(g->host[0], "input", 5), 5);
	run(g);
	assert_int_equal(read_some(g->streams[0], buf, sizeof(buf)), 5);
	assert_int_equal(send(g->control, "\0\0\0\0\0", 5, 0), 5);
	assert_int_equal(send(g->streams[2], "errs", 4, 0), 4);
	run(g);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	assert_true(g->ended);
	assert_int_equal(g->status, 7);
}

/* The guest has ended a stream, and nobody has read all of it: that comes, and then the end. */
static void what_was_left_of_an_ended_stream_comes(void **state)
{
	struct agent_exited exited = { .status = 3 };
	static char out[150000], got[200000];
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	size_t sent = 0, len;
	struct error err = { 0 };

	say_hello(g);
	say_streams(g);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 11);
	for (int i = 0; i < 50; i++) {
		ssize_t n = send(g->streams[1], out + sent, sizeof(out) - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		run(g);
	}
	exited.bytes[1] = sent + 1; /* which one is the first byte of the stream */
	snapshot_begin(&s);
	assert_int_equal(session_save(&g->session, &s, &err), 0);
	len = read_some(g->host[1], got, sizeof(got));
	assert_true(len < sent);
	g->gone = 1u << 1;
	assert_int_equal(move_session(g, &s), 0);
	for (int i = 0; i < 1000 && len < sent; i++) {
		run(g);
		len += read_some(g->host[1], got + len, sizeof(got) - len);
	}
	assert_int_equal(len, sent);
	assert_memory_equal(got, out, sent);
	run(g);
	assert_int_equal(read(g->host[1], got, 1), 0);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	assert_true(g->ended);
	assert_int_equal(g->status, 3);
}

static void ends_stay_ends(void **state)
{
	struct agent_exited exited = { .status = 2, .bytes = { 0, 3, 0 } };
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	struct error err = { 0 };
	char buf[8];

	say_hello(g);
	say_streams(g);
	close_fd(&g->host[0]); /* no more input */
	run(g);
	assert_int_equal(send(g->streams[1], "out", 3, 0), 3);
	run(g);
	shutdown(g->streams[2], SHUT_WR); /* no more errors */
	run(g);
	assert_int_equal(read_some(g->host[1], buf, sizeof(buf)), 3);
	snapshot_begin(&s);
	assert_int_equal(session_save(&g->session, &s, &err), 0);
	assert_int_equal(move_session(g, &s), 0);
	/* Those streams have new pipes, which are closed; the one that goes on had all there was. */
	errno = 0;
	assert_true(write(g->host[0], "x", 1) < 0 && errno == EPIPE);
	assert_int_equal(read(g->host[2], buf, sizeof(buf)), 0);
	say(g, AGENT_EXITED, &exited, sizeof(exited));
	assert_true(g->ended);
	assert_int_equal(g->status, 2);
	snapshot_close(&s);
	snapshot_begin(&s);
	assert_true(session_save(&g->session, &s, &err) < 0); /* there is nothing any more */
}

static void hostile_sessions_are_refused(void **state)
{
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	struct error err = { 0 };

	say_hello(g);
	say_streams(g);
	assert_int_equal(send(g->streams[1], "out", 3, 0), 3);
	snapshot_begin(&s);
	assert_int_equal(session_save(&g->session, &s, &err), 0);
	for (size_t at = 0; at < s.len; at++) {
		struct snapshot cut = { .data = s.data, .len = at, .fd = -EBADF };

		assert_true(move_session(g, &cut) < 0);
		s.data[at] ^= 0xff;
		move_session(g, &s);
		s.data[at] ^= 0xff;
	}
	g->ended = false;
	assert_int_equal(move_session(g, &s), 0);
}

static void holding(void **state)
{
	struct guest *g = *state;
	const uint32_t code = 16;
	struct error err = { 0 };
	uint32_t frame[2];

	g->session.on_held = on_held;
	say_hello(g);
	assert_int_equal(session_hold(&g->session, &err), 0);
	assert_int_equal(recv(g->control, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(frame[0], AGENT_HOLD);
	assert_int_equal(frame[1], 0);
	g->held = -1;
	say(g, AGENT_HELD, &code, sizeof(code));
	assert_int_equal(g->held, 16);
	session_release(&g->session);
	assert_int_equal(recv(g->control, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(frame[0], AGENT_GO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(streams_and_status),
		TEST(signals_are_passed_on),
		TEST(much_output),
		TEST(a_reader_that_is_gone),
		TEST(an_error_instead),
		TEST(asked_to_end_twice),
		TEST(a_session_goes_on_elsewhere),
		TEST(ends_stay_ends),
		TEST(what_was_left_of_an_ended_stream_comes),
		TEST(hostile_sessions_are_refused),
		TEST(holding),
		TEST(warnings_before_an_answer),
		TEST(errors_where_nothing_is_expected),
		TEST(nothing_before_hello),
		TEST(another_version),
		TEST(a_frame_that_is_too_long),
		TEST(streams_twice),
		TEST(streams_of_a_terminal),
		TEST(a_status_that_is_none),
		TEST(types_that_do_not_belong_here),
		TEST(an_end_without_a_status),
	};

	/* Streams whose other end is closed are written to. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
