/* SPDX-License-Identifier: Apache-2.0 */
/* One layer from its blob to a directory; see layer_unpack.h. */
#include "oci/image/layer_unpack.h"

/* A damaged blob is known by its digest, which says more than what the decoder choked on. */
static void prefer_digest_error(struct layer_stream *stream, struct error *err)
{
	struct error found = { 0 };

	if (err->code != EINTR && err->code != ENOSPC && err->code != EXDEV &&
	    layer_stream_check_blob(stream, &found) == -EBADMSG)
		*err = found;
}

int layer_unpack(struct image_source *source, const struct image_layer *layer,
		 struct layer_target *target, const struct layer_stream_hooks *hooks,
		 struct error *err)
{
	struct layer_stream *stream;
	struct error local = { 0 };
	int r;

	if (!err)
		err = &local;
	r = layer_stream_open(source, layer, hooks, &stream, err);
	if (r < 0)
		return r;
	r = layer_apply(target, layer_stream_read, stream, err);
	if (r >= 0)
		r = layer_stream_finish(stream, err);
	else
		prefer_digest_error(stream, err);
	layer_stream_close(stream);
	return r < 0 ? -err->code : 0;
}
