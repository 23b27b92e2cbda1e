#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The systemd cgroup driver where controllers are in cgroup v1, alone or beside v2 (hybrid). systemd makes the scope's
# cgroup in the hierarchies that it manages, hull in the others; the rest is as in systemd_cgroup.bats.
#
# lab cgroups: hybrid v1

load helpers

setup()
{
	hull_setup
	[ -d /run/systemd/system ] || skip "systemd does not run here"
	! cgroup_is_v2 || skip "all controllers are in cgroup v2 here"
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
}

# Creates and starts with the systemd driver; what hull prints goes to $OUT.
start_scope()
{
	h --systemd-cgroup create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null ||
		fail "create failed:" "$(cat "$OUT")"
	h start "$ID"
}

property()
{
	systemctl show --value --property "$1" "hull-$ID.scope"
}

# Where each hierarchy of this host is mounted.
hierarchies()
{
	awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print $5 }' /proc/self/mountinfo
}

unit_is_gone()
{
	[ "$(systemctl show --value --property LoadState "hull-$ID.scope")" = not-found ]
}

@test "systemd on v1: the scope's cgroup is in every hierarchy, with the process, and delete ends all of it" {
	start_scope
	[ "$(h state "$ID" | jq -r '."systemd-scope"')" = "hull-$ID.scope" ]
	[ "$(property ActiveState)" = active ]
	[ "$(property Delegate)" = yes ]
	for mount in $(hierarchies); do
		grep -qx "$(container_pid)" "$mount/system.slice/hull-$ID.scope/cgroup.procs" || fail "not in $mount"
	done
	h exec --detach "$ID" sleep 1000
	for mount in $(hierarchies); do
		[ "$(wc -l <"$mount/system.slice/hull-$ID.scope/cgroup.procs")" -ge 2 ] || fail "exec is not in $mount"
	done
	h pause "$ID"
	[ "$(container_status)" = paused ]
	h resume "$ID"
	systemctl daemon-reload
	for mount in $(hierarchies); do
		grep -qx "$(container_pid)" "$mount/system.slice/hull-$ID.scope/cgroup.procs" || fail "not in $mount after daemon-reload"
	done
	h delete --force "$ID"
	unit_is_gone
	expect_nothing_left
	# the name is free at once
	start_scope
	h kill "$ID"
	wait_stopped
	h delete "$ID"
	expect_nothing_left
}

@test "systemd on v1: limits are properties and files; daemon-reload and update keep them" {
	for controller in cpu pids blkio; do require_controller $controller; done
	update_config '.linux.resources = {cpu: {shares: 512, quota: 25000, period: 50000}, pids: {limit: 50}, blockIO: {weight: 300}}'
	for controller in memory cpuset; do
		has_controller $controller || continue
		[ $controller = memory ] && update_config '.linux.resources.memory = {limit: 67108864}'
		[ $controller = cpuset ] && update_config '.linux.resources.cpu += {cpus: "0", mems: "0"}'
	done
	h --systemd-cgroup create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null || {
		# weights are the block layer's, which may have none
		grep -q "blockIO.weight" "$OUT" || fail "$(cat "$OUT")"
		update_config 'del(.linux.resources.blockIO)'
		h --systemd-cgroup create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null
	}
	h start "$ID"
	[ "$(property CPUShares)" = 512 ]
	[ "$(property CPUQuotaPerSecUSec)" = 500ms ]
	[ "$(property TasksMax)" = 50 ]
	check()
	{
		systemctl daemon-reload
		[ "$(limit cpu cpu.shares cpu.weight)" = "$1" ]
		[ "$(limit cpu cpu.cfs_quota_us cpu.max)" = "$2" ]
		[ "$(limit cpu cpu.cfs_period_us cpu.max)" = 50000 ]
		[ "$(limit pids pids.max pids.max)" = "$3" ]
		has_controller memory && [ "$(limit memory memory.limit_in_bytes memory.max)" != "$4" ] && fail "memory"
		has_controller cpuset && [ "$(limit cpuset cpuset.cpus cpuset.cpus)" != 0 ] && fail "cpuset"
		true
	}
	check 512 25000 50 67108864
	h update --cpu-share 2048 --cpu-quota 30000 --pids-limit 60 "$ID"
	has_controller memory && h update --memory 96m "$ID"
	[ "$(property CPUShares)" = 2048 ]
	[ "$(property TasksMax)" = 60 ]
	check 2048 30000 60 100663296
}

