/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroups/, the parts that need no cgroup: paths, the mount table, conversions, and device rules,
 * whose eBPF program runs here in an interpreter and is compared with a plain reading of the rules.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "cgroups/internal.h"

/* ---- paths -------------------------------------------------------------------------------- */

static void path_is(const char *given, const char *parent, const char *expected)
{
	char path[CGROUP_PATH_MAX];
	struct error err = { 0 };

	assert_int_equal(cgroup_path(given, parent, "id1", path, sizeof(path), &err), 0);
	assert_string_equal(path, expected);
	assert_int_equal(cgroup_path_check(path, &err), 0);
}

static void path_fails(const char *given, const char *parent, const char *id, int code)
{
	char path[CGROUP_PATH_MAX];
	struct error err = { 0 };

	assert_int_equal(cgroup_path(given, parent, id, path, sizeof(path), &err), -code);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.text, "cgroup: "));
}

static void paths_are_absolute_and_clean(void **state)
{
	(void)state;
	path_is(NULL, "/", "/id1");
	path_is(NULL, "/hull", "/hull/id1");
	path_is("", "/hull/", "/hull/id1");
	path_is("/a/b", "/hull", "/a/b");
	path_is("a/b", "/hull", "/hull/a/b");
	path_is("//a///b//", "/hull", "/a/b");
	path_is("/./a/./b/.", "/hull", "/a/b");
	path_is("/a..b/..c", "/", "/a..b/..c");
}

static void paths_that_leave_the_tree_are_refused(void **state)
{
	char longer[2 * CGROUP_PATH_MAX];
	struct error err = { 0 };

	(void)state;
	path_fails("/..", "/", "i", EINVAL);
	path_fails("/a/../b", "/", "i", EINVAL);
	path_fails("../b", "/hull", "i", EINVAL);
	path_fails(NULL, "/hull", "..", EINVAL);
	path_fails("/", "/hull", "i", EINVAL);
	path_fails("///.", "/hull", "i", EINVAL);
	path_fails("/a\nb", "/hull", "i", EINVAL);
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	path_fails(longer, "/", "i", ENAMETOOLONG);
	longer[CGROUP_PATH_MAX - 1] = '\0';
	path_fails(longer, "/", "i", ENAMETOOLONG);
	longer[CGROUP_PATH_MAX - 2] = '\0';
	longer[0] = '/';
	path_is(longer, "/", longer);
	/* What comes from state.json must be what cgroup_path() made. */
	assert_int_equal(cgroup_path_check("/a//b", &err), -EINVAL);
	assert_int_equal(cgroup_path_check("a", &err), -EINVAL);
	assert_int_equal(cgroup_path_check("", &err), -EINVAL);
	assert_int_equal(cgroup_path_check("/", &err), -EINVAL);
	assert_int_equal(cgroup_path_check("/a/..", &err), -EINVAL);
}

static void a_small_buffer_is_not_overrun(void **state)
{
	char path[8] = "xxxxxxx";
	struct error err;

	(void)state;
	assert_int_equal(cgroup_path("/abcdefgh", "/", "i", path, 6, &err), -ENAMETOOLONG);
	assert_int_equal(path[6], 'x');
	assert_int_equal(cgroup_path("/abcd", "/", "i", path, 6, &err), 0);
	assert_string_equal(path, "/abcd");
}

/* ---- the mount table ---------------------------------------------------------------------- */

