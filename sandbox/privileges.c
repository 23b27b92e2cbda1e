/* SPDX-License-Identifier: Apache-2.0 */
/* Users, capabilities, limits and labels of a process; see privileges.h. */
#include "sandbox/privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/log.h"
#include "base/syscalls.h"
#include "oci/capability.h"

#define CAP_BIT(n) (UINT64_C(1) << (n))
#define GROUPS_MAX 65536

static const struct {
	const char *name;
	int resource;
} rlimits[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

static int find_rlimit(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rlimits); i++)
		if (!strcmp(name, rlimits[i].name))
			return rlimits[i].resource;
	return -1;
}

/* ---- planning ---------------------------------------------------------------------------------- */

/* The kernel's highest capability: the bounding set can be asked for no other. */
static int kernel_last_cap(void)
{
	int n = CAP_LAST_CAP;

	while (n < 63 && prctl(PR_CAPBSET_READ, n + 1, 0, 0, 0) >= 0)
		n++;
	while (n > 0 && prctl(PR_CAPBSET_READ, n, 0, 0, 0) < 0)
		n--;
	return n;
}

static int own_permitted(uint64_t *permitted, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return error_errno(err, errno, "capget");
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

bool privileges_have(int capability)
{
	uint64_t permitted = 0;

	return own_permitted(&permitted, NULL) == 0 && (permitted & CAP_BIT(capability));
}

static uint64_t plan_set(const struct oci_strings *names, int last_cap, uint64_t *unknown)
{
	uint64_t set = 0;

	for (size_t i = 0; i < names->len; i++) {
		int n = capability_find(names->items[i]);

		if (n >= 0 && n <= last_cap) {
			set |= CAP_BIT(n);
		} else {
			if (!*unknown)
				log_warning(
					"capability `%s` does not exist on this host and is left out",
					names->items[i]);
			*unknown = 1;
		}
	}
	return set;
}

static int plan_capabilities(struct privileges *p, struct error *err)
{
	const struct oci_capabilities *c = p->process->capabilities;
	uint64_t permitted = 0, unknown = 0, missing;
	int r;

	if (!c)
		return 0; /* no capability at all */
	r = own_permitted(&permitted, err);
	if (r < 0)
		return r;
	p->caps = (struct capability_sets){
		.bounding = plan_set(&c->bounding, p->last_cap, &unknown),
		.effective = plan_set(&c->effective, p->last_cap, &unknown),
		.permitted = plan_set(&c->permitted, p->last_cap, &unknown),
		.inheritable = plan_set(&c->inheritable, p->last_cap, &unknown),
		.ambient = plan_set(&c->ambient, p->last_cap, &unknown),
	};
	/* In a new user namespace a process has all; elsewhere it cannot give more than it has. */
	missing = geteuid() == 0 ? (p->caps.permitted | p->caps.bounding) & ~permitted : 0;
	for (int n = 0; missing && n <= p->last_cap; n++)
		if (missing & CAP_BIT(n))
			log_warning("capability `%s` is left out: hull does not have it itself",
				    capability_name(n));
	if (geteuid() == 0) {
		p->caps.permitted &= permitted;
		p->caps.effective &= permitted;
		p->caps.inheritable &= permitted;
		p->caps.ambient &= permitted;
	}
	if (p->caps.effective & ~p->caps.permitted)
		return error_set(
			err, EINVAL,
			"/process/capabilities/effective: holds more than the permitted set");
	if (p->caps.ambient & ~(p->caps.permitted & p->caps.inheritable)) {
		log_warning(
			"ambient capabilities that are not both permitted and inheritable are left out");
		p->caps.ambient &= p->caps.permitted & p->caps.inheritable;
	}
	return 0;
}

static int check_rlimits(const struct oci_process *process, struct error *err)
{
	for (size_t i = 0; i < process->rlimits.len; i++) {
		if (find_rlimit(process->rlimits.items[i].type) < 0)
			return error_set(err, EINVAL,
					 "/process/rlimits/%zu/type: unknown limit `%s`", i,
					 process->rlimits.items[i].type);
		if (process->rlimits.items[i].soft > process->rlimits.items[i].hard)
			return error_set(err, EINVAL,
					 "/process/rlimits/%zu/soft: is larger than the hard limit",
					 i);
	}
	return 0;
}

int privileges_plan(struct privileges *p, const struct oci_process *process, bool has_filter,
		    struct error *err)
{
	int r;

	*p = (struct privileges){
		.process = process,
		.last_cap = kernel_last_cap(),
		.filter_needs_admin = has_filter && !process->no_new_privileges.v,
	};
	if (process->user && process->user->additional_gids.len > GROUPS_MAX)
		return error_set(err, EINVAL, "/process/user/additionalGids: more than %d groups",
				 GROUPS_MAX);
	r = check_rlimits(process, err);
	return r < 0 ? r : plan_capabilities(p, err);
}

/* ---- in the new process ------------------------------------------------------------------------ */

static int set_rlimit(const struct oci_rlimit *l, size_t index, pid_t pid,
		      const struct rlimit *limit, struct error *err)
{
	if (prlimit(pid, (__rlimit_resource_t)find_rlimit(l->type), limit, NULL) < 0)
		return error_errno(
			err, errno,
			"/process/rlimits/%zu: set %s to %llu (raising a hard limit takes "
			"CAP_SYS_RESOURCE)",
			index, l->type, (unsigned long long)l->hard);
	return 0;
}

int privileges_set_rlimits(const struct oci_process *process, pid_t pid, struct error *err)
{
	for (size_t i = 0; i < process->rlimits.len; i++) {
		const struct oci_rlimit *l = &process->rlimits.items[i];
		struct rlimit limit = { .rlim_cur = l->soft, .rlim_max = l->hard }, now;

		if (find_rlimit(l->type) == RLIMIT_NPROC) {
			if (prlimit(pid, RLIMIT_NPROC, NULL, &now) < 0)
				return error_errno(err, errno, "/process/rlimits/%zu: read %s", i,
						   l->type);
			if (l->hard <= now.rlim_max)
				continue;
			limit.rlim_cur = now.rlim_cur;
		}
		if (set_rlimit(l, i, pid, &limit, err) < 0)
			return -err->code;
	}
	return 0;
}

int privileges_set_nproc(const struct oci_process *process, struct error *err)
{
	for (size_t i = 0; i < process->rlimits.len; i++) {
		const struct oci_rlimit *l = &process->rlimits.items[i];
		struct rlimit limit = { .rlim_cur = l->soft, .rlim_max = l->hard };

		if (find_rlimit(l->type) == RLIMIT_NPROC && set_rlimit(l, i, 0, &limit, err) < 0)
			return -err->code;
	}
	return 0;
}

int privileges_set_oom_score(const struct oci_process *process, int proc_dir, struct error *err)
{
	char now[16], wanted[16];

	if (!process->oom_score_adj.set)
		return 0;
	snprintf(wanted, sizeof(wanted), "%d", process->oom_score_adj.v);
	if (file_read_small(proc_dir, "oom_score_adj", now, sizeof(now), NULL) > 0 &&
	    !strcmp(now, wanted))
		return 0;
	if (file_write_existing(proc_dir, "oom_score_adj", wanted, err) < 0)
		return error_wrap(err, "/process/oomScoreAdj (lowering it takes CAP_SYS_RESOURCE)");
	return 0;
}

static int write_label(int proc, const char *file, const char *text, const char *property,
		       const char *label, struct error *err)
{
	int r = file_write_existing(proc, file, text, err);

	return r < 0 ? error_wrap(err, "/process/%s: set `%s`", property, label) : 0;
}

int privileges_set_label(const struct oci_process *process, int proc, struct error *err)
{
	const char *profile = process->apparmor_profile, *label = process->selinux_label;
	char text[512];
	int r = 0;

	if (profile && *profile) {
		if (faccessat(AT_FDCWD, "/sys/kernel/security/apparmor", F_OK, 0) < 0 &&
		    faccessat(proc, "self/attr/apparmor/exec", F_OK, 0) < 0)
			return error_set(
				err, ENOTSUP,
				"/process/apparmorProfile: AppArmor is not active on this host");
		if ((size_t)snprintf(text, sizeof(text), "exec %s", profile) >= sizeof(text))
			return error_set(err, EINVAL, "/process/apparmorProfile: too long");
		r = write_label(proc,
				faccessat(proc, "self/attr/apparmor/exec", F_OK, 0) == 0
					? "self/attr/apparmor/exec"
					: "self/attr/exec",
				text, "apparmorProfile", profile, err);
	}
	if (r == 0 && label && *label)
		r = write_label(proc, "self/attr/exec", label,
				"selinuxLabel (takes SELinux, and one that it knows)", label, err);
	return r;
}

void privileges_own_stdio(const struct oci_process *process)
{
	uid_t uid = process->user ? process->user->uid.v : 0;
	struct stat st;

	for (int fd = 0; fd <= 2; fd++) {
		if (fstat(fd, &st) < 0 || st.st_uid == uid)
			continue;
		/*
		 * Never a regular file, a device that others use (CVE-2026-88265), or our caller's terminal:
		 * only what is a stream of its own.
		 */
		if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
			if (fchown(fd, uid, (gid_t)-1) < 0)
				log_debug("descriptor %d stays with its owner", fd);
	}
}

static bool is_null_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

void privileges_reopen_null(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		_cleanup_close_ int own = -EBADF;

		if (!is_null_device(fd))
			continue;
		/* An image may have anything there: a pipe must not hold us up, and nothing else is taken. */
		own = open("/dev/null", (fcntl(fd, F_GETFL) & O_ACCMODE) | O_NONBLOCK | O_NOFOLLOW |
						O_NOCTTY | O_CLOEXEC);
		if (own >= 0 && is_null_device(own) && fcntl(own, F_SETFL, 0) == 0)
			dup2(own, fd);
	}
}

