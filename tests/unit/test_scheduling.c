/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/scheduling, memory_policy, personality: what is refused before anything is made, and what the kernel gets. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/memory_policy.h"
#include "sandbox/personality.h"
#include "sandbox/scheduling.h"

static void expect(int r, const struct error *err, int code, const char *start)
{
	assert_int_equal(r, -code);
	if (start && strncmp(err->text, start, strlen(start)) != 0)
		fail_msg("expected \"%s…\", found \"%s\"", start, err->text);
}

static void check_scheduler(struct oci_scheduler s, int code, const char *start)
{
	const struct oci_process process = { .scheduler = &s };
	struct error err = { 0 };

	expect(scheduling_check(&process, &err), &err, code, start);
}

static void schedulers_that_cannot_be(void **state)
{
	static const char *clamp[] = { "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_UTIL_CLAMP_MIN" };
	static const char *reclaim[] = { "SCHED_FLAG_RECLAIM" };

	(void)state;
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_ISO" }, ENOTSUP,
			"/process/scheduler/policy: Linux has no `SCHED_ISO`");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_OTHER", .nice = { true, 20 } },
			EINVAL, "/process/scheduler/nice: 20 is out of range");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_OTHER", .nice = { true, -21 } },
			EINVAL, "/process/scheduler/nice: ");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_BATCH", .priority = { true, 1 } },
			EINVAL, "/process/scheduler/priority: is for");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_FIFO" }, EINVAL,
			"/process/scheduler/priority: 0 is out of range");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_RR", .priority = { true, 100 } },
			EINVAL, "/process/scheduler/priority: 100 is out of range");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_RR",
						.priority = { true, 1 },
						.runtime = { true, 1 } },
			EINVAL, "/process/scheduler: runtime, deadline and period are for");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_DEADLINE" }, EINVAL,
			"/process/scheduler/runtime: must be at least");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_DEADLINE",
						.runtime = { true, 2000 },
						.deadline = { true, 1999 } },
			EINVAL, "/process/scheduler: must be runtime <= deadline <= period");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_DEADLINE",
						.runtime = { true, 2000 },
						.deadline = { true, 3000 },
						.period = { true, 2999 } },
			EINVAL, "/process/scheduler: must be runtime <= deadline <= period");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_DEADLINE",
						.runtime = { true, 2000 },
						.deadline = { true, UINT64_MAX } },
			EINVAL, NULL);
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_OTHER", .flags = { clamp, 2 } },
			ENOTSUP, "/process/scheduler/flags/1: `SCHED_FLAG_UTIL_CLAMP_MIN`");
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_OTHER", .flags = { reclaim, 1 } },
			EINVAL, "/process/scheduler/flags/0: ");
}

static void schedulers_that_can(void **state)
{
	(void)state;
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_IDLE" }, 0, NULL);
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_FIFO", .priority = { true, 99 } },
			0, NULL);
	check_scheduler((struct oci_scheduler){ .policy = "SCHED_DEADLINE",
						.runtime = { true, 1024 },
						.deadline = { true, 1024 } },
			0, NULL);
}

static void check_io(const char *class, int priority, int code, const char *start)
{
	struct oci_io_priority io = { .class = class, .priority = { true, priority } };
	const struct oci_process process = { .io_priority = &io };
	struct error err = { 0 };

	expect(scheduling_check(&process, &err), &err, code, start);
}

static void io_priorities(void **state)
{
	(void)state;
	check_io("IOPRIO_CLASS_RT", 0, 0, NULL);
	check_io("IOPRIO_CLASS_IDLE", 7, 0, NULL);
	check_io("IOPRIO_CLASS_BE", 8, EINVAL, "/process/ioPriority/priority: 8 is out of range");
	check_io("IOPRIO_CLASS_BE", -1, EINVAL, "/process/ioPriority/priority: -1");
	check_io("IOPRIO_CLASS_NONE", 0, EINVAL, "/process/ioPriority/class: ");
}

static void check_affinity(const char *initial, const char *final, int code, const char *start)
{
	struct oci_exec_cpu_affinity a = { initial, final };
	const struct oci_process process = { .exec_cpu_affinity = &a };
	struct error err = { 0 };

	expect(scheduling_check(&process, &err), &err, code, start);
}

static void cpu_lists(void **state)
{
	(void)state;
	check_affinity("0-3, 7", "", 0, NULL);
	check_affinity(NULL, "8191", 0, NULL);
	check_affinity("3-0", NULL, EINVAL, "/process/execCPUAffinity/initial: `3-0`");
	check_affinity(NULL, "8192", EINVAL, "/process/execCPUAffinity/final: `8192`");
	check_affinity("0,,1", NULL, EINVAL, NULL);
	check_affinity(NULL, "1-", EINVAL, NULL);
	check_affinity(NULL, " ", EINVAL, NULL);
}

