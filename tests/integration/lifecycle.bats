#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The life of a container as runtime.md says: creating, created, running, stopped, gone.

load helpers

# bats test_tags=quick
@test "a container is created, started, stopped and deleted" {
	set_args sh -c 'echo started; trap "exit 0" TERM; while :; do sleep 0.05; done'
	create_container
	[ "$(container_status)" = created ]
	sleep 0.2
	[ ! -s "$OUT" ] || fail "the program ran before start"
	pid=$(container_pid)
	[ -d "/proc/$pid" ]

	h start "$ID"
	[ "$(container_status)" = running ]
	[ "$(container_pid)" = "$pid" ]
	wait_until 5 'grep -q started "$OUT"'

	h kill "$ID" TERM
	wait_stopped
	h delete "$ID"
	run h state "$ID"
	expect_error "does not exist"
}

@test "state has what the state schema asks for" {
	update_config '.annotations = {"org.example.key": "a \"value\""}'
	start_sleeper
	run h state "$ID"
	expect_status 0
	jq -e --arg id "$ID" --arg bundle "$BUNDLE" '
		(.ociVersion | startswith("1.")) and .id == $id and .status == "running"
		and (.pid | type == "number" and . > 0) and .bundle == $bundle
		and .annotations["org.example.key"] == "a \"value\""' <<<"$output"
}

@test "a stopped container's state stays until it is deleted" {
	set_args true
	start_container
	wait_stopped
	run h state "$ID"
	expect_status 0
	[ "$(jq -r '.pid // 0' <<<"$output")" = 0 ]
	h delete "$ID"
	[ -z "$(h list --quiet)" ]
}

@test "an id cannot be used twice" {
	start_sleeper
	pid=$(container_pid)
	run h create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "exist"
	[ "$(container_status)" = running ]
	[ "$(container_pid)" = "$pid" ]
}

@test "start is refused twice, and after the end" {
	start_sleeper
	run h start "$ID"
	expect_error "running|created|started"
	h kill "$ID" KILL
	wait_stopped
	run h start "$ID"
	expect_error "stopped|created"
}

@test "commands on an unknown container say that it does not exist" {
	for command in start state kill delete pause resume ps; do
		run h $command "$ID"
		expect_error "does not exist"
	done
	run h exec "$ID" true
	expect_error "does not exist"
}

@test "delete --force of an unknown container is no error" {
	run h delete --force "$ID"
	expect_status 0
}

# config.md: "Any changes made to config.json after this step will not have an effect on the container."
@test "changes of config.json after create have no effect" {
	set_args echo before
	create_container
	set_args echo after
	h start "$ID"
	wait_stopped
	grep -qx before "$OUT"
}

@test "config.json may be gone after create" {
	set_args echo alive
	create_container
	rm "$BUNDLE/config.json"
	h start "$ID"
	wait_stopped
	grep -qx alive "$OUT"
}

@test "the pid file holds the pid of state" {
	set_args sleep 100
	create_container "$ID" --pid-file "$TEST_DIR/pid"
	[ "$(cat "$TEST_DIR/pid")" = "$(container_pid)" ]
}

@test "nothing of hull stays beside the container" {
	start_sleeper
	pid=$(container_pid)
	for p in $(grep -laF "$ID" /proc/[0-9]*/cmdline | cut -d/ -f3); do
		[ ! -e "/proc/$p/status" ] || [ "$p" = "$pid" ] || grep -qx "NSpid:.*$pid.*" "/proc/$p/status" ||
			fail "process $p: $(tr '\0' ' ' <"/proc/$p/cmdline")"
	done
}

@test "a created container that is killed is stopped" {
	set_args sleep 100
	for signal in KILL TERM INT HUP QUIT; do
		create_container
		h kill "$ID" WINCH
		[ "$(container_status)" = created ]
		h kill "$ID" $signal
		wait_stopped
		h delete "$ID"
	done
}

@test "ids that are paths or too long are refused" {
	for id in a/b .. . /abs "a b" "a\$b" "" "$(printf 'x%.0s' {1..2000})"; do
		run h create --bundle "$BUNDLE" "$id" </dev/null
		expect_error "."
	done
	expect_error '^hull: .* 2000 bytes is too long: at most 255$'
	[ -z "$(h list --quiet)" ]
	[ ! -e "$TEST_DIR/abs" ]
}

@test "ids may have dots, plus, minus and underscore" {
	id="$ID.a_b+c-D"
	set_args true
	create_container "$id"
	[ "$(container_status "$id")" = created ]
}

# Mounts a small file system at $ROOT.
small_root()
{
	mkdir -p "$ROOT"
	mount -t tmpfs -o "$1" none "$ROOT"
}

@test "a state directory that is full: nothing is made, and what runs goes on" {
	require_controller freezer
	small_root size=32k
	start_sleeper "$ID-a"
	create_container "$ID-b"
	h pause "$ID-a"
	head -c 100k /dev/zero >"$ROOT/full" 2>/dev/null || true
	run h create --bundle "$BUNDLE" "$ID-c" </dev/null
	expect_error "No space left on device"
	run h start "$ID-b"
	expect_status 0
	expect_match "warning: .*No space left on device; the container runs all the same"
	[ "$(container_status "$ID-b")" = running ]
	run h resume "$ID-a"
	expect_status 0
	[ "$(container_status "$ID-a")" = running ]
	h exec "$ID-b" true
	run h pause "$ID-b"
	expect_error "No space left on device"
	[ "$(container_status "$ID-b")" = running ]
	h kill "$ID-a" KILL
	wait_stopped "$ID-a"
	h delete "$ID-a"
	h delete --force "$ID-b"
	[ "$(ls -A "$ROOT")" = full ]
	umount "$ROOT"
}

@test "a state directory that is read-only: what is there can be looked at and killed" {
	small_root size=1m
	start_sleeper
	mount -o remount,ro "$ROOT"
	[ "$(container_status)" = running ]
	run h create --bundle "$BUNDLE" "$ID-b" </dev/null
	expect_error "Read-only file system"
	h exec "$ID" true
	h kill "$ID" KILL
	wait_stopped
	run h delete "$ID"
	expect_error "Read-only file system"
	mount -o remount,rw "$ROOT"
	h delete "$ID"
	umount "$ROOT"
}

@test "with a limit for the size of files nothing is left, and hooks and the workload get the signal" {
	# shellcheck disable=SC2016
	limited=(without_bats bash -c 'ulimit -f "$1"; shift; exec "$@"' bash)
	set_args true
	run "${limited[@]}" 0 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 1
	expect_error "File too large"
	expect_nothing_left
	update_config '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "grep SigIgn /proc/self/status >&2"]}]'
	set_args grep SigIgn /proc/self/status
	run "${limited[@]}" 1000 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 0
	# Of a hook only this one: another of the caller's may be ignored there still.
	[ "$(grep -cE 'SigIgn:\s*[0-9a-f]{9}[02468ace][0-9a-f]{6}$' <<<"$output")" -eq 2 ] || fail "$output"
}
