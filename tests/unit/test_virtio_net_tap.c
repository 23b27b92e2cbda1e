/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net on a tap device, in a network namespace of the test's own; skipped where there may be none. What the guest sends is seen by
 * a packet socket on the tap, and what that sends is received by the guest.
 */
#include "tests/unit/virtio_driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER   12u
#define PROTOCOL 0x88b5 /* for experiments (IEEE 802) */
#define HEADERS  (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr))
#define PAYLOAD  30000u
#define SEGMENT  1000u

#define OFFLOADS                                                    \
	(BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_HOST_TSO4) | \
	 BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4))

enum { RECEIVE, TRANSMIT };

struct fixture {
	struct driver driver;
	int tap,
		packets; /* the latter a socket for whole frames, with a header for what is left undone in them */
	int index;
};

/* A frame with TCP in it; what lies between the headers and the data is left out. */
struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t data[PAYLOAD];
} __attribute__((packed));

struct packet {
	struct virtio_net_hdr_v1 header;
	struct frame frame;
} __attribute__((packed));

static bool open_tap(struct fixture *f, short flags)
{
	struct ifreq ifr = { .ifr_name = "hulltest" };

	ifr.ifr_flags = flags;
	f->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	return f->tap >= 0 && ioctl(f->tap, TUNSETIFF, &ifr) == 0;
}

static bool open_packets(struct fixture *f)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	struct ifreq ifr = { .ifr_name = "hulltest" };
	const int on = 1;

	f->packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (f->packets < 0 || ioctl(f->packets, SIOCGIFINDEX, &ifr) < 0)
		return false;
	f->index = address.sll_ifindex = ifr.ifr_ifindex;
	address.sll_protocol = htons(ETH_P_ALL);
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	return ioctl(f->packets, SIOCSIFFLAGS, &ifr) == 0 &&
	       setsockopt(f->packets, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == 0 &&
	       bind(f->packets, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_open(&f->driver, DRIVER_MEMORY_SIZE);
	f->tap = f->packets = -EBADF;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_close(&f->driver);
	close_fd(&f->tap);
	close_fd(&f->packets);
	free(f);
	return 0;
}

/* late: the tap is plugged in when the driver runs already. */
static void begin_with(struct fixture *f, uint64_t features, bool late)
{
	struct virtio_net_options options = { .tap = -1, .mac = { 2, 0, 0, 0, 0, 1 } };
	struct error err = { 0 };

	/* Each test has a namespace of its own; the last one's goes with its devices. */
	if (unshare(CLONE_NEWNET) < 0 || !open_tap(f, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) ||
	    !open_packets(f))
		skip();
	if (!late)
		options.tap = take_fd(&f->tap);
	driver_start(&f->driver, virtio_net_new(&options, &f->driver.memory, &f->driver.loop, &err),
		     features | BIT64(VIRTIO_NET_F_MRG_RXBUF));
	if (late)
		assert_int_equal(virtio_net_attach(f->driver.dev, take_fd(&f->tap), &err), 0);
}

static void begin(struct fixture *f, uint64_t features)
{
	begin_with(f, features, false);
}

/* The Internet checksum without the complement at the end; len is even. */
static uint16_t add_up(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 2) {
		uint16_t word;

		memcpy(&word, bytes + i, sizeof(word));
		sum += word;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint32_t pseudo_header(const struct iphdr *ip, size_t tcp_len)
{
	return add_up(&ip->saddr, 8, htons(IPPROTO_TCP) + htons((uint16_t)tcp_len));
}

/* A TCP packet of which the segmentation and the checksum are left to the other side. */
static void make_large(struct packet *packet)
{
	const size_t tcp_len = sizeof(struct tcphdr) + PAYLOAD;
	struct frame *frame = &packet->frame;
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons((uint16_t)(sizeof(struct iphdr) + tcp_len)),
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = htonl(0x0a000001),
		.daddr = htonl(0x0a000002),
	};

	memset(packet, 0, sizeof(*packet));
	packet->header = (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = HEADERS,
		.gso_size = SEGMENT,
		.csum_start = sizeof(struct ethhdr) + sizeof(struct iphdr),
		.csum_offset = offsetof(struct tcphdr, check),
	};
	frame->ethernet.h_dest[0] = frame->ethernet.h_source[0] = 2;
	frame->ethernet.h_proto = htons(ETH_P_IP);
	ip.check = (uint16_t)~add_up(&ip, sizeof(ip), 0);
	frame->tcp.doff = 5;
	frame->tcp.ack = 1;
	frame->tcp.check = (uint16_t)pseudo_header(&ip, tcp_len);
	frame->ip = ip;
	for (unsigned i = 0; i < PAYLOAD; i++)
		frame->data[i] = (uint8_t)(i * 7 + i / 251);
}

/* The host sends: with the shorter header of packet sockets. */
static void host_sends(struct fixture *f, const struct packet *packet, size_t len)
{
	struct iovec iov[] = {
		{ (void *)(uintptr_t)&packet->header, sizeof(struct virtio_net_hdr) },
		{ (void *)(uintptr_t)&packet->frame, len },
	};

	assert_int_equal(writev(f->packets, iov, 2), sizeof(struct virtio_net_hdr) + len);
}

/* The next frame that is of the protocol; the kernel sends its own on an interface, too. */
static ssize_t host_receives(struct fixture *f, uint16_t protocol, struct packet *packet)
{
	ssize_t n;

	do {
		struct iovec iov[] = { { &packet->header, sizeof(struct virtio_net_hdr) },
				       { &packet->frame, sizeof(packet->frame) } };

		n = readv(f->packets, iov, 2);
	} while (n >= 0 && packet->frame.ethernet.h_proto != htons(protocol));
	return n < 0 ? n : n - (ssize_t)sizeof(struct virtio_net_hdr);
}

/* Offers pages to receive into. */
static uint64_t offer_pages(struct fixture *f)
{
	uint64_t start = driver_alloc(&f->driver, UINT64_C(4096) * DRIVER_QUEUE_SIZE, 4096);

	for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++) {
		struct driver_buffer buffer = { start + i * UINT64_C(4096), 4096, true };

		driver_send(&f->driver, RECEIVE, &buffer, 1);
	}
	return start;
}

