/* SPDX-License-Identifier: Apache-2.0 */
/* Scheduler, I/O priority and CPU affinity; see scheduling.h. */
#include "sandbox/scheduling.h"

#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/number.h"

#define CPUS_MAX            8192 /* the most that any Linux is built for */
#define DEADLINE_GRAIN      1024 /* nanoseconds: a smaller runtime is refused by the kernel */
#define REALTIME_PRIORITIES 99

struct cpus {
	unsigned long bits[CPUS_MAX / (8 * sizeof(unsigned long))];
};

/* sched_setattr(2). Of our own: the kernel's header and glibc's cannot both be included, and old ones of glibc have none. */
struct kernel_sched_attr {
	uint32_t size;
	uint32_t sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime, sched_deadline, sched_period; /* nanoseconds */
	uint32_t sched_util_min, sched_util_max;
};

static const struct {
	const char *name;
	unsigned policy;
} policies[] = {
	{ "SCHED_OTHER", SCHED_NORMAL }, { "SCHED_FIFO", SCHED_FIFO },
	{ "SCHED_RR", SCHED_RR },        { "SCHED_BATCH", SCHED_BATCH },
	{ "SCHED_IDLE", SCHED_IDLE },    { "SCHED_DEADLINE", SCHED_DEADLINE },
};

