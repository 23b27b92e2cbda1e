/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroups/ on this host's own cgroups, in whichever layout it has. Each test works below a cgroup
 * named after its process, which it removes. Where cgroups cannot be made, all is skipped; where a
 * controller is missing, the error that says so is what is tested.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/syscalls.h"
#include "tests/unit/cgroup_world.h"

/* ---- making, entering, removing ----------------------------------------------------------- */

static void a_cgroup_is_made_everywhere_and_removed(void **state)
{
	struct world *w = *state;

	create(w);
	for (size_t h = 0; h < w->host.count; h++) {
		assert_true(w->cg.dirs[h] >= 0);
		assert_true(w->cg.made & 1U << h);
		assert_true(exists(w, (int)h, w->path));
		assert_int_equal(fcntl(w->cg.dirs[h], F_GETFD), FD_CLOEXEC);
	}
	must(cgroup_remove(&w->host, w->path, &w->err));
	for (size_t h = 0; h < w->host.count; h++) {
		assert_false(exists(w, (int)h, w->path));
		assert_true(exists(w, (int)h, w->top));
	}
	must(cgroup_remove(&w->host, w->path, &w->err));
	cgroup_close(&w->cg);
	assert_int_equal(cgroup_open(&w->host, w->path, &w->cg, &w->err), -ENOENT);
}

static void processes_enter_are_listed_and_killed(void **state)
{
	struct world *w = *state;
	_cleanup_free_ pid_t *pids = NULL;
	pid_t a, b;

	create(w);
	assert_int_equal(cgroup_pids(&w->host, w->path, &pids, &w->err), 0);
	assert_null(pids);
	a = spawn(w, true);
	b = spawn(w, false);
	assert_int_equal(cgroup_pids(&w->host, w->top, &pids, &w->err), 2);
	assert_true((pids[0] == a && pids[1] == b) || (pids[0] == b && pids[1] == a));
	/* In every hierarchy, not only in one. */
	for (size_t h = 0; h < w->host.count; h++) {
		_cleanup_free_ char *text = NULL;

		must(file_read(w->cg.dirs[h], "cgroup.procs", 4096, &text, &w->err));
		assert_true(strlen(text) > 2);
	}
	assert_int_equal(cgroup_remove(&w->host, w->path, &w->err), -EBUSY);
	assert_non_null(strstr(w->err.text, "still in it"));
	must(cgroup_kill(&w->host, w->path, SIGUSR1, &w->err));
	ends_of(a, SIGUSR1);
	ends_of(b, SIGUSR1);
	a = spawn(w, true);
	must(cgroup_kill(&w->host, w->path, SIGKILL, &w->err));
	ends_of(a, SIGKILL);
	must(cgroup_remove(&w->host, w->path, &w->err));
}

