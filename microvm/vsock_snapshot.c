/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock's connections, to and from a snapshot (struct saved_vsock). The guest's side of each is in the guest; the host's is a
 * socket of ours, of which the device knows what it has not given the guest yet, and not written to the socket yet. What is in the
 * socket and was not read by the rest of the VMM, that knows.
 */
#include <string.h>
#include <sys/socket.h>

#include "microvm/snapshot.h"
#include "microvm/vsock_table.h"

#define WORDS                                                                          \
	(VSOCK_SAY_REQUEST | VSOCK_SAY_RESPONSE | VSOCK_SAY_RST | VSOCK_SAY_SHUTDOWN | \
	 VSOCK_SAY_CREDIT)

/* ---- saving ------------------------------------------------------------------------------------------ */

static int save_bytes(const struct vsock_connection *c, struct snapshot *s, struct error *err)
{
	uint32_t at = c->taken % VSOCK_BUFFER, len = vsock_backlog(c);
	_cleanup_free_ char *unsent = NULL, *backlog = len ? malloc(len) : NULL;
	ssize_t n = c->source.fd >= 0 && !c->input_ended ? vsock_peek(c->source.fd, &unsent) : 0;

	if (n < 0 || (len && !backlog))
		return error_errno(err, n < 0 ? (int)-n : ENOMEM, "save a connection");
	for (uint32_t i = 0; i < len; i++)
		backlog[i] = c->buffer[(at + i) % VSOCK_BUFFER];
	snapshot_put(s, SNAPSHOT_BYTES, unsent ? unsent : "", (size_t)n);
	snapshot_put(s, SNAPSHOT_BYTES, backlog ? backlog : "", len);
	return 0;
}

static int save_connection(const struct vsock_connection *c, struct snapshot *s, struct error *err)
{
	const struct saved_connection saved = {
		.tag = c->tag,
		.guest_port = c->guest_port,
		.host_port = c->host_port,
		.peer_buffer = c->peer_buffer,
		.peer_taken = c->peer_taken,
		.sent = c->sent,
		.received = c->received,
		.taken = c->taken,
		.told_taken = c->told_taken,
		.state = c->state,
		.pending = c->pending,
		.shutdown_flags = c->shutdown_flags,
		.input_ended = c->input_ended,
		.output_ended = c->output_ended,
	};

	if (c->tag && c->state == VSOCK_REQUESTED)
		return error_set(err, EBUSY, "a connection to the guest is being made: try again");
	snapshot_put(s, SNAPSHOT_CONNECTION, &saved, sizeof(saved));
	return c->tag ? save_bytes(c, s, err) : 0;
}

/* The guest knows of it, or the rest of the VMM still reads what it sent. */
static bool is_to_be_saved(const struct vsock_connection *c)
{
	return c->state != VSOCK_COMMAND && (c->tag || c->state != VSOCK_DRAINING);
}

int vsock_save(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	struct vsock *v = (struct vsock *)dev;
	struct saved_vsock saved = { .next_port = v->next_port };
	int r = 0;

	for (const struct vsock_connection *c = v->connections; c; c = c->next)
		saved.connections += is_to_be_saved(c);
	snapshot_put(s, SNAPSHOT_OWN, &saved, sizeof(saved));
	for (const struct vsock_connection *c = v->connections; r == 0 && c; c = c->next)
		if (is_to_be_saved(c))
			r = save_connection(c, s, err);
	return r;
}

/* ---- restoring --------------------------------------------------------------------------------------- */

static int restore_bytes(struct vsock_connection *c, struct snapshot *s, struct error *err)
{
	const void *unsent = NULL, *backlog = NULL;
	size_t unsent_len = 0, backlog_len = 0;
	int r = snapshot_take(s, SNAPSHOT_BYTES, &unsent, &unsent_len, err);

	if (r == 0)
		r = snapshot_take(s, SNAPSHOT_BYTES, &backlog, &backlog_len, err);
	if (r < 0)
		return r;
	if (backlog_len > VSOCK_BUFFER || backlog_len != vsock_backlog(c) ||
	    unsent_len > VSOCK_PEEK_MAX)
		return error_set(err, EBADMSG, "a connection with more bytes than it can have");
	c->unsent = unsent_len ? malloc(unsent_len) : NULL;
	c->buffer = backlog_len ? malloc(VSOCK_BUFFER) : NULL;
	if ((unsent_len && !c->unsent) || (backlog_len && !c->buffer))
		return error_errno(err, ENOMEM, "restore a connection");
	c->unsent_len = unsent_len;
	if (unsent_len)
		memcpy(c->unsent, unsent, unsent_len);
	for (size_t i = 0; i < backlog_len; i++)
		c->buffer[(c->taken + i) % VSOCK_BUFFER] = ((const char *)backlog)[i];
	return 0;
}

