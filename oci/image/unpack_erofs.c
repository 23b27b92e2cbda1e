/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system of an image as one EROFS file, for virtual machines. mkfs.erofs(1) makes it from a tree: that of the store, where
 * the caller has it, which mkfs.erofs gets in a mount namespace of its own; else the layers are unpacked beside the file.
 *
 * Tree and unfinished file are in a directory of a name that follows from the file's, which is locked while somebody works in
 * it: so what a killed process leaves is found by the next that makes the same file. mkfs.erofs dies with us.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/process.h"
#include "base/remove.h"
#include "base/syscalls.h"
#include "oci/image/unpack_internal.h"

#define PROGRAM      "mkfs.erofs"
#define POLL_MS      100 /* between two looks whether the command is interrupted */
#define MESSAGES_MAX 65536
#define NOT_FOUND    127 /* exit status of the child, as a shell's */

/*
 * For mkfs.erofs, which knows no other way to set the time of the build without those of files: a time that is later than each of
 * them as it compares them (as unsigned numbers), so that none is changed.
 */
#define LATEST_TIME "18446744073709551614"

struct making {
	const struct image_unpack_options *options;
	int parent;                   /* the directory that the file is in */
	char name[NAME_MAX + 1];      /* the file's in there */
	char temporary[NAME_MAX + 1]; /* the directory for the work, once it is ours; else "" */
	int dir;                      /* that directory, with the lock */
	char uuid[37];
};

/* ---- the directory for the work ----------------------------------------------------------- */

