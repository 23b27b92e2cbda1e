/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) on a raw image or a block device. A request is a header, data and a status byte. Only the
 * header decides, and it is copied once; the data go between the file and the guest's memory without a stop here.
 * Requests are served one by one in the device thread, a slice of time at once.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "microvm/snapshot.h"
#include "microvm/virtio.h"

#define QUEUE_SIZE    256
#define SECTOR        512u
#define SEGMENTS_MAX  (VIRTQ_IOV_MAX - 2) /* beside header and status */
#define SEGMENT_MAX   (128u << 10) /* bytes; a request of the most and largest segments has 32 MiB */
#define RANGES_MAX    16u          /* of one request to discard or zero */
#define RANGE_SECTORS (UINT32_C(1) << 22) /* 2 GiB */
#define BUDGET        32                  /* requests, and */
#define SLICE         (UINT64_C(2) << 20) /* bytes, before other devices have their turn */

struct blk {
	struct virtio_device dev;
	int fd;
	bool read_only;
	uint64_t sectors; /* of SECTOR bytes */
	uint64_t spent;   /* bytes of this slice */
	char id[VIRTIO_BLK_ID_BYTES];
	struct virtio_blk_config config;
};

static bool in_range(const struct blk *blk, uint64_t sector, uint64_t count)
{
	return sector <= blk->sectors && count <= blk->sectors - sector;
}

