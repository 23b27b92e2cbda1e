/* SPDX-License-Identifier: Apache-2.0 */
/* The options of CRIU's that hull checkpoint, hull restore and hull clone have in common. */
#ifndef HULL_CMD_CHECKPOINT_H
#define HULL_CMD_CHECKPOINT_H

#include "cmd/hull/command.h"

/* Those that are more than a flag. */
struct criu_words {
	const char *cgroup_mode, *network_lock;
	struct option_strings empty_ns;
	/* What cannot be done together with a manifest of all that belongs to a checkpoint. */
	bool lazy_pages, auto_dedup;
	const char *page_server, *status_fd;
};

int parse_criu_words(const struct criu_words *words, struct sandbox_criu_options *options,
		     struct error *err);

#define CRIU_OPTIONS(work_path, c, w)                                                                \
	{ "work-path", 0,     OPTION_STRING,                                                         \
	  work_path,   "DIR", "where CRIU's log goes (default: to the state directory)" },           \
		{ "tcp-established",     0,    OPTION_FLAG,                                          \
		  &(c)->tcp_established, NULL, "keep open TCP connections" },                        \
		{ "ext-unix-sk",     0,    OPTION_FLAG,                                              \
		  &(c)->ext_unix_sk, NULL, "allow Unix sockets that are connected to the outside" }, \
		{ "shell-job",     0,    OPTION_FLAG,                                                \
		  &(c)->shell_job, NULL, "allow a terminal and a session of the outside" },          \
		{ "file-locks", 0, OPTION_FLAG, &(c)->file_locks, NULL, "keep file locks" },         \
		{ "manage-cgroups-mode",                                                             \
		  0,                                                                                 \
		  OPTION_STRING,                                                                     \
		  &(w)->cgroup_mode,                                                                 \
		  "MODE",                                                                            \
		  "of cgroups: soft (default), full, strict or ignore" },                            \
		{ "network-lock", 0,                                                                 \
		  OPTION_STRING,  &(w)->network_lock,                                                \
		  "METHOD",       "how connections are held: iptables, nftables or skip" },          \
		{ "empty-ns",     0,           OPTION_STRINGS,                                       \
		  &(w)->empty_ns, "NAMESPACE", "leave what is in a namespace to others: network" },  \
		{ "lazy-pages", 0, OPTION_HIDDEN_FLAG, &(w)->lazy_pages, NULL, NULL },               \
	{                                                                                            \
		"auto-dedup", 0, OPTION_HIDDEN_FLAG, &(w)->auto_dedup, NULL, NULL                    \
	}

#endif
