/* SPDX-License-Identifier: Apache-2.0 */
/* The table of processes for people, as ps -ef prints it: there is no ps(1) in the guest. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/number.h"
#include "base/strbuf.h"
#include "cmd/hull-guest/guest.h"

#define COMMAND_MAX 4096

struct process {
	unsigned uid;
	int pid, parent;
	unsigned long long ticks; /* of processor time */
	char command[COMMAND_MAX];
};

#define FIELD_PARENT 1 /* of those behind the name: state, parent, …: proc(5) */
#define FIELD_USER   11
#define FIELD_SYSTEM 12

/* What is behind the last ")" of /proc/PID/stat; the name in front of it may have anything. */
static bool parse_stat(char *text, struct process *p)
{
	char *fields = strrchr(text, ')'), *name = strchr(text, '('), *save = NULL, *word;
	uint64_t values[FIELD_SYSTEM + 1] = { 0 };
	unsigned n = 0;

	if (!fields || !name || name > fields)
		return false;
	*fields = '\0';
	snprintf(p->command, sizeof(p->command), "[%s]", name + 1);
	for (word = strtok_r(fields + 1, " ", &save); word && n <= FIELD_SYSTEM;
	     word = strtok_r(NULL, " ", &save), n++)
		/* Some may be negative; none of those that are wanted. */
		if (!parse_u64(word, UINT64_MAX, &values[n]))
			values[n] = 0;
	p->parent = (int)values[FIELD_PARENT];
	p->ticks = values[FIELD_USER] + values[FIELD_SYSTEM];
	return n > FIELD_SYSTEM;
}

static bool read_process(int pid, struct process *p)
{
	_cleanup_close_ int dir = -EBADF;
	char path[32], text[1024];
	_cleanup_free_ char *arguments = NULL;
	struct stat st;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->pid = pid;
	if (dir < 0 || fstat(dir, &st) < 0 ||
	    file_read_small(dir, "stat", text, sizeof(text), NULL) < 0 || !parse_stat(text, p))
		return false; /* it has ended */
	p->uid = st.st_uid;
	len = file_read(dir, "cmdline", COMMAND_MAX - 1, &arguments, NULL);
	if (len > 0) {
		for (ssize_t i = 0; i + 1 < len; i++)
			if (!arguments[i])
				arguments[i] = ' ';
		snprintf(p->command, sizeof(p->command), "%s", arguments);
	}
	return true;
}

void ps_table(const pid_t *pids, size_t count, struct strbuf *out)
{
	static struct process p;
	unsigned long long hertz = (unsigned long long)sysconf(_SC_CLK_TCK);

	strbuf_addf(out, "%-8s %7s %7s %8s %s\n", "UID", "PID", "PPID", "TIME", "CMD");
	for (size_t i = 0; i < count; i++) {
		unsigned long long seconds;

		if (!read_process(pids[i], &p))
			continue;
		seconds = p.ticks / hertz;
		strbuf_addf(out, "%-8u %7d %7d %02llu:%02llu:%02llu %s\n", p.uid, p.pid, p.parent,
			    seconds / 3600, seconds / 60 % 60, seconds % 60, p.command);
	}
}
