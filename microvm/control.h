/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said between hull and a monitor that runs, in messages (base/message.h).
 *
 * --sync, a connected socket: the monitor sends CONTROL_DONE when the guest has begun, or CONTROL_FAILED and ends.
 * --control, a listening socket: who connects sends requests, and gets an answer to each in turn.
 */
#ifndef HULL_MICROVM_CONTROL_H
#define HULL_MICROVM_CONTROL_H

#include "base/error.h"
#include "microvm/vmm.h"

#define CONTROL_CLIENTS_MAX 8

enum control_type {
	/* Answers. */
	CONTROL_DONE = 1,
	CONTROL_FAILED, /* struct error */
	/* Requests. */
	CONTROL_PAUSE = 16, /* done: every processor has stopped */
	CONTROL_RESUME,
	CONTROL_STATUS, /* done: struct control_status */
	CONTROL_NET, /* uint32_t, and a descriptor: the card of this number, from 0 on, gets this tap */
	/*
	 * A descriptor of an empty file, for the machine: done (struct control_saved): its memory is copied while it runs, or what changed of it
	 * since the last time on this connection. CONTROL_SAVE ends it.
	 */
	CONTROL_COPY,
	/*
	 * Two descriptors of empty files (the first one not used after CONTROL_COPY), for the machine and for its file server's state: done (struct control_saved): the machine is saved and has stopped. It
	 * goes on when that connection ends, or with CONTROL_RESUME.
	 */
	CONTROL_SAVE,
	CONTROL_MEMORY, /* uint64_t, MiB: what the guest may use of its memory; the balloon takes the rest */
	/* Over --sync, from the hull that started the monitor: it may outlive that. No answer. */
	CONTROL_COMMIT,
};

struct control_status {
	uint32_t paused;
	uint32_t memory_mib;  /* of the machine */
	uint32_t balloon_mib; /* given back by the guest, as it says */
};

struct control_saved {
	uint64_t pages; /* that were written */
};

struct control_client {
	struct control *control;
	struct loop_source source; /* fd -EBADF: free */
};

/* A machine that is being saved, or was and has stopped for it. */
struct control_saving {
	struct control_client *client; /* NULL: none */
	struct loop_source
		copying; /* always ready: watched while memory is copied, some at a time, lest devices wait */
	struct loop_source timer; /* of the guest, to hold its workload */
	int machine, files;
	bool begun;      /* vmm_save_begin() */
	bool held;       /* the guest was told to hold its workload */
	bool stopped;    /* by us */
	bool was_paused; /* before, and is to be so afterwards */
};

struct control {
	struct vmm *vmm;
	struct loop_source listener;
	struct control_client clients[CONTROL_CLIENTS_MAX];
	struct control_saving saving;
};

/* Serves the listening socket, which becomes the control's, in the machine's loop. Undone by control_close(), before vmm_free(). */
int control_open(struct control *control, struct vmm *vmm, int listener, struct error *err);
void control_close(struct control *control);

/* What came of struct vmm_hooks, hold: 0, or an errno. */
void control_held(struct control *control, int code);

/* For --sync: err NULL: all is well. The socket stays the caller's. */
int control_tell(int sock, const struct error *result, struct error *err);

#endif
