/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cgroup used. Each controller is read where it is, in its v1 hierarchy or in the v2 tree,
 * and reported in v1's units, in which monitoring thinks: nanoseconds, and swap with the memory in it.
 * A file that is missing is not an error: kernels differ in what they count.
 *
 * Sources: Documentation/admin-guide/cgroup-v1/{memory,cpuacct,blkio-controller,hugetlb,pids}.rst,
 * cgroup-v2.rst, Documentation/accounting/psi.rst.
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/number.h"
#include "cgroups/internal.h"

#define STAT_MAX  ((size_t)1 << 20) /* bytes of a statistics file */
#define ITEMS_MAX 65536             /* of one list */
#define NSEC_OF_TICK \
	10000000ULL /* the kernel's USER_HZ is 100 on every architecture that matters */

/* ---- reading ------------------------------------------------------------------------------ */

/* A number, or "max", which is UINT64_MAX. 0 where there is no such file. */
static uint64_t read_number(int dir, const char *file)
{
	char text[64];
	uint64_t value = 0;

	if (file_read_small(dir, file, text, sizeof(text), NULL) < 0)
		return 0;
	if (strcmp(text, "max") == 0)
		return UINT64_MAX;
	return parse_u64(text, UINT64_MAX, &value) ? value : 0;
}

static int64_t read_signed(int dir, const char *file)
{
	char text[64];
	int64_t value = 0;

	return file_read_small(dir, file, text, sizeof(text), NULL) >= 0 && parse_i64(text, &value)
		       ? value
		       : 0;
}

/* The whole file in the arena, to be cut up; "" where there is none. */
static char *read_text(int dir, const char *file, struct arena *arena)
{
	_cleanup_free_ char *text = NULL;
	ssize_t n = file_read(dir, file, STAT_MAX, &text, NULL);

	return n < 0 ? arena_strdup(arena, "") : arena_memdup(arena, text, (size_t)n);
}

/* The next line of *text, and moves that on; NULL at the end. */
static char *next_line(char **text)
{
	char *line = *text, *end;

	if (!line || !*line)
		return NULL;
	end = strchr(line, '\n');
	*text = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line;
}

/* The value of a "key value" line. */
static uint64_t find_value(const struct events_numbers *numbers, const char *name)
{
	for (size_t i = 0; i < numbers->len; i++)
		if (strcmp(numbers->items[i].name, name) == 0)
			return numbers->items[i].value;
	return 0;
}

static size_t count_char(const char *text, char c)
{
	size_t n = 0;

	for (; *text && n < ITEMS_MAX; text++)
		n += *text == c;
	return n;
}

/* A file of "key value" lines. */
static int read_numbers(int dir, const char *file, struct arena *arena,
			struct events_numbers *numbers)
{
	char *text = read_text(dir, file, arena), *line;
	size_t max;

	*numbers = (struct events_numbers){ 0 };
	if (!text)
		return -ENOMEM;
	max = count_char(text, '\n') + 1;
	numbers->items = arena_array(arena, max, sizeof(*numbers->items));
	if (!numbers->items)
		return -ENOMEM;
	while (numbers->len < max && (line = next_line(&text))) {
		char *blank = strchr(line, ' ');
		uint64_t value;

		if (!blank || !parse_u64(blank + 1, UINT64_MAX, &value))
			continue;
		*blank = '\0';
		numbers->items[numbers->len++] = (struct events_number){ line, value };
	}
	return 0;
}

/* "0.12" as 12. */
static uint64_t parse_hundredths(const char *text, size_t len)
{
	const char *dot = memchr(text, '.', len);
	uint64_t whole, rest;

	if (!dot || !parse_u64_n(text, (size_t)(dot - text), 1000, &whole) ||
	    !parse_u64_n(dot + 1, len - (size_t)(dot - text) - 1, 99, &rest))
		return 0;
	return whole * 100 + rest;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" */
static void parse_pressure(char *line, struct events_pressure *p)
{
	const char *names[] = { "avg10=", "avg60=", "avg300=" };
	uint64_t *values[] = { &p->avg10, &p->avg60, &p->avg300 };
	const char *total = strstr(line, "total=");

	p->set = true;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *at = strstr(line, names[i]);

		if (at)
			*values[i] = parse_hundredths(at + strlen(names[i]),
						      strcspn(at + strlen(names[i]), " "));
	}
	if (!total || !parse_u64(total + strlen("total="), UINT64_MAX, &p->total))
		p->total = 0;
}

