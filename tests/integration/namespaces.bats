#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Namespaces: new, joined by path, or the caller's; and what belongs to them.
# modes: container microvm

load helpers

# bats test_tags=quick
@test "each namespace of the default is new" {
	run_script 'for n in pid net mnt ipc uts cgroup; do readlink /proc/self/ns/$n; done'
	expect_status 0
	for ns in pid net mnt ipc uts; do
		# (that of a microVM's network is the first of its kernel, as the host's is of the host's)
		! in_microvm || [ $ns != net ] || continue
		expect_no_match "$(readlink /proc/self/ns/$ns | sed 's/[][]/\\&/g')"
	done
	[ "$(wc -l <<<"$output")" -eq 6 ]
}

# bats test_tags=quick
@test "a namespace that is not named is the caller's" {
	container_only "a namespace of the host's cannot be shared"
	for pair in network:net ipc:ipc uts:uts pid:pid cgroup:cgroup; do
		update_config --arg type "${pair%:*}" '.linux.namespaces |= map(select(.type != $type))'
	done
	update_config 'del(.hostname) | .mounts |= map(select(.type != "sysfs" and .type != "mqueue"))'
	run_script 'for n in net ipc uts pid cgroup; do readlink /proc/self/ns/$n; done'
	expect_status 0
	expect_output "$(for n in net ipc uts pid cgroup; do readlink /proc/self/ns/$n; done)"
}

@test "namespaces are joined by path" {
	container_only "only a network namespace can be joined"
	start_sleeper "$ID-a"
	pid=$(container_pid "$ID-a")
	for pair in network:net ipc:ipc uts:uts pid:pid; do
		update_config --arg type "${pair%:*}" --arg path "/proc/$pid/ns/${pair#*:}" \
			'(.linux.namespaces[] | select(.type == $type)) += {path: $path}'
	done
	update_config 'del(.hostname)'
	set_args sh -c 'for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; hostname'
	run h run --bundle "$BUNDLE" "$ID-b"
	expect_status 0
	expect_output "$(for n in net ipc uts pid; do readlink "/proc/$pid/ns/$n"; done)
$(h exec "$ID-a" hostname)"
}

use_user_namespace()
{
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
}

join()
{
	update_config --arg type "$1" --arg path "/proc/$(container_pid)/ns/$1" \
		'(.linux.namespaces[] | select(.type == $type)) += {path: $path}'
}

@test "a joined pid namespace is the one that /proc shows, also in a user namespace that is joined" {
	container_only "only a network namespace can be joined"
	for user in no yes; do
		[ "$user" = no ] || use_user_namespace
		start_sleeper
		join pid
		[ "$user" = no ] || { join user; update_config 'del(.linux.uidMappings, .linux.gidMappings)'; }
		set_args sh -c 'tr "\0" " " </proc/1/cmdline; echo; readlink /proc/self/ns/pid; [ -d /proc/$$ ] && id -u'
		run h run --bundle "$BUNDLE" "$ID-b"
		expect_status 0
		expect_match '^sh -c trap'
		expect_match "^$(readlink "/proc/$(container_pid)/ns/pid" | sed 's/[][]/\\&/g')\$"
		expect_match '^0$'
		# One that waits to be started, and is the process that is recorded.
		create_container "$ID-b"
		h start "$ID-b"
		wait_stopped "$ID-b"
		[ "$(tail -n 1 "$OUT")" = 0 ]
		h delete "$ID-b"
		h delete --force "$ID"
		update_config 'del(.linux.namespaces[].path)'
	done
}

