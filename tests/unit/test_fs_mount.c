/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server with a real kernel as its client: this host's, which mounts what a process of this test serves by /dev/fuse. Each
 * test does through the mount M what programs do, and looks at T/tree, the served directory, from the side.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "microvm/fs_fuse.h"
#include "microvm/fs_path.h"
#include "microvm/fs_state.h"

#define BUFFER ((size_t)(1 << 20) + 8192)

struct mounted {
	char base[64];
	int fd;
	int tree;  /* T/tree */
	int mount; /* M */
	pid_t server;
};

/* ---- the server --------------------------------------------------------------------------------- */

static struct fs *new_server(int tree)
{
	struct error err = { 0 };
	struct fs_config config;

	fs_config_init(&config);
	config.fds_max = 64; /* so that nodes lose theirs */
	config.root = fcntl(tree, F_DUPFD_CLOEXEC, 0);
	config.descriptors = fs_open_descriptors(-1, &err);
	return fs_new(&config, &err);
}

static volatile sig_atomic_t shall_change;

static void told_to_change(int number)
{
	shall_change = number;
}

/* In its place another one that goes on from its state, in what is T/tree now. */
static struct fs *change_server(int base, struct fs *fs)
{
	_cleanup_close_ int state = memfd_create("state", MFD_CLOEXEC), tree = -EBADF;
	struct error err = { 0 };
	int r = fs_state_save(fs, state, &err);

	shall_change = 0;
	fs_free(fs);
	tree = openat(base, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fs = r < 0 ? NULL : new_server(tree);
	if (fs && fs_state_load(fs, state, &err) == 0)
		return fs;
	fprintf(stderr, "%s\n", err.text);
	_exit(4);
}

static int serve(int device, int base, struct fs *fs)
{
	char *in = malloc(BUFFER), *out = malloc(BUFFER);

	for (;;) {
		ssize_t n = read(device, in, BUFFER);
		struct iovec from = { in, n > 0 ? (size_t)n : 0 }, to = { out, BUFFER };
		int why = errno;
		size_t len;

		if (shall_change)
			fs = change_server(base, fs);
		errno = why;
		if (n < 0 && (errno == ENOENT || errno == EINTR))
			continue; /* a request that was taken back */
		if (n < 0 && errno != ENODEV)
			return 2;
		if (n < 0)
			break; /* unmounted */
		len = fs_handle(fs, &from, 1, &to, 1);
		/* ENOENT: nobody waits for it any more. */
		if (len && write(device, out, len) < 0 && errno != ENOENT)
			return 3;
	}
	fs_free(fs);
	free(in);
	free(out);
	return 0;
}

static pid_t start_server(int device, int base, int tree)
{
	struct sigaction action = { .sa_handler = told_to_change }; /* a read is interrupted */
	pid_t pid = fork();
	struct fs *fs;

	if (pid)
		return pid;
	sigaction(SIGUSR1, &action, NULL);
	fs = new_server(tree);
	_exit(fs ? serve(device, base, fs) : 1);
}

static int setup(void **state)
{
	struct mounted *m = calloc(1, sizeof(*m));
	char options[128], path[128];
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	*state = m;
	m->fd = unit_make_dir(m->base, sizeof(m->base));
	m->server = -1;
	m->mount = -1;
	snprintf(path, sizeof(path), "%s/mount", m->base);
	if (mkdirat(m->fd, "tree", 0755) < 0 || mkdir(path, 0755) < 0)
		return -1;
	m->tree = openat(m->fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
		 device);
	if (device < 0 || mount("hull", path, "fuse", MS_NODEV, options) < 0) {
		close_fd(&device);
		return 0; /* each test skips itself */
	}
	m->server = start_server(device, m->fd, m->tree);
	close(device);
	m->mount = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return m->mount < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct mounted *m = *state;
	char path[128];
	int status = 0;

	if (m->mount >= 0) {
		snprintf(path, sizeof(path), "%s/mount", m->base);
		close(m->mount);
		assert_int_equal(umount2(path, MNT_DETACH), 0);
	}
	if (m->server > 0) {
		assert_int_equal(waitpid(m->server, &status, 0), m->server);
		assert_int_equal(status, 0);
	}
	close(m->tree);
	unit_remove_dir(m->fd, m->base);
	free(m);
	return 0;
}

static struct mounted *mounted(void **state)
{
	struct mounted *m = *state;

