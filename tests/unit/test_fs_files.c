/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: opening, reading and writing. */
#include "tests/unit/fs_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <time.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID

static void data_goes_both_ways(void **state)
{
	struct fs_client *c = *state;
	_cleanup_free_ uint8_t *data = malloc(FS_CLIENT_DATA);
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	struct stat st;

	for (size_t i = 0; i < FS_CLIENT_DATA; i++)
		data[i] = (uint8_t)(i * 7 ^ i >> 9);
	assert_int_equal(fs_write(c, node, fh, 100, data, FS_CLIENT_DATA, O_RDWR, 0),
			 FS_CLIENT_DATA);
	fs_host_stat(c, "file", &st);
	assert_int_equal(st.st_size, FS_CLIENT_DATA + 100);
	assert_int_equal(fs_read(c, node, fh, 100, FS_CLIENT_DATA), FS_CLIENT_DATA);
	assert_memory_equal(c->answer.data, data, FS_CLIENT_DATA);
	/* Over the end, and behind it. */
	assert_int_equal(fs_read(c, node, fh, FS_CLIENT_DATA, 4096), 100);
	assert_memory_equal(c->answer.data, data + FS_CLIENT_DATA - 100, 100);
	assert_int_equal(fs_read(c, node, fh, FS_CLIENT_DATA * 2, 4096), 0);
	assert_int_equal(fs_read(c, node, fh, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(fs_write(c, node, fh, UINT64_MAX, "x", 1, O_RDWR, 0), -EINVAL);
	/* No more than there is room for. */
	c->room = sizeof(c->answer.header) + 5;
	assert_int_equal(fs_read(c, node, fh, 100, FS_CLIENT_DATA), 5);
	c->room = 0;
}

static void an_open_file_is_read_or_written_as_it_was_opened(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh;
	struct fuse_open_out out;

	fs_host_write(c, "file", "hello");
	node = fs_lookup(c, ROOT, "file");
	fh = fs_open(c, node, O_RDONLY);
	assert_int_equal(fs_read(c, node, fh, 1, 3), 3);
	assert_memory_equal(c->answer.data, "ell", 3);
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDONLY, 0), -EBADF);
	fs_release(c, node, fh);
	/* The number is not another file's, nor any more its own. */
	fs_host_write(c, "other", "");
	assert_int_not_equal(fs_open(c, fs_lookup(c, ROOT, "other"), O_RDONLY), fh);
	assert_int_equal(fs_read(c, node, fh, 0, 3), -EBADF);
	fh = fs_open(c, node, O_WRONLY);
	assert_int_equal(fs_read(c, node, fh, 0, 3), -EBADF);
	assert_int_equal(fs_read(c, ROOT, fh, 0, 3), -EBADF);
	assert_int_equal(fs_try_open(c, ROOT, O_RDONLY, &out), -EISDIR);
	assert_int_equal(fs_try_open(c, node, O_ACCMODE, &out), -EINVAL);
	/* What the host must not see is not passed on: it would open a directory, or wait. */
	fh = fs_open(c, node, O_RDWR | O_DIRECT | O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CREAT);
	assert_int_equal(fs_read(c, node, fh, 1, 3), 3);
}

static void opening_truncates(void **state)
{
	struct fs_client *c = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct stat st;

	fs_host_write(c, "file", "hello");
	fs_open(c, fs_lookup(c, ROOT, "file"), O_WRONLY | O_TRUNC);
	fs_host_stat(c, "file", &st);
	assert_int_equal(st.st_size, 0);
	/* The guest made a file that the host had made meanwhile. */
	fs_host_write(c, "file", "hello");
	assert_int_equal(fs_try_create(c, ROOT, "file", O_RDWR, 0600, &entry, &out), 0);
	assert_int_equal(entry.attr.size, 5);
	assert_int_equal(entry.attr.mode, S_IFREG | 0644);
	assert_int_equal(fs_try_create(c, ROOT, "file", O_RDWR | O_TRUNC, 0600, &entry, &out), 0);
	assert_int_equal(entry.attr.size, 0);
	assert_int_equal(fs_try_create(c, ROOT, "file", O_RDWR | O_EXCL, 0600, &entry, &out),
			 -EEXIST);
}

