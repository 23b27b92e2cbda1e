/* SPDX-License-Identifier: Apache-2.0 */
/* Execution domains; see personality.h. */
#include "sandbox/personality.h"

#include <string.h>
#include <sys/personality.h>

static const struct {
	const char *name;
	unsigned long value;
} flags[] = {
	{ "UNAME26", UNAME26 },
	{ "ADDR_NO_RANDOMIZE", ADDR_NO_RANDOMIZE },
	{ "FDPIC_FUNCPTRS", FDPIC_FUNCPTRS },
	{ "MMAP_PAGE_ZERO", MMAP_PAGE_ZERO },
	{ "ADDR_COMPAT_LAYOUT", ADDR_COMPAT_LAYOUT },
	{ "READ_IMPLIES_EXEC", READ_IMPLIES_EXEC },
	{ "ADDR_LIMIT_32BIT", ADDR_LIMIT_32BIT },
	{ "SHORT_INODE", SHORT_INODE },
	{ "WHOLE_SECONDS", WHOLE_SECONDS },
	{ "STICKY_TIMEOUTS", STICKY_TIMEOUTS },
	{ "ADDR_LIMIT_3GB", ADDR_LIMIT_3GB },
};

static int resolve_flags(const struct oci_strings *names, unsigned long *persona, struct error *err)
{
	for (size_t i = 0; i < names->len; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(flags) && strcmp(flags[k].name, names->items[i]) != 0)
			k++;
		if (k == ARRAY_SIZE(flags))
			return error_set(err, EINVAL,
					 "/linux/personality/flags/%zu: `%.64s` is no flag of "
					 "personality(2)",
					 i, names->items[i]);
		*persona |= flags[k].value;
	}
	return 0;
}

static int resolve(const struct oci_personality *p, unsigned long *persona, struct error *err)
{
	if (!p->domain)
		return error_set(err, EINVAL, "/linux/personality/domain: is missing");
	*persona = PER_LINUX;
	if (!strcmp(p->domain, "LINUX32"))
		*persona = PER_LINUX32;
	else if (strcmp(p->domain, "LINUX") != 0)
		return error_set(err, EINVAL, "/linux/personality/domain: unknown domain `%s`",
				 p->domain);
	return resolve_flags(&p->flags, persona, err);
}

int personality_check(const struct oci_personality *p, struct error *err)
{
	unsigned long persona;

	return p ? resolve(p, &persona, err) : 0;
}

int personality_set(const struct oci_personality *p, struct error *err)
{
	unsigned long persona;
	int r;

	if (!p)
		return 0;
	r = resolve(p, &persona, err);
	if (r == 0 && personality(persona) < 0)
		r = error_errno(err, errno, "/linux/personality: set %s", p->domain);
	return r;
}
