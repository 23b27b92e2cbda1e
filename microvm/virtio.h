/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all virtio devices have in common: features, queues, status, configuration space and interrupts (virtio 1.2, chapter 2).
 * A device is a struct with a struct virtio_device as its first member, and operations; the transport (virtio_mmio.h)
 * knows no more of it.
 *
 * Each operation is called with the device's lock held: from a vCPU thread for register accesses, from the
 * device thread for all else.
 */
#ifndef HULL_MICROVM_VIRTIO_H
#define HULL_MICROVM_VIRTIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "microvm/guest_memory.h"
#include "microvm/loop.h"
#include "microvm/virtq.h"

#define VIRTIO_QUEUES_MAX 4

struct snapshot;
struct virtio_device;

struct virtio_ops {
	const char *name;   /* "blk": in messages */
	uint32_t device_id; /* virtio 1.2, chapter 5 */
	unsigned queue_count;
	uint16_t queue_size; /* the largest, of each queue */
	bool external; /* another process works on the queues: it is told of them by activate(), and notify() is never called */
	/*
	 * The configuration space: reads size (1, 2, 4 or 8) bytes at offset into data, zeroed by the caller. Past its end: nothing. write may be
	 * NULL where the driver cannot change anything.
	 */
	void (*read_config)(struct virtio_device *dev, uint32_t offset, void *data, unsigned size);
	void (*write_config)(struct virtio_device *dev, uint32_t offset, const void *data,
			     unsigned size);
	/* The driver is ready (DRIVER_OK): the queues that it set up are enabled. An error leaves a device that needs a reset. */
	int (*activate)(struct virtio_device *dev, struct error *err);
	/* The driver put something into the queue. */
	void (*notify)(struct virtio_device *dev, unsigned queue);
	/*
	 * Stops, also what activate() did not finish: no request may be worked on when this returns, nor a queue be touched later. The queues
	 * are disabled by the caller afterwards.
	 */
	void (*reset)(struct virtio_device *dev);
	/*
	 * The guest is paused and will be saved: finishes what was begun, so that the queues say all there is to say. NULL: nothing is ever
	 * under way between two operations.
	 */
	int (*settle)(struct virtio_device *dev, struct error *err);
	/*
	 * Puts what a snapshot needs besides the common part, for a guest that is paused; NULL where that cannot be. virtio_save_nothing()
	 * where there is no such thing.
	 */
	int (*save)(struct virtio_device *dev, struct snapshot *s, struct error *err);
	/*
	 * Takes up work again, in place of activate() and whether or not the driver is ready (virtio_running()), with what save() put. NULL:
	 * activate() does.
	 */
	int (*restore)(struct virtio_device *dev, struct snapshot *s, struct error *err);
	/* Frees the device and what it holds. */
	void (*destroy)(struct virtio_device *dev);
};

struct virtio_device {
	const struct virtio_ops *ops;
	const struct guest_memory *memory;
	struct loop *loop;
	pthread_mutex_t lock;

	uint64_t offered;    /* features; virtio_init() adds those of the queues */
	uint64_t negotiated; /* a subset */
	struct virtq queues[VIRTIO_QUEUES_MAX];

	/* The transport's. */
	int notify_fds
		[VIRTIO_QUEUES_MAX]; /* eventfds that the driver's notifications write to (KVM_IOEVENTFD) */
	struct loop_source notify_sources[VIRTIO_QUEUES_MAX];
	int irq_fd; /* eventfd that interrupts the guest (KVM_IRQFD) */
	struct virtq_layout layouts[VIRTIO_QUEUES_MAX];
	bool queue_ready[VIRTIO_QUEUES_MAX];
	uint64_t driver_features;
	bool foreign_features; /* the driver set a bit from 64 on, which nobody offered */
	uint32_t status, device_features_select, driver_features_select, queue_select,
		config_generation;
	_Atomic uint32_t interrupt_status; /* read and acknowledged without the lock */
	time_t complained;                 /* when virtio_broken() wrote to the log; 0: never */
};

/*
 * Prepares the common part: ops, the features of the device itself (VIRTIO_F_VERSION_1, VIRTIO_RING_F_INDIRECT_DESC and
 * VIRTIO_RING_F_EVENT_IDX are added), lock, eventfds. dev is zeroed before. Undone, also after an error, by virtio_free(), which calls
 * ops->destroy() at last.
 */
int virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, uint64_t features,
		const struct guest_memory *memory, struct loop *loop, struct error *err);
void virtio_free(struct virtio_device *dev);

static inline bool virtio_has(const struct virtio_device *dev, unsigned feature_bit)
{
	return (dev->negotiated >> feature_bit & 1) != 0;
}

/* Whether the driver is ready and neither it nor the device gave up. Else a callback does nothing but stop watching its source. */
bool virtio_running(const struct virtio_device *dev);