@test "systemd on v1: the device filter is the container's, and survives daemon-reload and updates" {
	require_controller devices
	mknod "$BUNDLE/rootfs/tmp/fuse" c 10 229
	update_config '.linux.resources.devices = [{allow: false, access: "rwm"}]'
	start_scope
	for allow in false true false; do
		[ $allow-${updated:-no} = false-no ] || echo '{"devices": [{"allow": false, "access": "rwm"},
			{"allow": '$allow', "type": "c", "major": 10, "minor": 229, "access": "rw"}]}' | h update -r - "$ID"
		updated=yes
		for _ in before after; do
			run h exec "$ID" sh -c ': >/dev/null; probe open /tmp/fuse'
			if $allow; then expect_match '^(ok|ENODEV|ENXIO|ENOENT)$'; else expect_output EPERM; fi
			systemctl daemon-reload
		done
	done
	[ "$(container_status)" = running ]
	# what systemd could not keep is refused, and changes nothing
	echo '{"devices": [{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}' >"$TEST_DIR/r.json"
	run h update -r "$TEST_DIR/r.json" "$ID"
	expect_error "systemd can neither"
	[ "$(container_status)" = running ]
}

@test "systemd on v1: a scope that exists is not taken over, and not ended" {
	systemd-run --scope --unit "hull-$ID.scope" sleep 1000 3>&- &
	wait_until 20 "systemctl is-active hull-$ID.scope"
	run h --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "hull-$ID.scope"
	systemctl is-active "hull-$ID.scope"
	systemctl kill --signal KILL "hull-$ID.scope"
	wait || true
	wait_until 10 unit_is_gone
	start_scope
}

@test "systemd on v1: a create that is killed at many points leaves what delete --force removes" {
	local n total points=$((${HULL_FAULT_POINTS:-16} / 2))
	require_cmd strace
	strace -qq -o /dev/null true 2>/dev/null || skip "strace may not trace here"
	strace -qq -o "$TEST_DIR/calls" "$HULL" --root "$ROOT" --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null >>"$OUT" 2>&1 3>&-
	total=$(wc -l <"$TEST_DIR/calls")
	h delete --force "$ID"
	for n in $(seq 1 $(((total + points - 1) / points)) "$total"); do
		strace -qq -o /dev/null -e trace=all -e "inject=all:signal=KILL:when=$n" \
			"$HULL" --root "$ROOT" --systemd-cgroup create --bundle "$BUNDLE" "$ID" </dev/null >>"$OUT" 2>&1 3>&- || true
		timeout 60 "$HULL" --root "$ROOT" delete --force "$ID" >"$TEST_DIR/delete" 2>&1 3>&- ||
			grep -q "does not exist" "$TEST_DIR/delete" || fail "killed at $n of $total:" "$(cat "$TEST_DIR/delete")"
		expect_nothing_left || fail "create killed at system call $n of $total"
		wait_until 10 unit_is_gone
	done
}

@test "systemd on v1: without root it is refused, and says why" {
	command -v runuser >/dev/null && id lab >/dev/null 2>&1 || skip "no user lab"
	chmod 711 "$TEST_DIR"
	chown -R lab: "$BUNDLE"
	mkdir "$TEST_DIR/run" && chown lab: "$TEST_DIR/run"
	cp "$HULL" "$TEST_DIR/hull"
	run without_bats runuser -u lab -- env XDG_RUNTIME_DIR="$TEST_DIR/run" "$TEST_DIR/hull" --systemd-cgroup create --bundle "$BUNDLE" "$ID"
	expect_error "--systemd-cgroup: without root it needs a host with cgroup v2"
}

@test "cgroupfs on v1: a cgroup in every hierarchy, limits, and nothing left" {
	require_controller pids
	update_config '.linux.resources.pids = {limit: 40}'
	start_sleeper
	for mount in $(hierarchies); do
		grep -qx "$(container_pid)" "$mount/hull-$ID/cgroup.procs" || fail "not in $mount"
	done
	[ "$(limit pids pids.max pids.max)" = 40 ]
	# the container sees each as the host has it, joint controllers with a link for each
	run h exec "$ID" sh -c 'cd /sys/fs/cgroup && for c in */; do [ -e $c/cgroup.procs ] && echo ${c%/}; done; cat pids/pids.max'
	expect_match '^40$'
	for mount in $(hierarchies); do
		expect_match "^${mount##*/}\$"
	done
	if [ -d /sys/fs/cgroup/cpu,cpuacct ]; then
		expect_match '^cpu$'
		expect_match '^cpuacct$'
	fi
	h delete --force "$ID"
	expect_nothing_left
}
