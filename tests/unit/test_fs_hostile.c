/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: what only a hostile guest sends, or a host does at the worst moment. */
#include "tests/unit/fs_client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/syscalls.h"

#define ROOT FUSE_ROOT_ID

/* ---- form --------------------------------------------------------------------------------------- */

/* What a request needs at the least: from the kernel's header, not from the server's table. */
static const struct {
	uint32_t opcode;
	uint8_t arg, names;
} forms[] = {
	{ FUSE_LOOKUP, 0, 1 },
	{ FUSE_GETATTR, 16, 0 },
	{ FUSE_SETATTR, 88, 0 },
	{ FUSE_SYMLINK, 0, 2 },
	{ FUSE_MKNOD, 16, 1 },
	{ FUSE_MKDIR, 8, 1 },
	{ FUSE_UNLINK, 0, 1 },
	{ FUSE_RMDIR, 0, 1 },
	{ FUSE_RENAME, 8, 2 },
	{ FUSE_LINK, 8, 1 },
	{ FUSE_OPEN, 8, 0 },
	{ FUSE_READ, 40, 0 },
	{ FUSE_WRITE, 40, 0 },
	{ FUSE_RELEASE, 24, 0 },
	{ FUSE_FSYNC, 16, 0 },
	{ FUSE_SETXATTR, 16, 1 },
	{ FUSE_GETXATTR, 8, 1 },
	{ FUSE_LISTXATTR, 8, 0 },
	{ FUSE_REMOVEXATTR, 0, 1 },
	{ FUSE_FLUSH, 24, 0 },
	{ FUSE_OPENDIR, 8, 0 },
	{ FUSE_READDIR, 40, 0 },
	{ FUSE_RELEASEDIR, 24, 0 },
	{ FUSE_FSYNCDIR, 16, 0 },
	{ FUSE_ACCESS, 8, 0 },
	{ FUSE_CREATE, 16, 1 },
	{ FUSE_FALLOCATE, 32, 0 },
	{ FUSE_READDIRPLUS, 40, 0 },
	{ FUSE_RENAME2, 16, 2 },
	{ FUSE_LSEEK, 24, 0 },
	{ FUSE_COPY_FILE_RANGE, 56, 0 },
	{ FUSE_SYNCFS, 8, 0 },
	{ FUSE_TMPFILE, 16, 1 },
	{ FUSE_INIT, 16, 0 },
};

static void too_short_requests_are_refused(void **state)
{
	static const uint8_t zeros[128];
	struct fs_client *c = *state;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		for (size_t len = 0; len < forms[i].arg + (forms[i].names ? 1U : 0U); len++) {
			size_t at = fs_begin(c, forms[i].opcode, ROOT);

			at = fs_add(c, at, zeros, len);
			assert_int_equal(fs_send(c, at), -EINVAL);
		}
	}
}

/* Every operation with every length, in memory that ends where the request does; and every size of the room for its answer. */
static void any_length_is_survived(void **state)
{
	struct fs_client *c = *state;
	struct fuse_in_header header = { .nodeid = ROOT, .unique = 1 };

	for (uint32_t opcode = 0; opcode < 70; opcode++) {
		for (size_t len = 0; len < 180; len++) {
			_cleanup_free_ uint8_t *in = malloc(len ? len : 1);
			size_t room = len * 7 % 180;
			_cleanup_free_ uint8_t *out = malloc(room ? room : 1);
			struct iovec iov[2] = { { in, len }, { out, room } };

			header.opcode = opcode;
			memset(in, 'a', len);
			header.len = len % 3 ? (uint32_t)len : 180;
			memcpy(in, &header, len < sizeof(header) ? len : sizeof(header));
			if (len > sizeof(header))
				in[len - 1] = '\0';
			assert_true(fs_handle(c->fs, &iov[0], 1, &iov[1], 1) <= room);
		}
		if (opcode == FUSE_DESTROY || opcode == FUSE_INIT)
			assert_int_equal(fs_init(c, UINT32_MAX), 0);
	}
	assert_int_equal(fs_handle(c->fs, NULL, 0, NULL, 0), 0);
	fs_getattr(c, ROOT, &(struct fuse_attr){ 0 });
}

