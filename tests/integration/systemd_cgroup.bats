#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The systemd cgroup driver: a container is a transient scope, whose properties are its limits.

load helpers

setup()
{
	hull_setup
	require_systemd
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
}

# Creates and starts with the systemd driver; what hull prints goes to $OUT.
start_scope()
{
	h --systemd-cgroup create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null ||
		fail "create failed:" "$(cat "$OUT")"
	h start "$ID"
}

unit()
{
	h state "$ID" | jq -r '."systemd-scope"'
}

property()
{
	systemctl show --value --property "$1" "$(unit)"
}

cgroup_dir()
{
	echo "/sys/fs/cgroup$(cut -d: -f3 "/proc/$(container_pid)/cgroup")"
}

@test "systemd: a container is a scope in system.slice, with its process, and delete ends it" {
	start_scope
	[ "$(unit)" = "hull-$ID.scope" ]
	[ "$(cut -d: -f3 "/proc/$(container_pid)/cgroup")" = "/system.slice/hull-$ID.scope" ]
	[ "$(property ActiveState)" = active ]
	[ "$(property Slice)" = system.slice ]
	[ "$(property Delegate)" = yes ]
	[ "$(property Description)" = "hull container $ID" ]
	h exec "$ID" true
	[ "$(h ps --format json "$ID" | jq length)" -ge 1 ]
	h pause "$ID"
	[ "$(container_status)" = paused ]
	h resume "$ID"
	h delete --force "$ID"
	run systemctl show --value --property LoadState "hull-$ID.scope"
	expect_output not-found
	[ ! -e "/sys/fs/cgroup/system.slice/hull-$ID.scope" ]
	# the name is free at once
	start_scope
	h exec "$ID" true # so that the shell has set its trap
	h kill "$ID"
	wait_stopped
	h delete "$ID"
}

@test "systemd: cgroupsPath names slice, prefix and scope; slices nest" {
	update_config --arg p "hulltest-a$$.slice:pre:name-$ID" '.linux.cgroupsPath = $p'
	start_scope
	[ "$(unit)" = "pre-name-$ID.scope" ]
	[ "$(cut -d: -f3 "/proc/$(container_pid)/cgroup")" = "/hulltest.slice/hulltest-a$$.slice/pre-name-$ID.scope" ]
	h delete --force "$ID"
	systemctl stop hulltest.slice
}

# machine LIMIT: what the cgroup on the host is limited to, which is more than a microVM's workload.
machine()
{
	local more=0

	! in_microvm || more=$((96 << 20))
	echo $(($1 + more))
}

@test "systemd: limits are properties and files, and daemon-reload keeps them" {
	update_config '.linux.resources = {memory: {limit: 67108864, reservation: 33554432, swap: 100663296},
		cpu: {shares: 512, quota: 25000, period: 50000, cpus: "0", mems: "0"}, pids: {limit: 50},
		unified: {"memory.high": "60000000"}}'
	start_scope
	[ "$(property MemoryMax)" = "$(machine 67108864)" ]
	[ "$(property MemoryLow)" = 33554432 ]
	[ "$(property MemorySwapMax)" = 33554432 ]
	in_microvm || [ "$(property MemoryHigh)" = 60000000 ] # (the guest's, as the number of processes)
	[ "$(property CPUWeight)" = 59 ]
	[ "$(property CPUQuotaPerSecUSec)" = 500ms ]
	[ "$(property CPUQuotaPeriodUSec)" = 50ms ]
	[ "$(property AllowedCPUs)" = 0 ]
	[ "$(property AllowedMemoryNodes)" = 0 ]
	in_microvm || [ "$(property TasksMax)" = 50 ]
	dir=$(cgroup_dir)
	check()
	{
		[ "$(cat "$dir/memory.max")" = "$(machine 67108864)" ]
		[ "$(cat "$dir/memory.low")" = 33554432 ]
		[ "$(cat "$dir/cpu.weight")" = 59 ]
		[ "$(cat "$dir/cpu.max")" = "25000 50000" ]
		[ "$(cat "$dir/cpuset.cpus")" = 0 ]
		in_microvm || [ "$(cat "$dir/pids.max")" = 50 ]
	}
	check
	systemctl daemon-reload
	check
}

