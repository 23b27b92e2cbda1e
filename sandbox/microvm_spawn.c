/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting the two processes of a microVM. Both are executed by a descriptor of the program, in the container's cgroup and in
 * a pid namespace of their own; what else confines them hull-vmm does itself once it has opened what it needs (microvm/jail.h).
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/libexec.h"
#include "base/message.h"
#include "base/path.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "microvm/control.h"
#include "namespaces/vm_net.h"
#include "sandbox/container.h"
#include "sandbox/microvm.h"

#define ARGUMENTS_MAX 64

struct command {
	const char *argv[ARGUMENTS_MAX];
	size_t argc;
	struct arena *arena;
	bool failed;
};

static void add(struct command *c, const char *word)
{
	if (!word || c->argc >= ARGUMENTS_MAX - 1)
		c->failed = true;
	else
		c->argv[c->argc++] = word;
}

/* "OPTION fd:N": the descriptor stays open across the execution. */
static void add_fd(struct command *c, const char *option, int fd, const char *more)
{
	add(c, option);
	add(c, arena_printf(c->arena, "fd:%d%s", fd, more));
}

/* ---- in the new process ------------------------------------------------------------------------------- */

static void __attribute__((noreturn)) fail(int sync, const struct error *err)
{
	message_send(sync, CONTROL_FAILED, err, sizeof(*err), NULL, 0, NULL);
	_exit(1);
}

/* Of all descriptors only those that are named, besides the standard streams, survive. */
static int keep_only(const int *fds, size_t count, struct error *err)
{
	if (sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return error_errno(err, errno, "close what is open");
	for (size_t i = 0; i < count; i++)
		if (fds[i] > STDERR_FILENO && fcntl(fds[i], F_SETFD, 0) < 0)
			return error_errno(err, errno, "pass on a descriptor");
	return 0;
}

static int execute(int program, struct command *c, struct error *err)
{
	static char *const environment[] = { NULL };

	syscall(SYS_execveat, program, "", c->argv, environment, AT_EMPTY_PATH);
	return error_errno(err, errno, "execute hull-vmm");
}

/* ---- making the processes ----------------------------------------------------------------------------- */

/*
 * What a caller limits for itself and its children would end the machine, or not let it have its memory. It cannot hold for the
 * workload, which is no child of its.
 */
static int lift_limits(struct error *err)
{
	static const int resources[] = { RLIMIT_FSIZE, RLIMIT_CPU, RLIMIT_AS, RLIMIT_DATA };
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };

	for (size_t i = 0; i < ARRAY_SIZE(resources); i++)
		if (setrlimit(resources[i], &none) < 0 && errno != EPERM)
			return error_errno(err, errno, "setrlimit");
	return 0;
}

static int begin_child(struct microvm_plan *plan, bool in_cgroup, struct error *err)
{
	int r = lift_limits(err);

	if (r < 0)
		return r;
	process_reset_signals();
	if (plan->cgroup.host)
		return cgroup_enter(&plan->cgroup, 0, in_cgroup, err);
	return 0;
}

static int open_null_streams(const bool which[3], struct error *err)
{
	_cleanup_close_ int null = -EBADF;

	for (int i = 0; i <= STDERR_FILENO; i++) {
		if (!which[i])
			continue;
		if (null < 0)
			null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0 || dup2(null, i) < 0)
			return error_errno(err, errno, "open `/dev/null`");
	}
	return 0;
}

/*
 * Files that only a supplementary group of the caller's may reach are not the container's. (Who maps no more than one group may not give
 * them up.)
 */
static int give_up_groups(struct error *err)
{
	return setgroups(0, NULL) < 0 && errno != EPERM
		       ? error_errno(err, errno, "give up supplementary groups")
		       : 0;
}

