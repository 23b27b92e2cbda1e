/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last steps of every process that hull starts in a container, init or exec: from "hull's code
 * in the container's namespaces" to "the workload's program". Planned in the caller, prepared in
 * the new process, executed when told to.
 */
#ifndef HULL_SANDBOX_PROCESS_H
#define HULL_SANDBOX_PROCESS_H

#include "sandbox/privileges.h"
#include "sandbox/seccomp.h"

struct process_plan {
	const struct oci_process *process;
	const struct oci_linux *linux_; /* NULL: has none */
	struct privileges privileges;
	struct seccomp_program filter;
	unsigned preserve_fds;
	unsigned listen_fds; /* see struct sandbox_io; set by the caller */
	const char *listen_names;
	char path[4096]; /* the program, once process_prepare() found it */
	char **envp;     /* process.env, with HOME, and room for the variables of listen_fds */
	size_t env_len;
	bool filter_loaded; /* by process_prepare_to_be_seen() */
	bool exec_failed; /* an error is about the workload's program or directory, not about hull */
};

/* In the caller, before the new process exists. */
int process_plan(struct process_plan *plan, const struct oci_process *process,
		 const struct oci_linux *linux_, unsigned preserve_fds, struct error *err);
void process_plan_free(struct process_plan *plan);

#define _cleanup_process_plan_ __attribute__((cleanup(process_plan_free)))

/*
 * In the new process, inside the container's root: labels, limits (unless the caller set them already), user, capabilities,
 * working directory, and the search for the program. proc: a descriptor of a trusted /proc.
 *
 * Of the caller's environment nothing is left afterwards.
 *
 * Before anything is looked up in the container, all descriptors are closed but those to be passed on and the kept ones (-1: none;
 * none of them may lead to a file of the host's): the image could reach the host through /proc/self/fd (CVE-2024-21626).
 */
int process_prepare(struct process_plan *plan, int proc, bool set_limits, const int *keep,
		    size_t keep_count, struct error *err);

/*
 * After process_prepare(), where the process of the workload will be in a pid namespace of others: whoever has CAP_SYS_PTRACE in there
 * could use the CAP_SYS_ADMIN that is kept for a filter without no_new_privs. So that filter is loaded before, and must allow what hull
 * does until execve(2). Not one with an agent, which is asked from its loading on.
 */
int process_prepare_to_be_seen(struct process_plan *plan, struct error *err);

/* Gives a terminal of the container's to the user of its process. */
int process_own_terminal(int terminal, const struct oci_process *process, struct error *err);

/* Sends a terminal's primary side over a console socket, if there is one (-1: none), and closes it then. */
int process_hand_over_terminal(int console_socket, int *primary, struct error *err);

/*
 * Makes a terminal standard input, output and error, and closes it; -1: does nothing. Comes before others may see the process,
 * who would find the caller's terminal or files behind its descriptors.
 */
int process_use_terminal(int *terminal, const struct oci_process *process, struct error *err);

/* In the process of the workload: a session of its own, which its terminal, if it has one, controls. */
int process_begin_session(const struct oci_process *process, struct error *err);

/*
 * Closes what is not to be passed on but sync (which execve(2) closes), sets scheduling, memory policy and personality,
 * loads the filter, executes. Returns only on failure.
 */
int process_execute(struct process_plan *plan, int sync, struct error *err);

/* A new session keyring, so that the container does not get the caller's keys (keyrings(7)). */
int process_new_keyring(const char *id, struct error *err);

#endif
