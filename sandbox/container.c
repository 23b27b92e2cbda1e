/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's operations, in the process of the command: planning everything on the host,
 * making the init process, answering it while it sets itself up, and ending it.
 */
#include "sandbox/container.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/path.h"
#include "base/process.h"
#include "base/syscalls.h"

#define OWNER_MARK_MAX 64
#define LISTENER_NAME  "init.sock"
#define KILL_TIMEOUT   10000 /* milliseconds that a killed init process may take to go */

int container_open_cgroup(const struct sandbox *sb, struct cgroup_host *host, struct cgroup *cgroup,
			  struct error *err)
{
	int r = cgroup_host_detect(host, err);

	return r < 0 ? r : cgroup_open(host, sb->cgroup_path, cgroup, err);
}

/* What marks a cgroup as this container's: its state directory, of which there is one as long as there is the container. */
static int owner_mark(const struct sandbox *sb, char *mark, size_t size, struct error *err)
{
	struct stat st;

	if (fstat(sb->state_dir, &st) < 0)
		return error_errno(err, errno, "stat the state directory");
	snprintf(mark, size, "%llx:%llx", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return 0;
}

static bool has_cgroup(const struct sandbox *sb)
{
	return sb->cgroup_path && *sb->cgroup_path;
}

/* ---- planning ------------------------------------------------------------------------------------- */

static void plan_close(struct container_plan *plan)
{
	if (plan->rootfs.config)
		rootfs_close(&plan->rootfs);
	ns_plan_close(&plan->namespaces);
	process_plan_free(&plan->process);
	cgroup_close(&plan->cgroup);
	arena_free(&plan->strings);
	close_fd(&plan->bundle);
	close_fd(&plan->proc);
	close_fd(&plan->listener);
	close_fd(&plan->sync);
}

/* The container's part of each hierarchy (without a cgroup of its own: the caller's), for mounts of type cgroup. */
static int plan_cgroup_mounts(struct container_plan *plan, struct error *err)
{
	bool v2 = plan->host.layout == CGROUP_V2;

	for (size_t i = 0; i < plan->host.count; i++) {
		const struct cgroup_hierarchy *h = &plan->host.hierarchies[i];
		const char *base = strrchr(h->mount, '/');
		struct rootfs_cgroup *m = &plan->cgroup_mounts[plan->rootfs.cgroup_count];

		m->v2 = h->v2;
		m->controllers = h->controllers;
		m->name = v2 ? NULL : base ? base + 1 : h->mount;
		m->host_path = arena_printf(&plan->strings, "%s%s", h->mount,
					    has_cgroup(plan->sb) ? plan->cgroup.path : h->own);
		if (!m->host_path)
			return error_errno(err, ENOMEM, "plan the cgroup mounts");
		plan->rootfs.cgroup_count++;
	}
	plan->rootfs.cgroups = plan->cgroup_mounts;
	return 0;
}

static bool wants_limits(const struct oci_resources *r)
{
	return r && (r->memory || r->cpu || r->pids || r->block_io || r->hugepage_limits.len ||
		     r->network || r->rdma.len || r->unified.len);
}

static int plan_cgroup(struct container_plan *plan, struct error *err)
{
	const struct sandbox *sb = plan->sb;
	const struct oci_linux *l = sb->config->linux_;
	char mark[OWNER_MARK_MAX];
	int r = cgroup_host_detect(&plan->host, err);

	if (r == 0 && !has_cgroup(sb)) {
		if (wants_limits(l ? l->resources : NULL))
			return error_set(
				err, ENOTSUP,
				"/linux/resources: there is no cgroup to enforce limits (see hull check)");
		return plan_cgroup_mounts(plan, err);
	}
	if (r == 0)
		r = cgroup_create(&plan->host, sb->cgroup_path, &plan->cgroup, err);
	if (r == 0)
		r = owner_mark(sb, mark, sizeof(mark), err);
	if (r == 0)
		r = cgroup_set_owner(&plan->cgroup, mark, err);
	if (r == 0)
		/* Device rules are the real root's: in a user namespace the kernel refuses them. */
		r = cgroup_apply(&plan->cgroup, l ? l->resources : NULL, process_is_host_root(),
				 err);
	return r < 0 ? r : plan_cgroup_mounts(plan, err);
}

static int plan_rootfs(struct container_plan *plan, struct error *err)
{
	const struct oci_namespace *mount_ns = oci_namespace_find(plan->sb->config, OCI_NS_MOUNT);

	plan->rootfs.config = plan->sb->config;
	plan->rootfs.mode = !mount_ns ? ROOTFS_SHARED : mount_ns->path ? ROOTFS_JOINED : ROOTFS_NEW;
	plan->rootfs.path = plan->sb->rootfs;
	plan->rootfs.bundle = plan->bundle;
	plan->rootfs.user_namespace =
		((plan->namespaces.new_flags | plan->namespaces.join_flags) & CLONE_NEWUSER) != 0;
	plan->rootfs.bind_devices = plan->rootfs.user_namespace || !process_is_host_root();
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

static int plan_open(struct container_plan *plan, bool detach_later, struct error *err)
{
	struct sandbox *sb = plan->sb;
	const struct oci_linux *l = sb->config->linux_;
	int r;

	plan->bundle = path_open_dir(sb->bundle, true, err);
	if (plan->bundle < 0)
		return plan->bundle;
	plan->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (plan->proc < 0)
		return error_errno(err, errno, "open `/proc`");
	r = ns_plan_open(&plan->namespaces, sb->config, err);
	if (r == 0)
		r = container_check_shared(
			sb->config, plan->namespaces.new_flags | plan->namespaces.join_flags, err);
	if (r == 0)
		r = process_plan(&plan->process, sb->config->process, l ? l->seccomp : NULL,
				 plan->io.preserve_fds, err);
	if (r == 0)
		r = plan_cgroup(plan, err);
	if (r == 0)
		r = plan_rootfs(plan, err);
	if (r == 0 && detach_later)
		r = open_listener(plan, err);
	return r;
}

/* ---- create ----------------------------------------------------------------------------------------- */

int container_privileged(int channel, pid_t pid, const struct oci_process *process,
			 const struct oci_linux *map, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "open `%s`", path);
	r = privileges_set_oom_score(process, dir, err);
	if (r == 0)
		r = privileges_set_rlimits(process, pid, err);
	if (r == 0 && map)
		r = ns_write_id_mappings(dir, pid, map, err);
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
	case MSG_SPAWNED:
		return spawn_adopt(&sb->pid, &plan->staged, message, spawned, err);
	case MSG_HOOKS:
		if (plan->hooks_were_run || !plan->hooks->wanted[SANDBOX_STAGE_CREATE_RUNTIME])
			break;
		plan->hooks_were_run = true;
		r = plan->hooks->run(plan->hooks->data, SANDBOX_STAGE_CREATE_RUNTIME, sb->pid, err);
		return r < 0 ? r : message_send(sb->channel, MSG_GO, NULL, 0, NULL, 0, err);
	case MSG_READY:
		sb->terminal = message->fd_count ? message->fds[0] : -1;
		return 0;
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
		.cgroup = has_cgroup(sb) ? &plan->cgroup : NULL,
		.sync = ends[1],
		.caller_end = ends[0],
		.proc = plan->proc,
		.time_offsets = l ? l->time_offsets : NULL,
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
	struct container_plan plan = { .sb = sb,
				       .hooks = hooks,
				       .io = *io,
				       .bundle = -EBADF,
				       .proc = -EBADF,
				       .listener = -EBADF,
				       .sync = -EBADF };
	int r;

	for (int i = 0; i < OCI_NS_COUNT; i++)
		plan.namespaces.join_fds[i] = -EBADF;
	sb->terminal = -1;
	r = plan_open(&plan, detach_later, err);
	if (r == 0)
		r = make_init(&plan, err);
	plan_close(&plan);
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

static int container_start(struct sandbox *sb, struct error *err)
{
	struct message message;
	int r;

	if (sb->channel < 0)
		sb->channel = connect_to_init(sb, 0, err);
	if (sb->channel < 0)
		return sb->channel;
	r = message_send(sb->channel, MSG_START, NULL, 0, NULL, 0, err);
	if (r == 0)
		r = spawn_receive(sb->channel, &message, NULL, 0, &sb->exec_failed, err);
	if (r > 0)
		r = error_errno(err, EPROTO, "talk to the container's process");
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

static int signal_init(const struct sandbox *sb, int sig, struct error *err)
{
	_cleanup_close_ int pidfd = process_open(sb->pid, sb->start_time, err);

	if (pidfd < 0)
		return pidfd;
	if (sys_pidfd_send_signal(pidfd, sig, NULL, 0) < 0)
		return error_errno(err, errno, "send signal %d to process %d", sig, sb->pid);
	return 0;
}

static int container_signal(struct sandbox *sb, int sig, bool all, struct error *err)
{
	char mark[OWNER_MARK_MAX];
	struct cgroup_host host;
	int r;

	if (!all || !has_cgroup(sb))
		return signal_init(sb, sig, err);
	r = cgroup_host_detect(&host, err);
	if (r == 0)
		r = owner_mark(sb, mark, sizeof(mark), err);
	if (r < 0)
		return r;
	if (!cgroup_owned_by(&host, sb->cgroup_path, mark))
		return error_set(err, ESRCH, "the container has no process");
	return cgroup_kill(&host, sb->cgroup_path, sig, err);
}

static int freeze(struct sandbox *sb, bool frozen, struct error *err)
{
	struct cgroup_host host;
	int r;

	if (!has_cgroup(sb))
		return error_set(err, ENOTSUP,
				 "the container has no cgroup, so it cannot be paused");
	r = cgroup_host_detect(&host, err);
	return r < 0 ? r : cgroup_freeze(&host, sb->cgroup_path, frozen, err);
}

static int container_pause(struct sandbox *sb, struct error *err)
{
	return freeze(sb, true, err);
}

static int container_resume(struct sandbox *sb, struct error *err)
{
	return freeze(sb, false, err);
}

static int container_paused(struct sandbox *sb, struct error *err)
{
	struct cgroup_host host;
	int r;

	if (!has_cgroup(sb))
		return 0;
	r = cgroup_host_detect(&host, err);
	return r < 0 ? r : cgroup_frozen(&host, sb->cgroup_path, err);
}

static ssize_t container_pids(struct sandbox *sb, pid_t **pids, struct error *err)
{
	struct cgroup_host host;
	int r;

	if (has_cgroup(sb)) {
		r = cgroup_host_detect(&host, err);
		return r < 0 ? r : cgroup_pids(&host, sb->cgroup_path, pids, err);
	}
	*pids = malloc(sizeof(pid_t));
	if (!*pids)
		return error_errno(err, ENOMEM, "list the processes");
	(*pids)[0] = sb->pid;
	return 1;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/* Kills the init process and waits until it is gone; the end of a pid namespace's init ends all in it. */
static int kill_init(struct sandbox *sb, int pidfd, struct error *err)
{
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };
	int r;

	if (sys_pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return error_errno(err, errno, "kill process %d", sb->pid);
	/* A frozen process dies only when it is thawed (cgroup v1). */
	if (has_cgroup(sb) && container_paused(sb, NULL) > 0)
		container_resume(sb, NULL);
	do {
		r = poll(&poll_fd, 1, KILL_TIMEOUT);
	} while (r < 0 && errno == EINTR);
	if (r == 0)
		return error_set(
			err, ETIMEDOUT,
			"process %d does not end although it was killed: it waits in the kernel",
			sb->pid);
	return 0;
}

/* Whether the end of the init process is the end of all: it is where it was the first of a pid namespace. */
static bool all_end_with_init(const struct sandbox *sb)
{
	const struct oci_namespace *pid_ns =
		sb->config ? oci_namespace_find(sb->config, OCI_NS_PID) : NULL;

	return pid_ns && !pid_ns->path;
}

/*
 * Empties and removes the cgroup. One without our mark was never entered by us: where it is empty it is what a
 * creation left that was cut short, and where it is not, it is somebody else's and none of our business.
 */
static int destroy_cgroup(const struct sandbox *sb, bool kill_first, struct error *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	char mark[OWNER_MARK_MAX];
	struct cgroup_host host;
	int r = cgroup_host_detect(&host, err);

	if (r == 0)
		r = owner_mark(sb, mark, sizeof(mark), err);
	if (r < 0)
		return r;
	if (!cgroup_owned_by(&host, sb->cgroup_path, mark)) {
		ssize_t count = cgroup_pids(&host, sb->cgroup_path, &pids, err);

		if (count > 0)
			log_warning(
				"the cgroup `%s` is not marked as the container's and holds processes: it is left alone",
				sb->cgroup_path);
		return count ? (int)(count < 0 ? count : 0)
			     : cgroup_remove(&host, sb->cgroup_path, err);
	}
	if (kill_first)
		r = cgroup_kill(&host, sb->cgroup_path, SIGKILL, err);
	if (r == 0)
		r = cgroup_remove(&host, sb->cgroup_path, err);
	if (r != -EBUSY)
		return r;
	r = cgroup_kill(&host, sb->cgroup_path, SIGKILL, err);
	return r < 0 ? r : cgroup_remove(&host, sb->cgroup_path, err);
}

static int container_destroy(struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int init = sb->pid > 0 ? process_open(sb->pid, sb->start_time, NULL) : -1;
	/* After an ordinary end nobody is left to kill. */
	bool kill_first = init >= 0 || sb->pid <= 0 || !all_end_with_init(sb);
	int r = 0;

	close_fd(&sb->channel);
	if (init >= 0)
		r = kill_init(sb, init, err);
	return r < 0 || !has_cgroup(sb) ? r : destroy_cgroup(sb, kill_first, err);
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
	.pids = container_pids,
	.destroy = container_destroy,
};

const char *sandbox_kind_name(enum sandbox_kind kind)
{
	return kind == SANDBOX_CONTAINER ? "container" : "microvm";
}

const struct sandbox_ops *sandbox_ops_of(enum sandbox_kind kind, struct error *err)
{
	if (kind == SANDBOX_CONTAINER)
		return &container_ops;
	error_set(err, ENOTSUP,
		  "the microvm sandbox is not in this version of hull: use --sandbox container");
	return NULL;
}
