/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's operations, in the process of the command: planning everything on the host,
 * making the init process, answering it while it sets itself up, and ending it.
 */
#include "sandbox/container.h"
#include "sandbox/net_devices.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/path.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "sandbox/microvm.h"
#include "sandbox/resctrl.h"
#include "sandbox/scheduling.h"

#define LISTENER_NAME "init.sock"

/* ---- planning ------------------------------------------------------------------------------------- */

void container_plan_close(struct container_plan *plan)
{
	if (plan->rootfs.config)
		rootfs_close(&plan->rootfs);
	ns_plan_close(&plan->namespaces);
	process_plan_free(&plan->process);
	cgroup_close(&plan->cgroup);
	arena_free(&plan->strings);
	strbuf_free(&plan->scope);
	close_fd(&plan->bundle);
	close_fd(&plan->proc);
	close_fd(&plan->resctrl);
	close_fd(&plan->listener);
	close_fd(&plan->sync);
}

void container_plan_init(struct container_plan *plan, struct sandbox *sb,
			 const struct sandbox_hooks *hooks, const struct sandbox_io *io)
{
	*plan = (struct container_plan){ .sb = sb,
					 .hooks = hooks,
					 .io = *io,
					 .bundle = -EBADF,
					 .proc = -EBADF,
					 .resctrl = -EBADF,
					 .listener = -EBADF,
					 .sync = -EBADF,
					 .primary = -EBADF };
	for (int i = 0; i < OCI_NS_COUNT; i++)
		plan->namespaces.join_fds[i] = -EBADF;
}

static int plan_resctrl(struct container_plan *plan, struct error *err)
{
	const struct oci_linux *l = plan->sb->config->linux_;

	if (!l || !l->intel_rdt)
		return 0;
	plan->resctrl = resctrl_open(err);
	if (plan->resctrl < 0)
		return plan->resctrl;
	return resctrl_make(plan->resctrl, l->intel_rdt, plan->sb->id, plan->sb->state_dir, err);
}

static int plan_rootfs(struct container_plan *plan, struct error *err)
{
	const struct oci_namespace *mount_ns = oci_namespace_find(plan->sb->config, OCI_NS_MOUNT);

	plan->rootfs.config = plan->sb->config;
	plan->rootfs.mode = !mount_ns ? ROOTFS_SHARED : mount_ns->path ? ROOTFS_JOINED : ROOTFS_NEW;
	plan->rootfs.path = plan->sb->rootfs;
	plan->rootfs.given = plan->sb->own_root;
	plan->rootfs.bundle = plan->bundle;
	plan->rootfs.user_namespace =
		((plan->namespaces.new_flags | plan->namespaces.join_flags) & CLONE_NEWUSER) != 0;
	plan->rootfs.user_ns = plan->namespaces.join_fds[OCI_NS_USER];
	plan->rootfs.pid_ns = plan->namespaces.join_fds[OCI_NS_PID];
	plan->rootfs.mount_label = rootfs_mount_label(plan->sb->config);
	plan->rootfs.bind_devices = plan->rootfs.user_namespace || !process_is_host_root() ||
				    !privileges_have(CAP_MKNOD);
	plan->rootfs.private_cgroup_ns = (plan->namespaces.new_flags & CLONE_NEWCGROUP) != 0;
	plan->rootfs.no_pivot = plan->sb->no_pivot;
	return rootfs_open(&plan->rootfs, err);
}

/* The socket on which the init process waits for `start`, in the state directory, which only its owner enters. */
static int open_listener(struct container_plan *plan, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	plan->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (plan->listener < 0)
		return error_errno(err, errno, "socket");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", path_of_fd(plan->sb->state_dir).s,
		 LISTENER_NAME);
	if (bind(plan->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(plan->listener, 16) < 0)
		return error_errno(err, errno, "make the socket `%s` in the state directory",
				   LISTENER_NAME);
	return 0;
}

