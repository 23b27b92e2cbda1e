/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device filter of v2: a small eBPF program that the kernel asks at each open and mknod of a
 * device by a process of the cgroup. It goes through the rules from the last to the first and keeps
 * the kinds of access that no rule decided yet in a register: an allowing rule takes its own out, a
 * denying one notes those that are still there. The answer is yes if at the end none is left and
 * none was noted.
 *
 * There is no jump in it. A start loads the program, and the kernel's verifier follows each branch
 * with a copy of its state, which took ten times as long as the straight computation does.
 *
 * Sources: linux/bpf.h struct bpf_cgroup_dev_ctx; Documentation/bpf/; bpf(2). The program is put
 * together here, since it is a few instructions a rule and libbpf would be loaded at every start.
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "cgroups/internal.h"

/* What the registers hold. R0 is the answer, R1 the context at first and then scratch. */
enum { ANSWER = BPF_REG_0, SCRATCH = BPF_REG_1, KEY, WANTED, DENIED, MASK };

/* A device as one number: the kernel's own limits are 12 bits of major and 20 of minor. */
#define MINOR_BITS 20
#define MAJOR_BITS 12
#define MINOR_MASK ((1ULL << MINOR_BITS) - 1)
#define MAJOR_MASK (((1ULL << MAJOR_BITS) - 1) << MINOR_BITS)
#define TYPE_SHIFT (MINOR_BITS + MAJOR_BITS)
#define TYPE_MASK  (0xffffULL << TYPE_SHIFT)

#define PROLOGUE 12
#define PER_RULE 11 /* at most */
#define EPILOGUE 5

struct program {
	struct bpf_insn *insns;
	size_t len;
};

static void emit(struct program *p, int code, int dst, int src, int off, int imm)
{
	p->insns[p->len++] = (struct bpf_insn){
		.code = (uint8_t)code,
		.dst_reg = dst & 0xf,
		.src_reg = src & 0xf,
		.off = (int16_t)off,
		.imm = imm,
	};
}

/* dst = dst op src, and dst = dst op imm, of 64 bits. */
static void emit_reg(struct program *p, int op, int dst, int src)
{
	emit(p, BPF_ALU64 | op | BPF_X, dst, src, 0, 0);
}

static void emit_imm(struct program *p, int op, int dst, int imm)
{
	emit(p, BPF_ALU64 | op | BPF_K, dst, 0, 0, imm);
}

static void emit_load(struct program *p, int dst, uint64_t value)
{
	emit(p, BPF_LD | BPF_IMM | BPF_DW, dst, 0, 0, (int)(uint32_t)value);
	emit(p, 0, 0, 0, 0, (int)(uint32_t)(value >> 32));
}

/* WANTED: the kinds of access; KEY: type, major and minor; DENIED: 0 */
static void emit_prologue(struct program *p)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, KEY, SCRATCH,
	     offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	/* access_type is the access in the upper half and the type in the lower one. */
	emit_reg(p, BPF_MOV, WANTED, KEY);
	emit_imm(p, BPF_RSH, WANTED, 16);
	emit_imm(p, BPF_AND, KEY, 0xffff);
	emit_imm(p, BPF_LSH, KEY, MAJOR_BITS);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, MASK, SCRATCH,
	     offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit_reg(p, BPF_OR, KEY, MASK);
	emit_imm(p, BPF_LSH, KEY, MINOR_BITS);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, MASK, SCRATCH,
	     offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	emit_reg(p, BPF_OR, KEY, MASK);
	emit_imm(p, BPF_MOV, DENIED, 0);
}

