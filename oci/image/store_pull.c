/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulling: two threads take one layer after the other, fetch its blob and unpack it; so the network, the disk and both sides of
 * the pair are busy. Layers that depend on those beneath come at the end, one after the other, the lowest first.
 */
#include <string.h>

#include "oci/image/layer.h"
#include "oci/image/store_internal.h"

#define LANES 2

struct pulling {
	struct image_store *store;
	struct image_source *source; /* NULL: the blobs are there */
	struct store_unpack unpack;
	bool no_layers, only_news;
	bool *dependent;      /* for each layer */
	pthread_mutex_t lock; /* what follows */
	size_t next;
	int code; /* the first error: the others stop */
	struct error err;
};

struct lane {
	struct pulling *pulling;
	unsigned number;
};

static int fetch_layer(struct pulling *p, size_t i, unsigned lane, struct error *err)
{
	const struct image_descriptor *blob = &p->unpack.manifest->layers[i].blob;
	size_t count = p->unpack.manifest->layer_count;
	char what[64];
	int r;

	if (!p->source)
		return 0;
	snprintf(what, sizeof(what), "fetch layer %zu/%zu", i + 1, count);
	r = store_fetch_blob(p->store, p->source, blob, lane, what, err);
	if (r > 0 || (r == 0 && !p->only_news))
		store_step(p->store, "layer %zu/%zu: %.19s: %s, %.1f MiB", i + 1, count,
			   digest_text(&blob->digest).s, r ? "fetched" : "is there",
			   (double)blob->size / (1 << 20));
	return r;
}

static int one_layer(struct pulling *p, size_t i, unsigned lane, struct error *err)
{
	size_t count = p->unpack.manifest->layer_count;
	int r = fetch_layer(p, i, lane, err);

	if (r < 0 || p->no_layers)
		return r;
	r = store_unpack_layer(p->store, &p->unpack, i, lane, err);
	if (r == -EXDEV) {
		p->dependent[i] = true;
		return 0;
	}
	if (r > 0)
		store_step(p->store, "layer %zu/%zu: unpacked", i + 1, count);
	return r;
}

/* The next layer, or none where all are taken or one has failed. */
static bool take_next(struct pulling *p, size_t *i)
{
	bool any;

	pthread_mutex_lock(&p->lock);
	any = p->code == 0 && p->next < p->unpack.manifest->layer_count;
	if (any)
		*i = p->next++;
	pthread_mutex_unlock(&p->lock);
	return any;
}

