/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the virtio devices as a guest would attack them: the input is a program of register accesses, writes into memory and
 * notifications. Whatever it does, a device must not touch what is not the guest's memory (that lies between pages that
 * fault), must not use more requests than it was given, and must come to rest when the guest does.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "microvm/snapshot.h"
#include "microvm/virtio_balloon.h"
#include "microvm/virtio_mmio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY_SIZE (GUEST_HOLE_START + (UINT64_C(1) << 20))
#define QUEUE_SIZE  16u
#define RINGS       UINT64_C(0x10000) /* of queue n: RINGS * (n + 1), its parts 0x1000 apart */
#define PLACES      16u               /* where buffers begin: multiples of 0x200 */
#define IMAGE_SIZE  (64 << 10)
#define STEPS_MAX   5000u /* more than 256 requests, each in slices, can need */

enum { RNG, CONSOLE, BLK, BLK_READ_ONLY, BALLOON, NET, KINDS };

static struct {
	struct guest_memory memory;
	struct loop loop;
	struct virtio_device *dev;
	unsigned kind;
	int peer; /* the other end of what the device talks to; -1: none */
	const uint8_t *data;
	size_t left;
} fuzz;

/* ---- the input ------------------------------------------------------------------------------- */

static void take(void *to, size_t len)
{
	size_t some = len < fuzz.left ? len : fuzz.left;

	memset(to, 0, len);
	memcpy(to, fuzz.data, some);
	fuzz.data += some;
	fuzz.left -= some;
}

static uint8_t take8(void)
{
	uint8_t value;

	take(&value, sizeof(value));
	return value;
}

static uint16_t take16(void)
{
	uint16_t value;

	take(&value, sizeof(value));
	return value;
}

static uint32_t take32(void)
{
	uint32_t value;

	take(&value, sizeof(value));
	return value;
}

static uint64_t take64(void)
{
	uint64_t value;

	take(&value, sizeof(value));
	return value;
}

/* An address: mostly of a buffer, else at the edges, or anything. */
static uint64_t take_address(void)
{
	uint8_t kind = take8();

	switch (kind >> 5) {
	case 0:
		return GUEST_HOLE_START - (kind & 31);
	case 1:
		return GUEST_HOLE_END + (kind & 31) - 16;
	case 2:
		return GUEST_HOLE_END + (MEMORY_SIZE - GUEST_HOLE_START) - (kind & 31);
	case 3:
		return take64();
	default:
		return (kind % PLACES) * 0x200u;
	}
}

/* ---- devices --------------------------------------------------------------------------------- */

static void make_pair(int type, int fds[2])
{
	const int size = 8192; /* so that it is full now and then */

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ||
	    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
		abort();
}

static struct virtio_device *make_disk(bool read_only)
{
	struct virtio_blk_options options = { memfd_create("image", MFD_CLOEXEC), read_only,
					      "fuzz" };

	if (ftruncate(options.fd, IMAGE_SIZE) < 0)
		abort();
	return virtio_blk_new(&options, &fuzz.memory, &fuzz.loop, NULL);
}

static struct virtio_device *make_net(void)
{
	struct virtio_net_options options = { .mtu = 1500 };
	int fds[2];

	make_pair(SOCK_SEQPACKET, fds);
	fuzz.peer = fds[0];
	options.tap = fds[1];
	return virtio_net_new(&options, &fuzz.memory, &fuzz.loop, NULL);
}

static struct virtio_device *make_console(void)
{
	int fds[2];

	make_pair(SOCK_STREAM, fds);
	fuzz.peer = fds[0];
	return virtio_console_new(fds[1], fds[1], &fuzz.memory, &fuzz.loop, NULL);
}

static struct virtio_device *make_device(void)
{
	switch (fuzz.kind) {
	case RNG:
		return virtio_rng_new(&fuzz.memory, &fuzz.loop, NULL);
	case CONSOLE:
		return make_console();
	case BLK:
	case BLK_READ_ONLY:
		return make_disk(fuzz.kind == BLK_READ_ONLY);
	case BALLOON:
		return virtio_balloon_new(&fuzz.memory, &fuzz.loop, NULL);
	default:
		return make_net();
	}
}

