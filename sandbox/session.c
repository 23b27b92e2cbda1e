/* SPDX-License-Identifier: Apache-2.0 */
/* Standard streams and the end of a process in a microVM; see session.h. */
#include "sandbox/session.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

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
	_cleanup_close_ int sock = s->connect(s->data, port, err);

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

static int start_terminal(struct session *s, const struct agent_streams *streams, struct error *err)
{
	int sock = open_stream(s, streams->port, 0, err), r;
	int again = sock < 0 ? -1 : fcntl(sock, F_DUPFD_CLOEXEC, 0);

	if (sock < 0)
		return sock;
	r = start_output(s, 0, sock, fcntl(s->stdio[0], F_DUPFD_CLOEXEC, 0), err);
	if (r == 0)
		r = relay_start(&s->in, s->loop, fcntl(s->stdio[0], F_DUPFD_CLOEXEC, 0), again,
				err);
	return r;
}

static int start_pipes(struct session *s, const struct agent_streams *streams, struct error *err)
{
	int r = 0;

	for (uint8_t i = 0; r == 0 && i < AGENT_STREAMS_MAX; i++) {
		int sock = open_stream(s, streams->port, i, err);

		if (sock < 0)
			r = sock;
		else if (i == 0)
			r = relay_start(&s->in, s->loop, take_fd(&s->stdio[0]), sock, err);
		else
			r = start_output(s, i - 1u, sock, take_fd(&s->stdio[i]), err);
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
	r = s->tty ? start_terminal(s, streams, &err) : start_pipes(s, streams, &err);
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
		s->on_hello(s->data);
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
	case AGENT_STARTED:
		if (s->on_started)
			s->on_started(s->data);
		return true;
	case AGENT_EXITED:
		if (s->exited || !take(&s->exit, sizeof(s->exit), payload, len) ||
		    s->exit.status > 255)
			return false;
		s->exited = true;
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
	if (n > 0 && agent_take_frames(s->frame, sizeof(s->frame), &s->received, on_frame, s))
		return;
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
