/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP for registries: one request, its answer's headers, and the body as a stream. The only part of
 * hull that knows libcurl.
 *
 * The server is hostile. Only https is spoken, and http where it was asked for; headers are bounded;
 * redirects are followed here and not by libcurl, so that credentials stay with the host that
 * they are for, and no redirect leads to another protocol. There is no limit to the time that a transfer
 * may take, but to the time that it may stand still.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_HTTP_H
#define HULL_OCI_IMAGE_REGISTRY_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define HTTP_URL_MAX 8192

struct http_options {
	bool plain_http; /* http is spoken, too */
	bool (*interrupted)(
		void *data); /* asked some times a second, from any thread; may be NULL */
	void *interrupted_data;
};

/* Options and idle connections, shared by all threads. */
struct http_client;

/* options is copied. -ENOENT where libcurl is not installed. */
int http_client_new(const struct http_options *options, struct http_client **client,
		    struct error *err);
void http_client_free(struct http_client *client);

struct http_request {
	const char *url;
	const char *accept; /* may be NULL */
	const char
		*authorization; /* a header's value, sent to the URL's own host only; may be NULL */
	uint64_t offset;        /* of the first byte that is wanted */
};

/* What is kept of an answer's headers. */
struct http_response {
	long status;
	int64_t length;       /* of the body; -1: unknown */
	uint64_t range_start; /* of Content-Range, where there was one that could be read */
	bool has_range;
	bool redirected;         /* by whom it was answered is not the URL's own host */
	unsigned retry_after;    /* seconds; 0: none given */
	char content_type[256];  /* without parameters, lower case */
	char authenticate[8192]; /* all WWW-Authenticate headers, ", " between them */
};

struct http_exchange;

/*
 * Sends the request and waits for the answer's headers; any status is a success. -EAGAIN where it may
 * succeed later (a broken connection, a timeout); -EINTR where it was interrupted. Else what failed
 * will not succeed by itself.
 */
int http_open(struct http_client *client, const struct http_request *request,
	      struct http_exchange **exchange, struct error *err);

const struct http_response *http_response(const struct http_exchange *exchange);

/* Some of the body; 0 at its end. -EAGAIN as above. */
ssize_t http_read(struct http_exchange *x, void *buf, size_t len, struct error *err);

/*
 * Reads the whole body: -EFBIG where it is more than max bytes. *data is the caller's and has a NUL
 * after its end. Returns the length.
 */
ssize_t http_read_all(struct http_exchange *x, size_t max, char **data, struct error *err);

void http_close(struct http_exchange *x);

/* Waits so many milliseconds; -EINTR where it was interrupted. */
int http_wait(const struct http_client *client, unsigned ms, struct error *err);

/* Copies text of a server's to a buffer of size bytes, with `?` for everything but printable ASCII. */
void http_printable(char *to, size_t size, const char *from);

/* Adds s to a URL, percent-encoded. False where there is no room in HTTP_URL_MAX. */
bool http_url_add(char *url, const char *s);

static inline void cleanup_http_exchange(struct http_exchange **exchange)
{
	http_close(*exchange);
}

#define _cleanup_http_ __attribute__((cleanup(cleanup_http_exchange)))

#endif
