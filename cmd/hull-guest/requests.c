/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's requests, one a connection. Each is the runtime's own function, on a store in the guest: the container
 * that it makes is made, entered, limited and watched here by the code that does so on a host.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/log.h"
#include "base/path.h"
#include "base/process.h"
#include "cmd/hull-guest/guest.h"
#include "namespaces/rootfs.h"
#include "namespaces/vm_mounts.h"
#include "namespaces/vm_net.h"
#include "runtime/runtime.h"
#include "runtime/systemd.h"

#define REQUEST_TIMEOUT 30 /* seconds in which the host must have said what it wants */
#define BUNDLE          GUEST_RUN "/bundle"

struct request {
	struct guest *guest;
	int connection;
	int log[2]; /* a record a message: where we write them, and where we read them to pass them on */
	char *payload;
	size_t len;
	bool exec_failed;
	bool answered;      /* what the answer is was said already */
	bool session_ended; /* the container's */
};

/* ---- helpers ------------------------------------------------------------------------------------------ */

/* Our warnings, and those of processes that we make, are the host's to log: standard error is the workload's. */
static int catch_warnings(struct request *request, struct error *err)
{
	struct log_config log = { .kind = LOG_TO_SYSLOG,
				  .identifier = "hull-guest",
				  .level = LOG_LEVEL_WARNING,
				  .quiet = true,
				  .program = "hull-guest" };

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, request->log) < 0)
		return error_errno(err, errno, "socketpair");
	log.fd = request->log[0];
	log_configure(&log);
	return 0;
}

/* Says to the host what was warned of so far. */
static void pass_warnings_on(const struct request *request)
{
	char record[ERROR_TEXT_MAX + 128];
	ssize_t len;

	while ((len = recv(request->log[1], record, sizeof(record) - 1, 0)) > 0) {
		const char *text;

		record[len] = '\0';
		text = strstr(record, "]: "); /* behind priority, time and name */
		if (text)
			agent_send(request->connection, AGENT_WARNING, text + 3, strlen(text + 3),
				   NULL);
	}
}

/* The container's id: the directory of the store cannot be trusted to hold just one while it is being made. */
int request_load_id(char *id, size_t size, struct error *err)
{
	if (file_read_small(AT_FDCWD, GUEST_ID, id, size, err) < 0)
		return error_set(err, ESRCH, "there is no container in the microVM yet");
	return 0;
}

static int load_id(struct guest *guest, char *id, size_t size, struct error *err)
{
	guest->id = id;
	return request_load_id(id, size, err);
}

/* A file without a name that holds data, for functions that read files: its path. */
static int as_file(const char *data, size_t len, struct path_of_fd *path, struct error *err)
{
	_cleanup_close_ int fd = memfd_create("request", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return error_errno(err, errno, "memfd_create");
	r = file_write_all(fd, data, len);
	if (r < 0)
		return error_errno(err, -r, "keep the request");
	*path = path_of_fd(fd);
	return take_fd(&fd);
}

/* A socket on which the terminal of a new process is handed to us, by the way that engines get it. */
static int open_console_listener(char *path, size_t size, struct error *err)
{
	_cleanup_close_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(path, size, GUEST_RUN "/console.%d", getpid());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(sock, 1) < 0)
		return error_errno(err, errno, "listen for the process' terminal");
	return take_fd(&sock);
}

static int receive_terminal(int listener, struct error *err)
{
	_cleanup_close_ int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char name[64];
	struct iovec iov = { name, sizeof(name) };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *cmsg;
	int fd;

	if (sock < 0 || recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 0)
		return error_errno(err, errno, "receive the process' terminal");
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS ||
	    cmsg->cmsg_len != CMSG_LEN(sizeof(fd)))
		return error_errno(err, EPROTO, "receive the process' terminal");
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static void set_size(int terminal, const struct agent_size *size)
{
	const struct winsize ws = { .ws_row = size->rows, .ws_col = size->columns };

	if (size->rows && size->columns)
		ioctl(terminal, TIOCSWINSZ, &ws);
}

/* ---- processes with streams --------------------------------------------------------------------------- */

/*
 * Connects the streams of a process that make() makes and leaves the session ready to run. make() is called with our standard streams
 * being the process' own, or with the path of a console socket.
 */
