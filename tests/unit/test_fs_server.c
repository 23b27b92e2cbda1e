/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-fs: the device here, with a driver of the tests; the file server in a process of its own, and what ends either of them. */
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/message.h"
#include "microvm/fs_protocol.h"
#include "microvm/fs_request.h"
#include "microvm/fs_server.h"
#include "microvm/jail.h"

#define FEATURES (BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))
#define WAIT_MS  20000

struct fixture {
	struct driver d;
	char path[64];
	int base, monitor; /* monitor: our end of the socket, where no device has it */
	pid_t server;
	uint64_t unique, answer;
};

/* The filter of the real one; its other confinement takes root. */
static int confine(void *data, struct error *err)
{
	(void)data;
	return jail_enter_thread(JAIL_FILE_SERVER, err);
}

static void start_server(struct fixture *f, bool read_only)
{
	struct error err = { 0 };
	int pair[2];

	assert_int_equal(message_pair(pair, &err), 0);
	f->server = fork();
	if (f->server == 0) {
		struct fs_server_config config = { .socket = pair[1],
						   .root = f->base,
						   .proc = -1,
						   .state = -1,
						   .read_only = read_only,
						   .confine = confine };

		close(pair[0]);
		_exit(fs_server_main(&config, &err) < 0);
	}
	close(pair[1]);
	f->monitor = pair[0];
}

