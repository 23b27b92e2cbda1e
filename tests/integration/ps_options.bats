#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull ps` with options for ps(1): the lines of the container, and the header as ps printed it.

load helpers

setup()
{
	hull_setup
	require_cmd ps
	ps -ef >/dev/null 2>&1 || skip "this ps has no -ef"
	set_args sh -c 'sleep 1000 & sleep 1000 & echo ready; wait'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
}

# The lines behind the header, as a sorted list of what is in the column.
column()
{
	awk -v n="$1" 'NR > 1 { print $n }' | sort -n
}

# bats test_tags=quick
@test "the processes are those of --format json" {
	if in_microvm; then # where those of json are the host's
		[ "$(h ps "$ID" | column 2 | wc -l)" -eq 3 ]
		h ps --format json "$ID" | jq -e --argjson pid "$(container_pid)" 'index($pid) != null'
		return
	fi
	pids=$(h ps --format json "$ID" | jq -r '.[]' | sort -n)
	[ "$(wc -l <<<"$pids")" -eq 3 ]
	[ "$(h ps "$ID" | column 2)" = "$pids" ]
	[ "$(h ps --format table "$ID" | head -n 1)" = "$(ps -ef | head -n 1)" ]
}

# bats test_tags=quick
@test "options choose the columns, wherever PID is" {
	container_only "ps(1) of the host does not see the processes"
	pids=$(h ps -f json "$ID" | jq -r '.[]' | sort -n)
	[ "$(h ps "$ID" -eo pid,comm | column 1)" = "$pids" ]
	[ "$(h ps "$ID" -eo ppid,rss,pid,args | column 3)" = "$pids" ]
	[ "$(h ps "$ID" aux | column 2)" = "$pids" ]
	[ "$(h ps "$ID" -e -o comm,pid | head -n 1)" = "$(ps -e -o comm,pid | head -n 1)" ]
	[ "$(h ps "$ID" -- -eo pid | column 1)" = "$pids" ]
	# What ps leaves out stays out.
	[ "$(h ps "$ID" -o pid -p "$(container_pid)" | column 1)" = "$(container_pid)" ]
}

@test "a column that only ends in PID is another" {
	container_only "ps(1) of the host does not see the processes"
	pids=$(h ps -f json "$ID" | jq -r '.[]' | sort -n)
	[ "$(h ps "$ID" -eo ppid,spid,pid | column 3 | sort -un)" = "$pids" ]
}

@test "options without a column PID, and wrong ones, are errors" {
	if in_microvm; then
		run h ps "$ID" -eo comm
		expect_error 'the processes are in a microVM'
		return
	fi
	run h ps "$ID" -eo comm
	expect_error 'no column PID'
	run h ps "$ID" -eo pid=
	expect_error 'no column PID'
	run h ps "$ID" --no-such-option
	expect_error '^hull: ps: ps\(1\) failed with status 1; the words behind the id are its options$'
}

@test "a ps with much output that is not wanted does not hang" {
	container_only "ps(1) of the host does not see the processes"
	mkdir "$TEST_DIR/path"
	printf '#!/bin/sh\nexec seq 1 100000\n' >"$TEST_DIR/path/ps"
	chmod +x "$TEST_DIR/path/ps"
	PATH=$TEST_DIR/path:$PATH run timeout 20 "$HULL" --root "$ROOT" ps "$ID"
	expect_status 1
	expect_error 'no column PID'
}

@test "a process of the container cannot forge a line" {
	h exec --detach "$ID" sh -c 'exec -a "x
root 1 0 0 forged" sleep 1000' </dev/null >/dev/null 2>&1
	run h ps "$ID"
	expect_no_match '^root +1 '
}

@test "json takes no notice of options, and of ps" {
	if in_microvm; then
		PATH=/none run -0 "$HULL" --root "$ROOT" ps --format json "$ID"
		jq -e 'length >= 2 and all(type == "number")' <<<"$output"
		PATH=/none run -0 "$HULL" --root "$ROOT" ps "$ID"
		[ "${#lines[@]}" -eq 4 ]
		return
	fi
	PATH=/none run -0 "$HULL" --root "$ROOT" ps --format json "$ID"
	jq -e 'length == 3 and all(type == "number")' <<<"$output"
	PATH=/none run -0 "$HULL" --root "$ROOT" ps "$ID"
	[ "${lines[0]}" = PID ]
	[ "${#lines[@]}" -eq 4 ]
}
