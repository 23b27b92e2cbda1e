/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between a workload's life and the way it is isolated. runtime/ drives a struct sandbox
 * through its struct sandbox_ops and knows neither namespaces nor KVM; each kind of isolation is one
 * implementation of the operations.
 *
 * The life of a sandbox: create() leaves an init process that is set up and waits; commit() lets it
 * outlive the caller, or start() lets it run at once. Later commands open the sandbox again from
 * its state and call the other operations. destroy() ends and removes whatever there is, after
 * whatever crash.
 */
#ifndef HULL_SANDBOX_SANDBOX_H
#define HULL_SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "cgroups/cgroup.h"
#include "cgroups/systemd.h"
#include "oci/config.h"
#include "oci/state.h"

enum sandbox_kind { SANDBOX_CONTAINER, SANDBOX_MICROVM };

/* "container", "microvm". */
const char *sandbox_kind_name(enum sandbox_kind kind);

/* The points of a container's start at which hooks run (runtime-spec config.md, "POSIX-platform Hooks"). */
enum sandbox_stage {
	SANDBOX_STAGE_CREATE_RUNTIME,   /* in the caller: prestart and createRuntime hooks */
	SANDBOX_STAGE_CREATE_CONTAINER, /* in the container's namespaces, before pivot_root */
	SANDBOX_STAGE_START_CONTAINER,  /* in the container, before the workload is executed */
};

/* How the caller runs hooks. In the container's process run() is called in a copy of the caller's memory. */
struct sandbox_hooks {
	int (*run)(void *data, enum sandbox_stage stage, pid_t pid, struct error *err);
	void *data;
	bool wanted[3]; /* by enum sandbox_stage */
};

/* What a process gets from outside its configuration. */
struct sandbox_io {
	int console_socket;    /* a connected socket that receives the terminal, or -1 */
	unsigned preserve_fds; /* descriptors 3 to 2 + preserve_fds are passed on */
	unsigned
		listen_fds; /* the first of them are sockets that the process is told of as sd_listen_fds(3) has it */
	const char *listen_names; /* LISTEN_FDNAMES; NULL: none */
};

struct sandbox;

/* An additional process in a running sandbox. */
struct sandbox_exec {
	const struct oci_process *process;
	struct sandbox_io io;
	/*
	 * Cgroups below the container's own, NULL-terminated, or NULL: "PATH" in every hierarchy, "CONTROLLER[,CONTROLLER…]:PATH" in
	 * those of cgroup v1. In the others it is the container's own.
	 */
	const char *const *cgroups;
	enum oci_status status; /* of the container, for agents that are told of the process */
	/* results */
	pid_t pid;
	int terminal; /* the terminal's primary side where there is no console socket, else -1 */
};

struct manifest;

/* How a workload's cgroups are dumped and restored, as CRIU numbers it. */
enum sandbox_cgroup_mode {
	CGROUP_MODE_IGNORE = 0,
	CGROUP_MODE_SOFT = 3,
	CGROUP_MODE_FULL = 4,
	CGROUP_MODE_STRICT = 5,
};

/* How its network is held still meanwhile, as CRIU numbers it. */
enum sandbox_network_lock { NETWORK_LOCK_IPTABLES = 1, NETWORK_LOCK_NFTABLES, NETWORK_LOCK_SKIP };

/* What checkpoint and restore have in common. */
struct sandbox_criu_options {
	bool tcp_established, ext_unix_sk, shell_job, file_locks;
	bool empty_network; /* leave the network namespace's devices, addresses and rules to others */
	enum sandbox_cgroup_mode cgroup_mode;
	enum sandbox_network_lock network_lock; /* 0: CRIU's default */
	int work;                               /* directory for CRIU's log */
};

