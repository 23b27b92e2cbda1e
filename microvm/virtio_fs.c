/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system device (virtio 1.2, 5.11), the monitor's part: configuration space, and telling the file server, another
 * process, where the queues are. That serves them alone, and interrupts the guest itself. Where the memory is the monitor's own, as
 * that of a restored machine is, requests and answers go through a window instead (fs_window.h).
 *
 * The driver's resets and starts are register accesses, so it is a vCPU thread that talks to the server (sendmsg, recvmsg, poll; epoll_ctl and
 * close where the server is lost), and waits for its answer.
 */
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "base/message.h"
#include "microvm/fs_protocol.h"
#include "microvm/fs_window.h"
#include "microvm/virtio.h"

#define QUEUE_SIZE VIRTQ_SIZE_MAX
#define BUDGET     16

#define ENDED "the file server ended"

#define ANSWER_MS 30000  /* a server that waits for a slow disk is no dead one */
#define SAVED_MS  600000 /* nor one that copies large files without a name */

struct fs_device {
	struct virtio_device dev;
	struct virtio_fs_config config;
	int server; /* -EBADF: it is gone */
	struct loop_source source;
	bool started;
	struct fs_window *window; /* where the memory is private; else NULL */
	struct loop_source answers;
	bool waiting[FS_QUEUES]; /* for room in the window */
	int state;               /* the file for it, for the next save; -1: none */
	void (*lost)(void *data, const char *why);
	void *lost_data;
};

/* ---- the server ------------------------------------------------------------------------------ */

static void close_server(struct fs_device *fs)
{
	if (fs->source.events)
		loop_watch(fs->dev.loop, &fs->source, 0, NULL);
	close_fd(&fs->server);
	fs->started = false;
}

static void lose_server(struct fs_device *fs, const char *why)
{
	close_server(fs);
	if (fs->lost)
		fs->lost(fs->lost_data, why);
}

/* What every message of the server's has room for. */
struct answer {
	struct message message;
	struct error err;
};

/* What the server says unasked: that something is wrong, and after restore() whether it began. */
static void heed(struct fs_device *fs, const struct answer *answer)
{
	char why[ERROR_TEXT_MAX + 32];

	if (answer->message.type == FS_BROKEN) {
		virtio_broken(&fs->dev, "the guest wrote nonsense into a queue");
	} else if (answer->message.type == FS_STARTED && answer->err.code) {
		snprintf(why, sizeof(why), "the file server: %s", answer->err.text);
		virtio_broken(&fs->dev, "the file server could not begin");
		lose_server(fs, why);
	}
}

/* The error in an answer, or 0. */
static int pass_on(const struct answer *answer, struct error *err)
{
	return answer->err.code
		       ? error_set(err, answer->err.code, "the file server: %s", answer->err.text)
		       : 0;
}

static int hear(struct fs_device *fs, struct answer *answer, struct error *err)
{
	int r;

	*answer = (struct answer){ 0 };
	r = message_receive(fs->server, &answer->message, &answer->err, sizeof(answer->err), err);
	if (r < 0)
		return error_wrap(err, "the file server");
	answer->err.text[sizeof(answer->err.text) - 1] = '\0';
	for (unsigned i = 0; i < answer->message.fd_count; i++)
		close(answer->message.fds[i]);
	return 0;
}

/* Waits for the answer, whatever else the server says before it: an error is that there was none. */
static int await(struct fs_device *fs, uint32_t type, size_t size, int timeout,
		 struct answer *answer, struct error *err)
{
	const bool anew = type == FS_STARTED || type == FS_STOPPED;

	for (;;) {
		struct pollfd fd = { .fd = fs->server, .events = POLLIN };
		int r = poll(&fd, 1, timeout);

		if (r <= 0)
			return error_set(err, ETIMEDOUT, "the file server does not answer");
		r = hear(fs, answer, err);
		if (r < 0)
			return r;
		if (answer->message.type == type)
			break;
		/* What was wrong with the queues before a reset is over. */
		if (!anew || answer->message.type != FS_BROKEN)
			heed(fs, answer);
		if (fs->server < 0)
			return pass_on(answer, err);
	}
	return answer->message.len == size
		       ? 0
		       : error_set(err, EPROTO, "the file server talks nonsense");
}

