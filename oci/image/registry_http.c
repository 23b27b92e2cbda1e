/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface, driven by whoever reads: a transfer makes progress while http_read()
 * waits for bytes, and what comes faster than it is read is held back by pausing the transfer, so that
 * memory stays bounded and the server is slowed down.
 */
#include "oci/image/registry_http.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/number.h"
#include "oci/image/registry_certs.h"
#include "oci/image/registry_curl.h"

#define BUFFER_SIZE   ((size_t)256 << 10)
#define HEADERS_MAX   65536 /* bytes of all headers of an answer */
#define REDIRECTS_MAX 5
#define CONNECT_S     30L
#define STALLED_S     30L /* so long with less than STALLED_BYTES a second is a broken connection */
#define STALLED_BYTES 64L
#define POLL_MS       100
#define RETRY_MAX_S   60
#define ORIGIN_MAX    512

struct http_client {
	struct http_options options;
	pthread_mutex_t lock;
	struct http_exchange *idle; /* with their connections */
};

struct http_exchange {
	struct http_client *client;
	struct http_exchange *next; /* in the list of idle ones */
	CURL *easy;
	CURLM *multi;
	struct curl_slist *headers;
	bool added, paused, ended, got_headers, too_large;
	CURLcode result;
	struct http_response response;
	size_t header_bytes;
	char host[ORIGIN_MAX]; /* of the URL that is asked, for messages */
	char detail[CURL_ERROR_SIZE];
	size_t start, end; /* of what is in the buffer and was not read */
	char buffer[BUFFER_SIZE];
};

void http_printable(char *to, size_t size, const char *from)
{
	size_t i = 0;

	for (; from[i] && i + 1 < size; i++)
		to[i] = from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?';
	to[i] = '\0';
}

bool http_url_add(char *url, const char *s)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	size_t len = strlen(url);

	for (; *s; s++) {
		if (len + 4 > HTTP_URL_MAX)
			return false;
		if (strchr(plain, *s))
			url[len++] = *s;
		else
			len += (size_t)snprintf(url + len, 4, "%%%02X", (unsigned char)*s);
	}
	url[len] = '\0';
	return true;
}

/* ---- clients -------------------------------------------------------------------------------- */

/* Loaded before there is a client. */
static const struct curl_functions *curl;

int http_client_new(const struct http_options *options, struct http_client **client,
		    struct error *err)
{
	struct http_client *c;

	curl = registry_curl(err);
	if (!curl)
		return -err->code;
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_errno(err, ENOMEM, "speak to registries");
	c->options = *options;
	pthread_mutex_init(&c->lock, NULL);
	*client = c;
	return 0;
}

static void exchange_free(struct http_exchange *x)
{
	if (x->easy)
		curl->easy_cleanup(x->easy);
	if (x->multi)
		curl->multi_cleanup(x->multi);
	free(x);
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	while (client->idle) {
		struct http_exchange *x = client->idle;

		client->idle = x->next;
		exchange_free(x);
	}
	pthread_mutex_destroy(&client->lock);
	free(client);
}

static struct http_exchange *exchange_new(struct http_client *client)
{
	struct http_exchange *x;

	pthread_mutex_lock(&client->lock);
	x = client->idle;
	if (x)
		client->idle = x->next;
	pthread_mutex_unlock(&client->lock);
	if (x)
		return x;
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->client = client;
	x->easy = curl->easy_init();
	x->multi = curl->multi_init();
	if (x->easy && x->multi)
		return x;
	exchange_free(x);
	return NULL;
}

/* Ends the transfer; the connection stays where the whole body was read. */
static void end_transfer(struct http_exchange *x)
{
	if (x->added)
		curl->multi_remove_handle(x->multi, x->easy);
	x->added = false;
	curl->slist_free_all(x->headers);
	x->headers = NULL;
	curl->easy_reset(x->easy);
}

void http_close(struct http_exchange *x)
{
	struct http_client *client;

	if (!x)
		return;
	client = x->client;
	end_transfer(x);
	pthread_mutex_lock(&client->lock);
	x->next = client->idle;
	client->idle = x;
	pthread_mutex_unlock(&client->lock);
}

