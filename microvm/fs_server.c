/* SPDX-License-Identifier: Apache-2.0 */
/* The file server's loop; see fs_server.h. */
#include "microvm/fs_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/message.h"
#include "microvm/fs_fuse.h"
#include "microvm/fs_path.h"
#include "microvm/fs_protocol.h"
#include "microvm/fs_state.h"
#include "microvm/loop.h"

#define BUDGET 64 /* requests of one queue before the others have a turn */

struct server {
	struct fs *fs;
	struct error unfit; /* why it cannot go on from the state that it was given */
	struct loop loop;
	struct loop_source socket;
	/* From START to STOP. */
	bool started;
	struct guest_memory memory;
	int dirty; /* where what is written of it is noted; -EBADF: nowhere */
	int interrupt;
	int kicks[FS_QUEUES];
	struct loop_source kick_sources[FS_QUEUES];
	struct virtq queues[FS_QUEUES];
	struct virtq_chain chain; /* the request that is served; too large for the stack */
};

static void signal_eventfd(int fd)
{
	/* It fails only where the counter is full, and then it is signalled anyway. */
	eventfd_write(fd, 1);
}

/* ---- queues -------------------------------------------------------------------------------------- */

static void serve(struct server *s, struct virtq *q)
{
	struct virtq_chain *chain = &s->chain;
	size_t written = fs_handle(s->fs, chain->iov, chain->readable, chain->iov + chain->readable,
				   chain->writable);

	virtq_push(q, chain, (uint32_t)written);
	/* Not only at the end: the next request may take long, and somebody waits for this one. */
	if (virtq_must_interrupt(q))
		signal_eventfd(s->interrupt);
}

/* Whether more may be left, where the budget was not enough. */
static bool serve_queue(struct server *s, unsigned index, unsigned budget)
{
	struct virtq *q = &s->queues[index];
	int r;

	do {
		virtq_ask_notify(q, false);
		while ((r = virtq_pop(q, &s->chain)) > 0) {
			serve(s, q);
			if (!--budget)
				return true;
		}
	} while (r == 0 && virtq_ask_notify(q, true));
	if (r < 0)
		message_send(s->socket.fd, FS_BROKEN, NULL, 0, NULL, 0, NULL);
	return false;
}

static void kicked(struct loop_source *source, uint32_t events)
{
	struct server *s = source->data;
	unsigned index = (unsigned)(source - s->kick_sources);
	eventfd_t count;

	(void)events;
	/* Before the queue is looked at: what comes later is notified again. */
	if (eventfd_read(source->fd, &count) == 0 && s->queues[index].enabled &&
	    serve_queue(s, index, BUDGET))
		signal_eventfd(s->kicks[index]);
}

/* ---- the monitor --------------------------------------------------------------------------------- */

static void stop(struct server *s)
{
	if (!s->started)
		return;
	s->started = false;
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		virtq_disable(&s->queues[i]);
		if (s->kick_sources[i].events)
			loop_watch(&s->loop, &s->kick_sources[i], 0, NULL);
		close_fd(&s->kicks[i]);
	}
	close_fd(&s->interrupt);
	guest_memory_free(&s->memory);
	fs_reset(s->fs);
}

static int start_queue(struct server *s, unsigned index, const struct fs_start *start,
		       struct error *err)
{
	int r = virtq_enable(&s->queues[index], &s->memory, &start->queues[index], VIRTQ_SIZE_MAX,
			     start->features, err);

	s->kick_sources[index] =
		(struct loop_source){ .fd = s->kicks[index], .callback = kicked, .data = s };
	if (r == 0)
		r = loop_watch(&s->loop, &s->kick_sources[index], EPOLLIN, err);
	return r;
}

static int note_writes(struct server *s, struct error *err)
{
	int copy = s->dirty < 0 ? -EBADF : fcntl(s->dirty, F_DUPFD_CLOEXEC, 0), r;

	guest_memory_untrack(&s->memory);
	if (s->dirty < 0)
		return 0;
	r = copy < 0 ? error_errno(err, errno, "track the guest's memory")
		     : guest_memory_share_track(&s->memory, copy, err);
	if (r == 0)
		guest_memory_track(&s->memory);
	return r;
}

/* Takes the message's descriptors. */
static int start(struct server *s, struct message *message, const struct fs_start *start,
		 struct error *err)
{
	int r;

	if (message->len != sizeof(*start) || message->fd_count != FS_FDS || s->started)
		return error_set(err, EPROTO, "a message that makes no sense");
	if (s->unfit.code) {
		*err = s->unfit;
		return error_negative(err->code);
	}
	message->fd_count = 0;
	s->started = true;
	s->interrupt = message->fds[FS_FD_INTERRUPT];
	for (unsigned i = 0; i < FS_QUEUES; i++)
		s->kicks[i] = message->fds[FS_FD_KICK + i];
	r = guest_memory_open(&s->memory, message->fds[FS_FD_MEMORY], err);
	if (r == 0 && s->dirty >= 0)
		r = note_writes(s, err);
	for (unsigned i = 0; r == 0 && i < FS_QUEUES; i++)
		r = start_queue(s, i, start, err);
	if (r < 0)
		stop(s);
	return r;
}