/* The guest's next packet of the protocol: copied to packet; its length, or 0. */
static uint32_t guest_receives(struct fixture *f, uint16_t protocol, uint64_t start,
			       struct packet *packet)
{
	struct driver *d = &f->driver;
	uint32_t len, written;
	uint16_t head;

	driver_run(d);
	do {
		char *at = (char *)packet;
		uint16_t count = 1;

		len = 0;
		for (uint16_t i = 0; i < count; i++) {
			if (!driver_take_used(d, RECEIVE, &head, &written))
				return 0;
			memcpy(at + len, driver_at(d, start + head * UINT64_C(4096), written),
			       written);
			len += written;
			count = packet->header.num_buffers;
		}
	} while (packet->frame.ethernet.h_proto != htons(protocol));
	return len;
}

static void make_small(struct packet *packet)
{
	memset(packet, 0, sizeof(*packet));
	packet->frame.ethernet.h_dest[0] = packet->frame.ethernet.h_source[0] = 2;
	packet->frame.ethernet.h_proto = htons(PROTOCOL);
	memcpy(packet->frame.data, "contents", 8);
}

static void frames_are_carried(struct fixture *f)
{
	static struct packet sent, got;
	uint64_t start;
	struct driver_buffer buffer;

	start = offer_pages(f);
	make_small(&sent);
	host_sends(f, &sent, 500);
	assert_int_equal(guest_receives(f, PROTOCOL, start, &got), HEADER + 500);
	assert_memory_equal(&got.frame, &sent.frame, 500);
	assert_int_equal(got.header.num_buffers, 1);
	assert_int_equal(got.header.gso_type, VIRTIO_NET_HDR_GSO_NONE);

	buffer = (struct driver_buffer){ driver_copy(&f->driver, &sent, HEADER + 300), HEADER + 300,
					 false };
	driver_finish(&f->driver, TRANSMIT, driver_send(&f->driver, TRANSMIT, &buffer, 1));
	assert_int_equal(host_receives(f, PROTOCOL, &got), 300);
	assert_memory_equal(&got.frame, &sent.frame, 300);
}

static void frames_come_and_go(void **state)
{
	struct fixture *f = *state;

	begin(f, 0);
	frames_are_carried(f);
}

static void a_tap_may_be_plugged_in_later(void **state)
{
	struct fixture *f = *state;

	begin_with(f, OFFLOADS, true);
	frames_are_carried(f);
}

