/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device: packets of its queues to connections and back; see virtio_vsock.h.
 *
 * A connection that has something for the guest, a word or bytes, is in the list of ready ones, which is served
 * as far as the guest has given buffers, one packet a connection and turn. While it waits there its descriptor is not
 * watched for input, so a guest that gives no buffers costs nothing.
 */
#include "microvm/virtio_vsock.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "microvm/vsock_table.h"

#define HOST_CID         2
#define PACKETS_PER_TURN 64 /* before other devices have theirs */

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUE_COUNT };

static struct vsock *vsock_of(struct virtio_device *dev)
{
	return (struct vsock *)dev;
}

/* ---- to the guest ------------------------------------------------------------------------------------- */

static void fill_header(const struct vsock *v, struct virtio_vsock_hdr *h, uint16_t op,
			uint32_t guest_port, uint32_t host_port)
{
	*h = (struct virtio_vsock_hdr){
		.src_cid = HOST_CID,
		.dst_cid = v->cid,
		.src_port = host_port,
		.dst_port = guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
	};
}

static void fill_credit(struct vsock_connection *c, struct virtio_vsock_hdr *h)
{
	h->buf_alloc = VSOCK_BUFFER;
	h->fwd_cnt = c->taken;
	c->told_taken = c->taken;
	c->pending &= ~VSOCK_SAY_CREDIT;
}

/* A packet without bytes; false where the guest's buffer is too small even for that, which breaks the device. */
static bool put_header(struct vsock *v, const struct virtq_chain *chain,
		       const struct virtio_vsock_hdr *h)
{
	if (!virtq_write(chain, 0, h, sizeof(*h))) {
		virtio_broken(&v->dev, "a receive buffer has no room for a header");
		return false;
	}
	virtq_push(&v->dev.queues[QUEUE_RX], chain, sizeof(*h));
	return true;
}

/* The next word of a connection. The order is that in which they must reach the guest. */
static bool put_word(struct vsock *v, struct vsock_connection *c, const struct virtq_chain *chain)
{
	static const uint16_t order[] = { VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE,
					  VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_SHUTDOWN,
					  VIRTIO_VSOCK_OP_RST };
	struct virtio_vsock_hdr h;

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		if (!(c->pending & 1u << order[i]))
			continue;
		c->pending &= ~(1u << order[i]);
		fill_header(v, &h, order[i], c->guest_port, c->host_port);
		fill_credit(c, &h);
		if (order[i] == VIRTIO_VSOCK_OP_SHUTDOWN)
			h.flags = c->shutdown_flags;
		if (!put_header(v, chain, &h))
			return false;
		if (order[i] == VIRTIO_VSOCK_OP_RST)
			vsock_forget(v, c);
		return true;
	}
	return true;
}

/* The host's side has sent all that it will. */
static void end_input(struct vsock *v, struct vsock_connection *c)
{
	c->input_ended = true;
	c->shutdown_flags |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	vsock_say(v, c, VSOCK_SAY_SHUTDOWN);
}

/*
 * Bytes of the host's side, read straight into the guest's buffers. Returns whether a packet was made of the chain; else it
 * is given back.
 */
