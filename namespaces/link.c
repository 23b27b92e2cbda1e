/* SPDX-License-Identifier: Apache-2.0 */
/* Moving network devices; see link.h. A device is followed by its index: a name in a container is the container's affair. */
#include "namespaces/link.h"

#include <net/if.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "base/strbuf.h"
#include "namespaces/netlink.h"

#define ADDRESSES   1024      /* of one device */
#define RECORD_MAX  (1 << 16) /* bytes of LINK_RECORD */
#define PATTERN_MAX 1024      /* numbers that are tried for a "%d" */

/* What of an address' flags is set by whoever makes it; the others the kernel finds out itself. */
#define ADDRESS_FLAGS                                                                   \
	(IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | \
	 IFA_F_MCAUTOJOIN)

/* The two ends of a move. */
struct route {
	int from, to; /* netlink sockets */
	int to_ns;    /* descriptor of the namespace that `to` is in */
};

/* ---- devices -------------------------------------------------------------------------------------- */

static int set_namespace(int sock, int index, int netns, const char *name)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	uint32_t fd = (uint32_t)netns;
	struct netlink_request q;

	netlink_init(&q, RTM_SETLINK, NLM_F_ACK, &info, sizeof(info));
	netlink_add(&q, IFLA_NET_NS_FD, &fd, sizeof(fd));
	netlink_add(&q, IFLA_IFNAME, name, strlen(name) + 1);
	return netlink_transact(sock, &q, NULL, NULL);
}

/* ---- addresses ------------------------------------------------------------------------------------ */

struct addresses {
	int index; /* of the device that they are taken from */
	struct netlink_request *items;
	size_t len;
};

/* Makes of an address that the kernel tells one that it can be told. */
static int read_address(const struct nlmsghdr *h, void *data)
{
	const struct ifaddrmsg *a = NLMSG_DATA(h);
	struct addresses *list = data;
	struct netlink_request *q;
	uint32_t flags;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*a)))
		return -EPROTO;
	flags = netlink_address_flags(h);
	if ((int)a->ifa_index != list->index || a->ifa_scope != RT_SCOPE_UNIVERSE ||
	    !(flags & IFA_F_PERMANENT))
		return 0;
	if (list->len == ADDRESSES)
		return -E2BIG;
	q = realloc(list->items, (list->len + 1) * sizeof(*q));
	if (!q)
		return -ENOMEM;
	list->items = q;
	q = &list->items[list->len];
	if (!netlink_repeat_address(q, h, NLM_F_CREATE | NLM_F_EXCL, flags & ADDRESS_FLAGS))
		return -EMSGSIZE;
	list->len++;
	return 0;
}

static int read_addresses(int sock, struct addresses *list)
{
	struct ifaddrmsg a = { .ifa_family = AF_UNSPEC };
	struct netlink_request q;

	netlink_init(&q, RTM_GETADDR, NLM_F_DUMP, &a, sizeof(a));
	return netlink_transact(sock, &q, read_address, list);
}

static int add_addresses(int sock, struct addresses *list, int index)
{
	for (size_t i = 0; i < list->len; i++) {
		struct ifaddrmsg *a = (struct ifaddrmsg *)list->items[i].body;
		int r;

		a->ifa_index = (unsigned)index;
		r = netlink_transact(sock, &list->items[i], NULL, NULL);
		if (r < 0 && r != -EEXIST)
			return r;
	}
	return 0;
}

/* ---- one device ----------------------------------------------------------------------------------- */

/* A free name for a pattern; the kernel would find the same, but would not tell it. */
static int choose_name(int sock, const char *wanted, char *name, struct error *err)
{
	const char *d = strstr(wanted, "%d");
	struct netlink_link link;
	int r = 0;

	for (unsigned i = 0; i < PATTERN_MAX; i++) {
		int n = d ? snprintf(name, IFNAMSIZ, "%.*s%u%s", (int)(d - wanted), wanted, i,
				     d + 2)
			  : snprintf(name, IFNAMSIZ, "%s", wanted);

		if (n >= IFNAMSIZ)
			return error_set(err, ENAMETOOLONG, "no name of the form `%s` is left",
					 wanted);
		r = netlink_find(sock, name, 0, &link);
		if (r == -ENODEV)
			return 0;
		if (r < 0)
			return error_errno(err, -r, "look for `%s` in the container", name);
		if (!d)
			return error_set(
				err, EEXIST,
				"the container's network namespace has a device `%s` already",
				name);
	}
	return error_set(err, EEXIST, "no name of the form `%s` is left", wanted);
}

