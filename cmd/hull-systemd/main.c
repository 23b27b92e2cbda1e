/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-systemd: says one thing to systemd over D-Bus for hull, which is static and loads no library.
 * hull runs it; nobody else has to. The request is on standard input, the answer goes to standard
 * output; cgroups/systemd.h has the request's form, cgroups/systemd_call.c the answer's.
 *
 * It has no privilege of its own: what systemd lets the caller do, it does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/number.h"
#include "cgroups/systemd.h"

#define SERVICE "org.freedesktop.systemd1"
#define OBJECT  "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define SCOPE   "org.freedesktop.systemd1.Scope"
#define NO_SUCH "org.freedesktop.systemd1.NoSuchUnit"
#define EXISTS  "org.freedesktop.systemd1.UnitExists"
#define REQUEST_MAX \
	((size_t)20 << 20) /* annotations are most of it; a configuration's are at most 16 MiB */
#define JOB_USEC (60ULL * 1000000) /* how long systemd may take for a job */

static void bus_free(sd_bus **bus)
{
	sd_bus_flush_close_unref(*bus);
}

static void message_free(sd_bus_message **m)
{
	sd_bus_message_unref(*m);
}

#define _cleanup_bus_       __attribute__((cleanup(bus_free)))
#define _cleanup_message_   __attribute__((cleanup(message_free)))
#define _cleanup_bus_error_ __attribute__((cleanup(sd_bus_error_free)))

/* ---- the request -------------------------------------------------------------------------- */

struct request {
	const char *verb, *unit;
	bool user;
	char *properties, *end; /* what follows, up to the end */
};

/* The field at *p, and moves *p on; NULL at the end. All fields end with a NUL inside the text. */
static const char *next_field(char **p, const char *end)
{
	const char *field = *p;

	if (*p >= end)
		return NULL;
	*p += strlen(*p) + 1;
	return field;
}

static int parse_request(char *text, size_t len, struct request *q, struct error *err)
{
	const char *session;
	char *p = text;

	q->end = text + len;
	if (!len || text[len - 1])
		return error_errno(err, EPROTO, "read the request");
	q->verb = next_field(&p, q->end);
	session = next_field(&p, q->end);
	q->unit = next_field(&p, q->end);
	if (!q->unit)
		return error_errno(err, EPROTO, "read the request");
	q->user = session && !strcmp(session, "user");
	q->properties = p;
	return 0;
}

/* ---- the bus ------------------------------------------------------------------------------ */

/* systemd's own socket, which is there also where no message bus is. */
static int open_private(bool user, sd_bus **bus)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char address[512] = "unix:path=/run/systemd/private";
	int r;

	if (user &&
	    (!runtime || (size_t)snprintf(address, sizeof(address), "unix:path=%s/systemd/private",
					  runtime) >= sizeof(address)))
		return -ENOENT;
	r = sd_bus_new(bus);
	if (r >= 0)
		r = sd_bus_set_address(*bus, address);
	if (r >= 0)
		r = sd_bus_start(*bus);
	if (r < 0)
		*bus = sd_bus_unref(*bus);
	return r;
}

/* Root's own way first: it is quicker by one process; a user's is the bus of the session. */
static int open_bus(bool user, sd_bus **bus, struct error *err)
{
	int r, first;

	first = user ? sd_bus_open_user(bus) : open_private(false, bus);
	if (first >= 0)
		return 0;
	r = user ? open_private(true, bus) : sd_bus_open_system(bus);
	if (r >= 0)
		return 0;
	if (user)
		return error_errno(
			err, -first,
			"connect to the user's systemd; is it there (loginctl enable-linger), and "
			"is XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS set?");
	return error_errno(err, -first,
			   "connect to systemd; where it does not run, leave out --systemd-cgroup");
}

