/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM's operations, in the process of the command: once the machine is made (microvm_create.c), everything is a request to
 * hull-vmm or to hull-guest, and the end is that of hull-vmm.
 *
 * hull-vmm is the process that the container is known by on the host: it is in the container's cgroup, takes signals for the workload
 * and ends with its status.
 */
#include "sandbox/microvm.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/message.h"
#include "base/process.h"
#include "base/remove.h"
#include "base/syscalls.h"
#include "microvm/control.h"
#include "oci/json.h"
#include "sandbox/container.h"
#include "sandbox/net_devices.h"

#define KILL_ANSWER \
	2000 /* that the guest gets to end by itself, and write what it has, when it is killed */

/* ---- start -------------------------------------------------------------------------------------------- */

int microvm_commit(struct sandbox *sb, struct error *err)
{
	int r = message_send(sb->channel, CONTROL_COMMIT, NULL, 0, NULL, 0, err);

	close_fd(&sb->channel);
	return r;
}

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

int microvm_kill(pid_t pid, uint64_t start_time, struct error *err)
{
	_cleanup_close_ int process = pid > 0 ? process_open(pid, start_time, NULL) : -1;
	int r = process < 0 ? 0 : process_kill(process, pid, err);

	return process < 0 || r < 0 ? r : process_await_end(process, pid, err);
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
		r = microvm_kill(sb->file_server, sb->file_server_start, err);
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
	.checkpoint = microvm_checkpoint,
	.restore = microvm_restore,
	.destroy = microvm_destroy,
};
