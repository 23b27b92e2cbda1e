/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as FUSE requests of a guest, on T/tree. Whatever they are, the server lives on, answers are well-formed, and T/outside is as it
 * was: symbolic links to it are among what is made, and nothing may follow them. Bytes are a little language of requests, so that
 * most get past the checks of form; some are sent as they are. A FIFO that is opened would never return (-timeout=10).
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/remove.h"
#include "base/syscalls.h"
#include "microvm/fs_fuse.h"
#include "microvm/fs_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define SECRET "this stays"

static int work_fd = -1, secret_fd = -1, descriptors = -1;
static struct stat secret_was;

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	const char *base = getenv("TMPDIR");
	char work[256];

	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	snprintf(work, sizeof(work), "%s/hull-fuzz-fuse.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(work))
		abort();
	/* As root: with few inodes and little space, and without devices. */
	if (unshare(CLONE_NEWNS) == 0 &&
	    (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	     mount("fuzz", work, "tmpfs", MS_NODEV | MS_NOSUID, "size=8m,nr_inodes=2000") < 0))
		abort();
	work_fd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(work_fd, "outside", 0755) < 0)
		abort();
	secret_fd = openat(work_fd, "outside/secret", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (write(secret_fd, SECRET, sizeof(SECRET)) != sizeof(SECRET) ||
	    fstat(secret_fd, &secret_was) < 0)
		abort();
	descriptors = fs_open_descriptors(-1, NULL);
	if (descriptors < 0)
		abort();
	return 0;
}

/* ---- requests from bytes ------------------------------------------------------------------ */

struct input {
	const uint8_t *data;
	size_t left;
};

static unsigned next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

/* What fields of eight bytes are likely to be: numbers of nodes and open files, sizes, flags. */
static uint64_t next_word(struct input *in)
{
	unsigned how = next(in);
	uint64_t word = 0;

	switch (how % 8) {
	case 0:
		return 0;
	case 1:
	case 2:
		return next(in) % 8; /* a node, or the first use of a place among open files */
	case 3:
		return (uint64_t)(next(in) % 4) << 32 | next(in) % 4;
	case 4:
		return (uint64_t)next(in) << (next(in) % 64);
	case 5:
		return (uint64_t)next(in) << 32 | next(in);
	case 6:
		return UINT64_MAX - next(in);
	default:
		for (int i = 0; i < 8; i++)
			word = word << 8 | next(in);
		return word;
	}
}

static const char *next_name(struct input *in)
{
	static const char *const words[] = {
		"a",
		"b",
		"c",
		"d",
		"e",
		"f",
		"g",
		"h",
		"i",
		"j",
		"a/b",
		"../outside/secret",
		"../outside",
		"..",
		".",
		"",
		"/",
		"user.a",
		"user.b",
		"trusted.a",
		"system.posix_acl_access",
		"security.capability",
	};

	return words[next(in) % ARRAY_SIZE(words)];
}

