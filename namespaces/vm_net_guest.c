/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving the guest's cards what the host's interfaces have; see vm_net.h.
 *
 * When the workload starts the cards have nothing. In a machine that was restored they have what they had at the time of the
 * snapshot, and may be asked to have the very same, something else, or nothing. One way serves all: what is not wanted goes,
 * and what is wanted is asked for, which changes nothing where it is there.
 */
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <string.h>

#include "namespaces/netlink.h"
#include "namespaces/vm_net.h"

#define SPARE_NAME "hullcard%u" /* of a card whose own name another one may be about to get */

/* A card of the machine, as it is. */
struct card {
	int index; /* in this kernel; 0: there is none */
	struct vm_net_interface is;
	bool up;
	bool other; /* it becomes another interface, or none: nothing of what it has is kept */
};

struct cards {
	const struct vm_net_interface *wanted;
	uint32_t count; /* of those that are wanted */
	struct card card[VM_NET_INTERFACES];
};

/* ---- the description ----------------------------------------------------------------------------------- */

/* The index here of what has this index on the host. */
static int translate(const struct cards *cards, int host)
{
	for (uint32_t i = 0; i < cards->count; i++)
		if (cards->wanted[i].index == host)
			return cards->card[i].index;
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

/* Takes the first of several requests; false where it is none. */
static bool take_message(const char **messages, size_t *len, struct netlink_request *q)
{
	struct nlmsghdr h;
	size_t whole;

	if (*len < sizeof(h))
		return false;
	memcpy(&h, *messages, sizeof(h));
	whole = NLMSG_ALIGN(h.nlmsg_len);
	if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > sizeof(*q) || whole > *len)
		return false;
	*q = (struct netlink_request){ 0 };
	memcpy(q, *messages, h.nlmsg_len);
	*messages += whole;
	*len -= whole;
	return true;
}

/* The host's requests, as they are to be made here. */
static int translate_messages(const struct cards *cards, const char *messages, size_t len,
			      struct strbuf *out)
{
	struct netlink_request q;

	while (len >= sizeof(struct nlmsghdr)) {
		if (!take_message(&messages, &len, &q))
			return -EPROTO;
		if (q.h.nlmsg_type == RTM_NEWADDR &&
		    q.h.nlmsg_len >= NLMSG_LENGTH(sizeof(struct ifaddrmsg)))
			translate_address(cards, &q);
		else if (q.h.nlmsg_type == RTM_NEWROUTE &&
			 q.h.nlmsg_len >= NLMSG_LENGTH(sizeof(struct rtmsg)))
			translate_route(cards, &q);
		else
			return -EPROTO;
		netlink_append(&q, out);
	}
	return strbuf_failed(out) ? -ENOMEM : 0;
}

/* Makes the requests; gone: those that find nothing are done already. */
static int repeat_messages(int sock, const struct strbuf *requests, bool gone)
{
	const char *messages = requests->data;
	size_t len = requests->len;
	struct netlink_request q;
	int r = 0;

	while (r == 0 && take_message(&messages, &len, &q)) {
		r = netlink_transact(sock, &q, NULL, NULL);
		if (gone && (r == -ESRCH || r == -ENOENT || r == -EADDRNOTAVAIL))
			r = 0;
	}
	return r;
}

/* ---- what is not wanted -------------------------------------------------------------------------------- */

struct leftovers {
	const struct cards *cards;
	const struct strbuf *wanted;
	struct strbuf removals; /* requests */
};

static const struct card *card_of(const struct cards *cards, int index)
{
	for (size_t i = 0; i < ARRAY_SIZE(cards->card); i++)
		if (index && cards->card[i].index == index)
			return &cards->card[i];
	return NULL;
}

/* The attributes behind the family's header, which has len bytes. */
struct attributes {
	const struct rtattr *first;
	int len;
};

static struct attributes attributes_of(const struct nlmsghdr *h, size_t header)
{
	return (struct attributes){
		(const struct rtattr *)((const char *)h + NLMSG_SPACE(header)),
		(int)h->nlmsg_len - (int)NLMSG_SPACE(header),
	};
}

static const struct rtattr *find_attribute(struct attributes in, uint16_t type)
{
	for (const struct rtattr *t = in.first; RTA_OK(t, in.len); t = RTA_NEXT(t, in.len))
		if (t->rta_type == type)
			return t;
	return NULL;
}

