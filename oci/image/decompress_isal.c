/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip by ISA-L, where it is built in. It checks each member's CRC; that the stream ends with a whole member
 * is checked here. Headers are read by a call of their own: isal_inflate() forgets one that goes over two blocks.
 */
#ifdef HULL_ISAL

#include <isa-l/igzip_lib.h>
#include <string.h>

#include "oci/image/decompress.h"

#define MEMBER_START 0x1f

enum stage {
	BETWEEN, /* members: another one, or the end */
	HEADER,
	BODY,
};

struct isal_decompressor {
	struct decompressor base;
	struct inflate_state state;
	struct isal_gzip_header header; /* how far it was read: it may be longer than a block */
	enum stage stage;
};

/*
 * Zeros fill up tapes; whatever else stands behind a member is no gzip, and nothing that anybody's
 * decompressor gives out. 0: the end.
 */
static int next_member(struct isal_decompressor *d)
{
	if (!d->base.in.left || (unsigned char)*d->base.in.next != MEMBER_START)
		return 0;
	isal_inflate_reset(&d->state);
	isal_gzip_header_init(&d->header);
	d->stage = HEADER;
	return 1;
}

static int read_header(struct isal_decompressor *d)
{
	int r = isal_read_gzip_header(&d->state, &d->header);

	if (r == ISAL_DECOMP_OK)
		d->stage = BODY;
	return r;
}

static int read_body(struct isal_decompressor *d)
{
	int r = isal_inflate(&d->state);

	if (d->state.block_state == ISAL_BLOCK_FINISH)
		d->stage = BETWEEN;
	return r;
}

/* One call of ISA-L, with what is left of the block. 0: all is done. */
static int advance(struct isal_decompressor *d, struct error *err)
{
	struct packed *in = &d->base.in;
	ssize_t n = packed_fill(in, err);
	int r;

	if (n < 0)
		return (int)n;
	if (d->stage == BETWEEN)
		return next_member(d);
	d->state.next_in = (uint8_t *)in->next;
	d->state.avail_in = (uint32_t)n;
	r = d->stage == HEADER ? read_header(d) : read_body(d);
	if (r != ISAL_DECOMP_OK && r != ISAL_END_INPUT)
		return error_set(err, EBADMSG, "damaged compression: gzip error %d", r);
	in->next += (size_t)n - d->state.avail_in;
	in->left = d->state.avail_in;
	if (n == 0 && d->stage != BETWEEN && d->state.avail_out)
		return error_set(err, EBADMSG, "damaged compression: the gzip stream is cut off");
	return 1;
}

static ssize_t isal_read(struct decompressor *base, char *buf, size_t len, struct error *err)
{
	struct isal_decompressor *d = (struct isal_decompressor *)base;
	int r = 1;

	d->state.next_out = (uint8_t *)buf;
	d->state.avail_out = (uint32_t)len;
	while (d->state.avail_out && r > 0)
		r = advance(d, err);
	if (r < 0)
		return r;
	return (ssize_t)(len - d->state.avail_out);
}

static void isal_close(struct decompressor *base)
{
	free(base);
}

struct decompressor *decompress_isal_new(void)
{
	struct isal_decompressor *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	isal_inflate_init(&d->state);
	d->state.crc_flag = ISAL_GZIP_NO_HDR_VER;
	d->base.read = isal_read;
	d->base.close = isal_close;
	return &d->base;
}

#endif
