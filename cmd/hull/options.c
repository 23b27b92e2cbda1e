/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing options by a table; see options.h. */
#include "cmd/hull/options.h"

#include <stdint.h>
#include <string.h>

#include "base/number.h"

#define HELP_COLUMN 30

static const struct option *find_long(const struct option *options, const char *name, size_t len)
{
	for (const struct option *o = options; o->name; o++)
		if (strlen(o->name) == len && !strncmp(o->name, name, len))
			return o;
	return NULL;
}

static const struct option *find_letter(const struct option *options, char letter)
{
	for (const struct option *o = options; o->name; o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

static bool is_flag(const struct option *o)
{
	return o->kind == OPTION_FLAG || o->kind == OPTION_HIDDEN_FLAG ||
	       o->kind == OPTION_PASS_ON_FLAG || o->kind == OPTION_OPTIONAL;
}

static int pass_on(const struct option *o, const char *value, struct error *err)
{
	struct option_passed *passed = o->target;

	if (passed->len == OPTION_STRINGS_MAX)
		return error_set(err, E2BIG, "option --%s: there are more than %d such options",
				 o->name, OPTION_STRINGS_MAX);
	passed->items[passed->len].name = o->name;
	passed->items[passed->len++].value = value;
	return 0;
}

static int set_flag(const struct option *o, const char *value, struct error *err)
{
	bool on = !value || !strcmp(value, "true") || !strcmp(value, "1");

	if (o->kind == OPTION_OPTIONAL) {
		*(const char **)o->target = value ? value : "";
		return 0;
	}
	if (value && !on && strcmp(value, "false") && strcmp(value, "0"))
		return error_set(err, EINVAL, "option --%s: `%s` is neither true nor false",
				 o->name, value);
	if (o->kind == OPTION_PASS_ON_FLAG)
		return on ? pass_on(o, NULL, err) : 0;
	*(bool *)o->target = on;
	return 0;
}

static int set_value(const struct option *o, const char *value, struct error *err)
{
	struct option_strings *list = o->target;
	uint64_t number;

	switch (o->kind) {
	case OPTION_STRING:
		if (!*value)
			return error_set(err, EINVAL, "option --%s: is empty", o->name);
		*(const char **)o->target = value;
		return 0;
	case OPTION_STRINGS:
		if (list->len == OPTION_STRINGS_MAX)
			return error_set(err, E2BIG, "option --%s: is given more than %d times",
					 o->name, OPTION_STRINGS_MAX);
		list->items[list->len++] = value;
		list->items[list->len] = NULL;
		return 0;
	case OPTION_UNSIGNED:
		if (!parse_u64(value, 65536, &number))
			return error_set(err, EINVAL,
					 "option --%s: `%s` is not a number from 0 to 65536",
					 o->name, value);
		*(unsigned *)o->target = (unsigned)number;
		return 0;
	case OPTION_PASS_ON:
		return pass_on(o, value, err);
	default:
		return set_flag(o, value, err);
	}
}

struct cursor {
	const struct option *options;
	int argc, at;
	char **argv;
};

static int take_argument(struct cursor *c, const struct option *o, const char *attached,
			 struct error *err)
{
	if (attached)
		return set_value(o, attached, err);
	if (c->at + 1 >= c->argc)
		return error_set(err, EINVAL, "option --%s requires an argument: %s", o->name,
				 o->argument);
	return set_value(o, c->argv[++c->at], err);
}

static int parse_long(struct cursor *c, const struct option *o, const char *value,
		      struct error *err)
{
	return is_flag(o) ? set_flag(o, value, err) : take_argument(c, o, value, err);
}

/* "-tu0": flags in a row, the last may take an argument. */
static int parse_letters(struct cursor *c, const char *letters, struct error *err)
{
	for (const char *p = letters; *p; p++) {
		const struct option *o = find_letter(c->options, *p);
		int r;

		if (!o)
			return error_set(err, EINVAL, "unknown option `-%s`", letters);
		if (!is_flag(o))
			return take_argument(c, o, p[1] ? p + 1 + (p[1] == '=') : NULL, err);
		r = set_flag(o, NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_one(struct cursor *c, struct error *err)
{
	const char *word = c->argv[c->at];
	const char *name = word + 1 + (word[1] == '-');
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const struct option *o =
		len > 1 || word[1] == '-' ? find_long(c->options, name, len) : NULL;

	if (o)
		return parse_long(c, o, value, err);
	if (word[1] == '-')
		return error_set(err, EINVAL, "unknown option `%s`", word);
	return parse_letters(c, word + 1, err);
}

int options_parse(const struct option *options, int argc, char **argv, bool in_order, int *rest,
		  struct error *err)
{
	struct cursor c = { .options = options, .argc = argc, .at = 1, .argv = argv };
	bool only_words = false;
	int words = 0;

	for (; c.at < argc; c.at++) {
		if (!only_words && !strcmp(argv[c.at], "--")) {
			only_words = true;
		} else if (only_words || argv[c.at][0] != '-' || !argv[c.at][1]) {
			only_words = only_words || in_order;
			argv[words++] = argv[c.at];
		} else {
			int r = parse_one(&c, err);

			if (r < 0)
				return r;
		}
	}
	argv[words] = NULL;
	*rest = words;
	return 0;
}

void options_help(const struct option *options)
{
	for (const struct option *o = options; o->name; o++) {
		char left[128];
		int len;

		if (o->kind == OPTION_HIDDEN_FLAG)
			continue;
		len = snprintf(left, sizeof(left), "  %c%c%s --%s%s%s%s", o->letter ? '-' : ' ',
			       o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
			       o->kind == OPTION_OPTIONAL ? "[="
			       : o->argument              ? " "
							  : "",
			       o->argument ? o->argument : "",
			       o->kind == OPTION_OPTIONAL ? "]" : "");
		if (len >= HELP_COLUMN)
			printf("%s\n%*s%s\n", left, HELP_COLUMN, "", o->help);
		else
			printf("%-*s%s\n", HELP_COLUMN, left, o->help);
	}
}
