/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources as what is written to the files of cgroup v2 and v1. The cgroup is an ordinary directory with empty
 * files of those names, so that each conversion is seen on any host. The values are those of crun and runc.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "cgroups/internal.h"
#include "tests/unit/config_text.h"

#define ALL "cpuset cpu io memory hugetlb pids rdma"

/* A file that some kernels lack, or that one row is to be without, is in no list. */
static const char *const v2_files[] = {
	"cgroup.controllers", "memory.max", "memory.swap.max",      "memory.low",     "memory.high",
	"cpu.weight",         "cpu.max",    "cpu.max.burst",        "cpu.idle",       "cpuset.cpus",
	"cpuset.mems",        "pids.max",   "io.bfq.weight",        "io.weight",      "io.max",
	"hugetlb.2MB.max",    "rdma.max",   "hugetlb.2MB.rsvd.max", "memory.current", NULL
};
static const char *const v1_files[] = { "memory.limit_in_bytes",
					"memory.memsw.limit_in_bytes",
					"memory.soft_limit_in_bytes",
					"memory.swappiness",
					"memory.oom_control",
					"memory.use_hierarchy",
					"cpu.shares",
					"cpu.cfs_quota_us",
					"cpu.cfs_period_us",
					"cpu.cfs_burst_us",
					"cpu.idle",
					"cpu.rt_runtime_us",
					"cpu.rt_period_us",
					"cpuset.cpus",
					"cpuset.mems",
					"pids.max",
					"blkio.weight",
					"blkio.leaf_weight",
					"blkio.throttle.read_bps_device",
					"hugetlb.2MB.limit_in_bytes",
					"net_cls.classid",
					"net_prio.ifpriomap",
					"rdma.max",
					NULL };

struct world {
	char path[256];
	int dir;
	struct cgroup_host host;
	struct cgroup cg;
	struct arena arena;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->dir = unit_make_dir(w->path, sizeof(w->path));
	w->host.count = 1;
	w->cg.host = &w->host;
	w->cg.dirs[0] = w->dir;
	strcpy(w->cg.path, "/c");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unit_remove_dir(w->dir, w->path);
	free(w);
	return 0;
}

/* Writes a file whole; value NULL: removes it. */
static void put(struct world *w, const char *file, const char *value)
{
	int fd;

	if (!value) {
		unlinkat(w->dir, file, 0);
		return;
	}
	fd = openat(w->dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, value, strlen(value)), 0);
	close(fd);
}

/* A cgroup as new: of v2 (with all controllers), or of v1 (one hierarchy of all controllers). */
static void renew(struct world *w, bool v2)
{
	const char *const *files = v2 ? v2_files : v1_files;

	w->host.layout = v2 ? CGROUP_V2 : CGROUP_V1;
	w->host.hierarchies[0].v2 = v2;
	snprintf(w->host.hierarchies[0].mount, sizeof(w->host.hierarchies[0].mount), "%.120s",
		 w->path);
	strcpy(w->host.hierarchies[0].controllers,
	       v2 ? "" : "cpu,cpuset,memory,blkio,pids,hugetlb,net_cls,net_prio,rdma");
	strcpy(w->cg.v2_controllers, v2 ? ALL : "");
	for (size_t i = 0; files[i]; i++)
		put(w, files[i], "");
	if (v2)
		put(w, "cgroup.controllers", ALL);
}

static int apply(struct world *w, const char *resources, struct error *err)
{
	_cleanup_free_ char *members = json_of("'linux': {'resources': {", resources, "}}");
	struct oci_config *config = must_parse(members, &w->arena);
	int r = cgroup_apply(&w->cg, config->linux_->resources, false, err);

	arena_free(&w->arena);
	return r;
}

static void content_is(struct world *w, const char *resources, const char *file, const char *value)
{
	char text[256];

	if (file_read_small(w->dir, file, text, sizeof(text), NULL) < 0)
		fail_msg("{%s}: no %s", resources, file);
	if (strcmp(text, value) != 0)
		fail_msg("{%s}: %s is `%s`, expected `%s`", resources, file, text, value);
}

/* Applies resources, and compares each file that is named; "" is one that nobody wrote. */
struct row {
	const char *resources;
	struct {
		const char *file, *value;
	} expected[4];
};

static void rows(struct world *w, bool v2, const struct row *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct error err = { 0 };

		renew(w, v2);
		if (apply(w, table[i].resources, &err) < 0)
			fail_msg("{%s}: %s", table[i].resources, err.text);
		for (size_t e = 0; e < 4 && table[i].expected[e].file; e++)
			content_is(w, table[i].resources, table[i].expected[e].file,
				   table[i].expected[e].value);
	}
}