static void read_pressures(int dir, const char *file, struct events_pressures *p)
{
	char buf[512], *text = buf, *line;

	if (file_read_small(dir, file, buf, sizeof(buf), NULL) < 0)
		return;
	while ((line = next_line(&text)))
		if (strncmp(line, "some ", 5) == 0)
			parse_pressure(line, &p->some);
		else if (strncmp(line, "full ", 5) == 0)
			parse_pressure(line, &p->full);
}

/* The directory of a controller, by its names in v1 and in v2; -EBADF where it has none. */
static int find_dir(const struct cgroup *cg, const char *v1, bool *v2)
{
	int h = cgroup_v1_find(cg->host, v1);

	*v2 = h < 0;
	if (h < 0)
		h = cgroup_v2_find(cg->host);
	return h < 0 ? -EBADF : cg->dirs[h];
}

/* ---- cpu ---------------------------------------------------------------------------------- */

/* Numbers between blanks. */
static int read_list(int dir, const char *file, struct arena *arena, struct events_u64s *list)
{
	char *text = read_text(dir, file, arena), *save = NULL;
	size_t max;

	if (!text)
		return -ENOMEM;
	max = count_char(text, ' ') + 1;
	list->items = arena_array(arena, max, sizeof(*list->items));
	if (!list->items)
		return -ENOMEM;
	for (char *word = strtok_r(text, " \n", &save); word && list->len < max;
	     word = strtok_r(NULL, " \n", &save))
		if (!parse_u64(word, UINT64_MAX, &list->items[list->len++]))
			list->len--;
	return 0;
}

static int stats_cpu_v1(const struct cgroup *cg, struct arena *arena, struct events_cpu *cpu)
{
	int h = cgroup_v1_find(cg->host, "cpuacct"), r = 0;
	struct events_numbers numbers;

	if (h >= 0 && cg->dirs[h] >= 0) {
		cpu->total = read_number(cg->dirs[h], "cpuacct.usage");
		r = read_list(cg->dirs[h], "cpuacct.usage_percpu", arena, &cpu->percpu);
		if (r == 0)
			r = read_list(cg->dirs[h], "cpuacct.usage_percpu_sys", arena,
				      &cpu->percpu_kernel);
		if (r == 0)
			r = read_list(cg->dirs[h], "cpuacct.usage_percpu_user", arena,
				      &cpu->percpu_user);
		if (r == 0)
			r = read_numbers(cg->dirs[h], "cpuacct.stat", arena, &numbers);
		if (r < 0)
			return r;
		cpu->user = find_value(&numbers, "user") * NSEC_OF_TICK;
		cpu->kernel = find_value(&numbers, "system") * NSEC_OF_TICK;
	}
	h = cgroup_v1_find(cg->host, "cpu");
	if (h < 0 || cg->dirs[h] < 0)
		return 0;
	r = read_numbers(cg->dirs[h], "cpu.stat", arena, &numbers);
	cpu->periods = find_value(&numbers, "nr_periods");
	cpu->throttled_periods = find_value(&numbers, "nr_throttled");
	cpu->throttled_time = find_value(&numbers, "throttled_time");
	return r;
}

static int stats_cpu(const struct cgroup *cg, struct arena *arena, struct events_cpu *cpu)
{
	struct events_numbers numbers;
	bool v2;
	int dir = find_dir(cg, "cpu", &v2), r;

	if (!v2 || cgroup_v1_find(cg->host, "cpuacct") >= 0)
		return stats_cpu_v1(cg, arena, cpu);
	r = read_numbers(dir, "cpu.stat", arena, &numbers);
	if (r < 0)
		return r;
	cpu->total = find_value(&numbers, "usage_usec") * 1000;
	cpu->user = find_value(&numbers, "user_usec") * 1000;
	cpu->kernel = find_value(&numbers, "system_usec") * 1000;
	cpu->periods = find_value(&numbers, "nr_periods");
	cpu->throttled_periods = find_value(&numbers, "nr_throttled");
	cpu->throttled_time = find_value(&numbers, "throttled_usec") * 1000;
	read_pressures(dir, "cpu.pressure", &cpu->pressure);
	return 0;
}