/* SCRATCH: the rule's kinds of access if the device is one of its, else 0 */
static void emit_match(struct program *p, const struct cgroup_device_rule *rule)
{
	uint64_t key = 0, mask = 0;

	if (rule->type != 'a') {
		key = (uint64_t)(rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR)
		      << TYPE_SHIFT;
		mask = TYPE_MASK;
	}
	if (rule->major >= 0) {
		key |= (uint64_t)rule->major << MINOR_BITS;
		mask |= MAJOR_MASK;
	}
	if (rule->minor >= 0) {
		key |= (uint64_t)rule->minor;
		mask |= MINOR_MASK;
	}
	if (!mask) {
		emit_imm(p, BPF_MOV, SCRATCH, (int)rule->access);
		return;
	}
	emit_load(p, SCRATCH, key);
	emit_reg(p, BPF_XOR, SCRATCH, KEY);
	if (mask != (TYPE_MASK | MAJOR_MASK | MINOR_MASK)) {
		emit_load(p, MASK, mask);
		emit_reg(p, BPF_AND, SCRATCH, MASK);
	}
	/*
	 * Only 0, "no difference", becomes negative by this, and its sign is 1. (An arithmetic shift
	 * would make the mask at once, but there the verifier of Linux 6.18 branches, too.)
	 */
	emit_imm(p, BPF_SUB, SCRATCH, 1);
	emit_imm(p, BPF_RSH, SCRATCH, 63);
	emit_imm(p, BPF_MUL, SCRATCH, (int)rule->access);
}

static void emit_rule(struct program *p, const struct cgroup_device_rule *rule)
{
	/* No device has such a number, and it would run into the next field of the key. */
	if (rule->major >> MAJOR_BITS > 0 || rule->minor >> MINOR_BITS > 0)
		return;
	emit_match(p, rule);
	if (rule->allow) {
		emit_imm(p, BPF_XOR, SCRATCH, -1);
		emit_reg(p, BPF_AND, WANTED, SCRATCH);
	} else {
		emit_reg(p, BPF_AND, SCRATCH, WANTED);
		emit_reg(p, BPF_OR, DENIED, SCRATCH);
	}
}

ssize_t cgroup_device_program(const struct cgroup_device_rule *rules, size_t count,
			      struct bpf_insn **insns, struct error *err)
{
	struct program p = { 0 };

	p.insns = calloc(PROLOGUE + count * PER_RULE + EPILOGUE, sizeof(*p.insns));
	if (!p.insns)
		return error_errno(err, ENOMEM, "cgroup: device program");
	emit_prologue(&p);
	for (size_t i = count; i-- > 0;)
		emit_rule(&p, &rules[i]);
	/* 1 where neither is left: again only 0 has a sign after the subtraction. */
	emit_reg(&p, BPF_MOV, ANSWER, WANTED);
	emit_reg(&p, BPF_OR, ANSWER, DENIED);
	emit_imm(&p, BPF_SUB, ANSWER, 1);
	emit_imm(&p, BPF_RSH, ANSWER, 63);
	emit(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	*insns = p.insns;
	return (ssize_t)p.len;
}

/* ---- loading and attaching ---------------------------------------------------------------- */

static int sys_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int load_once(const struct bpf_insn *insns, size_t count)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)insns;
	attr.insn_cnt = (uint32_t)count;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	memcpy(attr.prog_name, "hull_devices", sizeof("hull_devices"));
	return sys_bpf(BPF_PROG_LOAD, &attr);
}

/* Kernels before 5.11 charge programs to RLIMIT_MEMLOCK; it is raised for the one call only. */
static int load(const struct bpf_insn *insns, size_t count)
{
	struct rlimit old, more;
	int fd = load_once(insns, count);

	if (fd >= 0 || errno != EPERM || getrlimit(RLIMIT_MEMLOCK, &old) < 0)
		return fd;
	more = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
	if (setrlimit(RLIMIT_MEMLOCK, &more) < 0) {
		more.rlim_cur = more.rlim_max = old.rlim_max;
		if (setrlimit(RLIMIT_MEMLOCK, &more) < 0) {
			errno = EPERM;
			return -1;
		}
	}
	fd = load_once(insns, count);
	if (fd < 0) {
		int saved = errno;

		setrlimit(RLIMIT_MEMLOCK, &old);
		errno = saved;
	} else {
		setrlimit(RLIMIT_MEMLOCK, &old);
	}
	return fd;
}

