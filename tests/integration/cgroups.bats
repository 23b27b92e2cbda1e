#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Control groups: where a container is put, and that its limits are in force.

load helpers

# bats test_tags=quick
@test "a container has a cgroup in every hierarchy, and its processes are in it" {
	start_sleeper
	pid=$(container_pid)
	dirs=$(find /sys/fs/cgroup -type d -name "*$ID*")
	[ -n "$dirs" ]
	while read -r dir; do
		grep -qx "$pid" "$dir/cgroup.procs" || fail "process $pid is not in $dir"
	done <<<"$dirs"
	h delete --force "$ID"
	expect_nothing_left
}

@test "cgroupsPath is kept to" {
	update_config --arg p "/hull-parent-$ID/leaf-$ID" '.linux.cgroupsPath = $p'
	start_sleeper
	find /sys/fs/cgroup -type d -path "*/hull-parent-$ID/leaf-$ID" | grep -q .
	grep -q "/hull-parent-$ID/leaf-$ID$" "/proc/$(container_pid)/cgroup"
	h delete --force "$ID"
	[ -z "$(find /sys/fs/cgroup -type d -path "*/leaf-$ID")" ]
	# Parents are not the container's; those of the test it removes itself.
	find /sys/fs/cgroup -depth -type d -name "hull-parent-$ID" -exec rmdir {} +
}

@test "a cgroupsPath that leaves the tree is refused" {
	update_config --arg p "/a-$ID/../../../../outside-$ID" '.linux.cgroupsPath = $p'
	run_script true
	[ "$status" -ne 0 ] || [ -z "$(find /sys/fs/cgroup -name "outside-$ID")" ]
	find /sys/fs/cgroup -depth -type d -name "*$ID*" -exec rmdir {} + 2>/dev/null || true
}

# bats test_tags=quick
@test "memory limit" {
	require_controller memory
	update_config '.linux.resources.memory = {limit: 33554432}'
	start_sleeper
	[ "$(limit memory memory.limit_in_bytes memory.max)" = 33554432 ]
	# touching more than that ends in the kernel's killing it
	run h exec "$ID" probe memory 64
	expect_status 137
	run h exec "$ID" probe memory 8
	expect_output ok
}

# bats test_tags=quick
@test "pids limit" {
	require_controller pids
	update_config '.linux.resources.pids = {limit: 10}'
	start_sleeper
	[ "$(limit pids pids.max pids.max)" = 10 ]
	run h exec "$ID" sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done'
	expect_match "can't fork|Resource temporarily unavailable"
}

@test "a pids limit of -1 is none" {
	require_controller pids
	update_config '.linux.resources.pids = {limit: -1}'
	start_sleeper
	[ "$(limit pids pids.max pids.max)" = max ]
}

@test "cpu shares, quota and period" {
	require_controller cpu
	update_config '.linux.resources.cpu = {shares: 512, quota: 20000, period: 50000}'
	start_sleeper
	if [ -e "$(cgroup_of cpu)/cpu.shares" ]; then
		[ "$(cat "$(cgroup_of cpu)/cpu.shares")" = 512 ]
		[ "$(cat "$(cgroup_of cpu)/cpu.cfs_quota_us")" = 20000 ]
		[ "$(cat "$(cgroup_of cpu)/cpu.cfs_period_us")" = 50000 ]
	else
		[ "$(cat "$(cgroup_of cpu)/cpu.max")" = "20000 50000" ]
	fi
}

@test "cpuset" {
	require_controller cpuset
	update_config '.linux.resources.cpu = {cpus: "0", mems: "0"}'
	start_sleeper
	run h exec "$ID" grep Cpus_allowed_list /proc/self/status
	expect_match '[[:space:]]0$'
}

# bats test_tags=quick
@test "devices: what no rule allows cannot be opened" {
	require_controller devices
	update_config '.linux.resources.devices = [{allow: false, access: "rwm"}]
		| .process.capabilities.bounding += ["CAP_MKNOD"] | .process.capabilities.effective += ["CAP_MKNOD"]
		| .process.capabilities.permitted += ["CAP_MKNOD"]'
	run_script 'mknod /tmp/mem c 1 1 && probe open /tmp/mem; probe open /dev/null; probe open /dev/zero'
	expect_match '^(EPERM)$'
	[ "$(grep -cx ok <<<"$output")" = 2 ]
}

@test "devices: a rule allows one device" {
	require_controller devices
	update_config '.linux.resources.devices = [{allow: false, access: "rwm"},
		{allow: true, type: "c", major: 10, minor: 229, access: "rw"}]
		| .process.capabilities.bounding += ["CAP_MKNOD"] | .process.capabilities.effective += ["CAP_MKNOD"]
		| .process.capabilities.permitted += ["CAP_MKNOD"]'
	run_script 'mknod /tmp/fuse c 10 229; probe open /tmp/fuse; mknod /tmp/kmsg c 1 11; probe open /tmp/kmsg'
	# Allowed by the cgroup; whether the kernel has the driver is another matter.
	head -n 1 <<<"$output" | grep -qE '^(ok|ENODEV|ENXIO|ENOENT)$' || fail "$output"
	expect_match '^EPERM$'
}