int container_plan_open(struct container_plan *plan, bool with_listener, struct error *err)
{
	struct sandbox *sb = plan->sb;
	const struct oci_linux *l = sb->config->linux_;
	int r;

	plan->bundle = path_open_dir(sb->bundle, true, err);
	if (plan->bundle < 0)
		return plan->bundle;
	plan->proc = process_open_procfs(err);
	if (plan->proc < 0)
		return plan->proc;
	r = ns_plan_open(&plan->namespaces, sb->config, err);
	if (r == 0)
		r = container_check_shared(sb->config,
					   plan->namespaces.new_flags |
						   plan->namespaces.join_flags |
						   (sb->owns_network ? CLONE_NEWNET : 0),
					   err);
	if (r == 0)
		r = process_plan(&plan->process, sb->config->process, l, plan->io.preserve_fds,
				 err);
	plan->process.listen_fds = plan->io.listen_fds;
	plan->process.listen_names = plan->io.listen_names;
	if (r == 0)
		r = container_make_cgroup(plan, err);
	if (r == 0)
		r = plan_resctrl(plan, err);
	if (r == 0)
		r = plan_rootfs(plan, err);
	if (r == 0 && with_listener)
		r = open_listener(plan, err);
	return r;
}

int container_enter_resctrl(const struct sandbox *sb, int resctrl, pid_t pid, struct error *err)
{
	const struct oci_linux *l = sb->config->linux_;

	return l && l->intel_rdt ? resctrl_enter(resctrl, l->intel_rdt, sb->id, pid, err) : 0;
}

/* ---- create ----------------------------------------------------------------------------------------- */

int container_privileged(int channel, pid_t pid, const struct oci_process *process,
			 const struct oci_linux *map, struct error *err)
{
	_cleanup_close_ int dir = process_open_dir(pid, err);
	int r;

	if (dir < 0)
		return dir;
	r = privileges_set_oom_score(process, dir, err);
	if (r == 0)
		r = privileges_set_rlimits(process, pid, err);
	if (r == 0 && map)
		r = ns_write_id_mappings(dir, pid, &map->uid_mappings, &map->gid_mappings, err);
	return r < 0 ? r : message_send(channel, MSG_GO, NULL, 0, NULL, 0, err);
}

static int answer(struct container_plan *plan, const struct message *message,
		  const struct spawned *spawned, struct error *err)
{
	struct sandbox *sb = plan->sb;
	bool make_user = (plan->namespaces.new_flags & CLONE_NEWUSER) != 0;
	int r;

	switch (message->type) {
	case MSG_PRIVILEGED:
		if (!plan->rootfs.user_namespace)
			break;
		return container_privileged(sb->channel, sb->pid, sb->config->process,
					    make_user ? sb->config->linux_ : NULL, err);
	case MSG_CGROUP:
		if (!sb->scope || plan->cgroup.host)
			break;
		return container_make_scope(plan, err);
	case MSG_SPAWNED:
		return spawn_adopt(&sb->pid, &plan->staged, message, spawned, err);
	case MSG_HOOKS:
		if (plan->hooks_were_run || !plan->hooks->wanted[SANDBOX_STAGE_CREATE_RUNTIME])
			break;
		plan->hooks_were_run = true;
		r = plan->hooks->run(plan->hooks->data, SANDBOX_STAGE_CREATE_RUNTIME, sb->pid, err);
		return r < 0 ? r : message_send(sb->channel, MSG_GO, NULL, 0, NULL, 0, err);
	case MSG_NET_DEVICES:
		if (!sb->config->linux_ || !sb->config->linux_->net_devices.len ||
		    sb->net_namespace >= 0)
			break;
		r = net_devices_move(sb, plan->proc, err);
		return r < 0 ? r : message_send(sb->channel, MSG_GO, NULL, 0, NULL, 0, err);
	case MSG_READY:
		if (plan->staged)
			break; /* it may be of a process that others took over, and we do not even know which */
		sb->terminal = message->fd_count ? message->fds[0] : -1;
		return container_enter_resctrl(sb, plan->resctrl, sb->pid, err);
	default:
		break;
	}
	return error_errno(err, EPROTO, "talk to the container's process");
}

static int await_ready(struct container_plan *plan, struct error *err)
{
	struct sandbox *sb = plan->sb;
	struct message message = { 0 };
	struct spawned spawned;
	int r;

	do {
		r = spawn_receive(sb->channel, &message, &spawned, sizeof(spawned),
				  &sb->exec_failed, err);
		if (r == 0)
			return spawn_ended(&sb->pid, err);
		if (r > 0)
			r = answer(plan, &message, &spawned, err);
	} while (r == 0 && message.type != MSG_READY);
	return r;
}

