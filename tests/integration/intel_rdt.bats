#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Cache and memory bandwidth by resctrl. What needs a processor with it skips on others; the handling of its directories
# is in tests/unit/test_resctrl.c.

load helpers

RESCTRL=/sys/fs/resctrl

require_resctrl()
{
	[ "$(stat -f -c %T $RESCTRL 2>/dev/null)" = resctrl ] || [ -e $RESCTRL/schemata ] ||
		skip "no resctrl file system is mounted"
}

# bats test_tags=quick
@test "without a resctrl file system the property is refused, and nothing is left" {
	[ ! -e $RESCTRL/schemata ] || skip "there is one"
	update_config '.linux.intelRdt = {closID: "gold", schemata: ["L3:0=f"], l3CacheSchema: "L3:0=f",
		memBwSchema: "MB:0=20", enableMonitoring: true}'
	run_script true
	expect_error "/linux/intelRdt: (no resctrl file system is mounted|a microVM has no resctrl)"
	update_config '.linux.intelRdt = {}'
	run_script true
	expect_error "/linux/intelRdt: (no resctrl file system is mounted|a microVM has no resctrl)"
	expect_nothing_left
}

@test "names that are no class are refused before anything is made" {
	update_config '.linux.intelRdt = {closID: "../x"}'
	run_script true
	expect_error "/linux/intelRdt/closID"
	expect_nothing_left
}

# A directory that claims to be resctrl in the mount table is impossible to make; one that is none is not written to.
@test "without the property nothing in resctrl is touched" {
	require_resctrl
	before=$(find $RESCTRL -maxdepth 2 -type d)
	start_sleeper
	[ "$(find $RESCTRL -maxdepth 2 -type d)" = "$before" ]
	grep -qx "$(container_pid)" $RESCTRL/tasks
}

@test "a class of its own comes and goes with the container" {
	require_resctrl
	update_config '.linux.intelRdt = {enableMonitoring: true}'
	start_sleeper
	grep -qx "$(container_pid)" "$RESCTRL/$ID/tasks"
	grep -qx "$(container_pid)" "$RESCTRL/$ID/mon_groups/$ID/tasks"
	h exec --detach --pid-file "$TEST_DIR/pid" "$ID" sleep 100
	grep -qx "$(cat "$TEST_DIR/pid")" "$RESCTRL/$ID/mon_groups/$ID/tasks"
	h delete --force "$ID"
	[ ! -e "$RESCTRL/$ID" ]
}

@test "l3CacheSchema, memBwSchema and schemata are what the class has" {
	require_resctrl
	l3=$(sed -n 's/ *\(L3:.*\)/\1/p' $RESCTRL/schemata) mb=$(sed -n 's/ *\(MB:.*\)/\1/p' $RESCTRL/schemata)
	[ -n "$l3" ] && [ -n "$mb" ] || skip "no control of L3 and of bandwidth here"
	update_config --arg l3 "$l3" --arg mb "$mb" '.linux.intelRdt = {l3CacheSchema: $l3, memBwSchema: $mb, schemata: [$l3]}'
	start_sleeper
	[ "$(sed 's/^ *//' "$RESCTRL/$ID/schemata" | grep -E '^(L3|MB):' | sort)" = "$(printf '%s\n' "$l3" "$mb" | sort)" ]
	grep -qx "$(container_pid)" "$RESCTRL/$ID/tasks"
}

@test "the default class, with monitoring of the container" {
	require_resctrl
	update_config '.linux.intelRdt = {closID: "/", enableMonitoring: true}'
	start_sleeper
	grep -qx "$(container_pid)" "$RESCTRL/mon_groups/$ID/tasks"
	h delete --force "$ID"
	[ ! -e "$RESCTRL/mon_groups/$ID" ]
}

# bats test_tags=quick
@test "without a resctrl file system an update says so, and changes nothing" {
	[ ! -e $RESCTRL/schemata ] || skip "there is one"
	start_sleeper
	before=$(cat "$ROOT/$ID/config.json")
	for option in --l3-cache-schema=L3:0=f --mem-bw-schema=MB:0=10; do
		run h update "$option" "$ID"
		expect_error "^hull: update container .*/linux/intelRdt: (no resctrl file system is mounted|a microVM has no resctrl)"
	done
	[ "$(cat "$ROOT/$ID/config.json")" = "$before" ]
}

@test "an update makes a class with all processes of the container, and changes it" {
	require_resctrl
	set_args sh -c 'sleep 1000 & echo ready; wait'
	start_container
	wait_until 5 'grep -q ready "$OUT"'
	schema=$(grep -m 1 -o '[A-Z0-9]*:.*' $RESCTRL/schemata)
	h update --l3-cache-schema "$schema" "$ID"
	for pid in $(h ps -f json "$ID" | jq '.[]'); do
		grep -qx "$pid" "$RESCTRL/$ID/tasks"
	done
	h exec --detach --pid-file "$TEST_DIR/pid" "$ID" sleep 100
	grep -qx "$(cat "$TEST_DIR/pid")" "$RESCTRL/$ID/tasks"
	h update --l3-cache-schema "$schema" --pids-limit 50 "$ID"
	h delete --force "$ID"
	[ ! -e "$RESCTRL/$ID" ]
}

@test "features say so" {
	run h features
	jq -e '.linux.intelRdt == {enabled: true, schemata: true, monitoring: true}
		and (.linux.memoryPolicy.modes | index("MPOL_WEIGHTED_INTERLEAVE") != null)
		and (.linux.memoryPolicy.flags | length == 3)
		and (.linux.seccomp.actions | index("SCMP_ACT_NOTIFY") != null)
		and (.linux.seccomp.supportedFlags | index("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") != null)' <<<"$output"
}