static struct fixture *prepare(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	*state = f;
	f->base = unit_make_dir(f->path, sizeof(f->path));
	fd = openat(f->base, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	driver_open(&f->d, DRIVER_MEMORY_SIZE);
	return f;
}

static void start_device(struct fixture *f)
{
	struct error err = { 0 };
	struct virtio_device *dev =
		virtio_fs_new(f->monitor, "hull", &f->d.memory, &f->d.loop, &err);

	assert_non_null(dev);
	f->monitor = -1;
	driver_start(&f->d, dev, FEATURES);
}

static int setup(void **state)
{
	struct fixture *f = prepare(state);

	start_server(f, false);
	start_device(f);
	return 0;
}

static int setup_read_only(void **state)
{
	struct fixture *f = prepare(state);

	start_server(f, true);
	start_device(f);
	return 0;
}

static int setup_without_device(void **state)
{
	start_server(prepare(state), false);
	return 0;
}

static void wait_for_server(struct fixture *f)
{
	int status;

	assert_int_equal(waitpid(f->server, &status, 0), f->server);
	assert_int_equal(status, 0);
	f->server = -1;
}

/* The device goes, and so the server ends by itself. */
static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_close(&f->d);
	close_fd(&f->monitor);
	if (f->server > 0)
		wait_for_server(f);
	unit_remove_dir(f->base, f->path);
	free(f);
	return 0;
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void await_interrupt(struct fixture *f)
{
	struct pollfd fd = { .fd = f->d.dev->irq_fd, .events = POLLIN };

	assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
	assert_true(driver_interrupted(&f->d));
}

/* Wants an interrupt for the next used request (VIRTIO_RING_F_EVENT_IDX). */
static void want_interrupt(struct fixture *f, unsigned queue)
{
	struct driver_queue *q = &f->d.queues[queue];

	__atomic_store_n(&q->avail->ring[q->size], q->used_idx, __ATOMIC_SEQ_CST);
}

/* Sends a request in two buffers, and waits for it: the length that came back, in room bytes at gpa_out. */
static uint32_t exchange(struct fixture *f, unsigned queue, uint32_t opcode, uint64_t node,
			 const void *arg, uint32_t len, uint64_t out, uint32_t room)
{
	struct fuse_in_header header = { .opcode = opcode,
					 .nodeid = node,
					 .unique = ++f->unique,
					 .len = (uint32_t)sizeof(header) + len };
	struct driver_buffer buffers[3] = { { driver_copy(&f->d, &header, sizeof(header)),
					      sizeof(header), false } };
	unsigned count = 1;
	uint16_t head, used;
	uint32_t written;

	if (len)
		buffers[count++] =
			(struct driver_buffer){ driver_copy(&f->d, arg, len), len, false };
	if (room)
		buffers[count++] = (struct driver_buffer){ out, room, true };
	if (f->unique % 2)
		head = driver_describe(&f->d, queue, buffers, count);
	else
		head = driver_describe_indirect(&f->d, queue, buffers, count);
	want_interrupt(f, queue);
	driver_offer(&f->d, queue, head);
	driver_notify(&f->d, queue);
	await_interrupt(f);
	assert_true(driver_take_used(&f->d, queue, &used, &written));
	assert_int_equal(used, head);
	return written;
}

static void check_answer(struct fixture *f, uint64_t out, uint32_t written, int error,
			 uint32_t size)
{
	struct fuse_out_header *header = driver_at(&f->d, out, sizeof(*header));

	assert_int_equal(header->error, error);
	assert_int_equal(header->unique, f->unique);
	assert_int_equal(header->len, sizeof(*header) + size);
	assert_int_equal(written, header->len);
}

static void init(struct fixture *f)
{
	struct fuse_init_in in = { .major = 7, .minor = 41, .flags = UINT32_MAX };
	uint64_t out = driver_alloc(&f->d, 4096, 8);
	uint32_t n = exchange(f, FS_QUEUE_REQUEST, FUSE_INIT, 0, &in, sizeof(in), out, 4096);

	check_answer(f, out, n, 0, sizeof(struct fuse_init_out));
}

static uint64_t lookup(struct fixture *f, const char *name)
{
	uint64_t out = driver_alloc(&f->d, 4096, 8);
	uint32_t n = exchange(f, FS_QUEUE_REQUEST, FUSE_LOOKUP, FUSE_ROOT_ID, name,
			      (uint32_t)strlen(name) + 1, out, 4096);
	struct fuse_entry_out *entry = driver_at(&f->d, out + 16, sizeof(*entry));

	check_answer(f, out, n, 0, sizeof(*entry));
	return entry->nodeid;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void the_driver_finds_a_file_system(void **state)
{
	struct fixture *f = *state;
	struct virtio_fs_config config;

	assert_int_equal(driver_get(&f->d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_FS);
	for (uint32_t i = 0; i < sizeof(config); i++)
		virtio_mmio_read(f->d.dev, VIRTIO_MMIO_CONFIG + i, (char *)&config + i, 1);
	assert_memory_equal(config.tag, "hull\0\0\0", 8);
	assert_int_equal(config.num_request_queues, 1);
	/* Another process interrupts: it does not say why, so the reason is always there. */
	assert_int_equal(driver_get(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
}

static void requests_are_served(void **state)
{
	struct fixture *f = *state;
	struct fuse_open_in open_in = { .flags = O_RDONLY };
	struct fuse_read_in read_in = { .size = 4000 };
	struct fuse_forget_in forget = { .nlookup = 1 };
	struct fuse_getattr_in get = { 0 };
	uint64_t out = driver_alloc(&f->d, 8192, 8), node;
	uint32_t n;

	init(f);
	node = lookup(f, "file");
	n = exchange(f, FS_QUEUE_REQUEST, FUSE_OPEN, node, &open_in, sizeof(open_in), out, 32);
	check_answer(f, out, n, 0, sizeof(struct fuse_open_out));
	read_in.fh = ((struct fuse_open_out *)driver_at(&f->d, out + 16, 16))->fh;
	n = exchange(f, FS_QUEUE_REQUEST, FUSE_READ, node, &read_in, sizeof(read_in), out, 4016);
	check_answer(f, out, n, 0, 5);
	assert_memory_equal(driver_at(&f->d, out + 16, 5), "hello", 5);
	/* What has no answer comes back empty. */
	n = exchange(f, FS_QUEUE_HIPRIO, FUSE_FORGET, node, &forget, sizeof(forget), 0, 0);
	assert_int_equal(n, 0);
	n = exchange(f, FS_QUEUE_REQUEST, FUSE_GETATTR, node, &get, sizeof(get), out, 4096);
	check_answer(f, out, n, -ESTALE, 0);
}

/* A request with up to two names behind its argument: the answer's error, and its data in f->answer. */
static int request(struct fixture *f, uint32_t opcode, uint64_t node, const void *arg, size_t size,
		   const char *name, const char *second)
{
	char text[1024];
	size_t len = size;
	uint32_t n;

	if (arg)
		memcpy(text, arg, size);
	for (int i = 0; i < 2; i++) {
		const char *s = i ? second : name;

		if (!s)
			continue;
		memcpy(text + len, s, strlen(s) + 1);
		len += strlen(s) + 1;
	}
	n = exchange(f, FS_QUEUE_REQUEST, opcode, node, text, (uint32_t)len, f->answer, 4096);
	assert_true(n >= sizeof(struct fuse_out_header));
	return ((struct fuse_out_header *)driver_at(&f->d, f->answer, 16))->error;
}

#define REQUEST(f, opcode, node, arg, name, second) \
	request((f), (opcode), (node), &(arg), sizeof(arg), (name), (second))

static uint64_t answered_node(struct fixture *f)
{
	return ((struct fuse_entry_out *)driver_at(&f->d, f->answer + 16, 16))->nodeid;
}

/* Each system call that a request takes is in the filter, or the server ends. */
static void the_filter_has_what_requests_take(void **state)
{
	const uint64_t root = FUSE_ROOT_ID;
	struct fixture *f = *state;
	struct fuse_mknod_in mknod_in = { .mode = S_IFREG | 0644, .umask = 022 };
	struct fuse_mkdir_in mkdir_in = { .mode = 0755, .umask = 022 };
	struct fuse_create_in create = { .flags = O_RDWR, .mode = 0644, .umask = 022 };
	struct fuse_rename_in rename_in = { .newdir = root };
	struct fuse_rename2_in rename2_in = { .newdir = root, .flags = RENAME_NOREPLACE };
	struct fuse_setattr_in set = { .mode = S_IFREG | 0600, .size = 3 };
	struct fuse_getattr_in get = { 0 };
	struct fs_statx_in statx_in = { .sx_mask = STATX_ALL };
	struct fuse_setxattr_in setxattr_in = { .size = 1 };
	struct fuse_getxattr_in getxattr_in = { .size = 100 };
	struct fuse_open_in open_in = { .flags = O_RDONLY };
	struct fuse_access_in access_in = { .mask = R_OK };
	struct fuse_syncfs_in syncfs_in = { 0 };
	struct fuse_fallocate_in fallocate_in = { .length = 4096 };
	struct fuse_lseek_in lseek_in = { .whence = SEEK_DATA };
	struct fuse_copy_file_range_in copy = { .off_out = 100, .len = 2 };
	struct fuse_fsync_in fsync_in = { 0 };
	struct fuse_flush_in flush = { 0 };
	struct fuse_release_in release = { 0 };
	struct fuse_read_in read_in = { .size = 1000 };
	struct fuse_link_in link_in = { 0 };
	struct {
		struct fuse_write_in in;
		char data[4];
	} write_in = { { .size = 4 }, "text" };
	uint64_t file, dir;

	f->answer = driver_alloc(&f->d, 4096, 8);
	init(f);
	assert_int_equal(REQUEST(f, FUSE_MKNOD, root, mknod_in, "node", NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_MKDIR, root, mkdir_in, "dir", NULL), 0);
	dir = answered_node(f);
	assert_int_equal(request(f, FUSE_SYMLINK, root, NULL, 0, "link", "file"), 0);
	assert_int_equal(request(f, FUSE_READLINK, answered_node(f), NULL, 0, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_RENAME, root, rename_in, "node", "moved"), 0);
	assert_int_equal(REQUEST(f, FUSE_RENAME2, root, rename2_in, "moved", "again"), 0);
	assert_int_equal(REQUEST(f, FUSE_CREATE, root, create, "new", NULL), 0);
	file = link_in.oldnodeid = copy.nodeid_out = answered_node(f);
	write_in.in.fh = ((struct fuse_open_out *)driver_at(
				  &f->d, f->answer + 16 + sizeof(struct fuse_entry_out), 16))
				 ->fh;
	read_in.fh = fsync_in.fh = flush.fh = release.fh = lseek_in.fh = fallocate_in.fh =
		copy.fh_in = copy.fh_out = write_in.in.fh;
	assert_int_equal(
		request(f, FUSE_WRITE, file, &write_in, sizeof(write_in.in) + 4, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_READ, file, read_in, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_LSEEK, file, lseek_in, NULL, NULL), 0);
	(void)REQUEST(f, FUSE_FALLOCATE, file, fallocate_in, NULL,
		      NULL); /* not every file system can */
	assert_int_equal(REQUEST(f, FUSE_COPY_FILE_RANGE, file, copy, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_FSYNC, file, fsync_in, NULL, NULL), 0);
	fsync_in.fsync_flags = FUSE_FSYNC_FDATASYNC;
	assert_int_equal(REQUEST(f, FUSE_FSYNC, file, fsync_in, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_FLUSH, file, flush, NULL, NULL), 0);
	set.valid = FATTR_MODE | FATTR_SIZE | FATTR_UID | FATTR_GID | FATTR_ATIME | FATTR_MTIME_NOW;
	set.uid = geteuid();
	set.gid = getegid();
	assert_int_equal(REQUEST(f, FUSE_SETATTR, file, set, NULL, NULL), 0);
	set.valid = FATTR_SIZE | FATTR_FH;
	set.fh = write_in.in.fh;
	assert_int_equal(REQUEST(f, FUSE_SETATTR, file, set, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_RELEASE, file, release, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_GETATTR, file, get, NULL, NULL), 0);
	(void)REQUEST(f, FS_FUSE_STATX, file, statx_in, NULL, NULL);
	assert_int_equal(REQUEST(f, FUSE_ACCESS, file, access_in, NULL, NULL), 0);
	/* Nor has every one extended attributes. */
	(void)REQUEST(f, FUSE_SETXATTR, file, setxattr_in, "user.a", "");
	(void)REQUEST(f, FUSE_GETXATTR, file, getxattr_in, "user.a", NULL);
	(void)REQUEST(f, FUSE_LISTXATTR, file, getxattr_in, NULL, NULL);
	(void)request(f, FUSE_REMOVEXATTR, file, NULL, 0, "user.a", NULL);
	assert_int_equal(REQUEST(f, FUSE_LINK, root, link_in, "second", NULL), 0);
	(void)REQUEST(f, FUSE_TMPFILE, root, create, "/", NULL);
	assert_int_equal(REQUEST(f, FUSE_OPENDIR, root, open_in, NULL, NULL), 0);
	read_in.fh = release.fh = fsync_in.fh =
		((struct fuse_open_out *)driver_at(&f->d, f->answer + 16, 16))->fh;
	assert_int_equal(REQUEST(f, FUSE_READDIR, root, read_in, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_READDIRPLUS, root, read_in, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_FSYNCDIR, root, fsync_in, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_RELEASEDIR, root, release, NULL, NULL), 0);
	assert_int_equal(request(f, FUSE_STATFS, root, NULL, 0, NULL, NULL), 0);
	assert_int_equal(REQUEST(f, FUSE_SYNCFS, root, syncfs_in, NULL, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(request(f, FUSE_UNLINK, root, NULL, 0,
					 (const char *[]){ "again", "new", "second", "link" }[i],
					 NULL),
				 0);
	assert_true(dir != 0);
	assert_int_equal(request(f, FUSE_RMDIR, root, NULL, 0, "dir", NULL), 0);
	assert_true(lookup(f, "file") != 0);
}

static void a_reset_begins_anew(void **state)
{
	struct fixture *f = *state;
	struct fuse_getattr_in get = { 0 };
	uint64_t out = driver_alloc(&f->d, 4096, 8), node;
	uint32_t n;

	init(f);
	node = lookup(f, "file");
	for (int i = 0; i < 3; i++) {
		driver_restart(&f->d, FEATURES);
		n = exchange(f, FS_QUEUE_REQUEST, FUSE_GETATTR, node, &get, sizeof(get), out, 4096);
		check_answer(f, out, n, -EIO, 0); /* INIT is awaited */
		init(f);
		n = exchange(f, FS_QUEUE_REQUEST, FUSE_GETATTR, node, &get, sizeof(get), out, 4096);
		check_answer(f, out, n, -ESTALE, 0);
	}
}

static void many_requests_wait_at_once(void **state)
{
	struct fixture *f = *state;
	struct fuse_in_header header = { .opcode = FUSE_STATFS,
					 .nodeid = 1,
					 .len = sizeof(header) };
	struct driver_buffer buffers[2] = { { 0, sizeof(header), false }, { 0, 256, true } };
	unsigned done = 0;

	init(f);
	buffers[0].gpa = driver_copy(&f->d, &header, sizeof(header));
	buffers[1].gpa = driver_alloc(&f->d, 256, 8);
	for (int round = 0; round < 50; round++) {
		uint16_t head;
		uint32_t written;

		for (int i = 0; i < 8; i++)
			driver_offer(&f->d, FS_QUEUE_REQUEST,
				     driver_describe(&f->d, FS_QUEUE_REQUEST, buffers, 2));
		driver_notify(&f->d, FS_QUEUE_REQUEST);
		while (done < (unsigned)(round + 1) * 8) {
			want_interrupt(f, FS_QUEUE_REQUEST);
			if (!driver_take_used(&f->d, FS_QUEUE_REQUEST, &head, &written)) {
				await_interrupt(f);
				continue;
			}
			assert_int_equal(written, 16 + sizeof(struct fuse_statfs_out));
			done++;
		}
	}
}

static void await_broken(struct fixture *f)
{
	struct pollfd fd = { .fd = f->d.loop.epoll, .events = POLLIN };

	assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
	driver_run(&f->d);
	assert_true(driver_broken(&f->d));
}

static void nonsense_in_a_queue_breaks_the_device(void **state)
{
	struct fixture *f = *state;
	struct driver_buffer wrong = { UINT64_MAX - 100, 4096, false };

	init(f);
	driver_send(&f->d, FS_QUEUE_REQUEST, &wrong, 1);
	await_broken(f);
	driver_restart(&f->d, FEATURES);
	assert_false(driver_broken(&f->d));
	init(f);
	assert_true(lookup(f, "file") != 0);
}

static void count_lost(void *data, const char *why)
{
	assert_string_equal(why, "the file server ended");
	++*(int *)data;
}

static void a_device_without_its_server_is_broken(void **state)
{
	struct fixture *f = *state;
	int status, lost = 0;

	init(f);
	virtio_fs_watch(f->d.dev, count_lost, &lost);
	assert_int_equal(kill(f->server, SIGKILL), 0);
	assert_int_equal(waitpid(f->server, &status, 0), f->server);
	f->server = -1;
	await_broken(f);
	assert_int_equal(lost, 1);
	/* And cannot be started again. */
	driver_set(&f->d, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_get(&f->d, VIRTIO_MMIO_STATUS), 0);
	driver_negotiate(&f->d, f->d.dev, FEATURES | BIT64(VIRTIO_F_VERSION_1));
	for (unsigned i = 0; i < FS_QUEUES; i++)
		driver_make_queue(&f->d, i, DRIVER_QUEUE_SIZE);
	driver_set(&f->d, VIRTIO_MMIO_STATUS,
		   driver_get(&f->d, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_true(driver_broken(&f->d));
}

static void a_server_may_be_read_only(void **state)
{
	struct fixture *f = *state;
	uint64_t out = driver_alloc(&f->d, 4096, 8);
	uint32_t n;

	init(f);
	n = exchange(f, FS_QUEUE_REQUEST, FUSE_UNLINK, FUSE_ROOT_ID, "file", 5, out, 4096);
	check_answer(f, out, n, -EROFS, 0);
}

static void tags_have_a_length(void **state)
{
	static const char longest[] = "0123456789012345678901234567890123456";
	struct error err = { 0 };
	struct driver d;
	int pair[2];

	(void)state;
	driver_open(&d, DRIVER_MEMORY_SIZE);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(message_pair(pair, &err), 0);
		assert_null(virtio_fs_new(pair[0], i ? longest : "", &d.memory, &d.loop, &err));
		assert_non_null(strstr(err.text, "tag"));
		close(pair[1]);
	}
	assert_int_equal(message_pair(pair, &err), 0);
	d.dev = virtio_fs_new(pair[0], longest + 1, &d.memory, &d.loop, &err);
	assert_non_null(d.dev);
	close(pair[1]);
	driver_close(&d);
}

/* ---- a monitor that was taken over --------------------------------------------------------------- */

/* The code of the error that the server answers to this START. */
static int try_start(struct fixture *f, const struct fs_start *start, size_t len, const int *fds,
		     unsigned fd_count)
{
	struct message message = { 0 };
	struct error err = { 0 }, answer = { 0 };

	assert_int_equal(message_send(f->monitor, FS_START, start, len, fds, fd_count, &err), 0);
	assert_int_equal(message_receive(f->monitor, &message, &answer, sizeof(answer), &err), 0);
	assert_int_equal(message.type, FS_STARTED);
	return answer.code;
}

static void a_hostile_monitor_gets_errors(void **state)
{
	struct fixture *f = *state;
	struct fs_start start = { 0 };
	int fds[FS_FDS], unsealed = memfd_create("unsealed", MFD_CLOEXEC);
	struct message message = { 0 };
	struct error err = { 0 };

	for (unsigned i = 0; i < FS_QUEUES; i++) {
		driver_make_queue(&f->d, i, 16);
		start.queues[i] = f->d.queues[i].layout;
	}
	for (unsigned i = 0; i < FS_FDS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* No memory, memory that could shrink under the server, and a directory. */
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	close(fds[FS_FD_MEMORY]);
	assert_int_equal(ftruncate(unsealed, DRIVER_MEMORY_SIZE), 0);
	fds[FS_FD_MEMORY] = unsealed;
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	fds[FS_FD_MEMORY] = f->base;
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	fds[FS_FD_MEMORY] = f->d.memory.fd;
	/* Messages of a wrong size, queues that are not in memory. */
	assert_int_not_equal(try_start(f, &start, sizeof(start) - 1, fds, FS_FDS), 0);
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS - 1), 0);
	start.queues[1].device = DRIVER_MEMORY_SIZE - 16;
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	start.queues[1] = f->d.queues[1].layout;
	start.queues[1].size = 0x8000;
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	/* At last all is right; a second time it is not. */
	start.queues[1] = f->d.queues[1].layout;
	assert_int_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	assert_int_not_equal(try_start(f, &start, sizeof(start), fds, FS_FDS), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(message_send(f->monitor, FS_STOP, NULL, 0, NULL, 0, &err), 0);
		assert_int_equal(message_receive(f->monitor, &message, NULL, 0, &err), 0);
		assert_int_equal(message.type, FS_STOPPED);
	}
	for (unsigned i = FS_FD_INTERRUPT; i < FS_FDS; i++)
		close(fds[i]);
	close(unsealed);
	/* What is no message ends the server; no harm is done. */
	assert_int_equal(send(f->monitor, "x", 1, 0), 1);
	wait_for_server(f);
}

#define device_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		device_test(the_driver_finds_a_file_system),
		device_test(requests_are_served),
		device_test(the_filter_has_what_requests_take),
		device_test(a_reset_begins_anew),
		device_test(many_requests_wait_at_once),
		device_test(nonsense_in_a_queue_breaks_the_device),
		device_test(a_device_without_its_server_is_broken),
		cmocka_unit_test_setup_teardown(a_server_may_be_read_only, setup_read_only,
						teardown),
		cmocka_unit_test_setup_teardown(a_hostile_monitor_gets_errors, setup_without_device,
						teardown),
		cmocka_unit_test(tags_have_a_length),
	};

	return cmocka_run_group_tests_name("fs_server", tests, NULL, NULL);
}
