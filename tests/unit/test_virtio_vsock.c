/* SPDX-License-Identifier: Apache-2.0 */
/* vsock: connections in both directions, credit, ends, and what a bad guest says. */
#include "tests/unit/virtio_driver.h"

#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "microvm/snapshot.h"
#include "microvm/virtio_mmio.h"
#include "microvm/virtio_vsock.h"

#define CID     3
#define HOST    2
#define RX      0
#define TX      1
#define RX_SIZE 4096u
#define CREDIT  65536u /* what the driver here says it has room for */
#define HDR     sizeof(struct virtio_vsock_hdr)

struct guest {
	struct driver d;
	char dir[32];
	uint64_t buffers[8]; /* receive buffers */
	int accepted;        /* the VMM's own end, from virtio_vsock_listen() */
};

static int listen_at(const char *dir, const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);
	assert_true(sock >= 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(sock, 8), 0);
	return sock;
}

static int connect_at(const char *dir, const char *line)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" VSOCK_SOCKET_NAME, dir);
	assert_true(sock >= 0);
	assert_int_equal(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(write(sock, line, strlen(line)), strlen(line));
	return sock;
}

static void offer_receive(struct guest *g, unsigned i)
{
	struct driver_buffer b = { g->buffers[i], RX_SIZE, true };

	driver_send(&g->d, RX, &b, 1);
}

static void on_accept(void *data, int fd)
{
	struct guest *g = data;

	g->accepted = fd;
}

static int setup(void **state)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct virtio_device *dev;
	struct error err = { 0 };

	assert_non_null(g);
	g->accepted = -1;
	strcpy(g->dir, "/tmp/vsock.XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	driver_open(&g->d, DRIVER_MEMORY_SIZE);
	dev = virtio_vsock_new(CID, listen_at(g->dir, VSOCK_SOCKET_NAME),
			       open(g->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), &g->d.memory,
			       &g->d.loop, &err);
	assert_non_null(dev);
	assert_int_equal(virtio_vsock_listen(dev, 77, on_accept, g, &err), 0);
	driver_start(&g->d, dev, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(g->buffers); i++) {
		g->buffers[i] = driver_alloc(&g->d, RX_SIZE, 64);
		offer_receive(g, i);
	}
	driver_run(&g->d);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { VSOCK_SOCKET_NAME, VSOCK_SOCKET_NAME "_9" };
	struct guest *g = *state;
	char path[64];

	driver_close(&g->d);
	close_fd(&g->accepted);
	assert_int_equal(chdir("/"), 0); /* the device went there */
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", g->dir, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(g->dir), 0);
	free(g);
	return 0;
}

/* ---- packets ------------------------------------------------------------------------------------------ */

/* Sends a packet as the guest; its transmit buffer must come back. */
static void say(struct guest *g, struct virtio_vsock_hdr h, const void *data)
{
	struct driver_buffer b[2] = { { driver_copy(&g->d, &h, HDR), HDR, false },
				      { 0, h.len, false } };
	uint16_t head;

	if (h.len)
		b[1].gpa = driver_copy(&g->d, data, h.len);
	head = driver_send(&g->d, TX, b, h.len ? 2 : 1);
	assert_int_equal(driver_finish(&g->d, TX, head), 0);
}

static struct virtio_vsock_hdr packet(uint16_t op, uint32_t guest_port, uint32_t host_port,
				      uint32_t len)
{
	return (struct virtio_vsock_hdr){ .src_cid = CID,
					  .dst_cid = HOST,
					  .src_port = guest_port,
					  .dst_port = host_port,
					  .len = len,
					  .type = VIRTIO_VSOCK_TYPE_STREAM,
					  .op = op,
					  .buf_alloc = CREDIT };
}

