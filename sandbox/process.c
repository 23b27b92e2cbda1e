/* SPDX-License-Identifier: Apache-2.0 */
/* Preparing and executing a workload's process; see process.h. */
#include "sandbox/process.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>

#include "base/file.h"
#include "base/log.h"
#include "base/message.h"
#include "base/number.h"
#include "base/syscalls.h"
#include "sandbox/container.h"
#include "sandbox/memory_policy.h"
#include "sandbox/notify.h"
#include "sandbox/personality.h"
#include "sandbox/scheduling.h"

#define PASSWD_MAX   (1024 * 1024) /* bytes of the image's /etc/passwd that are read */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int process_plan(struct process_plan *plan, const struct oci_process *process,
		 const struct oci_linux *linux_, unsigned preserve_fds, struct error *err)
{
	int r;

	*plan = (struct process_plan){ .process = process,
				       .linux_ = linux_,
				       .preserve_fds = preserve_fds };
	r = seccomp_compile(&plan->filter, linux_ ? linux_->seccomp : NULL, err);
	if (r < 0)
		return r;
	return privileges_plan(&plan->privileges, process, plan->filter.len > 0, err);
}

void process_plan_free(struct process_plan *plan)
{
	seccomp_free(&plan->filter);
	free(plan->envp);
	plan->envp = NULL;
}

static const char *get_env(const struct oci_process *process, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = process->env.len; i > 0; i--) {
		const char *variable = process->env.items[i - 1];

		if (!strncmp(variable, name, len) && variable[len] == '=')
			return variable + len + 1;
	}
	return NULL;
}

/* ---- repeated variables ------------------------------------------------------------------------- */

struct variable {
	const char *text;
	size_t name_len, place;
};

/* By name, and those of one name by their places. */
static int compare_variables(const void *a, const void *b)
{
	const struct variable *x = a, *y = b;
	int r = memcmp(x->text, y->text, x->name_len < y->name_len ? x->name_len : y->name_len);

	if (!r)
		r = (x->name_len > y->name_len) - (x->name_len < y->name_len);
	return r ? r : (x->place > y->place) - (x->place < y->place);
}

/*
 * Of several variables of one name the last stays, of the n in envp: engines append what shall count, and getenv(3) would
 * find the first. Returns how many are left, or -ENOMEM. Sorting, for there may be very many.
 */
static ssize_t drop_repeated(char **envp, size_t n)
{
	_cleanup_free_ struct variable *sorted = calloc(n + 1, sizeof(*sorted));
	size_t left = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct variable){ envp[i], strcspn(envp[i], "="), i };
	qsort(sorted, n, sizeof(*sorted), compare_variables);
	for (size_t i = 1; i < n; i++)
		if (sorted[i - 1].name_len == sorted[i].name_len &&
		    !memcmp(sorted[i - 1].text, sorted[i].text, sorted[i].name_len))
			envp[sorted[i - 1].place] = NULL;
	for (size_t i = 0; i < n; i++)
		if (envp[i])
			envp[left++] = envp[i];
	memset(envp + left, 0, (n - left) * sizeof(*envp));
	return (ssize_t)left;
}

/* ---- HOME --------------------------------------------------------------------------------------- */

/* The home directory of uid in the text of a passwd(5) file, in place; NULL where there is none. */
static const char *find_home(char *passwd, uid_t uid)
{
	char *lines = NULL;

	for (char *line = strtok_r(passwd, "\n", &lines); line;
	     line = strtok_r(NULL, "\n", &lines)) {
		char *field[7], *p = line;
		uint64_t number;
		size_t n = 0;

		while (n < ARRAY_SIZE(field) && p)
			field[n++] = strsep(&p, ":");
		if (n >= 6 && parse_u64(field[2], UINT32_MAX, &number) && number == uid)
			return field[5];
	}
	return NULL;
}

/* The image's own file, which may be anything: only a regular file of a sane size is read. */
static char *home_variable(uid_t uid)
{
	_cleanup_close_ int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_free_ char *text = NULL;
	const char *home = NULL;
	char *variable = NULL;
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) &&
	    file_read_fd(fd, PASSWD_MAX, &text, NULL) >= 0)
		home = find_home(text, uid);
	if (!home || !*home)
		home = uid == 0 ? "/root" : "/";
	if (asprintf(&variable, "HOME=%s", home) < 0)
		return NULL;
	return variable;
}

/*
 * The variables of sd_listen_fds(3), but LISTEN_PID: that is the process' own id as it sees it, which is 1 in a pid namespace of
 * its own, and comes last, in the process that they are for. Returns how many, or -ENOMEM.
 */