static void lengths_that_lie_are_refused(void **state)
{
	struct fs_client *c = *state;
	struct fuse_write_in in = { .size = 5 };
	uint64_t node;
	size_t len, max = sizeof(c->request) - 64;
	uint32_t lie;

	in.fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	/* The header's length. */
	for (int delta = -1; delta <= 1; delta += 2) {
		len = fs_begin(c, FUSE_LOOKUP, ROOT);
		len = fs_add(c, len, "file", 5);
		lie = (uint32_t)((int)len + delta);
		memcpy(c->request, &lie, sizeof(lie));
		assert_int_equal(fs_send(c, len), -EINVAL);
	}
	/* That of the data. */
	for (uint32_t size = 4; size <= 6; size++) {
		len = fs_begin(c, FUSE_WRITE, node);
		in.size = size;
		len = fs_add(c, len, &in, sizeof(in));
		len = fs_add(c, len, "hello", 5);
		assert_int_equal(fs_send(c, len), size == 5 ? 0 : -EINVAL);
	}
	/* That of an attribute's value, and of a list. */
	assert_int_equal(fs_call(c, FUSE_SETXATTR, node, &(struct fuse_setxattr_in){ .size = 1 },
				 sizeof(struct fuse_setxattr_in), "user.x", NULL),
			 -EINVAL);
	len = fs_begin(c, FUSE_BATCH_FORGET, 0);
	len = fs_add(c, len, &(struct fuse_batch_forget_in){ .count = 0x10000000 }, 8);
	assert_int_equal(fs_send(c, len), FS_NO_ANSWER);
	/* More than any request takes. */
	memset(c->request, 'a', sizeof(c->request));
	len = fs_begin(c, FUSE_LOOKUP, ROOT);
	memcpy(c->request, &(uint32_t){ (uint32_t)max }, sizeof(uint32_t));
	assert_int_equal(fs_send(c, max), -E2BIG);
	/* Extensions that were not agreed on. */
	len = fs_begin(c, FUSE_STATFS, ROOT);
	c->request[36] = 1;
	assert_int_equal(fs_send(c, len), -EINVAL);
}

static void names_are_one_component(void **state)
{
	static const char *const bad[] = { "", ".", "..", "/", "a/b", "/a", "a/", "../x", "./x" };
	struct fs_client *c = *state;
	struct fuse_rename_in in = { .newdir = ROOT };
	uint8_t arg[16] = { 0 };
	char longest[258];

	memset(longest, 'n', sizeof(longest));
	longest[256] = '\0';
	fs_host_write(c, "file", "");
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		/* Attributes have other names, and what has none is called "/". */
		if (!forms[i].names || forms[i].opcode == FUSE_TMPFILE ||
		    (forms[i].opcode >= FUSE_SETXATTR && forms[i].opcode <= FUSE_REMOVEXATTR))
			continue;
		for (size_t j = 0; j < ARRAY_SIZE(bad); j++) {
			assert_int_equal(fs_call(c, forms[i].opcode, ROOT, arg, forms[i].arg,
						 bad[j], forms[i].names > 1 ? "to" : NULL),
					 -EINVAL);
			if (forms[i].opcode == FUSE_RENAME)
				assert_int_equal(fs_call(c, FUSE_RENAME, ROOT, &in, sizeof(in),
							 "file", bad[j]),
						 -EINVAL);
		}
		assert_int_equal(fs_call(c, forms[i].opcode, ROOT, arg, forms[i].arg, longest,
					 forms[i].names > 1 ? "to" : NULL),
				 -ENAMETOOLONG);
	}
	/* Without a NUL, with one inside, and with something behind it. */
	assert_int_equal(fs_send(c, fs_add(c, fs_begin(c, FUSE_LOOKUP, ROOT), "file", 4)), -EINVAL);
	assert_int_equal(fs_send(c, fs_add(c, fs_begin(c, FUSE_LOOKUP, ROOT), "fi\0le", 6)),
			 -EINVAL);
	assert_int_equal(fs_send(c, fs_add(c, fs_begin(c, FUSE_LOOKUP, ROOT), "file\0", 6)),
			 -EINVAL);
	longest[255] = '\0';
	assert_int_equal(fs_mknod(c, ROOT, longest, S_IFREG | 0600, 0), 0);
	/* Names of attributes are bounded, too. */
	longest[255] = 'n';
	assert_int_equal(fs_getxattr(c, ROOT, longest, 10), -ERANGE);
	assert_int_equal(fs_getxattr(c, ROOT, "", 10), -ERANGE);
}