static int check_interrupted(const struct http_client *client, struct error *err)
{
	const struct http_options *o = &client->options;

	if (o->interrupted && o->interrupted(o->interrupted_data))
		return error_set(err, EINTR, "interrupted");
	return 0;
}

int http_wait(const struct http_client *client, unsigned ms, struct error *err)
{
	for (;;) {
		unsigned step = ms < POLL_MS ? ms : POLL_MS;
		struct timespec time = { 0, (long)step * 1000000 };
		int r = check_interrupted(client, err);

		if (r < 0 || !ms)
			return r;
		nanosleep(&time, NULL);
		ms -= step;
	}
}

/* ---- what libcurl calls --------------------------------------------------------------------- */

/* The value of a header of that name, or NULL. *len: without blanks around it. */
static const char *header_value(const char *line, size_t *len, const char *name)
{
	size_t skip = strlen(name);

	if (*len <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
		return NULL;
	line += skip + 1;
	*len -= skip + 1;
	while (*len && strchr(" \t", *line)) {
		line++;
		--*len;
	}
	while (*len && strchr(" \t\r\n", line[*len - 1]))
		--*len;
	return line;
}

static void keep_type(struct http_response *r, const char *value, size_t len)
{
	size_t i = 0;

	for (; i < len && i + 1 < sizeof(r->content_type) && !strchr("; \t", value[i]); i++) {
		char c = value[i];

		r->content_type[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	r->content_type[i] = '\0';
}

static void keep_authenticate(struct http_response *r, const char *value, size_t len)
{
	size_t used = strlen(r->authenticate), room = sizeof(r->authenticate) - used;

	/* Half a challenge would be another one. */
	if (len + 3 < room)
		snprintf(r->authenticate + used, room, "%s%.*s", used ? ", " : "", (int)len, value);
}

/* "bytes 5-9/10" */
static void keep_range(struct http_response *r, const char *value, size_t len)
{
	static const char unit[] = "bytes ";
	size_t skip = sizeof(unit) - 1, digits = 0;

	if (len <= skip || strncasecmp(value, unit, skip) != 0)
		return;
	while (skip + digits < len && value[skip + digits] != '-')
		digits++;
	r->has_range = parse_u64_n(value + skip, digits, INT64_MAX, &r->range_start);
}

static void keep_header(struct http_response *r, const char *line, size_t size)
{
	const char *value;
	uint64_t number;
	size_t len;

	if (len = size, (value = header_value(line, &len, "Content-Type")))
		keep_type(r, value, len);
	else if (len = size, (value = header_value(line, &len, "WWW-Authenticate")))
		keep_authenticate(r, value, len);
	else if (len = size, (value = header_value(line, &len, "Content-Range")))
		keep_range(r, value, len);
	else if (len = size, (value = header_value(line, &len, "Retry-After")))
		/* A date, which it may be, too, is not worth a parser: our own back-off is used. */
		r->retry_after = parse_u64_n(value, len, UINT64_MAX, &number)
					 ? (number < RETRY_MAX_S ? (unsigned)number : RETRY_MAX_S)
					 : 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *data)
{
	struct http_exchange *x = data;
	size_t len = size * count;

	x->header_bytes += len;
	if (x->header_bytes > HEADERS_MAX) {
		x->too_large = true;
		return 0;
	}
	/* A new status line: what came before was of "100 Continue", or of a proxy. */
	if (len > 5 && !strncmp(line, "HTTP/", 5))
		memset(&x->response, 0, sizeof(x->response));
	keep_header(&x->response, line, len);
	if (len <= 2) {
		curl->easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &x->response.status);
		x->got_headers = x->response.status >= 200;
	}
	return len;
}

static size_t on_body(char *body, size_t size, size_t count, void *data)
{
	struct http_exchange *x = data;
	size_t len = size * count;

	if (x->start == x->end)
		x->start = x->end = 0;
	if (len > sizeof(x->buffer) - x->end) {
		x->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	memcpy(x->buffer + x->end, body, len);
	x->end += len;
	return len;
}

/* ---- errors --------------------------------------------------------------------------------- */

static int tls_error(const struct http_exchange *x, const char *detail, struct error *err)
{
	if (x->result == CURLE_PEER_FAILED_VERIFICATION)
		return error_set(
			err, EPERM,
			"the certificate of `%s` cannot be verified: %s. Where it is of an "
			"authority of your own, put that one's into "
			"/etc/containers/certs.d/%s/ca.crt",
			x->host, detail, x->host);
	if (x->result == CURLE_SSL_CERTPROBLEM || x->result == CURLE_SSL_CACERT_BADFILE)
		return error_set(err, EINVAL,
				 "the certificates for `%s` in certs.d are unusable: %s", x->host,
				 detail);
	return error_set(err, EPROTO,
			 "no TLS connection with `%s`: %s. Where it speaks plain HTTP only, "
			 "--plain-http asks for that",
			 x->host, detail);
}

/* From TLS 1.3 on a server looks at our certificate after the handshake, and its refusal comes as we read. */
static bool is_certificate_alert(const struct http_exchange *x, const char *detail)
{
	return (x->result == CURLE_RECV_ERROR || x->result == CURLE_SEND_ERROR) &&
	       strstr(detail, "alert") && strstr(detail, "certificate");
}

/* What will not be better at the next attempt has a message that says what to do. */
static int transfer_error(const struct http_exchange *x, struct error *err)
{
	char detail[CURL_ERROR_SIZE];

	http_printable(detail, sizeof(detail),
		       *x->detail ? x->detail : curl->easy_strerror(x->result));
	if (is_certificate_alert(x, detail))
		return error_set(err, EACCES,
				 "`%s` does not take who we are: %s. Where it wants a certificate, "
				 "that and its key are NAME.cert and NAME.key in "
				 "/etc/containers/certs.d/%s",
				 x->host, detail, x->host);
	if (x->too_large)
		return error_set(err, EFBIG, "`%s` sends more than %d bytes of headers", x->host,
				 HEADERS_MAX);
	switch (x->result) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
		return tls_error(x, detail, err);
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return error_set(err, EHOSTUNREACH, "the host `%s` is not known: %s", x->host,
				 detail);
	case CURLE_COULDNT_CONNECT:
		return error_set(err, ECONNREFUSED, "connect to `%s`: %s", x->host, detail);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return error_set(err, EINVAL, "`%s` cannot be asked: %s", x->host, detail);
	case CURLE_OUT_OF_MEMORY:
		return error_errno(err, ENOMEM, "ask `%s`", x->host);
	default:
		return error_set(err, EAGAIN, "the connection to `%s` broke: %s", x->host, detail);
	}
}

/* ---- transfers ------------------------------------------------------------------------------ */

static void take_result(struct http_exchange *x)
{
	const struct CURLMsg *message;
	int left;

	while ((message = curl->multi_info_read(x->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		x->ended = true;
		x->result = message->data.result;
	}
}

/* Lets the transfer go on for a moment. */
static int step(struct http_exchange *x, struct error *err)
{
	int running, r = check_interrupted(x->client, err);

	if (r < 0)
		return r;
	if (x->paused && x->start == x->end) {
		x->paused = false;
		curl->easy_pause(x->easy, CURLPAUSE_CONT);
	}
	if (curl->multi_perform(x->multi, &running) != CURLM_OK)
		return error_set(err, EIO, "ask `%s`: libcurl failed", x->host);
	take_result(x);
	if (!x->ended && x->start == x->end)
		curl->multi_poll(x->multi, NULL, 0, POLL_MS, NULL);
	return 0;
}

/* "scheme://host:port" of a URL to origin, "host[:port]" as it stands there to host. */
static int split_url(const struct http_client *client, const char *url, char *origin, char *host,
		     struct error *err)
{
	char *scheme = NULL, *name = NULL, *port = NULL, *given = NULL, *user = NULL;
	CURLU *u = curl->url();
	int r = -EINVAL;

	if (u && !curl->url_set(u, CURLUPART_URL, url, 0) &&
	    !curl->url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
	    !curl->url_get(u, CURLUPART_HOST, &name, 0) &&
	    !curl->url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
	    curl->url_get(u, CURLUPART_USER, &user, 0) &&
	    (!strcmp(scheme, "https") || (client->options.plain_http && !strcmp(scheme, "http")))) {
		curl->url_get(u, CURLUPART_PORT, &given, 0);
		snprintf(host, ORIGIN_MAX, "%s%s%s", name, given ? ":" : "", given ? given : "");
		snprintf(origin, ORIGIN_MAX, "%s://%s:%s", scheme, name, port);
		r = strlen(name) < ORIGIN_MAX / 2 ? 0 : -EINVAL;
	}
	curl->free(scheme);
	curl->free(name);
	curl->free(port);
	curl->free(given);
	curl->free(user);
	curl->url_cleanup(u);
	if (!r)
		return 0;
	return error_set(err, EPROTO, "the registry names a URL that is not taken: only https is%s",
			 client->options.plain_http ? ", and http" : "; --plain-http allows http");
}

static bool add_header(struct http_exchange *x, const char *name, const char *value)
{
	struct curl_slist *more;
	char *line;

	if (!value)
		return true;
	if (asprintf(&line, "%s: %s", name, value) < 0)
		return false;
	more = curl->slist_append(x->headers, line);
	explicit_bzero(line, strlen(line));
	free(line);
	if (more)
		x->headers = more;
	return more;
}

static int set_certs(const struct http_exchange *x, struct error *err)
{
	struct registry_certs certs;
	CURLcode code = CURLE_OK;
	int r = registry_certs_load(x->host, &certs, err);

	if (r < 0)
		return r;
	if (certs.authorities.len) {
		struct curl_blob blob = { certs.authorities.data, certs.authorities.len,
					  CURL_BLOB_COPY };

		code = curl->easy_setopt(x->easy, CURLOPT_CAINFO_BLOB, &blob);
	}
	if (!code && *certs.cert) {
		code = curl->easy_setopt(x->easy, CURLOPT_SSLCERT, certs.cert);
		if (!code)
			code = curl->easy_setopt(x->easy, CURLOPT_SSLKEY, certs.key);
	}
	registry_certs_free(&certs);
	return code ? error_set(err, EINVAL, "certificates for `%s`: %s", x->host,
				curl->easy_strerror(code))
		    : 0;
}

static void set_options(struct http_exchange *x, const char *url)
{
	CURL *c = x->easy;

	curl->easy_setopt(c, CURLOPT_URL, url);
	curl->easy_setopt(c, CURLOPT_PROTOCOLS_STR,
			  x->client->options.plain_http ? "https,http" : "https");
	curl->easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl->easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl->easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl->easy_setopt(c, CURLOPT_USERAGENT, "hull/" HULL_VERSION);
	curl->easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl->easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl->easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALLED_S);
	curl->easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, STALLED_BYTES);
	curl->easy_setopt(c, CURLOPT_ERRORBUFFER, x->detail);
	curl->easy_setopt(c, CURLOPT_HTTPHEADER, x->headers);
	curl->easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl->easy_setopt(c, CURLOPT_HEADERDATA, x);
	curl->easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl->easy_setopt(c, CURLOPT_WRITEDATA, x);
	/* A proxy's answer to CONNECT is not the registry's. */
	curl->easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static void reset(struct http_exchange *x)
{
	end_transfer(x);
	x->paused = x->ended = x->got_headers = x->too_large = false;
	x->result = CURLE_OK;
	memset(&x->response, 0, sizeof(x->response));
	x->header_bytes = x->start = x->end = 0;
	x->detail[0] = '\0';
}

/* One request up to the end of the headers, without following. */
static int ask(struct http_exchange *x, const struct http_request *request, const char *url,
	       const char *authorization, struct error *err)
{
	curl_off_t length;
	char range[32];
	int r;

	reset(x);
	snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)request->offset);
	if (!add_header(x, "Accept", request->accept) ||
	    !add_header(x, "Authorization", authorization) ||
	    !add_header(x, "Range", request->offset ? range : NULL))
		return error_errno(err, ENOMEM, "ask `%s`", x->host);
	set_options(x, url);
	r = set_certs(x, err);
	if (r < 0)
		return r;
	if (curl->multi_add_handle(x->multi, x->easy) != CURLM_OK)
		return error_errno(err, ENOMEM, "ask `%s`", x->host);
	x->added = true;
	while (!x->got_headers && !x->ended) {
		r = step(x, err);
		if (r < 0)
			return r;
	}
	if (!x->got_headers)
		return transfer_error(x, err);
	if (curl->easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) != CURLE_OK)
		length = -1;
	x->response.length = length;
	return 0;
}

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* The URL that the answer sends us to, made absolute. The caller's to free. */
static int next_url(const struct http_exchange *x, char **url, struct error *err)
{
	char *found = NULL;

	if (curl->easy_getinfo(x->easy, CURLINFO_REDIRECT_URL, &found) != CURLE_OK || !found)
		return error_set(err, EPROTO, "`%s` redirects to nowhere", x->host);
	*url = strdup(found);
	return *url ? 0 : error_errno(err, ENOMEM, "ask `%s`", x->host);
}

