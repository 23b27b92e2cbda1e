/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container: isolation by namespaces and cgroups. These declarations are between the files of
 * its implementation: container.c (the operations), container_check.c (what is refused),
 * container_init.c (what happens in the new process), spawn.c (how that comes to be).
 */
#ifndef HULL_SANDBOX_CONTAINER_H
#define HULL_SANDBOX_CONTAINER_H

#include "base/message.h"
#include "base/strbuf.h"
#include "cgroups/cgroup.h"
#include "namespaces/plan.h"
#include "namespaces/rootfs.h"
#include "sandbox/notify.h"
#include "sandbox/process.h"
#include "sandbox/sandbox.h"

/* What the caller and the new process say to each other. */
enum container_message {
	MSG_ERROR = 1,  /* to the caller: a struct error; the sender ends */
	MSG_EXEC_ERROR, /* the same, and it is about the workload's program, not about hull */
	MSG_PRIVILEGED, /* to the caller: I am in a user namespace; do what needs the host's privilege. Answer: MSG_GO */
	MSG_SPAWNED, /* to the caller: the process is this one, not I (struct spawned, a pidfd) */
	MSG_HOOKS,   /* to the caller: run the createRuntime hooks. Answer: MSG_GO */
	MSG_READY,   /* to the caller: set up; maybe the terminal's descriptor */
	MSG_GO,
	MSG_START, /* to the process: execute the workload */
	MSG_NET_DEVICES, /* to the caller: move linux.netDevices to my network namespace. Answer: MSG_GO */
	MSG_COMMIT, /* to the process: wait for MSG_START on the listening socket */
	MSG_CGROUP, /* to the caller: put me into my cgroup, which systemd makes. Answer: MSG_GO */
	/* After MSG_START, or MSG_READY of an exec. Answer to each: MSG_GO */
	MSG_CLASS,    /* to the caller, by an exec: put me into the container's resctrl class */
	MSG_SCHEDULE, /* to the caller: set my scheduling, for which I lack privilege */
	/* See notify.h. */
	MSG_LISTEN,   /* to the caller: I am about to load a filter with a listener */
	MSG_LISTENER, /* to the caller: its descriptor */
};

struct spawned {
	pid_t pid;
};

/* Everything a container is made from, planned by the caller, used by the process that becomes its init. */
struct container_plan {
	struct sandbox *sb;
	const struct sandbox_hooks *hooks;
	struct sandbox_io io;
	struct cgroup cgroup; /* all zero: none, or (scope) not made yet */
	struct strbuf scope;  /* the request for a systemd scope; empty: none */
	struct rootfs_cgroup cgroup_mounts[CGROUP_HIERARCHIES];
	struct arena strings; /* of cgroup_mounts */
	struct rootfs rootfs;
	struct ns_plan namespaces;
	struct process_plan process;
	int bundle;  /* descriptor of the bundle */
	int proc;    /* descriptor of the host's /proc */
	int resctrl; /* descriptor of the host's resctrl, where it is needed; else -1 */
	int listener; /* the socket on which the init process waits for `start`; -1: it is started at once */
	int sync;    /* the new process' end of the channel */
	int primary; /* side of the terminal, in the new process */
	bool staged; /* the process that we know is the intermediate one */
	bool hooks_were_run;
};

/*
 * Opens on the host all that a container is made of, as create does first. with_listener: also the socket on which the init process
 * waits for `start`. container_plan_close() releases it, also after an error.
 */
int container_plan_open(struct container_plan *plan, bool with_listener, struct error *err);
void container_plan_close(struct container_plan *plan);
void container_plan_init(struct container_plan *plan, struct sandbox *sb,
			 const struct sandbox_hooks *hooks, const struct sandbox_io *io);

/* ---- spawn.c ---------------------------------------------------------------------------------- */

/*
 * How to make a process in namespaces. The kernel's rules decide the way: directly, by one clone3(2); or by an intermediate process
 * which does what must come before, and then clones the real one as its own sibling: where a user namespace must be joined, or
 * made after other namespaces were joined, and where a pid namespace is joined, in which others could see what is half made.
 */
