/* SPDX-License-Identifier: Apache-2.0 */
/* base/message: messages and descriptors between processes, and peers that do not keep to the protocol. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/message.h"

struct pair {
	int fds[2];
};

static int setup(void **state)
{
	struct pair *pair = malloc(sizeof(*pair));
	struct error err = { 0 };

	assert_non_null(pair);
	assert_int_equal(message_pair(pair->fds, &err), 0);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	close(pair->fds[0]);
	close(pair->fds[1]);
	free(pair);
	return 0;
}

static unsigned open_descriptors(void)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	return count;
}

static void a_payload_arrives_as_it_was_sent(void **state)
{
	struct pair *pair = *state;
	struct message message;
	struct error err = { 0 };
	char buf[16];

	assert_int_equal(message_send(pair->fds[0], 7, "payload", 8, NULL, 0, &err), 0);
	assert_int_equal(message_send(pair->fds[0], 8, NULL, 0, NULL, 0, &err), 0);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err), 0);
	assert_int_equal(message.type, 7);
	assert_int_equal(message.len, 8);
	assert_int_equal(message.fd_count, 0);
	assert_string_equal(buf, "payload");
	assert_int_equal(message_receive(pair->fds[1], &message, NULL, 0, &err), 0);
	assert_int_equal(message.type, 8);
	assert_int_equal(message.len, 0);
}

static void the_largest_payload_fits(void **state)
{
	struct pair *pair = *state;
	static char sent[MESSAGE_MAX + 1], received[MESSAGE_MAX];
	struct message message;
	struct error err = { 0 };

	memset(sent, 0x5a, sizeof(sent));
	assert_int_equal(message_send(pair->fds[0], 1, sent, MESSAGE_MAX, NULL, 0, &err), 0);
	assert_int_equal(message_receive(pair->fds[1], &message, received, MESSAGE_MAX, &err), 0);
	assert_int_equal(message.len, MESSAGE_MAX);
	assert_memory_equal(received, sent, MESSAGE_MAX);
	assert_int_equal(message_send(pair->fds[0], 1, sent, MESSAGE_MAX + 1, NULL, 0, &err),
			 -EMSGSIZE);
}

static void descriptors_arrive_close_on_exec(void **state)
{
	struct pair *pair = *state;
	int files[MESSAGE_FDS + 1];
	struct message message;
	struct error err = { 0 };
	struct stat a, b;

	for (int i = 0; i <= MESSAGE_FDS; i++) {
		files[i] = open("/dev/null", O_RDONLY);
		assert_true(files[i] >= 0);
	}
	assert_int_equal(message_send(pair->fds[0], 1, "x", 1, files, MESSAGE_FDS + 1, &err),
			 -EMSGSIZE);
	assert_int_equal(message_send(pair->fds[0], 1, "x", 1, files, MESSAGE_FDS, &err), 0);
	assert_int_equal(message_receive(pair->fds[1], &message, &(char){ 0 }, 1, &err), 0);
	assert_int_equal(message.fd_count, MESSAGE_FDS);
	assert_int_equal(fstat(files[0], &a), 0);
	for (unsigned i = 0; i < message.fd_count; i++) {
		assert_int_equal(fstat(message.fds[i], &b), 0);
		assert_int_equal(a.st_rdev, b.st_rdev);
		assert_int_equal(fcntl(message.fds[i], F_GETFD), FD_CLOEXEC);
		close(message.fds[i]);
	}
	for (int i = 0; i <= MESSAGE_FDS; i++)
		close(files[i]);
}

static void a_dead_peer_is_epipe(void **state)
{
	struct pair *pair = *state;
	struct message message;
	struct error err = { 0 };

	close(pair->fds[0]);
	assert_int_equal(message_receive(pair->fds[1], &message, NULL, 0, &err), -EPIPE);
	assert_int_equal(message_send(pair->fds[1], 1, "x", 1, NULL, 0, &err),
			 -EPIPE); /* no SIGPIPE */
	pair->fds[0] = dup(pair->fds[1]);
}