static void large_packets_come_whole_where_that_was_agreed_on(void **state)
{
	struct fixture *f = *state;
	static struct packet sent, got;
	uint64_t start;

	begin(f, OFFLOADS);
	start = offer_pages(f);
	make_large(&sent);
	host_sends(f, &sent, sizeof(sent.frame));
	assert_int_equal(guest_receives(f, ETH_P_IP, start, &got), sizeof(sent));
	assert_int_equal(got.header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(got.header.gso_size, SEGMENT);
	assert_int_equal(got.header.num_buffers, (sizeof(sent) + 4095) / 4096);
	assert_true(got.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_memory_equal(&got.frame, &sent.frame, sizeof(sent.frame));
}

/* The same packet to a driver that can take no such: the host cuts it, and completes the checksums. */
static void large_packets_come_in_pieces_otherwise(void **state)
{
	struct fixture *f = *state;
	static struct packet sent, got;
	uint64_t start;
	uint32_t data = 0, len;

	begin(f, 0);
	start = offer_pages(f);
	make_large(&sent);
	host_sends(f, &sent, sizeof(sent.frame));
	for (;;) {
		const struct frame *frame = &got.frame;
		size_t tcp_len;

		len = guest_receives(f, ETH_P_IP, start, &got);
		if (!len)
			break;
		assert_true(len <= HEADER + HEADERS + SEGMENT);
		assert_int_equal(got.header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_false(got.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
		tcp_len = len - HEADER - sizeof(struct ethhdr) - sizeof(struct iphdr);
		assert_memory_equal(frame->data, sent.frame.data + data, len - HEADER - HEADERS);
		assert_int_equal(
			add_up((const char *)frame + sizeof(struct ethhdr) + sizeof(struct iphdr),
			       tcp_len,
			       pseudo_header(&(struct iphdr){ .saddr = sent.frame.ip.saddr,
							      .daddr = sent.frame.ip.daddr },
					     tcp_len)),
			0xffff);
		data += len - HEADER - (uint32_t)HEADERS;
	}
	/* As many as there were buffers for. */
	assert_true(data >= (DRIVER_QUEUE_SIZE - 4) * SEGMENT);
}

static void large_packets_go_out_where_that_was_agreed_on(void **state)
{
	struct fixture *f = *state;
	static struct packet sent, got;
	struct driver *d = &f->driver;
	struct driver_buffer buffer;

	begin(f, OFFLOADS);
	make_large(&sent);
	buffer = (struct driver_buffer){ driver_copy(d, &sent, sizeof(sent)), sizeof(sent), false };
	driver_finish(d, TRANSMIT, driver_send(d, TRANSMIT, &buffer, 1));
	assert_int_equal(host_receives(f, ETH_P_IP, &got), sizeof(sent.frame));
	assert_int_equal(got.header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_memory_equal(&got.frame, &sent.frame, sizeof(sent.frame));
	/* A driver that did not agree to it cannot. */
	driver_restart(d, BIT64(VIRTIO_NET_F_MRG_RXBUF));
	driver_finish(d, TRANSMIT, driver_send(d, TRANSMIT, &buffer, 1));
	assert_int_equal(host_receives(f, ETH_P_IP, &got), -1);
}

static void devices_of_another_kind_are_refused(void **state)
{
	struct fixture *f = *state;
	const short wrong[] = { IFF_TAP | IFF_NO_PI, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct virtio_net_options options = { 0 };
		struct error err = { 0 };

		if (unshare(CLONE_NEWNET) < 0 || !open_tap(f, wrong[i]))
			skip();
		options.tap = take_fd(&f->tap);
		assert_null(virtio_net_new(&options, &f->driver.memory, &f->driver.loop, &err));
		assert_int_equal(err.code, EINVAL);
	}
}

/* The interface is deleted on the host. */
static void a_tap_may_go_away(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	static struct packet packet;
	struct ifreq ifr = { .ifr_name = "hulltest" };
	struct driver_buffer buffer;

	begin(f, 0);
	offer_pages(f);
	driver_run(d);
	ifr.ifr_flags = 0;
	assert_int_equal(ioctl(f->packets, SIOCSIFFLAGS, &ifr), 0);
	make_small(&packet);
	buffer = (struct driver_buffer){ driver_copy(d, &packet, 100), 100, false };
	driver_finish(d, TRANSMIT, driver_send(d, TRANSMIT, &buffer, 1));
	assert_int_equal(loop_step(&d->loop, 0, NULL), 0);
	assert_false(driver_broken(d));
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(frames_come_and_go),
		test(a_tap_may_be_plugged_in_later),
		test(large_packets_come_whole_where_that_was_agreed_on),
		test(large_packets_come_in_pieces_otherwise),
		test(large_packets_go_out_where_that_was_agreed_on),
		test(devices_of_another_kind_are_refused),
		test(a_tap_may_go_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