struct sandbox_checkpoint {
	struct sandbox_criu_options common;
	bool leave_running, pre_dump, tcp_skip_in_flight, link_remap;
	const char *
		parent; /* the checkpoint that it builds on, relative to its own directory; NULL: none */
	int images; /* the directory that is written: in the directory `place`, with the name `temporary` */
	int place;
	const char *temporary, *name; /* name: what it gets once it is whole */
	struct manifest *manifest;    /* what the caller knows of it; the rest is added */
	/*
	 * Copies the memory in up to so many rounds while the workload runs, so that what is left for the time in which it is stopped
	 * is little; 0: none. sandbox_pre_copy_again() says when they end. What they wrote is in the directory, too.
	 */
	unsigned rounds_max;
	/* Called after each round, which are counted from 1, with the pages that it wrote; last with round 0: those of the stop. May be NULL. */
	void (*progress)(void *data, unsigned round, uint64_t pages);
	void *progress_data;
	/*
	 * Called once all is written, while the workload stands still, and before the directory gets its name: the caller has something to
	 * add. Not for a pre-dump. May be NULL.
	 */
	int (*frozen)(void *data, struct error *err);
	void *frozen_data;
};

/*
 * Whether another round is worth its time, after this one (counted from 1) wrote so many pages and the one before `last`: the workload
 * may change memory as fast as it is copied.
 */
#define PRE_COPY_FEW 256 /* pages; that many are written in no time */
static inline bool sandbox_pre_copy_again(unsigned round, unsigned rounds_max, uint64_t last,
					  uint64_t pages)
{
	return round < rounds_max && pages >= PRE_COPY_FEW && (round == 1 || pages < last / 2);
}

struct sandbox_restore {
	struct sandbox_criu_options common;
	bool tcp_close;
	const char *lsm_profile, *lsm_mount_context; /* NULL: as they were */
	const char *hostname; /* of the workload's own UTS namespace from now on; NULL: as it was */
	int images;
	const struct manifest *manifest;
	/* Called when there is an init process, in sb->pid, and before it goes on. */
	int (*restored)(void *data, struct error *err);
	void *data;
};

/* Takes a line. A negative errno ends what gives it. */
typedef int sandbox_print(void *data, const struct strbuf *line, struct error *err);

