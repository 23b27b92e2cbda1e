/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a running monitor; see control.h. Whoever reaches the socket may do all that it offers. */
#include "microvm/control.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/message.h"
#include "microvm/virtio_balloon.h"

#define COPY_AT_ONCE (UINT64_C(16) << 20) /* bytes of memory, between which devices are served */

#define HOLD_TIME 30 /* seconds for the guest to freeze its workload */

int control_tell(int sock, const struct error *result, struct error *err)
{
	if (!result)
		return message_send(sock, CONTROL_DONE, NULL, 0, NULL, 0, err);
	return message_send(sock, CONTROL_FAILED, result, sizeof(*result), NULL, 0, err);
}

/* The answer of a request that has one. */
struct answer {
	union {
		struct control_status status;
		struct control_saved saved;
	};
	size_t len;
	bool later; /* not yet */
};

static int attach_tap(struct vmm *vmm, const struct message *request, const void *payload, int tap,
		      struct error *err)
{
	uint32_t card;

	if (request->len != sizeof(card) || tap < 0) {
		close_fd(&tap);
		return error_errno(err, EPROTO, "attach a tap device");
	}
	memcpy(&card, payload, sizeof(card));
	if (card >= vmm->config.card_count) {
		close_fd(&tap);
		return error_set(err, ENODEV, "the machine has %u network cards, and no number %u",
				 vmm->config.card_count, card);
	}
	return virtio_net_attach(vmm->cards[card], tap, err);
}

static int set_memory(struct vmm *vmm, const struct message *request, const void *payload,
		      struct error *err)
{
	uint64_t mib, all = vmm->config.memory >> 20;

	if (request->len != sizeof(mib) || !vmm->balloon)
		return error_errno(err, EPROTO, "set the guest's memory");
	memcpy(&mib, payload, sizeof(mib));
	virtio_balloon_set_target(vmm->balloon, mib < all ? (uint32_t)((all - mib) << 8) : 0);
	return 0;
}

static void tell_status(struct vmm *vmm, struct answer *answer)
{
	struct virtio_balloon_stats stats = { 0 };

	if (vmm->balloon)
		virtio_balloon_stats(vmm->balloon, &stats);
	answer->status =
		(struct control_status){ .paused = vmm->paused,
					 .memory_mib = (uint32_t)(vmm->config.memory >> 20),
					 .balloon_mib = stats.actual >> 8 };
	answer->len = sizeof(answer->status);
}

/* ---- saving ------------------------------------------------------------------------------------------ */

static void forget_saving(struct control_saving *saving)
{
	*saving = (struct control_saving){
		.copying = saving->copying,
		.timer = saving->timer,
		.machine = -EBADF,
		.files = -EBADF,
	};
}

/* 0: no more. */
static void set_timer(const struct control *control, time_t seconds)
{
	const struct itimerspec time = { .it_value.tv_sec = seconds };

	timerfd_settime(control->saving.timer.fd, 0, &time, NULL);
}

static void stop_copying(struct control *control)
{
	if (control->saving.copying.events)
		loop_watch(&control->vmm->loop, &control->saving.copying, 0, NULL);
}

/* Whoever had it saved has ended, or is done: all goes on. */
static void end_saving(struct control *control)
{
	struct control_saving *saving = &control->saving;
	const struct vmm_hooks *hooks = &control->vmm->config.hooks;

	if (!saving->client)
		return;
	vmm_save_end(control->vmm);
	close_fd(&saving->machine);
	close_fd(&saving->files);
	if (saving->held)
		hooks->release(hooks->data);
	if (saving->was_paused)
		vmm_pause(control->vmm);
	else if (saving->stopped)
		vmm_resume(control->vmm);
	stop_copying(control);
	forget_saving(saving);
}

static int begin_file(struct control *control, struct error *err)
{
	struct control_saving *saving = &control->saving;
	int r = saving->begun ? 0 : vmm_save_begin(control->vmm, saving->machine, err);

	saving->begun = true;
	return r;
}

static int save_now(struct control *control, struct control_saved *saved, struct error *err)
{
	struct control_saving *saving = &control->saving;
	int r;

	saving->stopped = true;
	vmm_pause(control->vmm);
	r = begin_file(control, err);
	if (r == 0)
		r = vmm_save(control->vmm, saving->files, &saved->pages, err);
	vmm_save_end(control->vmm);
	if (r < 0)
		end_saving(control);
	return r;
}