/* Runs a check that changes its process in a child; the check exits with 0 where all is well. */
static void in_child(int (*run)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(run());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int lower_oneself(void)
{
	struct oci_scheduler s = { .policy = "SCHED_BATCH", .nice = { true, 19 } };
	struct oci_io_priority io = { .class = "IOPRIO_CLASS_BE", .priority = { true, 6 } };
	const struct oci_process process = { .scheduler = &s, .io_priority = &io };

	return scheduling_set(&process, 0, NULL) == 0 && sched_getscheduler(0) == SCHED_BATCH &&
			       getpriority(PRIO_PROCESS, 0) == 19 &&
			       syscall(SYS_ioprio_get, 1, 0) == (2 << 13 | 6)
		       ? 0
		       : 1;
}

static int go_and_return(void)
{
	struct oci_exec_cpu_affinity a = { .initial = "0" };
	const struct oci_process process = { .exec_cpu_affinity = &a };
	cpu_set_t before, set;

	sched_getaffinity(0, sizeof(before), &before);
	if (!CPU_ISSET(0, &before))
		return 0;
	if (affinity_set_initial(&process, NULL) < 0)
		return 1;
	sched_getaffinity(0, sizeof(set), &set);
	if (CPU_COUNT(&set) != 1 || affinity_set_final(&process, NULL) < 0)
		return 2;
	sched_getaffinity(0, sizeof(set), &set);
	if (CPU_COUNT(&set) < CPU_COUNT(&before))
		return 3;
	a.final = "8000";
	return affinity_set_final(&process, NULL) == -EINVAL ? 0 : 4;
}

static int bind_memory(void)
{
	const struct oci_memory_policy policy = { .mode = "MPOL_BIND", .nodes = "0" };
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	if (memory_policy_set(&policy, NULL) == -ENOSYS)
		return 0;
	if (syscall(SYS_get_mempolicy, &mode, nodes, 1024UL + 1, NULL, 0) < 0)
		return 1;
	return mode == MPOL_BIND && nodes[0] == 1 ? 0 : 2;
}

static int become_32_bit(void)
{
	static const char *flags[] = { "READ_IMPLIES_EXEC", "UNAME26" };
	const struct oci_personality p = { .domain = "LINUX32", .flags = { flags, 2 } };
	const int wanted = PER_LINUX32 | READ_IMPLIES_EXEC | UNAME26;

	return personality_set(&p, NULL) == 0 && personality(0xffffffff) == wanted ? 0 : 1;
}

static void the_kernel_gets_it(void **state)
{
	(void)state;
	in_child(lower_oneself);
	in_child(go_and_return);
	in_child(bind_memory);
	in_child(become_32_bit);
}

static void check_policy(struct oci_memory_policy policy, int code, const char *start)
{
	struct error err = { 0 };

	expect(memory_policy_check(&policy, &err), &err, code, start);
}

static void memory_policies(void **state)
{
	static const char *both[] = { "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES" };

	(void)state;
	check_policy((struct oci_memory_policy){ .mode = NULL }, EINVAL,
		     "/linux/memoryPolicy/mode: is missing");
	check_policy((struct oci_memory_policy){ .mode = "MPOL_DEFAULT", .nodes = "" }, 0, NULL);
	check_policy((struct oci_memory_policy){ .mode = "MPOL_LOCAL" }, 0, NULL);
	check_policy((struct oci_memory_policy){ .mode = "MPOL_PREFERRED" }, 0, NULL);
	check_policy((struct oci_memory_policy){ .mode = "MPOL_PREFERRED", .nodes = "1" }, 0, NULL);
	check_policy((struct oci_memory_policy){ .mode = "MPOL_LOCAL", .nodes = "0" }, EINVAL,
		     "/linux/memoryPolicy/nodes: MPOL_LOCAL takes no nodes");
	check_policy((struct oci_memory_policy){ .mode = "MPOL_BIND" }, EINVAL,
		     "/linux/memoryPolicy/nodes: MPOL_BIND needs nodes");
	check_policy((struct oci_memory_policy){ .mode = "MPOL_BIND", .nodes = "x" }, EINVAL,
		     "/linux/memoryPolicy/nodes: `x`");
	check_policy((struct oci_memory_policy){ .mode = "MPOL_BIND", .nodes = "0-1024" }, EINVAL,
		     "/linux/memoryPolicy/nodes: ");
	check_policy((struct oci_memory_policy){ .mode = "MPOL_BIND",
						 .nodes = "0",
						 .flags = { both, 2 } },
		     EINVAL, "/linux/memoryPolicy/flags: ");
	check_policy((struct oci_memory_policy){ .mode = "MPOL_PREFERRED", .flags = { both, 1 } },
		     EINVAL, "/linux/memoryPolicy/flags: ");
}

static void personalities(void **state)
{
	static const char *flag[] = { "ADDR_NO_RANDOMIZE", "ADDR_NO_RANDOM" };
	struct oci_personality p = { .domain = "LINUX" };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(personality_check(NULL, &err), 0);
	assert_int_equal(personality_check(&p, &err), 0);
	p.flags = (struct oci_strings){ flag, 1 };
	assert_int_equal(personality_check(&p, &err), 0);
	p.flags.len = 2;
	expect(personality_check(&p, &err), &err, EINVAL,
	       "/linux/personality/flags/1: `ADDR_NO_RANDOM` is no flag of personality(2)");
	p = (struct oci_personality){ .domain = NULL };
	expect(personality_check(&p, &err), &err, EINVAL, "/linux/personality/domain: is missing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedulers_that_cannot_be),
		cmocka_unit_test(schedulers_that_can),
		cmocka_unit_test(io_priorities),
		cmocka_unit_test(cpu_lists),
		cmocka_unit_test(the_kernel_gets_it),
		cmocka_unit_test(memory_policies),
		cmocka_unit_test(personalities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
