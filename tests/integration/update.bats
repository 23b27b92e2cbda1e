#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull update: new limits for a running container, in the cgroup's files and in the saved configuration.
# modes: container microvm

load helpers

saved()
{
	jq -c "$1" "$ROOT/$ID/config.json"
}

memory_limit()
{
	limit memory memory.limit_in_bytes memory.max
}

# bats test_tags=quick,microvm
@test "update: memory from options, with units, and the saved configuration follows" {
	require_controller memory
	update_config '.linux.resources.memory = {limit: 67108864}'
	start_sleeper
	h update --memory 48m "$ID"
	[ "$(memory_limit)" = 50331648 ]
	[ "$(saved .linux.resources.memory.limit)" = 50331648 ]
	# (a microVM has no more than it was made with)
	if ! in_microvm; then
		h update --memory=96MiB "$ID"
		[ "$(memory_limit)" = 100663296 ]
	fi
	h update --memory 0.0625G "$ID"
	[ "$(memory_limit)" = 67108864 ]
	h update --memory -1 "$ID"
	[ "$(memory_limit)" = max ] || [ "$(memory_limit)" -gt 1099511627776 ]
	[ "$(saved .linux.resources.memory)" = '{"limit":-1,"swap":-1}' ]
}

@test "update: memory and swap grow and shrink together" {
	require_controller memory
	if in_microvm; then # whose memory the host may swap
		update_config '.linux.resources.memory = {limit: 67108864, swap: 67108864}'
		start_sleeper
		h update --memory 48m --memory-swap 80m "$ID"
		[ "$(memory_limit)" = 50331648 ]
		[ "$(cat "$(cgroup_of memory)/memory.swap.max")" = 33554432 ]
		[ "$(saved .linux.resources.memory)" = '{"limit":50331648,"swap":83886080}' ]
		return
	fi
	[ -e "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes" ] || cgroup_is_v2 || skip "no swap accounting"
	update_config '.linux.resources.memory = {limit: 33554432, swap: 33554432}'
	start_sleeper
	[ -e "$(cgroup_of memory)/memory.swap.max" ] || [ -e "$(cgroup_of memory)/memory.memsw.limit_in_bytes" ] ||
		skip "no swap accounting"
	h update --memory 64m --memory-swap 80m "$ID"
	[ "$(memory_limit)" = 67108864 ]
	[ "$(limit memory memory.memsw.limit_in_bytes memory.swap.max)" = "$(cgroup_is_v2 && echo 16777216 || echo 83886080)" ]
	# memory.swap is memory plus swap and stays: with less memory there is more swap
	h update --memory 48m "$ID"
	[ "$(memory_limit)" = 50331648 ]
	[ "$(limit memory memory.memsw.limit_in_bytes memory.swap.max)" = "$(cgroup_is_v2 && echo 33554432 || echo 83886080)" ]
	h update --memory 32m --memory-swap 32m "$ID"
	[ "$(memory_limit)" = 33554432 ]
	[ "$(saved .linux.resources.memory)" = '{"limit":33554432,"swap":33554432}' ]
	run h update --memory 64m "$ID"
	expect_error "memory.swap"
	[ "$(memory_limit)" = 33554432 ]
}

# bats test_tags=microvm
@test "update: a limit below the usage is refused with checkBeforeUpdate" {
	require_controller memory
	set_args sh -c 'x=$(head -c 24000000 /dev/zero | tr "\0" x); echo ready; while :; do sleep 0.05; done'
	update_config '.linux.resources.memory = {limit: 268435456, checkBeforeUpdate: true}'
	start_container
	wait_until 20 "grep -q ready '$OUT'"
	run h update --memory 4m "$ID"
	expect_error "memory.limit"
	[ "$(memory_limit)" = 268435456 ]
	[ "$(container_status)" = running ]
	[ "$(saved .linux.resources.memory.limit)" = 268435456 ]
}

# bats test_tags=quick
@test "update: resources as JSON from a file and from standard input, as podman and containerd give them" {
	require_controller pids
	start_sleeper
	echo '{"pids": {"limit": 20}}' >"$TEST_DIR/resources.json"
	h update --resources="$TEST_DIR/resources.json" "$ID"
	[ "$(limit pids pids.max pids.max)" = 20 ]
	echo '{"pids": {"limit": 30}, "memory": {"limit": 0}, "cpu": {"shares": 0}}' | h update --resources=- "$ID"
	[ "$(limit pids pids.max pids.max)" = 30 ]
	[ "$(saved .linux.resources.pids.limit)" = 30 ]
	h update -r - "$ID" <<<'{"pids": {"limit": -1}}'
	[ "$(limit pids pids.max pids.max)" = max ]
}

