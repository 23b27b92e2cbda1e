/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Id mappings of a new user namespace (user_namespaces(7)). Root writes them itself; an ordinary
 * user may map only its own id itself and asks newuidmap(1)/newgidmap(1), which check /etc/subuid
 * and /etc/subgid, for more.
 *
 * A namespace of its own that nobody is in is made by a helper process, which is born into it, and killed once it is held by a
 * descriptor. The helper is a copy of ours that does nothing but wait, and nobody may look into it.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/process.h"
#include "base/strbuf.h"
#include "base/syscalls.h"
#include "namespaces/plan.h"

#define MAPPINGS_MAX 340 /* the kernel's own limit of lines in a map (UID_GID_MAP_MAX_EXTENTS) */

static int format_map(const struct oci_id_mappings *maps, struct strbuf *text, struct error *err)
{
	if (maps->len > MAPPINGS_MAX)
		return error_set(err, EINVAL, "more than %d id mappings", MAPPINGS_MAX);
	for (size_t i = 0; i < maps->len; i++)
		strbuf_addf(text, "%u %u %u\n", maps->items[i].container_id, maps->items[i].host_id,
			    maps->items[i].size);
	return strbuf_failed(text) ? error_errno(err, ENOMEM, "format id mappings") : 0;
}

/* Runs `newuidmap PID 0 1000 1 …`: the numbers of the map are its arguments. */
static int run_map_helper(const char *helper, pid_t pid, const char *map, struct error *err)
{
	_cleanup_free_ char *numbers = strdup(map);
	char pid_text[16], *argv[3 * MAPPINGS_MAX + 3], *save = NULL;
	size_t argc = 0;
	pid_t child;
	int r, status;

	if (!numbers)
		return error_errno(err, ENOMEM, "run %s", helper);
	snprintf(pid_text, sizeof(pid_text), "%d", pid);
	argv[argc++] = (char *)(uintptr_t)helper;
	argv[argc++] = pid_text;
	for (char *n = strtok_r(numbers, " \n", &save); n; n = strtok_r(NULL, " \n", &save))
		argv[argc++] = n;
	argv[argc] = NULL;
	r = posix_spawnp(&child, helper, NULL, NULL, argv, environ);
	if (r)
		return error_errno(err, r,
				   "run %s (package uidmap), which maps more than your own id",
				   helper);
	r = process_wait(child, &status);
	if (r < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return error_set(err, EPERM,
				 "%s refused the id mappings: see /etc/subuid and /etc/subgid",
				 helper);
	return 0;
}

static int write_map(int proc_dir, pid_t pid, const char *file, const char *helper,
		     const struct oci_id_mappings *maps, unsigned own_id, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	int r = format_map(maps, &text, err);

	if (r < 0 || !text.data) /* there are none */
		return r;
	if (geteuid() != 0 &&
	    (maps->len > 1 || maps->items[0].size > 1 || maps->items[0].host_id != own_id))
		return run_map_helper(helper, pid, text.data, err);
	r = file_write_existing(proc_dir, file, text.data, err);
	return r < 0 ? error_wrap(err, "map ids into the user namespace") : 0;
}

int ns_write_id_mappings(int proc_dir, pid_t pid, const struct oci_id_mappings *uids,
			 const struct oci_id_mappings *gids, struct error *err)
{
	int r;

	/* Without privilege setgroups(2) must be given up first, or a group's denial could be shed. */
	if (geteuid() != 0 && gids->len == 1 && gids->items[0].size == 1) {
		r = file_write_existing(proc_dir, "setgroups", "deny", err);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	r = write_map(proc_dir, pid, "gid_map", "newgidmap", gids, getegid(), err);
	if (r < 0)
		return r;
	return write_map(proc_dir, pid, "uid_map", "newuidmap", uids, geteuid(), err);
}

/* ---- a namespace that nobody is in ------------------------------------------------------------------ */

/* The new process: it waits to be killed, and dies with us. */
static void __attribute__((noreturn)) helper(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (;;)
		pause();
}

static int open_namespace_of(pid_t pid, const struct oci_id_mappings *uids,
			     const struct oci_id_mappings *gids, struct error *err)
{
	_cleanup_close_ int dir = process_open_dir(pid, err);
	int fd, r;

	if (dir < 0)
		return dir;
	r = ns_write_id_mappings(dir, pid, uids, gids, err);
	if (r < 0)
		return r;
	fd = openat(dir, "ns/user", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open the user namespace of the id mappings") : fd;
}

int ns_open_user_namespace(const struct oci_id_mappings *uids, const struct oci_id_mappings *gids,
			   struct error *err)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	/* Root of this user namespace, also in a container, owns the new one and could trace the helper, a copy of us. */
	bool hide = geteuid() == 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1;
	pid_t pid;
	int fd;

	if (hide)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	pid = sys_clone3(&args);
	if (pid == 0)
		helper();
	fd = pid < 0 ? error_errno(err, errno, "make a user namespace (see `hull check`)")
		     : open_namespace_of(pid, uids, gids, err);
	if (pid > 0) {
		kill(pid, SIGKILL);
		process_wait(pid, &(int){ 0 });
	}
	if (hide)
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	return fd;
}
