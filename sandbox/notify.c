/* SPDX-License-Identifier: Apache-2.0 */
/* Handing a seccomp listener to its agent; see notify.h. */
#include "sandbox/notify.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include "base/path.h"
#include "sandbox/container.h"

#define STACK_SIZE \
	((size_t)PTHREAD_STACK_MIN + 65536) /* of the second thread; errors are 1 KiB each */
#define POLL_NS        20000                /* how often it looks whether the filter is loaded */
#define AGENT_PATIENCE 10 /* seconds that an agent may take to accept and to read */

/* ---- in the new process -------------------------------------------------------------------------- */

/* The thread that the filter does not hold. Every failure here ends the whole process, which waits without a system call. */
static void *hand_over(void *data)
{
	struct notify_handover *handover = data;
	struct message answer;
	struct error err = { 0 };
	int listener, r;

	while ((listener = __atomic_load_n(&handover->listener, __ATOMIC_ACQUIRE)) < 0)
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	r = message_send(handover->sync, MSG_LISTENER, NULL, 0, &listener, 1, &err);
	if (r == 0)
		r = message_receive(handover->sync, &answer, NULL, 0, &err);
	if (r == 0 && answer.type != MSG_GO)
		r = error_errno(&err, EPROTO, "hand over the seccomp listener");
	if (r < 0)
		spawn_fail(handover->sync, MSG_ERROR, &err);
	/* Only the agent's is left: should that end, calls fail with ENOSYS instead of waiting for ever. */
	close(listener);
	__atomic_store_n(&handover->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

int notify_begin(struct notify_handover *handover, int sync, struct error *err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r = spawn_ask(sync, MSG_LISTEN, err);

	if (r < 0)
		return r;
	*handover = (struct notify_handover){ .sync = sync, .listener = -1 };
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, hand_over, handover);
	pthread_attr_destroy(&attr);
	return r ? error_errno(err, r,
			       "/linux/seccomp: start a thread that hands over the listener")
		 : 0;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

int notify_load(struct notify_handover *handover, const struct seccomp_program *program,
		struct error *err)
{
	int listener = seccomp_load_program(program, err);

	if (listener < 0)
		return listener;
	__atomic_store_n(&handover->listener, listener, __ATOMIC_RELEASE);
	/* No call that could wait for us may be made here, whatever it is. It takes two short messages of others. */
	while (!__atomic_load_n(&handover->done, __ATOMIC_ACQUIRE))
		relax();
	return 0;
}

/* ---- in the caller ------------------------------------------------------------------------------- */

int notify_check_path(const struct oci_seccomp *seccomp, struct error *err)
{
	struct stat st;

	if (!seccomp || !seccomp_notifies(seccomp))
		return 0;
	if (stat(seccomp->listener_path, &st) < 0)
		return error_errno(err, errno, "/linux/seccomp/listenerPath: `%s`",
				   seccomp->listener_path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, ENOTSOCK, "/linux/seccomp/listenerPath: `%s` is no socket",
				 seccomp->listener_path);
	return 0;
}

static int connect_to_agent(struct notify_agent *agent, struct error *err)
{
	const struct timeval patience = { .tv_sec = AGENT_PATIENCE };

	agent->connection = message_connect(agent->seccomp->listener_path, SOCK_STREAM, err);
	if (agent->connection < 0)
		return error_wrap(err, "/linux/seccomp/listenerPath");
	/* An agent that hangs must not hang us, who hold the container's lock. */
	if (setsockopt(agent->connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return error_errno(err, errno, "/linux/seccomp/listenerPath: set a time limit");
	return 0;
}

/* Whoever could take over the process must not make us give the agent something else than what it expects. */
static int check_listener(int fd, struct error *err)
{
	static const char expected[] = "anon_inode:seccomp notify";
	char target[sizeof(expected) + 1] = "";
	ssize_t n = readlink(path_of_fd(fd).s, target, sizeof(target) - 1);

	if (n < 0 || strcmp(target, expected) != 0)
		return error_set(err, EBADMSG,
				 "the new process sent something else than a seccomp listener");
	return 0;
}

/* The state as a stream, the descriptor with its first byte. */
static int send_state(int connection, const struct strbuf *json, int fd, struct error *err)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { json->data, json->len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	while (iov.iov_len) {
		ssize_t n = sendmsg(connection, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno,
					   "/linux/seccomp/listenerPath: send to the agent");
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

static int pass_on(struct notify_agent *agent, int fd, struct error *err)
{
	_cleanup_strbuf_ struct strbuf json = { 0 };
	int r = check_listener(fd, err);

	agent->state.metadata = agent->seccomp->listener_metadata;
	if (r == 0)
		r = oci_process_state_print(&agent->state, &json, err);
	if (r == 0)
		r = send_state(agent->connection, &json, fd, err);
	/* One state a connection: its end says that this was all. */
	close_fd(&agent->connection);
	return r;
}

int notify_answer(struct notify_agent *agent, int channel, const struct message *message,
		  struct error *err)
{
	bool has_fd = message->fd_count == 1;
	int r = -EPROTO;

	if (!agent->seccomp) {
		r = -EPROTO;
	} else if (!agent->begun && message->type == MSG_LISTEN && !message->fd_count) {
		agent->begun = true;
		r = connect_to_agent(agent, err);
	} else if (agent->begun && !agent->done && message->type == MSG_LISTENER && has_fd) {
		agent->done = true;
		r = pass_on(agent, message->fds[0], err);
	}
	for (unsigned i = 0; i < message->fd_count; i++)
		close(message->fds[i]);
	return r < 0 ? r : message_send(channel, MSG_GO, NULL, 0, NULL, 0, err);
}

void notify_close(struct notify_agent *agent)
{
	close_fd(&agent->connection);
}
