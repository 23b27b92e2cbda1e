/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's first process, from its birth in new namespaces to the execution of the workload.
 * It is told what to do by the caller over one socket and reports errors there; when the caller
 * dies before the container is committed, it ends, too.
 */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/syscalls.h"
#include "sandbox/container.h"

static unsigned long new_namespaces(const struct container_plan *plan)
{
	return plan->namespaces.new_flags;
}

static int set_names(const struct oci_config *config, struct error *err)
{
	const char *host = config->hostname, *domain = config->domainname;

	if (host && *host && sethostname(host, strlen(host)) < 0)
		return error_errno(err, errno, "/hostname: `%s`", host);
	if (domain && *domain && setdomainname(domain, strlen(domain)) < 0)
		return error_errno(err, errno, "/domainname: `%s`", domain);
	return 0;
}

static int set_up_kernel_objects(struct container_plan *plan, struct error *err)
{
	const struct oci_config *config = plan->sb->config;
	int r = 0;

	if (setsid() < 0)
		return error_errno(err, errno, "setsid");
	if (!plan->sb->no_new_keyring)
		r = process_new_keyring(plan->sb->id, err);
	if (r == 0 && (new_namespaces(plan) & CLONE_NEWNET))
		r = net_loopback_up(err);
	if (r == 0 && config->linux_ && config->linux_->net_devices.len)
		r = spawn_ask(plan->sync, MSG_NET_DEVICES, err);
	if (r == 0)
		r = set_names(config, err);
	if (r < 0)
		return r;
	return rootfs_write_sysctl(config, plan->proc,
				   plan->sb->owns_network ? SYSCTL_OTHERS : SYSCTL_ALL, err);
}

static int run_hooks(struct container_plan *plan, enum sandbox_stage stage, struct error *err)
{
	int r;

	if (!plan->hooks->wanted[stage])
		return 0;
	if (stage == SANDBOX_STAGE_CREATE_RUNTIME)
		return spawn_ask(plan->sync, MSG_HOOKS, err);
	if (stage == SANDBOX_STAGE_CREATE_CONTAINER)
		umask(0022); /* not the 0 with which we make nodes */
	/* Hooks in the container see it with its own process ids; this process is 1 in a pid namespace of its own. */
	r = plan->hooks->run(plan->hooks->data, stage, getpid(), err);
	if (stage == SANDBOX_STAGE_CREATE_CONTAINER)
		umask(0);
	return r;
}

/* The working directory is made where the image lacks it, as all runtimes do. */
static int make_cwd(struct container_plan *plan, struct error *err)
{
	const char *cwd = plan->sb->config->process->cwd;
	_cleanup_close_ int dir = -EBADF;

	if (!strcmp(cwd, "/"))
		return 0;
	dir = path_make_dir_in_root(plan->rootfs.tree, cwd, 0755, err);
	return dir < 0 ? error_wrap(err, "/process/cwd") : 0;
}

/* Opens the container's terminal, mounts it as its console, and hands its primary side out. */
static int set_up_terminal(struct container_plan *plan, struct error *err)
{
	const struct oci_process *process = plan->sb->config->process;
	_cleanup_close_ int secondary = -EBADF;
	int r;

	if (!process->terminal.v)
		return 0;
	r = console_open(plan->rootfs.tree, &plan->primary, &secondary, err);
	if (r == 0)
		r = process_own_terminal(secondary, process, err);
	if (r == 0)
		r = console_mount(plan->rootfs.tree, secondary, err);
	if (r == 0)
		r = process_hand_over_terminal(plan->io.console_socket, &plan->primary, err);
	return r < 0 ? r : process_use_terminal(&secondary, process, err);
}

/*
 * A pid namespace of others. It takes privilege, so it comes before that is given up; and what we start afterwards is born in
 * there, so it comes after the hooks.
 */
static int enter_pid_namespace(struct container_plan *plan, struct error *err)
{
	int r = ns_join(&plan->namespaces, OCI_NS_PID, err);

	return r == -EPERM
		       ? error_wrap(err, "/linux/namespaces: a pid namespace must belong to the "
					 "user namespace that the container is in")
		       : r;
}

