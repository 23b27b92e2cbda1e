/* SPDX-License-Identifier: Apache-2.0 */
/* Wiring a network namespace's interfaces to a virtual machine, on the host; see vm_net.h. */
#include "namespaces/vm_net.h"

#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#include "namespaces/netlink.h"

#define TAP_NAME "hulltap%u"

/* What of an address' flags is set by whoever makes it. */
#define ADDRESS_FLAGS (IFA_F_HOMEADDRESS | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN)

void vm_net_free(struct vm_net *net)
{
	for (uint32_t i = 0; i < net->count; i++)
		close_fd(&net->taps[i]);
	strbuf_free(&net->messages);
	net->count = 0;
}

/* ---- what is there ------------------------------------------------------------------------------------- */

static int read_interface(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct vm_net *net = data;
	struct vm_net_interface found = { 0 };
	int len;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return -EPROTO;
	/* Tunnels that the kernel puts into each namespace are no cards, and what is down carries nothing. */
	if (info->ifi_type != ARPHRD_ETHER || !(info->ifi_flags & IFF_UP))
		return 0;
	found.index = info->ifi_index;
	len = (int)IFLA_PAYLOAD(h);
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		size_t size = RTA_PAYLOAD(a);

		if (a->rta_type == IFLA_IFNAME && size <= sizeof(found.name))
			memcpy(found.name, RTA_DATA(a), size);
		else if (a->rta_type == IFLA_ADDRESS && size == sizeof(found.mac))
			memcpy(found.mac, RTA_DATA(a), size);
		else if (a->rta_type == IFLA_MTU && size == sizeof(found.mtu))
			memcpy(&found.mtu, RTA_DATA(a), size);
	}
	found.name[sizeof(found.name) - 1] = '\0';
	if (net->count == VM_NET_INTERFACES)
		return -E2BIG;
	net->taps[net->count] = -EBADF;
	net->interfaces[net->count++] = found;
	return 0;
}

static int read_interfaces(int sock, struct vm_net *net, struct error *err)
{
	struct ifinfomsg links = { .ifi_family = AF_UNSPEC };
	struct netlink_request q;
	int r;

	netlink_init(&q, RTM_GETLINK, NLM_F_DUMP, &links, sizeof(links));
	r = netlink_transact(sock, &q, read_interface, net);
	if (r == -E2BIG)
		return error_set(err, E2BIG, "more than %d network interfaces", VM_NET_INTERFACES);
	return r < 0 ? error_errno(err, -r, "read the network interfaces") : 0;
}

static bool is_carried(const struct vm_net *net, int index)
{
	for (uint32_t i = 0; i < net->count; i++)
		if (net->interfaces[i].index == index)
			return true;
	return false;
}

/* Makes of an address that the kernel tells one that another kernel can be told. */
static int read_address(const struct nlmsghdr *h, void *data)
{
	const struct ifaddrmsg *a = NLMSG_DATA(h);
	struct vm_net *net = data;
	struct netlink_request q;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*a)))
		return -EPROTO;
	if (!is_carried(net, (int)a->ifa_index) || a->ifa_scope == RT_SCOPE_LINK)
		return 0; /* link-local ones a kernel makes itself */
	/* Nobody else has it: whoever gave it to the interface saw to that, and it was looked for there. */
	if (!netlink_repeat_address(&q, h, NLM_F_CREATE | NLM_F_REPLACE,
				    (netlink_address_flags(h) & ADDRESS_FLAGS) | IFA_F_NODAD))
		return -EMSGSIZE;
	netlink_append(&q, &net->messages);
	return 0;
}

struct route_pass {
	struct vm_net *net;
	bool with_gateway; /* after those without, by which gateways are reached */
};

static bool is_wanted_route(const struct rtmsg *r)
{
	return r->rtm_table == RT_TABLE_MAIN && r->rtm_type == RTN_UNICAST &&
	       r->rtm_protocol != RTPROT_KERNEL && !(r->rtm_flags & RTM_F_CLONED);
}

