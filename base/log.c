/* SPDX-License-Identifier: Apache-2.0 */
/* The log; see log.h. The configuration is the one piece of global state that hull allows itself. */
#include "base/log.h"

#include <endian.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <time.h>

#include "base/json_escape.h"
#include "base/message.h"
#include "base/strbuf.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET  "/dev/log"

static struct log_config config = { .fd = -1, .level = LOG_LEVEL_WARNING, .program = "hull" };

void log_configure(const struct log_config *wanted)
{
	config = *wanted;
}

static const char *after_prefix(const char *target, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(target, prefix, len) ? NULL : target + len;
}

int log_open(struct log_config *wanted, const char *target, struct error *err)
{
	const char *journal = after_prefix(target, "journald:");
	const char *system_log = after_prefix(target, "syslog:");
	const char *name = journal ? journal : system_log, *file = after_prefix(target, "file:");

	if (name) {
		wanted->kind = journal ? LOG_TO_JOURNAL : LOG_TO_SYSLOG;
		wanted->identifier = *name ? name : wanted->program;
		wanted->fd =
			message_connect(journal ? JOURNAL_SOCKET : SYSLOG_SOCKET, SOCK_DGRAM, err);
		return wanted->fd < 0 ? error_wrap(err, "--log `%s`", target) : 0;
	}
	wanted->kind = LOG_TO_FILE;
	wanted->fd = open(file ? file : target,
			  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
	return wanted->fd < 0 ? error_errno(err, errno, "--log `%s`", target) : 0;
}

void log_detach(void)
{
	if (config.fd > STDERR_FILENO)
		config.fd = -1;
}

static const char *level_name(enum log_level level)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };

	return names[level];
}

static void format_time(char *buf, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + len, size - len, ".%09ldZ", now.tv_nsec);
}

/* syslog(3)'s numbers, which the journal uses, too. */
static int priority(enum log_level level)
{
	static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

	return priorities[level];
}

/* "KEY=value", or, for a value of several lines, the key, the length as 64 bits in little endian, and the value. */
static void journal_field(struct strbuf *record, const char *key, const char *value)
{
	uint64_t len = htole64(strlen(value));

	strbuf_adds(record, key);
	if (strchr(value, '\n')) {
		strbuf_addc(record, '\n');
		strbuf_add(record, &len, sizeof(len));
	} else {
		strbuf_addc(record, '=');
	}
	strbuf_adds(record, value);
	strbuf_addc(record, '\n');
}

static void journal_record(struct strbuf *record, enum log_level level, const char *message)
{
	strbuf_addf(record, "PRIORITY=%d\n", priority(level));
	journal_field(record, "SYSLOG_IDENTIFIER", config.identifier);
	journal_field(record, "MESSAGE", message);
}

/* The line that syslog(3) sends: its time is the local one, without a zone. */
static void syslog_record(struct strbuf *record, enum log_level level, const char *message)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strbuf_addf(record, "<%d>%.3s %2d %02d:%02d:%02d %s[%d]: %s", LOG_USER | priority(level),
		    months + 3 * (size_t)tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		    config.identifier, getpid(), message);
}

static void write_record(enum log_level level, const char *message)
{
	_cleanup_strbuf_ struct strbuf record = { 0 };
	char when[64];

	if (config.kind != LOG_TO_FILE) {
		(config.kind == LOG_TO_JOURNAL ? journal_record : syslog_record)(&record, level,
										 message);
		/* A log daemon that is gone, or does not keep up, must not stop us. */
		if (!strbuf_failed(&record))
			(void)send(config.fd, record.data, record.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		return;
	}
	format_time(when, sizeof(when));
	if (config.json) {
		strbuf_addf(&record, "{\"level\":\"%s\",\"msg\":\"", level_name(level));
		json_escape(&record, message);
		strbuf_addf(&record, "\",\"time\":\"%s\"}\n", when);
	} else {
		strbuf_addf(&record, "time=\"%s\" level=%s msg=\"", when, level_name(level));
		json_escape(&record, message);
		strbuf_adds(&record, "\"\n");
	}
	if (!strbuf_failed(&record) && write(config.fd, record.data, record.len) < 0)
		return; /* there is no better place to report that the log cannot be written */
}

/* One line, whatever is quoted in it: a name in a configuration may hold line breaks, and what moves a terminal's cursor. */
static void print_line(enum log_level level, const char *message)
{
	_cleanup_strbuf_ struct strbuf line = { 0 };

	strbuf_addf(&line, "%s: ", config.program);
	if (level != LOG_LEVEL_ERROR)
		strbuf_addf(&line, "%s: ", level_name(level));
	for (const char *p = message; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '\n')
			strbuf_adds(&line, "\\n");
		else if (c < ' ' || c == 127 || (c == 0xc2 && (unsigned char)p[1] < 0xa0))
			strbuf_addf(&line, "\\x%02x", c);
		else
			strbuf_addc(&line, *p);
	}
	strbuf_addc(&line, '\n');
	if (!strbuf_failed(&line) && write(STDERR_FILENO, line.data, line.len) < 0)
		return; /* nobody is there to read it */
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char message[2048];
	va_list ap;

	if (level > config.level)
		return;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (config.fd >= 0)
		write_record(level, message);
	if (!config.quiet && (level <= LOG_LEVEL_WARNING || config.level == LOG_LEVEL_DEBUG))
		print_line(level, message);
}
