/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip by ISA-L, where it is built in. It checks each member's CRC; that the stream ends with a whole member
 * is checked here.
 */
#ifdef HULL_ISAL

#include <isa-l/igzip_lib.h>
#include <string.h>

#include "oci/image/decompress.h"

#define MEMBER_START 0x1f

struct isal_decompressor {
	struct decompressor base;
	struct inflate_state state;
	bool in_member;
};

/*
 * Between members: another one, or the end. Zeros fill up tapes; whatever else is there is no gzip, and
 * nothing that anybody's decompressor gives out.
 */
static ssize_t next_member(struct isal_decompressor *d, struct error *err)
{
	ssize_t n = packed_fill(&d->base.in, err);

	if (n <= 0)
		return n;
	if ((unsigned char)*d->base.in.next != MEMBER_START)
		return 0;
	isal_inflate_reset(&d->state);
	d->in_member = true;
	return 1;
}

/* One call of ISA-L, with what is left of the block. */
static int inflate_some(struct isal_decompressor *d, struct error *err)
{
	struct packed *in = &d->base.in;
	ssize_t n = packed_fill(in, err);
	int r;

	if (n < 0)
		return (int)n;
	d->state.next_in = (uint8_t *)in->next;
	d->state.avail_in = (uint32_t)n;
	r = isal_inflate(&d->state);
	if (r != ISAL_DECOMP_OK && r != ISAL_END_INPUT)
		return error_set(err, EBADMSG, "damaged compression: gzip error %d", r);
	in->next += (size_t)n - d->state.avail_in;
	in->left = d->state.avail_in;
	if (d->state.block_state == ISAL_BLOCK_FINISH)
		d->in_member = false;
	else if (n == 0 && d->state.avail_out)
		return error_set(err, EBADMSG, "damaged compression: the gzip stream is cut off");
	return 0;
}

static ssize_t isal_read(struct decompressor *base, char *buf, size_t len, struct error *err)
{
	struct isal_decompressor *d = (struct isal_decompressor *)base;

	d->state.next_out = (uint8_t *)buf;
	d->state.avail_out = (uint32_t)len;
	while (d->state.avail_out) {
		ssize_t r;

		if (!d->in_member) {
			r = next_member(d, err);
			if (r < 0)
				return r;
			if (r == 0)
				break;
		}
		r = inflate_some(d, err);
		if (r < 0)
			return r;
	}
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
	d->state.crc_flag = ISAL_GZIP;
	d->base.read = isal_read;
	d->base.close = isal_close;
	return &d->base;
}

#endif