static int bus_failed(int r, const sd_bus_error *error, const char *what, const char *unit,
		      struct error *err)
{
	return error_set(err, r < 0 ? -r : EIO, "%s `%s`: %s", what, unit,
			 error->message ? error->message : strerror(r < 0 ? -r : EIO));
}

/* ---- properties --------------------------------------------------------------------------- */

static int append_basic(sd_bus_message *m, char type, const char *value)
{
	union {
		uint8_t y;
		int16_t n;
		uint16_t q;
		int32_t i;
		uint32_t u;
		int64_t x;
		uint64_t t;
		double d;
		int b;
	} v;
	uint64_t u = 0;
	int64_t i = 0;

	if (type == 's' || type == 'o')
		return sd_bus_message_append_basic(m, type, value);
	if (type == 'd') {
		v.d = strtod(value, NULL);
		return sd_bus_message_append_basic(m, type, &v.d);
	}
	if (*value == '-' ? !parse_i64(value, &i) : !parse_u64(value, UINT64_MAX, &u))
		return -EINVAL;
	u = *value == '-' ? (uint64_t)i : u;
	switch (type) {
	case 'b':
		v.b = u != 0;
		break;
	case 'y':
		v.y = (uint8_t)u;
		break;
	case 'n':
	case 'q':
		v.q = (uint16_t)u;
		break;
	case 'i':
	case 'u':
		v.u = (uint32_t)u;
		break;
	case 'x':
	case 't':
		v.t = u;
		break;
	default:
		return -EINVAL;
	}
	return sd_bus_message_append_basic(m, type, &v);
}