/* What must be refused, with a word of the message. */
static void refuses(struct world *w, bool v2, const char *resources, int code, const char *message)
{
	struct error err = { 0 };

	renew(w, v2);
	assert_int_equal(apply(w, resources, &err), -code);
	if (!strstr(err.text, message))
		fail_msg("{%s}: `%s` has no `%s`", resources, err.text, message);
}

/* ---- v2 ----------------------------------------------------------------------------------- */

static void memory_becomes_that_of_v2(void **state)
{
	static const struct row table[] = {
		{ "'memory': {'limit': 1000, 'swap': 1500, 'reservation': 500}",
		  { { "memory.max", "1000" },
		    { "memory.swap.max", "500" },
		    { "memory.low", "500" } } },
		/* no swap beyond the memory */
		{ "'memory': {'limit': 1000, 'swap': 1000}", { { "memory.swap.max", "0" } } },
		{ "'memory': {'limit': 1000, 'swap': -1}",
		  { { "memory.max", "1000" }, { "memory.swap.max", "max" } } },
		/* memory without a limit has none with swap either */
		{ "'memory': {'limit': -1}",
		  { { "memory.max", "max" }, { "memory.swap.max", "max" } } },
		{ "'memory': {'reservation': -1}", { { "memory.low", "max" } } },
		/* an engine's zeroes, and limits without swap, leave the rest alone */
		{ "'memory': {'limit': 0, 'swap': 0, 'reservation': 0, 'disableOOMKiller': false}",
		  { { "memory.max", "" }, { "memory.swap.max", "" }, { "memory.low", "" } } },
		{ "'memory': {'limit': 1000}",
		  { { "memory.max", "1000" }, { "memory.swap.max", "" } } },
		/* what the kernel has no more is warned about only */
		{ "'memory': {'limit': 1000, 'kernel': 5, 'kernelTCP': 5, 'useHierarchy': false}",
		  { { "memory.max", "1000" } } },
	};
	struct world *w = *state;

	rows(w, true, table, ARRAY_SIZE(table));
	/* swap alone: beyond the limit that is there */
	renew(w, true);
	put(w, "memory.max", "700\n");
	assert_int_equal(apply(w, "'memory': {'swap': 1000}", NULL), 0);
	content_is(w, "swap alone", "memory.swap.max", "300");
	/* a kernel without swap accounting has no limit of it either, but cannot have one */
	renew(w, true);
	put(w, "memory.swap.max", NULL);
	assert_int_equal(apply(w, "'memory': {'limit': 1000, 'swap': -1}", NULL), 0);
	assert_int_equal(apply(w, "'memory': {'limit': 1000, 'swap': 1500}", NULL), -ENOENT);
	refuses(w, true, "'memory': {'limit': 1000, 'swap': 900}", EINVAL, "memory.swap");
	refuses(w, true, "'memory': {'limit': -1, 'swap': 900}", EINVAL, "memory.limit");
	refuses(w, true, "'memory': {'swappiness': 60}", EOPNOTSUPP, "memory.swappiness");
	refuses(w, true, "'memory': {'disableOOMKiller': true}", EOPNOTSUPP, "oomScoreAdj");
}

static void processor_time_becomes_that_of_v2(void **state)
{
	static const struct row table[] = {
		{ "'cpu': {'shares': 1024}", { { "cpu.weight", "100" }, { "cpu.max", "" } } },
		{ "'cpu': {'shares': 2}", { { "cpu.weight", "1" } } },
		{ "'cpu': {'shares': 262144}", { { "cpu.weight", "10000" } } },
		{ "'cpu': {'shares': 512}", { { "cpu.weight", "59" } } },
		{ "'cpu': {'shares': 0}", { { "cpu.weight", "" } } },
		{ "'cpu': {'quota': 50000, 'period': 200000}", { { "cpu.max", "50000 200000" } } },
		{ "'cpu': {'quota': -1, 'period': 200000}", { { "cpu.max", "max 200000" } } },
		{ "'cpu': {'quota': -1}", { { "cpu.max", "max" } } },
		{ "'cpu': {'quota': 50000}", { { "cpu.max", "50000" } } },
		{ "'cpu': {'quota': 0, 'period': 0}", { { "cpu.max", "" } } },
		{ "'cpu': {'quota': 50000, 'burst': 10000}",
		  { { "cpu.max", "50000" }, { "cpu.max.burst", "10000" } } },
		{ "'cpu': {'burst': 0}", { { "cpu.max.burst", "0" } } },
		{ "'cpu': {'idle': 1}", { { "cpu.idle", "1" }, { "cpu.weight", "" } } },
		{ "'cpu': {'idle': 0, 'shares': 1024}",
		  { { "cpu.idle", "0" }, { "cpu.weight", "100" } } },
		{ "'cpu': {'cpus': '0-3,7', 'mems': '0'}",
		  { { "cpuset.cpus", "0-3,7" }, { "cpuset.mems", "0" } } },
		/* an engine's zeroes of what v2 has not */
		{ "'cpu': {'realtimeRuntime': 0, 'realtimePeriod': 0}", { { "cpu.max", "" } } },
	};
	struct world *w = *state;

	rows(w, true, table, ARRAY_SIZE(table));
	/* a period alone keeps the quota that is there */
	renew(w, true);
	put(w, "cpu.max", "30000 1000\n");
	assert_int_equal(apply(w, "'cpu': {'period': 50000}", NULL), 0);
	content_is(w, "period alone", "cpu.max", "30000 50000");
	refuses(w, true, "'cpu': {'realtimeRuntime': 1000}", EOPNOTSUPP, "cpu.realtimeRuntime");
	refuses(w, true, "'cpu': {'realtimePeriod': 1000}", EOPNOTSUPP, "cpu.realtimePeriod");
	refuses(w, true, "'cpu': {'cpus': '0;1'}", EINVAL, "cpu.cpus");
}

