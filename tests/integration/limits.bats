#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Each property of linux.resources, by the kernel's own file: that of cgroup v1 where the controller is there, else v2's.
# cgroups.bats shows that limits are in force, update.bats that they can be changed.

load helpers

teardown()
{
	local status=0

	hull_teardown || status=1
	if [ -n "${LOOP:-}" ]; then
		# The device's number is somebody else's afterwards.
		echo none >"/sys/block/${LOOP##*/}/queue/scheduler" 2>/dev/null || true
		[ ! -e /sys/fs/cgroup/io.cost.qos ] || echo "$DEVICE enable=0" >/sys/fs/cgroup/io.cost.qos
		losetup --detach "$LOOP"
		rm -f "$LOOP_FILE"
	fi
	return $status
}

# resources FILTER: linux.resources by a jq expression, and the container runs.
resources()
{
	update_config "$@"
	start_sleeper
}

# limit_is CONTROLLER V1FILE V1VALUE V2FILE V2VALUE: a line of the file is the value, in this view.
limit_is()
{
	local dir file=$4 value=$5

	case ${HULL_SANDBOX:-}:$file in
	microvm:memory.swap.*) return 0 ;; # it has none
	microvm:memory.* | microvm:pids.*)
		run guest_limit "$file"
		grep -qxF -- "$value" <<<"$output" || fail "$file has no line \"$value\":" "$output"
		return ;;
	esac
	dir=$(cgroup_of "$1")
	[ ! -e "$dir/$2" ] || file=$2 value=$3
	grep -qxF -- "$value" "$dir/$file" || fail "$dir/$file has no line \"$value\":" "$(cat "$dir/$file")"
}

# refused_on_v2 CONTROLLER PROPERTY FILTER
refused_on_v2()
{
	update_config "$3"
	run_script 'echo never'
	expect_error "linux.resources.$2"
	expect_no_match '^never$'
	expect_nothing_left
}

# A block device that nobody else has, in $LOOP and as MAJOR:MINOR in $DEVICE.
loop_device()
{
	require_cmd losetup
	LOOP_FILE=$HULL_TEST_WORK/loop.$BATS_TEST_NUMBER.$$
	truncate -s 4M "$LOOP_FILE"
	LOOP=$(losetup --find --show "$LOOP_FILE" 2>/dev/null) || { LOOP=; rm -f "$LOOP_FILE"; skip "no loop devices here"; }
	DEVICE=$(cat "/sys/class/block/${LOOP##*/}/dev")
}

# ---- memory -----------------------------------------------------------------------------------

# bats test_tags=quick
@test "memory: limit, reservation, swap, checkBeforeUpdate" {
	require_controller memory
	resources '.linux.resources.memory = {limit: 67108864, reservation: 33554432, swap: 100663296, checkBeforeUpdate: true}'
	limit_is memory memory.limit_in_bytes 67108864 memory.max 67108864
	limit_is memory memory.soft_limit_in_bytes 33554432 memory.low 33554432
	limit_is memory memory.memsw.limit_in_bytes 100663296 memory.swap.max 33554432
}

@test "memory: -1 is no limit" {
	require_controller memory
	resources '.linux.resources.memory = {limit: -1, reservation: -1, swap: -1}'
	limit_is memory memory.limit_in_bytes 9223372036854771712 memory.max max
	limit_is memory memory.memsw.limit_in_bytes 9223372036854771712 memory.swap.max max
}

@test "memory: swappiness, disableOOMKiller and useHierarchy are cgroup v1's" {
	require_controller memory
	if cgroup_is_v2; then
		refused_on_v2 memory memory.swappiness '.linux.resources.memory = {swappiness: 10}'
		refused_on_v2 memory memory.disableOOMKiller '.linux.resources.memory = {disableOOMKiller: true}'
		return
	fi
	resources '.linux.resources.memory = {limit: 67108864, swappiness: 10, disableOOMKiller: true, useHierarchy: true}'
	limit_is memory memory.swappiness 10
	limit_is memory memory.oom_control "oom_kill_disable 1"
	limit_is memory memory.use_hierarchy 1
}

@test "memory: kernel and kernelTCP are in force where this kernel has them, else warned about, as useHierarchy is" {
	update_config '.linux.resources.memory = {kernel: 67108864, kernelTCP: 33554432, useHierarchy: false}'
	start_sleeper
	output=$(cat "$OUT")
	expect_match "linux.resources.memory.useHierarchy is ignored"
	for pair in kernel=memory.kmem.limit_in_bytes=67108864 kernelTCP=memory.kmem.tcp.limit_in_bytes=33554432; do
		IFS="=" read -r property file value <<<"$pair"
		[ "$(cat "$(cgroup_of memory)/$file" 2>/dev/null)" = "$value" ] && ignored= || ignored=1
		grep -q "linux.resources.memory.$property is ignored" "$OUT" && warned=1 || warned=
		[ "$ignored" = "$warned" ] || fail "$property: ignored: $ignored, warned of: $warned"
	done
}

