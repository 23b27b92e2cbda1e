/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec in a microVM. The new process is in the guest; on the host a process stands for it, a copy of the command: it
 * carries the streams, passes signals on, and ends with the process' status, so that whoever started `hull exec` can do
 * with it what can be done with a process of a container. It is in the container's cgroup, and ends with the machine.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/uio.h>

#include "base/message.h"
#include "base/syscalls.h"
#include "microvm/loop.h"
#include "sandbox/container.h"
#include "sandbox/microvm.h"
#include "sandbox/session.h"

enum exec_message {
	EXEC_STARTED = 1,
	EXEC_FAILED /* bool: of the workload's program; then a struct error */
};

struct failure {
	bool exec_failed;
	struct error error;
};

struct stand_in {
	struct session session;
	struct loop loop;
	struct loop_source signals;
	int dir;  /* vm/ */
	int sync; /* to the command, until the process runs */
	int status;
};

/* ---- in the process that stands for it ------------------------------------------------------------------ */

static int connect_stream(void *data, uint32_t port, unsigned stream _unused_, struct error *err)
{
	const struct stand_in *p = data;
	int sock = microvm_connect(p->dir, port, MICROVM_ANSWER, err);

	if (sock >= 0 && fcntl(sock, F_SETFL, O_NONBLOCK) < 0) {
		close(sock);
		return error_errno(err, errno, "connect to the microVM");
	}
	return sock;
}

static void on_hello(void *data)
{
	(void)data;
}

static void on_started(void *data)
{
	struct stand_in *p = data;

	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	if (p->sync >= 0)
		message_send(p->sync, EXEC_STARTED, NULL, 0, NULL, 0, NULL);
	close_fd(&p->sync);
}

static void on_end(void *data, int status, const struct error *err)
{
	struct stand_in *p = data;
	struct failure failure = { .exec_failed = err && p->session.exec_failed };

	if (p->sync >= 0 && err) {
		failure.error = *err;
		message_send(p->sync, EXEC_FAILED, &failure, sizeof(failure), NULL, 0, NULL);
	}
	/* A machine that ended took its processes with it, as a pid namespace does. */
	p->status = status >= 0 ? status : 128 + SIGKILL;
	loop_end(&p->loop);
}

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct stand_in *p = source->data;
	struct signalfd_siginfo info;

	(void)events;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH && p->session.tty)
			session_resize(&p->session);
		else if (info.ssi_signo != SIGCHLD && info.ssi_signo != SIGPIPE)
			session_signal(&p->session, (int)info.ssi_signo);
	}
}

static int watch_signals(struct stand_in *p, struct error *err)
{
	sigset_t all;

	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		return error_errno(err, errno, "block signals");
	p->signals = (struct loop_source){ .fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK),
					   .callback = on_signal,
					   .data = p };
	if (p->signals.fd < 0)
		return error_errno(err, errno, "signalfd");
	return loop_watch(&p->loop, &p->signals, EPOLLIN, err);
}

static int ask(const struct stand_in *p, const struct sandbox_exec *exec, const struct strbuf *json,
	       struct error *err)
{
	struct agent_exec request = { .process_len = (uint32_t)json->len };
	_cleanup_strbuf_ struct strbuf cgroups = { 0 };
	struct iovec parts[3] = { { &request, sizeof(request) }, { json->data, json->len } };

	for (size_t i = 0; exec->cgroups && exec->cgroups[i]; i++)
		strbuf_add(&cgroups, exec->cgroups[i], strlen(exec->cgroups[i]) + 1);
	if (strbuf_failed(&cgroups))
		return error_errno(err, ENOMEM, "exec");
	if (p->session.tty)
		request.size = session_terminal_size(p->session.stdio[0]);
	if (exec->status == OCI_PAUSED)
		request.flags |= AGENT_IGNORE_PAUSED;
	request.cgroups_len = (uint32_t)cgroups.len;
	parts[2] = (struct iovec){ cgroups.data, cgroups.len };
	return agent_sendv(p->session.control.fd, AGENT_EXEC, parts, ARRAY_SIZE(parts), err);
}

/* Standard streams are the stand-in's own; the session closes its copies as they end. */
static int take_streams(struct stand_in *p, int terminal, struct error *err)
{
	if (setsid() < 0)
		return error_errno(err, errno, "setsid");
	if (terminal >= 0 && ioctl(terminal, TIOCSCTTY, 0) < 0)
		return error_errno(err, errno, "take the terminal");
	p->session.stdio[0] = terminal >= 0 ? terminal : STDIN_FILENO;
	p->session.stdio[1] = terminal >= 0 ? -EBADF : STDOUT_FILENO;
	p->session.stdio[2] = terminal >= 0 ? -EBADF : STDERR_FILENO;
	return 0;
}

