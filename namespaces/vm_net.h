/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a microVM. Somebody (CNI plugins, an engine, hooks) has put interfaces into a network namespace for a container.
 * Each Ethernet one gets a tap beside it, and the two are wired together by redirection (tc-mirred(8)), so that what arrives
 * at the interface arrives at the tap, and so at the virtual machine's card, and back. The guest gives its card the interface's
 * name, hardware address and MTU, and itself the addresses and routes: nobody outside sees that there is a machine in between.
 *
 * That is done when the workload starts, for some give a container its network only after its creation. The machine has its
 * cards from the beginning, without a tap.
 *
 * Sources: Documentation/networking/tuntap.rst, rtnetlink(7), tc-matchall(8), tc-mirred(8).
 */
#ifndef HULL_NAMESPACES_VM_NET_H
#define HULL_NAMESPACES_VM_NET_H

#include <linux/if.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

#define VM_NET_INTERFACES 8            /* that are carried over; more are an error */
#define VM_NET_BYTES      (256u << 10) /* of a description */

struct vm_net_interface {
	char name[IFNAMSIZ];
	uint8_t mac[6];
	uint16_t reserved;
	uint32_t mtu;
	int32_t index; /* on the host: in the messages it stands for this interface */
};

/* A whole network: the taps for the machine, and what the guest is told of them. */
struct vm_net {
	struct vm_net_interface interfaces[VM_NET_INTERFACES];
	int taps[VM_NET_INTERFACES]; /* descriptors, with IFF_VNET_HDR and IFF_NO_PI */
	uint32_t count;
	struct strbuf
		messages; /* RTM_NEWADDR and RTM_NEWROUTE requests, one after the other, each aligned */
};

/*
 * Wires up all Ethernet interfaces of netns (a descriptor; -EBADF: of the caller's own). The caller must be single-threaded: it enters
 * netns for a moment.
 * What it makes goes with the namespace, or with the taps. Undone by vm_net_free().
 */
int vm_net_connect(int netns, struct vm_net *net, struct error *err);
void vm_net_free(struct vm_net *net);

/* How many interfaces of netns (as above) would be wired up now, or a negative errno. */
int vm_net_count(int netns, struct error *err);

/* The hardware address by which the guest knows its i-th card until it has the interface's. */
void vm_net_card_address(unsigned i, uint8_t mac[6]);

/* The description for the guest: count, interfaces, messages. */
int vm_net_print(const struct vm_net *net, struct strbuf *out, struct error *err);

/*
 * In the guest: gives its cards their names, sizes, addresses and routes, in the place of what they had. Only what differs is touched, so
 * that where all is as before connections live on; learnt neighbours are forgotten, for the cable may lead somewhere else.
 */
int vm_net_apply(const char *description, size_t len, struct error *err);

#endif
