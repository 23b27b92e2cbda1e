/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: what engines read from --log FILE --log-format json, and warnings for people. The
 * program configures it once; below cmd/ only log_warning() and log_debug() are used, an error is
 * returned instead.
 *
 * JSON records are one object a line with "level", "msg" and "time" (RFC 3339), which containerd
 * and podman parse.
 */
#ifndef HULL_BASE_LOG_H
#define HULL_BASE_LOG_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* What is behind fd: a file, or the datagram socket of a log daemon. */
enum log_kind { LOG_TO_FILE, LOG_TO_JOURNAL, LOG_TO_SYSLOG };

struct log_config {
	int fd;                 /* where records go besides standard error; -1: nowhere */
	enum log_kind kind;     /* what fd is */
	const char *identifier; /* journal, syslog: by what name the records are found */
	bool json;              /* records in a file are JSON objects, not text */
	bool quiet;             /* print nothing on standard error */
	enum log_level level;   /* records above this level are dropped */
	const char *program;    /* the name in front of messages on standard error */
};

/*
 * Opens what --log names and sets fd, kind and identifier: "FILE" or "file:FILE", "journald:NAME" (the journal's native
 * protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), "syslog:NAME" (/dev/log as in RFC 3164). An empty NAME is the
 * program's. fd is the caller's to close.
 */
int log_open(struct log_config *wanted, const char *target, struct error *err);

/* Replaces the configuration; fd stays the caller's and must outlive its use. */
void log_configure(const struct log_config *wanted);

/* Writes no records to fd any more, unless it is a standard stream: for a process that closes its descriptors. */
void log_detach(void);

/* One record. A text for people goes to standard error, too, for errors and warnings (and all, at debug level). */
void log_write(enum log_level level, const char *fmt, ...) _printf_(2, 3);

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
