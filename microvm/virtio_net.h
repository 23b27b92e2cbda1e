/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net's inside: what the device (virtio_net.c) and its way to the guest (virtio_net_receive.c) share. */
#ifndef HULL_MICROVM_VIRTIO_NET_H
#define HULL_MICROVM_VIRTIO_NET_H

#include <linux/virtio_net.h>

#include "microvm/virtio.h"

#define NET_HEADER    sizeof(struct virtio_net_hdr_v1)
#define NET_FRAME_MIN 14u /* an Ethernet header */
#define NET_PACKET_MAX \
	(NET_HEADER + 65550u) /* of a frame that is to be segmented: virtio 1.2, 5.1.6.3.1 */

enum { NET_RECEIVE, NET_TRANSMIT, NET_QUEUES };

struct net {
	struct virtio_device dev;
	struct loop_source tap;
	bool is_tap;      /* a tap device, not a socket */
	bool dead;        /* it came to its end */
	bool receiving;   /* there are buffers for what it has */
	bool stalled;     /* it takes no more */
	uint64_t waiting; /* bytes of the packet in bounce that waits for buffers; 0: none */
	struct virtio_net_config config;
	/* A packet for which the driver's buffers do not do, and a byte by which one is recognised that is too long. */
	uint8_t bounce[NET_PACKET_MAX + 1];
};

/* Fills the driver's buffers with packets, some of them; sets what is to be waited for then. */
void net_receive(struct net *net);

#endif
