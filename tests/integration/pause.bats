#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull pause` and `hull resume`.

load helpers

count_slowly()
{
	set_args sh -c 'i=0; while :; do i=$((i + 1)); echo $i; sleep 0.02; done'
	start_container
	wait_until 5 '[ -s "$OUT" ]'
}

# bats test_tags=quick
@test "a paused container does nothing until it is resumed" {
	require_controller freezer
	count_slowly
	h pause "$ID"
	[ "$(container_status)" = paused ]
	before=$(tail -n 1 "$OUT")
	sleep 0.4
	[ "$(tail -n 1 "$OUT")" = "$before" ] || fail "it went on"
	[ "$(h list --format json | jq -r '.[0].status')" = paused ]
	h resume "$ID"
	[ "$(container_status)" = running ]
	wait_until 5 '[ "$(tail -n 1 "$OUT")" -gt '"$before"' ]'
}

@test "kill KILL ends a paused container" {
	require_controller freezer
	count_slowly
	h pause "$ID"
	h kill "$ID" KILL
	# cgroup v1 keeps a frozen process until it is thawed; whoever asks next must see it end.
	[ "$(container_status)" = stopped ] || h resume "$ID" 2>/dev/null || true
	wait_stopped
}

@test "resume of what is not paused is refused" {
	require_controller freezer
	count_slowly
	run h resume "$ID"
	expect_error "paused|running"
}

@test "pause of what does not run is refused" {
	require_controller freezer
	set_args true
	start_container
	wait_stopped
	run h pause "$ID"
	expect_error "not running|stopped|running"
}

@test "processes made by exec are paused, too" {
	require_controller freezer
	start_sleeper
	h exec --detach "$ID" sh -c 'while :; do echo x; sleep 0.02; done' </dev/null >"$TEST_DIR/exec" 2>&1
	wait_until 5 '[ -s "$TEST_DIR/exec" ]'
	h pause "$ID"
	before=$(wc -c <"$TEST_DIR/exec")
	sleep 0.3
	[ "$(wc -c <"$TEST_DIR/exec")" = "$before" ]
	h resume "$ID"
}