/* "0-3,7" as the numbers that are meant. */
static int read_cpus(int dir, const char *file, struct arena *arena, struct events_u64s *list)
{
	char *text = read_text(dir, file, arena), *save = NULL;
	static const size_t max = 8192;

	if (!text)
		return -ENOMEM;
	for (char *word = strtok_r(text, ",\n", &save); word; word = strtok_r(NULL, ",\n", &save)) {
		size_t len = strcspn(word, "-");
		uint64_t first, last;

		if (!parse_u64_n(word, len, max - 1, &first))
			continue;
		last = first;
		if (word[len] && !parse_u64(word + len + 1, max - 1, &last))
			continue;
		if (!list->items)
			list->items = arena_array(arena, max, sizeof(*list->items));
		if (!list->items)
			return -ENOMEM;
		while (first <= last && list->len < max)
			list->items[list->len++] = first++;
	}
	return 0;
}

/* v1 alone, as in runc: v2 has no such flags, and its lists are settings, not what was used. */
static int stats_cpuset(const struct cgroup *cg, struct arena *arena, struct events_cpuset *c)
{
	const struct {
		const char *file;
		uint64_t *to;
	} flags[] = {
		{ "cpuset.cpu_exclusive", &c->cpu_exclusive },
		{ "cpuset.mem_hardwall", &c->mem_hardwall },
		{ "cpuset.mem_exclusive", &c->mem_exclusive },
		{ "cpuset.memory_migrate", &c->memory_migrate },
		{ "cpuset.memory_spread_page", &c->memory_spread_page },
		{ "cpuset.memory_spread_slab", &c->memory_spread_slab },
		{ "cpuset.memory_pressure", &c->memory_pressure },
		{ "cpuset.sched_load_balance", &c->sched_load_balance },
	};
	bool v2;
	int dir = find_dir(cg, "cpuset", &v2), r;

	if (v2 || dir < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		*flags[i].to = read_number(dir, flags[i].file);
	c->sched_relax_domain_level = read_signed(dir, "cpuset.sched_relax_domain_level");
	r = read_cpus(dir, "cpuset.cpus", arena, &c->cpus);
	return r < 0 ? r : read_cpus(dir, "cpuset.mems", arena, &c->mems);
}

/* ---- memory ------------------------------------------------------------------------------- */

static struct events_usage read_usage_v1(int dir, const char *name)
{
	const char *const files[] = { "limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes",
				      "failcnt" };
	uint64_t values[ARRAY_SIZE(files)];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char file[64];

		snprintf(file, sizeof(file), "%s.%s", name, files[i]);
		values[i] = read_number(dir, file);
	}
	return (struct events_usage){ values[0], values[1], values[2], values[3] };
}

static int stats_memory(const struct cgroup *cg, struct arena *arena, struct events_memory *m)
{
	bool v2;
	int dir = find_dir(cg, "memory", &v2), r;

	if (dir < 0)
		return 0;
	r = read_numbers(dir, "memory.stat", arena, &m->raw);
	if (r < 0)
		return r;
	m->cache = find_value(&m->raw, v2 ? "file" : "cache");
	if (!v2) {
		m->usage = read_usage_v1(dir, "memory");
		m->swap = read_usage_v1(dir, "memory.memsw");
		m->kernel = read_usage_v1(dir, "memory.kmem");
		m->kernel_tcp = read_usage_v1(dir, "memory.kmem.tcp");
		return 0;
	}
	m->usage.usage = read_number(dir, "memory.current");
	m->usage.limit = read_number(dir, "memory.max");
	m->usage.max = read_number(dir, "memory.peak");
	if (faccessat(dir, "memory.swap.current", F_OK, 0) == 0) {
		m->swap.usage = read_number(dir, "memory.swap.current") + m->usage.usage;
		m->swap.limit = read_number(dir, "memory.swap.max");
		if (m->usage.limit == UINT64_MAX ||
		    __builtin_add_overflow(m->swap.limit, m->usage.limit, &m->swap.limit))
			m->swap.limit = UINT64_MAX;
	}
	read_pressures(dir, "memory.pressure", &m->pressure);
	return 0;
}

static void stats_pids(const struct cgroup *cg, struct events_stats *stats)
{
	bool v2;
	int dir = find_dir(cg, "pids", &v2);

	if (dir < 0)
		return;
	stats->pids_current = read_number(dir, "pids.current");
	stats->pids_limit = read_number(dir, "pids.max");
	if (stats->pids_limit == UINT64_MAX)
		stats->pids_limit = 0;
}

