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
	# These go on, or are gone.
	for n in $(points "$(count_calls exec --detach "$ID" sleep 1000)"); do
		killed_at "$n" exec --detach "$ID" sleep 1000
	done
	[ "$(container_status)" = running ]
	run timeout --kill-after=1 10 "$HULL" --root "$ROOT" exec "$ID" echo fine
	expect_output fine
	expect_recovery "exec killed $POINTS times"
}

# Whichever half was done: the container runs, takes the next update, and all of it goes.
@test "update, killed at many points" {
	local limits=''
	has_controller pids && limits=', "pids": {"limit": 33}'
	POINTS=$(((POINTS + 1) / 2))
	# devices, for which cgroup v1 has to freeze the container
	echo '{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]'"$limits}" >"$TEST_DIR/change.json"
	start_sleeper
	total=$(count_calls update --resources "$TEST_DIR/change.json" "$ID")
	[ "$total" -gt 20 ]
	expect_recovery "without a fault"
	for n in $(points "$total"); do
		start_sleeper
		killed_at "$n" update --resources "$TEST_DIR/change.json" "$ID"
		jq -e .process "$ROOT/$ID/config.json" >/dev/null || fail "the configuration after update was killed at system call $n"
		[ "$(container_status)" = running ] || h resume "$ID" || fail "update killed at system call $n of $total"
		h update --resources "$TEST_DIR/change.json" "$ID"
		if has_controller pids; then [ "$(limit pids pids.max pids.max)" = 33 ]; fi
		run timeout --kill-after=1 10 "$HULL" --root "$ROOT" exec "$ID" echo fine
		expect_output fine
		expect_recovery "update killed at system call $n of $total"
	done
}

@test "pause and resume, killed at many points" {
	local command
	require_controller freezer
	POINTS=$(((POINTS + 3) / 4))
	start_sleeper
	for command in pause resume; do
		total=$(count_calls $command "$ID")
		for n in $(points "$total"); do
			[ $command = pause ] || h pause "$ID"
			killed_at "$n" $command "$ID"
			# It may be frozen, being frozen, or not.
			h resume "$ID" 2>/dev/null || { sleep 0.1; h resume "$ID" 2>/dev/null; } || true
			run timeout --kill-after=1 10 "$HULL" --root "$ROOT" exec "$ID" echo fine
			expect_output fine
			[ $command = pause ] || h pause "$ID"
			killed_at "$n" $command "$ID"
			expect_recovery "$command killed at system call $n of $total"
			start_sleeper
		done
		h pause "$ID"
	done
}

# ---- systemd scopes ---------------------------------------------------------------------------

# These take several calls of systemd a point, so that there are fewer.
require_scopes()
{
	[ -d /run/systemd/system ] || skip "systemd does not run here"
	cgroup_is_v2 || skip "needs pure cgroup v2 (systemd_v1.bats has the others)"
	POINTS=$(((POINTS + 1) / 2))
	set_args sleep 1000
}

# And no unit either.
expect_no_scope()
{
	expect_recovery "$1" || return 1
	wait_until 10 "[ \"\$(systemctl show --value --property LoadState hull-$ID.scope)\" = not-found ]" || fail "$1"
}

start_scope()
{
	h --systemd-cgroup run --detach --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null || fail "run failed:" "$(cat "$OUT")"
}

@test "create and run of a systemd scope, killed at many points" {
	local command
	require_scopes
	for command in create "run --detach"; do
		# shellcheck disable=SC2086 # two words
		total=$(count_calls --systemd-cgroup $command --bundle "$BUNDLE" "$ID")
		[ "$total" -gt 20 ]
		expect_no_scope "without a fault"
		for n in $(points "$total"); do
			# shellcheck disable=SC2086
			killed_at "$n" --systemd-cgroup $command --bundle "$BUNDLE" "$ID"
			expect_no_scope "$command killed at system call $n of $total"
		done
	done
	start_scope
}

@test "delete of a systemd scope, killed at many points" {
	require_scopes
	start_scope
	total=$(count_calls delete --force "$ID")
	[ "$total" -gt 5 ]
	for n in $(points "$total"); do
		start_scope
		killed_at "$n" delete --force "$ID"
		expect_no_scope "delete killed at system call $n of $total"
	done
}

@test "update of a systemd scope, killed at many points" {
	require_scopes
	start_scope
	total=$(count_calls update --pids-limit 33 "$ID")
	[ "$total" -gt 20 ]
	expect_no_scope "without a fault"
	for n in $(points "$total"); do
		start_scope
		killed_at "$n" update --pids-limit 33 "$ID"
		h update --pids-limit 44 "$ID"
		# (of a microVM that is the guest's)
		in_microvm || [ "$(systemctl show --value --property TasksMax "hull-$ID.scope")" = 44 ]
		[ "$(limit pids pids.max pids.max)" = 44 ]
		expect_no_scope "update killed at system call $n of $total"
	done
}

@test "exec, pause and resume in a systemd scope, killed at many points" {
	local command
	require_scopes
	for command in "exec --detach $ID sleep 1000" "pause $ID" "resume $ID"; do
		for n in 3 10 20 30 45 60; do
			start_scope
			[ "$command" != "resume $ID" ] || h pause "$ID"
			# shellcheck disable=SC2086
			killed_at "$n" $command
			expect_no_scope "$command killed at system call $n"
		done
	done
}

# ---- few points, and failing calls ------------------------------------------------------------

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