static void a_v1_host_is_recognised(void **state)
{
	static const char mounts[] =
		"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
		"31 22 0:27 / /sys/fs/cgroup ro,nosuid shared:9 master:2 - tmpfs tmpfs ro,mode=755\n"
		"33 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		"36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
		"37 31 0:33 / /mnt/cg\\040roup\\134x rw - cgroup cgroup rw,memory\n"
		"38 31 0:32 / /other/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
	static const char self[] = "9:cpu,cpuacct:/user.slice\n5:memory:/\n3:pids:/p\n"
				   "1:name=systemd:/user.slice/a:b (deleted)\n";
	struct cgroup_host host;
	struct error err;
	int h;

	(void)state;
	assert_int_equal(cgroup_host_parse(mounts, self, &host, &err), 0);
	assert_int_equal(host.layout, CGROUP_V1);
	assert_string_equal(cgroup_layout_name(host.layout), "v1");
	assert_int_equal(host.count, 3);
	h = cgroup_v1_find(&host, "cpuacct");
	assert_true(h >= 0 && h == cgroup_v1_find(&host, "cpu"));
	assert_string_equal(host.hierarchies[h].mount, "/sys/fs/cgroup/cpu,cpuacct");
	assert_string_equal(host.hierarchies[h].own, "/user.slice");
	h = cgroup_v1_find(&host, "memory");
	assert_true(h >= 0);
	assert_string_equal(host.hierarchies[h].mount, "/mnt/cg roup\\x");
	h = cgroup_v1_find(&host, "name=systemd");
	assert_true(h >= 0);
	assert_string_equal(host.hierarchies[h].own, "/user.slice/a:b");
	/* pids exists but is not mounted; "cpu" must not be found in "cpuset". */
	assert_true(cgroup_v1_find(&host, "pids") < 0);
	assert_true(cgroup_v1_find(&host, "acct") < 0);
	assert_true(cgroup_v1_find(&host, "cpua") < 0);
	assert_true(cgroup_v2_find(&host) < 0);
	assert_true(cgroup_host_has(&host, "cpuacct"));
	assert_false(cgroup_host_has(&host, "pids"));
}

static void a_hybrid_host_and_a_container_are_recognised(void **state)
{
	static const char mounts[] =
		"36 31 0:32 /docker/c1 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		"37 31 0:33 /docker/c1 /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
		"38 31 0:34 /.. /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		"39 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
	static const char self[] = "3:cpu:/docker/c1/sub\n2:pids:/docker/c1\n1:memory:/../x\n"
				   "0::/docker/c1\n";
	struct cgroup_host host;
	struct error err;

	(void)state;
	assert_int_equal(cgroup_host_parse(mounts, self, &host, &err), 0);
	assert_int_equal(host.layout, CGROUP_HYBRID);
	assert_int_equal(host.count, 4);
	assert_string_equal(host.hierarchies[0].own, "/sub");
	assert_string_equal(host.hierarchies[1].own, "/");
	assert_string_equal(host.hierarchies[3].own, "/docker/c1");
	assert_int_equal(cgroup_v2_find(&host), 3);
}

static void v2_and_no_hosts_are_recognised(void **state)
{
	struct cgroup_host host;
	struct error err;

	(void)state;
	assert_int_equal(
		cgroup_host_parse("1 0 0:2 / /c rw - cgroup2 none rw\n", "0::/a\n", &host, &err),
		0);
	assert_int_equal(host.layout, CGROUP_V2);
	assert_string_equal(host.hierarchies[0].own, "/a");
	assert_int_equal(
		cgroup_host_parse("1 0 0:2 / / rw - tmpfs none rw\n", "0::/a\n", &host, &err), 0);
	assert_int_equal(host.layout, CGROUP_NONE);
	assert_int_equal(host.count, 0);
	assert_false(cgroup_host_has(&host, "memory"));
}

static void broken_mount_tables_do_no_harm(void **state)
{
	static const char *const tables[] = {
		"",
		"\n\n",
		"-",
		"1 2 3 / /x rw",
		"1 2 3 / /x rw -",
		"1 2 3 / /x rw - cgroup2",
		"1 2 3 / x rw - cgroup2 a b",
		"1 2 3 /\\ /x rw - cgroup\n - cgroup2 -\n",
	};
	struct cgroup_host host;
	char longer[1024], line[2048];
	struct error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		assert_int_equal(
			cgroup_host_parse(tables[i], "0::/\n1:cpu:/\nx\n::\n", &host, &err), 0);
		assert_true(host.count <= 1);
	}
	memset(longer, 'm', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	snprintf(line, sizeof(line), "1 0 0:2 / /%s rw - cgroup2 none rw\n", longer);
	assert_int_equal(cgroup_host_parse(line, "0::/a\n", &host, &err), -ENAMETOOLONG);
}

/* ---- conversions -------------------------------------------------------------------------- */

