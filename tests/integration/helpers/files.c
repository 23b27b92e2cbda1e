/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does to the files of a directory what programs do, at random, and compares what it sees with what it should see:
 *
 *   files content FILE COUNT SEED   reads, writes, appends, truncates, maps and punches one file, beside a copy in memory
 *   files names DIR COUNT SEED      makes, links, renames and removes files in directories, beside a table of them
 *   files rules DIR                 single rules of POSIX, each a line "ok WHAT" or "not ok WHAT"
 *
 * Ends with 0 where all was right, else says on standard output what was not.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CONTENT_MAX 300000u

static unsigned long long state;

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(state >> 33) % n;
}

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *fmt, ...)
{
	int code = errno;
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf(" (%s)\n", strerror(code));
	exit(1);
}

/* ---- content ------------------------------------------------------------------------------------ */

static unsigned char model[CONTENT_MAX], buffer[CONTENT_MAX];
static unsigned size;

static void compare(const unsigned char *seen, unsigned offset, unsigned len, const char *how,
		    unsigned step)
{
	for (unsigned i = 0; i < len; i++)
		if (seen[i] != model[offset + i])
			wrong("step %u: %s: byte %u is %02x, not %02x", step, how, offset + i,
			      seen[i], model[offset + i]);
}

static void check_read(int fd, unsigned step)
{
	unsigned offset = below(CONTENT_MAX), len = below(CONTENT_MAX - offset) + 1;
	unsigned there = offset < size ? size - offset : 0;
	ssize_t n = pread(fd, buffer, len, offset);

	if (n != (ssize_t)(there < len ? there : len))
		wrong("step %u: read %zd of %u at %u of %u", step, n, len, offset, size);
	compare(buffer, offset, (unsigned)n, "read", step);
}

static void extend(unsigned end)
{
	if (end > size) {
		memset(model + size, 0, end - size);
		size = end;
	}
}

static void fill(unsigned offset, unsigned len, unsigned step)
{
	for (unsigned i = 0; i < len; i++)
		model[offset + i] = (unsigned char)(step * 31 + i * 7);
}

static void do_write(int fd, unsigned step)
{
	unsigned offset = below(CONTENT_MAX - 1), len = below(CONTENT_MAX - offset - 1) + 1;

	if (below(2))
		len = len % 5000 + 1;
	if (offset + len > CONTENT_MAX)
		len = CONTENT_MAX - offset;
	extend(offset + len);
	fill(offset, len, step);
	if (pwrite(fd, model + offset, len, offset) != (ssize_t)len)
		wrong("step %u: write %u at %u", step, len, offset);
}

static void do_append(const char *path, unsigned step)
{
	unsigned len = below(3000) + 1, at = size;
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (size + len <= CONTENT_MAX) {
		extend(size + len);
		fill(at, len, step);
		if (write(fd, model + at, len) != (ssize_t)len)
			wrong("step %u: append %u", step, len);
	}
	if (close(fd) < 0)
		wrong("step %u: close", step);
}

static void do_truncate(int fd, unsigned step)
{
	unsigned to = below(CONTENT_MAX);

	if (ftruncate(fd, to) < 0)
		wrong("step %u: truncate to %u", step, to);
	extend(to);
	size = to;
}

static void do_map(int fd, unsigned step)
{
	unsigned char *map;
	unsigned offset, len;

	if (!size)
		return;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		wrong("step %u: map %u", step, size);
	compare(map, 0, size, "mapped", step);
	offset = below(size);
	len = below(size - offset) + 1;
	fill(offset, len, step);
	memcpy(map + offset, model + offset, len);
	if (below(2) && msync(map, size, MS_SYNC) < 0)
		wrong("step %u: msync", step);
	munmap(map, size);
}