static int append_values(sd_bus_message *m, const char *type, uint64_t count, char **p,
			 const char *end)
{
	bool array = type[0] == 'a';
	int r = sd_bus_message_open_container(m, 'v', type);

	if (r >= 0 && array)
		r = sd_bus_message_open_container(m, 'a', type + 1);
	for (uint64_t i = 0; r >= 0 && i < count; i++) {
		const char *value = next_field(p, end);

		r = value ? append_basic(m, type[array], value) : -EPROTO;
	}
	if (r >= 0 && array)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* A device and what may be done with it are two values. */
static int append_devices(sd_bus_message *m, uint64_t count, char **p, const char *end)
{
	int r = sd_bus_message_open_container(m, 'v', SYSTEMD_DEVICES);

	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(ss)");
	for (uint64_t i = 0; r >= 0 && i < count; i++) {
		const char *device = next_field(p, end), *access = next_field(p, end);

		r = access ? sd_bus_message_append(m, "(ss)", device, access) : -EPROTO;
	}
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool is_type(const char *type)
{
	return *type && (!type[1] || (*type == 'a' && !type[2]) || !strcmp(type, SYSTEMD_DEVICES));
}

/* a(sv) */
static int append_properties(sd_bus_message *m, const struct request *q)
{
	char *p = q->properties;
	const char *name;
	int r = sd_bus_message_open_container(m, 'a', "(sv)");

	while (r >= 0 && (name = next_field(&p, q->end))) {
		const char *type = next_field(&p, q->end), *count = next_field(&p, q->end);
		uint64_t number;

		if (!count || !is_type(type) || !parse_u64(count, 8192, &number) ||
		    (*type != 'a' && number != 1))
			return -EPROTO;
		r = sd_bus_message_open_container(m, 'r', "sv");
		if (r >= 0)
			r = sd_bus_message_append_basic(m, 's', name);
		if (r >= 0)
			r = strcmp(type, SYSTEMD_DEVICES)
				    ? append_values(m, type, number, &p, q->end)
				    : append_devices(m, number, &p, q->end);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* ---- jobs --------------------------------------------------------------------------------- */

struct job {
	char path[256];        /* "": not known yet */
	char result[32];       /* "": not done yet */
	char early[8][2][256]; /* what ended before its path was known */
	unsigned count;
};

static int job_removed(sd_bus_message *m, void *data, sd_bus_error *error _unused_)
{
	struct job *job = data;
	const char *path, *unit, *result;
	uint32_t id;

	if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0)
		return 0;
	if (!job->path[0]) {
		unsigned at = job->count++ % ARRAY_SIZE(job->early);

		snprintf(job->early[at][0], sizeof(job->early[at][0]), "%s", path);
		snprintf(job->early[at][1], sizeof(job->early[at][1]), "%s", result);
	} else if (!strcmp(path, job->path)) {
		snprintf(job->result, sizeof(job->result), "%s", result);
	}
	return 0;
}

/* Before the job is asked for, lest its end is missed. */
static int watch_jobs(sd_bus *bus, struct job *job)
{
	int r = sd_bus_match_signal(bus, NULL, NULL, OBJECT, MANAGER, "JobRemoved", job_removed,
				    job);

	/* A manager sends signals only to who subscribed; on its own socket it always does. */
	if (r >= 0)
		sd_bus_call_method(bus, SERVICE, OBJECT, MANAGER, "Subscribe", NULL, NULL, NULL);
	return r;
}

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int wait_for_job(sd_bus *bus, struct job *job, const char *what, const char *unit,
			struct error *err)
{
	uint64_t deadline = now_usec() + JOB_USEC;

	for (unsigned i = 0; i < ARRAY_SIZE(job->early) && i < job->count; i++)
		if (!strcmp(job->early[i][0], job->path))
			snprintf(job->result, sizeof(job->result), "%.31s", job->early[i][1]);
	while (!job->result[0]) {
		uint64_t now = now_usec();
		int r = sd_bus_process(bus, NULL);

		if (r == 0 && now < deadline)
			r = sd_bus_wait(bus, deadline - now);
		if (r < 0 && r != -EINTR)
			return error_errno(err, -r, "%s `%s`: wait for systemd's job", what, unit);
		if (now >= deadline)
			return error_set(err, ETIMEDOUT,
					 "%s `%s`: systemd's job is not done in %llu s", what, unit,
					 JOB_USEC / 1000000);
	}
	if (strcmp(job->result, "done") && strcmp(job->result, "skipped"))
		return error_set(err, EIO,
				 "%s `%s`: systemd's job ended with the result `%s` (see "
				 "systemctl status %s)",
				 what, unit, job->result, unit);
	return 0;
}

/* ---- verbs -------------------------------------------------------------------------------- */

static int reset_failed(sd_bus *bus, const char *unit)
{
	return sd_bus_call_method(bus, SERVICE, OBJECT, MANAGER, "ResetFailedUnit", NULL, NULL, "s",
				  unit);
}

static int call_start(sd_bus *bus, const struct request *q, sd_bus_error *error,
		      sd_bus_message **reply)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(bus, &m, SERVICE, OBJECT, MANAGER,
					       "StartTransientUnit");

	if (r >= 0)
		r = sd_bus_message_append(m, "ss", q->unit, "fail");
	if (r >= 0)
		r = append_properties(m, q);
	if (r >= 0)
		r = sd_bus_message_append(m, "a(sa(sv))", 0);
	return r < 0 ? r : sd_bus_call(bus, m, 0, error, reply);
}

static int remember_job(sd_bus_message *reply, struct job *job)
{
	const char *path;
	int r = sd_bus_message_read(reply, "o", &path);

	if (r >= 0)
		snprintf(job->path, sizeof(job->path), "%s", path);
	return r;
}

/* Where the unit's cgroup is. */
static int find_cgroup(sd_bus *bus, const char *unit, char **cgroup, struct error *err)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *reply = NULL;
	const char *path;
	int r = sd_bus_call_method(bus, SERVICE, OBJECT, MANAGER, "GetUnit", &error, &reply, "s",
				   unit);

	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &path);
	if (r >= 0)
		r = sd_bus_get_property_string(bus, SERVICE, path, SCOPE, "ControlGroup", &error,
					       cgroup);
	return r < 0 ? bus_failed(r, &error, "find the cgroup of", unit, err) : 0;
}

