#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull and the JSON schemas of the runtime specification (tests/data/runtime-spec), with a validator as the judge.

load helpers

CHECK=$BATS_TEST_DIRNAME/../schema/check.py

# check COMMAND...: skips where there is no validator.
check()
{
	[ -x /usr/bin/python3 ] || skip "no python3"
	"$CHECK" properties >/dev/null || { [ $? -ne 77 ] || skip "python3-jsonschema is not installed"; }
	run "$CHECK" "$@"
	expect_status 0
	# The numbers, for whoever runs bats itself.
	[ -z "$output" ] || sed 's/^/# /' <<<"$output" >&3
}

# bats test_tags=quick
@test "what the schemas reject is rejected, what they accept is accepted" {
	[ -x "$HELPERS/verdict" ] || skip "verdict is not built"
	check verdicts "$HELPERS/verdict"
}

@test "what runc, crun and containerd write is read" {
	[ -x "$HELPERS/verdict" ] || skip "verdict is not built"
	require_cmd runc crun ctr
	for runtime in runc crun; do
		mkdir "$TEST_DIR/$runtime"
		(cd "$TEST_DIR/$runtime" && "$runtime" spec)
	done
	ctr oci spec >"$TEST_DIR/ctr"
	run bash -c 'jq -c . "$@" | "$0"' "$HELPERS/verdict" "$TEST_DIR"/{runc,crun}/config.json "$TEST_DIR/ctr"
	expect_output "accept
accept
refuse /process/args: is missing" # which ctr leaves to the image
}

@test "run rejects with the path, and makes nothing" {
	mkdir "$ROOT"
	check run "$HULL" "$ROOT" "$BUNDLE"
	expect_nothing_left
}

# bats test_tags=quick
@test "the features document is valid" {
	h features >"$TEST_DIR/features"
	check valid features-schema.json <"$TEST_DIR/features"
	jq '.linux.namespaces += ["no such"]' "$TEST_DIR/features" >"$TEST_DIR/wrong"
	run "$CHECK" valid features-schema.json <"$TEST_DIR/wrong"
	expect_status 1
	expect_match '^linux/namespaces/8: '
}

@test "the state is valid: created, running, stopped, and what hooks and agents are given" {
	update_config '.annotations = {"org.example.key": "value"}
		| .hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "cat >\($dir)/creating"]}]' --arg dir "$TEST_DIR"
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	create_container
	h state "$ID" >"$TEST_DIR/created"
	h start "$ID"
	h state "$ID" >"$TEST_DIR/running"
	h kill "$ID"
	wait_stopped
	h state "$ID" >"$TEST_DIR/stopped"
	for status in creating created running stopped; do
		[ "$(jq -r .status "$TEST_DIR/$status")" = "$status" ]
		check valid state-schema.json <"$TEST_DIR/$status"
	done
}
