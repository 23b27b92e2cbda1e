/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speaking to CRIU: one `criu swrk`, over a socket of messages (protobuf, rpc.proto). CRIU sends notifications on the way, each
 * of which waits for an answer, and in the end its response.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/number.h"
#include "base/process.h"
#include "cmd/hull-criu/criu.h"
#include "cmd/hull-criu/rpc.pb-c.h"

#define RESPONSE_MAX 65536
#define LOG_TAIL     65536 /* bytes of CRIU's log in which its last errors are looked for */
#define ERROR_LINES  3
#define LIST_MAX     512
#define LOG_LEVEL    4

/* ---- options ------------------------------------------------------------------------------------- */

/* The lists of a request, which must live as long as it. */
struct lists {
	char *external[LIST_MAX];
	Rpc__CgroupRoot root, *roots[1];
	Rpc__InheritFd fds[CRIU_FDS_MAX], *inherit[CRIU_FDS_MAX];
};

static char *text_of(const struct request *q, const char *name)
{
	return (char *)(uintptr_t)request_get(q, name); /* protobuf-c only reads it */
}

static bool number_of(const struct request *q, const char *name, uint64_t *number)
{
	const char *value = request_get(q, name);

	return value && parse_u64(value, UINT32_MAX, number);
}

static void set_strings(const struct request *q, Rpc__Options *o)
{
	o->root = text_of(q, "root");
	o->parent_images = text_of(q, "parent_images");
	o->freeze_cgroup = text_of(q, "freeze_cgroup");
	o->config_file = text_of(q, "config_file");
	o->lsm_profile = text_of(q, "lsm_profile");
	o->lsm_mount_context = text_of(q, "lsm_mount_context");
}

static void set_flags(const struct request *q, Rpc__Options *o)
{
	o->has_notify = o->notify = true;
	o->has_leave_running = o->leave_running = request_flag(q, "leave_running");
	o->has_ext_unix_sk = o->ext_unix_sk = request_flag(q, "ext_unix_sk");
	o->has_tcp_established = o->tcp_established = request_flag(q, "tcp_established");
	o->has_tcp_skip_in_flight = o->tcp_skip_in_flight = request_flag(q, "tcp_skip_in_flight");
	o->has_tcp_close = o->tcp_close = request_flag(q, "tcp_close");
	o->has_shell_job = o->shell_job = request_flag(q, "shell_job");
	o->has_file_locks = o->file_locks = request_flag(q, "file_locks");
	o->has_link_remap = o->link_remap = request_flag(q, "link_remap");
	o->has_track_memory = o->track_memory = request_flag(q, "track_memory");
	o->has_external_masters = o->external_masters = request_flag(q, "external_masters");
	o->has_old_mount_engine = o->old_mount_engine = request_flag(q, "old_mount_engine");
	o->has_orphan_pts_master = o->orphan_pts_master = request_flag(q, "orphan_pts_master");
	o->has_restore_sibling = o->restore_sibling = request_flag(q, "restore_sibling");
}

static void set_numbers(const struct request *q, Rpc__Options *o)
{
	uint64_t number;

	if ((o->has_pid = number_of(q, "pid", &number)))
		o->pid = (int32_t)number;
	if ((o->has_empty_namespaces = number_of(q, "empty_namespaces", &number)))
		o->empty_namespaces = (uint32_t)number;
	if ((o->has_cgroup_mode = number_of(q, "cgroup_mode", &number)))
		o->cgroup_mode = (Rpc__CgroupMode)number;
	if ((o->has_network_lock = number_of(q, "network_lock", &number)))
		o->network_lock = (Rpc__NetworkLock)number;
	o->images_dir = request_fd(q, "images");
	o->has_work_dir = true;
	o->work_dir = request_fd(q, "work");
	o->has_log_level = true;
	o->log_level = LOG_LEVEL;
}

static int set_lists(const struct request *q, Rpc__Options *o, struct lists *l, struct error *err)
{
	const char *at = NULL;

	while ((at = request_next(q, "external", at))) {
		if (o->n_external == LIST_MAX)
			return error_set(err, E2BIG, "more than %d things are external", LIST_MAX);
		l->external[o->n_external++] = (char *)(uintptr_t)at;
	}
	o->external = l->external;
	rpc__cgroup_root__init(&l->root);
	l->root.path = text_of(q, "cgroup_root");
	l->roots[0] = &l->root;
	o->cgroup_roots = l->roots;
	o->n_cgroup_roots = l->root.path ? 1 : 0;
	while ((at = request_next(q, "inherit", at))) { /* FD:KEY */
		const char *colon = strchr(at, ':');
		Rpc__InheritFd *f = &l->fds[o->n_inherit_fds];
		char number[16];
		uint64_t fd;

		if (!colon || o->n_inherit_fds == CRIU_FDS_MAX)
			return error_set(err, EPROTO, "read the request");
		snprintf(number, sizeof(number), "%.*s", (int)(colon - at), at);
		if (!parse_u64(number, INT32_MAX, &fd))
			return error_set(err, EPROTO, "read the request");
		rpc__inherit_fd__init(f);
		f->key = (char *)(uintptr_t)(colon + 1);
		f->fd = (int32_t)fd;
		l->inherit[o->n_inherit_fds++] = f;
	}
	o->inherit_fds = l->inherit;
	return 0;
}

