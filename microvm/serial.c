/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COM1; see serial.h. vCPU threads put bytes into a queue and wake the device thread, which writes them out.
 * Registers: PC16550D data sheet (National Semiconductor, 1995), chapter 8.
 */
#include "microvm/serial.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "microvm/snapshot.h"

enum {
	REG_DATA = 0,      /* receiver and transmitter; with DLAB the divisor's low half */
	REG_INTERRUPTS,    /* which are enabled; with DLAB the divisor's high half */
	REG_IDENTIFY,      /* read: which is pending. Write: FIFO control */
	REG_LINE_CONTROL,  /* format, DLAB */
	REG_MODEM_CONTROL, /* outputs, loopback */
	REG_LINE_STATUS,
	REG_MODEM_STATUS,
	REG_SCRATCH,
};

#define INTERRUPTS_MASK 0x0f
#define INTERRUPT_EMPTY 0x02 /* transmitter is empty */

#define IDENTIFY_NONE  0x01
#define IDENTIFY_EMPTY 0x02
#define IDENTIFY_FIFO  0xc0

#define FIFO_ENABLE 0x01

#define LINE_DLAB 0x80

#define MODEM_LOOPBACK 0x10

#define STATUS_EMPTY 0x60 /* transmitter and its shift register */

#define MODEM_CONNECTED 0xb0 /* carrier, data set ready, clear to send */

#define CHUNK 4096u /* bytes a write: a pipe that can be written takes so many without waiting */

/* ---- output ------------------------------------------------------------------------------- */

/* With the lock: the next bytes of the queue, at most CHUNK. */
static size_t take(struct serial *s, uint8_t *buf)
{
	size_t n = SERIAL_QUEUE - s->queue_start;

	if (n > s->queue_len)
		n = s->queue_len;
	if (n > CHUNK)
		n = CHUNK;
	memcpy(buf, s->queue + s->queue_start, n);
	return n;
}

static void drop(struct serial *s, size_t n)
{
	s->queue_start = (s->queue_start + n) % SERIAL_QUEUE;
	s->queue_len -= n;
}

/* Writes until the queue is empty or the reader has enough for timeout milliseconds. True where it is empty. */
static bool drain(struct serial *s, int timeout)
{
	uint8_t buf[CHUNK];

	for (;;) {
		struct pollfd pfd = { .fd = s->output, .events = POLLOUT };
		size_t len;
		ssize_t n;

		pthread_mutex_lock(&s->lock);
		len = take(s, buf);
		pthread_mutex_unlock(&s->lock);
		if (!len)
			return true;
		if (poll(&pfd, 1, timeout) <= 0)
			return false;
		n = write(s->output, buf, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		pthread_mutex_lock(&s->lock);
		/* Where nobody can read it any more, it is lost. */
		drop(s, n < 0 ? s->queue_len : (size_t)n);
		pthread_mutex_unlock(&s->lock);
	}
}

static void write_out(struct serial *s)
{
	bool waiting = !drain(s, 0);

	/* A file is always ready, and cannot be watched. */
	if (waiting != (s->writable.events != 0))
		loop_watch(s->loop, &s->writable, waiting ? EPOLLOUT : 0, NULL);
}

static void output_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	write_out(source->data);
}

static void woken(struct loop_source *source, uint32_t events)
{
	eventfd_t value;

	(void)events;
	eventfd_read(source->fd, &value);
	write_out(source->data);
}

static void transmit(struct serial *s, uint8_t byte)
{
	bool was_empty = s->queue_len == 0;

	s->tail[s->written++ % SERIAL_TAIL] = (char)byte;
	if (s->output < 0 || s->queue_len == SERIAL_QUEUE)
		return;
	if (s->total == SERIAL_TOTAL_MAX) {
		s->total++; /* said once */
		log_warning("the guest wrote %u MiB to its serial port; the rest is dropped",
			    SERIAL_TOTAL_MAX >> 20);
	}
	if (s->total > SERIAL_TOTAL_MAX)
		return;
	s->queue[(s->queue_start + s->queue_len++) % SERIAL_QUEUE] = byte;
	s->total++;
	if (was_empty)
		eventfd_write(s->wake_fd, 1);
}

/* ---- registers ---------------------------------------------------------------------------- */

/* The transmitter is always empty again at once. One edge is enough until the driver has seen it. */
static void interrupt_empty(struct serial *s)
{
	if (!(s->interrupts & INTERRUPT_EMPTY) || s->empty_pending)
		return;
	s->empty_pending = true;
	eventfd_write(s->irq_fd, 1);
}

static uint8_t read_identify(struct serial *s)
{
	uint8_t value = s->fifo & FIFO_ENABLE ? IDENTIFY_FIFO : 0;

	if (!s->empty_pending)
		return value | IDENTIFY_NONE;
	s->empty_pending = false;
	return value | IDENTIFY_EMPTY;
}