/* ---- what a guest does ----------------------------------------------------------------------- */

static void set_register(uint32_t reg, uint32_t value)
{
	virtio_mmio_write(fuzz.dev, reg, &value, sizeof(value));
}

static void access_register(bool write)
{
	uint8_t data[16], kind = take8();
	uint32_t offset = kind & 0x80   ? take32()
			  : kind & 0x40 ? 0x100u + take8()
					: (kind & 0x3fu) * 4;
	unsigned size = kind & 0x40 ? 1u << (take8() % 5) : 4;

	take(data, write ? sizeof(data) : 0);
	if (write)
		virtio_mmio_write(fuzz.dev, offset, data, size);
	else
		virtio_mmio_read(fuzz.dev, offset, data, size);
}

static void write_memory(void)
{
	uint64_t gpa = take_address() + take8() % 32;
	uint8_t data[64];
	size_t len = take8() % sizeof(data);

	take(data, len);
	guest_memory_write(&fuzz.memory, gpa, data, len);
}

/* A reset, and all of the way to DRIVER_OK, with some of the features that there are. */
static void start(void)
{
	uint64_t features = (take64() & fuzz.dev->offered) | UINT64_C(1) << VIRTIO_F_VERSION_1;
	unsigned odd = take8();

	set_register(VIRTIO_MMIO_STATUS, 0);
	set_register(VIRTIO_MMIO_STATUS, 1);
	set_register(VIRTIO_MMIO_STATUS, 3);
	for (unsigned i = 0; i < 2; i++) {
		set_register(VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		set_register(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * i));
	}
	set_register(VIRTIO_MMIO_STATUS, 11);
	for (unsigned i = 0; i < fuzz.dev->ops->queue_count; i++) {
		uint64_t rings = RINGS * (i + 1);

		/* The memory that rings lie in is not zeroed: only indexes are. */
		guest_memory_write(&fuzz.memory, rings + 0x1000, "\0\0\0\0", 4);
		guest_memory_write(&fuzz.memory, rings + 0x2000, "\0\0\0\0", 4);
		set_register(VIRTIO_MMIO_QUEUE_SEL, i);
		set_register(VIRTIO_MMIO_QUEUE_NUM, odd == 1 ? take16() : QUEUE_SIZE);
		set_register(VIRTIO_MMIO_QUEUE_DESC_LOW, odd == 2 ? take32() : (uint32_t)rings);
		set_register(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)rings + 0x1000);
		set_register(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)rings + 0x2000);
		set_register(VIRTIO_MMIO_QUEUE_READY, 1);
	}
	set_register(VIRTIO_MMIO_STATUS, 15);
}

static void write_descriptor(uint64_t table, unsigned index, unsigned next)
{
	struct vring_desc desc = { .addr = take_address(), .len = take8(), .next = (uint16_t)next };
	uint8_t flags = take8();

	if (flags & 0x10)
		desc.len *= 64;
	if (flags & 0x20)
		desc.len = take32();
	/* What a console writes takes a step for each 64 KiB. */
	if (fuzz.kind == CONSOLE)
		desc.len %= 4u << 20;
	if (flags & 0x40)
		desc.next = take16();
	desc.flags = flags & 7;
	guest_memory_write(&fuzz.memory, table + index * sizeof(desc), &desc, sizeof(desc));
}

