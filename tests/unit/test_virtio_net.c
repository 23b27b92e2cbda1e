/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net, with a socket in the tap's place: each message is a header and a frame. */
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER     12u
#define PACKET_MAX (HEADER + 65550u)
#define MERGE      BIT64(VIRTIO_NET_F_MRG_RXBUF)
#define MESSAGES   (1 << 20) /* bytes that the socket holds */

enum { RECEIVE, TRANSMIT };

struct fixture {
	struct driver driver;
	int peer;
};

static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };

static int begin(void **state, uint64_t features)
{
	struct virtio_net_options options = { .mtu = 1400 };
	struct fixture *f = calloc(1, sizeof(*f));
	const int size = MESSAGES;
	struct error err = { 0 };
	int pair[2];

	assert_non_null(f);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	f->peer = pair[0];
	options.tap = pair[1];
	memcpy(options.mac, mac, sizeof(mac));
	driver_open(&f->driver, DRIVER_MEMORY_SIZE);
	driver_start(&f->driver, virtio_net_new(&options, &f->driver.memory, &f->driver.loop, &err),
		     features | BIT64(VIRTIO_RING_F_INDIRECT_DESC));
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return begin(state, 0);
}

static int setup_merging(void **state)
{
	return begin(state, MERGE);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_close(&f->driver);
	close_fd(&f->peer);
	free(f);
	return 0;
}

/* A packet of len bytes, its header included, that can be told from others by seed. */
static void make_packet(uint8_t *packet, uint32_t len, uint8_t seed)
{
	memset(packet, 0, HEADER);
	for (uint32_t i = HEADER; i < len; i++)
		packet[i] = (uint8_t)(seed + i * 7 + i / 251);
}

static void peer_sends(struct fixture *f, uint32_t len, uint8_t seed)
{
	uint8_t packet[PACKET_MAX + 100];

	make_packet(packet, len, seed);
	assert_int_equal(send(f->peer, packet, len, 0), len);
}

/* What the guest received of a packet begins at data. */
static void assert_packet(const uint8_t *data, uint32_t len, uint8_t seed, uint16_t num_buffers)
{
	uint8_t packet[PACKET_MAX];

	make_packet(packet, len, seed);
	memcpy(packet + 10, &num_buffers, sizeof(num_buffers));
	assert_memory_equal(data, packet, len);
}

/* Offers a buffer to receive into. */
static uint16_t offer(struct fixture *f, uint32_t len, uint64_t *gpa)
{
	struct driver_buffer buffer = { driver_alloc(&f->driver, len, 1), len, true };

	*gpa = buffer.gpa;
	return driver_send(&f->driver, RECEIVE, &buffer, 1);
}

static uint8_t *at(struct fixture *f, uint64_t gpa, uint64_t len)
{
	return driver_at(&f->driver, gpa, len);
}

static unsigned used(struct fixture *f, unsigned queue)
{
	return f->driver.queues[queue].used->idx;
}

