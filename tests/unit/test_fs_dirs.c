/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: reading directories, also large ones, and while they change. */
#include "tests/unit/fs_client.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID
#define MANY 100000

/* What one READDIR(PLUS) said: called for each entry; false: no more of them. */
typedef bool entry_callback(const char *name, const struct fuse_dirent *dirent,
			    const struct fuse_entry_out *entry, void *data);

/* One request at offset: the offset to go on with, or -1 at the end. */
static int64_t read_some(struct fs_client *c, uint64_t dir, uint64_t fh, uint64_t offset,
			 uint32_t size, bool plus, entry_callback *callback, void *data)
{
	struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0, at = 0;
	int64_t next = -1;

	assert_int_equal(fs_call(c, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, &in, sizeof(in),
				 NULL, NULL),
			 0);
	assert_true(c->answered <= size);
	while (at < c->answered) {
		struct fuse_entry_out entry = { 0 };
		struct fuse_dirent dirent;
		char name[256] = "";

		assert_true(c->answered - at >= head + FUSE_NAME_OFFSET);
		memcpy(&entry, c->answer.data + at, head);
		memcpy(&dirent, c->answer.data + at + head, FUSE_NAME_OFFSET);
		assert_true(dirent.namelen > 0 && dirent.namelen < sizeof(name));
		assert_true(c->answered - at >= head + FUSE_NAME_OFFSET + dirent.namelen);
		memcpy(name, c->answer.data + at + head + FUSE_NAME_OFFSET, dirent.namelen);
		at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + dirent.namelen);
		next = (int64_t)dirent.off;
		if (!callback(name, &dirent, &entry, data))
			break;
	}
	return next;
}

static void read_all(struct fs_client *c, uint64_t dir, uint64_t fh, uint32_t size, bool plus,
		     entry_callback *callback, void *data)
{
	int64_t offset = 0;

	while (offset >= 0)
		offset = read_some(c, dir, fh, (uint64_t)offset, size, plus, callback, data);
}

struct seen {
	struct fs_client *c;
	unsigned count, dots, known;
	uint8_t numbers[MANY];
	unsigned remove_below; /* what has a lower number is removed as soon as it was seen */
};

static bool see(const char *name, const struct fuse_dirent *dirent,
		const struct fuse_entry_out *entry, void *data)
{
	struct seen *seen = data;
	unsigned long number;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		seen->dots++;
		assert_int_equal(entry->nodeid, 0);
		return true;
	}
	assert_int_equal(name[0], 'f');
	number = strtoul(name + 1, NULL, 10);
	assert_true(number < MANY);
	assert_int_equal(dirent->type, S_IFREG >> 12);
	seen->numbers[number]++;
	seen->count++;
	if (entry->nodeid) {
		seen->known++;
		assert_int_equal(entry->attr.ino, dirent->ino);
		assert_int_equal(entry->attr.mode & S_IFMT, S_IFREG);
	}
	if (number < seen->remove_below)
		assert_int_equal(unlinkat(seen->c->tree, name, 0), 0);
	return true;
}

static void make_files(struct fs_client *c, unsigned count)
{
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		fs_host_write(c, name, "");
	}
}

static void each_entry_is_listed_once(void **state)
{
	struct fs_client *c = *state;
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	struct fuse_read_in small = { .size = 24 };
	uint64_t fh = fs_opendir(c, ROOT);

	seen->c = c;
	make_files(c, 300);
	/* From the smallest that holds an entry to more than all of them take. */
	for (uint32_t size = 48; size < 200000; size *= 3) {
		memset(seen->numbers, 0, sizeof(seen->numbers));
		seen->count = seen->dots = 0;
		read_all(c, ROOT, fh, size, false, see, seen);
		assert_int_equal(seen->count, 300);
		assert_int_equal(seen->dots, 2);
		for (unsigned i = 0; i < 300; i++)
			assert_int_equal(seen->numbers[i], 1);
	}
	small.fh = fh;
	assert_int_equal(fs_call(c, FUSE_READDIR, ROOT, &small, sizeof(small), NULL, NULL),
			 -EINVAL);
	small.offset = UINT64_MAX;
	assert_int_equal(fs_call(c, FUSE_READDIR, ROOT, &small, sizeof(small), NULL, NULL),
			 -EINVAL);
	fs_release(c, ROOT, fh);
	assert_int_equal(fs_call(c, FUSE_READDIR, ROOT, &small, sizeof(small), NULL, NULL), -EBADF);
}

static void entries_come_with_their_attributes(void **state)
{
	struct fs_client *c = *state;
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	uint64_t fh = fs_opendir(c, ROOT);

	make_files(c, 100);
	for (int i = 0; i < 2; i++)
		read_all(c, ROOT, fh, 4096, true, see, seen);
	assert_int_equal(seen->count, 200);
	assert_int_equal(seen->known, 200);
	assert_int_equal(seen->dots, 4);
	/* Each was counted as looked up: twice, and now once more. */
	for (unsigned i = 0; i < 100; i++) {
		char name[32];
		uint64_t node;

		snprintf(name, sizeof(name), "f%u", i);
		node = fs_lookup(c, ROOT, name);
		fs_forget(c, node, 2);
		fs_getattr(c, node, &(struct fuse_attr){ 0 });
		fs_forget(c, node, 1);
		assert_int_equal(fs_call(c, FUSE_GETATTR, node, &(struct fuse_getattr_in){ 0 },
					 sizeof(struct fuse_getattr_in), NULL, NULL),
				 -ESTALE);
	}
}