static bool have_same(struct attributes a, struct attributes b, const uint16_t *types)
{
	for (; *types; types++) {
		const struct rtattr *one = find_attribute(a, *types);
		const struct rtattr *other = find_attribute(b, *types);

		if (!one != !other)
			return false;
		if (one && (RTA_PAYLOAD(one) != RTA_PAYLOAD(other) ||
			    memcmp(RTA_DATA(one), RTA_DATA(other), RTA_PAYLOAD(one)) != 0))
			return false;
	}
	return true;
}

static bool copy_attributes(struct netlink_request *q, struct attributes from,
			    const uint16_t *types)
{
	for (; *types; types++) {
		const struct rtattr *t = find_attribute(from, *types);

		if (t && !netlink_add(q, *types, RTA_DATA(t), RTA_PAYLOAD(t)))
			return false;
	}
	return true;
}

/* By what one is told from another. */
static const uint16_t address_key[] = { IFA_LOCAL, IFA_ADDRESS, 0 };
static const uint16_t route_key[] = { RTA_DST, RTA_OIF, RTA_PRIORITY, RTA_GATEWAY, RTA_VIA, 0 };
static const uint16_t neighbour_key[] = { NDA_DST, 0 };

static bool same_address(const struct nlmsghdr *a, const struct nlmsghdr *b)
{
	const struct ifaddrmsg *one = NLMSG_DATA(a), *other = NLMSG_DATA(b);

	return one->ifa_family == other->ifa_family && one->ifa_prefixlen == other->ifa_prefixlen &&
	       one->ifa_index == other->ifa_index &&
	       have_same(attributes_of(a, sizeof(*one)), attributes_of(b, sizeof(*other)),
			 address_key);
}

static bool same_route(const struct nlmsghdr *a, const struct nlmsghdr *b)
{
	const struct rtmsg *one = NLMSG_DATA(a), *other = NLMSG_DATA(b);

	return one->rtm_family == other->rtm_family && one->rtm_dst_len == other->rtm_dst_len &&
	       one->rtm_tos == other->rtm_tos &&
	       have_same(attributes_of(a, sizeof(*one)), attributes_of(b, sizeof(*other)),
			 route_key);
}

static bool is_wanted(const struct leftovers *left, const struct nlmsghdr *h)
{
	const char *messages = left->wanted->data;
	size_t len = left->wanted->len;
	struct netlink_request q;

	while (take_message(&messages, &len, &q))
		if (q.h.nlmsg_type == h->nlmsg_type &&
		    (h->nlmsg_type == RTM_NEWADDR ? same_address(&q.h, h) : same_route(&q.h, h)))
			return true;
	return false;
}

static int note_address(const struct nlmsghdr *h, void *data)
{
	const struct ifaddrmsg *a = NLMSG_DATA(h);
	struct leftovers *left = data;
	const struct card *card;
	struct netlink_request q;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*a)))
		return -EPROTO;
	card = card_of(left->cards, (int)a->ifa_index);
	if (!card || a->ifa_scope == RT_SCOPE_LINK || is_wanted(left, h))
		return 0;
	/* The kernel learns some itself, and forgets them in time. */
	if (!card->other && !(netlink_address_flags(h) & IFA_F_PERMANENT))
		return 0;
	netlink_init(&q, RTM_DELADDR, NLM_F_ACK, a, sizeof(*a));
	if (!copy_attributes(&q, attributes_of(h, sizeof(*a)), address_key))
		return -EMSGSIZE;
	netlink_append(&q, &left->removals);
	return 0;
}