/* The next packet for the guest, if there is one; its buffer is offered again. */
static bool hear(struct guest *g, struct virtio_vsock_hdr *h, char *data)
{
	uint32_t written;
	uint16_t head;
	unsigned i;

	driver_run(&g->d);
	if (!driver_take_used(&g->d, RX, &head, &written))
		return false;
	for (i = 0; i < ARRAY_SIZE(g->buffers); i++)
		if (g->buffers[i] == g->d.queues[RX].descriptors[head].addr)
			break;
	assert_true(i < ARRAY_SIZE(g->buffers));
	if (i >= ARRAY_SIZE(g->buffers))
		return false;
	assert_true(written >= HDR && written <= RX_SIZE);
	memcpy(h, driver_at(&g->d, g->buffers[i], HDR), HDR);
	assert_int_equal(h->src_cid, HOST);
	assert_int_equal(h->dst_cid, CID);
	assert_int_equal(written, HDR + h->len);
	if (data)
		memcpy(data, (char *)driver_at(&g->d, g->buffers[i], written) + HDR, h->len);
	offer_receive(g, i);
	return true;
}

static struct virtio_vsock_hdr expect(struct guest *g, uint16_t op)
{
	struct virtio_vsock_hdr h = { 0 };

	assert_true(hear(g, &h, NULL));
	assert_int_equal(h.op, op);
	return h;
}

static void expect_silence(struct guest *g)
{
	struct virtio_vsock_hdr h;

	assert_false(hear(g, &h, NULL));
}

/* A connection that the host began; *host_port is its end here. */
static int begin(struct guest *g, uint32_t *host_port)
{
	int sock = connect_at(g->dir, "CONNECT 5\n");
	struct virtio_vsock_hdr h = expect(g, VIRTIO_VSOCK_OP_REQUEST);
	char line[64] = "", wanted[64];

	assert_int_equal(h.dst_port, 5);
	assert_int_equal(h.buf_alloc, VSOCK_BUFFER);
	*host_port = h.src_port;
	say(g, packet(VIRTIO_VSOCK_OP_RESPONSE, 5, h.src_port, 0), NULL);
	assert_true(recv(sock, line, sizeof(line) - 1, MSG_DONTWAIT) > 0);
	snprintf(wanted, sizeof(wanted), "OK %u\n", h.src_port);
	assert_string_equal(line, wanted);
	return sock;
}

/* ---- tests -------------------------------------------------------------------------------------------- */

static void host_connects(void **state)
{
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	char data[RX_SIZE];
	uint32_t port;
	int sock = begin(g, &port);

	assert_int_equal(write(sock, "hello", 5), 5);
	assert_true(hear(g, &h, data));
	assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(h.len, 5);
	assert_memory_equal(data, "hello", 5);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 5, port, 4), "back");
	assert_int_equal(recv(sock, data, sizeof(data), MSG_DONTWAIT), 4);
	assert_memory_equal(data, "back", 4);

	/* The host ends its direction; the guest may still speak. */
	assert_int_equal(shutdown(sock, SHUT_WR), 0);
	h = expect(g, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 5, port, 4), "more");
	assert_int_equal(recv(sock, data, sizeof(data), MSG_DONTWAIT), 4);
	h = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 5, port, 0);
	h.flags = VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV;
	say(g, h, NULL);
	expect(g, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(recv(sock, data, sizeof(data), MSG_DONTWAIT), 0);
	close(sock);
	/* It is forgotten: a word to it is one to nobody. */
	say(g, packet(VIRTIO_VSOCK_OP_RW, 5, port, 1), "x");
	expect(g, VIRTIO_VSOCK_OP_RST);
	expect_silence(g);
}

static void guest_refuses(void **state)
{
	struct guest *g = *state;
	int sock = connect_at(g->dir, "CONNECT 6\n");
	struct virtio_vsock_hdr h = expect(g, VIRTIO_VSOCK_OP_REQUEST);
	char c;

	say(g, packet(VIRTIO_VSOCK_OP_RST, 6, h.src_port, 0), NULL);
	assert_int_equal(recv(sock, &c, 1, MSG_DONTWAIT), 0);
	close(sock);
	expect_silence(g);
}