static void clone3_starts_in_the_v2_tree(void **state)
{
	struct world *w = *state;
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	char own[512];
	int fd, status;
	pid_t pid;

	create(w);
	fd = cgroup_v2_fd(&w->cg);
	if (fd < 0) {
		print_message("skipped: no v2 tree here\n");
		skip();
	}
	args.cgroup = (uint64_t)fd;
	pid = sys_clone3(&args);
	assert_true(pid >= 0);
	if (pid == 0) {
		_cleanup_free_ char *self = NULL;

		if (cgroup_enter(&w->cg, 0, true, NULL) < 0 ||
		    file_read(AT_FDCWD, "/proc/self/cgroup", 65536, &self, NULL) < 0)
			_exit(1);
		snprintf(own, sizeof(own), "0::%s\n", w->path);
		_exit(strstr(self, own) ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void one_in_use_is_not_taken_over(void **state)
{
	struct world *w = *state;
	struct cgroup second = { 0 };

	create(w);
	/* Empty, it is. */
	must(cgroup_create(&w->host, w->path, &second, &w->err));
	assert_int_equal(second.made, 0);
	cgroup_close(&second);
	spawn(w, true);
	assert_int_equal(cgroup_create(&w->host, w->path, &second, &w->err), -EBUSY);
	assert_non_null(strstr(w->err.text, "already holds processes"));
	cgroup_close(&second);
	for (size_t h = 0; h < w->host.count; h++)
		assert_true(exists(w, (int)h, w->path));
}

/* As a user's that was delegated, and holds the user's own processes; cpu and pids would make it threaded. */
static void one_below_processes_can_be_entered(void **state)
{
	struct world *w = *state;
	struct cgroup below = { 0 };
	char path[160], type[32];
	int v2 = cgroup_v2_find(&w->host);

	create(w);
	if (v2 < 0)
		skip();
	spawn(w, true);
	snprintf(path, sizeof(path), "%s/below", w->path);
	must(cgroup_create(&w->host, path, &below, &w->err));
	must(file_read_small(below.dirs[v2], "cgroup.type", type, sizeof(type), &w->err));
	assert_string_equal(type, "domain");
	cgroup_close(&below);
}

static void what_a_container_made_is_removed(void **state)
{
	struct world *w = *state;
	_cleanup_free_ pid_t *pids = NULL;
	pid_t pid;
	int h;

	create(w);
	h = (int)w->host.count - 1;
	for (int i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), "wide%d", i);
		assert_int_equal(mkdirat(w->cg.dirs[h], name, 0755), 0);
		snprintf(name, sizeof(name), "wide%d/x", i);
		assert_int_equal(mkdirat(w->cg.dirs[h], name, 0755), 0);
	}
	/* Deeper than descriptors would last, and than a path may be long. */
	for (int i = 0, dir = dup(w->cg.dirs[h]); i < 1200; i++) {
		char number[16];
		int below;

		assert_int_equal(mkdirat(dir, "deep", 0755), 0);
		below = openat(dir, "deep", O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(dir);
		dir = below;
		if (i == 1199) {
			pid = fork_child();
			if (pid == 0)
				for (;;)
					pause();
			snprintf(number, sizeof(number), "%d", (int)pid);
			must(file_write_existing(dir, "cgroup.procs", number, &w->err));
			close(dir);
		}
	}
	assert_int_equal(cgroup_pids(&w->host, w->path, &pids, &w->err), 1);
	assert_int_equal(pids[0], pid);
	must(cgroup_kill(&w->host, w->path, SIGKILL, &w->err));
	ends_of(pid, SIGKILL);
	must(cgroup_remove(&w->host, w->path, &w->err));
	assert_false(exists(w, h, w->path));
}

static void a_half_made_cgroup_is_removed(void **state)
{
	struct world *w = *state;
	_cleanup_free_ pid_t *pids = NULL;
	char full[CGROUP_FULL_MAX];

	create(w);
	for (size_t h = 1; h < w->host.count; h += 2) {
		cgroup_full_path(&w->host, (int)h, w->path, full);
		assert_int_equal(rmdir(full), 0);
	}
	assert_int_equal(cgroup_pids(&w->host, w->path, &pids, &w->err), 0);
	must(cgroup_kill(&w->host, w->path, SIGKILL, &w->err));
	must(cgroup_remove(&w->host, w->path, &w->err));
	for (size_t h = 0; h < w->host.count; h++)
		assert_false(exists(w, (int)h, w->path));
}

/* ---- freezing ----------------------------------------------------------------------------- */

static void processes_freeze_and_thaw(void **state)
{
	struct world *w = *state;
	pid_t pid;

	create(w);
	if (!cgroup_host_has(&w->host, "freezer")) {
		print_message("skipped: no freezer here\n");
		skip();
	}
	pid = spawn(w, true);
	assert_int_equal(cgroup_frozen(&w->host, w->path, &w->err), 0);
	must(cgroup_freeze(&w->host, w->path, true, &w->err));
	assert_int_equal(cgroup_frozen(&w->host, w->path, &w->err), 1);
	must(cgroup_freeze(&w->host, w->path, true, &w->err));
	/* In v1 a signal waits until the thaw, and who was paused stays so; v2 lets a deadly one through. */
	must(cgroup_kill(&w->host, w->path, SIGTERM, &w->err));
	if (w->host.layout != CGROUP_V2) {
		assert_int_equal(cgroup_frozen(&w->host, w->path, &w->err), 1);
		usleep(20000);
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	}
	must(cgroup_freeze(&w->host, w->path, false, &w->err));
	ends_of(pid, SIGTERM);
	assert_int_equal(cgroup_frozen(&w->host, w->path, &w->err), 0);
}

static void frozen_processes_are_killed(void **state)
{
	struct world *w = *state;
	pid_t pid;

	create(w);
	pid = spawn(w, true);
	must(cgroup_freeze(&w->host, w->path, true, &w->err));
	must(cgroup_kill(&w->host, w->path, SIGKILL, &w->err));
	ends_of(pid, SIGKILL);
	must(cgroup_remove(&w->host, w->path, &w->err));
	assert_int_equal(cgroup_frozen(&w->host, w->path, &w->err), -ENOENT);
}

static void a_fork_bomb_is_killed(void **state)
{
	struct world *w = *state;
	_cleanup_free_ pid_t *pids = NULL;
	struct oci_pids limit = { 200 };
	struct oci_resources res = { .pids = &limit };
	pid_t pid;

	create(w);
	if (!cgroup_host_has(&w->host, "pids")) {
		print_message("skipped: no pids controller, the bomb would be real\n");
		skip();
	}
	must(cgroup_apply(&w->cg, &res, false, &w->err));
	pid = fork_child();
	if (pid == 0) {
		if (cgroup_enter(&w->cg, 0, false, NULL) < 0)
			_exit(1);
		signal(SIGCHLD, SIG_IGN);
		for (;;)
			if (fork() < 0)
				usleep(100);
	}
	usleep(50000);
	must(cgroup_kill(&w->host, w->path, SIGKILL, &w->err));
	ends_of(pid, SIGKILL);
	for (int i = 0; i < 200 && cgroup_pids(&w->host, w->path, &pids, NULL) > 0; i++) {
		free(take_ptr(pids));
		usleep(10000);
	}
	must(cgroup_remove(&w->host, w->path, &w->err));
}

/* ---- limits ------------------------------------------------------------------------------- */

/* Applies limits that need a controller; where it is missing, checks the message and returns -1. */
static int apply(struct world *w, const char *controller, const char *property,
		 const struct oci_resources *res)
{
	char text[96];
	int h = cgroup_v1_find(&w->host, controller);

	if (cgroup_host_has(&w->host, controller)) {
		must(cgroup_apply(&w->cg, res, false, &w->err));
		return h >= 0 ? h : cgroup_v2_find(&w->host);
	}
	assert_int_equal(cgroup_apply(&w->cg, res, false, &w->err), -EOPNOTSUPP);
	snprintf(text, sizeof(text), "cgroup: linux.resources.%s needs the %s controller, which is",
		 property, controller);
	assert_ptr_equal(strstr(w->err.text, text), w->err.text);
	assert_non_null(strstr(w->err.text, "remove the property"));
	print_message("%s\n", w->err.text);
	return -1;
}

static void memory_is_limited_raised_and_lowered(void **state)
{
	struct world *w = *state;
	struct oci_memory m = { .limit = { true, 64 << 20 }, .swap = { true, 128 << 20 } };
	struct oci_resources res = { .memory = &m };
	bool v2;
	int h;

	create(w);
	h = apply(w, "memory", "memory.limit", &res);
	if (h < 0)
		return;
	v2 = w->host.hierarchies[h].v2;
	file_is(w, h, v2 ? "memory.max" : "memory.limit_in_bytes", "67108864");
	file_is(w, h, v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
		v2 ? "67108864" : "134217728");
	/* Beyond the old memsw, then below the old limit: each order of writes is needed once. */
	m.limit.v = 256 << 20;
	m.swap.v = 512 << 20;
	apply(w, "memory", "memory.limit", &res);
	file_is(w, h, v2 ? "memory.max" : "memory.limit_in_bytes", "268435456");
	m.limit.v = 16 << 20;
	m.swap.v = 16 << 20;
	apply(w, "memory", "memory.limit", &res);
	file_is(w, h, v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
		v2 ? "0" : "16777216");
	m.limit.v = -1;
	m.swap.set = false;
	apply(w, "memory", "memory.limit", &res);
	file_is(w, h, v2 ? "memory.max" : "memory.limit_in_bytes",
		v2 ? "max" : "9223372036854771712");
	m.limit.v = 100 << 20;
	m.swap = (struct opt_i64){ true, 1 << 20 };
	assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -EINVAL);
	assert_non_null(strstr(w->err.text, "memory.swap"));
}

static void what_only_v1_has_is_an_error_on_v2(void **state)
{
	struct world *w = *state;
	struct oci_memory m = { .swappiness = { true, 10 } };
	struct oci_network network = { .class_id = { true, 1 } };
	struct oci_resources memory = { .memory = &m }, net = { .network = &network };
	int r;

	create(w);
	r = cgroup_apply(&w->cg, &memory, false, &w->err);
	if (cgroup_v1_find(&w->host, "memory") >= 0) {
		assert_int_equal(r, 0);
		file_is(w, cgroup_v1_find(&w->host, "memory"), "memory.swappiness", "10");
	} else {
		assert_int_equal(r, -EOPNOTSUPP);
		assert_non_null(strstr(w->err.text, "memory.swappiness"));
	}
	/* An engine's "false" asks for nothing, wherever it runs; so do ignored ones. */
	m = (struct oci_memory){ .disable_oom_killer = { true, false }, .limit = { true, 0 } };
	must(cgroup_apply(&w->cg, &memory, false, &w->err));
	if (!cgroup_host_has(&w->host, "net_cls")) {
		assert_int_equal(cgroup_apply(&w->cg, &net, false, &w->err), -EOPNOTSUPP);
		assert_non_null(
			strstr(w->err.text, "network.classID needs the net_cls controller"));
	}
}

static void processes_are_counted(void **state)
{
	struct world *w = *state;
	struct oci_pids limit = { 77 };
	struct oci_resources res = { .pids = &limit };
	int h;

	create(w);
	h = apply(w, "pids", "pids.limit", &res);
	if (h < 0)
		return;
	file_is(w, h, "pids.max", "77");
	limit.limit = 0;
	apply(w, "pids", "pids.limit", &res);
	file_is(w, h, "pids.max", "0");
	limit.limit = -1;
	apply(w, "pids", "pids.limit", &res);
	file_is(w, h, "pids.max", "max");
}

static void processors_are_shared(void **state)
{
	struct world *w = *state;
	struct oci_cpu cpu = { .shares = { true, 2048 },
			       .quota = { true, 50000 },
			       .period = { true, 200000 },
			       .burst = { true, 10000 } };
	struct oci_cpu lower = { .quota = { true, 5000 }, .burst = { true, 0 } };
	struct oci_resources res = { .cpu = &cpu }, res_lower = { .cpu = &lower };
	int h;

	create(w);
	h = apply(w, "cpu", "cpu.shares", &res);
	if (h < 0)
		return;
	/* The quota falls below the burst of before, so the burst has to be written first. */
	must(cgroup_apply(&w->cg, &res_lower, false, &w->err));
	if (w->host.hierarchies[h].v2) {
		file_is(w, h, "cpu.weight", "174");
		file_is(w, h, "cpu.max", "5000 200000");
	} else {
		file_is(w, h, "cpu.shares", "2048");
		file_is(w, h, "cpu.cfs_quota_us", "5000");
		file_is(w, h, "cpu.cfs_period_us", "200000");
	}
	lower.quota.v = 1;
	assert_int_equal(cgroup_apply(&w->cg, &res_lower, false, &w->err), -EINVAL);
	assert_non_null(strstr(w->err.text, "cpu.quota"));
}

static void cpusets_are_filled_and_set(void **state)
{
	struct world *w = *state;
	struct oci_cpu cpu = { .cpus = "0", .mems = "0" };
	struct oci_resources res = { .cpu = &cpu };
	int h;

	create(w);
	h = apply(w, "cpuset", "cpu.cpus", &res);
	if (h < 0)
		return;
	file_is(w, h, "cpuset.cpus", "0");
	cpu.cpus = "0\n";
	assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -EINVAL);
	cpu.cpus = "4000";
	assert_true(cgroup_apply(&w->cg, &res, false, &w->err) < 0);
	assert_non_null(strstr(w->err.text, "cpu.cpus"));
}

