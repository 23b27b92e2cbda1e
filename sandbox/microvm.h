/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM: the same container, made by hull-guest in a virtual machine of its own (the seam's other implementation). These
 * declarations are between the files of its implementation:
 *
 *	microvm.c		the operations
 *	microvm_create.c	making a machine, and the container in it
 *	microvm_checkpoint.c	a directory of a machine
 *	microvm_restore.c	and a machine of that
 *	microvm_check.c		what a microVM cannot be asked for
 *	microvm_config.c	the configuration as the guest gets it; how large the machine is
 *	microvm_spawn.c		hull-vmm and its file server
 *	microvm_template.c	machines that were booted before
 *	microvm_user.c		what is otherwise for an ordinary user
 *	microvm_net.c		the machine's network
 *	microvm_share.c		what the file server has
 *	microvm_client.c	requests to hull-guest and to hull-vmm
 *	microvm_exec.c		exec, and the process that stands for it on the host
 *
 * In the state directory there is besides:
 *
 *	vm/			the root directory of hull-vmm's jail, with
 *	vm/vsock.sock		where connections to the guest are asked for ("CONNECT PORT")
 *	vm/control.sock		where hull-vmm is told to pause, and so on (microvm/control.h)
 */
#ifndef HULL_SANDBOX_MICROVM_H
#define HULL_SANDBOX_MICROVM_H

#include "cgroups/cgroup.h"
#include "namespaces/rootfs.h"
#include "sandbox/agent.h"
#include "sandbox/sandbox.h"

#define MICROVM_DIR    "vm"
#define MICROVM_SHARED "/run/hull/shared" /* where the guest has the file server's tree */
#define MICROVM_BOOT_TIME \
	120 /* seconds that a guest may take from the start of hull-vmm to its first answer */
#define MICROVM_ANSWER 30 /* seconds for any other answer */

int microvm_check(const struct oci_config *config, struct error *err);

/* ---- microvm_config.c --------------------------------------------------------------------------------- */

/* What the machine is like: from the configuration's limits, vm.hwConfig, annotations. */
struct microvm_machine {
	uint64_t memory_mib;
	unsigned cpus;
	const char *kernel;  /* path */
	const char *initrd;  /* path; NULL: hull's own */
	const char *cmdline; /* more of the kernel's parameters; "" */
	bool may_share; /* it is hull's own kernel: a template may be made of the machine, or used */
};

int microvm_plan_machine(const struct oci_config *config, struct arena *arena,
			 struct microvm_machine *machine, struct error *err);

/* The configuration for hull-guest, as JSON: what the host does is taken out of it, and paths are those of the file server's tree. */
int microvm_guest_config(const struct oci_config *config, struct arena *arena, struct strbuf *json,
			 struct error *err);

/*
 * What of the limits the host's cgroup of VMM and guest together gets, for a machine of so much memory, and what the guest's kernel can
 * enforce on the workload. In the arena; NULL: no memory.
 */
const struct oci_resources *microvm_host_resources(const struct oci_resources *resources,
						   uint64_t memory_mib, struct arena *arena);
struct oci_resources *microvm_guest_resources(const struct oci_resources *resources,
					      struct arena *arena);

/* The memory, in MiB, of a machine whose workload may use limit bytes; 0 where that is not limited. */
uint64_t microvm_memory_for(int64_t limit);

/* The name of the i-th of config.mounts in the file server's tree ("m3"). */
void microvm_share_name(size_t i, char *name, size_t size);

/* Whether the mount's source is the host's: it is shared with the guest. */
bool microvm_is_shared(const struct oci_mount *mount);

/* Makes of a mount, whose source the file server has as name, one of the guest's. -ENOMEM. */
int microvm_adjust_mount(struct oci_mount *mount, const char *name, struct arena *arena);

/* ---- the plan ------------------------------------------------------------------------------------------ */

/* A booted machine in a file. -EBADF: none. */
struct microvm_template {
	int dir;
	int saved;     /* from which the machine goes on */
	int fresh;     /* empty, for the machine that boots; it has no name yet */
	char name[80]; /* in dir */
};

/* A machine that ran, in two files of a checkpoint. -EBADF: none. */
struct microvm_saved {
	int machine;  /* microvm/snapshot.h */
	int files;    /* its file server's state */
	bool null[3]; /* standard streams that were the null device, and are so again */
};

#define MICROVM_MACHINE "machine" /* their names */
#define MICROVM_FILES   "files"

struct microvm_plan {
	struct sandbox *sb;
	struct microvm_machine machine;
	struct arena arena;
	struct cgroup cgroup;                  /* all zero: none, or (scope) not made yet */
	struct strbuf scope;                   /* the request for a systemd scope */
	const struct oci_resources *resources; /* of the cgroup */
	struct rootfs rootfs;                  /* the detached trees that are shared */
	struct strbuf mounts;                  /* what is mounted below them: vm_mounts_list() */
	int bundle;
	int dir;        /* vm/ in the state directory */
	int terminal;   /* the secondary side of the workload's, if it has one */
	int sync;       /* hull-vmm's end of the channel */
	int netns;      /* the network namespace to join; -EBADF: it gets one of its own */
	unsigned cards; /* network cards that the machine has */
	const struct sandbox_hooks *hooks;
	struct microvm_template template;
	struct microvm_saved saved;
	bool guest_is_up; /* it has answered */
	int program;      /* hull-vmm, from microvm_spawn() on */
	int server_end; /* of the socket between hull-vmm and the file server, until that is started */
};

/* ---- microvm_create.c --------------------------------------------------------------------------------- */

int microvm_create(struct sandbox *sb, const struct sandbox_hooks *hooks,
		   const struct sandbox_io *io, bool detach_later, struct error *err);

/* Without descriptors; then with what the configuration, or a saved machine, asks for; and closed. */
void microvm_plan_init(struct microvm_plan *plan, struct sandbox *sb,
		       const struct sandbox_hooks *hooks);
int microvm_plan_open(struct microvm_plan *plan, const struct sandbox_io *io, struct error *err);
void microvm_plan_close(struct microvm_plan *plan);

/* Starts hull-vmm and its file server, and runs hooks. The guest boots, or goes on, afterwards. */
int microvm_make_machine(struct microvm_plan *plan, struct error *err);

/* At the end, whatever happened: closes the plan, and where it failed ends what was made. */
void microvm_settle(struct microvm_plan *plan, bool failed);

/* What hull-vmm said before it ended, if anything; else how it ended. An error in any case. */
int microvm_ended(struct sandbox *sb, struct error *err);

/* Nanoseconds since the epoch. */
uint64_t microvm_now_ns(void);

/* Kills a process of the machine's, if it is still there, and waits for its end. */
int microvm_kill(pid_t pid, uint64_t start_time, struct error *err);

/* The machine may outlive us. */
int microvm_commit(struct sandbox *sb, struct error *err);

/* ---- microvm_checkpoint.c, microvm_restore.c ------------------------------------------------------------ */

int microvm_checkpoint(struct sandbox *sb, const struct sandbox_checkpoint *checkpoint,
		       struct error *err);
int microvm_restore(struct sandbox *sb, const struct sandbox_hooks *hooks,
		    const struct sandbox_io *io, const struct sandbox_restore *restore,
		    struct error *err);

/* Plans a machine such as was saved. */
int microvm_plan_saved(struct microvm_plan *plan, struct error *err);

/* ---- microvm_spawn.c ------------------------------------------------------------------------------------ */

/*
 * Waits until a child of ours says on the channel that it is done (CONTROL_DONE), or that it failed: then its error is ours. One that
 * has ended instead is reaped, and *pid 0.
 */
int microvm_await_done(int channel, pid_t *pid, struct error *err);

/* Whether hull-vmm has paused the machine: then the guest answers nothing. 1, 0, or a negative errno. */
int microvm_paused(struct sandbox *sb, struct error *err);

/* The machine's cgroup on the host, for own_cgroup_make() and what follows. */
struct own_cgroup microvm_own_cgroup(struct microvm_plan *plan);

/*
 * Starts hull-vmm, which is sb->pid then, and says on sb->channel when its guest runs; and the file server, unless there are
 * createContainer hooks, which run in its mount namespace: then that is started by microvm_spawn_file_server(), once their turn has come.
 */
int microvm_spawn(struct microvm_plan *plan, struct error *err);
int microvm_spawn_file_server(struct microvm_plan *plan, struct error *err);

/* ---- microvm_template.c ------------------------------------------------------------------------------- */

/* Looks for a template of the plan's machine, with hull-vmm, kernel and initramfs as descriptors; else prepares that one is made. */
void microvm_template_open(struct microvm_plan *plan, int kernel, int initrd);

/* Keeps one that was made, or gives one up that was no good; closes all. */
void microvm_template_settle(struct microvm_plan *plan, bool guest_is_up);

/* ---- microvm_user.c ----------------------------------------------------------------------------------- */

/*
 * An ordinary user has the two processes in user namespaces, which give them the other namespaces. In hull-vmm's the user is root, as in
 * those of containers: so hooks find it. In the file server's each id is called what it is called outside, for the container's id
 * mappings are made in the guest, which has to see the owners that these mean. There are those ids that the configuration maps, and
 * the user's: over their files, and no others, it has privilege.
 */
struct microvm_ids {
	struct oci_id_mappings uids, gids;
};

/* For hull-vmm; and, in the arena, for the file server, in which the user is root where the container has no user namespace. */
struct microvm_ids microvm_vmm_ids(struct oci_id_mapping own[2]);
int microvm_file_server_ids(const struct oci_config *config, struct microvm_ids *ids,
			    struct arena *arena, struct error *err);

/*
 * A child of ours in the cgroup and in new namespaces (CLONE_NEW… flags), as cgroup_clone(). An ordinary user's is in a user namespace
 * of its own besides, and returns when its ids are mapped. -1 and the error: there is none.
 */
pid_t microvm_clone(const struct microvm_plan *plan, unsigned long flags,
		    const struct microvm_ids *ids, bool *in_cgroup, struct error *err);

/* In such a child: keeps its privilege in there across execve(2); the program gives up what it has no use for. No-op for who is root. */
int microvm_keep_privilege(struct error *err);

/* ---- microvm_net.c ------------------------------------------------------------------------------------ */

/* Opens the network namespace to join, and sees how many cards the machine needs. */
int microvm_plan_network(struct microvm_plan *plan, struct error *err);

/* Opens the network namespace of hull-vmm. */
int microvm_open_network(const struct sandbox *sb, struct error *err);

/* Moves linux.netDevices to it. */
int microvm_move_net_devices(struct sandbox *sb, struct error *err);

/* Connects what is in the container's network namespace by now with the machine's cards, and describes it for the guest. */
int microvm_connect_network(const struct sandbox *sb, struct strbuf *description,
			    struct error *err);

/* ---- microvm_share.c ---------------------------------------------------------------------------------- */

/*
 * In the file server's process: runs the createContainer hooks, which see the host with the container's root file system mounted, and
 * are in hull-vmm's network namespace (a descriptor). What they mount in there is shared with the guest.
 */
int microvm_run_hooks(const struct microvm_plan *plan, int netns, struct error *err);

/* Lists in plan->mounts what is mounted below the trees of plan->rootfs. */
int microvm_list_mounts(struct microvm_plan *plan, struct error *err);

/* In the file server's process: makes its root directory, with nothing of the host's in it but what is shared, and enters it. */
int microvm_make_tree(const struct microvm_plan *plan, struct error *err);

/* struct sandbox_ops mount. */
int microvm_mount(struct sandbox *sb, const struct oci_mounts *mounts, bool add, struct error *err);

/* ---- microvm_client.c --------------------------------------------------------------------------------- */

/* A connection to a port of the guest's, by the sockets in vm/; waits at most so many seconds. */
int microvm_connect(int dir, uint32_t port, int seconds, struct error *err);

/* One to hull-guest, for a request. */
int microvm_connect_agent(const struct sandbox *sb, struct error *err);

/* Opens vm/ in a state directory. */
int microvm_open_dir(const struct sandbox *sb, struct error *err);

/* One request to hull-guest, and its answer: see agent_receive_answer(). parts: the payload. */
ssize_t microvm_request(const struct sandbox *sb, enum agent_type type, const struct iovec *parts,
			unsigned count, char **answer, size_t max, struct error *err);

/* A connection to hull-vmm for orders, which waits at most so many seconds for an answer; and an order on it, with descriptors. */
int microvm_open_control(const struct sandbox *sb, int seconds, struct error *err);
ssize_t microvm_order_on(int sock, uint32_t order, const void *payload, size_t len, const int *fds,
			 unsigned fd_count, void *answer, size_t size, struct error *err);

/* One order to hull-vmm (microvm/control.h), with a descriptor unless fd is negative. answer (of size bytes) may be NULL. Returns the answer's length. */
ssize_t microvm_order(const struct sandbox *sb, uint32_t order, const void *payload, size_t len,
		      int fd, void *answer, size_t size, struct error *err);

/* ---- microvm_exec.c ----------------------------------------------------------------------------------- */

int microvm_exec(struct sandbox *sb, struct sandbox_exec *exec, struct error *err);

/* A terminal of the host's for a process in the guest, which passes everything on as it is; of a size, if one is given. */
int microvm_open_terminal(const struct oci_console_size *size, int *primary, int *secondary,
			  struct error *err);

extern const struct sandbox_ops microvm_ops;

#endif
