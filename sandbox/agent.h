/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host and hull-guest, process 1 of a microVM, say to each other over vsock.
 *
 * hull-guest listens on port AGENT_PORT. A connection to it is one request: one frame from the host, with what is to be done,
 * and one or more from the guest. Besides there is the main connection, which the guest makes to the VMM once it is up
 * (host port AGENT_PORT): it says AGENT_HELLO, and later tells of the container's first process.
 *
 * Before a running machine is saved, hull-vmm has the container frozen (AGENT_HOLD), so that nothing of it runs in a machine that goes on from
 * there until that knows who and when it is: AGENT_RESTORED thaws it there, AGENT_GO in the machine that was saved.
 *
 * The standard streams of a process have a connection each. The guest listens for them on a port of its own choice
 * (AGENT_STREAMS), and the host sends one byte, which of the streams it is, and after it only the stream's bytes.
 * Ends are half-closed, as those of pipes are.
 *
 * Who reads bounds every length; the host takes all that the guest says for hostile. Its texts become errors and warnings, which the
 * log prints such that no terminal obeys them.
 */
#ifndef HULL_SANDBOX_AGENT_H
#define HULL_SANDBOX_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define AGENT_PORT       1
#define AGENT_READY_PORT 2 /* of the host */
#define AGENT_VERSION    1
#define AGENT_MAGIC      0x6c6c7568u /* "hull" */
#define AGENT_PAYLOAD_MAX \
	((size_t)17 << 20) /* bytes: a configuration of OCI_CONFIG_MAX and what is with it */
#define AGENT_STREAMS_MAX  3
#define AGENT_WARNINGS_MAX 64 /* before an answer; more of them are no answer */

enum agent_type {
	/* From the guest. */
	AGENT_HELLO = 1,  /* struct agent_hello */
	AGENT_OK,         /* done */
	AGENT_ERROR,      /* a code and a text; see agent_send_error() */
	AGENT_EXEC_ERROR, /* the same, and it is about the workload's program */
	AGENT_STREAMS,    /* struct agent_streams: connect to me for the standard streams */
	AGENT_STARTED,    /* the process runs */
	AGENT_EXITED,     /* struct agent_exited */
	AGENT_DATA,       /* the answer's bytes */
	AGENT_WARNING,    /* a text, before an answer */
	AGENT_HELD, /* uint32_t: 0, or the errno for which the container was not frozen. The answer to AGENT_HOLD, on the main connection */

	/* Requests; the answer is AGENT_OK or AGENT_ERROR unless it says otherwise. */
	AGENT_CREATE =
		32, /* struct agent_create, the configuration, vm_mounts_list(). Streams over the main connection. Or AGENT_EXEC_ERROR */
	AGENT_START, /* the network (vm_net_print()), may be empty. Or AGENT_EXEC_ERROR */
	AGENT_EXEC, /* struct agent_exec, a process object, cgroups. Answers: AGENT_STREAMS, AGENT_STARTED, AGENT_EXITED, or an error */
	AGENT_KILL, /* struct agent_kill */
	AGENT_STATE,  /* AGENT_DATA: the status' name */
	AGENT_PS,     /* AGENT_DATA: a table for people */
	AGENT_EVENTS, /* uint64_t, milliseconds. AGENT_DATA: an event as JSON, once (0) or again and again until the container ends: AGENT_OK */
	AGENT_UPDATE, /* resources as JSON */
	AGENT_MOUNT,  /* struct agent_mount, mounts as JSON, vm_mounts_list() */
	AGENT_RESTORED, /* struct agent_restored, the network (vm_net_print()), may be empty. The machine goes on from a snapshot; thaws what was held */

	/* To a session: the main connection, or that of an AGENT_EXEC. No answer. */
	AGENT_SIGNAL = 64, /* uint32_t: to its process */
	AGENT_RESIZE,      /* struct agent_size: of its terminal */
	/* To the main connection. */
	AGENT_HOLD, /* freeze the container, unless it is paused. Answer: AGENT_HELD */
	AGENT_GO,   /* thaw what was held. No answer */
};