static bool put_bytes(struct vsock *v, struct vsock_connection *c, const struct virtq_chain *chain)
{
	struct virtio_vsock_hdr h;
	struct iovec iov[VIRTQ_IOV_MAX];
	uint64_t room = chain->writable_bytes > sizeof(h) ? chain->writable_bytes - sizeof(h) : 0;
	uint32_t credit = vsock_peer_room(c);
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	if (room > credit)
		room = credit;
	msg.msg_iovlen = virtq_slice(chain, true, sizeof(h), room, iov);
	if (!msg.msg_iovlen) {
		virtio_broken(&v->dev, "a receive buffer has no room for data");
		return false;
	}
	do {
		n = recvmsg(c->source.fd, &msg, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n <= 0) {
		c->input_ready = false;
		if (n == 0 || errno != EAGAIN)
			end_input(v, c);
		return false;
	}
	fill_header(v, &h, VIRTIO_VSOCK_OP_RW, c->guest_port, c->host_port);
	h.len = (uint32_t)n;
	fill_credit(c, &h);
	c->sent += (uint32_t)n;
	virtq_write(chain, 0, &h, sizeof(h));
	virtq_push(&v->dev.queues[QUEUE_RX], chain, (uint32_t)(sizeof(h) + (size_t)n));
	return true;
}

/* Whether the connection may have bytes that the guest has room for; it tells when it has room again. */
static bool has_bytes(const struct vsock_connection *c)
{
	return c->state == VSOCK_ESTABLISHED && c->input_ready && !c->input_ended &&
	       vsock_peer_room(c) > 0;
}

static bool put_refusal(struct vsock *v, const struct virtq_chain *chain)
{
	struct virtio_vsock_hdr h;

	v->refusal_count--;
	fill_header(v, &h, VIRTIO_VSOCK_OP_RST, v->refusals[v->refusal_count].guest,
		    v->refusals[v->refusal_count].host);
	return put_header(v, chain, &h);
}

/* One packet of the first ready connection, which then goes to the end of the list or out of it. */
static bool serve_first(struct vsock *v, const struct virtq_chain *chain)
{
	struct vsock_connection *c = v->ready;
	bool used;

	vsock_unlink_ready(v, c);
	used = c->pending ? put_word(v, c, chain) : has_bytes(c) && put_bytes(v, c, chain);
	if (c->forgotten)
		return used; /* the word was its last */
	if (c->pending || has_bytes(c))
		vsock_enqueue(v, c);
	vsock_watch(v, c);
	return used;
}

/* As much as there are buffers for. */
static void serve_ready(struct vsock *v)
{
	struct virtq *q = &v->dev.queues[QUEUE_RX];
	struct virtq_chain chain;

	for (unsigned n = 0; v->refusal_count || v->ready; n++) {
		bool used;

		if (n >= PACKETS_PER_TURN) {
			virtio_kick(&v->dev, QUEUE_RX);
			break;
		}
		if (!virtio_pop(&v->dev, QUEUE_RX, &chain))
			break;
		used = v->refusal_count ? put_refusal(v, &chain) : serve_first(v, &chain);
		if (!used && q->enabled)
			virtq_unpop(q, 1);
	}
	if (q->enabled)
		virtio_used(&v->dev, QUEUE_RX);
}

/* ---- from the guest ----------------------------------------------------------------------------------- */

static void refuse(struct vsock *v, const struct virtio_vsock_hdr *h)
{
	if (h->op == VIRTIO_VSOCK_OP_RST || v->refusal_count >= VSOCK_REFUSALS_MAX)
		return;
	v->refusals[v->refusal_count].guest = h->src_port;
	v->refusals[v->refusal_count].host = h->dst_port;
	v->refusal_count++;
}

/* Who listens on the port in the monitor itself, or NULL. */
static const struct internal_listener *find_listener(const struct vsock *v, uint32_t port)
{
	for (unsigned i = 0; i < v->internal_count; i++)
		if (v->internal[i].port == port)
			return &v->internal[i];
	return NULL;
}

/* A connected stream to whoever listens on the host's port; -1 where nobody does. */
static int open_host_port(struct vsock *v, uint32_t port)
{
	_cleanup_close_ int sock = -EBADF;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct internal_listener *listener = find_listener(v, port);
	int pair[2];

	if (listener) {
		if (vsock_pair(pair, false) < 0)
			return -1;
		listener->accepted(listener->data, pair[1]);
		return pair[0];
	}
	if (v->directory < 0)
		return -1;
	snprintf(addr.sun_path, sizeof(addr.sun_path), VSOCK_SOCKET_NAME "_%u", port);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The name is looked up in the working directory, which is the root of the jail; nothing in it is the guest's. */
	if (sock < 0 || fchdir(v->directory) < 0 ||
	    connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return take_fd(&sock);
}

static void note_credit(struct vsock_connection *c, const struct virtio_vsock_hdr *h)
{
	c->peer_buffer = h->buf_alloc;
	c->peer_taken = h->fwd_cnt;
}

static void accept_guest(struct vsock *v, const struct virtio_vsock_hdr *h)
{
	struct vsock_connection *c;
	int fd = v->count < VSOCK_CONNECTIONS_MAX ? open_host_port(v, h->dst_port) : -1;

	if (fd < 0) {
		refuse(v, h);
		return;
	}
	c = vsock_add(v, fd, VSOCK_ESTABLISHED);
	if (!c) {
		refuse(v, h);
		return;
	}
	c->guest_port = h->src_port;
	c->host_port = h->dst_port;
	/* The first is whom the VMM talks to. Who comes later is somebody else, and does not go on elsewhere. */
	c->tag = find_listener(v, h->dst_port) && !vsock_has_tag(v, h->dst_port) ? h->dst_port : 0;
	note_credit(c, h);
	vsock_say(v, c, VSOCK_SAY_RESPONSE);
	vsock_watch(v, c);
}

static void establish(struct vsock *v, struct vsock_connection *c)
{
	char line[32];
	int len;

	c->state = VSOCK_ESTABLISHED;
	if (c->answer) {
		c->answer = false;
		len = snprintf(line, sizeof(line), "OK %u\n", c->host_port);
		if (send(c->source.fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
			vsock_reset_connection(v, c);
			return;
		}
	}
	vsock_watch(v, c);
}

static void on_shutdown(struct vsock *v, struct vsock_connection *c, uint32_t flags)
{
	if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->input_ended = true;
		c->input_ready = false;
		if (c->source.fd >= 0)
			shutdown(c->source.fd, SHUT_RD);
	}
	if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND)
		c->output_ended = true;
	if (c->output_ended)
		vsock_end_output(v, c);
	if (c->source.fd >= 0)
		vsock_watch(v, c);
}

/* The host's side takes nothing any more: the guest is told to send nothing, and when it has agreed it is over. */
static void host_gone(struct vsock *v, struct vsock_connection *c)
{
	vsock_drop_host(v, c);
	c->state = VSOCK_CLOSING;
	c->received = c->taken;
	c->shutdown_flags = VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV;
	if (c->output_ended)
		vsock_say(v, c, VSOCK_SAY_RST);
	else
		vsock_say(v, c, VSOCK_SAY_SHUTDOWN);
}

static void on_bytes(struct vsock *v, struct vsock_connection *c, const struct virtq_chain *chain,
		     uint32_t len)
{
	struct iovec iov[VIRTQ_IOV_MAX];
	unsigned count;
	int r;

	if (c->state == VSOCK_CLOSING || !len)
		return; /* sent before the guest knew */
	if (c->state != VSOCK_ESTABLISHED || c->output_ended) {
		vsock_reset_connection(v, c);
		return;
	}
	count = virtq_slice(chain, false, sizeof(struct virtio_vsock_hdr), len, iov);
	r = count ? vsock_take(c, iov, count, len) : -EPROTO;
	if (r == -EPIPE) {
		host_gone(v, c);
	} else if (r < 0) {
		vsock_reset_connection(v, c);
	} else {
		if (vsock_owes_credit(c))
			vsock_say(v, c, VSOCK_SAY_CREDIT);
		vsock_watch(v, c);
	}
}

/*
 * A guest that has closed a connection waits some seconds for the other side (eight, if it is Linux) before it ends it by itself. What
 * it sent before is owed to a host's side that is slower than that.
 */
static void on_reset(struct vsock *v, struct vsock_connection *c)
{
	if (c->source.fd < 0 || vsock_flush(c) < 0 || !vsock_backlog(c)) {
		vsock_forget(v, c);
		return;
	}
	vsock_unlink_ready(v, c);
	c->state = VSOCK_DRAINING;
	c->pending = 0;
	vsock_watch(v, c);
}

static void on_packet(struct vsock *v, const struct virtio_vsock_hdr *h,
		      const struct virtq_chain *chain)
{
	struct vsock_connection *c = vsock_find(v, h->src_port, h->dst_port);

	if (!c && h->op == VIRTIO_VSOCK_OP_REQUEST) {
		accept_guest(v, h);
		return;
	}
	if (!c) {
		refuse(v, h);
		return;
	}
	note_credit(c, h);
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (c->state == VSOCK_REQUESTED)
			establish(v, c);
		else if (c->state != VSOCK_CLOSING)
			vsock_reset_connection(v, c);
		break;
	case VIRTIO_VSOCK_OP_RST:
		on_reset(v, c);
		return;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		on_shutdown(v, c, h->flags);
		break;
	case VIRTIO_VSOCK_OP_RW:
		on_bytes(v, c, chain, h->len);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		vsock_say(v, c, VSOCK_SAY_CREDIT);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	default:
		vsock_reset_connection(v, c);
		break;
	}
	if (has_bytes(c)) /* it may have room again */
		vsock_enqueue(v, c);
}

