/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of rtnetlink and the kernel's answers, each length checked; see netlink.h. */
#include "namespaces/netlink.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_MAX \
	65536 /* bytes of one answer; the kernel's dumps come in parts of at most 32 KiB */

/* ---- messages ------------------------------------------------------------------------------------- */

void netlink_init(struct netlink_request *q, uint16_t type, uint16_t flags, const void *header,
		  size_t len)
{
	*q = (struct netlink_request){ .h = { .nlmsg_len = (uint32_t)NLMSG_LENGTH(len),
					      .nlmsg_type = type,
					      .nlmsg_flags = NLM_F_REQUEST | flags } };
	memcpy(q->body, header, len);
}

/* false where there is no room, which is for attributes that nobody has a use for. */
bool netlink_add(struct netlink_request *q, uint16_t type, const void *data, size_t len)
{
	size_t at = NLMSG_ALIGN(q->h.nlmsg_len), whole = RTA_LENGTH(len);
	struct rtattr attr = { .rta_type = type };

	if (len > sizeof(q->body) || at + RTA_ALIGN(whole) > sizeof(*q))
		return false;
	attr.rta_len = (uint16_t)whole;
	memcpy((char *)q + at, &attr, sizeof(attr));
	memcpy((char *)q + at + RTA_LENGTH(0), data, len);
	q->h.nlmsg_len = (uint32_t)(at + whole);
	return true;
}

void netlink_append(const struct netlink_request *q, struct strbuf *out)
{
	static const char padding[NLMSG_ALIGNTO];

	strbuf_add(out, q, q->h.nlmsg_len);
	strbuf_add(out, padding, NLMSG_ALIGN(q->h.nlmsg_len) - q->h.nlmsg_len);
}

static int send_request(int sock, struct netlink_request *q)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	static uint32_t sequence;

	q->h.nlmsg_seq = ++sequence;
	return sendto(sock, q, q->h.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0
		       ? -errno
		       : 0;
}

/* One datagram of the kernel's; others may send to us as well, and are not heard. */
static ssize_t receive(int sock, char *buf)
{
	for (;;) {
		struct sockaddr_nl sender = { 0 };
		socklen_t len = sizeof(sender);
		ssize_t n = recvfrom(sock, buf, ANSWER_MAX, MSG_TRUNC, (struct sockaddr *)&sender,
				     &len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n > ANSWER_MAX)
			return -EMSGSIZE;
		if (sender.nl_family == AF_NETLINK && sender.nl_pid == 0)
			return n;
	}
}

/* Sends a request and reads the answer to its end. Returns 0 or a negative errno, the kernel's or fn's. */
int netlink_transact(int sock, struct netlink_request *q, netlink_answer_fn *fn, void *data)
{
	_cleanup_free_ char *buf = malloc(ANSWER_MAX);
	int r = buf ? send_request(sock, q) : -ENOMEM;

	while (r == 0) {
		ssize_t len = receive(sock, buf);

		if (len < 0)
			return (int)len;
		for (const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
		     r == 0 && NLMSG_OK(h, (size_t)len); h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_seq != q->h.nlmsg_seq)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = NLMSG_DATA(h);

				if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)))
					return -EPROTO;
				return e->error;
			}
			r = fn ? fn(h, data) : 0;
			if (r == 0 && !(h->nlmsg_flags & NLM_F_MULTI) &&
			    !(q->h.nlmsg_flags & NLM_F_ACK))
				return 0;
		}
	}
	return r;
}

/* ---- devices -------------------------------------------------------------------------------------- */

static int read_link(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct netlink_link *link = data;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return -EPROTO;
	*link = (struct netlink_link){ .index = info->ifi_index,
				       .up = (info->ifi_flags & IFF_UP) != 0 };
	return 0;
}

/* Finds a device by its name, or by its index where name is NULL. -ENODEV where there is none. */
int netlink_find(int sock, const char *name, int index, struct netlink_link *link)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = name ? 0 : index };
	struct netlink_request q;
	int r;

	*link = (struct netlink_link){ .index = 0 };
	netlink_init(&q, RTM_GETLINK, 0, &info, sizeof(info));
	if (name)
		netlink_add(&q, IFLA_IFNAME, name, strlen(name) + 1);
	r = netlink_transact(sock, &q, read_link, link);
	return r == 0 && link->index <= 0 ? -EPROTO : r;
}

uint32_t netlink_address_flags(const struct nlmsghdr *h)
{
	const struct ifaddrmsg *a = NLMSG_DATA(h);
	uint32_t flags = a->ifa_flags;
	int len = (int)IFA_PAYLOAD(h);

	for (const struct rtattr *t = IFA_RTA(a); RTA_OK(t, len); t = RTA_NEXT(t, len))
		if (t->rta_type == IFA_FLAGS && RTA_PAYLOAD(t) == sizeof(flags))
			memcpy(&flags, RTA_DATA(t), sizeof(flags));
	return flags;
}

bool netlink_repeat_address(struct netlink_request *q, const struct nlmsghdr *h, uint16_t how,
			    uint32_t flags)
{
	const struct ifaddrmsg *a = NLMSG_DATA(h);
	struct ifaddrmsg copy = *a;
	int len = (int)IFA_PAYLOAD(h);

	copy.ifa_flags = 0;
	netlink_init(q, RTM_NEWADDR, NLM_F_ACK | how, &copy, sizeof(copy));
	netlink_add(q, IFA_FLAGS, &flags, sizeof(flags));
	/* Not its label, which begins with the old name, nor its lifetime, which is endless. */
	for (const struct rtattr *t = IFA_RTA(a); RTA_OK(t, len); t = RTA_NEXT(t, len))
		if (t->rta_type != IFA_FLAGS && t->rta_type != IFA_LABEL &&
		    t->rta_type != IFA_CACHEINFO &&
		    !netlink_add(q, t->rta_type, RTA_DATA(t), RTA_PAYLOAD(t)))
			return false;
	return true;
}

int netlink_set_up(int sock, int index)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC,
				  .ifi_index = index,
				  .ifi_flags = IFF_UP,
				  .ifi_change = IFF_UP };
	struct netlink_request q;

	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	return netlink_transact(sock, &q, NULL, NULL);
}

/* ---- namespaces ----------------------------------------------------------------------------------- */

int netlink_open(struct error *err)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return sock < 0 ? error_errno(err, errno, "open a netlink socket") : sock;
}

int netlink_own_namespace(struct error *err)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? error_errno(err, errno, "open our network namespace") : fd;
}

/* A socket belongs to the namespace that it was made in, so one short visit is enough. */
int netlink_open_in(int netns, int own, struct error *err)
{
	int sock;

	if (setns(netns, CLONE_NEWNET) < 0)
		return error_errno(err, errno, "enter the container's network namespace");
	sock = netlink_open(err);
	if (setns(own, CLONE_NEWNET) < 0) {
		close_fd(&sock);
		return error_errno(err, errno, "return to our network namespace");
	}
	return sock;
}