static void processes_become_those_of_v2(void **state)
{
	static const struct row table[] = {
		{ "'pids': {'limit': 77}", { { "pids.max", "77" } } },
		{ "'pids': {'limit': 0}", { { "pids.max", "0" } } },
		{ "'pids': {'limit': -1}", { { "pids.max", "max" } } },
		{ "'hugepageLimits': [{'pageSize': '2MB', 'limit': 4194304}]",
		  { { "hugetlb.2MB.max", "4194304" }, { "hugetlb.2MB.rsvd.max", "4194304" } } },
		{ "'rdma': {'mlx5_1': {'hcaHandles': 3, 'hcaObjects': 10000}}",
		  { { "rdma.max", "mlx5_1 hca_handle=3 hca_object=10000" } } },
		{ "'unified': {'memory.high': '5000', 'pids.max': '9'}, 'pids': {'limit': 7}",
		  { { "memory.high", "5000" }, { "pids.max", "9" } } },
	};
	struct world *w = *state;

	rows(w, true, table, ARRAY_SIZE(table));
	refuses(w, true, "'network': {'classID': 5}", EOPNOTSUPP, "network.classID");
	refuses(w, true, "'network': {'priorities': [{'name': 'lo', 'priority': 1}]}", EOPNOTSUPP,
		"network.priorities");
}

static void block_io_becomes_that_of_v2(void **state)
{
	static const struct row table[] = {
		{ "'blockIO': {'weight': 10}",
		  { { "io.bfq.weight", "10" }, { "io.weight", "1" } } },
		{ "'blockIO': {'weight': 500}",
		  { { "io.bfq.weight", "500" }, { "io.weight", "4950" } } },
		{ "'blockIO': {'weight': 1000}",
		  { { "io.bfq.weight", "1000" }, { "io.weight", "10000" } } },
		{ "'blockIO': {'weight': 0}", { { "io.bfq.weight", "" }, { "io.weight", "" } } },
		{ "'blockIO': {'weightDevice': [{'major': 8, 'minor': 0, 'weight': 500}]}",
		  { { "io.bfq.weight", "8:0 500" }, { "io.weight", "8:0 4950" } } },
		{ "'blockIO': {'throttleReadBpsDevice': [{'major': 8, 'minor': 16, 'rate': 600}]}",
		  { { "io.max", "8:16 rbps=600" } } },
		{ "'blockIO': {'throttleWriteBpsDevice': [{'major': 8, 'minor': 16, 'rate': 600}]}",
		  { { "io.max", "8:16 wbps=600" } } },
		{ "'blockIO': {'throttleReadIOPSDevice': [{'major': 8, 'minor': 16, 'rate': 600}]}",
		  { { "io.max", "8:16 riops=600" } } },
		{ "'blockIO': {'throttleWriteIOPSDevice': [{'major': 8, 'minor': 16, 'rate': 0}]}",
		  { { "io.max", "8:16 wiops=max" } } },
	};
	struct world *w = *state;

	rows(w, true, table, ARRAY_SIZE(table));
	/* without the BFQ scheduler it is io.weight alone, and without that, too, an error */
	renew(w, true);
	put(w, "io.bfq.weight", NULL);
	assert_int_equal(apply(w, "'blockIO': {'weight': 500}", NULL), 0);
	content_is(w, "no bfq", "io.weight", "4950");
	put(w, "io.weight", NULL);
	assert_int_equal(apply(w, "'blockIO': {'weight': 500}", NULL), -ENOENT);
	refuses(w, true, "'blockIO': {'leafWeight': 500}", EOPNOTSUPP, "blockIO.leafWeight");
	refuses(w, true, "'blockIO': {'weightDevice': [{'major': 8, 'minor': 0, 'leafWeight': 5}]}",
		EOPNOTSUPP, "weightDevice.leafWeight");
}

