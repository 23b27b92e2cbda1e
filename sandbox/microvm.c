/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM's operations, in the process of the command: making the machine and having hull-guest make the container in it; everything
 * later is a request to one of the two, and the end is that of hull-vmm.
 *
 * hull-vmm is the process that the container is known by on the host: it is in the container's cgroup, takes signals for the workload
 * and ends with its status.
 */
#include "sandbox/microvm.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>

#include "base/message.h"
#include "base/path.h"
#include "base/process.h"
#include "base/remove.h"
#include "base/syscalls.h"
#include "microvm/control.h"
#include "oci/json.h"
#include "sandbox/container.h"
#include "sandbox/net_devices.h"
#include "sandbox/session.h"

#define KILL_ANSWER \
	2000 /* that the guest gets to end by itself, and write what it has, when it is killed */

/* ---- create ------------------------------------------------------------------------------------------- */

static void plan_close(struct microvm_plan *plan)
{
	if (plan->rootfs.config)
		rootfs_close(&plan->rootfs);
	cgroup_close(&plan->cgroup);
	strbuf_free(&plan->scope);
	strbuf_free(&plan->mounts);
	arena_free(&plan->arena);
	close_fd(&plan->bundle);
	close_fd(&plan->dir);
	close_fd(&plan->sync);
	close_fd(&plan->terminal);
	close_fd(&plan->netns);
	close_fd(&plan->program);
	close_fd(&plan->server_end);
}

static int plan_rootfs(struct microvm_plan *plan, struct error *err)
{
	int r;

	plan->rootfs.config = plan->sb->config;
	plan->rootfs.mode = ROOTFS_NEW;
	plan->rootfs.path = plan->sb->rootfs;
	plan->rootfs.given = plan->sb->own_root;
	plan->rootfs.bundle = plan->bundle;
	plan->rootfs.user_ns = -EBADF;
	plan->rootfs.user_namespace = oci_namespace_find(plan->sb->config, OCI_NS_USER) != NULL;
	r = rootfs_open(&plan->rootfs, err);
	/* What an ordinary user's file server opens itself, it alone knows. */
	return r < 0 || plan->rootfs.deferred ? r : microvm_list_mounts(plan, err);
}

static int make_dir(struct microvm_plan *plan, struct error *err)
{
	/* The jail's user, who is nobody, must be able to look into it; the state directory around it is closed to others. */
	if (mkdirat(plan->sb->state_dir, MICROVM_DIR, 0711) < 0)
		return error_errno(err, errno, "make `%s` in the state directory", MICROVM_DIR);
	plan->dir = microvm_open_dir(plan->sb, err);
	return plan->dir < 0 ? plan->dir : 0;
}

int microvm_open_terminal(const struct oci_console_size *size, int *primary, int *secondary,
			  struct error *err)
{
	struct winsize ws = { 0 };
	_cleanup_close_ int ptm = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	_cleanup_close_ int pts = -EBADF;
	struct termios raw;
	int unlock = 0;

	if (ptm < 0 || ioctl(ptm, TIOCSPTLCK, &unlock) < 0)
		return error_errno(err, errno, "make a terminal");
	pts = ioctl(ptm, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pts < 0 || tcgetattr(pts, &raw) < 0)
		return error_errno(err, errno, "make a terminal");
	/* The guest's terminal does the work of one. */
	cfmakeraw(&raw);
	if (size) {
		ws.ws_row = (unsigned short)size->height;
		ws.ws_col = (unsigned short)size->width;
	}
	if (tcsetattr(pts, TCSANOW, &raw) < 0 || (size && ioctl(pts, TIOCSWINSZ, &ws) < 0))
		return error_errno(err, errno, "make a terminal");
	*primary = take_fd(&ptm);
	*secondary = take_fd(&pts);
	return 0;
}

static int plan_terminal(struct microvm_plan *plan, const struct sandbox_io *io, struct error *err)
{
	const struct oci_process *process = plan->sb->config->process;
	int r;

	if (!process->terminal.v)
		return 0;
	r = microvm_open_terminal(process->console_size, &plan->sb->terminal, &plan->terminal, err);
	return r < 0 ? r : process_hand_over_terminal(io->console_socket, &plan->sb->terminal, err);
}

