/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes, and so ACLs and file capabilities. What may be read and set is for the host's kernel to decide: `trusted.`,
 * for one, takes CAP_SYS_ADMIN in the initial user namespace, which a confined server does not have.
 *
 * There are no such calls for O_PATH descriptors, and none with a directory and a name before Linux 6.13. So the working directory
 * is /proc/self/fd, and the file's name the descriptor's number: a link that leads to the file itself, also where that is a
 * symbolic link.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

/* The node's name for the calls below. */
static int name_of(struct fs_request *req, struct fs_fd_name *name)
{
	int fd = fs_node_of(req);

	if (fd < 0)
		return fd;
	*name = fs_fd_name(fd);
	return fchdir(req->fs->descriptors) < 0 ? -errno : 0;
}

/* size 0 asks how long it is. */
static int answer_value(struct fs_request *req, uint32_t size, ssize_t n)
{
	struct fuse_getxattr_out out = { .size = (uint32_t)n };

	if (n < 0)
		return -errno;
	if (size)
		return (int)n;
	return req->room < sizeof(out) ? -EINVAL : fs_answer(req, 0, &out, sizeof(out));
}

static size_t value_room(const struct fs_request *req, uint32_t size)
{
	size_t room = req->room < FS_OUT_MAX ? req->room : FS_OUT_MAX;

	return size < room ? size : room;
}

/* The value of one, or the list of all names. */
static int read_xattr(struct fs_request *req, bool list)
{
	const struct fuse_getxattr_in *in = req->arg;
	size_t room = value_room(req, in->size);
	struct fs_fd_name name;
	int r = name_of(req, &name);
	ssize_t n;

	if (r < 0)
		return r;
	if (in->size && !room)
		return -ERANGE;
	n = list ? listxattr(name.s, (char *)req->fs->out, room)
		 : getxattr(name.s, req->name, req->fs->out, room);
	return answer_value(req, in->size, n);
}

int fs_do_getxattr(struct fs_request *req)
{
	return read_xattr(req, false);
}

int fs_do_listxattr(struct fs_request *req)
{
	return read_xattr(req, true);
}

/* A new ACL takes S_ISGID from a file whose group the sender is not in, which only the guest knows. */
static int kill_sgid(struct fs_request *req, const struct fs_fd_name *name)
{
	struct stat st;

	if (fstatat(req->fs->descriptors, name->s, &st, 0) < 0)
		return -errno;
	if (!(st.st_mode & S_ISGID))
		return 0;
	return fchmodat(req->fs->descriptors, name->s, st.st_mode & 07777 & ~(mode_t)S_ISGID, 0) < 0
		       ? -errno
		       : 0;
}

int fs_do_setxattr(struct fs_request *req)
{
	const struct fuse_setxattr_in *in = req->arg;
	struct fs_fd_name name;
	int r = name_of(req, &name);

	if (r < 0)
		return r;
	if (in->size != req->rest_size || in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (setxattr(name.s, req->name, req->rest, in->size, (int)in->flags) < 0)
		return -errno;
	return in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID ? kill_sgid(req, &name) : 0;
}

int fs_do_removexattr(struct fs_request *req)
{
	struct fs_fd_name name;
	int r = name_of(req, &name);

	if (r < 0)
		return r;
	return removexattr(name.s, req->name) < 0 ? -errno : 0;
}
