/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/path in root file systems that want us to leave them. Each test has a directory with
 * root/, the root file system, and outside/, which must stay as it was.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"

struct world {
	char path[256];
	int top, root, outside;
};

static int setup(void **state)
{
	struct world *w = malloc(sizeof(*w));

	assert_non_null(w);
	w->top = unit_make_dir(w->path, sizeof(w->path));
	assert_int_equal(mkdirat(w->top, "root", 0755), 0);
	assert_int_equal(mkdirat(w->top, "outside", 0755), 0);
	w->root = openat(w->top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	w->outside = openat(w->top, "outside", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(w->root >= 0 && w->outside >= 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	/* Nothing was made outside: the directory can be removed as it is. */
	assert_int_equal(unlinkat(w->top, "outside", AT_REMOVEDIR), 0);
	close(w->root);
	close(w->outside);
	unit_remove_dir(w->top, w->path);
	free(w);
	return 0;
}

/* Where an open descriptor leads, as a path below the root: "" is the root, NULL outside of it. */
static const char *inside(const struct world *w, int fd)
{
	static char target[PATH_MAX];
	char real[PATH_MAX], prefix[PATH_MAX + 8];
	ssize_t n = readlink(path_of_fd(fd).s, target, sizeof(target) - 1);

	assert_true(n > 0);
	target[n] = '\0';
	assert_non_null(realpath(w->path, real));
	snprintf(prefix, sizeof(prefix), "%s/root", real);
	if (strncmp(target, prefix, strlen(prefix)) != 0 ||
	    (target[strlen(prefix)] && target[strlen(prefix)] != '/'))
		return NULL;
	return target + strlen(prefix);
}

static void expect_at(const struct world *w, int fd, const char *where)
{
	const char *found;

	assert_true(fd >= 0);
	found = inside(w, fd);
	assert_non_null(found);
	assert_string_equal(found, where);
	close(fd);
}

static void links_and_dots_stay_inside(void **state)
{
	struct world *w = *state;
	char absolute[512];
	struct error err = { 0 };

	assert_int_equal(mkdirat(w->root, "etc", 0755), 0);
	assert_int_equal(symlinkat("/etc", w->root, "absolute"), 0);
	assert_int_equal(symlinkat("../../../../../../etc", w->root, "dots"), 0);
	assert_int_equal(symlinkat("../../outside", w->root, "etc/out"), 0);
	snprintf(absolute, sizeof(absolute), "%s/outside", w->path);
	assert_int_equal(symlinkat(absolute, w->root, "host"), 0);

	expect_at(w, path_open_in_root(w->root, "/", O_PATH, &err), "");
	expect_at(w, path_open_in_root(w->root, "/../../..", O_PATH, &err), "");
	expect_at(w, path_open_in_root(w->root, "absolute", O_PATH, &err), "/etc");
	expect_at(w, path_open_in_root(w->root, "/dots/../etc/.", O_PATH, &err), "/etc");
	assert_int_equal(path_try_open_in_root(w->root, "etc/out", O_PATH), -ENOENT);
	assert_int_equal(path_open_in_root(w->root, "host", O_PATH, &err), -ENOENT);
	assert_non_null(strstr(err.text, "`host`"));
}

static void opened_descriptors_are_close_on_exec(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	char name[NAME_MAX + 1];
	int fds[4];

	fds[0] = path_open_in_root(w->root, "/", O_RDONLY, &err);
	fds[1] = path_make_dir_in_root(w->root, "a/b", 0755, &err);
	fds[2] = path_make_file_in_root(w->root, "a/f", 0644, &err);
	fds[3] = path_make_parent_in_root(w->root, "a/x", name, sizeof(name), &err);
	for (int i = 0; i < 4; i++) {
		assert_true(fds[i] >= 0);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		close(fds[i]);
	}
}

static void makes_what_is_missing(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	struct stat st;
	mode_t old = umask(0);

	expect_at(w, path_make_dir_in_root(w->root, "/a/b//c/./d/", 0700, &err), "/a/b/c/d");
	expect_at(w, path_make_dir_in_root(w->root, "a/b", 0755, &err), "/a/b"); /* exists */
	expect_at(w, path_make_file_in_root(w->root, "a/x/file", 0640, &err), "/a/x/file");
	expect_at(w, path_make_file_in_root(w->root, "a/x/file", 0600, &err), "/a/x/file");
	umask(old);
	assert_int_equal(fstatat(w->root, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(fstatat(w->root, "a/x", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(fstatat(w->root, "a/x/file", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640); /* the second call did not change it */
	expect_at(w, path_make_dir_in_root(w->root, "..", 0755, &err), "");
	expect_at(w, path_make_dir_in_root(w->root, "new/../other", 0755, &err), "/other");
}

static void dangling_links_are_made_inside(void **state)
{
	struct world *w = *state;
	char absolute[512];
	struct error err = { 0 };

	snprintf(absolute, sizeof(absolute), "%s/outside/made", w->path);
	assert_int_equal(symlinkat(absolute, w->root, "dir"), 0);
	assert_int_equal(symlinkat("../../../outside/file", w->root, "file"), 0);
	snprintf(absolute, sizeof(absolute), "%s/outside/made/sub", w->path);
	expect_at(w, path_make_dir_in_root(w->root, "dir/sub", 0755, &err), absolute);
	expect_at(w, path_make_file_in_root(w->root, "file", 0644, &err), "/outside/file");
	assert_int_equal(faccessat(w->outside, "file", F_OK, 0), -1);
}

static void loops_end(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	char name[NAME_MAX + 1];

	assert_int_equal(symlinkat("b", w->root, "a"), 0);
	assert_int_equal(symlinkat("a", w->root, "b"), 0);
	assert_int_equal(symlinkat("self/x", w->root, "self"), 0);
	assert_int_equal(path_open_in_root(w->root, "a", O_PATH, &err), -ELOOP);
	assert_int_equal(path_make_dir_in_root(w->root, "a/d", 0755, &err), -ELOOP);
	assert_int_equal(path_make_file_in_root(w->root, "self", 0755, &err), -ELOOP);
	assert_int_equal(path_make_parent_in_root(w->root, "self/y", name, sizeof(name), &err),
			 -ELOOP);
}

static void long_paths_are_refused(void **state)
{
	struct world *w = *state;
	static char path[PATH_MAX * 2];
	struct error err = { 0 };
	char name[NAME_MAX + 1];

	/* A component too long. */
	memset(path, 'x', 300);
	path[300] = '\0';
	assert_int_equal(path_make_dir_in_root(w->root, path, 0755, &err), -ENAMETOOLONG);
	/* A path too long. */
	memset(path, '/', sizeof(path) - 1);
	assert_int_equal(path_make_dir_in_root(w->root, path, 0755, &err), -ENAMETOOLONG);
	/* Too deep for the walk: an error, no overrun, no descriptor left. */
	for (size_t i = 0; i < 600; i++)
		memcpy(path + i * 2, "d/", 3);
	assert_int_equal(path_make_dir_in_root(w->root, path, 0755, &err), -ENAMETOOLONG);
	/* Links that make it too long. */
	memset(path, 'y', 4000);
	path[4000] = '\0';
	for (size_t i = 200; i < 4000; i += 200)
		path[i] = '/';
	assert_int_equal(symlinkat(path, w->root, "long"), 0);
	snprintf(path, sizeof(path), "long/%s",
		 "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
		 "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz");
	assert_int_equal(path_make_parent_in_root(w->root, path, name, sizeof(name), &err),
			 -ENAMETOOLONG);
}

static void other_file_types_are_not_entered(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	struct stat st;
	int fd;

	assert_int_equal(mkfifoat(w->root, "fifo", 0600), 0);
	alarm(5); /* opening a FIFO for real would hang */
	assert_int_equal(path_make_dir_in_root(w->root, "fifo", 0755, &err), -ENOTDIR);
	assert_int_equal(path_make_dir_in_root(w->root, "fifo/x", 0755, &err), -ENOTDIR);
	fd = path_make_file_in_root(w->root, "fifo", 0644, &err);
	alarm(0);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISFIFO(st.st_mode)); /* whatever is there; the caller looks */
	close(fd);
	assert_int_equal(mkdirat(w->root, "dir", 0755), 0);
	assert_int_equal(path_make_file_in_root(w->root, "dir", 0644, &err), -EISDIR);
	assert_int_equal(path_make_file_in_root(w->root, "/", 0644, &err), -EISDIR);
	assert_int_equal(path_make_file_in_root(w->root, "dir/..", 0644, &err), -EISDIR);
}

static void magic_links_are_refused(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	char proc[512];
	int r, fd;

	/* A procfs in the root file system, whose links jump anywhere. */
	snprintf(proc, sizeof(proc), "%s/root/proc", w->path);
	assert_int_equal(mkdirat(w->root, "proc", 0755), 0);
	if (mount("proc", proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		skip();
	r = path_try_open_in_root(w->root, "proc/self/root", O_PATH);
	fd = path_make_dir_in_root(w->root, "proc/self/cwd/x", 0755, &err);
	umount2(proc, MNT_DETACH);
	assert_int_equal(r, -ELOOP);
	assert_int_equal(fd, -ELOOP);
}

static void a_parent_keeps_the_last_component(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	char name[NAME_MAX + 1], tiny[4];

	assert_int_equal(symlinkat("/elsewhere", w->root, "link"), 0);
	expect_at(w, path_make_parent_in_root(w->root, "/dev/sub/null", name, sizeof(name), &err),
		  "/dev/sub");
	assert_string_equal(name, "null");
	/* The last component is not followed, one on the way is. */
	expect_at(w, path_make_parent_in_root(w->root, "link", name, sizeof(name), &err), "");
	assert_string_equal(name, "link");
	expect_at(w, path_make_parent_in_root(w->root, "link/x/", name, sizeof(name), &err),
		  "/elsewhere");
	assert_string_equal(name, "x");
	assert_int_equal(path_make_parent_in_root(w->root, "/", name, sizeof(name), &err), -EISDIR);
	assert_int_equal(path_make_parent_in_root(w->root, "a/..", name, sizeof(name), &err),
			 -EISDIR);
	assert_int_equal(path_make_parent_in_root(w->root, "a/.", name, sizeof(name), &err),
			 -EISDIR);
	assert_int_equal(path_make_parent_in_root(w->root, "abcd", tiny, sizeof(tiny), &err),
			 -ENAMETOOLONG);
}

static void a_host_directory_is_opened_as_asked(void **state)
{
	struct world *w = *state;
	char link[512];
	struct error err = { 0 };
	int fd;

	assert_int_equal(symlinkat("root", w->top, "link"), 0);
	snprintf(link, sizeof(link), "%s/link", w->path);
	expect_at(w, path_open_dir(link, true, &err), "");
	fd = path_open_dir(link, false, &err);
	assert_true(fd == -ENOTDIR || fd == -ELOOP);
	assert_non_null(strstr(err.text, link));
}

/* ---- an attacker who renames while we walk ------------------------------------------------ */

struct attacker {
	const struct world *world;
	atomic_bool stop;
	atomic_uint swaps;
};

/* Swaps a directory and a link that leads out, again and again. */
static void *swap_directory_and_link(void *data)
{
	struct attacker *a = data;

	while (!atomic_load(&a->stop)) {
		if (renameat2(a->world->root, "a/b", a->world->root, "a/evil", RENAME_EXCHANGE) ==
		    0)
			a->swaps++;
	}
	return NULL;
}

static void swapped_links_never_lead_out(void **state)
{
	struct world *w = *state;
	struct attacker attacker = { .world = w };
	struct error err = { 0 };
	unsigned inside_count = 0;
	pthread_t thread;
	char path[64];

	assert_int_equal(mkdirat(w->root, "a", 0755), 0);
	assert_int_equal(mkdirat(w->root, "a/b", 0755), 0);
	assert_int_equal(symlinkat("../../outside", w->root, "a/evil"), 0);
	assert_int_equal(pthread_create(&thread, NULL, swap_directory_and_link, &attacker), 0);
	/* On a busy machine the other one may be late. */
	for (int i = 0; i < 3000 || ((!attacker.swaps || !inside_count) && i < 3000000); i++) {
		int fd;

		snprintf(path, sizeof(path), "a/b/c%d/%s", i % 50, i & 1 ? "file" : "dir");
		fd = i & 1 ? path_make_file_in_root(w->root, path, 0644, &err)
			   : path_make_dir_in_root(w->root, path, 0755, &err);
		if (fd < 0)
			continue;
		/* A path through the swapped directory may be named either way; never outside. */
		if (inside(w, fd))
			inside_count++;
		else
			fail_msg("%s led outside", path);
		close(fd);
	}
	atomic_store(&attacker.stop, true);
	pthread_join(thread, NULL);
	assert_true(attacker.swaps > 0);
	assert_true(inside_count > 0);
}

/* Moves a deep directory to the top and back, so that ".." from it means different places. */
static void *move_up_and_down(void *data)
{
	struct attacker *a = data;

	while (!atomic_load(&a->stop)) {
		if (renameat(a->world->root, "x/y/z", a->world->root, "z") == 0 &&
		    renameat(a->world->root, "z", a->world->root, "x/y/z") == 0)
			a->swaps++;
	}
	return NULL;
}

static void moved_directories_never_lead_out(void **state)
{
	struct world *w = *state;
	struct attacker attacker = { .world = w };
	struct error err = { 0 };
	pthread_t thread;
	char path[64];

	assert_int_equal(mkdirat(w->root, "x", 0755), 0);
	assert_int_equal(mkdirat(w->root, "x/y", 0755), 0);
	assert_int_equal(mkdirat(w->root, "x/y/z", 0755), 0);
	assert_int_equal(pthread_create(&thread, NULL, move_up_and_down, &attacker), 0);
	for (int i = 0; i < 3000 || (!attacker.swaps && i < 3000000); i++) {
		int fd;

		snprintf(path, sizeof(path), "x/y/z/../../../outside/made%d", i % 20);
		fd = path_make_dir_in_root(w->root, path, 0755, &err);
		if (fd < 0)
			continue;
		assert_non_null(inside(w, fd));
		close(fd);
	}
	atomic_store(&attacker.stop, true);
	pthread_join(thread, NULL);
	assert_true(attacker.swaps > 0);
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(links_and_dots_stay_inside),
		world_test(opened_descriptors_are_close_on_exec),
		world_test(makes_what_is_missing),
		world_test(dangling_links_are_made_inside),
		world_test(loops_end),
		world_test(long_paths_are_refused),
		world_test(other_file_types_are_not_entered),
		world_test(magic_links_are_refused),
		world_test(a_parent_keeps_the_last_component),
		world_test(a_host_directory_is_opened_as_asked),
		world_test(swapped_links_never_lead_out),
		world_test(moved_directories_never_lead_out),
	};

	return cmocka_run_group_tests_name("path", tests, NULL, NULL);
}
