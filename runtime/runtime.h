/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload's life, command by command: what `hull create`, `start`, `kill`, … do, the same for
 * every kind of isolation (runtime-spec runtime.md "Lifecycle", "Operations").
 *
 * Each function takes the lock of its container, reads the record, checks the state, acts through
 * the sandbox and saves the record. Messages of errors contain the words by which engines tell
 * errors apart ("does not exist", "container not running").
 */
#ifndef HULL_RUNTIME_RUNTIME_H
#define HULL_RUNTIME_RUNTIME_H

#include <stdbool.h>

#include "oci/state.h"
#include "runtime/record.h"
#include "runtime/store.h"

/* ---- making -------------------------------------------------------------------------------------- */

struct runtime_create {
	const char *bundle;         /* NULL: the working directory */
	const char *config;         /* the configuration's path; NULL: config.json in the bundle */
	const char *console_socket; /* path; NULL: none */
	const char *pid_file;       /* NULL: none */
	const char *
		pidfd_socket; /* path of a socket that receives a pidfd of the init process; NULL: none */
	const char *sandbox; /* "container", "microvm"; NULL: as the bundle says */
	bool prefer_microvm; /* the program was called by the name that means microvm */
	bool no_pivot, no_new_keyring;
	bool owns_network;    /* see struct sandbox */
	bool without_cgroups; /* make no cgroup; limits are refused then */
	bool systemd_cgroup;  /* systemd makes it */
	unsigned preserve_fds;
	/*
	 * The bundle is the container's own, and is removed with it: its root file system is this mount, which is attached nowhere. 0: it is
	 * somebody's, with what is at /root/path.
	 */
	int own_root;
	/*
	 * Called with the configuration as soon as it is read (NULL: not). What it changes there is what the container gets, and what is
	 * saved; it is in the arena.
	 */
	int (*adapt)(const void *data, struct oci_config *config, struct arena *arena,
		     struct error *err);
	const void *adapt_data;
};

/* exec_failed (may be NULL) is set where the error is about the workload's program. */
int runtime_create(const struct store *store, const char *id, const struct runtime_create *options,
		   bool *exec_failed, struct error *err);
int runtime_start(const struct store *store, const char *id, bool *exec_failed, struct error *err);

struct runtime_run {
	struct runtime_create create;
	bool detach, keep, no_subreaper;
	/* results */
	bool created; /* there was such a container, and what it owned is gone with it, or goes when it is deleted */
	int exit_status;  /* of the workload, 128 + n for a signal */
	bool exec_failed; /* the error is about the workload's program */
};

/* create, start, and unless detach wait, forward signals and the terminal, and delete. */
int runtime_run(const struct store *store, const char *id, struct runtime_run *run,
		struct error *err);

/* ---- checkpoints ------------------------------------------------------------------------------------- */

struct runtime_checkpoint {
	const char *image_path; /* the directory to make; NULL: "checkpoint" */
	const char *work_path;  /* the directory for CRIU's log; NULL: in the state directory */
	const char
		*parent_path; /* an earlier checkpoint to build on, from image_path; NULL: none */
	struct sandbox_criu_options common;
	bool pre_dump, leave_running, tcp_skip_in_flight, link_remap;
	unsigned rounds_max; /* of copying the memory while the container runs; 0: none */
	void (*progress)(void *data, unsigned round,
			 uint64_t pages); /* see struct sandbox_checkpoint */
	void *progress_data;
};

/*
 * Makes a directory of a running container. It gets its name when all is in it; what had that name is replaced. The
 * container has stopped then, or runs on; on an error it runs on. Killed at any point, either is the case.
 */
int runtime_checkpoint(const struct store *store, const char *id,
		       const struct runtime_checkpoint *options, struct error *err);

/* A bundle that is made for one container, as by hull run --image. */
struct runtime_bundle {
	char *path; /* from malloc(3) */
	int tree,
		claim; /* see struct runtime_create, own_root; what keeps the bundle until there is a state directory */
};