/* 1 where the name is the directory still, 0 where another command was done with it and removed it. */
static int is_still(int parent, const char *name, int dir, struct error *err)
{
	struct stat here, there;

	if (fstat(dir, &here) < 0)
		return error_errno(err, errno, "stat `%s`", name);
	if (fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat `%s`", name);
	return here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* Makes or takes over the directory. 0 where another command has just removed it. */
static int claim(struct making *m, const char *temporary, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	int r;

	if (mkdirat(m->parent, temporary, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make `%s`", temporary);
	dir = openat(m->parent, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "open `%s`", temporary);
	/* In a directory that others may write to it may be theirs, with files of theirs in it. */
	r = unpack_check_ours(dir, err);
	if (r < 0)
		return error_wrap(err, "`%s`", temporary);
	if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? error_set(err, EBUSY, "another command makes it at this moment")
			       : error_errno(err, errno, "lock `%s`", temporary);
	r = is_still(m->parent, temporary, dir, err);
	if (r <= 0)
		return r;
	m->dir = take_fd(&dir);
	strcpy(m->temporary, temporary);
	return 1;
}

static int remove_work(const struct making *m, struct error *err)
{
	return *m->temporary ? path_remove_tree(m->parent, m->temporary, err) : 0;
}

static int begin(struct making *m, struct error *err)
{
	static const char *const leftovers[] = { "rootfs", "image" };
	char temporary[NAME_MAX + 1];
	struct stat st;
	int r = 0;

	m->parent = unpack_open_parent(m->options->bundle, m->name, err);
	if (m->parent < 0)
		return m->parent;
	if (!*m->name)
		return error_set(err, EINVAL, "it is no name of a new file");
	if (fstatat(m->parent, m->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, EEXIST, "it is there already");
	if (snprintf(temporary, sizeof(temporary), ".%s.hull", m->name) >= (int)sizeof(temporary))
		return error_errno(err, ENAMETOOLONG, "make");
	while (r == 0)
		r = claim(m, temporary, err);
	for (size_t i = 0; i < ARRAY_SIZE(leftovers) && r >= 0; i++)
		r = path_remove_tree(m->dir, leftovers[i], err);
	return r;
}

/* ---- the tree ----------------------------------------------------------------------------- */

static int make_tree(struct making *m, struct image_source *source,
		     const struct image_manifest *manifest, struct error *err)
{
	_cleanup_close_ int rootfs = -EBADF;
	struct layer_target target;
	bool made;
	int r;

	rootfs = unpack_make_rootfs(m->dir, &made, err);
	if (rootfs < 0 || m->options->tree)
		return rootfs < 0 ? rootfs : 0;
	unpack_target_init(&target, rootfs, m->options);
	r = unpack_layers(m->options, source, manifest, &target, err);
	if (r >= 0)
		r = layer_target_finish(&target, err);
	layer_target_free(&target);
	return r;
}

/* ---- mkfs.erofs --------------------------------------------------------------------------- */

/* The digest of the manifest in the form of a UUID of version 8 (RFC 9562): the same image has the same. */
static void make_uuid(const struct digest *digest, char uuid[37])
{
	const char *hex = digest->hex;

	snprintf(uuid, 37, "%.8s-%.4s-8%.3s-a%.3s-%.12s", hex, hex + 8, hex + 13, hex + 17,
		 hex + 20);
}

/* A hole takes no room in the tree, but does in the file: a small layer must not fill the disk. */
static void limit_file(uint64_t max_bytes)
{
	struct rlimit limit;
	uint64_t most;

	/* What the file system itself needs is far less than the headers of the tar, and a file's last block is not full. */
	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 ||
	    __builtin_add_overflow(max_bytes, max_bytes / 4 + ((uint64_t)64 << 20), &most))
		return;
	if (limit.rlim_cur > most)
		limit.rlim_cur = most;
	setrlimit(RLIMIT_FSIZE, &limit);
}

/* In the child, in the directory for the work: the tree of the store becomes `rootfs`, for nobody else to see. */
static bool attach_tree(int tree)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
	       move_mount(tree, "", AT_FDCWD, "rootfs", MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

static void __attribute__((noreturn)) run_mkfs(const struct making *m, pid_t parent, int messages)
{
	const uint64_t max_bytes = m->options->max_bytes;
	char *argv[] = { (char[]){ PROGRAM },
			 (char[]){ "-d1" },
			 (char[]){ "-U" },
			 (char *)(uintptr_t)m->uuid,
			 (char[]){ "-Eforce-inode-extended" },
			 (char[]){ "image" },
			 (char[]){ "rootfs" },
			 NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	process_reset_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent || null < 0 || fchdir(m->dir) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(messages, STDERR_FILENO) < 0 ||
	    setenv("SOURCE_DATE_EPOCH", LATEST_TIME, 1) < 0 || setenv("LC_ALL", "C", 1) < 0)
		_exit(1);
	if (m->options->tree && !attach_tree(*m->options->tree)) {
		dprintf(STDERR_FILENO, "mount the image: %s\n", strerror(errno));
		_exit(1);
	}
	limit_file(max_bytes ? max_bytes : LAYER_BYTES_MAX);
	execvp(PROGRAM, argv);
	/* Not on the search path of ordinary users everywhere. */
	execv("/usr/sbin/" PROGRAM, argv);
	_exit(NOT_FOUND);
}

static bool is_interrupted(const struct making *m)
{
	const struct image_unpack_options *o = m->options;

	return o->interrupted && o->interrupted(o->interrupted_data);
}

/* Waits for the child, which ends at once where the command is interrupted: -EINTR. */
static int await_mkfs(const struct making *m, pid_t pid, int *status, struct error *err)
{
	_cleanup_close_ int pidfd = sys_pidfd_open(pid, 0);
	struct pollfd end = { .fd = pidfd, .events = POLLIN };
	bool interrupted = false;

	while (pidfd >= 0 && !interrupted && poll(&end, 1, POLL_MS) <= 0)
		interrupted = is_interrupted(m);
	if (interrupted)
		kill(pid, SIGKILL);
	if (process_wait(pid, status) < 0)
		return error_set(err, ECHILD, "wait for " PROGRAM);
	return interrupted || is_interrupted(m) ? error_set(err, EINTR, "interrupted") : 0;
}

/* The last line that it printed: with -d1 these are errors only. */
static const char *last_line(char *text)
{
	size_t len = strlen(text);
	const char *newline;

	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

static int explain(int messages, int status, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	const char *line = "it said nothing", *hint = "";
	int code = EIO;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
		return error_set(err, EFBIG,
				 "the file would be larger than the image may unpack to; "
				 "--max-size sets the limit");
	if (lseek(messages, 0, SEEK_SET) == 0 &&
	    file_read_fd(messages, MESSAGES_MAX, &text, NULL) > 0)
		line = last_line(text);
	if (strstr(line, strerror(ENOSPC)))
		code = ENOSPC;
	/* Nobody else is at the tree: it has looked for a name that it cut off. */
	else if (strstr(line, strerror(ENOENT)))
		hint = " (version 1.5 cannot take names of 255 bytes)";
	return error_set(err, code, PROGRAM " failed (exit status %d): %.512s%s",
			 process_exit_status(status), line, hint);
}

static int make_image(struct making *m, struct error *err)
{
	_cleanup_close_ int messages = memfd_create("messages", MFD_CLOEXEC);
	pid_t self = getpid(), pid;
	int r, status = 0;

	if (messages < 0)
		return error_errno(err, errno, "make a file for messages");
	pid = fork();
	if (pid < 0)
		return error_errno(err, errno, "fork for " PROGRAM);
	if (pid == 0)
		run_mkfs(m, self, messages);
	r = await_mkfs(m, pid, &status, err);
	if (r < 0)
		return r;
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND)
		return error_set(err, ENOENT, "there is no " PROGRAM ": install erofs-utils");
	return status ? explain(messages, status, err) : 0;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static int finish(struct making *m, struct error *err)
{
	_cleanup_close_ int file =
		openat(m->dir, "image", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (file < 0)
		return error_errno(err, errno, "open what " PROGRAM " made");
	if (fchmod(file, 0644) < 0 || fsync(file) < 0)
		return error_errno(err, errno, "sync");
	if (renameat2(m->dir, "image", m->parent, m->name, RENAME_NOREPLACE) < 0)
		return error_errno(err, errno, "rename the finished file");
	return 0;
}

static int make(struct making *m, struct image_source *source,
		const struct image_manifest *manifest, struct error *err)
{
	int r;

	if (m->options->rootless)
		return error_set(err, EPERM,
				 "an EROFS image has the owners of all files: that takes root, or "
				 "ids of the user's in /etc/subuid and /etc/subgid");
	make_uuid(&manifest->blob.digest, m->uuid);
	r = begin(m, err);
	if (r >= 0)
		r = make_tree(m, source, manifest, err);
	if (r >= 0)
		r = make_image(m, err);
	return r < 0 ? r : finish(m, err);
}

int unpack_erofs(const struct image_unpack_options *options, struct image_source *source,
		 const struct image_manifest *manifest, struct error *err)
{
	struct making m = { .options = options, .parent = -EBADF, .dir = -EBADF };
	struct error failed = { 0 };
	int r = make(&m, source, manifest, err);

	if (r < 0 && r != -EINTR)
		error_wrap(err, "file `%s`", options->bundle);
	if (remove_work(&m, &failed) < 0) {
		if (r < 0)
			error_wrap(err, "(and %s)", failed.text);
		else
			r = error_set(err, failed.code, "file `%s` is made, but: %s",
				      options->bundle, failed.text);
	}
	close_fd(&m.dir);
	close_fd(&m.parent);
	return r < 0 ? -err->code : 0;
}
