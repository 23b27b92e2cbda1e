#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull-conformance(7): every property of the specification is on the page, and in the tests that the page names.

load helpers

page()
{
	[ -x /usr/bin/python3 ] || skip "no python3"
	# shellcheck disable=SC2046 # a word an option
	run "$BATS_TEST_DIRNAME/../schema/page.py" $(h features | jq -r '.mountOptions[]') "$@"
}

# bats test_tags=quick
@test "every property is on the page, with tests that mention it" {
	page
	expect_status 0
	echo "# $output" >&3
	page no-such-option
	expect_status 1
	expect_match '^mount option no-such-option: '
}

@test "sections of other platforms are ignored" {
	update_config '.solaris = {milestone: null} | .windows = [] | .zos = "x" | .freebsd = {jail: {parent: 1}}'
	run_script 'echo ok'
	expect_output ok
}
