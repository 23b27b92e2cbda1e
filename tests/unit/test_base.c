/* SPDX-License-Identifier: Apache-2.0 */
/* base/: errors, arenas, strings, numbers, UTF-8 and JSON escapes, files, processes. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_escape.h"
#include "base/log.h"
#include "base/number.h"
#include "base/process.h"
#include "base/strbuf.h"

/* ---- error -------------------------------------------------------------------------------- */

static void error_names_action_object_and_errno(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(error_errno(&err, EPERM, "mount `%s`", "proc"), -EPERM);
	assert_string_equal(err.text, "mount `proc`: Operation not permitted");
	assert_int_equal(error_wrap(&err, "container %d", 7), -EPERM);
	assert_string_equal(err.text, "container 7: mount `proc`: Operation not permitted");
	assert_int_equal(error_set(&err, EINVAL, "no"), -EINVAL);
	assert_int_equal(err.code, EINVAL);
	assert_string_equal(err.text, "no");
	error_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.text, "");
}

static void error_may_be_null(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, ENOENT, "x"), -ENOENT);
	assert_int_equal(error_errno(NULL, ENOENT, "x"), -ENOENT);
	assert_int_equal(error_wrap(NULL, "x"), -EINVAL);
	error_clear(NULL);
}

static void error_cuts_long_messages(void **state)
{
	char text[2 * ERROR_TEXT_MAX];
	struct error err = { 0 };

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_errno(&err, EIO, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_non_null(strstr(err.text, "aa…: Input/output error"));
	for (int i = 0; i < 3; i++) {
		error_wrap(&err, "/mounts/%d", i);
		assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	}
	assert_int_equal(strncmp(err.text, "/mounts/2: …aa", strlen("/mounts/2: …aa")), 0);
	assert_non_null(strstr(err.text, "aa…: Input/output error"));
	for (int i = 0; i < 3; i++)
		error_wrap(&err, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_non_null(strstr(err.text, "aa…: Input/output error"));
	assert_int_equal(err.code, EIO);
	/* What just fits is not cut. */
	text[ERROR_TEXT_MAX - 1 - strlen(": Input/output error")] = '\0';
	error_errno(&err, EIO, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_null(strstr(err.text, "…"));
}

/* ---- arena -------------------------------------------------------------------------------- */

static void arena_gives_zeroed_aligned_memory(void **state)
{
	_cleanup_arena_ struct arena arena;
	unsigned char *p;

	(void)state;
	arena_init(&arena, 0);
	for (size_t size = 0; size < 5000; size += 37) {
		p = arena_alloc(&arena, size);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		if (size)
			memset(p, 0xff, size);
	}
	p = arena_alloc(&arena, 8 << 20); /* larger than any block */
	assert_non_null(p);
	p[(8 << 20) - 1] = 1;
}

static void arena_copies_strings(void **state)
{
	_cleanup_arena_ struct arena arena;
	char *copy;

	(void)state;
	arena_init(&arena, 0);
	assert_string_equal(arena_strdup(&arena, "abc"), "abc");
	assert_string_equal(arena_strdup(&arena, ""), "");
	assert_string_equal(arena_printf(&arena, "%s-%d", "x", 42), "x-42");
	copy = arena_memdup(&arena, "a\0b", 3);
	assert_memory_equal(copy, "a\0b", 4); /* and a NUL behind */
}

static void arena_keeps_its_limit(void **state)
{
	_cleanup_arena_ struct arena arena;

	(void)state;
	arena_init(&arena, 1024);
	assert_non_null(arena_alloc(&arena, 1000));
	errno = 0;
	assert_null(arena_alloc(&arena, 100));
	assert_int_equal(errno, ENOMEM);
	arena_free(&arena);
	assert_non_null(arena_alloc(&arena, 1024)); /* it can be used again */
	assert_null(arena_alloc(&arena, 1));
}

static void arena_refuses_sizes_that_overflow(void **state)
{
	_cleanup_arena_ struct arena arena;

	(void)state;
	arena_init(&arena, 0);
	for (size_t less = 0; less < 100; less++)
		assert_null(arena_alloc(&arena, SIZE_MAX - less));
	assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
	assert_null(arena_array(&arena, 1ULL << 32, 1ULL << 32));
	assert_null(arena_memdup(&arena, "", SIZE_MAX));
	assert_non_null(arena_array(&arena, 10, 10));
}

/* ---- strbuf ------------------------------------------------------------------------------- */

static void strbuf_grows(void **state)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	(void)state;
	for (int i = 0; i < 5000; i++)
		strbuf_addf(&sb, "%d,", i % 10);
	assert_int_equal(sb.len, 10000);
	assert_memory_equal(sb.data + 9996, "8,9,", 5);
	strbuf_add(&sb, "a\0b", 3);
	strbuf_addc(&sb, 'c');
	strbuf_adds(&sb, "");
	assert_memory_equal(sb.data + 10000, "a\0bc", 5);
	assert_false(strbuf_failed(&sb));
}

static void strbuf_remembers_failure(void **state)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	(void)state;
	strbuf_adds(&sb, "abc");
	strbuf_add(&sb, "x", SIZE_MAX - 2); /* cannot be; must not be read, either */
	assert_true(strbuf_failed(&sb));
	strbuf_adds(&sb, "def");
	assert_true(strbuf_failed(&sb));
	assert_string_equal(sb.data, "abc");
}

/* ---- numbers ------------------------------------------------------------------------------ */

static void numbers_are_parsed_to_their_end(void **state)
{
	static const char *const wrong[] = {
		"",
		" ",
		"-",
		"+1",
		"-1",
		" 1",
		"1 ",
		"1x",
		"x1",
		"0x1",
		"1e3",
		"1.0",
		"\n",
		"1\n",
		"--1",
		"1_0",
		"٣",
		"18446744073709551616",
		"99999999999999999999999",
	};
	uint64_t u = 77;
	int64_t i;

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(wrong); k++)
		assert_false(parse_u64(wrong[k], UINT64_MAX, &u));
	assert_int_equal(u, 77); /* untouched by failures */
	assert_true(parse_u64("18446744073709551615", UINT64_MAX, &u));
	assert_true(u == UINT64_MAX);
	assert_true(parse_u64("0", 0, &u));
	assert_int_equal(u, 0);
	assert_true(parse_u64("007", 7, &u));
	assert_int_equal(u, 7);
	assert_false(parse_u64("8", 7, &u));
	assert_true(parse_u64_n("123456", 3, 999, &u));
	assert_int_equal(u, 123);

	assert_true(parse_i64("-9223372036854775808", &i));
	assert_true(i == INT64_MIN);
	assert_true(parse_i64("9223372036854775807", &i));
	assert_true(i == INT64_MAX);
	assert_true(parse_i64("-1", &i));
	assert_int_equal(i, -1);
	assert_false(parse_i64("9223372036854775808", &i));
	assert_false(parse_i64("-9223372036854775809", &i));
	assert_false(parse_i64("--1", &i));
	assert_false(parse_i64("-", &i));
	assert_false(parse_i64("", &i));

	assert_true(parse_size("1k", UINT64_MAX, &u) && u == 1024);
	assert_true(parse_size("2G", UINT64_MAX, &u) && u == (uint64_t)2 << 30);
	assert_true(parse_size("7b", UINT64_MAX, &u) && u == 7);
	assert_true(parse_size("16777215T", UINT64_MAX, &u));
	assert_false(parse_size("16777216T", UINT64_MAX, &u));
	assert_false(parse_size("2k", 2047, &u));
	assert_false(parse_size("", UINT64_MAX, &u));
	assert_false(parse_size("k", UINT64_MAX, &u));
	assert_false(parse_size("1kk", UINT64_MAX, &u));
}