static void wrong_lines_are_closed(void **state)
{
	static const char *const lines[] = {
		"CONNECT \n",           "CONNECT x\n",
		"CONNECT 5 \n",         "GET /\n",
		"CONNECT 4294967295\n", "CONNECT 000000000000000000000000000000000000005\n"
	};
	struct guest *g = *state;
	char c;

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		int sock = connect_at(g->dir, lines[i]);

		driver_run(&g->d);
		errno = 0;
		assert_true(recv(sock, &c, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
		close(sock);
	}
	expect_silence(g);
}

static void connections_wait_until_they_are_taken(void **state)
{
	struct guest *g = *state;
	int sock;

	virtio_vsock_take_connections(g->d.dev, false);
	sock = connect_at(g->dir, "CONNECT 5\n");
	expect_silence(g);
	virtio_vsock_take_connections(g->d.dev, true);
	expect(g, VIRTIO_VSOCK_OP_REQUEST);
	close(sock);
}

static void guest_connects(void **state)
{
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	char data[RX_SIZE];
	int listener = listen_at(g->dir, VSOCK_SOCKET_NAME "_9"), sock;

	/* Nobody at 8, a Unix socket at 9, the VMM itself at 77. */
	say(g, packet(VIRTIO_VSOCK_OP_REQUEST, 1000, 8, 0), NULL);
	expect(g, VIRTIO_VSOCK_OP_RST);
	say(g, packet(VIRTIO_VSOCK_OP_REQUEST, 1000, 9, 0), NULL);
	h = expect(g, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(h.dst_port, 1000);
	assert_int_equal(h.src_port, 9);
	sock = accept(listener, NULL, NULL);
	assert_true(sock >= 0);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 1000, 9, 3), "abc");
	assert_int_equal(recv(sock, data, sizeof(data), MSG_DONTWAIT), 3);
	close(sock);
	h = expect(g, VIRTIO_VSOCK_OP_SHUTDOWN);
	say(g, packet(VIRTIO_VSOCK_OP_RST, 1000, 9, 0), NULL);
	close(listener);

	say(g, packet(VIRTIO_VSOCK_OP_REQUEST, 1001, 77, 0), NULL);
	expect(g, VIRTIO_VSOCK_OP_RESPONSE);
	assert_true(g->accepted >= 0);
	assert_int_equal(write(g->accepted, "x", 1), 1);
	assert_true(hear(g, &h, data));
	assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
}

static void the_vmm_connects(void **state)
{
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	struct error err = { 0 };
	int pair[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(virtio_vsock_connect(g->d.dev, 12, pair[0], 0, &err), 0);
	h = expect(g, VIRTIO_VSOCK_OP_REQUEST);
	say(g, packet(VIRTIO_VSOCK_OP_RESPONSE, 12, h.src_port, 0), NULL);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 12, h.src_port, 1), "y");
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 1);
	assert_int_equal(c, 'y'); /* and no line in front of it */
	close(pair[1]);
}

/* The guest has room for so much and no more. */
static void credit_of_the_guest(void **state)
{
	struct guest *g = *state;
	static char data[2 * CREDIT];
	struct virtio_vsock_hdr h;
	uint32_t port, got = 0;
	int sock = begin(g, &port), size = 4 * CREDIT;

	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(send(sock, data, sizeof(data), MSG_DONTWAIT), sizeof(data));
	while (hear(g, &h, NULL)) {
		assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
		got += h.len;
	}
	assert_int_equal(got, CREDIT);
	h = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port, 0);
	h.fwd_cnt = CREDIT;
	say(g, h, NULL);
	while (hear(g, &h, NULL))
		got += h.len;
	assert_int_equal(got, 2 * CREDIT);
	/* One that says it took more than it got has no room. */
	h = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port, 0);
	h.fwd_cnt = 3 * CREDIT;
	say(g, h, NULL);
	assert_int_equal(write(sock, "z", 1), 1);
	expect_silence(g);
	close(sock);
}