/* That of the machine for a client who may have begun already; taken over. */
static int take_machine(struct control_client *client, int machine, struct error *err)
{
	struct control_saving *saving = &client->control->saving;

	if (saving->client == client && !saving->held && !saving->stopped &&
	    !saving->copying.events) {
		close_fd(&machine);
		return 0;
	}
	if (saving->client || machine < 0) {
		close_fd(&machine);
		return error_errno(err, saving->client ? EBUSY : EPROTO, "save the machine");
	}
	saving->client = client;
	saving->machine = machine;
	return 0;
}

static int copy(struct control_client *client, int machine, struct answer *answer,
		struct error *err)
{
	struct control *control = client->control;
	int r = take_machine(client, machine, err);

	if (r < 0)
		return r;
	r = begin_file(control, err);
	if (r == 0)
		r = vmm_save_round(control->vmm, err);
	if (r == 0)
		r = loop_watch(&control->vmm->loop, &control->saving.copying, EPOLLIN, err);
	if (r < 0)
		end_saving(control);
	answer->later = r == 0;
	return r;
}

static int save(struct control_client *client, int machine, int files, struct answer *answer,
		struct error *err)
{
	struct control *control = client->control;
	const struct vmm_hooks *hooks = &control->vmm->config.hooks;
	int r = take_machine(client, machine, err);

	if (r == 0 && files < 0)
		r = error_errno(err, EPROTO, "save the machine");
	if (r < 0) {
		close_fd(&files);
		return r;
	}
	control->saving.files = files;
	answer->len = sizeof(answer->saved);
	control->saving.was_paused = control->vmm->paused;
	if (!hooks->hold)
		return save_now(control, &answer->saved, err);
	/* A guest that has stopped can hold nothing: it goes on for that moment. */
	vmm_resume(control->vmm);
	r = hooks->hold(hooks->data, err);
	set_timer(control, r == 0 ? HOLD_TIME : 0);
	control->saving.held = answer->later = r == 0;
	if (r < 0)
		end_saving(control);
	return r;
}

/* ---- requests ---------------------------------------------------------------------------------------- */

/* fds: the request's descriptors, taken over; -1 where there is none. */
static int act(struct control_client *client, const struct message *request, const void *payload,
	       int fds[2], struct answer *answer, struct error *err)
{
	struct control *control = client->control;
	struct vmm *vmm = control->vmm;

	if (request->type == CONTROL_COPY)
		return copy(client, take_fd(&fds[0]), answer, err);
	if (request->type == CONTROL_SAVE)
		return save(client, take_fd(&fds[0]), take_fd(&fds[1]), answer, err);
	if (request->type == CONTROL_NET)
		return attach_tap(vmm, request, payload, take_fd(&fds[0]), err);
	switch (request->type) {
	case CONTROL_PAUSE:
		vmm_pause(vmm);
		return 0;
	case CONTROL_RESUME:
		if (control->saving.client && control->saving.client != client)
			return error_set(err, EBUSY, "the machine is being saved");
		control->saving.was_paused = false;
		end_saving(control);
		vmm_resume(vmm);
		return 0;
	case CONTROL_STATUS:
		tell_status(vmm, answer);
		return 0;
	case CONTROL_MEMORY:
		return set_memory(vmm, request, payload, err);
	default:
		return error_set(err, EPROTO, "the monitor does not know the request %u",
				 request->type);
	}
}

static void disconnect(struct control_client *client)
{
	struct control *control = client->control;

	loop_watch(&control->vmm->loop, &client->source, 0, NULL);
	close_fd(&client->source.fd);
	if (control->saving.client == client)
		end_saving(control);
}

/* The socket does not block: nobody waits for one that does not read its answers. */
static void answer_client(struct control_client *client, const struct answer *answer, int r,
			  const struct error *result)
{
	r = r < 0 ? control_tell(client->source.fd, result, NULL)
		  : message_send(client->source.fd, CONTROL_DONE, &answer->status, answer->len,
				 NULL, 0, NULL);
	if (r < 0)
		disconnect(client);
}

