/* SPDX-License-Identifier: Apache-2.0 */
/* See workload.h. */
#include "cmd/hull-vmm/workload.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "base/log.h"
#include "microvm/virtio_vsock.h"

#define POWER_OFF_TIME 5 /* seconds */

static int connect_stream(void *data, uint32_t port, struct error *err)
{
	struct workload *w = data;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return error_errno(err, errno, "socketpair");
	r = virtio_vsock_connect(w->vmm->vsock, port, pair[0], err);
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

	vmm_pause(w->vmm);
	if (vmm_save(w->vmm, w->snapshot, &err) < 0)
		log_debug("%s", err.text);
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

static void on_end(void *data, int status, const struct error *err)
{
	const struct itimerspec time = { .it_value.tv_sec = POWER_OFF_TIME };
	struct workload *w = data;

	w->ended = true;
	w->status = status;
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

int workload_init(struct workload *workload, struct vmm *vmm, bool terminal, int snapshot,
		  struct error *err)
{
	/* It had said hello when it was saved. */
	bool restored = vmm->config.restore >= 0;
	int r = 0;

	*workload = (struct workload){
		.vmm = vmm,
		.status = -1,
		.snapshot = snapshot,
		.session = {
			.loop = &vmm->loop,
			.control = { .fd = -EBADF },
			.stdio = { -EBADF, -EBADF, -EBADF },
			.tty = terminal,
			.wants_hello = !restored,
			.connect = connect_stream,
			.on_hello = on_hello,
			.on_end = on_end,
			.data = workload,
		},
		.timer = { .callback = on_timer, .data = workload },
	};
	for (int i = 0; r >= 0 && i < (terminal ? 1 : AGENT_STREAMS_MAX); i++)
		r = workload->session.stdio[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
	if (r < 0)
		return error_errno(err, errno, "keep the workload's streams");
	workload->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (workload->timer.fd < 0)
		return error_errno(err, errno, "timerfd");
	r = loop_watch(&vmm->loop, &workload->timer, EPOLLIN, err);
	if (r == 0)
		r = virtio_vsock_listen(vmm->vsock, AGENT_PORT, on_connection, workload, err);
	if (r == 0)
		virtio_vsock_take_connections(vmm->vsock, restored);
	return r;
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