/* In loopback the modem's inputs are its outputs: DTR, RTS, OUT1, OUT2 as DSR, CTS, RI, DCD. */
static uint8_t read_modem_status(const struct serial *s)
{
	uint8_t m = s->modem;

	if (!(m & MODEM_LOOPBACK))
		return MODEM_CONNECTED;
	return (uint8_t)((m & 1) << 5 | (m & 2) << 3 | (m & 4) << 4 | (m & 8) << 4);
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	bool dlab = s->line & LINE_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? s->divisor[0] : 0;
	case REG_INTERRUPTS:
		return dlab ? s->divisor[1] : s->interrupts;
	case REG_IDENTIFY:
		return read_identify(s);
	case REG_LINE_CONTROL:
		return s->line;
	case REG_MODEM_CONTROL:
		return s->modem;
	case REG_LINE_STATUS:
		return STATUS_EMPTY;
	case REG_MODEM_STATUS:
		return read_modem_status(s);
	default:
		return s->scratch;
	}
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	bool dlab = s->line & LINE_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab) {
			s->divisor[0] = value;
		} else if (!(s->modem & MODEM_LOOPBACK)) {
			transmit(s, value);
			interrupt_empty(s);
		}
		break;
	case REG_INTERRUPTS:
		if (dlab) {
			s->divisor[1] = value;
			break;
		}
		s->interrupts = value & INTERRUPTS_MASK;
		if (!(s->interrupts & INTERRUPT_EMPTY))
			s->empty_pending = false;
		interrupt_empty(s);
		break;
	case REG_IDENTIFY:
		s->fifo = value;
		break;
	case REG_LINE_CONTROL:
		s->line = value;
		break;
	case REG_MODEM_CONTROL:
		s->modem = value & 0x1f;
		break;
	case REG_SCRATCH:
		s->scratch = value;
		break;
	default:
		break; /* the status registers */
	}
}

uint8_t serial_read(struct serial *s, unsigned reg)
{
	uint8_t value;

	pthread_mutex_lock(&s->lock);
	value = read_register(s, reg);
	pthread_mutex_unlock(&s->lock);
	return value;
}

void serial_write(struct serial *s, unsigned reg, uint8_t value)
{
	pthread_mutex_lock(&s->lock);
	write_register(s, reg, value);
	pthread_mutex_unlock(&s->lock);
}

/* ---- snapshots ---------------------------------------------------------------------------- */

struct saved_serial {
	uint8_t interrupts, line, modem, scratch, divisor[2], fifo, empty_pending;
};

void serial_save(struct serial *s, struct snapshot *snapshot)
{
	struct saved_serial saved;

	pthread_mutex_lock(&s->lock);
	saved = (struct saved_serial){ s->interrupts,
				       s->line,
				       s->modem,
				       s->scratch,
				       { s->divisor[0], s->divisor[1] },
				       s->fifo,
				       s->empty_pending };
	pthread_mutex_unlock(&s->lock);
	snapshot_put(snapshot, SNAPSHOT_SERIAL, &saved, sizeof(saved));
}

int serial_restore(struct serial *s, struct snapshot *snapshot, struct error *err)
{
	struct saved_serial saved;
	int r = snapshot_get(snapshot, SNAPSHOT_SERIAL, &saved, sizeof(saved), err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->interrupts = saved.interrupts & INTERRUPTS_MASK;
	s->line = saved.line;
	s->modem = saved.modem & 0x1f;
	s->scratch = saved.scratch;
	memcpy(s->divisor, saved.divisor, sizeof(s->divisor));
	s->fifo = saved.fifo;
	s->empty_pending = false;
	/* A driver that waited would wait for ever: that one interrupt more comes does no harm. */
	interrupt_empty(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* ---- life --------------------------------------------------------------------------------- */

static int init_output(struct serial *s, struct error *err)
{
	s->queue = malloc(SERIAL_QUEUE);
	if (!s->queue)
		return error_errno(err, ENOMEM, "make the serial port");
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0)
		return error_errno(err, errno, "make the serial port");
	s->wake = (struct loop_source){ .fd = s->wake_fd, .callback = woken, .data = s };
	s->writable = (struct loop_source){
		.fd = s->output,
		.callback = output_ready,
		.data = s,
	};
	return loop_watch(s->loop, &s->wake, EPOLLIN, err);
}

int serial_init(struct serial *s, int output, struct loop *loop, struct error *err)
{
	*s = (struct serial){
		.loop = loop,
		.output = output,
		.irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.wake_fd = -EBADF,
	};
	pthread_mutex_init(&s->lock, NULL);
	if (s->irq_fd < 0)
		return error_errno(err, errno, "make the serial port");
	return output >= 0 ? init_output(s, err) : 0;
}

void serial_free(struct serial *s)
{
	if (s->wake.events)
		loop_watch(s->loop, &s->wake, 0, NULL);
	if (s->writable.events)
		loop_watch(s->loop, &s->writable, 0, NULL);
	close_fd(&s->output);
	close_fd(&s->irq_fd);
	close_fd(&s->wake_fd);
	free(s->queue);
	s->queue = NULL;
	pthread_mutex_destroy(&s->lock);
}

void serial_flush(struct serial *s)
{
	if (s->output >= 0)
		drain(s, 1000);
}

void serial_last_lines(struct serial *s, char *buf, size_t size)
{
	uint64_t start, end;
	size_t len = 0;

	pthread_mutex_lock(&s->lock);
	end = s->written;
	start = end > SERIAL_TAIL ? end - SERIAL_TAIL : 0;
	if (end - start > size - 1)
		start = end - (size - 1);
	/* Not the end of a line whose beginning is lost. */
	if (start > 0) {
		uint64_t at = start;

		while (at < end && s->tail[at % SERIAL_TAIL] != '\n')
			at++;
		start = at < end ? at + 1 : start;
	}
	for (uint64_t at = start; at < end; at++) {
		char c = s->tail[at % SERIAL_TAIL];

		if (c == '\n' || (c >= ' ' && c <= '~'))
			buf[len++] = c;
		else if (c != '\r')
			buf[len++] = '?';
	}
	pthread_mutex_unlock(&s->lock);
	buf[len] = '\0';
}
