/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the state of a file server that goes on in T/tree (microvm/fs_state.h). Whatever they are, the server lives on: it refuses them, and
 * is as new, or takes them, and then answers requests and can be saved again. T/outside is as it was: nothing leads there.
 */
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/remove.h"
#include "microvm/fs_fuse.h"
#include "microvm/fs_path.h"
#include "microvm/fs_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define SECRET "this stays"

static int work_fd = -1, descriptors = -1, secret_fd = -1, cwd_fd = -1;
static struct stat secret_was;

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	const char *base = getenv("TMPDIR");
	char work[256];

	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	snprintf(work, sizeof(work), "%s/hull-fuzz-fs-state.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(work))
		abort();
	if (unshare(CLONE_NEWNS) == 0 &&
	    (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	     mount("fuzz", work, "tmpfs", MS_NODEV | MS_NOSUID, "size=8m,nr_inodes=2000") < 0))
		abort();
	cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
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

/* What the seeds' names lead to, and links that nothing may follow. A FIFO that is opened would never return (-timeout=10). */
static void make_tree(void)
{
	static const char *const files[] = { "tree/dir/file", "tree/file" };

	umask(0);
	if (mkdirat(work_fd, "tree", 0755) < 0 || mkdirat(work_fd, "tree/dir", 0755) < 0 ||
	    symlinkat("../../outside", work_fd, "tree/dir/link") < 0 ||
	    symlinkat("../outside/secret", work_fd, "tree/link") < 0 ||
	    mkfifoat(work_fd, "tree/fifo", 0644) < 0)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd = openat(work_fd, files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		if (fd < 0 || write(fd, "hello", 5) != 5)
			abort();
		close(fd);
	}
}

static void request(struct fs *fs, uint32_t opcode, uint64_t node, const void *arg, size_t size)
{
	static uint8_t answer[8192];
	struct fuse_in_header header = { .opcode = opcode, .unique = 7, .nodeid = node };
	struct iovec in[2] = { { &header, sizeof(header) }, { (void *)(uintptr_t)arg, size } };
	struct iovec out = { answer, sizeof(answer) };
	size_t n;

	header.len = (uint32_t)(sizeof(header) + size);
	n = fs_handle(fs, in, 2, &out, 1);
	if (n && (n < sizeof(struct fuse_out_header) || n > sizeof(answer)))
		abort();
}

static void use(struct fs *fs)
{
	static const char *const names[] = { "file", "dir", "link", "fifo" };

	for (uint64_t fh = 0; fh < 4; fh++)
		for (uint64_t node = 1; node < 8; node++) {
			struct fuse_read_in in = { .fh = fh, .size = 4000 };
			struct {
				struct fuse_write_in in;
				char data[4];
			} write_in = { { .fh = fh, .size = 4 }, "data" };

			request(fs, FUSE_READ, node, &in, sizeof(in));
			request(fs, FUSE_READDIRPLUS, node, &in, sizeof(in));
			request(fs, FUSE_WRITE, node, &write_in, sizeof(write_in.in) + 4);
		}
	for (uint64_t node = 1; node < 8; node++) {
		request(fs, FUSE_GETATTR, node, &(struct fuse_getattr_in){ 0 },
			sizeof(struct fuse_getattr_in));
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			request(fs, FUSE_LOOKUP, node, names[i], strlen(names[i]) + 1);
		request(fs, FUSE_UNLINK, node, "file", 5);
		request(fs, FUSE_FORGET, node, &(struct fuse_forget_in){ 2 },
			sizeof(struct fuse_forget_in));
	}
}

static void check_outside(void)
{
	char text[sizeof(SECRET)];
	struct stat st;

	if (fstat(secret_fd, &st) < 0 || st.st_mode != secret_was.st_mode ||
	    st.st_uid != secret_was.st_uid || st.st_nlink != 1 ||
	    st.st_ctim.tv_sec != secret_was.st_ctim.tv_sec ||
	    st.st_ctim.tv_nsec != secret_was.st_ctim.tv_nsec ||
	    pread(secret_fd, text, sizeof(text), 0) != sizeof(text) ||
	    memcmp(text, SECRET, sizeof(text)) != 0)
		abort();
}

static int load(struct fs *fs, const uint8_t *data, size_t size)
{
	struct error err = { 0 };
	int fd = memfd_create("state", MFD_CLOEXEC), r;

	if (pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	r = fs_state_load(fs, fd, &err);
	if (r < 0 && (err.code != -r || !err.text[0]))
		abort();
	close(fd);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_config config = {
		.cache_ms = 1000, .nodes_max = 100, .fds_max = 8, .files_max = 16
	};
	struct error err = { 0 };
	struct fs *fs;
	int fd;

	make_tree();
	config.root = openat(work_fd, "tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
	config.descriptors = fcntl(descriptors, F_DUPFD_CLOEXEC, 0);
	fs = fs_new(&config, NULL);
	if (!fs)
		abort();
	if (load(fs, data, size) == 0) {
		use(fs);
		fd = memfd_create("state", MFD_CLOEXEC);
		(void)fs_state_save(fs, fd, &err);
		close(fd);
	}
	fs_free(fs);
	/* The server goes elsewhere for extended attributes; the fuzzer's own files are named from here. */
	if (fchdir(cwd_fd) < 0)
		abort();
	check_outside();
	if (path_remove_tree(work_fd, "tree", NULL) < 0)
		abort();
	return 0;
}