@test "update: processor time" {
	require_controller cpu
	update_config '.linux.resources.cpu = {shares: 512, quota: 20000, period: 100000}'
	start_sleeper
	h update --cpu-share 1024 "$ID"
	[ "$(limit cpu cpu.shares cpu.weight)" = "$([ -e "$(cgroup_of cpu)/cpu.weight" ] && echo 100 || echo 1024)" ]
	h update --cpu-quota 50000 "$ID"
	h update --cpu-period 200000 "$ID"
	if [ -e "$(cgroup_of cpu)/cpu.max" ]; then
		[ "$(cat "$(cgroup_of cpu)/cpu.max")" = "50000 200000" ]
	else
		[ "$(cat "$(cgroup_of cpu)/cpu.cfs_quota_us")" = 50000 ]
		[ "$(cat "$(cgroup_of cpu)/cpu.cfs_period_us")" = 200000 ]
	fi
	[ "$(saved .linux.resources.cpu)" = '{"shares":1024,"quota":50000,"period":200000}' ]
	h update --cpu-quota -1 "$ID"
	[ "$(limit cpu cpu.cfs_quota_us cpu.max)" = "$([ -e "$(cgroup_of cpu)/cpu.max" ] && echo "max 200000" || echo -1)" ]
}

@test "update: burst and idle" {
	require_controller cpu
	start_sleeper
	[ -e "$(cgroup_of cpu)/cpu.idle" ] || skip "the kernel has no cpu.idle"
	h update --cpu-quota 50000 --cpu-burst 10000 "$ID"
	[ "$(limit cpu cpu.cfs_burst_us cpu.max.burst)" = 10000 ]
	h update --cpu-idle 1 "$ID"
	[ "$(limit cpu cpu.idle cpu.idle)" = 1 ]
	h update --cpu-idle 0 "$ID"
	[ "$(limit cpu cpu.idle cpu.idle)" = 0 ]
	# Idle cgroups have no shares; those that were given are there again afterwards.
	h update --cpu-share 512 "$ID"
	shares=$(limit cpu cpu.shares cpu.weight)
	h update --cpu-idle 1 "$ID"
	h update --cpu-share 2048 --cpu-quota 40000 "$ID"
	h update --cpu-share 512 "$ID"
	h update --cpu-idle 0 "$ID"
	[ "$(limit cpu cpu.shares cpu.weight)" = "$shares" ]
	h update --cpu-idle 1 --cpu-share 2048 "$ID"
	h update --cpu-idle 0 --cpu-share 512 "$ID"
	[ "$(limit cpu cpu.shares cpu.weight)" = "$shares" ]
}

@test "update: cpuset" {
	require_controller cpuset
	start_sleeper
	h update --cpuset-cpus 0 --cpuset-mems 0 "$ID"
	[ "$(limit cpuset cpuset.cpus cpuset.cpus)" = 0 ]
	[ "$(limit cpuset cpuset.mems cpuset.mems)" = 0 ]
	run h update --cpuset-cpus 999 "$ID"
	expect_error "cpuset.cpus"
	[ "$(saved .linux.resources.cpu.cpus)" = '"0"' ]
}

@test "update: the device filter is replaced, not added to" {
	require_controller devices
	update_config '.linux.resources.devices = [{allow: false, access: "rwm"}]'
	mknod "$BUNDLE/rootfs/tmp/fuse" c 10 229
	start_sleeper
	run h exec "$ID" probe open /tmp/fuse
	expect_output EPERM
	echo '{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}' |
		h update -r - "$ID"
	# allowed; whether the kernel has the driver is another matter
	run h exec "$ID" sh -c ': >/dev/null; probe open /tmp/fuse'
	expect_match '^(ok|ENODEV|ENXIO|ENOENT)$'
	[ "$(saved '.linux.resources.devices | length')" = 2 ]
	# and back: what the second set allowed is denied again
	echo '{"devices": [{"allow": false, "access": "rwm"}]}' | h update -r - "$ID"
	run h exec "$ID" probe open /tmp/fuse
	expect_output EPERM
	[ "$(container_status)" = running ]
}

@test "update: after many of them the cgroup has one device filter, and the devices of the last" {
	cgroup_is_v2 || skip "the device filter of cgroup v1 is no program"
	update_config '.linux.resources.devices = [{allow: false, access: "rwm"}]'
	mknod "$BUNDLE/rootfs/tmp/fuse" c 10 229
	start_sleeper
	has_one_filter "$(cgroup_of devices)"
	for allow in true false true false true false true false; do
		echo '{"devices": [{"allow": false, "access": "rwm"}, {"allow": '$allow', "type": "c", "major": 10, "minor": 229, "access": "rw"}]}' |
			h update -r - "$ID"
		has_one_filter "$(cgroup_of devices)"
		run h exec "$ID" sh -c ': >/dev/null; probe open /tmp/fuse'
		if $allow; then expect_match '^(ok|ENODEV|ENXIO|ENOENT)$'; else expect_output EPERM; fi
	done
	# other limits leave it alone
	has_controller pids && h update --pids-limit 30 "$ID"
	has_one_filter "$(cgroup_of devices)"
	# without any rule that denies there is still only one
	echo '{"devices": [{"allow": true, "access": "rwm"}]}' | h update -r - "$ID"
	has_one_filter "$(cgroup_of devices)"
}

