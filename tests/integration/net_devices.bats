#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# linux.netDevices: network devices of the host's that move into the container. The host is a network
# namespace of the test's own here, so that nothing real is touched.
# modes: container microvm

load helpers

setup()
{
	hull_setup
	require_cmd ip unshare nsenter
	# Both ends of a veth pair, in a namespace that a process holds.
	unshare -n sleep 600 3>&- 4>&- &
	HOST=$!
	wait_until 5 "[ \"\$(readlink /proc/$HOST/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
	on_host ip link add hull0 mtu 1400 address 02:00:00:00:00:07 type veth peer name peer0 || skip "this kernel has no veth"
	on_host ip address add 192.0.2.1/24 brd + dev hull0
	on_host ip address add 192.0.2.9/24 dev hull0
	on_host ip address add 169.254.3.4/16 scope link dev hull0
	on_host ip address add 192.0.2.77/24 valid_lft 1000 preferred_lft 1000 dev hull0
	on_host ip -6 address add 2001:db8::7/64 nodad dev hull0 2>/dev/null || true
	on_host ip link set hull0 up
	on_host ip link set peer0 up
}

teardown()
{
	hull_teardown
	kill "$HOST" 2>/dev/null || true
}

on_host()
{
	without_bats nsenter --net="/proc/$HOST/ns/net" "$@"
}

hh()
{
	on_host "$HULL" --root "$ROOT" "$@"
}

run_on_host()
{
	set_args sh -c "$1"
	run hh run --bundle "$BUNDLE" "$ID"
}

show='ip -o address show; ip -o link show; cat /proc/net/if_inet6'

# bats test_tags=quick,microvm
@test "a device moves in, is up, and has its permanent global addresses, MTU and MAC" {
	update_config '.linux.netDevices = {"hull0": {}}'
	run_on_host "$show"
	expect_status 0
	expect_match 'hull0 .*192.0.2.1/24 brd 192.0.2.255 scope global hull0'
	expect_match 'hull0 .*192.0.2.9/24 scope global secondary'
	expect_match 'hull0[@:].*UP.* mtu 1400 .*'
	expect_match '02:00:00:00:00:07'
	expect_no_match 169.254.3.4
	expect_no_match 192.0.2.77
	[ ! -e /proc/net/if_inet6 ] || ! on_host sh -c '[ -s /proc/net/if_inet6 ]' ||
		expect_match '^20010db8000000000000000000000007 '
}

# bats test_tags=quick
@test "a device is renamed, also where the container has one of its old name" {
	update_config '.linux.netDevices = {"hull0": {name: "eth0"}, "peer0": {name: "hull0"}}'
	run_on_host "$show"
	expect_status 0
	expect_match '(^| )eth0[@:].*192.0.2.1|eth0 .*192.0.2.1/24 .* scope global eth0'
	expect_match ' hull0[@:]'
	expect_no_match peer0
}

@test "a name with %d gets a number that is free" {
	update_config '.linux.netDevices = {"hull0": {name: "net%d"}, "peer0": {name: "net%d"}}'
	run_on_host "$show"
	expect_status 0
	expect_match 'net0.*192.0.2.1/24'
	expect_match ' net1[@:]'
}

# bats test_tags=quick,microvm
@test "after run and delete the device is on the host again, without what the container put on it" {
	update_config '.linux.netDevices = {"hull0": {name: "eth0"}}
		| .process.capabilities |= map_values(. + ["CAP_NET_ADMIN"])'
	run_on_host 'ip address add 198.51.100.66/24 dev eth0; ip link set eth0 name other; true'
	expect_status 0
	run on_host ip -o address show dev hull0
	expect_no_match 198.51.100.66
	run on_host ip -o link show dev hull0
	expect_match 'mtu 1400'
	expect_no_match '<[^>]*UP[,>]'
	# The same of one that is deleted while it runs.
	set_args sleep 60
	hh create --bundle "$BUNDLE" "$ID-2" </dev/null >"$OUT" 2>&1
	hh start "$ID-2"
	run on_host ip link show hull0
	[ "$status" -ne 0 ]
	hh delete --force "$ID-2"
	on_host ip link show hull0
	expect_nothing_left
}

