/* SPDX-License-Identifier: Apache-2.0 */
/* Giving the guest's cards what the host's interfaces have; see vm_net.h. */
#include <linux/if_arp.h>
#include <string.h>

#include "namespaces/netlink.h"
#include "namespaces/vm_net.h"

struct cards {
	const struct vm_net_interface *wanted;
	uint32_t count;
	int index[VM_NET_INTERFACES]; /* in this kernel; 0: not found */
};

static int find_card(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct cards *cards = data;
	int len;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return -EPROTO;
	if (info->ifi_type != ARPHRD_ETHER)
		return 0;
	len = (int)IFLA_PAYLOAD(h);
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, len); a = RTA_NEXT(a, len))
		for (uint32_t i = 0; a->rta_type == IFLA_ADDRESS && i < cards->count; i++) {
			uint8_t mac[6];

			vm_net_card_address(i, mac);
			if (RTA_PAYLOAD(a) == sizeof(mac) && !memcmp(RTA_DATA(a), mac, sizeof(mac)))
				cards->index[i] = info->ifi_index;
		}
	return 0;
}

static int set_up_card(int sock, int index, const struct vm_net_interface *wanted)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct netlink_request q;
	int r;

	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	netlink_add(&q, IFLA_IFNAME, wanted->name, strnlen(wanted->name, IFNAMSIZ - 1) + 1);
	netlink_add(&q, IFLA_ADDRESS, wanted->mac, sizeof(wanted->mac));
	netlink_add(&q, IFLA_MTU, &wanted->mtu, sizeof(wanted->mtu));
	r = netlink_transact(sock, &q, NULL, NULL);
	return r < 0 ? r : netlink_set_up(sock, index);
}

/* The index here of what has this index on the host. */
static int translate(const struct cards *cards, int host)
{
	for (uint32_t i = 0; i < cards->count; i++)
		if (cards->wanted[i].index == host)
			return cards->index[i];
	return 0;
}

static void translate_address(const struct cards *cards, struct netlink_request *q)
{
	struct ifaddrmsg *a = (struct ifaddrmsg *)q->body;

	a->ifa_index = (unsigned)translate(cards, (int)a->ifa_index);
}

static void translate_route(const struct cards *cards, struct netlink_request *q)
{
	struct rtmsg *route = (struct rtmsg *)q->body;
	int len = (int)RTM_PAYLOAD(&q->h), out;

	for (struct rtattr *t = RTM_RTA(route); RTA_OK(t, len); t = RTA_NEXT(t, len))
		if (t->rta_type == RTA_OIF && RTA_PAYLOAD(t) == sizeof(out)) {
			memcpy(&out, RTA_DATA(t), sizeof(out));
			out = translate(cards, out);
			memcpy(RTA_DATA(t), &out, sizeof(out));
		}
}

static int repeat_messages(int sock, const struct cards *cards, const char *messages, size_t len)
{
	int r = 0;

	while (r == 0 && len >= sizeof(struct nlmsghdr)) {
		struct netlink_request q = { 0 };
		struct nlmsghdr h;
		size_t whole;

		memcpy(&h, messages, sizeof(h));
		whole = NLMSG_ALIGN(h.nlmsg_len);
		if (h.nlmsg_len < NLMSG_LENGTH(sizeof(struct ifaddrmsg)) ||
		    h.nlmsg_len > sizeof(q) || whole > len)
			return -EPROTO;
		memcpy(&q, messages, h.nlmsg_len);
		if (h.nlmsg_type == RTM_NEWADDR)
			translate_address(cards, &q);
		else if (h.nlmsg_type == RTM_NEWROUTE &&
			 h.nlmsg_len >= NLMSG_LENGTH(sizeof(struct rtmsg)))
			translate_route(cards, &q);
		else
			return -EPROTO;
		r = netlink_transact(sock, &q, NULL, NULL);
		messages += whole;
		len -= whole;
	}
	return r;
}

int vm_net_apply(const char *description, size_t len, struct error *err)
{
	struct vm_net_interface wanted[VM_NET_INTERFACES];
	struct cards cards = { .wanted = wanted };
	struct ifinfomsg all = { .ifi_family = AF_UNSPEC };
	_cleanup_close_ int sock = -EBADF;
	struct netlink_request q;
	int r;

	if (len < sizeof(cards.count))
		return error_errno(err, EPROTO, "the microVM's network");
	memcpy(&cards.count, description, sizeof(cards.count));
	description += sizeof(cards.count);
	len -= sizeof(cards.count);
	if (cards.count > VM_NET_INTERFACES || len < cards.count * sizeof(wanted[0]))
		return error_errno(err, EPROTO, "the microVM's network");
	memcpy(wanted, description, cards.count * sizeof(wanted[0]));
	description += cards.count * sizeof(wanted[0]);
	len -= cards.count * sizeof(wanted[0]);
	sock = netlink_open(err);
	if (sock < 0)
		return sock;
	netlink_init(&q, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all));
	r = netlink_transact(sock, &q, find_card, &cards);
	for (uint32_t i = 0; r == 0 && i < cards.count; i++)
		r = cards.index[i] ? set_up_card(sock, cards.index[i], &wanted[i]) : -ENODEV;
	if (r == 0)
		r = repeat_messages(sock, &cards, description, len);
	return r < 0 ? error_errno(err, -r, "set up the microVM's network") : 0;
}
