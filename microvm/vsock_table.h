/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device's connections, for virtio_vsock.c: which there are, which of them have something for the guest, and what of
 * the loop they wait for. Nothing here looks at a queue. Each function is called with the device's lock held.
 */
#ifndef HULL_MICROVM_VSOCK_TABLE_H
#define HULL_MICROVM_VSOCK_TABLE_H

#include "microvm/virtio_vsock.h"
#include "microvm/vsock_connection.h"

#define VSOCK_LISTENERS_MAX 4
#define VSOCK_REFUSALS_MAX \
	64 /* that wait for a buffer; more are forgotten, and the guest's side times out */
#define VSOCK_FIRST_HOST_PORT (1u << 30) /* of connections that the host begins */

/*
 * A connection whose host's side is this process lives on: with it are saved the bytes that neither side has taken yet. Of others only the
 * ports are, so that the guest can be told that they are over.
 */
struct saved_connection {
	uint32_t tag; /* 0: it is over */
	uint32_t guest_port, host_port;
	uint32_t peer_buffer, peer_taken, sent, received, taken, told_taken;
	uint32_t state, pending, shutdown_flags;
	uint32_t input_ended, output_ended;
};

struct saved_vsock {
	uint32_t next_port, connections;
};

struct internal_listener {
	uint32_t port;
	vsock_accepted *accepted;
	void *data;
};

struct vsock {
	struct virtio_device dev;
	uint64_t cid;
	int directory;
	struct loop_source listener;
	loop_callback *on_connection; /* of each connection's host side */
	bool take_connections;
	struct internal_listener internal[VSOCK_LISTENERS_MAX];
	unsigned internal_count;

	struct vsock_connection *connections, *ready, **ready_end;
	struct vsock_connection
		*dead; /* forgotten, but a callback may still be under way to them */
	unsigned count;
	uint32_t next_port;
	/* Ports of packets that belong to no connection: the guest's, and the host's. */
	struct {
		uint32_t guest, host;
	} refusals[VSOCK_REFUSALS_MAX];
	unsigned refusal_count;
};

/* The connection between these ports that the guest knows of, or NULL. */
struct vsock_connection *vsock_find(struct vsock *v, uint32_t guest_port, uint32_t host_port);

/* Whether one of them has the tag. */
bool vsock_has_tag(const struct vsock *v, uint32_t tag);

/* A new one with fd as its host's side; NULL, and fd closed, where there are too many. */
struct vsock_connection *vsock_add(struct vsock *v, int fd, enum vsock_state state);

/* Waits in the loop for what the connection can use now. */
void vsock_watch(struct vsock *v, struct vsock_connection *c);

/* It has something for the guest, behind all others that have; or, to say a word (VSOCK_SAY_…); or it has not. */
void vsock_enqueue(struct vsock *v, struct vsock_connection *c);
void vsock_say(struct vsock *v, struct vsock_connection *c, uint32_t what);
void vsock_unlink_ready(struct vsock *v, struct vsock_connection *c);

/* Asks the guest to accept at its port. */
void vsock_request(struct vsock *v, struct vsock_connection *c, uint32_t guest_port);

/* Lets go of the host's side; the guest is still to be told. */
void vsock_drop_host(struct vsock *v, struct vsock_connection *c);

/* The guest sends no more: once the host's side has all of it, that sees the end; and if it is over for both, the guest is told. */
void vsock_end_output(struct vsock *v, struct vsock_connection *c);

/* An end that is none of the guest's doing: it hears of it, and the connection is over. */
void vsock_reset_connection(struct vsock *v, struct vsock_connection *c);

/* It is over for both sides. The memory is freed by vsock_free_dead(): */
void vsock_forget(struct vsock *v, struct vsock_connection *c);

/*
 * In the device thread, which is then in no other connection's callback: a vCPU thread may have reset the device while
 * one of these waited for the lock.
 */
void vsock_free_dead(struct vsock *v);

/* The device's own part of a snapshot (vsock_snapshot.c): struct virtio_ops. */
int vsock_save(struct virtio_device *dev, struct snapshot *s, struct error *err);
int vsock_restore(struct virtio_device *dev, struct snapshot *s, struct error *err);

#endif
