/* SPDX-License-Identifier: Apache-2.0 */
/* The log; see log.h. The configuration is the one piece of global state that hull allows itself. */
#include "base/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/json_escape.h"
#include "base/strbuf.h"

static struct log_config config = { .fd = -1, .level = LOG_LEVEL_WARNING, .program = "hull" };

void log_configure(const struct log_config *wanted)
{
	config = *wanted;
}

void log_detach(void)
{
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

static void write_record(enum log_level level, const char *message)
{
	_cleanup_strbuf_ struct strbuf record = { 0 };
	char when[64];

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
	if (!config.quiet && (level <= LOG_LEVEL_WARNING || config.level == LOG_LEVEL_DEBUG)) {
		if (level == LOG_LEVEL_ERROR)
			dprintf(STDERR_FILENO, "%s: %s\n", config.program, message);
		else
			dprintf(STDERR_FILENO, "%s: %s: %s\n", config.program, level_name(level),
				message);
	}
}
