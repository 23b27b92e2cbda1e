/* SPDX-License-Identifier: Apache-2.0 */
/* Having hull-image, which knows tar, write a layer; see layer.h. */
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>

#include "base/bundle_reply.h"
#include "base/libexec.h"
#include "base/message.h"
#include "base/process.h"
#include "sandbox/layer.h"

/* It gets the three as the numbers that it is told, and none of our other descriptors. */
static int spawn(const int fds[3], pid_t *pid, struct error *err)
{
	posix_spawn_file_actions_t actions;
	char path[PATH_MAX], program[] = "hull-image", command[] = "pack", numbers[3][16];
	char *argv[] = { program, command, numbers[0], numbers[1], numbers[2], NULL };
	int r = libexec_path("hull-image", path, sizeof(path), err);

	if (r < 0)
		return r;
	if (posix_spawn_file_actions_init(&actions) != 0)
		return error_errno(err, ENOMEM, "run hull-image");
	/* Onto itself: what is left is that it is no longer close-on-exec. */
	for (int i = 0; r == 0 && i < 3; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "%d", fds[i]);
		r = posix_spawn_file_actions_adddup2(&actions, fds[i], fds[i]);
	}
	if (r == 0)
		r = posix_spawn(pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r ? error_errno(err, r, "execute `%s`", path) : 0;
}

static int receive(int sock, struct error *err)
{
	struct message m = { .fd_count = 0 };
	struct error why = { 0 };
	int r = message_receive(sock, &m, &why, sizeof(why), err);

	for (unsigned i = 0; i < m.fd_count; i++)
		close_fd(&m.fds[i]);
	if (r < 0 || m.type == BUNDLE_PACKED)
		return r < 0 ? r : 0;
	if (m.type != BUNDLE_FAILED || m.len != sizeof(why))
		return error_set(err, EPROTO, "hull-image is not of this version of hull");
	why.text[sizeof(why.text) - 1] = '\0';
	return error_set(err, why.code > 0 ? why.code : EIO, "%s", why.text);
}

int layer_save(int changes, int out, struct error *err)
{
	_cleanup_close_ int mine = -EBADF, its = -EBADF;
	int pair[2], status = 0, r = message_pair(pair, err);
	pid_t pid = 0;

	if (r < 0)
		return r;
	mine = pair[0];
	its = pair[1];
	r = spawn((int[]){ its, changes, out }, &pid, err);
	close_fd(&its);
	if (r < 0)
		return r;
	r = receive(mine, err);
	if (process_wait(pid, &status) == 0 && r == -EPIPE)
		return error_set(err, EIO, "hull-image ended with status %d",
				 process_exit_status(status));
	return r;
}
