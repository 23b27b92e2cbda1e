/* SPDX-License-Identifier: Apache-2.0 */
/* Loading libcurl; see registry_curl.h. It is never unloaded. */
#include "oci/image/registry_curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_functions functions;
static struct error failure;

/* ISO C has no pointer that can be either; POSIX says that they are alike. */
static void find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	if (!symbol && !failure.code)
		error_set(&failure, ENOSYS, LIBRARY " is too old: it has no %s", name);
	memcpy(function, &symbol, sizeof(symbol));
}

static void load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		error_set(&failure, ENOENT, "registries need " LIBRARY " (package libcurl4): %s",
			  dlerror());
		return;
	}
#define CURL_FIND(name) find(library, "curl_" #name, &functions.name);
	CURL_FUNCTIONS(CURL_FIND)
#undef CURL_FIND
	if (!failure.code && functions.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		error_set(&failure, EIO, LIBRARY " cannot be initialised");
}

const struct curl_functions *registry_curl(struct error *err)
{
	pthread_once(&once, load);
	if (!failure.code)
		return &functions;
	if (err)
		*err = failure;
	return NULL;
}
