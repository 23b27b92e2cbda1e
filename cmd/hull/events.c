/* SPDX-License-Identifier: Apache-2.0 */
/* hull events: statistics and out-of-memory events as JSON, a line each. */
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "cmd/hull/command.h"

/* "5s", "500ms", "1m30s", "1.5h": as Go writes durations. In milliseconds, at most a year. */
static bool parse_duration(const char *text, uint64_t *ms)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = { { "ns", 1e-6 }, { "us", 1e-3 }, { "µs", 1e-3 }, { "ms", 1 },
		      { "s", 1e3 },   { "m", 60e3 },  { "h", 3600e3 } };
	double sum = 0;

	if (!*text)
		return false;
	while (*text) {
		size_t len = strspn(text, "0123456789."), unit_len, unit = 0;
		char number[32];
		char *end;

		if (!len || len >= sizeof(number))
			return false;
		memcpy(number, text, len);
		number[len] = '\0';
		text += len;
		unit_len = strcspn(text, "0123456789.");
		while (unit < ARRAY_SIZE(units) && (strlen(units[unit].name) != unit_len ||
						    strncmp(text, units[unit].name, unit_len)))
			unit++;
		if (unit == ARRAY_SIZE(units))
			return false;
		sum += strtod(number, &end) * units[unit].ms;
		if (*end)
			return false;
		text += unit_len;
	}
	if (!(sum > 0 && sum <= 365.0 * 86400e3))
		return false;
	*ms = sum < 1 ? 1 : (uint64_t)sum;
	return true;
}

static int print_line(void *data, const struct strbuf *line, struct error *err)
{
	(void)data;
	int r = file_write_all(STDOUT_FILENO, line->data, line->len);

	return r < 0 ? error_errno(err, -r, "write to standard output") : 0;
}

int cmd_events(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_events events = { .print = print_line };
	const char *interval = "5s";
	const struct option options[] = {
		{ "interval", 0, OPTION_STRING, &interval, "TIME",
		  "between two lines of statistics: 500ms, 5s (default), 1m" },
		{ "stats", 0, OPTION_FLAG, &events.once, NULL, "print statistics once and end" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"events",
		"ID",
		"Print statistics of a running container at intervals, and out-of-memory events, as\n"
		"JSON objects, one a line, until it ends.",
		"Example:\n  hull events --stats demo | jq .data.memory.usage",
		1,
		1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);

	if (r < 0)
		return r;
	if (!parse_duration(interval, &events.interval_ms))
		return error_set(
			err, EINVAL,
			"--interval `%.32s`: must be a time greater than 0, as 500ms or 5s",
			interval);
	return runtime_events(&store, argv[0], &events, err);
}
