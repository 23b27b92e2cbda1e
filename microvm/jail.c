/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail of hull-vmm; see jail.h. Each step is there because the one before it leaves something: namespaces without an empty
 * root still show files, an empty root as root can be left again, and a user without capabilities can still make a user
 * namespace in which it has some, which the filters then forbid.
 */
#include "microvm/jail.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "base/syscalls.h"

#define NOBODY     65534U
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static int limit(int resource, const char *name, rlim_t value, struct error *err)
{
	struct rlimit now;

	if (getrlimit(resource, &now) < 0)
		return error_errno(err, errno, "limit %s", name);
	if (now.rlim_max < value)
		value = now.rlim_max;
	now.rlim_cur = now.rlim_max = value;
	return setrlimit(resource, &now) < 0 ? error_errno(err, errno, "limit %s", name) : 0;
}

static int set_limits(unsigned descriptors, struct error *err)
{
	int r = limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", descriptors, err);

	/* A core would hold the guest's memory. */
	return r < 0 ? r : limit(RLIMIT_CORE, "RLIMIT_CORE", 0, err);
}

#define ROOT_ATTRIBUTES (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static int make_empty_root(struct error *err)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int root = -1;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "mode", "555", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		root = fsmount(fs, FSMOUNT_CLOEXEC, ROOT_ATTRIBUTES | MOUNT_ATTR_RDONLY);
	return root < 0 ? error_errno(err, errno, "jail: make an empty root") : root;
}

/* The working directory, which is that of the new mount namespace by now: a descriptor would still be the old one's. */
static int clone_root(struct error *err)
{
	_cleanup_close_ int root = open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr attr = { .attr_set = ROOT_ATTRIBUTES };

	if (root < 0 || mount_setattr(root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return error_errno(err, errno, "jail: mount the root directory");
	return take_fd(&root);
}

/* The directory as the only thing in the mount namespace. */
static int enter_root(bool given, struct error *err)
{
	_cleanup_close_ int root = -EBADF;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_errno(err, errno, "jail: make the mounts private");
	root = given ? clone_root(err) : make_empty_root(err);
	if (root < 0)
		return root;
	if (move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(root) < 0 ||
	    sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return error_errno(err, errno, "jail: enter the root directory");
	return 0;
}

/* Whoever we are outside, in there we are nobody. */
static int write_map(int proc, const char *name, unsigned id, struct error *err)
{
	char path[32], line[32];

	snprintf(path, sizeof(path), "self/%s", name);
	snprintf(line, sizeof(line), "%u %u 1", NOBODY, id);
	return file_write_existing(proc, path, line, err);
}

static int write_maps(int proc, uid_t uid, gid_t gid, struct error *err)
{
	int r = file_write_existing(proc, "self/setgroups", "deny", err);

	if (r == 0)
		r = write_map(proc, "uid_map", uid, err);
	return r < 0 ? r : write_map(proc, "gid_map", gid, err);
}

static int become_nobody(struct error *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return error_errno(err, errno, "jail: become user %u", NOBODY);
	/* Else the files by which the user namespace is set up would be root's. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "jail: become dumpable");
	return 0;
}

static int set_capabilities(uint64_t kept, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	/* Of those that we do not have ourselves we go without. */
	if (syscall(SYS_capget, &header, data) < 0)
		return error_errno(err, errno, "jail: give up capabilities");
	kept &= (uint64_t)data[1].permitted << 32 | data[0].permitted;
	for (int cap = 0; cap < 64; cap++)
		if (!(kept >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EINVAL && errno != EPERM)
			return error_errno(err, errno, "jail: give up capability %d", cap);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return error_errno(err, errno, "jail: give up ambient capabilities");
	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(kept >> 32 * i),
			.permitted = (uint32_t)(kept >> 32 * i),
		};
	if (syscall(SYS_capset, &header, data) < 0)
		return error_errno(err, errno, "jail: give up capabilities");
	return 0;
}

static int close_behind(struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "jail: no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_errno(err, errno, "jail: become undumpable");
	return 0;
}

/* As an ordinary user, or root of a user namespace, who is one: another user namespace is what gives the others. */
static int unshare_as_user(int proc, int flags, struct error *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	/* Who started us may have given us one, in which we have privilege. */
	if (unshare(flags) == 0)
		return 0;
	if (unshare(CLONE_NEWUSER | flags) < 0)
		return error_errno(err, errno, "jail: make namespaces");
	return write_maps(proc, uid, gid, err);
}

/* As root: the others first, which a user without privilege may not be allowed to make; then it is nobody's. */
static int unshare_as_root(bool root, int proc, int flags, struct error *err)
{
	int r;

	if (unshare(flags) < 0)
		return error_errno(err, errno, "jail: make namespaces");
	r = enter_root(root, err);
	if (r == 0)
		r = become_nobody(err);
	if (r < 0)
		return r;
	return unshare(CLONE_NEWUSER) < 0 ? 0 : write_maps(proc, NOBODY, NOBODY, err);
}

int jail_enter(int root, bool keep_network, unsigned descriptors, struct error *err)
{
	int flags = NAMESPACES | (keep_network ? 0 : CLONE_NEWNET);
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = proc < 0 ? error_errno(err, errno, "jail: open `/proc`") : 0;

	if (r == 0)
		r = set_limits(descriptors, err);
	if (r == 0 && root >= 0 && fchdir(root) < 0)
		r = error_errno(err, errno, "jail: enter the root directory");
	if (r < 0)
		return r;
	if (process_is_host_root()) {
		r = unshare_as_root(root >= 0, proc, flags, err);
	} else {
		r = unshare_as_user(proc, flags, err);
		if (r == 0)
			r = enter_root(root >= 0, err);
	}
	if (r == 0)
		r = set_capabilities(0, err);
	return r < 0 ? r : close_behind(err);
}

/* What making files as any user takes: chown, access to all, whoever owns it; setgid bits; device nodes; file capabilities. */
#define CAP(name) (UINT64_C(1) << CAP_##name)
#define FILE_SERVER_CAPS                                                                          \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(SETGID) | CAP(SETUID) | \
	 CAP(MKNOD) | CAP(SETFCAP))

int jail_enter_file_server(struct error *err)
{
	/* Its own limit of descriptors follows from what it serves (fs_server.h). */
	int r = limit(RLIMIT_CORE, "RLIMIT_CORE", 0, err);

	/* The file system user changes with each request; the capabilities shall not. */
	if (r == 0 &&
	    prctl(PR_SET_SECUREBITS,
		  SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NOROOT |
			  SECBIT_NOROOT_LOCKED,
		  0, 0, 0) < 0 &&
	    errno != EPERM)
		r = error_errno(err, errno, "jail: set the securebits");
	if (r == 0)
		r = set_capabilities(FILE_SERVER_CAPS, err);
	return r < 0 ? r : close_behind(err);
}
