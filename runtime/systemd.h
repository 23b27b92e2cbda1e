/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What systemd gives a service, passed on to the workload: sockets it was activated by
 * (LISTEN_FDS), and a place to say that it is ready (NOTIFY_SOCKET).
 *
 * The readiness socket of the host is not shown to the container, whose messages could then name
 * another main process or store descriptors. The container gets a socket of hull's own, in a
 * directory that only it sees (/run/notify, read-only), and hull passes on that it is ready, nothing
 * else. In a microVM hull-guest does that, and connects to a port of the host's once it has heard
 * so. hull has no daemon, so somebody must wait for that: `run` in the foreground does beside all
 * else, `start` and `run --detach` return once the workload is ready or has ended. runc and crun do
 * the same.
 *
 * Sources: sd_listen_fds(3), sd_notify(3).
 */
#ifndef HULL_RUNTIME_SYSTEMD_H
#define HULL_RUNTIME_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct container;
struct sandbox_io;

/*
 * Adds the sockets that we were given to what the workload gets: they are its first descriptors, from 3 on, and those of
 * --preserve-fds follow. No-op where we were given none.
 */
int systemd_sockets(struct sandbox_io *io, struct error *err);

/*
 * Before the container is made: where we have NOTIFY_SOCKET, gives the container a directory for its own socket, by a mount
 * and a variable in c->config. Not where the configuration sets the variable, or there is no new mount namespace.
 */
int systemd_notify_offer(struct container *c, struct error *err);

/*
 * Before the workload is executed: opens the container's socket. *sock is the caller's to close, -1 where we have no
 * NOTIFY_SOCKET or the container has no directory for it.
 */
int systemd_notify_listen(const struct container *c, int *sock, struct error *err);

/* Reads what the workload sent, without waiting. Whether it says that it is ready. */
bool systemd_notify_is_ready(int sock);

/*
 * As systemd_notify_is_ready(). Once it says that it is ready, tells systemd, with main_pid (0: we stay
 * the main process) as the service's process, and returns true. That systemd cannot be reached is a warning.
 */
bool systemd_notify_forward(int sock, pid_t main_pid);

/* Waits until the workload, the process pid, is ready or has ended, and passes it on. Closes sock; -1: returns at once. */
void systemd_notify_wait(int sock, pid_t pid, uint64_t start_time);

#endif
