/* SPDX-License-Identifier: Apache-2.0 */
/* Socket activation and readiness; see systemd.h. */
#include "runtime/systemd.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/message.h"
#include "base/number.h"
#include "base/path.h"
#include "base/process.h"
#include "runtime/runtime.h"

#define LISTEN_FDS_MAX 4096
#define NOTIFY_DIR     "notify" /* in the state directory */
#define NOTIFY_NAME    "notify.sock"
#define NOTIFY_PLACE   "/run/notify" /* in the container, where runc has it */
#define DATAGRAM_MAX   4096
#define DATAGRAMS_MAX \
	64 /* read at a time: a workload that floods us must not keep us from its signals and its end */
#define BARRIER_TIMEOUT 5000 /* milliseconds that systemd may take to read what we said */

/* ---- sockets ---------------------------------------------------------------------------------------- */

/* Engines that pass sockets on write the 1 that the container shall see; a 1 that was inherited comes without sockets. */
static bool sockets_are_for_us(uint64_t pid, unsigned count)
{
	return pid == (uint64_t)getpid() || (pid == 1 && check_preserved_fds(count, NULL) == 0);
}

int systemd_sockets(struct sandbox_io *io, struct error *err)
{
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	uint64_t count, number;

	if (!fds || !pid || !parse_u64(pid, INT32_MAX, &number))
		return 0;
	if (number != 1 && number != (uint64_t)getpid())
		return 0; /* left over from a process further up */
	if (!parse_u64(fds, LISTEN_FDS_MAX, &count))
		return error_set(err, EINVAL, "LISTEN_FDS `%.32s`: is not a number from 0 to %d",
				 fds, LISTEN_FDS_MAX);
	if (!count || !sockets_are_for_us(number, (unsigned)count))
		return 0;
	io->listen_fds = (unsigned)count;
	io->listen_names = getenv("LISTEN_FDNAMES");
	io->preserve_fds += (unsigned)count;
	return 0;
}

/* ---- readiness -------------------------------------------------------------------------------------- */

static const char *host_socket(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path && *path ? path : NULL;
}

static bool has_variable(const struct oci_strings *env, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < env->len; i++)
		if (!strncmp(env->items[i], name, len) && env->items[i][len] == '=')
			return true;
	return false;
}

/* The directory, for every user of the container to enter. Returns its path on the host. */
static const char *make_notify_dir(struct container *c, struct error *err)
{
	char path[PATH_MAX];
	mode_t mask = umask(0);
	int r = mkdirat(c->dir, NOTIFY_DIR, 0755);
	const char *result;
	ssize_t len;

	umask(mask);
	if (r < 0) {
		error_errno(err, errno, "make the directory of the readiness socket");
		return NULL;
	}
	len = readlink(path_of_fd(c->dir).s, path, sizeof(path) - 1);
	if (len < 0) {
		error_errno(err, errno, "find the state directory");
		return NULL;
	}
	path[len] = '\0';
	result = arena_printf(&c->arena, "%s/" NOTIFY_DIR, path);
	if (!result)
		error_errno(err, ENOMEM, "NOTIFY_SOCKET");
	return result;
}

/*
 * Behind all others, so that no mount of the configuration hides it. Private, so that nothing flows either way; read-only,
 * so that nothing but the socket is ever in the directory. It is made as all are: opened on the host before there is a container,
 * attached to a descriptor.
 */
static int add_mount(struct container *c, const char *source, struct error *err)
{
	static const char *const wanted[] = {
		"bind", "ro", "nosuid", "nodev", "noexec", "private"
	};
	size_t len = c->config->mounts.len;
	struct oci_mount *mounts = arena_array(&c->arena, len + 1, sizeof(*mounts));
	const char **options = arena_memdup(&c->arena, wanted, sizeof(wanted));

	if (!mounts || !options)
		return error_errno(err, ENOMEM, "NOTIFY_SOCKET");
	for (size_t i = 0; i < len; i++)
		mounts[i] = c->config->mounts.items[i];
	mounts[len] = (struct oci_mount){
		.destination = NOTIFY_PLACE,
		.source = source,
		.options = { .items = options, .len = ARRAY_SIZE(wanted) },
	};
	c->config->mounts.items = mounts;
	c->config->mounts.len = len + 1;
	return 0;
}

static int add_variable(struct container *c, struct error *err)
{
	struct oci_strings *env = &c->config->process->env;
	const char **items = arena_array(&c->arena, env->len + 1, sizeof(*items));

	if (!items)
		return error_errno(err, ENOMEM, "NOTIFY_SOCKET");
	for (size_t i = 0; i < env->len; i++)
		items[i] = env->items[i];
	items[env->len] = "NOTIFY_SOCKET=" NOTIFY_PLACE "/" NOTIFY_NAME;
	*env = (struct oci_strings){ .items = items, .len = env->len + 1 };
	return 0;
}

int systemd_notify_offer(struct container *c, struct error *err)
{
	const struct oci_namespace *mount_ns = oci_namespace_find(c->config, OCI_NS_MOUNT);
	const char *dir;
	int r;

	if (!host_socket())
		return 0;
	if (!mount_ns || mount_ns->path || has_variable(&c->config->process->env, "NOTIFY_SOCKET"))
		return 0;
	dir = make_notify_dir(c, err);
	if (!dir)
		return -err->code;
	c->notify = true;
	if (c->sandbox.ops->notify_socket)
		return 0;
	r = add_mount(c, dir, err);
	return r < 0 ? r : add_variable(c, err);
}

