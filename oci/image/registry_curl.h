/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl, loaded when a registry is first asked: it brings thirty libraries along, which would be most of the time that it takes
 * to run an image that is in the store.
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_CURL_H
#define HULL_OCI_IMAGE_REGISTRY_CURL_H

#include <curl/curl.h>

#include "base/error.h"

/* All functions of libcurl that are used here, by their names without "curl_". */
#define CURL_FUNCTIONS(F)      \
	F(easy_cleanup)        \
	F(easy_getinfo)        \
	F(easy_init)           \
	F(easy_pause)          \
	F(easy_reset)          \
	F(easy_setopt)         \
	F(easy_strerror)       \
	F(free)                \
	F(global_init)         \
	F(multi_add_handle)    \
	F(multi_cleanup)       \
	F(multi_info_read)     \
	F(multi_init)          \
	F(multi_perform)       \
	F(multi_poll)          \
	F(multi_remove_handle) \
	F(slist_append)        \
	F(slist_free_all)      \
	F(url)                 \
	F(url_cleanup)         \
	F(url_get)             \
	F(url_set)

struct curl_functions {
#define CURL_MEMBER(name) __typeof__(curl_##name) *name;
	CURL_FUNCTIONS(CURL_MEMBER)
#undef CURL_MEMBER
};

/* libcurl, ready for use by any thread. NULL where it is not installed or fails. */
const struct curl_functions *registry_curl(struct error *err);

#endif
