/* SPDX-License-Identifier: Apache-2.0 */
/* A blob's stream over as many connections as it takes; see registry_blob.h. */
#include "oci/image/registry_blob.h"

#include <string.h>

#include "base/log.h"

/* So much has to come for another round of attempts, or a server could feed us a byte a minute for ever. */
#define PROGRESS_BYTES 65536

struct blob_reader {
	struct image_reader reader;
	struct registry_places *places;
	size_t place;                   /* where the last attempt was made */
	struct http_exchange *exchange; /* NULL: there is no connection */
	struct digest_text digest;
	uint64_t size;
	uint64_t done;    /* bytes that the caller has */
	uint64_t skip;    /* bytes to come that were given before */
	uint64_t done_at; /* done when an attempt counted first */
	unsigned tries;
};

static int wrong_size(const struct blob_reader *b, struct error *err)
{
	return error_set(err, EBADMSG,
			 "the registry's blob is not as long as its descriptor says (%llu bytes)",
			 (unsigned long long)b->size);
}

/* Asks a place for what is missing. */
static int ask(struct blob_reader *b, struct registry_session *session, struct error *err)
{
	const struct registry_request request = { "blobs", b->digest.s, NULL, b->done };
	const struct http_response *response;
	uint64_t rest;
	int r = registry_get(session, &request, &b->exchange, err);

	if (r == -ERANGE)
		return wrong_size(b, err);
	if (r < 0)
		return r;
	response = http_response(b->exchange);
	b->skip = response->status == 206 ? 0 : b->done;
	rest = b->size - b->done + b->skip;
	/* Seen before a byte of it is read, and so also where a lying size would be a large download. */
	if (response->length >= 0 && (uint64_t)response->length != rest)
		return wrong_size(b, err);
	return 0;
}

static void disconnect(struct blob_reader *b)
{
	http_close(b->exchange);
	b->exchange = NULL;
}

/* Asks one place after the other. */
static int connect_blob(struct blob_reader *b, struct error *err)
{
	for (;;) {
		int r;

		b->place = registry_places_first(b->places, false);
		r = ask(b, registry_places_session(b->places, b->place), err);
		if (r >= 0)
			return 0;
		disconnect(b);
		if (!registry_places_failed(b->places, b->place, err))
			return r;
	}
}

/* After a connection broke, with the reason in err. */
static int lost(struct blob_reader *b, struct error *err)
{
	struct registry_session *session = registry_places_session(b->places, b->place);

	disconnect(b);
	if (b->done - b->done_at >= PROGRESS_BYTES)
		b->tries = 0;
	b->done_at = b->done;
	if (++b->tries >= registry_session_tries(session)) {
		error_wrap(err, "given up after %u attempts at byte %llu", b->tries,
			   (unsigned long long)b->done);
		if (!registry_places_failed(b->places, b->place, err))
			return -err->code;
		b->tries = 0;
		return 0;
	}
	log_debug("blob %s: %s; going on at byte %llu", b->digest.s, err->text,
		  (unsigned long long)b->done);
	return registry_back_off(session, b->tries, 0, err);
}

/* Reads what was read already. 1: it is done; 0: the connection ended before. */
static int skip_known(struct blob_reader *b, struct error *err)
{
	char buf[16384];

	while (b->skip) {
		size_t len = b->skip < sizeof(buf) ? (size_t)b->skip : sizeof(buf);
		ssize_t n = http_read(b->exchange, buf, len, err);

		if (n <= 0)
			return (int)n;
		b->skip -= (uint64_t)n;
	}
	return 1;
}

/* As read(2), of this connection: 0 where it ended, be it too early or not. */
static ssize_t read_some(struct blob_reader *b, void *buf, size_t len, struct error *err)
{
	int r = b->exchange ? 0 : connect_blob(b, err);

	if (r < 0)
		return r;
	r = skip_known(b, err);
	return r <= 0 ? r : http_read(b->exchange, buf, len, err);
}

static ssize_t blob_reader_read(struct image_reader *reader, void *buf, size_t len,
				struct error *err)
{
	struct blob_reader *b = (struct blob_reader *)reader;
	struct error local = { 0 };

	if (!err)
		err = &local;
	for (;;) {
		ssize_t n = read_some(b, buf, len, err);
		int r;

		if (n > 0)
			b->done += (uint64_t)n;
		if (n > 0 || (n == 0 && b->done >= b->size))
			return n;
		if (n == 0)
			error_set(err, EAGAIN, "the connection ended before the blob did");
		/* Without a connection, the attempts were made already. */
		else if (n != -EAGAIN || !b->exchange)
			return n;
		r = lost(b, err);
		if (r < 0)
			return r;
		/* Who reads sees by the error's code whether there was one. */
		error_clear(err);
	}
}

/* Another place may have the right one. */
static bool blob_reader_wrong(struct image_reader *reader)
{
	const struct blob_reader *b = (struct blob_reader *)reader;
	struct error why = { 0 };

	error_set(&why, EBADMSG, "what it has as %s is something else", b->digest.s);
	return registry_places_failed(b->places, b->place, &why);
}

static void blob_reader_close(struct image_reader *reader)
{
	struct blob_reader *b = (struct blob_reader *)reader;

	http_close(b->exchange);
	free(b);
}

int registry_blob_open(struct registry_places *places, const struct image_descriptor *descriptor,
		       uint64_t offset, struct image_reader **reader, struct error *err)
{
	struct blob_reader *b = calloc(1, sizeof(*b));
	struct error local = { 0 };
	int r;

	if (!b)
		return error_errno(err, ENOMEM, "open a blob");
	b->reader.read = blob_reader_read;
	b->reader.close = blob_reader_close;
	b->reader.wrong = blob_reader_wrong;
	b->places = places;
	b->digest = digest_text(&descriptor->digest);
	b->size = descriptor->size;
	b->done = b->done_at = offset;
	/* At once, so that what is absent is -ENOENT here. */
	r = connect_blob(b, err ? err : &local);
	if (r < 0) {
		blob_reader_close(&b->reader);
		return r;
	}
	*reader = &b->reader;
	return 0;
}
