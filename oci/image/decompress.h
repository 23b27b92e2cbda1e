/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of a layer: gzip of one or several members, zstd of one or several frames (skippable ones
 * as zstd:chunked has them included), xz, or nothing at all, known by the first bytes and not by what the
 * manifest says. What stands behind a complete gzip stream is ignored, as gzip(1) does; it belongs to the blob's digest.
 *
 * gzip is inflated by ISA-L where it is built in (HULL_ISAL), a few times as fast as zlib; else, and all the
 * others, by libarchive's filters.
 *
 * Sources: RFC 1952, RFC 8878, https://tukaani.org/xz/xz-file-format.txt.
 */
#ifndef HULL_OCI_IMAGE_DECOMPRESS_H
#define HULL_OCI_IMAGE_DECOMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Where bytes come from: *block becomes the next ones, which stay until the next call. Returns how many,
 * 0 at the end. The first block has at least DECOMPRESS_PEEK bytes, unless all are fewer.
 */
#define DECOMPRESS_PEEK 6

/* By the first DECOMPRESS_PEEK bytes, or all where there are fewer. */
enum compression_kind { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_XZ };
enum compression_kind compression_of(const void *start, size_t len);

typedef ssize_t (*block_read_fn)(void *data, const char **block, struct error *err);

struct decompressor;

/* Reads the first bytes and chooses; the bytes come from read(data, …), also later. *plain: they are not compressed, and given as they are. */
int decompressor_open(block_read_fn read, void *data, struct decompressor **decompressor,
		      bool *plain, struct error *err);

/*
 * Fills buf with at most len bytes. Returns how many, 0 at the end. -EBADMSG where the data are damaged or end too
 * early; an error of read() as it was.
 */
ssize_t decompressor_read(struct decompressor *decompressor, char *buf, size_t len,
			  struct error *err);

void decompressor_close(struct decompressor *decompressor);

/* ---- what implements one ---- */

/* What is to be decompressed. */
struct packed {
	block_read_fn read;
	void *data;
	const char *next; /* the bytes of the last block that nobody took yet */
	size_t left;
};

struct decompressor {
	ssize_t (*read)(struct decompressor *decompressor, char *buf, size_t len,
			struct error *err);
	void (*close)(struct decompressor *decompressor);
	struct packed in;
};

struct decompressor *decompress_plain_new(void);
struct decompressor *decompress_isal_new(void);
struct decompressor *decompress_archive_new(int filter); /* ARCHIVE_FILTER_… */

/* Gets the next block where nothing is left of the last. Returns how many bytes are left, 0 at the end. */
ssize_t packed_fill(struct packed *in, struct error *err);

#endif
