/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One loop over a signalfd and, with a terminal, standard input and the terminal's primary side.
 * All signals are blocked, so our own terminal is always restored before we end.
 */
#include "runtime/foreground.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/file.h"
#include "oci/config.h"
#include "runtime/systemd.h"

struct foreground {
	pid_t pid;
	int signals;
	int terminal; /* primary side, or -1 */
	int notify;   /* the readiness socket until the workload is ready, or -1 */
	bool input;   /* standard input is still read */
	bool raw;     /* our terminal is raw and must be restored */
	struct termios saved;
	bool ended;
	int status;
	char pending[4096]; /* input that the terminal has not taken yet */
	size_t pending_len;
};

int foreground_begin(struct error *err)
{
	sigset_t all;

	sigfillset(&all);
	/* Faults of our own must stay deadly. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
		return error_errno(err, errno, "block signals");
	return 0;
}

static bool own_window_size(struct winsize *ws)
{
	return ioctl(STDIN_FILENO, TIOCGWINSZ, ws) == 0 ||
	       ioctl(STDOUT_FILENO, TIOCGWINSZ, ws) == 0;
}

bool foreground_window_size(struct oci_console_size *size)
{
	struct winsize ws;

	if (!own_window_size(&ws) || !ws.ws_row || !ws.ws_col)
		return false;
	*size = (struct oci_console_size){ .height = ws.ws_row, .width = ws.ws_col };
	return true;
}

static void copy_window_size(const struct foreground *f)
{
	struct winsize ws;

	if (f->terminal >= 0 && own_window_size(&ws))
		ioctl(f->terminal, TIOCSWINSZ, &ws);
}

static void make_raw(struct foreground *f)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &f->saved) < 0)
		return;
	raw = f->saved;
	cfmakeraw(&raw);
	f->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void reap(struct foreground *f)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		if (pid == f->pid) {
			f->ended = true;
			f->status = status;
		}
}

static void handle_signals(struct foreground *f)
{
	struct signalfd_siginfo info[8];
	ssize_t n = read(f->signals, info, sizeof(info));

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(info[0]); i++) {
		int sig = (int)info[i].ssi_signo;

		if (sig == SIGCHLD) {
			reap(f);
		} else if (sig == SIGWINCH && f->terminal >= 0) {
			copy_window_size(f);
		} else if (sig != SIGPIPE && sig != SIGTTIN && sig != SIGTTOU && !f->ended) {
			/* Not yet reaped, so the id is still its own. */
			kill(f->pid, sig);
		}
	}
}

/* The terminal's output to ours; false when there is no more. */
static bool pump_output(struct foreground *f)
{
	char buf[16384];
	ssize_t n = read(f->terminal, buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false; /* EIO: nobody has the other side open any more */
	file_write_all(STDOUT_FILENO, buf, (size_t)n);
	return true;
}

static void flush_input(struct foreground *f)
{
	ssize_t n = write(f->terminal, f->pending, f->pending_len);

	if (n <= 0)
		return;
	f->pending_len -= (size_t)n;
	memmove(f->pending, f->pending + n, f->pending_len);
}

/* The end of our input is the end-of-file character of the terminal's. */
static void end_input(struct foreground *f)
{
	struct termios t;

	f->input = false;
	if (tcgetattr(f->terminal, &t) == 0 && t.c_cc[VEOF]) {
		f->pending[0] = (char)t.c_cc[VEOF];
		f->pending_len = 1;
		flush_input(f);
	}
}

static void pump_input(struct foreground *f)
{
	ssize_t n = read(STDIN_FILENO, f->pending, sizeof(f->pending));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		end_input(f);
		return;
	}
	f->pending_len = (size_t)n;
	flush_input(f);
}

static int loop(struct foreground *f, struct error *err)
{
	bool output = f->terminal >= 0;

	while (!f->ended) {
		struct pollfd fds[4] = {
			{ .fd = f->signals, .events = POLLIN },
			{ .fd = output ? f->terminal : -1,
			  .events = (short)(POLLIN | (f->pending_len ? POLLOUT : 0)) },
			{ .fd = output && f->input && !f->pending_len ? STDIN_FILENO : -1,
			  .events = POLLIN },
			{ .fd = f->notify, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return error_errno(err, errno, "wait for the process");
		if (fds[0].revents)
			handle_signals(f);
		if (fds[1].revents & POLLOUT)
			flush_input(f);
		if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) && !pump_output(f))
			output = false;
		if (fds[2].revents)
			pump_input(f);
		if (fds[3].revents && systemd_notify_forward(f->notify, 0))
			close_fd(&f->notify);
	}
	/* What it printed before its end is still in the terminal. */
	while (output && poll(&(struct pollfd){ .fd = f->terminal, .events = POLLIN }, 1, 0) > 0 &&
	       pump_output(f))
		;
	return 0;
}

int foreground_wait(pid_t pid, int terminal, int notify, int *status, struct error *err)
{
	struct foreground f = { .pid = pid, .terminal = terminal, .notify = notify, .input = true };
	_cleanup_close_ int signals = -EBADF;
	sigset_t all;
	int r;

	sigfillset(&all);
	f.signals = signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0) {
		close_fd(&f.notify);
		return error_errno(err, errno, "signalfd");
	}
	if (terminal >= 0) {
		fcntl(terminal, F_SETFL, O_NONBLOCK);
		make_raw(&f);
	}
	reap(&f); /* it may have ended before its SIGCHLD could wait for us */
	r = loop(&f, err);
	close_fd(&f.notify);
	if (f.raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &f.saved);
	if (terminal >= 0)
		close(terminal);
	*status = f.status;
	return r;
}
