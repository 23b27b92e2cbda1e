#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Many containers, one after the other and at once.

load helpers

@test "200 containers run, listed and deleted in a loop leave nothing" {
	set_args true
	for i in {1..200}; do
		h run --detach --bundle "$BUNDLE" "$ID-$i" </dev/null >>"$OUT" 2>&1
		h list --quiet | grep -qx "$ID-$i" || fail "$ID-$i is not listed"
		h delete --force "$ID-$i"
	done
	expect_nothing_left
	[ -z "$(h list --quiet)" ]
	[ -z "$(ls -A "$ROOT")" ] || fail "left in the state directory:" "$(ls -A "$ROOT")"
}

@test "20 containers started at once do not disturb one another" {
	for i in {1..20}; do
		mkdir "$TEST_DIR/b$i"
		jq --arg i "$i" '.process.args = ["sh", "-c", "echo container \($i); hostname; trap \"exit \($i)\" TERM; while :; do sleep 0.05; done"]
			| .hostname = "host-\($i)" | .root.path = "../bundle/rootfs"' "$BUNDLE/config.json" >"$TEST_DIR/b$i/config.json"
	done
	for i in {1..20}; do
		h run --detach --bundle "$TEST_DIR/b$i" "$ID-$i" </dev/null >"$TEST_DIR/out.$i" 2>&1 &
	done
	wait
	[ "$(h list --format json | jq 'map(select(.status == "running")) | length')" = 20 ]
	for i in {1..20}; do
		wait_until 10 "grep -q host-$i $TEST_DIR/out.$i"
		[ "$(cat "$TEST_DIR/out.$i")" = "container $i
host-$i" ] || fail "container $i:" "$(cat "$TEST_DIR/out.$i")"
		[ "$(h exec "$ID-$i" hostname)" = "host-$i" ]
	done
	for i in {1..20}; do
		h delete --force "$ID-$i" &
	done
	wait
	expect_nothing_left
}

@test "20 creates of one id at once make one container" {
	set_args sleep 1000
	for i in {1..20}; do
		h create --bundle "$BUNDLE" "$ID" </dev/null >"$TEST_DIR/out.$i" 2>&1 && echo made >>"$TEST_DIR/made" &
	done
	wait
	[ "$(wc -l <"$TEST_DIR/made")" = 1 ] || fail "made $(wc -l <"$TEST_DIR/made") times"
	[ "$(container_status)" = created ]
	h start "$ID"
	[ "$(container_status)" = running ]
}

@test "commands on one container at once each see a whole state" {
	start_sleeper
	for _ in {1..10}; do
		{ h state "$ID" | jq -e '.status == "running"' >/dev/null || echo bad >>"$TEST_DIR/bad"; } &
		{ h exec "$ID" true || echo bad >>"$TEST_DIR/bad"; } </dev/null >>"$OUT" 2>&1 &
		{ h list --format json | jq -e 'length == 1' >/dev/null || echo bad >>"$TEST_DIR/bad"; } &
	done
	wait
	[ ! -e "$TEST_DIR/bad" ]
}

@test "delete --force by several at once" {
	for _ in {1..5}; do
		start_sleeper
		for _ in {1..6}; do
			h delete --force "$ID" >/dev/null 2>&1 &
		done
		wait
		expect_nothing_left
	done
}

# bats test_tags=quick
@test "20 containers in a row leave nothing" {
	set_args true
	for i in {1..20}; do
		h run --bundle "$BUNDLE" "$ID-$i"
	done
	expect_nothing_left
}

@test "300 execs leave nothing in the container" {
	skip_sanitized "too slow"
	start_sleeper
	before=$(h ps --format json "$ID" | jq length)
	for _ in {1..300}; do
		h exec "$ID" true
	done
	wait_until 5 '[ "$(h ps --format json "$ID" | jq length)" -le '$((before + 1))' ]'
}

# How many system calls a hull command makes.
count_calls()
{
	strace -qq -o "$TEST_DIR/calls" "$HULL" --root "$ROOT" "$@" >"$TEST_DIR/printed" 3>&- 4>&-
	wc -l <"$TEST_DIR/calls"
}

# Times vary, system calls do not: at most so many that `list` makes for each container.
LIST_CALLS=17

@test "1000 containers at once: list costs the same for each, and state of one does not depend on their number" {
	local many=${HULL_CONTAINERS:-1000} state list
	require_cmd strace
	skip_sanitized "strace and the leak checker exclude one another"
	strace -qq -o /dev/null true 2>/dev/null || skip "strace may not trace here"
	set_args true
	for i in {1..10}; do
		create_container "$ID-$i"
	done
	state=$(count_calls state "$ID-5")
	list=$(count_calls list)
	for i in $(seq 11 "$many"); do
		create_container "$ID-$i"
	done
	[ "$(h list --format json | jq 'map(select(.status == "created")) | length')" = "$many" ]
	[ "$(count_calls state "$ID-5")" = "$state" ] || fail "state: $(wc -l <"$TEST_DIR/calls") system calls with $many, $state with 10"
	[ "$(count_calls list)" -le $((list + LIST_CALLS * (many - 10))) ] ||
		fail "list: $(wc -l <"$TEST_DIR/calls") system calls with $many, $list with 10"
	[ "$(wc -l <"$TEST_DIR/printed")" = $((many + 1)) ]
	h delete --force --regex "^$ID-"
	expect_nothing_left
	[ -z "$(ls -A "$ROOT")" ]
}

# bats test_tags=quick
@test "exec in a container that is ended meanwhile says so" {
	local i

	set_args sleep 60
	for _ in 1 2 3 4; do
		start_container
		for i in 1 2 3 4 5 6; do
			h exec "$ID" true >/dev/null 2>>"$TEST_DIR/errors" &
		done
		h kill "$ID" KILL
		wait
		h delete --force "$ID"
	done
	run cat "$TEST_DIR/errors"
	expect_match 'container not running'
	[ -z "$(grep -v 'container not running' <<<"$output")" ] || fail "another reason:" "$output"
}