static int make_with_streams(struct session *session, const struct agent_size *size,
			     int (*make)(void *data, const char *console, pid_t *pid,
					 struct error *err),
			     void *data, struct error *err)
{
	_cleanup_close_ int listener = -EBADF;
	char console[64];
	int r = session_connect(session, err);

	if (r == 0 && session->tty) {
		listener = open_console_listener(console, sizeof(console), err);
		r = listener < 0 ? listener : 0;
	}
	if (r == 0)
		r = session_enter(session, err);
	if (r == 0)
		r = make(data, session->tty ? console : NULL, &session->pid, err);
	session_leave(session);
	if (r == 0 && session->tty) {
		session->ends[0] = receive_terminal(listener, err);
		r = session->ends[0] < 0 ? session->ends[0] : 0;
	}
	if (listener >= 0)
		unlink(console);
	if (r == 0 && session->tty)
		set_size(session->ends[0], size);
	return r;
}

struct creation {
	struct guest *guest;
	const char *config; /* path */
	uint32_t flags;
	int *readiness; /* see struct session */
	bool exec_failed;
};

static int create_container(void *data, const char *console, pid_t *pid, struct error *err)
{
	struct creation *creation = data;
	const struct runtime_create options = {
		.bundle = BUNDLE,
		.config = creation->config,
		.console_socket = console,
		.sandbox = "container",
		.owns_network = true,
		.no_new_keyring = (creation->flags & AGENT_NO_NEW_KEYRING) != 0,
	};
	_cleanup_container_ struct container c = { .dir = -EBADF };
	int r = runtime_create(&creation->guest->store, creation->guest->id, &options,
			       &creation->exec_failed, err);

	if (r == 0)
		r = container_open(&creation->guest->store, creation->guest->id, CONTAINER_READ, &c,
				   err);
	if (r == 0 && (creation->flags & AGENT_NOTIFY))
		r = systemd_notify_listen(&c, creation->readiness, err);
	if (r == 0)
		*pid = c.record.pid;
	return r;
}

static int wants_terminal(const char *config, size_t len, bool *tty, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	struct oci_config *parsed;
	int r = oci_config_parse(config, len, &arena, &parsed, err);

	if (r == 0)
		*tty = parsed->process && parsed->process->terminal.v;
	return r;
}