static int set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable,
			    struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable },
		{ (uint32_t)(effective >> 32), (uint32_t)(permitted >> 32),
		  (uint32_t)(inheritable >> 32) },
	};

	if (syscall(SYS_capset, &header, data) < 0)
		return error_errno(
			err, errno,
			"set the capabilities (a seccomp filter without noNewPrivileges must allow capset)");
	return 0;
}

static int drop_bounding(const struct privileges *p, struct error *err)
{
	for (int n = 0; n <= p->last_cap; n++)
		if (!(p->caps.bounding & CAP_BIT(n)) && prctl(PR_CAPBSET_DROP, n, 0, 0, 0) < 0)
			return error_errno(err, errno, "drop %s from the bounding set",
					   capability_name(n));
	return 0;
}

static int set_user(const struct oci_user *user, struct error *err)
{
	uid_t uid = user ? user->uid.v : 0;
	gid_t gid = user ? user->gid.v : 0;
	size_t groups = user ? user->additional_gids.len : 0;

	/* A user namespace of an ordinary user denies setgroups(2); without groups to set that is no loss. */
	if (setgroups(groups, groups ? user->additional_gids.items : NULL) < 0 &&
	    (groups || errno != EPERM))
		return error_errno(err, errno, "/process/user/additionalGids: setgroups");
	if (setresgid(gid, gid, gid) < 0)
		return error_errno(err, errno, "/process/user/gid: setresgid %u", gid);
	if (setresuid(uid, uid, uid) < 0)
		return error_errno(err, errno, "/process/user/uid: setresuid %u", uid);
	umask(user && user->umask.set ? (mode_t)user->umask.v & 0777 : 0022);
	return 0;
}

