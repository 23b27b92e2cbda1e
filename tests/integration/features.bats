#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull features`: the document of features.md and features-linux.md, against what hull really takes.

load helpers

# bats test_tags=quick
@test "the document has the members of the specification, and no others" {
	run h features
	expect_status 0
	jq -e '(.ociVersionMin | type) == "string" and (.ociVersionMax | test("^1\\.3\\."))
		and (keys - ["annotations", "hooks", "linux", "mountOptions", "ociVersionMax", "ociVersionMin",
			"potentiallyUnsafeConfigAnnotations"] == [])
		and (.linux | keys - ["apparmor", "capabilities", "cgroup", "intelRdt", "memoryPolicy",
			"mountExtensions", "namespaces", "netDevices", "seccomp", "selinux"] == [])
		and (.linux.cgroup | keys == ["rdma", "systemd", "systemdUser", "v1", "v2"] and all(type == "boolean"))
		and (.linux.seccomp | keys == ["actions", "archs", "enabled", "knownFlags", "operators", "supportedFlags"])
		and ([.linux.apparmor, .linux.selinux, .linux.intelRdt, .linux.netDevices,
			.linux.mountExtensions.idmap] | all(.enabled | type == "boolean"))' <<<"$output"
}

# bats test_tags=quick
@test "hooks, namespaces and capabilities are complete" {
	run h features
	jq -e '(.hooks | sort) == ["createContainer", "createRuntime", "poststart", "poststop", "prestart", "startContainer"]
		and (.linux.namespaces | sort) == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
		and (.linux.capabilities | length == (unique | length) and all(startswith("CAP_"))
			and index("CAP_CHOWN") == 0 and index("CAP_CHECKPOINT_RESTORE") == 40)
		and (.mountOptions == (.mountOptions | unique | sort))' <<<"$output"
	# No more, no less than this kernel knows, as far as that goes.
	[ "$(jq '.linux.capabilities | length' <<<"$output")" -ge $(($(cat /proc/sys/kernel/cap_last_cap) + 1)) ]
}

@test "each capability that is listed can be given" {
	update_config --argjson caps "$(h features | jq '.linux.capabilities')" \
		'.process.capabilities = {bounding: $caps, effective: $caps, permitted: $caps}'
	run_script 'grep CapEff /proc/self/status'
	expect_status 0
	own=$(awk '/CapEff/ { print $2 }' /proc/self/status)
	expect_match "CapEff:.$own"
}

@test "each seccomp action, operator, architecture and flag that is listed is taken" {
	features=$(h features)
	for flag in $(jq -r '.linux.seccomp.supportedFlags[]' <<<"$features"); do
		# This one needs somebody who listens, too: see seccomp_notify.bats.
		[ "$flag" != SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV ] || continue
		update_config --arg f "$flag" '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", flags: [$f]}'
		run_script 'echo ok'
		expect_output ok
	done
	for action in $(jq -r '.linux.seccomp.actions[]' <<<"$features"); do
		[ "$action" != SCMP_ACT_NOTIFY ] || continue # needs somebody who listens
		update_config --arg a "$action" '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW",
			syscalls: [{names: ["kexec_load"], action: $a}]}'
		run_script 'echo ok'
		expect_output ok
	done
	update_config --argjson s "$(jq .linux.seccomp <<<"$features")" '.linux.seccomp = {
		defaultAction: "SCMP_ACT_ALLOW", architectures: $s.archs, syscalls: [$s.operators[] | {
		names: ["kexec_load"], action: "SCMP_ACT_ERRNO", args: [{index: 0, value: 1, valueTwo: 1, op: .}]}]}'
	run_script 'echo ok'
	expect_output ok
	update_config '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_VAX"]}'
	run_script 'echo ok'
	expect_error SCMP_ARCH_VAX
}

@test "annotations: versions, and which of config.json are not for everybody" {
	run h features
	jq -e --arg v "$("$HULL" --version | sed -n 's/^hull version //p')" \
		--arg s "$("$HULL" --version | sed -n 's/^libseccomp: //p')" \
		'.annotations["run.hull.version"] == $v and .annotations["io.github.seccomp.libseccomp.version"] == $s
		and (.potentiallyUnsafeConfigAnnotations | index("run.hull.") != null)' <<<"$output"
}

@test "features says the same whoever asks, and reads nothing of the host" {
	[ "$(h features)" = "$(env -i "$HULL" features)" ]
	skip_sanitized "strace and the leak checker exclude one another"
	require_cmd strace
	strace -qq -e trace=open,openat,openat2 -o "$TEST_DIR/calls" "$HULL" features >/dev/null 2>&1 ||
		skip "strace may not trace here"
	run grep -v /dev/null "$TEST_DIR/calls"
	expect_no_match '/sys|/proc/(sys|filesystems)|/etc'
}
