/* SPDX-License-Identifier: Apache-2.0 */
/* exec: an additional process, from a process object or from the container's own with changes. */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "base/process.h"
#include "runtime/foreground.h"
#include "runtime/runtime.h"

static size_t count(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

/* The strings of a list with others behind them, in the arena. */
static int append_strings(struct arena *arena, struct oci_strings *list, const char *const *more,
			  struct error *err)
{
	size_t n = count(more);
	const char **items;

	if (!n)
		return 0;
	items = arena_array(arena, list->len + n, sizeof(*items));
	if (!items)
		return error_errno(err, ENOMEM, "exec");
	for (size_t i = 0; i < list->len; i++)
		items[i] = list->items[i];
	for (size_t i = 0; i < n; i++)
		items[list->len + i] = more[i];
	*list = (struct oci_strings){ .items = items, .len = list->len + n };
	return 0;
}

/* A later NAME=VALUE replaces an earlier one of the same name. */
static int set_env(struct arena *arena, struct oci_strings *env, const char *const *more,
		   struct error *err)
{
	struct oci_strings kept = { .len = 0 };

	for (size_t i = 0; i < count(more); i++)
		if (!strchr(more[i], '=') || more[i][0] == '=')
			return error_set(err, EINVAL, "--env `%.64s`: must be NAME=VALUE", more[i]);
	kept.items = arena_array(arena, env->len + 1, sizeof(*kept.items));
	if (!kept.items)
		return error_errno(err, ENOMEM, "exec");
	for (size_t i = 0; i < env->len; i++) {
		size_t name = strcspn(env->items[i], "=") + 1;
		bool replaced = false;

		for (size_t k = 0; k < count(more); k++)
			replaced = replaced || !strncmp(env->items[i], more[k], name);
		if (!replaced)
			kept.items[kept.len++] = env->items[i];
	}
	*env = kept;
	return append_strings(arena, env, more, err);
}

/* "UID" or "UID:GID", numbers only, to their ends (CVE-2026-30892: `-u 1` became user 0). */
static int parse_user(struct oci_user *user, const char *text, struct error *err)
{
	size_t len = strcspn(text, ":");
	uint64_t uid, gid;

	if (!parse_u64_n(text, len, UINT32_MAX - 1, &uid) ||
	    (text[len] && !parse_u64(text + len + 1, UINT32_MAX - 1, &gid)))
		return error_set(err, EINVAL, "--user `%.64s`: must be UID or UID:GID in numbers",
				 text);
	user->uid = (struct opt_u32){ true, (uint32_t)uid };
	if (text[len])
		user->gid = (struct opt_u32){ true, (uint32_t)gid };
	return 0;
}

/* Adds the numbers of "GID,GID,…". */
static int parse_gids(struct oci_u32s *out, const char *text, struct error *err)
{
	for (;; text++) {
		size_t len = strcspn(text, ",");
		uint64_t gid;

		if (!parse_u64_n(text, len, UINT32_MAX - 1, &gid))
			return error_set(err, EINVAL,
					 "--additional-gids: must be numbers, separated by commas");
		out->items[out->len++] = (uint32_t)gid;
		text += len;
		if (!*text)
			return 0;
	}
}

static int set_user(struct arena *arena, struct oci_process *p, const struct runtime_exec *exec,
		    struct error *err)
{
	struct oci_user *user = arena_new(arena, struct oci_user);
	size_t groups = count(exec->additional_gids), characters = 0;
	int r;

	if (!user)
		return error_errno(err, ENOMEM, "exec");
	if (p->user)
		*user = *p->user;
	p->user = user;
	r = exec->user ? parse_user(user, exec->user, err) : 0;
	if (r < 0 || !groups)
		return r;
	for (size_t i = 0; i < groups; i++)
		characters += strlen(exec->additional_gids[i]) + 1; /* no more numbers than that */
	user->additional_gids =
		(struct oci_u32s){ .items = arena_array(arena, characters, sizeof(uint32_t)) };
	if (!user->additional_gids.items)
		return error_errno(err, ENOMEM, "exec");
	for (size_t i = 0; r == 0 && i < groups; i++)
		r = parse_gids(&user->additional_gids, exec->additional_gids[i], err);
	return r;
}

/*
 * Capabilities of an exec: the container's bounding, effective and permitted ones with those of --cap. The inheritable
 * and ambient sets are empty unless asked for (CVE-2022-29162, CVE-2022-27650).
 */
static int set_capabilities(struct arena *arena, struct oci_process *p, const char *const *more,
			    struct error *err)
{
	struct oci_capabilities *caps = arena_new(arena, struct oci_capabilities);
	int r;

	if (!caps)
		return error_errno(err, ENOMEM, "exec");
	if (p->capabilities)
		*caps = *p->capabilities;
	p->capabilities = caps;
	caps->inheritable = caps->ambient = (struct oci_strings){ .len = 0 };
	r = append_strings(arena, &caps->bounding, more, err);
	if (r == 0)
		r = append_strings(arena, &caps->effective, more, err);
	return r < 0 ? r : append_strings(arena, &caps->permitted, more, err);
}

static int process_from_options(struct container *c, const struct runtime_exec *exec,
				struct oci_process *p, struct error *err)
{
	int r;

	*p = *c->config->process;
	p->args = (struct oci_strings){ .items = (const char **)(uintptr_t)exec->args,
					.len = count(exec->args) };
	p->terminal = (struct opt_bool){ true, exec->tty };
	p->console_size = NULL;
	if (!p->args.len)
		return error_set(err, EINVAL, "exec: no command is given");
	if (exec->cwd)
		p->cwd = exec->cwd;
	if (p->cwd[0] != '/')
		return error_set(err, EINVAL, "--cwd `%.64s`: must be an absolute path", p->cwd);
	if (exec->apparmor)
		p->apparmor_profile = exec->apparmor;
	if (exec->process_label)
		p->selinux_label = exec->process_label;
	if (exec->no_new_privs)
		p->no_new_privileges = (struct opt_bool){ true, true };
	r = set_env(&c->arena, &p->env, exec->env, err);
	if (r == 0 && (exec->user || count(exec->additional_gids)))
		r = set_user(&c->arena, p, exec, err);
	return r < 0 ? r : set_capabilities(&c->arena, p, exec->capabilities, err);
}

static int process_from_file(struct container *c, const struct runtime_exec *exec,
			     struct oci_process *p, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	struct oci_process *parsed;
	ssize_t len = file_read(AT_FDCWD, exec->process_file, OCI_CONFIG_MAX, &json, err);
	int r;

	if (len < 0)
		return (int)len;
	r = oci_process_parse(json, (size_t)len, &c->arena, &parsed, err);
	if (r < 0)
		return error_wrap(err, "`%s`", exec->process_file);
	*p = *parsed;
	if (!p->args.len)
		return error_set(err, EINVAL, "`%s`: /args: is missing", exec->process_file);
	if (exec->tty)
		p->terminal = (struct opt_bool){ true, true };
	return 0;
}

/* The process to execute, checked; c is open. */
static int plan(struct container *c, const struct runtime_exec *exec, struct oci_process *p,
		struct error *err)
{
	int r;

	if (c->status == OCI_STOPPED)
		return error_set(err, ESRCH, "cannot exec in container `%s`: container not running",
				 c->record.id);
	if (c->status == OCI_PAUSED && !exec->ignore_paused)
		return error_set(
			err, EINVAL,
			"cannot exec in container `%s`: it is paused (--ignore-paused waits for resume)",
			c->record.id);
	r = container_load_config(c, err);
	if (r == 0)
		r = exec->process_file ? process_from_file(c, exec, p, err)
				       : process_from_options(c, exec, p, err);
	return r < 0 ? r : check_preserved_fds(exec->preserve_fds, err);
}

int runtime_exec(const struct store *store, const char *id, struct runtime_exec *exec,
		 struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	_cleanup_close_ int console = -EBADF, state_dir = -EBADF;
	struct sandbox_exec request = { .cgroups = exec->cgroups, .terminal = -1 };
	struct oci_process process = { 0 };
	struct oci_console_size size;
	int r = exec->detach ? 0 : foreground_begin(err), status;

	if (r == 0)
		r = container_open(store, id, CONTAINER_WRITE, &c, err);
	if (r == 0)
		r = plan(&c, exec, &process, err);
	if (r < 0)
		return r;
	console = open_console_socket(exec->console_socket, process.terminal.v, exec->detach, err);
	if (console < 0 && (exec->console_socket || (process.terminal.v && exec->detach)))
		return console;
	/* Set before the process runs: it may ask for the size at once. */
	if (process.terminal.v && !process.console_size && !exec->detach &&
	    foreground_window_size(&size))
		process.console_size = &size;
	/*
	 * Others may act on the container from here on. What happens next depends on its processes, which can stop ours,
	 * and it must stay possible to kill it.
	 */
	assert(c.sandbox.ops);
	/* What reaches a microVM is in there. The lock is not this descriptor's. */
	if (c.sandbox.ops->kind == SANDBOX_MICROVM)
		state_dir = openat(c.dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	close_fd(&c.dir);
	c.sandbox.state_dir = state_dir;
	request.process = &process;
	request.status = c.status;
	request.io = (struct sandbox_io){ .console_socket = console,
					  .preserve_fds = exec->preserve_fds };
	r = c.sandbox.ops->exec(&c.sandbox, &request, err);
	exec->exec_failed = c.sandbox.exec_failed;
	if (r < 0)
		return r;
	exec->pid = request.pid;
	r = announce_pid(request.pid, exec->pid_file, exec->pidfd_socket, err);
	if (r < 0) {
		kill(request.pid, SIGKILL);
		process_wait(request.pid, &status);
		close_fd(&request.terminal);
	}
	if (r < 0 || exec->detach)
		return r;
	r = foreground_wait(request.pid, request.terminal, -1, &status, err);
	if (r == 0)
		exec->exit_status = process_exit_status(status);
	return r;
}