static int move_failed(int code, const char *name, struct error *err)
{
	if (code == EINVAL)
		return error_set(
			err, EINVAL,
			"`%s` cannot be moved: the kernel ties it to its network namespace", name);
	return error_errno(err, code, "move `%s` to the container's network namespace", name);
}

/* Moves the device to name on the other side of the route, with addresses and up as asked. *moved: there. */
static int move(const struct route *route, const struct netlink_link *link, const char *name,
		struct addresses *addresses, bool up, struct netlink_link *moved)
{
	int r = set_namespace(route->from, link->index, route->to_ns, name);

	if (r == 0)
		r = netlink_find(route->to, name, 0, moved);
	if (r == 0 && addresses)
		r = add_addresses(route->to, addresses, moved->index);
	if (r == 0 && up)
		r = netlink_set_up(route->to, moved->index);
	return r;
}

/* One entry of netDevices. On success adds a line to the record. */
static int move_device(const struct route *route, const struct oci_net_device *d,
		       struct strbuf *record, struct error *err)
{
	struct addresses addresses = { 0 };
	struct netlink_link link, moved = { 0 };
	char name[IFNAMSIZ];
	int r = netlink_find(route->from, d->key, 0, &link);

	if (r < 0)
		return error_errno(err, -r, "find the network device `%s`", d->key);
	r = choose_name(route->to, d->name ? d->name : d->key, name, err);
	if (r < 0)
		return r;
	addresses.index = link.index;
	r = read_addresses(route->from, &addresses);
	if (r < 0)
		error_errno(err, -r, "read the addresses of `%s`", d->key);
	if (r == 0) {
		r = move(route, &link, name, &addresses, true, &moved);
		if (r < 0)
			move_failed(-r, d->key, err);
		/* Moved, also where what came after that failed: then it is among those to be returned. */
		if (moved.index)
			strbuf_addf(record, "%d %d %s\n", moved.index, link.up, d->key);
	}
	free(addresses.items);
	return r < 0                   ? r
	       : strbuf_failed(record) ? error_errno(err, ENOMEM, "move `%s`", d->key)
				       : 0;
}

/* ---- all of them ----------------------------------------------------------------------------------- */

/* Takes one line "INDEX UP NAME" of the record apart. */
static bool parse_line(char *line, int *index, bool *up, const char **name)
{
	char *a = strchr(line, ' '), *b = a ? strchr(a + 1, ' ') : NULL;
	uint64_t number;

	if (!b || b != a + 2 || !parse_u64_n(line, (unsigned long)(a - line), INT32_MAX, &number))
		return false;
	*index = (int)number;
	*up = a[1] == '1';
	*name = b + 1;
	return link_valid_name(*name, false);
}

static void return_device(const struct route *route, char *line, bool restore)
{
	struct addresses addresses = { 0 };
	struct netlink_link link, moved;
	const char *name;
	bool up;
	int index, r;

	if (!parse_line(line, &index, &up, &name)) {
		log_warning("the list of network devices is damaged: `%.40s`", line);
		return;
	}
	r = netlink_find(route->from, NULL, index, &link);
	if (r == -ENODEV)
		return; /* the container removed it, or moved it on */
	addresses.index = index;
	if (r == 0 && restore)
		r = read_addresses(route->from, &addresses);
	if (r == 0)
		r = move(route, &link, name, restore ? &addresses : NULL, restore && up, &moved);
	if (r < 0)
		log_warning("network device `%s`: cannot be moved back: %s", name, strerror(-r));
	free(addresses.items);
}