struct own_cgroup microvm_own_cgroup(struct microvm_plan *plan)
{
	return (struct own_cgroup){ .sb = plan->sb,
				    .resources = plan->resources,
				    .cgroup = &plan->cgroup,
				    .scope = &plan->scope };
}

static int make_cgroup(struct microvm_plan *plan, struct error *err)
{
	const struct oci_resources *resources = plan->sb->config->linux_->resources;
	struct own_cgroup own;

	if (resources) {
		plan->resources =
			microvm_host_resources(resources, plan->machine.memory_mib, &plan->arena);
		if (!plan->resources)
			return error_errno(err, ENOMEM, "plan the limits");
	}
	own = microvm_own_cgroup(plan);
	return own_cgroup_make(&own, err);
}

static int plan_open(struct microvm_plan *plan, const struct sandbox_io *io, struct error *err)
{
	struct sandbox *sb = plan->sb;
	int r;

	if (io->preserve_fds)
		return error_set(
			err, ENOTSUP,
			"--preserve-fds: a descriptor of the host's cannot be handed into a "
			"microVM; use --sandbox container");
	/* They are in hull-vmm's network namespace and the file server's mounts: no user but root may be in both. */
	if (geteuid() != 0 && plan->hooks->wanted[SANDBOX_STAGE_CREATE_CONTAINER])
		return error_set(
			err, ENOTSUP,
			"/hooks/createContainer: for a microVM they take root; use createRuntime "
			"hooks, or --sandbox container");
	plan->bundle = path_open_dir(sb->bundle, true, err);
	if (plan->bundle < 0)
		return plan->bundle;
	r = microvm_plan_machine(sb->config, &plan->arena, &plan->machine, err);
	if (r == 0)
		r = microvm_plan_network(plan, err);
	if (r == 0)
		r = make_cgroup(plan, err);
	if (r == 0)
		r = plan_rootfs(plan, err);
	if (r == 0)
		r = make_dir(plan, err);
	return r < 0 ? r : plan_terminal(plan, io, err);
}

/* Makes an error of what hull-vmm said last, if it was one. */
static int failure(const struct message *message, struct error *said, struct error *err)
{
	if (message->type != CONTROL_FAILED || message->len != sizeof(*said) || said->code <= 0)
		return 0;
	said->text[sizeof(said->text) - 1] = '\0';
	return error_set(err, said->code, "%s", said->text);
}

/* What hull-vmm said before it ended, if anything; else how it ended. */
static int vmm_ended(struct sandbox *sb, struct error *err)
{
	struct error said = { 0 };
	struct message message;
	int r = 0;

	if (message_receive(sb->channel, &message, &said, sizeof(said), NULL) == 0)
		r = failure(&message, &said, err);
	if (r == 0)
		return spawn_ended(&sb->pid, err);
	spawn_discard(&sb->pid);
	return r;
}

int microvm_await_done(int channel, pid_t *pid, struct error *err)
{
	struct error said = { 0 };
	struct message message;
	int r = message_receive(channel, &message, &said, sizeof(said), err);

	if (r == -EPIPE)
		return spawn_ended(pid, err);
	if (r == 0)
		r = failure(&message, &said, err);
	if (r < 0 || message.type == CONTROL_DONE)
		return r;
	return error_errno(err, EPROTO, "talk to hull-vmm");
}

static int fill_create(const struct microvm_plan *plan, struct agent_create *create,
		       struct error *err)
{
	const struct sandbox *sb = plan->sb;