/* ---- UTF-8, JSON -------------------------------------------------------------------------- */

static void lists_of_numbers(void **state)
{
	unsigned long bits[2] = { 0 };

	(void)state;
	assert_true(parse_list("0-3, 7 ,127", bits, 128));
	assert_int_equal(bits[0], 0x8f);
	assert_int_equal(bits[1], 1UL << 63);
	memset(bits, 0, sizeof(bits));
	assert_true(parse_list("5-5", bits, 128));
	assert_int_equal(bits[0], 1UL << 5);
	assert_false(parse_list("", bits, 128));
	assert_false(parse_list("1,", bits, 128));
	assert_false(parse_list("128", bits, 128));
	assert_false(parse_list("2-1", bits, 128));
	assert_false(parse_list("1-", bits, 128));
	assert_false(parse_list("-1", bits, 128));
	assert_false(parse_list("1-2-3", bits, 128));
	assert_false(parse_list("1 2", bits, 128));
	assert_false(parse_list("0-18446744073709551615", bits, 128));
}

static void utf8_is_checked_as_rfc_3629_says(void **state)
{
	static const char *const valid[] = {
		"",
		"abc",
		"\x7f",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
	};
	static const char *const invalid[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2",
		"\xe0\x80\x80",
		"\xe0\x9f\xbf",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xff",
		"\xfe",
		"a\xe2\x82",
		"\xe2\x28\xa1",
		"\xf8\x88\x80\x80\x80",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(valid); i++)
		assert_true(utf8_valid(valid[i], strlen(valid[i])));
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++)
		assert_false(utf8_valid(invalid[i], strlen(invalid[i])));
	assert_true(utf8_valid("a\0b", 3)); /* a NUL is a character; whoever minds must check */
}

