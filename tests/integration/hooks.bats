#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The six hooks: when they run, where, and what becomes of their failures.
# modes: container microvm

load helpers

# A hook that appends its name and what `state` said to a log on the host.
hook()
{
	jq -n --arg script "$1" '[{path: "/bin/sh", args: ["sh", "-c", $script], env: ["PATH=/usr/bin:/bin"]}]'
}

add_hook()
{
	update_config --arg when "$1" --argjson hook "$(hook "$2")" '.hooks[$when] += $hook'
}

# bats test_tags=quick,microvm
@test "all hooks run once, in order, with the state on standard input" {
	log=$TEST_DIR/log
	mkdir "$TEST_DIR/shared"
	touch "$log"
	chmod 666 "$log"
	for when in prestart createRuntime poststart poststop; do
		add_hook $when "echo $when \$(jq -r '.id + \" \" + .status + \" \" + .bundle') >>$log"
	done
	# These two run in the container's mount namespace; startContainer after the pivot, too.
	add_hook createContainer "echo createContainer \$(jq -r '.id + \" \" + .status + \" \" + .bundle') >>$log"
	update_config --arg log "$log" '.mounts += [{destination: "/log", source: $log, options: ["bind"]}]
		| .hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "echo startContainer >>/log"]}]'
	set_args sh -c 'echo process >>/log'
	create_container
	[ "$(cut -d' ' -f1 "$log" | tr '\n' ' ')" = "prestart createRuntime createContainer " ] ||
		fail "after create:" "$(cat "$log")"
	grep -qE "^createRuntime $ID (creating|created) $BUNDLE$" "$log" || fail "$(cat "$log")"
	h start "$ID"
	wait_stopped
	wait_until 5 "grep -q poststart $log"
	# Between the start of the process and poststart there is no order.
	[ "$(cut -d' ' -f1 "$log" | sed 's/process\|poststart/x/' | tr '\n' ' ')" = \
		"prestart createRuntime createContainer startContainer x x " ] || fail "after start:" "$(cat "$log")"
	h delete "$ID"
	tail -n 1 "$log" | grep -qE "^poststop $ID stopped $BUNDLE$" || fail "$(cat "$log")"
}

@test "hooks of one kind run in the order of the file" {
	for i in 1 2 3; do
		add_hook createRuntime "echo $i >>$TEST_DIR/log"
	done
	set_args true
	h run --bundle "$BUNDLE" "$ID"
	[ "$(tr -d '\n' <"$TEST_DIR/log")" = 123 ]
}

@test "a hook gets its arguments and its environment, and no other" {
	update_config --arg out "$TEST_DIR/out.env" '.hooks.createRuntime = [{path: "/bin/sh",
		args: ["argv0", "-c", "cat /proc/self/environ >\($out); echo \"$0 $1\" >>\($out)", "zero", "one"], env: ["ONLY=this"]}]'
	set_args true
	run without_bats env LEAKED=1 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 0
	run sh -c "tr '\0' '\n' <$TEST_DIR/out.env"
	expect_match '^ONLY=this$'
	expect_match 'zero one'
	expect_no_match LEAKED
}

@test "the pid that a hook is told is the container's, seen from the host" {
	add_hook createRuntime "jq -r .pid >$TEST_DIR/pid"
	set_args sleep 100
	create_container
	[ "$(cat "$TEST_DIR/pid")" = "$(container_pid)" ]
}

# Network plug-ins work this way: they enter the namespace of the pid.
@test "createRuntime finds the namespaces made" {
	if in_microvm; then # what is put into the network namespace on the host is in the guest
		require_cmd ip nsenter
		add_hook createRuntime "pid=\$(jq -r .pid); readlink /proc/\$pid/ns/net >$TEST_DIR/net
			readlink /proc/self/ns/net >>$TEST_DIR/net
			ip link add v${ID: -8} type veth peer name found netns \$pid && nsenter -t \$pid -n ip link set found up"
		set_args ls /sys/class/net
		run h run --bundle "$BUNDLE" "$ID"
		expect_output "found
lo"
		[ "$(head -n 1 "$TEST_DIR/net")" != "$(tail -n 1 "$TEST_DIR/net")" ]
		[ "$(tail -n 1 "$TEST_DIR/net")" = "$(readlink /proc/self/ns/net)" ]
		return
	fi
	add_hook createRuntime "readlink /proc/\$(jq -r .pid)/ns/net >$TEST_DIR/net; readlink /proc/self/ns/net >>$TEST_DIR/net"
	set_args readlink /proc/self/ns/net
	run h run --bundle "$BUNDLE" "$ID"
	[ "$(head -n 1 "$TEST_DIR/net")" = "$output" ]
	[ "$(tail -n 1 "$TEST_DIR/net")" = "$(readlink /proc/self/ns/net)" ]
}