static bool serve_tx(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	struct vsock *v = vsock_of(dev);
	struct virtio_vsock_hdr h;

	if (!virtq_read(chain, 0, &h, sizeof(h)) || h.len > chain->readable_bytes - sizeof(h)) {
		virtio_broken(dev, "a packet is shorter than it says");
		return true;
	}
	/* What claims to be from or for somebody else is dropped: there is nobody else. */
	if (h.src_cid == v->cid && h.dst_cid == HOST_CID) {
		if (h.type == VIRTIO_VSOCK_TYPE_STREAM)
			on_packet(v, &h, chain);
		else
			refuse(v, &h);
	}
	virtq_push(&dev->queues[queue], chain, 0);
	return true;
}

/* ---- the host's side ---------------------------------------------------------------------------------- */

static void on_command(struct vsock *v, struct vsock_connection *c)
{
	uint32_t port;
	int r = vsock_read_command(c, &port);

	if (r < 0) {
		vsock_forget(v, c);
	} else if (r > 0) {
		c->answer = true;
		vsock_request(v, c, port);
		vsock_watch(v, c);
	}
}

static void on_connection(struct loop_source *source, uint32_t events)
{
	struct vsock_connection *c = source->data;
	struct vsock *v = c->device;

	pthread_mutex_lock(&v->dev.lock);
	if (!source->events) {
		/* Removed while we waited for the lock. */
	} else if (c->state == VSOCK_COMMAND) {
		on_command(v, c);
	} else if (c->state == VSOCK_DRAINING) {
		if (vsock_flush(c) < 0 || !vsock_backlog(c))
			vsock_forget(v, c);
	} else if ((events & (EPOLLOUT | EPOLLERR)) && vsock_flush(c) < 0) {
		host_gone(v, c);
	} else {
		if (vsock_owes_credit(c))
			vsock_say(v, c, VSOCK_SAY_CREDIT);
		if (c->output_ended && !vsock_backlog(c))
			vsock_end_output(v, c);
		if ((events & (EPOLLIN | EPOLLHUP)) && !c->input_ended && c->source.fd >= 0) {
			c->input_ready = true;
			if (has_bytes(c))
				vsock_enqueue(v, c);
		}
		vsock_watch(v, c);
	}
	if (virtio_running(&v->dev))
		serve_ready(v);
	vsock_free_dead(v);
	pthread_mutex_unlock(&v->dev.lock);
}

