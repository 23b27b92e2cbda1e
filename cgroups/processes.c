/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a cgroup: listed, signalled, and the cgroup removed when they are gone. All this
 * works from the path alone and looks in every hierarchy, because hull may have been killed while a
 * process was in some of them and not yet in others.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/number.h"
#include "cgroups/internal.h"

#define PROCS_MAX      ((size_t)64 << 20) /* bytes of one cgroup.procs */
#define KILL_ROUNDS    64
#define KILL_FREEZE_MS 500
#define REMOVE_MS      2000

/* ---- listing ------------------------------------------------------------------------------ */

struct pid_list {
	pid_t *items;
	size_t len, cap;
};

static void pid_list_free(struct pid_list *list)
{
	free(list->items);
}

#define _cleanup_pids_ __attribute__((cleanup(pid_list_free)))

static bool pid_list_add(struct pid_list *list, pid_t pid)
{
	if (list->len == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 64;
		pid_t *more = reallocarray(list->items, cap, sizeof(*more));

		if (!more)
			return false;
		list->items = more;
		list->cap = cap;
	}
	list->items[list->len++] = pid;
	return true;
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static bool pid_list_has(const struct pid_list *list, pid_t pid)
{
	return list->len && bsearch(&pid, list->items, list->len, sizeof(pid), compare_pids);
}

static void sort_unique(struct pid_list *list)
{
	size_t n = 0;

	if (!list->len)
		return;
	qsort(list->items, list->len, sizeof(pid_t), compare_pids);
	for (size_t i = 0; i < list->len; i++)
		if (n == 0 || list->items[i] != list->items[n - 1])
			list->items[n++] = list->items[i];
	list->len = n;
}

/* The process that a thread is of; 0 where that is gone. */
static pid_t process_of(long thread)
{
	static const char label[] = "\nTgid:\t";
	char path[40], status[4096], *at;
	uint64_t pid;

	snprintf(path, sizeof(path), "/proc/%ld/status", thread);
	if (file_read_small(AT_FDCWD, path, status, sizeof(status), NULL) < 0)
		return 0;
	at = strstr(status, label);
	if (!at)
		return 0;
	at += strlen(label);
	return parse_u64_n(at, strcspn(at, "\n"), INT32_MAX, &pid) ? (pid_t)pid : 0;
}

/*
 * The processes in one cgroup. Those of a threaded one (of v2) are listed as its domain's, which may be above the container's:
 * then its threads tell of whom they are.
 */
static int read_pids(int dir, void *arg, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	struct pid_list *list = arg;
	ssize_t n = file_read(dir, "cgroup.procs", PROCS_MAX, &text, err);
	bool threads = n == -EOPNOTSUPP;

	error_clear(err);
	if (threads)
		n = file_read(dir, "cgroup.threads", PROCS_MAX, &text, err);
	if (n == -ENOENT || n == -ENODEV) { /* removed meanwhile */
		error_clear(err);
		return 0;
	}
	if (n < 0)
		return (int)n;
	for (char *p = text; *p; p++) {
		long pid = strtol(p, &p, 10);

		if (threads && pid > 0)
			pid = process_of(pid);
		/* 0 is a process outside our pid namespace; kill(0) would hit ourselves. */
		if (pid > 0 && !pid_list_add(list, (pid_t)pid))
			return error_errno(err, ENOMEM, "list the processes");
		if (*p != '\n')
			break;
	}
	return 0;
}

static int collect_pids(const struct cgroup_host *host, const char *path, struct pid_list *list,
			struct error *err)
{
	for (size_t h = 0; h < host->count; h++) {
		char full[CGROUP_FULL_MAX];
		int r;

		cgroup_full_path(host, (int)h, path, full);
		r = cgroup_walk(full, read_pids, list, err);
		if (r < 0)
			return error_wrap(err, "cgroup: `%s`", full), r;
	}
	sort_unique(list);
	return 0;
}

ssize_t cgroup_pids(const struct cgroup_host *host, const char *path, pid_t **pids,
		    struct error *err)
{
	_cleanup_pids_ struct pid_list list = { 0 };
	int r = cgroup_path_check(path, err);

	*pids = NULL;
	if (r == 0)
		r = collect_pids(host, path, &list, err);
	if (r < 0)
		return r;
	*pids = take_ptr(list.items);
	return (ssize_t)list.len;
}

/* ---- signalling --------------------------------------------------------------------------- */

/* Has the kernel kill all at once, forks in progress included. False where it cannot (before 5.14). */
static bool kill_v2(const struct cgroup_host *host, const char *path)
{
	char full[CGROUP_FULL_MAX + sizeof("/cgroup.kill")];
	int h = cgroup_v2_find(host);

	if (h < 0)
		return false;
	cgroup_full_path(host, h, path, full);
	strcat(full, "/cgroup.kill");
	return file_write_existing(AT_FDCWD, full, "1", NULL) == 0;
}

/* Signals those that are not in *seen, and adds them. Returns how many they were. */
static ssize_t signal_new(const struct cgroup_host *host, const char *path, int sig,
			  struct pid_list *seen, struct error *err)
{
	_cleanup_pids_ struct pid_list now = { 0 };
	ssize_t count = 0;
	size_t known = seen->len;
	int r = collect_pids(host, path, &now, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < now.len; i++) {
		pid_t pid = now.items[i];
		struct pid_list before = { seen->items, known, 0 };

		/* seen is sorted up to what it had before. */
		if (pid_list_has(&before, pid) || pid == getpid())
			continue;
		if (kill(pid, sig) < 0 && errno != ESRCH)
			return error_errno(err, errno,
					   "cgroup: send signal %d to process %d of cgroup `%s`",
					   sig, (int)pid, path);
		if (!pid_list_add(seen, pid))
			return error_errno(err, ENOMEM, "cgroup: list the processes of `%s`", path);
		count++;
	}
	sort_unique(seen);
	return count;
}

/*
 * Signals process by process. They are frozen meanwhile (where wanted, and where it works quickly):
 * then none can fork away, and none can end so that its number belongs to somebody else when the
 * signal is sent.
 */
static int signal_each(const struct cgroup_host *host, const char *path, int sig, bool freeze,
		       struct error *err)
{
	_cleanup_pids_ struct pid_list seen = { 0 };
	bool paused = cgroup_frozen(host, path, NULL) == 1;
	ssize_t count = 1;

	for (int round = 0; round < KILL_ROUNDS && count > 0; round++) {
		bool frozen = paused || (freeze && cgroup_freeze_within(host, path, true,
									KILL_FREEZE_MS, NULL) == 0);

		count = signal_new(host, path, sig, &seen, err);
		/* A process that v1 froze dies of SIGKILL only when it is thawed. */
		if (sig == SIGKILL) {
			cgroup_thaw_all(host, path);
			paused = false;
		} else if (frozen) {
			if (!paused)
				cgroup_freeze_within(host, path, false, KILL_FREEZE_MS, NULL);
			break;
		}
	}
	return count < 0 ? (int)count : 0;
}

int cgroup_kill(const struct cgroup_host *host, const char *path, int sig, struct error *err)
{
	int r = cgroup_path_check(path, err);
	bool killed;

	if (r < 0)
		return r;
	killed = sig == SIGKILL && kill_v2(host, path);
	if (killed && host->layout == CGROUP_V2)
		return 0;
	return signal_each(host, path, sig, !killed, err);
}

/* ---- removing ----------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int still_busy(const struct cgroup_host *host, const char *path, const char *full,
		      struct error *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	ssize_t n = cgroup_pids(host, path, &pids, NULL);

	if (n > 0)
		return error_set(err, EBUSY,
				 "cgroup: `%s` cannot be removed: process %d%s still in it; kill "
				 "them first (hull kill, hull delete --force)",
				 full, (int)pids[0], n > 1 ? " and others are" : " is");
	return error_set(
		err, EBUSY,
		"cgroup: `%s` cannot be removed: a dying process does not leave it, or one "
		"of another pid namespace is in it; retry later",
		full);
}

int cgroup_remove(const struct cgroup_host *host, const char *path, struct error *err)
{
	uint32_t left = (uint32_t)((1ULL << host->count) - 1);
	unsigned delay_us = 50;
	int64_t deadline = 0;
	int failed = 0, r = cgroup_path_check(path, err);

	if (r < 0)
		return r;
	for (;;) {
		char full[CGROUP_FULL_MAX];
		int busy = -1;

		for (size_t h = 0; h < host->count; h++) {
			if (!(left & 1U << h))
				continue;
			cgroup_full_path(host, (int)h, path, full);
			r = cgroup_remove_tree(full);
			if (r == -EBUSY) {
				busy = (int)h;
				continue;
			}
			/* One that cannot be removed must not keep the others from it. */
			if (r < 0)
				failed = error_errno(err, -r, "cgroup: remove `%s`", full);
			left &= ~(1U << h);
		}
		if (!left)
			return failed;
		if (!deadline)
			deadline = now_ms() + REMOVE_MS;
		else if (now_ms() >= deadline) {
			cgroup_full_path(host, busy, path, full);
			return still_busy(host, path, full, err);
		}
		cgroup_backoff(&delay_us);
	}
}
