#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull run`: create, start, wait and delete in one.

load helpers

# bats test_tags=quick
@test "run prints the output and leaves nothing" {
	set_args echo "hello from inside"
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output "hello from inside"
	expect_nothing_left
}

# bats test_tags=quick
@test "the exit status is the workload's" {
	for code in 0 1 42 255; do
		set_args sh -c "exit $code"
		run h run --bundle "$BUNDLE" "$ID"
		expect_status $code
	done
}

@test "death by a signal is 128 and its number" {
	set_args sleep 1000
	h run --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 &
	wait_until 10 '[ "$(container_status)" = running ]'
	h kill "$ID" KILL
	status=0
	wait $! || status=$?
	expect_status 137
}

@test "without --bundle the bundle is the working directory" {
	set_args echo here
	cd "$BUNDLE"
	run h run "$ID"
	expect_status 0
	expect_output here
}

@test "standard input reaches the workload" {
	set_args cat
	result=$(echo "through the pipe" | h run --bundle "$BUNDLE" "$ID")
	[ "$result" = "through the pipe" ]
}

@test "standard output and standard error stay apart" {
	set_args sh -c 'echo out; echo err >&2'
	h run --bundle "$BUNDLE" "$ID" >"$TEST_DIR/1" 2>"$TEST_DIR/2"
	[ "$(cat "$TEST_DIR/1")" = out ]
	[ "$(cat "$TEST_DIR/2")" = err ]
}

# bats test_tags=quick
@test "--detach returns while the container runs" {
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	h run --detach --bundle "$BUNDLE" --pid-file "$TEST_DIR/pid" "$ID" >"$OUT" 2>&1 </dev/null
	[ "$(container_status)" = running ]
	[ "$(cat "$TEST_DIR/pid")" = "$(container_pid)" ]
}

@test "--keep leaves the stopped container" {
	set_args sh -c 'exit 3'
	run h run --keep --bundle "$BUNDLE" "$ID"
	expect_status 3
	[ "$(container_status)" = stopped ]
	h delete "$ID"
}

@test "a program that does not exist is an error and leaves nothing" {
	set_args /no/such/program
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "no such file or directory|executable file not found"
	expect_nothing_left
	set_args no-such-program
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "no such file or directory|executable file not found"
}

@test "a file that cannot be executed is an error" {
	echo text >"$BUNDLE/rootfs/text"
	set_args /text
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "permission denied"
	set_args /tmp
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "permission denied|is a directory"
	expect_nothing_left
}

@test "a signal sent to run reaches the workload" {
	set_args sh -c 'trap "echo got it; exit 7" TERM; echo ready; while :; do sleep 0.05; done'
	"$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 3>&- &
	pid=$!
	wait_until 10 'grep -q ready "$OUT"'
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	expect_status 7
	grep -q "got it" "$OUT"
}

@test "no descriptor but 0, 1 and 2 reaches the workload" {
	set_args sh -c 'ls /proc/self/fd | tr "\n" " "'
	exec 7<"$BUNDLE/config.json"
	run h run --bundle "$BUNDLE" "$ID"
	exec 7<&-
	expect_status 0
	# ls has one more of its own: the directory.
	expect_match '^0 1 2 3 $'
}

@test "--preserve-fds hands over as many as it says" {
	container_only "no descriptor of the host's can be used"
	echo "from three" >"$TEST_DIR/three"
	set_args sh -c 'cat <&3; [ ! -e /proc/self/fd/4 ] || echo four'
	run sh -c 'exec "$0" --root "$1" run --preserve-fds 1 --bundle "$2" "$3" 3<"$4" 4<"$4"' \
		"$HULL" "$ROOT" "$BUNDLE" "$ID" "$TEST_DIR/three"
	expect_status 0
	expect_output "from three"
}

@test "children that are orphaned are ended with the container" {
	run_script 'sleep 1000 & sleep 1000 & echo done'
	expect_status 0
	expect_nothing_left
}

@test "run of an id that is in use leaves the first alone" {
	start_sleeper
	run h run --bundle "$BUNDLE" "$ID"
	expect_error exist
	[ "$(container_status)" = running ]
}

@test "the log has a JSON record that engines can read" {
	set_args /no/such/program
	run h --log "$TEST_DIR/log" --log-format json run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	jq -se 'map(select(.level == "error")) | last | (.msg | length > 0) and (.time | test("^20..-..-..T"))' \
		"$TEST_DIR/log"
}