/* The host's side does not read: what the guest may send is bounded, and it hears when there is room again. */
static void credit_of_the_host(void **state)
{
	static char data[32768];
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	uint32_t port, sent = 0, limit;
	uint64_t heap = 0;
	int sock = begin(g, &port);
	bool heard = false;

	h = packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5, port, 0);
	/* As much as the socket takes, and the buffer: a good guest asks, and keeps to the answer. */
	for (;;) {
		say(g, h, NULL);
		h = expect(g, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		limit = h.fwd_cnt + h.buf_alloc - sent;
		if (limit < sizeof(data))
			break;
		heap = g->d.heap;
		say(g, packet(VIRTIO_VSOCK_OP_RW, 5, port, sizeof(data)), data);
		g->d.heap = heap;
		sent += sizeof(data);
		while (hear(g, &h, NULL))
			assert_int_equal(h.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		h = packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5, port, 0);
	}
	assert_true(sent >= VSOCK_BUFFER);
	/* The host reads all: the guest is told without asking. */
	while (sent) {
		ssize_t n = recv(sock, data, sizeof(data), MSG_DONTWAIT);

		if (n > 0)
			sent -= (uint32_t)n;
		while (hear(g, &h, NULL))
			heard = heard || h.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE;
		assert_true(n > 0 || sent);
	}
	assert_true(heard);
	close(sock);
}

/* The guest has sent, closed, and lost its patience, before the host's side reads: nothing is lost, and the ports can be used anew. */
static void what_was_sent_before_a_reset_arrives(void **state)
{
	static char data[32768];
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	uint32_t port, sent = 0;
	int sock = begin(g, &port);
	size_t got = 0;
	ssize_t n;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	/* As much as is allowed without asking, of which the socket takes only a part. */
	for (uint64_t heap = g->d.heap; sent < VSOCK_BUFFER; sent += sizeof(data)) {
		say(g, packet(VIRTIO_VSOCK_OP_RW, 5, port, sizeof(data)), data);
		g->d.heap = heap;
	}
	h = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 5, port, 0);
	h.flags = VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV;
	say(g, h, NULL);
	say(g, packet(VIRTIO_VSOCK_OP_RST, 5, port, 0), NULL);
	while (hear(g, &h, NULL))
		assert_int_equal(h.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	/* It is no connection of the guest's any more. */
	say(g, packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5, port, 0), NULL);
	expect(g, VIRTIO_VSOCK_OP_RST);
	while ((n = recv(sock, data, sizeof(data), MSG_DONTWAIT)) != 0) {
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			driver_run(&g->d);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], (char)((got + (size_t)i) % sizeof(data) * 7));
		got += (size_t)n;
	}
	assert_int_equal(got, sent);
	expect_silence(g);
	close(sock);
}

/* More than it was told it may is the end of the connection, not of the device. */
static void a_guest_that_sends_too_much(void **state)
{
	static char data[32768];
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	uint32_t port;
	int sock = begin(g, &port);
	bool reset = false;

	for (unsigned i = 0; i < 64 && !reset; i++) {
		uint64_t heap = g->d.heap;

		say(g, packet(VIRTIO_VSOCK_OP_RW, 5, port, sizeof(data)), data);
		g->d.heap = heap;
		while (hear(g, &h, NULL))
			reset = reset || h.op == VIRTIO_VSOCK_OP_RST;
	}
	assert_true(reset);
	assert_false(driver_broken(&g->d));
	close(sock);
}

static void others_packets_are_dropped(void **state)
{
	struct guest *g = *state;
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_REQUEST, 1, 77, 0);

	h.src_cid = 4;
	say(g, h, NULL);
	h.src_cid = CID;
	h.dst_cid = 7;
	say(g, h, NULL);
	assert_int_equal(g->accepted, -1);
	expect_silence(g);
	/* A type that we do not have, an operation that nobody has. */
	h.dst_cid = HOST;
	h.type = 2;
	say(g, h, NULL);
	expect(g, VIRTIO_VSOCK_OP_RST);
	say(g, packet(99, 1, 2, 0), NULL);
	expect(g, VIRTIO_VSOCK_OP_RST);
	say(g, packet(VIRTIO_VSOCK_OP_RST, 1, 2, 0), NULL);
	expect_silence(g);
	assert_false(driver_broken(&g->d));
}