/* The fixed arguments of each operation in words of eight bytes, and the strings that follow. */
static const struct {
	uint8_t words, names;
	bool data;
} forms[64] = {
	[FUSE_LOOKUP] = { 0, 1 },
	[FUSE_FORGET] = { 1 },
	[FUSE_GETATTR] = { 2 },
	[FUSE_SETATTR] = { 11 },
	[FUSE_SYMLINK] = { 0, 2 },
	[FUSE_MKNOD] = { 2, 1 },
	[FUSE_MKDIR] = { 1, 1 },
	[FUSE_UNLINK] = { 0, 1 },
	[FUSE_RMDIR] = { 0, 1 },
	[FUSE_RENAME] = { 1, 2 },
	[FUSE_LINK] = { 1, 1 },
	[FUSE_OPEN] = { 1 },
	[FUSE_READ] = { 5 },
	[FUSE_WRITE] = { 5, .data = true },
	[FUSE_RELEASE] = { 3 },
	[FUSE_FSYNC] = { 2 },
	[FUSE_SETXATTR] = { 2, 1, true },
	[FUSE_GETXATTR] = { 1, 1 },
	[FUSE_LISTXATTR] = { 1 },
	[FUSE_REMOVEXATTR] = { 0, 1 },
	[FUSE_FLUSH] = { 3 },
	[FUSE_INIT] = { 8 },
	[FUSE_OPENDIR] = { 1 },
	[FUSE_READDIR] = { 5 },
	[FUSE_RELEASEDIR] = { 3 },
	[FUSE_FSYNCDIR] = { 2 },
	[FUSE_ACCESS] = { 1 },
	[FUSE_CREATE] = { 2, 1 },
	[FUSE_INTERRUPT] = { 1 },
	[FUSE_IOCTL] = { 4 },
	[FUSE_BATCH_FORGET] = { 1, .data = true },
	[FUSE_FALLOCATE] = { 4 },
	[FUSE_READDIRPLUS] = { 5 },
	[FUSE_RENAME2] = { 2, 2 },
	[FUSE_LSEEK] = { 3 },
	[FUSE_COPY_FILE_RANGE] = { 7 },
	[FUSE_SYNCFS] = { 1 },
	[FUSE_TMPFILE] = { 2, 1 },
	[52 /* FUSE_STATX */] = { 3 },
};

struct request {
	uint8_t bytes[8192];
	size_t len;
};

static void add(struct request *req, const void *data, size_t len)
{
	if (len > sizeof(req->bytes) - req->len)
		return;
	memcpy(req->bytes + req->len, data, len);
	req->len += len;
}

static void add_data(struct request *req, struct input *in, uint32_t opcode)
{
	static const uint8_t zeros[1024];
	uint32_t len = next(in) * 4;

	/* The length that the argument names, most of the time. */
	if (opcode == FUSE_WRITE && next(in) % 8)
		memcpy(req->bytes + sizeof(struct fuse_in_header) + 16, &len, sizeof(len));
	if (opcode == FUSE_SETXATTR && next(in) % 8)
		memcpy(req->bytes + sizeof(struct fuse_in_header), &len, sizeof(len));
	if (opcode == FUSE_BATCH_FORGET) {
		struct fuse_forget_one one = { next_word(in), next_word(in) };
		uint32_t count = 1;

		memcpy(req->bytes + sizeof(struct fuse_in_header), &count, sizeof(count));
		add(req, &one, sizeof(one));
		return;
	}
	add(req, zeros, len);
}

static void make_request(struct request *req, struct input *in)
{
	struct fuse_in_header header = { .unique = 7 };
	unsigned kind = next(in);

	header.opcode = next(in) % 64;
	header.nodeid = next_word(in);
	if (header.nodeid == 0)
		header.nodeid = FUSE_ROOT_ID;
	header.uid = kind & 1 ? 1000 : 0;
	header.gid = kind & 2 ? 1000 : 0;
	req->len = 0;
	add(req, &header, sizeof(header));
	for (unsigned i = 0; i < forms[header.opcode].words; i++) {
		uint64_t word = next_word(in);

		add(req, &word, sizeof(word));
	}
	for (unsigned i = 0; i < forms[header.opcode].names; i++) {
		const char *name = next_name(in);

		add(req, name, strlen(name) + 1);
	}
	if (forms[header.opcode].data)
		add_data(req, in, header.opcode);
	header.len = (uint32_t)req->len;
	/* Cut off, or with a length that lies. */
	if (kind >= 240)
		header.len += next(in);
	if (kind >= 248)
		req->len = req->len > next(in) ? req->len - next(in) % 64 : req->len;
	memcpy(req->bytes, &header, sizeof(header) < req->len ? sizeof(header) : req->len);
}

/* ---- the host ----------------------------------------------------------------------------- */

