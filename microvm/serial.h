/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COM1, output only: as much of a 16550A that Linux' driver takes it for one. It is for the kernel's early messages
 * and its panic; the workload has better ways.
 *
 * A guest may write to it for ever, so what comes out is bounded: SERIAL_TOTAL_MAX bytes in the machine's life; and where the
 * reader does not keep up, what does not fit in SERIAL_QUEUE bytes is lost. No vCPU ever waits for the reader. The last
 * SERIAL_TAIL bytes are kept in any case, for the message that says why a machine ended.
 */
#ifndef HULL_MICROVM_SERIAL_H
#define HULL_MICROVM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "microvm/loop.h"

#define SERIAL_TOTAL_MAX (16u << 20)
#define SERIAL_QUEUE     (64u << 10)
#define SERIAL_TAIL      4096u

struct serial {
	struct loop *loop;
	int output;                  /* -1: nobody reads it */
	int irq_fd;                  /* eventfd of its interrupt */
	int wake_fd;                 /* eventfd: there is output; -EBADF without one */
	struct loop_source wake;     /* of wake_fd */
	struct loop_source writable; /* of output, while its reader does not keep up */
	pthread_mutex_t lock;        /* for what follows */
	uint8_t interrupts, line, modem, scratch, divisor[2], fifo;
	bool empty_pending; /* "the transmitter is empty" has not been seen yet */
	uint8_t *queue;     /* SERIAL_QUEUE bytes */
	size_t queue_start, queue_len;
	uint64_t total; /* bytes taken into the queue */
	char tail[SERIAL_TAIL];
	uint64_t written; /* bytes; the next one goes to tail[written % SERIAL_TAIL] */
};

/* output, which may be -1, becomes the serial port's. Undone, also after an error, by serial_free(). */
int serial_init(struct serial *serial, int output, struct loop *loop, struct error *err);
void serial_free(struct serial *serial);

/* A vCPU's access to the register (0 to 7). Any thread. */
uint8_t serial_read(struct serial *serial, unsigned reg);
void serial_write(struct serial *serial, unsigned reg, uint8_t value);

struct snapshot;
/* Its registers, while no vCPU runs. What the guest wrote before is not told again. */
void serial_save(struct serial *s, struct snapshot *snapshot);
int serial_restore(struct serial *s, struct snapshot *snapshot, struct error *err);

/* Writes what is queued, until the reader takes nothing for a second. The loop does not run any more. */
void serial_flush(struct serial *serial);

/*
 * The last lines that the guest wrote, at most size - 1 bytes, with a NUL. What is not printable ASCII becomes "?": they may
 * come to a terminal, which hostile bytes would command.
 */
void serial_last_lines(struct serial *serial, char *buf, size_t size);

#endif
