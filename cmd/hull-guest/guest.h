/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of hull-guest: main.c (process 1), machine.c (what the machine needs), requests.c, session.c, and for
 * checkpoints hold.c and restored.c.
 */
#ifndef HULL_CMD_HULL_GUEST_H
#define HULL_CMD_HULL_GUEST_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "runtime/store.h"
#include "sandbox/agent.h"

#define GUEST_RUN "/run/hull"
#define GUEST_SHARED \
	GUEST_RUN "/shared" /* the host's tree, by virtiofs: what the container's paths lead to */
#define GUEST_TAG "hull"
#define GUEST_ID  GUEST_RUN "/id" /* a file: the container's id, once it is made */

struct guest {
	int main_connection;
	struct store store;
	const char *id; /* of the container; NULL: none yet */
};

/* ---- machine.c ---------------------------------------------------------------------------------------- */

/* From the initramfs to a root of our own with /proc, /sys, /dev, /run and cgroups. */
int machine_set_up(struct error *err);

/* The time of day, in nanoseconds, and random bytes from the host. */
int machine_take_identity(uint64_t time_ns, const uint8_t seed[64], struct error *err);

/* Writes back what is dirty and switches the machine off. Does not return. */
void machine_power_off(void) __attribute__((noreturn));

/* ---- requests.c --------------------------------------------------------------------------------------- */

/*
 * In a process of its own: carries out the request of a connection. The first process of the container is made by the one that
 * serves AGENT_CREATE, which stays until it ends and returns true then.
 */
bool request_serve(struct guest *guest, int connection);

/* Reads the container's id, of at most STORE_ID_MAX bytes. -ESRCH where there is none yet. */
int request_load_id(char *id, size_t size, struct error *err);

/* ---- hold.c ------------------------------------------------------------------------------------------- */

/*
 * Freezes the container for a snapshot, unless it is paused or has ended, and remembers that in a file, which is in the snapshot:
 * whoever goes on from there finds it, in whichever process. One that is held already stays so. Waits some seconds each for
 * a command on the container and for the freezing: -EBUSY and -ETIMEDOUT, and then it is not frozen.
 */
int hold_begin(const struct store *store, struct error *err);

/* Thaws what hold_begin() froze, and nothing else. */
int hold_end(const struct store *store, struct error *err);

/* ---- restored.c --------------------------------------------------------------------------------------- */

/* Serves AGENT_RESTORED. On an error what was held stays so, and the machine is of no use. */
int restored_serve(struct guest *guest, const char *payload, size_t len, struct error *err);

/* ---- ps.c ---------------------------------------------------------------------------------------------- */

struct strbuf;
void ps_table(const pid_t *pids, size_t count, struct strbuf *out);

/* ---- session.c ---------------------------------------------------------------------------------------- */

/* A process that runs in the guest with its standard streams on the host. */
struct session {
	int control; /* where AGENT_STREAMS, … are said and AGENT_SIGNAL, … heard; the caller's */
	bool tty;
	int streams[AGENT_STREAMS_MAX]; /* connections, by the number of the stream */
	int ends[AGENT_STREAMS_MAX];    /* our ends of pipes; [0] of a terminal: its primary side */
	int theirs[AGENT_STREAMS_MAX];  /* the process' ends, until it has them */
	pid_t pid;                      /* a child of ours */
	const struct store *
		store; /* of the container whose first process it is, to hold it; NULL: it is another process */
	int readiness; /* on which it may say that it is ready (runtime/systemd.h), or -1; the caller's */
};

/* All closed. */
void session_init(struct session *session, int control, bool tty);
void session_close(struct session *session);

/* Says where to connect to, and waits for the connections. Makes the pipes. */
int session_connect(struct session *session, struct error *err);

/* Puts the process' ends in the place of our standard streams, so that a process that we make has them; and back (to /dev/null). */
int session_enter(struct session *session, struct error *err);
void session_leave(struct session *session);

/* Carries the streams, and signals and sizes for the process, until it has ended and all that it wrote was sent: then says AGENT_EXITED. */
int session_run(struct session *session, struct error *err);

/* After it: waits until the host has all that was sent, and closes. What is on its way when the machine ends would be lost. */
void session_await_host(const struct session *session);

#endif
