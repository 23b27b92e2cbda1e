/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup of this host's for a unit test, and processes in it. Where cgroups cannot be made, the test is skipped.
 */
#ifndef HULL_TESTS_UNIT_CGROUP_WORLD_H
#define HULL_TESTS_UNIT_CGROUP_WORLD_H

#include "tests/unit/unit.h"

#include "cgroups/internal.h"

struct world {
	struct cgroup_host host;
	char top[64], path[128]; /* "/hull-test-PID", "/hull-test-PID/a/c" */
	struct cgroup cg;
	struct error err;
};

#define must(expression)                                              \
	do {                                                          \
		w->err.text[0] = '\0';                                \
		if ((expression) < 0)                                 \
			fail_msg("%s: %s", #expression, w->err.text); \
	} while (0)

/* Around each test; *state is the struct world. What is below its top is killed and removed. */
int world_setup(void **state);
int world_teardown(void **state);

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

/* Makes the test's cgroup, or skips the test. */
void create(struct world *w);

bool exists(struct world *w, int h, const char *path);
void file_is(struct world *w, int h, const char *file, const char *value);

/* A child that ends with the test, also where the test fails before it is in the cgroup. */
pid_t fork_child(void);

/* A child that enters the cgroup (by itself, or is moved), and then waits to be killed. */
pid_t spawn(struct world *w, bool itself);

/* Has the child pid end within five seconds, of this signal. */
void ends_of(pid_t pid, int sig);

#endif