static void do_punch(int fd, unsigned step)
{
	unsigned offset, len;

	if (!size)
		return;
	offset = below(size);
	len = below(size - offset) + 1;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len) < 0) {
		if (errno != EOPNOTSUPP)
			wrong("step %u: punch %u at %u", step, len, offset);
		return;
	}
	memset(model + offset, 0, len);
}

static int content(const char *path, unsigned count)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;

	for (unsigned step = 0; step < count; step++) {
		switch (below(10)) {
		case 0:
		case 1:
			do_write(fd, step);
			break;
		case 2:
			do_truncate(fd, step);
			break;
		case 3:
			do_map(fd, step);
			break;
		case 4:
			do_append(path, step);
			break;
		case 5:
			do_punch(fd, step);
			break;
		case 6:
			close(fd);
			fd = open(path, O_RDWR | O_CLOEXEC);
			break;
		case 7:
			if (fsync(fd) < 0)
				wrong("step %u: fsync", step);
			break;
		default:
			check_read(fd, step);
			break;
		}
		if (fd < 0 || fstat(fd, &st) < 0)
			wrong("step %u: open", step);
		if (st.st_size != (off_t)size)
			wrong("step %u: the size is %ld, not %u", step, (long)st.st_size, size);
	}
	close(fd);
	return 0;
}

/* ---- names -------------------------------------------------------------------------------------- */

#define DIRS  4u
#define NAMES 24u

static ino_t table[DIRS][NAMES]; /* 0: no such name */

static const char *path_of(unsigned dir, unsigned name)
{
	static char paths[2][64];
	static unsigned next;

	next = !next;
	snprintf(paths[next], sizeof(paths[next]), "dir%u/name%u", dir, name);
	return paths[next];
}

static unsigned names_of(ino_t ino)
{
	unsigned count = 0;

	for (unsigned d = 0; d < DIRS; d++)
		for (unsigned n = 0; n < NAMES; n++)
			count += table[d][n] == ino;
	return count;
}

static void check_name(unsigned d, unsigned n, unsigned step)
{
	struct stat st;
	int r = lstat(path_of(d, n), &st);

	if ((r == 0) != (table[d][n] != 0))
		wrong("step %u: %s is%s there", step, path_of(d, n), r == 0 ? "" : " not");
	if (r == 0 && st.st_ino != table[d][n])
		wrong("step %u: %s is another file", step, path_of(d, n));
	/* A name of its file was changed before: the count may be a second old. */
	if (r == 0 && !S_ISDIR(st.st_mode) && st.st_nlink != names_of(st.st_ino))
		wrong("step %u: %s has %lu names, not %u", step, path_of(d, n),
		      (unsigned long)st.st_nlink, names_of(st.st_ino));
}

static void make(unsigned d, unsigned n, unsigned step)
{
	int fd = open(path_of(d, n), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	struct stat st;

	if ((fd < 0) != (table[d][n] != 0))
		wrong("step %u: make %s", step, path_of(d, n));
	if (fd >= 0 && fstat(fd, &st) == 0)
		table[d][n] = st.st_ino;
	close(fd);
}

static void do_link(unsigned d, unsigned n, unsigned d2, unsigned n2, unsigned step)
{
	int r = link(path_of(d, n), path_of(d2, n2));

	if ((r == 0) != (table[d][n] && !table[d2][n2]))
		wrong("step %u: link %s %s", step, path_of(d, n), path_of(d2, n2));
	if (r == 0)
		table[d2][n2] = table[d][n];
}

static void do_rename(unsigned d, unsigned n, unsigned d2, unsigned n2, unsigned step)
{
	int r = rename(path_of(d, n), path_of(d2, n2));

	if ((r == 0) != (table[d][n] != 0))
		wrong("step %u: rename %s %s", step, path_of(d, n), path_of(d2, n2));
	/* Of two names of one file both stay. */
	if (r == 0 && table[d][n] != table[d2][n2]) {
		table[d2][n2] = table[d][n];
		table[d][n] = 0;
	}
}

static void do_unlink(unsigned d, unsigned n, unsigned step)
{
	int r = unlink(path_of(d, n));

	if ((r == 0) != (table[d][n] != 0))
		wrong("step %u: unlink %s", step, path_of(d, n));
	table[d][n] = 0;
}

static void list(unsigned d, unsigned step)
{
	unsigned expected = 0, seen = 0, n;
	struct dirent *entry;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "dir%u", d);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		n = (unsigned)strtoul(entry->d_name + 4, NULL, 10);
		if (n >= NAMES || !table[d][n])
			wrong("step %u: %s/%s is listed", step, path, entry->d_name);
		seen++;
	}
	if (!dir || closedir(dir) < 0)
		wrong("step %u: list %s", step, path);
	for (n = 0; n < NAMES; n++)
		expected += table[d][n] != 0;
	if (seen != expected)
		wrong("step %u: %s lists %u entries, not %u", step, path, seen, expected);
}

