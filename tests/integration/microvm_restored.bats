#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What hull-guest does where its machine goes on from a snapshot: here it is only told so, in a machine that never stopped.

load helpers

setup()
{
	[ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo || skip "no KVM here that runs Linux"
	[ -z "${HULL_SANITIZE:-}" ] || skip "the guest is of the ordinary build"
	hull_setup
	update_config '.annotations["run.hull.sandbox"] = "microvm"'
}

teardown()
{
	ip netns del "$ID" 2>/dev/null || :
	hull_teardown
}

# restored ID HOSTNAME SECONDS [CARD...]
restored()
{
	"$HELPERS/agent" "$ROOT/$ID/vm/vsock.sock" "$@"
}

@test "time, id and host name are the new ones, again and again, and the container goes on" {
	update_config '.hostname = "before"'
	start_sleeper
	for name in first second; do
		run restored "$ID.$name" "$name" 2000000000
		expect_status 0
		run h exec "$ID" sh -c 'hostname; [ $(($(date +%s) - 2000000000)) -lt 100 ] && echo then'
		expect_status 0
		expect_output "$(printf '%s\nthen' "$name")"
	done
	# What it says of itself is not what this host knows it by.
	run h events --stats "$ID"
	expect_error 'an event of the microVM is not about it'
	run restored "$ID" "" "$(date +%s)"
	expect_status 0
	run h events --stats "$ID"
	expect_status 0
	h ps "$ID" | grep -q sleep || fail "$(h ps "$ID")"
	h update --pids-limit 77 "$ID"
	run h exec "$ID" hostname
	expect_output second
	h kill "$ID" TERM
	wait_until 20 '[ "$(container_status)" = stopped ]'
}

@test "what cannot be an id is an error, and nothing has changed" {
	start_sleeper
	run restored ../x other "$(date +%s)"
	expect_error 'cannot be a container.s id'
	run h exec "$ID" hostname
	expect_no_match other
}

# A network namespace with two cards to the host.
make_network()
{
	ip netns add "$ID"
	for i in 0 1; do
		ip link add "v$i${ID: -8}" type veth peer name "eth$i" netns "$ID"
		ip addr add "10.98.$((i + 7)).1/24" dev "v$i${ID: -8}"
		ip link set "v$i${ID: -8}" up
		ip -n "$ID" addr add "10.98.$((i + 7)).2/24" dev "eth$i"
		ip -n "$ID" link set "eth$i" up mtu 1400
		mac[i]=$(ip -n "$ID" -json link show "eth$i" | jq -r '.[0].address')
	done
	ip -n "$ID" route add default via 10.98.7.1
	update_config --arg ns "/run/netns/$ID" '(.linux.namespaces[] | select(.type == "network")).path = $ns'
	update_config '.process.capabilities |= map_values(. + ["CAP_NET_RAW"])'
}

in_guest()
{
	h exec "$ID" sh -c "$1"
}

# as_made [NAME NAME]: restored, with the cards as they were made, but for their names.
as_made()
{
	restored "$ID" "" "$(date +%s)" "${1:-eth0}" "${mac[0]}" 1400 10.98.7.2/24 10.98.7.1 \
		"${2:-eth1}" "${mac[1]}" 1400 10.98.8.2/24 ""
}

@test "the network: what is the same stays as it is, and what is not is replaced" {
	require_cmd ip
	local mac=()

	make_network
	start_sleeper
	local look='ip -4 address; ip route; cat /sys/class/net/eth?/carrier_changes'
	before=$(in_guest "$look")
	as_made
	run in_guest "$look"
	expect_output "$before"
	# Another address and gateway on the one, nothing on the other.
	restored "$ID" "" "$(date +%s)" eth0 "${mac[0]}" 1400 10.98.7.3/25 10.98.7.9
	run in_guest 'ip address; ip route; cat /sys/class/net/eth0/carrier; ls /sys/class/net'
	expect_match '10\.98\.7\.3/25'
	expect_match 'default via 10\.98\.7\.9 '
	expect_match '^1$'
	expect_no_match '10\.98\.7\.[12]( |/)'
	expect_no_match '10\.98\.7\.0/24'
	expect_no_match '10\.98\.8'
	expect_no_match eth1
	# Another card with the other one's name.
	restored "$ID" "" "$(date +%s)" lan7 02:00:00:00:00:77 1300 192.168.9.2/24 192.168.9.1 eth0 02:00:00:00:00:78 1400 192.168.8.2/24 ""
	run in_guest 'cat /sys/class/net/lan7/address /sys/class/net/lan7/mtu /sys/class/net/eth0/address; ip address; ip route'
	expect_match '^02:00:00:00:00:77$'
	expect_match '^1300$'
	expect_match '^02:00:00:00:00:78$'
	expect_match '192\.168\.9\.2/24'
	expect_match '192\.168\.8\.2/24'
	expect_match 'default via 192\.168\.9\.1 '
	expect_no_match '10\.98'
	# Names that change places, and all as it was.
	as_made eth1 eth0
	run in_guest 'cat /sys/class/net/eth1/address /sys/class/net/eth0/address'
	expect_output "$(printf '%s\n' "${mac[@]}")"
	as_made
	run in_guest 'ip -4 address | grep inet; ip route; for i in 7 8; do ping -c 2 -W 5 10.98.$i.1 | grep received; done'
	expect_match 'inet 10\.98\.7\.2/24 .*eth0'
	expect_match 'inet 10\.98\.8\.2/24 .*eth1'
	expect_match 'default via 10\.98\.7\.1 '
	[ "$(grep -c '^2 packets received\|, 2 packets received' <<<"$output")" = 2 ] || fail "$output"
	expect_no_match '192\.168'
}

@test "a card that the machine does not have is an error" {
	start_sleeper
	run restored "$ID" "" "$(date +%s)" eth0 02:00:00:00:00:70 1400 10.98.7.2/24 "" eth1 02:00:00:00:00:71 1400 10.98.8.2/24 ""
	expect_error 'No such device'
}

@test "an exec whose process on the host is killed ends in the guest, and so do the processes that served it" {
	start_sleeper
	h exec "$ID" sleep 1000 &
	wait_until 20 'h ps "$ID" | grep -q "sleep 1000"'
	pkill -KILL -f "exec $ID sleep 1000"
	wait_until 20 '! h ps "$ID" | grep -q "sleep 1000"'
	run h exec "$ID" echo alive
	expect_output alive
}
