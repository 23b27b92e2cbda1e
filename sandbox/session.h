/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a process in a microVM: its standard streams, carried between descriptors of the host's and connections to
 * the guest; signals and sizes to it; its end. Used by hull-vmm for the container's first process and by the process that stands
 * for an exec. Everything comes from the guest, so all of it is bounded, and no order of its words is relied upon.
 */
#ifndef HULL_SANDBOX_SESSION_H
#define HULL_SANDBOX_SESSION_H

#include <stdbool.h>
#include <sys/ioctl.h>

#include "microvm/loop.h"
#include "sandbox/agent.h"
#include "sandbox/relay.h"

struct session {
	/* Set by the caller. */
	struct loop *loop;
	struct loop_source
		control; /* .fd: the connection on which the guest speaks; the session's from session_begin() on */
	int stdio
		[AGENT_STREAMS_MAX]; /* the host's ends, the session's, which it closes; with tty only [0], for both directions */
	bool tty;
	bool wants_hello; /* it begins with AGENT_HELLO: the main connection */
	/* A connection to the guest's port for the stream, or a negative errno. */
	int (*connect)(void *data, uint32_t port, unsigned stream, struct error *err);
	void (*on_hello)(void *data); /* the guest is up */
	void (*on_held)(void *data,
			int code); /* the answer to session_hold(): 0 or an errno; may be NULL */
	void (*on_started)(void *data); /* the process runs; may be NULL */
	/* Once: the process has ended with status, and all its output was written; or (status -1) the guest is gone or talks nonsense, as err says. */
	void (*on_end)(void *data, int status, const struct error *err);
	void *data;

	/* The session's own. */
	struct relay in, out[2];
	bool streaming, exited, ended;
	bool exec_failed; /* an error that on_end() is told is about the workload's program */
	struct agent_exited exit;
	bool heard_hello, heard_held;
	bool holding; /* and has no answer yet */
	uint32_t held;
	char frame[2048]; /* what was received of the guest's next frame */
	size_t received;
};

int session_begin(struct session *session, struct error *err);

/*
 * Passes a signal on to the process; where that has ended already and its output is waited for, one that asks to end gives that up.
 */
void session_signal(struct session *session, int sig);

/* Passes the size of the host's terminal, where it has one, on to that of the process. */
void session_resize(struct session *session);

/* The size that a terminal of the host's has; 0: nobody has set one. */
struct agent_size session_terminal_size(int terminal);

/* Has the guest freeze the workload, and lets it go on. */
int session_hold(struct session *session, struct error *err);
void session_release(struct session *session);

/*
 * The session to and from a snapshot of its machine (microvm/snapshot.h), with the bytes that it has read and not yet written. One that was saved
 * carries nothing until session_release(): what it has is the other's to carry. Restored is one
 * that is prepared and has not begun; it begins by that. adopt: the connection of a stream, or (AGENT_STREAMS_MAX) that on which the guest
 * speaks, from which `unread` is to come first; -ENOENT: there is none.
 */
struct snapshot;
typedef int session_adopt(void *data, unsigned stream, const void *unread, size_t len,
			  struct error *err);
int session_save(struct session *session, struct snapshot *snapshot, struct error *err);
int session_restore(struct session *session, struct snapshot *snapshot, session_adopt *adopt,
		    struct error *err);

/* Closes everything. */
void session_end(struct session *session);

#endif
