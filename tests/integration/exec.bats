#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull exec`: one more process in a running container.

load helpers

# bats test_tags=quick
@test "exec prints the output and returns the status" {
	start_sleeper
	run h exec "$ID" echo "hello again"
	expect_status 0
	expect_output "hello again"
	run h exec "$ID" sh -c 'exit 9'
	expect_status 9
	run h exec "$ID" sh -c 'kill -KILL $$'
	expect_status 137
}

# bats test_tags=quick
@test "exec is in the container's namespaces" {
	start_sleeper
	# shellcheck disable=SC2016 # for the inner shells
	list='for ns in pid net mnt ipc uts cgroup; do readlink "/proc/$0/ns/$ns"; done'
	if in_microvm; then # they are the guest's, and looked at from inside
		expected=$(h exec "$ID" sh -c "$list" 1)
	else
		expected=$(sh -c "$list" "$(container_pid)")
	fi
	[ "$(wc -l <<<"$expected")" -eq 6 ]
	run h exec "$ID" sh -c "$list" self
	expect_status 0
	expect_output "$expected"
	run h exec "$ID" sh -c 'tr "\0" " " </proc/1/cmdline'
	expect_match 'trap'
}

@test "exec is in the container's cgroups" {
	start_sleeper
	cgroups_of_init=$(sed 's/^[0-9]*://' "/proc/$(container_pid)/cgroup")
	h exec --detach --pid-file "$TEST_DIR/pid" "$ID" sleep 100 </dev/null >/dev/null 2>&1
	run sed 's/^[0-9]*://' "/proc/$(cat "$TEST_DIR/pid")/cgroup"
	expect_output "$cgroups_of_init"
}

# As systemd does as a container's init: then no process may be in the container's cgroup itself.
@test "exec goes where the init process is when the container passes controllers on in its cgroup" {
	cgroup_is_v2 && has_controller memory || skip "needs pure cgroup v2 with the memory controller"
	update_config '.mounts |= map(if .type == "cgroup" then .options -= ["ro"] else . end)'
	set_args sh -c 'cd /sys/fs/cgroup; mkdir init; echo 1 >init/cgroup.procs; echo +memory >cgroup.subtree_control
		touch /ready; trap "exit 0" TERM; while :; do sleep 0.05; done'
	start_container
	wait_until 20 '[ -e "$BUNDLE/rootfs/ready" ]'
	for options in "" "--tty"; do
		# shellcheck disable=SC2086
		run h exec $options "$ID" cat /proc/self/cgroup
		expect_status 0
		expect_match '^0::/init.?$'
	done
	run h exec --cgroup init "$ID" cat /proc/self/cgroup
	expect_output "0::/init"
	run h exec "$ID" sh -c 'mkdir /sys/fs/cgroup/other && rmdir /sys/fs/cgroup/other && exit 4'
	expect_status 4
}

@test "--cwd, --env and --user are kept to" {
	start_sleeper
	run h exec --cwd /tmp --env A=1 --env "B=two words" -u 1000:2000 "$ID" \
		sh -c 'pwd; echo "$A $B"; id -u; id -g'
	expect_status 0
	expect_output "/tmp
1 two words
1000
2000"
}

# CVE-2026-30892: a user id that was not parsed to its end became 0.
@test "a user that is no number is never root" {
	start_sleeper
	for user in 1x x1 -1 1: 4294967296 99999999999 0x10 "1 "; do
		run h exec -u "$user" "$ID" id -u
		[ "$status" -ne 0 ] || [ "$output" != 0 ] || fail "--user '$user' became root"
	done
	run h exec -u 1 "$ID" id -u
	expect_output 1
}

@test "--process takes the process from a file" {
	start_sleeper
	jq -n '{cwd: "/tmp", args: ["sh", "-c", "pwd; echo $V; id -u"], env: ["V=w", "PATH=/bin"],
		user: {uid: 7, gid: 8}}' >"$TEST_DIR/process.json"
	run h exec --process "$TEST_DIR/process.json" "$ID"
	expect_status 0
	expect_output "/tmp
w
7"
}

# CVE-2022-29162 and its like: an inheritable set that is not empty.
@test "exec has the container's capabilities and an empty inheritable set" {
	update_config '.process.capabilities = {bounding: ["CAP_KILL", "CAP_CHOWN"],
		effective: ["CAP_KILL"], permitted: ["CAP_KILL"]}'
	start_sleeper
	run h exec "$ID" grep Cap /proc/self/status
	expect_match '^CapInh:.0000000000000000$'
	expect_match '^CapPrm:.0000000000000020$'
	expect_match '^CapEff:.0000000000000020$'
	expect_match '^CapBnd:.0000000000000021$'
	expect_match '^CapAmb:.0000000000000000$'
}

