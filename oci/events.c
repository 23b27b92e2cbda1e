/* SPDX-License-Identifier: Apache-2.0 */
/* Printing events; see events.h. */
#include "oci/events.h"

#include "base/cleanup.h"
#include "oci/json.h"

static void member(struct json_writer *w, const char *key, uint64_t value)
{
	json_write_key(w, key);
	json_write_u64(w, value);
}

static void member_unless_zero(struct json_writer *w, const char *key, uint64_t value)
{
	if (value)
		member(w, key, value);
}

static void begin(struct json_writer *w, const char *key, char bracket)
{
	json_write_key(w, key);
	json_write_begin(w, bracket);
}

static void print_numbers(struct json_writer *w, const char *key, const struct events_u64s *numbers)
{
	if (!numbers->len)
		return;
	begin(w, key, '[');
	for (size_t i = 0; i < numbers->len; i++)
		json_write_u64(w, numbers->items[i]);
	json_write_end(w, ']');
}

static void print_pressure(struct json_writer *w, const char *key, const struct events_pressure *p)
{
	const struct {
		const char *key;
		uint64_t value;
	} averages[] = { { "avg10", p->avg10 }, { "avg60", p->avg60 }, { "avg300", p->avg300 } };

	begin(w, key, '{');
	for (size_t i = 0; i < ARRAY_SIZE(averages); i++) {
		json_write_key(w, averages[i].key);
		json_write_hundredths(w, averages[i].value);
	}
	member(w, "total", p->total);
	json_write_end(w, '}');
}

static void print_pressures(struct json_writer *w, const struct events_pressures *p)
{
	if (!p->some.set && !p->full.set)
		return;
	begin(w, "psi", '{');
	print_pressure(w, "some", &p->some);
	print_pressure(w, "full", &p->full);
	json_write_end(w, '}');
}

static void print_cpu(struct json_writer *w, const struct events_cpu *cpu)
{
	begin(w, "cpu", '{');
	begin(w, "usage", '{');
	member_unless_zero(w, "total", cpu->total);
	print_numbers(w, "percpu", &cpu->percpu);
	print_numbers(w, "percpu_kernel", &cpu->percpu_kernel);
	print_numbers(w, "percpu_user", &cpu->percpu_user);
	member(w, "kernel", cpu->kernel);
	member(w, "user", cpu->user);
	json_write_end(w, '}');
	begin(w, "throttling", '{');
	member_unless_zero(w, "periods", cpu->periods);
	member_unless_zero(w, "throttledPeriods", cpu->throttled_periods);
	member_unless_zero(w, "throttledTime", cpu->throttled_time);
	json_write_end(w, '}');
	print_pressures(w, &cpu->pressure);
	json_write_end(w, '}');
}

static void print_cpuset(struct json_writer *w, const struct events_cpuset *c)
{
	begin(w, "cpuset", '{');
	print_numbers(w, "cpus", &c->cpus);
	member(w, "cpu_exclusive", c->cpu_exclusive);
	print_numbers(w, "mems", &c->mems);
	member(w, "mem_hardwall", c->mem_hardwall);
	member(w, "mem_exclusive", c->mem_exclusive);
	member(w, "memory_migrate", c->memory_migrate);
	member(w, "memory_spread_page", c->memory_spread_page);
	member(w, "memory_spread_slab", c->memory_spread_slab);
	member(w, "memory_pressure", c->memory_pressure);
	member(w, "sched_load_balance", c->sched_load_balance);
	json_write_key(w, "sched_relax_domain_level");
	json_write_i64(w, c->sched_relax_domain_level);
	json_write_end(w, '}');
}

static void print_usage(struct json_writer *w, const char *key, const struct events_usage *u)
{
	begin(w, key, '{');
	member(w, "limit", u->limit);
	member_unless_zero(w, "usage", u->usage);
	member_unless_zero(w, "max", u->max);
	member(w, "failcnt", u->failcnt);
	json_write_end(w, '}');
}

