/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saves a machine of hull-vmm's, and shows how long it takes until one goes on from there: from the execution of hull-vmm to the guest's next instruction.
 *
 * usage: machine save FILE HULL-VMM OPTION...     runs the machine for a moment and saves it
 *        machine restore FILE HULL-VMM OPTION...  ends when the guest runs
 *        machine start - HULL-VMM OPTION...       the same for one that boots
 *
 * A machine of `hull checkpoint` gets what hull would give it: cards, and sockets behind which nobody is.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/message.h"
#include "microvm/control.h"
#include "microvm/snapshot.h"

#define ARGUMENTS_MAX 64
#define MOMENT_US     100000

struct machine {
	const char *argv[ARGUMENTS_MAX];
	unsigned argc;
	char text[16][96];
	unsigned texts;
	int sync, control;
};

static int fail(const char *what, const struct error *err)
{
	fprintf(stderr, "machine: %s: %s\n", what, err && err->code ? err->text : strerror(errno));
	return 1;
}

static void add(struct machine *m, const char *word)
{
	if (m->argc < ARGUMENTS_MAX - 1)
		m->argv[m->argc++] = word;
}

static void add_text(struct machine *m, const char *option, const char *format,
		     unsigned long long n)
{
	add(m, option);
	snprintf(m->text[m->texts], sizeof(m->text[0]), format, n);
	add(m, m->text[m->texts++]);
}

static int listen_on(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, type, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(sock, 4) < 0)
		return -1;
	return sock;
}

/* What a machine of hull's has. A file server that nobody serves is waited for by the guest, and by nobody else. */
static int add_surroundings(struct machine *m, const struct snapshot_header *h)
{
	int ends[2], vsock, dir;

	vsock = listen_on("vsock.sock", SOCK_STREAM);
	dir = open(".", O_PATH | O_DIRECTORY);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0 || vsock < 0 || dir < 0)
		return -1;
	add_text(m, "--fs", "fd:%llu,tag=hull", (unsigned)ends[0]);
	add_text(m, "--vsock", "fd:%llu", (unsigned)vsock);
	add_text(m, "--vsock-dir", "fd:%llu", (unsigned)dir);
	add(m, "--workload=pipes");
	for (unsigned i = 0; i < h->cards && i < 4; i++)
		add_text(m, "--net", "mac=02:68:75:6c:6c:%02llx", i);
	return 0;
}

static pid_t start(struct machine *m, char **rest)
{
	int ends[2];
	pid_t pid;

	if (message_pair(ends, NULL) < 0)
		return -1;
	m->sync = ends[0];
	fcntl(ends[1], F_SETFD, 0);
	add_text(m, "--sync", "fd:%llu", (unsigned)ends[1]);
	for (; *rest; rest++)
		add(m, *rest);
	pid = fork();
	if (pid == 0) {
		execv(m->argv[0], (char **)(uintptr_t)m->argv);
		_exit(127);
	}
	close(ends[1]);
	return pid;
}

static int await_start(const struct machine *m)
{
	struct error said = { 0 };
	struct message message;

	if (message_receive(m->sync, &message, &said, sizeof(said), NULL) < 0)
		return fail("hull-vmm has ended", NULL);
	if (message.type != CONTROL_DONE)
		return fail("hull-vmm", &said);
	puts("it runs");
	fflush(stdout);
	return 0;
}

static int save(const char *file)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "control.sock" };
	int fds[2] = { open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
		       open("/dev/null", O_RDWR | O_CLOEXEC) };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct error said = { 0 };
	struct message message;

	usleep(MOMENT_US);
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    message_send(sock, CONTROL_SAVE, NULL, 0, fds, 2, NULL) < 0 ||
	    message_receive(sock, &message, &said, sizeof(said), NULL) < 0)
		return fail("ask hull-vmm", NULL);
	return message.type == CONTROL_DONE ? 0 : fail("hull-vmm", &said);
}

static int prepare(struct machine *m, const char *what, const char *file)
{
	struct snapshot_header header = { .cpus = 1 };
	struct error err = { 0 };
	int fd;

	if (!strcmp(what, "start"))
		return 0;
	if (!strcmp(what, "save")) {
		m->control = listen_on("control.sock", SOCK_SEQPACKET);
		add_text(m, "--control", "fd:%llu", (unsigned)m->control);
		return m->control < 0 ? fail("listen", NULL) : 0;
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || snapshot_read_header(fd, &header, &err) < 0)
		return fail(file, &err);
	close(fd);
	add(m, "--restore");
	add(m, file);
	add_text(m, "--memory", "%llu", header.memory_size >> 20);
	add_text(m, "--cpus", "%llu", header.cpus);
	return header.cards && add_surroundings(m, &header) < 0 ? fail("sockets", NULL) : 0;
}

int main(int argc, char **argv)
{
	struct machine m = { .argc = 0 };
	pid_t pid;
	int r;

	if (argc < 4) {
		fprintf(stderr, "usage: machine save|restore|start FILE HULL-VMM OPTION...\n");
		return 2;
	}
	add(&m, argv[3]);
	r = prepare(&m, argv[1], argv[2]);
	if (r)
		return r;
	pid = start(&m, argv + 4);
	if (pid < 0)
		return fail("start hull-vmm", NULL);
	r = await_start(&m);
	if (r == 0 && !strcmp(argv[1], "save"))
		r = save(argv[2]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}