static void json_escapes_what_json_forbids(void **state)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	(void)state;
	json_escape(&sb, "a\"b\\c\n\t\x01\x1f\x7f \xc3\xa9 \xff\xc3");
	assert_string_equal(sb.data,
			    "a\\\"b\\\\c\\n\\t\\u0001\\u001f\\u007f \xc3\xa9 \\ufffd\\ufffd");
}

/* ---- files -------------------------------------------------------------------------------- */

struct dir {
	int fd;
	char path[256];
};

static int dir_setup(void **state)
{
	struct dir *dir = malloc(sizeof(*dir));

	assert_non_null(dir);
	dir->fd = unit_make_dir(dir->path, sizeof(dir->path));
	*state = dir;
	return 0;
}

static int dir_teardown(void **state)
{
	struct dir *dir = *state;

	unit_remove_dir(dir->fd, dir->path);
	free(dir);
	return 0;
}

static void file_reads_what_replace_wrote(void **state)
{
	struct dir *dir = *state;
	_cleanup_free_ char *data = NULL;
	struct error err = { 0 };
	struct stat st;

	assert_int_equal(file_replace(dir->fd, "f", "old", 3, 0600, &err), 0);
	assert_int_equal(file_replace(dir->fd, "f", "content", 7, 0600, &err), 0);
	assert_int_equal(file_read(dir->fd, "f", 7, &data, &err), 7);
	assert_string_equal(data, "content");
	assert_int_equal(fstatat(dir->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fstatat(dir->fd, ".f.new", &st, 0), -1); /* nothing temporary stays */
}

static void file_replace_leaves_the_old_on_failure(void **state)
{
	struct dir *dir = *state;
	_cleanup_free_ char *data = NULL;
	struct error err = { 0 };
	char name[NAME_MAX]; /* and the temporary name is longer */

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(file_replace(dir->fd, name, "x", 1, 0600, &err), -ENAMETOOLONG);
	assert_int_equal(mkdirat(dir->fd, "d", 0700), 0);
	assert_true(file_replace(dir->fd, "d", "x", 1, 0600, &err) < 0);
	assert_int_equal(faccessat(dir->fd, ".d.new", F_OK, 0), -1);
	assert_int_equal(file_replace(dir->fd, "f", "old", 3, 0600, &err), 0);
	/* A link in the place of the temporary file must not lead the write elsewhere. */
	assert_int_equal(symlinkat("f", dir->fd, ".f.new"), 0);
	assert_int_equal(file_replace(dir->fd, "f", "new", 3, 0600, &err), -ELOOP);
	assert_int_equal(file_read(dir->fd, "f", 100, &data, &err), 3);
	assert_string_equal(data, "old");
}

static void file_read_keeps_its_bound(void **state)
{
	struct dir *dir = *state;
	_cleanup_free_ char *data = NULL;
	struct error err = { 0 };
	char small[4];

	assert_int_equal(file_replace(dir->fd, "f", "12345", 5, 0600, &err), 0);
	assert_int_equal(file_read(dir->fd, "f", 4, &data, &err), -EFBIG);
	assert_null(data);
	assert_non_null(strstr(err.text, "`f`"));
	assert_int_equal(file_read(dir->fd, "nothing", 4, &data, &err), -ENOENT);
	assert_int_equal(file_read(dir->fd, ".", 4, &data, &err), -EISDIR);
	assert_int_equal(file_read_small(dir->fd, "f", small, sizeof(small), &err), -EFBIG);
	assert_int_equal(file_replace(dir->fd, "f", "123", 3, 0600, &err), 0);
	assert_int_equal(file_read_small(dir->fd, "f", small, sizeof(small), &err), 3);
	assert_string_equal(small, "123");
	assert_int_equal(file_replace(dir->fd, "f", "1\n\n", 3, 0600, &err), 0);
	assert_int_equal(file_read_small(dir->fd, "f", small, sizeof(small), &err), 1);
	assert_string_equal(small, "1");
}

static void file_reads_procfs_and_pipes(void **state)
{
	_cleanup_free_ char *data = NULL, *piped = NULL;
	char block[10000];
	struct error err = { 0 };
	int fds[2];

	(void)state;
	/* Both say that they are empty, and are not. */
	assert_true(file_read(AT_FDCWD, "/proc/self/maps", 1 << 20, &data, &err) > 0);
	assert_int_equal(pipe(fds), 0);
	memset(block, 'p', sizeof(block));
	assert_int_equal(file_write_all(fds[1], block, sizeof(block)), 0);
	close(fds[1]);
	assert_int_equal(file_read_fd(fds[0], sizeof(block), &piped, &err), sizeof(block));
	assert_memory_equal(piped, block, sizeof(block));
	close(fds[0]);
}

static void file_read_does_not_hang_on_a_fifo(void **state)
{
	struct dir *dir = *state;
	_cleanup_free_ char *data = NULL;
	struct error err = { 0 };

	assert_int_equal(mkfifoat(dir->fd, "fifo", 0600), 0);
	alarm(5);
	assert_int_equal(file_read(dir->fd, "fifo", 100, &data, &err), 0);
	alarm(0);
}

static void file_write_existing_makes_nothing(void **state)
{
	struct dir *dir = *state;
	struct error err = { 0 };
	char text[16];

	assert_int_equal(file_write_existing(dir->fd, "f", "x", &err), -ENOENT);
	assert_int_equal(file_replace(dir->fd, "f", "", 0, 0600, &err), 0);
	assert_int_equal(file_write_existing(dir->fd, "f", "max", &err), 0);
	assert_int_equal(file_read_small(dir->fd, "f", text, sizeof(text), &err), 3);
	assert_string_equal(text, "max");
}

/* ---- processes ---------------------------------------------------------------------------- */

static void process_is_named_by_its_start_time(void **state)
{
	struct process_stat st;
	struct error err = { 0 };
	int status, fd;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(process_read_stat(pid, &st, &err), 0);
	assert_int_equal(st.parent, getpid());
	fd = process_open(pid, st.start_time, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(process_open(pid, st.start_time + 1, &err), -ESRCH);

	assert_int_equal(kill(pid, SIGKILL), 0);
	/* Wait until it is a zombie: that is no process to signal any more. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	assert_int_equal(process_open(pid, st.start_time, &err), -ESRCH);
	assert_int_equal(process_wait(pid, &status), 0);
	assert_int_equal(process_exit_status(status), 128 + SIGKILL);
	assert_int_equal(process_read_stat(pid, &st, &err), -ESRCH);
	assert_int_equal(process_open(0, 0, &err), -ESRCH);
	assert_int_equal(process_open(-1, 0, &err), -ESRCH);
	assert_int_equal(process_wait(pid, &status), -ECHILD);
}

/* The number stays in use for the session, whose leader is gone. */
static void process_that_led_a_session_is_gone(void **state)
{
	struct process_stat st;
	struct error err = { 0 };
	int pair[2], status;
	pid_t leader;
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	leader = fork();
	if (leader == 0) {
		close(pair[0]);
		setsid();
		if (fork() == 0)
			_exit(write(pair[1], "", 1) != 1 || read(pair[1], &byte, 1) != 0);
		close(pair[1]);
		pause();
		_exit(0);
	}
	close(pair[1]);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	assert_int_equal(process_read_stat(leader, &st, &err), 0);
	assert_int_equal(kill(leader, SIGKILL), 0);
	assert_int_equal(process_wait(leader, &status), 0);
	assert_int_equal(kill(-leader, 0), 0);
	assert_int_equal(process_open(leader, st.start_time, &err), -ESRCH);
	close(pair[0]);
}

static void process_name_may_hold_anything(void **state)
{
	struct process_stat st;
	struct error err = { 0 };
	int status, ready[2];
	char c;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		_cleanup_close_ int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);

		if (write(fd, ") Z 1 (x) ", 10) < 0 || write(ready[1], "r", 1) < 0)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(process_read_stat(pid, &st, &err), 0);
	assert_int_equal(st.parent, getpid());
	assert_int_not_equal(st.state, 'Z');
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(process_wait(pid, &status), 0);
	close(ready[0]);
	close(ready[1]);
}

static void exit_status_is_as_a_shell_shows_it(void **state)
{
	(void)state;
	assert_int_equal(process_exit_status(0), 0);
	assert_int_equal(process_exit_status(3 << 8), 3);
	assert_int_equal(process_exit_status(SIGTERM), 128 + SIGTERM);
	assert_int_equal(process_exit_status(SIGSEGV | 0x80), 128 + SIGSEGV); /* with a core */
}

/* ---- log ---------------------------------------------------------------------------------- */

static void log_records_are_json_lines(void **state)
{
	struct dir *dir = *state;
	_cleanup_free_ char *data = NULL;
	_cleanup_close_ int fd =
		openat(dir->fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct log_config config = {
		.fd = fd, .json = true, .quiet = true, .level = LOG_LEVEL_WARNING, .program = "t"
	};
	struct error err = { 0 };

	log_configure(&config);
	log_error("a \"quoted\" %s", "text");
	log_debug("dropped");
	log_configure(&(struct log_config){ .fd = -1, .quiet = true, .program = "t" });
	log_error("goes nowhere");
	assert_true(file_read(dir->fd, "log", 4096, &data, &err) > 0);
	assert_ptr_equal(
		strstr(data, "{\"level\":\"error\",\"msg\":\"a \\\"quoted\\\" text\",\"time\":\"2"),
		data);
	assert_string_equal(strchr(data, '\n'), "\n"); /* one record */
	assert_null(strstr(data, "dropped"));
}

/* What one log_warning(text) sends to a log daemon, in buf; returns its length. */
static ssize_t sent_to_daemon(enum log_kind kind, const char *text, char *buf, size_t size)
{
	struct log_config config = {
		.kind = kind, .identifier = "engine", .quiet = true, .level = LOG_LEVEL_WARNING
	};
	int ends[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
	config.fd = ends[0];
	log_configure(&config);
	log_warning("%s", text);
	log_configure(&(struct log_config){ .fd = -1, .quiet = true, .program = "t" });
	n = recv(ends[1], buf, size, MSG_DONTWAIT);
	close(ends[0]);
	close(ends[1]);
	return n;
}

/* https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: a value of several lines has its length in front, 64 bits, little endian. */
static void log_speaks_the_journals_protocol(void **state _unused_)
{
	static const char one[] = "PRIORITY=4\nSYSLOG_IDENTIFIER=engine\nMESSAGE=a=b\n";
	static const char two[] = "PRIORITY=4\nSYSLOG_IDENTIFIER=engine\n"
				  "MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n";
	char buf[256];

	assert_int_equal(sent_to_daemon(LOG_TO_JOURNAL, "a=b", buf, sizeof(buf)), sizeof(one) - 1);
	assert_memory_equal(buf, one, sizeof(one) - 1);
	assert_int_equal(sent_to_daemon(LOG_TO_JOURNAL, "a\nb", buf, sizeof(buf)), sizeof(two) - 1);
	assert_memory_equal(buf, two, sizeof(two) - 1);
}

static void log_speaks_syslog(void **state _unused_)
{
	static const char pattern[] = "<12>Aaa ?0 00:00:00"; /* facility user, severity warning */
	char buf[256] = "", end[64];

	assert_true(sent_to_daemon(LOG_TO_SYSLOG, "text", buf, sizeof(buf) - 1) > 0);
	for (size_t i = 0; i < sizeof(pattern) - 1; i++)
		switch (pattern[i]) {
		case '0':
			assert_in_range(buf[i], '0', '9');
			break;
		case 'A':
			assert_in_range(buf[i], 'A', 'Z');
			break;
		case 'a':
			assert_in_range(buf[i], 'a', 'z');
			break;
		case '?':
			assert_true(buf[i] == ' ' || (buf[i] >= '1' && buf[i] <= '3'));
			break;
		default:
			assert_int_equal(buf[i], pattern[i]);
		}
	snprintf(end, sizeof(end), " engine[%d]: text", getpid());
	assert_string_equal(buf + sizeof(pattern) - 1, end);
}

static void log_targets_are_checked(void **state)
{
	struct dir *dir = *state;
	struct log_config config = { .fd = -1, .program = "t" };
	_cleanup_free_ char *path = NULL;
	struct error err = { 0 };

	assert_true(asprintf(&path, "file:/proc/self/fd/%d/log", dir->fd) > 0);
	assert_int_equal(log_open(&config, path, &err), 0);
	assert_true(config.kind == LOG_TO_FILE && config.fd >= 0);
	close(config.fd);
	assert_int_equal(log_open(&config, "", &err), -ENOENT);
	assert_int_equal(log_open(&config, "/no/such/directory/log", &err), -ENOENT);
	assert_non_null(strstr(err.text, "--log `/no/such/directory/log`"));
}

#define dir_test(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_of_numbers),
		cmocka_unit_test(error_names_action_object_and_errno),
		cmocka_unit_test(error_may_be_null),
		cmocka_unit_test(error_cuts_long_messages),
		cmocka_unit_test(arena_gives_zeroed_aligned_memory),
		cmocka_unit_test(arena_copies_strings),
		cmocka_unit_test(arena_keeps_its_limit),
		cmocka_unit_test(arena_refuses_sizes_that_overflow),
		cmocka_unit_test(strbuf_grows),
		cmocka_unit_test(strbuf_remembers_failure),
		cmocka_unit_test(numbers_are_parsed_to_their_end),
		cmocka_unit_test(utf8_is_checked_as_rfc_3629_says),
		cmocka_unit_test(json_escapes_what_json_forbids),
		dir_test(file_reads_what_replace_wrote),
		dir_test(file_replace_leaves_the_old_on_failure),
		dir_test(file_read_keeps_its_bound),
		cmocka_unit_test(file_reads_procfs_and_pipes),
		dir_test(file_read_does_not_hang_on_a_fifo),
		dir_test(file_write_existing_makes_nothing),
		cmocka_unit_test(process_is_named_by_its_start_time),
		cmocka_unit_test(process_that_led_a_session_is_gone),
		cmocka_unit_test(process_name_may_hold_anything),
		cmocka_unit_test(exit_status_is_as_a_shell_shows_it),
		dir_test(log_records_are_json_lines),
		cmocka_unit_test(log_speaks_the_journals_protocol),
		cmocka_unit_test(log_speaks_syslog),
		dir_test(log_targets_are_checked),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