/* The device's cache is the host's. */
static uint8_t flush(struct blk *blk)
{
	blk->spent += SLICE;
	return fdatasync(blk->fd) < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* ---- data ------------------------------------------------------------------------------------ */

/* A file that is shorter than its last sector, or was cut meanwhile, ends in zeroes. */
static void zero(const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

static uint8_t transfer(struct blk *blk, const struct virtq_chain *chain, uint64_t sector,
			bool write)
{
	uint64_t start = write ? sizeof(struct virtio_blk_outhdr) : 0;
	uint64_t len = write ? chain->readable_bytes - start : chain->writable_bytes - 1;
	/* A driver that cannot flush has been promised that what is written stays (5.2.5). */
	int flags = write && !virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH) ? RWF_DSYNC : 0;
	struct iovec iov[VIRTQ_IOV_MAX];

	if (!len || len % SECTOR || len > (uint64_t)SEGMENTS_MAX * SEGMENT_MAX ||
	    !in_range(blk, sector, len / SECTOR) || (write && blk->read_only))
		return VIRTIO_BLK_S_IOERR;
	blk->spent += len;
	for (uint64_t done = 0; done < len;) {
		unsigned count = virtq_slice(chain, !write, start + done, len - done, iov);
		off_t offset = (off_t)(sector * SECTOR + done);
		ssize_t n = write ? pwritev2(blk->fd, iov, (int)count, offset, flags)
				  : preadv2(blk->fd, iov, (int)count, offset, flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (n == 0 && write))
			return VIRTIO_BLK_S_IOERR;
		if (n == 0) {
			zero(iov, count);
			break;
		}
		done += (uint64_t)n;
	}
	return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(const struct blk *blk, const struct virtq_chain *chain)
{
	/* The last byte is the status. */
	if (chain->writable_bytes <= sizeof(blk->id))
		return VIRTIO_BLK_S_IOERR;
	return virtq_write(chain, 0, blk->id, sizeof(blk->id)) ? VIRTIO_BLK_S_OK
							       : VIRTIO_BLK_S_IOERR;
}

/* ---- holes ----------------------------------------------------------------------------------- */

static int make_hole(struct blk *blk, const struct virtio_blk_discard_write_zeroes *range,
		     bool keep_allocated)
{
	off_t offset = (off_t)(range->sector * SECTOR), len = (off_t)range->num_sectors * SECTOR;

	/* Not every file system can zero and keep the space (tmpfs); a hole reads as zeroes, too. */
	if (keep_allocated &&
	    fallocate(blk->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, len) == 0)
		return 0;
	if (keep_allocated && errno != EOPNOTSUPP)
		return -errno;
	return fallocate(blk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len) < 0
		       ? -errno
		       : 0;
}

static uint8_t erase(struct blk *blk, const struct virtq_chain *chain, bool zeroes)
{
	uint64_t start = sizeof(struct virtio_blk_outhdr), len = chain->readable_bytes - start;
	struct virtio_blk_discard_write_zeroes range;

	if (blk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!virtio_has(&blk->dev, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
		return VIRTIO_BLK_S_UNSUPP;
	if (!len || len % sizeof(range) || len / sizeof(range) > RANGES_MAX)
		return VIRTIO_BLK_S_IOERR;
	blk->spent += SLICE;
	for (uint64_t at = 0; at < len; at += sizeof(range)) {
		bool unmap;
		int r;

		if (!virtq_read(chain, start + at, &range, sizeof(range)))
			return VIRTIO_BLK_S_IOERR;
		unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
		if ((range.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) || (unmap && !zeroes))
			return VIRTIO_BLK_S_UNSUPP;
		if (range.num_sectors > RANGE_SECTORS ||
		    !in_range(blk, range.sector, range.num_sectors))
			return VIRTIO_BLK_S_IOERR;
		r = range.num_sectors ? make_hole(blk, &range, zeroes && !unmap) : 0;
		if (r < 0)
			return r == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
	}
	return virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH) ? VIRTIO_BLK_S_OK : flush(blk);
}

/* ---- requests -------------------------------------------------------------------------------- */

static uint8_t execute(struct blk *blk, const struct virtq_chain *chain,
		       const struct virtio_blk_outhdr *header)
{
	switch (header->type) {
	case VIRTIO_BLK_T_IN:
		return transfer(blk, chain, header->sector, false);
	case VIRTIO_BLK_T_OUT:
		return transfer(blk, chain, header->sector, true);
	case VIRTIO_BLK_T_FLUSH:
		return flush(blk);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(blk, chain);
	case VIRTIO_BLK_T_DISCARD:
		return erase(blk, chain, false);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return erase(blk, chain, true);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

static bool serve(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	struct blk *blk = (struct blk *)dev;
	struct virtio_blk_outhdr header;
	uint64_t data = chain->writable_bytes - 1;
	uint8_t status;

	if (blk->spent >= SLICE) {
		virtio_kick(dev, queue);
		return false;
	}
	if (!chain->writable || !virtq_read(chain, 0, &header, sizeof(header))) {
		virtio_broken(dev, "a request without header or status");
		return false;
	}
	status = execute(blk, chain, &header);
	virtq_write(chain, data, &status, sizeof(status));
	/* The length counts from the first byte: where the data before the status did not come, it is nothing. */
	virtq_push(&dev->queues[queue], chain,
		   status == VIRTIO_BLK_S_OK || !data ? (uint32_t)data + 1 : 0);
	/* The next one may take long, and the driver need not wait for it. */
	virtio_used(dev, queue);
	return true;
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	((struct blk *)dev)->spent = 0;
	virtio_serve(dev, queue, BUDGET, serve);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void read_config(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	const struct blk *blk = (const struct blk *)dev;

	virtio_config_copy(&blk->config, sizeof(blk->config), offset, data, size);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void reset(struct virtio_device *dev)
{
	(void)dev; /* no request outlives the callback that took it */
}

static int save(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	const struct blk *blk = (const struct blk *)dev;

	(void)err;
	snapshot_put(s, SNAPSHOT_OWN, &blk->config, sizeof(blk->config));
	return 0;
}

/* The driver has read what the disk is like, and does not ask again. */
static int restore(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	const struct blk *blk = (const struct blk *)dev;
	struct virtio_blk_config saved;
	int r = snapshot_get(s, SNAPSHOT_OWN, &saved, sizeof(saved), err);

	if (r == 0 && memcmp(&saved, &blk->config, sizeof(saved)) != 0)
		return error_set(err, EINVAL,
				 "the disk has %llu sectors, and that of the snapshot had %llu",
				 (unsigned long long)blk->config.capacity,
				 (unsigned long long)saved.capacity);
	return r;
}

static void destroy(struct virtio_device *dev)
{
	struct blk *blk = (struct blk *)dev;

	close_fd(&blk->fd);
	free(blk);
}

static const struct virtio_ops ops = {
	.name = "blk",
	.device_id = VIRTIO_ID_BLOCK,
	.queue_count = 1,
	.queue_size = QUEUE_SIZE,
	.read_config = read_config,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.save = save,
	.restore = restore,
	.destroy = destroy,
};

/* A part of a sector at the end can be read, with zeroes behind it, but not be written: the file would grow. */
static int measure(struct blk *blk, struct error *err)
{
	int flags = fcntl(blk->fd, F_GETFL);
	uint64_t size = 0;
	struct stat st;

	if (flags < 0 || fstat(blk->fd, &st) < 0)
		return error_errno(err, errno, "virtio-blk: disk");
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(blk->fd, BLKGETSIZE64, &size) < 0)
			return error_errno(err, errno, "virtio-blk: size of the disk");
	} else if (S_ISREG(st.st_mode)) {
		size = (uint64_t)st.st_size;
	} else {
		return error_set(err, EINVAL, "virtio-blk: a disk is a file or a block device");
	}
	if (!blk->read_only && (flags & O_ACCMODE) != O_RDWR)
		return error_set(err, EINVAL, "virtio-blk: the disk is not opened for writing");
	blk->sectors = size / SECTOR + (blk->read_only && size % SECTOR ? 1 : 0);
	return 0;
}

static uint64_t describe(struct blk *blk)
{
	uint64_t features =
		UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX | UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX |
		UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE | UINT64_C(1) << VIRTIO_BLK_F_FLUSH;

	blk->config = (struct virtio_blk_config){
		.capacity = blk->sectors,
		.size_max = SEGMENT_MAX,
		.seg_max = SEGMENTS_MAX,
		.blk_size = SECTOR,
	};
	if (blk->read_only)
		return features | UINT64_C(1) << VIRTIO_BLK_F_RO;
	blk->config.max_discard_sectors = blk->config.max_write_zeroes_sectors = RANGE_SECTORS;
	blk->config.max_discard_seg = blk->config.max_write_zeroes_seg = RANGES_MAX;
	blk->config.discard_sector_alignment = 1;
	blk->config.write_zeroes_may_unmap = 1;
	return features | UINT64_C(1) << VIRTIO_BLK_F_DISCARD |
	       UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
}

struct virtio_device *virtio_blk_new(const struct virtio_blk_options *options,
				     const struct guest_memory *memory, struct loop *loop,
				     struct error *err)
{
	_cleanup_close_ int fd = options->fd;
	struct blk *blk = calloc(1, sizeof(*blk));

	if (!blk) {
		error_errno(err, ENOMEM, "virtio-blk");
		return NULL;
	}
	blk->fd = take_fd(&fd);
	blk->read_only = options->read_only;
	if (options->id)
		memcpy(blk->id, options->id, strnlen(options->id, sizeof(blk->id)));
	if (measure(blk, err) < 0) {
		destroy(&blk->dev);
		return NULL;
	}
	if (virtio_init(&blk->dev, &ops, describe(blk), memory, loop, err) < 0) {
		virtio_free(&blk->dev);
		return NULL;
	}
	return &blk->dev;
}
