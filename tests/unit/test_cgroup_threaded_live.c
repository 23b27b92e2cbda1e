/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroups/ below threaded cgroups of v2, on this host's own v2 tree: a container's cgroup becomes threaded, too, its
 * processes are found by their threads, and what such cgroups lack is an error that says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/syscalls.h"
#include "tests/unit/cgroup_world.h"

/* Makes top "domain threaded" by a threaded cgroup in it, and then the test's cgroup, two levels below. */
static int create_threaded(struct world *w)
{
	int v2 = cgroup_v2_find(&w->host);
	char full[CGROUP_FULL_MAX], leaf[CGROUP_FULL_MAX + 32];
	struct cgroup top = { 0 };

	if (v2 < 0)
		skip();
	create(w); /* skips where it may not */
	cgroup_close(&w->cg);
	must(cgroup_remove(&w->host, w->top, &w->err));
	must(cgroup_create(&w->host, w->top, &top, &w->err));
	cgroup_full_path(&w->host, v2, w->top, full);
	snprintf(leaf, sizeof(leaf), "%s/leaf", full);
	assert_int_equal(mkdir(leaf, 0755), 0);
	must(file_write_existing(top.dirs[v2], "leaf/cgroup.type", "threaded", &w->err));
	cgroup_close(&top);
	assert_int_equal(cgroup_v2_type_of(full), CGROUP_V2_THREAD_ROOT);
	must(cgroup_create(&w->host, w->path, &w->cg, &w->err));
	return v2;
}

static void a_cgroup_below_threaded_ones_is_threaded(void **state)
{
	struct world *w = *state;
	int v2 = create_threaded(w);
	char full[CGROUP_FULL_MAX];
	size_t mount_len = strlen(w->host.hierarchies[v2].mount);

	cgroup_full_path(&w->host, v2, w->path, full);
	assert_int_equal(cgroup_v2_type_of(full), CGROUP_V2_THREADED);
	*strrchr(full, '/') = '\0';
	assert_int_equal(cgroup_v2_type_of(full), CGROUP_V2_THREADED);
	full[mount_len] = '\0';
	assert_true(cgroup_v2_type_of(full) == CGROUP_V2_ROOT ||
		    cgroup_v2_type_of(full) == CGROUP_V2_DOMAIN);
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void its_processes_are_listed_frozen_and_killed(void **state)
{
	struct world *w = *state;
	_cleanup_free_ pid_t *pids = NULL;
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	int v2 = create_threaded(w), ready[2];
	pid_t threads, born, moved;
	char c = 'x';

	/* One of two threads, which is one process all the same. */
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	threads = fork_child();
	if (threads == 0) {
		pthread_t thread;

		if (cgroup_enter(&w->cg, 0, false, NULL) < 0 ||
		    pthread_create(&thread, NULL, wait_for_ever, NULL) ||
		    write(ready[1], &c, 1) != 1)
			_exit(1);
		wait_for_ever(NULL);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	args.cgroup = (uint64_t)w->cg.dirs[v2];
	born = sys_clone3(&args);
	if (born == 0)
		wait_for_ever(NULL);
	assert_true(born > 0);
	moved = spawn(w, false);
	assert_int_equal(cgroup_pids(&w->host, w->path, &pids, &w->err), 3);
	for (int i = 0; i < 3; i++)
		assert_true(pids[i] == threads || pids[i] == born || pids[i] == moved);
	must(cgroup_freeze(&w->host, w->path, true, &w->err));
	assert_int_equal(cgroup_frozen(&w->host, w->path, &w->err), 1);
	must(cgroup_freeze(&w->host, w->path, false, &w->err));
	must(cgroup_kill(&w->host, w->path, SIGKILL, &w->err));
	ends_of(threads, SIGKILL);
	ends_of(born, SIGKILL);
	ends_of(moved, SIGKILL);
	must(cgroup_remove(&w->host, w->path, &w->err));
}

static void what_threaded_ones_lack_is_an_error(void **state)
{
	struct world *w = *state;
	struct oci_memory memory = { .limit = { true, 64 << 20 } };
	struct oci_hugepage_limit pages = { "2MB", 4 << 20 };
	struct oci_pids pids = { 30 };
	struct oci_resources res = { .memory = &memory };
	int v2 = create_threaded(w);

	if (cgroup_v1_find(&w->host, "memory") >= 0 || !cgroup_host_has(&w->host, "memory"))
		res = (struct oci_resources){ .hugepage_limits = { &pages, 1 } };
	if (!res.memory &&
	    (cgroup_v1_find(&w->host, "hugetlb") >= 0 || !cgroup_host_has(&w->host, "hugetlb"))) {
		print_message("skipped: the v2 tree has neither memory nor hugetlb here\n");
		skip();
	}
	assert_true(cgroup_apply(&w->cg, &res, false, &w->err) < 0);
	assert_non_null(strstr(w->err.text, "it is a threaded cgroup"));
	assert_non_null(strstr(w->err.text, w->top));
	/* What can be split by threads works. */
	if (cgroup_v1_find(&w->host, "pids") >= 0 || !cgroup_host_has(&w->host, "pids"))
		return;
	res = (struct oci_resources){ .pids = &pids };
	must(cgroup_apply(&w->cg, &res, false, &w->err));
	file_is(w, v2, "pids.max", "30");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(a_cgroup_below_threaded_ones_is_threaded),
		world_test(its_processes_are_listed_frozen_and_killed),
		world_test(what_threaded_ones_lack_is_an_error),
	};

	return cmocka_run_group_tests_name("cgroup_threaded_live", tests, NULL, NULL);
}