static void print_memory(struct json_writer *w, const struct events_memory *m)
{
	begin(w, "memory", '{');
	member_unless_zero(w, "cache", m->cache);
	print_usage(w, "usage", &m->usage);
	print_usage(w, "swap", &m->swap);
	print_usage(w, "kernel", &m->kernel);
	print_usage(w, "kernelTCP", &m->kernel_tcp);
	if (m->raw.len) {
		begin(w, "raw", '{');
		for (size_t i = 0; i < m->raw.len; i++)
			member(w, m->raw.items[i].name, m->raw.items[i].value);
		json_write_end(w, '}');
	}
	print_pressures(w, &m->pressure);
	json_write_end(w, '}');
}

static void print_blkio(struct json_writer *w, const struct events_blkio *b)
{
	static const char *const names[EVENTS_BLKIO_KINDS] = {
		[EVENTS_IO_SERVICE_BYTES] = "ioServiceBytesRecursive",
		[EVENTS_IO_SERVICED] = "ioServicedRecursive",
		[EVENTS_IO_QUEUED] = "ioQueueRecursive",
		[EVENTS_IO_SERVICE_TIME] = "ioServiceTimeRecursive",
		[EVENTS_IO_WAIT_TIME] = "ioWaitTimeRecursive",
		[EVENTS_IO_MERGED] = "ioMergedRecursive",
		[EVENTS_IO_TIME] = "ioTimeRecursive",
		[EVENTS_SECTORS] = "sectorsRecursive",
	};

	begin(w, "blkio", '{');
	for (size_t kind = 0; kind < EVENTS_BLKIO_KINDS; kind++) {
		const struct events_blkio_list *list = &b->lists[kind];

		if (!list->len)
			continue;
		begin(w, names[kind], '[');
		for (size_t i = 0; i < list->len; i++) {
			const struct events_blkio_entry *e = &list->items[i];

			json_write_begin(w, '{');
			member_unless_zero(w, "major", e->major);
			member_unless_zero(w, "minor", e->minor);
			if (*e->op)
				json_write_member(w, "op", e->op);
			member_unless_zero(w, "value", e->value);
			json_write_end(w, '}');
		}
		json_write_end(w, ']');
	}
	print_pressures(w, &b->pressure);
	json_write_end(w, '}');
}

static void print_stats(struct json_writer *w, const struct events_stats *s)
{
	begin(w, "data", '{');
	print_cpu(w, &s->cpu);
	print_cpuset(w, &s->cpuset);
	print_memory(w, &s->memory);
	begin(w, "pids", '{');
	member_unless_zero(w, "current", s->pids_current);
	member_unless_zero(w, "limit", s->pids_limit);
	json_write_end(w, '}');
	print_blkio(w, &s->blkio);
	begin(w, "hugetlb", '{');
	for (size_t i = 0; i < s->hugetlb.len; i++) {
		const struct events_hugetlb *h = &s->hugetlb.items[i];

		begin(w, h->page_size, '{');
		member_unless_zero(w, "usage", h->usage);
		member_unless_zero(w, "max", h->max);
		member(w, "failcnt", h->failcnt);
		json_write_end(w, '}');
	}
	json_write_end(w, '}');
	/* What hull has nothing to say of is there all the same, as runc prints it for OCI containers. */
	begin(w, "intel_rdt", '{');
	json_write_end(w, '}');
	json_write_key(w, "network_interfaces");
	json_write_null(w);
	json_write_end(w, '}');
}

int events_print(const char *id, const struct events_stats *stats, struct strbuf *out,
		 struct error *err)
{
	struct json_writer w;

	json_write_init(&w, out, 0);
	json_write_begin(&w, '{');
	json_write_member(&w, "type", stats ? "stats" : "oom");
	json_write_member(&w, "id", id);
	if (stats)
		print_stats(&w, stats);
	json_write_end(&w, '}');
	strbuf_addc(out, '\n');
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "print an event") : 0;
}