/* The host appends, too; and what comes from the page cache goes where it belongs. */
static void appending_is_the_hosts(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_WRONLY | O_APPEND, 0600, &node);
	char text[16];
	int fd = openat(c->tree, "file", O_RDWR | O_APPEND | O_CLOEXEC);

	assert_int_equal(write(fd, "host", 4), 4);
	assert_int_equal(fs_write(c, node, fh, 0, "guest", 5, O_WRONLY | O_APPEND, 0), 5);
	assert_int_equal(fs_write(c, node, fh, 2, "PAGE", 4, O_WRONLY | O_APPEND, FUSE_WRITE_CACHE),
			 4);
	/* F_SETFL took it away. */
	assert_int_equal(fs_write(c, node, fh, 0, "H", 1, O_WRONLY, 0), 1);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 9);
	assert_memory_equal(text, "HoPAGEest", 9);
	close(fd);
}

static void holes_and_allocation(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	struct fuse_fallocate_in in = { .fh = fh, .length = 65536 };
	struct fuse_lseek_in seek = { .fh = fh, .whence = SEEK_DATA };
	struct stat st;
	int r = fs_call(c, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, NULL);

	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	fs_host_stat(c, "file", &st);
	assert_int_equal(st.st_size, 65536);
	in.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	assert_int_equal(fs_call(c, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, NULL), 0);
	in.mode = FALLOC_FL_COLLAPSE_RANGE;
	assert_int_equal(fs_call(c, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, NULL),
			 -EOPNOTSUPP);
	in.mode = 0;
	in.length = UINT64_MAX;
	assert_int_equal(fs_call(c, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, NULL), -EINVAL);
	assert_int_equal(fs_write(c, node, fh, 32768, "x", 1, O_RDWR, 0), 1);
	assert_int_equal(fs_call(c, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, NULL), 0);
	assert_int_equal(((struct fuse_lseek_out *)c->answer.data)->offset, 32768);
	seek.whence = SEEK_HOLE;
	assert_int_equal(fs_call(c, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, NULL), 0);
	assert_int_equal(((struct fuse_lseek_out *)c->answer.data)->offset, 0);
	seek.offset = 65537;
	assert_int_equal(fs_call(c, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, NULL), -ENXIO);
	seek.whence = SEEK_END;
	assert_int_equal(fs_call(c, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, NULL), -EINVAL);
}

static void ranges_are_copied_on_the_host(void **state)
{
	struct fs_client *c = *state;
	struct fuse_copy_file_range_in in = { .len = UINT64_MAX / 2, .off_in = 1, .off_out = 2 };
	uint64_t node;
	struct stat st;

	fs_host_write(c, "from", "hello");
	node = fs_lookup(c, ROOT, "from");
	in.fh_in = fs_open(c, node, O_RDONLY);
	in.fh_out = fs_create(c, ROOT, "to", O_WRONLY, 0600, &in.nodeid_out);
	assert_int_equal(fs_call(c, FUSE_COPY_FILE_RANGE, node, &in, sizeof(in), NULL, NULL), 0);
	assert_int_equal(((struct fuse_write_out *)c->answer.data)->size, 4);
	fs_host_stat(c, "to", &st);
	assert_int_equal(st.st_size, 6);
	in.flags = 1;
	assert_int_equal(fs_call(c, FUSE_COPY_FILE_RANGE, node, &in, sizeof(in), NULL, NULL),
			 -EINVAL);
	in.flags = 0;
	in.nodeid_out = node;
	assert_int_equal(fs_call(c, FUSE_COPY_FILE_RANGE, node, &in, sizeof(in), NULL, NULL),
			 -EBADF);
}

