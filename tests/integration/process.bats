#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The process: who it is, what it may, where it starts.

load helpers

# bats test_tags=quick
@test "user, group and additional groups" {
	update_config '.process.user = {uid: 1000, gid: 1000, additionalGids: [2000, 3000]}'
	run_script 'id -u; id -g; id -G; echo >/tmp/made; stat -c "%u %g" /tmp/made'
	expect_output "1000
1000
1000 2000 3000
1000 1000"
}

@test "the caller's groups are not inherited" {
	run setpriv --groups 4,24 "$HULL" --version
	require_cmd setpriv
	set_args grep ^Groups: /proc/self/status
	run without_bats setpriv --groups 4,24 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_no_match '\b(4|24)\b'
}

# bats test_tags=quick
@test "the five capability sets" {
	update_config '.process.capabilities = {
		bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"], permitted: ["CAP_CHOWN", "CAP_KILL"],
		effective: ["CAP_CHOWN"], inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"]}
		| .process.user = {uid: 1000, gid: 1000}'
	run_script 'grep Cap /proc/self/status'
	# Not root, so that execve keeps the ambient set and no other.
	expect_match '^CapInh:.0000000000000020$'
	expect_match '^CapPrm:.0000000000000020$'
	expect_match '^CapEff:.0000000000000020$'
	expect_match '^CapBnd:.00000000000000a1$'
	expect_match '^CapAmb:.0000000000000020$'
}

@test "without capabilities there are none" {
	update_config 'del(.process.capabilities)'
	run_script 'grep Cap /proc/self/status'
	expect_match '^CapEff:.0000000000000000$'
	expect_match '^CapBnd:.0000000000000000$'
}

@test "a capability that nobody knows is refused or reported" {
	update_config '.process.capabilities.bounding += ["CAP_NO_SUCH"]'
	run_script 'grep CapBnd /proc/self/status'
	[ "$status" -eq 0 ] || expect_error CAP_NO_SUCH
	expect_match CAP_NO_SUCH
}

# bats test_tags=quick
@test "no_new_privs as configured" {
	update_config '.process.noNewPrivileges = true'
	run_script 'grep NoNewPrivs /proc/self/status'
	expect_match '1$'
	update_config '.process.noNewPrivileges = false'
	run_script 'grep NoNewPrivs /proc/self/status'
	expect_match '0$'
}

@test "resource limits" {
	update_config '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200},
		{type: "RLIMIT_CORE", soft: 0, hard: 0}, {type: "RLIMIT_STACK", soft: 1048576, hard: 2097152}]'
	run_script 'grep -E "open files|core|stack" /proc/self/limits'
	expect_match 'Max open files +100 +200'
	expect_match 'Max core file size +0 +0'
	expect_match 'Max stack size +1048576 +2097152'
}

@test "every resource limit that Linux has" {
	update_config '.process.rlimits = [{AS: 1099511627776, CORE: 1, CPU: 3600, DATA: 1099511627776, FSIZE: 1099511627776,
		LOCKS: 100, MEMLOCK: 4096, MSGQUEUE: 8192, NICE: 0, NOFILE: 50, NPROC: 400, RSS: 1099511627776, RTPRIO: 0,
		RTTIME: 1000000, SIGPENDING: 60, STACK: 1048576} | to_entries[] | {type: ("RLIMIT_" + .key), soft: .value, hard: .value}]'
	run_script 'cut -c 1-46 /proc/self/limits'
	expect_status 0
	while read -r value name; do
		expect_match "^Max $name +$value"
	done <<-LIMITS
		1099511627776 address space
		1 core file size
		3600 cpu time
		1099511627776 data size
		1099511627776 file size
		100 file locks
		4096 locked memory
		8192 msgqueue size
		0 nice priority
		50 open files
		400 processes
		1099511627776 resident set
		0 realtime priority
		1000000 realtime timeout
		60 pending signals
		1048576 stack size
	LIMITS
}

@test "wrong resource limits are refused" {
	update_config '.process.rlimits = [{type: "RLIMIT_NOSUCH", soft: 1, hard: 1}]'
	run_script true
	expect_error "RLIMIT_NOSUCH|/process/rlimits/0"
	update_config '.process.rlimits = [{type: "RLIMIT_CORE", soft: 0, hard: 0}, {type: "RLIMIT_CORE", soft: 0, hard: 0}]'
	run_script true
	expect_error "/process/rlimits"
	update_config '.process.rlimits = [{type: "RLIMIT_CORE", soft: 2, hard: 1}]'
	run_script true
	expect_error "RLIMIT_CORE|/process/rlimits/0"
}

@test "umask" {
	update_config '.process.user.umask = 63'
	set_args probe umask
	run h run --bundle "$BUNDLE" "$ID"
	expect_output 0077
	update_config 'del(.process.user.umask)'
	run h run --bundle "$BUNDLE" "$ID"
	expect_output 0022
}

@test "oom score" {
	update_config '.process.oomScoreAdj = 321'
	run_script 'cat /proc/self/oom_score_adj'
	expect_output 321
	update_config '.process.oomScoreAdj = 1001'
	run_script true
	expect_error "/process/oomScoreAdj"
}

@test "a label of SELinux, and a profile of AppArmor, are errors where these are not active" {
	if in_microvm; then # where the host's mean nothing
		update_config '.process.selinuxLabel = "system_u:system_r:container_t:s0:c1,c2" | .process.apparmorProfile = "no-such-profile"'
		run_script 'echo fine'
		expect_output fine
		return
	fi
	[ -d /sys/fs/selinux ] || {
		update_config '.process.selinuxLabel = "system_u:system_r:container_t:s0:c1,c2"'
		run_script true
		expect_error '^hull: /process/selinuxLabel .*: set .system_u:system_r:container_t:s0:c1,c2.'
		expect_nothing_left
	}
	[ -d /sys/kernel/security/apparmor ] || {
		update_config 'del(.process.selinuxLabel) | .process.apparmorProfile = "container-default"'
		run_script true
		expect_error '/process/apparmorProfile: AppArmor is not active'
		expect_nothing_left
	}
}

