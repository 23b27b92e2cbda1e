/* SPDX-License-Identifier: Apache-2.0 */
/* Having hull-image make a bundle; see bundle.h. */
#include "cmd/hull/bundle.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>

#include "base/bundle_reply.h"
#include "base/libexec.h"
#include "base/message.h"
#include "base/process.h"
#include "sandbox/manifest.h"

struct words {
	char **argv;
	size_t argc, size;
	struct arena arena;
};

static void add_word(struct words *w, char *word)
{
	/* The last stays NULL; a failure leaves argc behind size. */
	if (word && w->argc + 1 < w->size)
		w->argv[w->argc++] = word;
	else
		w->size = 0;
}

static void add_option(struct words *w, const char *name, const char *value)
{
	add_word(w, value ? arena_printf(&w->arena, "--%s=%s", name, value)
			  : arena_printf(&w->arena, "--%s", name));
}

static void add_checkpoint(const struct bundle_order *order, struct words *w)
{
	if (!order->digest)
		return;
	add_option(w, "pull", "never");
	add_option(w, "digest", order->digest);
	add_word(w, arena_printf(&w->arena, "--checkpoint=%d", order->checkpoint));
}

static int make_words(const struct context *ctx, const struct bundle_order *order,
		      const char *state, int reply, int user_ns, struct words *w, struct error *err)
{
	const struct option_passed none = { .len = 0 };
	const struct option_passed *passed = order->passed ? order->passed : &none;

	w->size = passed->len + (size_t)order->command_len + 20;
	w->argv = arena_array(&w->arena, w->size, sizeof(*w->argv));
	if (!w->argv)
		return error_errno(err, ENOMEM, "run hull-image");
	add_word(w, arena_strdup(&w->arena, "hull-image"));
	add_word(w, arena_strdup(&w->arena, "bundle"));
	if (ctx->debug)
		add_option(w, "debug", NULL);
	if (ctx->log)
		add_option(w, "log", ctx->log);
	if (ctx->log_format)
		add_option(w, "log-format", ctx->log_format);
	add_word(w, arena_printf(&w->arena, "--reply=%d", reply));
	if (user_ns >= 0)
		add_word(w, arena_printf(&w->arena, "--user-namespace=%d", user_ns));
	add_option(w, "state", state);
	add_option(w, "name", order->id);
	if (order->tty)
		add_option(w, "tty", NULL);
	add_checkpoint(order, w);
	for (size_t i = 0; i < passed->len; i++)
		add_option(w, passed->items[i].name, passed->items[i].value);
	add_word(w, arena_strdup(&w->arena, "--"));
	add_word(w, arena_strdup(&w->arena, order->image));
	for (int i = 0; i < order->command_len; i++)
		add_word(w, order->command[i]);
	return w->size ? 0 : error_errno(err, ENOMEM, "run hull-image");
}

