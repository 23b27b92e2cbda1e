/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a process in namespaces; see struct spawn in container.h for the two ways.
 *
 * Order matters in the new process: first it lets go of hull's program (exe.h), then it enters its
 * cgroups, then a user namespace, which takes its privilege over the host, then the other
 * namespaces. It is undumpable before it can be seen from a namespace that others are in.
 */
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/process.h"
#include "base/syscalls.h"
#include "sandbox/container.h"
#include "sandbox/exe.h"

/* clone3(2) would root a cgroup namespace in the caller's cgroup, and has no offsets for time: both are unshared later. */
#define LATE_FLAGS ((unsigned long)(CLONE_NEWCGROUP | CLONE_NEWTIME))

void spawn_fail(int sync, enum container_message type, const struct error *err)
{
	message_send(sync, type, err, sizeof(*err), NULL, 0, NULL);
	_exit(1);
}

int spawn_ask(int sync, enum container_message type, struct error *err)
{
	struct message answer;
	int r = message_send(sync, type, NULL, 0, NULL, 0, err);

	if (r == 0)
		r = message_receive(sync, &answer, NULL, 0, err);
	if (r == 0 && answer.type != MSG_GO)
		r = error_errno(err, EPROTO, "wait for the caller");
	return r;
}

int spawn_ended(pid_t *pid, struct error *err)
{
	int status, r = process_wait(*pid, &status);

	*pid = 0; /* reaped: the id may be somebody else's from now on */
	if (r < 0)
		return error_set(err, ECHILD, "the container's process ended unexpectedly");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return error_set(
			err, ECHILD,
			"the container's process was killed while it was set up (is its memory "
			"limit too low?)");
	if (WIFSIGNALED(status))
		return error_set(
			err, ECHILD,
			"the container's process was ended by signal %d while it was set up",
			WTERMSIG(status));
	return error_set(err, ECHILD,
			 "the container's process ended with status %d while it was set up",
			 WEXITSTATUS(status));
}

/*
 * The real process shares the channel, and a container it is born into may have taken it over: what counts is only that
 * the id is that of a child of ours, and not the intermediate one's.
 */