static int read_start_time(struct sandbox *sb, struct error *err)
{
	struct process_stat st;
	int r = process_read_stat(sb->pid, &st, err);

	if (r == 0)
		sb->start_time = st.start_time;
	return r;
}

static int make_init(struct container_plan *plan, struct error *err)
{
	struct sandbox *sb = plan->sb;
	const struct oci_linux *l = sb->config->linux_;
	int ends[2], r = message_pair(ends, err);
	struct spawn spawn;

	if (r < 0)
		return r;
	sb->channel = ends[0];
	plan->sync = ends[1];
	spawn = (struct spawn){
		.namespaces = &plan->namespaces,
		.pidfd = -1,
		.cgroup = container_has_cgroup(sb) && !sb->scope ? &plan->cgroup : NULL,
		.ask_for_cgroup = sb->scope != NULL,
		.sync = ends[1],
		.caller_end = ends[0],
		.proc = plan->proc,
		.time_offsets = l ? l->time_offsets : NULL,
		.prepare = container_init_prepare,
		.main = container_init_main,
		.data = plan,
	};
	r = spawn_process(&spawn, &sb->pid, &plan->staged, err);
	if (r < 0)
		return r;
	close_fd(&plan->sync); /* so that the end of the process is the end of the channel */
	close_fd(&plan->listener);
	r = await_ready(plan, err);
	if (r == 0)
		r = read_start_time(sb, err);
	if (r < 0) {
		spawn_discard(&sb->pid);
		close_fd(&sb->terminal);
	}
	return r;
}

static int container_create(struct sandbox *sb, const struct sandbox_hooks *hooks,
			    const struct sandbox_io *io, bool detach_later, struct error *err)
{
	struct container_plan plan;
	int r;

	container_plan_init(&plan, sb, hooks, io);
	sb->terminal = -1;
	r = container_plan_open(&plan, detach_later, err);
	if (r == 0)
		r = make_init(&plan, err);
	net_devices_settle(sb, r < 0);
	container_plan_close(&plan);
	return r;
}

static int container_commit(struct sandbox *sb, struct error *err)
{
	int r = message_send(sb->channel, MSG_COMMIT, NULL, 0, NULL, 0, err);

	close_fd(&sb->channel);
	return r;
}

/* ---- start ------------------------------------------------------------------------------------------ */

static int connect_to_init(const struct sandbox *sb, int flags, struct error *err)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", path_of_fd(sb->state_dir).s, LISTENER_NAME);
	return message_connect(path, SOCK_SEQPACKET | flags, err);
}

int container_schedule(int channel, pid_t pid, const struct oci_process *process, struct error *err)
{
	int r;

	if (!scheduling_wanted(process))
		return -EPROTO;
	r = scheduling_set(process, pid, err);
	return r < 0 ? r : message_send(channel, MSG_GO, NULL, 0, NULL, 0, err);
}

void container_notify_agent(const struct sandbox *sb, pid_t pid, enum oci_status status,
			    struct notify_agent *agent)
{
	const struct oci_linux *l = sb->config->linux_;

	*agent = (struct notify_agent){
		.seccomp = l ? l->seccomp : NULL,
		.state.pid = pid,
		.state.state = { .oci_version = OCI_VERSION,
				 .id = sb->id,
				 .status = status,
				 .pid = sb->pid,
				 .bundle = sb->bundle,
				 .annotations = &sb->config->annotations },
		.connection = -EBADF,
	};
}

/* Answers the init process until it executes the workload, which closes the channel. */
static int follow_start(struct sandbox *sb, struct error *err)
{
	struct notify_agent agent;
	struct message message;
	int r;

	container_notify_agent(sb, sb->pid, OCI_CREATED, &agent);
	do {
		r = spawn_receive(sb->channel, &message, NULL, 0, &sb->exec_failed, err);
		if (r <= 0)
			break;
		r = message.type == MSG_SCHEDULE
			    ? container_schedule(sb->channel, sb->pid, sb->config->process, err)
			    : notify_answer(&agent, sb->channel, &message, err);
		if (r == -EPROTO)
			error_errno(err, EPROTO, "talk to the container's process");
	} while (r == 0);
	notify_close(&agent);
	return r;
}