/* ---- v1 ----------------------------------------------------------------------------------- */

static void v1_has_them_as_they_are(void **state)
{
	static const struct row table[] = {
		{ "'memory': {'limit': 1000, 'swap': 1500, 'reservation': 500, 'swappiness': 10}",
		  { { "memory.limit_in_bytes", "1000" },
		    { "memory.memsw.limit_in_bytes", "1500" },
		    { "memory.soft_limit_in_bytes", "500" },
		    { "memory.swappiness", "10" } } },
		{ "'memory': {'limit': -1, 'disableOOMKiller': true}",
		  { { "memory.limit_in_bytes", "-1" },
		    { "memory.memsw.limit_in_bytes", "-1" },
		    { "memory.oom_control", "1" } } },
		{ "'memory': {'limit': 1000, 'swap': -1}",
		  { { "memory.limit_in_bytes", "1000" },
		    { "memory.memsw.limit_in_bytes", "-1" } } },
		{ "'cpu': {'shares': 1024, 'quota': 50000, 'period': 200000, 'burst': 10}",
		  { { "cpu.shares", "1024" },
		    { "cpu.cfs_quota_us", "50000" },
		    { "cpu.cfs_period_us", "200000" },
		    { "cpu.cfs_burst_us", "10" } } },
		{ "'cpu': {'quota': -1, 'realtimeRuntime': 900, 'realtimePeriod': 1000, 'idle': 1}",
		  { { "cpu.cfs_quota_us", "-1" },
		    { "cpu.rt_runtime_us", "900" },
		    { "cpu.rt_period_us", "1000" },
		    { "cpu.idle", "1" } } },
		{ "'pids': {'limit': -1}", { { "pids.max", "max" } } },
		{ "'pids': {'limit': 0}", { { "pids.max", "0" } } },
		{ "'blockIO': {'weight': 500, 'leafWeight': 300, "
		  "'throttleReadBpsDevice': [{'major': 8, 'minor': 16, 'rate': 600}]}",
		  { { "blkio.weight", "500" },
		    { "blkio.leaf_weight", "300" },
		    { "blkio.throttle.read_bps_device", "8:16 600" } } },
		{ "'hugepageLimits': [{'pageSize': '2MB', 'limit': 4194304}]",
		  { { "hugetlb.2MB.limit_in_bytes", "4194304" } } },
		{ "'network': {'classID': 1048577, 'priorities': [{'name': 'lo', 'priority': 5}]}",
		  { { "net_cls.classid", "1048577" }, { "net_prio.ifpriomap", "lo 5" } } },
	};
	struct world *w = *state;

	rows(w, false, table, ARRAY_SIZE(table));
	refuses(w, false, "'unified': {'memory.high': '5000'}", EOPNOTSUPP, "needs cgroup v2");
	refuses(w, false, "'memory': {'limit': 1000, 'swap': 900}", EINVAL, "memory.swap");
	refuses(w, false, "'memory': {'swappiness': 101}", EINVAL, "memory.swappiness");
}

static void a_missing_controller_is_named_with_where_to_enable_it(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	renew(w, false);
	strcpy(w->host.hierarchies[0].controllers, "cpu,cpuacct");
	assert_int_equal(apply(w, "'memory': {'limit': 1000}", &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "memory.limit needs the memory controller"));
	assert_non_null(strstr(err.text, "v1: cpu,cpuacct"));
	assert_non_null(strstr(err.text, "mount -t cgroup -o memory"));

	renew(w, true);
	w->cg.v2_controllers[0] = '\0';
	put(w, "cgroup.controllers", "cpu pids");
	assert_int_equal(apply(w, "'memory': {'limit': 1000}", &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "memory.limit needs the memory controller"));
	assert_non_null(strstr(err.text, "cgroup.controllers: cpu pids"));
	/* the root of a cgroup namespace is not the kernel's own */
	put(w, "cgroup.type", "domain");
	assert_int_equal(apply(w, "'memory': {'limit': 1000}", &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "above this cgroup namespace"));
	assert_non_null(strstr(err.text, "cgroup.subtree_control"));
}

#define convert_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		convert_test(memory_becomes_that_of_v2),
		convert_test(processor_time_becomes_that_of_v2),
		convert_test(processes_become_those_of_v2),
		convert_test(block_io_becomes_that_of_v2),
		convert_test(v1_has_them_as_they_are),
		convert_test(a_missing_controller_is_named_with_where_to_enable_it),
	};

	return cmocka_run_group_tests_name("cgroup_convert", tests, NULL, NULL);
}
