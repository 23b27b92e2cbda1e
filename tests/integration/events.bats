#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull events: statistics and out-of-memory events, as runc prints them.
# modes: container microvm

load helpers

# bats test_tags=quick
@test "events --stats: one line with what the container used" {
	require_controller pids
	require_controller memory
	update_config '.linux.resources = {memory: {limit: 67108864}, pids: {limit: 33}}'
	set_args sh -c 'trap "exit 0" TERM; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; while :; do sleep 0.05; done'
	start_container
	wait_until 20 "h events --stats $ID | jq -e '.data.cpu.usage.total > 10000000 and .data.pids.current > 0'"
	run h events --stats "$ID"
	expect_status 0
	[ "$(wc -l <<<"$output")" -eq 1 ]
	jq -e --arg id "$ID" '.type == "stats" and .id == $id' <<<"$output"
	jq -e '.data | .memory.usage.limit == 67108864 and .memory.usage.usage > 0 and (.memory.raw | length) > 10' <<<"$output"
	jq -e '.data | .pids.limit == 33 and .pids.current >= 1' <<<"$output"
	jq -e '.data.cpu.usage | .total >= .user and has("kernel")' <<<"$output"
	jq -e '.data | has("cpuset") and has("blkio") and has("hugetlb") and has("intel_rdt") and has("network_interfaces")' <<<"$output"
}

@test "events --stats: the members are those of runc" {
	require_cmd runc
	require_controller memory
	start_sleeper
	mkdir "$TEST_DIR/runc"
	jq 'del(.linux.seccomp) | .linux.cgroupsPath = "/runc-" + $id' --arg id "$ID" "$BUNDLE/config.json" >"$TEST_DIR/config.json"
	h events --stats "$ID" | jq -S '[paths(type != "null") | map(select(type == "string")) | join(".")]
		| map(select(test("raw|blkio|psi|percpu|network|hugetlb|\\.max$|throttling\\.|cache") | not)) | unique' >"$TEST_DIR/ours"
	cp "$BUNDLE/config.json" "$TEST_DIR/kept"
	cp "$TEST_DIR/config.json" "$BUNDLE/config.json"
	without_bats runc --root "$TEST_DIR/runc" run --detach --bundle "$BUNDLE" "r-$ID" >>"$OUT" 2>&1 </dev/null ||
		skip "runc does not run here: $(tail -n 1 "$OUT")"
	runc --root "$TEST_DIR/runc" events --stats "r-$ID" | jq -S '[paths(type != "null") | map(select(type == "string")) | join(".")]
		| map(select(test("raw|blkio|psi|percpu|network|hugetlb|\\.max$|throttling\\.|cache") | not)) | unique' >"$TEST_DIR/theirs"
	runc --root "$TEST_DIR/runc" delete --force "r-$ID"
	# all that runc has we have, too; but a guest has no swap
	run jq -n -c --slurpfile a "$TEST_DIR/theirs" --slurpfile b "$TEST_DIR/ours" '$a[0] - $b[0]'
	expect_output "$(in_microvm && echo '["data.memory.swap.usage"]' || echo '[]')"
}

# bats test_tags=quick
@test "events: a line in each interval, until the container ends" {
	start_sleeper
	h events --interval 100ms "$ID" >"$TEST_DIR/events" 3>&- &
	wait_until 20 "[ \$(wc -l <'$TEST_DIR/events') -ge 3 ]"
	h kill "$ID" KILL
	wait_stopped
	wait $!
	jq -e --arg id "$ID" '.type == "stats" and .id == $id' "$TEST_DIR/events" >/dev/null
}

# bats test_tags=microvm
@test "events: out of memory is an event" {
	require_controller memory
	update_config '.linux.resources.memory = {limit: 16777216, swap: 16777216}'
	start_sleeper
	h events --interval 1h "$ID" >"$TEST_DIR/events" 3>&- &
	# It takes a moment until it watches (in a microVM hull-guest does).
	local watching='inotify|eventfd'
	! in_microvm || watching=socket
	wait_until 20 "ls -l /proc/\$(pgrep -fx '$HULL .* events --interval 1h $ID')/fd | grep -qE '$watching'"
	run h exec "$ID" probe memory 64
	expect_status 137
	wait_until 20 "grep -q oom '$TEST_DIR/events'"
	[ "$(head -n 1 "$TEST_DIR/events")" = "{\"type\":\"oom\",\"id\":\"$ID\"}" ]
	h kill "$ID" KILL
	wait $!
}

@test "events: what is wrong is refused" {
	start_sleeper
	for interval in 0s -1s 5 s 1x 1..5s 99999999h ""; do
		run h events --interval="$interval" "$ID"
		expect_error "interval"
	done
	run h events "no-$ID"
	expect_error "does not exist"
	h kill "$ID" KILL
	wait_stopped
	run h events --stats "$ID"
	expect_error "container not running"
}

@test "events: without a cgroup there is nothing to count" {
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	h --cgroup-manager disabled create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null
	h start "$ID"
	run h events --stats "$ID"
	if in_microvm; then # whose guest counts, in a cgroup of its own
		expect_status 0
		jq -e '.data.pids.current > 0' <<<"$output"
	else
		expect_error "no cgroup"
	fi
}