@test "update: a paused container is updated and stays paused" {
	require_controller pids
	require_controller freezer
	start_sleeper
	h pause "$ID"
	if in_microvm; then # whose guest, which has the limits, does not run
		run h update --pids-limit 25 "$ID"
		expect_error "paused .* resume it first"
		h resume "$ID"
	fi
	h update --pids-limit 25 "$ID"
	[ "$(limit pids pids.max pids.max)" = 25 ]
	in_microvm || {
		[ "$(container_status)" = paused ]
		h resume "$ID"
	}
}

@test "update: lists are merged by what they name" {
	require_controller hugetlb
	local size
	for size in 2MB 1GB; do
		[ -d "/sys/kernel/mm/hugepages/hugepages-$([ $size = 2MB ] && echo 2048 || echo 1048576)kB" ] || skip "no $size pages"
	done
	update_config '.linux.resources.hugepageLimits = [{pageSize: "2MB", limit: 4194304}]'
	start_sleeper
	echo '{"hugepageLimits": [{"pageSize": "1GB", "limit": 1073741824}, {"pageSize": "2MB", "limit": 2097152}]}' | h update -r - "$ID"
	[ "$(limit hugetlb hugetlb.2MB.limit_in_bytes hugetlb.2MB.max)" = 2097152 ]
	[ "$(limit hugetlb hugetlb.1GB.limit_in_bytes hugetlb.1GB.max)" = 1073741824 ]
	[ "$(saved .linux.resources.hugepageLimits)" = '[{"pageSize":"2MB","limit":2097152},{"pageSize":"1GB","limit":1073741824}]' ]
}

@test "update: unified, and blkio weight" {
	cgroup_is_v2 || skip "needs pure cgroup v2"
	require_controller memory
	start_sleeper
	echo '{"unified": {"memory.high": "50331648"}}' | h update -r - "$ID"
	[ "$(limit memory - memory.high)" = 50331648 ]
	[ "$(saved '.linux.resources.unified["memory.high"]')" = '"50331648"' ]
	run h update --blkio-weight 500 "$ID"
	[ "$status" -eq 0 ] || expect_error "blockIO.weight"
}

# bats test_tags=quick
@test "update: what is wrong is refused and changes nothing" {
	start_sleeper
	before=$(cat "$ROOT/$ID/config.json")
	run h update "$ID"
	expect_error "no limit is given"
	for size in 12q 1.g .5g 1..5g 1.5.g 1.12345g 9000000.5p 1.5gx; do
		run h update --memory $size "$ID"
		expect_error "\-\-memory .$size"
	done
	run h update --memory 99999999999g "$ID"
	expect_error "\-\-memory"
	run h update --pids-limit many "$ID"
	expect_error "pids-limit"
	run h update --cpu-share -5 "$ID"
	expect_error "cpu-share"
	run h update --l3-cache-schema '' "$ID"
	expect_error "l3-cache-schema"
	run h update --mem-bw-schema L3:0=f "$ID"
	expect_error "mem-bw-schema .L3:0=f.: must be one line that begins with MB:"
	run h update --resources "$TEST_DIR/none.json" "$ID"
	expect_error "none.json"
	run h update --resources - "$ID" <<<'{"memory": {"limit": "much"}}'
	expect_error "/memory/limit"
	run h update --resources - --pids-limit 5 "$ID" <<<'{}'
	expect_error "cannot be used with other limits"
	run h update --pids-limit 5 "no-$ID"
	expect_error "does not exist"
	[ "$(cat "$ROOT/$ID/config.json")" = "$before" ]
}

@test "update: limits of kernel memory are in force, or warned about where the kernel no longer has them" {
	start_sleeper
	run h update --kernel-memory 64m --kernel-memory-tcp 64m "$ID"
	expect_status 0
	if [ "$(cat "$(cgroup_of memory)/memory.kmem.tcp.limit_in_bytes" 2>/dev/null)" = 67108864 ]; then
		expect_no_match "memory.kernelTCP is ignored"
	else
		expect_match "memory.kernelTCP is ignored"
	fi
	[ "$(cat "$(cgroup_of memory)/memory.kmem.limit_in_bytes" 2>/dev/null)" = 67108864 ] ||
		expect_match "memory.kernel is ignored"
}

@test "update: a stopped container has no limits to change" {
	set_args true
	start_container
	wait_stopped
	run h update --pids-limit 5 "$ID"
	expect_error "container not running"
}

@test "update: a container without a cgroup has no limits to change" {
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	h --cgroup-manager disabled create --bundle "$BUNDLE" "$ID" >>"$OUT" 2>&1 </dev/null
	h start "$ID"
	if in_microvm; then # whose guest has cgroups
		h update --pids-limit 5 "$ID"
		[ "$(limit pids - pids.max)" = 5 ]
	else
		run h update --pids-limit 5 "$ID"
		expect_error "no cgroup"
	fi
}

@test "update: it fails half way and names the property and the file" {
	require_controller pids
	require_controller cpuset
	start_sleeper
	before=$(cat "$ROOT/$ID/config.json")
	run h update --resources - "$ID" <<<'{"cpu": {"cpus": "4095"}, "pids": {"limit": 7}}'
	expect_error "cpu.cpus.*cpuset.cpus"
	[ "$(cat "$ROOT/$ID/config.json")" = "$before" ]
}