@test "--cap adds one, and not to the inheritable set" {
	update_config '.process.capabilities = {bounding: ["CAP_KILL"], effective: ["CAP_KILL"],
		permitted: ["CAP_KILL"]}'
	start_sleeper
	run h exec --cap CAP_CHOWN "$ID" grep Cap /proc/self/status
	expect_status 0
	expect_match '^CapInh:.0000000000000000$'
	expect_match '^CapEff:.0000000000000021$'
}

@test "exec keeps no_new_privs of the container, and --no-new-privs sets it" {
	update_config '.process.noNewPrivileges = false'
	start_sleeper
	run h exec "$ID" grep NoNewPrivs /proc/self/status
	expect_match '0$'
	run h exec --no-new-privs "$ID" grep NoNewPrivs /proc/self/status
	expect_match '1$'
}

@test "--additional-gids are the process's groups" {
	start_sleeper
	run h exec --additional-gids 100 --additional-gids 101 "$ID" id -G
	expect_status 0
	expect_output "0 100 101"
}

@test "exec --detach returns at once and writes the pid" {
	start_sleeper
	h exec --detach --pid-file "$TEST_DIR/pid" "$ID" sleep 100 </dev/null >/dev/null 2>&1
	run cat "/proc/$(cat "$TEST_DIR/pid")/comm"
	expect_output "$(in_microvm && echo hull || echo sleep)" # what stands for it on the host
	run h ps --format json "$ID"
	jq -e --argjson pid "$(cat "$TEST_DIR/pid")" 'index($pid) != null' <<<"$output"
}

@test "exec with --preserve-fds hands over a descriptor, without it none" {
	container_only "no descriptor of the host's can be used"
	start_sleeper
	echo three >"$TEST_DIR/three"
	run sh -c 'exec "$0" --root "$1" exec --preserve-fds 1 "$2" sh -c "cat <&3" 3<"$3"' \
		"$HULL" "$ROOT" "$ID" "$TEST_DIR/three"
	expect_output three
	run sh -c 'exec "$0" --root "$1" exec "$2" ls /proc/self/fd 7<"$3"' \
		"$HULL" "$ROOT" "$ID" "$TEST_DIR/three"
	expect_output "0
1
2
3"
}

@test "exec of a program that does not exist is an error" {
	start_sleeper
	run h exec "$ID" /no/such/program
	expect_error "no such file or directory|executable file not found"
	run h exec "$ID" no-such-program
	expect_error "no such file or directory|executable file not found"
	[ "$(container_status)" = running ]
}

@test "exec into a stopped container is refused" {
	set_args true
	start_container
	wait_stopped
	run h exec "$ID" true
	expect_error "stopped|not running"
}

@test "exec into a paused container is refused" {
	require_controller freezer
	start_sleeper
	h pause "$ID"
	run timeout 10 "$HULL" --root "$ROOT" exec "$ID" true
	[ "$status" -ne 124 ] || fail "exec hangs"
	expect_error "paused"
	h resume "$ID"
	run h exec "$ID" echo back
	expect_output back
}

@test "many execs, one after the other and at once" {
	start_sleeper
	for i in {1..20}; do
		[ "$(h exec "$ID" echo "$i")" = "$i" ]
	done
	for i in {1..10}; do
		h exec "$ID" sh -c "echo $i >/tmp/$i" </dev/null >>"$OUT" 2>&1 &
	done
	wait
	[ "$(find "$BUNDLE/rootfs/tmp" -type f | wc -l)" -eq 10 ]
}

@test "exec in a user namespace has the container's root" {
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .mounts |= map(select(.type != "mqueue"))'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
	start_sleeper
	run h exec "$ID" sh -c 'id -u; cat /proc/self/uid_map'
	expect_match '^0$'
	expect_match '0 +100000 +65536'
}

# The container must never reach the host's hull by way of the process that joins it (CVE-2019-5736).
@test "a process that joins does not show hull's binary" {
	skip_sanitized "that build does not hide itself"
	set_args sh -c 'trap "exit 0" TERM
		while :; do for e in /proc/[0-9]*/exe /proc/[0-9]*/map_files/*; do readlink $e; done; done >>/tmp/seen 2>/dev/null'
	start_container
	for _ in {1..30}; do
		h exec "$ID" true
	done
	run sort -u "$BUNDLE/rootfs/tmp/seen"
	expect_match '/bin/busybox$'
	expect_no_match "$HULL"
	expect_no_match '/hull$'
}