struct agent_hello {
	uint32_t magic, version;
};

struct agent_streams {
	uint32_t port;
	uint32_t count; /* 3: input, output, error; 1: a terminal */
};

struct agent_size {
	uint16_t rows, columns;
};

struct agent_exited {
	uint32_t status; /* 0 to 255 */
	uint64_t bytes
		[AGENT_STREAMS_MAX]; /* sent of each stream: when the host has so many it has all */
};

struct agent_create {
	uint64_t time_ns;       /* the host's CLOCK_REALTIME */
	uint8_t seed[64];       /* for the guest's random pool */
	uint32_t config_len;    /* config.json of the container, adjusted for the guest, follows; */
	uint32_t mounts_len;    /* then the mounts below what is shared */
	struct agent_size size; /* of the terminal; 0: not known */
	uint32_t flags;
	char id[256];
};
#define AGENT_NO_NEW_KEYRING (1u << 0)
#define AGENT_NOTIFY \
	(1u << 1) /* connect to AGENT_READY_PORT once the workload says that it is ready */

struct agent_exec {
	uint32_t process_len; /* a process object follows; */
	uint32_t cgroups_len; /* then the arguments of --cgroup, each ended by a NUL */
	struct agent_size size;
	uint32_t flags;
};
#define AGENT_IGNORE_PAUSED (1u << 0)

struct agent_kill {
	uint32_t signal, all;
};

struct agent_mount {
	uint32_t add;        /* 0: remove */
	uint32_t json_len;   /* mounts follow; */
	uint32_t mounts_len; /* then the mounts below what is shared for them */
};

/* Who and when the machine is now. */
struct agent_restored {
	uint64_t time_ns; /* the host's CLOCK_REALTIME */
	uint8_t seed[64]; /* for the guest's random pool, before anything of the container runs */
	uint32_t network_len; /* follows */
	char id[256];         /* of the container, from now on */
	char hostname[65];    /* of the container's own UTS namespace; "": as it was */
};

/* Sends a frame of the payload's parts, whole. A peer that is gone is -EPIPE. */
struct iovec;
int agent_send(int fd, enum agent_type type, const void *payload, size_t len, struct error *err);
int agent_sendv(int fd, enum agent_type type, const struct iovec *parts, unsigned count,
		struct error *err);
int agent_send_error(int fd, const struct error *error, bool exec_failed, struct error *err);

/*
 * Receives a frame whose payload has at most max bytes (else -EMSGSIZE). *payload is the caller's to free, with a NUL behind it. Returns its length; -EPIPE where the
 * peer is gone.
 */
ssize_t agent_receive(int fd, uint32_t *type, char **payload, size_t max, struct error *err);

/*
 * An answer to a request: 0 for AGENT_OK, the length for AGENT_DATA, or the guest's error, as our own. *exec_failed (may be NULL) tells
 * AGENT_EXEC_ERROR from AGENT_ERROR. Warnings before it are logged. Other types are -EPROTO, unless type is given, to which they then go.
 */
ssize_t agent_receive_answer(int fd, uint32_t *type, char **payload, size_t max, bool *exec_failed,
			     struct error *err);

/*
 * For a peer that does not wait: of what was received so far, in a buffer of size bytes, gives every whole frame to on_frame and keeps
 * the rest. false: a frame longer than the buffer, or one of which on_frame says that it may not come.
 */
bool agent_take_frames(char *buffer, size_t size, size_t *received,
		       bool (*on_frame)(void *data, uint32_t type, const char *payload, size_t len),
		       void *data);

/*
 * Whether a signal asks to end. One that comes for a process that has ended already, and whose output is still on its way, gives that
 * up, on either side.
 */
bool agent_asks_to_end(int sig);

/* Logs what a frame of AGENT_WARNING says. */
void agent_log_warning(const char *payload, size_t len);

/*
 * Makes of a frame's payload an error of ours, bounded; what is in it that moves a terminal's cursor the log escapes, as it does with
 * names of the configuration. Returns its negative code.
 */
int agent_error_of(const char *payload, size_t len, struct error *err);

#endif
