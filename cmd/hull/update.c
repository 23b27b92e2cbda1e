/* SPDX-License-Identifier: Apache-2.0 */
/* hull update: new limits from options, or as the OCI specification's linux.resources in JSON. */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "cmd/hull/command.h"

/* The options as they were given; NULL: not given. */
struct update_options {
	const char *resources;
	const char *blkio_weight;
	const char *cpu_period, *cpu_quota, *cpu_share, *cpu_burst, *cpu_idle, *cpu_rt_period,
		*cpu_rt_runtime, *cpuset_cpus, *cpuset_mems;
	const char *memory, *memory_reservation, *memory_swap, *kernel_memory, *kernel_memory_tcp;
	const char *pids_limit;
	const char *l3_cache_schema, *mem_bw_schema;
};

/* What they become. */
struct limits {
	struct oci_memory memory;
	struct oci_cpu cpu;
	struct oci_pids pids;
	struct oci_block_io block_io;
	struct oci_resources resources;
};

/* The unit behind a number, as engines write it: "k", "KB", "KiB", …, powers of 1024; "" and "b": 1. 0 where it is none. */
static uint64_t parse_unit(const char *text)
{
	static const char units[] = "bkmgtp";
	const char *found;

	if (!*text)
		return 1;
	found = strchr(units, *text | 0x20);
	if (!found)
		return 0;
	text++;
	if (found != units) {
		text += *text == 'i' || *text == 'I';
		text += *text == 'b' || *text == 'B';
	}
	return *text ? 0 : 1ULL << (10 * (found - units));
}

/* "512m", "2GiB", "1.5g", "4096", "-1": bytes. */
static bool parse_bytes(const char *text, int64_t *bytes)
{
	size_t digits = strspn(text, "0123456789"), decimals = 0;
	const char *rest = text + digits;
	uint64_t number, fraction = 0, unit, divisor = 1;

	if (strcmp(text, "-1") == 0) {
		*bytes = -1;
		return true;
	}
	if (!parse_u64_n(text, digits, INT64_MAX, &number))
		return false;
	if (*rest == '.') {
		decimals = strspn(rest + 1, "0123456789");
		if (decimals > 4 || !parse_u64_n(rest + 1, decimals, INT64_MAX, &fraction))
			return false;
		rest += 1 + decimals;
	}
	unit = parse_unit(rest);
	while (decimals--)
		divisor *= 10;
	if (!unit || __builtin_mul_overflow(number, unit, &number) ||
	    __builtin_add_overflow(number, unit * fraction / divisor, &number) ||
	    number > INT64_MAX)
		return false;
	*bytes = (int64_t)number;
	return true;
}

static int bad(const char *option, const char *value, const char *expected, struct error *err)
{
	return error_set(err, EINVAL, "--%s `%s`: must be %s", option, value, expected);
}

static int take_bytes(const char *option, const char *text, struct opt_i64 *to, struct error *err)
{
	if (!text)
		return 0;
	to->set = true;
	return parse_bytes(text, &to->v)
		       ? 0
		       : bad(option, text, "bytes (512m), or -1 for no limit", err);
}

static int take_i64(const char *option, const char *text, struct opt_i64 *to, struct error *err)
{
	if (!text)
		return 0;
	to->set = true;
	return parse_i64(text, &to->v) ? 0 : bad(option, text, "a number", err);
}

static int take_u64(const char *option, const char *text, struct opt_u64 *to, struct error *err)
{
	if (!text)
		return 0;
	to->set = true;
	return parse_u64(text, UINT64_MAX, &to->v)
		       ? 0
		       : bad(option, text, "a number that is not negative", err);
}

static int take_memory(const struct update_options *o, struct limits *l, struct error *err)
{
	int r = take_bytes("memory", o->memory, &l->memory.limit, err);

	if (r == 0)
		r = take_bytes("memory-reservation", o->memory_reservation, &l->memory.reservation,
			       err);
	if (r == 0)
		r = take_bytes("memory-swap", o->memory_swap, &l->memory.swap, err);
	if (r == 0)
		r = take_bytes("kernel-memory", o->kernel_memory, &l->memory.kernel, err);
	if (r == 0)
		r = take_bytes("kernel-memory-tcp", o->kernel_memory_tcp, &l->memory.kernel_tcp,
			       err);
	if (o->memory || o->memory_reservation || o->memory_swap || o->kernel_memory ||
	    o->kernel_memory_tcp)
		l->resources.memory = &l->memory;
	return r;
}

