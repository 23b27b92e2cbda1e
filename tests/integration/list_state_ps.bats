#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What hull tells about containers: list, state, ps.

load helpers

# bats test_tags=quick
@test "list without containers" {
	run h list --quiet
	expect_status 0
	expect_output ""
	run h list --format json
	expect_status 0
	[ "$(jq length <<<"$output")" = 0 ]
	run h list
	expect_status 0
	expect_match '^ID +PID +STATUS'
}

# bats test_tags=quick
@test "list shows each container and its status" {
	start_sleeper "$ID-a"
	create_container "$ID-b"
	run h list
	expect_match "^$ID-a +[0-9]+ +running +$BUNDLE "
	expect_match "^$ID-b +[0-9]+ +created +$BUNDLE "
	run h list --quiet
	expect_output "$ID-a
$ID-b"
	run h list -f json
	jq -e --arg id "$ID-a" 'length == 2 and (map(select(.id == $id)) | .[0] |
		.status == "running" and .pid > 0 and (.created | test("^20..-..-..T..:..:..\\.[0-9]+Z$"))
		and has("bundle") and has("ociVersion"))' <<<"$output"
}

@test "list and state agree" {
	update_config '.annotations = {"org.example": "value"}'
	start_sleeper
	[ "$(h list --format json | jq '.[0].pid')" = "$(container_pid)" ]
	[ "$(h list --format json | jq -S '.[0]')" = "$(h state "$ID" | jq -S .)" ]
	h state "$ID" | jq -e --arg b "$BUNDLE" --arg id "$ID" '(keys == ["annotations", "bundle", "created", "id",
		"ociVersion", "owner", "pid", "rootfs", "status"]) and .id == $id and .bundle == $b
		and .rootfs == $b + "/rootfs" and .owner == "root" and .annotations == {"org.example": "value"}'
	h kill "$ID" KILL
	wait_stopped
	[ "$(h list --format json | jq -r '.[0].status')" = stopped ]
}

@test "list goes on when one container's state is damaged" {
	start_sleeper "$ID-a"
	mkdir -p "$ROOT/$ID-damaged"
	echo '{"broken' >"$ROOT/$ID-damaged/state.json"
	run h list --quiet
	expect_match "^$ID-a$"
	h delete --force "$ID-damaged"
	[ ! -e "$ROOT/$ID-damaged" ]
}

@test "a format that is not known is refused" {
	run h list --format yaml
	expect_error "yaml|format"
}

# bats test_tags=quick
@test "ps lists the processes of the container" {
	set_args sh -c 'sleep 1000 & sleep 1000 & trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	run h ps --format json "$ID"
	expect_status 0
	# (of a microVM there are hull-vmm and the file server)
	jq -e --argjson init "$(container_pid)" --argjson least "$(in_microvm && echo 2 || echo 3)" \
		'length >= $least and index($init) != null and all(type == "number")' <<<"$output"
	run h ps "$ID"
	expect_status 0
	expect_match 'PID'
	if in_microvm; then
		[ "${#lines[@]}" -ge 4 ]
		return
	fi
	expect_match "(^|[^0-9])$(container_pid)([^0-9]|$)"
}

@test "a process id that another process took over is not the container" {
	start_sleeper
	pid=$(container_pid)
	h kill "$ID" KILL
	wait_stopped
	# The state still holds the old pid with its start time; whoever has that pid now is not it.
	run h kill "$ID" 0
	[ "$status" -ne 0 ] || [ ! -d "/proc/$pid" ]
}

# containerd asks for the processes of a container that has just ended.
@test "stopped containers show no process" {
	set_args true
	start_container
	wait_stopped
	run -0 h ps --format json "$ID"
	expect_output '[]'
	run -0 h ps "$ID"
	expect_match PID
	[ "${#lines[@]}" -eq 1 ]
}

@test "what a stopped container without a pid namespace left behind is shown" {
	container_only "there is no host's pid namespace"
	update_config '.linux.namespaces |= map(select(.type != "pid"))'
	set_args sh -c 'sleep 1000 & exit 0'
	start_container
	wait_stopped
	run -0 h ps --format json "$ID"
	jq -e 'length == 1' <<<"$output"
	[ "$(cat "/proc/$(jq '.[0]' <<<"$output")/comm")" = sleep ]
	h kill --all "$ID" KILL
	wait_until 5 '[ "$(h ps --format json "$ID")" = "[]" ]'
	h kill --all "$ID" KILL
}
