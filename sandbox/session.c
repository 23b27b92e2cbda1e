/* SPDX-License-Identifier: Apache-2.0 */
/* Standard streams and the end of a process in a microVM; see session.h. */
#include "sandbox/session.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "microvm/snapshot.h"
#include "microvm/vsock_connection.h"

static void finish(struct session *s, int status, const struct error *err)
{
	if (s->ended)
		return;
	s->ended = true;
	loop_watch(s->loop, &s->control, 0, NULL);
	s->on_end(s->data, status, err);
}

static void fail(struct session *s, int code, const char *why)
{
	struct error err = { 0 };

	error_set(&err, code, "%s", why);
	finish(s, -1, &err);
}

/* ---- streams ------------------------------------------------------------------------------------------ */

/* Whether all that the process wrote has come and was written, or will never be. */
static bool is_complete(const struct relay *relay, uint64_t bytes)
{
	return !relay->loop || relay->ended || relay->carried >= bytes;
}

static void end_if_complete(struct session *s)
{
	if (!s->exited)
		return;
	if (s->streaming && !(is_complete(&s->out[0], s->exit.bytes[s->tty ? 0 : 1]) &&
			      (s->tty || is_complete(&s->out[1], s->exit.bytes[2]))))
		return;
	finish(s, (int)s->exit.status, NULL);
}

static void on_output(struct relay *relay)
{
	end_if_complete(relay->data);
}

static int open_stream(struct session *s, uint32_t port, uint8_t which, struct error *err)
{
	_cleanup_close_ int sock = s->connect(s->data, port, which, err);

	if (sock < 0)
		return sock;
	if (send(sock, &which, 1, MSG_NOSIGNAL) != 1)
		return error_set(err, EPIPE, "the microVM closed a stream");
	return take_fd(&sock);
}

static int start_output(struct session *s, unsigned which, int from, int to, struct error *err)
{
	struct relay *relay = &s->out[which];

	relay->on_progress = relay->on_end = on_output;
	relay->data = s;
	return relay_start(relay, s->loop, from, to, err);
}

/* A terminal has one connection for both directions. Of the two, that to the host can be over before the other. */
static int carry_terminal(struct session *s, int sock, struct error *err)
{
	int again = fcntl(sock, F_DUPFD_CLOEXEC, 0);
	int r = start_output(s, 0, sock, fcntl(s->stdio[0], F_DUPFD_CLOEXEC, 0), err);

	if (r == 0)
		r = relay_start(&s->in, s->loop, fcntl(s->stdio[0], F_DUPFD_CLOEXEC, 0), again,
				err);
	else
		close_fd(&again);
	return r;
}

static int carry_pipe(struct session *s, unsigned i, int sock, struct error *err)
{
	int stdio = take_fd(&s->stdio[i]);

	return i == 0 ? relay_start(&s->in, s->loop, stdio, sock, err)
		      : start_output(s, i - 1, sock, stdio, err);
}

static int start_streams(struct session *s, const struct agent_streams *streams, struct error *err)
{
	int r = 0;

	for (uint8_t i = 0; r == 0 && i < streams->count; i++) {
		int sock = open_stream(s, streams->port, i, err);

		if (sock < 0)
			r = sock;
		else
			r = s->tty ? carry_terminal(s, sock, err) : carry_pipe(s, i, sock, err);
	}
	return r;
}

static void on_streams(struct session *s, const struct agent_streams *streams)
{
	struct error err = { 0 };
	int r;

	if (s->streaming || streams->count != (s->tty ? 1 : AGENT_STREAMS_MAX)) {
		fail(s, EPROTO, "the microVM asks for streams that its process does not have");
		return;
	}
	s->streaming = true;
	r = start_streams(s, streams, &err);
	if (r < 0)
		finish(s, -1, &err);
	else
		session_resize(s); /* whoever set it before could not be heard by us */
}

/* ---- the guest's words -------------------------------------------------------------------------------- */

static bool take(void *to, size_t size, const void *payload, size_t len)
{
	if (len != size)
		return false;
	memcpy(to, payload, size);
	return true;
}