struct spawn {
	struct ns_plan *namespaces; /* to make and to join; NULL: none */
	int pidfd; /* join the namespaces (pidfd_flags) of this process instead; -1 */
	unsigned long pidfd_flags;
	const struct cgroup *cgroup; /* to start in; NULL: the caller's */
	bool ask_for_cgroup; /* say MSG_CGROUP before anything else is done in there, and be moved */
	int sync;            /* the new process' end of the channel */
	int caller_end;      /* the caller's end, closed in the new process */
	int proc;
	int program; /* set by spawn_process(): see exe_open_detached() */
	const struct oci_time_offsets *time_offsets;
	int announced
		[2]; /* set by spawn_process(): a pipe that ends when the real process' id is announced */
	bool in_cgroup; /* set by spawn_process(): clone3(2) puts the process into its v2 cgroup */
	/*
	 * Runs before main(), in the namespaces and the cgroup, and fails by spawn_fail(); may be NULL. Where a pid namespace is
	 * joined it runs in the intermediate process, which others do not see, and what it opens and becomes the process of main()
	 * inherits. One of `namespaces` it must join itself (ns_join()), while it still has the privilege, and once it starts no
	 * more processes, for those would be born in there.
	 */
	void (*prepare)(void *data, const int *keep,
			size_t keep_count); /* keep: descriptors that it must leave open */
	/* Runs in the new process and does not return. */
	void (*main)(void *data);
	void *data;
};

/*
 * Makes the process. On success *pid is the process to talk to first; with *staged that is the intermediate one, which says
 * MSG_SPAWNED with the real one later: see spawn_adopt(). Everything that goes wrong in the new process comes as MSG_ERROR.
 */
int spawn_process(const struct spawn *spawn, pid_t *pid, bool *staged, struct error *err);

/* In a new process: reports the error to the caller and ends. */
void spawn_fail(int sync, enum container_message type, const struct error *err)
	__attribute__((noreturn));

/*
 * In a new process, before MSG_READY: until now the caller's death was its own. From here on the end of the channel tells it,
 * so that it can be told first that it may live on.
 */
int spawn_outlive_caller(struct error *err);

/* In a new process: sends a message and waits for MSG_GO; the caller's death is an error. */
int spawn_ask(int sync, enum container_message type, struct error *err);

/*
 * In the caller: the next message. Returns 1 for a message, 0 where the process closed the channel, by executing
 * the workload or by ending. MSG_ERROR and MSG_EXEC_ERROR become the error that they carry (and *exec_failed).
 */
int spawn_receive(int channel, struct message *message, void *payload, size_t size,
		  bool *exec_failed, struct error *err);

/* In the caller: the process *pid ended unexpectedly. Waits for it, says how in the error, sets *pid to 0. */
int spawn_ended(pid_t *pid, struct error *err);

/*
 * In the caller, at MSG_SPAWNED: takes the real process in the place of the intermediate one, once, and only a child of ours.
 * -EPROTO otherwise: the message may be forged.
 */
int spawn_adopt(pid_t *pid, bool *staged, const struct message *message,
		const struct spawned *spawned, struct error *err);

/* In the caller: kills the process *pid, if it is not 0 already, and waits for it. */
void spawn_discard(pid_t *pid);

/* ---- container_init.c, container_exec.c, container_check.c -------------------------------------- */

/* As struct spawn asks; data: the struct container_plan. */
void container_init_prepare(void *data, const int *keep, size_t keep_count);
void container_init_main(void *data);
int container_exec(struct sandbox *sb, struct sandbox_exec *exec, struct error *err);
int container_check(const struct oci_config *config, struct error *err);
int container_mount(struct sandbox *sb, const struct oci_mounts *mounts, bool add,
		    struct error *err); /* container_mounts.c */

/* Checks that nothing is to be changed in a namespace that is the host's; own_namespaces: CLONE_NEW… of those that are not. */
int container_check_shared(const struct oci_config *config, unsigned long own_namespaces,
			   struct error *err);

/* Does for the process pid what it cannot do inside its user namespace: limits, and (if map) the id mappings. Answers MSG_GO. */
int container_privileged(int channel, pid_t pid, const struct oci_process *process,
			 const struct oci_linux *map, struct error *err);

/* With linux.intelRdt: puts the process pid into the container's class. resctrl: from resctrl_open(). */
int container_enter_resctrl(const struct sandbox *sb, int resctrl, pid_t pid, struct error *err);

/* Sets the scheduling of the process pid, at its MSG_SCHEDULE. Answers MSG_GO. -EPROTO where there is none to set. */
int container_schedule(int channel, pid_t pid, const struct oci_process *process,
		       struct error *err);

/* What the agent of a seccomp filter is told of the process pid, should that have one. */
void container_notify_agent(const struct sandbox *sb, pid_t pid, enum oci_status status,
			    struct notify_agent *agent);

