/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCMP_ACT_NOTIFY: the kernel asks an agent about system calls of the container, and the agent answers through a
 * descriptor that loading the filter returns. hull takes it from the new process to the agent at
 * linux.seccomp.listenerPath.
 *
 *	the process                             the caller                      the agent
 *	MSG_LISTEN: will load the filter -----> connects to listenerPath -----> accepts
 *	loads the filter      <---- MSG_GO ---
 *	MSG_LISTENER (descriptor) ------------> checks, sends with the state -> serves
 *	executes              <---- MSG_GO ---
 *
 * The caller connects, for the path is one of the host's, and speaks of process ids as the host sees them. What it
 * tells the agent is its own knowledge and the configuration's; of the process it takes the descriptor alone, once, and
 * only a listener of seccomp.
 *
 * Between the loading and the agent's having the descriptor a system call that the filter asks about would wait
 * for ever. Other runtimes make such a call there, and forbid that one (runc: write) to filters. Here a second thread,
 * which the filter does not hold, does the talking, while the first makes no system call at all. So a filter may ask
 * about any call, sendmsg(2) and write(2) too, which agents that manage sockets want. execve(2) ends that thread.
 *
 * Sources: runtime-spec config-linux.md "Seccomp" and "The Container Process State", seccomp_unotify(2).
 */
#ifndef HULL_SANDBOX_NOTIFY_H
#define HULL_SANDBOX_NOTIFY_H

#include "base/message.h"
#include "oci/state.h"
#include "sandbox/seccomp.h"

/* ---- in the new process -------------------------------------------------------------------------- */

/* The hand-over between the two threads. */
struct notify_handover {
	int sync;     /* the channel to the caller */
	int listener; /* the descriptor, once it is there; -1 before. Atomic */
	int done;     /* not 0 once the agent has it. Atomic */
};

/*
 * Asks the caller to connect to the agent, and starts the thread that will hand the listener over. Must come before the
 * limit on the number of processes; *handover must live until execve(2).
 */
int notify_begin(struct notify_handover *handover, int sync, struct error *err);

/*
 * Loads the program into the calling thread and returns once the agent has its listener. Where the agent cannot get it, the
 * process ends, and the caller has the error.
 */
int notify_load(struct notify_handover *handover, const struct seccomp_program *program,
		struct error *err);

/* ---- in the caller ------------------------------------------------------------------------------- */

/* One hand-over. Zeroed but for what the comments ask; close with notify_close(). */
struct notify_agent {
	const struct oci_seccomp
		*seccomp; /* NULL: the process has no filter, and no message is expected */
	struct oci_process_state state; /* all but the metadata */
	int connection;                 /* to the agent; starts as -1 */
	bool begun, done;
};

/* Where an agent is needed: checks, before the process is told to start, that a socket is at the path. seccomp may be NULL. */
int notify_check_path(const struct oci_seccomp *seccomp, struct error *err);

/*
 * Answers MSG_LISTEN and MSG_LISTENER on the channel. Takes the message's descriptors. -EPROTO without a message where
 * it is neither, or not their turn.
 */
int notify_answer(struct notify_agent *agent, int channel, const struct message *message,
		  struct error *err);

void notify_close(struct notify_agent *agent);

#endif