static void block_io_is_weighed(void **state)
{
	struct world *w = *state;
	struct oci_block_io bio = { .weight = { true, 500 } };
	struct oci_resources res = { .block_io = &bio };
	int h;

	create(w);
	h = apply(w, w->host.layout == CGROUP_V2 ? "io" : "blkio", "blockIO.weight", &res);
	if (h < 0)
		return;
	bio.leaf_weight = (struct opt_u16){ true, 500 };
	bio.weight.set = false;
	/* Only CFQ had that, which no kernel since 5.0 has. */
	if (cgroup_apply(&w->cg, &res, false, &w->err) < 0)
		assert_non_null(strstr(w->err.text, "blockIO.leafWeight"));
}

static void huge_pages_are_limited(void **state)
{
	struct world *w = *state;
	struct oci_hugepage_limit limit = { "2MB", 4 << 20 };
	struct oci_resources res = { .hugepage_limits = { &limit, 1 } };
	int h;

	create(w);
	if (cgroup_host_has(&w->host, "hugetlb") &&
	    access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) < 0) {
		print_message("skipped: this processor has no pages of 2 MB\n");
		skip();
	}
	h = apply(w, "hugetlb", "hugepageLimits", &res);
	if (h < 0)
		return;
	if (w->host.hierarchies[h].v2) {
		file_is(w, h, "hugetlb.2MB.max", "4194304");
		file_is(w, h, "hugetlb.2MB.rsvd.max", "4194304");
	} else {
		file_is(w, h, "hugetlb.2MB.limit_in_bytes", "4194304");
	}
	limit.page_size = "3MB";
	assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -ENOENT);
	limit.page_size = "../2MB";
	assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -EINVAL);
}

