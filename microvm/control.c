/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a running monitor; see control.h. Whoever reaches the socket may do all that it offers. */
#include "microvm/control.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/message.h"
#include "microvm/virtio_balloon.h"

int control_tell(int sock, const struct error *result, struct error *err)
{
	if (!result)
		return message_send(sock, CONTROL_DONE, NULL, 0, NULL, 0, err);
	return message_send(sock, CONTROL_FAILED, result, sizeof(*result), NULL, 0, err);
}

/* The answer of a request that has one. */
struct answer {
	struct control_status status;
	size_t len;
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

/* tap: the request's descriptor, taken over, or -1. */
static int act(struct vmm *vmm, const struct message *request, const void *payload, int tap,
	       struct answer *answer, struct error *err)
{
	if (request->type == CONTROL_NET)
		return attach_tap(vmm, request, payload, tap, err);
	close_fd(&tap);
	switch (request->type) {
	case CONTROL_PAUSE:
		vmm_pause(vmm);
		return 0;
	case CONTROL_RESUME:
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
	loop_watch(&client->control->vmm->loop, &client->source, 0, NULL);
	close_fd(&client->source.fd);
}

static void serve(struct loop_source *source, uint32_t events)
{
	struct control_client *client = source->data;
	struct error result = { 0 };
	struct message message;
	struct answer answer = { .len = 0 };
	char payload[64] = { 0 };
	int r;

	(void)events;
	if (message_receive(source->fd, &message, payload, sizeof(payload), &result) < 0) {
		disconnect(client);
		return;
	}
	for (unsigned i = 1; i < message.fd_count; i++)
		close(message.fds[i]);
	r = act(client->control->vmm, &message, payload, message.fd_count ? message.fds[0] : -1,
		&answer, &result);
	/* The socket does not block: nobody waits for one that does not read its answers. */
	r = r < 0 ? control_tell(source->fd, &result, NULL)
		  : message_send(source->fd, CONTROL_DONE, &answer.status, answer.len, NULL, 0,
				 NULL);
	if (r < 0)
		disconnect(client);
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
}
