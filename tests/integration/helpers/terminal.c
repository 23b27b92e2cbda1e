/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A person's terminal: runs a command on a new pseudo-terminal of 33 rows and 77 columns, and says
 * how the command left it.
 *
 * usage: terminal [-rs] COMMAND [ARG...]
 *
 * What the command prints goes to standard output. Standard input is typed in, a line as soon as
 * the command has printed "> ", so that a test is not a race. -r: the terminal is resized to 40 rows and
 * 100 columns when the command prints "resize". -s: what the command prints is read slowly, and its descriptors of the
 * terminal do not block. At the end a line "terminal: restored" or
 * "terminal: changed" tells whether the terminal's modes are as they were, and the exit status is
 * the command's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "terminal: %s: %s\n", what, strerror(errno));
	exit(125);
}

static pid_t spawn(int master, int slave, char **argv)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(master);
		if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
			die("TIOCSCTTY");
		for (int fd = 0; fd < 3; fd++)
			if (dup2(slave, fd) < 0)
				die("dup2");
		close(slave);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	return pid;
}

/* Types one line of standard input into the terminal. */
static void type_line(int master)
{
	char c;

	while (read(STDIN_FILENO, &c, 1) == 1) {
		if (write(master, &c, 1) != 1 || c == '\n')
			return;
	}
}

static bool same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && !memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc));
}

int main(int argc, char **argv)
{
	bool resize = argc > 1 && !strcmp(argv[1], "-r");
	bool slow = argc > 1 && !strcmp(argv[1], "-s");
	struct winsize size = { .ws_row = 33, .ws_col = 77 };
	struct termios before, after;
	char buf[4096], seen[4 * sizeof(buf)] = "";
	int master, slave, status = 0;
	pid_t pid;

	if (argc < 2 + resize + slow) {
		fprintf(stderr, "usage: terminal [-rs] COMMAND [ARG...]\n");
		return 125;
	}
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		die("posix_openpt");
	/* We keep the other side, too, so that its modes can be read when the command is gone. */
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC | (slow ? O_NONBLOCK : 0));
	if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size) < 0 || tcgetattr(slave, &before) < 0)
		die("open the terminal");
	pid = spawn(master, slave, argv + 1 + resize + slow);

	for (bool running = true;;) {
		struct pollfd p = { .fd = master, .events = POLLIN };
		int ready = poll(&p, 1, 50);
		size_t len = strlen(seen);
		ssize_t n;

		if (ready == 0 && !running)
			break;
		if (running && waitpid(pid, &status, WNOHANG) == pid)
			running = false;
		if (ready <= 0)
			continue;
		if (slow)
			usleep(2000);
		n = read(master, buf, sizeof(buf) - 1);
		if (n <= 0)
			break;
		fwrite(buf, 1, (size_t)n, stdout);
		fflush(stdout);
		if (len + (size_t)n >= sizeof(seen))
			len = 0;
		memcpy(seen + len, buf, (size_t)n);
		seen[len + (size_t)n] = '\0';
		if (resize && strstr(seen, "resize")) {
			size = (struct winsize){ .ws_row = 40, .ws_col = 100 };
			ioctl(master, TIOCSWINSZ, &size);
			resize = false;
		}
		if (strstr(seen, "> ")) {
			seen[0] = '\0';
			type_line(master);
		}
	}
	if (tcgetattr(slave, &after) < 0)
		die("tcgetattr");
	printf("\nterminal: %s\n", same(&before, &after) ? "restored" : "changed");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