	if (m->mount < 0)
		skip();
	return m;
}

/* ---- helpers ------------------------------------------------------------------------------------ */

static void put(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static void check(int dir, const char *name, const char *text)
{
	char buf[256] = "";
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	close(fd);
	assert_string_equal(buf, text);
}

static struct stat status_of(int dir, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void both_sides_see_the_same(void **state)
{
	struct mounted *m = mounted(state);
	char target[64] = "";
	struct stat st;

	put(m->mount, "file", "from the mount");
	check(m->tree, "file", "from the mount");
	put(m->tree, "other", "from the host");
	check(m->mount, "other", "from the host");
	assert_int_equal(mkdirat(m->mount, "dir", 0750), 0);
	assert_int_equal(status_of(m->tree, "dir").st_mode, S_IFDIR | 0750);
	assert_int_equal(symlinkat("file", m->mount, "link"), 0);
	check(m->mount, "link", "from the mount");
	assert_int_equal(readlinkat(m->tree, "link", target, sizeof(target)), 4);
	assert_int_equal(linkat(m->mount, "file", m->mount, "dir/hard", 0), 0);
	st = status_of(m->mount, "dir/hard");
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_ino, status_of(m->tree, "file").st_ino);
	assert_int_equal(renameat(m->mount, "dir", m->mount, "moved"), 0);
	check(m->tree, "moved/hard", "from the mount");
	assert_int_equal(unlinkat(m->mount, "moved/hard", 0), 0);
	assert_int_equal(unlinkat(m->mount, "moved", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(m->mount, "moved", AT_REMOVEDIR), -1);
	assert_int_equal(mknodat(m->mount, "fifo", S_IFIFO | 0600, 0), 0);
	assert_true(S_ISFIFO(status_of(m->tree, "fifo").st_mode));
}

/* At once where a file is opened; within a second where the guest has only asked for attributes. */
static void changes_of_the_host_show(void **state)
{
	struct mounted *m = mounted(state);
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 }, start, now;
	char buf[16] = "";
	int fd;

	put(m->tree, "file", "old");
	check(m->mount, "file", "old");
	put(m->tree, "file", "new");
	check(m->mount, "file", "new");
	fd = openat(m->mount, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, buf, sizeof(buf)), 3);
	put(m->tree, "file", "longer");
	put(m->tree, "made", "");
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (pread(fd, buf, sizeof(buf), 0) != 6 || faccessat(m->mount, "made", F_OK, 0) < 0) {
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		assert_true(now.tv_sec - start.tv_sec < 20);
	}
	assert_memory_equal(buf, "longer", 6);
	close(fd);
}

static void a_file_is_mapped_and_appended_to(void **state)
{
	struct mounted *m = mounted(state);
	int fd = openat(m->mount, "file", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	_cleanup_free_ char *buf = malloc(8192);
	char *map;

	memset(buf, 'a', 4096);
	assert_int_equal(write(fd, buf, 4096), 4096);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	memset(map, 'b', 100);
	assert_int_equal(write(fd, "end", 3), 3);
	assert_int_equal(msync(map, 4096, MS_SYNC), 0);
	assert_int_equal(munmap(map, 4096), 0);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	/* The page went back to where it was, not behind the end. */
	fd = openat(m->tree, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, buf, 8192), 4099);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(buf[i], i < 100 ? 'b' : 'a');
	assert_memory_equal(buf + 4096, "end", 3);
	close(fd);
}

static void an_open_file_outlives_its_name(void **state)
{
	struct mounted *m = mounted(state);
	int fd = openat(m->mount, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;
	char name[32], buf[8];

	assert_int_equal(write(fd, "abc", 3), 3);
	assert_int_equal(unlinkat(m->mount, "file", 0), 0);
	/* Enough others to push its descriptor out. */
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put(m->mount, name, "x");
	}
	assert_int_equal(pwrite(fd, "def", 3, 3), 3);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 6);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(ftruncate(fd, 4), 0);
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_int_equal(pread(fd, buf, 8, 0), 4);
	close(fd);
	/* One without a name gets one. */
	fd = openat(m->mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	assert_int_equal(write(fd, "tmp", 3), 3);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, name, m->mount, "named", AT_SYMLINK_FOLLOW), 0);
	check(m->tree, "named", "tmp");
	close(fd);
}