static void unified_is_written_as_given(void **state)
{
	static const char *const bad[] = { "../x.y",       "a/b.c",       ".x",         "",
					   "cgroup.procs", "cgroup.kill", "noseparator" };
	struct world *w = *state;
	struct oci_map_entry entry = { "cgroup.max.depth", "7" };
	struct oci_resources res = { .unified = { &entry, 1 } };
	int v2;

	create(w);
	v2 = cgroup_v2_find(&w->host);
	if (v2 < 0) {
		assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -EOPNOTSUPP);
		return;
	}
	must(cgroup_apply(&w->cg, &res, false, &w->err));
	file_is(w, v2, "cgroup.max.depth", "7");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		entry.key = bad[i];
		assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -EINVAL);
		assert_non_null(strstr(w->err.text, "linux.resources.unified"));
	}
	entry = (struct oci_map_entry){ "hugetlb.2MB.max", "2097152\n4194304" };
	if (cgroup_v1_find(&w->host, "hugetlb") < 0 && cgroup_host_has(&w->host, "hugetlb")) {
		must(cgroup_apply(&w->cg, &res, false, &w->err));
		file_is(w, v2, "hugetlb.2MB.max", "4194304");
	}
	entry = (struct oci_map_entry){ "nonesuch.max", "1" };
	assert_int_equal(cgroup_apply(&w->cg, &res, false, &w->err), -EOPNOTSUPP);
	assert_non_null(strstr(w->err.text, "unified.nonesuch.max needs the nonesuch controller"));
}