static int read_route(const struct nlmsghdr *h, void *data)
{
	const struct rtmsg *route = NLMSG_DATA(h);
	const struct route_pass *pass = data;
	bool gateway = false, carried = false;
	struct netlink_request q;
	struct rtmsg copy;
	int len, out;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*route)))
		return -EPROTO;
	if (!is_wanted_route(route))
		return 0;
	copy = *route;
	copy.rtm_flags &= RTNH_F_ONLINK;
	netlink_init(&q, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &copy,
		     sizeof(copy));
	len = (int)RTM_PAYLOAD(h);
	for (const struct rtattr *t = RTM_RTA(route); RTA_OK(t, len); t = RTA_NEXT(t, len)) {
		if (t->rta_type == RTA_TABLE || t->rta_type == RTA_CACHEINFO)
			continue;
		if (t->rta_type == RTA_OIF && RTA_PAYLOAD(t) == sizeof(out)) {
			memcpy(&out, RTA_DATA(t), sizeof(out));
			carried = is_carried(pass->net, out);
		}
		gateway = gateway || t->rta_type == RTA_GATEWAY || t->rta_type == RTA_VIA;
		if (!netlink_add(&q, t->rta_type, RTA_DATA(t), RTA_PAYLOAD(t)))
			return -EMSGSIZE;
	}
	if (carried && gateway == pass->with_gateway)
		netlink_append(&q, &pass->net->messages);
	return 0;
}

static int read_routes(int sock, struct vm_net *net, uint8_t family, bool with_gateway)
{
	struct rtmsg all = { .rtm_family = family };
	struct route_pass pass = { .net = net, .with_gateway = with_gateway };
	struct netlink_request q;

	netlink_init(&q, RTM_GETROUTE, NLM_F_DUMP, &all, sizeof(all));
	return netlink_transact(sock, &q, read_route, &pass);
}

static int read_all(int sock, struct vm_net *net, struct error *err)
{
	struct ifaddrmsg addresses = { .ifa_family = AF_UNSPEC };
	struct netlink_request q;
	int r = read_interfaces(sock, net, err);

	if (r < 0 || !net->count)
		return r;
	netlink_init(&q, RTM_GETADDR, NLM_F_DUMP, &addresses, sizeof(addresses));
	r = netlink_transact(sock, &q, read_address, net);
	for (int pass = 0; r == 0 && pass < 2; pass++) {
		r = read_routes(sock, net, AF_INET, pass);
		if (r == 0)
			r = read_routes(sock, net, AF_INET6, pass);
	}
	if (r == 0 && (strbuf_failed(&net->messages) || net->messages.len > VM_NET_BYTES))
		r = -E2BIG;
	return r < 0 ? error_errno(err, -r, "read addresses and routes") : 0;
}

/* ---- wiring -------------------------------------------------------------------------------------------- */

static int make_tap(uint8_t number, char *name, struct error *err)
{
	_cleanup_close_ int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (tap < 0)
		return error_errno(err, errno, "open `/dev/net/tun`");
	snprintf(request.ifr_name, sizeof(request.ifr_name), TAP_NAME, number);
	if (ioctl(tap, TUNSETIFF, &request) < 0)
		return error_errno(err, errno, "make the tap device `%s`", request.ifr_name);
	memcpy(name, request.ifr_name, IFNAMSIZ);
	return take_fd(&tap);
}

static int set_mtu(int sock, int index, uint32_t mtu)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct netlink_request q;

	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	netlink_add(&q, IFLA_MTU, &mtu, sizeof(mtu));
	return netlink_transact(sock, &q, NULL, NULL);
}

static int add_ingress(int sock, int index)
{
	struct tcmsg tc = { .tcm_family = AF_UNSPEC,
			    .tcm_ifindex = index,
			    .tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0),
			    .tcm_parent = TC_H_INGRESS };
	struct netlink_request q;

	netlink_init(&q, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &tc, sizeof(tc));
	netlink_add(&q, TCA_KIND, "ingress", sizeof("ingress"));
	return netlink_transact(sock, &q, NULL, NULL);
}

/* Attributes in attributes: begins one, whose length end_nest() sets. */
static size_t begin_nest(struct netlink_request *q, uint16_t type)
{
	size_t at = NLMSG_ALIGN(q->h.nlmsg_len);

	netlink_add(q, type | NLA_F_NESTED, "", 0);
	return at;
}

static void end_nest(struct netlink_request *q, size_t at)
{
	uint16_t len = (uint16_t)(q->h.nlmsg_len - at);

	memcpy((char *)q + at + offsetof(struct rtattr, rta_len), &len, sizeof(len));
}