static int take_cpu(const struct update_options *o, struct limits *l, struct error *err)
{
	int r = take_u64("cpu-period", o->cpu_period, &l->cpu.period, err);

	if (r == 0)
		r = take_i64("cpu-quota", o->cpu_quota, &l->cpu.quota, err);
	if (r == 0)
		r = take_u64("cpu-share", o->cpu_share, &l->cpu.shares, err);
	if (r == 0)
		r = take_u64("cpu-burst", o->cpu_burst, &l->cpu.burst, err);
	if (r == 0)
		r = take_i64("cpu-idle", o->cpu_idle, &l->cpu.idle, err);
	if (r == 0)
		r = take_u64("cpu-rt-period", o->cpu_rt_period, &l->cpu.realtime_period, err);
	if (r == 0)
		r = take_i64("cpu-rt-runtime", o->cpu_rt_runtime, &l->cpu.realtime_runtime, err);
	l->cpu.cpus = o->cpuset_cpus;
	l->cpu.mems = o->cpuset_mems;
	if (o->cpu_period || o->cpu_quota || o->cpu_share || o->cpu_burst || o->cpu_idle ||
	    o->cpu_rt_period || o->cpu_rt_runtime || o->cpuset_cpus || o->cpuset_mems)
		l->resources.cpu = &l->cpu;
	return r;
}

static int take_others(const struct update_options *o, struct limits *l, struct error *err)
{
	uint64_t weight;

	if (o->pids_limit) {
		if (!parse_i64(o->pids_limit, &l->pids.limit))
			return bad("pids-limit", o->pids_limit, "a number, -1 for no limit", err);
		l->resources.pids = &l->pids;
	}
	if (o->blkio_weight) {
		if (!parse_u64(o->blkio_weight, 1000, &weight))
			return bad("blkio-weight", o->blkio_weight, "a number from 10 to 1000",
				   err);
		l->block_io.weight = (struct opt_u16){ true, (uint16_t)weight };
		l->resources.block_io = &l->block_io;
	}
	return 0;
}

static bool any_given(const struct limits *l)
{
	return l->resources.memory || l->resources.cpu || l->resources.pids ||
	       l->resources.block_io;
}

static int read_resources(const char *path, struct arena *arena, struct oci_resources **resources,
			  struct error *err)
{
	bool from_stdin = strcmp(path, "-") == 0;
	_cleanup_free_ char *json = NULL;
	ssize_t len = from_stdin ? file_read_fd(STDIN_FILENO, OCI_CONFIG_MAX, &json, err)
				 : file_read(AT_FDCWD, path, OCI_CONFIG_MAX, &json, err);
	int r = len < 0 ? (int)len : oci_resources_parse(json, (size_t)len, arena, resources, err);

	return r < 0 ? error_wrap(err, "--resources%s", from_stdin ? " -" : "") : 0;
}

/* linux.intelRdt is not linux.resources, so these two may stand beside --resources. */
static int take_schemas(const struct update_options *o, struct runtime_update *update,
			struct error *err)
{
	const char *mb = o->mem_bw_schema;

	if (mb && (strncmp(mb, "MB:", 3) != 0 || strchr(mb, '\n')))
		return bad("mem-bw-schema", mb, "one line that begins with MB:", err);
	update->l3_cache_schema = o->l3_cache_schema;
	update->mem_bw_schema = mb;
	return 0;
}

/* The new limits: those of the file, or those of the options. */
static int find_limits(const struct update_options *o, struct limits *l, struct arena *arena,
		       struct runtime_update *update, struct error *err)
{
	struct oci_resources *read = NULL;
	int r = take_memory(o, l, err);

