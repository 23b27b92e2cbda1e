/* SPDX-License-Identifier: Apache-2.0 */
/* Frames between host and guest: a type, a length, and so many bytes; see agent.h. */
#include "sandbox/agent.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/log.h"

#define PARTS_MAX 5

struct frame {
	uint32_t type, length;
};

/* Also into pipes, which have no MSG_NOSIGNAL: whoever uses those ignores SIGPIPE. */
static ssize_t send_some(int fd, struct iovec *iov, unsigned count)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t n;

	do {
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n;
}

int agent_sendv(int fd, enum agent_type type, const struct iovec *parts, unsigned count,
		struct error *err)
{
	struct frame frame = { .type = type };
	struct iovec iov[PARTS_MAX + 1] = { { &frame, sizeof(frame) } };
	unsigned first = 0, total = count + 1;
	size_t len = 0;

	if (count > PARTS_MAX)
		return error_errno(err, EMSGSIZE, "talk to the microVM");
	for (unsigned i = 0; i < count; i++) {
		iov[i + 1] = parts[i];
		len += parts[i].iov_len;
	}
	if (len > AGENT_PAYLOAD_MAX)
		return error_errno(err, EMSGSIZE, "talk to the microVM");
	frame.length = (uint32_t)len;
	while (first < total) {
		ssize_t n = send_some(fd, iov + first, total - first);

		if (n < 0)
			return error_errno(err, errno == ECONNRESET ? EPIPE : errno,
					   "talk to the microVM");
		while (first < total && (size_t)n >= iov[first].iov_len)
			n -= (ssize_t)iov[first++].iov_len;
		if (first < total) {
			iov[first].iov_base = (char *)iov[first].iov_base + n;
			iov[first].iov_len -= (size_t)n;
		}
	}
	return 0;
}

int agent_send(int fd, enum agent_type type, const void *payload, size_t len, struct error *err)
{
	struct iovec part = { (void *)(uintptr_t)payload, len };

	return agent_sendv(fd, type, &part, len ? 1 : 0, err);
}

int agent_send_error(int fd, const struct error *error, bool exec_failed, struct error *err)
{
	int32_t code = error->code > 0 ? error->code : EINVAL;
	struct iovec parts[] = {
		{ &code, sizeof(code) },
		{ (void *)(uintptr_t)error->text, strlen(error->text) },
	};

	return agent_sendv(fd, exec_failed ? AGENT_EXEC_ERROR : AGENT_ERROR, parts,
			   ARRAY_SIZE(parts), err);
}

static int receive_all(int fd, void *to, size_t len, struct error *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(fd, (char *)to + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ECONNRESET)
			return errno == EAGAIN
				       ? error_set(err, ETIMEDOUT, "the microVM does not answer")
				       : error_errno(err, errno, "hear from the microVM");
		if (n <= 0)
			return error_set(err, EPIPE, "the microVM has ended");
		done += (size_t)n;
	}
	return 0;
}

ssize_t agent_receive(int fd, uint32_t *type, char **payload, size_t max, struct error *err)
{
	_cleanup_free_ char *data = NULL;
	struct frame frame;
	int r = receive_all(fd, &frame, sizeof(frame), err);

	*payload = NULL;
	if (r < 0)
		return r;
	if (frame.length > max)
		return error_set(err, EMSGSIZE, "the microVM says %u bytes where %zu are allowed",
				 frame.length, max);
	data = malloc((size_t)frame.length + 1);
	if (!data)
		return error_errno(err, ENOMEM, "hear from the microVM");
	r = receive_all(fd, data, frame.length, err);
	if (r < 0)
		return r;
	data[frame.length] = '\0';
	*type = frame.type;
	*payload = take_ptr(data);
	return frame.length;
}

bool agent_take_frames(char *buffer, size_t size, size_t *received,
		       bool (*on_frame)(void *data, uint32_t type, const char *payload, size_t len),
		       void *data)
{
	struct frame frame;

	while (*received >= sizeof(frame)) {
		size_t whole;

		memcpy(&frame, buffer, sizeof(frame));
		if (frame.length > size - sizeof(frame))
			return false;
		whole = sizeof(frame) + frame.length;
		if (*received < whole)
			break;
		if (!on_frame(data, frame.type, buffer + sizeof(frame), frame.length))
			return false;
		*received -= whole;
		memmove(buffer, buffer + whole, *received);
	}
	return true;
}

int agent_error_of(const char *payload, size_t len, struct error *err)
{
	struct error theirs = { 0 };
	int32_t code;

	if (len < sizeof(code))
		return error_errno(err, EPROTO, "hear from the microVM");
	memcpy(&code, payload, sizeof(code));
	if (code <= 0 || code > 4095)
		return error_errno(err, EPROTO, "hear from the microVM");
	len -= sizeof(code);
	if (len >= sizeof(theirs.text))
		len = sizeof(theirs.text) - 1;
	memcpy(theirs.text, payload + sizeof(code), len);
	return error_set(err, code, "%s", theirs.text);
}

bool agent_asks_to_end(int sig)
{
	return sig == SIGTERM || sig == SIGINT || sig == SIGQUIT || sig == SIGHUP;
}

void agent_log_warning(const char *payload, size_t len)
{
	log_warning("%.*s", (int)(len < ERROR_TEXT_MAX ? len : ERROR_TEXT_MAX), payload);
}

ssize_t agent_receive_answer(int fd, uint32_t *type, char **payload, size_t max, bool *exec_failed,
			     struct error *err)
{
	size_t limit =
		max > ERROR_TEXT_MAX + sizeof(int32_t) ? max : ERROR_TEXT_MAX + sizeof(int32_t);
	_cleanup_free_ char *data = NULL;
	uint32_t got;
	ssize_t len = agent_receive(fd, &got, &data, limit, err);

	for (int i = 0; len >= 0 && got == AGENT_WARNING && i < AGENT_WARNINGS_MAX; i++) {
		agent_log_warning(data, (size_t)len);
		free(take_ptr(data));
		len = agent_receive(fd, &got, &data, limit, err);
	}
	if (payload)
		*payload = NULL;
	if (len < 0)
		return len;
	if (got == AGENT_ERROR || got == AGENT_EXEC_ERROR) {
		if (exec_failed)
			*exec_failed = got == AGENT_EXEC_ERROR;
		return agent_error_of(data, (size_t)len, err);
	}
	if ((size_t)len > max)
		return error_set(err, EMSGSIZE, "the microVM says %zd bytes where %zu are allowed",
				 len, max);
	if (type)
		*type = got;
	else if (got != (payload ? AGENT_DATA : AGENT_OK))
		return error_errno(err, EPROTO, "hear from the microVM");
	if (payload)
		*payload = take_ptr(data);
	return len;
}