/* Makes a request available, and notifies. */
static void offer(unsigned queue, uint16_t head)
{
	uint64_t avail = RINGS * (queue + 1) + 0x1000;
	uint16_t idx = 0;

	guest_memory_read(&fuzz.memory, avail + 2, &idx, sizeof(idx));
	guest_memory_write(&fuzz.memory, avail + 4 + 2ull * (idx % QUEUE_SIZE), &head,
			   sizeof(head));
	idx++;
	guest_memory_write(&fuzz.memory, avail + 2, &idx, sizeof(idx));
	set_register(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* Descriptors, linked one to the next as long as their flags say so, and the first of them made available. */
static void make_request(void)
{
	unsigned queue = take8() % VIRTIO_QUEUES_MAX, count = take8() % 5;
	uint64_t rings = RINGS * (queue + 1);
	uint16_t head = take8() % QUEUE_SIZE;

	for (unsigned i = 0; i < count; i++)
		write_descriptor(rings, head + i, head + i + 1);
	offer(queue, head);
}

/* The kind of buffers that a good driver has in the queue. */
static bool is_filled_by_device(unsigned queue)
{
	return fuzz.kind == RNG || (fuzz.kind == BALLOON ? queue == 3 : queue == 0);
}

/* A request as a good driver makes it, but for its contents; in an indirect table, perhaps. */
static void make_good_request(void)
{
	const uint32_t types[] = { VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
				   VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
				   VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
				   VIRTIO_BLK_T_SCSI_CMD };
	bool disk = fuzz.kind == BLK || fuzz.kind == BLK_READ_ONLY, indirect = take8() & 1;
	unsigned queue = take8() % fuzz.dev->ops->queue_count, count = 0;
	struct virtio_blk_outhdr header = { .type = types[take8() % ARRAY_SIZE(types)] };
	uint64_t rings = RINGS * (queue + 1), data = (take8() % PLACES) * 0x200u;
	uint16_t head = take8() % (QUEUE_SIZE - 3);
	struct vring_desc descs[3];
	uint8_t content[32];

	header.sector = take8();
	take(content, sizeof(content));
	guest_memory_write(&fuzz.memory, data, content, sizeof(content));
	guest_memory_write(&fuzz.memory, 0x8000, &header, sizeof(header));
	if (disk)
		descs[count++] = (struct vring_desc){ .addr = 0x8000, .len = sizeof(header) };
	descs[count++] = (struct vring_desc){
		.addr = data,
		.len = disk && header.type < 2 ? take8() * 512u : take16() % 4096,
		.flags = (disk ? take8() & 1 : is_filled_by_device(queue)) ? VRING_DESC_F_WRITE : 0,
	};
	if (disk)
		descs[count++] = (struct vring_desc){ .addr = 0x9000,
						      .len = 1,
						      .flags = VRING_DESC_F_WRITE };
	for (unsigned i = 0; i + 1 < count; i++) {
		descs[i].flags |= VRING_DESC_F_NEXT;
		descs[i].next = (uint16_t)(i + 1 + (indirect ? 0 : head));
	}
	guest_memory_write(&fuzz.memory, indirect ? 0xa000 : rings + head * sizeof(descs[0]), descs,
			   count * sizeof(descs[0]));
	if (indirect) {
		descs[0] = (struct vring_desc){
			.addr = 0xa000,
			.len = count * (uint32_t)sizeof(descs[0]),
			.flags = VRING_DESC_F_INDIRECT,
		};
		guest_memory_write(&fuzz.memory, rings + head * sizeof(descs[0]), descs,
				   sizeof(descs[0]));
	}
	offer(queue, head);
}

/* An indirect table where buffers are, for a descriptor to lead to. */
static void make_table(void)
{
	uint64_t table = (take8() % PLACES) * 0x200u;
	unsigned count = take8() % 8;

	for (unsigned i = 0; i < count; i++)
		write_descriptor(table, i, i + 1);
}

static void write_ring(void)
{
	uint64_t rings = RINGS * (take8() % VIRTIO_QUEUES_MAX + 1);
	uint16_t at = take16() % 0x3000, value = take16();

	guest_memory_write(&fuzz.memory, rings + at, &value, sizeof(value));
}

/* ---- what the host does ---------------------------------------------------------------------- */

static void use_peer(void)
{
	static uint8_t buf[70000];
	size_t len = take16() * 2u % sizeof(buf);

	if (fuzz.peer < 0)
		return;
	if (len == 2)
		close_fd(&fuzz.peer);
	while (recv(fuzz.peer, buf, sizeof(buf), 0) > 0)
		;
	take(buf, 16);
	if (send(fuzz.peer, buf, len, MSG_NOSIGNAL) < 0)
		return;
}

static void use_balloon(void)
{
	struct virtio_balloon_stats stats;

	if (fuzz.kind != BALLOON)
		return;
	virtio_balloon_set_target(fuzz.dev, take32());
	virtio_balloon_stats(fuzz.dev, &stats);
}

static void check_queues(void)
{
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		const struct virtq *q = &fuzz.dev->queues[i];

		/* What was returned was taken, and no more was taken than there can be. */
		if (q->enabled && (uint16_t)(q->next_avail - q->next_used) > q->size)
			abort();
	}
}

static void run(unsigned steps)
{
	while (steps && loop_step(&fuzz.loop, 0, NULL) > 0)
		steps--;
	check_queues();
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void begin_device(void)
{
	fuzz.dev = make_device();
	if (!fuzz.dev || virtio_mmio_start(fuzz.dev, NULL) < 0)
		abort();
}

static void end_device(void)
{
	set_register(VIRTIO_MMIO_STATUS, 0);
	virtio_free(fuzz.dev);
	close_fd(&fuzz.peer);
}

/* A device that takes over from this one, by a snapshot in which some bytes are others. False: it does not. */
static bool hand_over(void)
{
	struct snapshot s;
	bool taken = true;
	int r;

	snapshot_begin(&s);
	r = virtio_save(fuzz.dev, &s, NULL);
	if (r == 0 && s.failed)
		abort();
	for (unsigned n = r == 0 ? take8() % 8 : 0; n; n--) {
		size_t at = (take8() | (size_t)take8() << 8) % s.len;

		s.data[at] = take8();
	}
	if (r == 0) {
		end_device();
		begin_device();
		taken = virtio_restore(fuzz.dev, &s, NULL) == 0;
	}
	snapshot_close(&s);
	return taken;
}

/* ---- one input ------------------------------------------------------------------------------- */

/* False: the machine is given up. */
static bool act(void)
{
	switch (take8() % 16) {
	case 0:
		access_register(true);
		break;
	case 1:
		access_register(false);
		break;
	case 2:
	case 3:
		write_memory();
		break;
	case 4:
		start();
		break;
	case 5:
	case 6:
		make_request();
		break;
	case 7:
		make_table();
		break;
	case 8:
		write_ring();
		break;
	case 9:
		use_peer();
		break;
	case 10:
		use_balloon();
		break;
	case 11:
	case 12:
	case 13:
		make_good_request();
		break;
	case 14:
		return hand_over();
	default:
		run(take8());
		break;
	}
	return true;
}

static void prepare(void)
{
	if (fuzz.memory.size)
		return;
	signal(SIGPIPE, SIG_IGN);
	log_configure(&(struct log_config){ .fd = -1, .quiet = true, .level = LOG_LEVEL_WARNING });
	if (guest_memory_create(&fuzz.memory, MEMORY_SIZE, NULL) < 0 ||
	    loop_open(&fuzz.loop, NULL) < 0 || guest_memory_prepare_track(&fuzz.memory, NULL) < 0)
		abort();
	guest_memory_track(&fuzz.memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool going = true;

	prepare();
	fuzz.data = data;
	fuzz.left = size;
	fuzz.peer = -1;
	fuzz.kind = take8() % KINDS;
	begin_device();
	start();
	while (fuzz.left && going)
		going = act();
	if (going)
		run(STEPS_MAX);
	/* A device that still has something to do spins. */
	if (going && loop_step(&fuzz.loop, 0, NULL) > 0)
		abort();
	end_device();
	for (unsigned i = 0; i < fuzz.memory.region_count; i++)
		guest_memory_discard(&fuzz.memory, fuzz.memory.regions[i].host,
				     fuzz.memory.regions[i].size);
	return 0;
}