/* ---- block I/O ---------------------------------------------------------------------------- */

static bool parse_device(const char *word, uint64_t *major, uint64_t *minor)
{
	size_t len = strcspn(word, ":");

	return word[len] && parse_u64_n(word, len, UINT32_MAX, major) &&
	       parse_u64(word + len + 1, UINT32_MAX, minor);
}

/* Lines as "8:0 Read 123" and "8:0 123"; the sum of all devices at the end is left out. */
static int read_blkio_v1(int dir, const char *file, struct arena *arena,
			 struct events_blkio_list *list)
{
	char *text = read_text(dir, file, arena), *line;
	size_t max;

	if (!text)
		return -ENOMEM;
	max = count_char(text, '\n') + 1;
	list->items = arena_array(arena, max, sizeof(*list->items));
	if (!list->items)
		return -ENOMEM;
	while (list->len < max && (line = next_line(&text))) {
		struct events_blkio_entry e = { .op = "" };
		char *save = NULL, *device = strtok_r(line, " ", &save);
		char *op = device ? strtok_r(NULL, " ", &save) : NULL;
		char *value = op ? strtok_r(NULL, " ", &save) : NULL;

		if (value)
			e.op = op;
		if (op && parse_device(device, &e.major, &e.minor) &&
		    parse_u64(value ? value : op, UINT64_MAX, &e.value))
			list->items[list->len++] = e;
	}
	return 0;
}

/* The I/O scheduler counts, BFQ or in old kernels CFQ; where none does, the throttling layer. */
static int stats_blkio_v1(int dir, struct arena *arena, struct events_blkio *b)
{
	static const char *const files[EVENTS_BLKIO_KINDS] = {
		[EVENTS_IO_SERVICE_BYTES] = "io_service_bytes_recursive",
		[EVENTS_IO_SERVICED] = "io_serviced_recursive",
		[EVENTS_IO_QUEUED] = "io_queued_recursive",
		[EVENTS_IO_SERVICE_TIME] = "io_service_time_recursive",
		[EVENTS_IO_WAIT_TIME] = "io_wait_time_recursive",
		[EVENTS_IO_MERGED] = "io_merged_recursive",
		[EVENTS_IO_TIME] = "time_recursive",
		[EVENTS_SECTORS] = "sectors_recursive",
	};
	static const char *const layers[] = { "blkio.bfq.", "blkio.", "blkio.throttle." };
	int r = 0;

	for (size_t kind = 0; r == 0 && kind < EVENTS_BLKIO_KINDS; kind++)
		for (size_t i = 0; r == 0 && !b->lists[kind].len && i < ARRAY_SIZE(layers); i++) {
			char file[64];

			snprintf(file, sizeof(file), "%s%s", layers[i], files[kind]);
			r = read_blkio_v1(dir, file, arena, &b->lists[kind]);
		}
	return r;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6" */
static void parse_io_stat(char *line, struct events_blkio *b)
{
	static const struct {
		const char *key, *op;
		enum events_blkio_kind kind;
	} keys[] = {
		{ "rbytes=", "Read", EVENTS_IO_SERVICE_BYTES },
		{ "wbytes=", "Write", EVENTS_IO_SERVICE_BYTES },
		{ "rios=", "Read", EVENTS_IO_SERVICED },
		{ "wios=", "Write", EVENTS_IO_SERVICED },
	};
	struct events_blkio_entry e;
	char *save = NULL, *word = strtok_r(line, " ", &save);

	if (!word || !parse_device(word, &e.major, &e.minor))
		return;
	while ((word = strtok_r(NULL, " ", &save)))
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			struct events_blkio_list *list = &b->lists[keys[i].kind];

			if (strncmp(word, keys[i].key, strlen(keys[i].key)) ||
			    !parse_u64(word + strlen(keys[i].key), UINT64_MAX, &e.value))
				continue;
			e.op = keys[i].op;
			list->items[list->len++] = e;
		}
}

