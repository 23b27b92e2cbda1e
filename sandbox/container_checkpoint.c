/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dumping a container by CRIU: what CRIU has to be told because it is the host's (mounts, namespaces, pipes), and what is
 * refused because it cannot be restored.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "sandbox/container.h"
#include "sandbox/criu.h"
#include "sandbox/manifest.h"

struct dump {
	const struct sandbox *sb;
	const struct sandbox_checkpoint *checkpoint;
	struct arena arena;
	struct external_mounts mounts;
	struct criu_call call;
	int pidfd;
	unsigned round; /* that is being copied; 0: the dump itself */
	int round_dir;
	unsigned rounds; /* that there were */
};

/* ---- what cannot be done ---------------------------------------------------------------------------- */

/* CRIU can leave only network and pid namespaces to be joined again. */
static int check_namespaces(const struct oci_config *config, struct error *err)
{
	const struct oci_namespace *mount_ns = oci_namespace_find(config, OCI_NS_MOUNT);

	if (!mount_ns)
		return error_set(err, ENOTSUP,
				 "the container has no mount namespace of its own, so it cannot be "
				 "checkpointed");
	for (size_t i = 0; i < config->linux_->namespaces.len; i++) {
		const struct oci_namespace *ns = &config->linux_->namespaces.items[i];

		if (ns->path && ns->type != OCI_NS_NETWORK && ns->type != OCI_NS_PID)
			return error_set(
				err, ENOTSUP,
				"/linux/namespaces: the container has joined the %s namespace of "
				"another: it cannot be checkpointed",
				oci_namespace_name((enum oci_namespace_type)ns->type));
	}
	return 0;
}

static int check(const struct sandbox *sb, struct error *err)
{
	const struct oci_config *config = sb->config;

	if (!process_is_host_root())
		return error_set(err, EPERM,
				 "CRIU needs root: containers of an ordinary user "
				 "cannot be checkpointed");
	if (sb->config->linux_->net_devices.len)
		return error_set(err, ENOTSUP,
				 "/linux/netDevices: network devices of the host's cannot be "
				 "checkpointed");
	return check_namespaces(config, err);
}

/* ---- what CRIU is told ------------------------------------------------------------------------------ */

/* "net[4026532288]:hull-net": not to be dumped, and joined again by that key. */
static int add_joined(struct dump *d, struct error *err)
{
	static const enum oci_namespace_type types[] = { OCI_NS_NETWORK, OCI_NS_PID };
	const char **names = arena_array(&d->arena, ARRAY_SIZE(types), sizeof(*names));
	size_t count = 0;

	if (!names)
		return error_errno(err, ENOMEM, "list the namespaces");
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		const struct oci_namespace *ns = oci_namespace_find(d->sb->config, types[i]);
		const char *name = oci_namespace_file(types[i]);
		char path[64], text[128];
		struct stat its, own;

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", d->sb->pid, name);
		snprintf(text, sizeof(text), "/proc/self/ns/%s", name);
		if (!ns || !ns->path)
			continue;
		if (stat(path, &its) < 0 || stat(text, &own) < 0)
			return error_errno(err, errno, "find the container's %s namespace", name);
		if (its.st_ino == own.st_ino) /* the host's, which CRIU knows */
			continue;
		snprintf(text, sizeof(text), "%s[%llu]:hull-%s", name,
			 (unsigned long long)its.st_ino, name);
		criu_add(&d->call, "external", text);
		names[count++] = name;
	}
	d->checkpoint->manifest->joined = (struct oci_strings){ .items = names, .len = count };
	return 0;
}

