/* SPDX-License-Identifier: Apache-2.0 */
/* Running hull-criu and talking to it; see criu.h. */
#include "sandbox/criu.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <string.h>
#include <unistd.h>

#include "base/libexec.h"
#include "base/message.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "sandbox/manifest.h"
#include "sandbox/sandbox.h"

void criu_add(struct criu_call *call, const char *name, const char *value)
{
	strbuf_addf(&call->request, "%s=%s", name, value);
	strbuf_addc(&call->request, '\0');
}

void criu_add_flag(struct criu_call *call, const char *name, bool on)
{
	if (on)
		criu_add(call, name, "1");
}

void criu_add_fd(struct criu_call *call, const char *name, int fd)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	criu_add(call, name, number);
	if (call->keep_count < CRIU_FDS_MAX)
		call->keep[call->keep_count++] = fd;
	else
		call->request.failed = true;
}

void criu_add_target(struct criu_call *call, const struct sandbox_checkpoint *checkpoint,
		     int state_dir)
{
	criu_add_fd(call, "place", checkpoint->place);
	criu_add(call, "temporary", checkpoint->temporary);
	criu_add_fd(call, "lock", state_dir);
}

int criu_add_manifest(struct criu_call *call, const struct manifest *manifest, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };

	manifest_print(manifest, &text);
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "write the manifest");
	criu_add(call, "manifest", text.data);
	return 0;
}

void criu_add_options(struct criu_call *call, const struct sandbox_criu_options *options,
		      const struct oci_config *config)
{
	const char *file = oci_annotation(config, CRIU_ANNOTATION);
	char number[16];

	criu_add_fd(call, "work", options->work);
	criu_add_flag(call, "tcp_established", options->tcp_established);
	criu_add_flag(call, "ext_unix_sk", options->ext_unix_sk);
	criu_add_flag(call, "shell_job", options->shell_job);
	criu_add_flag(call, "file_locks", options->file_locks);
	/* Terminals' primary sides are ours, outside of the container. */
	criu_add_flag(call, "orphan_pts_master", true);
	snprintf(number, sizeof(number), "%d", options->cgroup_mode);
	criu_add(call, "cgroup_mode", number);
	if (options->network_lock) {
		snprintf(number, sizeof(number), "%d", options->network_lock);
		criu_add(call, "network_lock", number);
	}
	if (options->empty_network) {
		snprintf(number, sizeof(number), "%d", CLONE_NEWNET);
		criu_add(call, "empty_namespaces", number);
	}
	if (file)
		criu_add(call, "config_file", file);
}

void criu_call_free(struct criu_call *call)
{
	strbuf_free(&call->request);
}

static void __attribute__((noreturn)) fail(int sock, const struct error *err)
{
	message_send(sock, CRIU_FAILED, err, sizeof(*err), NULL, 0, NULL);
	_exit(1);
}

/* In the new process. */
static void __attribute__((noreturn)) run_helper(struct criu_call *call, const char *path, int sock)
{
	char name[] = "hull-criu", number[16];
	char *argv[] = { name, number, NULL };
	struct error err = { 0 };

	process_reset_signals();
	if (call->own_session)
		setsid();
	if (call->enter && call->enter(call->data, &err) < 0)
		fail(sock, &err);
	snprintf(number, sizeof(number), "%d", sock);
	/* Nothing of what our caller left open is CRIU's business. */
	sys_close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < call->keep_count; i++)
		fcntl(call->keep[i], F_SETFD, 0);
	fcntl(sock, F_SETFD, 0);
	execv(path, argv);
	if (errno == ENOENT)
		error_set(
			&err, ENOTSUP,
			"`%s` does not exist: this hull was built without it, which needs protobuf-c "
			"(protobuf-c-compiler, libprotobuf-c-dev; make deps)",
			path);
	else
		error_errno(&err, errno, "execute `%s`", path);
	fail(sock, &err);
}

static int answer(struct criu_call *call, int sock, struct message *m,
		  const struct criu_notice *notice, struct error *err)
{
	int fd = m->fd_count ? m->fds[0] : -1, r = 0;

	if (call->notify)
		r = call->notify(call->data, notice, &fd, err);
	close_fd(&fd);
	if (r < 0) {
		message_send(sock, CRIU_REFUSE, NULL, 0, NULL, 0, NULL);
		return r;
	}
	return message_send(sock, CRIU_GO, NULL, 0, NULL, 0, err);
}

/* What it says until it is done. A refusal of ours is the error to report, not CRIU's complaint about it. */
static int follow(struct criu_call *call, int sock, struct error *err)
{
	union {
		struct criu_notice notice;
		struct error error;
	} payload;
	struct error refused = { 0 };

	for (;;) {
		struct message m;
		int r;

		memset(&payload, 0, sizeof(payload));
		r = message_receive(sock, &m, &payload, sizeof(payload), err);
		if (r < 0)
			return r == -EPIPE ? error_set(err, EIO, "hull-criu ended unexpectedly")
					   : r;
		if (m.type == CRIU_NOTIFY && m.len == sizeof(payload.notice)) {
			payload.notice.name[sizeof(payload.notice.name) - 1] = '\0';
			answer(call, sock, &m, &payload.notice, refused.code ? NULL : &refused);
			continue;
		}
		for (unsigned i = 0; i < m.fd_count; i++)
			close(m.fds[i]);
		if (refused.code)
			return error_set(err, refused.code, "%s", refused.text);
		if (m.type == CRIU_DONE && m.len == sizeof(payload.notice)) {
			call->pid = payload.notice.pid;
			call->pages = payload.notice.pages;
			return 0;
		}
		if (m.type != CRIU_FAILED || m.len != sizeof(payload.error))
			return error_errno(err, EPROTO, "talk to hull-criu");
		payload.error.text[sizeof(payload.error.text) - 1] = '\0';
		return error_set(err, payload.error.code > 0 ? payload.error.code : EIO, "%s",
				 payload.error.text);
	}
}

int criu_call(struct criu_call *call, struct error *err)
{
	_cleanup_close_ int mine = -EBADF, its = -EBADF;
	char path[PATH_MAX];
	int pair[2], status, r;
	pid_t pid;

	if (strbuf_failed(&call->request))
		return error_errno(err, ENOMEM, "ask hull-criu");
	r = libexec_path("hull-criu", path, sizeof(path), err);
	if (r < 0)
		return r;
	r = message_pair(pair, err);
	if (r < 0)
		return r;
	mine = pair[0];
	its = pair[1];
	pid = fork();
	if (pid == 0) {
		close(mine);
		run_helper(call, path, its);
	}
	if (pid < 0)
		return error_errno(err, errno, "fork for hull-criu");
	close_fd(&its);
	if (call->place)
		r = call->place(call->data, pid, err);
	if (r == 0)
		r = message_send(mine, CRIU_REQUEST, call->request.data, call->request.len, NULL, 0,
				 err);
	/* That it ended before it could be asked is told by what it said. */
	if (r == 0 || r == -EPIPE)
		r = follow(call, mine, err);
	close_fd(&mine);
	process_wait(pid, &status);
	return r;
}