static int track(struct server *s, struct message *message, struct error *err)
{
	close_fd(&s->dirty);
	if (message->fd_count == 1) {
		s->dirty = message->fds[0];
		message->fd_count = 0;
	}
	return s->started ? note_writes(s, err) : 0;
}

/* The guest is paused: what is in the queues, notified or not, is all that comes. */
static int save(struct server *s, const struct message *message, struct error *err)
{
	if (message->len || message->fd_count != 1)
		return error_set(err, EPROTO, "a message that makes no sense");
	if (s->unfit.code) {
		*err = s->unfit;
		return error_negative(err->code);
	}
	for (unsigned i = 0; s->started && i < FS_QUEUES; i++)
		while (s->queues[i].enabled && serve_queue(s, i, BUDGET))
			;
	return fs_state_save(s->fs, message->fds[0], err);
}

static void spoken_to(struct loop_source *source, uint32_t events)
{
	struct server *s = source->data;
	struct message message = { 0 };
	struct error err = { 0 };
	struct fs_start payload = { 0 };
	int r = message_receive(source->fd, &message, &payload, sizeof(payload), &err);

	(void)events;
	if (r == 0 && message.type == FS_START) {
		start(s, &message, &payload, &err);
		r = message_send(source->fd, FS_STARTED, &err, sizeof(err), NULL, 0, NULL);
	} else if (r == 0 && message.type == FS_TRACK) {
		track(s, &message, &err);
		r = message_send(source->fd, FS_TRACKING, &err, sizeof(err), NULL, 0, NULL);
	} else if (r == 0 && message.type == FS_SAVE) {
		save(s, &message, &err);
		r = message_send(source->fd, FS_SAVED, &err, sizeof(err), NULL, 0, NULL);
	} else if (r == 0 && message.type == FS_STOP) {
		stop(s);
		r = message_send(source->fd, FS_STOPPED, NULL, 0, NULL, 0, NULL);
	} else if (r == 0) {
		r = -EPROTO;
	}
	for (unsigned i = 0; i < message.fd_count; i++)
		close(message.fds[i]);
	/* The monitor ended, or talks nonsense. */
	if (r < 0)
		loop_end(&s->loop);
}

/* ---- the process --------------------------------------------------------------------------------- */

static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_root(int root, struct error *err)
{
	int fd = root >= 0 ? root : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? error_errno(err, errno, "open the root of the tree") : fd;
}

static int make_fs(struct server *s, const struct fs_server_config *config, struct error *err)
{
	_cleanup_close_ int proc = config->proc, root = open_root(config->root, err);
	struct fs_config fs_config;

	if (root < 0)
		return root;
	raise_limit();
	fs_config_init(&fs_config);
	fs_config.read_only = config->read_only;
	fs_config.descriptors = fs_open_descriptors(proc, err);
	if (fs_config.descriptors < 0)
		return fs_config.descriptors;
	fs_config.root = take_fd(&root);
	s->fs = fs_new(&fs_config, err);
	return s->fs ? 0 : error_negative(err->code);
}

/* Who hears why it cannot be is the monitor: the server lives until it was asked. */
static void go_on(struct server *s, int *state)
{
	if (*state >= 0)
		fs_state_load(s->fs, *state, &s->unfit);
	close_fd(state); /* it may be large, and removed */
}

static int run(struct server *s, const struct fs_server_config *config, int *state,
	       struct error *err)
{
	int r = make_fs(s, config, err);

	if (r == 0)
		r = loop_open(&s->loop, err);
	if (r == 0 && config->confine)
		r = config->confine(config->data, err);
	if (r < 0)
		return r;
	go_on(s, state);
	r = loop_watch(&s->loop, &s->socket, EPOLLIN, err);
	if (r == 0)
		r = loop_run(&s->loop, err);
	return r;
}

int fs_server_main(const struct fs_server_config *config, struct error *err)
{
	struct server *s = calloc(1, sizeof(*s));
	_cleanup_close_ int socket = config->socket, state = config->state;
	struct error own = { 0 };
	int r;

	if (!s)
		return error_errno(err, ENOMEM, "serve files");
	s->loop.epoll = s->interrupt = s->dirty = -EBADF;
	for (unsigned i = 0; i < FS_QUEUES; i++)
		s->kicks[i] = -EBADF;
	s->socket = (struct loop_source){ .fd = socket, .callback = spoken_to, .data = s };
	/* A guest that writes beyond the limit of a file's size gets an error, and does not end us. */
	signal(SIGXFSZ, SIG_IGN);
	r = run(s, config, &state, &own);
	stop(s);
	close_fd(&s->dirty);
	loop_close(&s->loop);
	fs_free(s->fs);
	free(s);
	if (r < 0 && err)
		*err = own;
	return r;
}