static void on_listener(struct loop_source *source, uint32_t events)
{
	struct vsock *v = source->data;
	struct vsock_connection *c;
	int fd;

	(void)events;
	pthread_mutex_lock(&v->dev.lock);
	fd = source->events ? accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
	c = fd >= 0 ? vsock_add(v, fd, VSOCK_COMMAND) : NULL;
	if (c)
		vsock_watch(v, c);
	pthread_mutex_unlock(&v->dev.lock);
}

static void watch_listener(struct vsock *v)
{
	bool wanted = v->take_connections && virtio_running(&v->dev) && v->listener.fd >= 0;

	if (wanted != (v->listener.events != 0))
		loop_watch(v->dev.loop, &v->listener, wanted ? EPOLLIN : 0, NULL);
}

/* ---- the device --------------------------------------------------------------------------------------- */

static void read_config(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	const struct virtio_vsock_config config = { .guest_cid = vsock_of(dev)->cid };

	virtio_config_copy(&config, sizeof(config), offset, data, size);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	for (unsigned i = 0; i < QUEUE_COUNT; i++)
		if (!dev->queues[i].enabled)
			return error_set(err, EINVAL, "vsock: the driver left a queue out");
	watch_listener(vsock_of(dev));
	return 0;
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	struct vsock *v = vsock_of(dev);

	if (queue == QUEUE_TX)
		virtio_serve(dev, QUEUE_TX, PACKETS_PER_TURN, serve_tx);
	if (virtio_running(dev) && queue != QUEUE_EVENT)
		serve_ready(v);
	vsock_free_dead(v);
}

