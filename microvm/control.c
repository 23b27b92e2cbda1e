/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a running monitor; see control.h. Whoever reaches the socket may do all that it offers. */
#include "microvm/control.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/message.h"

int control_tell(int sock, const struct error *result, struct error *err)
{
	if (!result)
		return message_send(sock, CONTROL_DONE, NULL, 0, NULL, 0, err);
	return message_send(sock, CONTROL_FAILED, result, sizeof(*result), NULL, 0, err);
}

static int act(struct vmm *vmm, const struct message *request, struct error *err)
{
	switch (request->type) {
	case CONTROL_PAUSE:
		vmm_pause(vmm);
		return 0;
	case CONTROL_RESUME:
		vmm_resume(vmm);
		return 0;
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
	int r;

	(void)events;
	if (message_receive(source->fd, &message, NULL, 0, &result) < 0) {
		disconnect(client);
		return;
	}
	for (unsigned i = 0; i < message.fd_count; i++)
		close(message.fds[i]);
	r = act(client->control->vmm, &message, &result);
	/* The socket does not block: nobody waits for one that does not read its answers. */
	if (control_tell(source->fd, r < 0 ? &result : NULL, NULL) < 0)
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