static int add_mounts(struct dump *d, struct error *err)
{
	struct manifest_mounts *list = &d->checkpoint->manifest->mounts;
	int r = external_find(d->sb, &d->arena, &d->mounts, err);

	if (r < 0)
		return r;
	list->items = arena_array(&d->arena, d->mounts.len + 1, sizeof(*list->items));
	if (!list->items)
		return error_errno(err, ENOMEM, "list the mounts");
	for (size_t i = 0; i < d->mounts.len; i++) {
		const struct external_mount *m = &d->mounts.items[i];
		const char *text = arena_printf(&d->arena, "mnt[%s]:%s", m->place, m->key);

		if (!text)
			return error_errno(err, ENOMEM, "list the mounts");
		criu_add(&d->call, "external", text);
		list->items[list->len++] = (struct manifest_mount){ .key = m->key,
								    .destination = m->destination,
								    .path = m->path };
	}
	return 0;
}

/* What the init process' standard streams are: pipes are whoever restores it to provide. */
static int add_stdio(struct dump *d, struct error *err)
{
	struct manifest *m = d->checkpoint->manifest;
	int r = manifest_list_stdio(m, d->sb->pid, &d->arena, err);

	return r < 0 ? r : external_check_streams(d->sb, &d->arena, m->stdio.items, err);
}

/* CRIU stops all processes by the freezer, which none escapes by forking. */
static int add_freezer(struct dump *d, struct error *err)
{
	const struct cgroup_host *host = d->sb->cgroups;
	char path[CGROUP_PATH_MAX + 128];
	int r = cgroup_host_know(d->sb->cgroups, err);

	if (r < 0 || !container_has_cgroup(d->sb))
		return r;
	for (size_t i = 0; i < host->count; i++) {
		const struct cgroup_hierarchy *h = &host->hierarchies[i];

		if (!strcmp(h->controllers, "freezer") || (h->v2 && host->layout == CGROUP_V2)) {
			snprintf(path, sizeof(path), "%s%s", h->mount, d->sb->cgroup_path);
			criu_add(&d->call, "freeze_cgroup", path);
			break;
		}
	}
	return 0;
}

static void add_common(struct dump *d)
{
	const struct sandbox_checkpoint *c = d->checkpoint;
	char text[16];

	snprintf(text, sizeof(text), "%d", d->sb->pid);
	criu_add(&d->call, "pid", text);
	criu_add(&d->call, "root", d->sb->rootfs);
	criu_add_target(&d->call, c, d->sb->state_dir);
	criu_add_flag(&d->call, "tcp_skip_in_flight", c->tcp_skip_in_flight);
	criu_add_flag(&d->call, "link_remap", c->link_remap);
	criu_add_options(&d->call, &c->common, d->sb->config);
}

/* Where the memory goes, and where that is which need not be written again. */
static void add_images(struct dump *d)
{
	const struct sandbox_checkpoint *c = d->checkpoint;
	char parent[64];

	criu_add_fd(&d->call, "images", d->round ? d->round_dir : c->images);
	if (d->round)
		criu_add_fd(&d->call, "whole", c->images); /* which is locked */
	/* Also for what builds on another: without it CRIU would write all memory again. */
	criu_add_flag(&d->call, "track_memory", c->pre_dump || c->parent || d->round || d->rounds);
	criu_add_flag(&d->call, "leave_running", c->leave_running || c->pre_dump || d->round);
	if (d->round > 1 || (!d->round && d->rounds)) {
		snprintf(parent, sizeof(parent), "%s" MANIFEST_ROUND "%u", d->round ? "../" : "",
			 d->round ? d->round - 1 : d->rounds);
		criu_add(&d->call, "parent_images", parent);
	} else if (c->parent) {
		criu_add(&d->call, "parent_images", c->parent);
	}
	if (!d->round)
		criu_add(&d->call, "publish", c->name);
}

/* ---- doing it --------------------------------------------------------------------------------------- */

/* Nothing of the container runs now: what it did with its mounts since we looked is seen here. */
static int notified(void *data, const struct criu_notice *notice, int *fd _unused_,
		    struct error *err)
{
	struct dump *d = data;
	struct external_mounts now;
	int r;

