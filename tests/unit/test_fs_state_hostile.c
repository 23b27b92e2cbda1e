/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: a state that somebody wrote who means ill, or that is damaged, is refused or does no harm. */
#include "tests/unit/fs_state_client.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "microvm/fs_request.h"
#include "microvm/fs_state.h"

#define ROOT FUSE_ROOT_ID

static int getattr(struct fs_client *c, uint64_t node)
{
	struct fuse_getattr_in in = { 0 };

	return fs_call(c, FUSE_GETATTR, node, &in, sizeof(in), NULL, NULL);
}

/* Whatever came of it, the server goes on. */
static void load_bytes(struct fs_client *c, const uint8_t *bytes, size_t size)
{
	struct fuse_read_in in = { .size = 4096 };
	struct error err = { 0 };
	int fd = fs_new_state(), r;

	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	r = fs_state_load(c->fs, fd, &err);
	if (r < 0) {
		assert_int_equal(err.code, -r);
		assert_int_not_equal(err.text[0], 0);
		assert_int_equal(c->fs->nodes.count, 1);
		assert_int_equal(c->fs->files.used, 0);
	}
	for (uint64_t node = 1; node < 8; node++) {
		(void)getattr(c, node);
		(void)fs_call(c, FUSE_READDIR, node, &in, sizeof(in), NULL, NULL);
		fs_forget(c, node, 3);
	}
	close(fd);
	fd = fs_new_state();
	(void)fs_state_save(c->fs, fd, &err);
	close(fd);
	fs_reset(c->fs);
}

/* A directory, a file in it that is open, one that has no name, a stale directory, and the root open. */
static size_t make_state(struct fs_client *c, uint8_t *bytes, size_t room)
{
	uint64_t dir, node, fh;
	struct fuse_attr attr;
	ssize_t size;
	int fd;

	fs_host_run(c, "mkdir tree/dir tree/gone && echo -n hello >tree/dir/file");
	dir = fs_lookup(c, ROOT, "dir");
	fs_open(c, fs_lookup(c, dir, "file"), O_RDWR);
	fh = fs_create(c, ROOT, "nameless", O_RDWR, 0644, &node);
	assert_int_equal(fs_write(c, node, fh, 10, "text", 4, 0, 0), 4);
	(void)fs_setxattr(c, node, "user.a", "b", 1, 0);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "nameless", NULL), 0);
	fs_opendir(c, ROOT);
	fs_opendir(c, fs_lookup(c, ROOT, "gone"));
	assert_int_equal(fs_call(c, FUSE_RMDIR, ROOT, NULL, 0, "gone", NULL), 0);
	fs_getattr(c, node, &attr);
	fd = fs_save(c);
	size = pread(fd, bytes, room, 0);
	assert_true(size > 0 && (size_t)size < room);
	close(fd);
	fs_free(c->fs);
	c->fs = fs_new_server(c);
	return (size_t)size;
}

static void a_state_that_is_cut_off_is_refused(void **state)
{
	struct fs_client *c = *state;
	uint8_t bytes[4096];
	size_t size = make_state(c, bytes, sizeof(bytes));
	struct error err = { 0 };

	for (size_t i = 0; i < size; i++) {
		int fd = fs_new_state();

		assert_int_equal(pwrite(fd, bytes, i, 0), i);
		assert_int_equal(fs_state_load(c->fs, fd, &err), -EBADMSG);
		assert_int_equal(c->fs->nodes.count, 1);
		close(fd);
		load_bytes(c, bytes, i);
	}
	load_bytes(c, bytes, size);
}

static void a_state_with_other_bytes_does_no_harm(void **state)
{
	static const uint8_t values[] = { 0x01, 0x80, 0xff };
	struct fs_client *c = *state;
	uint8_t bytes[4096];
	size_t size = make_state(c, bytes, sizeof(bytes));

	for (size_t i = 0; i < size; i++)
		for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
			bytes[i] ^= values[k];
			load_bytes(c, bytes, size);
			bytes[i] ^= values[k];
		}
	fs_host_run(c, "test ! -e tree/nameless && test \"$(cat tree/dir/file)\" = hello");
}

/* ---- one thing wrong ---- */

struct crafted {
	struct fs_state_header header;
	struct fs_saved_node root;
	struct {
		struct fs_saved_node node;
		char name[8];
	} a, b;
	struct fs_saved_slot slots[2];
};

static struct crafted craft(void)
{
	struct crafted s = {
		.header = { .magic = FS_STATE_MAGIC,
			    .version = FS_STATE_VERSION,
			    .initialised = 1,
			    .next_id = 10,
			    .nodes = 3,
			    .slots = 2 },
		.root = { .id = 1, .nlookup = 1, .type = S_IFDIR, .kind = FS_SAVED_ROOT },
		.a = { { .id = 2,
			 .nlookup = 1,
			 .parent = 1,
			 .type = S_IFDIR,
			 .name_size = 8,
			 .kind = FS_SAVED_NAMED },
		       "director" },
		.b = { { .id = 3,
			 .nlookup = 1,
			 .parent = 2,
			 .type = S_IFREG,
			 .name_size = 8,
			 .kind = FS_SAVED_NAMED },
		       "the-file" },
		.slots = { { .node = 3, .flags = O_RDWR }, { .generation = 7 } },
	};

