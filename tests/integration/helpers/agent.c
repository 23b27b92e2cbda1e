/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host that tells hull-guest in a running microVM that its machine was restored.
 *
 *   agent SOCKET ID HOSTNAME SECONDS [NAME MAC MTU ADDRESS/PREFIX GATEWAY]...
 *
 * SOCKET is vm/vsock.sock of the container's state directory; ID, HOSTNAME ("": as it was) and SECONDS (since 1970) are what it is
 * told; the rest is the whole network, a card each: none given means none is told. Prints hull-guest's error, and ends with 1, where
 * it says one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "namespaces/vm_net.h"
#include "sandbox/agent.h"

#define FIRST_INDEX 40 /* of the cards, on the host that we are */

static char network[16384];
static size_t network_len;

static void die(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void put(const void *data, size_t len)
{
	if (network_len + len > sizeof(network))
		die("too long");
	memcpy(network + network_len, data, len);
	network_len += len;
}

/* ---- the network's description ------------------------------------------------------------------------- */

static void put_card(char **words, int index)
{
	struct vm_net_interface card = { .index = index,
					 .mtu = (uint32_t)strtoul(words[2], NULL, 10) };
	char *mac = words[1];

	snprintf(card.name, sizeof(card.name), "%s", words[0]);
	for (int i = 0; i < 6; i++) {
		card.mac[i] = (uint8_t)strtoul(mac, &mac, 16);
		if (*mac != (i < 5 ? ':' : '\0'))
			die(words[1]);
		mac++;
	}
	put(&card, sizeof(card));
}

static void put_attribute(uint16_t type, const void *value)
{
	const struct rtattr attr = { .rta_len = RTA_LENGTH(4), .rta_type = type };

	put(&attr, sizeof(attr));
	put(value, 4);
}

static void put_header(uint16_t type, const void *family, size_t len, unsigned attributes)
{
	const struct nlmsghdr h = {
		.nlmsg_len = (uint32_t)(NLMSG_SPACE(len) + attributes * RTA_SPACE(4)),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
	};

	put(&h, sizeof(h));
	put(family, len);
}

static void put_address(char *word, int index)
{
	char *slash = strchr(word, '/');
	struct ifaddrmsg a = { .ifa_family = AF_INET, .ifa_index = (unsigned)index };
	struct in_addr address;

	if (!slash)
		die(word);
	*slash = '\0';
	a.ifa_prefixlen = (uint8_t)strtoul(slash + 1, NULL, 10);
	if (inet_pton(AF_INET, word, &address) != 1)
		die(word);
	put_header(RTM_NEWADDR, &a, sizeof(a), 2);
	put_attribute(IFA_LOCAL, &address);
	put_attribute(IFA_ADDRESS, &address);
}

static void put_default_route(const char *word, int index)
{
	const struct rtmsg route = { .rtm_family = AF_INET,
				     .rtm_table = RT_TABLE_MAIN,
				     .rtm_protocol = RTPROT_BOOT,
				     .rtm_scope = RT_SCOPE_UNIVERSE,
				     .rtm_type = RTN_UNICAST };
	struct in_addr gateway;

	if (inet_pton(AF_INET, word, &gateway) != 1)
		die(word);
	put_header(RTM_NEWROUTE, &route, sizeof(route), 2);
	put_attribute(RTA_GATEWAY, &gateway);
	put_attribute(RTA_OIF, &index);
}

static void describe(char **words, int count)
{
	const uint32_t cards = (uint32_t)count / 5;

	if (!cards)
		return;
	put(&cards, sizeof(cards));
	for (int i = 0; i < (int)cards; i++)
		put_card(words + i * 5, FIRST_INDEX + i);
	for (int i = 0; i < (int)cards; i++)
		put_address(words[i * 5 + 3], FIRST_INDEX + i);
	for (int i = 0; i < (int)cards; i++)
		if (*words[i * 5 + 4])
			put_default_route(words[i * 5 + 4], FIRST_INDEX + i);
}

/* ---- talking ------------------------------------------------------------------------------------------- */

static void send_all(int sock, const void *data, size_t len)
{
	while (len) {
		ssize_t n = send(sock, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		data = (const char *)data + n;
		len -= (size_t)n;
	}
}

static void receive_all(int sock, void *data, size_t len)
{
	if (recv(sock, data, len, MSG_WAITALL) != (ssize_t)len)
		die("receive");
}

static int connect_guest(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char line[64], c = 0;
	int len = snprintf(line, sizeof(line), "CONNECT %d\n", AGENT_PORT);

	if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >=
	    sizeof(addr.sun_path))
		die("path too long");
	if (sock < 0 || connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(path);
	send_all(sock, line, (size_t)len);
	while (c != '\n')
		receive_all(sock, &c, 1);
	return sock;
}

static int take_answer(int sock)
{
	uint32_t frame[2]; /* type, length */
	char text[4096];

	receive_all(sock, frame, sizeof(frame));
	if (frame[0] == AGENT_OK)
		return 0;
	if (frame[0] != AGENT_ERROR || frame[1] < 4 || frame[1] > sizeof(text))
		die("an answer that is none");
	receive_all(sock, text, frame[1]);
	fprintf(stderr, "%.*s\n", (int)frame[1] - 4, text + 4); /* behind the code */
	return 1;
}

int main(int argc, char **argv)
{
	struct agent_restored who = { 0 };
	uint32_t frame[2] = { AGENT_RESTORED };
	int sock;

	if (argc < 5 || (argc - 5) % 5) {
		fprintf(stderr, "usage: agent SOCKET ID HOSTNAME SECONDS [NAME MAC MTU "
				"ADDRESS/PREFIX GATEWAY]...\n");
		return 2;
	}
	describe(argv + 5, argc - 5);
	who.time_ns = strtoull(argv[4], NULL, 10) * 1000000000;
	who.network_len = (uint32_t)network_len;
	snprintf(who.id, sizeof(who.id), "%s", argv[2]);
	snprintf(who.hostname, sizeof(who.hostname), "%s", argv[3]);
	if (getrandom(who.seed, sizeof(who.seed), 0) != sizeof(who.seed))
		die("getrandom");
	frame[1] = (uint32_t)(sizeof(who) + network_len);
	sock = connect_guest(argv[1]);
	send_all(sock, frame, sizeof(frame));
	send_all(sock, &who, sizeof(who));
	send_all(sock, network, network_len);
	return take_answer(sock);
}
