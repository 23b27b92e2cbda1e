/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device filter of v2: a small eBPF program that the kernel asks at each open and mknod of a
 * device by a process of the cgroup. It goes through the rules from the last to the first and keeps
 * the kinds of access that are not decided yet in a register: an allowing rule takes its own out, a
 * denying one that meets any ends with "no"; when none is left the answer is "yes".
 *
 * Sources: linux/bpf.h struct bpf_cgroup_dev_ctx; Documentation/bpf/; bpf(2). The program is put
 * together here, since it is a few instructions a rule and libbpf would be loaded at every start.
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "cgroups/internal.h"

#define ALL_ACCESS (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)

/* What the registers hold. R0 is the answer, R1 the context at first and then scratch. */
enum { ANSWER = BPF_REG_0, SCRATCH = BPF_REG_1, TYPE, WANTED, MAJOR, MINOR };

#define PROLOGUE 6
#define PER_RULE 8 /* at most */

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

static void emit_answer(struct program *p, int answer)
{
	emit(p, BPF_ALU | BPF_MOV | BPF_K, ANSWER, 0, 0, answer);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Jumps to the next rule unless reg is the value; the distance is filled in at the rule's end. */
static void emit_unless(struct program *p, int reg, int64_t value)
{
	/*
	 * The sign of a number from 2^31 on is extended, so that it equals none, as it should: majors
	 * have 12 bits and minors 20. (The 32-bit compare is of Linux 5.1.)
	 */
	emit(p, BPF_JMP | BPF_JNE | BPF_K, reg, 0, -1, (int)(uint32_t)value);
}

static void emit_rule(struct program *p, const struct cgroup_device_rule *rule)
{
	size_t start = p->len;

	if (rule->type != 'a')
		emit_unless(p, TYPE, rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (rule->major >= 0)
		emit_unless(p, MAJOR, rule->major);
	if (rule->minor >= 0)
		emit_unless(p, MINOR, rule->minor);
	if (rule->access == ALL_ACCESS) {
		emit_answer(p, rule->allow);
	} else if (rule->allow) {
		emit(p, BPF_ALU | BPF_AND | BPF_K, WANTED, 0, 0, (int)(ALL_ACCESS & ~rule->access));
		emit_unless(p, WANTED, 0);
		emit_answer(p, 1);
	} else {
		emit(p, BPF_ALU | BPF_MOV | BPF_X, SCRATCH, WANTED, 0, 0);
		emit(p, BPF_ALU | BPF_AND | BPF_K, SCRATCH, 0, 0, (int)rule->access);
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, SCRATCH, 0, -1, 0);
		emit_answer(p, 0);
	}
	for (size_t i = start; i < p->len; i++)
		if (p->insns[i].off == -1)
			p->insns[i].off = (int16_t)(p->len - i - 1);
}

ssize_t cgroup_device_program(const struct cgroup_device_rule *rules, size_t count,
			      struct bpf_insn **insns, struct error *err)
{
	struct program p = { 0 };
	bool decided = false;

	p.insns = calloc(PROLOGUE + count * PER_RULE + 2, sizeof(*p.insns));
	if (!p.insns)
		return error_errno(err, ENOMEM, "cgroup: device program");
	emit(&p, BPF_LDX | BPF_MEM | BPF_W, TYPE, SCRATCH,
	     offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(&p, BPF_LDX | BPF_MEM | BPF_W, MAJOR, SCRATCH,
	     offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(&p, BPF_LDX | BPF_MEM | BPF_W, MINOR, SCRATCH,
	     offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	/* access_type is the access in the upper half and the type in the lower one. */
	emit(&p, BPF_ALU | BPF_MOV | BPF_X, WANTED, TYPE, 0, 0);
	emit(&p, BPF_ALU | BPF_RSH | BPF_K, WANTED, 0, 0, 16);
	emit(&p, BPF_ALU | BPF_AND | BPF_K, TYPE, 0, 0, 0xffff);
	/* The verifier refuses code that is never reached, so a rule about all ends the program. */
	for (size_t i = count; i-- > 0 && !decided;) {
		emit_rule(&p, &rules[i]);
		decided = rules[i].type == 'a' && rules[i].major < 0 && rules[i].minor < 0 &&
			  rules[i].access == ALL_ACCESS;
	}
	if (!decided)
		emit_answer(&p, 0);
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
