// SPDX-License-Identifier: Apache-2.0
/*
 * What a checkpoint has to keep, in one program, static, for inside a container:
 *
 *   workload MIB    touches so many MiB of memory, and then, twenty times a second:
 *
 * counts in /tmp/count by a descriptor that stays open; passes the number on to another process over pipes, and to a third over
 * a TCP connection, and compares what comes back; reads a file on the tmpfs /scratch; compares a part of its memory; counts the
 * files that appear in /watch, which inotify tells it; and on a terminal prints the number. /tmp/status says how it is:
 * "N files M" or "broken: WHAT".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB     ((size_t)1 << 20)
#define PORT    7000
#define SECRET  "what is on the tmpfs stays there"
#define STEP_US 50000

static void status(const char *text)
{
	int fd = open("/tmp/status.new", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && write(fd, text, strlen(text)) > 0)
		rename("/tmp/status.new", "/tmp/status");
	if (fd >= 0)
		close(fd);
}

static void broken(const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "broken: %s (%s)\n", what, strerror(errno));
	status(text);
	exit(1);
}

static void answer(int in, int out)
{
	unsigned n;

	while (read(in, &n, sizeof(n)) == sizeof(n)) {
		n++;
		if (write(out, &n, sizeof(n)) != sizeof(n))
			break;
	}
	exit(0);
}

static void ask(int out, int in, unsigned n, const char *what)
{
	unsigned back = 0;

	if (write(out, &n, sizeof(n)) != sizeof(n) ||
	    read(in, &back, sizeof(back)) != sizeof(back) || back != n + 1)
		broken(what);
}

static void start_pipes(int fds[2])
{
	int there[2], back[2];

	if (pipe(there) < 0 || pipe(back) < 0)
		broken("make pipes");
	if (fork() == 0) {
		close(there[1]);
		close(back[0]);
		answer(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	fds[0] = there[1];
	fds[1] = back[0];
}

static int start_tcp(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(PORT),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int server = socket(AF_INET, SOCK_STREAM, 0), on = 1, client;

	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(server, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(server, 1) < 0)
		broken("listen");
	if (fork() == 0) {
		int connection = accept(server, NULL, NULL);

		answer(connection, connection);
	}
	client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(client, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		broken("connect");
	return client;
}

static void write_secret(void)
{
	int fd = open("/scratch/secret", O_WRONLY | O_CREAT, 0600);

	if (fd < 0 || write(fd, SECRET, sizeof(SECRET)) != sizeof(SECRET))
		broken("write to /scratch");
	close(fd);
}

static void read_secret(void)
{
	char text[sizeof(SECRET)] = "";
	int fd = open("/scratch/secret", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text)) != sizeof(text) || strcmp(text, SECRET) != 0)
		broken("read from /scratch");
	close(fd);
}

static unsigned char pattern(size_t i)
{
	return (unsigned char)((i >> 12) * 31 + (i >> 20) + i);
}

static void check_memory(const unsigned char *memory, size_t mib)
{
	for (size_t i = mib * MIB; i < (mib + 1) * MIB; i++)
		if (memory[i] != pattern(i))
			broken("memory");
}

static unsigned read_events(int fd)
{
	_Alignas(struct inotify_event) char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));
	unsigned count = 0;

	for (ssize_t at = 0; at < n; count++)
		at += (ssize_t)(sizeof(struct inotify_event) +
				((struct inotify_event *)(void *)(buf + at))->len);
	return count;
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 1;
	unsigned char *memory = malloc(size * MIB);
	int count = open("/tmp/count", O_WRONLY | O_CREAT | O_APPEND, 0644);
	int watch = inotify_init1(IN_NONBLOCK), tcp, pipes[2];
	unsigned files = 0;
	char text[64];

	if (!memory || count < 0 || watch < 0 || inotify_add_watch(watch, "/watch", IN_CREATE) < 0)
		broken("begin");
	for (size_t i = 0; i < size * MIB; i++)
		memory[i] = pattern(i);
	write_secret();
	start_pipes(pipes);
	tcp = start_tcp();
	for (unsigned n = 1;; n++) {
		int len = snprintf(text, sizeof(text), "%u\n", n);

		if (write(count, text, (size_t)len) != len)
			broken("write to /tmp/count");
		ask(pipes[0], pipes[1], n, "pipes");
		ask(tcp, tcp, n, "TCP");
		read_secret();
		check_memory(memory, n % size);
		files += read_events(watch);
		if (isatty(1))
			printf("%u\r\n", n), fflush(stdout);
		snprintf(text, sizeof(text), "%u files %u\n", n, files);
		status(text);
		usleep(STEP_US);
	}
}