@test "systemd: update changes properties and files, and daemon-reload keeps them" {
	if in_microvm; then # whose machine stays as large as it was made, and whose processes are the guest's
		update_config '.linux.resources.memory = {limit: 134217728, swap: 134217728}'
		start_scope
		h update --memory 96m --memory-swap 128m --cpu-share 2048 --cpu-quota 33333 "$ID"
		[ "$(property MemoryMax)" = "$(machine 134217728)" ]
		[ "$(property MemorySwapMax)" = 33554432 ]
		[ "$(cat "$(cgroup_dir)/cpu.max")" = "33333 100000" ]
		systemctl daemon-reload
		[ "$(cat "$(cgroup_dir)/cpu.weight")" = 174 ]
		return
	fi
	update_config '.linux.resources = {memory: {limit: 67108864, swap: 67108864}, pids: {limit: 50}}'
	start_scope
	dir=$(cgroup_dir)
	h update --memory 96m --memory-swap 128m --pids-limit 60 --cpu-share 2048 --cpu-quota 33333 "$ID"
	[ "$(property MemoryMax)" = 100663296 ]
	[ "$(property MemorySwapMax)" = 33554432 ]
	[ "$(property TasksMax)" = 60 ]
	[ "$(cat "$dir/cpu.max")" = "33333 100000" ]
	systemctl daemon-reload
	[ "$(cat "$dir/memory.max")" = 100663296 ]
	[ "$(cat "$dir/pids.max")" = 60 ]
	[ "$(cat "$dir/cpu.weight")" = 174 ]
	h update --memory 64m "$ID"
	[ "$(cat "$dir/memory.max")" = 67108864 ]
	[ "$(cat "$dir/memory.swap.max")" = 67108864 ]
}

@test "systemd: the device filter is ours, one program, and survives daemon-reload and updates" {
	mknod "$BUNDLE/rootfs/tmp/fuse" c 10 229
	update_config '.linux.resources.devices = [{allow: false, access: "rwm"}]'
	start_scope
	systemctl daemon-reload
	run h exec "$ID" sh -c ': >/dev/null; probe open /tmp/fuse'
	expect_output EPERM
	has_one_filter "$(cgroup_dir)"
	for allow in true false true; do
		echo '{"devices": [{"allow": false, "access": "rwm"}, {"allow": '$allow', "type": "c", "major": 10, "minor": 229, "access": "rw"}],
			"pids": {"limit": 40}}' | h update -r - "$ID"
		systemctl daemon-reload
		has_one_filter "$(cgroup_dir)"
		run h exec "$ID" sh -c ': >/dev/null; probe open /tmp/fuse'
		if $allow; then expect_match '^(ok|ENODEV|ENXIO|ENOENT)$'; else expect_output EPERM; fi
	done
}

@test "systemd: annotations set properties" {
	update_config '.annotations = {"org.systemd.property.TimeoutStopUSec": "uint64 123456789",
		"org.systemd.property.CollectMode": "\u0027inactive-or-failed\u0027",
		"org.systemd.property.RuntimeMaxSec": "3600",
		"org.systemd.property.After": "[\u0027basic.target\u0027]",
		"org.systemd.property.SendSIGHUP": "true"}'
	start_scope
	[ "$(property TimeoutStopUSec)" = "2min 3.456789s" ]
	[ "$(property RuntimeMaxUSec)" = 1h ]
	[ "$(property SendSIGHUP)" = yes ]
	property After | grep -qw basic.target
}

@test "systemd: what is wrong is refused and leaves nothing" {
	local value
	for value in "/a/b" "a.slice:b" "a.slice:b:c:d" "a:b:c" "a--b.slice:b:c" "x.slice:b:c/../d" ":b:c.slice"; do
		update_config --arg p "$value" '.linux.cgroupsPath = $p'
		run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
		expect_error "cgroupsPath"
	done
	update_config 'del(.linux.cgroupsPath) | .annotations = {"org.systemd.property.No": "1"}'
	run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "org.systemd.property.No"
	update_config '.annotations = {"org.systemd.property.PIDs": "[uint32 1]"}'
	run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "set by hull itself"
	# one that only systemd knows to be wrong
	update_config '.annotations = {"org.systemd.property.NoSuchThing": "1"}'
	run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "NoSuchThing"
	expect_nothing_left
	[ -z "$(h list --quiet)" ]
}

@test "systemd: a scope that exists is not taken over, and not ended" {
	systemd-run --scope --unit "hull-$ID.scope" sleep 1000 3>&- &
	wait_until 20 "systemctl is-active hull-$ID.scope"
	run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "hull-$ID.scope"
	systemctl is-active "hull-$ID.scope"
	systemctl kill --signal KILL "hull-$ID.scope"
	wait || true
}

@test "systemd: with a user namespace, a cgroup namespace and a cgroup mount" {
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	chown -R 100000:100000 "$BUNDLE/rootfs"
	chmod 711 "$TEST_DIR" "$BUNDLE"
	start_scope
	[ "$(cut -d: -f3 "/proc/$(container_pid)/cgroup")" = "/system.slice/hull-$ID.scope" ]
	run h exec "$ID" cat /proc/self/cgroup
	expect_output "0::/"
}