/* virtq_pop(): whether there is a request. Where the queue is broken, there is none, and so is the device (virtio_broken()). */
bool virtio_pop(struct virtio_device *dev, unsigned queue, struct virtq_chain *chain);

/*
 * Serves what is in the queue, at most budget requests; where there are more, the device thread comes back to them after
 * the other devices. serve() pushes the request and returns true, or returns false where it cannot be served yet: it stays in the
 * queue, and whoever makes it possible calls this again.
 */
typedef bool virtio_serve_callback(struct virtio_device *dev, unsigned queue,
				   const struct virtq_chain *chain);
void virtio_serve(struct virtio_device *dev, unsigned queue, unsigned budget,
		  virtio_serve_callback *serve);

/* Has notify() called for the queue by the device thread, as if the driver had notified. */
void virtio_kick(struct virtio_device *dev, unsigned queue);

/* A read of a configuration space that is a struct of length bytes: for read_config(). */
void virtio_config_copy(const void *config, size_t length, uint32_t offset, void *data,
			unsigned size);

/* ---- snapshots (virtio_snapshot.c) ---- */

/* A device's state, while the guest is paused, as a record. */
int virtio_save(struct virtio_device *dev, struct snapshot *s, struct error *err);
/* The state that it goes on from, of a device that is new and of the same kind, once memory and interrupt controllers are restored. */
int virtio_restore(struct virtio_device *dev, struct snapshot *s, struct error *err);
int virtio_save_nothing(struct virtio_device *dev, struct snapshot *s, struct error *err);

/* ---- interrupts ---- */

/* Raises what was raised and not acknowledged once more. */
void virtio_interrupt_again(struct virtio_device *dev);
/* Interrupts the driver for what was pushed to the queue, if it wants that. */
void virtio_used(struct virtio_device *dev, unsigned queue);
/* Tells the driver that the configuration space changed. */
void virtio_config_changed(struct virtio_device *dev);
/*
 * The driver did what it must not: the device asks for a reset and does nothing until then (virtio 1.2, 2.1.2). Logged, but at most once a
 * minute, however often the driver resets it and does it again.
 */
void virtio_broken(struct virtio_device *dev, const char *why);

/* ---- the devices: each returns a new one, or NULL with the error. Descriptors that are passed become the device's, also on an error. ---- */

struct virtio_blk_options {
	int fd; /* a regular file or a block device */
	bool read_only;
	const char *id; /* what VIRTIO_BLK_T_GET_ID says; at most 20 bytes of it */
};
struct virtio_net_options {
	/*
	 * Of a tap device with IFF_VNET_HDR and IFF_NO_PI; or a socket that keeps messages apart (SOCK_DGRAM, SOCK_SEQPACKET): each is a
	 * struct virtio_net_hdr_v1 and a frame, without any offloading.
	 */
	int tap;
	uint8_t mac[6];
	uint16_t mtu; /* 0: not told */
};

struct virtio_device *virtio_blk_new(const struct virtio_blk_options *options,
				     const struct guest_memory *memory, struct loop *loop,
				     struct error *err);
struct virtio_device *virtio_net_new(const struct virtio_net_options *options,
				     const struct guest_memory *memory, struct loop *loop,
				     struct error *err);
/*
 * Gives a card that was made without a tap (-1) one; it becomes the card's, also on an error. In the device thread.
 */
int virtio_net_attach(struct virtio_device *dev, int tap, struct error *err);
struct virtio_device *virtio_rng_new(const struct guest_memory *memory, struct loop *loop,
				     struct error *err);
/* input and output: of the one port; input -1: none. */
struct virtio_device *virtio_console_new(int input, int output, const struct guest_memory *memory,
					 struct loop *loop, struct error *err);
struct virtio_device *virtio_balloon_new(const struct guest_memory *memory, struct loop *loop,
					 struct error *err);
struct virtio_device *virtio_vsock_new(uint64_t guest_cid, int listener, int directory,
				       const struct guest_memory *memory, struct loop *loop,
				       struct error *err);
struct virtio_device *virtio_fs_new(int server, const char *tag, const struct guest_memory *memory,
				    struct loop *loop, struct error *err);
/*
 * Calls lost, in whatever thread learns it, once there is no server any more, or it could not go on from its state: a guest would wait for its
 * files for ever. why: a line. Called before the guest runs.
 */
void virtio_fs_watch(struct virtio_device *dev, void (*lost)(void *data, const char *why),
		     void *data);
/*
 * The file for the server's state (fs_state.h), empty, of the next virtio_save() alone; it stays the caller's. Without one, a device whose files
 * were used cannot be saved (-EBUSY).
 */
void virtio_fs_save_to(struct virtio_device *dev, int fd);

/* Has the server note what it writes of the guest's memory (guest_memory_prepare_track(), dirty_fd), or (fd negative) no more. */
int virtio_fs_track(struct virtio_device *dev, int fd, struct error *err);

#endif
