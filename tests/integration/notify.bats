#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Readiness (sd_notify(3)): what the workload says of itself reaches whoever waits behind NOTIFY_SOCKET.
# modes: container microvm

load helpers

setup()
{
	hull_setup
	listener=
	export NOTIFY_SOCKET=$TEST_DIR/host.sock
}

teardown()
{
	[ -z "$listener" ] || kill "$listener" || true
	unset NOTIFY_SOCKET
	hull_teardown
}

# What arrives at the host's socket is in $TEST_DIR/told.
listen()
{
	"$HELPERS/sockets" datagrams "$NOTIFY_SOCKET" >"$TEST_DIR/told" 2>&1 3>&- &
	listener=$!
	wait_until 10 'grep -q -F "$NOTIFY_SOCKET" /proc/net/unix'
}

told()
{
	cat "$TEST_DIR/told"
}

# bats test_tags=quick
@test "run in the foreground passes on that the workload is ready, and stays the main process" {
	listen
	run_script 'probe notify READY=1; sleep 0.1'
	expect_status 0
	expect_output ok
	[ "$(told)" = "READY=1" ]
}

# bats test_tags=quick,microvm
@test "start waits until the workload is ready, and names it as the main process" {
	listen
	set_args sh -c 'until [ -e /tmp/go ]; do sleep 0.05; done; probe notify READY=1; exec sleep 1000'
	create_container
	"$HULL" --root "$ROOT" start "$ID" </dev/null >>"$OUT" 2>&1 3>&- &
	start=$!
	wait_until 10 '[ "$(container_status)" = running ]'
	sleep 0.3
	kill -0 $start || fail "start did not wait"
	h exec "$ID" touch /tmp/go # others may use the container meanwhile
	wait $start
	[ "$(told)" = "MAINPID=$(container_pid)|READY=1
BARRIER=1" ] || fail "$(told)"
}

@test "run --detach waits, too" {
	listen
	set_args sh -c 'probe notify READY=1; exec sleep 1000'
	h run --detach --bundle "$BUNDLE" "$ID" </dev/null >>"$OUT" 2>&1
	[ "$(told)" = "MAINPID=$(container_pid)|READY=1
BARRIER=1" ] || fail "$(told)"
}

@test "start does not wait for a workload that has ended" {
	listen
	set_args true
	create_container
	run without_bats timeout 20 "$HULL" --root "$ROOT" start "$ID"
	expect_status 0
	[ -z "$(told)" ]
}

@test "that it is ready is heard also from one that has ended" {
	listen
	set_args probe notify READY=1
	create_container
	pid=$(container_pid)
	h start "$ID"
	[ "$(told)" = "MAINPID=$pid|READY=1
BARRIER=1" ] || fail "$(told)"
}

# The host's service manager takes more than readiness from whoever may talk to it.
@test "nothing but readiness is passed on" {
	listen
	run_script 'probe notify MAINPID=1 "STATUS=x
FDSTORE=1" READY=10 XREADY=1 "STOPPING=1
READY=1
MAINPID=1" RELOADING=1; sleep 0.1'
	[ "$(told)" = "READY=1" ] || fail "$(told)"
}

@test "every user of the container can say so, and nobody can put anything there" {
	listen
	update_config '.process.user = {uid: 1000, gid: 1000}'
	run_script 'probe notify READY=1; touch /run/notify/x; ls /run/notify; sleep 0.1'
	expect_match '^ok$'
	expect_match 'x: Read-only file system'
	expect_match '^notify.sock$'
	[ "$(told)" = "READY=1" ]
}

@test "the mount is private, read-only, and of nothing but the socket's directory" {
	listen
	run_script 'grep " /run/notify " /proc/self/mountinfo'
	expect_status 0
	[ "$(wc -l <<<"$output")" -eq 1 ]
	expect_match "/notify /run/notify ro,nosuid,nodev,noexec"
	expect_no_match 'shared:|master:'
}

# An image whose /run leads out of it must not get hull's mount onto the host.
@test "a link in the image does not lead the mount astray" {
	listen
	update_config '.mounts |= map(select(.destination != "/run"))'
	rm -rf "$BUNDLE/rootfs/run"
	mkdir "$TEST_DIR/victim"
	ln -s "$TEST_DIR/victim" "$BUNDLE/rootfs/run"
	run_script 'probe notify READY=1; sleep 0.1'
	expect_match '^ok$'
	[ "$(told)" = "READY=1" ]
	[ -z "$(ls "$TEST_DIR/victim")" ]
}

# With CAP_SYS_ADMIN a container can write to the directory, which is in hull's own on the host.
@test "a container that may mount keeps neither start from its socket nor delete from its work" {
	container_only "the directory of the socket is the guest's"
	listen
	update_config '.process.capabilities |= map_values(. + ["CAP_SYS_ADMIN"])
		| .mounts |= map(select(.type != "cgroup"))'
	set_args sh -c 'until [ -e /tmp/go ]; do sleep 0.05; done; probe notify READY=1
		mkdir -p /run/notify/d/e; touch /run/notify/d/e/f; ln -s /etc /run/notify/l; exec sleep 1000'
	create_container
	run h exec "$ID" sh -c 'mount -o remount,bind,rw /run/notify && ln -s /etc/passwd /run/notify/notify.sock &&
		touch /tmp/go'
	expect_status 0
	before=$(stat -c '%a %Y' /etc/passwd)
	h start "$ID"
	wait_until 10 '[ -L "$ROOT/$ID/notify/l" ]'
	[ "$(told | head -n 1)" = "MAINPID=$(container_pid)|READY=1" ]
	[ "$(stat -c '%a %Y' /etc/passwd)" = "$before" ]
	h delete --force "$ID"
	[ ! -e "$ROOT/$ID" ]
	[ -e /etc/passwd ]
}

@test "an abstract address of the host's works" {
	export NOTIFY_SOCKET=@hull-$ID
	listen
	run_script 'probe notify READY=1; sleep 0.1'
	[ "$(told)" = "READY=1" ] || fail "$(told)"
}

@test "a host's socket that is not there is a warning, no more" {
	run_script 'probe notify READY=1; sleep 0.1; exit 3'
	expect_status 3
	expect_match 'warning: NOTIFY_SOCKET .*No such file'
}

# bats test_tags=quick
@test "without NOTIFY_SOCKET, and where the configuration sets it, hull keeps out of it" {
	unset NOTIFY_SOCKET
	run_script 'echo "${NOTIFY_SOCKET-none}"; ls -d /run/notify'
	expect_match '^none$'
	expect_match 'No such file'
	export NOTIFY_SOCKET=$TEST_DIR/host.sock
	update_config '.process.env += ["NOTIFY_SOCKET=/engine.sock"]'
	run_script 'echo "$NOTIFY_SOCKET"; ls -d /run/notify'
	expect_match '^/engine.sock$'
	expect_match 'No such file'
}

@test "start without NOTIFY_SOCKET of a container that was created with one does not wait" {
	set_args sleep 1000
	create_container
	unset NOTIFY_SOCKET
	run without_bats timeout 20 "$HULL" --root "$ROOT" start "$ID"
	expect_status 0
	h delete --force "$ID"
	expect_nothing_left
}

@test "start with NOTIFY_SOCKET of a container that was created without one does not wait" {
	unset NOTIFY_SOCKET
	set_args sleep 1000
	create_container
	NOTIFY_SOCKET=$TEST_DIR/host.sock run without_bats timeout 20 "$HULL" --root "$ROOT" start "$ID"
	expect_status 0
}

@test "exec has no readiness to tell" {
	listen
	set_args sh -c 'probe notify READY=1; exec sleep 1000'
	start_container
	run h exec "$ID" sh -c 'echo "${NOTIFY_SOCKET-none}"'
	expect_output none
}

@test "a user namespace's root can say so" {
	listen
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .mounts |= map(select(.type != "mqueue"))'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
	run_script 'probe notify READY=1; sleep 0.1'
	expect_match '^ok$'
	[ "$(told)" = "READY=1" ]
}

@test "readiness without root" {
	require_cmd setpriv
	setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --map-root-user true 2>/dev/null ||
		skip "ordinary users may make no user namespaces here"
	chmod 777 "$TEST_DIR"
	chown -R -h 1000:1000 "$BUNDLE"
	rm "$BUNDLE/config.json"
	# With a /proc of its own: the machine's may hide processes (hidepid).
	# shellcheck disable=SC2016 # for that shell
	as_user=(unshare --mount sh -c 'mount -t proc proc /proc && exec "$@"' sh
		setpriv --reuid 1000 --regid 1000 --clear-groups "$HULL" --root "$TEST_DIR/rootless")
	"${as_user[@]}" spec --rootless --bundle "$BUNDLE"
	update_config '.process.terminal = false | .process.args = ["sh", "-c", "probe notify READY=1; sleep 0.1"]'
	listen
	run without_bats "${as_user[@]}" --cgroup-manager disabled run --bundle "$BUNDLE" "$ID"
	expect_output ok
	[ "$(told)" = "READY=1" ]
}

@test "systemd starts a service of the type notify when the workload is ready" {
	[ -d /run/systemd/system ] || skip "systemd does not run here"
	require_cmd systemd-run systemctl
	unset NOTIFY_SOCKET
	# systemd stops hull, which passes the signal on; an init without a handler would not take it.
	set_args sh -c 'trap "exit 0" TERM; sleep 0.5; probe notify READY=1; while :; do sleep 0.05; done'
	systemd-run --quiet --unit="$ID" --service-type=notify --property=NotifyAccess=all \
		--property=TimeoutStartSec=60 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	[ "$(systemctl is-active "$ID")" = active ]
	[ "$(container_status)" = running ]
	systemctl stop "$ID"
	wait_until 20 '[ -z "$(h list --quiet)" ]'
}