	*create = (struct agent_create){
		.flags = (sb->no_new_keyring ? AGENT_NO_NEW_KEYRING : 0) |
			 (sb->notify ? AGENT_NOTIFY : 0),
	};
	snprintf(create->id, sizeof(create->id), "%s", sb->id);
	if (plan->terminal >= 0)
		create->size = session_terminal_size(plan->terminal);
	if (getrandom(create->seed, sizeof(create->seed), 0) != sizeof(create->seed))
		return error_errno(err, errno, "getrandom");
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Has hull-guest make the container; it says how that went. */
static int create_in_guest(struct microvm_plan *plan, struct error *err)
{
	_cleanup_strbuf_ struct strbuf json = { 0 };
	_cleanup_close_ int sock = -EBADF;
	struct sandbox *sb = plan->sb;
	struct agent_create create;
	struct iovec parts[3] = { { &create, sizeof(create) } };
	int r = microvm_guest_config(sb->config, &plan->arena, &json, err);

	if (r == 0)
		r = fill_create(plan, &create, err);
	if (r < 0)
		return r;
	create.config_len = (uint32_t)json.len;
	create.mounts_len = (uint32_t)plan->mounts.len;
	parts[1] = (struct iovec){ json.data, json.len };
	parts[2] = (struct iovec){ plan->mounts.data, plan->mounts.len };
	sock = microvm_connect(plan->dir, AGENT_PORT, MICROVM_BOOT_TIME, err);
	if (sock < 0)
		return sock == -ESRCH || sock == -EPIPE ? vmm_ended(sb, err) : sock;
	plan->guest_is_up = true;
	create.time_ns = now_ns(); /* it is not before the guest has booted that this is the time */
	r = agent_sendv(sock, AGENT_CREATE, parts, ARRAY_SIZE(parts), err);
	if (r == 0)
		r = (int)agent_receive_answer(sock, NULL, NULL, AGENT_PAYLOAD_MAX, &sb->exec_failed,
					      err);
	return r == -EPIPE ? vmm_ended(sb, err) : r;
}

static int read_start_time(pid_t pid, uint64_t *start_time, struct error *err)
{
	struct process_stat st;
	int r = process_read_stat(pid, &st, err);

	if (r == 0)
		*start_time = st.start_time;
	return r;
}

static int make_machine(struct microvm_plan *plan, const struct sandbox_hooks *hooks,
			struct error *err)
{
	struct sandbox *sb = plan->sb;
	int ends[2], r = message_pair(ends, err);