static void packets_that_lie_break_the_device(void **state)
{
	struct guest *g = *state;
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_RW, 5, 5, 100);
	struct driver_buffer b = { driver_copy(&g->d, &h, HDR), HDR, false };

	driver_send(&g->d, TX, &b, 1); /* no bytes behind the header */
	driver_run(&g->d);
	assert_true(driver_broken(&g->d));
}

static void a_short_header_breaks_the_device(void **state)
{
	struct guest *g = *state;
	struct driver_buffer b = { driver_alloc(&g->d, HDR, 8), HDR - 1, false };

	driver_send(&g->d, TX, &b, 1);
	driver_run(&g->d);
	assert_true(driver_broken(&g->d));
}

/* Without a buffer for it a word waits, and nothing spins; with one it comes. */
static void no_receive_buffers(void **state)
{
	struct guest *g = *state;
	uint32_t port, written;
	uint16_t head;
	int sock;

	/* The host's requests fill all buffers, which are not given back. */
	for (unsigned i = 0; i < ARRAY_SIZE(g->buffers) + 2; i++)
		connect_at(g->dir, "CONNECT 5\n"), driver_run(&g->d);
	for (unsigned i = 0; i < ARRAY_SIZE(g->buffers); i++)
		assert_true(driver_take_used(&g->d, RX, &head, &written));
	assert_false(driver_take_used(&g->d, RX, &head, &written));
	for (unsigned i = 0; i < ARRAY_SIZE(g->buffers); i++)
		offer_receive(g, i);
	expect(g, VIRTIO_VSOCK_OP_REQUEST);
	expect(g, VIRTIO_VSOCK_OP_REQUEST);
	expect_silence(g);
	sock = begin(g, &port);
	close(sock);
}

static void a_reset_ends_all(void **state)
{
	struct guest *g = *state;
	uint32_t port;
	int sock = begin(g, &port);
	char c;

	driver_restart(&g->d, 0);
	assert_int_equal(recv(sock, &c, 1, MSG_DONTWAIT), 0);
	close(sock);
	for (unsigned i = 0; i < ARRAY_SIZE(g->buffers); i++)
		offer_receive(g, i);
	sock = begin(g, &port);
	close(sock);
}

static void connections_are_bounded(void **state)
{
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	unsigned accepted = 0, refused = 0;
	int fds[VSOCK_CONNECTIONS_MAX + 8];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		uint64_t heap = g->d.heap;

		g->accepted = -1;
		say(g, packet(VIRTIO_VSOCK_OP_REQUEST, 2000 + i, 77, 0), NULL);
		g->d.heap = heap;
		fds[i] = g->accepted;
		while (hear(g, &h, NULL)) {
			accepted += h.op == VIRTIO_VSOCK_OP_RESPONSE;
			refused += h.op == VIRTIO_VSOCK_OP_RST;
		}
	}
	assert_int_equal(accepted, VSOCK_CONNECTIONS_MAX);
	assert_int_equal(refused, 8);
	g->accepted = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close_fd(&fds[i]);
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

#define TAG 500