/* netns: hull-vmm's, if there are createContainer hooks; else -1. */
static void __attribute__((noreturn))
file_server_main(struct microvm_plan *plan, int netns, bool in_cgroup)
{
	struct command c = { .arena = &plan->arena };
	struct error err = { 0 };
	int kept[] = { plan->server_end, -EBADF, plan->saved.files };
	int r = begin_child(plan, in_cgroup, &err);

	if (r == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		r = error_errno(&err, errno, "make the mounts private");
	if (r == 0 && plan->rootfs.deferred)
		r = rootfs_open_deferred(&plan->rootfs, &err);
	if (r == 0 && netns >= 0)
		r = microvm_run_hooks(plan, netns, &err);
	if (r == 0)
		r = open_null_streams((const bool[]){ true, true, true }, &err);
	/* Before the tree is all there is: beside another procfs only a user namespace may have one. */
	if (r == 0)
		r = kept[1] = process_mount_procfs(&err);
	if (r >= 0)
		r = microvm_make_tree(plan, &err);
	if (r == 0)
		r = give_up_groups(&err);
	if (r == 0)
		r = microvm_keep_privilege(&err);
	if (r == 0 && netns >= 0)
		r = message_send(plan->sync, CONTROL_DONE, NULL, 0, NULL, 0, &err);
	add(&c, "hull-vmm");
	add_fd(&c, "--file-server", kept[0], "");
	add_fd(&c, "--proc", kept[1], "");
	if (plan->saved.files >= 0)
		add_fd(&c, "--state", plan->saved.files, "");
	if (r == 0)
		r = keep_only(kept, ARRAY_SIZE(kept), &err);
	if (r == 0 && c.failed)
		error_errno(&err, ENOMEM, "start the file server");
	else if (r == 0)
		execute(plan->program, &c, &err);
	fail(plan->sync, &err);
}

static int clone_file_server(struct microvm_plan *plan, int netns, struct error *err)
{
	struct microvm_ids ids;
	bool in_cgroup;
	int r = microvm_file_server_ids(plan->sb->config, &ids, &plan->arena, err);

	if (r < 0)
		return r;
	plan->sb->file_server = microvm_clone(
		plan, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET, &ids,
		&in_cgroup, err);
	if (plan->sb->file_server == 0)
		file_server_main(plan, netns, in_cgroup);
	close_fd(&plan->server_end);
	return plan->sb->file_server < 0 ? error_wrap(err, "start the file server") : 0;
}

int microvm_spawn_file_server(struct microvm_plan *plan, struct error *err)
{
	_cleanup_close_ int channel = -EBADF, netns = microvm_open_network(plan->sb, err);
	int ends[2], r;

	if (netns < 0)
		return netns;
	r = message_pair(ends, err);
	if (r < 0)
		return r;
	channel = ends[0];
	plan->sync = ends[1];
	r = clone_file_server(plan, netns, err);
	close_fd(&plan->sync);
	return r < 0 ? r : microvm_await_done(channel, &plan->sb->file_server, err);
}

/* A socket in vm/, which is the jail's root: whoever may enter the state directory may connect. */
static int open_listener(int dir, const char *name, int type, struct error *err)
{
	_cleanup_close_ int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (sock < 0)
		return error_errno(err, errno, "socket");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", path_of_fd(dir).s, name);
	if (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(sock, 64) < 0)
		return error_errno(err, errno, "make the socket `%s` in the state directory", name);
	return take_fd(&sock);
}

struct vmm_fds {
	int kernel, initrd, files, vsock, control;
};

static void close_vmm_fds(struct vmm_fds *fds)
{
	close_fd(&fds->kernel);
	close_fd(&fds->initrd);
	close_fd(&fds->files);
	close_fd(&fds->vsock);
	close_fd(&fds->control);
}

/* From which the machine goes on; -EBADF: it boots. */
static int saved_machine(const struct microvm_plan *plan)
{
	return plan->saved.machine >= 0 ? plan->saved.machine : plan->template.saved;
}

static void build_command(const struct microvm_plan *plan, const struct vmm_fds *fds,
			  struct command *c)
{
	const struct microvm_machine *m = &plan->machine;
	int saved = saved_machine(plan);

	add(c, "hull-vmm");
	if (saved >= 0) {
		add_fd(c, "--restore", saved, "");
	} else {
		add_fd(c, "--kernel", fds->kernel, "");
		add_fd(c, "--initrd", fds->initrd, "");
		add(c, "--cmdline");
		add(c, m->cmdline);
	}
	if (plan->template.fresh >= 0)
		add_fd(c, "--snapshot", plan->template.fresh, "");
	add(c, "--cpus");
	add(c, arena_printf(c->arena, "%u", m->cpus));
	add(c, "--memory");
	add(c, arena_printf(c->arena, "%llu", (unsigned long long)m->memory_mib));
	add_fd(c, "--fs", fds->files, ",tag=hull");
	add_fd(c, "--vsock", fds->vsock, "");
	add_fd(c, "--vsock-dir", plan->dir, "");
	add_fd(c, "--control", fds->control, "");
	add_fd(c, "--jail", plan->dir, "");
	add_fd(c, "--sync", plan->sync, "");
	for (unsigned i = 0; i < plan->cards; i++) {
		uint8_t mac[6];

		vm_net_card_address(i, mac);
		add(c, "--net");
		add(c, arena_printf(c->arena, "mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
				    mac[2], mac[3], mac[4], mac[5]));
	}
	add(c, plan->sb->config->process->terminal.v ? "--workload=terminal" : "--workload=pipes");
}

/* The workload's streams are hull-vmm's own: it carries them. A terminal is its controlling one, so that it hears of its size. */
static int take_streams(const struct microvm_plan *plan, struct error *err)
{
	if (setsid() < 0)
		return error_errno(err, errno, "setsid");
	if (!plan->sb->config->process->terminal.v)
		return open_null_streams(plan->saved.null, err);
	for (int i = 0; i <= STDERR_FILENO; i++)
		if (dup2(plan->terminal, i) < 0)
			return error_errno(err, errno, "take the terminal");
	if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		return error_errno(err, errno, "take the terminal");
	return 0;
}

/* systemd makes the cgroup around us: until it has, nothing is done that counts. */
static int await_scope(const struct microvm_plan *plan, struct error *err)
{
	struct message message;
	int r = message_receive(plan->sync, &message, NULL, 0, err);

	return r == 0 && message.type != CONTROL_DONE
		       ? error_errno(err, EPROTO, "wait for a cgroup")
		       : r;
}

static void __attribute__((noreturn))
vmm_main(struct microvm_plan *plan, const struct vmm_fds *fds, bool in_cgroup)
{
	struct command c = { .arena = &plan->arena };
	struct error err = { 0 };
	bool boots = saved_machine(plan) < 0;
	const int kept[] = { boots ? fds->kernel : -EBADF,
			     boots ? fds->initrd : -EBADF,
			     fds->files,
			     fds->vsock,
			     fds->control,
			     plan->dir,
			     plan->sync,
			     saved_machine(plan),
			     plan->template.fresh };
	int r;

	/* Until it is told that it may live on. (The file server ends when nobody holds the other end of its socket.) */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	r = begin_child(plan, in_cgroup, &err);
	if (r == 0 && plan->sb->scope)
		r = await_scope(plan, &err);
	build_command(plan, fds, &c);
	if (r == 0 && plan->netns >= 0 && setns(plan->netns, CLONE_NEWNET) < 0)
		r = error_errno(&err, errno, "join the network namespace");
	if (r == 0)
		r = take_streams(plan, &err);
	if (r == 0)
		r = keep_only(kept, ARRAY_SIZE(kept), &err);
	if (r == 0 && c.failed)
		error_errno(&err, ENOMEM, "start hull-vmm");
	else if (r == 0)
		execute(plan->program, &c, &err);
	fail(plan->sync, &err);
}

static int make_scope(struct microvm_plan *plan, struct error *err)
{
	const struct own_cgroup own = microvm_own_cgroup(plan);
	int r = own_cgroup_start_scope(&own, err);

	return r < 0 ? r : message_send(plan->sb->channel, CONTROL_DONE, NULL, 0, NULL, 0, err);
}

/* hull-vmm first: a scope is made around it, in which the file server is born. */
static int spawn_both(struct microvm_plan *plan, const struct vmm_fds *fds, struct error *err)
{
	unsigned long network = plan->netns < 0 ? CLONE_NEWNET : 0;
	struct oci_id_mapping own[2];
	const struct microvm_ids ids = microvm_vmm_ids(own);
	bool in_cgroup;
	int r = 0;

	plan->sb->pid = microvm_clone(plan, CLONE_NEWPID | network, &ids, &in_cgroup, err);
	if (plan->sb->pid == 0)
		vmm_main(plan, fds, in_cgroup);
	if (plan->sb->pid < 0)
		return error_wrap(err, "start hull-vmm");
	if (plan->sb->scope)
		r = make_scope(plan, err);
	if (r < 0 || plan->hooks->wanted[SANDBOX_STAGE_CREATE_CONTAINER])
		return r;
	return clone_file_server(plan, -1, err);
}

static int open_file(const char *path, const char *what, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT && !strcmp(what, "kernel"))
		return error_set(
			err, ENOENT,
			"the guest kernel `%s` is missing: `make kernel` builds it (or name "
			"another one in /vm/kernel/path)",
			path);
	return error_errno(err, errno, "open the guest's %s `%s`", what, path);
}