struct manifest_image;
struct runtime_restore {
	struct runtime_create create; /* the bundle, the console socket, and so on */
	const char *image_path, *work_path;
	struct sandbox_criu_options common;
	bool tcp_close;
	const char *lsm_profile, *lsm_mount_context; /* NULL: as they were */
	bool detach, no_subreaper;
	/*
	 * Where the checkpoint is of an image and no bundle is given: makes one for the container id. images: the checkpoint's directory,
	 * which was checked. NULL: the working directory is the bundle.
	 */
	int (*make_bundle)(void *data, const char *id, int images,
			   const struct manifest_image *image, struct runtime_bundle *bundle,
			   struct error *err);
	void *bundle_data;
	const struct restore_identity *identity; /* of a clone, from clone.c; NULL: none */
	int exit_status;                         /* result: of the workload, unless detach */
};

/* Makes a container of such a directory, which stays as it is. In the foreground it waits, and deletes, as run does. */
int runtime_restore(const struct store *store, const char *id, struct runtime_restore *o,
		    struct error *err);

/* A network namespace for a clone. */
struct runtime_clone_network {
	const char *id, *path;
};

struct runtime_clone {
	struct runtime_restore restore; /* of each; detached */
	const char *const *ids;
	size_t count;
	const struct runtime_clone_network *networks;
	size_t network_count;
	const char *layers; /* the directory for writable layers; NULL: the state directories */
	bool keep_hostname;
	unsigned jobs; /* how many are made at a time; 0: as many as there are processors */
	/* Called for each as soon as it runs, or (err) could not be made. */
	void (*done)(void *data, const char *id, const struct error *err);
	void *data;
};

/*
 * Makes many containers of one checkpoint at once, which is checked once. Each has its own writable layer over the bundle's root file
 * system, its own host name (its id) and machine id, and its own cgroup. The failure of one does not keep the others: *failed says
 * how many there were. An error returned is one that none was made for.
 */
int runtime_clone(const struct store *store, const struct runtime_clone *o, size_t *failed,
		  struct error *err);

/* ---- looking --------------------------------------------------------------------------------------- */

/* A container as it is now; close with runtime_close(). */
struct container {
	int dir; /* the state directory, locked unless it was only peeked at */
	struct arena arena;
	struct record record;
	struct oci_config *config; /* NULL until container_load_config() */
	bool notify; /* being created: the workload shall be able to say that it is ready */
	enum oci_status status;
	struct sandbox sandbox;
	struct cgroup_host cgroups; /* the sandbox' */
};

enum container_access {
	CONTAINER_READ,  /* no lock: to look */
	CONTAINER_WRITE, /* with the lock */
	CONTAINER_FORCE, /* to delete it whatever its condition: no lock, a damaged record is pieced together */
};

/* Opens a container and finds out its status. */
int container_open(const struct store *store, const char *id, enum container_access access,
		   struct container *c, struct error *err);
void container_close(struct container *c);
#define _cleanup_container_ __attribute__((cleanup(container_close)))

/* Reads the configuration that was saved at creation into c->config and c->sandbox.config. */
int container_load_config(struct container *c, struct error *err);

/* What `state` prints; strings are borrowed from c. */
struct oci_state container_state(const struct container *c);

/*
 * The processes of a container, as the host numbers them; of one that has stopped those that are left. Where they are not the host's
 * and table is not NULL: instead of them a table for people (else *table is NULL). The caller frees *pids and *table.
 */
ssize_t runtime_pids(const struct store *store, const char *id, pid_t **pids, char **table,
		     struct error *err);

struct runtime_events {
	uint64_t interval_ms;
	bool once;            /* one line of statistics, and no more */
	sandbox_print *print; /* takes a line, an event as JSON */
	void *data;
};

/* Prints statistics in each interval, and out-of-memory events, until the container ends. Takes no lock. */
int runtime_events(const struct store *store, const char *id, const struct runtime_events *events,
		   struct error *err);

/* ---- acting ---------------------------------------------------------------------------------------- */

int runtime_kill(const struct store *store, const char *id, int sig, bool all, struct error *err);
int runtime_pause(const struct store *store, const char *id, struct error *err);
int runtime_resume(const struct store *store, const char *id, struct error *err);

struct runtime_update {
	const struct oci_resources *resources;       /* NULL: none of them is changed */
	const char *l3_cache_schema, *mem_bw_schema; /* of linux.intelRdt; NULL: as it is */
};

