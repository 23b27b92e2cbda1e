/* SPDX-License-Identifier: Apache-2.0 */
/* Building the one-line messages of struct error; long messages are cut, never overrun. */
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

void error_fill_errno(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
		len = strlen(err->text);
		snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(code));
	}
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char inner[ERROR_TEXT_MAX];
	va_list ap;
	size_t len;

	if (!err)
		return EINVAL;
	memcpy(inner, err->text, sizeof(inner));
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
	return err->code;
}