/* ---- devices ------------------------------------------------------------------------------ */

/* In a child in the cgroup: whether null may be read and written, and whether mem may be opened. */
static void devices_are(struct world *w, bool null_allowed, int kmsg_flags, bool kmsg_allowed)
{
	int status;
	pid_t pid = fork_child();

	if (pid == 0) {
		bool null, kmsg;
		int fd;

		if (cgroup_enter(&w->cg, 0, false, NULL) < 0)
			_exit(99);
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		null = fd >= 0;
		fd = open("/dev/kmsg", kmsg_flags | O_CLOEXEC | O_NONBLOCK);
		kmsg = fd >= 0;
		_exit(null << 1 | kmsg);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status >> 8, null_allowed << 1 | kmsg_allowed);
}

static struct oci_device_rule kmsg_rule(bool allow, const char *access)
{
	return (struct oci_device_rule){ .allow = allow,
					 .type = "c",
					 .major = { true, 1 },
					 .minor = { true, 11 },
					 .access = access };
}

static void may_filter(void)
{
	if (access("/dev/kmsg", R_OK | W_OK) < 0) {
		print_message("skipped: /dev/kmsg, which is not a default device, is not here\n");
		skip();
	}
}

static void devices_are_filtered(void **state)
{
	struct world *w = *state;
	struct oci_device_rule rules[] = { { .allow = false, .access = "rwm" },
					   kmsg_rule(true, "r") };
	struct oci_resources res = { .devices = { rules, 1 } };

	create(w);
	may_filter();
	devices_are(w, true, O_RDONLY, true);
	must(cgroup_apply(&w->cg, NULL, true, &w->err));
	devices_are(w, true, O_RDONLY, false);
	res.devices.len = 2;
	must(cgroup_apply(&w->cg, &res, true, &w->err));
	devices_are(w, true, O_RDONLY, true);
	devices_are(w, true, O_RDWR, false);
	/* update leaves them as they are */
	must(cgroup_apply(&w->cg, NULL, false, &w->err));
	devices_are(w, true, O_RDWR, false);
	/* and by a handle opened later the filter is replaced, not added to */
	cgroup_close(&w->cg);
	must(cgroup_open(&w->host, w->path, &w->cg, &w->err));
	rules[1] = kmsg_rule(true, "rw");
	must(cgroup_apply(&w->cg, &res, true, &w->err));
	devices_are(w, true, O_RDWR, true);
	rules[0].allow = true;
	rules[1] = kmsg_rule(false, "w");
	must(cgroup_apply(&w->cg, &res, true, &w->err));
	devices_are(w, true, O_RDONLY, true);
	devices_are(w, true, O_WRONLY, false);
	res.devices.len = 1;
	must(cgroup_apply(&w->cg, &res, true, &w->err));
	devices_are(w, true, O_RDWR, true);
}