static int mount_shared(struct error *err)
{
	if (mount(GUEST_TAG, GUEST_SHARED, "virtiofs", 0, NULL) < 0 && errno != EBUSY)
		return error_errno(err, errno, "mount the host's files in the microVM");
	if (mkdir(BUNDLE, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make `%s`", BUNDLE);
	return 0;
}

/* As the host has them: in a mount namespace of our own, so that they are gone when this request is served. */
static int mount_below_shared(const char *list, size_t len, struct error *err)
{
	_cleanup_close_ int shared = -EBADF;

	if (!len)
		return 0;
	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, errno, "make a mount namespace");
	shared = open(GUEST_SHARED, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return shared < 0 ? error_errno(err, errno, "open `%s`", GUEST_SHARED)
			  : vm_mounts_make(list, len, shared, err);
}

static int serve_create(struct request *request, struct error *err)
{
	struct guest *guest = request->guest;
	struct agent_create create;
	struct creation creation = { .guest = guest };
	_cleanup_close_ int config = -EBADF;
	struct path_of_fd path;
	struct session session;
	const char *json = request->payload + sizeof(create);
	bool tty = false;
	int r;

	if (request->len < sizeof(create))
		return error_errno(err, EPROTO, "create");
	memcpy(&create, request->payload, sizeof(create));
	create.id[sizeof(create.id) - 1] = '\0';
	if ((uint64_t)create.config_len + create.mounts_len != request->len - sizeof(create))
		return error_errno(err, EPROTO, "create");
	guest->id = create.id;
	creation.flags = create.flags;
	r = machine_take_identity(create.time_ns, create.seed, err);
	if (r == 0)
		r = mount_shared(err);
	if (r == 0)
		r = mount_below_shared(json + create.config_len, create.mounts_len, err);
	if (r == 0)
		r = wants_terminal(json, create.config_len, &tty, err);
	if (r < 0)
		return r;
	config = as_file(json, create.config_len, &path, err);
	if (config < 0)
		return config;
	creation.config = path.s;
	session_init(&session, guest->main_connection, tty);
	session.store = &guest->store;
	creation.readiness = &session.readiness;
	/* As a service of a systemd has it: what is at the address does not matter, for we are who hears the workload. */
	if ((create.flags & AGENT_NOTIFY) && setenv("NOTIFY_SOCKET", "@host", 1) < 0)
		return error_errno(err, errno, "NOTIFY_SOCKET");
	r = make_with_streams(&session, &create.size, create_container, &creation, err);
	request->exec_failed = creation.exec_failed;
	if (r == 0)
		r = file_replace(AT_FDCWD, GUEST_ID, create.id, strlen(create.id), 0600, err);
	if (r == 0) {
		pass_warnings_on(request);
		r = agent_send(request->connection, AGENT_OK, NULL, 0, err);
		request->answered = true;
		close_fd(&request->connection);
		if (session_run(&session, err) == 0)
			session_await_host(&session);
		request->session_ended = true;
	}
	close_fd(&session.readiness);
	session_close(&session);
	return r;
}

struct execution {
	struct guest *guest;
	struct runtime_exec exec;
};

static int execute(void *data, const char *console, pid_t *pid, struct error *err)
{
	struct execution *execution = data;
	int r;

	execution->exec.console_socket = console;
	r = runtime_exec(&execution->guest->store, execution->guest->id, &execution->exec, err);
	*pid = execution->exec.pid;
	return r;
}

/* Strings that are each ended by a NUL, as an array that ends with NULL. */
static const char **split(char *strings, size_t len)
{
	size_t count = 0;
	const char **items;

	for (size_t i = 0; i < len; i++)
		count += strings[i] == '\0';
	items = calloc(count + 1, sizeof(*items));
	if (!items)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		items[i] = strings;
		strings += strlen(strings) + 1;
	}
	return items;
}

static int process_terminal(const char *json, size_t len, bool *tty, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	struct oci_process *parsed;
	int r = oci_process_parse(json, len, &arena, &parsed, err);

	if (r == 0)
		*tty = parsed->terminal.v;
	return r;
}

static int serve_exec(struct request *request, struct error *err)
{
	struct agent_exec exec;
	struct execution execution = { .guest = request->guest, .exec = { .detach = true } };
	_cleanup_free_ const char **cgroups = NULL;
	_cleanup_close_ int process = -EBADF;
	struct path_of_fd path;
	struct session session;
	char id[STORE_ID_MAX + 2], *json = request->payload + sizeof(exec);
	bool tty = false;
	int r;

	if (request->len < sizeof(exec))
		return error_errno(err, EPROTO, "exec");
	memcpy(&exec, request->payload, sizeof(exec));
	if ((uint64_t)exec.process_len + exec.cgroups_len != request->len - sizeof(exec))
		return error_errno(err, EPROTO, "exec");
	r = load_id(request->guest, id, sizeof(id), err);
	if (r == 0)
		r = process_terminal(json, exec.process_len, &tty, err);
	if (r < 0)
		return r;
	process = as_file(json, exec.process_len, &path, err);
	if (process < 0)
		return process;
	execution.exec.process_file = path.s;
	execution.exec.ignore_paused = (exec.flags & AGENT_IGNORE_PAUSED) != 0;
	if (exec.cgroups_len)
		cgroups = split(json + exec.process_len, exec.cgroups_len);
	execution.exec.cgroups = cgroups;
	session_init(&session, request->connection, tty);
	r = make_with_streams(&session, &exec.size, execute, &execution, err);
	request->exec_failed = execution.exec.exec_failed;
	if (r == 0) {
		request->answered = true;
		pass_warnings_on(request);
		r = agent_send(request->connection, AGENT_STARTED, NULL, 0, err);
		if (r == 0)
			session_run(&session, err);
	}
	session_close(&session);
	return r;
}

/* ---- the others --------------------------------------------------------------------------------------- */

/* Those of the network, which is the machine's: now that it is there, by us, for the container's root may be nobody here. */
static int write_sysctls(const struct guest *guest, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	_cleanup_close_ int proc = process_open_procfs(err);
	int r = proc;

	if (r >= 0)
		r = container_open(&guest->store, guest->id, CONTAINER_READ, &c, err);
	if (r >= 0)
		r = container_load_config(&c, err);
	return r < 0 ? r : rootfs_write_sysctl(c.config, proc, SYSCTL_NETWORK, err);
}

static int serve_start(struct request *request, struct error *err)
{
	int r = request->len ? vm_net_apply(request->payload, request->len, err) : 0;

	if (r == 0)
		r = write_sysctls(request->guest, err);
	if (r < 0)
		return r;
	return runtime_start(&request->guest->store, request->guest->id, &request->exec_failed,
			     err);
}

static int serve_kill(struct request *request, struct error *err)
{
	struct agent_kill order;

	if (request->len != sizeof(order))
		return error_errno(err, EPROTO, "kill");
	memcpy(&order, request->payload, sizeof(order));
	return runtime_kill(&request->guest->store, request->guest->id, (int)order.signal,
			    order.all != 0, err);
}

static int answer(struct request *request, const void *data, size_t len, struct error *err)
{
	request->answered = true;
	pass_warnings_on(request);
	return agent_send(request->connection, AGENT_DATA, data, len, err);
}

static int serve_state(struct request *request, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	int r = container_open(&request->guest->store, request->guest->id, CONTAINER_READ, &c, err);
	const char *name;

	if (r < 0)
		return r;
	name = oci_status_name(c.status);
	return answer(request, name, strlen(name), err);
}

static int serve_ps(struct request *request, struct error *err)
{
	_cleanup_strbuf_ struct strbuf table = { 0 };
	_cleanup_free_ pid_t *pids = NULL;
	ssize_t count = runtime_pids(&request->guest->store, request->guest->id, &pids, NULL, err);

	if (count < 0)
		return (int)count;
	ps_table(pids, (size_t)count, &table);
	return strbuf_failed(&table) ? error_errno(err, ENOMEM, "ps")
				     : answer(request, table.data, table.len, err);
}

static int serve_update(struct request *request, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	struct oci_resources *resources;
	struct runtime_update update = { .resources = NULL };
	int r = oci_resources_parse(request->payload, request->len, &arena, &resources, err);

	if (r < 0)
		return r;
	update.resources = resources;
	return runtime_update(&request->guest->store, request->guest->id, &update, err);
}

static int serve_mount(struct request *request, struct error *err)
{
	const char *json = request->payload + sizeof(struct agent_mount);
	_cleanup_close_ int list = -EBADF;
	struct agent_mount order;
	struct path_of_fd path;
	int r;

	if (request->len < sizeof(order))
		return error_errno(err, EPROTO, "mounts");
	memcpy(&order, request->payload, sizeof(order));
	if ((uint64_t)order.json_len + order.mounts_len != request->len - sizeof(order))
		return error_errno(err, EPROTO, "mounts");
	r = mount_below_shared(json + order.json_len, order.mounts_len, err);
	if (r < 0)
		return r;
	list = as_file(json, order.json_len, &path, err);
	return list < 0 ? list
			: runtime_mount(&request->guest->store, request->guest->id, path.s,
					order.add != 0, err);
}

static int send_event(void *data, const struct strbuf *line, struct error *err)
{
	const struct request *request = data;

	return agent_send(request->connection, AGENT_DATA, line->data, line->len, err);
}

static int serve_events(struct request *request, struct error *err)
{
	struct runtime_events events = { .print = send_event, .data = request };

	if (request->len != sizeof(events.interval_ms))
		return error_errno(err, EPROTO, "events");
	memcpy(&events.interval_ms, request->payload, sizeof(events.interval_ms));
	events.once = !events.interval_ms;
	return runtime_events(&request->guest->store, request->guest->id, &events, err);
}

static int serve_restored(struct request *request, struct error *err)
{
	return restored_serve(request->guest, request->payload, request->len, err);
}

/* ---- serving ------------------------------------------------------------------------------------------ */

static const struct {
	uint32_t type;
	bool needs_container;
	int (*serve)(struct request *request, struct error *err);
} requests[] = {
	{ AGENT_CREATE, false, serve_create }, { AGENT_START, true, serve_start },
	{ AGENT_EXEC, true, serve_exec },      { AGENT_KILL, true, serve_kill },
	{ AGENT_STATE, true, serve_state },    { AGENT_PS, true, serve_ps },
	{ AGENT_EVENTS, true, serve_events },  { AGENT_UPDATE, true, serve_update },
	{ AGENT_MOUNT, true, serve_mount },    { AGENT_RESTORED, true, serve_restored },
};

static int dispatch(struct request *request, uint32_t type, struct error *err)
{
	char id[STORE_ID_MAX + 2];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		if (requests[i].type != type)
			continue;
		r = requests[i].needs_container ? load_id(request->guest, id, sizeof(id), err) : 0;
		return r < 0 ? r : requests[i].serve(request, err);
	}
	return error_set(err, ENOTSUP, "the microVM's hull-guest does not know request %u", type);
}

bool request_serve(struct guest *guest, int connection)
{
	const struct timeval timeout = { .tv_sec = REQUEST_TIMEOUT }, none = { 0 };
	struct request request = { .guest = guest,
				   .connection = connection,
				   .log = { -EBADF, -EBADF } };
	struct error err = { 0 };
	uint32_t type;
	ssize_t len;
	int r;

	setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	len = agent_receive(connection, &type, &request.payload, AGENT_PAYLOAD_MAX, &err);
	if (len < 0)
		return false;
	setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
	request.len = (size_t)len;
	if (type != AGENT_CREATE)
		close_fd(&guest->main_connection);
	r = catch_warnings(&request, &err);
	if (r == 0)
		r = dispatch(&request, type, &err);
	free(request.payload);
	if (!request.answered)
		pass_warnings_on(&request);
	if (!request.answered && r < 0)
		agent_send_error(request.connection, &err, request.exec_failed, NULL);
	else if (!request.answered)
		agent_send(request.connection, AGENT_OK, NULL, 0, NULL);
	return request.session_ended;
}