static int stats_blkio(const struct cgroup *cg, struct arena *arena, struct events_blkio *b)
{
	static const enum events_blkio_kind kinds[] = { EVENTS_IO_SERVICE_BYTES,
							EVENTS_IO_SERVICED };
	char *text, *line;
	bool v2;
	int dir = find_dir(cg, "blkio", &v2);
	size_t max;

	if (dir < 0)
		return 0;
	if (!v2)
		return stats_blkio_v1(dir, arena, b);
	text = read_text(dir, "io.stat", arena);
	if (!text)
		return -ENOMEM;
	/* Each word with a "=" makes an entry at most. */
	max = count_char(text, '=');
	for (size_t i = 0; max && i < ARRAY_SIZE(kinds); i++) {
		b->lists[kinds[i]].items =
			arena_array(arena, max, sizeof(*b->lists[kinds[i]].items));
		if (!b->lists[kinds[i]].items)
			return -ENOMEM;
	}
	while (max && max < ITEMS_MAX && (line = next_line(&text)))
		parse_io_stat(line, b);
	read_pressures(dir, "io.pressure", &b->pressure);
	return 0;
}

/* ---- hugetlb ------------------------------------------------------------------------------ */

/* "hugepages-2048kB" as "2MB". */
static char *page_size_of(const char *name, struct arena *arena)
{
	static const char prefix[] = "hugepages-";
	static const char *const units[] = { "KB", "MB", "GB" };
	size_t digits, unit = 0;
	uint64_t size;

	if (strncmp(name, prefix, strlen(prefix)))
		return NULL;
	name += strlen(prefix);
	digits = strspn(name, "0123456789");
	if (strcmp(name + digits, "kB") || !parse_u64_n(name, digits, UINT32_MAX, &size) || !size)
		return NULL;
	for (; unit + 1 < ARRAY_SIZE(units) && size % 1024 == 0; unit++)
		size /= 1024;
	return arena_printf(arena, "%llu%s", (unsigned long long)size, units[unit]);
}

static void read_hugetlb(int dir, bool v2, struct arena *arena, struct events_hugetlb *h)
{
	static const char *const v1_files[] = { "usage_in_bytes", "max_usage_in_bytes", "failcnt" };
	uint64_t *const to[] = { &h->usage, &h->max, &h->failcnt };
	struct events_numbers events;
	char file[96];

	for (size_t i = 0; !v2 && i < ARRAY_SIZE(v1_files); i++) {
		snprintf(file, sizeof(file), "hugetlb.%s.%s", h->page_size, v1_files[i]);
		*to[i] = read_number(dir, file);
	}
	if (!v2)
		return;
	snprintf(file, sizeof(file), "hugetlb.%s.current", h->page_size);
	h->usage = read_number(dir, file);
	snprintf(file, sizeof(file), "hugetlb.%s.events", h->page_size);
	if (read_numbers(dir, file, arena, &events) == 0)
		h->failcnt = find_value(&events, "max");
}

static int stats_hugetlb(const struct cgroup *cg, struct arena *arena, struct events_hugetlbs *list)
{
	_cleanup_closedir_ DIR *sizes = NULL;
	struct dirent *entry;
	char file[96];
	bool v2;
	int dir = find_dir(cg, "hugetlb", &v2);

	if (dir < 0)
		return 0;
	sizes = opendir("/sys/kernel/mm/hugepages");
	list->items = arena_array(arena, 16, sizeof(*list->items));
	if (!list->items)
		return -ENOMEM;
	while (sizes && list->len < 16 && (entry = readdir(sizes))) {
		struct events_hugetlb *h = &list->items[list->len];

		h->page_size = page_size_of(entry->d_name, arena);
		if (!h->page_size)
			continue;
		snprintf(file, sizeof(file), "hugetlb.%s.%s", h->page_size,
			 v2 ? "current" : "usage_in_bytes");
		if (faccessat(dir, file, F_OK, 0) < 0)
			continue;
		read_hugetlb(dir, v2, arena, h);
		list->len++;
	}
	return 0;
}

int cgroup_stats(const struct cgroup *cg, struct arena *arena, struct events_stats *stats,
		 struct error *err)
{
	int r;

	*stats = (struct events_stats){ .pids_current = 0 };
	r = stats_cpu(cg, arena, &stats->cpu);
	if (r == 0)
		r = stats_cpuset(cg, arena, &stats->cpuset);
	if (r == 0)
		r = stats_memory(cg, arena, &stats->memory);
	if (r == 0)
		r = stats_blkio(cg, arena, &stats->blkio);
	if (r == 0)
		r = stats_hugetlb(cg, arena, &stats->hugetlb);
	stats_pids(cg, stats);
	return r < 0 ? error_errno(err, -r, "cgroup: read the statistics of `%s`", cg->path) : 0;
}