static void ranges_are_allocated_copied_and_sought(void **state)
{
	struct mounted *m = mounted(state);
	int fd = openat(m->mount, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int to = openat(m->mount, "to", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	off_t from_offset = 0;

	if (fallocate(fd, 0, 0, 100000) < 0 && errno == EOPNOTSUPP)
		skip();
	assert_int_equal(status_of(m->tree, "file").st_size, 100000);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100000), 0);
	assert_int_equal(pwrite(fd, "x", 1, 50000), 1);
	assert_int_equal(lseek(fd, 0, SEEK_DATA), 50000 / 4096 * 4096);
	assert_int_equal(copy_file_range(fd, &from_offset, to, NULL, 100000, 0), 100000);
	assert_int_equal(status_of(m->tree, "to").st_size, 100000);
	close(fd);
	close(to);
}

/* A user without privilege, in a process of its own. The step that went wrong, or 0. */
static int as_user(struct mounted *m)
{
	int fd;

	if (setresgid(1234, 1234, 1234) < 0 || setresuid(1234, 1234, 1234) < 0)
		return 1;
	if (faccessat(m->mount, "closed/file", F_OK, 0) == 0 || errno != EACCES)
		return 2;
	fd = openat(m->mount, "open/mine", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return 3;
	if (openat(m->mount, "open/theirs", O_RDWR | O_CLOEXEC) >= 0 || errno != EACCES)
		return 4;
	if (unlinkat(m->mount, "open/theirs", 0) == 0 || errno != EPERM) /* sticky */
		return 5;
	fd = openat(m->mount, "suid", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "x", 1) != 1)
		return 6;
	return 0;
}

static void users_are_kept_apart(void **state)
{
	struct mounted *m = mounted(state);
	struct stat st;
	int status;
	pid_t pid;

	assert_int_equal(mkdirat(m->mount, "closed", 0700), 0);
	assert_int_equal(mkdirat(m->mount, "open", 0), 0);
	assert_int_equal(fchmodat(m->mount, "open", 03777, 0), 0);
	assert_int_equal(fchownat(m->mount, "open", 0, 4321, 0), 0);
	put(m->mount, "open/theirs", "");
	put(m->mount, "suid", "");
	assert_int_equal(fchmodat(m->mount, "suid", 04777, 0), 0);
	pid = fork();
	if (pid == 0) {
		umask(027);
		_exit(as_user(m));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	st = status_of(m->tree, "open/mine");
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 4321);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(status_of(m->tree, "suid").st_mode, S_IFREG | 0777);
	/* Root keeps what root has CAP_FSETID for. */
	assert_int_equal(fchmodat(m->mount, "suid", 04777, 0), 0);
	put(m->mount, "suid", "y");
	assert_int_equal(status_of(m->tree, "suid").st_mode, S_IFREG | 04777);
}