/* What `rm -r` does: entries go while they are read, and none of the others is missed. */
static void entries_are_removed_while_they_are_read(void **state)
{
	struct fs_client *c = *state;

	for (int plus = 0; plus < 2; plus++) {
		_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
		uint64_t fh = fs_opendir(c, ROOT);

		make_files(c, 2000);
		seen->c = c;
		seen->remove_below = 1000;
		read_all(c, ROOT, fh, 4096, plus, see, seen);
		/* Entries that were read ahead may be gone, but not those that nobody removed. */
		for (unsigned i = 0; i < 2000; i++)
			assert_int_equal(seen->numbers[i], 1);
		seen->remove_below = 2000;
		read_all(c, ROOT, fh, 4096, plus, see, seen);
		fs_release(c, ROOT, fh);
		fh = fs_opendir(c, ROOT);
		seen->count = 0;
		read_all(c, ROOT, fh, 4096, plus, see, seen);
		assert_int_equal(seen->count, 0);
		fs_release(c, ROOT, fh);
	}
}

/* Names of few files, which are quickly made. */
static void make_names(struct fs_client *c, unsigned count)
{
	char name[32], source[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		snprintf(source, sizeof(source), "f%u", i / 10000 * 10000);
		if (i % 10000 == 0)
			fs_host_write(c, name, "");
		else
			assert_int_equal(linkat(c->tree, source, c->tree, name, 0), 0);
	}
}

static void a_hundred_thousand_entries(void **state)
{
	struct fs_client *c = *state;
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	uint64_t fh = fs_opendir(c, ROOT);

	make_names(c, MANY);
	read_all(c, ROOT, fh, 4096, false, see, seen);
	assert_int_equal(seen->count, MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(seen->numbers[i], 1);
	memset(seen->numbers, 0, sizeof(seen->numbers));
	read_all(c, ROOT, fh, 32768, true, see, seen);
	assert_int_equal(seen->known, MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(seen->numbers[i], 1);
}

struct place {
	uint64_t offset;
	char next[256];
	unsigned count;
};

static bool note(const char *name, const struct fuse_dirent *dirent,
		 const struct fuse_entry_out *entry, void *data)
{
	struct place *place = data;

	(void)entry;
	if (++place->count == 51)
		snprintf(place->next, sizeof(place->next), "%s", name);
	if (place->count == 50)
		place->offset = dirent->off;
	return true;
}

static bool first(const char *name, const struct fuse_dirent *dirent,
		  const struct fuse_entry_out *entry, void *data)
{
	(void)dirent;
	(void)entry;
	assert_string_equal(name, data);
	return false;
}

static void reading_goes_on_from_anywhere(void **state)
{
	struct fs_client *c = *state;
	uint64_t fh = fs_opendir(c, ROOT);
	struct place place = { 0 };

	make_files(c, 500);
	read_all(c, ROOT, fh, 4096, false, note, &place);
	for (int i = 0; i < 3; i++) {
		read_some(c, ROOT, fh, place.offset, 4096, false, first, place.next);
		read_some(c, ROOT, fh, place.offset, 65536, true, first, place.next);
		read_some(c, ROOT, fh, 0, 4096, false, note, &(struct place){ 0 });
	}
}

/* More directories half read than rests are kept of: the others are read again from where they were. */
static void many_directories_are_read_at_once(void **state)
{
	struct fs_client *c = *state;
	enum { HANDLES = 1100 };
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	_cleanup_free_ uint64_t *fhs = calloc(HANDLES, sizeof(*fhs));
	_cleanup_free_ int64_t *offsets = calloc(HANDLES, sizeof(*offsets));

	make_files(c, 40);
	for (unsigned i = 0; i < HANDLES; i++)
		fhs[i] = fs_opendir(c, ROOT);
	for (bool more = true; more;) {
		more = false;
		for (unsigned i = 0; i < HANDLES; i++) {
			if (offsets[i] < 0)
				continue;
			offsets[i] = read_some(c, ROOT, fhs[i], (uint64_t)offsets[i], 300, false,
					       see, seen);
			more = true;
		}
	}
	assert_int_equal(seen->count, 40 * HANDLES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(each_entry_is_listed_once),
		fs_test(entries_come_with_their_attributes),
		fs_test(entries_are_removed_while_they_are_read),
		fs_test(a_hundred_thousand_entries),
		fs_test(reading_goes_on_from_anywhere),
		fs_test(many_directories_are_read_at_once),
	};

	return cmocka_run_group_tests_name("fs_dirs", tests, NULL, NULL);
}