static void numbers_that_nobody_gave_are_refused(void **state)
{
	static const uint64_t numbers[] = { 0, 2, 1000, UINT64_MAX, UINT64_C(1) << 32 };
	struct fs_client *c = *state;
	uint8_t arg[128] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(forms); j++) {
			uint64_t node = numbers[i];
			int r;

			if (forms[j].opcode == FUSE_INIT)
				continue;
			r = fs_call(c, forms[j].opcode, node, arg, forms[j].arg,
				    forms[j].names ? "a" : NULL, forms[j].names > 1 ? "b" : NULL);
			assert_true(r == -ESTALE || r == -EBADF);
		}
		assert_int_equal(fs_read(c, ROOT, numbers[i], 0, 1), -EBADF);
		assert_int_equal(fs_write(c, ROOT, numbers[i], 0, "x", 1, 0, 0), -EBADF);
		fs_forget(c, numbers[i], 1);
	}
}

/* ---- sessions ----------------------------------------------------------------------------------- */

static void nothing_is_served_before_init(void **state)
{
	struct fs_client *c = *state;
	struct fuse_init_in in = { .major = 7, .minor = 30 };
	struct fuse_init_out *out = (void *)c->answer.data;
	struct fuse_getattr_in get = { 0 };
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);

	assert_int_equal(fs_call(c, FUSE_DESTROY, 0, NULL, 0, NULL, NULL), 0);
	assert_int_equal(fs_call(c, FUSE_GETATTR, ROOT, &get, sizeof(get), NULL, NULL), -EIO);
	assert_int_equal(fs_call(c, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL), -EPROTO);
	in.major = 6;
	in.minor = 99;
	assert_int_equal(fs_call(c, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL), -EPROTO);
	/* A kernel of the future asks again in our version. */
	in.major = 8;
	assert_int_equal(fs_call(c, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL), 0);
	assert_int_equal(out->major, 7);
	assert_int_equal(fs_call(c, FUSE_GETATTR, ROOT, &get, sizeof(get), NULL, NULL), -EIO);
	/* A kernel of the past: without FUSE_INIT_EXT the structure is shorter. */
	in = (struct fuse_init_in){ .major = 7, .minor = 31, .flags = FUSE_ASYNC_READ };
	assert_int_equal(fs_call(c, FUSE_INIT, 0, &in, 16, NULL, NULL), 0);
	assert_int_equal(out->flags, FUSE_ASYNC_READ);
	/* The old attributes' structure is shorter, too. */
	in.flags = 0;
	assert_int_equal(fs_call(c, FUSE_SETXATTR, ROOT, "\1\0\0\0\0\0\0", 8, "user.x", "") == 0 ||
				 c->answer.header.error == -EOPNOTSUPP,
			 true);
	/* Nothing of the first session is left. */
	assert_int_equal(fs_call(c, FUSE_GETATTR, node, &get, sizeof(get), NULL, NULL), -ESTALE);
	assert_int_equal(fs_read(c, node, fh, 0, 1), -EBADF);
}