/* Those of the kernel go with their address, or their time. */
static int note_route(const struct nlmsghdr *h, void *data)
{
	const struct rtmsg *route = NLMSG_DATA(h);
	struct leftovers *left = data;
	struct attributes attributes;
	const struct rtattr *out;
	struct netlink_request q;
	struct rtmsg copy;
	int index;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*route)))
		return -EPROTO;
	if (route->rtm_table != RT_TABLE_MAIN || route->rtm_type != RTN_UNICAST ||
	    route->rtm_protocol == RTPROT_KERNEL || route->rtm_protocol == RTPROT_RA ||
	    (route->rtm_flags & RTM_F_CLONED))
		return 0;
	attributes = attributes_of(h, sizeof(*route));
	out = find_attribute(attributes, RTA_OIF);
	if (!out || RTA_PAYLOAD(out) != sizeof(index))
		return 0;
	memcpy(&index, RTA_DATA(out), sizeof(index));
	if (!card_of(left->cards, index) || is_wanted(left, h))
		return 0;
	copy = *route;
	copy.rtm_flags = 0; /* they are the link's */
	netlink_init(&q, RTM_DELROUTE, NLM_F_ACK, &copy, sizeof(copy));
	if (!copy_attributes(&q, attributes, route_key))
		return -EMSGSIZE;
	netlink_append(&q, &left->removals);
	return 0;
}

static int note_neighbour(const struct nlmsghdr *h, void *data)
{
	const struct ndmsg *n = NLMSG_DATA(h);
	struct ndmsg copy = { 0 };
	struct leftovers *left = data;
	struct netlink_request q;

	if (h->nlmsg_type != RTM_NEWNEIGH || h->nlmsg_len < NLMSG_LENGTH(sizeof(*n)))
		return -EPROTO;
	if (!card_of(left->cards, n->ndm_ifindex) || (n->ndm_state & (NUD_PERMANENT | NUD_NOARP)))
		return 0;
	copy.ndm_family = n->ndm_family;
	copy.ndm_ifindex = n->ndm_ifindex;
	netlink_init(&q, RTM_DELNEIGH, NLM_F_ACK, &copy, sizeof(copy));
	if (!copy_attributes(&q, attributes_of(h, sizeof(*n)), neighbour_key))
		return -EMSGSIZE;
	netlink_append(&q, &left->removals);
	return 0;
}

static int dump(int sock, uint16_t type, const void *header, size_t len, netlink_answer_fn *fn,
		struct leftovers *left)
{
	struct netlink_request q;

	netlink_init(&q, type, NLM_F_DUMP, header, len);
	return netlink_transact(sock, &q, fn, left);
}

static int remove_leftovers(int sock, const struct cards *cards, const struct strbuf *wanted)
{
	const struct rtmsg routes[] = { { .rtm_family = AF_INET }, { .rtm_family = AF_INET6 } };
	const struct ifaddrmsg addresses = { .ifa_family = AF_UNSPEC };
	const struct ndmsg neighbours = { .ndm_family = AF_UNSPEC };
	struct leftovers left = { .cards = cards, .wanted = wanted };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(routes); i++)
		r = dump(sock, RTM_GETROUTE, &routes[i], sizeof(routes[i]), note_route, &left);
	if (r == 0)
		r = dump(sock, RTM_GETADDR, &addresses, sizeof(addresses), note_address, &left);
	if (r == 0)
		r = dump(sock, RTM_GETNEIGH, &neighbours, sizeof(neighbours), note_neighbour,
			 &left);
	if (r == 0 && strbuf_failed(&left.removals))
		r = -ENOMEM;
	if (r == 0)
		r = repeat_messages(sock, &left.removals, true);
	strbuf_free(&left.removals);
	return r;
}

/* ---- the cards ----------------------------------------------------------------------------------------- */

/* Which card it is says the address that it was made with, whatever it has now. */
static int find_card(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct card found = { .index = 0 };
	struct attributes in;
	const struct rtattr *made_with;
	struct cards *cards = data;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return -EPROTO;
	in = attributes_of(h, sizeof(*info));
	made_with = find_attribute(in, IFLA_PERM_ADDRESS);
	if (info->ifi_type != ARPHRD_ETHER || !made_with || RTA_PAYLOAD(made_with) != 6)
		return 0;
	found.index = info->ifi_index;
	found.up = (info->ifi_flags & IFF_UP) != 0;
	for (const struct rtattr *a = in.first; RTA_OK(a, in.len); a = RTA_NEXT(a, in.len)) {
		size_t size = RTA_PAYLOAD(a);

		if (a->rta_type == IFLA_IFNAME && size < sizeof(found.is.name))
			memcpy(found.is.name, RTA_DATA(a), size);
		else if (a->rta_type == IFLA_ADDRESS && size == sizeof(found.is.mac))
			memcpy(found.is.mac, RTA_DATA(a), size);
		else if (a->rta_type == IFLA_MTU && size == sizeof(found.is.mtu))
			memcpy(&found.is.mtu, RTA_DATA(a), size);
	}
	for (unsigned i = 0; i < VM_NET_INTERFACES; i++) {
		uint8_t mac[6];

		vm_net_card_address(i, mac);
		if (!memcmp(RTA_DATA(made_with), mac, sizeof(mac)))
			cards->card[i] = found;
	}
	return 0;
}