/* Whether the frame is one that may come here. */
static bool on_frame(void *data, uint32_t type, const char *payload, size_t len)
{
	struct session *s = data;
	struct agent_streams streams;
	struct agent_hello hello;
	struct error err = { 0 };

	if (s->ended)
		return true; /* what comes behind the end is not listened to */
	if (s->wants_hello) {
		if (type != AGENT_HELLO || !take(&hello, sizeof(hello), payload, len) ||
		    hello.magic != AGENT_MAGIC || hello.version != AGENT_VERSION)
			return false;
		s->wants_hello = false;
		s->heard_hello = true;
		return true;
	}
	switch (type) {
	case AGENT_STREAMS:
		if (!take(&streams, sizeof(streams), payload, len))
			return false;
		on_streams(s, &streams);
		return true;
	case AGENT_WARNING:
		agent_log_warning(payload, len);
		return true;
	case AGENT_HELD:
		if (!take(&s->held, sizeof(s->held), payload, len))
			return false;
		s->heard_held = true;
		return true;
	case AGENT_STARTED:
		if (s->on_started)
			s->on_started(s->data);
		return true;
	case AGENT_EXITED:
		if (s->exited || !take(&s->exit, sizeof(s->exit), payload, len) ||
		    s->exit.status > 255)
			return false;
		s->exited = true;
		/* A process that has ended is still, and hull-guest hears no more. */
		s->held = 0;
		s->heard_held = s->holding;
		end_if_complete(s);
		return true;
	case AGENT_ERROR:
	case AGENT_EXEC_ERROR:
		s->exec_failed = type == AGENT_EXEC_ERROR;
		agent_error_of(payload, len, &err);
		finish(s, -1, &err);
		return true;
	default:
		return false;
	}
}

/* What may save the session: when all that was heard is dealt with. */
static void tell(struct session *s)
{
	if (s->heard_hello) {
		s->heard_hello = false;
		s->on_hello(s->data);
	}
	if (s->heard_held && s->on_held) {
		s->heard_held = s->holding = false;
		s->on_held(s->data, (int)(s->held < 4096 ? s->held : EPROTO));
	}
}

