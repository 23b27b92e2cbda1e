/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload of a microVM: the container's first process, which hull-guest makes. hull-vmm carries its streams, passes on to it the
 * signals that it gets itself, and ends when and as it ends.
 */
#ifndef HULL_CMD_VMM_WORKLOAD_H
#define HULL_CMD_VMM_WORKLOAD_H

#include "microvm/control.h"
#include "microvm/vmm.h"
#include "sandbox/session.h"

struct workload {
	struct vmm *vmm;
	struct control *saver; /* who is told what came of workload_hold() */
	struct session session;
	bool connected; /* hull-guest has made its main connection */
	bool ended;
	int snapshot; /* where the machine is saved once hull-guest is up; -1: nowhere */
	int status;   /* of the process, once it has ended; else -1 */
	struct loop_source timer; /* the time that the guest gets to switch itself off after that */
};

/*
 * Prepares, in a restored machine as the workload was; with terminal, standard input is the secondary side of one. snapshot, which becomes the workload's: see there. Before the guest runs;
 * undone by workload_free().
 */
int workload_init(struct workload *workload, struct vmm *vmm, bool terminal, int snapshot,
		  struct control *saver, struct error *err);
void workload_free(struct workload *workload);

/* For struct vmm_hooks. */
int workload_save(struct workload *workload, struct snapshot *snapshot, struct error *err);
int workload_hold(struct workload *workload, struct error *err);
void workload_release(struct workload *workload);

/* A signal that hull-vmm got. */
void workload_signal(struct workload *workload, const struct signalfd_siginfo *info);

#endif
