/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hull says to the kernel's network by rtnetlink(7): requests of one header and some attributes, and their answers. Every length is
 * checked, also those of the kernel's answers. Errors are bare negative errnos where there is no struct error.
 */
#ifndef HULL_NAMESPACES_NETLINK_H
#define HULL_NAMESPACES_NETLINK_H

#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

/* One request: a header, the family's own header, attributes. */
struct netlink_request {
	struct nlmsghdr h;
	char body[1024];
};

void netlink_init(struct netlink_request *q, uint16_t type, uint16_t flags, const void *header,
		  size_t len);

/* false where there is no room, which is for attributes that nobody has a use for. */
bool netlink_add(struct netlink_request *q, uint16_t type, const void *data, size_t len);

/* Keeps a request behind others, each aligned. */
void netlink_append(const struct netlink_request *q, struct strbuf *out);

/* Called with each message of an answer; 0 to go on. */
typedef int netlink_answer_fn(const struct nlmsghdr *h, void *data);

/* Sends a request and reads the answer to its end. Returns 0 or a negative errno, the kernel's or fn's (which may be NULL). */
int netlink_transact(int sock, struct netlink_request *q, netlink_answer_fn *fn, void *data);

struct netlink_link {
	int index;
	bool up;
};

/* Finds a device by its name, or by its index where name is NULL. -ENODEV where there is none. */
int netlink_find(int sock, const char *name, int index, struct netlink_link *link);

int netlink_set_up(int sock, int index);

/* All flags of the address in a message of the type RTM_NEWADDR that has a whole struct ifaddrmsg: its header has no room for all. */
uint32_t netlink_address_flags(const struct nlmsghdr *h);

/* Makes of such a message a request that makes the address, with NLM_F_… how; false where it has no room. */
bool netlink_repeat_address(struct netlink_request *q, const struct nlmsghdr *h, uint16_t how,
			    uint32_t flags);

/* A socket in our network namespace, and in another: it belongs to that in which it was made, so one short visit is enough. */
int netlink_open(struct error *err);
int netlink_open_in(int netns, int own, struct error *err);

/* A descriptor of our network namespace, to return to. */
int netlink_own_namespace(struct error *err);

#endif