	if (r < 0)
		return r;
	sb->channel = ends[0];
	plan->sync = ends[1];
	r = microvm_spawn(plan, err);
	close_fd(&plan->sync); /* so that the end of hull-vmm is the end of the channel */
	if (r == 0)
		r = microvm_await_done(sb->channel, &sb->pid, err);
	if (r == 0)
		r = microvm_move_net_devices(sb, err);
	if (r == 0 && hooks->wanted[SANDBOX_STAGE_CREATE_RUNTIME])
		r = hooks->run(hooks->data, SANDBOX_STAGE_CREATE_RUNTIME, sb->pid, err);
	if (r == 0 && hooks->wanted[SANDBOX_STAGE_CREATE_CONTAINER])
		r = microvm_spawn_file_server(plan, err);
	if (r == 0)
		r = create_in_guest(plan, err);
	if (r == 0)
		r = read_start_time(sb->pid, &sb->start_time, err);
	if (r == 0)
		r = read_start_time(sb->file_server, &sb->file_server_start, err);
	return r;
}

static int microvm_create(struct sandbox *sb, const struct sandbox_hooks *hooks,
			  const struct sandbox_io *io, bool detach_later, struct error *err)
{
	struct microvm_plan plan = { .sb = sb,
				     .hooks = hooks,
				     .template = { -EBADF, -EBADF, -EBADF, "" },
				     .program = -EBADF,
				     .server_end = -EBADF,
				     .bundle = -EBADF,
				     .dir = -EBADF,
				     .terminal = -EBADF,
				     .sync = -EBADF,
				     .netns = -EBADF };
	int r;

	(void)detach_later;
	sb->terminal = -1;
	r = plan_open(&plan, io, err);
	if (r == 0)
		r = make_machine(&plan, hooks, err);
	if (r < 0) {
		spawn_discard(&sb->pid);
		close_fd(&sb->channel);
		close_fd(&sb->terminal);
	}
	/* The file server ends with hull-vmm, whose socket it holds. Whoever starts us may wait for it, as for any orphan. */
	if (r < 0)
		spawn_discard(&sb->file_server);
	net_devices_settle(sb, r < 0);
	microvm_template_settle(&plan, plan.guest_is_up);
	plan_close(&plan);
	return r;
}

static int microvm_commit(struct sandbox *sb, struct error *err)
{
	int r = message_send(sb->channel, CONTROL_COMMIT, NULL, 0, NULL, 0, err);

	close_fd(&sb->channel);
	return r;
}

/* ---- start -------------------------------------------------------------------------------------------- */

static int microvm_start(struct sandbox *sb, struct error *err)
{
	_cleanup_strbuf_ struct strbuf network = { 0 };
	_cleanup_close_ int sock = -EBADF;
	int r = sb->channel >= 0 ? microvm_commit(sb, err) : 0;

	if (r == 0)
		r = microvm_connect_network(sb, &network, err);
	if (r < 0)
		return r;
	sock = microvm_connect_agent(sb, err);
	if (sock < 0)
		return sock;
	r = agent_send(sock, AGENT_START, network.data, network.len, err);
	if (r == 0)
		r = (int)agent_receive_answer(sock, NULL, NULL, AGENT_PAYLOAD_MAX, &sb->exec_failed,
					      err);
	return r;
}

static int get_status(const struct sandbox *sb, struct control_status *status, struct error *err)
{
	ssize_t len = microvm_order(sb, CONTROL_STATUS, NULL, 0, -1, status, sizeof(*status), err);

	if (len < 0)
		return (int)len;
	return len == sizeof(*status) ? 0 : error_errno(err, EPROTO, "talk to hull-vmm");
}

int microvm_paused(struct sandbox *sb, struct error *err)
{
	struct control_status status;
	int r = get_status(sb, &status, err);

	return r < 0 ? r : status.paused != 0;
}

static int microvm_started(struct sandbox *sb, struct error *err)
{
	_cleanup_free_ char *name = NULL;
	int paused = microvm_paused(sb, err);
	ssize_t len;

	/* One that is paused cannot answer; who paused it recorded what it was. */
	if (paused)
		return paused < 0 ? paused : 0;
	len = microvm_request(sb, AGENT_STATE, NULL, 0, &name, 32, err);
	if (len < 0)
		return (int)len;
	return strcmp(name, "created") != 0;
}

/* ---- running ------------------------------------------------------------------------------------------ */

static int order_kill(struct sandbox *sb, int sig, bool all, struct error *err)
{
	const struct agent_kill order = { .signal = (uint32_t)sig, .all = all };
	const struct iovec part = { (void *)(uintptr_t)&order, sizeof(order) };

	return (int)microvm_request(sb, AGENT_KILL, &part, 1, NULL, 0, err);
}

/*
 * A signal reaches the workload through hull-vmm, also from those who send it there themselves. What hull-vmm cannot catch goes
 * to the guest directly; if that does not end, hull-vmm does, as a container's process would.
 */
static int microvm_signal(struct sandbox *sb, int sig, bool all, struct error *err)
{
	struct pollfd end = { .events = POLLIN };
	int r;

	if (!all && sig != SIGKILL && sig != SIGSTOP)
		return process_signal(sb->pid, sb->start_time, sig, err);
	r = microvm_paused(sb, NULL) ? -EAGAIN : order_kill(sb, sig, all, err);
	if (sig != SIGKILL)
		return r;
	end.fd = process_open(sb->pid, sb->start_time, NULL);
	if (end.fd < 0)
		return r == -EAGAIN ? error_set(err, ESRCH, "the microVM has ended") : r;
	if (r < 0 || (!all && poll(&end, 1, KILL_ANSWER) <= 0)) {
		error_clear(err);
		r = sys_pidfd_send_signal(end.fd, SIGKILL, NULL, 0) < 0
			    ? error_errno(err, errno, "kill process %d", sb->pid)
			    : 0;
	}
	close(end.fd);
	return r;
}

static int microvm_pause(struct sandbox *sb, struct error *err)
{
	return (int)microvm_order(sb, CONTROL_PAUSE, NULL, 0, -1, NULL, 0, err);
}

static int microvm_resume(struct sandbox *sb, struct error *err)
{
	return (int)microvm_order(sb, CONTROL_RESUME, NULL, 0, -1, NULL, 0, err);
}

/* Of the host's processes, as whoever asks for ids will look for them there. */
static ssize_t microvm_pids(struct sandbox *sb, pid_t **pids, struct error *err)
{
	*pids = NULL;
	return sb->pid ? container_pids(sb, pids, err) : 0; /* with the machine all have ended */
}

/* The machine's memory stays as it was made: more than it has the workload cannot get. */
static int check_memory(const struct oci_resources *changes, const struct control_status *status,
			struct error *err)
{
	uint64_t wanted = changes->memory ? microvm_memory_for(changes->memory->limit.v) : 0;