/* ---- the log ------------------------------------------------------------------------------------- */

static char *log_name(const struct request *q)
{
	static char dump[] = "dump.log", restore[] = "restore.log";

	return strcmp(request_get(q, "op"), "restore") ? dump : restore;
}

static bool is_error(const char *line)
{
	const char *mark = strstr(line, "Error (");

	return mark && mark < strchrnul(line, '\n');
}

/* CRIU's last errors, of which the first is mostly the cause of the others. */
static void add_log(const struct request *q, struct error *err)
{
	_cleanup_close_ int fd = openat(request_fd(q, "work"), log_name(q), O_RDONLY | O_CLOEXEC);
	const char *lines[ERROR_LINES];
	static char text[LOG_TAIL + 1];
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	size_t count = 0, used = strlen(err->text);
	ssize_t n;

	if (end < 0)
		return;
	n = pread(fd, text, LOG_TAIL, end > LOG_TAIL ? end - LOG_TAIL : 0);
	text[n > 0 ? n : 0] = '\0';
	for (char *p = text; p && *p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!is_error(p))
			continue;
		if (count == ERROR_LINES)
			memmove(&lines[0], &lines[1], sizeof(lines) - sizeof(lines[0]));
		else
			count++;
		lines[count - 1] = p;
	}
	for (size_t i = 0; i < count && used < sizeof(err->text); i++) {
		const char *line = strstr(lines[i], "Error (");

		used += (size_t)snprintf(err->text + used, sizeof(err->text) - used, "; %.*s",
					 (int)strcspn(line, "\n"), line);
	}
}

/* ---- talking --------------------------------------------------------------------------------------- */

struct rpc {
	const struct request *q;
	int sock, hull;
	rpc_notify *notify;
	void *data;
	bool hull_is_gone, refused;
	struct error why; /* of a refusal */
	pid_t criu;
};

/* What it prints is in its log, too. Of a restored workload, our streams may become its own. */
static void __attribute__((noreturn)) run_criu(int sock, bool restore)
{
	int null = restore ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
	char number[16];

	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	signal(SIGPIPE, SIG_DFL);
	fcntl(sock, F_SETFD, 0);
	snprintf(number, sizeof(number), "%d", sock);
	execlp("criu", "criu", "swrk", number, (char *)NULL);
	_exit(errno == ENOENT ? 127 : 126);
}

static int start_criu(struct rpc *rpc, struct error *err)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_errno(err, errno, "socketpair");
	rpc->criu = fork();
	if (rpc->criu == 0)
		run_criu(ends[1], !strcmp(request_get(rpc->q, "op"), "restore"));
	close(ends[1]);
	rpc->sock = ends[0];
	return rpc->criu < 0 ? error_errno(err, errno, "fork for CRIU") : 0;
}

static int send_request(struct rpc *rpc, const Rpc__Request *m, struct error *err)
{
	size_t len = rpc__request__get_packed_size(m);
	_cleanup_free_ uint8_t *buf = malloc(len + 1);

	if (!buf)
		return error_errno(err, ENOMEM, "ask CRIU");
	rpc__request__pack(m, buf);
	if (send(rpc->sock, buf, len, MSG_NOSIGNAL) == (ssize_t)len)
		return 0;
	return errno == EPIPE || errno == ECONNRESET ? 0 : error_errno(err, errno, "ask CRIU");
}

static int send_order(struct rpc *rpc, struct error *err)
{
	Rpc__Options o = RPC__OPTIONS__INIT;
	Rpc__Request m = RPC__REQUEST__INIT;
	const char *op = request_get(rpc->q, "op");
	struct lists lists;
	int r;

	set_strings(rpc->q, &o);
	set_flags(rpc->q, &o);
	set_numbers(rpc->q, &o);
	o.log_file = log_name(rpc->q);
	r = set_lists(rpc->q, &o, &lists, err);
	if (r < 0)
		return r;
	m.kind = !strcmp(op, "restore") ? RPC__KIND__RESTORE
		 : !strcmp(op, "dump")  ? RPC__KIND__DUMP
					: RPC__KIND__PRE_DUMP;
	m.options = &o;
	return send_request(rpc, &m, err);
}

