#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# System calls that an agent is asked about (SCMP_ACT_NOTIFY).

load helpers

setup()
{
	[ "$(uname -m)" = x86_64 ] || skip "the profiles here are for x86_64"
	hull_setup
	SOCKET=$TEST_DIR/agent.sock
}

teardown()
{
	[ -z "${AGENT:-}" ] || kill "$AGENT" 2>/dev/null || true
	hull_teardown
}

# notify CALL...: the filter asks about these.
notify()
{
	update_config --arg socket "$SOCKET" '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW",
		architectures: ["SCMP_ARCH_X86_64"], listenerPath: $socket, listenerMetadata: "some \"metadata\"",
		syscalls: [{names: $ARGS.positional, action: "SCMP_ACT_NOTIFY"}]}' --args -- "$@"
}

# agent COUNT ANSWER: takes so many listeners.
agent()
{
	"$HELPERS/seccomp_agent" "$SOCKET" "$TEST_DIR" "$@" 3>&- 4>&- &
	AGENT=$!
	wait_until 5 "[ -S '$SOCKET' ]"
}

probe()
{
	set_args probe "$@"
	run without_bats timeout 30 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
}

# bats test_tags=quick
@test "the agent answers for the kernel" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 4242
	notify getppid
	set_args probe value getppid
	run h run --bundle "$BUNDLE" "$ID"
	expect_output 4242
	grep -qx 110 "$TEST_DIR/calls"
}

# bats test_tags=quick
@test "one state a connection, with one descriptor" {
	agent 1 continue
	notify getppid
	update_config '.annotations = {"org.example": "value"}'
	set_args sleep 100
	create_container
	[ ! -e "$TEST_DIR/state.1" ] # the filter is loaded at the start
	h start "$ID"
	[ "$(cat "$TEST_DIR/log")" = "fds 1 end yes" ]
	jq -e --arg id "$ID" --arg bundle "$BUNDLE" --argjson pid "$(container_pid)" '. ==
		{ociVersion: "1.3.0", fds: ["seccompFd"], pid: $pid, metadata: "some \"metadata\"",
			state: {ociVersion: "1.3.0", id: $id, status: "created", pid: $pid, bundle: $bundle,
				annotations: {"org.example": "value"}}}' "$TEST_DIR/state.1"
}

@test "an exec has a listener of its own" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 2 777
	notify getppid
	start_sleeper
	run h exec --pid-file "$TEST_DIR/pid" "$ID" probe value getppid
	expect_output 777
	jq -e --argjson pid "$(cat "$TEST_DIR/pid")" --argjson init "$(container_pid)" \
		'.pid == $pid and .state.pid == $init and .state.status == "running"' "$TEST_DIR/state.2"
}

# Until the agent has the listener nobody answers: hull must make no such call in between.
# bats test_tags=quick
@test "any call can be asked about, also those that hull makes itself" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 continue
	notify sendmsg recvmsg write read close futex execve capset openat ppoll sched_yield nanosleep \
		clock_nanosleep exit exit_group madvise munmap
	for nnp in true false; do
		update_config --argjson nnp $nnp '.process.noNewPrivileges = $nnp'
		[ "$nnp" = true ] || { rm "$SOCKET"; agent 1 continue; }
		probe call sched_yield
		expect_status 0
		expect_output ok
	done
	grep -qx 59 "$TEST_DIR/calls" # execve
}

@test "every call is asked about" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 continue
	update_config --arg socket "$SOCKET" '.linux.seccomp = {defaultAction: "SCMP_ACT_NOTIFY",
		listenerPath: $socket}'
	probe call getppid
	expect_output ok
}

@test "an ordinary user without capabilities, and a user namespace" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 2 5
	notify getppid
	update_config '.process.user = {uid: 1000, gid: 1000} | del(.process.capabilities)
		| .process.noNewPrivileges = false'
	set_args probe value getppid
	run h run --bundle "$BUNDLE" "$ID"
	expect_output 5
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	chmod 755 "$TEST_DIR"
	run h run --bundle "$BUNDLE" "$ID"
	expect_output 5
}

@test "a hook at the start is before the filter" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 continue
	notify execve
	update_config '.hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "cat >/tmp/hook"]}]'
	probe call getppid
	expect_output ok
	[ "$(wc -l <"$TEST_DIR/calls")" -eq 1 ]
}

@test "nothing of the listener is left in the container" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 continue
	notify getppid
	run_script 'ls -l /proc/self/fd/ /proc/1/fd/; ls /proc/1/task | wc -l'
	expect_status 0
	expect_no_match 'seccomp|socket'
	expect_match '^1$'
}

@test "an agent that ends makes the call fail, not hang" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 deaf
	notify getppid
	probe call getppid
	expect_output ENOSYS
}

@test "without an agent the start is refused, and can be tried again" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	notify getppid
	set_args sleep 100
	create_container
	run h start "$ID"
	expect_error "/linux/seccomp/listenerPath: .*No such file"
	[ "$(container_status)" = created ]
	touch "$SOCKET"
	run h start "$ID"
	expect_error "/linux/seccomp/listenerPath: .* is no socket"
	rm "$SOCKET"
	agent 1 continue
	h start "$ID"
	[ "$(container_status)" = running ]
	# Nobody takes a second one.
	wait "$AGENT"
	run h exec "$ID" true
	expect_error "/linux/seccomp/listenerPath: connect"
	[ "$(container_status)" = running ]
}

@test "a run without an agent leaves nothing" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 deaf
	kill "$AGENT"
	notify getppid
	probe call getppid
	expect_error "/linux/seccomp/listenerPath: connect"
	expect_nothing_left
}

@test "listeners that cannot be are refused with the place" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	notify getppid
	update_config 'del(.linux.seccomp.listenerMetadata)'
	update_config 'del(.linux.seccomp.listenerPath)'
	run_script true
	expect_error "/linux/seccomp/listenerPath: is missing"
	update_config '.linux.seccomp.listenerPath = "relative.sock"'
	run_script true
	expect_error "/linux/seccomp/listenerPath: must be an absolute path"
	update_config 'del(.linux.seccomp.listenerPath) | .linux.seccomp.listenerMetadata = "x"'
	run_script true
	expect_error "/linux/seccomp/listenerMetadata"
	update_config 'del(.linux.seccomp.listenerMetadata) | .linux.seccomp.syscalls[0].action = "SCMP_ACT_LOG"
		| .linux.seccomp.flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]'
	run_script true
	expect_error "/linux/seccomp/flags/0"
	expect_nothing_left
}

@test "a listener's path that nobody needs is ignored" {
	notify getppid
	update_config '.linux.seccomp.syscalls[0].action = "SCMP_ACT_LOG"'
	probe call getppid
	expect_output ok
}

@test "flags of a filter with a listener" {
	container_only "the system calls are the guest's, which no agent of the host's sees"
	agent 1 9
	notify getppid
	update_config '.linux.seccomp.flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]'
	set_args probe value getppid
	run h run --bundle "$BUNDLE" "$ID"
	expect_output 9
}