/*
 * Changes the limits of a container that has not stopped, and keeps them in its saved configuration. On an error, which
 * names the property and the file, limits in front of it may have been changed, and the saved configuration was not.
 */
int runtime_update(const struct store *store, const char *id, const struct runtime_update *update,
		   struct error *err);

/* Removes a stopped (or created) container; force: also a running or half-made one, and one that does not exist is no error. */
int runtime_delete(const struct store *store, const char *id, bool force, struct error *err);

/*
 * Adds the mounts that file lists (a JSON array as config.json's mounts; "-": standard input) to a container that has not stopped,
 * or unmounts what is on their destinations. On an error those before it stay done.
 */
int runtime_mount(const struct store *store, const char *id, const char *file, bool add,
		  struct error *err);

struct runtime_exec {
	const char *
		process_file; /* a process object; NULL: the container's own process with what follows changed */
	const char *const *args;            /* NULL-terminated */
	const char *const *env;             /* "NAME=VALUE", NULL-terminated, or NULL */
	const char *const *capabilities;    /* to add, NULL-terminated, or NULL */
	const char *cwd, *user;             /* user: "UID[:GID]" */
	const char *const *additional_gids; /* each "GID" or "GID,GID", NULL-terminated, or NULL */
	const char *const *cgroups;         /* NULL-terminated, or NULL: see struct sandbox_exec */
	const char *apparmor, *process_label;
	const char *console_socket, *pid_file, *pidfd_socket;
	bool tty, no_new_privs, detach, ignore_paused;
	unsigned preserve_fds;
	/* results */
	pid_t pid; /* of the process, with detach a child of ours that is still to be waited for */
	int exit_status;
	bool exec_failed;
};

int runtime_exec(const struct store *store, const char *id, struct runtime_exec *exec,
		 struct error *err);

/* ---- between the files of this folder ---------------------------------------------------------------- */

/* Computes the container's cgroup from c->config into the record; "" where there is none. */
int container_plan_cgroup(struct container *c, const char *id, bool without_cgroups,
			  struct error *err);
/* The same, and into the record's scope, for one that systemd makes. */
int container_plan_scope(struct container *c, const char *id, struct error *err);

/* Reads and checks everything; nothing has been made when this fails. *json: the configuration's text, the caller's to free. */
int container_prepare(struct container *c, const char *id, const struct runtime_create *o,
		      char **json, size_t *json_len, struct error *err);
int container_save_config(struct container *c, const char *json, size_t len, struct error *err);
struct sandbox_hooks container_wanted_hooks(struct container *c);

/* Undoes what was made. The first error is the one to report: this only warns. */
void container_unmake(const struct store *store, struct container *c);

/* Is the foreground of a started container, whose lock it gives up; then deletes it, unless keep. Closes notify. */
int container_run_foreground(const struct store *store, struct container *c, int notify, bool keep,
			     int *exit_status, struct error *err);

/*
 * Gives a container another id, in the state directory; what else is named after it, as its cgroup may be, keeps its name. Without
 * a lock: who calls it knows that no command is at work on the container.
 */
int container_rename(const struct store *store, struct container *c, const char *id,
		     struct error *err);

/* Prepares the sandbox of c from its record. */
int container_bind_sandbox(struct container *c, struct error *err);

/* Kills, removes the isolation, runs poststop hooks, removes the state directory. c is locked. */
int container_destroy(const struct store *store, struct container *c, struct error *err);

/*
 * Records the intention to freeze a container that is not paused, before it is done: if we are killed in between, the
 * record makes others ask the kernel, and `resume` can undo it.
 */
int container_record_pause(struct container *c, struct error *err);

/* Runs hooks with the container's state. */
struct oci_hook_list;
int container_run_hooks(const struct container *c, const struct oci_hook_list *list,
			const char *name, struct error *err);

/* Tells a new process' id to whoever asked: in a file, replaced at once, and as a pidfd over a socket. Both may be NULL. */
int announce_pid(pid_t pid, const char *pid_file, const char *pidfd_socket, struct error *err);

/* Checks that descriptors 3 to 2 + count are open. */
int check_preserved_fds(unsigned count, struct error *err);

/* Connects to a console socket. -EINVAL where one is needed and missing. */
int open_console_socket(const char *path, bool terminal, bool detach, struct error *err);

#endif
