/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-criu: has CRIU dump or restore a container for hull, and writes and checks the digests of a checkpoint. hull runs it;
 * nobody else has to. It gets one request over a socket, whose number is its argument; sandbox/criu.h has the form of all
 * that is said there.
 *
 * It outlives a hull that is killed, and leaves the workload running or the checkpoint whole. CRIU asks before it ends a
 * dumped workload (its notification "post-dump"): then hull checks that what was dumped is what it meant, and the checkpoint is
 * completed and gets its name. Only then the workload ends.
 */
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/message.h"
#include "base/number.h"
#include "cmd/hull-criu/criu.h"

/* ---- the request --------------------------------------------------------------------------------- */

const char *request_next(const struct request *q, const char *name, const char *at)
{
	const char *end = q->text + q->len, *p = at ? at + strlen(at) + 1 : q->text;
	size_t len = strlen(name);

	for (; p < end; p += strlen(p) + 1)
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return p + len + 1;
	return NULL;
}

const char *request_get(const struct request *q, const char *name)
{
	return request_next(q, name, NULL);
}

bool request_flag(const struct request *q, const char *name)
{
	return request_get(q, name) != NULL;
}

int request_fd(const struct request *q, const char *name)
{
	const char *value = request_get(q, name);
	uint64_t fd;

	return value && parse_u64(value, INT32_MAX, &fd) ? (int)fd : -1;
}

/* ---- between CRIU and hull ------------------------------------------------------------------------- */

struct session {
	const struct request *q;
	int hull;
	bool dump, published;
};

/* hull's answer to a notification. */
static int ask(struct session *s, const struct criu_notice *notice, int fd, struct error *err)
{
	struct message m = { .fd_count = 0 };
	int r = message_send(s->hull, CRIU_NOTIFY, notice, sizeof(*notice), &fd, fd >= 0, err);

	if (r == 0)
		r = message_receive(s->hull, &m, NULL, 0, err);
	if (r < 0)
		return error_set(err, EINTR, "hull was killed");
	for (unsigned i = 0; i < m.fd_count; i++)
		close(m.fds[i]);
	return m.type == CRIU_GO
		       ? 0
		       : error_set(err, EPERM, "hull does not agree at `%s`", notice->name);
}

static int on_notice(void *data, const struct criu_notice *notice, int fd, struct error *err)
{
	struct session *s = data;
	const bool decides = !s->dump || !strcmp(notice->name, "post-dump");
	int r = ask(s, notice, fd, err);

	/* Of what comes before and after a dump nothing depends on hull. */
	if (!decides)
		return 0;
	if (r == 0 && s->dump) {
		r = files_publish(s->q, err);
		s->published = r == 0;
	}
	return r;
}

static int dump(struct session *s, struct error *err)
{
	const char *op = request_get(s->q, "op");
	const bool whole = !strcmp(op, "dump"), round = !strcmp(op, "round");
	pid_t none;
	int r = rpc_run(s->q, s->hull, on_notice, s, &none, err);

	/* A pre-dump writes after its last notification. */
	if (r == 0 && !whole && !round)
		r = files_publish(s->q, err);
	/* The workload has ended by now, or is about to: what went wrong in the end does not matter. */
	if (s->published)
		return 0;
	if (r == 0 && whole)
		r = error_set(err, EPROTO, "CRIU did not ask at the end of the dump");
	if (r < 0)
		files_discard(s->q);
	return r;
}

static int act(struct session *s, pid_t *pid, struct error *err)
{
	const char *op = request_get(s->q, "op");

	if (op && !strcmp(op, "verify"))
		return files_verify(request_fd(s->q, "images"), err);
	if (op && !strcmp(op, "publish")) {
		int r = files_publish(s->q, err);

		if (r < 0)
			files_discard(s->q);
		return r;
	}
	s->dump = op && (!strcmp(op, "dump") || !strcmp(op, "pre-dump") || !strcmp(op, "round"));
	if (s->dump)
		return dump(s, err);
	if (op && !strcmp(op, "restore"))
		return rpc_run(s->q, s->hull, on_notice, s, pid, err);
	return error_set(err, EPROTO, "the request is not known");
}

int main(int argc, char **argv)
{
	static char text[MESSAGE_MAX];
	struct criu_notice done = { 0 };
	struct error err = { 0 };
	struct request q = { .text = text };
	struct session s = { .q = &q };
	struct message m;
	uint64_t number;
	int r;

	if (argc != 2 || !parse_u64(argv[1], INT32_MAX, &number)) {
		fprintf(stderr,
			"hull-criu is run by hull checkpoint and hull restore, not by hand\n");
		return 2;
	}
	s.hull = (int)number;
	signal(SIGPIPE, SIG_IGN);
	r = message_receive(s.hull, &m, text, sizeof(text), &err);
	if (r < 0)
		return 1;
	q.len = m.len;
	r = m.type == CRIU_REQUEST && m.len && !text[m.len - 1]
		    ? act(&s, &done.pid, &err)
		    : error_errno(&err, EPROTO, "read the request");
	if (r == 0 && s.dump)
		done.pages = files_pages(request_fd(&q, "images"));
	if (r < 0)
		message_send(s.hull, CRIU_FAILED, &err, sizeof(err), NULL, 0, NULL);
	else if (message_send(s.hull, CRIU_DONE, &done, sizeof(done), NULL, 0, NULL) < 0 &&
		 !strcmp(request_get(&q, "op"), "round"))
		files_discard(&q); /* hull was killed: nobody goes on with it */
	return r < 0;
}