static int send_start(struct fs_device *fs, struct error *err)
{
	struct virtio_device *dev = &fs->dev;
	struct fs_start message = { .features = dev->negotiated };
	int fds[FS_FDS];

	if (fs->window) {
		fs_window_start(fs->window, &message, fds);
	} else {
		fds[FS_FD_MEMORY] = dev->memory->fd;
		fds[FS_FD_INTERRUPT] = dev->irq_fd;
		for (unsigned i = 0; i < FS_QUEUES; i++) {
			message.queues[i] = dev->layouts[i];
			fds[FS_FD_KICK + i] = dev->notify_fds[i];
		}
	}
	return message_send(fs->server, FS_START, &message, sizeof(message), fds, FS_FDS, err);
}

static int start(struct fs_device *fs, struct error *err)
{
	struct answer answer = { 0 };
	int r = send_start(fs, err);

	if (r == 0)
		r = await(fs, FS_STARTED, sizeof(answer.err), ANSWER_MS, &answer, err);
	if (r < 0) {
		lose_server(fs, ENDED);
		return r;
	}
	r = pass_on(&answer, err);
	fs->started = r == 0;
	return r;
}

/* One message, where there is one. Another thread, which had the lock, may have read what this was called for. */
static void listen_once(struct fs_device *fs)
{
	struct pollfd fd = { .fd = fs->server, .events = POLLIN };
	struct answer answer;

	if (!fs->source.events || poll(&fd, 1, 0) <= 0)
		return;
	if (hear(fs, &answer, NULL) == 0) {
		heed(fs, &answer);
		return;
	}
	lose_server(fs, ENDED);
	virtio_broken(&fs->dev, ENDED);
}

static void server_spoke(struct loop_source *source, uint32_t events)
{
	struct fs_device *fs = source->data;

	(void)events;
	pthread_mutex_lock(&fs->dev.lock);
	listen_once(fs);
	pthread_mutex_unlock(&fs->dev.lock);
}

/* ---- through the window ------------------------------------------------------------------- */

static bool forward(struct virtio_device *dev, unsigned queue, const struct virtq_chain *chain)
{
	struct fs_device *fs = (struct fs_device *)dev;

	if (!fs_window_can_hold(chain)) {
		virtio_broken(dev, "a request larger than any of a file system");
		return false;
	}
	fs->waiting[queue] = !fs_window_send(fs->window, queue, chain);
	return !fs->waiting[queue];
}

static void notify(struct virtio_device *dev, unsigned queue)
{
	struct fs_device *fs = (struct fs_device *)dev;

	if (!fs->started)
		return;
	virtio_serve(dev, queue, BUDGET, forward);
	fs_window_kick(fs->window, queue);
}

static void hand_back(struct virtio_device *dev, unsigned queue,
		      const struct fs_window_answer *answer)
{
	const struct virtq_used used = { answer->head, answer->written };

	for (unsigned i = 0; i < answer->count; i++)
		guest_memory_wrote(dev->memory, answer->where[i].iov_base,
				   answer->where[i].iov_len);
	virtq_push_all(&dev->queues[queue], &used, 1);
	free(answer->where);
}

static void take_answers(struct fs_device *fs)
{
	for (unsigned queue = 0; queue < FS_QUEUES; queue++) {
		struct fs_window_answer answer;
		bool any = false;
		int r;

		while ((r = fs_window_receive(fs->window, queue, &answer)) > 0) {
			hand_back(&fs->dev, queue, &answer);
			any = true;
		}
		if (r < 0)
			virtio_broken(&fs->dev, "the file server wrote nonsense into its queue");
		if (any)
			virtio_used(&fs->dev, queue);
		if (any && fs->waiting[queue])
			virtio_kick(&fs->dev, queue);
	}
}

static void answered(struct loop_source *source, uint32_t events)
{
	struct fs_device *fs = source->data;
	eventfd_t count;

	(void)events;
	pthread_mutex_lock(&fs->dev.lock);
	if (eventfd_read(source->fd, &count) == 0 && fs->started && virtio_running(&fs->dev))
		take_answers(fs);
	pthread_mutex_unlock(&fs->dev.lock);
}

