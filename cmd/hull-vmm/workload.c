/* SPDX-License-Identifier: Apache-2.0 */
/* See workload.h. */
#include "cmd/hull-vmm/workload.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "base/log.h"
#include "microvm/snapshot.h"
#include "microvm/virtio_vsock.h"
#include "microvm/vsock_connection.h"

#define POWER_OFF_TIME 5 /* seconds */
#define STREAM_TAGS    1000

/* Of streams' connections, beside which that on which the guest speaks has its port for one. */
static uint32_t stream_tag(unsigned stream)
{
	return stream < AGENT_STREAMS_MAX ? STREAM_TAGS + stream : AGENT_PORT;
}

static int connect_stream(void *data, uint32_t port, unsigned stream, struct error *err)
{
	struct workload *w = data;
	int pair[2], r;

	r = vsock_pair(pair, false);
	if (r < 0)
		return error_errno(err, -r, "socketpair");
	r = virtio_vsock_connect(w->vmm->vsock, port, pair[0], stream_tag(stream), err);
	if (r < 0) {
		close(pair[1]);
		return r;
	}
	return pair[1];
}

/*
 * The guest has seen nothing of the workload yet: such a machine can become any other's. That it cannot be saved is no reason not to go
 * on: whoever wants the file finds it empty.
 */
static void save(struct workload *w)
{
	struct error err = { 0 };
	uint64_t pages;
	int r;

	vmm_pause(w->vmm);
	r = vmm_save_begin(w->vmm, w->snapshot, &err);
	if (r == 0)
		r = vmm_save(w->vmm, -1, &pages, &err);
	if (r < 0)
		log_debug("%s", err.text);
	vmm_save_end(w->vmm);
	close_fd(&w->snapshot);
	vmm_resume(w->vmm);
}

/* hull-guest listens: whoever waits at the socket is let in. */
static void on_hello(void *data)
{
	struct workload *w = data;

	if (w->snapshot >= 0)
		save(w);
	virtio_vsock_take_connections(w->vmm->vsock, true);
}

static void on_held(void *data, int code)
{
	struct workload *w = data;

	control_held(w->saver, code);
}

static void on_end(void *data, int status, const struct error *err)
{
	const struct itimerspec time = { .it_value.tv_sec = POWER_OFF_TIME };
	struct workload *w = data;

	w->ended = true;
	w->status = status;
	control_held(w->saver, ESRCH);
	/* What the guest waits for before it switches itself off. */
	shutdown(w->session.control.fd, SHUT_RDWR);
	if (status < 0)
		vmm_end(w->vmm, VMM_END_CRASH, 0, err->text);
	else if (timerfd_settime(w->timer.fd, 0, &time, NULL) < 0)
		vmm_end(w->vmm, VMM_END_KILLED, 0, NULL);
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct workload *w = source->data;

	(void)events;
	vmm_end(w->vmm, VMM_END_KILLED, 0, NULL);
}

/* The first to connect is hull-guest, for nobody else runs yet; whoever comes later is somebody of the container's. */
static void on_connection(void *data, int fd)
{
	struct workload *w = data;
	struct error err = { 0 };

	if (w->connected) {
		close(fd);
		return;
	}
	w->connected = true;
	w->session.control.fd = fd;
	if (session_begin(&w->session, &err) < 0)
		vmm_end(w->vmm, VMM_END_CRASH, 0, err.text);
}

static int keep_streams(struct workload *workload, struct error *err)
{
	int r = 0;

	for (int i = 0; r >= 0 && i < (workload->session.tty ? 1 : AGENT_STREAMS_MAX); i++)
		r = workload->session.stdio[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
	return r < 0 ? error_errno(err, errno, "keep the workload's streams") : 0;
}

static int adopt_stream(void *data, unsigned stream, const void *unread, size_t len,
			struct error *err)
{
	const struct workload *w = data;

	return virtio_vsock_adopt(w->vmm->vsock, stream_tag(stream), unread, len, err);
}

static int restore(struct workload *w, struct error *err)
{
	struct snapshot part;
	int r = snapshot_get_part(&w->vmm->snapshot, SNAPSHOT_WORKLOAD, &part, err);

	w->connected = true;
	return r < 0 ? r : session_restore(&w->session, &part, adopt_stream, err);
}

int workload_init(struct workload *workload, struct vmm *vmm, bool terminal, int snapshot,
		  struct control *saver, struct error *err)
{
	bool restored = vmm->config.restore >= 0;
	int r;

	*workload = (struct workload){
		.vmm = vmm,
		.status = -1,
		.snapshot = snapshot,
		.saver = saver,
		.session = {
			.loop = &vmm->loop,
			.control = { .fd = -EBADF },
			.stdio = { -EBADF, -EBADF, -EBADF },
			.tty = terminal,
			.wants_hello = true,
			.connect = connect_stream,
			.on_hello = on_hello,
			.on_held = on_held,
			.on_end = on_end,
			.data = workload,
		},
		.timer = { .callback = on_timer, .data = workload },
	};
	r = keep_streams(workload, err);
	if (r < 0)
		return r;
	workload->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (workload->timer.fd < 0)
		return error_errno(err, errno, "timerfd");
	r = loop_watch(&vmm->loop, &workload->timer, EPOLLIN, err);
	if (r == 0)
		r = virtio_vsock_listen(vmm->vsock, AGENT_PORT, on_connection, workload, err);
	if (r == 0 && restored)
		r = restore(workload, err);
	if (r == 0)
		virtio_vsock_take_connections(vmm->vsock, !workload->session.wants_hello);
	return r < 0 && restored ? error_wrap(err, "restore the workload") : r;
}

int workload_save(struct workload *workload, struct snapshot *snapshot, struct error *err)
{
	size_t entered = snapshot_enter(snapshot, SNAPSHOT_WORKLOAD);
	int r = session_save(&workload->session, snapshot, err);

	snapshot_leave(snapshot, entered);
	return r;
}

int workload_hold(struct workload *workload, struct error *err)
{
	return session_hold(&workload->session, err);
}

void workload_release(struct workload *workload)
{
	session_release(&workload->session);
}

void workload_free(struct workload *workload)
{
	session_end(&workload->session);
	close_fd(&workload->snapshot);
	if (workload->timer.events)
		loop_watch(&workload->vmm->loop, &workload->timer, 0, NULL);
	close_fd(&workload->timer.fd);
}

void workload_signal(struct workload *workload, const struct signalfd_siginfo *info)
{
	/* Ours alone: children that we do not have, pipes that nobody reads any more. */
	if (info->ssi_signo == SIGCHLD || info->ssi_signo == SIGPIPE)
		return;
	if (info->ssi_signo == SIGWINCH && workload->session.tty)
		session_resize(&workload->session);
	else
		session_signal(&workload->session, (int)info->ssi_signo);
}