static void attributes_reach_the_host(void **state)
{
	struct mounted *m = mounted(state);
	const struct timespec times[2] = { { 1000, 1 }, { 2000, 999999999 } };
	char path[128], value[16];
	struct stat st;

	put(m->mount, "file", "");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/file", m->mount);
	assert_int_equal(utimensat(m->mount, "file", times, 0), 0);
	st = status_of(m->tree, "file");
	assert_int_equal(st.st_atim.tv_sec, 1000);
	assert_int_equal(st.st_mtim.tv_nsec, 999999999);
	if (setxattr(path, "user.test", "value", 5, XATTR_CREATE) < 0 && errno == EOPNOTSUPP)
		skip();
	assert_int_equal(setxattr(path, "user.test", "value", 5, XATTR_CREATE), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(getxattr(path, "user.test", value, sizeof(value)), 5);
	assert_int_equal(listxattr(path, value, sizeof(value)), sizeof("user.test"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d/file", m->tree);
	assert_int_equal(getxattr(path, "user.test", value, sizeof(value)), 5);
}

static unsigned removed;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	removed++;
	return remove(path);
}

/* A tree larger than the server has descriptors, made, walked and removed like `rm -r` does. */
static void trees_are_walked_and_removed(void **state)
{
	struct mounted *m = mounted(state);
	char path[128];

	assert_int_equal(mkdirat(m->mount, "top", 0755), 0);
	for (int i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "top/%d", i);
		assert_int_equal(mkdirat(m->mount, path, 0755), 0);
		for (int j = 0; j < 100; j++) {
			snprintf(path, sizeof(path), "top/%d/file-%d", i, j);
			put(m->mount, path, "");
		}
	}
	removed = 0;
	snprintf(path, sizeof(path), "%s/mount/top", m->base);
	assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	assert_int_equal(removed, 30 * 100 + 30 + 1);
	assert_int_equal(faccessat(m->tree, "top", F_OK, 0), -1);
}

/* ---- another server ----------------------------------------------------------------------------- */

static void run(struct mounted *m, const char *command)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (fchdir(m->fd) == 0)
			execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* With another tree, of which each file has another inode. Whoever asks next is answered by that. */
static void change(struct mounted *m)
{
	/* What this kernel knows is not asked for again for so long. */
	struct timespec pause = { .tv_sec = 1, .tv_nsec = 100 * 1000 * 1000 };

	run(m, "rm -rf old && cp -a tree copy && mv tree old && mv copy tree");
	close(m->tree);
	m->tree = openat(m->fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(kill(m->server, SIGUSR1), 0);
	nanosleep(&pause, NULL);
}

static void open_and_remove(int dir, const char *name, int *fd)
{
	put(dir, name, "removed");
	*fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(unlinkat(dir, name, 0), 0);
}

static unsigned count_rest(DIR *dir)
{
	unsigned count = 0;

	while (readdir(dir))
		count++;
	return count;
}

static void a_kernel_goes_on_with_another_server(void **state)
{
	struct mounted *m = mounted(state);
	char name[16], text[16] = "", *map;
	int dir, file, gone;
	DIR *stream;

	assert_int_equal(mkdirat(m->mount, "dir", 0755), 0);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "dir/%d", i);
		put(m->mount, name, name);
	}
	dir = openat(m->mount, "dir", O_PATH | O_DIRECTORY | O_CLOEXEC);
	put(m->mount, "file", "first text");
	file = openat(m->mount, "file", O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	open_and_remove(m->mount, "gone", &gone);
	stream = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (int i = 0; i < 10; i++)
		assert_non_null(readdir(stream));
	for (int round = 0; round < 2; round++) {
		change(m);
		/* Open files, mapped ones, ones without a name. */
		assert_int_equal(pwrite(file, round ? "third" : "other", 5, 0), 5);
		check(m->tree, "file", round ? "third tex!" : "other text");
		assert_memory_equal(map, round ? "third tex!" : "other text", 10);
		map[9] = '!';
		assert_int_equal(msync(map, 4096, MS_SYNC), 0);
		check(m->tree, "file", round ? "third tex!" : "other tex!");
		check(m->mount, "file", round ? "third tex!" : "other tex!");
		assert_int_equal(status_of(m->mount, "file").st_ino,
				 status_of(m->tree, "file").st_ino);
		assert_int_equal(pread(gone, text, 7, 0), 7);
		assert_string_equal(text, "removed");
		/* Names that were known, through a directory that is held. */
		check(dir, "7", "dir/7");
		assert_int_equal(renameat(dir, "8", m->mount, "file2"), 0);
		check(m->tree, "file2", "dir/8");
		assert_int_equal(renameat(m->mount, "file2", dir, "8"), 0);
		put(dir, "new", "new");
		check(m->tree, "dir/new", "new");
		assert_int_equal(unlinkat(dir, "new", 0), 0);
	}
	assert_in_range(count_rest(stream), 302 - 10, 302 + 300); /* none is missing */
	closedir(stream);
	munmap(map, 4096);
	close(file);
	close(gone);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(unlinkat(dir, name, 0), 0);
	}
	close(dir);
	assert_int_equal(unlinkat(m->mount, "dir", AT_REMOVEDIR), 0);
	run(m, "rm -r old && test \"$(ls -A tree)\" = file");
}

#define mount_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		mount_test(both_sides_see_the_same),
		mount_test(changes_of_the_host_show),
		mount_test(a_file_is_mapped_and_appended_to),
		mount_test(an_open_file_outlives_its_name),
		mount_test(ranges_are_allocated_copied_and_sought),
		mount_test(users_are_kept_apart),
		mount_test(attributes_reach_the_host),
		mount_test(trees_are_walked_and_removed),
		mount_test(a_kernel_goes_on_with_another_server),
	};

	if (geteuid() == 0 &&
	    (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		return 1;
	return cmocka_run_group_tests_name("fs_mount", tests, NULL, NULL);
}
