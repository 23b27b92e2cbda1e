/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, 5.1) on a tap device, or a socket of messages. The packets go between the tap and the guest's buffers
 * without a copy here, with the header that both know; what work on packets is left to the other side follows from the features that the
 * driver took, and a packet that asks for more is dropped.
 */
#include "microvm/virtio_net.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define QUEUE_SIZE 256
#define BUDGET     64

static bool feature(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

/* ---- from the guest -------------------------------------------------------------------------- */

/*
 * Whether the driver may ask for this. The kernel checks a header, too, but what it makes of one has been a source of its bugs; so the guest can
 * reach no more of it than what was agreed on.
 */
static bool header_is_agreed(const struct net *net, struct virtio_net_hdr_v1 *header)
{
	uint64_t features = net->dev.negotiated;
	uint8_t kind = header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	bool ecn = header->gso_type & VIRTIO_NET_HDR_GSO_ECN;

	/* Of the flags a driver sets only this one (5.1.6.2). */
	header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->num_buffers = 0;
	if (header->flags && !feature(features, VIRTIO_NET_F_CSUM))
		return false;
	if (ecn && (kind == VIRTIO_NET_HDR_GSO_NONE || kind == VIRTIO_NET_HDR_GSO_UDP ||
		    !feature(features, VIRTIO_NET_F_HOST_ECN)))
		return false;
	switch (kind) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return feature(features, VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return feature(features, VIRTIO_NET_F_HOST_TSO6);
	case VIRTIO_NET_HDR_GSO_UDP:
		return feature(features, VIRTIO_NET_F_HOST_UFO);
	default:
		return false;
	}
}

/* False: the tap takes no more for now. A packet that it refuses is dropped, as a network may. */
static bool send_packet(struct net *net, const struct virtq_chain *chain)
{
	struct virtio_net_hdr_v1 header;
	struct iovec iov[VIRTQ_IOV_MAX + 1] = { { &header, sizeof(header) } };
	uint64_t len = chain->readable_bytes;
	unsigned count;

	if (net->dead || len < NET_HEADER + NET_FRAME_MIN || len > NET_PACKET_MAX)
		return true;
	if (!virtq_read(chain, 0, &header, sizeof(header)) || !header_is_agreed(net, &header))
		return true;
	count = virtq_slice(chain, false, sizeof(header), len - sizeof(header), iov + 1);
	while (writev(net->tap.fd, iov, (int)count + 1) < 0) {
		if (errno == EAGAIN)
			return false;
		if (errno != EINTR)
			return true;
	}
	return true;
}

static bool transmit(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	struct net *net = (struct net *)dev;

	if (chain->writable) {
		virtio_broken(dev, "a packet that cannot be read");
		return false;
	}
	net->stalled = !send_packet(net, chain);
	if (net->stalled)
		return false;
	virtq_push(&dev->queues[queue], chain, 0);
	return true;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Waits for what can be done something about. */
static void watch(struct net *net)
{
	uint32_t events = (net->receiving ? EPOLLIN : 0) | (net->stalled ? EPOLLOUT : 0);

	if (net->dead || !virtio_running(&net->dev))
		events = 0;
	if (loop_watch(net->dev.loop, &net->tap, events, NULL) < 0)
		net->dead = true;
}

static void tap_ready(struct loop_source *source, uint32_t events)
{
	struct net *net = source->data;

	pthread_mutex_lock(&net->dev.lock);
	if (source->events) {
		if (net->stalled && (events & ~EPOLLIN)) {
			net->stalled = false;
			virtio_serve(&net->dev, NET_TRANSMIT, BUDGET, transmit);
		}
		if (net->receiving && (events & ~EPOLLOUT))
			net_receive(net);
		watch(net);
	}
	pthread_mutex_unlock(&net->dev.lock);
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	struct net *net = (struct net *)dev;

	if (queue == NET_TRANSMIT) {
		virtio_serve(dev, NET_TRANSMIT, BUDGET, transmit);
	} else if (net->waiting) {
		net_receive(net);
	} else {
		virtq_ask_notify(&dev->queues[NET_RECEIVE], false);
		net->receiving = true;
	}
	watch(net);
}

/* ---- the tap --------------------------------------------------------------------------------- */

static const unsigned receive_offloads[] = {
	VIRTIO_NET_F_GUEST_TSO4,
	VIRTIO_NET_F_GUEST_TSO6,
	VIRTIO_NET_F_GUEST_ECN,
	VIRTIO_NET_F_GUEST_UFO,
};

/* What the tap may leave undone in packets for the guest. All of it needs checksums that are left undone. */
static unsigned tap_offloads(uint64_t features)
{
	static const unsigned flags[] = { TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN, TUN_F_UFO };
	unsigned offloads = TUN_F_CSUM;

	if (!feature(features, VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
		if (feature(features, receive_offloads[i]))
			offloads |= flags[i];
	return offloads;
}

static uint64_t tap_features(int tap)
{
	uint64_t features =
		UINT64_C(1) << VIRTIO_NET_F_CSUM | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 |
		UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_HOST_ECN |
		UINT64_C(1) << VIRTIO_NET_F_HOST_UFO;
	uint64_t receive = UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM;

	for (unsigned i = 0; i < ARRAY_SIZE(receive_offloads); i++)
		receive |= UINT64_C(1) << receive_offloads[i];
	/* Between Linux 4.14 and 4.15 the tap had no segmentation of UDP. */
	if (ioctl(tap, TUNSETOFFLOAD, (unsigned long)tap_offloads(receive)) < 0)
		receive &= ~(UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO);
	if (ioctl(tap, TUNSETOFFLOAD, (unsigned long)tap_offloads(receive)) < 0)
		receive = 0;
	return features | receive;
}

static int check_tap(int tap, struct error *err)
{
	int header = NET_HEADER;
	struct ifreq ifr = { 0 };

	if (ioctl(tap, TUNGETIFF, &ifr) < 0)
		return error_errno(err, errno, "virtio-net: not a tap device");
	if ((ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
	    (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
		return error_set(
			err, EINVAL,
			"virtio-net: `%.*s` is not a tap device with IFF_VNET_HDR and IFF_NO_PI",
			(int)sizeof(ifr.ifr_name), ifr.ifr_name);
	if (ioctl(tap, TUNSETVNETHDRSZ, &header) < 0)
		return error_errno(err, errno, "virtio-net: set the length of the tap's header");
	return 0;
}

/* A card without a cable: what the driver may choose from is what a tap of this kernel will have. */
static uint64_t expected_features(void)
{
	uint64_t features = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(receive_offloads); i++)
		if (receive_offloads[i] != VIRTIO_NET_F_GUEST_UFO)
			features |= UINT64_C(1) << receive_offloads[i];
	return features | UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM |
	       UINT64_C(1) << VIRTIO_NET_F_CSUM | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 |
	       UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_HOST_ECN;
}

/* Looks at the descriptor; receives the features that it allows. */
static int prepare(struct net *net, uint64_t *features, struct error *err)
{
	int tap = net->tap.fd, flags, r;
	struct stat st;

	if (tap < 0) {
		net->dead = true;
		*features |= expected_features();
		return 0;
	}
	flags = fcntl(tap, F_GETFL);
	if (flags < 0 || fstat(tap, &st) < 0 || fcntl(tap, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_errno(err, errno, "virtio-net: descriptor");
	if (S_ISSOCK(st.st_mode))
		return 0;
	net->is_tap = true;
	r = check_tap(tap, err);
	if (r == 0)
		*features |= tap_features(tap);
	return r;
}

static int attach(struct net *net, int tap, struct error *err)
{
	unsigned long offloads = tap_offloads(net->dev.negotiated);
	int r;

	if (net->tap.fd >= 0)
		return error_set(err, EBUSY, "virtio-net: the card has a tap already");
	r = check_tap(tap, err);
	if (r < 0)
		return r;
	if (fcntl(tap, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ||
	    (virtio_running(&net->dev) && ioctl(tap, TUNSETOFFLOAD, offloads) < 0))
		return error_errno(err, errno,
				   "virtio-net: the tap cannot offload what the driver chose");
	net->tap.fd = tap;
	net->is_tap = true;
	net->dead = false;
	watch(net);
	return 0;
}

int virtio_net_attach(struct virtio_device *dev, int tap, struct error *err)
{
	int r;

	pthread_mutex_lock(&dev->lock);
	r = attach((struct net *)dev, tap, err);
	pthread_mutex_unlock(&dev->lock);
	if (r < 0)
		close_fd(&tap);
	return r;
}

/* ---- the device ------------------------------------------------------------------------------ */

static void read_config(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	const struct net *net = (const struct net *)dev;

	virtio_config_copy(&net->config, sizeof(net->config), offset, data, size);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	struct net *net = (struct net *)dev;
	unsigned long offloads = tap_offloads(dev->negotiated);

	if (net->is_tap && ioctl(net->tap.fd, TUNSETOFFLOAD, offloads) < 0)
		return error_errno(err, errno, "the tap cannot offload what the driver chose");
	return 0;
}

static void reset(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;

	loop_watch(dev->loop, &net->tap, 0, NULL);
	net->receiving = net->stalled = false;
	net->waiting = 0;
}

static void destroy(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;

	if (net->tap.events)
		loop_watch(dev->loop, &net->tap, 0, NULL);
	close_fd(&net->tap.fd);
	free(net);
}

static const struct virtio_ops ops = {
	.name = "net",
	.device_id = VIRTIO_ID_NET,
	.queue_count = NET_QUEUES,
	.queue_size = QUEUE_SIZE,
	.read_config = read_config,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.save = virtio_save_nothing,
	.destroy = destroy,
};

struct virtio_device *virtio_net_new(const struct virtio_net_options *options,
				     const struct guest_memory *memory, struct loop *loop,
				     struct error *err)
{
	uint64_t features = UINT64_C(1) << VIRTIO_NET_F_MAC | UINT64_C(1) << VIRTIO_NET_F_STATUS |
			    UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF;
	_cleanup_close_ int tap = options->tap;
	struct net *net = calloc(1, sizeof(*net));

	if (!net) {
		error_errno(err, ENOMEM, "virtio-net");
		return NULL;
	}
	net->tap = (struct loop_source){ take_fd(&tap), 0, tap_ready, net };
	memcpy(net->config.mac, options->mac, sizeof(net->config.mac));
	net->config.status = VIRTIO_NET_S_LINK_UP;
	net->config.mtu = options->mtu;
	if (options->mtu)
		features |= UINT64_C(1) << VIRTIO_NET_F_MTU;
	if (prepare(net, &features, err) < 0) {
		destroy(&net->dev);
		return NULL;
	}
	if (virtio_init(&net->dev, &ops, features, memory, loop, err) < 0) {
		virtio_free(&net->dev);
		return NULL;
	}
	return &net->dev;
}