void control_held(struct control *control, int code)
{
	struct control_client *client = control->saving.client;
	struct answer answer = { .len = sizeof(answer.saved) };
	struct error result = { 0 };
	int r;

	/* Whoever asked for it may have left. */
	if (!client || !control->saving.held || control->saving.stopped)
		return;
	set_timer(control, 0);
	r = code ? error_errno(&result, code, "the microVM does not freeze its workload")
		 : save_now(control, &answer.saved, &result);
	if (code)
		end_saving(control);
	answer_client(client, &answer, r, &result);
}

/* A guest that does not answer is not waited for. */
static void hold_timed_out(struct loop_source *source, uint32_t events)
{
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) == sizeof(count))
		control_held(source->data, ETIMEDOUT);
}

static void copy_more(struct loop_source *source, uint32_t events)
{
	struct control *control = source->data;
	struct control_client *client = control->saving.client;
	struct answer answer = { .len = sizeof(answer.saved) };
	struct error result = { 0 };
	int r = vmm_save_step(control->vmm, COPY_AT_ONCE, &answer.saved.pages, &result);

	(void)events;
	if (r > 0)
		return;
	stop_copying(control);
	if (r < 0)
		end_saving(control);
	answer_client(client, &answer, r, &result);
}

static void serve(struct loop_source *source, uint32_t events)
{
	struct control_client *client = source->data;
	struct error result = { 0 };
	struct message message;
	struct answer answer = { .len = 0 };
	char payload[64] = { 0 };
	int fds[2] = { -EBADF, -EBADF }, r;

	(void)events;
	if (message_receive(source->fd, &message, payload, sizeof(payload), &result) < 0) {
		disconnect(client);
		return;
	}
	for (unsigned i = 0; i < message.fd_count; i++) {
		if (i < ARRAY_SIZE(fds))
			fds[i] = message.fds[i];
		else
			close(message.fds[i]);
	}
	r = act(client, &message, payload, fds, &answer, &result);
	close_fd(&fds[0]);
	close_fd(&fds[1]);
	if (!answer.later || r < 0)
		answer_client(client, &answer, r, &result);
}

static struct control_client *find_free(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].source.fd < 0)
			return &control->clients[i];
	return NULL;
}

static void connected(struct loop_source *source, uint32_t events)
{
	struct control *control = source->data;
	struct control_client *client = find_free(control);
	_cleanup_close_ int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 || !client)
		return; /* whoever it was finds the connection closed */
	client->source.fd = fd;
	if (loop_watch(&control->vmm->loop, &client->source, EPOLLIN, NULL) < 0)
		client->source.fd = -EBADF;
	else
		take_fd(&fd);
}

int control_open(struct control *control, struct vmm *vmm, int listener, struct error *err)
{
	*control = (struct control){
		.vmm = vmm,
		.saving = { .machine = -EBADF,
			    .files = -EBADF,
			    .copying = { .fd = eventfd(1, EFD_CLOEXEC),
					 .callback = copy_more,
					 .data = control },
			    .timer = { .fd = timerfd_create(CLOCK_MONOTONIC,
							    TFD_CLOEXEC | TFD_NONBLOCK),
				       .callback = hold_timed_out,
				       .data = control } },
		.listener = { .fd = listener, .callback = connected, .data = control },
	};
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control->clients[i] = (struct control_client){
			.control = control,
			.source = {
				.fd = -EBADF,
				.callback = serve,
				.data = &control->clients[i],
			},
		};
	if (control->saving.copying.fd < 0 || control->saving.timer.fd < 0)
		return error_errno(err, errno, "eventfd");
	if (loop_watch(&vmm->loop, &control->saving.timer, EPOLLIN, err) < 0)
		return error_wrap(err, "the control socket");
	if (loop_watch(&vmm->loop, &control->listener, EPOLLIN, err) < 0)
		return error_wrap(err, "the control socket");
	return 0;
}

void control_close(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].source.fd >= 0)
			disconnect(&control->clients[i]);
	if (control->listener.events)
		loop_watch(&control->vmm->loop, &control->listener, 0, NULL);
	close_fd(&control->listener.fd);
	close_fd(&control->saving.copying.fd);
	if (control->saving.timer.events)
		loop_watch(&control->vmm->loop, &control->saving.timer, 0, NULL);
	close_fd(&control->saving.timer.fd);
}
