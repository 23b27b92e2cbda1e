/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to systemd by way of hull-systemd: one process a call, which gets the request as its
 * standard input and answers on its standard output, "ok" and where the scope's cgroup is, or
 * "error", an errno and a text. It has a time limit, since systemd may hang.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/libexec.h"
#include "base/number.h"
#include "cgroups/internal.h"
#include "cgroups/systemd.h"

#define ANSWER_MAX 4096
#define CALL_MS    90000 /* longer than any time limit in hull-systemd */

static void __attribute__((noreturn))
helper_child(const char *path, pid_t parent, int request, int answer)
{
	char name[] = "hull-systemd";
	char *argv[] = { name, NULL };
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(request, STDIN_FILENO) < 0 || dup2(answer, STDOUT_FILENO) < 0)
		_exit(126);
	execv(path, argv);
	dprintf(STDOUT_FILENO, "error%c%d%cexecute `%s`: %s%c", 0, errno, 0, path, strerror(errno),
		0);
	_exit(127);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads all that comes until the end, at most size - 1 bytes, with a NUL behind. -ETIMEDOUT. */
static ssize_t read_answer(int fd, char *answer, size_t size)
{
	int64_t deadline = now_ms() + CALL_MS;
	size_t len = 0;

	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int64_t left = deadline - now_ms();
		int r = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;
		ssize_t n;

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ETIMEDOUT;
		if (len == size - 1)
			return -EMSGSIZE;
		n = read(fd, answer + len, size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			answer[len] = '\0';
			return n < 0 ? -errno : (ssize_t)len;
		}
		len += (size_t)n;
	}
}

/* "ok", CGROUP or "error", ERRNO, TEXT; all with a NUL behind, which read_answer() sees to. */
static int parse_answer(const char *answer, size_t len, char *cgroup, size_t size,
			struct error *err)
{
	const char *end = answer + len, *second = answer + strlen(answer) + 1, *third;
	uint64_t code;

	if (len && answer[len - 1] == '\0' && second < end) {
		third = second + strlen(second) + 1;
		if (strcmp(answer, "ok") == 0 && strlen(second) < size) {
			strcpy(cgroup, second);
			return 0;
		}
		if (strcmp(answer, "error") == 0 && third < end && parse_u64(second, 4095, &code) &&
		    code > 0)
			return error_set(err, (int)code, "cgroup: systemd: %s", third);
	}
	return error_set(err, EPROTO,
			 "cgroup: systemd: hull-systemd ended without a usable answer");
}

static int call_helper(const struct strbuf *request, char *cgroup, size_t size, struct error *err)
{
	_cleanup_close_ int in = memfd_create("request", MFD_CLOEXEC);
	char path[PATH_MAX], answer[ANSWER_MAX];
	pid_t pid, parent = getpid();
	int ends[2], status, r;
	ssize_t n;

	if (strbuf_failed(request))
		return error_errno(err, ENOMEM, "cgroup: systemd");
	r = libexec_path("hull-systemd", path, sizeof(path), err);
	if (r < 0)
		return r;
	if (in < 0)
		return error_errno(err, errno, "memfd_create");
	r = file_write_all(in, request->data, request->len);
	if (r == 0 && lseek(in, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0)
		return error_errno(err, -r, "cgroup: systemd: write the request");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	pid = fork();
	if (pid == 0)
		helper_child(path, parent, in, ends[1]);
	r = pid < 0 ? errno : 0;
	close(ends[1]);
	if (r) {
		close(ends[0]);
		return error_errno(err, r, "fork for hull-systemd");
	}
	n = read_answer(ends[0], answer, sizeof(answer));
	close(ends[0]);
	if (n < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n < 0)
		return error_errno(err, (int)-n, "cgroup: systemd: wait for hull-systemd");
	return parse_answer(answer, (size_t)n, cgroup, size, err);
}

/* ---- the calls ---------------------------------------------------------------------------- */

int systemd_scope_prepare(const struct systemd_scope *scope, const char *id,
			  const struct oci_resources *resources, const struct oci_map *annotations,
			  bool v1, struct strbuf *request, struct error *err)
{
	static const struct oci_device_rules no_rules = { 0 };
	static const char *const accounting[] = { "CPUAccounting", "IOAccounting",
						  "MemoryAccounting", "TasksAccounting" };
	char description[SYSTEMD_NAME_MAX + 32];
	unsigned count = 0;
	int r;

	systemd_request_begin(request, "start", scope);
	snprintf(description, sizeof(description), "hull container %.255s", id);
	systemd_request_add(request, "Description", "s", description);
	systemd_request_add(request, "Slice", "s", scope->slice);
	systemd_request_add(request, "Delegate", "b", "1");
	systemd_request_add(request, "DefaultDependencies", "b", "0");
	systemd_request_add(request, "CollectMode", "s", "inactive-or-failed");
	for (size_t i = 0; i < ARRAY_SIZE(accounting); i++)
		systemd_request_add(request, accounting[i], "b", "1");
	r = systemd_request_add_limits(request, resources, v1, err);
	if (r == 0 && v1)
		r = systemd_request_add_devices(request,
						resources ? &resources->devices : &no_rules, err);
	for (size_t i = 0; r == 0 && i < annotations->len; i++) {
		const struct oci_map_entry *a = &annotations->items[i];

		if (strncmp(a->key, SYSTEMD_PROPERTY, strlen(SYSTEMD_PROPERTY)))
			continue;
		if (++count > SYSTEMD_ANNOTATIONS_MAX)
			return error_set(err, E2BIG,
					 "/annotations: more than %d begin with " SYSTEMD_PROPERTY,
					 SYSTEMD_ANNOTATIONS_MAX);
		r = systemd_request_add_annotation(request, a->key, a->value, err);
	}
	return r;
}

int systemd_scope_start(struct strbuf *request, pid_t pid, char *cgroup, size_t size,
			struct error *err)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	systemd_request_add(request, "PIDs", "au", text);
	return call_helper(request, cgroup, size, err);
}

int systemd_scope_update(const struct systemd_scope *scope, const struct oci_resources *resources,
			 bool v1, bool devices, struct error *err)
{
	_cleanup_strbuf_ struct strbuf request = { 0 };
	char ignored[CGROUP_PATH_MAX];
	size_t empty;
	int r;

	systemd_request_begin(&request, "set", scope);
	empty = request.len;
	r = systemd_request_add_limits(&request, resources, v1, err);
	if (r == 0 && v1 && devices)
		r = systemd_request_add_devices(&request, &resources->devices, err);
	if (r < 0 || request.len == empty)
		return r;
	return call_helper(&request, ignored, sizeof(ignored), err);
}

int systemd_scope_stop(const struct systemd_scope *scope, struct error *err)
{
	_cleanup_strbuf_ struct strbuf request = { 0 };
	char ignored[CGROUP_PATH_MAX];

	systemd_request_begin(&request, "stop", scope);
	return call_helper(&request, ignored, sizeof(ignored), err);
}