static int raise_ambient(const struct privileges *p, struct error *err)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return error_errno(err, errno, "clear the ambient capabilities");
	for (int n = 0; n <= p->last_cap; n++)
		if ((p->caps.ambient & CAP_BIT(n)) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, n, 0, 0) < 0)
			return error_errno(err, errno, "raise the ambient capability %s",
					   capability_name(n));
	return 0;
}

int privileges_drop(const struct privileges *p, struct error *err)
{
	uint64_t kept = p->filter_needs_admin ? CAP_BIT(CAP_SYS_ADMIN) : 0;
	int r = drop_bounding(p, err);

	if (r < 0)
		return r;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "keep capabilities");
	r = set_user(p->process->user, err);
	if (r < 0)
		return r;
	r = set_capabilities(p->caps.effective, p->caps.permitted | kept, p->caps.inheritable, err);
	if (r == 0)
		r = raise_ambient(p, err);
	if (r == 0 && p->process->no_new_privileges.v && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "set no_new_privs");
	return r;
}

int privileges_raise_for_filter(const struct privileges *p, struct error *err)
{
	uint64_t kept = CAP_BIT(CAP_SYS_ADMIN);

	if (!p->filter_needs_admin)
		return 0;
	return set_capabilities(p->caps.effective | kept, p->caps.permitted | kept,
				p->caps.inheritable, err);
}

int privileges_finish(const struct privileges *p, struct error *err)
{
	if (!p->filter_needs_admin)
		return 0;
	return set_capabilities(p->caps.effective, p->caps.permitted, p->caps.inheritable, err);
}