/* The device as it is saved, in another one on the same memory. */
static void move_device(struct guest *g, const struct snapshot *saved)
{
	struct snapshot s = { .data = saved->data, .len = saved->len, .fd = -EBADF };
	struct error err = { 0 };
	char path[64];

	virtio_free(g->d.dev);
	snprintf(path, sizeof(path), "%s/" VSOCK_SOCKET_NAME, g->dir);
	unlink(path);
	g->d.dev = virtio_vsock_new(CID, listen_at(g->dir, VSOCK_SOCKET_NAME),
				    open(g->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), &g->d.memory,
				    &g->d.loop, &err);
	assert_non_null(g->d.dev);
	assert_int_equal(virtio_mmio_start(g->d.dev, &err), 0);
	if (virtio_restore(g->d.dev, &s, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(s.at, s.len);
}

static void connections_go_on_elsewhere(void **state)
{
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	struct error err = { 0 };
	char data[RX_SIZE];
	uint32_t port, other_port;
	int pair[2], fd, other = begin(g, &other_port);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(virtio_vsock_connect(g->d.dev, 12, pair[0], TAG, &err), 0);
	h = expect(g, VIRTIO_VSOCK_OP_REQUEST);
	port = h.src_port;
	snapshot_begin(&s);
	assert_int_equal(virtio_save(g->d.dev, &s, &err), -EBUSY); /* the guest has not answered */
	say(g, packet(VIRTIO_VSOCK_OP_RESPONSE, 12, port, 0), NULL);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 12, port, 4), "read");
	assert_int_equal(recv(pair[1], data, sizeof(data), MSG_DONTWAIT), 4);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 12, port, 6), "unread");
	assert_int_equal(write(pair[1], "unsent", 6), 6);
	snapshot_close(&s);
	snapshot_begin(&s);
	assert_int_equal(virtio_save(g->d.dev, &s, &err), 0);
	move_device(g, &s);

	/* That of somebody else is over, and the guest hears of it. */
	h = expect(g, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(h.dst_port, 5);
	assert_int_equal(h.src_port, other_port);
	assert_int_equal(virtio_vsock_adopt(g->d.dev, TAG + 1, NULL, 0, &err), -ENOENT);
	fd = virtio_vsock_adopt(g->d.dev, TAG, "unread", 6, &err);
	assert_true(fd >= 0);
	assert_int_equal(virtio_vsock_adopt(g->d.dev, TAG, NULL, 0, &err), -ENOENT);
	assert_int_equal(recv(fd, data, sizeof(data), MSG_DONTWAIT), 6);
	assert_memory_equal(data, "unread", 6);
	assert_true(hear(g, &h, data));
	assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(h.len, 6);
	assert_memory_equal(data, "unsent", 6);
	/* What comes next follows that, and no port is used twice. */
	say(g, packet(VIRTIO_VSOCK_OP_RW, 12, port, 4), "more");
	assert_int_equal(recv(fd, data, sizeof(data), MSG_DONTWAIT), 4);
	assert_int_equal(write(fd, "after", 5), 5);
	assert_true(hear(g, &h, data));
	assert_memory_equal(data, "after", 5);
	close(other);
	other = begin(g, &other_port);
	assert_true(other_port != port);
	close(other);
	close(pair[1]);
	close(fd);
}

/* The host's side does not read: what the device has kept for it comes whole, and then the end. */
static void what_was_kept_for_the_host_goes_on_elsewhere(void **state)
{
	static char sent[200000], got[300000];
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	struct error err = { 0 };
	size_t len = 0, unread;
	int pair[2], fd;
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){ 8192 }, sizeof(int)),
			 0);
	assert_int_equal(virtio_vsock_connect(g->d.dev, 12, pair[0], TAG, &err), 0);
	h = expect(g, VIRTIO_VSOCK_OP_REQUEST);
	say(g, packet(VIRTIO_VSOCK_OP_RESPONSE, 12, h.src_port, 0), NULL);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 13);
	for (size_t at = 0; at < sizeof(sent); at += 2000)
		say(g, packet(VIRTIO_VSOCK_OP_RW, 12, h.src_port, 2000), sent + at);
	h = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 12, h.src_port, 0);
	h.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
	say(g, h, NULL);
	snapshot_begin(&s);
	assert_int_equal(virtio_save(g->d.dev, &s, &err), 0);
	n = recv(pair[1], got, sizeof(got), MSG_PEEK | MSG_DONTWAIT);
	assert_true(n > 0);
	unread = (size_t)n;
	assert_true(unread < sizeof(sent)); /* some of it the device has */
	move_device(g, &s);
	fd = virtio_vsock_adopt(g->d.dev, TAG, got, unread, &err);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 1000 && len < sizeof(sent); i++) {
		n = recv(fd, got + len, sizeof(got) - len, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
		driver_run(&g->d);
	}
	assert_int_equal(len, sizeof(sent));
	assert_memory_equal(got, sent, sizeof(sent));
	driver_run(&g->d);
	assert_int_equal(recv(fd, got, 1, MSG_DONTWAIT), 0);
	close(fd);
	close(pair[1]);
}

