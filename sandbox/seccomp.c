/* SPDX-License-Identifier: Apache-2.0 */
/* Seccomp filters from the configuration; see seccomp.h. */
#include "sandbox/seccomp.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

#define ARCHES_MAX  32
#define PROGRAM_MAX 4096 /* the kernel's BPF_MAXINSNS */

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct name_value {
	const char *name;
	uint32_t value;
};

static const struct name_value actions[] = {
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(EPERM) },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(EPERM) },
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY },
};

static const struct name_value operators[] = {
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

static const struct name_value flags[] = {
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV },
};

/* The specification's name, libseccomp's token; audit: what the kernel puts in seccomp_data.arch. */
static const struct {
	const char *name;
	uint32_t token;
} arches[] = {
	{ "SCMP_ARCH_X86", SCMP_ARCH_X86 },
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
	{ "SCMP_ARCH_X32", SCMP_ARCH_X32 },
	{ "SCMP_ARCH_ARM", SCMP_ARCH_ARM },
	{ "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64 },
	{ "SCMP_ARCH_MIPS", SCMP_ARCH_MIPS },
	{ "SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64 },
	{ "SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32 },
	{ "SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL },
	{ "SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64 },
	{ "SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32 },
	{ "SCMP_ARCH_PPC", SCMP_ARCH_PPC },
	{ "SCMP_ARCH_PPC64", SCMP_ARCH_PPC64 },
	{ "SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE },
	{ "SCMP_ARCH_S390", SCMP_ARCH_S390 },
	{ "SCMP_ARCH_S390X", SCMP_ARCH_S390X },
	{ "SCMP_ARCH_PARISC", SCMP_ARCH_PARISC },
	{ "SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64 },
	{ "SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64 },
};

const char *seccomp_action_name(unsigned index)
{
	return index < ARRAY_SIZE(actions) ? actions[index].name : NULL;
}

const char *seccomp_operator_name(unsigned index)
{
	return index < ARRAY_SIZE(operators) ? operators[index].name : NULL;
}

const char *seccomp_arch_name(unsigned index)
{
	return index < ARRAY_SIZE(arches) ? arches[index].name : NULL;
}

const char *seccomp_flag_name(unsigned index)
{
	return index < ARRAY_SIZE(flags) ? flags[index].name : NULL;
}

static const struct name_value *find(const struct name_value *table, size_t len, const char *name)
{
	for (size_t i = 0; i < len; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static int resolve_action(const char *name, const struct opt_u32 *errno_ret, uint32_t *action,
			  const char *path, struct error *err)
{
	const struct name_value *found = find(actions, ARRAY_SIZE(actions), name);

	if (!found)
		return error_set(err, EINVAL, "%s: unknown action `%s`", path, name);
	*action = found->value;
	if (!errno_ret->set)
		return 0;
	if (!strcmp(name, "SCMP_ACT_ERRNO"))
		*action = SCMP_ACT_ERRNO(errno_ret->v & 0xffff);
	else if (!strcmp(name, "SCMP_ACT_TRACE"))
		*action = SCMP_ACT_TRACE(errno_ret->v & 0xffff);
	else
		return error_set(err, EINVAL,
				 "%s: errnoRet is only for SCMP_ACT_ERRNO and SCMP_ACT_TRACE",
				 path);
	return 0;
}

struct arch_list {
	uint32_t tokens[ARCHES_MAX];
	size_t len;
};

/* The native architecture is always in a filter; others are added. */
static int add_arches(scmp_filter_ctx ctx, const struct oci_seccomp *s, struct arch_list *list,
		      struct error *err)
{
	list->tokens[list->len++] = seccomp_arch_native();
	for (size_t i = 0; i < s->architectures.len; i++) {
		uint32_t token = 0;
		int r;

		for (size_t k = 0; k < ARRAY_SIZE(arches); k++)
			if (!strcmp(arches[k].name, s->architectures.items[i]))
				token = arches[k].token;
		if (!token)
			return error_set(
				err, ENOTSUP,
				"/linux/seccomp/architectures/%zu: `%s` is unknown to libseccomp",
				i, s->architectures.items[i]);
		r = seccomp_arch_add(ctx, token);
		if (r == -EEXIST)
			continue;
		if (r == -EINVAL || r == -EDOM)
			continue; /* another endianness than ours: its calls cannot happen here */
		if (r < 0)
			return error_errno(err, -r, "/linux/seccomp/architectures/%zu", i);
		if (list->len < ARCHES_MAX)
			list->tokens[list->len++] = token;
	}
	return 0;
}

static int resolve_args(const struct oci_seccomp_syscall *sc, struct scmp_arg_cmp *args,
			const char *path, struct error *err)
{
	for (size_t i = 0; i < sc->args.len; i++) {
		const struct oci_seccomp_arg *a = &sc->args.items[i];
		const struct name_value *op = find(operators, ARRAY_SIZE(operators), a->op);

		if (!op)
			return error_set(err, EINVAL, "%s/args/%zu/op: unknown operator `%s`", path,
					 i, a->op);
		/* With SCMP_CMP_MASKED_EQ value is the mask and valueTwo what must remain. */
		args[i] = (struct scmp_arg_cmp){ .arg = a->index,
						 .op = (enum scmp_compare)op->value,
						 .datum_a = a->value,
						 .datum_b = a->value_two.v };
	}
	return 0;
}

/*
 * Conditions on several arguments are all to be met; several on one and the same argument libseccomp
 * cannot combine in one rule, and each becomes a rule of its own, as the other runtimes do.
 */
static bool repeats_argument(const struct oci_seccomp_syscall *sc)
{
	unsigned seen = 0;

	for (size_t i = 0; i < sc->args.len; i++) {
		if (seen & 1u << sc->args.items[i].index)
			return true;
		seen |= 1u << sc->args.items[i].index;
	}
	return false;
}

static int add_rule(scmp_filter_ctx ctx, uint32_t action, int nr,
		    const struct oci_seccomp_syscall *sc, const struct scmp_arg_cmp *args)
{
	int r = 0;

	if (!sc->args.len || !repeats_argument(sc))
		return seccomp_rule_add_array(ctx, action, nr, (unsigned)sc->args.len, args);
	for (size_t i = 0; r == 0 && i < sc->args.len; i++)
		r = seccomp_rule_add_array(ctx, action, nr, 1, &args[i]);
	return r;
}

static int add_syscall(scmp_filter_ctx ctx, const struct oci_seccomp_syscall *sc,
		       uint32_t default_action, size_t index, struct error *err)
{
	struct scmp_arg_cmp args[6];
	uint32_t action;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/linux/seccomp/syscalls/%zu", index);
	r = resolve_action(sc->action, &sc->errno_ret, &action, path, err);
	if (r < 0)
		return r;
	if (sc->args.len > ARRAY_SIZE(args))
		return error_set(err, EINVAL, "%s/args: more conditions than a call has arguments",
				 path);
	r = resolve_args(sc, args, path, err);
	if (r < 0)
		return r;
	if (action == default_action)
		return 0; /* changes nothing, and libseccomp refuses it */
	for (size_t i = 0; i < sc->names.len; i++) {
		int nr = seccomp_syscall_resolve_name(sc->names.items[i]);

		if (nr == __NR_SCMP_ERROR)
			continue; /* newer than libseccomp, or of another architecture: profiles list all there are */
		r = add_rule(ctx, action, nr, sc, args);
		if (r < 0 && r != -EEXIST)
			return error_errno(err, -r, "%s: `%s`", path, sc->names.items[i]);
	}
	return 0;
}

/* ---- ENOSYS for calls that the filter has never heard of --------------------------------------- */

static int highest_syscall(const struct oci_seccomp *s, uint32_t arch)
{
	int highest = -1;

	for (size_t i = 0; i < s->syscalls.len; i++)
		for (size_t k = 0; k < s->syscalls.items[i].names.len; k++) {
			int nr = seccomp_syscall_resolve_name_arch(
				arch, s->syscalls.items[i].names.items[k]);

			if (nr > highest && nr != __NR_SCMP_ERROR)
				highest = nr;
		}
	return highest;
}

/* A few instructions for one architecture in front of the filter; returns how many. */
static size_t enosys_stub(struct sock_filter *f, uint32_t token, int highest)
{
	/* libseccomp's tokens are the kernel's audit values, except for x32, which is x86-64 with a bit in the number. */
	if (token == SCMP_ARCH_X32 || highest < 0)
		return 0;
	f[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					    offsetof(struct seccomp_data, arch));
	f[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, token, 0, 4);
	f[2] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					    offsetof(struct seccomp_data, nr));
	/* x32 numbers have bit 30 set and are left to the filter. */
	f[3] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 2, 0);
	f[4] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)highest, 0, 1);
	f[5] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	return 6;
}

static int export_program(scmp_filter_ctx ctx, struct seccomp_program *program,
			  const struct oci_seccomp *s, const struct arch_list *list, bool with_stub,
			  struct error *err)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	_cleanup_free_ char *data = NULL;
	struct sock_filter stub[ARCHES_MAX * 6];
	size_t stub_len = 0, len;
	ssize_t n;
	int r;

	if (fd < 0)
		return error_errno(err, errno, "memfd_create");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return error_errno(err, -r, "/linux/seccomp: compile the filter");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return error_errno(err, errno, "/linux/seccomp: read the filter");
	n = file_read_fd(fd, PROGRAM_MAX * sizeof(struct sock_filter), &data, err);
	if (n < 0)
		return error_wrap(err, "/linux/seccomp: the filter");
	for (size_t i = 0; with_stub && i < list->len; i++)
		stub_len += enosys_stub(stub + stub_len, list->tokens[i],
					highest_syscall(s, list->tokens[i]));
	len = stub_len + (size_t)n / sizeof(struct sock_filter);
	if (len > PROGRAM_MAX)
		return error_set(err, E2BIG,
				 "/linux/seccomp: the filter has more than %d instructions",
				 PROGRAM_MAX);
	program->filter = malloc(len * sizeof(struct sock_filter));
	if (!program->filter)
		return error_errno(err, ENOMEM, "/linux/seccomp");
	memcpy(program->filter, stub, stub_len * sizeof(struct sock_filter));
	memcpy(program->filter + stub_len, data, (size_t)n);
	program->len = (unsigned short)len;
	return 0;
}

bool seccomp_notifies(const struct oci_seccomp *s)
{
	if (!strcmp(s->default_action, "SCMP_ACT_NOTIFY"))
		return true;
	for (size_t i = 0; i < s->syscalls.len; i++)
		if (!strcmp(s->syscalls.items[i].action, "SCMP_ACT_NOTIFY"))
			return true;
	return false;
}

static int resolve_flags(const struct oci_seccomp *s, bool notify, unsigned *out, struct error *err)
{
	for (size_t i = 0; i < s->flags.len; i++) {
		const struct name_value *flag = find(flags, ARRAY_SIZE(flags), s->flags.items[i]);

		if (!flag)
			return error_set(err, ENOTSUP,
					 "/linux/seccomp/flags/%zu: `%s` is not supported", i,
					 s->flags.items[i]);
		if (flag->value == SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV && !notify)
			return error_set(err, EINVAL,
					 "/linux/seccomp/flags/%zu: `%s` needs a rule with "
					 "SCMP_ACT_NOTIFY",
					 i, s->flags.items[i]);
		*out |= flag->value;
	}
	if (!notify)
		return 0;
	/*
	 * The process that loads the filter has one other thread, which must stay outside the filter and ends with
	 * execve(2): TSYNC has nobody to be for.
	 */
	*out &= ~(unsigned)SECCOMP_FILTER_FLAG_TSYNC;
	*out |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	return 0;
}

/* Who is to be asked must be known; what is not needed is ignored, as the specification says. */
static int check_listener(const struct oci_seccomp *s, bool notify, struct error *err)
{
	if (s->listener_metadata && !s->listener_path)
		return error_set(
			err, EINVAL,
			"/linux/seccomp/listenerMetadata: needs /linux/seccomp/listenerPath");
	if (!notify)
		return 0;
	if (!s->listener_path)
		return error_set(
			err, EINVAL,
			"/linux/seccomp/listenerPath: is missing, but SCMP_ACT_NOTIFY needs "
			"somebody to notify");
	if (s->listener_path[0] != '/')
		return error_set(err, EINVAL,
				 "/linux/seccomp/listenerPath: must be an absolute path");
	return 0;
}

static int build(scmp_filter_ctx ctx, struct seccomp_program *program, const struct oci_seccomp *s,
		 uint32_t default_action, struct error *err)
{
	struct arch_list list = { .len = 0 };
	/* Only an errno as the default can be mistaken for an answer of the kernel's. */
	bool with_stub = !strcmp(s->default_action, "SCMP_ACT_ERRNO");
	bool notify = seccomp_notifies(s);
	int r = check_listener(s, notify, err);

	if (r == 0)
		r = resolve_flags(s, notify, &program->flags, err);

	if (r < 0)
		return r;
	/* no_new_privs and logging are set by us, when the filter is loaded. */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	r = add_arches(ctx, s, &list, err);
	for (size_t i = 0; r == 0 && i < s->syscalls.len; i++)
		r = add_syscall(ctx, &s->syscalls.items[i], default_action, i, err);
	return r < 0 ? r : export_program(ctx, program, s, &list, with_stub, err);
}

int seccomp_compile(struct seccomp_program *program, const struct oci_seccomp *seccomp,
		    struct error *err)
{
	uint32_t default_action;
	scmp_filter_ctx ctx;
	int r;

	*program = (struct seccomp_program){ 0 };
	if (!seccomp)
		return 0;
	r = resolve_action(seccomp->default_action, &seccomp->default_errno_ret, &default_action,
			   "/linux/seccomp/defaultAction", err);
	if (r < 0)
		return r;
	ctx = seccomp_init(default_action);
	if (!ctx)
		return error_errno(err, ENOMEM, "/linux/seccomp");
	r = build(ctx, program, seccomp, default_action, err);
	seccomp_release(ctx);
	return r;
}

void seccomp_free(struct seccomp_program *program)
{
	free(program->filter);
	program->filter = NULL;
	program->len = 0;
}

bool seccomp_has_listener(const struct seccomp_program *program)
{
	return (program->flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
}

int seccomp_load_program(const struct seccomp_program *program, struct error *err)
{
	struct sock_fprog prog = { .len = program->len, .filter = program->filter };
	long r;

	if (!program->len)
		return 0;
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program->flags, &prog);
	if (r >= 0)
		return (int)r;
	if (errno == EBUSY)
		return error_set(err, EBUSY,
				 "load the seccomp filter: hull itself runs under a filter with a "
				 "listener, and the kernel allows one only");
	return error_errno(err, errno, "load the seccomp filter");
}