/* What is owed to the guest of one that lives on, until somebody adopts it; one that is over, the guest hears of. */
static int restore_connection(struct vsock *v, struct snapshot *s, struct error *err)
{
	struct saved_connection saved;
	struct vsock_connection *c;
	int r = snapshot_get(s, SNAPSHOT_CONNECTION, &saved, sizeof(saved), err);

	if (r < 0)
		return r;
	if (saved.state > VSOCK_DRAINING || saved.state == VSOCK_COMMAND ||
	    (saved.tag && saved.state == VSOCK_REQUESTED) ||
	    vsock_find(v, saved.guest_port, saved.host_port))
		return error_set(err, EBADMSG, "a connection that makes no sense");
	c = vsock_add(v, -EBADF, (enum vsock_state)saved.state);
	if (!c)
		return error_set(err, EBADMSG, "more connections than a device has");
	c->tag = saved.tag;
	c->guest_port = saved.guest_port;
	c->host_port = saved.host_port;
	c->peer_buffer = saved.peer_buffer;
	c->peer_taken = saved.peer_taken;
	c->sent = saved.sent;
	c->received = saved.received;
	c->taken = saved.taken;
	c->told_taken = saved.told_taken;
	c->shutdown_flags = saved.shutdown_flags;
	c->input_ended = saved.input_ended;
	c->output_ended = saved.output_ended;
	if (!saved.tag) {
		c->received = c->taken;
		vsock_reset_connection(v, c);
		return 0;
	}
	if (saved.pending & WORDS)
		vsock_say(v, c, saved.pending & WORDS);
	return restore_bytes(c, s, err);
}

int vsock_restore(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	struct vsock *v = (struct vsock *)dev;
	struct saved_vsock saved;
	int r = snapshot_get(s, SNAPSHOT_OWN, &saved, sizeof(saved), err);

	if (r == 0)
		v->next_port = saved.next_port;
	for (uint32_t i = 0; r == 0 && i < saved.connections; i++)
		r = restore_connection(v, s, err);
	return r == 0 && virtio_running(dev) ? dev->ops->activate(dev, err) : r;
}

static struct vsock_connection *find_tag(const struct vsock *v, uint32_t tag)
{
	for (struct vsock_connection *c = v->connections; c; c = c->next)
		if (c->tag == tag && c->source.fd < 0)
			return c;
	return NULL;
}

static bool send_all(int fd, const void *data, size_t len)
{
	return !len || send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* The device goes on with the connection's host side. */
static void take_up(struct vsock *v, struct vsock_connection *c, int fd)
{
	c->source.fd = fd;
	if (c->state == VSOCK_CLOSING) {
		vsock_drop_host(v, c);
	} else if (vsock_flush(c) < 0) {
		vsock_reset_connection(v, c);
	} else if (c->state == VSOCK_DRAINING && !vsock_backlog(c)) {
		vsock_forget(v, c);
		return;
	} else {
		c->input_ready = !c->input_ended; /* or the next look will say that it is not */
		if (vsock_owes_credit(c))
			vsock_say(v, c, VSOCK_SAY_CREDIT);
		vsock_enqueue(v, c);
		if (c->output_ended)
			vsock_end_output(v, c);
	}
	vsock_watch(v, c);
}

static int adopt(struct vsock *v, uint32_t tag, const void *unread, size_t len, struct error *err)
{
	struct vsock_connection *c = find_tag(v, tag);
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	int pair[2], r;

	if (!c)
		return -ENOENT;
	r = vsock_pair(pair, true);
	if (r < 0)
		return error_errno(err, -r, "socketpair");
	ours = pair[0];
	theirs = pair[1];
	if (!send_all(ours, unread, len) || !send_all(theirs, c->unsent, c->unsent_len))
		return error_set(err, ENOBUFS, "a connection has more bytes than a socket holds");
	vsock_settle(ours);
	vsock_settle(theirs);
	free(c->unsent);
	c->unsent = NULL;
	take_up(v, c, take_fd(&ours));
	return take_fd(&theirs);
}

int virtio_vsock_adopt(struct virtio_device *dev, uint32_t tag, const void *unread, size_t len,
		       struct error *err)
{
	int fd;

	pthread_mutex_lock(&dev->lock);
	fd = adopt((struct vsock *)dev, tag, unread, len, err);
	pthread_mutex_unlock(&dev->lock);
	return fd;
}
