/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about processes, safe against the reuse of process ids. */
#ifndef HULL_BASE_PROCESS_H
#define HULL_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* What /proc/PID/stat says (proc(5)); start_time in clock ticks since boot names this very process. */
struct process_stat {
	char state; /* R, S, D, Z, T, … */
	pid_t parent;
	uint64_t start_time;
};

/* 0, or -ESRCH where there is no such process, -EACCES where procfs hides it (its mount option hidepid). */
int process_read_stat(pid_t pid, struct process_stat *st, struct error *err);

/*
 * A pidfd of the process that had this start time: the descriptor is opened first and the time
 * checked afterwards, so that the answer cannot be about another process. -ESRCH where it is gone
 * or a zombie; -ENODEV where /proc does not show what can be signalled.
 */
int process_open(pid_t pid, uint64_t start_time, struct error *err);

/*
 * Whether the caller is root of the host: no ordinary user, and not root of a user namespace either, who
 * is called 0, but may do no more than the user that made the namespace (podman's without root, say).
 */
bool process_is_host_root(void);

/*
 * The caller's user id as it is outside of its user namespace: what a path or a file names the user by. The id itself in the
 * host's namespace.
 */
uid_t process_outer_uid(void);

/* The exit status a shell would show for the wait status of waitpid(2): the code, or 128 + signal. */
int process_exit_status(int wait_status);

/*
 * In a new process: no signal is blocked or ignored, also not those two that the C library keeps for itself (nptl(7)), which some
 * callers leave ignored. The caller, or whoever called it, may block or ignore any.
 */
void process_reset_signals(void);

/* Sends a signal to the process that has this id and start time; -ESRCH where it is gone. */
int process_signal(pid_t pid, uint64_t start_time, int sig, struct error *err);

/* Kills the process pid, of which pidfd is, whoever's child it is. That it is gone already is no error. */
int process_kill(int pidfd, pid_t pid, struct error *err);

/* Waits until a killed process has ended, whoever's child it is; -ETIMEDOUT after ten seconds. */
int process_await_end(int pidfd, pid_t pid, struct error *err);

/* Waits for the child pid and returns its wait status, or a negative errno. */
int process_wait(pid_t pid, int *wait_status);

/*
 * Calls the function in a child, which ends with it, and waits: for what changes a process for good, as entering a namespace
 * does. Returns what the function returns if that is negative, with its message; else 0.
 */
int process_in_child(int (*fn)(void *data, struct error *err), void *data, struct error *err);

/* Finds a user's name in /etc/passwd. */
bool process_user_name(uid_t uid, char *name, size_t size);

/* A descriptor (O_PATH) of /proc/PID. Whose that is, is for the caller to know: a child that is not waited for cannot be another. */
int process_open_dir(pid_t pid, struct error *err);

/* A descriptor of /proc, which is verified to be procfs. */
int process_open_procfs(struct error *err);

/*
 * A procfs of the caller's pid namespace that shows processes only (subset=pid) and is mounted nowhere. In a user namespace the kernel
 * makes one only where another can be seen whole.
 */
int process_mount_procfs(struct error *err);

#endif