/* One message, and the descriptor that may come with it. 0 at the end. */
static ssize_t receive(int sock, uint8_t *buf, int *fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { buf, RESPONSE_MAX };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *c;
	ssize_t n;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	return n < 0 ? 0 : n;
}

/* Ends CRIU and what it has restored so far, whose parent we are. */
static void abort_restore(const struct rpc *rpc)
{
	char path[64], list[4096], *save = NULL;
	uint64_t pid;

	kill(rpc->criu, SIGKILL);
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	do {
		if (file_read_small(AT_FDCWD, path, list, sizeof(list), NULL) < 0)
			return;
		for (char *p = strtok_r(list, " ", &save); p; p = strtok_r(NULL, " ", &save))
			if (parse_u64(p, INT32_MAX, &pid) && pid)
				kill((pid_t)pid, SIGKILL);
	} while (waitpid(-1, NULL, __WALL) > 0);
}

/* Waits for CRIU. A hull that is gone meanwhile ends a restore; a dump finds out when it has to ask. */
static void await(struct rpc *rpc)
{
	const bool restore = !strcmp(request_get(rpc->q, "op"), "restore");

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = rpc->sock, .events = POLLIN },
			{ .fd = restore && !rpc->hull_is_gone ? rpc->hull : -1, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents) {
			rpc->hull_is_gone = true;
			abort_restore(rpc);
		}
		if (fds[0].revents)
			return;
	}
}

static int notified(struct rpc *rpc, const Rpc__Notification *n, int fd, struct error *err)
{
	struct criu_notice notice = { .pid = n && n->has_pid ? n->pid : 0 };
	Rpc__Request m = RPC__REQUEST__INIT;

	snprintf(notice.name, sizeof(notice.name), "%s", n && n->name ? n->name : "");
	m.kind = RPC__KIND__NOTIFY;
	m.has_notify_success = true;
	m.notify_success = !rpc->refused && rpc->notify(rpc->data, &notice, fd, &rpc->why) == 0;
	rpc->refused = !m.notify_success;
	return send_request(rpc, &m, err);
}

static int failed(struct rpc *rpc, const Rpc__Response *response, struct error *err)
{
	size_t len;

	if (rpc->refused)
		return error_set(err, rpc->why.code ? rpc->why.code : EIO, "%s", rpc->why.text);
	error_set(err, EIO, "CRIU failed");
	len = strlen(err->text);
	add_log(rpc->q, err);
	/* Its log has more than its answer, where it got so far as to open one. */
	if (err->text[len] == '\0' && response->message)
		error_set(err, EIO, "CRIU failed: %.*s", (int)strcspn(response->message, "\n"),
			  response->message);
	return -EIO;
}

/* CRIU ended without a response. */
static int ended(struct rpc *rpc, struct error *err)
{
	int status = 0;

	if (rpc->hull_is_gone)
		return error_set(err, EINTR, "hull was killed");
	process_wait(rpc->criu, &status);
	rpc->criu = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_set(err, ENOENT,
				 "`criu` is not installed (it was looked for in PATH: %s)",
				 getenv("PATH") ? getenv("PATH") : "");
	error_set(err, EIO, "CRIU ended without an answer, with status %d",
		  process_exit_status(status));
	add_log(rpc->q, err);
	return -EIO;
}

/* One message of CRIU's: 1 when that was the last. */
static int step(struct rpc *rpc, pid_t *pid, struct error *err)
{
	static uint8_t buf[RESPONSE_MAX];
	_cleanup_close_ int fd = -1;
	Rpc__Response *response;
	ssize_t n;
	int r;

	await(rpc);
	n = receive(rpc->sock, buf, &fd);
	if (n == 0)
		return ended(rpc, err);
	response = rpc__response__unpack(NULL, (size_t)n, buf);
	if (!response)
		return error_set(err, EPROTO, "CRIU's answer cannot be understood");
	if (response->kind == RPC__KIND__NOTIFY) {
		r = notified(rpc, response->notification, fd, err);
	} else if (!response->success) {
		r = failed(rpc, response, err);
	} else {
		*pid = response->restore ? response->restore->pid : 0;
		r = 1;
	}
	rpc__response__free_unpacked(response, NULL);
	return r;
}

int rpc_run(const struct request *q, int hull, rpc_notify *notify, void *data, pid_t *pid,
	    struct error *err)
{
	struct rpc rpc = { .q = q, .hull = hull, .notify = notify, .data = data, .sock = -1 };
	int r = start_criu(&rpc, err), status;

	*pid = 0;
	if (r == 0)
		r = send_order(&rpc, err);
	while (r == 0)
		r = step(&rpc, pid, err);
	close_fd(&rpc.sock);
	if (rpc.criu > 0)
		process_wait(rpc.criu, &status);
	return r < 0 ? r : 0;
}
