/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors that a person can act on. A function that can fail returns a negative errno and, where its
 * caller passed a struct error, leaves there one line that names the action and the object:
 *
 *     mount `proc` on `/proc`: Operation not permitted
 *
 * A caller that knows more puts it in front with error_wrap(). Nothing below cmd/ prints.
 */
#ifndef HULL_BASE_ERROR_H
#define HULL_BASE_ERROR_H

#include "base/cleanup.h"

#define ERROR_TEXT_MAX 1024

/* Plain data without pointers, so that it can be sent between processes as it is. */
struct error {
	int code; /* errno, positive; 0 while there is no error */
	char text[ERROR_TEXT_MAX];
};

/* What error_set() and the others return: always negative, also where a caller passes a wrong code. */
static inline int error_negative(int code)
{
	return code > 0 ? -code : -EINVAL;
}

/*
 * int error_set(struct error *err, int code, const char *fmt, ...)
 *
 * Sets the message (code: a positive errno). Returns -code. err may be NULL. A macro, so that compilers and analysers see
 * that the result is negative.
 */
#define error_set(err, code, ...)                      \
	({                                             \
		int _code = (code);                    \
		error_fill((err), _code, __VA_ARGS__); \
		error_negative(_code);                 \
	})

/* As error_set(), with ": " and the text of the errno `code` at the end. Returns -code. */
#define error_errno(err, code, ...)                          \
	({                                                   \
		int _code = (code);                          \
		error_fill_errno((err), _code, __VA_ARGS__); \
		error_negative(_code);                       \
	})

/* Puts "<fmt>: " in front of the message that err holds. Returns -err->code. err may be NULL, and then -EINVAL. */
#define error_wrap(err, ...) error_negative(error_prefix((err), __VA_ARGS__))

/* What the macros call: they set err, and error_prefix() returns err->code. */
void error_fill(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);
void error_fill_errno(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);
int error_prefix(struct error *err, const char *fmt, ...) _printf_(2, 3);

static inline void error_clear(struct error *err)
{
	if (err) {
		err->code = 0;
		err->text[0] = '\0';
	}
}

#endif
