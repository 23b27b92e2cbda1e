#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# process.apparmorProfile and exec --apparmor, where this kernel has AppArmor and profiles can be loaded. options.bats and
# process.bats have what is an error.

load helpers

setup()
{
	hull_setup
	[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] || skip "AppArmor is not active here"
	require_cmd apparmor_parser
	mountpoint -q /sys/kernel/security || skip "securityfs is not mounted"
	PROFILES=$TEST_DIR/profiles
	for name in first second; do
		cat <<-PROFILE
			profile $ID-$name flags=(attach_disconnected,mediate_deleted) {
				file,
				capability,
				network,
				signal,
				ptrace,
				deny /tmp/$name r,
			}
		PROFILE
	done >"$PROFILES"
	apparmor_parser --replace --skip-cache --quiet "$PROFILES"
	echo content >"$BUNDLE/rootfs/tmp/first"
	echo content >"$BUNDLE/rootfs/tmp/second"
	update_config --arg p "$ID-first" '.process.apparmorProfile = $p'
}

teardown()
{
	if [ -n "${PROFILES:-}" ]; then
		delete_all
		apparmor_parser --remove "$PROFILES" || true
	fi
	hull_teardown
}

READ='cat /proc/self/attr/current /tmp/first /tmp/second; true'

@test "the profile is the process' own, and in force" {
	container_only "profiles of the host's mean nothing"
	run_script "$READ"
	expect_match "^$ID-first \(enforce\)$"
	expect_match "can't open '/tmp/first': Permission denied"
	expect_match '^content$'
	run cat /proc/self/attr/current
	expect_no_match "$ID"
}

@test "without the profile nothing is denied" {
	container_only "profiles of the host's mean nothing"
	update_config 'del(.process.apparmorProfile)'
	run_script "$READ"
	expect_match '^unconfined'
	expect_no_match denied
}

@test "an exec has the container's profile, or one of its own" {
	container_only "profiles of the host's mean nothing"
	start_sleeper
	run h exec "$ID" sh -c "$READ"
	expect_match "^$ID-first \(enforce\)$"
	run h exec --apparmor "$ID-second" "$ID" sh -c "$READ"
	expect_match "^$ID-second \(enforce\)$"
	expect_match "can't open '/tmp/second': Permission denied"
	expect_no_match "can't open '/tmp/first'"
}

@test "with a user namespace, no_new_privs, and a filter, too" {
	container_only "profiles of the host's mean nothing"
	update_config '.linux.namespaces += [{type: "user"}] | .process.noNewPrivileges = true
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] | .linux.gidMappings = .linux.uidMappings
		| .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW"}'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	run_script "$READ"
	expect_match "^$ID-first \(enforce\)$"
	expect_match "can't open '/tmp/first': Permission denied"
}

@test "a profile that is not loaded is an error with its name, and nothing is left" {
	container_only "profiles of the host's mean nothing"
	update_config '.process.apparmorProfile = "no-such-profile"'
	run_script true
	expect_error "/process/apparmorProfile: set .no-such-profile.: .*No such file"
	expect_nothing_left
}