# Its number is in use as long as there is somebody in the session that it led.
@test "processes that are left when the first one of a joined pid namespace ends are listed, killed and deleted" {
	container_only "only a network namespace can be joined"
	start_sleeper
	join pid
	for end in kill delete; do
		set_args sh -c "sleep 1003 & exec sleep 1002"
		create_container "$ID-b"
		h start "$ID-b"
		wait_until 10 '[ "$(h ps --format json "$ID-b" | jq length)" -eq 2 ]'
		kill -KILL "$(container_pid "$ID-b")"
		wait_stopped "$ID-b"
		[ "$(h ps --format json "$ID-b" | jq length)" -eq 1 ]
		run h kill "$ID-b" TERM
		expect_error 'container not running'
		if [ "$end" = kill ]; then
			h kill --all "$ID-b" KILL
			wait_until 10 '[ "$(h ps --format json "$ID-b" | jq length)" -eq 0 ]'
		fi
		h delete "$ID-b"
	done
	[ "$(container_status)" = running ]
}

@test "a pid namespace of another user namespace than the container's is an error" {
	container_only "only a network namespace can be joined"
	start_sleeper
	join pid
	use_user_namespace
	set_args true
	run h run --bundle "$BUNDLE" "$ID-b"
	expect_error '/linux/namespaces: a pid namespace must belong'
	[ "$(container_status)" = running ]
	h delete --force "$ID"
	expect_nothing_left
}

@test "a path that is no namespace, or one of another type, is an error" {
	update_config '(.linux.namespaces[] | select(.type == "network")) += {path: "/no/such/namespace"}'
	run_script true
	expect_error "/no/such/namespace"
	update_config '(.linux.namespaces[] | select(.type == "network")) += {path: "/proc/self/ns/uts"}'
	run_script true
	expect_error "/proc/self/ns/uts"
	update_config '(.linux.namespaces[] | select(.type == "network")) += {path: "/etc/passwd"}'
	run_script true
	expect_error "/etc/passwd"
	expect_nothing_left
}

# bats test_tags=quick
@test "the first process is process 1, and sees only its own" {
	run_script 'echo $$; ls -d /proc/[0-9]* | wc -l'
	expect_match '^1$'
	[ "$(tail -n 1 <<<"$output")" -lt 5 ]
}

@test "hostname and domainname are set, inside only" {
	before=$(hostname)
	update_config '.hostname = "inside" | .domainname = "example.org"'
	run_script 'hostname; cat /proc/sys/kernel/domainname'
	expect_output "inside
example.org"
	[ "$(hostname)" = "$before" ]
}

# bats test_tags=microvm
@test "an empty hostname is none, and one that is too long is refused" {
	update_config '.hostname = "" | .domainname = ""'
	run_script hostname
	expect_status 0
	expect_output "$(hostname)"
	for name in hostname domainname; do
		update_config --arg name $name '.[$name] = "x" * 65'
		run_script hostname
		expect_error "^hull: /$name: has 65 bytes.* 64\$"
		update_config --arg name $name '.[$name] = "x" * 64'
		run_script hostname
		expect_status 0
	done
	! in_microvm || return 0 # which has a uts namespace
	update_config '.hostname = "" | .domainname = "" | .linux.namespaces |= map(select(.type != "uts"))'
	run_script true
	expect_status 0
}

@test "a hostname without a new uts namespace is refused" {
	update_config '.linux.namespaces |= map(select(.type != "uts")) | .hostname = "x"'
	before=$(hostname)
	run_script true
	expect_error "uts|hostname"
	[ "$(hostname)" = "$before" ]
}

@test "the loopback interface is up" {
	run_script 'cat /sys/class/net/lo/flags; ping -c 1 -W 2 127.0.0.1 >/dev/null 2>&1; cat /proc/net/route'
	# Bit 0: IFF_UP.
	flags=$(head -n 1 <<<"$output")
	[ $((flags & 1)) -eq 1 ] || fail "lo is down: $flags"
}

