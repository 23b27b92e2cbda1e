#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull is killed at many points of its work; `hull delete --force` then leaves no process, mount,
# cgroup or file.
#
# strace kills it with SIGKILL at its N-th system call; N goes evenly over all that the command makes.

load helpers

setup()
{
	require_cmd strace
	skip_sanitized "strace and the leak checker exclude one another"
	strace -qq -o /dev/null true 2>/dev/null || skip "strace may not trace here"
	hull_setup
	POINTS=${HULL_FAULT_POINTS:-40}
}

# How many system calls the main process of a hull command makes.
count_calls()
{
	strace -qq -o "$TEST_DIR/calls" "$HULL" --root "$ROOT" "$@" </dev/null >>"$OUT" 2>&1 3>&- || true
	wc -l <"$TEST_DIR/calls"
}

# Runs a hull command that is killed at its N-th system call.
killed_at()
{
	local n=$1

	shift
	strace -qq -o /dev/null -e trace=all -e "inject=all:signal=KILL:when=$n" \
		"$HULL" --root "$ROOT" "$@" </dev/null >>"$OUT" 2>&1 3>&- || true
} 2>/dev/null # bash tells of each that was killed

# The points at which to kill, of $1 system calls.
points()
{
	seq 1 $((($1 + POINTS - 1) / POINTS)) "$1"
}

# Whatever is left can be taken away, and the id used again.
expect_recovery()
{
	timeout 30 "$HULL" --root "$ROOT" delete --force "$ID" >"$TEST_DIR/delete" 2>&1 3>&- ||
		grep -q "does not exist" "$TEST_DIR/delete" || { fail "$1: delete --force failed:" "$(cat "$TEST_DIR/delete")"; return 1; }
	expect_nothing_left || { fail "$1"; return 1; }
}

@test "create, killed at many points" {
	set_args sleep 1000
	total=$(count_calls create --bundle "$BUNDLE" "$ID")
	[ "$total" -gt 20 ]
	expect_recovery "without a fault"
	for n in $(points "$total"); do
		killed_at "$n" create --bundle "$BUNDLE" "$ID"
		expect_recovery "create killed at system call $n of $total"
	done
	# And it works as if nothing had been.
	create_container
}

@test "start, killed at many points" {
	set_args sleep 1000
	create_container
	total=$(count_calls start "$ID")
	[ "$total" -gt 5 ]
	expect_recovery "without a fault"
	for n in $(points "$total"); do
		create_container
		killed_at "$n" start "$ID"
		expect_recovery "start killed at system call $n of $total"
	done
}

@test "run, killed at many points" {
	set_args sleep 1000
	total=$(count_calls run --detach --bundle "$BUNDLE" "$ID")
	[ "$total" -gt 20 ]
	expect_recovery "without a fault"
	for n in $(points "$total"); do
		killed_at "$n" run --detach --bundle "$BUNDLE" "$ID"
		expect_recovery "run killed at system call $n of $total"
	done
}

@test "delete, killed at many points" {
	set_args true
	start_container
	wait_stopped
	total=$(count_calls delete "$ID")
	[ "$total" -gt 5 ]
	for n in $(points "$total"); do
		start_container
		wait_stopped
		killed_at "$n" delete "$ID"
		expect_recovery "delete killed at system call $n of $total"
	done
}

@test "delete --force of a running container, killed at many points" {
	set_args probe sleep
	start_container
	total=$(count_calls delete --force "$ID")
	[ "$total" -gt 5 ]
	for n in $(points "$total"); do
		start_container
		killed_at "$n" delete --force "$ID"
		expect_recovery "delete --force killed at system call $n of $total"
	done
}

@test "exec, killed at many points, leaves the container alone" {
	start_sleeper
	total=$(count_calls exec "$ID" true)
	[ "$total" -gt 5 ]
	for n in $(points "$total"); do
		killed_at "$n" exec "$ID" sleep 0.01
		[ "$(container_status)" = running ] || fail "after exec was killed at system call $n"
	done
	run timeout 10 "$HULL" --root "$ROOT" exec "$ID" echo fine
	expect_output fine
}

@test "pause, killed at many points" {
	require_controller freezer
	start_sleeper
	total=$(count_calls pause "$ID")
	h resume "$ID"
	for n in $(points "$total"); do
		killed_at "$n" pause "$ID"
		# It may be frozen, being frozen, or not.
		h resume "$ID" 2>/dev/null || { sleep 0.1; h resume "$ID" 2>/dev/null; } || true
		run timeout 10 "$HULL" --root "$ROOT" exec "$ID" echo fine
		expect_output fine
	done
}

# bats test_tags=quick
@test "create, killed at a few points" {
	POINTS=5
	set_args sleep 1000
	total=$(count_calls create --bundle "$BUNDLE" "$ID")
	expect_recovery "without a fault"
	for n in $(points "$total"); do
		killed_at "$n" create --bundle "$BUNDLE" "$ID"
		expect_recovery "create killed at system call $n of $total"
	done
}

@test "a create that fails by itself leaves nothing" {
	set_args /no/such/program
	run h create --bundle "$BUNDLE" "$ID" </dev/null
	# Found at create or at start; either way nothing stays.
	[ "$status" -ne 0 ] || run h start "$ID"
	h delete --force "$ID" 2>/dev/null || true
	expect_nothing_left
}

# A system call that fails is another fault than death: hull must clean up after itself.
@test "create, with a failing system call at many points, cleans up by itself" {
	set_args sleep 1000
	total=$(count_calls create --bundle "$BUNDLE" "$ID")
	expect_recovery "without a fault"
	for call in openat mkdirat mkdir write clone3 open_tree renameat rename sendmsg recvmsg socketpair flock; do
		for n in 1 2 3; do
			strace -qq -o /dev/null -e trace="?$call" -e "inject=?$call:error=ENOMEM:when=$n" \
				"$HULL" --root "$ROOT" create --bundle "$BUNDLE" "$ID" </dev/null >>"$OUT" 2>&1 3>&- && {
				expect_recovery "$call failing for the ${n}th time, without harm"
				continue
			}
			[ -z "$(h list --quiet)" ] || h delete --force "$ID"
			expect_nothing_left || fail "$call failed for the ${n}th time"
		done
	done
}