static void writes_are_made_durable(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	struct fuse_fsync_in in = { .fh = fh };
	struct fuse_flush_in flush = { .fh = fh };
	struct fuse_syncfs_in all = { 0 };
	uint64_t dir = fs_opendir(c, ROOT);

	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDWR | O_SYNC, 0), 1);
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDWR | O_DSYNC, 0), 1);
	assert_int_equal(fs_call(c, FUSE_FSYNC, node, &in, sizeof(in), NULL, NULL), 0);
	in.fsync_flags = FUSE_FSYNC_FDATASYNC;
	assert_int_equal(fs_call(c, FUSE_FSYNC, node, &in, sizeof(in), NULL, NULL), 0);
	assert_int_equal(fs_call(c, FUSE_FLUSH, node, &flush, sizeof(flush), NULL, NULL), 0);
	flush.fh = dir;
	assert_int_equal(fs_call(c, FUSE_FLUSH, node, &flush, sizeof(flush), NULL, NULL), -EBADF);
	in.fh = dir;
	assert_int_equal(fs_call(c, FUSE_FSYNCDIR, ROOT, &in, sizeof(in), NULL, NULL), 0);
	assert_int_equal(fs_call(c, FUSE_SYNCFS, ROOT, &all, sizeof(all), NULL, NULL), 0);
	assert_int_equal(fs_call(c, FUSE_SYNCFS, node, &all, sizeof(all), NULL, NULL), -ENOTDIR);
}

static void backdate(struct fs_client *c, const char *name)
{
	struct timespec now, at = { .tv_nsec = 10 * 1000 * 1000 };
	struct stat st;

	/* A change time cannot be set, only waited for. */
	do {
		nanosleep(&at, NULL);
		fs_host_stat(c, name, &st);
		clock_gettime(CLOCK_REALTIME, &now);
	} while ((now.tv_sec - st.st_ctim.tv_sec) * 1000000000 + now.tv_nsec - st.st_ctim.tv_nsec <=
		 1000000000);
}

static void the_cache_is_kept_while_the_file_is_unchanged(void **state)
{
	struct fs_client *c = *state;
	struct fuse_open_out out;
	uint64_t node;

	fs_host_write(c, "file", "hello");
	node = fs_lookup(c, ROOT, "file");
	/* Just changed: a second change could have the same time. */
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
	backdate(c, "file");
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE);
	fs_host_write(c, "file", "HELLO");
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
	/* Who only reads needs no FLUSH. */
	assert_int_equal(out.open_flags & FOPEN_NOFLUSH, FOPEN_NOFLUSH);
	assert_int_equal(fs_try_open(c, node, O_RDWR, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_NOFLUSH, 0);
}

static void what_the_server_cannot_do_it_says(void **state)
{
	struct fs_client *c = *state;
	struct fuse_ioctl_in in = { 0 };
	struct fuse_poll_in poll = { 0 };
	struct fuse_lk_in lock = { 0 };
	struct fuse_interrupt_in interrupt = { 0 };

	assert_int_equal(fs_call(c, FUSE_IOCTL, ROOT, &in, sizeof(in), NULL, NULL), -ENOTTY);
	assert_int_equal(fs_call(c, FUSE_POLL, ROOT, &poll, sizeof(poll), NULL, NULL), -ENOSYS);
	assert_int_equal(fs_call(c, FUSE_SETLK, ROOT, &lock, sizeof(lock), NULL, NULL), -ENOSYS);
	assert_int_equal(fs_call(c, FUSE_SETUPMAPPING, ROOT, &in, sizeof(in), NULL, NULL), -ENOSYS);
	assert_int_equal(fs_call(c, FUSE_INTERRUPT, 0, &interrupt, sizeof(interrupt), NULL, NULL),
			 FS_NO_ANSWER);
	assert_int_equal(fs_call(c, CUSE_INIT, 0, NULL, 0, NULL, NULL), -ENOSYS);
	assert_int_equal(fs_call(c, UINT32_MAX, 0, NULL, 0, NULL, NULL), -ENOSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(data_goes_both_ways),
		fs_test(an_open_file_is_read_or_written_as_it_was_opened),
		fs_test(opening_truncates),
		fs_test(appending_is_the_hosts),
		fs_test(holes_and_allocation),
		fs_test(ranges_are_copied_on_the_host),
		fs_test(writes_are_made_durable),
		fs_test(the_cache_is_kept_while_the_file_is_unchanged),
		fs_test(what_the_server_cannot_do_it_says),
	};

	return cmocka_run_group_tests_name("fs_files", tests, NULL, NULL);
}
