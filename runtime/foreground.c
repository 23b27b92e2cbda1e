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

/* Bytes on their way in one direction. A pipe that can be written takes as many at once (PIPE_BUF), and we do not block. */
struct buffer {
	char data[4096];
	size_t len;
};

struct foreground {
	pid_t pid;
	int signals;
	int terminal; /* primary side, or negative */
	int notify;   /* the readiness socket until the workload is ready, or -1 */
	bool input;   /* standard input is still read */
	bool output;  /* the terminal is still read */
	bool raw;     /* our terminal is raw and must be restored */
	struct termios saved;
	bool ended;
	bool give_up; /* a signal asks us to end, and there is nobody left to send it to */
	int status;
	struct buffer in, out; /* what the terminal, and what standard output has not taken yet */
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

/* In the background the kernel stops us at this point, as it does all that change a terminal, until the shell's fg. */
static void make_raw(struct foreground *f)
{
	struct termios raw;
	sigset_t stop, before;

	if (!isatty(STDIN_FILENO))
		return;
	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_UNBLOCK, &stop, &before);
	tcdrain(STDIN_FILENO); /* stops here, before the shell's own modes would be taken for the user's */
	if (tcgetattr(STDIN_FILENO, &f->saved) == 0) {
		raw = f->saved;
		cfmakeraw(&raw);
		f->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
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
		} else if (f->ended) {
			f->give_up =
				sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT;
		} else if (sig != SIGPIPE && sig != SIGTTIN && sig != SIGTTOU) {
			/* Not yet reaped, so the id is still its own. */
			kill(f->pid, sig);
		}
	}
}

static void read_output(struct foreground *f)
{
	ssize_t n = read(f->terminal, f->out.data, sizeof(f->out.data));

	if (n > 0)
		f->out.len = (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		f->output = false; /* EIO: nobody has the other side open any more */
}

/* Writes what there is of a buffer. False where it cannot be written any more. */
static bool flush(int fd, struct buffer *buffer)
{
	ssize_t n = write(fd, buffer->data, buffer->len);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	buffer->len -= (size_t)n;
	memmove(buffer->data, buffer->data + n, buffer->len);
	return true;
}

/* Whoever read our output is gone: so is the terminal, for its workload. */
static void hang_up(struct foreground *f)
{
	close_fd(&f->terminal);
	f->input = f->output = false;
	f->in.len = f->out.len = 0;
}

/* The end of our input is the end-of-file character of the terminal's. */
static void end_input(struct foreground *f)
{
	struct termios t;

	f->input = false;
	if (tcgetattr(f->terminal, &t) == 0 && t.c_cc[VEOF]) {
		f->in.data[0] = (char)t.c_cc[VEOF];
		f->in.len = 1;
	}
}

static void read_input(struct foreground *f)
{
	ssize_t n = read(STDIN_FILENO, f->in.data, sizeof(f->in.data));

	if (n > 0)
		f->in.len = (size_t)n;
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		end_input(f);
}

static void handle_terminal(struct foreground *f, short events)
{
	if ((events & POLLOUT) && !flush(f->terminal, &f->in))
		f->in.len = 0;
	if (events & (POLLIN | POLLHUP | POLLERR)) {
		if (!f->out.len)
			read_output(f);
		else
			f->in.len = 0; /* nobody reads it any more */
	}
}

/* What the workload printed before its end is still in the terminal: 0 where there is no more, -1 to wait for what may come. */
static int loop_timeout(const struct foreground *f)
{
	return f->ended && !f->out.len ? 0 : -1;
}

static int loop(struct foreground *f, struct error *err)
{
	while (!f->ended || (f->output && !f->give_up)) {
		short wanted = (short)((f->output && !f->out.len ? POLLIN : 0) |
				       (f->in.len && !f->ended ? POLLOUT : 0));
		bool input = f->input && !f->in.len && !f->ended;
		struct pollfd fds[] = {
			{ .fd = f->signals, .events = POLLIN },
			{ .fd = wanted ? f->terminal : -1, .events = wanted },
			{ .fd = input ? STDIN_FILENO : -1, .events = POLLIN },
			{ .fd = f->out.len ? STDOUT_FILENO : -1, .events = POLLOUT },
			{ .fd = f->notify, .events = POLLIN },
		};
		int ready = poll(fds, ARRAY_SIZE(fds), loop_timeout(f));

		if (ready < 0 && errno != EINTR)
			return error_errno(err, errno, "wait for the process");
		if (ready == 0)
			break;
		if (ready < 0)
			continue;
		if (fds[0].revents)
			handle_signals(f);
		if (fds[1].revents)
			handle_terminal(f, fds[1].revents);
		if (fds[2].revents)
			read_input(f);
		if (fds[3].revents && !flush(STDOUT_FILENO, &f->out))
			hang_up(f);
		if (fds[4].revents && systemd_notify_forward(f->notify, 0))
			close_fd(&f->notify);
	}
	return 0;
}

int foreground_wait(pid_t pid, int terminal, int notify, int *status, struct error *err)
{
	struct foreground f = { .pid = pid,
				.terminal = terminal,
				.notify = notify,
				.input = terminal >= 0,
				.output = terminal >= 0 };
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
	close_fd(&f.terminal);
	*status = f.status;
	return r;
}