# bats test_tags=quick
@test "a creation that fails gives the device back as it was" {
	update_config '.linux.netDevices = {"hull0": {name: "eth0"}} | .process.args = ["/no/such/program"]'
	run hh run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	run on_host ip -o address show dev hull0
	expect_match 192.0.2.1/24
	expect_match 192.0.2.9/24
	run on_host ip -o link show dev hull0
	expect_match '<[^>]*UP[,>]'
	# One of two that does not exist: the first is back, too.
	update_config '.linux.netDevices = {"hull0": {}, "nosuch0": {}} | .process.args = ["true"]'
	run hh run --bundle "$BUNDLE" "$ID"
	expect_error '/linux/netDevices/nosuch0: find the network device `nosuch0`'
	on_host ip -o address show dev hull0 | grep -q 192.0.2.1/24
	expect_nothing_left
}

@test "a joined namespace: its devices' names are taken, and the device stays there" {
	unshare -n sleep 600 3>&- 4>&- &
	other=$!
	wait_until 5 "[ \"\$(readlink /proc/$other/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
	nsenter --net=/proc/$other/ns/net ip link add taken type veth peer name taken2
	update_config --arg p "/proc/$other/ns/net" '(.linux.namespaces[] | select(.type == "network")) += {path: $p}
		| .linux.netDevices = {"hull0": {name: "taken"}} | .mounts |= map(select(.type != "sysfs"))'
	run_on_host true
	expect_error '/linux/netDevices/hull0: .*has a device `taken` already'
	on_host ip -o address show dev hull0 | grep -q 192.0.2.1/24
	update_config '.linux.netDevices.hull0.name = "free"'
	run_on_host 'ip -o address show dev free'
	expect_status 0
	expect_match 192.0.2.1/24
	nsenter --net=/proc/$other/ns/net ip link show free
	kill $other
}

@test "with a user namespace, too; and its sysctls are set on the device" {
	chmod 755 "$TEST_DIR" "$BUNDLE" "$HULL_TEST_WORK"
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.netDevices = {"hull0": {name: "eth0"}} | .linux.sysctl = {"net.ipv4.conf.eth0.forwarding": "1"}'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	run_on_host "$show; cat /proc/sys/net/ipv4/conf/eth0/forwarding"
	expect_status 0
	expect_match 'eth0.*192.0.2.1/24'
	expect_match '^1$'
	on_host ip link show hull0
}

# bats test_tags=quick
@test "what cannot be is refused, with its place" {
	for name in '' . .. a/b a:b 'a b' '0123456789abcdef' 'x%s' 'x%d%d'; do
		[ -n "$name" ] || continue
		update_config --arg n "$name" '.linux.netDevices = {"hull0": {name: $n}}'
		run_on_host true
		expect_error '/linux/netDevices/hull0/name'
	done
	for name in lo ../x 'a%d'; do
		update_config --arg n "$name" '.linux.netDevices = {($n): {name: "x"}}'
		run_on_host true
		expect_error '/linux/netDevices'
	done
	update_config '.linux.netDevices = {"hull0": {name: "same"}, "peer0": {name: "same"}}'
	run_on_host true
	expect_error '/linux/netDevices/peer0/name'
	update_config '.linux.netDevices = {"hull0": {}} | .linux.namespaces |= map(select(.type != "network"))
		| .mounts |= map(select(.type != "sysfs"))'
	run_on_host true
	in_microvm || expect_error '/linux/netDevices: needs a network namespace'
	update_config '.linux.namespaces += [{type: "network", path: "/proc/self/ns/net"}]'
	run_on_host true
	expect_error '/linux/(netDevices: needs a network namespace .* not the host|namespaces: a microVM cannot share)'
	on_host ip link show hull0
	expect_nothing_left
}

@test "an ordinary user cannot move devices" {
	require_cmd setpriv
	update_config '.linux.netDevices = {"hull0": {}}'
	chmod 755 "$TEST_DIR" "$BUNDLE" "$HULL_TEST_WORK"
	mkdir "$TEST_DIR/user"
	chown 12345:12345 "$TEST_DIR/user"
	run setpriv --reuid 12345 --regid 12345 --clear-groups env XDG_RUNTIME_DIR="$TEST_DIR/user" \
		"$HULL" run --bundle "$BUNDLE" "$ID" 3>&- 4>&-
	expect_error '/linux/netDevices: only root'
}

@test "a device that the container gives another name is not mistaken for one of that name (attack)" {
	update_config '.linux.netDevices = {"hull0": {name: "eth0"}}
		| .process.capabilities |= map_values(. + ["CAP_NET_ADMIN"])'
	# What is called eth0 at the end is not what was moved in; what was is called decoy.
	run_on_host 'ip link set eth0 down; ip link set eth0 name decoy; ip link add eth0 mtu 1234 type veth peer name x; true'
	expect_status 0
	run on_host ip -o link show dev hull0
	expect_match 'mtu 1400'
	expect_match '02:00:00:00:00:07'
}