@test "what is for Windows is ignored" {
	update_config '.process.commandLine = "no such program" | .process.user.username = "nobody that there is"'
	run_script 'id -u'
	expect_output 0
}

# bats test_tags=quick
@test "working directory and environment" {
	mkdir "$BUNDLE/rootfs/work"
	update_config '.process.cwd = "/work" | .process.env = ["PATH=/bin", "A=1", "B=with space", "EMPTY="]'
	run_script 'pwd; env | grep -E "^(A|B|EMPTY|PATH)=" | sort'
	expect_output "/work
A=1
B=with space
EMPTY=
PATH=/bin"
}

@test "nothing of the caller's environment reaches the workload" {
	set_args env
	run without_bats env LEAKED_VARIABLE=1 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_no_match LEAKED
}

# bats test_tags=quick
@test "of several variables of one name the last counts" {
	update_config '.process.env = ["PATH=/none", "A=1", "AB=1", "A=2", "=x", "B", "A", "HOME=/a", "PATH=/bin", "A=3", "HOME=", "C=", "D=", "E="]'
	set_args env
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	[ "$(sort <<<"$output")" = "$(printf '%s\n' =x A=3 AB=1 B C= D= E= HOME=/root PATH=/bin)" ] || fail "$output"
	update_config '.process.env = [range(60000) | "A\(. % 50000)=\(.)"] + ["PATH=/bin"]'
	set_args sh -c 'env | grep -c ^A; echo $A7 $A49999'
	run h run --bundle "$BUNDLE" "$ID"
	expect_output "50000
50007 49999"
	start_sleeper
	run h exec -e VALUE=1 -e VALUE=2 "$ID" env
	expect_match '^VALUE=2$'
	expect_no_match '^VALUE=1$'
}

@test "HOME is the user's where the configuration has none" {
	update_config '.process.user = {uid: 1000, gid: 1000}'
	run_script 'echo $HOME'
	expect_output /home
	update_config '.process.env += ["HOME=/mine"]'
	run_script 'echo $HOME'
	expect_output /mine
}

@test "a working directory that is missing is made" {
	update_config '.process.cwd = "/new/place"'
	run_script pwd
	expect_output /new/place
}

@test "a relative working directory is refused" {
	update_config '.process.cwd = "relative"'
	run_script pwd
	expect_error "/process/cwd"
}

@test "a command without a slash is found by the container's PATH" {
	mkdir "$BUNDLE/rootfs/odd"
	printf '#!/bin/sh\necho found\n' >"$BUNDLE/rootfs/odd/tool"
	chmod 755 "$BUNDLE/rootfs/odd/tool"
	update_config '.process.env = ["PATH=/nowhere:/odd:/bin"]'
	set_args tool
	run h run --bundle "$BUNDLE" "$ID"
	expect_output found
}

@test "arguments arrive as they are" {
	set_args sh -c 'for a; do printf "<%s>" "$a"; done' sh "" "two words" "a'b\"c" $'tab\there' "\$HOME" "*"
	run h run --bundle "$BUNDLE" "$ID"
	expect_output "<><two words><a'b\"c><tab	here><\$HOME><*>"
}

@test "arguments and environment that are too long are an error with their size" {
	update_config '.process.args = ["true", "x" * 131072]'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 126
	expect_error '^hull: exec .* with 13[0-9]{4} bytes of arguments and environment, 131073 in the longest .*: Argument list too long$'
	update_config '.process.args = ["true"] | .process.env += [range(100) | "A\(.)=" + "x" * 100000]'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 126
	expect_error 'with 100[0-9]{5} bytes of arguments and environment, 1000[0-9][0-9] in the longest'
}

@test "signals are neither blocked nor ignored" {
	set_args probe signals
	run sh -c 'trap "" HUP USR1; exec "$0" --root "$1" run --bundle "$2" "$3" 3>&-' \
		"$HULL" "$ROOT" "$BUNDLE" "$ID"
	expect_status 0
	expect_output "blocked 0 ignored 0"
}

@test "the process leads a session of its own" {
	set_args probe session
	run h run --bundle "$BUNDLE" "$ID"
	expect_output "session yes group yes"
}

@test "an empty or absent args is refused" {
	update_config '.process.args = []'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "args"
	update_config 'del(.process.args)'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "args"
	expect_nothing_left
}

# CVE-2019-5736: the container must not be able to open the host's runtime for writing.
# bats test_tags=quick
@test "the host's hull cannot be reached by /proc/self/exe" {
	skip_sanitized "that build does not hide itself"
	before=$(sha256sum "$HULL")
	set_args /proc/self/exe
	run without_bats timeout 20 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_no_match "usage|Usage|commands"
	printf '#!/proc/self/exe\n' >"$BUNDLE/rootfs/evil"
	chmod 755 "$BUNDLE/rootfs/evil"
	set_args /evil
	run without_bats timeout 20 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_no_match "usage|Usage|commands"
	[ "$(sha256sum "$HULL")" = "$before" ]
}

@test "a created container's process does not show hull's binary" {
	skip_sanitized "that build does not hide itself"
	set_args sleep 100
	create_container
	pid=$(container_pid)
	run readlink "/proc/$pid/exe"
	expect_no_match "^$HULL$"
	run cat "/proc/$pid/maps"
	expect_no_match "$HULL"
}