# ---- processor time ---------------------------------------------------------------------------

# bats test_tags=quick
@test "cpu: shares, quota, period, burst" {
	require_controller cpu
	resources '.linux.resources.cpu = {shares: 2048, quota: 40000, period: 50000, burst: 10000}'
	limit_is cpu cpu.shares 2048 cpu.weight 174
	limit_is cpu cpu.cfs_quota_us 40000 cpu.max "40000 50000"
	limit_is cpu cpu.cfs_period_us 50000 cpu.max "40000 50000"
	limit_is cpu cpu.cfs_burst_us 10000 cpu.max.burst 10000
}

@test "cpu: idle" {
	require_controller cpu
	[ -n "$(find /sys/fs/cgroup -name cpu.idle -print -quit)" ] || skip "this kernel has no cpu.idle"
	resources '.linux.resources.cpu = {idle: 1}'
	limit_is cpu cpu.idle 1 cpu.idle 1
}

@test "cpu: realtimeRuntime and realtimePeriod are cgroup v1's" {
	require_controller cpu
	if cgroup_is_v2; then
		refused_on_v2 cpu cpu.realtimeRuntime '.linux.resources.cpu = {realtimeRuntime: 10000, realtimePeriod: 500000}'
		refused_on_v2 cpu cpu.realtimePeriod '.linux.resources.cpu = {realtimePeriod: 500000}'
		return
	fi
	ls /sys/fs/cgroup/cpu*/cpu.rt_runtime_us >/dev/null 2>&1 || skip "this kernel does not schedule real-time groups"
	resources '.linux.resources.cpu = {realtimeRuntime: 10000, realtimePeriod: 500000}'
	limit_is cpu cpu.rt_runtime_us 10000
	limit_is cpu cpu.rt_period_us 500000
}

@test "cpu: cpus and mems" {
	require_controller cpuset
	resources '.linux.resources.cpu = {cpus: "0", mems: "0"}'
	limit_is cpuset cpuset.cpus 0 cpuset.cpus 0
	limit_is cpuset cpuset.mems 0 cpuset.mems 0
}

@test "pids: limit" {
	require_controller pids
	resources '.linux.resources.pids = {limit: 77}'
	limit_is pids pids.max 77 pids.max 77
}

# ---- block I/O --------------------------------------------------------------------------------

@test "blockIO: the four throttles of a device" {
	require_controller blkio
	loop_device
	resources --argjson d "{\"major\": ${DEVICE%:*}, \"minor\": ${DEVICE#*:}}" '.linux.resources.blockIO = {
		throttleReadBpsDevice: [$d + {rate: 1048576}], throttleWriteBpsDevice: [$d + {rate: 2097152}],
		throttleReadIOPSDevice: [$d + {rate: 300}], throttleWriteIOPSDevice: [$d + {rate: 400}]}'
	both="$DEVICE rbps=1048576 wbps=2097152 riops=300 wiops=400"
	limit_is blkio blkio.throttle.read_bps_device "$DEVICE 1048576" io.max "$both"
	limit_is blkio blkio.throttle.write_bps_device "$DEVICE 2097152" io.max "$both"
	limit_is blkio blkio.throttle.read_iops_device "$DEVICE 300" io.max "$both"
	limit_is blkio blkio.throttle.write_iops_device "$DEVICE 400" io.max "$both"
}

@test "blockIO: weight and weightDevice, by BFQ" {
	require_controller blkio
	loop_device
	modprobe bfq 2>/dev/null || true
	echo bfq >"/sys/block/${LOOP##*/}/queue/scheduler" 2>/dev/null || skip "this kernel has no BFQ"
	resources --argjson d "{\"major\": ${DEVICE%:*}, \"minor\": ${DEVICE#*:}}" \
		'.linux.resources.blockIO = {weight: 200, weightDevice: [$d + {weight: 300}]}'
	limit_is blkio blkio.bfq.weight 200 io.bfq.weight "default 200"
	limit_is blkio blkio.bfq.weight_device "$DEVICE 300" io.bfq.weight "$DEVICE 300"
}

@test "blockIO: weight and weightDevice, by io.cost" {
	require_controller blkio
	loop_device
	[ -e /sys/fs/cgroup/io.cost.qos ] || skip "no io.cost here (cgroup v2)"
	echo "$DEVICE enable=1" >/sys/fs/cgroup/io.cost.qos
	resources --argjson d "{\"major\": ${DEVICE%:*}, \"minor\": ${DEVICE#*:}}" \
		'.linux.resources.blockIO = {weight: 1000, weightDevice: [$d + {weight: 10}]}'
	limit_is blkio none '' io.weight "default 10000"
	limit_is blkio none '' io.weight "$DEVICE 1"
}