@test "hugetlb limit" {
	require_controller hugetlb
	[ -d /sys/kernel/mm/hugepages/hugepages-2048kB ] || skip "no huge pages of 2 MB"
	update_config '.linux.resources.hugepageLimits = [{pageSize: "2MB", limit: 4194304}]'
	start_sleeper
	[ "$(limit hugetlb hugetlb.2MB.limit_in_bytes hugetlb.2MB.max)" = 4194304 ]
}

@test "blkio weight and throttle" {
	require_controller blkio
	device=$(lsblk -dno MAJ:MIN,NAME 2>/dev/null | awk '$2 !~ /zram|loop/ { print $1; exit }')
	[ -n "$device" ] || device=$(awk '$3 ~ /:/ && $9 ~ /ext4|xfs|btrfs/ { print $3; exit }' /proc/self/mountinfo)
	[ -n "$device" ] || skip "no block device here"
	update_config --argjson major "${device%:*}" --argjson minor "${device#*:}" \
		'.linux.resources.blockIO = {throttleReadBpsDevice: [{major: $major, minor: $minor, rate: 1048576}]}'
	run h run --detach --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1
	[ "$status" -eq 0 ] || expect_error "blockIO|blkio|throttle"
	[ "$status" -ne 0 ] || limit blkio blkio.throttle.read_bps_device io.max | grep -q 1048576
}

# "What this host cannot enforce is an error", never a limit that is not there.
@test "a limit whose controller is missing is refused and names the property" {
	for pair in memory:limit:33554432 pids:limit:10 cpu:shares:512; do
		IFS=: read -r controller key value <<<"$pair"
		has_controller "$controller" && continue
		update_config --arg c "$controller" --arg k "$key" --argjson v "$value" \
			'.linux.resources = {} | .linux.resources[$c] = {($k): $v}'
		run_script 'echo never'
		expect_error "$controller"
		expect_no_match '^never$'
		expect_nothing_left
	done
}

@test "a value that the kernel refuses is an error that names it" {
	require_controller cpuset
	update_config '.linux.resources.cpu = {cpus: "4000"}'
	run_script 'echo never'
	expect_error "cpus"
	expect_nothing_left
}

@test "without resources a container runs" {
	update_config 'del(.linux.resources)'
	run_script 'echo ok'
	expect_output ok
}

@test "--cgroup-manager disabled: no cgroup is made, limits are refused, and the rest works" {
	update_config 'del(.linux.resources)'
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	h --cgroup-manager disabled create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null
	h start "$ID"
	[ -z "$(find /sys/fs/cgroup -type d -name "*$ID*")" ]
	[ "$(cat "/proc/$(container_pid)/cgroup")" = "$(cat /proc/self/cgroup)" ]
	run h exec "$ID" echo hello
	expect_output hello
	in_microvm || [ "$(h ps --format json "$ID" | jq length)" = 1 ]
	h kill "$ID"
	wait_stopped
	h delete "$ID"
	! in_microvm || return 0 # whose guest limits its processes
	update_config '.linux.resources.pids = {limit: 10}'
	run h --cgroup-manager disabled create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "/linux/resources: there is no cgroup"
	expect_nothing_left
}

@test "the container sees its own cgroup as the root" {
	run_script 'cat /proc/self/cgroup'
	expect_no_match "$ID"
}

# The container's user is root of a user namespace, with a cgroup of its own that it may write to.
own_cgroup_config()
{
	chown -R 100000:100000 "$BUNDLE/rootfs"
	chmod 711 "$TEST_DIR" "$BUNDLE"
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .mounts = [.mounts[] | select(.type != "cgroup" and .type != "cgroup2")]
			+ [{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["rw", "nosuid", "noexec", "nodev"]}]'
	set_args sh -c 'while :; do sleep 0.05; done'
}

# What of the container's cgroup is that user's, the directory itself as an empty line.
owned_files()
{
	find "$(find /sys/fs/cgroup -type d -name "*$ID*" | head -n 1)" -maxdepth 1 -uid 100000 -printf '%P\n' | sort
}

@test "the container's user owns its cgroup where it may write to it" {
	cgroup_is_v2 || skip "needs pure cgroup v2"
	own_cgroup_config
	run_script 'mkdir /sys/fs/cgroup/below && echo $$ >/sys/fs/cgroup/below/cgroup.procs && cat /proc/self/cgroup
		echo 5 >/sys/fs/cgroup/pids.max'
	expect_match '^0::/below$'
	expect_match "Permission denied|Operation not permitted"
	# read-only, it is nobody's business
	update_config '.mounts[-1].options += ["ro"]'
	run_script 'stat -c %u /sys/fs/cgroup'
	expect_output 65534
}