static void forget_all(struct vsock *v)
{
	while (v->connections)
		vsock_forget(v, v->connections);
	v->refusal_count = 0;
}

static void reset(struct virtio_device *dev)
{
	struct vsock *v = vsock_of(dev);

	forget_all(v);
	if (v->listener.events)
		loop_watch(dev->loop, &v->listener, 0, NULL);
}

static void destroy(struct virtio_device *dev)
{
	struct vsock *v = vsock_of(dev);

	reset(dev);
	vsock_free_dead(v);
	close_fd(&v->listener.fd);
	close_fd(&v->directory);
	free(v);
}

static const struct virtio_ops vsock_ops = {
	.name = "vsock",
	.device_id = VIRTIO_ID_VSOCK,
	.queue_count = QUEUE_COUNT,
	.queue_size = 128,
	.read_config = read_config,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.save = vsock_save,
	.restore = vsock_restore,
	.destroy = destroy,
};

struct virtio_device *virtio_vsock_new(uint64_t guest_cid, int listener, int directory,
				       const struct guest_memory *memory, struct loop *loop,
				       struct error *err)
{
	struct vsock *v = calloc(1, sizeof(*v));

	if (!v) {
		error_errno(err, ENOMEM, "vsock");
		close_fd(&listener);
		close_fd(&directory);
		return NULL;
	}
	v->cid = guest_cid;
	v->directory = directory;
	v->listener = (struct loop_source){ .fd = listener, .callback = on_listener, .data = v };
	v->take_connections = true;
	v->on_connection = on_connection;
	v->ready_end = &v->ready;
	v->next_port = VSOCK_FIRST_HOST_PORT;
	if (virtio_init(&v->dev, &vsock_ops, 0, memory, loop, err) < 0) {
		virtio_free(&v->dev);
		return NULL;
	}
	return &v->dev;
}

int virtio_vsock_listen(struct virtio_device *dev, uint32_t port, vsock_accepted *accepted,
			void *data, struct error *err)
{
	struct vsock *v = vsock_of(dev);

	if (v->internal_count == VSOCK_LISTENERS_MAX)
		return error_errno(err, ENOSPC, "listen on vsock port %u", port);
	v->internal[v->internal_count++] = (struct internal_listener){ port, accepted, data };
	return 0;
}

int virtio_vsock_connect(struct virtio_device *dev, uint32_t port, int fd, uint32_t tag,
			 struct error *err)
{
	struct vsock *v = vsock_of(dev);
	struct vsock_connection *c;

	pthread_mutex_lock(&dev->lock);
	c = vsock_add(v, fd, VSOCK_REQUESTED);
	if (c) {
		c->tag = tag;
		vsock_request(v, c, port);
	}
	if (c && virtio_running(dev))
		serve_ready(v);
	pthread_mutex_unlock(&dev->lock);
	return c ? 0 : error_set(err, ENOSPC, "vsock: too many connections");
}

void virtio_vsock_take_connections(struct virtio_device *dev, bool take)
{
	pthread_mutex_lock(&dev->lock);
	vsock_of(dev)->take_connections = take;
	watch_listener(vsock_of(dev));
	pthread_mutex_unlock(&dev->lock);
}
