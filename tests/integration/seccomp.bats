#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# System call filters.

load helpers

# filter DEFAULT_ACTION SYSCALLS_JSON
filter()
{
	update_config --arg default "$1" --argjson calls "$2" \
		'.linux.seccomp = {defaultAction: $default, architectures: ["SCMP_ARCH_X86_64"], syscalls: $calls}'
}

probe()
{
	set_args probe "$@"
	run h run --bundle "$BUNDLE" "$ID"
}

setup()
{
	[ "$(uname -m)" = x86_64 ] || skip "the profiles here are for x86_64"
	hull_setup
}

# bats test_tags=quick
@test "an error of choice, and EPERM by default" {
	filter SCMP_ACT_ALLOW '[{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
		{"names": ["sched_yield"], "action": "SCMP_ACT_ERRNO"}]'
	probe call getppid
	expect_output EOPNOTSUPP
	probe call sched_yield
	expect_output EPERM
	run_script 'grep Seccomp: /proc/self/status'
	expect_match '2$'
}

@test "defaultErrnoRet holds for all that is not allowed" {
	# What a static program needs to print a line, and what hull does behind the filter.
	update_config '.linux.seccomp = {defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 38,
		architectures: ["SCMP_ARCH_X86_64"],
		syscalls: [{names: ["execve", "exit_group", "exit", "brk", "arch_prctl", "set_tid_address",
			"set_robust_list", "rseq", "prlimit64", "readlink", "readlinkat", "getrandom", "mprotect",
			"newfstatat", "fstat", "write", "writev", "mmap", "munmap", "rt_sigreturn", "prctl", "close",
			"close_range", "futex", "capset", "capget", "setuid", "setgid", "setgroups", "setresuid",
			"setresgid", "seccomp", "openat", "openat2", "read", "chdir", "fchdir", "getcwd", "recvmsg",
			"sendmsg", "sendto", "recvfrom", "fcntl", "dup", "dup3", "getdents64", "ioctl", "lseek", "statx", "uname",
			"rt_sigprocmask", "rt_sigaction", "umask", "access", "faccessat2", "open", "stat"], action: "SCMP_ACT_ALLOW"}]}'
	probe call getppid
	expect_output ENOSYS
}

@test "killing actions end the process with SIGSYS" {
	for action in SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD; do
		filter SCMP_ACT_ALLOW '[{"names": ["getppid"], "action": "'$action'"}]'
		probe call getppid
		expect_status 159
	done
}

@test "log and allow let the call through" {
	filter SCMP_ACT_ALLOW '[{"names": ["getppid"], "action": "SCMP_ACT_LOG"}]'
	probe call getppid
	expect_output ok
}

@test "arguments are compared" {
	# personality(0xffffffff) asks, personality(8) sets.
	filter SCMP_ACT_ALLOW '[{"names": ["personality"], "action": "SCMP_ACT_ERRNO",
		"args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]'
	probe call personality 0xffffffff
	expect_output ok
	probe call personality 8
	expect_output EPERM
	filter SCMP_ACT_ALLOW '[{"names": ["personality"], "action": "SCMP_ACT_ERRNO",
		"args": [{"index": 0, "value": 8, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}]}]'
	probe call personality 0x18
	expect_output EPERM
	probe call personality 0x10
	expect_output ok
	filter SCMP_ACT_ALLOW '[{"names": ["personality"], "action": "SCMP_ACT_ERRNO",
		"args": [{"index": 0, "value": 4294967295, "op": "SCMP_CMP_NE"}]}]'
	probe call personality 8
	expect_output EPERM
	probe call personality 0xffffffff
	expect_output ok
}

@test "names that this machine does not know are left out" {
	filter SCMP_ACT_ALLOW '[{"names": ["no_such_call_anywhere", "getppid"], "action": "SCMP_ACT_ERRNO"}]'
	probe call getppid
	expect_output EPERM
}

@test "the filter holds for exec, too" {
	filter SCMP_ACT_ALLOW '[{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]'
	start_sleeper
	run h exec "$ID" probe call getppid
	expect_output EPERM
}

# It is loaded before the container sees the process: what hull does afterwards it must allow (hull-exec(1)).
@test "an exec without no_new_privs needs few calls of its filter" {
	# The sleeper's and the probe's; those that exec(1) names; capset is to give up the privilege to load it.
	update_config '.process.noNewPrivileges = false | .linux.seccomp = {defaultAction: "SCMP_ACT_ERRNO",
		architectures: ["SCMP_ARCH_X86_64"], syscalls: [{action: "SCMP_ACT_ALLOW", names: [
			"arch_prctl", "set_tid_address", "set_robust_list", "rseq", "readlink", "readlinkat", "getrandom", "mprotect",
			"newfstatat", "fstat", "write", "pause", "rt_sigaction", "rt_sigprocmask", "uname",
			"brk", "capset", "clone", "close", "close_range", "execve", "exit_group", "getpid", "getsid", "ioctl", "mmap",
			"munmap", "prctl", "prlimit64", "read", "recvmsg", "sendmsg", "setsid"]}]}'
	set_args probe sleep
	start_container
	run h exec "$ID" probe call getppid
	expect_output EPERM
}

@test "a filter works for a user without privileges and without no_new_privs" {
	filter SCMP_ACT_ALLOW '[{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]'
	for nnp in true false; do
		update_config --argjson nnp $nnp '.process.noNewPrivileges = $nnp | .process.user = {uid: 1000, gid: 1000}
			| del(.process.capabilities)'
		probe call getppid
		expect_output EPERM
	done
}

@test "wrong filters are refused with the place" {
	filter SCMP_ACT_NOSUCH '[]'
	run_script true
	expect_error "/linux/seccomp/defaultAction|SCMP_ACT_NOSUCH"
	filter SCMP_ACT_ALLOW '[{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]'
	run_script true
	expect_error "/linux/seccomp/syscalls/0/args/0"
	filter SCMP_ACT_ALLOW '[{"names": [], "action": "SCMP_ACT_ERRNO"}]'
	run_script true
	expect_error "/linux/seccomp/syscalls/0"
	expect_nothing_left
}

@test "a profile as engines write them lets a shell work" {
	calls=$(jq -n '[{names: ["kexec_load", "mount", "umount2", "init_module", "finit_module", "delete_module",
		"reboot", "swapon", "swapoff", "ptrace", "bpf", "perf_event_open", "setns"], action: "SCMP_ACT_ERRNO", errnoRet: 1}]')
	filter SCMP_ACT_ALLOW "$calls"
	run_script 'mount -t tmpfs none /tmp 2>&1; ls / >/dev/null && echo works'
	expect_match 'works'
	expect_match '[Pp]ermi'
}