static const struct {
	const char *name;
	unsigned flag;
	bool deadline_only;
} flags[] = {
	{ "SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK, false },
	{ "SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM, true },
	{ "SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN, true },
	{ "SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY, false },
	{ "SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS, false },
};

static const struct {
	const char *name;
	int class;
} io_classes[] = {
	{ "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
	{ "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
	{ "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
};

/* ---- the scheduler ------------------------------------------------------------------------------- */

static int resolve_flags(const struct oci_scheduler *s, struct kernel_sched_attr *attr,
			 struct error *err)
{
	for (size_t i = 0; i < s->flags.len; i++) {
		const char *name = s->flags.items[i];
		size_t k = 0;

		while (k < ARRAY_SIZE(flags) && strcmp(flags[k].name, name) != 0)
			k++;
		if (k == ARRAY_SIZE(flags))
			return error_set(err, ENOTSUP,
					 "/process/scheduler/flags/%zu: `%s` is not supported: "
					 "config.json has no value to clamp to",
					 i, name);
		if (flags[k].deadline_only && attr->sched_policy != SCHED_DEADLINE)
			return error_set(err, EINVAL,
					 "/process/scheduler/flags/%zu: `%s` is for SCHED_DEADLINE",
					 i, name);
		attr->sched_flags |= flags[k].flag;
	}
	return 0;
}

static int check_deadline(const struct kernel_sched_attr *attr, struct error *err)
{
	uint64_t period = attr->sched_period ? attr->sched_period : attr->sched_deadline;

	if (attr->sched_policy != SCHED_DEADLINE) {
		if (attr->sched_runtime || attr->sched_deadline || attr->sched_period)
			return error_set(err, EINVAL,
					 "/process/scheduler: runtime, deadline and period are for "
					 "SCHED_DEADLINE");
		return 0;
	}
	if (attr->sched_runtime < DEADLINE_GRAIN)
		return error_set(err, EINVAL,
				 "/process/scheduler/runtime: must be at least %d nanoseconds",
				 DEADLINE_GRAIN);
	if (attr->sched_runtime > attr->sched_deadline || attr->sched_deadline > period ||
	    period > INT64_MAX)
		return error_set(err, EINVAL,
				 "/process/scheduler: must be runtime <= deadline <= period");
	return 0;
}

static bool is_realtime(const struct kernel_sched_attr *attr)
{
	return attr->sched_policy == SCHED_FIFO || attr->sched_policy == SCHED_RR;
}

/* The kernel clamps nice and ignores what the policy has no use for: here that is an error. */
static int check_scheduler(const struct oci_scheduler *s, const struct kernel_sched_attr *attr,
			   struct error *err)
{
	bool realtime = is_realtime(attr);

	if (s->nice.v < -20 || s->nice.v > 19)
		return error_set(err, EINVAL,
				 "/process/scheduler/nice: %d is out of range (-20 to 19)",
				 s->nice.v);
	if (!realtime && s->priority.v)
		return error_set(err, EINVAL,
				 "/process/scheduler/priority: is for SCHED_FIFO and SCHED_RR");
	if (realtime && (s->priority.v < 1 || s->priority.v > REALTIME_PRIORITIES))
		return error_set(err, EINVAL,
				 "/process/scheduler/priority: %d is out of range (1 to %d)",
				 s->priority.v, REALTIME_PRIORITIES);
	return check_deadline(attr, err);
}

static int resolve_scheduler(const struct oci_scheduler *s, struct kernel_sched_attr *attr,
			     struct error *err)
{
	size_t i = 0;
	int r;

	while (i < ARRAY_SIZE(policies) && strcmp(policies[i].name, s->policy) != 0)
		i++;
	if (i == ARRAY_SIZE(policies))
		return error_set(err, ENOTSUP, "/process/scheduler/policy: Linux has no `%s`",
				 s->policy);
	*attr = (struct kernel_sched_attr){
		.size = sizeof(*attr),
		.sched_policy = policies[i].policy,
		.sched_nice = s->nice.v,
		.sched_priority = (unsigned)s->priority.v,
		.sched_runtime = s->runtime.v,
		.sched_deadline = s->deadline.v,
		.sched_period = s->period.v,
	};
	r = resolve_flags(s, attr, err);
	return r < 0 ? r : check_scheduler(s, attr, err);
}

static const char *reason(const struct kernel_sched_attr *attr, int code)
{
	if (code == EBUSY)
		return " (the CPUs have not that much time left)";
	if (code == EPERM && attr->sched_policy == SCHED_DEADLINE)
		return " (takes CAP_SYS_NICE, and all CPUs: no cpuset, no execCPUAffinity)";
	if (code == EPERM && is_realtime(attr))
		return " (takes CAP_SYS_NICE, and in a cgroup v1 of cpu its realtimeRuntime)";
	return code == EPERM ? " (takes CAP_SYS_NICE)" : "";
}

/* sched_setattr(2) leaves the nice value alone where the policy has no use for it; it counts again once that changes. */
static int set_nice(const struct kernel_sched_attr *attr, pid_t pid, struct error *err)
{
	int now;

	if (attr->sched_policy == SCHED_NORMAL || attr->sched_policy == SCHED_BATCH ||
	    (attr->sched_flags & SCHED_FLAG_KEEP_PARAMS))
		return 0;
	errno = 0;
	now = getpriority(PRIO_PROCESS, (id_t)pid);
	if (now == attr->sched_nice && !errno)
		return 0;
	if (setpriority(PRIO_PROCESS, (id_t)pid, attr->sched_nice) < 0)
		return error_errno(err, errno == EACCES ? EPERM : errno,
				   "/process/scheduler/nice: set %d (takes CAP_SYS_NICE)",
				   attr->sched_nice);
	return 0;
}

static int set_scheduler(const struct oci_scheduler *s, pid_t pid, struct error *err)
{
	struct kernel_sched_attr attr;
	int r = resolve_scheduler(s, &attr, err);

	if (r < 0)
		return r;
	if (syscall(SYS_sched_setattr, pid, &attr, 0) < 0)
		return error_errno(err, errno, "/process/scheduler: set %s%s", s->policy,
				   reason(&attr, errno));
	return set_nice(&attr, pid, err);
}

/* ---- I/O priority -------------------------------------------------------------------------------- */

static int resolve_io_priority(const struct oci_io_priority *io, int *value, struct error *err)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(io_classes) && strcmp(io_classes[i].name, io->class) != 0)
		i++;
	if (i == ARRAY_SIZE(io_classes))
		return error_set(err, EINVAL, "/process/ioPriority/class: unknown class `%s`",
				 io->class);
	if (io->priority.v < 0 || io->priority.v > 7)
		return error_set(err, EINVAL,
				 "/process/ioPriority/priority: %d is out of range (0 to 7)",
				 io->priority.v);
	*value = (int)IOPRIO_PRIO_VALUE((unsigned)io_classes[i].class, (unsigned)io->priority.v);
	return 0;
}

/* The process is the only one of its group yet; who comes later inherits it. */
static int set_io_priority(const struct oci_io_priority *io, pid_t pid, struct error *err)
{
	int value, r = resolve_io_priority(io, &value, err);

	if (r < 0)
		return r;
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, value) < 0)
		return error_errno(err, errno, "/process/ioPriority: set %s%s", io->class,
				   errno == EPERM ? " (takes CAP_SYS_NICE)" : "");
	return 0;
}

bool scheduling_wanted(const struct oci_process *process)
{
	return process->scheduler || process->io_priority;
}

int scheduling_set(const struct oci_process *process, pid_t pid, struct error *err)
{
	int r = process->scheduler ? set_scheduler(process->scheduler, pid, err) : 0;

	return r == 0 && process->io_priority ? set_io_priority(process->io_priority, pid, err) : r;
}

/* ---- CPUs ---------------------------------------------------------------------------------------- */

static int parse_cpus(const char *list, const char *name, struct cpus *cpus, struct error *err)
{
	*cpus = (struct cpus){ 0 };
	if (!parse_list(list, cpus->bits, CPUS_MAX))
		return error_set(err, EINVAL,
				 "/process/execCPUAffinity/%s: `%.64s` is no list of CPUs as 0-3,7",
				 name, list);
	return 0;
}

static int check_cpus(const char *list, const char *name, struct error *err)
{
	struct cpus cpus;

	return list && *list ? parse_cpus(list, name, &cpus, err) : 0;
}

/* The kernel leaves out CPUs that are not there, or not the cgroup's, unless none would be left. */
static int set_cpus(const char *list, const char *name, struct error *err)
{
	struct cpus cpus;
	int r = parse_cpus(list, name, &cpus, err);

	if (r < 0)
		return r;
	if (sched_setaffinity(0, sizeof(cpus), (const cpu_set_t *)cpus.bits) < 0)
		return error_errno(
			err, errno,
			"/process/execCPUAffinity/%s: none of the CPUs `%.64s` can be used", name,
			list);
	return 0;
}

int affinity_set_initial(const struct oci_process *process, struct error *err)
{
	const struct oci_exec_cpu_affinity *a = process->exec_cpu_affinity;

	return a && a->initial && *a->initial ? set_cpus(a->initial, "initial", err) : 0;
}

int affinity_set_final(const struct oci_process *process, struct error *err)
{
	const struct oci_exec_cpu_affinity *a = process->exec_cpu_affinity;
	struct cpus all;

	if (a && a->final && *a->final)
		return set_cpus(a->final, "final", err);
	if (!a || !a->initial || !*a->initial)
		return 0;
	/* Entering a cgroup does this only where the cgroup's CPUs are others than ours were. */
	memset(&all, 0xff, sizeof(all));
	if (sched_setaffinity(0, sizeof(all), (const cpu_set_t *)all.bits) < 0)
		return error_errno(err, errno, "/process/execCPUAffinity: return to all CPUs");
	return 0;
}

/* ---- checking ------------------------------------------------------------------------------------ */

int scheduling_check(const struct oci_process *process, struct error *err)
{
	const struct oci_exec_cpu_affinity *a = process->exec_cpu_affinity;
	struct kernel_sched_attr attr;
	int value, r = 0;

	if (process->scheduler)
		r = resolve_scheduler(process->scheduler, &attr, err);
	if (r == 0 && process->io_priority)
		r = resolve_io_priority(process->io_priority, &value, err);
	if (r == 0 && a)
		r = check_cpus(a->initial, "initial", err);
	if (r == 0 && a)
		r = check_cpus(a->final, "final", err);
	return r;
}
