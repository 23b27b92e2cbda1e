/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net's way to the guest. How long a packet is, is known only when it is read. So it is read straight into the buffers that the driver
 * has offered, and what they do not hold into a buffer of ours; from there it goes to the guest when there are more. Buffers
 * that are not needed are given back to the queue before the thread turns to something else.
 */
#include <string.h>

#include "microvm/virtio_net.h"

#define PACKETS     64u /* before other devices have their turn */
#define BUFFERS_MAX 64u /* that are held; of one page each they are enough for the longest packet */
#define IOV_MAX_ALL (2 * VIRTQ_IOV_MAX)

/* Requests popped from the queue and not used yet, the first one first. */
struct buffers {
	unsigned count, iov_count;
	uint64_t bytes;
	struct {
		uint16_t head;
		unsigned iov_count;
		uint64_t bytes;
	} requests[BUFFERS_MAX];
	struct iovec
		iov[IOV_MAX_ALL +
		    1]; /* of all requests, one after the other; and one for the bounce buffer */
};

/* Pops until a packet of any length fits, or there is no more. Without merging, a packet has the first buffer and no other. */
static void gather(struct net *net, struct buffers *buffers)
{
	bool merge = virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
	unsigned most = merge ? BUFFERS_MAX : 1;
	struct virtq_chain chain;

	while (buffers->count < most && buffers->bytes < NET_PACKET_MAX &&
	       buffers->iov_count + VIRTQ_IOV_MAX <= IOV_MAX_ALL &&
	       virtio_pop(&net->dev, NET_RECEIVE, &chain)) {
		if (chain.readable) {
			virtio_broken(&net->dev, "a buffer for packets that cannot be written");
			return;
		}
		buffers->requests[buffers->count].head = chain.head;
		buffers->requests[buffers->count].iov_count = chain.writable;
		buffers->requests[buffers->count].bytes = chain.writable_bytes;
		memcpy(buffers->iov + buffers->iov_count, chain.iov,
		       chain.writable * sizeof(*chain.iov));
		buffers->count++;
		buffers->iov_count += chain.writable;
		buffers->bytes += chain.writable_bytes;
	}
}

/* Copies between a packet in the buffers and data. */
static void copy(const struct buffers *buffers, uint64_t offset, void *data, uint64_t len,
		 bool to_guest)
{
	char *at = data;

	for (const struct iovec *iov = buffers->iov; len; iov++) {
		char *guest = (char *)iov->iov_base + offset;
		uint64_t part;

		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - offset < len ? iov->iov_len - offset : len;
		if (to_guest)
			memcpy(guest, at, part);
		else
			memcpy(at, guest, part);
		at += part;
		len -= part;
		offset = 0;
	}
}

/* Removes the first count requests. */
static void consume(struct buffers *buffers, unsigned count)
{
	unsigned iov_count = 0;

	for (unsigned i = 0; i < count; i++) {
		iov_count += buffers->requests[i].iov_count;
		buffers->bytes -= buffers->requests[i].bytes;
	}
	buffers->count -= count;
	buffers->iov_count -= iov_count;
	memmove(buffers->requests, buffers->requests + count,
		buffers->count * sizeof(buffers->requests[0]));
	memmove(buffers->iov, buffers->iov + iov_count, buffers->iov_count * sizeof(struct iovec));
}

/* Gives the driver the packet of len bytes that is in its buffers. */
static void deliver(struct net *net, struct buffers *buffers, uint64_t len)
{
	struct virtq_used used[BUFFERS_MAX];
	uint16_t count = 0;

	for (uint64_t left = len, part; left; left -= part, count++) {
		part = buffers->requests[count].bytes < left ? buffers->requests[count].bytes
							     : left;
		used[count] = (struct virtq_used){ buffers->requests[count].head, (uint32_t)part };
	}
	copy(buffers, offsetof(struct virtio_net_hdr_v1, num_buffers), &count, sizeof(count), true);
	for (unsigned i = 0; i < buffers->iov_count && len; i++) {
		const struct iovec *iov = &buffers->iov[i];
		uint64_t part = iov->iov_len < len ? iov->iov_len : len;

		guest_memory_wrote(net->dev.memory, iov->iov_base, part);
		len -= part;
	}
	/* All of them at once: a driver that sees the first expects to see the others. */
	virtq_push_all(&net->dev.queues[NET_RECEIVE], used, count);
	consume(buffers, count);
}

/* Whether more buffers would help a packet that does not fit: not where the driver has no more, or we take no more. */
static bool could_grow(const struct net *net, const struct buffers *buffers)
{
	return virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF) && buffers->count < BUFFERS_MAX &&
	       buffers->count < net->dev.queues[NET_RECEIVE].size &&
	       buffers->iov_count + VIRTQ_IOV_MAX <= IOV_MAX_ALL;
}

/* Tries once more with the packet in the bounce buffer. False: it waits for more buffers. */
static bool retry(struct net *net, struct buffers *buffers)
{
	if (net->waiting <= buffers->bytes) {
		copy(buffers, 0, net->bounce, net->waiting, true);
		deliver(net, buffers, net->waiting);
	} else if (could_grow(net, buffers)) {
		return false;
	}
	net->waiting = 0;
	return true;
}

/* Reads a packet. False: there is none. */
static bool read_packet(struct net *net, struct buffers *buffers)
{
	ssize_t n;

	buffers->iov[buffers->iov_count] = (struct iovec){ net->bounce, sizeof(net->bounce) };
	do {
		n = readv(net->tap.fd, buffers->iov, (int)buffers->iov_count + 1);
	} while (n < 0 && errno == EINTR);
	if (n <= 0) {
		net->dead = n == 0 || errno != EAGAIN;
		return false;
	}
	if ((size_t)n < NET_HEADER + NET_FRAME_MIN || (size_t)n > NET_PACKET_MAX)
		return true; /* dropped */
	if ((uint64_t)n <= buffers->bytes) {
		deliver(net, buffers, (uint64_t)n);
		return true;
	}
	/* What the guest makes of its buffers meanwhile changes only what it receives itself. */
	memmove(net->bounce + buffers->bytes, net->bounce, (uint64_t)n - buffers->bytes);
	copy(buffers, 0, net->bounce, buffers->bytes, false);
	net->waiting = (uint64_t)n;
	return true;
}

void net_receive(struct net *net)
{
	struct virtq *q = &net->dev.queues[NET_RECEIVE];
	struct buffers buffers = { 0 };
	bool starved = false, more = true;

	for (unsigned packets = 0; packets < PACKETS && more && !starved; packets++) {
		gather(net, &buffers);
		if (!virtio_running(&net->dev))
			break;
		if (!buffers.count)
			starved = true;
		else if (net->waiting)
			starved = !retry(net, &buffers);
		else
			more = read_packet(net, &buffers);
	}
	/* Without buffers nothing is read: the tap's own queue fills, and then the host drops. */
	net->receiving = virtio_running(&net->dev) && !starved;
	/* Of buffers behind those that we hold, which do not do. */
	if (starved && virtq_ask_notify(q, true))
		virtio_kick(&net->dev, NET_RECEIVE);
	virtq_unpop(q, buffers.count);
	virtio_used(&net->dev, NET_RECEIVE);
}