	if (r == 0)
		r = take_cpu(o, l, err);
	if (r == 0)
		r = take_others(o, l, err);
	if (r == 0)
		r = take_schemas(o, update, err);
	if (r < 0)
		return r;
	if (any_given(l)) {
		update->resources = &l->resources;
		return o->resources ? error_set(err, EINVAL,
						"--resources cannot be used with other limits: put "
						"them into the file")
				    : 0;
	}
	if (!o->resources)
		return update->l3_cache_schema || update->mem_bw_schema
			       ? 0
			       : error_set(err, EINVAL,
					   "no limit is given: see hull update --help");
	r = read_resources(o->resources, arena, &read, err);
	update->resources = read;
	return r;
}

int cmd_update(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct update_options o = { .resources = NULL };
	const struct option options[] = {
		{ "resources", 'r', OPTION_STRING, &o.resources, "FILE",
		  "the limits as JSON, a linux.resources object; -: from standard input" },
		{ "memory", 0, OPTION_STRING, &o.memory, "BYTES",
		  "memory (512m, 2g; -1: no limit)" },
		{ "memory-swap", 0, OPTION_STRING, &o.memory_swap, "BYTES", "memory plus swap" },
		{ "memory-reservation", 0, OPTION_STRING, &o.memory_reservation, "BYTES",
		  "memory that is kept for it when memory is short" },
		{ "kernel-memory", 0, OPTION_STRING, &o.kernel_memory, "BYTES",
		  "accepted with a warning: the kernel has no such limit any more" },
		{ "kernel-memory-tcp", 0, OPTION_STRING, &o.kernel_memory_tcp, "BYTES",
		  "the same" },
		{ "cpu-share", 0, OPTION_STRING, &o.cpu_share, "N",
		  "share of processor time, 2 to 262144 (default 1024)" },
		{ "cpu-quota", 0, OPTION_STRING, &o.cpu_quota, "USEC",
		  "processor time in a period (-1: no limit)" },
		{ "cpu-period", 0, OPTION_STRING, &o.cpu_period, "USEC", "the period" },
		{ "cpu-burst", 0, OPTION_STRING, &o.cpu_burst, "USEC",
		  "unused time that may be saved for a burst" },
		{ "cpu-idle", 0, OPTION_STRING, &o.cpu_idle, "0|1",
		  "1: run only when nothing else wants to" },
		{ "cpu-rt-period", 0, OPTION_STRING, &o.cpu_rt_period, "USEC",
		  "period of real-time processes (cgroup v1)" },
		{ "cpu-rt-runtime", 0, OPTION_STRING, &o.cpu_rt_runtime, "USEC",
		  "their time in a period (cgroup v1)" },
		{ "cpuset-cpus", 0, OPTION_STRING, &o.cpuset_cpus, "LIST", "processors, as 0-3,7" },
		{ "cpuset-mems", 0, OPTION_STRING, &o.cpuset_mems, "LIST", "memory nodes" },
		{ "pids-limit", 0, OPTION_STRING, &o.pids_limit, "N",
		  "processes and threads (-1: no limit)" },
		{ "blkio-weight", 0, OPTION_STRING, &o.blkio_weight, "N",
		  "share of block I/O, 10 to 1000" },
		{ "l3-cache-schema", 0, OPTION_STRING, &o.l3_cache_schema, "TEXT",
		  "share of the cache, as L3:0=ff;1=ff" },
		{ "mem-bw-schema", 0, OPTION_STRING, &o.mem_bw_schema, "TEXT",
		  "share of memory bandwidth, as MB:0=20;1=70" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"update",
		"ID",
		"Change the limits of a running container. What is not given stays as it is.",
		"Examples:\n  hull update --memory 512m --memory-swap 512m demo\n"
		"  echo '{\"pids\": {\"limit\": 100}}' | hull update --resources - demo",
		1,
		1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	_cleanup_arena_ struct arena arena = { 0 };
	struct runtime_update update = { .resources = NULL };
	struct limits limits = { .memory = { .limit = { false, 0 } } };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);

	if (r < 0)
		return r;
	r = find_limits(&o, &limits, &arena, &update, err);
	return r < 0 ? r : runtime_update(&store, argv[0], &update, err);
}