static int attach(int dir, int program, uint32_t flags, int replaced)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)dir;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = flags;
	if (replaced >= 0)
		attr.replace_bpf_fd = (uint32_t)replaced;
	return sys_bpf(BPF_PROG_ATTACH, &attr);
}

static void detach(int dir, int program)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)dir;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	sys_bpf(BPF_PROG_DETACH, &attr);
}

#define ATTACHED_MAX 64 /* the kernel's bound of programs on one cgroup */

/* The programs that are attached to this very cgroup. Returns how many; *fds are the caller's. */
static size_t query(int dir, int fds[ATTACHED_MAX])
{
	uint32_t ids[ATTACHED_MAX] = { 0 };
	union bpf_attr attr;
	size_t n = 0;

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = (uint32_t)dir;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
	attr.query.prog_cnt = ATTACHED_MAX;
	if (sys_bpf(BPF_PROG_QUERY, &attr) < 0)
		return 0;
	for (uint32_t i = 0, count = attr.query.prog_cnt; i < count && i < ATTACHED_MAX; i++) {
		union bpf_attr by_id;
		int fd;

		memset(&by_id, 0, sizeof(by_id));
		by_id.prog_id = ids[i];
		fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
		if (fd >= 0)
			fds[n++] = fd;
	}
	return n;
}

/*
 * All programs of a cgroup and of those above it must agree, so one that stayed would still deny
 * what the new one allows. One alone is replaced at once; of several, the new one comes first, so
 * that at no moment there is none.
 */
static int attach_replacing(int dir, int program, const int *old, size_t count)
{
	int r = -1;

	if (count == 1)
		r = attach(dir, program, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, old[0]);
	if (r < 0) { /* also where the old one was attached alone, or the kernel is before 5.6 */
		r = attach(dir, program, BPF_F_ALLOW_MULTI, -1);
		for (size_t i = 0; r == 0 && i < count; i++)
			detach(dir, old[i]);
	}
	return r < 0 ? -errno : 0;
}

static int failed(const struct cgroup *cg, int h, const char *what, int code, struct error *err)
{
	const char *hint = "see the kernel's log";

	if (code == EPERM || code == EACCES)
		hint = "hull needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, in the initial user "
		       "namespace; run it as root there, or as a rootless container";
	else if (code == EINVAL || code == ENOSYS)
		hint = "this kernel lacks CONFIG_CGROUP_BPF or is older than 4.15; use another";
	return error_set(err, code,
			 "cgroup: linux.resources.devices: %s the device filter of `%s%s`: %s; %s",
			 what, cg->host->hierarchies[h].mount, cg->path, strerror(code), hint);
}

static int load_and_attach(const struct cgroup *cg, int h, const struct cgroup_device_rule *rules,
			   size_t count, const int *old, size_t old_count, struct error *err)
{
	_cleanup_close_ int program = -EBADF;
	struct bpf_insn *insns;
	ssize_t n;
	int r;

	/* Without a program all is allowed, so a rule that allows all needs none. */
	if (count == 1 && rules[0].allow && rules[0].type == 'a' && old_count == 0)
		return 0;
	n = cgroup_device_program(rules, count, &insns, err);
	if (n < 0)
		return (int)n;
	program = load(insns, (size_t)n);
	r = program < 0 ? errno : 0;
	free(insns);
	if (r)
		return failed(cg, h, "load", r, err);
	r = attach_replacing(cg->dirs[h], program, old, old_count);
	return r < 0 ? failed(cg, h, "attach", -r, err) : 0;
}

int cgroup_device_attach(const struct cgroup *cg, int h, const struct cgroup_device_rule *rules,
			 size_t count, struct error *err)
{
	int old[ATTACHED_MAX];
	size_t old_count = query(cg->dirs[h], old);
	int r = load_and_attach(cg, h, rules, count, old, old_count, err);

	for (size_t i = 0; i < old_count; i++)
		close(old[i]);
	return r;
}
