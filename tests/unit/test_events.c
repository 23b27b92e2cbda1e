/* SPDX-License-Identifier: Apache-2.0 */
/* Events as JSON: member names, and which zeros are left out, as runc has them. */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "oci/events.h"

static void printed_is(const struct events_stats *stats, const char *expected)
{
	struct strbuf out = { 0 };

	assert_int_equal(events_print("id \"1\"", stats, &out, NULL), 0);
	assert_string_equal(out.data, expected);
	strbuf_free(&out);
}

#define ID "\"id\":\"id \\\"1\\\"\""

static void an_oom_event_has_no_data(void **state)
{
	(void)state;
	printed_is(NULL, "{\"type\":\"oom\"," ID "}\n");
}

static void zeros_are_left_out_where_runc_does(void **state)
{
	static const struct events_stats none;

	(void)state;
	printed_is(&none,
		   "{\"type\":\"stats\"," ID ",\"data\":{"
		   "\"cpu\":{\"usage\":{\"kernel\":0,\"user\":0},\"throttling\":{}},"
		   "\"cpuset\":{\"cpu_exclusive\":0,\"mem_hardwall\":0,\"mem_exclusive\":0,"
		   "\"memory_migrate\":0,\"memory_spread_page\":0,\"memory_spread_slab\":0,"
		   "\"memory_pressure\":0,\"sched_load_balance\":0,\"sched_relax_domain_level\":0},"
		   "\"memory\":{\"usage\":{\"limit\":0,\"failcnt\":0},"
		   "\"swap\":{\"limit\":0,\"failcnt\":0},\"kernel\":{\"limit\":0,\"failcnt\":0},"
		   "\"kernelTCP\":{\"limit\":0,\"failcnt\":0}},"
		   "\"pids\":{},\"blkio\":{},\"hugetlb\":{},\"intel_rdt\":{},"
		   "\"network_interfaces\":null}}\n");
}

static void everything_is_printed(void **state)
{
	uint64_t cpus[] = { 1, 2 };
	struct events_number raw[] = { { "anon", 7 } };
	struct events_blkio_entry io[] = { { 8, 0, 5, "Read" }, { 8, 16, 0, "" } };
	struct events_hugetlb huge[] = { { "2MB", 1, 2, 3 } };
	const struct events_stats stats = {
		.cpu = { .total = 3,
			 .kernel = 1,
			 .user = 2,
			 .percpu = { cpus, 2 },
			 .percpu_kernel = { cpus, 1 },
			 .percpu_user = { cpus + 1, 1 },
			 .periods = 4,
			 .throttled_periods = 5,
			 .throttled_time = 6,
			 .pressure = { { true, 150, 5, 10000, 9 }, { true, 10, 0, 0, 1 } } },
		.cpuset = { .cpus = { cpus, 2 },
			    .mems = { cpus, 1 },
			    .sched_relax_domain_level = -1 },
		.memory = { .cache = 1, .usage = { UINT64_MAX, 2, 3, 4 }, .raw = { raw, 1 } },
		.pids_current = 1,
		.pids_limit = 9,
		.blkio = { .lists = { [EVENTS_IO_SERVICE_BYTES] = { io, 2 } } },
		.hugetlb = { huge, 1 },
	};

	(void)state;
	printed_is(
		&stats,
		"{\"type\":\"stats\"," ID ",\"data\":{"
		"\"cpu\":{\"usage\":{\"total\":3,\"percpu\":[1,2],\"percpu_kernel\":[1],"
		"\"percpu_user\":[2],\"kernel\":1,\"user\":2},"
		"\"throttling\":{\"periods\":4,\"throttledPeriods\":5,\"throttledTime\":6},"
		"\"psi\":{\"some\":{\"avg10\":1.5,\"avg60\":0.05,\"avg300\":100,\"total\":9},"
		"\"full\":{\"avg10\":0.1,\"avg60\":0,\"avg300\":0,\"total\":1}}},"
		"\"cpuset\":{\"cpus\":[1,2],\"cpu_exclusive\":0,\"mems\":[1],\"mem_hardwall\":0,"
		"\"mem_exclusive\":0,\"memory_migrate\":0,\"memory_spread_page\":0,"
		"\"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":0,"
		"\"sched_relax_domain_level\":-1},"
		"\"memory\":{\"cache\":1,\"usage\":{\"limit\":18446744073709551615,\"usage\":2,"
		"\"max\":3,\"failcnt\":4},\"swap\":{\"limit\":0,\"failcnt\":0},"
		"\"kernel\":{\"limit\":0,\"failcnt\":0},\"kernelTCP\":{\"limit\":0,\"failcnt\":0},"
		"\"raw\":{\"anon\":7}},"
		"\"pids\":{\"current\":1,\"limit\":9},"
		"\"blkio\":{\"ioServiceBytesRecursive\":[{\"major\":8,\"op\":\"Read\",\"value\":5},"
		"{\"major\":8,\"minor\":16}]},"
		"\"hugetlb\":{\"2MB\":{\"usage\":1,\"max\":2,\"failcnt\":3}},"
		"\"intel_rdt\":{},\"network_interfaces\":null}}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_oom_event_has_no_data),
		cmocka_unit_test(zeros_are_left_out_where_runc_does),
		cmocka_unit_test(everything_is_printed),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