static void shares_become_weights(void **state)
{
	/* ceil(10^((l² + 125 l) / 612 - 7/34)) computed with libm, as runc and crun do. */
	static const struct {
		uint64_t shares;
		unsigned weight;
	} table[] = {
		{ 0, 1 },          { 1, 1 },          { 2, 1 },           { 3, 2 },
		{ 10, 4 },         { 102, 17 },       { 512, 59 },        { 1000, 99 },
		{ 1024, 100 },     { 2048, 174 },     { 4096, 303 },      { 10240, 639 },
		{ 262143, 10000 }, { 262144, 10000 }, { 1 << 20, 10000 }, { UINT64_MAX, 10000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_int_equal(cgroup_weight_of_shares(table[i].shares), table[i].weight);
	for (uint64_t shares = 1; shares < 262144; shares += 97)
		assert_true(cgroup_weight_of_shares(shares) <=
			    cgroup_weight_of_shares(shares + 97));
}

static void block_weights_are_linear(void **state)
{
	(void)state;
	assert_int_equal(cgroup_io_weight(10), 1);
	assert_int_equal(cgroup_io_weight(1000), 10000);
	assert_int_equal(cgroup_io_weight(0), 1);
	assert_int_equal(cgroup_io_weight(5000), 10000);
	assert_int_equal(cgroup_io_weight(500), 1 + 490 * 9999 / 990);
}

static void swap_loses_the_memory_in_it(void **state)
{
	struct error err;
	int64_t swap;

	(void)state;
	assert_int_equal(cgroup_swap_max(100, 300, &swap, &err), 0);
	assert_int_equal(swap, 200);
	assert_int_equal(cgroup_swap_max(100, 100, &swap, &err), 0);
	assert_int_equal(swap, 0);
	assert_int_equal(cgroup_swap_max(100, -1, &swap, &err), 0);
	assert_int_equal(swap, -1);
	assert_int_equal(cgroup_swap_max(-1, -1, &swap, &err), 0);
	assert_int_equal(cgroup_swap_max(100, 99, &swap, &err), -EINVAL);
	assert_int_equal(cgroup_swap_max(-1, 99, &swap, &err), -EINVAL);
}

static void page_sizes_are_checked(void **state)
{
	(void)state;
	assert_true(cgroup_page_size_valid("2MB"));
	assert_true(cgroup_page_size_valid("1GB"));
	assert_true(cgroup_page_size_valid("64KB"));
	assert_false(cgroup_page_size_valid(""));
	assert_false(cgroup_page_size_valid("MB"));
	assert_false(cgroup_page_size_valid("2"));
	assert_false(cgroup_page_size_valid("2M"));
	assert_false(cgroup_page_size_valid("../2MB"));
	assert_false(cgroup_page_size_valid("2MB/../x"));
	assert_false(cgroup_page_size_valid("99999999MB"));
}

/* ---- device rules ------------------------------------------------------------------------- */

/* One access as the kernel asks for it. */
static bool run(const struct bpf_insn *insns, size_t count, int type, unsigned access,
		uint32_t major, uint32_t minor)
{
	const uint32_t ctx[3] = { access << 16 | (unsigned)type, major, minor };
	uint64_t reg[11] = { 0 };

	reg[1] = 0x5ca7c4; /* the context's address, which only loads may use */
	for (size_t pc = 0; pc < count; pc++) {
		const struct bpf_insn *i = &insns[pc];
		uint64_t k = (uint64_t)(int64_t)i->imm;

		assert_true(i->dst_reg < 11 && i->src_reg < 11);
		switch (i->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			assert_int_equal(i->src_reg, 1);
			assert_true(i->off >= 0 && i->off <= 8 && i->off % 4 == 0);
			reg[i->dst_reg] = ctx[i->off / 4];
			break;
		case BPF_LD | BPF_IMM | BPF_DW:
			pc++;
			reg[i->dst_reg] = (uint32_t)i->imm | (uint64_t)(uint32_t)insns[pc].imm
								     << 32;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			reg[i->dst_reg] = k;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_X:
			reg[i->dst_reg] = reg[i->src_reg];
			break;
		case BPF_ALU64 | BPF_RSH | BPF_K:
			reg[i->dst_reg] >>= i->imm;
			break;
		case BPF_ALU64 | BPF_LSH | BPF_K:
			reg[i->dst_reg] <<= i->imm;
			break;
		case BPF_ALU64 | BPF_MUL | BPF_K:
			reg[i->dst_reg] *= k;
			break;
		case BPF_ALU64 | BPF_SUB | BPF_K:
			reg[i->dst_reg] -= k;
			break;
		case BPF_ALU64 | BPF_XOR | BPF_K:
			reg[i->dst_reg] ^= k;
			break;
		case BPF_ALU64 | BPF_XOR | BPF_X:
			reg[i->dst_reg] ^= reg[i->src_reg];
			break;
		case BPF_ALU64 | BPF_AND | BPF_K:
			reg[i->dst_reg] &= k;
			break;
		case BPF_ALU64 | BPF_AND | BPF_X:
			reg[i->dst_reg] &= reg[i->src_reg];
			break;
		case BPF_ALU64 | BPF_OR | BPF_X:
			reg[i->dst_reg] |= reg[i->src_reg];
			break;
		case BPF_JMP | BPF_EXIT:
			assert_true(reg[0] <= 1);
			return reg[0] == 1;
		default:
			fail_msg("unknown instruction %#x", i->code);
		}
	}
	fail_msg("the program has no end");
	return false;
}

/* What the rules say, read as their definition: the last that names device and access decides. */
static bool expected(const struct cgroup_device_rule *rules, size_t count, char type,
		     unsigned access, uint32_t major, uint32_t minor)
{
	for (unsigned bit = 1; bit <= 4; bit <<= 1) {
		bool allowed = false;

		if (!(access & bit))
			continue;
		for (size_t i = 0; i < count; i++)
			if ((rules[i].type == 'a' || rules[i].type == type) &&
			    (rules[i].major < 0 || rules[i].major == major) &&
			    (rules[i].minor < 0 || rules[i].minor == minor) &&
			    (rules[i].access & bit))
				allowed = rules[i].allow;
		if (!allowed)
			return false;
	}
	return true;
}

static void agree(const struct cgroup_device_rule *rules, size_t count)
{
	static const uint32_t numbers[] = { 0, 1, 3, 5, 10, 136, 200 };
	_cleanup_free_ struct bpf_insn *insns = NULL;
	struct error err;
	ssize_t n = cgroup_device_program(rules, count, &insns, &err);

	assert_true(n > 0);
	for (unsigned access = 1; access < 8; access++)
		for (size_t a = 0; a < ARRAY_SIZE(numbers); a++)
			for (size_t b = 0; b < ARRAY_SIZE(numbers); b++) {
				assert_int_equal(run(insns, (size_t)n, BPF_DEVCG_DEV_CHAR, access,
						     numbers[a], numbers[b]),
						 expected(rules, count, 'c', access, numbers[a],
							  numbers[b]));
				assert_int_equal(run(insns, (size_t)n, BPF_DEVCG_DEV_BLOCK, access,
						     numbers[a], numbers[b]),
						 expected(rules, count, 'b', access, numbers[a],
							  numbers[b]));
			}
}

static struct oci_device_rule rule(bool allow, const char *type, int64_t major, int64_t minor,
				   const char *access)
{
	return (struct oci_device_rule){ .allow = allow,
					 .type = type,
					 .major = { major >= 0, major },
					 .minor = { minor >= 0, minor },
					 .access = access };
}

/* Whether the configured rules, with the default ones, allow an access. */
static bool allows(struct oci_device_rule *items, size_t len, char type, unsigned access,
		   uint32_t major, uint32_t minor)
{
	const struct oci_device_rules configured = { items, len };
	_cleanup_free_ struct cgroup_device_rule *rules = NULL;
	_cleanup_free_ struct bpf_insn *insns = NULL;
	struct error err = { 0 };
	ssize_t count = cgroup_device_rules(&configured, &rules, &err), n;

	assert_true(count > 0);
	agree(rules, (size_t)count);
	n = cgroup_device_program(rules, (size_t)count, &insns, &err);
	assert_true(n > 0);
	return run(insns, (size_t)n, type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, access,
		   major, minor);
}

enum { M = BPF_DEVCG_ACC_MKNOD, R = BPF_DEVCG_ACC_READ, W = BPF_DEVCG_ACC_WRITE };

static void default_devices_are_allowed(void **state)
{
	struct oci_device_rule deny_all[] = { rule(false, NULL, -1, -1, "rwm") };

	(void)state;
	for (size_t len = 0; len < 2; len++) {
		assert_true(allows(deny_all, len, 'c', R | W | M, 1, 3));
		assert_true(allows(deny_all, len, 'c', R | W, 136, 77));
		assert_true(allows(deny_all, len, 'b', M, 8, 0));
		assert_false(allows(deny_all, len, 'b', R, 8, 0));
		assert_false(allows(deny_all, len, 'b', R | M, 8, 0));
		assert_false(allows(deny_all, len, 'c', R, 1, 1));
	}
}

static void the_last_rule_wins(void **state)
{
	struct oci_device_rule rules[] = {
		rule(true, "b", 8, -1, "rwm"), rule(false, "a", -1, -1, NULL),
		rule(true, "c", 10, -1, "rw"), rule(false, "c", 10, 5, "w"),
		rule(true, "b", 8, 0, "r"),
	};

	(void)state;
	assert_false(allows(rules, 5, 'b', R, 8, 1));
	assert_true(allows(rules, 5, 'b', R, 8, 0));
	assert_false(allows(rules, 5, 'b', R | W, 8, 0));
	assert_true(allows(rules, 5, 'c', R | W, 10, 3));
	assert_true(allows(rules, 5, 'c', R, 10, 5));
	assert_false(allows(rules, 5, 'c', R | W, 10, 5));
	assert_true(allows(rules, 5, 'b', R | M, 8, 0));
}

static void privileged_means_all(void **state)
{
	struct oci_device_rule rules[] = {
		rule(false, NULL, -1, -1, "rwm"),
		rule(true, "a", -1, -1, "rwm"),
		rule(false, "b", 8, -1, "w"),
	};
	const struct oci_device_rules configured = { rules, 2 };
	_cleanup_free_ struct cgroup_device_rule *checked = NULL;
	struct error err;

	(void)state;
	assert_int_equal(cgroup_device_rules(&configured, &checked, &err), 1);
	assert_true(allows(rules, 2, 'b', R | W | M, 8, 3));
	assert_true(allows(rules, 3, 'b', R, 8, 3));
	assert_false(allows(rules, 3, 'b', R | W, 8, 3));
	assert_true(allows(rules, 3, 'b', R | W, 9, 3));
}

static void random_rules_agree_with_their_definition(void **state)
{
	static const int64_t numbers[] = { -1, 0, 1, 3, 5, 10, 136, 200 };
	static const char types[] = "abc";
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < 300; round++) {
		struct cgroup_device_rule rules[12];
		size_t n = 1 + (size_t)rand_r(&seed) % ARRAY_SIZE(rules);

		for (size_t i = 0; i < n; i++)
			rules[i] = (struct cgroup_device_rule){
				.allow = rand_r(&seed) & 1,
				.type = types[rand_r(&seed) % 3],
				.major = numbers[rand_r(&seed) % 8],
				.minor = numbers[rand_r(&seed) % 8],
				.access = 1 + (unsigned)rand_r(&seed) % 7,
			};
		agree(rules, n);
	}
}

static void configured_rules_agree_with_their_definition(void **state)
{
	static const struct oci_device_rules none = { 0 };
	static const int64_t numbers[] = { -1, 0, 1, 3, 5, 10, 136, 200 };
	static const char *const types[] = { "a", "b", "c" };
	static const char *const accesses[] = { "r", "w", "m", "rw", "rm", "wm", "rwm", NULL };
	static const unsigned bits[] = { R, W, M, R | W, R | M, W | M, R | W | M, R | W | M };
	_cleanup_free_ struct cgroup_device_rule *defaults = NULL;
	unsigned seed = 11;
	struct error err;
	ssize_t last = cgroup_device_rules(&none, &defaults, &err);

	(void)state;
	assert_true(last > 5);
	for (int round = 0; round < 300; round++) {
		struct oci_device_rule items[10];
		struct cgroup_device_rule all[40];
		size_t n = (size_t)rand_r(&seed) % (ARRAY_SIZE(items) + 1);
		const struct oci_device_rules configured = { items, n };
		_cleanup_free_ struct cgroup_device_rule *rules = NULL;
		_cleanup_free_ struct bpf_insn *insns = NULL;
		ssize_t count, len;

		for (size_t i = 0; i < n; i++) {
			unsigned a = (unsigned)rand_r(&seed) % 8, t = (unsigned)rand_r(&seed) % 3;

			all[i] = (struct cgroup_device_rule){
				.allow = rand_r(&seed) & 1,
				.type = *types[t],
				.major = numbers[rand_r(&seed) % 8],
				.minor = numbers[rand_r(&seed) % 8],
				.access = bits[a],
			};
			items[i] = rule(all[i].allow, types[t], all[i].major, all[i].minor,
					accesses[a]);
		}
		memcpy(all + n, defaults, (size_t)last * sizeof(*all));
		count = cgroup_device_rules(&configured, &rules, &err);
		assert_true(count > 0);
		len = cgroup_device_program(rules, (size_t)count, &insns, &err);
		assert_true(len > 0);
		for (unsigned access = 1; access < 8; access++)
			for (size_t a = 1; a < ARRAY_SIZE(numbers); a++)
				for (size_t b = 1; b < ARRAY_SIZE(numbers); b++)
					for (int t = BPF_DEVCG_DEV_BLOCK; t <= BPF_DEVCG_DEV_CHAR;
					     t++)
						assert_int_equal(
							run(insns, (size_t)len, t, access,
							    (uint32_t)numbers[a],
							    (uint32_t)numbers[b]),
							expected(all, n + (size_t)last,
								 t == BPF_DEVCG_DEV_BLOCK ? 'b'
											  : 'c',
								 access, (uint32_t)numbers[a],
								 (uint32_t)numbers[b]));
	}
}

static void numbers_too_large_match_nothing(void **state)
{
	/* 4097 is 1 with a bit that would be the type's, and (1 << 20) + 3 is minor 3 of another major. */
	struct oci_device_rule rules[] = {
		rule(true, "c", 4097, 1, "rwm"),
		rule(true, "c", 1, (1 << 20) + 1, "rwm"),
		rule(true, "c", 4095, 0xfffff, "rwm"),
	};

	(void)state;
	assert_false(allows(rules, 3, 'c', R, 1, 1));
	assert_false(allows(rules, 3, 'c', R, 2, 1));
	assert_true(allows(rules, 3, 'c', R, 4095, 0xfffff));
	assert_false(allows(rules, 3, 'b', R, 4095, 0xfffff));
}

static void bad_device_rules_are_refused(void **state)
{
	struct oci_device_rule bad[] = {
		rule(true, "p", 1, 1, "r"),
		rule(true, "cc", 1, 1, "r"),
		rule(true, "c", 1, 1, "rx"),
		rule(true, "c", (int64_t)UINT32_MAX + 1, 1, "r"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct oci_device_rules configured = { &bad[i], 1 };
		struct cgroup_device_rule *rules = NULL;
		struct error err = { 0 };

		assert_int_equal(cgroup_device_rules(&configured, &rules, &err), -EINVAL);
		assert_non_null(strstr(err.text, "linux.resources.devices[0]"));
		assert_null(rules);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_absolute_and_clean),
		cmocka_unit_test(paths_that_leave_the_tree_are_refused),
		cmocka_unit_test(a_small_buffer_is_not_overrun),
		cmocka_unit_test(a_v1_host_is_recognised),
		cmocka_unit_test(a_hybrid_host_and_a_container_are_recognised),
		cmocka_unit_test(v2_and_no_hosts_are_recognised),
		cmocka_unit_test(broken_mount_tables_do_no_harm),
		cmocka_unit_test(shares_become_weights),
		cmocka_unit_test(block_weights_are_linear),
		cmocka_unit_test(swap_loses_the_memory_in_it),
		cmocka_unit_test(page_sizes_are_checked),
		cmocka_unit_test(default_devices_are_allowed),
		cmocka_unit_test(the_last_rule_wins),
		cmocka_unit_test(privileged_means_all),
		cmocka_unit_test(random_rules_agree_with_their_definition),
		cmocka_unit_test(configured_rules_agree_with_their_definition),
		cmocka_unit_test(numbers_too_large_match_nothing),
		cmocka_unit_test(bad_device_rules_are_refused),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