static int container_start(struct sandbox *sb, struct error *err)
{
	const struct oci_linux *l = sb->config->linux_;
	int r = notify_check_path(l ? l->seccomp : NULL, err);

	if (r < 0)
		return r;
	if (sb->channel < 0)
		sb->channel = connect_to_init(sb, 0, err);
	if (sb->channel < 0)
		return sb->channel;
	r = message_send(sb->channel, MSG_START, NULL, 0, NULL, 0, err);
	if (r == 0)
		r = follow_start(sb, err);
	close_fd(&sb->channel);
	return r;
}

/*
 * Once the workload is executed the listening socket is closed, and a connection is refused. A process that
 * still waits may be frozen, and many may ask: then the socket's queue is full, which is an answer, too.
 */
static int container_started(struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int sock = connect_to_init(sb, SOCK_NONBLOCK, err);

	if (sock >= 0 || sock == -EAGAIN)
		return 0;
	return sock == -ECONNREFUSED || sock == -ENOENT ? 1 : sock;
}

/* ---- running ---------------------------------------------------------------------------------------- */

static int container_signal(struct sandbox *sb, int sig, bool all, struct error *err)
{
	int r = all && container_has_cgroup(sb) ? container_signal_all(sb, sig, err)
						: process_signal(sb->pid, sb->start_time, sig, err);

	/* A frozen process takes even SIGKILL only when it is thawed (cgroup v1). */
	if (r == 0 && sig == SIGKILL && container_has_cgroup(sb) && container_paused(sb, NULL) > 0)
		r = container_resume(sb, err);
	return r;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/* Kills the init process and waits until it is gone; the end of a pid namespace's init ends all in it. */
static int kill_init(struct sandbox *sb, int pidfd, struct error *err)
{
	int r = process_kill(pidfd, sb->pid, err);

	/* A frozen process dies only when it is thawed (cgroup v1). */
	if (r == 0 && container_has_cgroup(sb) && container_paused(sb, NULL) > 0)
		container_resume(sb, NULL);
	return r < 0 ? r : process_await_end(pidfd, sb->pid, err);
}

/* Whether the end of the init process is the end of all: it is where it was the first of a pid namespace. */
static bool all_end_with_init(const struct sandbox *sb)
{
	const struct oci_namespace *pid_ns =
		sb->config ? oci_namespace_find(sb->config, OCI_NS_PID) : NULL;

	return pid_ns && !pid_ns->path;
}

/* An update may have made a class for which nothing was configured. Where resctrl is mounted no more, nothing is left in it. */
static int destroy_resctrl(const struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int root = -EBADF;

	if (!resctrl_noted(sb->state_dir))
		return 0;
	root = resctrl_open(err);
	return root < 0 && root != -ENODEV ? root : resctrl_destroy(root, sb->state_dir, err);
}

static int container_destroy(struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int init = sb->pid > 0 ? process_open(sb->pid, sb->start_time, NULL) : -1;
	/* After an ordinary end nobody is left to kill. */
	bool kill_first = init >= 0 || sb->pid <= 0 || !all_end_with_init(sb);
	int r = 0;

	close_fd(&sb->channel);
	if (init >= 0) {
		net_devices_hold(sb, init);
		r = kill_init(sb, init, err);
	}
	if (r == 0 && container_has_cgroup(sb))
		r = container_destroy_cgroup(sb, kill_first, err);
	if (r == 0)
		net_devices_return(sb);
	return r < 0 ? r : destroy_resctrl(sb, err);
}

static const struct sandbox_ops container_ops = {
	.kind = SANDBOX_CONTAINER,
	.check = container_check,
	.create = container_create,
	.commit = container_commit,
	.start = container_start,
	.started = container_started,
	.signal = container_signal,
	.exec = container_exec,
	.pause = container_pause,
	.resume = container_resume,
	.paused = container_paused,
	.update = container_update,
	.update_class = container_update_class,
	.stats = container_stats,
	.watch_oom = container_watch_oom,
	.pids = container_pids,
	.mount = container_mount,
	.checkpoint = container_checkpoint,
	.restore = container_restore,
	.destroy = container_destroy,
};

const char *sandbox_kind_name(enum sandbox_kind kind)
{
	return kind == SANDBOX_CONTAINER ? "container" : "microvm";
}

const struct sandbox_ops *sandbox_ops_of(enum sandbox_kind kind, struct error *err)
{
	(void)err;
	return kind == SANDBOX_CONTAINER ? &container_ops : &microvm_ops;
}