static void what_is_agreed_on_is_what_both_know(void **state)
{
	struct fs_client *c = *state;
	struct fuse_init_out *out = (void *)c->answer.data;

	assert_int_equal(fs_init(c, UINT64_MAX), 0);
	assert_int_equal(out->major, 7);
	assert_int_equal(out->minor, 39);
	assert_int_equal(out->max_write, 1 << 20);
	assert_int_equal(out->max_pages, 256);
	assert_int_equal(out->time_gran, 1);
	assert_int_equal(out->max_readahead, 131072);
	assert_true(out->flags & FUSE_HANDLE_KILLPRIV_V2 && out->flags & FUSE_POSIX_ACL &&
		    out->flags & FUSE_SUBMOUNTS && out->flags & FUSE_DONT_MASK);
	assert_false(out->flags &
		     (FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
		      FUSE_MAP_ALIGNMENT | FUSE_EXPORT_SUPPORT | FUSE_NO_OPEN_SUPPORT));
	assert_int_equal(out->flags2, 0);
	assert_int_equal(fs_init(c, FUSE_WRITEBACK_CACHE | FUSE_ASYNC_READ), 0);
	assert_int_equal(out->flags, FUSE_ASYNC_READ);
}

/* ---- races on the host -------------------------------------------------------------------------- */

struct swapper {
	int tree;
	atomic_bool stop;
	pthread_t thread;
};

static void *swap(void *data)
{
	struct swapper *s = data;

	while (!s->stop) {
		syscall(SYS_renameat2, s->tree, "a", s->tree, "b", 2 /* RENAME_EXCHANGE */);
		syscall(SYS_renameat2, s->tree, "f", s->tree, "g", 2);
	}
	return NULL;
}

static void look_inside(struct fs_client *c)
{
	struct fuse_entry_out entry = { 0 }, inside = { 0 };
	struct fuse_open_out out = { 0 };
	int r = fs_try_lookup(c, ROOT, "a", &entry);

	if (r == 0) {
		r = fs_try_lookup(c, entry.nodeid, "secret", &inside);
		assert_int_not_equal(r, 0);
		r = fs_try_create(c, entry.nodeid, "made", O_WRONLY, 0600, &inside, &out);
		if (r == 0) {
			assert_int_equal(
				fs_call(c, FUSE_UNLINK, entry.nodeid, NULL, 0, "made", NULL), 0);
			fs_release(c, inside.nodeid, out.fh);
			fs_forget(c, inside.nodeid, 1);
		}
		fs_forget(c, entry.nodeid, 1);
	}
	/* A file, or a link to the secret: it must not be emptied. */
	r = fs_try_create(c, ROOT, "f", O_WRONLY | O_TRUNC, 0600, &entry, &out);
	if (r == 0) {
		assert_int_equal(fs_write(c, entry.nodeid, out.fh, 0, "x", 1, O_WRONLY, 0), 1);
		fs_release(c, entry.nodeid, out.fh);
		fs_forget(c, entry.nodeid, 1);
	}
}

/* Directory and symbolic link change places all the time: no lookup may ever end up where the link points. */
static void links_that_come_and_go_lead_nowhere(void **state)
{
	struct fs_client *c = *state;
	struct swapper s = { .tree = c->tree };
	int fd = openat(c->base, "outside/secret", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	assert_int_equal(write(fd, "secret", 6), 6);
	fs_host_write(c, "a", NULL);
	assert_int_equal(symlinkat("../outside", c->tree, "b"), 0);
	fs_host_write(c, "f", "");
	assert_int_equal(symlinkat("../outside/secret", c->tree, "g"), 0);
	assert_int_equal(pthread_create(&s.thread, NULL, swap, &s), 0);
	for (int i = 0; i < 10000; i++)
		look_inside(c);
	s.stop = true;
	pthread_join(s.thread, NULL);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 6);
	close(fd);
	assert_int_equal(faccessat(c->base, "outside/made", F_OK, 0), -1);
	assert_int_equal(unlinkat(c->base, "outside/secret", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(too_short_requests_are_refused),
		fs_test(any_length_is_survived),
		fs_test(lengths_that_lie_are_refused),
		fs_test(names_are_one_component),
		fs_test(numbers_that_nobody_gave_are_refused),
		fs_test(nothing_is_served_before_init),
		fs_test(what_is_agreed_on_is_what_both_know),
		fs_test(links_that_come_and_go_lead_nowhere),
	};

	return cmocka_run_group_tests_name("fs_hostile", tests, NULL, NULL);
}