static int follow(struct http_exchange *x, const struct http_request *request, struct error *err)
{
	_cleanup_free_ char *url = strdup(request->url);
	char first[ORIGIN_MAX] = "", origin[ORIGIN_MAX] = "";
	bool away = false;
	int r = 0;

	if (!url)
		return error_errno(err, ENOMEM, "ask a registry");
	for (int i = 0; i <= REDIRECTS_MAX; i++) {
		char *next;

		r = split_url(x->client, url, i ? origin : first, x->host, err);
		if (r < 0)
			return r;
		/* Once away, credentials stay away: a host that sends us back chose the path there. */
		away = away || (i && strcmp(first, origin) != 0);
		r = ask(x, request, url, away ? NULL : request->authorization, err);
		x->response.redirected = away;
		if (r < 0 || !is_redirect(x->response.status))
			return r;
		r = next_url(x, &next, err);
		if (r < 0)
			return r;
		free(url);
		url = next;
	}
	return error_set(err, ELOOP, "`%s` redirects more than %d times", x->host, REDIRECTS_MAX);
}

int http_open(struct http_client *client, const struct http_request *request,
	      struct http_exchange **exchange, struct error *err)
{
	_cleanup_http_ struct http_exchange *x = exchange_new(client);
	int r;

	if (!x)
		return error_errno(err, ENOMEM, "ask a registry");
	r = follow(x, request, err);
	if (r >= 0)
		*exchange = take_ptr(x);
	return r;
}

