/* SPDX-License-Identifier: Apache-2.0 */
/* The options that create and run have in common, for the table of a command; o: a struct runtime_create. */
#ifndef HULL_CMD_CREATE_H
#define HULL_CMD_CREATE_H

#include "cmd/hull/command.h"

#define CREATE_OPTIONS(o)                                                                           \
	{ "bundle",     'b',   OPTION_STRING,                                                       \
	  &(o)->bundle, "DIR", "the bundle (default: the working directory)" },                     \
		{ "config",     'f',    OPTION_STRING,                                              \
		  &(o)->config, "FILE", "the configuration (default: config.json in the bundle)" }, \
		{ "sandbox",                                                                        \
		  0,                                                                                \
		  OPTION_STRING,                                                                    \
		  &(o)->sandbox,                                                                    \
		  "KIND",                                                                           \
		  "the isolation: container, or microvm: a virtual machine of its own" },           \
		{ "console-socket",     0,      OPTION_STRING,                                      \
		  &(o)->console_socket, "PATH", "a Unix socket that receives the terminal" },       \
		{ "pid-file",     0,      OPTION_STRING,                                            \
		  &(o)->pid_file, "FILE", "write the process id of the container's init to FILE" }, \
		{ "pidfd-socket", 0,                                                                \
		  OPTION_STRING,  &(o)->pidfd_socket,                                               \
		  "PATH",         "a Unix socket that receives a pidfd of the init process" },      \
		{ "preserve-fds",     0,   OPTION_UNSIGNED,                                         \
		  &(o)->preserve_fds, "N", "pass on N more descriptors, from 3 on" },               \
		{ "no-pivot",     0,    OPTION_FLAG,                                                \
		  &(o)->no_pivot, NULL, "do not use pivot_root (for hosts on an initramfs)" },      \
	{                                                                                           \
		"no-new-keyring", 0, OPTION_FLAG, &(o)->no_new_keyring, NULL,                       \
			"keep the caller's session keyring"                                         \
	}

#endif