static int set_up(struct container_plan *plan, struct error *err)
{
	int r;

	umask(0); /* modes of nodes and directories are meant as they are written */
	r = set_up_kernel_objects(plan, err);
	if (r == 0)
		r = rootfs_assemble(&plan->rootfs, err);
	if (r == 0)
		r = make_cwd(plan, err);
	if (r == 0)
		r = run_hooks(plan, SANDBOX_STAGE_CREATE_RUNTIME, err);
	if (r == 0)
		r = run_hooks(plan, SANDBOX_STAGE_CREATE_CONTAINER, err);
	if (r == 0)
		r = enter_pid_namespace(plan, err);
	if (r == 0)
		r = set_up_terminal(plan, err);
	return r < 0 ? r : rootfs_enter(&plan->rootfs, err);
}

static void end_by_signal(int sig)
{
	_exit(128 + sig);
}

/*
 * The kernel drops signals that the first process of a pid namespace does not handle, but a container that is killed before
 * its start shall end.
 */
static void handle_ends(void (*handler)(int))
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], handler);
}

/* Accepts callers until one says MSG_START; its connection then takes the place of the channel. */
static int accept_start(struct container_plan *plan, struct error *err)
{
	for (;;) {
		int sock = accept4(plan->listener, NULL, NULL, SOCK_CLOEXEC);
		struct message message;

		if (sock < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (sock < 0)
			return error_errno(err, errno, "wait for start");
		/* One that only looks whether we still wait, or that is killed here, says nothing. */
		if (message_receive(sock, &message, NULL, 0, NULL) == 0 &&
		    message.type == MSG_START) {
			close_fd(&plan->listener);
			plan->sync = sock;
			return 0;
		}
		close(sock);
	}
}

static int wait_for_order(struct container_plan *plan, struct error *err)
{
	struct message message;
	int r = message_receive(plan->sync, &message, NULL, 0, err);

	if (r < 0)
		return r; /* the caller died before the container was committed */
	if (message.type != MSG_START && (message.type != MSG_COMMIT || plan->listener < 0))
		return error_errno(err, EPROTO, "wait for start");
	if (message.type == MSG_START)
		return 0;
	close_fd(&plan->sync);
	handle_ends(end_by_signal);
	r = accept_start(plan, err);
	handle_ends(SIG_DFL);
	return r;
}

/* All that has to do with the host, or takes its privilege. Nothing of either is left afterwards. */
void container_init_prepare(void *data, const int *keep_too, size_t count)
{
	struct container_plan *plan = data;
	bool limits_are_set = plan->rootfs.user_namespace;
	struct error err = { 0 };
	int keep[5], r;

	close(plan->sb->state_dir);
	r = set_up(plan, &err);
	if (r < 0)
		spawn_fail(plan->sync, MSG_ERROR, &err);
	if (!plan->sb->config->process->terminal.v) {
		privileges_reopen_null();
		privileges_own_stdio(plan->sb->config->process);
	}
	keep[0] = plan->sync;
	keep[1] = plan->listener;
	keep[2] = plan->primary;
	assert(count <= ARRAY_SIZE(keep) - 3);
	for (size_t i = 0; i < count; i++)
		keep[3 + i] = keep_too[i];
	r = process_prepare(&plan->process, plan->proc, !limits_are_set, keep, 3 + count, &err);
	if (r == 0 && (plan->namespaces.join_flags & CLONE_NEWPID))
		r = process_prepare_to_be_seen(&plan->process, &err);
	if (r < 0)
		spawn_fail(plan->sync, plan->process.exec_failed ? MSG_EXEC_ERROR : MSG_ERROR,
			   &err);
}

void container_init_main(void *data)
{
	struct container_plan *plan = data;
	struct error err = { 0 };
	int r = process_begin_session(plan->sb->config->process, &err);

	if (r == 0)
		r = spawn_outlive_caller(&err);
	if (r < 0)
		spawn_fail(plan->sync, MSG_ERROR, &err);
	r = message_send(plan->sync, MSG_READY, NULL, 0, &plan->primary, plan->primary >= 0, &err);
	if (r < 0)
		_exit(1); /* nobody is left to hear it */
	close_fd(&plan->primary);
	r = wait_for_order(plan, &err);
	if (r == 0)
		r = run_hooks(plan, SANDBOX_STAGE_START_CONTAINER, &err);
	if (r < 0)
		spawn_fail(plan->sync, MSG_ERROR, &err);
	process_execute(&plan->process, plan->sync, &err);
	spawn_fail(plan->sync, plan->process.exec_failed ? MSG_EXEC_ERROR : MSG_ERROR, &err);
}
