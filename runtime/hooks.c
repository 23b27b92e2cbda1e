/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks; see hooks.h. */
#include "runtime/hooks.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/process.h"
#include "base/syscalls.h"

/*
 * The state as a file, not a pipe: a hook that does not read its standard input cannot block us, and
 * one that does finds all of it.
 */
static int state_file(const struct oci_state *state, struct error *err)
{
	_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);
	_cleanup_strbuf_ struct strbuf text = { 0 };
	int r;

	if (fd < 0)
		return error_errno(err, errno, "memfd_create");
	r = oci_state_print(state, false, &text, err);
	if (r == 0)
		r = file_write_all(fd, text.data, text.len);
	return r < 0 ? error_errno(err, -r, "write the state for hooks") : take_fd(&fd);
}

static char **terminated(const struct oci_strings *strings)
{
	char **array = calloc(strings->len + 1, sizeof(char *));

	for (size_t i = 0; array && i < strings->len; i++)
		array[i] = (char *)(uintptr_t)strings->items[i];
	return array;
}

static void __attribute__((noreturn))
hook_child(const struct oci_hook *hook, pid_t parent, int state, char **argv, char **envp)
{
	sigset_t none;

	/* A command that is killed takes its hook along, also if it was killed just now. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGXFSZ, SIG_DFL); /* which hull ignores */
	if (lseek(state, 0, SEEK_SET) < 0 || dup2(state, STDIN_FILENO) < 0 ||
	    sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(126);
	execve(hook->path, argv, envp);
	dprintf(STDERR_FILENO, "hull: hook `%s`: %s\n", hook->path, strerror(errno));
	_exit(127);
}

/* Waits for the hook, at most its timeout; 0 with its wait status, or -ETIMEDOUT after killing it. */
static int wait_for_hook(pid_t pid, const struct oci_hook *hook, int *status)
{
	_cleanup_close_ int pidfd = hook->timeout.set ? sys_pidfd_open(pid, 0) : -1;
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };
	/* poll(2) counts up to 24 days; more is as good as no end. */
	int milliseconds = hook->timeout.v > INT32_MAX / 1000 ? -1 : (int)hook->timeout.v * 1000;
	int r = 1;

	if (pidfd >= 0)
		do {
			r = poll(&poll_fd, 1, milliseconds);
		} while (r < 0 && errno == EINTR);
	if (r == 0)
		kill(pid, SIGKILL);
	if (process_wait(pid, status) < 0)
		*status = 0xff00; /* nobody can tell: as a failure */
	return r == 0 ? -ETIMEDOUT : 0;
}

static int run_hook(const struct oci_hook *hook, int state, struct error *err)
{
	const char *path = hook->path;
	const struct oci_strings only_path = { .items = &path, .len = 1 };
	_cleanup_free_ char **argv = NULL;
	_cleanup_free_ char **envp = NULL;
	pid_t pid, parent = getpid();
	int status;

	argv = terminated(hook->args.len ? &hook->args : &only_path);
	envp = terminated(&hook->env);
	if (!argv || !envp)
		return error_errno(err, ENOMEM, "hook `%s`", hook->path);
	pid = fork();
	if (pid < 0)
		return error_errno(err, errno, "fork for hook `%s`", hook->path);
	if (pid == 0)
		hook_child(hook, parent, state, argv, hook->env.items ? envp : environ);
	if (wait_for_hook(pid, hook, &status) < 0)
		return error_set(err, ETIMEDOUT,
				 "hook `%s` took longer than its timeout of %" PRId64
				 " s and was killed",
				 hook->path, hook->timeout.v);
	if (WIFSIGNALED(status))
		return error_set(err, EIO, "hook `%s` was ended by signal %d", hook->path,
				 WTERMSIG(status));
	if (WEXITSTATUS(status))
		return error_set(err, EIO, "hook `%s` failed with status %d", hook->path,
				 WEXITSTATUS(status));
	return 0;
}

int hooks_run(const struct oci_hook_list *list, const char *name, const struct oci_state *state,
	      struct error *err)
{
	_cleanup_close_ int file = -EBADF;

	if (!list->len)
		return 0;
	file = state_file(state, err);
	if (file < 0)
		return file;
	for (size_t i = 0; i < list->len; i++)
		if (run_hook(&list->items[i], file, err) < 0)
			return error_wrap(err, "/hooks/%s/%zu", name, i);
	return 0;
}