@test "blockIO: leafWeight, which no kernel since 5.0 has, is refused" {
	require_controller blkio
	[ -z "$(find /sys/fs/cgroup -name blkio.leaf_weight -print -quit)" ] || skip "a kernel with CFQ"
	refused_on_v2 blkio blockIO.leafWeight '.linux.resources.blockIO = {leafWeight: 300}'
	refused_on_v2 blkio blockIO.weightDevice '.linux.resources.blockIO = {weightDevice: [{major: 7, minor: 0, leafWeight: 300}]}'
}

# ---- huge pages, network, RDMA ----------------------------------------------------------------

@test "hugepageLimits: pageSize and limit, of reservations and of use" {
	require_controller hugetlb
	[ -d /sys/kernel/mm/hugepages/hugepages-2048kB ] || skip "no huge pages of 2 MB"
	resources '.linux.resources.hugepageLimits = [{pageSize: "2MB", limit: 4194304}]'
	limit_is hugetlb hugetlb.2MB.limit_in_bytes 4194304 hugetlb.2MB.max 4194304
	limit_is hugetlb hugetlb.2MB.rsvd.limit_in_bytes 4194304 hugetlb.2MB.rsvd.max 4194304
}

# Takes a hierarchy of cgroup v1 away again, which the kernel keeps, unmounted, while a cgroup in it is not quite gone.
release_hierarchy()
{
	mkdir -p "$TEST_DIR/mnt"
	# shellcheck disable=SC2016
	wait_until 30 "grep -qE '^$1[[:space:]]+0[[:space:]]' /proc/cgroups ||
		{ unshare --mount sh -c 'mount -t cgroup -o $1 none \"\$1\" && umount \"\$1\"' sh '$TEST_DIR/mnt'; false; }"
}

@test "network: classID and priorities are cgroup v1's" {
	require_cmd unshare
	if ! has_controller net_cls; then
		refused_on_v2 net_cls network.classID '.linux.resources.network = {classID: 1048577}'
	fi
	if ! has_controller net_prio; then
		refused_on_v2 net_prio network.priorities '.linux.resources.network = {priorities: [{name: "lo", priority: 5}]}'
	fi
	# Where the kernel still has them, a host can be made that mounts both.
	[ "$(grep -cE '^net_(cls|prio)[[:space:]]+0[[:space:]].*1$' /proc/cgroups)" = 2 ] ||
		skip "this kernel has no net_cls and net_prio, or somebody uses them"
	update_config '.linux.resources.network = {classID: 1048577, priorities: [{name: "lo", priority: 5}]}'
	set_args true
	# shellcheck disable=SC2016
	run without_bats unshare --mount sh -c 'set -e
		umount -R /sys/fs/cgroup
		mount -t tmpfs none /sys/fs/cgroup
		cd /sys/fs/cgroup
		mkdir net_cls net_prio unified
		mount -t cgroup2 none unified
		mount -t cgroup -o net_cls none net_cls && mount -t cgroup -o net_prio none net_prio || exit 42
		"$1" --root "$2" create --bundle "$3" "$4" </dev/null
		cat net_cls/hull-"$4"/net_cls.classid
		grep -w lo net_prio/hull-"$4"/net_prio.ifpriomap
		"$1" --root "$2" delete --force "$4"' sh "$HULL" "$ROOT" "$BUNDLE" "$ID"
	release_hierarchy net_cls
	release_hierarchy net_prio
	[ "$status" -ne 42 ] || skip "net_cls cannot be mounted here"
	expect_status 0
	expect_output "1048577
lo 5"
}

@test "rdma: hcaHandles and hcaObjects" {
	require_controller rdma
	require_cmd rdma
	modprobe rdma_rxe 2>/dev/null || skip "no RDMA device, and no rdma_rxe to make one of a network card"
	rdma link add "rxe$$" type rxe netdev lo || skip "no RDMA device could be made"
	resources --arg d "rxe$$" '.linux.resources.rdma = {($d): {hcaHandles: 3, hcaObjects: 10000}}'
	read -r limits <"$(cgroup_of rdma)/rdma.max"
	rdma link delete "rxe$$"
	[ "$limits" = "rxe$$ hca_handle=3 hca_object=10000" ] || fail "$limits"
}

@test "rdma: a device that is not there is an error with its name" {
	require_controller rdma
	refused_on_v2 rdma rdma '.linux.resources.rdma = {"no-such-device": {hcaHandles: 3}}'
}

@test "unified: a file of cgroup v2" {
	[ -n "$(cat /sys/fs/cgroup/cgroup.max.depth /sys/fs/cgroup/unified/cgroup.max.depth 2>/dev/null)" ] ||
		grep -q cgroup2 /proc/self/mountinfo || skip "no cgroup v2 here"
	resources '.linux.resources.unified = {"cgroup.max.depth": "7"}'
	dir=$(find /sys/fs/cgroup -path "*$ID*" -name cgroup.max.depth)
	[ "$(cat "$dir")" = 7 ]
}
