/* SPDX-License-Identifier: Apache-2.0 */
/* See fs_state_client.h. */
#include "tests/unit/fs_state_client.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_state.h"

int fs_new_state(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int fs_save(struct fs_client *c)
{
	struct error err = { 0 };
	int fd = fs_new_state();

	if (fs_state_save(c->fs, fd, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

struct fs *fs_new_server(struct fs_client *c)
{
	struct fs_config config;
	struct error err = { 0 };
	struct fs *fs;

	fs_config_init(&config);
	config.root = fcntl(c->tree, F_DUPFD_CLOEXEC, 0);
	config.descriptors = fs_open_descriptors(-1, &err);
	fs = fs_new(&config, &err);
	if (!fs)
		fail_msg("%s", err.text);
	return fs;
}

int fs_try_load(struct fs_client *c, int state, struct error *err)
{
	*err = (struct error){ 0 };
	fs_free(c->fs);
	close(c->tree);
	c->tree = openat(c->base, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(c->tree >= 0);
	c->fs = fs_new_server(c);
	return fs_state_load(c->fs, state, err);
}

void fs_load(struct fs_client *c, int state)
{
	struct error err;

	if (fs_try_load(c, state, &err) < 0)
		fail_msg("%s", err.text);
	close(state);
}

void fs_host_run(struct fs_client *c, const char *command)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (fchdir(c->base) == 0)
			execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}
