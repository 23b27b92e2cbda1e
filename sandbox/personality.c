/* SPDX-License-Identifier: Apache-2.0 */
/* Execution domains; see personality.h. */
#include "sandbox/personality.h"

#include <string.h>
#include <sys/personality.h>

static int resolve(const struct oci_personality *p, unsigned long *domain, struct error *err)
{
	if (!p->domain)
		return error_set(err, EINVAL, "/linux/personality/domain: is missing");
	if (p->flags.len)
		return error_set(err, ENOTSUP,
				 "/linux/personality/flags/0: `%.64s` is not supported: the "
				 "specification has no flags",
				 p->flags.items[0]);
	*domain = PER_LINUX;
	if (!strcmp(p->domain, "LINUX32"))
		*domain = PER_LINUX32;
	else if (strcmp(p->domain, "LINUX") != 0)
		return error_set(err, EINVAL, "/linux/personality/domain: unknown domain `%s`",
				 p->domain);
	return 0;
}

int personality_check(const struct oci_personality *p, struct error *err)
{
	unsigned long domain;

	return p ? resolve(p, &domain, err) : 0;
}

int personality_set(const struct oci_personality *p, struct error *err)
{
	unsigned long domain;
	int r;

	if (!p)
		return 0;
	r = resolve(p, &domain, err);
	if (r == 0 && personality(domain) < 0)
		r = error_errno(err, errno, "/linux/personality: set %s", p->domain);
	return r;
}
