/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng (virtio 1.2, 5.4): one queue of buffers to fill with random bytes of the host's kernel. */
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "microvm/virtio.h"

#define QUEUE_SIZE 64
#define BUDGET     8
#define REQUEST_MAX \
	65536u /* a request's buffers may overlap, and be as long as the guest likes; the host's time is not free */

struct rng {
	struct virtio_device dev;
};

/* Fills buffers; how many bytes. */
static uint32_t fill(const struct iovec *iov, unsigned count)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < count; i++) {
		for (size_t at = 0; at < iov[i].iov_len;) {
			ssize_t n = getrandom((char *)iov[i].iov_base + at, iov[i].iov_len - at, 0);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return done;
			at += (size_t)n;
			done += (uint32_t)n;
		}
	}
	return done;
}

static bool serve(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	uint64_t len = chain->writable_bytes < REQUEST_MAX ? chain->writable_bytes : REQUEST_MAX;
	struct iovec iov[VIRTQ_IOV_MAX];

	if (chain->readable || !len) {
		virtio_broken(dev, "a request that has nothing to fill");
		return false;
	}
	virtq_push(&dev->queues[queue], chain, fill(iov, virtq_slice(chain, true, 0, len, iov)));
	return true;
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	virtio_serve(dev, queue, BUDGET, serve);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void reset(struct virtio_device *dev)
{
	(void)dev;
}

static void destroy(struct virtio_device *dev)
{
	free((struct rng *)dev);
}

static const struct virtio_ops ops = {
	.name = "rng",
	.device_id = VIRTIO_ID_RNG,
	.queue_count = 1,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.save = virtio_save_nothing,
	.destroy = destroy,
};

struct virtio_device *virtio_rng_new(const struct guest_memory *memory, struct loop *loop,
				     struct error *err)
{
	struct rng *rng = calloc(1, sizeof(*rng));

	if (!rng) {
		error_errno(err, ENOMEM, "virtio-rng");
		return NULL;
	}
	if (virtio_init(&rng->dev, &ops, 0, memory, loop, err) < 0) {
		virtio_free(&rng->dev);
		return NULL;
	}
	return &rng->dev;
}
