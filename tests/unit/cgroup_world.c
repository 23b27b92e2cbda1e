/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups for unit tests; see cgroup_world.h. */
#include "tests/unit/cgroup_world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	snprintf(w->top, sizeof(w->top), "/hull-test-%d", (int)getpid());
	snprintf(w->path, sizeof(w->path), "%s/a/c", w->top);
	assert_int_equal(cgroup_host_detect(&w->host, &w->err), 0);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;

	cgroup_close(&w->cg);
	cgroup_kill(&w->host, w->top, SIGKILL, NULL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	assert_int_equal(cgroup_remove(&w->host, w->top, &w->err), 0);
	free(w);
	return 0;
}

void create(struct world *w)
{
	int r;

	if (w->host.layout == CGROUP_NONE) {
		print_message("skipped: no cgroups are mounted here\n");
		skip();
	}
	r = cgroup_create(&w->host, w->path, &w->cg, &w->err);
	if (r == -EACCES || r == -EPERM || r == -EROFS) {
		assert_non_null(strstr(w->err.text, "elegated"));
		print_message("skipped: %s\n", w->err.text);
		skip();
	}
	if (r < 0)
		fail_msg("%s", w->err.text);
}

bool exists(struct world *w, int h, const char *path)
{
	char full[CGROUP_FULL_MAX];

	cgroup_full_path(&w->host, h, path, full);
	return access(full, F_OK) == 0;
}

void file_is(struct world *w, int h, const char *file, const char *value)
{
	char text[256];

	must(file_read_small(w->cg.dirs[h], file, text, sizeof(text), &w->err));
	assert_string_equal(text, value);
}

pid_t fork_child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t spawn(struct world *w, bool itself)
{
	int ready[2];
	char c = 'x';
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork_child();
	if (pid == 0) {
		if (itself && cgroup_enter(&w->cg, 0, false, NULL) < 0)
			_exit(1);
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	if (!itself)
		must(cgroup_enter(&w->cg, pid, false, &w->err));
	return pid;
}

void ends_of(pid_t pid, int sig)
{
	for (int i = 0; i < 500; i++) {
		int status;

		if (waitpid(pid, &status, WNOHANG) == pid) {
			assert_true(WIFSIGNALED(status));
			assert_int_equal(WTERMSIG(status), sig);
			return;
		}
		usleep(10000);
	}
	fail_msg("process %d did not end", (int)pid);
}
