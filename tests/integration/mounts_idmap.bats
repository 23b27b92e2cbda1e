#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Idmapped mounts: uidMappings and gidMappings of mounts, the options idmap and ridmap, crun's idmap=.
# modes: container microvm

load helpers

add_mount()
{
	update_config --argjson m "$1" '.mounts += [$m]'
}

# A tmpfs (which can be idmapped from Linux 6.3 on) with a file of user 1000, group 2000; one more below.
setup()
{
	hull_setup
	mkdir "$TEST_DIR/m"
	chmod 755 "$TEST_DIR" "$BUNDLE" "$HULL_TEST_WORK"
	mount -t tmpfs m "$TEST_DIR/m"
	mkdir "$TEST_DIR/m/sub"
	mount -t tmpfs sub "$TEST_DIR/m/sub"
	touch "$TEST_DIR/m/f" "$TEST_DIR/m/sub/f"
	chown 1000:2000 "$TEST_DIR/m/f" "$TEST_DIR/m/sub/f"
}

teardown()
{
	umount -R "$TEST_DIR/m" 2>/dev/null || true
	hull_teardown
}

# Runs a script; skips the test where the kernel cannot map the ids of a tmpfs.
run_mapped()
{
	run_script "$1"
	[[ "$output" != *"cannot map the ids of this file system"* ]] || skip "this kernel has no idmapped tmpfs"
}

own_mapping='"uidMappings": [{"containerID": 1000, "hostID": 0, "size": 1}, {"containerID": 0, "hostID": 5000, "size": 1}],
	"gidMappings": [{"containerID": 2000, "hostID": 7, "size": 1}, {"containerID": 0, "hostID": 6000, "size": 1}]'

# bats test_tags=quick,microvm
@test "a mount's own mappings, with idmap" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["rbind", "idmap"], '"$own_mapping"'}'
	run_mapped 'stat -c "%u %g" /m/f /m/sub/f /m'
	expect_status 0
	expect_match '^0 7$'
	expect_match '^1000 2000$'
	expect_match '^5000 6000$'
}

# bats test_tags=quick
@test "a file that is made in it has the other owner outside" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"],
		"uidMappings": [{"containerID": 3000, "hostID": 0, "size": 10}],
		"gidMappings": [{"containerID": 4000, "hostID": 0, "size": 10}]}'
	chown 3001:4001 "$TEST_DIR/m" # who has no mapping there lets nobody write
	chmod 777 "$TEST_DIR/m"
	run_mapped 'touch /m/made && stat -c "%u %g" /m/made'
	expect_output "0 0"
	[ "$(stat -c '%u %g' "$TEST_DIR/m/made")" = "3000 4000" ]
}

@test "ridmap reaches mounts below" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["rbind", "ridmap"], '"$own_mapping"'}'
	run_mapped 'stat -c "%u %g" /m/f /m/sub/f'
	expect_output "0 7
0 7"
}

@test "mappings without the option mean idmap" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["rbind"], '"$own_mapping"'}'
	run_mapped 'stat -c "%u %g" /m/f /m/sub/f'
	expect_output "0 7
1000 2000"
}

user_namespace='.linux.namespaces += [{type: "user"}]
	| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
	| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'

# bats test_tags=quick,microvm
@test "idmap without mappings takes those of the container's new user namespace" {
	update_config "$user_namespace"
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["rbind", "ridmap"]}'
	run_mapped 'stat -c "%u %g" /m/f /m/sub/f; touch /m/made && stat -c "%u %g" /m/made'
	expect_output "1000 2000
1000 2000
0 0"
	[ "$(stat -c '%u %g' "$TEST_DIR/m/made")" = "0 0" ]
}

@test "a mount's own mappings in a container with a user namespace are the host's ids" {
	update_config "$user_namespace"
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"],
		"uidMappings": [{"containerID": 1000, "hostID": 100005, "size": 1}],
		"gidMappings": [{"containerID": 2000, "hostID": 100006, "size": 1}]}'
	run_mapped 'stat -c "%u %g" /m/f'
	expect_output "5 6"
}

@test "idmap without mappings takes those of a user namespace that is joined" {
	container_only "only a network namespace can be joined"
	update_config "$user_namespace"
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	start_sleeper "$ID-a"
	update_config --arg p "/proc/$(container_pid "$ID-a")/ns/user" \
		'(.linux.namespaces[] | select(.type == "user")) += {path: $p} | del(.linux.uidMappings, .linux.gidMappings)'
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"]}'
	run_mapped 'stat -c "%u %g" /m/f'
	expect_output "1000 2000"
}

@test "crun's idmap= with absolute and relative ranges" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap=uids=1000-9-1#0-50-1;gids=2000-8-1"]}'
	run_mapped 'stat -c "%u %g" /m/f'
	expect_output "9 8"
	update_config "$user_namespace"
	update_config '.mounts[-1].options[1] = "ridmap=uids=@1000-3-1;gids=@2000-4-1"'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	run_mapped 'stat -c "%u %g" /m/f'
	expect_output "3 4"
}

# bats test_tags=quick
@test "mappings that make no sense are refused, with their place" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"]}'
	run_script true
	expect_error '/mounts/[0-9]+/uidMappings'
	update_config '.mounts[-1].uidMappings = [{containerID: 0, hostID: 0, size: 1}]'
	run_script true
	expect_error '/mounts/[0-9]+/gidMappings: is missing'
	for spec in uids=0-0-1 'uids=0-0;gids=0-0-1' 'uids=0-0-0;gids=0-0-1' 'uids=x;gids=y' 'uids=0-0-1;uids=0-0-1' \
		'uids=@0-0-1;gids=@0-0-1' 'uids=0-0-1#;gids=0-0-1' 'pids=1'; do
		update_config --arg s "idmap=$spec" '.mounts[-1] |= (del(.uidMappings) | .options = ["bind", $s])'
		run_script true
		expect_error '/mounts/[0-9]+.*idmap='
	done
	umount -R "$TEST_DIR/m"
	expect_nothing_left
}

@test "a file system that cannot be idmapped is named, with what to do" {
	add_mount '{"destination": "/m", "source": "/proc/sys", "options": ["bind"], '"$own_mapping"'}'
	run_script true
	expect_error '/mounts/[0-9]+: idmap `/proc/sys` \(file system proc\).*leave out idmap'
	umount -R "$TEST_DIR/m"
	expect_nothing_left
}

@test "an ordinary user is told that it takes root" {
	require_cmd setpriv
	update_config "$user_namespace"'| .linux.uidMappings[0] = {containerID: 0, hostID: 12345, size: 1}
		| .linux.gidMappings[0] = {containerID: 0, hostID: 12345, size: 1} | del(.linux.resources)
		| .process.user = {uid: 0, gid: 0} | .process.args = ["true"]'
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["rbind", "idmap"]}'
	chown -R -h 12345:12345 "$BUNDLE"
	mkdir "$TEST_DIR/user"
	chown 12345:12345 "$TEST_DIR/user"
	run setpriv --reuid 12345 --regid 12345 "$(user_groups)" env XDG_RUNTIME_DIR="$TEST_DIR/user" \
		"$HULL" run --bundle "$BUNDLE" "$ID" 3>&- 4>&-
	expect_error '/mounts/[0-9]+: idmap .*ordinary user lacks'
}

@test "the helper of a mapping is gone, and its namespace with it" {
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"], '"$own_mapping"'}'
	run_mapped 'ls -l /proc/self/fd | grep -c user: ; true'
	expect_match '^0$'
	umount -R "$TEST_DIR/m"
	expect_nothing_left
}
