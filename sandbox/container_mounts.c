/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts for a running container. What is on the host is opened here; a short-lived process then enters the container's
 * namespaces and attaches it. It does not enter the pid namespace, so no process of the container ever sees it.
 */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/process.h"
#include "sandbox/container.h"

struct mounts_plan {
	struct sandbox *sb;
	struct oci_config view; /* the container's configuration with other mounts */
	struct rootfs rootfs;
	bool add;
	unsigned long flags; /* CLONE_NEW… to enter */
	int proc,
		proc_init; /* descriptors of the host's /proc, and of the init process' directory in it */
	int pidfd, bundle, user_ns, sync;
};

static void plan_close(struct mounts_plan *plan)
{
	rootfs_close(&plan->rootfs);
	close_fd(&plan->proc);
	close_fd(&plan->proc_init);
	close_fd(&plan->pidfd);
	close_fd(&plan->bundle);
	close_fd(&plan->user_ns);
	close_fd(&plan->sync);
}

/* The init process, by a pidfd; its directory in /proc is opened before that is checked, so it is that process'. */
static int open_init(struct mounts_plan *plan, struct error *err)
{
	char path[16];

	plan->proc = process_open_procfs(err);
	if (plan->proc < 0)
		return plan->proc;
	snprintf(path, sizeof(path), "%d", plan->sb->pid);
	plan->proc_init = openat(plan->proc, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	plan->pidfd = process_open(plan->sb->pid, plan->sb->start_time, err);
	if (plan->pidfd < 0)
		return plan->pidfd;
	return plan->proc_init < 0
		       ? error_set(err, ESRCH, "process %d does not exist", plan->sb->pid)
		       : 0;
}

/* A file system belongs to the namespaces that it is made in; all the container's but that of pids and that of time matter. */
static int choose_namespaces(struct mounts_plan *plan, struct error *err)
{
	const struct oci_config *config = plan->sb->config;
	const struct oci_namespace *mount_ns = oci_namespace_find(config, OCI_NS_MOUNT);

	if (!mount_ns || mount_ns->path)
		return error_set(err, ENOTSUP,
				 "the container has no mount namespace of its own: what would be "
				 "mounted there would be in others', too");
	for (size_t i = 0; i < config->linux_->namespaces.len; i++) {
		enum oci_namespace_type type =
			(enum oci_namespace_type)config->linux_->namespaces.items[i].type;

		if (type == OCI_NS_PID || type == OCI_NS_TIME)
			continue;
		/* Entering one's own user namespace is refused by the kernel. */
		if (type != OCI_NS_USER || !ns_shared_with(plan->proc_init, type))
			plan->flags |= ns_flag(type);
	}
	if (!(plan->flags & CLONE_NEWUSER))
		return 0;
	plan->user_ns = openat(plan->proc_init, "ns/user", O_RDONLY | O_CLOEXEC);
	return plan->user_ns < 0 ? error_errno(err, errno, "open the container's user namespace")
				 : 0;
}

static int plan_open(struct mounts_plan *plan, const struct oci_mounts *mounts, struct error *err)
{
	int r = open_init(plan, err);

	if (r == 0)
		r = choose_namespaces(plan, err);
	if (r < 0)
		return r;
	plan->bundle = path_open_dir(plan->sb->bundle, true, err);
	if (plan->bundle < 0)
		return plan->bundle;
	plan->view = *plan->sb->config;
	plan->view.mounts = *mounts;
	plan->rootfs.config = &plan->view;
	plan->rootfs.bundle = plan->bundle;
	plan->rootfs.user_namespace = (plan->flags & CLONE_NEWUSER) != 0;
	plan->rootfs.user_ns = plan->user_ns;
	plan->rootfs.mount_label = rootfs_mount_label(&plan->view);
	plan->rootfs.running = true;
	return plan->add ? rootfs_open_added(&plan->rootfs, err) : 0;
}

/* In the new process, in the container's namespaces. Its root directory is that of the mount namespace. */
static void mounts_main(void *data)
{
	struct mounts_plan *plan = data;
	struct error err = { 0 };
	int r;

	umask(0);
	plan->rootfs.tree = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (plan->rootfs.tree < 0)
		r = error_errno(&err, errno, "open the container's root directory");
	else if (plan->add)
		r = rootfs_add_mounts(&plan->rootfs, &err);
	else
		r = rootfs_remove_mounts(&plan->rootfs, plan->proc, &err);
	if (r < 0)
		spawn_fail(plan->sync, MSG_ERROR, &err);
	r = message_send(plan->sync, MSG_READY, NULL, 0, NULL, 0, &err);
	_exit(r < 0);
}

/* Answers the new process until it has done its work. */
static int follow(struct mounts_plan *plan, int channel, pid_t pid, bool staged, struct error *err)
{
	static const struct oci_process
		nothing; /* of what the workload's limits are nothing is set */
	struct message message;
	struct spawned spawned;
	bool ready = false, exec_failed = false;
	int r;

	while ((r = spawn_receive(channel, &message, &spawned, sizeof(spawned), &exec_failed,
				  err)) > 0) {
		if (message.type == MSG_PRIVILEGED && plan->rootfs.user_namespace)
			r = container_privileged(channel, pid, &nothing, NULL, err);
		else if (message.type == MSG_SPAWNED)
			r = spawn_adopt(&pid, &staged, &message, &spawned, err);
		else if (message.type == MSG_READY && !staged && !ready)
			ready = true;
		else
			r = error_errno(err, EPROTO, "talk to the new process");
		if (r < 0)
			break;
	}
	if (r == 0 && !ready)
		return spawn_ended(&pid, err);
	if (r < 0)
		spawn_discard(&pid);
	else
		process_wait(pid, &(int){ 0 });
	return r;
}

static int run(struct mounts_plan *plan, struct error *err)
{
	_cleanup_close_ int channel = -EBADF;
	bool staged = false;
	pid_t pid = 0;
	int ends[2], r = message_pair(ends, err);
	struct spawn spawn;

	if (r < 0)
		return r;
	channel = ends[0];
	plan->sync = ends[1];
	spawn = (struct spawn){
		.pidfd = plan->pidfd,
		.pidfd_flags = plan->flags,
		.sync = ends[1],
		.caller_end = ends[0],
		.proc = plan->proc,
		.main = mounts_main,
		.data = plan,
	};
	r = spawn_process(&spawn, &pid, &staged, err);
	close_fd(&plan->sync);
	return r < 0 ? r : follow(plan, channel, pid, staged, err);
}

int container_mount(struct sandbox *sb, const struct oci_mounts *mounts, bool add,
		    struct error *err)
{
	struct mounts_plan plan = {
		.sb = sb,
		.add = add,
		.rootfs = { .config = sb->config, .tree = -EBADF, .pid_ns = -EBADF },
		.proc = -EBADF,
		.proc_init = -EBADF,
		.pidfd = -EBADF,
		.bundle = -EBADF,
		.user_ns = -EBADF,
		.sync = -EBADF
	};
	int r = plan_open(&plan, mounts, err);

	if (r == 0)
		r = run(&plan, err);
	plan_close(&plan);
	return r;
}
