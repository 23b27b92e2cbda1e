#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What an attacker would do who owns the image, shares a volume, or is root in a container. Each of these got through a
# version of hull, or of another runtime, that lacked one guard; tests/guards has a patch that takes the guard out
# again, and a run that shows the test failing then.
#
#   attacks_process.bats  the processes that hull starts, what they hold and what they may
#   attacks_mounts.bats   what hull does with files: images, volumes that change meanwhile, a false /proc
#   attacks.bats          one container and the rest of the host: cgroups, hooks, locks
#   test_message.c        CVE-2021-43784: lengths in messages between hull's processes
#   test_spawn.c          what a process that was taken over says about itself
#   checkpoint.bats       CVE-2026-119101, -115520, -119614: restoring external mounts of a checkpoint
#
# Without a test, since what they broke is not in hull yet:
#
#   CVE-2025-24965, CVE-2026-84042            a virtual machine's helpers and files in the root file system
#   CVE-2026-47243, -44210, -24834, -24054,   Kata's and others' virtual machines, their file servers,
#   -46695, CVE-2020-2023 to -2026            devices and images
# modes: container microvm

load helpers

# bats test_tags=quick
@test "a failing create kills nobody in a cgroup that is another's" {
	start_sleeper
	run "$HULL" --root "$TEST_DIR/state2" run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	expect_match 'already holds processes'
	[ "$(container_status)" = running ]
	[ -z "$(ls -A "$TEST_DIR/state2")" ]
}

# The first process of the container stops whatever else appears in it.
@test "a container that stops the processes of exec can still be killed" {
	set_args sh -c 'while :; do for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || kill -STOP $p 2>/dev/null; done; done'
	start_container
	timeout 10 "$HULL" --root "$ROOT" exec "$ID" sleep 5 >/dev/null 2>&1 &
	sleep 0.5
	timeout -s KILL 5 "$HULL" --root "$ROOT" kill "$ID" KILL
	wait_stopped
	h delete "$ID"
	wait
}

@test "a paused container that was never started answers any number of questions" {
	create_container
	h pause "$ID"
	for _ in {1..25}; do
		timeout -s KILL 5 "$HULL" --root "$ROOT" state "$ID" >/dev/null
	done
	[ "$(container_status)" = paused ]
	timeout -s KILL 10 "$HULL" --root "$ROOT" resume "$ID"
	timeout -s KILL 10 "$HULL" --root "$ROOT" delete --force "$ID"
}

@test "exec in a paused container keeps no other command from it" {
	start_sleeper
	h pause "$ID"
	timeout 20 "$HULL" --root "$ROOT" exec --ignore-paused "$ID" true &
	sleep 0.5
	timeout -s KILL 5 "$HULL" --root "$ROOT" resume "$ID"
	wait
	[ "$(container_status)" = running ]
}

# bats test_tags=quick
@test "a namespace that is the host's own is not changed, whatever path names it" {
	host=$(hostname)
	update_config '(.linux.namespaces[] | select(.type == "uts")).path = "/proc/self/ns/uts"'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "/$(in_microvm && echo linux/namespaces || echo hostname)"
	[ "$(hostname)" = "$host" ]
	update_config 'del(.hostname) | .linux.sysctl = {"net.ipv4.ip_default_ttl": "63"}
		| (.linux.namespaces[] | select(.type == "network")).path = "/proc/self/ns/net"
		| del(.linux.namespaces[] | select(.type == "uts") | .path)'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error "/linux/$(in_microvm && echo namespaces || echo sysctl)"
	[ "$(cat /proc/sys/net/ipv4/ip_default_ttl)" != 63 ]
}

# bats test_tags=quick
@test "SIGCHLD ignored and standard streams closed by the caller do no harm" {
	set_args sh -c 'ls /proc/self/fd | wc -l; exit 3'
	run timeout -s KILL 10 env --ignore-signal=CHLD "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 3
	run sh -c '"$@" <&-' sh "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 3
	[ "${lines[0]}" = 4 ]
}

@test "a hook is gone with the create that ran it" {
	update_config --arg id "$ID" '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "exec sleep 77"], env: ["HULL_TEST=\($id)"]}]'
	"$HULL" --root "$ROOT" create --bundle "$BUNDLE" "$ID" </dev/null >/dev/null 2>&1 &
	create=$!
	wait_until 5 'pgrep -f "^sleep 77$"'
	kill -KILL $create
	h delete --force "$ID"
	expect_nothing_left
}