struct sandbox_ops {
	enum sandbox_kind kind;
	/* In the state directory: a stream socket that is connected to once the workload is ready. NULL: it is to be shown the caller's own. */
	const char *notify_socket;
	/* Checks that everything the configuration asks for can be done; changes nothing. */
	int (*check)(const struct oci_config *config, struct error *err);
	/* Makes the isolation and the init process, which then waits. Sets pid, start_time and terminal. */
	int (*create)(struct sandbox *sb, const struct sandbox_hooks *hooks,
		      const struct sandbox_io *io, bool detach_later, struct error *err);
	/* The state has been saved: the init process may outlive us and waits for start(). */
	int (*commit)(struct sandbox *sb, struct error *err);
	/* Executes the workload; returns once it runs. exec_failed tells an error of its execve(2) from others. */
	int (*start)(struct sandbox *sb, struct error *err);
	/* Whether start() was carried out, by asking the init process: 1, 0 or a negative errno. */
	int (*started)(struct sandbox *sb, struct error *err);
	/* Sends a signal to the init process, or (all) to every process. SIGKILL ends also what is paused. -ESRCH: there is none. */
	int (*signal)(struct sandbox *sb, int sig, bool all, struct error *err);
	int (*exec)(struct sandbox *sb, struct sandbox_exec *exec, struct error *err);
	int (*pause)(struct sandbox *sb, struct error *err);
	int (*resume)(struct sandbox *sb, struct error *err);
	int (*paused)(struct sandbox *sb, struct error *err); /* 1, 0 or a negative errno */
	/*
	 * Changes limits while it runs. changes: what is to be written; merged: all that is in force afterwards. On an
	 * error, which names the property, what stands before it in the specification may have been changed.
	 */
	int (*update)(struct sandbox *sb, const struct oci_resources *changes,
		      const struct oci_resources *merged, struct error *err);
	/*
	 * Changes the share of cache and memory bandwidth while it runs. changes: closID, and what is to be written; make:
	 * the container has no class of its own yet.
	 */
	int (*update_class)(struct sandbox *sb, const struct oci_intel_rdt *changes, bool make,
			    struct error *err);
	/* What it used so far; lists are in the arena. */
	int (*stats)(struct sandbox *sb, struct arena *arena, struct events_stats *stats,
		     struct error *err);
	/* Begins to notice when memory runs out; oom->fd can be polled. */
	int (*watch_oom)(struct sandbox *sb, struct cgroup_oom *oom, struct error *err);
	/*
	 * The processes, as who sees them numbers them, the host or the guest: the caller frees *pids. Returns how many. With
	 * sb->pid 0 the init process has ended: what it left behind is meant, where it ended alone.
	 */
	ssize_t (*pids)(struct sandbox *sb, pid_t **pids, struct error *err);
	/* NULL where they are the host's. Else a table of them for people, which the caller frees. */
	int (*ps)(struct sandbox *sb, char **table, struct error *err);
	/*
	 * NULL where stats() and watch_oom() are all there is. Else the lines of `events`, once or at intervals until the
	 * workload ends.
	 */
	int (*events)(struct sandbox *sb, uint64_t interval_ms, bool once, sandbox_print *print,
		      void *data, struct error *err);
	/*
	 * Adds mounts to a running sandbox, in their order; or unmounts what is mounted on their destinations, in the reverse
	 * order. On an error those before it are done.
	 */
	int (*mount)(struct sandbox *sb, const struct oci_mounts *mounts, bool add,
		     struct error *err);
	/*
	 * Makes a directory of a running workload, which goes on afterwards or has ended. On an error it goes on. NULL, and
	 * restore(), where it cannot be done.
	 */
	int (*checkpoint)(struct sandbox *sb, const struct sandbox_checkpoint *checkpoint,
			  struct error *err);
	/* In the place of create(), commit() and start(): makes the isolation, and in it what was dumped. */
	int (*restore)(struct sandbox *sb, const struct sandbox_hooks *hooks,
		       const struct sandbox_io *io, const struct sandbox_restore *restore,
		       struct error *err);
	/* Kills what runs and removes all that create() made outside the state directory. Can be repeated. */
	int (*destroy)(struct sandbox *sb, struct error *err);
};

struct sandbox {
	const struct sandbox_ops *ops;
	const struct oci_config
		*config; /* NULL where it could not be read (destroy() works without) */
	const char *id;
	const char *bundle; /* absolute */
	const char *rootfs; /* absolute */
	int own_root; /* a mount that is the root file system, in the place of what is there; 0: none */
	const char *cgroup_path; /* in every hierarchy; NULL or "": no cgroup */
	struct cgroup_host
		*cgroups; /* the host's, found out by who first needs it: cgroup_host_know() */
	const struct systemd_scope
		*scope; /* systemd makes the cgroup, as this scope; NULL: hull does */
	int state_dir;  /* descriptor of the state directory */
	bool no_pivot, no_new_keyring;
	bool notify;       /* the workload shall be able to say that it is ready */
	bool owns_network; /* our network namespace is for the container alone, which has the machine for itself: we set its sysctls, at the start */

	pid_t pid;           /* of the init process, on the host; 0: none yet */
	uint64_t start_time; /* its start, in clock ticks since boot (proc(5)) */
	pid_t file_server;   /* of a microVM, on the host; 0: none */
	uint64_t file_server_start;
	int terminal; /* after create(): the terminal's primary side for the caller, or -1 */
	int channel;  /* between create() and commit() or start(): to the init process; else -1 */
	bool exec_failed;
	int net_namespace; /* the container's, while it has network devices of the host's and is ours; else -1 */
};

/* The operations of a kind; NULL with a message where it is not in this build. */
const struct sandbox_ops *sandbox_ops_of(enum sandbox_kind kind, struct error *err);

#endif