static void *lane_thread(void *data)
{
	const struct lane *lane = data;
	struct pulling *p = lane->pulling;
	size_t i;

	while (take_next(p, &i)) {
		struct error err = { 0 };
		int r = one_layer(p, i, lane->number, &err);

		if (r >= 0)
			continue;
		if (r != -EINTR)
			error_wrap(&err, "layer %zu/%zu", i + 1, p->unpack.manifest->layer_count);
		pthread_mutex_lock(&p->lock);
		if (p->code == 0) {
			p->code = r;
			p->err = err;
		}
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static int run_lanes(struct pulling *p, struct error *err)
{
	struct lane lanes[LANES] = { { p, 0 }, { p, 1 } };
	pthread_t second;
	/* Without a second thread the first does all. */
	bool two = p->unpack.manifest->layer_count > 1 &&
		   pthread_create(&second, NULL, lane_thread, &lanes[1]) == 0;

	lane_thread(&lanes[0]);
	if (two)
		pthread_join(second, NULL);
	if (p->code < 0 && err)
		*err = p->err;
	return p->code;
}

static int run_dependent(struct pulling *p, struct error *err)
{
	size_t count = p->unpack.manifest->layer_count;

	for (size_t i = 0; i < count; i++) {
		int r;

		if (!p->dependent[i])
			continue;
		r = store_unpack_dependent(p->store, &p->unpack, i, err);
		if (r < 0)
			return r == -EINTR ? r : error_wrap(err, "layer %zu/%zu", i + 1, count);
		store_step(p->store, "layer %zu/%zu: unpacked with those beneath", i + 1, count);
	}
	return 0;
}

/* All layers together, also those that were there before. */
static int check_bounds(struct pulling *p, struct arena *arena, struct error *err)
{
	uint64_t max_bytes = p->unpack.max_bytes ? p->unpack.max_bytes : LAYER_BYTES_MAX;
	uint64_t max_entries = p->unpack.max_entries ? p->unpack.max_entries : LAYER_ENTRIES_MAX;
	struct image_store_layer *layers;
	uint64_t bytes = 0, entries = 0;
	int r = image_store_layers(p->store, p->unpack.manifest, arena, &layers, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < p->unpack.manifest->layer_count; i++) {
		if (__builtin_add_overflow(bytes, layers[i].bytes, &bytes) || bytes > max_bytes ||
		    __builtin_add_overflow(entries, layers[i].entries, &entries) ||
		    entries > max_entries)
			return error_set(
				err, EFBIG,
				"the image unpacks to more than %llu bytes or %llu entries; "
				"--max-size and --max-entries set the limits",
				(unsigned long long)max_bytes, (unsigned long long)max_entries);
	}
	return 0;
}

static int pull_layers(struct pulling *p, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	int r;

	arena_init(&arena, 0);
	p->dependent = arena_array(&arena, p->unpack.manifest->layer_count + 1, sizeof(bool));
	if (!p->dependent)
		return error_errno(err, ENOMEM, "pull");
	r = store_chain_ids(p->unpack.manifest, &arena, &p->unpack.chain, err);
	if (r >= 0)
		r = image_store_source(p->store, &p->unpack.blobs, err);
	if (r < 0)
		return r;
	r = run_lanes(p, err);
	if (r >= 0)
		r = run_dependent(p, err);
	if (r >= 0)
		r = check_bounds(p, &arena, err);
	image_source_close(p->unpack.blobs);
	return r;
}

int store_make_layers(struct image_store *store, const struct image_manifest *manifest,
		      struct image_source *source, const struct image_store_pull *pull,
		      struct error *err)
{
	struct pulling p = {
		.store = store,
		.source = source,
		.unpack = { .manifest = manifest },
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};

	if (pull) {
		p.unpack.max_bytes = pull->max_bytes;
		p.unpack.max_entries = pull->max_entries;
		p.no_layers = pull->no_layers;
		p.only_news = pull->only_news;
	}
	return pull_layers(&p, err);
}

static int pull_image(struct image_store *store, const struct image_store_pull *pull,
		      struct image_source *upstream, const char *tag,
		      struct image_reference *reference, struct error *err)
{
	_cleanup_image_source_ struct image_source *source = NULL;
	const struct image_platform platform = image_platform_host();
	_cleanup_arena_ struct arena arena;
	struct image_manifest manifest;
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	/* What the store has is read there, and not asked for again. */
	r = store_source_over(store, upstream, &source, err);
	if (r >= 0)
		r = image_manifest_find(source, tag, &platform, &arena, &manifest, err);
	if (r >= 0)
		r = store_make_layers(store, &manifest, source, pull, err);
	if (r >= 0)
		r = store_fetch_blob(store, source, &manifest.config_blob, 0, "configuration", err);
	if (r >= 0)
		r = store_fetch_blob(store, source, &manifest.blob, 0, "manifest", err);
	if (r < 0)
		return r;
	if (strlen(manifest.blob.media_type) >= sizeof(reference->media_type))
		return error_set(err, EINVAL, "a media type is too long");
	strcpy(reference->media_type, manifest.blob.media_type);
	reference->manifest = manifest.blob;
	reference->manifest.media_type = reference->media_type;
	reference->pulled = time(NULL);
	return store_write_reference(store, reference, err);
}

int image_store_pull(struct image_store *store, const struct image_store_pull *pull,
		     struct image_reference *reference, struct error *err)
{
	_cleanup_image_source_ struct image_source *upstream = NULL;
	struct image_source_options options = { .plain_http = pull->plain_http };
	const char *tag;
	int r;

	memset(reference, 0, sizeof(*reference));
	r = pull->name ? image_name_parse(pull->name, &reference->name, err)
		       : image_name_of_source(pull->source, &reference->name, err);
	if (r < 0)
		return r;
	if (store->hooks) {
		options.interrupted = store->hooks->interrupted;
		options.interrupted_data = store->hooks->data;
	}
	r = image_source_open(pull->source, &options, &upstream, &tag, err);
	if (r < 0)
		return r;
	r = pull_image(store, pull, upstream, tag, reference, err);
	return r < 0 && r != -EINTR ? error_wrap(err, "pull `%s`", pull->source) : r;
}
