#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull kill`: signals by name and number, to the first process or to all.

load helpers

trap_and_tell()
{
	set_args sh -c "for s in TERM HUP USR1 USR2 INT; do trap \"echo got \$s\" \$s; done
		echo ready; while :; do sleep 0.05; done"
	start_container
	wait_until 5 'grep -q ready "$OUT"'
}

# bats test_tags=quick
@test "SIGTERM is what kill sends by itself" {
	trap_and_tell
	h kill "$ID"
	wait_until 5 'grep -qx "got TERM" "$OUT"'
}

@test "a signal is given by name, with SIG, and by number" {
	trap_and_tell
	h kill "$ID" USR1
	wait_until 5 'grep -qx "got USR1" "$OUT"'
	h kill "$ID" SIGUSR2
	wait_until 5 'grep -qx "got USR2" "$OUT"'
	h kill "$ID" 1
	wait_until 5 'grep -qx "got HUP" "$OUT"'
	h kill "$ID" sigint || h kill "$ID" INT
	wait_until 5 'grep -qx "got INT" "$OUT"'
}

# bats test_tags=quick
@test "real-time signals have names, and some signals have two" {
	set_args sh -c 'for s in 34 37 63 64 6 17 29; do trap "echo got $s" $s; done
		echo ready; while :; do sleep 0.05; done'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	for pair in RTMIN=34 SIGRTMIN+3=37 sigrtmax-1=63 RTMAX=64 IOT=6 SIGABRT=6 IO=29 SIGPOLL=29; do
		: >"$OUT"
		h kill "$ID" "${pair%=*}"
		wait_until 5 "grep -qx 'got ${pair#*=}' '$OUT'" || fail "$pair"
	done
}

@test "unknown signals are refused" {
	start_sleeper
	for signal in NOSUCH SIG -1 65 999999 9x 1e1 RTMIN+31 RTMIN-1 RTMAX+1 RTMIN+ RTMAX-31 RTMINUS; do
		run h kill -- "$ID" "$signal"
		expect_error "signal"
	done
	[ "$(container_status)" = running ]
}

# bats test_tags=quick
@test "an init that ignores SIGTERM is ended by KILL" {
	set_args probe sleep
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	h kill "$ID" TERM
	sleep 0.3
	[ "$(container_status)" = running ]
	h kill "$ID" KILL
	wait_stopped
}

@test "kill of a stopped container fails with the words that engines look for" {
	set_args true
	start_container
	wait_stopped
	run h kill "$ID" KILL
	expect_error "container not running"
	h kill -a "$ID" KILL # nobody is left: that is what was wanted
}

@test "kill --all reaches every process of a container without a pid namespace" {
	container_only "there is no host's pid namespace"
	update_config '.linux.namespaces |= map(select(.type != "pid"))'
	set_args sh -c 'sleep 1000 & sleep 1000 & echo ready; exec sleep 1000'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	h kill --all "$ID" KILL
	wait_stopped
	h delete "$ID"
	expect_nothing_left
}

# bats test_tags=quick
@test "--regex kills and deletes all that match, and no other" {
	for name in one two other; do
		start_sleeper "$ID-$name"
	done
	h kill --regex "^$ID-(one|two)\$" KILL
	wait_stopped "$ID-one"
	wait_stopped "$ID-two"
	[ "$(container_status "$ID-other")" = running ]
	h delete --regex "^$ID-(one|two)\$"
	[ "$(h list --quiet)" = "$ID-other" ]
	run h kill --regex '(' KILL
	expect_error 'regular expression'
}

# bats test_tags=quick
@test "signal 0 only asks" {
	start_sleeper
	h kill "$ID" 0
	[ "$(container_status)" = running ]
}
