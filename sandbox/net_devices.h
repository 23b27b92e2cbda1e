/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.netDevices of a sandbox, of whatever kind: moved into the network namespace of its process when it is made, and back to the
 * host's when it ends. Meanwhile sb->net_namespace keeps that namespace, where it ends with the sandbox.
 */
#ifndef HULL_SANDBOX_NET_DEVICES_H
#define HULL_SANDBOX_NET_DEVICES_H

#include "sandbox/sandbox.h"

/* Moves them into the network namespace of sb->pid. proc: descriptor of the host's /proc. No-op where there are none. */
int net_devices_move(struct sandbox *sb, int proc, struct error *err);

/* After the creation: where it failed nothing of the sandbox ran, and they return as they were. Those in another's namespace stay there. */
void net_devices_settle(struct sandbox *sb, bool failed);

/* Before sb->pid (pidfd is its) is killed: while it is in the namespace that can be opened. */
void net_devices_hold(struct sandbox *sb, int pidfd);

/* When all in it have ended: back to the host, without what may have been put on them. What cannot be moved is a warning. */
void net_devices_return(struct sandbox *sb);

#endif