@test "the user owns those files of its cgroup that the kernel's list of delegation names, and no other" {
	cgroup_is_v2 || skip "needs pure cgroup v2"
	[ -r /sys/kernel/cgroup/delegate ] || skip "this kernel has no list (before 4.15)"
	own_cgroup_config
	start_container
	if in_microvm; then
		expected=$(h exec "$ID" sh -c 'cd /sys/fs/cgroup; while read -r file; do [ ! -e "$file" ] || echo "$file"; done </sys/kernel/cgroup/delegate' | sort)
		grep -qx cgroup.procs <<<"$expected"
		owned=$(h exec "$ID" find /sys/fs/cgroup -maxdepth 1 -user 0 | sed 's|^/sys/fs/cgroup/*||' | sort)
		[ "$owned" = "$(printf '\n%s' "$expected")" ] || fail "owned:" "$owned" "expected:" "$expected"
		return
	fi
	dir=$(find /sys/fs/cgroup -type d -name "*$ID*" | head -n 1)
	expected=$(while read -r file; do [ ! -e "$dir/$file" ] || echo "$file"; done </sys/kernel/cgroup/delegate | sort)
	grep -qx cgroup.procs <<<"$expected"
	[ "$(owned_files)" = "$(printf '\n%s' "$expected")" ] || fail "owned:" "$(owned_files)" "expected:" "$expected"
	[ "$(stat -c %g "$dir")" = 0 ]
	h delete --force "$ID"
}

@test "without the kernel's list of delegation it is the three files of Linux 4.15" {
	container_only "the cgroups are the guest's"
	cgroup_is_v2 || skip "needs pure cgroup v2"
	own_cgroup_config
	# shellcheck disable=SC2016 # for the inner shell
	without_bats unshare --mount sh -c '[ ! -e /sys/kernel/cgroup ] || mount -t tmpfs tmpfs /sys/kernel/cgroup; exec "$@"' sh \
		"$HULL" --root "$ROOT" run --detach --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null
	[ "$(owned_files)" = "
cgroup.procs
cgroup.subtree_control
cgroup.threads" ] || fail "owned:" "$(owned_files)"
	h delete --force "$ID"
}

# ---- threaded cgroups -------------------------------------------------------------------------

# Makes a cgroup of v2 with a threaded one in it, so that what is below is threaded, too; prints its directory.
make_threaded()
{
	local root=/sys/fs/cgroup

	cgroup_is_v2 || root=/sys/fs/cgroup/unified
	[ -e "$root/cgroup.controllers" ] || skip "no cgroup v2 tree here"
	mkdir "$root/threads-$ID" "$root/threads-$ID/leaf"
	echo threaded >"$root/threads-$ID/leaf/cgroup.type"
	THREADED=$root/threads-$ID
}

remove_threaded()
{
	find /sys/fs/cgroup -depth -type d -path "*/threads-$ID*" -exec rmdir {} +
}

@test "below a threaded cgroup a container is threaded, too, and all commands work" {
	make_threaded
	update_config --arg p "/threads-$ID/box" '.linux.cgroupsPath = $p | del(.linux.resources)'
	start_sleeper
	[ "$(cat "$THREADED/box/cgroup.type")" = threaded ]
	grep -qx "$(container_pid)" "$THREADED/box/cgroup.threads"
	h exec --detach "$ID" sleep 1000
	[ "$(h ps --format json "$ID" | jq length)" -ge 2 ]
	if has_controller freezer; then
		h pause "$ID"
		[ "$(container_status)" = paused ]
		h resume "$ID"
	fi
	h kill --all "$ID" KILL
	wait_stopped
	h delete "$ID"
	[ ! -e "$THREADED/box" ]
	remove_threaded
}

@test "below a threaded cgroup a limit that cannot be is an error that names the cgroup" {
	for property in memory hugetlb io; do
		grep -qw $property "/sys/fs/cgroup/cgroup.controllers" /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null && break
		[ $property != io ] || skip "cgroup v2 has none of the controllers that threads cannot share"
	done
	make_threaded
	case $property in
	memory) limits='{"memory": {"limit": 33554432}}' ;;
	hugetlb) limits='{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}' ;;
	io) limits='{"blockIO": {"weight": 100}}' ;;
	esac
	update_config --arg p "/threads-$ID/box" --argjson r "$limits" '.linux.cgroupsPath = $p | .linux.resources = $r'
	run_script 'echo never'
	expect_error "$property controller, which cannot be enabled in .*threads-$ID/cgroup.subtree_control.*threaded cgroup"
	expect_no_match '^never$'
	[ ! -e "$THREADED/box" ]
	remove_threaded
}