static int names(const char *where, unsigned count)
{
	char path[32];

	if (chdir(where) < 0)
		wrong("chdir");
	for (unsigned d = 0; d < DIRS; d++) {
		snprintf(path, sizeof(path), "dir%u", d);
		if (mkdir(path, 0755) < 0)
			wrong("mkdir");
	}
	for (unsigned step = 0; step < count; step++) {
		unsigned d = below(DIRS), n = below(NAMES), d2 = below(DIRS), n2 = below(NAMES);

		switch (below(8)) {
		case 0:
		case 1:
			make(d, n, step);
			break;
		case 2:
			do_link(d, n, d2, n2, step);
			break;
		case 3:
			do_rename(d, n, d2, n2, step);
			break;
		case 4:
			do_unlink(d, n, step);
			break;
		case 5:
			list(d, step);
			break;
		default:
			check_name(d, n, step);
			break;
		}
	}
	return 0;
}

/* ---- rules -------------------------------------------------------------------------------------- */

static int failures;

static void rule(const char *what, bool holds)
{
	printf("%s %s\n", holds ? "ok" : "not ok", what);
	failures += !holds;
}

static bool fails(int result, int code)
{
	return result < 0 && errno == code;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void rules_of_names(void)
{
	char name[300];
	int fd;

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	rule("a name of 256 bytes is too long", fails(mkdir(name, 0755), ENAMETOOLONG));
	name[255] = '\0';
	rule("one of 255 is not", mkdir(name, 0755) == 0 && rmdir(name) == 0);
	rule("mkdir", mkdir("d", 0755) == 0);
	rule("mkdir of what is there", fails(mkdir("d", 0755), EEXIST));
	rule("unlink of a directory", fails(unlink("d"), EISDIR));
	rule("mknod", mknod("d/fifo", S_IFIFO | 0600, 0) == 0);
	rule("rmdir of one that is not empty", fails(rmdir("d"), ENOTEMPTY));
	rule("rename into itself", fails(rename("d", "d/e"), EINVAL));
	fd = open("f", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	rule("create", fd >= 0);
	close(fd);
	rule("a file as a directory", fails(open("f/x", O_RDONLY | O_CLOEXEC), ENOTDIR));
	rule("rename of a file over a directory", fails(rename("f", "d"), EISDIR));
	rule("rename of a directory over a file", fails(rename("d", "f"), ENOTDIR));
	rule("symlink", symlink("f", "l") == 0 && readlink("l", name, sizeof(name)) == 1);
	rule("O_NOFOLLOW", fails(open("l", O_RDONLY | O_NOFOLLOW | O_CLOEXEC), ELOOP));
	rule("link to a symbolic link", link("l", "l2") == 0 && readlink("l2", name, 10) == 1);
	rule("a FIFO is the kernel's",
	     fails(open("d/fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC), ENXIO));
	rule("remove all", unlink("l") == 0 && unlink("l2") == 0 && unlink("d/fifo") == 0 &&
				   rmdir("d") == 0 && unlink("f") == 0);
}

static void rules_of_open_files(void)
{
	int fd = open("open", O_RDWR | O_CREAT | O_CLOEXEC, 0600), other;
	char text[8];
	struct stat st;

	rule("write", write(fd, "hello", 5) == 5);
	rule("unlink while open", unlink("open") == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0);
	rule("read what is unlinked", pread(fd, text, 8, 0) == 5);
	rule("truncate what is unlinked", ftruncate(fd, 3) == 0 && pread(fd, text, 8, 0) == 3);
	rule("chmod of what is unlinked", fchmod(fd, 0640) == 0);
	close(fd);
	fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	other = open("lock", O_RDWR | O_CLOEXEC);
	rule("flock", flock(fd, LOCK_EX) == 0);
	rule("flock of another", fails(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK));
	close(other);
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	rule("O_TMPFILE", fd >= 0 || errno == EOPNOTSUPP);
	close(fd);
	fd = open("lock", O_RDWR | O_CLOEXEC);
	rule("fallocate", fallocate(fd, 0, 0, 10000) == 0 || errno == EOPNOTSUPP);
	rule("SEEK_HOLE", lseek(fd, 0, SEEK_HOLE) >= 0);
	close(fd);
	unlink("lock");
}

/* As a user without privilege. */
static int as_user(void)
{
	int fd;

	if (setgid(1234) < 0 || setuid(1234) < 0)
		return 1;
	umask(027);
	fd = open("shared/mine", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || !fails(open("private/f", O_RDONLY | O_CLOEXEC), EACCES))
		return 2;
	if (!fails(unlink("shared/theirs"), EPERM) && errno != EACCES)
		return 3;
	if (!fails(chmod("shared/theirs", 0777), EPERM))
		return 4;
	fd = open("suid", O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, "x", 1) != 1 ? 5 : 0;
}

static void rules_of_users(void)
{
	struct stat st = { 0 };
	int status = -1, fd;
	pid_t pid;

	umask(0);
	mkdir("private", 0700);
	mkdir("shared", 0777);
	rule("chown", chown("shared", 0, 4321) == 0);
	rule("chmod with S_ISGID and S_ISVTX",
	     chmod("shared", 03777) == 0 && mode_of("shared") == 03777);
	fd = open("shared/theirs", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	close(fd);
	fd = open("suid", O_WRONLY | O_CREAT | O_CLOEXEC, 0777);
	rule("fchmod with S_ISUID", fchmod(fd, 04777) == 0 && mode_of("suid") == 04777);
	close(fd);
	pid = fork();
	if (pid == 0)
		_exit(as_user());
	waitpid(pid, &status, 0);
	rule("a user may what it may", status == 0);
	rule("and its files are its own", stat("shared/mine", &st) == 0 && st.st_uid == 1234 &&
						  st.st_gid == 4321 && (st.st_mode & 0777) == 0640);
	rule("who writes takes S_ISUID", mode_of("suid") == 0777);
	rule("extended attributes",
	     setxattr("suid", "user.a", "v", 1, 0) == 0 || errno == EOPNOTSUPP);
	unlink("suid");
	unlink("shared/mine");
	unlink("shared/theirs");
	rmdir("shared");
	rmdir("private");
}

static int rules(const char *where)
{
	if (chdir(where) < 0)
		wrong("chdir");
	umask(022);
	rules_of_names();
	rules_of_open_files();
	if (geteuid() == 0)
		rules_of_users();
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 5)
		state = strtoull(argv[4], NULL, 10);
	if (argc == 5 && !strcmp(argv[1], "content"))
		return content(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
	if (argc == 5 && !strcmp(argv[1], "names"))
		return names(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "rules"))
		return rules(argv[2]);
	fprintf(stderr,
		"usage: files content FILE COUNT SEED | names DIR COUNT SEED | rules DIR\n");
	return 2;
}