static int open_window(struct fs_device *fs, struct error *err)
{
	fs->window = fs_window_new(err);
	if (!fs->window)
		return error_negative(err->code);
	fs->answers = (struct loop_source){ .fd = fs_window_interrupt(fs->window),
					    .callback = answered,
					    .data = fs };
	return loop_watch(fs->dev.loop, &fs->answers, EPOLLIN, err);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void read_config(struct virtio_device *dev, uint32_t offset, void *data, unsigned size)
{
	struct fs_device *fs = (struct fs_device *)dev;

	virtio_config_copy(&fs->config, sizeof(fs->config), offset, data, size);
}

static int check_ready(const struct fs_device *fs, struct error *err)
{
	if (fs->server < 0)
		return error_set(err, EPIPE, ENDED);
	for (unsigned i = 0; i < FS_QUEUES; i++)
		if (!fs->dev.queues[i].enabled)
			return error_set(err, EINVAL, "a queue is missing");
	return 0;
}

static int activate(struct virtio_device *dev, struct error *err)
{
	struct fs_device *fs = (struct fs_device *)dev;
	int r = check_ready(fs, err);

	return r < 0 ? r : start(fs, err);
}

static void reset(struct virtio_device *dev)
{
	struct fs_device *fs = (struct fs_device *)dev;
	struct answer answer = { 0 };
	struct error err = { 0 };
	int r;

	if (!fs->started)
		return;
	fs->started = false;
	r = message_send(fs->server, FS_STOP, NULL, 0, NULL, 0, &err);
	if (r == 0)
		r = await(fs, FS_STOPPED, 0, ANSWER_MS, &answer, &err);
	if (r < 0) {
		/* Without its monitor it ends, however long that takes. */
		log_warning("virtio-fs: %s", err.text);
		lose_server(fs, ENDED);
	}
}

/* ---- saving and restoring -------------------------------------------------------------------- */

/* The server knows files that nobody else knows: only where it was not asked for any yet can another one take its place. */
static int check_unused(const struct virtio_device *dev, struct error *err)
{
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		const struct vring_used *used = dev->queues[i].device;

		if (used && __atomic_load_n(&used->idx, __ATOMIC_RELAXED))
			return error_set(err, EBUSY, "files are in use, and cannot be saved");
	}
	return 0;
}

static bool is_idle(struct fs_device *fs)
{
	bool waiting = fs_window_busy(fs->window);

	for (unsigned i = 0; i < FS_QUEUES; i++)
		waiting = virtq_ask_notify(&fs->dev.queues[i], true) || waiting;
	return !waiting;
}

/* Until there is an answer, or the server says something. */
static int await_answers(struct fs_device *fs, struct error *err)
{
	struct pollfd fds[2] = { { .fd = fs_window_interrupt(fs->window), .events = POLLIN },
				 { .fd = fs->server, .events = POLLIN } };
	eventfd_t count;

	if (poll(fds, 2, ANSWER_MS) <= 0)
		return error_set(err, ETIMEDOUT, "the file server does not answer");
	if (fds[0].revents)
		eventfd_read(fds[0].fd, &count);
	if (fds[1].revents)
		listen_once(fs);
	return 0;
}

/* Forwards what the guest asked, and hands back what came of it, until nothing is left. */
static int empty_window(struct fs_device *fs, struct error *err)
{
	struct virtio_device *dev = &fs->dev;
	int r = 0;

	while (r == 0 && fs->started && virtio_running(dev)) {
		for (unsigned i = 0; i < FS_QUEUES; i++)
			notify(dev, i);
		take_answers(fs);
		if (is_idle(fs))
			break;
		if (fs_window_busy(fs->window))
			r = await_answers(fs, err);
	}
	return r;
}

static int save_server(struct fs_device *fs, struct error *err)
{
	struct answer answer = { 0 };
	int r;

	if (fs->server < 0)
		return error_set(err, EPIPE, ENDED);
	r = message_send(fs->server, FS_SAVE, NULL, 0, &fs->state, 1, err);
	if (r < 0)
		return error_wrap(err, "the file server");
	r = await(fs, FS_SAVED, sizeof(answer.err), SAVED_MS, &answer, err);
	return r < 0 ? r : pass_on(&answer, err);
}

/* The server kept the positions in the queues. It has answered everything, so where the used ring ends is where both are. */
static int take_positions(struct virtio_device *dev, struct error *err)
{
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		struct virtq *q = &dev->queues[i];
		const struct vring_avail *avail = q->driver;
		const struct vring_used *used = q->device;

		if (!q->enabled)
			continue;
		q->next_used = __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
		q->next_avail = q->signalled_used = q->next_used;
		q->signalled_valid = false;
		if (virtio_running(dev) &&
		    __atomic_load_n(&avail->idx, __ATOMIC_RELAXED) != q->next_avail)
			return error_set(err, EPROTO, "the file server left requests unanswered");
	}
	return 0;
}

