/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The standard streams of a process in the guest, each over a connection of its own to the host, and its end.
 *
 * The process has pipes or a terminal, as it would have on a host: a socket in their place behaves differently
 * (it cannot be opened by /dev/stdout). What it wrote before its end is sent before its end is told.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/vm_sockets.h>

#include "base/process.h"
#include "cmd/hull-guest/guest.h"
#include "microvm/loop.h"
#include "runtime/systemd.h"
#include "sandbox/relay.h"

#define CONNECT_TIMEOUT 30 /* seconds in which the host must have made the connections */

void session_init(struct session *session, int control, bool tty)
{
	*session = (struct session){ .control = control, .tty = tty, .readiness = -1 };
	for (int i = 0; i < AGENT_STREAMS_MAX; i++)
		session->streams[i] = session->ends[i] = session->theirs[i] = -EBADF;
}

void session_close(struct session *session)
{
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		close_fd(&session->streams[i]);
		close_fd(&session->ends[i]);
		close_fd(&session->theirs[i]);
	}
}

/* ---- connecting --------------------------------------------------------------------------------------- */

static void limit_wait(int sock, time_t seconds)
{
	const struct timeval timeout = { .tv_sec = seconds };

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
}

static int open_port(unsigned *port, struct error *err)
{
	_cleanup_close_ int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK,
				    .svm_cid = VMADDR_CID_ANY,
				    .svm_port = VMADDR_PORT_ANY };
	socklen_t len = sizeof(addr);

	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, len) < 0 ||
	    getsockname(sock, (struct sockaddr *)&addr, &len) < 0 ||
	    listen(sock, AGENT_STREAMS_MAX) < 0)
		return error_errno(err, errno, "listen for the process' streams");
	limit_wait(sock, CONNECT_TIMEOUT);
	*port = addr.svm_port;
	return take_fd(&sock);
}

static int accept_stream(struct session *session, int listener, unsigned count, struct error *err)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);
	_cleanup_close_ int sock = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	uint8_t which;

	if (sock < 0)
		return error_errno(err, errno, "wait for the process' streams");
	if (peer.svm_cid != VMADDR_CID_HOST)
		return 0; /* somebody in here wants to be heard: not by this process */
	limit_wait(sock, CONNECT_TIMEOUT);
	if (recv(sock, &which, 1, 0) != 1 || which >= count || session->streams[which] >= 0)
		return error_set(err, EPROTO, "the host connects the process' streams wrongly");
	limit_wait(sock, 0);
	session->streams[which] = take_fd(&sock);
	return 1;
}

static int make_pipes(struct session *session, struct error *err)
{
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		int fds[2], ours = i == STDIN_FILENO;

		if (pipe2(fds, O_CLOEXEC) < 0)
			return error_errno(err, errno, "pipe");
		session->ends[i] = fds[ours];
		session->theirs[i] = fds[!ours];
		if (fcntl(fds[ours], F_SETFL, O_NONBLOCK) < 0)
			return error_errno(err, errno, "pipe");
	}
	return 0;
}

int session_connect(struct session *session, struct error *err)
{
	struct agent_streams streams = { .count = session->tty ? 1 : AGENT_STREAMS_MAX };
	_cleanup_close_ int listener = open_port(&streams.port, err);
	int r;

	if (listener < 0)
		return listener;
	r = agent_send(session->control, AGENT_STREAMS, &streams, sizeof(streams), err);
	for (unsigned n = 0; r >= 0 && n < streams.count; n += (unsigned)r) {
		r = accept_stream(session, listener, streams.count, err);
		if (r < 0)
			break;
	}
	return r < 0 || session->tty ? (r < 0 ? r : 0) : make_pipes(session, err);
}

int session_enter(struct session *session, struct error *err)
{
	for (int i = 0; i < AGENT_STREAMS_MAX && !session->tty; i++)
		if (dup2(session->theirs[i], i) < 0)
			return error_errno(err, errno, "give the process its streams");
	return 0;
}

void session_leave(struct session *session)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		close_fd(&session->theirs[i]);
		if (null >= 0)
			dup2(null, i);
	}
}