static int listen_variables(const struct process_plan *plan, char **envp)
{
	int n = 0;

	if (!plan->listen_fds)
		return 0;
	if (asprintf(&envp[n++], "LISTEN_FDS=%u", plan->listen_fds) < 0 ||
	    (plan->listen_names &&
	     asprintf(&envp[n++], "LISTEN_FDNAMES=%s", plan->listen_names) < 0))
		return -ENOMEM;
	return n;
}

static int add_listen_pid(struct process_plan *plan, struct error *err)
{
	if (plan->listen_fds && asprintf(&plan->envp[plan->env_len], "LISTEN_PID=%d", getpid()) < 0)
		return error_errno(err, ENOMEM, "/process/env");
	return 0;
}

/* Whether a variable of the configuration gives way to one of ours. */
static bool is_replaced(const struct process_plan *plan, const char *variable)
{
	return plan->listen_fds &&
	       (!strncmp(variable, "LISTEN_FDS=", 11) || !strncmp(variable, "LISTEN_PID=", 11) ||
		!strncmp(variable, "LISTEN_FDNAMES=", 15));
}

static int build_environment(struct process_plan *plan, struct error *err)
{
	const struct oci_process *p = plan->process;
	const char *home = get_env(p, "HOME");
	size_t n = 0;
	ssize_t left;
	int more;

	plan->envp = calloc(p->env.len + 2 + 3, sizeof(char *)); /* NULL, HOME, LISTEN_… */
	if (!plan->envp)
		return error_errno(err, ENOMEM, "/process/env");
	for (size_t i = 0; i < p->env.len; i++) {
		/* An empty HOME is as good as none: replaced, as shells expect one. */
		if (home && !*home && !strncmp(p->env.items[i], "HOME=", 5))
			continue;
		if (!is_replaced(plan, p->env.items[i]))
			plan->envp[n++] = (char *)(uintptr_t)p->env.items[i];
	}
	left = drop_repeated(plan->envp, n);
	if (left < 0)
		return error_errno(err, ENOMEM, "/process/env");
	n = (size_t)left;
	if (!home || !*home) {
		plan->envp[n] = home_variable(p->user ? p->user->uid.v : 0);
		if (!plan->envp[n++])
			return error_errno(err, ENOMEM, "/process/env");
	}
	more = listen_variables(plan, plan->envp + n);
	if (more < 0)
		return error_errno(err, ENOMEM, "/process/env");
	plan->env_len = n + (size_t)more;
	return 0;
}

/*
 * The caller's environment, which may hold its secrets, would stay in our memory until execve(2), and be found there by whoever has
 * CAP_SYS_PTRACE in our pid namespace.
 */
static void forget_environment(void)
{
	static char *none[] = { NULL };

	for (char **variable = environ; *variable; variable++)
		explicit_bzero(*variable, strlen(*variable));
	environ = none;
}

/* ---- the program --------------------------------------------------------------------------------- */

/* 0, or the negative errno of why path cannot be executed. */
static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int search_path(const char *name, const char *path, char *out, size_t size)
{
	int result = -ENOENT;

	for (const char *dir = path;; dir += strcspn(dir, ":") + 1) {
		int len = (int)strcspn(dir, ":"), r;

		if ((size_t)snprintf(out, size, "%.*s/%s", len ? len : 1, len ? dir : ".", name) <
		    size) {
			r = check_executable(out);
			if (r == 0)
				return 0;
			if (r == -EACCES)
				result = r;
		}
		if (!dir[len])
			return result;
	}
}

static int find_program(struct process_plan *plan, struct error *err)
{
	const char *name = plan->process->args.items[0];
	const char *path = get_env(plan->process, "PATH");
	int r;

	if (!*name)
		return error_set(err, EINVAL, "/process/args/0: is empty");
	if (strchr(name, '/')) {
		if ((size_t)snprintf(plan->path, sizeof(plan->path), "%s", name) >=
		    sizeof(plan->path))
			return error_errno(err, ENAMETOOLONG, "/process/args/0");
		r = check_executable(plan->path);
		return r < 0 ? error_errno(err, -r, "exec `%s`", name) : 0;
	}
	r = search_path(name, path && *path ? path : DEFAULT_PATH, plan->path, sizeof(plan->path));
	if (r == -ENOENT) /* podman and docker look for these very words */
		return error_errno(err, ENOENT, "exec `%s`: executable file not found in $PATH",
				   name);
	return r < 0 ? error_errno(err, -r, "exec `%s`", name) : 0;
}

/*
 * The working directory must be inside the root: one that was reached through a leaked descriptor
 * of the host's has no path here, and the kernel says "(unreachable)" (CVE-2024-21626).
 */
