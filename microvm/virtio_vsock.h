/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets between host and guest (virtio 1.2, 5.10), stream sockets only. On the host's side they are Unix sockets:
 *
 *   - whoever connects to the device's listening socket says "CONNECT PORT\n", and is answered "OK HOSTPORT\n" when the guest has
 *     accepted at its port; else the connection is closed;
 *   - a guest that connects to the host's port P reaches the Unix socket "vsock.sock_P" in the device's directory, or
 *     nobody;
 *   - the VMM itself listens on ports, and connects, by the functions below.
 *
 * What a guest can make the host hold is bounded: VSOCK_CONNECTIONS_MAX connections, each with a buffer of VSOCK_BUFFER bytes, which
 * is what it is told it may send before the host's side has read it.
 */
#ifndef HULL_MICROVM_VIRTIO_VSOCK_H
#define HULL_MICROVM_VIRTIO_VSOCK_H

#include "microvm/virtio.h"

#define VSOCK_CONNECTIONS_MAX 512
#define VSOCK_BUFFER          (256u * 1024) /* bytes; allocated only while the host's side does not read */
#define VSOCK_SOCKET_NAME     "vsock.sock"

/* A guest connected to a port of the VMM's own: fd is the callback's. Called with the device's lock held. */
typedef void vsock_accepted(void *data, int fd);

/*
 * The VMM listens on port itself, instead of a Unix socket. -ENOSPC where it does so on too many. Before the guest runs. The port is the
 * connections' tag.
 */
int virtio_vsock_listen(struct virtio_device *dev, uint32_t port, vsock_accepted *accepted,
			void *data, struct error *err);

/*
 * Connects fd, a stream socket that becomes the device's, to the guest's port. When the guest refuses, or ends, fd is closed: its
 * other side sees the end of the stream. Not from within vsock_accepted(). tag: see virtio_vsock_adopt(); 0: it ends with the machine.
 */
int virtio_vsock_connect(struct virtio_device *dev, uint32_t port, int fd, uint32_t tag,
			 struct error *err);

/*
 * In a restored machine, before it runs: the VMM's end of the connection with this tag, or -ENOENT without a message. unread: what had come of it
 * before, and nobody had read; it is read from there first.
 */
int virtio_vsock_adopt(struct virtio_device *dev, uint32_t tag, const void *unread, size_t len,
		       struct error *err);

/*
 * Whether connections to the listening socket are taken; true at first. Those that come meanwhile wait: until the guest
 * listens, say. In the device thread, not from within vsock_accepted().
 */
void virtio_vsock_take_connections(struct virtio_device *dev, bool take);

#endif
