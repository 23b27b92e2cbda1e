/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An additional process in a running container (`exec`). It joins the namespaces of the init process through a
 * pidfd whose start time was checked, so that a recycled process id cannot lead into another
 * process' namespaces, and all of them in one setns(2).
 */
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "sandbox/container.h"
#include "sandbox/resctrl.h"
#include "sandbox/scheduling.h"

#define END_TIMEOUT 1000 /* milliseconds that a dying init process may take to be gone */

struct exec_plan {
	const struct sandbox *sb;
	const struct sandbox_exec *exec;
	struct process_plan process;
	struct cgroup cgroup;
	int proc;      /* the host's /proc */
	int proc_init; /* /proc/PID of the init process */
	int root;      /* the init process' root, where that is no mount namespace's */
	int pidfd;
	unsigned long flags; /* the namespaces to join */
	int sync;
	int primary; /* side of the terminal, in the new process */
};

static void exec_plan_close(struct exec_plan *plan)
{
	process_plan_free(&plan->process);
	cgroup_close(&plan->cgroup);
	close_fd(&plan->proc);
	close_fd(&plan->proc_init);
	close_fd(&plan->root);
	close_fd(&plan->pidfd);
	close_fd(&plan->sync);
}

/* /proc/PID is opened first and stays that of the process, even if its id is used again before the pidfd is checked. */
static int open_init(struct exec_plan *plan, struct error *err)
{
	const struct oci_config *config = plan->sb->config;
	const struct oci_namespace *mount_ns = oci_namespace_find(config, OCI_NS_MOUNT);
	char path[16];

	plan->proc = process_open_procfs(err);
	if (plan->proc < 0)
		return plan->proc;
	snprintf(path, sizeof(path), "%d", plan->sb->pid);
	plan->proc_init = openat(plan->proc, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	plan->pidfd = process_open(plan->sb->pid, plan->sb->start_time, err);
	if (plan->pidfd < 0)
		return plan->pidfd;
	if (plan->proc_init < 0)
		return error_set(err, ESRCH, "process %d does not exist", plan->sb->pid);
	for (size_t i = 0; config->linux_ && i < config->linux_->namespaces.len; i++) {
		enum oci_namespace_type type =
			(enum oci_namespace_type)config->linux_->namespaces.items[i].type;

		/* Entering one's own user namespace is refused by the kernel. */
		if (type != OCI_NS_USER || !ns_shared_with(plan->proc_init, type))
			plan->flags |= ns_flag(type);
	}
	if (mount_ns && !mount_ns->path)
		return 0;
	plan->root = openat(plan->proc_init, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return plan->root < 0 ? error_errno(err, errno, "open the container's root directory") : 0;
}

/* Whether a hierarchy of cgroup v1 is meant by "CONTROLLER,CONTROLLER": by one that it has. */
static bool is_named(const struct cgroup_hierarchy *h, const char *names, size_t len)
{
	for (const char *name = names; name < names + len;) {
		size_t n = strcspn(name, ",:");

		for (const char *c = h->controllers; *c; c += strcspn(c, ","), c += *c == ',') {
			const char *own = strncmp(c, "name=", 5) ? c : c + 5;

			if (n && strcspn(own, ",") == n && !strncmp(own, name, n))
				return true;
		}
		name += n + 1;
	}
	return false;
}

/*
 * Takes the cgroup that spec names in the place of the container's own. It must be there wherever it is asked for: in a
 * hierarchy without it the process would be left in its caller's, outside the container's limits.
 */
static int enter_below(struct exec_plan *plan, const char *spec, struct error *err)
{
	const struct cgroup_host *host = plan->sb->cgroups;
	const char *colon = host->layout == CGROUP_V2 ? NULL : strchr(spec, ':');
	const char *below = colon ? colon + 1 : spec;
	_cleanup_cgroup_ struct cgroup found = { 0 };
	char path[CGROUP_PATH_MAX];
	bool any = false;
	int r = cgroup_path(below + strspn(below, "/"), plan->sb->cgroup_path, "", path,
			    sizeof(path), err);

	if (r == 0)
		r = cgroup_open(host, path, &found, err);
	for (size_t i = 0; r == 0 && i < host->count; i++) {
		const struct cgroup_hierarchy *h = &host->hierarchies[i];

		if (plan->cgroup.dirs[i] < 0 ||
		    (colon && !is_named(h, spec, (size_t)(colon - spec))))
			continue;
		if (found.dirs[i] < 0)
			return error_set(err, ENOENT, "--cgroup `%s`: does not exist in `%s`", spec,
					 h->mount);
		any = true;
		close_fd(&plan->cgroup.dirs[i]);
		plan->cgroup.dirs[i] = take_fd(&found.dirs[i]);
	}
	if (r == 0 && !any)
		return error_set(err, EINVAL, "--cgroup `%s`: names no controller of this host",
				 spec);
	return r < 0 ? error_wrap(err, "--cgroup `%s`", spec) : 0;
}

static int open_exec_cgroup(struct exec_plan *plan, struct error *err)
{
	const char *const *specs = plan->exec->cgroups;
	bool asked = specs && *specs;
	int r;

	if (!plan->sb->cgroup_path || !*plan->sb->cgroup_path)
		return asked ? error_set(err, ENOTSUP, "--cgroup `%s`: the container has no cgroup",
					 *specs)
			     : 0;
	r = container_open_cgroup(plan->sb, &plan->cgroup, err);
	for (; r == 0 && specs && *specs; specs++)
		r = enter_below(plan, *specs, err);
	return r;
}

/*
 * cgroup v2 takes no process into a cgroup that passes controllers on, as systemd makes that of its container do. Then the
 * init process is in one below it, and the new one goes there.
 */
static int use_cgroup_of_init(struct exec_plan *plan)
{
	const char *own = plan->sb->cgroup_path;
	char text[2 * CGROUP_PATH_MAX], *path = text + strlen("0::");
	struct cgroup found;
	int r;

	if (plan->sb->cgroups->layout != CGROUP_V2 || (plan->exec->cgroups && *plan->exec->cgroups))
		return -EBUSY;
	r = (int)file_read_small(plan->proc_init, "cgroup", text, sizeof(text), NULL);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (strncmp(text, "0::", strlen("0::")) || strncmp(path, own, strlen(own)) ||
	    path[strlen(own)] != '/')
		return -EBUSY;
	r = cgroup_open(plan->sb->cgroups, path, &found, NULL);
	if (r < 0)
		return r;
	cgroup_close(&plan->cgroup);
	plan->cgroup = found;
	return 0;
}

/* Opens a terminal of the container's, for the user of the process. */
static int open_terminal(struct exec_plan *plan, struct error *err)
{
	const struct oci_process *process = plan->exec->process;
	_cleanup_close_ int root = -EBADF, secondary = -EBADF;
	int r;

	if (!process->terminal.v)
		return 0;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_errno(err, errno, "open `/`");
	r = console_open(root, &plan->primary, &secondary, err);
	if (r == 0)
		r = process_own_terminal(secondary, process, err);
	if (r == 0)
		r = process_hand_over_terminal(plan->exec->io.console_socket, &plan->primary, err);
	return r < 0 ? r : process_use_terminal(&secondary, process, err);
}

static int enter(struct exec_plan *plan, struct error *err)
{
	if (!plan->sb->no_new_keyring && process_new_keyring(plan->sb->id, err) < 0)
		return -err->code;
	if (plan->root >= 0 && (fchdir(plan->root) < 0 || chroot(".") < 0))
		return error_errno(err, errno, "enter the container's root directory");
	return 0;
}

/*
 * All that needs privilege or a descriptor of the host's, while no process of the container can see us. Then nothing
 * of that is left for the process that they do see.
 */
static void exec_prepare(void *data, const int *keep_too, size_t count)
{
	struct exec_plan *plan = data;
	struct error err = { 0 };
	int keep[4], r;

	umask(0);
	r = affinity_set_final(plan->exec->process, &err);
	if (r == 0)
		r = enter(plan, &err);
	if (r == 0)
		r = open_terminal(plan, &err);
	if (r == 0 && !plan->exec->process->terminal.v)
		privileges_own_stdio(plan->exec->process);
	keep[0] = plan->sync;
	keep[1] = plan->primary;
	assert(count <= ARRAY_SIZE(keep) - 2);
	for (size_t i = 0; i < count; i++)
		keep[2 + i] = keep_too[i];
	if (r == 0)
		r = process_prepare(&plan->process, plan->proc, !(plan->flags & CLONE_NEWUSER),
				    keep, 2 + count, &err);
	if (r == 0 && (plan->flags & CLONE_NEWPID))
		r = process_prepare_to_be_seen(&plan->process, &err);
	if (r < 0)
		spawn_fail(plan->sync, plan->process.exec_failed ? MSG_EXEC_ERROR : MSG_ERROR,
			   &err);
}

static void exec_main(void *data)
{
	struct exec_plan *plan = data;
	const struct oci_linux *l = plan->sb->config->linux_;
	struct error err = { 0 };
	int r = process_begin_session(plan->exec->process, &err);

	if (r == 0)
		r = spawn_outlive_caller(&err);
	if (r < 0)
		spawn_fail(plan->sync, MSG_ERROR, &err);
	r = message_send(plan->sync, MSG_READY, NULL, 0, &plan->primary, plan->primary >= 0, &err);
	if (r < 0)
		_exit(1);
	if (l && l->intel_rdt && spawn_ask(plan->sync, MSG_CLASS, &err) < 0)
		spawn_fail(plan->sync, MSG_ERROR, &err);
	process_execute(&plan->process, plan->sync, &err);
	spawn_fail(plan->sync, plan->process.exec_failed ? MSG_EXEC_ERROR : MSG_ERROR, &err);
}

/* What was heard of the new process so far. */
struct following {
	bool ready;
	bool staged; /* the process that we know is the intermediate one */
	struct notify_agent agent;
};

static int enter_class(const struct sandbox *sb, pid_t pid, int channel, struct error *err)
{
	_cleanup_close_ int resctrl = resctrl_open(err);
	int r = resctrl < 0 ? resctrl : container_enter_resctrl(sb, resctrl, pid, err);

	return r < 0 ? r : message_send(channel, MSG_GO, NULL, 0, NULL, 0, err);
}

/* Takes one message of the new process. */
static int answer(struct sandbox *sb, struct sandbox_exec *exec, int channel, bool user_namespace,
		  struct following *f, const struct message *message, const struct spawned *spawned,
		  struct error *err)
{
	switch (message->type) {
	case MSG_PRIVILEGED:
		return user_namespace
			       ? container_privileged(channel, exec->pid, exec->process, NULL, err)
			       : -EPROTO;
	case MSG_SPAWNED:
		return spawn_adopt(&exec->pid, &f->staged, message, spawned, err);
	case MSG_READY:
		if (f->ready || f->staged)
			return -EPROTO;
		f->ready = true;
		exec->terminal = message->fd_count ? message->fds[0] : -1;
		container_notify_agent(sb, exec->pid, exec->status, &f->agent);
		return 0;
	case MSG_CLASS:
		return f->ready ? enter_class(sb, exec->pid, channel, err) : -EPROTO;
	case MSG_SCHEDULE:
		return f->ready ? container_schedule(channel, exec->pid, exec->process, err)
				: -EPROTO;
	default:
		return f->ready ? notify_answer(&f->agent, channel, message, err) : -EPROTO;
	}
}

/* Answers the new process until it executes the workload, which closes the channel. */
static int follow(struct sandbox *sb, struct sandbox_exec *exec, int channel, bool user_namespace,
		  bool staged, struct error *err)
{
	struct following f = { .staged = staged, .agent.connection = -EBADF };
	struct message message;
	struct spawned spawned;
	int r;

	while ((r = spawn_receive(channel, &message, &spawned, sizeof(spawned), &sb->exec_failed,
				  err)) > 0) {
		r = answer(sb, exec, channel, user_namespace, &f, &message, &spawned, err);
		if (r == -EPROTO)
			error_errno(err, EPROTO, "talk to the new process");
		if (r < 0)
			break;
	}
	notify_close(&f.agent);
	if (r == 0 && !f.ready)
		return spawn_ended(&exec->pid, err);
	if (r < 0) {
		spawn_discard(&exec->pid);
		close_fd(&exec->terminal);
	}
	return r;
}

/*
 * Whether the container ended while the process was made: then that is the reason, whatever stood in the way. Its init
 * process takes the others along before it can be seen to have ended, so it is given a moment after what looks like that.
 */
static bool ended_meanwhile(const struct exec_plan *plan, int r)
{
	bool looks_like_it = r == -ESRCH || r == -ENOMEM || r == -ECHILD;
	struct pollfd init = { .fd = plan->pidfd, .events = POLLIN };

	if (plan->pidfd < 0)
		return r == -ESRCH;
	return poll(&init, 1, looks_like_it ? END_TIMEOUT : 0) > 0;
}

int container_exec(struct sandbox *sb, struct sandbox_exec *exec, struct error *err)
{
	struct exec_plan plan = { .sb = sb,
				  .exec = exec,
				  .proc = -EBADF,
				  .proc_init = -EBADF,
				  .root = -EBADF,
				  .pidfd = -EBADF,
				  .sync = -EBADF,
				  .primary = -EBADF };
	const struct oci_linux *l = sb->config->linux_;
	_cleanup_close_ int channel = -EBADF;
	bool staged = false;
	int ends[2], r;

	exec->terminal = -1;
	r = scheduling_check(exec->process, err);
	if (r == 0)
		r = notify_check_path(l ? l->seccomp : NULL, err);
	if (r < 0)
		return r;
	r = process_plan(&plan.process, exec->process, l, exec->io.preserve_fds, err);
	if (r == 0)
		r = open_init(&plan, err);
	if (r == 0)
		r = open_exec_cgroup(&plan, err);
	if (r == 0)
		r = message_pair(ends, err);
	if (r == 0)
		r = affinity_set_initial(exec->process, err);
	if (r == 0) {
		struct spawn spawn = {
			.pidfd = plan.pidfd,
			.pidfd_flags = plan.flags,
			.cgroup = plan.cgroup.host ? &plan.cgroup : NULL,
			.sync = ends[1],
			.caller_end = ends[0],
			.proc = plan.proc,
			.prepare = exec_prepare,
			.main = exec_main,
			.data = &plan,
		};

		channel = ends[0];
		plan.sync = ends[1];
		r = spawn_process(&spawn, &exec->pid, &staged, err);
		if (r == -EBUSY && use_cgroup_of_init(&plan) == 0) {
			error_clear(err);
			r = spawn_process(&spawn, &exec->pid, &staged, err);
		}
		close_fd(&plan.sync);
		if (r == 0)
			r = follow(sb, exec, channel, (plan.flags & CLONE_NEWUSER) != 0, staged,
				   err);
	}
	if (r < 0 && !sb->exec_failed && ended_meanwhile(&plan, r))
		r = error_set(err, ESRCH, "cannot exec in container `%s`: container not running",
			      sb->id);
	exec_plan_close(&plan);
	return r;
}