/* Whoever connects to the VMM after the one that it talks to is somebody else, in the restored machine, too. */
static void only_the_first_of_a_port_goes_on(void **state)
{
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	struct error err = { 0 };
	int first, fd;
	char c;

	say(g, packet(VIRTIO_VSOCK_OP_REQUEST, 1001, 77, 0), NULL);
	expect(g, VIRTIO_VSOCK_OP_RESPONSE);
	first = g->accepted;
	say(g, packet(VIRTIO_VSOCK_OP_REQUEST, 1002, 77, 0), NULL);
	expect(g, VIRTIO_VSOCK_OP_RESPONSE);
	snapshot_begin(&s);
	assert_int_equal(virtio_save(g->d.dev, &s, &err), 0);
	move_device(g, &s);
	h = expect(g, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(h.dst_port, 1002);
	fd = virtio_vsock_adopt(g->d.dev, 77, NULL, 0, &err);
	assert_true(fd >= 0);
	say(g, packet(VIRTIO_VSOCK_OP_RW, 1001, 77, 1), "x");
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), 1);
	assert_int_equal(virtio_vsock_adopt(g->d.dev, 77, NULL, 0, &err), -ENOENT);
	close(first);
	close(fd);
}

/* Whatever a snapshot says, nothing of it is believed that cannot be. */
static void hostile_snapshots_are_refused(void **state)
{
	_cleanup_snapshot_ struct snapshot s;
	struct guest *g = *state;
	struct virtio_vsock_hdr h;
	struct error err = { 0 };
	struct virtio_device *dev;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(virtio_vsock_connect(g->d.dev, 12, pair[0], TAG, &err), 0);
	h = expect(g, VIRTIO_VSOCK_OP_REQUEST);
	say(g, packet(VIRTIO_VSOCK_OP_RESPONSE, 12, h.src_port, 0), NULL);
	assert_int_equal(write(pair[1], "unsent", 6), 6);
	snapshot_begin(&s);
	assert_int_equal(virtio_save(g->d.dev, &s, &err), 0);
	for (size_t at = 0; at < s.len; at++) {
		struct snapshot changed = { .data = s.data, .len = s.len, .fd = -EBADF };

		s.data[at] ^= 0xff;
		dev = virtio_vsock_new(CID, -1, -1, &g->d.memory, &g->d.loop, &err);
		assert_non_null(dev);
		assert_int_equal(virtio_mmio_start(dev, &err), 0);
		virtio_restore(dev, &changed, &err);
		virtio_free(dev);
		s.data[at] ^= 0xff;
		changed = (struct snapshot){ .data = s.data, .len = at, .fd = -EBADF };
		dev = virtio_vsock_new(CID, -1, -1, &g->d.memory, &g->d.loop, &err);
		assert_non_null(dev);
		assert_int_equal(virtio_mmio_start(dev, &err), 0);
		assert_true(virtio_restore(dev, &changed, &err) < 0);
		virtio_free(dev);
	}
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(host_connects),
		TEST(guest_refuses),
		TEST(wrong_lines_are_closed),
		TEST(connections_wait_until_they_are_taken),
		TEST(guest_connects),
		TEST(the_vmm_connects),
		TEST(connections_go_on_elsewhere),
		TEST(what_was_kept_for_the_host_goes_on_elsewhere),
		TEST(hostile_snapshots_are_refused),
		TEST(only_the_first_of_a_port_goes_on),
		TEST(credit_of_the_guest),
		TEST(credit_of_the_host),
		TEST(what_was_sent_before_a_reset_arrives),
		TEST(a_guest_that_sends_too_much),
		TEST(others_packets_are_dropped),
		TEST(packets_that_lie_break_the_device),
		TEST(a_short_header_breaks_the_device),
		TEST(no_receive_buffers),
		TEST(a_reset_ends_all),
		TEST(connections_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