static int settle(struct virtio_device *dev, struct error *err)
{
	struct fs_device *fs = (struct fs_device *)dev;
	int r;

	if (fs->state < 0)
		return check_unused(dev, err);
	r = fs->window ? empty_window(fs, err) : 0;
	if (r == 0)
		r = save_server(fs, err);
	if (r == 0 && !fs->window)
		r = take_positions(dev, err);
	fs->state = -1;
	return r;
}

/* The server may not be there yet: what it answers comes to server_spoke(). */
static int restore(struct virtio_device *dev, struct snapshot *s, struct error *err)
{
	struct fs_device *fs = (struct fs_device *)dev;
	int r;

	(void)s;
	if (!virtio_running(dev))
		return 0;
	/* The server that interrupted the guest did not note it in the register; one too many does no harm. */
	dev->interrupt_status |= VIRTIO_MMIO_INT_VRING;
	r = check_ready(fs, err);
	if (r == 0)
		r = send_start(fs, err);
	fs->started = r == 0;
	return r;
}

static void destroy(struct virtio_device *dev)
{
	struct fs_device *fs = (struct fs_device *)dev;

	close_server(fs);
	if (fs->answers.events)
		loop_watch(dev->loop, &fs->answers, 0, NULL);
	fs_window_free(fs->window);
	free(fs);
}

static const struct virtio_ops ops = {
	.name = "fs",
	.device_id = VIRTIO_ID_FS,
	.queue_count = FS_QUEUES,
	.queue_size = QUEUE_SIZE,
	.external = true,
	.read_config = read_config,
	.activate = activate,
	.reset = reset,
	.settle = settle,
	.save = virtio_save_nothing,
	.restore = restore,
	.destroy = destroy,
};

static const struct virtio_ops window_ops = {
	.name = "fs",
	.device_id = VIRTIO_ID_FS,
	.queue_count = FS_QUEUES,
	.queue_size = QUEUE_SIZE,
	.read_config = read_config,
	.activate = activate,
	.notify = notify,
	.reset = reset,
	.settle = settle,
	.save = virtio_save_nothing,
	.restore = restore,
	.destroy = destroy,
};

struct virtio_device *virtio_fs_new(int server, const char *tag, const struct guest_memory *memory,
				    struct loop *loop, struct error *err)
{
	struct fs_device *fs = calloc(1, sizeof(*fs));
	size_t len = strlen(tag);
	int r;

	if (!fs) {
		close(server);
		error_errno(err, ENOMEM, "virtio-fs");
		return NULL;
	}
	fs->server = server;
	fs->state = -1;
	fs->config.num_request_queues = 1;
	r = virtio_init(&fs->dev, memory->fd < 0 ? &window_ops : &ops, 0, memory, loop, err);
	if (r == 0 && memory->fd < 0)
		r = open_window(fs, err);
	if (r == 0 && (!len || len > sizeof(fs->config.tag)))
		r = error_set(err, EINVAL, "virtio-fs: a tag has 1 to %zu bytes, not `%s`",
			      sizeof(fs->config.tag), tag);
	if (r == 0) {
		/* A tag that fills its place has no NUL behind it (virtio 1.2, 5.11.4). */
		for (size_t i = 0; i < len; i++)
			fs->config.tag[i] = (uint8_t)tag[i];
		fs->source =
			(struct loop_source){ .fd = server, .callback = server_spoke, .data = fs };
		r = loop_watch(loop, &fs->source, EPOLLIN, err);
	}
	if (r < 0) {
		virtio_free(&fs->dev);
		return NULL;
	}
	return &fs->dev;
}

void virtio_fs_save_to(struct virtio_device *dev, int fd)
{
	((struct fs_device *)dev)->state = fd;
}

void virtio_fs_watch(struct virtio_device *dev, void (*lost)(void *data, const char *why),
		     void *data)
{
	struct fs_device *fs = (struct fs_device *)dev;

	fs->lost = lost;
	fs->lost_data = data;
}

/* Where the memory is private, the server does not have it. */
int virtio_fs_track(struct virtio_device *dev, int fd, struct error *err)
{
	struct fs_device *fs = (struct fs_device *)dev;
	struct answer answer = { 0 };
	int r;

	if (fs->window)
		return 0;
	pthread_mutex_lock(&dev->lock);
	r = fs->server < 0 ? error_set(err, EPIPE, ENDED)
			   : message_send(fs->server, FS_TRACK, NULL, 0, &fd, fd >= 0, err);
	if (r == 0)
		r = await(fs, FS_TRACKING, sizeof(answer.err), ANSWER_MS, &answer, err);
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? r : pass_on(&answer, err);
}