/* All that comes in at one goes out at the other. */
static int redirect(int sock, int from, int to)
{
	struct tcmsg tc = { .tcm_family = AF_UNSPEC,
			    .tcm_ifindex = from,
			    .tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0),
			    .tcm_info = TC_H_MAKE(1u << 16, __builtin_bswap16(ETH_P_ALL)) };
	struct tc_mirred mirred = { .action = TC_ACT_STOLEN,
				    .eaction = TCA_EGRESS_REDIR,
				    .ifindex = (uint32_t)to };
	struct netlink_request q;
	size_t options, actions, action, parameters;

	netlink_init(&q, RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &tc, sizeof(tc));
	netlink_add(&q, TCA_KIND, "matchall", sizeof("matchall"));
	options = begin_nest(&q, TCA_OPTIONS);
	actions = begin_nest(&q, TCA_MATCHALL_ACT);
	action = begin_nest(&q, 1);
	netlink_add(&q, TCA_ACT_KIND, "mirred", sizeof("mirred"));
	parameters = begin_nest(&q, TCA_ACT_OPTIONS);
	netlink_add(&q, TCA_MIRRED_PARMS, &mirred, sizeof(mirred));
	end_nest(&q, parameters);
	end_nest(&q, action);
	end_nest(&q, actions);
	end_nest(&q, options);
	return netlink_transact(sock, &q, NULL, NULL);
}

static int wire(int sock, const struct vm_net_interface *interface, const char *tap_name,
		struct error *err)
{
	struct netlink_link tap;
	int r = netlink_find(sock, tap_name, 0, &tap);

	if (r == 0)
		r = set_mtu(sock, tap.index, interface->mtu);
	if (r == 0)
		r = netlink_set_up(sock, tap.index);
	if (r < 0)
		return error_errno(err, -r, "set up the tap device for `%s`", interface->name);
	r = add_ingress(sock, interface->index);
	if (r == 0)
		r = add_ingress(sock, tap.index);
	if (r == 0)
		r = redirect(sock, interface->index, tap.index);
	if (r == 0)
		r = redirect(sock, tap.index, interface->index);
	if (r == -ENOENT)
		return error_set(
			err, ENOENT,
			"connect `%s`: this kernel has no matchall classifier or no mirred "
			"action (CONFIG_NET_CLS_MATCHALL, CONFIG_NET_ACT_MIRRED)",
			interface->name);
	return r < 0 ? error_errno(err, -r, "connect `%s` with its tap device", interface->name)
		     : 0;
}

/* In the network namespace. */
static int connect_all(struct vm_net *net, struct error *err)
{
	_cleanup_close_ int sock = netlink_open(err);
	char name[IFNAMSIZ];
	int r;

	if (sock < 0)
		return sock;
	r = read_all(sock, net, err);
	for (uint32_t i = 0; r == 0 && i < net->count; i++) {
		net->taps[i] = make_tap((uint8_t)i, name, err);
		r = net->taps[i] < 0 ? net->taps[i] : wire(sock, &net->interfaces[i], name, err);
	}
	return r;
}

static int connect_in(int netns, struct vm_net *net, struct error *err)
{
	_cleanup_close_ int own = netlink_own_namespace(err);
	int r;

	if (own < 0)
		return own;
	if (setns(netns, CLONE_NEWNET) < 0)
		return error_errno(err, errno, "enter the container's network namespace");
	r = connect_all(net, err);
	if (setns(own, CLONE_NEWNET) < 0)
		r = error_errno(err, errno, "return to our network namespace");
	return r;
}

int vm_net_connect(int netns, struct vm_net *net, struct error *err)
{
	int r;

	*net = (struct vm_net){ .count = 0 };
	r = netns < 0 ? connect_all(net, err) : connect_in(netns, net, err);
	return r < 0 ? error_wrap(err, "the microVM's network") : 0;
}

int vm_net_count(int netns, struct error *err)
{
	_cleanup_close_ int own = netlink_own_namespace(err), sock = -EBADF;
	struct vm_net net = { .count = 0 };
	int r;

	if (own < 0)
		return own;
	sock = netns < 0 ? netlink_open(err) : netlink_open_in(netns, own, err);
	if (sock < 0)
		return sock;
	r = read_interfaces(sock, &net, err);
	return r < 0 ? r : (int)net.count;
}

void vm_net_card_address(unsigned i, uint8_t mac[6])
{
	const uint8_t address[6] = { 0x02, 'h', 'u', 'l', 'l', (uint8_t)i };

	memcpy(mac, address, sizeof(address));
}

int vm_net_print(const struct vm_net *net, struct strbuf *out, struct error *err)
{
	strbuf_add(out, &net->count, sizeof(net->count));
	strbuf_add(out, net->interfaces, net->count * sizeof(net->interfaces[0]));
	strbuf_add(out, net->messages.data, net->messages.len);
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "describe the microVM's network") : 0;
}
