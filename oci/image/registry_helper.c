/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credential helpers: `docker-credential-NAME get` reads a host's name from its standard input and
 * prints {"Username", "Secret"}. No shell is involved, and NAME, which comes from a file, is a word.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/process.h"
#include "oci/image/registry_auth.h"
#include "oci/json.h"

#define HELPER_TIME_MS    30000
#define HELPER_OUTPUT_MAX 65536

/* What a helper says, with its exit status 1, where it has nothing for the host. */
#define HELPER_NOTHING "credentials not found"

struct helper {
	char program[128];
	pid_t pid;
	int in, out; /* our ends of its standard input and output */
	char output[HELPER_OUTPUT_MAX + 1];
	size_t len;
};

static bool is_word(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-_.");

	return len && !name[len] && len < 64;
}

/* Standard error stays ours: some ask there for a password of their own. */
static int spawn(struct helper *h, int in, int out)
{
	char *argv[] = { h->program, (char[]){ "get" }, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, broken_pipe;
	int r;

	sigemptyset(&none);
	sigemptyset(&broken_pipe);
	sigaddset(&broken_pipe, SIGPIPE);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &broken_pipe);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	r = posix_spawnp(&h->pid, h->program, &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return r;
}

static int start(struct helper *h, struct error *err)
{
	int in[2] = { -EBADF, -EBADF }, out[2] = { -EBADF, -EBADF }, r = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0 || pipe2(out, O_CLOEXEC) < 0)
		r = errno;
	if (!r)
		r = spawn(h, in[0], out[1]);
	close_fd(&in[0]);
	close_fd(&out[1]);
	h->in = in[1];
	h->out = out[0];
	return r ? error_errno(err, r, "run the credential helper `%s`", h->program) : 0;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until it closes its output, which is not more than there is room for, in the time that it has. */
static int read_output(struct helper *h, struct error *err)
{
	long end = now_ms() + HELPER_TIME_MS;

	for (;;) {
		struct pollfd poll_out = { .fd = h->out, .events = POLLIN };
		long left = end - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&poll_out, 1, (int)left) == 0)
			return error_set(
				err, ETIMEDOUT,
				"the credential helper `%s` did not answer within %d seconds",
				h->program, HELPER_TIME_MS / 1000);
		n = read(h->out, h->output + h->len, sizeof(h->output) - h->len);
		if (n < 0 && errno != EINTR)
			return error_errno(err, errno, "read from the credential helper `%s`",
					   h->program);
		if (n == 0)
			return 0;
		h->len += n > 0 ? (size_t)n : 0;
		if (h->len > HELPER_OUTPUT_MAX)
			return error_set(err, EFBIG, "the credential helper `%s` prints too much",
					 h->program);
	}
}

/* A host's name fits in the buffer, so this never waits. A helper that does not read it is no error yet. */
static void write_host(struct helper *h, const char *host)
{
	/* A socket, for on a pipe that nobody reads SIGPIPE would end us. */
	send(h->in, host, strlen(host), MSG_NOSIGNAL);
	close_fd(&h->in);
}

/* 1: it printed credentials. 0: it has none. */
static int talk(struct helper *h, const char *host, struct error *err)
{
	int r, status = 0;

	write_host(h, host);
	r = read_output(h, err);
	if (r < 0)
		kill(h->pid, SIGKILL);
	if (process_wait(h->pid, &status) < 0 || r < 0)
		return r < 0 ? r : error_set(err, ECHILD, "wait for `%s`", h->program);
	h->output[h->len] = '\0';
	if (!status)
		return 1;
	if (strstr(h->output, HELPER_NOTHING))
		return 0;
	/* Its output may hold a secret, so it is in no message. */
	return error_set(err, EACCES, "the credential helper `%s` failed (exit status %d)",
			 h->program, process_exit_status(status));
}

static int parse_output(const struct helper *h, char **basic, struct error *err)
{
	_cleanup_arena_ struct arena arena;
	struct json_value *root;
	const char *user, *secret;
	struct error ignored;

	arena_init(&arena, 16 * HELPER_OUTPUT_MAX);
	if (json_parse(h->output, h->len, &arena, &root, &ignored) < 0 || root->type != JSON_OBJECT)
		return error_set(err, EINVAL, "the credential helper `%s` printed no JSON object",
				 h->program);
	user = json_get_string(root, "Username");
	secret = json_get_string(root, "Secret");
	if (user && !strcmp(user, "<token>"))
		return error_set(err, EOPNOTSUPP,
				 "the credential helper `%s` has an identity token, which hull "
				 "cannot use: log in with a password or an access token",
				 h->program);
	if (user && secret)
		*basic = registry_auth_basic(user, secret);
	return *basic ? 0
		      : error_set(err, EINVAL,
				  "the credential helper `%s` printed no user and secret",
				  h->program);
}

int registry_helper_get(const char *name, const char *host, char **basic, struct error *err)
{
	struct helper *h;
	int r;

	if (!is_word(name))
		return error_set(err, EINVAL, "the name of a credential helper is not a word");
	h = calloc(1, sizeof(*h));
	if (!h)
		return error_errno(err, ENOMEM, "run a credential helper");
	snprintf(h->program, sizeof(h->program), "docker-credential-%s", name);
	r = start(h, err);
	if (r >= 0)
		r = talk(h, host, err);
	if (r > 0)
		r = parse_output(h, basic, err);
	close_fd(&h->in);
	close_fd(&h->out);
	explicit_bzero(h, sizeof(*h));
	free(h);
	return r;
}