static int verb_start(sd_bus *bus, const struct request *q, char **cgroup, struct error *err)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *reply = NULL;
	struct job job = { .path = "" };
	int r = watch_jobs(bus, &job);

	if (r >= 0)
		r = call_start(bus, q, &error, &reply);
	/* What failed earlier still has the name. */
	if (r < 0 && sd_bus_error_has_name(&error, EXISTS) && reset_failed(bus, q->unit) >= 0) {
		sd_bus_error_free(&error);
		r = call_start(bus, q, &error, &reply);
	}
	if (r >= 0)
		r = remember_job(reply, &job);
	if (r < 0)
		return bus_failed(r, &error, "start the scope", q->unit, err);
	r = wait_for_job(bus, &job, "start the scope", q->unit, err);
	return r < 0 ? r : find_cgroup(bus, q->unit, cgroup, err);
}

static int verb_set(sd_bus *bus, const struct request *q, struct error *err)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(bus, &m, SERVICE, OBJECT, MANAGER,
					       "SetUnitProperties");

	/* true: until the next boot, as the unit itself */
	if (r >= 0)
		r = sd_bus_message_append(m, "sb", q->unit, 1);
	if (r >= 0)
		r = append_properties(m, q);
	if (r >= 0)
		r = sd_bus_call(bus, m, 0, &error, NULL);
	return r < 0 ? bus_failed(r, &error, "set the limits of", q->unit, err) : 0;
}

static int verb_stop(sd_bus *bus, const struct request *q, struct error *err)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *reply = NULL;
	struct job job = { .path = "" };
	int r = watch_jobs(bus, &job);

	if (r >= 0)
		r = sd_bus_call_method(bus, SERVICE, OBJECT, MANAGER, "StopUnit", &error, &reply,
				       "ss", q->unit, "replace");
	if (r >= 0)
		r = remember_job(reply, &job);
	if (r < 0 && sd_bus_error_has_name(&error, NO_SUCH))
		return 0; /* it ends by itself with its last process */
	if (r < 0)
		return bus_failed(r, &error, "stop the scope", q->unit, err);
	r = wait_for_job(bus, &job, "stop the scope", q->unit, err);
	reset_failed(bus, q->unit); /* which only one that failed needs */
	return r;
}

static int act(const struct request *q, char **cgroup, struct error *err)
{
	_cleanup_bus_ sd_bus *bus = NULL;
	int r = open_bus(q->user, &bus, err);

	if (r < 0)
		return r;
	if (!strcmp(q->verb, "start"))
		return verb_start(bus, q, cgroup, err);
	if (!strcmp(q->verb, "set"))
		return verb_set(bus, q, err);
	if (!strcmp(q->verb, "stop"))
		return verb_stop(bus, q, err);
	return error_set(err, EPROTO, "the request `%.16s` is not known", q->verb);
}

int main(int argc, char **argv _unused_)
{
	_cleanup_free_ char *text = NULL, *cgroup = NULL;
	struct error err = { 0 };
	struct request q;
	ssize_t len;
	int r;

	if (argc > 1 || isatty(STDIN_FILENO)) {
		fprintf(stderr, "hull-systemd is run by hull --systemd-cgroup, not by hand\n");
		return 2;
	}
	len = file_read_fd(STDIN_FILENO, REQUEST_MAX, &text, &err);
	r = len < 0 ? (int)len : parse_request(text, (size_t)len, &q, &err);
	if (r == 0)
		r = act(&q, &cgroup, &err);
	if (r < 0)
		printf("error%c%d%c%s%c", 0, err.code ? err.code : EIO, 0, err.text, 0);
	else
		printf("ok%c%s%c", 0, cgroup ? cgroup : "", 0);
	return r < 0 ? 1 : 0;
}