int spawn_adopt(pid_t *pid, bool *staged, const struct message *message,
		const struct spawned *spawned, struct error *err)
{
	siginfo_t info;

	if (!*staged || message->len != sizeof(*spawned) || spawned->pid <= 0 ||
	    spawned->pid == *pid ||
	    waitid(P_PID, (id_t)spawned->pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
		return error_errno(err, EPROTO, "learn the id of the container's process");
	process_wait(*pid, &(int){ 0 });
	*pid = spawned->pid;
	*staged = false;
	return 0;
}

void spawn_discard(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		process_wait(*pid, &(int){ 0 });
	}
	*pid = 0;
}

int spawn_receive(int channel, struct message *message, void *payload, size_t size,
		  bool *exec_failed, struct error *err)
{
	union {
		struct error error;
		char bytes[MESSAGE_MAX];
	} buf;
	int r = message_receive(channel, message, &buf, sizeof(buf), err);

	if (r == -EPIPE) {
		error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	if (message->type == MSG_ERROR || message->type == MSG_EXEC_ERROR) {
		*exec_failed = message->type == MSG_EXEC_ERROR;
		if (message->len != sizeof(buf.error) || buf.error.code <= 0)
			return error_errno(err, EPROTO,
					   "receive an error from the container's process");
		buf.error.text[sizeof(buf.error.text) - 1] = '\0';
		return error_set(err, buf.error.code, "%s", buf.error.text);
	}
	if (message->len > size)
		return error_errno(err, EPROTO, "receive a message from the container's process");
	if (message->len)
		memcpy(payload, &buf, message->len);
	return 1;
}

/* ---- steps of the new process -------------------------------------------------------------------- */

/* Root of the user namespace that was entered. A mapping without a root is left as it is. */
static int become_root(struct error *err)
{
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return error_errno(err, errno, "give up supplementary groups");
	if (setresgid(0, 0, 0) < 0 && errno != EINVAL)
		return error_errno(err, errno, "become group 0 of the user namespace");
	if (setresuid(0, 0, 0) < 0 && errno != EINVAL)
		return error_errno(err, errno, "become root of the user namespace");
	return 0;
}

/* Until the caller says otherwise, its death is ours, also while a hook keeps us from hearing of it. */
static void die_with_caller(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

int spawn_outlive_caller(struct error *err)
{
	if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
		return error_errno(err, errno, "outlive the caller");
	return 0;
}

static bool makes_user(const struct spawn *s)
{
	return s->namespaces && (s->namespaces->new_flags & CLONE_NEWUSER);
}

static bool joins(const struct spawn *s, unsigned long flag)
{
	return (s->namespaces && (s->namespaces->join_flags & flag)) || (s->pidfd_flags & flag);
}

/* In the user namespace: the caller does its part, we become root in it. */
static int settle_in_user_namespace(const struct spawn *s, bool hidden, struct error *err)
{
	int r = spawn_ask(s->sync, MSG_PRIVILEGED, err);

	if (r == 0)
		r = become_root(err);
	/* Again: becoming another user undoes the first, and with fs.suid_dumpable the second (prctl(2)). */
	die_with_caller();
	if (hidden)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* Only now: the /proc files of an undumpable process are root's, and an ordinary caller must write our id mappings. */
	if (r == 0 && !hidden)
		r = exe_hide(s->program, err);
	return r;
}

/* All but those of pids and of users. */
static int join_listed(struct ns_plan *ns, bool try, struct error *err)
{
	static const enum oci_namespace_type order[] = { OCI_NS_UTS,    OCI_NS_IPC,  OCI_NS_NETWORK,
							 OCI_NS_CGROUP, OCI_NS_TIME, OCI_NS_MOUNT };

	for (size_t i = 0; ns && i < ARRAY_SIZE(order); i++) {
		int r = ns_join(ns, order[i], err);

		if (r < 0 && !(try && r == -EPERM))
			return r;
	}
	return 0;
}

/* What must wait until the process is in its cgroup and user namespace. */
static int make_late(const struct spawn *s, struct error *err)
{
	unsigned long flags = s->namespaces ? s->namespaces->new_flags : 0;
	int r;

	if ((flags & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0)
		return error_errno(err, errno, "make a cgroup namespace");
	if (!(flags & CLONE_NEWTIME))
		return 0;
	/* The offsets' file is ours to write only while we are dumpable; here nobody can see us yet. */
	if (makes_user(s) && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "become dumpable");
	r = ns_make_time(s->time_offsets, s->proc, err);
	if (makes_user(s) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_errno(err, errno, "become undumpable");
	return r;
}

static int enter_cgroup(const struct spawn *s, struct error *err)
{
	if (s->ask_for_cgroup)
		return spawn_ask(s->sync, MSG_CGROUP, err);
	return s->cgroup ? cgroup_enter(s->cgroup, 0, s->in_cgroup, err) : 0;
}

/* ---- directly ------------------------------------------------------------------------------------ */

static int direct_child(const struct spawn *s, struct error *err)
{
	bool hidden = !makes_user(s);
	int r = hidden ? exe_hide(s->program, err) : 0;

	if (r == 0)
		r = enter_cgroup(s, err);
	if (r == 0 && s->pidfd_flags && setns(s->pidfd, (int)s->pidfd_flags) < 0)
		r = error_errno(err, errno, "join the namespaces of the container");
	if (r == 0 && makes_user(s))
		r = settle_in_user_namespace(s, hidden, err);
	if (r == 0)
		r = join_listed(s->namespaces, false, err);
	return r < 0 ? r : make_late(s, err);
}

static void __attribute__((noreturn)) direct_main(const struct spawn *s)
{
	struct error err = { 0 };

	close(s->caller_end);
	process_reset_signals();
	die_with_caller();
	if (direct_child(s, &err) < 0)
		spawn_fail(s->sync, MSG_ERROR, &err);
	if (s->prepare)
		s->prepare(s->data, NULL, 0);
	s->main(s->data);
	_exit(1);
}

static int spawn_directly(struct spawn *s, pid_t *pid, struct error *err)
{
	unsigned long flags = s->namespaces ? s->namespaces->new_flags & ~LATE_FLAGS : 0;

	*pid = cgroup_clone(s->cgroup, flags, &s->in_cgroup);
	if (*pid == 0)
		direct_main(s);
	return *pid < 0 ? error_errno(err, errno, "clone3 a process into new namespaces") : 0;
}

/* ---- by an intermediate process -------------------------------------------------------------------- */

/*
 * Into a pid namespace of others a process is born as what it is to be: whoever in there has CAP_SYS_PTRACE can look into
 * it and take it over, and must find no root, descriptor or privilege of the host's (CVE-2016-9962). So the intermediate
 * process, which they do not see, makes all the rest and prepares.
 */
static bool prepares_first(const struct spawn *s)
{
	return joins(s, CLONE_NEWPID);
}

static int enter_user_namespace(const struct spawn *s, struct error *err)
{
	if (s->pidfd >= 0 && setns(s->pidfd, (int)s->pidfd_flags) < 0)
		return error_errno(err, errno, "join the namespaces of the container");
	if (makes_user(s) && unshare(CLONE_NEWUSER) < 0)
		return error_errno(err, errno, "make a user namespace (see `hull check`)");
	return s->namespaces ? ns_join(s->namespaces, OCI_NS_USER, err) : 0;
}

/* The namespaces that the real process is born into where it is not born into a pid namespace of others. */
static unsigned long real_flags(const struct spawn *s)
{
	return s->namespaces ? s->namespaces->new_flags & ~(LATE_FLAGS | CLONE_NEWUSER) : 0;
}

static int make_here(const struct spawn *s, struct error *err)
{
	unsigned long flags = real_flags(s);

	if (flags && unshare((int)flags) < 0)
		return error_errno(err, errno, "make new namespaces");
	return make_late(s, err);
}

static int intermediate_setup(const struct spawn *s, struct error *err)
{
	bool hidden = geteuid() == 0;
	int r = hidden ? exe_hide(s->program, err) : 0;

	if (r == 0)
		r = enter_cgroup(s, err);
	/* A namespace may belong to the user namespace we leave or to the one we enter: try before, insist after. */
	if (r == 0)
		r = join_listed(s->namespaces, true, err);
	if (r == 0)
		r = enter_user_namespace(s, err);
	if (r == 0 && (makes_user(s) || joins(s, CLONE_NEWUSER)))
		r = settle_in_user_namespace(s, hidden, err);
	if (r == 0)
		r = join_listed(s->namespaces, false, err);
	return r < 0 || !prepares_first(s) ? r : make_here(s, err);
}

/* The real process: waits until its id is announced, which is when the intermediate one ends. */
static void __attribute__((noreturn)) staged_main(const struct spawn *s)
{
	bool prepared = prepares_first(s);
	struct error err = { 0 };

	close(s->announced[1]);
	while (read(s->announced[0], &(char){ 0 }, 1) < 0 && errno == EINTR)
		;
	close(s->announced[0]);
	die_with_caller();
	if (!prepared && make_late(s, &err) < 0)
		spawn_fail(s->sync, MSG_ERROR, &err);
	if (!prepared && s->prepare)
		s->prepare(s->data, NULL, 0);
	s->main(s->data);
	_exit(1);
}

/*
 * A sibling of ours: a child of the caller's, who may wait for it and leave it to its own parent. It is born where we are. A
 * filter that we have loaded may know of no clone3(2), as those of engines do.
 */
static pid_t clone_real(const struct spawn *s)
{
	struct clone_args args = { .flags = real_flags(s) | CLONE_PARENT };

	return prepares_first(s) ? sys_clone(CLONE_PARENT) : sys_clone3(&args);
}

static void __attribute__((noreturn)) intermediate_main(struct spawn *s)
{
	struct error err = { 0 };
	struct spawned spawned;

	close(s->caller_end);
	process_reset_signals();
	die_with_caller();
	if (intermediate_setup(s, &err) < 0)
		spawn_fail(s->sync, MSG_ERROR, &err);
	if (prepares_first(s) && s->prepare)
		s->prepare(s->data, s->announced, ARRAY_SIZE(s->announced));
	spawned.pid = clone_real(s);
	if (spawned.pid == 0)
		staged_main(s);
	if (spawned.pid < 0) {
		error_errno(&err, errno, "clone a process into new namespaces");
		spawn_fail(s->sync, MSG_ERROR, &err);
	}
	message_send(s->sync, MSG_SPAWNED, &spawned, sizeof(spawned), NULL, 0, NULL);
	_exit(0);
}

static int spawn_staged(struct spawn *s, pid_t *pid, struct error *err)
{
	int failure;

	/* Made here: what is left of the workload's limits shall not be needed for it. */
	if (pipe2(s->announced, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	*pid = cgroup_clone(s->cgroup, 0, &s->in_cgroup);
	if (*pid == 0)
		intermediate_main(s);
	failure = errno;
	close(s->announced[0]);
	close(s->announced[1]);
	return *pid < 0 ? error_errno(err, failure, "clone3 a process") : 0;
}

int spawn_process(const struct spawn *s, pid_t *pid, bool *staged, struct error *err)
{
	_cleanup_close_ int program = exe_open_detached();
	struct spawn own = *s;

	own.program = program;
	*staged = prepares_first(s) || joins(s, CLONE_NEWUSER) ||
		  (makes_user(s) && s->namespaces->join_flags);
	return *staged ? spawn_staged(&own, pid, err) : spawn_directly(&own, pid, err);
}
