#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull delete`: what it refuses, and what it takes with it.

load helpers

# bats test_tags=quick
@test "a running container is not deleted without --force" {
	start_sleeper
	run h delete "$ID"
	expect_error "running|not stopped"
	[ "$(container_status)" = running ]
}

# bats test_tags=quick
@test "--force kills and deletes" {
	set_args probe sleep
	start_container
	h delete --force "$ID"
	expect_nothing_left
}

# bats test_tags=quick
@test "of several containers one that cannot be deleted does not keep the others" {
	set_args true
	for name in a c d; do
		create_container "$ID-$name"
	done
	h start "$ID-c"
	wait_stopped "$ID-c"
	set_args sleep 100
	start_container "$ID-b"
	run h delete "$ID-none" "$ID-a" "$ID-b" "$ID-c"
	expect_status 1
	[ "${#lines[@]}" -eq 2 ]
	expect_match "^hull: container .$ID-none. does not exist\$"
	expect_match "^hull: cannot delete container .$ID-b.: it is running"
	run h delete --regex "^$ID-[bd]\$"
	expect_status 1
	[ "$(h list --quiet)" = "$ID-b" ]
	start_sleeper "$ID-e"
	h kill "$ID-b" KILL
	wait_stopped "$ID-b"
	run h kill --regex "^$ID-" TERM
	expect_error 'container not running'
	wait_stopped "$ID-e"
}

@test "a created container can be deleted" {
	set_args sleep 100
	create_container
	h delete "$ID" || h delete --force "$ID"
	expect_nothing_left
}

@test "--force takes every process of a container without a pid namespace" {
	container_only "there is no host's pid namespace"
	update_config '.linux.namespaces |= map(select(.type != "pid"))'
	set_args sh -c 'for i in 1 2 3 4 5; do setsid sleep 1000 & done; echo ready; sleep 1000'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	h delete --force "$ID"
	expect_nothing_left
}

@test "--force ends a fork bomb" {
	require_controller pids
	update_config '.linux.resources.pids.limit = 100'
	# A microVM always has one.
	[ "${HULL_SANDBOX:-}" = microvm ] || update_config '.linux.namespaces |= map(select(.type != "pid"))'
	set_args sh -c 'f() { sleep 0.01; f & f; }; f & f 2>/dev/null'
	start_container
	sleep 0.5
	timeout 30 "$HULL" --root "$ROOT" delete --force "$ID"
	expect_nothing_left
}

@test "cgroups made below the container's are removed with it" {
	start_sleeper
	made=0
	while read -r dir; do
		mkdir -p "$dir/child/grandchild" && made=1
	done < <(find /sys/fs/cgroup -type d -name "*$ID*")
	[ $made -eq 1 ]
	h delete --force "$ID"
	expect_nothing_left
}

@test "--force deletes a paused container" {
	require_controller freezer
	start_sleeper
	h pause "$ID"
	timeout 30 "$HULL" --root "$ROOT" delete --force "$ID"
	expect_nothing_left
}

@test "the bundle stays as it was" {
	before=$(cd "$BUNDLE" && find . -type f -exec sha256sum {} + | sort)
	set_args true
	h run --bundle "$BUNDLE" "$ID"
	# config.json was changed by set_args: compare the rest.
	[ "$(cd "$BUNDLE" && find . -type f -exec sha256sum {} + | sort | grep -v config.json)" = \
		"$(grep -v config.json <<<"$before")" ]
}

@test "the same id can be used again at once" {
	set_args true
	for _ in {1..10}; do
		h run --bundle "$BUNDLE" "$ID"
	done
}
