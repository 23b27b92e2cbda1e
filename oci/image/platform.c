/* SPDX-License-Identifier: Apache-2.0 */
/* The names of platforms; see platform.h. */
#include "oci/image/platform.h"

#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"

static const struct {
	const char *machine; /* of uname(2) */
	const char *architecture;
	const char *variants[PLATFORM_VARIANTS];
} machines[] = {
	/* amd64 v2 to v4 need instructions that not every machine has: an image for them is not chosen. */
	{ "x86_64", "amd64", { "", "v1" } },
	{ "aarch64", "arm64", { "v8", "" } },
	{ "armv7l", "arm", { "v7", "v6", "v5", "" } },
	{ "armv6l", "arm", { "v6", "v5", "" } },
	{ "i686", "386", { "" } },
	{ "i586", "386", { "" } },
	{ "ppc64le", "ppc64le", { "" } },
	{ "s390x", "s390x", { "" } },
	{ "riscv64", "riscv64", { "" } },
	{ "loongarch64", "loong64", { "" } },
};

struct image_platform image_platform_host(void)
{
	struct image_platform platform = { .os = "linux",
					   .architecture = "unknown",
					   .variants = { "" } };
	struct utsname name;

	if (uname(&name) < 0)
		return platform;
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		if (strcmp(machines[i].machine, name.machine) != 0)
			continue;
		platform.architecture = machines[i].architecture;
		memcpy(platform.variants, machines[i].variants, sizeof(platform.variants));
	}
	return platform;
}

int image_platform_score(const struct image_platform *platform, const struct json_value *object)
{
	const char *os, *architecture, *variant;

	if (!object)
		return 1;
	os = json_get_string(object, "os");
	architecture = json_get_string(object, "architecture");
	variant = json_get_string(object, "variant");
	if (!os || !architecture || strcmp(os, platform->os) != 0 ||
	    strcmp(architecture, platform->architecture) != 0)
		return 0;
	for (int i = 0; i < PLATFORM_VARIANTS && platform->variants[i]; i++)
		if (!strcmp(platform->variants[i], variant ? variant : ""))
			return 2 + PLATFORM_VARIANTS - i;
	return 0;
}