	if (wanted > status->memory_mib)
		return error_set(err, ERANGE,
				 "/memory/limit: the microVM was made with %u MiB of memory, and "
				 "this takes %llu MiB",
				 status->memory_mib, (unsigned long long)wanted);
	return 0;
}

/* What a workload that may use less than before leaves of the machine's memory, the balloon takes. */
static int update_memory(struct sandbox *sb, const struct oci_resources *changes,
			 const struct control_status *status, struct error *err)
{
	uint64_t wanted;

	if (!changes->memory || !changes->memory->limit.set || changes->memory->limit.v == 0)
		return 0;
	wanted = microvm_memory_for(changes->memory->limit.v);
	if (!wanted)
		wanted = status->memory_mib; /* no limit: all there is */
	return (int)microvm_order(sb, CONTROL_MEMORY, &wanted, sizeof(wanted), -1, NULL, 0, err);
}

static int update_guest(const struct sandbox *sb, const struct oci_resources *changes,
			struct arena *arena, struct error *err)
{
	const struct oci_resources *inside = microvm_guest_resources(changes, arena);
	_cleanup_strbuf_ struct strbuf json = { 0 };
	struct iovec part;
	int r = inside ? oci_resources_print(inside, &json, err)
		       : error_errno(err, ENOMEM, "update");

	part = (struct iovec){ json.data, json.len };
	return r < 0 ? r : (int)microvm_request(sb, AGENT_UPDATE, &part, 1, NULL, 0, err);
}

static int microvm_update(struct sandbox *sb, const struct oci_resources *changes,
			  const struct oci_resources *merged, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	const struct oci_resources *host, *all;
	struct control_status status;
	int r = get_status(sb, &status, err);

	if (r == 0 && status.paused)
		return error_set(
			err, EBUSY,
			"a microVM that is paused does not take new limits: resume it first");
	if (r == 0)
		r = check_memory(changes, &status, err);
	/* The guest first: it knows what the workload uses, and may refuse. */
	if (r == 0)
		r = update_guest(sb, changes, &arena, err);
	if (r == 0)
		r = update_memory(sb, changes, &status, err);
	if (r < 0)
		return r;
	host = microvm_host_resources(changes, status.memory_mib, &arena);
	all = microvm_host_resources(merged, status.memory_mib, &arena);
	if (!host || !all)
		return error_errno(err, ENOMEM, "update");
	return container_has_cgroup(sb) ? container_update(sb, host, all, err) : 0;
}

/* What the guest writes is for a terminal or a program: lines of what can be printed. */
static void make_printable(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 0x7f)
			text[i] = '?';
}

static int microvm_ps(struct sandbox *sb, char **table, struct error *err)
{
	ssize_t len = microvm_request(sb, AGENT_PS, NULL, 0, table, (size_t)4 << 20, err);

	if (len < 0)
		return (int)len;
	make_printable(*table, (size_t)len);
	return 0;
}