/* Sends raw bytes with descriptors of /dev/null, as a peer might that is not ours. */
static void send_raw(int sock, const void *data, size_t len, unsigned fd_count)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct cmsghdr *cmsg;

	if (fd_count) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		for (unsigned i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), len);
	close(fd);
}

static void cve_2021_43784_wrong_lengths_are_refused_and_leak_nothing(void **state)
{
	struct pair *pair = *state;
	struct {
		uint32_t type, len;
		char data[32];
	} raw = { .type = 1 };
	unsigned before = open_descriptors();
	struct message message;
	struct error err = { 0 };
	char buf[8];

	/* Shorter than a header. */
	send_raw(pair->fds[0], &raw, 3, 2);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err),
			 -EMSGSIZE);
	assert_int_equal(message.fd_count, 0);
	/* A length that lies, both ways. */
	raw.len = 4;
	send_raw(pair->fds[0], &raw, 8 + 8, 1);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err),
			 -EMSGSIZE);
	raw.len = UINT32_MAX;
	send_raw(pair->fds[0], &raw, 8 + 8, 1);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err),
			 -EMSGSIZE);
	/* More payload than there is room for. */
	raw.len = 32;
	send_raw(pair->fds[0], &raw, 8 + 32, 1);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err),
			 -EMSGSIZE);
	/* More descriptors than there is room for. */
	raw.len = 1;
	send_raw(pair->fds[0], &raw, 8 + 1, 16);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err),
			 -EMSGSIZE);
	assert_int_equal(open_descriptors(), before);
	/* The connection is still good. */
	assert_int_equal(message_send(pair->fds[0], 9, "ok", 3, NULL, 0, &err), 0);
	assert_int_equal(message_receive(pair->fds[1], &message, buf, sizeof(buf), &err), 0);
	assert_int_equal(message.type, 9);
}

/* A console socket: a stream socket at a path, one byte or more with one descriptor. */
static void connects_to_a_path(const char *path, const char *reachable)
{
	_cleanup_close_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int client = -EBADF, server = -EBADF, console = -EBADF;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	char name[64] = "";
	struct iovec iov = { name, sizeof(name) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct error err = { 0 };
	int fd;

	assert_true(strlen(reachable) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, reachable);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	client = message_connect(path, SOCK_STREAM, &err);
	assert_true(client >= 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	console = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(message_send_fd(client, "/dev/pts/7", console, &err), 0);
	assert_int_equal(recvmsg(server, &msg, MSG_CMSG_CLOEXEC), 10);
	assert_string_equal(name, "/dev/pts/7");
	assert_non_null(CMSG_FIRSTHDR(&msg));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	close(fd);
}

static void connects_to_paths_of_any_length(void **state)
{
	char base[256], deep[1024], component[101];
	struct error err = { 0 };
	char shortcut[64], path[2048];
	int fd, dir;

	(void)state;
	fd = unit_make_dir(base, sizeof(base));
	snprintf(path, sizeof(path), "%s/sock", base);
	connects_to_a_path(path, path);

	memset(component, 'd', sizeof(component) - 1);
	component[sizeof(component) - 1] = '\0';
	snprintf(deep, sizeof(deep), "%s/%s", base, component);
	assert_int_equal(mkdir(deep, 0700), 0);
	snprintf(path, sizeof(path), "%s/sock", deep);
	dir = open(deep, O_PATH | O_CLOEXEC);
	assert_true(dir >= 0);
	snprintf(shortcut, sizeof(shortcut), "/proc/self/fd/%d/sock", dir);
	connects_to_a_path(path, shortcut);
	close(dir);

	snprintf(path, sizeof(path), "%s/nothing", base);
	assert_int_equal(message_connect(path, SOCK_STREAM, &err), -ENOENT);
	assert_non_null(strstr(err.text, "nothing"));
	unit_remove_dir(fd, base);
}

#define pair_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_test(a_payload_arrives_as_it_was_sent),
		pair_test(the_largest_payload_fits),
		pair_test(descriptors_arrive_close_on_exec),
		pair_test(a_dead_peer_is_epipe),
		pair_test(cve_2021_43784_wrong_lengths_are_refused_and_leak_nothing),
		cmocka_unit_test(connects_to_paths_of_any_length),
	};

	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