static bool same_name(const struct vm_net_interface *a, const struct vm_net_interface *b)
{
	return strncmp(a->name, b->name, sizeof(a->name)) == 0;
}

/* Whether the card, the i-th, must let go of what it is now. */
static bool becomes_other(const struct cards *cards, uint32_t i)
{
	const struct card *card = &cards->card[i];

	if (i < cards->count)
		return !same_name(&card->is, &cards->wanted[i]) ||
		       memcmp(card->is.mac, cards->wanted[i].mac, sizeof(card->is.mac)) != 0;
	for (uint32_t j = 0; j < cards->count; j++)
		if (same_name(&card->is, &cards->wanted[j]))
			return true;
	return card->up;
}

static int find_cards(int sock, struct cards *cards)
{
	struct ifinfomsg all = { .ifi_family = AF_UNSPEC };
	struct netlink_request q;
	int r;

	netlink_init(&q, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all));
	r = netlink_transact(sock, &q, find_card, cards);
	for (uint32_t i = 0; r == 0 && i < VM_NET_INTERFACES; i++) {
		if (!cards->card[i].index && i < cards->count)
			return -ENODEV;
		cards->card[i].other = cards->card[i].index && becomes_other(cards, i);
	}
	return r;
}

/* Down, for a card that is up may not be renamed; the kernel's IPv6 addresses go with that. */
static int take_down(int sock, const struct card *card, uint32_t i)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC,
				  .ifi_index = card->index,
				  .ifi_change = IFF_UP };
	struct netlink_request q;
	char name[IFNAMSIZ];
	int r;

	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	r = netlink_transact(sock, &q, NULL, NULL);
	if (r < 0)
		return r;
	info.ifi_change = 0;
	snprintf(name, sizeof(name), SPARE_NAME, i);
	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	netlink_add(&q, IFLA_IFNAME, name, strlen(name) + 1);
	return netlink_transact(sock, &q, NULL, NULL);
}

static int set_up_card(int sock, const struct card *card, const struct vm_net_interface *wanted)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = card->index };
	struct netlink_request q;
	int r;

	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	if (card->other) {
		netlink_add(&q, IFLA_IFNAME, wanted->name, strnlen(wanted->name, IFNAMSIZ - 1) + 1);
		netlink_add(&q, IFLA_ADDRESS, wanted->mac, sizeof(wanted->mac));
	}
	if (card->other || card->is.mtu != wanted->mtu)
		netlink_add(&q, IFLA_MTU, &wanted->mtu, sizeof(wanted->mtu));
	r = netlink_transact(sock, &q, NULL, NULL);
	return r < 0 || (card->up && !card->other) ? r : netlink_set_up(sock, card->index);
}

static int change_cards(int sock, struct cards *cards, const char *messages, size_t len)
{
	_cleanup_strbuf_ struct strbuf wanted = { 0 };
	int r = find_cards(sock, cards);

	if (r == 0)
		r = translate_messages(cards, messages, len, &wanted);
	for (uint32_t i = 0; r == 0 && i < VM_NET_INTERFACES; i++)
		if (cards->card[i].other)
			r = take_down(sock, &cards->card[i], i);
	if (r == 0)
		r = remove_leftovers(sock, cards, &wanted);
	for (uint32_t i = 0; r == 0 && i < cards->count; i++)
		r = set_up_card(sock, &cards->card[i], &cards->wanted[i]);
	return r < 0 ? r : repeat_messages(sock, &wanted, false);
}

int vm_net_apply(const char *description, size_t len, struct error *err)
{
	struct vm_net_interface wanted[VM_NET_INTERFACES];
	struct cards cards = { .wanted = wanted };
	_cleanup_close_ int sock = -EBADF;
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
	r = change_cards(sock, &cards, description, len);
	return r < 0 ? error_errno(err, -r, "set up the microVM's network") : 0;
}