static int check_cwd(const char *cwd, struct error *err)
{
	char path[4096];
	long n = syscall(SYS_getcwd, path, sizeof(path));

	if (n < 0)
		return error_errno(err, errno, "/process/cwd: `%s`", cwd);
	if (path[0] != '/')
		return error_set(err, EPERM, "/process/cwd: `%s` is outside the root file system",
				 cwd);
	return 0;
}

/* Whether the directory could be entered yet; some only root may enter, some only the user. */
static int enter_cwd(const char *cwd, bool last_try, struct error *err)
{
	if (chdir(cwd) == 0)
		return check_cwd(cwd, err) < 0 ? -err->code : 1;
	if (!last_try && (errno == EACCES || errno == EPERM))
		return 0;
	return error_errno(err, errno, "/process/cwd: chdir to `%s`", cwd);
}

/* ---- descriptors --------------------------------------------------------------------------------- */

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* A filter that is loaded already may not know close_range(2), which is younger than many a profile. */
static int close_span(unsigned first, unsigned last)
{
	unsigned limit;

	if (sys_close_range(first, last, 0) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	limit = (unsigned)sysconf(_SC_OPEN_MAX);
	for (unsigned fd = first; fd <= last && fd < limit; fd++)
		close((int)fd);
	return 0;
}

/* Closes all from first on but those in keep. */
static int close_others(unsigned first, const int *keep, size_t count, struct error *err)
{
	int sorted[8];

	assert(count <= ARRAY_SIZE(sorted));
	memcpy(sorted, keep, count * sizeof(int));
	qsort(sorted, count, sizeof(int), compare_fds);
	log_detach();
	for (size_t i = 0; i <= count; i++) {
		unsigned last = i < count ? (unsigned)sorted[i] - 1 : ~0U;
		int r;

		if (i < count && sorted[i] < (int)first)
			continue;
		r = first <= last ? close_span(first, last) : 0;
		if (r < 0)
			return error_errno(err, -r, "close descriptors (close_range)");
		first = last + 2;
	}
	return 0;
}

static int set_limits_and_label(struct process_plan *plan, int proc, bool set_limits,
				struct error *err)
{
	_cleanup_close_ int self = -EBADF;
	int r = 0;

	if (set_limits) {
		self = openat(proc, "self", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (self < 0)
			return error_errno(err, errno, "open `/proc/self`");
		r = privileges_set_oom_score(plan->process, self, err);
		if (r == 0)
			r = privileges_set_rlimits(plan->process, 0, err);
	}
	return r < 0 ? r : privileges_set_label(plan->process, proc, err);
}

int process_prepare(struct process_plan *plan, int proc, bool set_limits, const int *keep,
		    size_t keep_count, struct error *err)
{
	const struct oci_process *p = plan->process;
	int r = set_limits_and_label(plan, proc, set_limits, err), entered = 0;

	if (r == 0)
		r = close_others(3 + plan->preserve_fds, keep, keep_count, err);
	if (r < 0)
		return r;
	entered = enter_cwd(p->cwd, false, err);
	r = entered < 0 ? entered : privileges_drop(&plan->privileges, err);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* with fs.suid_dumpable a change of user undoes it */
	if (r == 0 && !entered) {
		r = enter_cwd(p->cwd, true, err);
		entered = r;
	}
	if (entered < 0)
		plan->exec_failed = true;
	if (r >= 0)
		r = build_environment(plan, err);
	forget_environment();
	if (r < 0)
		return r;
	r = find_program(plan, err);
	plan->exec_failed = r < 0;
	return r;
}

int process_own_terminal(int terminal, const struct oci_process *process, struct error *err)
{
	const struct oci_user *user = process->user;

	if (user && user->uid.v && fchown(terminal, user->uid.v, (gid_t)-1) < 0)
		return error_errno(err, errno, "give the terminal to user %u", user->uid.v);
	return 0;
}

int process_hand_over_terminal(int console_socket, int *primary, struct error *err)
{
	int r = 0;

	if (console_socket >= 0) {
		r = message_send_fd(console_socket, "/dev/ptmx", *primary, err);
		close_fd(primary);
	}
	return r;
}

int process_use_terminal(int *terminal, const struct oci_process *process, struct error *err)
{
	const struct oci_console_size *size = process->console_size;

	if (*terminal < 0)
		return 0;
	if (size) {
		struct winsize ws = { .ws_row = (unsigned short)size->height,
				      .ws_col = (unsigned short)size->width };

		if (ioctl(*terminal, TIOCSWINSZ, &ws) < 0)
			return error_errno(err, errno,
					   "/process/consoleSize: set the terminal's size");
	}
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(*terminal, fd) < 0)
			return error_errno(err, errno, "make the terminal descriptor %d", fd);
	close_fd(terminal);
	return 0;
}

int process_begin_session(const struct oci_process *process, struct error *err)
{
	if (getsid(0) != getpid() && setsid() < 0)
		return error_errno(err, errno, "setsid");
	if (process->terminal.v && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		return error_errno(err, errno, "make the terminal the controlling one");
	return 0;
}

/*
 * How the kernel is to treat the workload; not hull, whose hooks and clones come before (a deadline task may not fork). The
 * user of the workload may lack the privilege that the caller has, and so does root of a user namespace.
 */
static int schedule(const struct oci_process *process, int sync, struct error *err)
{
	int r;

	if (!scheduling_wanted(process))
		return 0;
	r = scheduling_set(process, 0, err);
	return r == -EPERM ? spawn_ask(sync, MSG_SCHEDULE, err) : r;
}

static int set_policies(const struct process_plan *plan, struct error *err)
{
	const struct oci_linux *l = plan->linux_;
	int r = 0;

	if (l)
		r = memory_policy_set(l->memory_policy, err);
	if (r == 0 && l)
		r = personality_set(l->personality, err);
	return r;
}

/* The filter comes last: whatever hull does behind it, the filter must allow. */
static int load_filter(struct process_plan *plan, struct notify_handover *handover,
		       struct error *err)
{
	int r = privileges_raise_for_filter(&plan->privileges, err);

	if (r == 0)
		r = seccomp_has_listener(&plan->filter) ? notify_load(handover, &plan->filter, err)
							: seccomp_load_program(&plan->filter, err);
	return r < 0 ? r : privileges_finish(&plan->privileges, err);
}

int process_prepare_to_be_seen(struct process_plan *plan, struct error *err)
{
	int r;

	if (!plan->privileges.filter_needs_admin || seccomp_has_listener(&plan->filter))
		return 0;
	r = set_policies(plan, err);
	if (r == 0)
		r = load_filter(plan, NULL, err);
	plan->filter_loaded = r == 0;
	return r;
}

static size_t total_size(char **strings, size_t *longest)
{
	size_t sum = 0;

	for (; *strings; strings++) {
		size_t size = strlen(*strings) + 1;

		*longest = size > *longest ? size : *longest;
		sum += size + sizeof(*strings);
	}
	return sum;
}

static int exec_error(const struct process_plan *plan, char **argv, int code, struct error *err)
{
	size_t longest = 0, size;

	if (code != E2BIG)
		return error_errno(err, code, "exec `%s`", plan->path);
	size = total_size(argv, &longest) + total_size(plan->envp, &longest);
	return error_errno(
		err, E2BIG,
		"exec `%s` with %zu bytes of arguments and environment, %zu in the longest (the "
		"kernel takes a quarter of RLIMIT_STACK, and 131072 in one)",
		plan->path, size, longest);
}

int process_execute(struct process_plan *plan, int sync, struct error *err)
{
	const struct oci_process *p = plan->process;
	struct notify_handover handover;
	_cleanup_free_ char **argv = calloc(p->args.len + 1, sizeof(char *));
	int r;

	if (!argv)
		return error_errno(err, ENOMEM, "/process/args");
	for (size_t i = 0; i < p->args.len; i++)
		argv[i] = (char *)(uintptr_t)p->args.items[i];
	r = add_listen_pid(plan, err);
	/* Closed, not marked: execve(2) looks up the program, and its interpreter, while marked ones are still open. */
	if (r == 0)
		r = close_others(3 + plan->preserve_fds, &sync, 1, err);
	if (r == 0 && seccomp_has_listener(&plan->filter))
		r = notify_begin(&handover, sync, err);
	if (r == 0)
		r = schedule(p, sync, err);
	if (r == 0 && !plan->filter_loaded)
		r = set_policies(plan, err);
	if (r == 0)
		r = privileges_set_nproc(p, err);
	if (r == 0 && !plan->filter_loaded)
		r = load_filter(plan, &handover, err);
	if (r < 0)
		return r;
	execve(plan->path, argv, plan->envp);
	plan->exec_failed = true;
	return exec_error(plan, argv, errno, err);
}

int process_new_keyring(const char *id, struct error *err)
{
	char name[300];

	snprintf(name, sizeof(name), "_ses.%s", id);
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0) < 0 &&
	    errno != ENOSYS && errno != EPERM && errno != EACCES)
		return error_errno(err, errno,
				   "join a new session keyring (--no-new-keyring avoids it)");
	return 0;
}