static int return_listed(int netns, char *record, bool restore, struct error *err)
{
	_cleanup_close_ int own = netlink_own_namespace(err), from = -EBADF, to = -EBADF;
	struct route route;
	char *save = NULL;

	if (own < 0)
		return own;
	from = netlink_open_in(netns, own, err);
	if (from < 0)
		return from;
	to = netlink_open(err);
	if (to < 0)
		return to;
	route = (struct route){ .from = from, .to = to, .to_ns = own };
	for (char *line = strtok_r(record, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		return_device(&route, line, restore);
	return 0;
}

int link_return_devices(int netns, int state_dir, bool restore, struct error *err)
{
	_cleanup_free_ char *record = NULL;
	ssize_t len = file_read(state_dir, LINK_RECORD, RECORD_MAX, &record, err);
	int r;

	if (len == -ENOENT) {
		error_clear(err);
		return 0;
	}
	r = len < 0 ? (int)len : return_listed(netns, record, restore, err);
	if (r == 0 && unlinkat(state_dir, LINK_RECORD, 0) < 0)
		r = error_errno(err, errno, "remove the list of network devices");
	return r;
}

int link_move_devices(const struct oci_net_devices *devices, int netns, int state_dir,
		      struct error *err)
{
	_cleanup_close_ int own = netlink_own_namespace(err), from = -EBADF, to = -EBADF;
	_cleanup_strbuf_ struct strbuf record = { 0 };
	struct route route;
	int r = own < 0 ? own : 0;

	if (r == 0)
		r = to = netlink_open_in(netns, own, err);
	if (r >= 0)
		r = from = netlink_open(err);
	if (r < 0)
		return r;
	route = (struct route){ .from = from, .to = to, .to_ns = netns };
	r = 0;
	for (size_t i = 0; r == 0 && i < devices->len; i++) {
		r = move_device(&route, &devices->items[i], &record, err);
		if (r < 0)
			error_wrap(err, "/linux/netDevices/%s", devices->items[i].key);
	}
	if (r == 0)
		r = file_replace(state_dir, LINK_RECORD, record.data, record.len, 0600, err);
	if (r < 0 && record.len && !strbuf_failed(&record))
		return_listed(netns, record.data, true, NULL);
	return r;
}

/* ---- what is asked for ------------------------------------------------------------------------------ */

bool link_valid_name(const char *name, bool pattern)
{
	const char *percent = strchr(name, '%');
	size_t len = strlen(name);

	if (!len || len >= IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	if (percent && (!pattern || percent[1] != 'd' || strchr(percent + 1, '%')))
		return false;
	/* The kernel's isspace() and its ctrl characters; the rest of the bytes it does not care about. */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f || name[i] == '/' ||
		    name[i] == ':')
			return false;
	return true;
}

static const char *target_name(const struct oci_net_device *d)
{
	return d->name ? d->name : d->key;
}

int link_check_devices(const struct oci_config *config, struct error *err)
{
	const struct oci_net_devices *all = &config->linux_->net_devices;

	if (!all->len)
		return 0;
	if (!oci_namespace_find(config, OCI_NS_NETWORK))
		return error_set(
			err, EINVAL,
			"/linux/netDevices: needs a network namespace in /linux/namespaces");
	if (geteuid() != 0)
		return error_set(err, EPERM,
				 "/linux/netDevices: only root can move network devices");
	for (size_t i = 0; i < all->len; i++) {
		const struct oci_net_device *d = &all->items[i];

		if (!link_valid_name(d->key, false) || !strcmp(d->key, "lo"))
			return error_set(
				err, EINVAL,
				"/linux/netDevices: `%.64s` cannot be moved: not a name of a device, or loopback",
				d->key);
		if (!link_valid_name(target_name(d), d->name != NULL))
			return error_set(
				err, EINVAL,
				"/linux/netDevices/%s/name: `%.64s` is not a name for a network device",
				d->key, d->name);
		for (size_t k = 0; k < i; k++)
			if (!strchr(target_name(d), '%') &&
			    !strcmp(target_name(d), target_name(&all->items[k])))
				return error_set(
					err, EINVAL,
					"/linux/netDevices/%s/name: `%s` is another device's name, too",
					d->key, target_name(d));
	}
	return 0;
}