const struct http_response *http_response(const struct http_exchange *exchange)
{
	return &exchange->response;
}

ssize_t http_read(struct http_exchange *x, void *buf, size_t len, struct error *err)
{
	while (x->start == x->end) {
		int r;

		if (x->ended)
			return x->result == CURLE_OK ? 0 : transfer_error(x, err);
		r = step(x, err);
		if (r < 0)
			return r;
	}
	if (len > x->end - x->start)
		len = x->end - x->start;
	memcpy(buf, x->buffer + x->start, len);
	x->start += len;
	return (ssize_t)len;
}

ssize_t http_read_all(struct http_exchange *x, size_t max, char **data, struct error *err)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, cap = 0;
	ssize_t n;

	do {
		if (cap - len < 2) {
			char *more = realloc(buf, cap ? cap * 2 : 16384);

			if (!more)
				return error_errno(err, ENOMEM, "read from `%s`", x->host);
			cap = cap ? cap * 2 : 16384;
			buf = more;
		}
		n = http_read(x, buf + len, cap - len - 1, err);
		if (n < 0)
			return n;
		len += (size_t)n;
		if (len > max)
			return error_set(err, EFBIG, "`%s` sends more than %zu bytes", x->host,
					 max);
	} while (n > 0);
	buf[len] = '\0';
	*data = take_ptr(buf);
	return (ssize_t)len;
}