static void on_control(struct loop_source *source, uint32_t events)
{
	struct session *s = source->data;
	ssize_t n = recv(source->fd, s->frame + s->received, sizeof(s->frame) - s->received,
			 MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		s->received += (size_t)n;
	if (n > 0 && agent_take_frames(s->frame, sizeof(s->frame), &s->received, on_frame, s)) {
		tell(s);
		return;
	}
	if (n > 0)
		fail(s, EPROTO, "the microVM's hull-guest says what this hull does not understand");
	else if (s->exited)
		loop_watch(s->loop, source, 0, NULL); /* its output is still on the way */
	else
		fail(s, EPIPE, "the microVM has ended");
}

/* ---- the caller's ------------------------------------------------------------------------------------- */

int session_begin(struct session *session, struct error *err)
{
	session->control.callback = on_control;
	session->control.data = session;
	/* A guest that does not listen shall not hold us up: a word that has no room is lost. */
	if (fcntl(session->control.fd, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, errno, "talk to the microVM");
	return loop_watch(session->loop, &session->control, EPOLLIN, err);
}

void session_signal(struct session *session, int sig)
{
	uint32_t number = (uint32_t)sig;

	/* All that is left is output that nobody has read yet. */
	if (session->exited && agent_asks_to_end(sig))
		finish(session, (int)session->exit.status, NULL);
	else if (!session->ended)
		agent_send(session->control.fd, AGENT_SIGNAL, &number, sizeof(number), NULL);
}

struct agent_size session_terminal_size(int terminal)
{
	struct winsize ws = { 0 };

	ioctl(terminal, TIOCGWINSZ, &ws);
	return (struct agent_size){ .rows = ws.ws_row, .columns = ws.ws_col };
}

void session_resize(struct session *session)
{
	struct agent_size size;

	if (session->ended || !session->tty)
		return;
	size = session_terminal_size(session->stdio[0]);
	if (size.rows || size.columns)
		agent_send(session->control.fd, AGENT_RESIZE, &size, sizeof(size), NULL);
}

int session_hold(struct session *session, struct error *err)
{
	int r;

	/* The answer to an earlier one is still to come, and would be taken for this one's. */
	if (session->holding)
		return error_set(err, EBUSY,
				 "the workload is still held for another checkpoint: try again");
	r = session->ended || session->exited
		    ? error_set(err, ESRCH, "the workload has ended")
		    : agent_send(session->control.fd, AGENT_HOLD, NULL, 0, err);

	session->holding = r == 0;
	return r;
}

void session_release(struct session *session)
{
	relay_go_on(&session->in);
	for (int i = 0; i < 2; i++)
		relay_go_on(&session->out[i]);
	if (!session->ended)
		agent_send(session->control.fd, AGENT_GO, NULL, 0, NULL);
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

struct saved_relay {
	uint32_t runs; /* it has begun, and not ended */
	uint64_t taken, carried;
};

struct saved_session {
	uint32_t version; /* of what the guest speaks */
	uint32_t tty, wants_hello, streaming, exited;
	struct agent_exited exit;
	struct saved_relay in, out[2];
};

static bool runs(const struct relay *relay)
{
	return relay->loop && !relay->ended;
}

static struct saved_relay describe(const struct relay *relay)
{
	return (struct saved_relay){ runs(relay), relay->taken, relay->carried };
}

static int save_unread(int fd, struct snapshot *snapshot, struct error *err)
{
	_cleanup_free_ char *data = NULL;
	ssize_t n = vsock_peek(fd, &data);

	if (n < 0)
		return error_errno(err, (int)-n, "save the workload's streams");
	snapshot_put(snapshot, SNAPSHOT_BYTES, data, (size_t)n);
	return 0;
}

static int save_relay(const struct relay *relay, bool from_guest, struct snapshot *snapshot,
		      struct error *err)
{
	const bool alive = runs(relay);

	snapshot_put(snapshot, SNAPSHOT_BYTES,
		     alive && relay->buffer ? relay->buffer + relay->start : "",
		     alive ? relay->end - relay->start : 0);
	return alive && from_guest ? save_unread(relay->from.fd, snapshot, err) : 0;
}

int session_save(struct session *session, struct snapshot *snapshot, struct error *err)
{
	const struct saved_session saved = {
		.version = AGENT_VERSION,
		.tty = session->tty,
		.wants_hello = session->wants_hello,
		.streaming = session->streaming,
		.exited = session->exited,
		.exit = session->exit,
		.in = describe(&session->in),
		.out = { describe(&session->out[0]), describe(&session->out[1]) },
	};
	int r;

	if (session->ended)
		return error_set(err, ESRCH, "the workload has ended");
	snapshot_put(snapshot, SNAPSHOT_OWN, &saved, sizeof(saved));
	snapshot_put(snapshot, SNAPSHOT_BYTES, session->frame, session->received);
	r = save_unread(session->control.fd, snapshot, err);
	if (r == 0)
		r = save_relay(&session->in, false, snapshot, err);
	for (int i = 0; r == 0 && i < 2; i++)
		r = save_relay(&session->out[i], true, snapshot, err);
	if (r < 0)
		return r;
	relay_hold(&session->in);
	for (int i = 0; i < 2; i++)
		relay_hold(&session->out[i]);
	return 0;
}

/* One that has ended has no descriptors; one that runs gets what it had read and not written. */
static int restore_relay(struct relay *relay, const struct saved_relay *saved, bool from_guest,
			 struct snapshot *snapshot, const void **unread, size_t *unread_len,
			 struct error *err)
{
	const void *pending = NULL;
	size_t len = 0;
	int r = snapshot_take(snapshot, SNAPSHOT_BYTES, &pending, &len, err);

	*unread = NULL;
	*unread_len = 0;
	if (r == 0 && saved->runs && from_guest)
		r = snapshot_take(snapshot, SNAPSHOT_BYTES, unread, unread_len, err);
	if (r < 0)
		return r;
	relay->taken = saved->taken;
	relay->carried = saved->carried;
	return saved->runs ? relay_preload(relay, pending, len, err) : 0;
}

static void end_relay(struct session *s, struct relay *relay)
{
	relay->loop = s->loop;
	relay->ended = true;
	relay->from.fd = relay->to.fd = -EBADF;
}

struct unread {
	const void *data;
	size_t len;
};

/* A connection that the guest has ended, and whose bytes were not all read: those, and then its end. */
static int make_ended(const struct unread *unread, struct error *err)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	int pair[2], r = vsock_pair(pair, true);

	if (r < 0)
		return error_errno(err, -r, "restore the workload's streams");
	ours = pair[0];
	theirs = pair[1];
	if (unread->len && send(ours, unread->data, unread->len, MSG_NOSIGNAL | MSG_DONTWAIT) !=
				   (ssize_t)unread->len)
		return error_set(err, ENOBUFS, "a stream has more bytes than a socket holds");
	return take_fd(&theirs);
}

/* That of a stream which goes on, or (-ENOENT) none. One that is over for us still has its end to be delivered. */
static int adopt_stream(struct session *s, unsigned stream, bool alive, const struct unread *unread,
			session_adopt *adopt, struct error *err)
{
	int sock = adopt(s->data, stream, unread->data, unread->len, err);

	if (sock == -ENOENT && alive && (s->tty || stream > 0))
		return make_ended(unread, err);
	if (sock < 0 || alive)
		return sock;
	close(sock);
	return -ENOENT;
}

/* With which streams have what to come first: of a terminal that of its output is the only one. */
static int restore_streams(struct session *s, const struct saved_session *saved,
			   const struct unread unread[AGENT_STREAMS_MAX], session_adopt *adopt,
			   struct error *err)
{
	const bool alive[] = { s->tty ? saved->in.runs && saved->out[0].runs : saved->in.runs,
			       saved->out[0].runs, saved->out[1].runs };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < (s->tty ? 1 : AGENT_STREAMS_MAX); i++) {
		int sock = adopt_stream(s, i, alive[i], &unread[i], adopt, err);

		if (sock >= 0)
			r = s->tty ? carry_terminal(s, sock, err) : carry_pipe(s, i, sock, err);
		else if (sock != -ENOENT)
			r = sock;
		else if (!s->tty)
			close_fd(&s->stdio[i]); /* it is over */
	}
	if (!runs(&s->in))
		end_relay(s, &s->in);
	for (int i = 0; i < (s->tty ? 1 : 2); i++)
		if (!runs(&s->out[i]))
			end_relay(s, &s->out[i]);
	return r;
}

static int restore_all_streams(struct session *s, const struct saved_session *saved,
			       struct snapshot *snapshot, session_adopt *adopt, struct error *err)
{
	struct unread unread[AGENT_STREAMS_MAX] = { { NULL, 0 } }, out[2] = { { NULL, 0 } }, none;
	int r = restore_relay(&s->in, &saved->in, false, snapshot, &none.data, &none.len, err);

	for (int i = 0; r == 0 && i < 2; i++)
		r = restore_relay(&s->out[i], &saved->out[i], true, snapshot, &out[i].data,
				  &out[i].len, err);
	if (r < 0 || !saved->streaming)
		return r;
	if (s->tty) {
		unread[0] = out[0];
	} else {
		unread[1] = out[0];
		unread[2] = out[1];
	}
	s->streaming = true;
	return restore_streams(s, saved, unread, adopt, err);
}

static int restore_control(struct session *s, struct snapshot *snapshot, session_adopt *adopt,
			   struct error *err)
{
	const void *frame = NULL, *unread = NULL;
	size_t received = 0, len = 0;
	int r = snapshot_take(snapshot, SNAPSHOT_BYTES, &frame, &received, err);

	if (r == 0)
		r = snapshot_take(snapshot, SNAPSHOT_BYTES, &unread, &len, err);
	if (r < 0)
		return r;
	if (received > sizeof(s->frame))
		return error_set(err, EBADMSG, "the snapshot has a word that is too long");
	memcpy(s->frame, frame, received);
	s->received = received;
	s->control.fd = adopt(s->data, AGENT_STREAMS_MAX, unread, len, err);
	if (s->control.fd == -ENOENT)
		return error_set(err, EBADMSG, "the snapshot has no connection to hull-guest");
	return s->control.fd < 0 ? s->control.fd : session_begin(s, err);
}

int session_restore(struct session *session, struct snapshot *snapshot, session_adopt *adopt,
		    struct error *err)
{
	struct saved_session saved;
	int r = snapshot_get(snapshot, SNAPSHOT_OWN, &saved, sizeof(saved), err);

	if (r < 0)
		return r;
	if (saved.version != AGENT_VERSION)
		return error_set(err, ENOTSUP,
				 "the microVM's hull-guest speaks version %u, and this hull %u",
				 saved.version, AGENT_VERSION);
	if (saved.exited && saved.exit.status > 255)
		return error_set(err, EBADMSG, "the snapshot has a status that no process has");
	/* Who had no streams yet can get either kind. */
	if (saved.streaming && saved.tty != session->tty)
		return error_set(err, EINVAL, "/process/terminal: the workload has %s",
				 saved.tty ? "a terminal" : "none");
	session->wants_hello = saved.wants_hello;
	r = restore_control(session, snapshot, adopt, err);
	if (r == 0)
		r = restore_all_streams(session, &saved, snapshot, adopt, err);
	if (r == 0) {
		/* Not before all of them carry: one that has done so already would be taken for the last. */
		session->exited = saved.exited;
		session->exit = saved.exit;
		session_resize(session);
		end_if_complete(session);
	}
	return r;
}

/* ---- the end ------------------------------------------------------------------------------------------ */

void session_end(struct session *session)
{
	if (session->control.events)
		loop_watch(session->loop, &session->control, 0, NULL);
	close_fd(&session->control.fd);
	if (session->in.loop)
		relay_stop(&session->in);
	for (int i = 0; i < 2; i++)
		if (session->out[i].loop)
			relay_stop(&session->out[i]);
	for (int i = 0; i < AGENT_STREAMS_MAX; i++)
		close_fd(&session->stdio[i]);
}