	return s;
}

static int try_crafted(struct fs_client *c, const struct crafted *s)
{
	struct error err = { 0 };
	int fd = fs_new_state(), r;

	assert_int_equal(pwrite(fd, s, sizeof(*s), 0), sizeof(*s));
	r = fs_state_load(c->fs, fd, &err);
	close(fd);
	if (r == 0)
		fs_reset(c->fs);
	assert_int_equal(c->fs->nodes.count, 1);
	return r;
}

#define REFUSED(change)                                         \
	do {                                                    \
		struct crafted s = craft();                     \
		change;                                         \
		assert_int_equal(try_crafted(c, &s), -EBADMSG); \
	} while (0)

static void what_makes_no_sense_is_refused(void **state)
{
	struct fs_client *c = *state;
	struct crafted good = craft();

	fs_host_run(c, "mkdir tree/director && touch tree/director/the-file");
	assert_int_equal(try_crafted(c, &good), 0);
	REFUSED(s.header.magic[0] = 'H');
	REFUSED(s.header.version++);
	REFUSED(s.header.next_id = 3);
	REFUSED(s.header.ghosts = 1);
	REFUSED(s.header.nodes = 0);
	REFUSED(s.root.id = 2);
	REFUSED(s.root.kind = FS_SAVED_NAMED);
	/* Twice the same number, the root's, one beyond the last. */
	REFUSED(s.b.node.id = 2);
	REFUSED(s.b.node.id = 1);
	REFUSED(s.b.node.id = 0);
	REFUSED(s.b.node.id = 10);
	/* Parents: none, itself, one that comes later (so that there could be a circle), a file. */
	REFUSED(s.b.node.parent = 0);
	REFUSED(s.b.node.parent = 3);
	REFUSED(s.a.node.parent = 2);
	REFUSED(s.a.node.parent = 3);
	REFUSED(s.a.node.type = S_IFREG);
	/* Names. */
	REFUSED(s.b.name[3] = '/');
	REFUSED(s.b.name[3] = '\0');
	REFUSED(s.b.node.name_size = 0);
	REFUSED(s.b.node.name_size = 300);
	REFUSED(s.b.node.kind = FS_SAVED_STALE);
	REFUSED(s.b.node.kind = FS_SAVED_KINDS);
	REFUSED(s.b.node.kind = FS_SAVED_ROOT);
	REFUSED(s.b.node.kind = FS_SAVED_GHOST);
	REFUSED(s.b.node.type = 0);
	REFUSED(s.b.node.type = S_IFREG | 0644);
	REFUSED(s.b.node.nlookup = UINT64_MAX);
	/* Open files. */
	REFUSED(s.slots[0].node = 9);
	REFUSED(s.slots[0].flags = O_ACCMODE);
	REFUSED(s.slots[0].position = UINT64_MAX);
	REFUSED(s.b.node.type = S_IFIFO);
	REFUSED(s.header.slots = 3);
	good.header.nodes = FS_NODES_MAX + 1;
	assert_int_equal(try_crafted(c, &good), -ENFILE);
	good = craft();
	good.header.slots = UINT32_MAX;
	assert_int_equal(try_crafted(c, &good), -ENFILE);
	/* Nothing is created or emptied by what a file says that it was opened with. */
	good = craft();
	fs_host_run(c, "echo text >tree/director/the-file");
	good.slots[0].flags |= O_TRUNC | O_CREAT | O_EXCL;
	assert_int_equal(try_crafted(c, &good), 0);
	fs_host_run(c, "test \"$(cat tree/director/the-file)\" = text");
	memcpy(good.b.name, "../../..", 8);
	assert_int_equal(try_crafted(c, &good), -EBADMSG);
}

static void a_read_only_server_opens_nothing_for_writing(void **state)
{
	struct fs_client *c = *state;
	struct crafted s = craft();

	fs_host_run(c, "mkdir tree/director && touch tree/director/the-file");
	c->fs->read_only = true;
	assert_int_equal(try_crafted(c, &s), -EROFS);
	s.slots[0].flags = O_RDONLY;
	assert_int_equal(try_crafted(c, &s), 0);
}

static void the_state_is_a_regular_file(void **state)
{
	struct fs_client *c = *state;
	struct error err = { 0 };
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(fs_state_save(c->fs, fds[1], &err), -EINVAL);
	assert_int_equal(fs_state_load(c->fs, fds[0], &err), -EINVAL);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(a_state_that_is_cut_off_is_refused),
		fs_test(a_state_with_other_bytes_does_no_harm),
		fs_test(what_makes_no_sense_is_refused),
		fs_test(a_read_only_server_opens_nothing_for_writing),
		fs_test(the_state_is_a_regular_file),
	};

	return cmocka_run_group_tests_name("fs_state_hostile", tests, NULL, NULL);
}