int systemd_notify_listen(const struct container *c, int *sock, struct error *err)
{
	const char *name = c->sandbox.ops->notify_socket;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int type = name ? SOCK_STREAM : SOCK_DGRAM, r;
	_cleanup_close_ int fd = -EBADF;
	mode_t mask;

	*sock = -1;
	if (!host_socket() || faccessat(c->dir, NOTIFY_DIR, F_OK, 0) < 0)
		return 0; /* or created without NOTIFY_SOCKET */
	if (!name)
		name = NOTIFY_DIR "/" NOTIFY_NAME;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", path_of_fd(c->dir).s, name);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(err, errno, "socket");
	/* That of a start which was killed. */
	if (unlinkat(c->dir, name, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove the old readiness socket");
	/* For every user of the container to write to; by the mask, not by a chmod that a link could lead astray. */
	mask = umask(0);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (r < 0 || (type == SOCK_STREAM && listen(fd, 1) < 0))
		return error_errno(err, errno, "make the readiness socket");
	*sock = take_fd(&fd);
	return 0;
}

/* Whether one of the datagram's lines says so. Whatever else the container says is not for systemd. */
static bool says_ready(const char *text)
{
	for (const char *line = text; *line; line += strcspn(line, "\n")) {
		line += *line == '\n';
		if (!strncmp(line, "READY=1", 7) && (line[7] == '\n' || !line[7]))
			return true;
	}
	return false;
}

static int connect_to_host(const char *path, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	_cleanup_close_ int sock = -EBADF;

	if (path[0] == '/')
		return message_connect(path, SOCK_DGRAM, err);
	if (path[0] != '@' || len < 2 || len > sizeof(addr.sun_path))
		return error_set(err, EINVAL, "it is neither a path nor an abstract name");
	memcpy(addr.sun_path + 1, path + 1, len - 1);
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&addr,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		return error_errno(err, errno, "connect");
	return take_fd(&sock);
}

/*
 * systemd finds the service that a message is from by the sender's cgroup, so we must not end before it read ours: it
 * closes the descriptor when it did (sd_notify_barrier(3)).
 */
static void wait_until_read(int sock)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	struct error err = { 0 };
	struct pollfd closed;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	ours = ends[0];
	theirs = ends[1];
	if (message_send_fd(sock, "BARRIER=1", theirs, &err) < 0)
		return;
	close_fd(&theirs);
	closed = (struct pollfd){ .fd = ours };
	if (poll(&closed, 1, BARRIER_TIMEOUT) == 0)
		log_debug("NOTIFY_SOCKET: nobody says that our message was read");
}

static int tell_host(pid_t main_pid, struct error *err)
{
	_cleanup_close_ int sock = connect_to_host(host_socket(), err);
	char text[64];

	if (sock < 0)
		return sock;
	/* One message: never ready with the wrong main process. */
	if (main_pid)
		snprintf(text, sizeof(text), "MAINPID=%d\nREADY=1", main_pid);
	else
		snprintf(text, sizeof(text), "READY=1");
	if (send(sock, text, strlen(text), MSG_NOSIGNAL) < 0)
		return error_errno(err, errno, "send");
	if (main_pid)
		wait_until_read(sock);
	return 0;
}

/* Whoever connects says so by that. */
static bool is_connected(int listener)
{
	_cleanup_close_ int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	return sock >= 0;
}

bool systemd_notify_is_ready(int sock)
{
	char text[DATAGRAM_MAX + 1];
	int listens = 0;
	ssize_t n;

	if (getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){ sizeof(int) }) ==
		    0 &&
	    listens)
		return is_connected(sock);
	/* Descriptors that come along are closed by the kernel, as nobody asks for them: that also answers a barrier. */
	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		n = recv(sock, text, DATAGRAM_MAX, MSG_DONTWAIT);
		if (n < 0)
			return false;
		text[n] = '\0';
		if (says_ready(text))
			return true;
	}
	return false;
}

bool systemd_notify_forward(int sock, pid_t main_pid)
{
	struct error err = { 0 };

	if (!systemd_notify_is_ready(sock))
		return false;
	if (tell_host(main_pid, &err) < 0)
		log_warning("NOTIFY_SOCKET `%s`: %s", host_socket(), err.text);
	return true;
}

void systemd_notify_wait(int sock, pid_t pid, uint64_t start_time)
{
	_cleanup_close_ int notify = sock, pidfd = -EBADF;
	struct pollfd fds[2];

	if (notify < 0)
		return;
	pidfd = process_open(pid, start_time, NULL);
	fds[0] = (struct pollfd){ .fd = notify, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	while (pidfd >= 0 && (poll(fds, ARRAY_SIZE(fds), -1) >= 0 || errno == EINTR)) {
		if (fds[0].revents && systemd_notify_forward(notify, pid))
			return;
		if (fds[1].revents)
			break;
	}
	/* It may have said so just before its end. */
	systemd_notify_forward(notify, pid);
}
