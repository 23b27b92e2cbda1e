/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, joining and making namespaces; see plan.h. */
#include "namespaces/plan.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/syscalls.h"

unsigned long ns_flag(enum oci_namespace_type type)
{
	static const unsigned long flags[OCI_NS_COUNT] = {
		[OCI_NS_PID] = CLONE_NEWPID,       [OCI_NS_NETWORK] = CLONE_NEWNET,
		[OCI_NS_MOUNT] = CLONE_NEWNS,      [OCI_NS_IPC] = CLONE_NEWIPC,
		[OCI_NS_UTS] = CLONE_NEWUTS,       [OCI_NS_USER] = CLONE_NEWUSER,
		[OCI_NS_CGROUP] = CLONE_NEWCGROUP, [OCI_NS_TIME] = CLONE_NEWTIME,
	};

	return flags[type];
}

static void ns_plan_init(struct ns_plan *plan)
{
	*plan = (struct ns_plan){ 0 };
	for (int i = 0; i < OCI_NS_COUNT; i++)
		plan->join_fds[i] = -EBADF;
}

void ns_plan_close(struct ns_plan *plan)
{
	for (int i = 0; i < OCI_NS_COUNT; i++)
		close_fd(&plan->join_fds[i]);
}

/* Whether fd is the namespace of this type that the caller is in. */
static bool ns_is_own(int fd, enum oci_namespace_type type)
{
	struct stat theirs, ours;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", oci_namespace_file(type));
	return !fstat(fd, &theirs) && !stat(path, &ours) && theirs.st_dev == ours.st_dev &&
	       theirs.st_ino == ours.st_ino;
}

static void ns_plan_join(struct ns_plan *plan, enum oci_namespace_type type, int fd)
{
	plan->join_fds[type] = fd;
	plan->join_flags |= ns_flag(type);
}

int ns_plan_open(struct ns_plan *plan, const struct oci_config *config, struct error *err)
{
	const struct oci_linux *linux_ = config->linux_;

	ns_plan_init(plan);
	for (size_t i = 0; linux_ && i < linux_->namespaces.len; i++) {
		const struct oci_namespace *ns = &linux_->namespaces.items[i];
		_cleanup_close_ int fd = -EBADF;
		int type;

		if (!ns->path) {
			plan->new_flags |= ns_flag((enum oci_namespace_type)ns->type);
			continue;
		}
		fd = open(ns->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			return error_errno(err, errno, "open the %s namespace `%s`",
					   oci_namespace_name((enum oci_namespace_type)ns->type),
					   ns->path);
		type = ioctl(fd, NS_GET_NSTYPE);
		if (type < 0 || (unsigned long)type != ns_flag((enum oci_namespace_type)ns->type))
			return error_set(err, EINVAL,
					 "/linux/namespaces/%zu/path: `%s` is not a %s namespace",
					 i, ns->path,
					 oci_namespace_name((enum oci_namespace_type)ns->type));
		if (!ns_is_own(fd, (enum oci_namespace_type)ns->type))
			ns_plan_join(plan, (enum oci_namespace_type)ns->type, take_fd(&fd));
	}
	/* It takes privilege over that one, which the container's first process has given up when it joins. */
	if ((plan->new_flags & CLONE_NEWUSER) && (plan->join_flags & CLONE_NEWPID))
		return error_set(
			err, EINVAL,
			"/linux/namespaces: a pid namespace must belong to the user namespace that the "
			"container is in: join that one, too, or make neither of the two new");
	return 0;
}

bool ns_shared_with(int proc_dir, enum oci_namespace_type type)
{
	_cleanup_close_ int fd = -EBADF;
	char path[32];

	snprintf(path, sizeof(path), "ns/%s", oci_namespace_file(type));
	fd = openat(proc_dir, path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && ns_is_own(fd, type);
}

int ns_join(struct ns_plan *plan, enum oci_namespace_type type, struct error *err)
{
	int fd = plan->join_fds[type];

	if (fd < 0)
		return 0;
	if (setns(fd, (int)ns_flag(type)) < 0)
		return error_errno(err, errno, "join the %s namespace", oci_namespace_name(type));
	close_fd(&plan->join_fds[type]);
	return 0;
}

static int write_time_offset(int proc, const char *clock, const struct oci_time_offset *offset,
			     struct error *err)
{
	char text[96];

	if (!offset)
		return 0;
	snprintf(text, sizeof(text), "%s %lld %u\n", clock, (long long)offset->secs.v,
		 offset->nanosecs.v);
	if (file_write_existing(proc, "self/timens_offsets", text, err) < 0)
		return error_wrap(err, "set the %s offset of the time namespace", clock);
	return 0;
}

/*
 * unshare(2) makes a time namespace for children only. Its offsets can be written until someone is
 * in it, and setns(2) of time_for_children then takes us there.
 */
int ns_make_time(const struct oci_time_offsets *offsets, int proc, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (unshare(CLONE_NEWTIME) < 0)
		return error_errno(err, errno, "make a time namespace");
	if (offsets) {
		r = write_time_offset(proc, "monotonic", offsets->monotonic, err);
		if (r == 0)
			r = write_time_offset(proc, "boottime", offsets->boottime, err);
		if (r < 0)
			return r;
	}
	fd = openat(proc, "self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open the new time namespace");
	if (setns(fd, CLONE_NEWTIME) < 0)
		return error_errno(err, errno, "enter the new time namespace");
	return 0;
}