/* It gets its end of the pair as the number that it was told, and none of our other descriptors. */
static int spawn(char **argv, int reply, int checkpoint, pid_t *pid, struct error *err)
{
	posix_spawn_file_actions_t actions;
	char path[PATH_MAX];
	int r = libexec_path("hull-image", path, sizeof(path), err);

	if (r < 0)
		return r;
	if (posix_spawn_file_actions_init(&actions) != 0)
		return error_errno(err, ENOMEM, "run hull-image");
	/* Onto itself: what is left is that it is no longer close-on-exec. */
	r = posix_spawn_file_actions_adddup2(&actions, reply, reply);
	if (r == 0 && checkpoint >= 0)
		r = posix_spawn_file_actions_adddup2(&actions, checkpoint, checkpoint);
	if (r == 0)
		r = posix_spawn(pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r ? error_errno(err, r, "execute `%s`", path) : 0;
}

static int take_reply(struct message *m, const char *payload, struct bundle_made *made,
		      struct error *err)
{
	if (m->type == BUNDLE_FAILED && m->len == sizeof(struct error)) {
		struct error why;

		memcpy(&why, payload, sizeof(why));
		why.text[sizeof(why.text) - 1] = '\0';
		return error_set(err, why.code > 0 ? why.code : EIO, "%s", why.text);
	}
	if (m->type != BUNDLE_READY || m->fd_count != (made->user_ns < 0 ? 2 : 3) ||
	    m->len >= sizeof(made->path))
		return error_set(err, EPROTO, "hull-image is not of this version of hull");
	memcpy(made->path, payload, m->len);
	made->path[m->len] = '\0';
	made->tree = take_fd(&m->fds[0]);
	made->claim = take_fd(&m->fds[1]);
	if (made->user_ns >= 0 && dup3(m->fds[2], made->user_ns, O_CLOEXEC) < 0)
		return error_errno(err, errno, "hold the user namespace");
	return 0;
}

static int receive(int sock, struct bundle_made *made, struct error *err)
{
	struct message m = { .fd_count = 0 };
	char payload[PATH_MAX];
	int r;

	_Static_assert(sizeof(payload) >= sizeof(struct error), "either fits");
	r = message_receive(sock, &m, payload, sizeof(payload), err);
	if (r >= 0)
		r = take_reply(&m, payload, made, err);
	for (unsigned i = 0; i < m.fd_count; i++)
		close_fd(&m.fds[i]);
	return r;
}

static int ask(const struct context *ctx, const struct bundle_order *order, const char *state,
	       struct bundle_made *made, struct error *err)
{
	_cleanup_close_ int mine = -EBADF, its = -EBADF;
	struct words words = { .argc = 0 };
	int pair[2] = { -EBADF, -EBADF }, status = 0, r;
	pid_t pid = 0;

	r = message_pair(pair, err);
	if (r < 0)
		return r;
	mine = pair[0];
	its = pair[1];
	arena_init(&words.arena, 0);
	r = make_words(ctx, order, state, its, made->user_ns, &words, err);
	if (r >= 0)
		r = spawn(words.argv, its, order->digest ? order->checkpoint : -1, &pid, err);
	arena_free(&words.arena);
	close_fd(&its);
	if (r < 0)
		return r;
	r = receive(mine, made, err);
	if (process_wait(pid, &status) == 0 && r == -EPIPE)
		return error_set(err, EINTR, "hull-image ended with status %d",
				 process_exit_status(status));
	return r;
}

int bundle_make(const struct context *ctx, const struct store *store,
		const struct bundle_order *order, struct bundle_made *made, struct error *err)
{
	/* For hull-image, and for whoever asks later, from another directory. */
	_cleanup_free_ char *state = NULL, *root = realpath(store->path, NULL);

	if (!root)
		return error_errno(err, errno, "state directory `%s`", store->path);
	if (asprintf(&state, "%s/%s", root, order->id) < 0)
		return error_errno(err, ENOMEM, "run hull-image");
	return ask(ctx, order, state, made, err);
}

void bundle_close(struct bundle_made *made)
{
	close_fd(&made->tree);
	close_fd(&made->claim);
	close_fd(&made->user_ns);
}

int bundle_restore(void *data, const char *id, int images, const struct manifest_image *image,
		   struct runtime_bundle *bundle, struct error *err)
{
	const struct bundle_restore *b = data;
	const struct bundle_order order = { .id = id,
					    .image = image->name,
					    .passed = &b->passed,
					    .checkpoint = images,
					    .digest = image->digest };
	struct bundle_made made = { .tree = -EBADF, .claim = -EBADF, .user_ns = -EBADF };
	int r = bundle_make(b->ctx, b->store, &order, &made, err);

	if (r == 0) {
		bundle->path = strdup(made.path);
		bundle->tree = take_fd(&made.tree);
		bundle->claim = take_fd(&made.claim);
		if (!bundle->path)
			r = error_errno(err, ENOMEM, "make a bundle");
	}
	bundle_close(&made);
	return r;
}
