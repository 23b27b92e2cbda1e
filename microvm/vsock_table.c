/* SPDX-License-Identifier: Apache-2.0 */
/* See vsock_table.h. */
#include "microvm/vsock_table.h"

#include <sys/epoll.h>
#include <sys/socket.h>

struct vsock_connection *vsock_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	for (struct vsock_connection *c = v->connections; c; c = c->next)
		if (c->state != VSOCK_COMMAND && c->state != VSOCK_DRAINING &&
		    c->guest_port == guest_port && c->host_port == host_port)
			return c;
	return NULL;
}

bool vsock_has_tag(const struct vsock *v, uint32_t tag)
{
	const struct vsock_connection *c = v->connections;

	while (c && c->tag != tag)
		c = c->next;
	return c != NULL;
}

void vsock_watch(struct vsock *v, struct vsock_connection *c)
{
	uint32_t events = 0;

	if (c->state == VSOCK_COMMAND ||
	    (c->state == VSOCK_ESTABLISHED && !c->input_ended && !c->input_ready))
		events |= EPOLLIN;
	if ((c->state == VSOCK_ESTABLISHED || c->state == VSOCK_DRAINING) && vsock_backlog(c))
		events |= EPOLLOUT;
	if (c->source.fd >= 0 && c->source.events != events)
		loop_watch(v->dev.loop, &c->source, events, NULL);
}

void vsock_enqueue(struct vsock *v, struct vsock_connection *c)
{
	if (c->queued)
		return;
	c->queued = true;
	c->next_ready = NULL;
	*v->ready_end = c;
	v->ready_end = &c->next_ready;
}

void vsock_say(struct vsock *v, struct vsock_connection *c, uint32_t what)
{
	c->pending |= what;
	vsock_enqueue(v, c);
}

void vsock_unlink_ready(struct vsock *v, struct vsock_connection *c)
{
	struct vsock_connection **at = &v->ready;

	if (!c->queued)
		return;
	while (*at != c)
		at = &(*at)->next_ready;
	*at = c->next_ready;
	if (v->ready_end == &c->next_ready)
		v->ready_end = at;
	c->queued = false;
}

void vsock_forget(struct vsock *v, struct vsock_connection *c)
{
	struct vsock_connection **at = &v->connections;

	vsock_unlink_ready(v, c);
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	v->count--;
	if (c->source.events)
		loop_watch(v->dev.loop, &c->source, 0, NULL);
	close_fd(&c->source.fd);
	c->forgotten = true;
	c->next = v->dead;
	v->dead = c;
}

void vsock_free_dead(struct vsock *v)
{
	while (v->dead) {
		struct vsock_connection *c = v->dead;

		v->dead = c->next;
		vsock_connection_free(c);
	}
}

void vsock_drop_host(struct vsock *v, struct vsock_connection *c)
{
	if (c->source.events)
		loop_watch(v->dev.loop, &c->source, 0, NULL);
	close_fd(&c->source.fd);
	c->input_ready = false;
	c->input_ended = true;
}

void vsock_reset_connection(struct vsock *v, struct vsock_connection *c)
{
	vsock_drop_host(v, c);
	if (c->state == VSOCK_COMMAND) {
		vsock_forget(v, c);
		return;
	}
	c->state = VSOCK_CLOSING;
	c->pending = 0;
	vsock_say(v, c, VSOCK_SAY_RST);
}

/* Both sides have nothing to say any more, or the guest agreed to the end. */
static void end_if_over(struct vsock *v, struct vsock_connection *c)
{
	if (c->output_ended && c->input_ended && !vsock_backlog(c)) {
		vsock_drop_host(v, c);
		c->state = VSOCK_CLOSING;
		vsock_say(v, c, VSOCK_SAY_RST);
	}
}

void vsock_end_output(struct vsock *v, struct vsock_connection *c)
{
	if (!vsock_backlog(c) && c->source.fd >= 0)
		shutdown(c->source.fd, SHUT_WR);
	end_if_over(v, c);
}

struct vsock_connection *vsock_add(struct vsock *v, int fd, enum vsock_state state)
{
	struct vsock_connection *c;

	if (v->count >= VSOCK_CONNECTIONS_MAX) {
		close(fd);
		return NULL;
	}
	c = vsock_connection_new(v, fd, v->on_connection);
	if (!c) {
		close(fd);
		return NULL;
	}
	c->state = state;
	c->next = v->connections;
	v->connections = c;
	v->count++;
	return c;
}

void vsock_request(struct vsock *v, struct vsock_connection *c, uint32_t guest_port)
{
	do {
		c->host_port = v->next_port;
		v->next_port =
			v->next_port == UINT32_MAX - 1 ? VSOCK_FIRST_HOST_PORT : v->next_port + 1;
	} while (vsock_find(v, guest_port, c->host_port));
	c->guest_port = guest_port;
	c->state = VSOCK_REQUESTED;
	vsock_say(v, c, VSOCK_SAY_REQUEST);
}
