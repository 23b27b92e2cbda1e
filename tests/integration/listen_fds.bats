#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Socket activation (sd_listen_fds(3)): descriptors that systemd gave hull reach the workload.

load helpers

# activate COUNT PID COMMAND...: calls hull with COUNT descriptors from 3 on; PID "self" is hull's own.
activate()
{
	local count=$1 pid=$2

	shift 2
	sh -c 'count=$1 pid=$2; shift 2
		[ "$pid" != self ] || pid=$$
		export LISTEN_FDS="$count" LISTEN_PID="$pid"
		case $count in
		1) exec "$@" 3</dev/zero 4<&- 5<&- ;;
		2) exec "$@" 3</dev/zero 4</dev/zero 5<&- ;;
		*) exec "$@" 3<&- 4<&- 5<&- ;;
		esac' sh "$count" "$pid" "$@"
}

run_hull()
{
	activate "$1" "$2" "$HULL" --root "$ROOT" run "${@:3}" --bundle "$BUNDLE" "$ID"
}

# bats test_tags=quick
@test "descriptors of socket activation reach the workload, with their variables" {
	container_only "a descriptor of the host's cannot be handed in"
	set_args probe activated
	LISTEN_FDNAMES=web:admin run run_hull 2 self
	expect_status 0
	expect_output "fds 2 pid 1 names web:admin me 1
3 file
4 file"
}

@test "without names there is no variable for them" {
	container_only "a descriptor of the host's cannot be handed in"
	set_args probe activated
	run run_hull 1 self
	expect_output "fds 1 pid 1 names unset me 1
3 file"
}

# sd_listen_fds(3): whoever is not LISTEN_PID has no business with the descriptors.
# bats test_tags=quick
@test "descriptors for another process are not passed on" {
	set_args probe activated
	run run_hull 2 "$$"
	expect_status 0
	expect_output "fds unset pid unset names unset me 1"
}

@test "an engine that wrote LISTEN_PID=1 for the container passes its descriptors on" {
	container_only "a descriptor of the host's cannot be handed in"
	set_args probe activated
	run run_hull 2 1
	expect_output "fds 2 pid 1 names unset me 1
3 file
4 file"
	# A 1 that is left over comes without descriptors.
	run activate none 1 env LISTEN_FDS=2 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output "fds unset pid unset names unset me 1"
}

@test "LISTEN_PID is the id that the workload has" {
	container_only "a descriptor of the host's cannot be handed in"
	update_config '.linux.namespaces |= map(select(.type != "pid"))'
	set_args probe activated
	run run_hull 1 self
	expect_status 0
	expect_match '^fds 1 pid ([0-9]+) names unset me \1$'
	expect_no_match 'pid 1 '
}

@test "LISTEN_PID is that also in a pid namespace that is joined" {
	container_only "a descriptor of the host's cannot be handed in"
	start_sleeper
	update_config --arg path "/proc/$(container_pid)/ns/pid" '(.linux.namespaces[] | select(.type == "pid")).path = $path'
	set_args probe activated
	for _ in 1 2; do
		run activate 1 self "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID-b"
		expect_status 0
		expect_match '^fds 1 pid ([0-9]+) names unset me \1$'
		expect_no_match 'pid 1 '
	done
}

@test "descriptors of --preserve-fds follow" {
	container_only "a descriptor of the host's cannot be handed in"
	set_args probe activated
	run sh -c 'export LISTEN_FDS=1 LISTEN_PID=$$
		exec "$0" --root "$1" run --preserve-fds 1 --bundle "$2" "$3" 3</dev/zero 4</dev/null' \
		"$HULL" "$ROOT" "$BUNDLE" "$ID"
	expect_output "fds 1 pid 1 names unset me 1
3 file
4 file"
}

@test "variables of the configuration give way" {
	container_only "a descriptor of the host's cannot be handed in"
	update_config '.process.env += ["LISTEN_FDS=7", "LISTEN_PID=9", "LISTEN_FDNAMES=x"]'
	set_args sh -c 'env | grep LISTEN_ | sort'
	run run_hull 1 self
	expect_output "LISTEN_FDS=1
LISTEN_PID=1"
	run h run --bundle "$BUNDLE" "$ID"
	expect_output "LISTEN_FDNAMES=x
LISTEN_FDS=7
LISTEN_PID=9"
}

@test "create and start pass them on, too" {
	container_only "a descriptor of the host's cannot be handed in"
	set_args probe activated
	activate 2 self "$HULL" --root "$ROOT" create --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 3>&-
	h start "$ID"
	wait_stopped
	[ "$(cat "$OUT")" = "fds 2 pid 1 names unset me 1
3 file
4 file" ]
}

@test "a number that is none, and descriptors that are not open, are errors" {
	run activate none self env LISTEN_FDS=2x "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_error 'LISTEN_FDS'
	run activate none self env LISTEN_FDS=2 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_error 'not open'
	expect_nothing_left
}

@test "a socket of systemd's listens in the container" {
	container_only "a descriptor of the host's cannot be handed in"
	require_cmd systemd-socket-activate socat
	set_args probe activated
	systemd-socket-activate --listen="$TEST_DIR/s" --fdname=web \
		"$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 3>&- &
	wait_until 10 '[ -S "$TEST_DIR/s" ]'
	socat -u /dev/null "UNIX-CONNECT:$TEST_DIR/s"
	wait_until 20 'grep -q "^3 " "$OUT"'
	wait $!
	run grep -v '^Listening\|^Execing\|^Communication' "$OUT"
	expect_match '^fds 1 pid 1 names web me 1$'
	expect_match '^3 listens$'
}
