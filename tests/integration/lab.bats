#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# tests/lab/run, as a developer uses it: status, streams, results, time limit, several at once.

load helpers

setup()
{
	[ -z "${HULL_LAB:-}" ] || skip "this is the lab"
	[ "$HULL_VIEW" = native ] || skip "the lab has no other view of this host"
	[ -z "${HULL_SANITIZE:-}" ] || skip "the lab runs the ordinary build"
	require_cmd qemu-system-x86_64
	ls -d "${XDG_CACHE_HOME:-$HOME/.cache}"/hull/image-* >/dev/null 2>&1 || skip "the lab is not built ('make lab')"
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/lab.XXXXXX")
	export TMPDIR=$TEST_DIR
	LAB=$BATS_TEST_DIRNAME/../lab
}

teardown()
{
	[ -n "${TEST_DIR:-}" ] || return 0
	# No machine outlives its test.
	"$LAB/stop" --all
	! pgrep -f "$TEST_DIR/hull-lab" || fail "a lab still runs" || return # bats heeds only the status of the whole
	rm -rf "$TEST_DIR"
}

@test "status, both streams, standard input and results of a command come back" {
	run --separate-stderr "$LAB/run" --output "$TEST_DIR/results" -- \
		sh -c 'read line; echo "out $line"; echo err >&2; id -un; pwd; echo kept >$LAB_OUTPUT/file; exit 7' <<<input
	expect_status 7
	expect_output "$(printf 'out input\nroot\n/hull')"
	# shellcheck disable=SC2154 # bats sets it
	grep -qx err <<<"$stderr"
	[ "$(cat "$TEST_DIR/results/file")" = kept ]
}

@test "a command that hangs is ended at its limit, with what ran and the console" {
	run "$LAB/run" --timeout 3 -- sh -c 'echo begun; sleep 1000'
	expect_status 124
	expect_match '^begun$'
	expect_match 'ended after 3 seconds: sh -c'
	expect_match 'sleep 1000'
	expect_match "console's last lines"
}

@test "two labs at once do not disturb one another" {
	"$LAB/run" -- sh -c 'echo one >/tmp/who; sleep 5; cat /tmp/who' >"$TEST_DIR/one" 2>&1 3>&- &
	"$LAB/run" --user -- sh -c 'echo two >/tmp/who; sleep 5; cat /tmp/who; id -un' >"$TEST_DIR/two" 2>&1 3>&- || fail "$(cat "$TEST_DIR/two")"
	wait $! || fail "$(cat "$TEST_DIR/one")"
	[ "$(cat "$TEST_DIR/one")" = one ] || fail "$(cat "$TEST_DIR/one")"
	[ "$(cat "$TEST_DIR/two")" = "$(printf 'two\nlab')" ] || fail "$(cat "$TEST_DIR/two")"
}

@test "several commands use one running lab until it is stopped" {
	"$LAB/start" box >"$TEST_DIR/start" 2>&1 3>&- || fail "$(cat "$TEST_DIR/start")"
	"$LAB/run" --lab box -- sh -c 'echo changed >/hull/README.md; echo here >/root/mark' 3>&-
	run "$LAB/run" --lab box -- cat /root/mark 3>&-
	expect_output here
	# The checkout is fresh each time, and what is done to it in the lab stays there.
	"$LAB/run" --lab box -- cmp /hull/README.md - <"$BATS_TEST_DIRNAME/../../README.md" 3>&-
	run "$LAB/start" box 3>&-
	expect_status 125
	expect_match 'runs already'
	"$LAB/stop" box
	run "$LAB/run" --lab box -- true
	expect_status 125
	expect_match 'no lab named box'
}

@test "a lab whose runner is killed ends with it" {
	"$LAB/run" -- sleep 1000 >"$TEST_DIR/out" 2>&1 3>&- &
	wait_until 60 'ls "$TEST_DIR"/hull-lab-*/run.*/ssh-root'
	kill -KILL $!
	wait_until 10 '! pgrep -f "qemu-system.*$TEST_DIR/hull-lab"'
}