static void assert_idle(struct fixture *f)
{
	driver_run(&f->driver);
	assert_int_equal(loop_step(&f->driver.loop, 0, NULL), 0);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void the_device_describes_itself(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct virtio_net_config config;

	assert_int_equal(driver_get(d, VIRTIO_MMIO_DEVICE_ID), 1);
	for (unsigned i = 0; i < sizeof(config); i++)
		virtio_mmio_read(d->dev, 0x100 + i, (char *)&config + i, 1);
	assert_memory_equal(config.mac, mac, sizeof(mac));
	assert_int_equal(config.status, VIRTIO_NET_S_LINK_UP);
	assert_int_equal(config.mtu, 1400);
	assert_true(d->dev->offered & BIT64(VIRTIO_NET_F_MAC));
	assert_true(d->dev->offered & BIT64(VIRTIO_NET_F_MTU));
	assert_true(d->dev->offered & BIT64(VIRTIO_NET_F_STATUS));
	/* A socket segments nothing. */
	assert_false(d->dev->offered & BIT64(VIRTIO_NET_F_CSUM));
	assert_false(d->dev->offered & BIT64(VIRTIO_NET_F_GUEST_TSO4));
	assert_false(d->dev->offered & BIT64(VIRTIO_NET_F_HOST_TSO4));
}

static void only_taps_and_sockets_are_networks(void **state)
{
	struct fixture *f = *state;
	struct virtio_net_options options = { .tap = open("/dev/null", O_RDWR | O_CLOEXEC) };
	struct error err = { 0 };

	assert_null(virtio_net_new(&options, &f->driver.memory, &f->driver.loop, &err));
	assert_int_not_equal(err.code, 0);
}

/* A card without a cable is one; what is sent is dropped, and no more than a tap can be plugged in. */
static void a_card_without_a_tap(void **state)
{
	struct fixture *f = *state;
	struct virtio_net_options options = { .tap = -1 };
	struct driver other;
	struct driver_buffer packet = { .len = HEADER + 60 };
	struct error err = { 0 };

	(void)f;
	driver_open(&other, DRIVER_MEMORY_SIZE);
	driver_start(&other, virtio_net_new(&options, &other.memory, &other.loop, &err), 0);
	packet.gpa = driver_alloc(&other, packet.len, 8);
	assert_int_equal(driver_finish(&other, 1, driver_send(&other, 1, &packet, 1)), 0);
	assert_true(virtio_net_attach(other.dev, open("/dev/null", O_RDWR | O_CLOEXEC), &err) < 0);
	assert_false(driver_broken(&other));
	driver_close(&other);
}

/* ---- to the guest ---------------------------------------------------------------------------- */

static void packets_come_in(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t first, second;
	uint16_t heads[2], head;
	uint32_t written;

	heads[0] = offer(f, 2000, &first);
	heads[1] = offer(f, 2000, &second);
	driver_run(d);
	assert_false(driver_interrupted(d));
	peer_sends(f, 100, 1);
	peer_sends(f, 1500, 2);
	driver_run(d);
	assert_true(driver_interrupted(d));
	assert_true(driver_take_used(d, RECEIVE, &head, &written));
	assert_int_equal(head, heads[0]);
	assert_int_equal(written, 100);
	assert_packet(at(f, first, 100), 100, 1, 1);
	assert_true(driver_take_used(d, RECEIVE, &head, &written));
	assert_int_equal(head, heads[1]);
	assert_int_equal(written, 1500);
	assert_packet(at(f, second, 1500), 1500, 2, 1);
}

static void packets_wait_for_buffers(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa;
	uint16_t head;

	peer_sends(f, 100, 3);
	peer_sends(f, 200, 4);
	assert_idle(f);
	head = offer(f, 2000, &gpa);
	assert_int_equal(driver_finish(&f->driver, RECEIVE, head), 100);
	assert_packet(at(f, gpa, 100), 100, 3, 1);
	assert_idle(f);
	head = offer(f, 2000, &gpa);
	assert_int_equal(driver_finish(&f->driver, RECEIVE, head), 200);
	assert_packet(at(f, gpa, 200), 200, 4, 1);
}

/* The header is in pieces, and the frame. */
static void buffers_are_cut_anywhere(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa = driver_alloc(d, 300, 1);
	struct driver_buffer buffers[] = {
		{ gpa, 5, true },
		{ gpa + 5, 6, true },
		{ gpa + 11, 10, true },
		{ gpa + 21, 279, true },
	};
	uint16_t head = driver_send(d, RECEIVE, buffers, 4);

	peer_sends(f, 300, 5);
	assert_int_equal(driver_finish(d, RECEIVE, head), 300);
	assert_packet(at(f, gpa, 300), 300, 5, 1);
}

static void packets_that_do_not_fit_are_dropped(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa;
	uint16_t head = offer(f, 200, &gpa);

	peer_sends(f, 201, 6); /* no merging: it has this buffer only */
	peer_sends(f, 5000, 6);
	peer_sends(f, HEADER, 6);      /* no frame */
	peer_sends(f, HEADER + 13, 6); /* no Ethernet header */
	peer_sends(f, PACKET_MAX + 1, 6);
	driver_run(d);
	assert_int_equal(used(f, RECEIVE), 0);
	peer_sends(f, 200, 7);
	assert_int_equal(driver_finish(d, RECEIVE, head), 200);
	assert_packet(at(f, gpa, 200), 200, 7, 1);
}

/* More packets than are taken at once; and the queue's index wraps. */
static void many_packets_come_in(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa;

	for (unsigned i = 0; i < 300; i++) {
		for (unsigned j = 0; j < DRIVER_QUEUE_SIZE; j++)
			offer(f, 64, &gpa);
		for (unsigned j = 0; j < DRIVER_QUEUE_SIZE; j++)
			peer_sends(f, 64, (uint8_t)i);
		driver_run(d);
		assert_int_equal(used(f, RECEIVE), (i + 1) * DRIVER_QUEUE_SIZE);
		assert_packet(at(f, gpa, 64), 64, (uint8_t)i, 1);
	}
}

/* ---- merged buffers -------------------------------------------------------------------------- */

/* Offers count buffers of len bytes, one after the other in memory. */
static uint64_t offer_many(struct fixture *f, unsigned count, uint32_t len)
{
	uint64_t start = driver_alloc(&f->driver, (uint64_t)count * len, 1);

	for (unsigned i = 0; i < count; i++) {
		struct driver_buffer buffer = { start + (uint64_t)i * len, len, true };

		driver_send(&f->driver, RECEIVE, &buffer, 1);
	}
	return start;
}

static void assert_merged(struct fixture *f, uint32_t len, uint32_t buffer)
{
	uint16_t head;
	uint32_t written;

	for (uint32_t left = len; left; left -= written) {
		assert_true(driver_take_used(&f->driver, RECEIVE, &head, &written));
		assert_int_equal(written, left < buffer ? left : buffer);
	}
}

static void packets_fill_several_buffers(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = offer_many(f, 8, 1000);

	peer_sends(f, 100, 8);
	peer_sends(f, 3500, 9);
	peer_sends(f, 3000, 10);
	driver_run(&f->driver);
	assert_merged(f, 100, 1000);
	assert_packet(at(f, gpa, 100), 100, 8, 1);
	assert_merged(f, 3500, 1000);
	assert_packet(at(f, gpa + 1000, 3500), 3500, 9, 4);
	assert_merged(f, 3000, 1000);
	assert_packet(at(f, gpa + 5000, 3000), 3000, 10, 3);
	assert_int_equal(used(f, RECEIVE), 8);
}

static void the_longest_packet_fits_into_pages(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = offer_many(f, 16, 4100);

	peer_sends(f, PACKET_MAX + 1, 1);
	peer_sends(f, PACKET_MAX, 11);
	driver_run(&f->driver);
	assert_merged(f, PACKET_MAX, 4100);
	assert_packet(at(f, gpa, PACKET_MAX), PACKET_MAX, 11, 16);
}

/* It is longer than what there is when it is read. */
static void packets_wait_for_enough_buffers(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t gpa = driver_alloc(d, 6000, 1);
	struct driver_buffer buffer = { gpa, 1000, true };

	driver_send(d, RECEIVE, &buffer, 1);
	peer_sends(f, 2500, 12);
	peer_sends(f, 60, 13);
	assert_idle(f);
	assert_int_equal(used(f, RECEIVE), 0);
	/* Another is not enough. */
	buffer.gpa += 1000;
	driver_send(d, RECEIVE, &buffer, 1);
	assert_idle(f);
	assert_int_equal(used(f, RECEIVE), 0);
	buffer.gpa += 1000;
	driver_send(d, RECEIVE, &buffer, 1);
	assert_idle(f);
	assert_merged(f, 2500, 1000);
	assert_packet(at(f, gpa, 2500), 2500, 12, 3);
	assert_int_equal(used(f, RECEIVE), 3);
	/* The next one comes as ever. */
	buffer.gpa += 1000;
	driver_finish(d, RECEIVE, driver_send(d, RECEIVE, &buffer, 1));
	assert_packet(at(f, buffer.gpa, 60), 60, 13, 1);
}

/* The driver has no more buffers than these: to wait would be for ever. */
static void packets_are_dropped_that_can_never_fit(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = offer_many(f, DRIVER_QUEUE_SIZE, 100);

	peer_sends(f, 1601, 14);
	peer_sends(f, 1600, 15);
	driver_run(&f->driver);
	assert_merged(f, 1600, 100);
	assert_packet(at(f, gpa, 1600), 1600, 15, 16);
}

static void reset_forgets_the_packet_that_waits(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa;

	offer_many(f, 1, 100);
	peer_sends(f, 500, 16);
	driver_run(&f->driver);
	driver_restart(&f->driver, MERGE);
	gpa = offer_many(f, 1, 1000);
	assert_idle(f);
	assert_int_equal(used(f, RECEIVE), 0);
	peer_sends(f, 60, 17);
	driver_run(&f->driver);
	assert_merged(f, 60, 1000);
	assert_packet(at(f, gpa, 60), 60, 17, 1);
}

/* Buffers of very many descriptors. */
static void buffers_of_many_pieces_are_filled(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer pieces[VIRTQ_IOV_MAX];
	uint64_t gpa = driver_alloc(d, 6ull * VIRTQ_IOV_MAX, 1);

	for (unsigned i = 0; i < 6; i++) {
		for (unsigned j = 0; j < VIRTQ_IOV_MAX; j++)
			pieces[j] = (struct driver_buffer){ gpa + i * VIRTQ_IOV_MAX + j, 1, true };
		driver_offer(d, RECEIVE,
			     driver_describe_indirect(d, RECEIVE, pieces, VIRTQ_IOV_MAX));
	}
	driver_notify(d, RECEIVE);
	peer_sends(f, 1200, 18); /* needs more pieces than are held: dropped, not waited for */
	peer_sends(f, 500, 19);
	driver_run(d);
	assert_merged(f, 500, VIRTQ_IOV_MAX);
	assert_packet(at(f, gpa, 500), 500, 19, 2);
}

/* ---- from the guest -------------------------------------------------------------------------- */

static uint16_t guest_sends(struct fixture *f, const uint8_t *packet, uint32_t len)
{
	struct driver_buffer buffer = { driver_copy(&f->driver, packet, len), len, false };

	return driver_send(&f->driver, TRANSMIT, &buffer, 1);
}

static void packets_go_out(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint8_t packet[1000], received[1001];
	uint64_t gpa;

	make_packet(packet, sizeof(packet), 20);
	gpa = driver_copy(d, packet, sizeof(packet));
	{
		/* Cut within the header, and within the frame. */
		struct driver_buffer buffers[] = { { gpa, 7, false },
						   { gpa + 7, 20, false },
						   { gpa + 27, 973, false } };

		assert_int_equal(driver_finish(d, TRANSMIT, driver_send(d, TRANSMIT, buffers, 3)),
				 0);
	}
	assert_true(driver_interrupted(d));
	assert_int_equal(recv(f->peer, received, sizeof(received), 0), 1000);
	assert_memory_equal(received, packet, 1000);
	assert_int_equal(driver_finish(d, TRANSMIT, guest_sends(f, packet, HEADER + 14)), 0);
	assert_int_equal(recv(f->peer, received, sizeof(received), 0), HEADER + 14);
}

static void odd_packets_are_dropped(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	static uint8_t packet[PACKET_MAX + 1];
	uint8_t byte;

	make_packet(packet, sizeof(packet), 21);
	driver_finish(d, TRANSMIT, guest_sends(f, packet, 1));
	driver_finish(d, TRANSMIT, guest_sends(f, packet, HEADER));
	driver_finish(d, TRANSMIT, guest_sends(f, packet, HEADER + 13));
	driver_finish(d, TRANSMIT, guest_sends(f, packet, PACKET_MAX + 1));
	assert_int_equal(recv(f->peer, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_false(driver_broken(d));
}

/* What was not agreed on does not reach the host's kernel. */
static void headers_ask_for_what_was_agreed_on(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	const struct {
		uint8_t flags, gso;
	} wrong[] = {
		{ VIRTIO_NET_HDR_F_NEEDS_CSUM, 0 },
		{ 0, VIRTIO_NET_HDR_GSO_TCPV4 },
		{ 0, VIRTIO_NET_HDR_GSO_TCPV6 },
		{ 0, VIRTIO_NET_HDR_GSO_UDP },
		{ 0, VIRTIO_NET_HDR_GSO_ECN },
		{ 0, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN },
		{ 0, 2 },
		{ 0, 0x7f },
	};
	uint8_t packet[100], received[101];

	make_packet(packet, sizeof(packet), 22);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		packet[0] = wrong[i].flags;
		packet[1] = wrong[i].gso;
		driver_finish(d, TRANSMIT, guest_sends(f, packet, sizeof(packet)));
		assert_int_equal(recv(f->peer, received, sizeof(received), 0), -1);
	}
	/* Flags that are the device's to set are taken off. */
	packet[0] = VIRTIO_NET_HDR_F_DATA_VALID | VIRTIO_NET_HDR_F_RSC_INFO;
	packet[1] = 0;
	packet[10] = packet[11] = 0xff;
	driver_finish(d, TRANSMIT, guest_sends(f, packet, sizeof(packet)));
	assert_int_equal(recv(f->peer, received, sizeof(received), 0), sizeof(packet));
	assert_int_equal(received[0] | received[10] | received[11], 0);
}

static void output_waits_for_the_tap(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	static uint8_t packet[60000], received[60001];
	unsigned sent = 0, got = 0;

	/* Until the socket is full. */
	make_packet(packet, sizeof(packet), 23);
	do {
		guest_sends(f, packet, sizeof(packet));
		driver_run(d);
		sent++;
		assert_true(sent < DRIVER_QUEUE_SIZE);
	} while (used(f, TRANSMIT) == sent);
	assert_idle(f);
	/* It still receives. */
	{
		uint64_t gpa;
		uint16_t head = offer(f, 100, &gpa);

		peer_sends(f, 100, 24);
		assert_int_equal(driver_finish(d, RECEIVE, head), 100);
	}
	guest_sends(f, packet, 100);
	sent++;
	while (got < sent) {
		ssize_t n = recv(f->peer, received, sizeof(received), 0);

		assert_true(n > 0);
		got++;
		assert_int_equal(n, got == sent ? 100 : sizeof(packet));
		assert_memory_equal(received, packet, (size_t)n);
		driver_run(d);
	}
	assert_int_equal(used(f, TRANSMIT), sent);
}

static void the_end_of_the_tap_is_the_end(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint8_t packet[100];
	uint64_t gpa;

	make_packet(packet, sizeof(packet), 25);
	offer(f, 100, &gpa);
	close_fd(&f->peer);
	assert_idle(f);
	assert_int_equal(driver_finish(d, TRANSMIT, guest_sends(f, packet, sizeof(packet))), 0);
	offer(f, 100, &gpa);
	assert_idle(f);
	assert_int_equal(used(f, RECEIVE), 0);
	assert_false(driver_broken(d));
}

static void requests_of_the_wrong_direction_break_it(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer writable = { 0x10000, 100, true }, readable = { 0x10000, 100, false };
	struct driver_buffer both[] = { readable, writable };

	driver_send(d, TRANSMIT, &writable, 1);
	driver_assert_broken(d, TRANSMIT);
	driver_send(d, TRANSMIT, both, 2);
	driver_assert_broken(d, TRANSMIT);
	driver_send(d, RECEIVE, &readable, 1);
	peer_sends(f, 100, 26);
	driver_assert_broken(d, RECEIVE);
	driver_send(d, RECEIVE, both, 2);
	driver_assert_broken(d, RECEIVE);
	/* A good one does not help one that is broken; and the loop does not spin on the packet. */
	driver_send(d, RECEIVE, &writable, 1);
	driver_send(d, TRANSMIT, &writable, 1);
	driver_run(d);
	assert_true(driver_broken(d));
	assert_idle(f);
}

/* A buffer that is wrong behind one that is good: nothing is received any more. */
static void a_broken_device_receives_nothing(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	struct driver_buffer good = { 0x10000, 100, true }, bad = { 0x10000, 100, false };

	driver_offer(d, RECEIVE, driver_describe(d, RECEIVE, &good, 1));
	driver_send(d, RECEIVE, &bad, 1);
	peer_sends(f, 60, 27);
	driver_assert_broken(d, RECEIVE);
}

#define test(function)       cmocka_unit_test_setup_teardown(function, setup, teardown)
#define test_merge(function) cmocka_unit_test_setup_teardown(function, setup_merging, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_device_describes_itself),
		test(only_taps_and_sockets_are_networks),
		test(a_card_without_a_tap),
		test(packets_come_in),
		test(packets_wait_for_buffers),
		test(buffers_are_cut_anywhere),
		test(packets_that_do_not_fit_are_dropped),
		test(many_packets_come_in),
		test_merge(packets_fill_several_buffers),
		test_merge(the_longest_packet_fits_into_pages),
		test_merge(packets_wait_for_enough_buffers),
		test_merge(packets_are_dropped_that_can_never_fit),
		test_merge(reset_forgets_the_packet_that_waits),
		test_merge(buffers_of_many_pieces_are_filled),
		test(packets_go_out),
		test(odd_packets_are_dropped),
		test(headers_ask_for_what_was_agreed_on),
		test(output_waits_for_the_tap),
		test(the_end_of_the_tap_is_the_end),
		test(requests_of_the_wrong_direction_break_it),
		test_merge(a_broken_device_receives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