static int open_kernel(struct microvm_plan *plan, struct vmm_fds *fds, struct error *err)
{
	fds->kernel = open_file(plan->machine.kernel, "kernel", err);
	if (fds->kernel < 0)
		return fds->kernel;
	fds->initrd = open_file(plan->machine.initrd, "initramfs", err);
	if (fds->initrd < 0)
		return fds->initrd;
	microvm_template_open(plan, fds->kernel, fds->initrd);
	return 0;
}

int microvm_spawn(struct microvm_plan *plan, struct error *err)
{
	struct vmm_fds fds = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
	int ends[2] = { -EBADF, -EBADF };
	char path[4096];
	int r = libexec_path("hull-vmm", path, sizeof(path), err);

	if (r == 0) {
		plan->program = open(path, O_PATH | O_CLOEXEC);
		r = plan->program < 0 ? error_errno(err, errno, "open `%s`", path) : 0;
	}
	if (r == 0 && plan->saved.machine < 0)
		r = open_kernel(plan, &fds, err);
	if (r >= 0)
		r = fds.vsock = open_listener(plan->dir, "vsock.sock", SOCK_STREAM, err);
	if (r >= 0)
		r = fds.control = open_listener(plan->dir, "control.sock", SOCK_SEQPACKET, err);
	if (r >= 0)
		r = message_pair(ends, err);
	fds.files = ends[0];
	plan->server_end = ends[1];
	if (r == 0)
		r = spawn_both(plan, &fds, err);
	close_vmm_fds(&fds);
	return r < 0 ? r : 0;
}