	if (strcmp(notice->name, "post-dump") != 0)
		return 0;
	r = external_find(d->sb, &d->arena, &now, err);
	if (r == 0 && !external_equal(&d->mounts, &now))
		r = error_set(err, EAGAIN,
			      "the container changed its mounts while it was checkpointed; it goes "
			      "on: try again");
	if (r == 0 && d->checkpoint->frozen)
		r = d->checkpoint->frozen(d->checkpoint->frozen_data, err);
	return r;
}

/* One call of CRIU. */
static int dump(struct dump *d, const char *op, struct error *err)
{
	int r;

	d->call = (struct criu_call){ .own_session = true, .data = d, .notify = notified };
	d->mounts = (struct external_mounts){ 0 };
	d->checkpoint->manifest->mounts = (struct manifest_mounts){ 0 };
	criu_add(&d->call, "op", op);
	add_common(d);
	add_images(d);
	r = add_joined(d, err);
	if (r == 0)
		r = add_mounts(d, err);
	if (r == 0)
		r = add_stdio(d, err);
	if (r == 0)
		r = add_freezer(d, err);
	if (r == 0)
		r = criu_add_manifest(&d->call, d->checkpoint->manifest, err);
	if (r == 0)
		r = criu_call(&d->call, err);
	criu_call_free(&d->call);
	return r;
}

static void tell(const struct dump *d, unsigned round)
{
	const struct sandbox_checkpoint *c = d->checkpoint;

	if (c->rounds_max && c->progress)
		c->progress(c->progress_data, round, d->call.pages);
}

static int copy_round(struct dump *d, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	char name[64];
	int r;

	snprintf(name, sizeof(name), MANIFEST_ROUND "%u", d->round);
	/* As the directory itself: CRIU, as root of a user namespace, must be able to open what it made in there. */
	if (mkdirat(d->checkpoint->images, name, 0711) < 0)
		return error_errno(err, errno, "make `%s` of the checkpoint", name);
	dir = openat(d->checkpoint->images, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "open `%s` of the checkpoint", name);
	d->round_dir = dir;
	r = dump(d, "round", err);
	return r < 0 ? error_wrap(err, "pre-copy, round %u", d->round) : 0;
}

/* While the container runs. */
static int copy_rounds(struct dump *d, struct error *err)
{
	const unsigned max = d->checkpoint->rounds_max;
	uint64_t last = 0, pages = 0;
	int r = 0;

	while (r == 0 && max &&
	       (!d->rounds || sandbox_pre_copy_again(d->rounds, max, last, pages))) {
		last = pages;
		d->round = d->rounds + 1;
		r = copy_round(d, err);
		if (r < 0)
			break;
		pages = d->call.pages;
		tell(d, ++d->rounds);
	}
	d->round = 0;
	if (d->rounds && d->checkpoint->manifest->pre_copy)
		d->checkpoint->manifest->pre_copy->rounds = d->rounds;
	return r;
}

int container_checkpoint(struct sandbox *sb, const struct sandbox_checkpoint *checkpoint,
			 struct error *err)
{
	struct dump d = { .sb = sb, .checkpoint = checkpoint, .pidfd = -EBADF };
	int r = check(sb, err);

	if (r == 0)
		r = d.pidfd = process_open(sb->pid, sb->start_time, err);
	if (r >= 0)
		r = copy_rounds(&d, err);
	if (r == 0)
		r = dump(&d, checkpoint->pre_dump ? "pre-dump" : "dump", err);
	if (r == 0)
		tell(&d, 0);
	/* CRIU has killed it: whoever looks next shall see that it has stopped. */
	if (r == 0 && !checkpoint->leave_running && !checkpoint->pre_dump)
		r = process_await_end(d.pidfd, sb->pid, err);
	checkpoint->manifest->mounts = (struct manifest_mounts){ 0 };
	checkpoint->manifest->stdio = checkpoint->manifest->joined = (struct oci_strings){ 0 };
	close_fd(&d.pidfd);
	arena_free(&d.arena);
	return r;
}