/* A line of the guest's, if it is one object of JSON: whoever reads ours must not be led astray by it. */
static int print_event(const struct sandbox *sb, char *text, size_t len, sandbox_print *print,
		       void *data, struct error *err)
{
	struct strbuf line = { .data = text, .len = len };
	_cleanup_arena_ struct arena arena = { 0 };
	struct json_value *root;
	const char *id;

	if (memchr(text, '\n', len) != NULL && memchr(text, '\n', len) != text + len - 1)
		return error_set(err, EPROTO, "the microVM's events are no lines");
	if (json_parse(text, len, &arena, &root, err) < 0)
		return error_wrap(err, "an event of the microVM");
	id = json_get_string(root, "id");
	if (root->type != JSON_OBJECT || !id || strcmp(id, sb->id) != 0)
		return error_set(err, EPROTO, "an event of the microVM is not about it");
	return print(data, &line, err);
}

static int microvm_events(struct sandbox *sb, uint64_t interval_ms, bool once, sandbox_print *print,
			  void *data, struct error *err)
{
	_cleanup_close_ int sock = microvm_connect_agent(sb, err);
	uint64_t interval = once ? 0 : interval_ms;
	uint32_t type = AGENT_DATA;
	int r;

	if (sock < 0)
		return sock;
	r = agent_send(sock, AGENT_EVENTS, &interval, sizeof(interval), err);
	if (!once) /* the next may be long in coming */
		setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 0 },
			   sizeof(struct timeval));
	while (r == 0 && type == AGENT_DATA) {
		_cleanup_free_ char *text = NULL;
		ssize_t len = agent_receive_answer(sock, &type, &text, 1 << 20, NULL, err);

		if (len == -EPIPE && !once)
			return 0; /* it ended with its machine */
		if (len < 0)
			return (int)len;
		if (type == AGENT_DATA)
			r = print_event(sb, text, (size_t)len, print, data, err);
		if (once)
			break;
	}
	return r;
}

/* ---- the end ------------------------------------------------------------------------------------------ */

static int kill_file_server(const struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int server =
		sb->file_server > 0 ? process_open(sb->file_server, sb->file_server_start, NULL)
				    : -1;
	int r = server < 0 ? 0 : process_kill(server, sb->file_server, err);

	return server < 0 || r < 0 ? r : process_await_end(server, sb->file_server, err);
}

static int microvm_destroy(struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int vmm = sb->pid > 0 ? process_open(sb->pid, sb->start_time, NULL) : -1;
	int r = 0;

	if (vmm >= 0) {
		net_devices_hold(sb, vmm);
		r = process_kill(vmm, sb->pid, err);
	}
	if (r == 0 && vmm >= 0)
		r = process_await_end(vmm, sb->pid, err);
	close_fd(&sb->channel);
	/* The file server and processes that stand for execs are in it, too; they end with hull-vmm, unless the guest took them over. */
	if (r == 0 && container_has_cgroup(sb))
		r = container_destroy_cgroup(sb, true, err);
	else if (r == 0)
		r = kill_file_server(sb, err);
	if (r == 0)
		net_devices_return(sb);
	return r < 0 ? r : path_remove_tree(sb->state_dir, MICROVM_DIR, err);
}

/* ---- not in a microVM --------------------------------------------------------------------------------- */

static int microvm_update_class(struct sandbox *sb, const struct oci_intel_rdt *class, bool make,
				struct error *err)
{
	(void)sb;
	(void)class;
	(void)make;
	return error_set(err, ENOTSUP, "/linux/intelRdt: a microVM has no resctrl");
}

const struct sandbox_ops microvm_ops = {
	.kind = SANDBOX_MICROVM,
	.notify_socket = MICROVM_DIR "/vsock.sock_2", /* AGENT_READY_PORT */
	.check = microvm_check,
	.create = microvm_create,
	.commit = microvm_commit,
	.start = microvm_start,
	.started = microvm_started,
	.signal = microvm_signal,
	.exec = microvm_exec,
	.pause = microvm_pause,
	.resume = microvm_resume,
	.paused = microvm_paused,
	.update = microvm_update,
	.update_class = microvm_update_class,
	.stats = container_stats,
	.watch_oom = container_watch_oom,
	.pids = microvm_pids,
	.ps = microvm_ps,
	.events = microvm_events,
	.mount = microvm_mount,
	.destroy = microvm_destroy,
};
