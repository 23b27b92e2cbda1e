#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# process.selinuxLabel, exec --process-label and linux.mountLabel, where SELinux is active and has a policy. mounts.bats and
# process.bats have what holds without.

load helpers

# Sets $LABEL to a label of processes that this policy knows, other than our own, and $FILES to one of files.
setup()
{
	local type

	hull_setup
	[ "$(stat -f -c %t /sys/fs/selinux 2>/dev/null)" = f97cff8c ] || skip "SELinux is not active here"
	LABEL=
	for type in container_t svirt_lxc_net_t initrc_t unconfined_t; do
		LABEL=system_u:system_r:$type:s0
		[ "$(tr -d '\0' </proc/self/attr/current)" != "$LABEL" ] || continue
		! printf %s "$LABEL" >/sys/fs/selinux/context 2>/dev/null || break
		LABEL=
	done
	FILES=system_u:object_r:tmp_t:s0
	[ -n "$LABEL" ] && printf %s "$FILES" >/sys/fs/selinux/context 2>/dev/null || skip "a policy without these types"
}

SHOW="tr -d '\\0' </proc/self/attr/current"

@test "selinuxLabel is the process' own" {
	update_config --arg l "$LABEL" '.process.selinuxLabel = $l'
	run_script "$SHOW"
	expect_output "$LABEL"
}

@test "an exec has the container's label, or one of its own" {
	update_config --arg l "$LABEL" '.process.selinuxLabel = $l'
	start_sleeper
	run h exec "$ID" sh -c "$SHOW"
	expect_output "$LABEL"
	own=$(tr -d '\0' </proc/self/attr/current)
	run h exec --process-label "$own" "$ID" sh -c "$SHOW"
	expect_output "$own"
}

@test "mountLabel is the context of new file systems" {
	update_config --arg l "$FILES" '.linux.mountLabel = $l | .mounts += [{destination: "/t", type: "tmpfs", source: "tmpfs"}]'
	run_script 'grep " /t " /proc/self/mountinfo'
	expect_match "[, ]context=\"?$FILES"
}

@test "a label that the policy does not know is an error with its place" {
	update_config '.process.selinuxLabel = "system_u:system_r:no_such_type_t:s0"'
	run_script true
	expect_error '^hull: /process/selinuxLabel .*: set .system_u:system_r:no_such_type_t:s0.'
	expect_nothing_left
}