# bats test_tags=quick
@test "a failing hook before start fails create, and poststop still runs" {
	for when in prestart createRuntime createContainer; do
		update_config 'del(.hooks)'
		rm -f "$TEST_DIR/log"
		add_hook $when "echo complaint >&2; exit 3"
		add_hook poststop "echo poststop >>$TEST_DIR/log"
		set_args sh -c 'echo never'
		run h run --bundle "$BUNDLE" "$ID"
		expect_error "hook"
		expect_no_match '^never$'
		expect_nothing_left
		[ "$(cat "$TEST_DIR/log")" = poststop ] || fail "poststop did not run after $when failed"
	done
}

@test "a failing startContainer hook fails start and stops the container" {
	update_config '.hooks.startContainer = [{path: "/bin/false"}]'
	set_args sh -c 'echo never'
	create_container
	run h start "$ID"
	[ "$status" -ne 0 ]
	wait_stopped
	run cat "$OUT"
	expect_no_match '^never$'
}

# runtime.md, Lifecycle 9: an error, and the container is stopped.
# bats test_tags=quick
@test "a failing poststart hook is an error and stops the container" {
	add_hook poststart "echo complaint >&2; exit 3"
	add_hook poststop "echo poststop >>$TEST_DIR/log"
	set_args sleep 1000
	create_container
	run h start "$ID"
	expect_status 1
	expect_error '/hooks/poststart/0: .* failed with status 3'
	[ "$(container_status)" = stopped ] # at once, not some time later
	h delete "$ID"
	[ "$(cat "$TEST_DIR/log")" = poststop ]
	for detach in false true; do
		run h run --detach=$detach --bundle "$BUNDLE" "$ID"
		expect_status 1
		expect_error '/hooks/poststart/0'
		expect_nothing_left
	done
}

@test "a poststart hook sees the workload running, and those behind a failed one do not run" {
	state="$HULL --root $ROOT state $ID"
	add_hook poststart "$state >$TEST_DIR/seen; cat /proc/\$(jq .pid $TEST_DIR/seen)/comm >$TEST_DIR/comm"
	add_hook poststart "exit 1"
	add_hook poststart "touch $TEST_DIR/third"
	set_args sleep 1000
	create_container
	run h start "$ID"
	expect_error '/hooks/poststart/1'
	[ "$(jq -r .status "$TEST_DIR/seen")" = running ]
	[ "$(cat "$TEST_DIR/comm")" = "$(in_microvm && echo hull-vmm || echo sleep)" ]
	[ ! -e "$TEST_DIR/third" ]
}

@test "a failing poststop hook is a warning" {
	add_hook poststop "exit 3"
	set_args true
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_match 'warning: /hooks/poststop/0: .* failed with status 3'
	expect_nothing_left
	start_container
	wait_stopped
	run h delete "$ID"
	expect_status 0
	expect_match 'warning: /hooks/poststop/0'
	expect_nothing_left
}

@test "a hook that takes too long is killed" {
	update_config '.hooks.createRuntime = [{path: "/bin/sleep", args: ["sleep", "1000"], timeout: 1}]'
	set_args true
	start=$SECONDS
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "hook"
	[ $((SECONDS - start)) -lt 10 ]
	expect_nothing_left
}

@test "a timeout of more than an int is one, and does not end a hook at once" {
	set_args echo ok
	for timeout in 2147483 2147484 2147483648 4294967297 9223372036854775807; do
		update_config '.hooks.createRuntime = [{path: "/bin/sleep", args: ["sleep", "0.1"], timeout: 1}]'
		sed -i "s/\"timeout\": 1/\"timeout\": $timeout/" "$BUNDLE/config.json" # jq would round it
		run h run --bundle "$BUNDLE" "$ID"
		expect_output ok
	done
}

@test "a hook that does not exist, or is no absolute path, is an error" {
	update_config '.hooks.createRuntime = [{path: "/no/such/hook"}]'
	run_script true
	expect_error "/no/such/hook"
	update_config '.hooks.createRuntime = [{path: "relative"}]'
	run_script true
	expect_error "/hooks/createRuntime/0/path"
	expect_nothing_left
}

@test "a hook that does not read its input does no harm" {
	for _ in 1 2 3; do
		update_config '.hooks.createRuntime += [{path: "/bin/true"}]'
	done
	run_script 'echo ok'
	expect_status 0
	expect_output ok
}