/* The tree, or a directory in it. */
static int open_host_dir(unsigned which)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	char path[] = "tree/a";

	path[5] = (char)('a' + which % 4);
	if (which & 4)
		path[4] = '\0';
	return sys_openat2(work_fd, path, &how);
}

/* Somebody moves and removes files meanwhile, without the server's knowledge. */
static void change_host(struct input *in)
{
	char from[2] = { (char)('a' + next(in) % 10) }, to[2] = { (char)('a' + next(in) % 10) };
	_cleanup_close_ int dir = open_host_dir(next(in)), dir2 = open_host_dir(next(in));

	switch (next(in) % 4) {
	case 0:
		renameat(dir, from, dir2, to);
		break;
	case 1:
		renameat2(dir, from, dir2, to, RENAME_EXCHANGE);
		break;
	case 2:
		unlinkat(dir, from, 0);
		break;
	default:
		mkdirat(dir, from, 0755);
		break;
	}
}

/* ---- serving ------------------------------------------------------------------------------ */

static void serve(struct fs *fs, struct input *in, struct request *req)
{
	static const size_t rooms[] = { 70000, 70000, 70000, 4096, 160, 24, 16, 3 };
	static uint8_t answer[70000];
	struct fuse_out_header header;
	size_t first = req->len > 33 ? 33 : req->len, room = rooms[next(in) % ARRAY_SIZE(rooms)], n;
	struct iovec from[2] = { { req->bytes, first }, { req->bytes + first, req->len - first } };
	struct iovec to[2] = { { answer, room / 2 }, { answer + room / 2, room - room / 2 } };

	n = fs_handle(fs, from, 2, to, 2);
	if (n == 0)
		return;
	memcpy(&header, answer, sizeof(header));
	if (n < sizeof(header) || n > room || header.len != n || header.unique != 7 ||
	    header.error > 0 || header.error <= -512 || (header.error && n != sizeof(header)))
		abort();
}

static void check_outside(void)
{
	DIR *dir = fdopendir(openat(work_fd, "outside", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	char text[sizeof(SECRET)];
	unsigned entries = 0;
	struct stat st;

	if (!dir)
		abort();
	while (readdir(dir))
		entries++;
	closedir(dir);
	if (entries != 3 || fstat(secret_fd, &st) < 0 || st.st_mode != secret_was.st_mode ||
	    st.st_uid != secret_was.st_uid || st.st_nlink != 1 ||
	    st.st_ctim.tv_sec != secret_was.st_ctim.tv_sec ||
	    st.st_ctim.tv_nsec != secret_was.st_ctim.tv_nsec ||
	    pread(secret_fd, text, sizeof(text), 0) != sizeof(text) ||
	    memcmp(text, SECRET, sizeof(text)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_in_header header = { .opcode = FUSE_INIT, .unique = 7 };
	struct fuse_init_in init = { .major = 7, .minor = 41, .flags = UINT32_MAX };
	struct fs_config config = {
		.cache_ms = 1000, .nodes_max = 100, .fds_max = 8, .files_max = 8
	};
	struct input in = { data, size };
	struct request req = { .len = 0 };
	struct fs *fs;

	umask(0);
	if (mkdirat(work_fd, "tree", 0755) < 0)
		abort();
	config.root = openat(work_fd, "tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
	config.descriptors = fcntl(descriptors, F_DUPFD_CLOEXEC, 0);
	fs = fs_new(&config, NULL);
	if (!fs)
		abort();
	header.len = sizeof(header) + sizeof(init);
	add(&req, &header, sizeof(header));
	add(&req, &init, sizeof(init));
	serve(fs, &(struct input){ 0 }, &req);
	while (in.left) {
		if (*in.data == 0xff)
			change_host(&in);
		make_request(&req, &in);
		serve(fs, &in, &req);
	}
	fs_free(fs);
	check_outside();
	if (path_remove_tree(work_fd, "tree", NULL) < 0)
		abort();
	return 0;
}
