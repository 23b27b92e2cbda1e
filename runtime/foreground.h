/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Being the foreground of a process: its signals, its terminal, its end.
 */
#ifndef HULL_RUNTIME_FOREGROUND_H
#define HULL_RUNTIME_FOREGROUND_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* Blocks all signals, so that from now on they wait for foreground_wait(). Call before the process is made. */
int foreground_begin(struct error *err);

/* The size of our terminal, for a process that gets one of its own; false where we have none. */
struct oci_console_size;
bool foreground_window_size(struct oci_console_size *size);

/*
 * Waits for the child pid, forwarding to it the signals that we get. terminal: the primary side of
 * its terminal, or -1; with one, standard input and output are connected to it, and where standard
 * input is a terminal that is raw meanwhile and restored at the end. Other children that end are reaped.
 * notify: the workload's readiness socket (systemd_notify_listen()), or -1. *status: as waitpid(2) gives it.
 * Closes terminal and notify.
 */
int foreground_wait(pid_t pid, int terminal, int notify, int *status, struct error *err);

#endif
