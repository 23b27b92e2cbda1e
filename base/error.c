/* SPDX-License-Identifier: Apache-2.0 */
/* Building the one-line messages of struct error; long messages are cut, never overrun, and never at their end: there is the cause. */
#include "base/error.h"

#include <stdarg.h>
#include <string.h>

void error_fill(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
}

#define CUT "…"

void error_fill_errno(struct error *err, int code, const char *fmt, ...)
{
	const char *cause = strerror(code);
	size_t room = ERROR_TEXT_MAX - strlen(": ") - strlen(cause);
	va_list ap;
	int len;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		len = vsnprintf(err->text, room, fmt, ap);
		va_end(ap);
		if (len >= (int)room)
			strcpy(err->text + room - sizeof(CUT), CUT);
		strcat(strcat(err->text, ": "), cause);
	}
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char inner[ERROR_TEXT_MAX];
	size_t len, inner_len, room;
	va_list ap;

	if (!err)
		return EINVAL;
	memcpy(inner, err->text, sizeof(inner));
	inner_len = strlen(inner);
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text) / 2, fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	room = sizeof(err->text) - len - strlen(": ");
	if (inner_len < room)
		snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
	else
		snprintf(err->text + len, sizeof(err->text) - len, ": " CUT "%s",
			 inner + inner_len + sizeof(CUT) - room);
	return err->code;
}