@test "systemd: run in the foreground; nothing is left after it, nor after a failed program" {
	set_args sh -c 'cat /proc/self/cgroup; exit 3'
	run h --cgroup-manager systemd run --bundle "$BUNDLE" "$ID"
	expect_status 3
	set_args /no/such/program
	run h --systemd-cgroup run --bundle "$BUNDLE" "$ID"
	expect_error "no/such/program"
	wait_until 10 "! systemctl list-units --all --plain | grep -q hull-$ID.scope"
}

@test "systemd: a killed create leaves what delete --force removes" {
	set_args sleep 1000
	update_config '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "kill -KILL $PPID; sleep 1"]}]'
	run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
	[ "$status" -ne 0 ]
	h delete --force "$ID"
	wait_until 10 "! systemctl list-units --all --plain | grep -q hull-$ID.scope"
	expect_nothing_left
}

# An ordinary user with a systemd manager, a bundle of its own in $USER_DIR, and as_lab to be it.
prepare_user()
{
	command -v runuser >/dev/null && id lab >/dev/null 2>&1 || skip "no user lab with a systemd manager"
	USER_ID=$(id -u lab)
	USER_DIR=$TEST_DIR/rootless
	[ -S "/run/user/$USER_ID/bus" ] || skip "no user manager of lab"
	chmod 711 "$TEST_DIR"
	mkdir "$USER_DIR"
	cp -a "$BUNDLE/rootfs" "$USER_DIR/rootfs"
	chown -R lab: "$USER_DIR"
	as_lab "$HULL" spec --rootless --bundle "$USER_DIR"
	# shellcheck disable=SC2016 # jq's
	BUNDLE=$USER_DIR update_config '.process.terminal = false | .process.args = ["sh", "-c", "trap \"exit 0\" TERM; while :; do sleep 0.1; done"]
		| .process.env += ["HULL_TEST=" + env.ID] | .linux.resources = {pids: {limit: 40}, memory: {limit: 67108864}}'
	USER_SCOPE=/user.slice/user-$USER_ID.slice/user@$USER_ID.service/user.slice/hull-$ID.scope
}

as_lab()
{
	(cd "$USER_DIR" && without_bats runuser -u lab -- env -u DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR="/run/user/$USER_ID" "$@")
}

@test "systemd: an ordinary user's container is a scope of the user's manager" {
	prepare_user
	as_lab "$HULL" --root "$USER_DIR/state" --systemd-cgroup create --bundle "$USER_DIR" "$ID" >"$OUT" 2>&1 </dev/null || fail "$(cat "$OUT")"
	as_lab "$HULL" --root "$USER_DIR/state" start "$ID"
	run as_lab "$HULL" --root "$USER_DIR/state" state "$ID"
	pid=$(jq .pid <<<"$output")
	[ "$(cut -d: -f3 "/proc/$pid/cgroup")" = "$USER_SCOPE" ]
	[ "$(cat "/sys/fs/cgroup$USER_SCOPE/pids.max")" = 40 ]
	as_lab "$HULL" --root "$USER_DIR/state" update --pids-limit 45 "$ID"
	[ "$(cat "/sys/fs/cgroup$USER_SCOPE/pids.max")" = 45 ]
	as_lab "$HULL" --root "$USER_DIR/state" delete --force "$ID"
	[ ! -e "/sys/fs/cgroup$USER_SCOPE" ]
}

@test "systemd: an ordinary user's scope, whatever --rootless says, and what to do without a way to the manager" {
	local value
	prepare_user
	for value in true false auto; do
		as_lab "$HULL" --root "$USER_DIR/state" --rootless "$value" --systemd-cgroup run --detach --bundle "$USER_DIR" "$ID" \
			>"$OUT" 2>&1 </dev/null || fail "--rootless $value:" "$(cat "$OUT")"
		[ "$(cat "/sys/fs/cgroup$USER_SCOPE/pids.max")" = 40 ]
		as_lab "$HULL" --root "$USER_DIR/state" --rootless "$value" delete --force "$ID"
		[ ! -e "/sys/fs/cgroup$USER_SCOPE" ]
	done
	# without --root it is where state would be that is asked for first
	run as_lab env -u XDG_RUNTIME_DIR "$HULL" --systemd-cgroup run --detach --bundle "$USER_DIR" "$ID" </dev/null
	expect_error "XDG_RUNTIME_DIR is not set"
	run as_lab env -u XDG_RUNTIME_DIR "$HULL" --root "$USER_DIR/state" --systemd-cgroup run --detach --bundle "$USER_DIR" "$ID" </dev/null
	expect_error "user's systemd.*XDG_RUNTIME_DIR"
	run as_lab env XDG_RUNTIME_DIR="$USER_DIR" "$HULL" --root "$USER_DIR/state" --systemd-cgroup run --detach --bundle "$USER_DIR" "$ID" </dev/null
	expect_error "user's systemd.*enable-linger"
	[ -z "$(ls -A "$USER_DIR/state")" ]
	[ ! -e "/sys/fs/cgroup$USER_SCOPE" ]
}