static void rules_take_back_earlier_ones(void **state)
{
	struct world *w = *state;
	struct oci_device_rule rules[] = {
		{ .allow = false, .access = "rwm" },
		kmsg_rule(true, "rw"),
		{ .allow = false, .type = "c", .major = { true, 1 }, .access = "w" },
	};
	struct oci_resources res = { .devices = { rules, 3 } };
	int r;

	create(w);
	may_filter();
	must(cgroup_apply(&w->cg, &res, true, &w->err));
	devices_are(w, true, O_RDONLY, true);
	devices_are(w, true, O_RDWR, false);
	/* A hole in what an earlier rule allows is for v2 only; v1 has to say so. */
	rules[1].minor.set = false;
	rules[2] = kmsg_rule(false, "rwm");
	r = cgroup_apply(&w->cg, &res, true, &w->err);
	if (cgroup_v1_find(&w->host, "devices") >= 0) {
		assert_int_equal(r, -EOPNOTSUPP);
		assert_non_null(strstr(w->err.text, "c 1:11 rwm"));
	} else {
		assert_int_equal(r, 0);
		devices_are(w, true, O_RDONLY, false);
	}
}

/* The v2 program also where v1 files would be used: any v2 tree takes one. */
static void the_v2_program_is_taken_by_the_kernel(void **state)
{
	static const struct oci_device_rules none = { 0 };
	struct world *w = *state;
	_cleanup_free_ struct cgroup_device_rule *rules = NULL;
	ssize_t n;
	int h;

	create(w);
	may_filter();
	h = cgroup_v2_find(&w->host);
	if (h < 0) {
		print_message("skipped: no v2 tree here\n");
		skip();
	}
	n = cgroup_device_rules(&none, &rules, &w->err);
	assert_true(n > 1);
	must(cgroup_device_attach(&w->cg, h, rules, (size_t)n, &w->err));
	devices_are(w, true, O_RDONLY, false);
	rules[0] = (struct cgroup_device_rule){ -1, -1, 7, 'a', true };
	must(cgroup_device_attach(&w->cg, h, rules, 1, &w->err));
	devices_are(w, true, O_RDONLY, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(a_cgroup_is_made_everywhere_and_removed),
		world_test(processes_enter_are_listed_and_killed),
		world_test(clone3_starts_in_the_v2_tree),
		world_test(one_in_use_is_not_taken_over),
		world_test(one_below_processes_can_be_entered),
		world_test(what_a_container_made_is_removed),
		world_test(a_half_made_cgroup_is_removed),
		world_test(processes_freeze_and_thaw),
		world_test(frozen_processes_are_killed),
		world_test(a_fork_bomb_is_killed),
		world_test(memory_is_limited_raised_and_lowered),
		world_test(what_only_v1_has_is_an_error_on_v2),
		world_test(processes_are_counted),
		world_test(processors_are_shared),
		world_test(cpusets_are_filled_and_set),
		world_test(block_io_is_weighed),
		world_test(huge_pages_are_limited),
		world_test(unified_is_written_as_given),
		world_test(devices_are_filtered),
		world_test(rules_take_back_earlier_ones),
		world_test(the_v2_program_is_taken_by_the_kernel),
	};

	return cmocka_run_group_tests_name("cgroup_live", tests, NULL, NULL);
}
