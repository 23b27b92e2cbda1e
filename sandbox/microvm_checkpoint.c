/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of a running microVM: hull-vmm writes the machine into it, and its file server which files the guest knows and has open.
 * hull-criu, which knows SHA-256, completes the directory and gives it its name.
 *
 * Until then the machine has stopped, and its workload is frozen in it. When we are killed, both go on: hull-vmm sees the end of our
 * connection. So there is the workload, or the checkpoint is whole, or both.
 */
#include <fcntl.h>
#include <string.h>

#include "microvm/control.h"
#include "sandbox/criu.h"
#include "sandbox/manifest.h"
#include "sandbox/microvm.h"

#define SAVE_TIME 3600 /* seconds: much memory, a slow disk */

static int check(const struct sandbox *sb, const struct sandbox_checkpoint *c, struct error *err)
{
	if (c->pre_dump || c->parent)
		return error_set(err, ENOTSUP,
				 "--%s: a checkpoint of a microVM has all of its memory; "
				 "--pre-copy makes the stop short",
				 c->pre_dump ? "pre-dump" : "parent-path");
	if (sb->config->linux_->net_devices.len)
		return error_set(err, ENOTSUP,
				 "/linux/netDevices: network devices of the host's cannot be "
				 "checkpointed");
	return 0;
}

/* The guest knows what the host shares by where it is in the configuration. */
static int list_mounts(const struct sandbox *sb, const struct sandbox_checkpoint *c,
		       struct arena *arena, struct error *err)
{
	const struct oci_mounts *mounts = &sb->config->mounts;
	struct manifest_mounts *list = &c->manifest->mounts;

	list->items = arena_array(arena, mounts->len + 1, sizeof(*list->items));
	for (size_t i = 0; list->items && i < mounts->len; i++) {
		const char *key = arena_printf(arena, "hull-mount-%zu", i);

		if (!microvm_is_shared(&mounts->items[i]))
			continue;
		if (!key)
			return error_errno(err, ENOMEM, "list the mounts");
		list->items[list->len++] = (struct manifest_mount){
			.key = key, .destination = mounts->items[i].destination, .path = ""
		};
	}
	return list->items ? 0 : error_errno(err, ENOMEM, "list the mounts");
}

static int make_file(int dir, const char *name, struct error *err)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? error_errno(err, errno, "make `%s` of the checkpoint", name) : fd;
}

static int order(int control, enum control_type type, const int *fds, unsigned count,
		 uint64_t *pages, struct error *err)
{
	struct control_saved saved;
	ssize_t len =
		microvm_order_on(control, type, NULL, 0, fds, count, &saved, sizeof(saved), err);

	if (len < 0)
		return (int)len;
	if (len != sizeof(saved))
		return error_errno(err, EPROTO, "talk to hull-vmm");
	*pages = saved.pages;
	return 0;
}

static void tell(const struct sandbox_checkpoint *c, unsigned round, uint64_t pages)
{
	if (c->rounds_max && c->progress)
		c->progress(c->progress_data, round, pages);
}

/* While the machine runs. */
static int copy_rounds(int control, const struct sandbox_checkpoint *c, int machine,
		       struct error *err)
{
	uint64_t last = 0, pages = 0;
	unsigned round = 0;
	int r = 0;

	while (r == 0 && c->rounds_max &&
	       (!round || sandbox_pre_copy_again(round, c->rounds_max, last, pages))) {
		last = pages;
		r = order(control, CONTROL_COPY, &machine, 1, &pages, err);
		if (r == 0)
			tell(c, ++round, pages);
	}
	if (r == 0 && round && c->manifest->pre_copy)
		c->manifest->pre_copy->rounds = round;
	return r;
}

/* The machine has stopped afterwards, as long as the connection is there. */
static int save(int control, const struct sandbox_checkpoint *c, struct error *err)
{
	_cleanup_close_ int machine = make_file(c->images, MICROVM_MACHINE, err);
	_cleanup_close_ int files = machine < 0 ? -1 : make_file(c->images, MICROVM_FILES, err);
	const int fds[] = { machine, files };
	uint64_t pages = 0;
	int r;

	if (machine < 0 || files < 0)
		return machine < 0 ? machine : files;
	r = copy_rounds(control, c, machine, err);
	if (r == 0)
		r = order(control, CONTROL_SAVE, fds, ARRAY_SIZE(fds), &pages, err);
	if (r < 0)
		return r;
	if (c->manifest->pre_copy)
		c->manifest->pre_copy->pages = pages;
	tell(c, 0, pages);
	return 0;
}

static int publish(const struct sandbox *sb, const struct sandbox_checkpoint *c, struct error *err)
{
	_cleanup_criu_call_ struct criu_call call = { .own_session = true };
	int r;

	criu_add(&call, "op", "publish");
	criu_add_fd(&call, "images", c->images);
	criu_add_target(&call, c, sb->state_dir);
	criu_add(&call, "publish", c->name);
	r = criu_add_manifest(&call, c->manifest, err);
	return r < 0 ? r : criu_call(&call, err);
}

int microvm_checkpoint(struct sandbox *sb, const struct sandbox_checkpoint *checkpoint,
		       struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_close_ int control = -EBADF;
	int r = check(sb, checkpoint, err);

	if (r == 0)
		r = list_mounts(sb, checkpoint, &arena, err);
	if (r == 0)
		r = manifest_list_stdio(checkpoint->manifest, sb->pid, &arena, err);
	if (r == 0)
		r = control = microvm_open_control(sb, SAVE_TIME, err);
	if (r >= 0)
		r = save(control, checkpoint, err);
	if (r == 0 && checkpoint->frozen)
		r = checkpoint->frozen(checkpoint->frozen_data, err);
	if (r == 0)
		r = publish(sb, checkpoint, err);
	checkpoint->manifest->mounts = (struct manifest_mounts){ 0 };
	checkpoint->manifest->stdio = (struct oci_strings){ 0 };
	/* What is left of the workload has stopped, and is not to go on. */
	return r < 0 || checkpoint->leave_running ? r : microvm_kill(sb->pid, sb->start_time, err);
}
