/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `events` prints: one JSON object a line, with the member names that monitoring knows from
 * runc (its types/events.go). Members of which runc leaves out a zero are left out here, too.
 */
#ifndef HULL_OCI_EVENTS_H
#define HULL_OCI_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

/* A limit and how near it is; UINT64_MAX: no limit. In bytes. */
struct events_usage {
	uint64_t limit, usage, max, failcnt;
};

struct events_number {
	const char *name;
	uint64_t value;
};
struct events_numbers {
	struct events_number *items;
	size_t len;
};

struct events_u64s {
	uint64_t *items;
	size_t len;
};

/* Of one device; op: "Read", "Write", …, or "". */
struct events_blkio_entry {
	uint64_t major, minor, value;
	const char *op;
};
struct events_blkio_list {
	struct events_blkio_entry *items;
	size_t len;
};

struct events_hugetlb {
	const char *page_size; /* "2MB" */
	uint64_t usage, max, failcnt;
};
struct events_hugetlbs {
	struct events_hugetlb *items;
	size_t len;
};

/* Pressure (PSI): percents of time in hundredths, and microseconds. */
struct events_pressure {
	bool set;
	uint64_t avg10, avg60, avg300, total;
};
struct events_pressures {
	struct events_pressure some, full;
};

struct events_cpu {
	uint64_t total, kernel, user; /* nanoseconds */
	struct events_u64s percpu, percpu_kernel, percpu_user;
	uint64_t periods, throttled_periods, throttled_time; /* the last in nanoseconds */
	struct events_pressures pressure;
};

struct events_cpuset {
	struct events_u64s cpus, mems;
	uint64_t cpu_exclusive, mem_hardwall, mem_exclusive, memory_migrate, memory_spread_page,
		memory_spread_slab, memory_pressure, sched_load_balance;
	int64_t sched_relax_domain_level;
};

struct events_memory {
	uint64_t cache;
	struct events_usage usage, swap, kernel, kernel_tcp; /* swap: memory plus swap */
	struct events_numbers raw;                           /* memory.stat */
	struct events_pressures pressure;
};

enum events_blkio_kind {
	EVENTS_IO_SERVICE_BYTES,
	EVENTS_IO_SERVICED,
	EVENTS_IO_QUEUED,
	EVENTS_IO_SERVICE_TIME,
	EVENTS_IO_WAIT_TIME,
	EVENTS_IO_MERGED,
	EVENTS_IO_TIME,
	EVENTS_SECTORS,
	EVENTS_BLKIO_KINDS,
};

struct events_blkio {
	struct events_blkio_list lists[EVENTS_BLKIO_KINDS];
	struct events_pressures pressure;
};

struct events_stats {
	struct events_cpu cpu;
	struct events_cpuset cpuset;
	struct events_memory memory;
	uint64_t pids_current, pids_limit; /* a limit of 0: none */
	struct events_blkio blkio;
	struct events_hugetlbs hugetlb;
};

/* Adds a line of type "stats", or "oom" where stats is NULL. */
int events_print(const char *id, const struct events_stats *stats, struct strbuf *out,
		 struct error *err);

#endif