/* ---- carrying ----------------------------------------------------------------------------------------- */

struct carrier {
	struct session *session;
	struct loop loop;
	struct loop_source control, signals, readiness;
	struct relay in, out[2];
	bool running;
	bool draining; /* in end_if_done(), whose own progress is no news */
	int status;
	char frame[64]; /* what was received of the host's next frame */
	size_t received;
};

static void resize(struct carrier *c, const struct agent_size *size)
{
	const struct winsize ws = { .ws_row = size->rows, .ws_col = size->columns };

	if (c->session->tty && c->session->ends[0] >= 0)
		ioctl(c->session->ends[0], TIOCSWINSZ, &ws);
}

/*
 * Before a snapshot. The streams wait meanwhile, for seconds at most: what is frozen writes nothing, and a command on the container that
 * cannot go on without them is not waited for longer than that.
 */
static void hold(const struct carrier *c)
{
	struct error err = { 0 };
	int r = c->running ? hold_begin(c->session->store, &err) : 0;
	uint32_t code = r < 0 ? (uint32_t)-r : 0;

	agent_send(c->session->control, AGENT_HELD, &code, sizeof(code), NULL);
}

/* The host's frames to a session are small; a longer one is nothing that we know, and the connection is of no more use. */
static bool obey(void *data, uint32_t type, const char *payload, size_t len)
{
	struct carrier *c = data;
	struct agent_size size;
	uint32_t sig;

	if (type == AGENT_SIGNAL && len == sizeof(sig)) {
		memcpy(&sig, payload, sizeof(sig));
		if (c->running && sig > 0 && sig < NSIG)
			kill(c->session->pid,
			     (int)sig); /* not yet reaped, so the id is still its own */
		else if (!c->running && agent_asks_to_end((int)sig))
			loop_end(&c->loop);
	} else if (type == AGENT_RESIZE && len == sizeof(size)) {
		memcpy(&size, payload, sizeof(size));
		resize(c, &size);
	} else if (type == AGENT_HOLD && c->session->store) {
		hold(c);
	} else if (type == AGENT_GO && c->session->store) {
		hold_end(c->session->store, NULL);
	}
	return true;
}

static void on_control(struct loop_source *source, uint32_t events)
{
	struct carrier *c = source->data;
	ssize_t n = recv(source->fd, c->frame + c->received, sizeof(c->frame) - c->received,
			 MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->received += (size_t)n;
	if (n <= 0 || !agent_take_frames(c->frame, sizeof(c->frame), &c->received, obey, c)) {
		loop_watch(&c->loop, source, 0, NULL);
		/* Nobody is left to hear of the process, or to end it: as with a terminal that hangs up. */
		if (c->running)
			kill(c->session->pid, SIGKILL);
		else
			loop_end(&c->loop);
	}
}

/* Once the process has ended and what it wrote is on its way, there is nothing more to do. */
static void end_if_done(struct carrier *c)
{
	bool done = true;

	if (c->running || c->draining)
		return;
	c->draining = true;
	for (int i = 0; i < 2; i++) {
		if (!c->out[i].loop)
			continue;
		relay_drain(&c->out[i]);
		done = done && (c->out[i].ended || c->out[i].start == c->out[i].end);
	}
	c->draining = false;
	if (done)
		loop_end(&c->loop);
}

static void on_progress(struct relay *relay)
{
	if (relay->start == relay->end)
		end_if_done(relay->data);
}

/* The host's terminal has hung up: so does the guest's, for those who have it open. */
static void on_terminal_end(struct relay *relay)
{
	struct carrier *c = relay->data;

	if (relay->refused) {
		relay_stop(&c->in);
		close_fd(&c->session->ends[0]);
	}
	end_if_done(c);
}

static void on_child(struct loop_source *source, uint32_t events)
{
	struct carrier *c = source->data;
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) < 0)
		return;
	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		if (pid == c->session->pid) {
			c->running = false;
			c->status = process_exit_status(status);
		}
	end_if_done(c);
}

