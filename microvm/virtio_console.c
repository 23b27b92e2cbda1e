/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (virtio 1.2, 5.3) with one port: what the guest sends goes to a descriptor, what comes from another goes to the guest.
 * Neither may hold up the device thread: where the output takes no more, the request stays in the queue
 * until it does, and where the guest has no buffer, the input stays in its pipe.
 */
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/path.h"
#include "microvm/snapshot.h"
#include "microvm/virtio.h"

#define QUEUE_SIZE 64
#define BUDGET     16
#define WRITE_MAX  65536u /* bytes at once, so that other devices have their turn */

enum { RECEIVE, TRANSMIT, QUEUES };

struct console {
	struct virtio_device dev;
	struct loop_source input, output; /* fd negative: there is none, or it came to its end */
	uint64_t sent; /* bytes of the request at the head of the queue that are written already */
};

static void give_up(struct console *console, struct loop_source *end)
{
	if (end->events)
		loop_watch(console->dev.loop, end, 0, NULL);
	close_fd(&end->fd);
}

/* ---- from the guest -------------------------------------------------------------------------- */

static bool transmit(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	struct console *console = (struct console *)dev;
	struct loop_source *output = &console->output;
	struct iovec iov[VIRTQ_IOV_MAX];

	if (chain->writable) {
		virtio_broken(dev, "output that cannot be read");
		return false;
	}
	/* Otherwise the output is gone, or the guest made the request shorter meanwhile. */
	if (output->fd >= 0 && console->sent < chain->readable_bytes) {
		uint64_t left = chain->readable_bytes - console->sent;
		unsigned count = virtq_slice(chain, false, console->sent,
					     left < WRITE_MAX ? left : WRITE_MAX, iov);
		ssize_t n = writev(output->fd, iov, (int)count);

		if (n < 0 && errno == EAGAIN && loop_watch(dev->loop, output, EPOLLOUT, NULL) == 0)
			return false;
		if (n < 0 && errno != EINTR)
			give_up(console, output);
		else if (n > 0)
			console->sent += (uint64_t)n;
	}
	if (output->fd >= 0 && console->sent < chain->readable_bytes) {
		virtio_kick(dev, queue);
		return false;
	}
	console->sent = 0;
	virtq_push(&dev->queues[queue], chain, 0);
	return true;
}

static void output_ready(struct loop_source *source, uint32_t events)
{
	struct virtio_device *dev = source->data;

	(void)events;
	pthread_mutex_lock(&dev->lock);
	if (source->events) {
		loop_watch(dev->loop, source, 0, NULL);
		virtio_serve(dev, TRANSMIT, BUDGET, transmit);
	}
	pthread_mutex_unlock(&dev->lock);
}

/* ---- to the guest ---------------------------------------------------------------------------- */

/* Fills one buffer with what the input has. Whether to try again as soon as there is more. */
static bool receive(struct console *console)
{
	struct virtio_device *dev = &console->dev;
	struct virtq *q = &dev->queues[RECEIVE];
	struct virtq_chain chain;
	ssize_t n;

	if (!virtio_pop(dev, RECEIVE, &chain))
		return virtio_running(dev) && virtq_ask_notify(q, true);
	if (chain.readable) {
		virtio_broken(dev, "a buffer for input that cannot be written");
		return false;
	}
	n = readv(console->input.fd, chain.iov, (int)chain.writable);
	if (n > 0) {
		virtq_push(q, &chain, (uint32_t)n);
		virtio_used(dev, RECEIVE);
		return true;
	}
	virtq_unpop(q, 1);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	give_up(console, &console->input);
	return false;
}

/* Without a buffer the input is not read: a pipe that is full holds up its writer, as it should. */
static void input_ready(struct loop_source *source, uint32_t events)
{
	struct console *console = source->data;

	(void)events;
	pthread_mutex_lock(&console->dev.lock);
	if (source->events && !receive(console) && source->events)
		loop_watch(console->dev.loop, source, 0, NULL);
	pthread_mutex_unlock(&console->dev.lock);
}

