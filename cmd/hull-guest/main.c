/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-guest, process 1 of a microVM. It brings the machine up, tells the host so, and then has each request of
 * the host's served by a process of its own, which does what the hull command of the same name does on a host. When
 * the container's first process has ended, it switches the machine off.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <linux/vm_sockets.h>

#include "base/log.h"
#include "cmd/hull-guest/guest.h"

#define LINGER_MS 2000 /* what other sessions get to say their last, once the container has ended */

/* The container's session ended: it is what process 1 waits for. */
#define SESSION_ENDED 9

static int vsock_address(int sock, unsigned cid, unsigned port, bool connecting, struct error *err)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	int r = connecting ? connect(sock, (struct sockaddr *)&addr, sizeof(addr))
			   : bind(sock, (struct sockaddr *)&addr, sizeof(addr));

	return r < 0 ? error_errno(err, errno, "vsock port %u", port) : 0;
}

static int open_listener(struct error *err)
{
	_cleanup_close_ int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (sock < 0)
		return error_errno(err, errno, "vsock");
	r = vsock_address(sock, VMADDR_CID_ANY, AGENT_PORT, false, err);
	if (r < 0)
		return r;
	if (listen(sock, 128) < 0)
		return error_errno(err, errno, "listen for the host");
	return take_fd(&sock);
}

static int say_hello(struct error *err)
{
	_cleanup_close_ int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct agent_hello hello = { .magic = AGENT_MAGIC, .version = AGENT_VERSION };
	int r;

	if (sock < 0)
		return error_errno(err, errno, "vsock");
	r = vsock_address(sock, VMADDR_CID_HOST, AGENT_PORT, true, err);
	if (r == 0)
		r = agent_send(sock, AGENT_HELLO, &hello, sizeof(hello), err);
	return r < 0 ? r : take_fd(&sock);
}

/* A connection from the host, or -1: a process of the container's may try to be one. */
static int accept_host(int listener)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);
	_cleanup_close_ int sock = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);

	if (sock < 0 || len != sizeof(peer) || peer.svm_family != AF_VSOCK ||
	    peer.svm_cid != VMADDR_CID_HOST)
		return -1;
	return take_fd(&sock);
}

static void serve(struct guest *guest, int listener, int signals)
{
	_cleanup_close_ int connection = accept_host(listener);
	pid_t pid;

	if (connection < 0)
		return;
	pid = fork();
	if (pid < 0) {
		const struct error err = { .code = EAGAIN,
					   .text = "the microVM has no room for another process" };

		agent_send_error(connection, &err, false, NULL);
	}
	if (pid == 0) {
		bool ended;

		close(listener);
		close(signals);
		ended = request_serve(guest, connection);
		_exit(ended ? SESSION_ENDED : 0);
	}
}

/* Whether the container's session is among those that ended. */
static bool reap(void)
{
	bool ended = false;
	int status;

	while (waitpid(-1, &status, WNOHANG | __WALL) > 0)
		if (WIFEXITED(status) && WEXITSTATUS(status) == SESSION_ENDED)
			ended = true;
	return ended;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What still runs in the container ends with its first process; those that carry its streams say so to the host. */
static void linger(int signals)
{
	long end = now_ms() + LINGER_MS;

	for (long left = LINGER_MS; left > 0; left = end - now_ms()) {
		struct pollfd fd = { .fd = signals, .events = POLLIN };
		struct signalfd_siginfo info;

		while (waitpid(-1, &(int){ 0 }, WNOHANG | __WALL) > 0)
			;
		if (waitpid(-1, &(int){ 0 }, WNOHANG | __WALL) < 0 && errno == ECHILD)
			return;
		if (poll(&fd, 1, (int)left) > 0 && read(signals, &info, sizeof(info)) < 0)
			return;
	}
}

static int run(struct guest *guest, struct error *err)
{
	_cleanup_close_ int listener = -EBADF, signals = -EBADF;
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return error_errno(err, errno, "signalfd");
	listener = open_listener(err);
	if (listener < 0)
		return listener;
	guest->main_connection = say_hello(err);
	if (guest->main_connection < 0)
		return guest->main_connection;
	for (;;) {
		struct pollfd fds[] = { { .fd = listener, .events = POLLIN },
					{ .fd = signals, .events = POLLIN } };
		struct signalfd_siginfo info;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return error_errno(err, errno, "wait for the host");
		if (fds[1].revents && read(signals, &info, sizeof(info)) > 0 && reap()) {
			linger(signals);
			return 0;
		}
		if (fds[0].revents)
			serve(guest, listener, signals);
	}
}

int main(void)
{
	const struct log_config log = { .fd = -1,
					.level = LOG_LEVEL_WARNING,
					.program = "hull-guest" };
	struct guest guest = { .main_connection = -EBADF, .store = { .dir = -EBADF } };
	struct error err = { 0 };
	int r;

	log_configure(&log);
	if (getpid() != 1) {
		log_error("this is process 1 of a hull microVM, not a command");
		return 1;
	}
	r = machine_set_up(&err);
	if (r == 0)
		r = store_open(&guest.store, GUEST_RUN "/state", true, &err);
	if (r == 0)
		r = run(&guest, &err);
	if (r < 0)
		log_error("%s", err.text);
	machine_power_off();
}