static int run(struct stand_in *p, const struct sandbox_exec *exec, const struct strbuf *json,
	       int terminal, struct error *err)
{
	int r = loop_open(&p->loop, err);

	if (r == 0)
		r = take_streams(p, terminal, err);
	if (r == 0)
		r = watch_signals(p, err);
	if (r < 0)
		return r;
	p->session.control.fd = microvm_connect(p->dir, AGENT_PORT, MICROVM_ANSWER, err);
	if (p->session.control.fd < 0)
		return p->session.control.fd;
	r = ask(p, exec, json, err);
	if (r == 0)
		r = session_begin(&p->session, err);
	return r < 0 ? r : loop_run(&p->loop, err);
}

static void __attribute__((noreturn))
stand_in_main(struct stand_in *p, const struct sandbox_exec *exec, const struct strbuf *json,
	      int terminal)
{
	struct error err = { 0 };

	p->session.loop = &p->loop;
	p->session.tty = terminal >= 0;
	p->session.connect = connect_stream;
	p->session.on_hello = on_hello;
	p->session.on_started = on_started;
	p->session.on_end = on_end;
	p->session.data = p;
	/* Until the process runs the command's end is ours; then there is nobody to whom it would matter. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (run(p, exec, json, terminal, &err) < 0)
		on_end(p, -1, &err);
	_exit(p->status);
}

/* ---- in the command ------------------------------------------------------------------------------------- */

static int await_started(int channel, pid_t *pid, bool *exec_failed, struct error *err)
{
	struct failure failure = { 0 };
	struct message message;
	int r = message_receive(channel, &message, &failure, sizeof(failure), err);

	if (r == 0 && message.type == EXEC_STARTED)
		return 0;
	if (r == -EPIPE)
		return spawn_ended(pid, err);
	if (r == 0 && message.type == EXEC_FAILED && message.len == sizeof(failure) &&
	    failure.error.code > 0) {
		*exec_failed = failure.exec_failed;
		r = error_set(err, failure.error.code, "%s", failure.error.text);
	} else if (r == 0) {
		r = error_errno(err, EPROTO, "exec");
	}
	spawn_discard(pid);
	return r;
}

static pid_t clone_stand_in(const struct sandbox *sb, struct error *err)
{
	_cleanup_cgroup_ struct cgroup cgroup = { 0 };
	bool in_cgroup;
	pid_t pid;
	int r;

	if (container_has_cgroup(sb)) {
		r = container_open_cgroup(sb, &cgroup, err);
		if (r < 0)
			return r;
	}
	pid = cgroup_clone(&cgroup, 0, &in_cgroup);
	if (pid == 0 && cgroup.host && cgroup_enter(&cgroup, 0, in_cgroup, err) < 0)
		_exit(1);
	return pid < 0 ? error_errno(err, errno, "clone3") : pid;
}

int microvm_exec(struct sandbox *sb, struct sandbox_exec *exec, struct error *err)
{
	struct stand_in p = { .session = { .control = { .fd = -EBADF } } };
	struct oci_process process = *exec->process;
	_cleanup_strbuf_ struct strbuf json = { 0 };
	_cleanup_close_ int terminal = -EBADF, channel = -EBADF, dir = microvm_open_dir(sb, err);
	int ends[2] = { -EBADF, -EBADF }, r;

	if (dir < 0)
		return dir;
	if (exec->io.preserve_fds)
		return error_set(
			err, ENOTSUP,
			"--preserve-fds: a descriptor of the host's cannot be handed into a "
			"microVM");
	/* Labels are of the host's security modules. */
	process.apparmor_profile = process.selinux_label = NULL;
	r = oci_process_print(&process, &json, err);
	if (r == 0 && exec->process->terminal.v) {
		r = microvm_open_terminal(process.console_size, &exec->terminal, &terminal, err);
		if (r == 0)
			r = process_hand_over_terminal(exec->io.console_socket, &exec->terminal,
						       err);
	}
	if (r == 0)
		r = message_pair(ends, err);
	if (r < 0)
		return r;
	channel = ends[0];
	p.dir = dir;
	p.sync = ends[1];
	exec->pid = clone_stand_in(sb, err);
	if (exec->pid == 0) {
		close(ends[0]);
		stand_in_main(&p, exec, &json, terminal);
	}
	close(ends[1]);
	if (exec->pid < 0) {
		r = (int)exec->pid;
		exec->pid = 0;
		return r;
	}
	return await_started(channel, &exec->pid, &sb->exec_failed, err);
}