@test "a user namespace maps root to another user" {
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 1000}, {containerID: 1000, hostID: 200000, size: 1}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 1000}]'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
	set_args sh -c 'id -u; cat /proc/self/uid_map; touch /made; echo ready; trap "exit 0" TERM; while :; do sleep 0.05; done'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	run cat "$OUT"
	expect_match '^0$'
	expect_match '^ +0 +100000 +1000$'
	expect_match '^ +1000 +200000 +1$'
	[ "$(stat -c %u "$BUNDLE/rootfs/made")" = 100000 ]
	in_microvm || [ "$(stat -c %u "/proc/$(container_pid)")" = 100000 ]
}

@test "time offsets are in force" {
	[ -e /proc/self/ns/time ] || skip "this kernel has no time namespaces"
	update_config '.linux.namespaces += [{type: "time"}]
		| .linux.timeOffsets = {boottime: {secs: 1000000}, monotonic: {secs: 1000}}'
	run_script 'cut -d. -f1 /proc/uptime'
	expect_status 0
	[ "$output" -ge 1000000 ]
}

@test "offsets of both clocks, also negative ones and with a user namespace, are what the kernel has" {
	[ -e /proc/self/ns/time ] || skip "this kernel has no time namespaces"
	update_config '.linux.namespaces += [{type: "time"}]
		| .linux.timeOffsets = {boottime: {secs: 86400, nanosecs: 5}, monotonic: {secs: -1, nanosecs: 500000000}}'
	run_script 'cat /proc/1/timens_offsets'
	expect_status 0
	expect_match '^monotonic +-1 +500000000$'
	expect_match '^boottime +86400 +5$'
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
	run_script 'cat /proc/1/timens_offsets'
	expect_status 0
	expect_match '^boottime +86400 +5$'
}

@test "time offsets without a new time namespace, and impossible ones, are refused" {
	[ -e /proc/self/ns/time ] || skip "this kernel has no time namespaces"
	update_config '.linux.timeOffsets = {boottime: {secs: 1}}'
	run_script true
	expect_error '/linux/timeOffsets'
	update_config '.linux.namespaces += [{type: "time", path: "/proc/self/ns/time"}]'
	run_script true
	expect_error '/linux/timeOffsets'
	update_config '.linux.namespaces[-1] = {type: "time"} | .linux.timeOffsets.boottime.nanosecs = 1000000000'
	run_script true
	expect_error 'boottime offset'
	expect_nothing_left
}

# bats test_tags=microvm
@test "sysctls of the container's namespaces are set" {
	update_config '.linux.sysctl = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}'
	before=$(cat /proc/sys/net/ipv4/ip_forward)
	run_script 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax'
	expect_output "1
4242"
	[ "$(cat /proc/sys/net/ipv4/ip_forward)" = "$before" ]
}

@test "sysctls of the host are refused" {
	before=$(cat /proc/sys/vm/swappiness)
	update_config '.linux.sysctl = {"vm.swappiness": "1"}'
	run_script true
	expect_error "swappiness"
	[ "$(cat /proc/sys/vm/swappiness)" = "$before" ]
	update_config '.linux.sysctl = {"net.ipv4.ip_forward": "1"}
		| .linux.namespaces |= map(select(.type != "network"))'
	run_script true
	expect_error "$(in_microvm && echo "cannot share the host's network namespace" || echo ip_forward)"
	update_config '.linux.sysctl = {"net/../vm/swappiness": "1"}'
	run_script true
	in_microvm || expect_error "swappiness|sysctl"
}

@test "a namespace type twice, or unknown, is refused" {
	update_config '.linux.namespaces += [{type: "pid"}]'
	run_script true
	expect_error "/linux/namespaces"
	update_config '.linux.namespaces = [{type: "nosuch"}]'
	run_script true
	expect_error "/linux/namespaces/0"
}

@test "without a mount namespace nothing is run" {
	update_config '.linux.namespaces |= map(select(.type != "mount"))'
	before=$(wc -l </proc/self/mountinfo)
	run_script true
	[ "$(wc -l </proc/self/mountinfo)" = "$before" ]
}
