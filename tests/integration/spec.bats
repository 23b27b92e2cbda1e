#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull spec`: the default configuration.

load helpers

# bats test_tags=quick
@test "spec writes config.json, and does not overwrite one" {
	mkdir "$TEST_DIR/new"
	cd "$TEST_DIR/new"
	run h spec
	expect_status 0
	expect_output ""
	jq -e '.ociVersion | startswith("1.")' config.json
	before=$(sha256sum config.json)
	run h spec
	expect_error "config.json.*exist|exist.*config.json"
	[ "$(sha256sum config.json)" = "$before" ]
}

# Sorted and without what is a matter of taste, so that two configurations can be compared.
normal()
{
	jq -S 'del(.ociVersion) | .mounts |= sort_by(.destination) | .mounts[].options |= (. // [] | sort)
		| .linux.namespaces |= sort_by(.type)
		| .linux.maskedPaths |= sort | .linux.readonlyPaths |= sort
		| .process.capabilities |= with_entries(select(.value != []) | .value |= sort)' "$1"
}

@test "the default is equal in effect to runc's" {
	require_cmd runc
	mkdir "$TEST_DIR/ours" "$TEST_DIR/theirs"
	h spec --bundle "$TEST_DIR/ours"
	runc spec --bundle "$TEST_DIR/theirs"
	# runc adds a cgroup namespace on hosts with cgroup v2 only; we always do.
	# runc's default since 1.2 leaves out the ambient set, which has no effect for root; and later
	# versions mask and protect more paths.
	for part in .process.args .process.env .process.cwd .process.user .process.rlimits \
		.process.noNewPrivileges .process.terminal .process.capabilities.bounding \
		.process.capabilities.effective .process.capabilities.permitted \
		.root .mounts '.linux.namespaces | map(select(.type != "cgroup"))' .linux.readonlyPaths; do
		diff <(normal "$TEST_DIR/ours/config.json" | jq -S "$part") \
			<(normal "$TEST_DIR/theirs/config.json" | jq -S "$part") ||
			fail "$part differs"
	done
	# What runc masks, we mask.
	[ "$(jq -s '(.[1].linux.maskedPaths - .[0].linux.maskedPaths) | length' \
		"$TEST_DIR/ours/config.json" "$TEST_DIR/theirs/config.json")" = 0 ]
}

# bats test_tags=quick
@test "the default runs" {
	cd "$BUNDLE"
	rm config.json
	h spec
	jq '.process.terminal = false | .process.args = ["sh", "-c", "echo ok; touch /x 2>/dev/null || echo read-only"]' \
		config.json >new
	mv new config.json
	run h run "$ID"
	expect_status 0
	expect_output "ok
read-only"
}

@test "--rootless makes a configuration with a user namespace for its caller" {
	mkdir "$TEST_DIR/new"
	h spec --rootless --bundle "$TEST_DIR/new"
	jq -e '(.linux.namespaces | map(.type) | index("user") != null and index("network") == null)
		and .linux.uidMappings[0].containerID == 0 and .linux.uidMappings[0].size == 1
		and .linux.gidMappings[0].containerID == 0
		and (.linux.resources == null or .linux.resources.devices == null)
		and (.mounts | map(select(.options // [] | any(startswith("gid="))) | .destination) == [])' \
		"$TEST_DIR/new/config.json"
}

@test "a bundle that does not exist is an error" {
	run h spec --bundle "$TEST_DIR/nowhere"
	expect_error "nowhere"
}