/* ---- container_checkpoint.c, container_restore.c, container_external.c ---------------------------- */

int container_checkpoint(struct sandbox *sb, const struct sandbox_checkpoint *checkpoint,
			 struct error *err);
int container_restore(struct sandbox *sb, const struct sandbox_hooks *hooks,
		      const struct sandbox_io *io, const struct sandbox_restore *request,
		      struct error *err);

/* A mount of a running container whose content is the host's, and so not in a checkpoint. */
struct external_mount {
	const char *place;       /* where it is mounted in the container */
	const char *key;         /* "hull-mount-3": by which it is known in the checkpoint */
	const char *destination; /* see struct manifest_mount */
	const char *path;
};

struct external_mounts {
	struct external_mount *items;
	size_t len;
};

/*
 * Finds those of the container: the bind mounts of its configuration, with what is mounted below them, and the host's devices. The
 * container runs meanwhile and may move what it likes: the caller looks twice, the second time while it is stopped.
 */
int external_find(const struct sandbox *sb, struct arena *arena, struct external_mounts *mounts,
		  struct error *err);
/* Refuses standard streams, of these names, that are files of the host's. */
int external_check_streams(const struct sandbox *sb, struct arena *arena, const char *const *names,
			   struct error *err);
bool external_equal(const struct external_mounts *a, const struct external_mounts *b);

#define EXTERNAL_DEVICE "hull-device-" /* key of a device node of the host's: its name follows */

/* The host's device node of such a key; NULL: it is none of those that containers get. */
const char *external_device(const char *name);

/* The mount of the configuration with this destination, or -1. */
ssize_t external_mount_index(const struct oci_config *config, const char *destination);

/* ---- container_cgroup.c ------------------------------------------------------------------------- */

bool container_has_cgroup(const struct sandbox *sb);

/* Opens the sandbox' cgroup. */
int container_open_cgroup(const struct sandbox *sb, struct cgroup *cgroup, struct error *err);

/* The cgroup of a sandbox, of whatever kind: what it is made from, and where the results go. */
struct own_cgroup {
	const struct sandbox *sb;
	const struct oci_resources *resources; /* NULL: no limits */
	bool devices;                          /* they include a device filter */
	struct cgroup *cgroup;                 /* open, once it is there */
	struct strbuf *scope;                  /* the request for a systemd scope */
};

/* Finds out about the host, and makes, marks and limits the cgroup, where the sandbox has one; with a scope it is only prepared. */
int own_cgroup_make(const struct own_cgroup *own, struct error *err);

/* With a scope: has systemd make it around the process sb->pid, which does nothing meanwhile, and marks and limits the cgroup. */
int own_cgroup_start_scope(const struct own_cgroup *own, struct error *err);

/*
 * Makes the cgroup that the record names, marked as this container's and limited, and plans what the container sees of the
 * cgroups. With a systemd scope it is only prepared: container_make_scope() makes it around the process, which waits
 * meanwhile (MSG_CGROUP), and lets that go on.
 */
int container_make_cgroup(struct container_plan *plan, struct error *err);

int container_make_scope(struct container_plan *plan, struct error *err);
/* The same around the process sb->pid, which is told nothing. */
int container_start_scope(struct container_plan *plan, struct error *err);

/*
 * Empties (first, or where it is found busy) and removes the cgroup. One without our mark was never entered by us: where it is
 * empty it is what a creation left that was cut short, and where it is not, it is somebody else's and left alone.
 */
int container_destroy_cgroup(const struct sandbox *sb, bool kill_first, struct error *err);

/* Signals every process in the cgroup, if it is ours. */
int container_signal_all(const struct sandbox *sb, int sig, struct error *err);

/* Operations of the seam; see sandbox.h. */
int container_pause(struct sandbox *sb, struct error *err);
int container_resume(struct sandbox *sb, struct error *err);
int container_paused(struct sandbox *sb, struct error *err);
ssize_t container_pids(struct sandbox *sb, pid_t **pids, struct error *err);
int container_update(struct sandbox *sb, const struct oci_resources *changes,
		     const struct oci_resources *merged, struct error *err);
int container_update_class(struct sandbox *sb, const struct oci_intel_rdt *changes, bool make,
			   struct error *err);
int container_stats(struct sandbox *sb, struct arena *arena, struct events_stats *stats,
		    struct error *err);
int container_watch_oom(struct sandbox *sb, struct cgroup_oom *oom, struct error *err);

#endif