/* There are buffers again. A file cannot be waited for, and need not be. */
static void await_input(struct console *console)
{
	struct loop_source *input = &console->input;

	if (input->fd < 0 || input->events)
		return;
	virtq_ask_notify(&console->dev.queues[RECEIVE], false);
	if (loop_watch(console->dev.loop, input, EPOLLIN, NULL) < 0 && receive(console))
		virtio_kick(&console->dev, RECEIVE);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void notify(struct virtio_device *dev, unsigned queue)
{
	if (queue == TRANSMIT)
		virtio_serve(dev, TRANSMIT, BUDGET, transmit);
	else
		await_input((struct console *)dev);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void reset(struct virtio_device *dev)
{
	struct console *console = (struct console *)dev;

	loop_watch(dev->loop, &console->input, 0, NULL);
	loop_watch(dev->loop, &console->output, 0, NULL);
	console->sent = 0;
}

/* What is not written yet, or not read, is where it was: in the queue, or in the pipe. */
static int save(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	const struct console *console = (const struct console *)dev;

	(void)err;
	snapshot_put(s, SNAPSHOT_OWN, &console->sent, sizeof(console->sent));
	return 0;
}

static int restore(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	struct console *console = (struct console *)dev;

	return snapshot_get(s, SNAPSHOT_OWN, &console->sent, sizeof(console->sent), err);
}

static void destroy(struct virtio_device *dev)
{
	struct console *console = (struct console *)dev;

	give_up(console, &console->input);
	give_up(console, &console->output);
	free(console);
}

static const struct virtio_ops ops = {
	.name = "console",
	.device_id = VIRTIO_ID_CONSOLE,
	.queue_count = QUEUES,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.save = save,
	.restore = restore,
	.destroy = destroy,
};

/*
 * Makes *fd one that does not block. Standard streams are shared with processes that do not expect that of them, so a pipe or a terminal is
 * opened anew where that can be; not the master of a terminal, which would be another terminal's.
 */
static int make_nonblocking(int *fd, int access, struct error *err)
{
	struct stat st;
	int number, flags, opened;

	if (*fd < 0)
		return 0;
	if (fstat(*fd, &st) < 0)
		return error_errno(err, errno, "virtio-console: descriptor");
	if (S_ISREG(st.st_mode))
		return 0;
	if (S_ISFIFO(st.st_mode) || (isatty(*fd) && ioctl(*fd, TIOCGPTN, &number) < 0)) {
		opened = open(path_of_fd(*fd).s, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (opened >= 0) {
			close(*fd);
			*fd = opened;
			return 0;
		}
	}
	flags = fcntl(*fd, F_GETFL);
	if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_errno(err, errno, "virtio-console: descriptor");
	return 0;
}

struct virtio_device *virtio_console_new(int input, int output, const struct guest_memory *memory,
					 struct loop *loop, struct error *err)
{
	_cleanup_close_ int in = input, out = output;
	struct console *console;

	/* A terminal is often both. The loop knows a source by its descriptor. */
	if (in >= 0 && in == out) {
		out = fcntl(in, F_DUPFD_CLOEXEC, 0);
		if (out < 0) {
			error_errno(err, errno, "virtio-console: descriptor");
			return NULL;
		}
	}
	if (make_nonblocking(&in, O_RDONLY, err) < 0 || make_nonblocking(&out, O_WRONLY, err) < 0)
		return NULL;
	console = calloc(1, sizeof(*console));
	if (!console) {
		error_errno(err, ENOMEM, "virtio-console");
		return NULL;
	}
	console->input = (struct loop_source){ take_fd(&in), 0, input_ready, console };
	console->output = (struct loop_source){ take_fd(&out), 0, output_ready, &console->dev };
	if (virtio_init(&console->dev, &ops, 0, memory, loop, err) < 0) {
		virtio_free(&console->dev);
		return NULL;
	}
	return &console->dev;
}