static int start_relays(struct carrier *c, struct error *err)
{
	struct session *s = c->session;
	int in_to, in_from = take_fd(&s->streams[0]), r;

	if (!s->tty) {
		r = relay_start(&c->in, &c->loop, in_from, take_fd(&s->ends[0]), err);
		for (int i = 0; r == 0 && i < 2; i++) {
			c->out[i].on_progress = on_progress;
			c->out[i].data = c;
			r = relay_start(&c->out[i], &c->loop, take_fd(&s->ends[i + 1]),
					take_fd(&s->streams[i + 1]), err);
		}
		return r;
	}
	/* The terminal's primary side stays open for its size. */
	in_to = fcntl(s->ends[0], F_DUPFD_CLOEXEC, 0);
	r = relay_start(&c->in, &c->loop, in_from, in_to, err);
	if (r < 0)
		return r;
	c->out[0].on_progress = on_progress;
	c->out[0].on_end = on_terminal_end;
	c->out[0].data = c;
	return relay_start(&c->out[0], &c->loop, fcntl(s->ends[0], F_DUPFD_CLOEXEC, 0),
			   fcntl(c->in.from.fd, F_DUPFD_CLOEXEC, 0), err);
}

static void tell_ready(void)
{
	_cleanup_close_ int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_vm host = { .svm_family = AF_VSOCK,
					  .svm_cid = VMADDR_CID_HOST,
					  .svm_port = AGENT_READY_PORT };

	if (sock < 0 || connect(sock, (const struct sockaddr *)&host, sizeof(host)) < 0)
		return; /* nobody waits for it any more */
}

static void on_readiness(struct loop_source *source, uint32_t events)
{
	struct carrier *c = source->data;

	(void)events;
	if (!systemd_notify_is_ready(source->fd))
		return;
	loop_watch(&c->loop, source, 0, NULL);
	tell_ready();
}

static int watch_child(struct carrier *c, struct error *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return error_errno(err, errno, "signalfd");
	c->signals = (struct loop_source){ .fd = fd, .callback = on_child, .data = c };
	return loop_watch(&c->loop, &c->signals, EPOLLIN, err);
}

void session_await_host(const struct session *session)
{
	char words[64];
	ssize_t n;

	do {
		n = recv(session->control, words, sizeof(words), 0);
	} while (n > 0 || (n < 0 && errno == EINTR));
}

int session_run(struct session *session, struct error *err)
{
	struct carrier c = { .session = session, .running = true };
	struct agent_exited exited = { 0 };
	int r = loop_open(&c.loop, err);

	if (r < 0)
		return r;
	c.control =
		(struct loop_source){ .fd = session->control, .callback = on_control, .data = &c };
	c.readiness = (struct loop_source){ .fd = session->readiness,
					    .callback = on_readiness,
					    .data = &c };
	c.signals.fd = -EBADF;
	if (session->tty)
		fcntl(session->ends[0], F_SETFL, O_NONBLOCK);
	r = start_relays(&c, err);
	if (r == 0)
		r = loop_watch(&c.loop, &c.control, EPOLLIN, err);
	if (r == 0)
		r = watch_child(&c, err);
	if (r == 0 && session->readiness >= 0)
		r = loop_watch(&c.loop, &c.readiness, EPOLLIN, err);
	if (r == 0) {
		on_child(&c.signals, 0); /* it may have ended already */
		r = loop_run(&c.loop, err);
	}
	if (c.readiness.events)
		on_readiness(&c.readiness, 0); /* it may have said so just before its end */
	if (c.in.loop)
		relay_stop(&c.in);
	for (int i = 0; i < 2; i++)
		if (c.out[i].loop) {
			exited.bytes[session->tty ? 0 : i + 1] = c.out[i].carried;
			relay_stop(&c.out[i]);
		}
	close_fd(&c.signals.fd);
	loop_close(&c.loop);
	exited.status = (uint32_t)c.status;
	sync();
	return r < 0 ? r : agent_send(session->control, AGENT_EXITED, &exited, sizeof(exited), err);
}