@test "a poststart hook may use hull on its container" {
	update_config --arg hull "$HULL" --arg root "$ROOT" --arg id "$ID" \
		'.hooks.poststart = [{path: "/bin/sh", args: ["sh", "-c", "\($hull) --root \($root) exec \($id) true"]}]'
	set_args sleep 60
	timeout -s KILL 20 "$HULL" --root "$ROOT" run --detach --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1
	[ "$(container_status)" = running ]
}

@test "a hook in a user namespace is gone with the create that ran it, without a cgroup, too" {
	update_config --arg id "$ID" '.linux.namespaces += [{type: "user"}] | del(.linux.resources)
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .hooks.createContainer = [{path: "/bin/sh", args: ["sh", "-c", "exec sleep 78"], env: ["HULL_TEST=\($id)"]}]'
	# The mapped root must be able to reach the bundle.
	open=$(mktemp -d)
	chmod 755 "$open"
	cp -a "$BUNDLE" "$open/bundle"
	"$HULL" --root "$ROOT" --cgroup-manager disabled create --bundle "$open/bundle" "$ID" </dev/null >"$OUT" 2>&1 &
	create=$!
	wait_until 5 'pgrep -f "^sleep 78$"'
	kill -KILL $create
	wait_until 5 '! pgrep -f "^sleep 78$"'
	h delete --force "$ID"
	rm -rf "$open"
	expect_nothing_left
}

@test "kill --all reaches nobody in a cgroup that is another's" {
	start_sleeper
	mkdir -m 700 "$ROOT/$ID-other"
	jq --arg id "$ID-other" '.id = $id | .pid = 0 | .startTime = 0' "$ROOT/$ID/state.json" >"$ROOT/$ID-other/state.json"
	h kill --all "$ID-other" KILL || true
	h delete --force "$ID-other"
	[ "$(container_status)" = running ]
}

# bats test_tags=quick
@test "hooks see the host, not the image, behind a .. that ends at the root" {
	printf '#!/bin/sh\necho IMAGE\n' >"$BUNDLE/rootfs/evil"
	chmod +x "$BUNDLE/rootfs/evil"
	update_config '.hooks.createContainer = [{path: "/bin/sh", args: ["sh", "-c", "/etc/../evil; ls -d /etc/../evil; true"]}]'
	set_args true
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_no_match IMAGE
	expect_no_match '^/etc/../evil$'
}

# bats test_tags=quick,microvm
@test "what a createContainer hook mounts in the root file system is the container's" {
	mkdir "$BUNDLE/rootfs/injected"
	update_config --arg dir "$BUNDLE/rootfs/injected" '.hooks.createContainer = [{path: "/bin/sh",
		args: ["sh", "-c", "mount -t tmpfs none \($dir) && touch \($dir)/by-hook"]}]'
	set_args ls /injected
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output by-hook
	[ ! -e "$BUNDLE/rootfs/injected/by-hook" ]
}

# bats test_tags=quick
@test "exec needs no more processes of the user than the workload is allowed" {
	update_config '.process.user = {uid: 12345, gid: 12345} | .process.rlimits = [{type: "RLIMIT_NPROC", hard: 2, soft: 2}]'
	set_args sleep 60
	start_container
	[ "$(h exec "$ID" sh -c 'ulimit -p 2>/dev/null || ulimit -u')" = 2 ]
}

@test "the number that means no change to the kernel is no user" {
	local file=$TEST_DIR/process.json user

	for user in '{uid: 4294967295}' '{gid: 4294967295}' '{uid: 1000, additionalGids: [4294967295]}'; do
		update_config ".process.user = $user"
		run_script 'id'
		expect_status 1
		expect_error '/process/user/.*4294967295 is out of range'
	done
	update_config '.process.user = {uid: 1000}'
	start_sleeper
	run h exec --user 4294967295 "$ID" id
	expect_error 'user'
	jq '.process | .args = ["id"] | .user = {uid: 4294967295}' "$BUNDLE/config.json" >"$file"
	run h exec --process "$file" "$ID"
	expect_error '/user/uid: 4294967295 is out of range'
}
