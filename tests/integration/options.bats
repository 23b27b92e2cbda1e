#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Options of create, run and exec that are not about what the workload prints.

load helpers

require_strace()
{
	skip_sanitized "strace and the leak checker exclude one another"
	require_cmd strace
	strace -qq -o /dev/null true 2>/dev/null || skip "strace may not trace here"
}

# system_calls NAME HULL-ARGUMENT...: the calls of that name that the command and its children make.
system_calls()
{
	strace -f -qq -e signal=none -e "trace=$1" -o "$TEST_DIR/calls" "$HULL" --root "$ROOT" "${@:2}" \
		</dev/null >"$TEST_DIR/printed" 2>&1 3>&- || fail "$(cat "$TEST_DIR/printed")"
	cat "$TEST_DIR/calls"
}

listen_for_pidfd()
{
	rm -f "$TEST_DIR/pidfd.sock"
	"$HELPERS/sockets" pidfd "$TEST_DIR/pidfd.sock" >"$TEST_DIR/pidfd" 2>&1 3>&- &
	listener=$!
	wait_until 10 '[ -S "$TEST_DIR/pidfd.sock" ]'
}

# bats test_tags=quick
@test "--pidfd-socket gets a pidfd of the init process" {
	set_args sleep 1000
	listen_for_pidfd
	h create --pidfd-socket "$TEST_DIR/pidfd.sock" --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1
	wait $listener
	[ "$(cat "$TEST_DIR/pidfd")" = "pidfd $(container_pid)" ]
	listen_for_pidfd
	h run --detach --pidfd-socket "$TEST_DIR/pidfd.sock" --bundle "$BUNDLE" "$ID-run" </dev/null >"$OUT" 2>&1
	wait $listener
	[ "$(cat "$TEST_DIR/pidfd")" = "pidfd $(container_pid "$ID-run")" ]
	run h create --pidfd-socket "$TEST_DIR/none" --bundle "$BUNDLE" "$ID-none" </dev/null
	expect_error '--pidfd-socket'
	[ ! -e "$ROOT/$ID-none" ]
}

# bats test_tags=quick
@test "exec --pidfd-socket gets a pidfd of the process" {
	start_sleeper
	listen_for_pidfd
	h exec --detach --pid-file "$TEST_DIR/pid" --pidfd-socket "$TEST_DIR/pidfd.sock" "$ID" sleep 1000 \
		</dev/null >/dev/null 2>&1
	wait $listener
	[ "$(cat "$TEST_DIR/pidfd")" = "pidfd $(cat "$TEST_DIR/pid")" ]
	run h exec --pidfd-socket "$TEST_DIR/none" "$ID" sleep 1000
	expect_error '--pidfd-socket'
}

@test "--no-pivot uses no pivot_root, and the root is the container's all the same" {
	set_args sh -c 'ls /; cat /proc/1/comm'
	run h run --bundle "$BUNDLE" "$ID"
	plain=$output
	run h run --no-pivot --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output "$plain"
	! in_microvm || return 0 # where the root is the guest's
	require_strace
	[ "$(system_calls pivot_root run --bundle "$BUNDLE" "$ID" | wc -l)" -eq 1 ]
	[ -z "$(system_calls pivot_root run --no-pivot --bundle "$BUNDLE" "$ID")" ]
}

@test "--no-new-keyring keeps the caller's keyring" {
	if in_microvm; then # where it is the guest's
		update_config 'del(.linux.maskedPaths)'
		set_args cat /proc/keys
		run h run --bundle "$BUNDLE" "$ID"
		expect_match "_ses.$ID"
		run h run --no-new-keyring --bundle "$BUNDLE" "$ID"
		expect_no_match "_ses.$ID"
		return
	fi
	require_strace
	set_args true
	[ "$(system_calls keyctl run --bundle "$BUNDLE" "$ID" | grep -c "_ses.$ID")" -eq 1 ]
	[ -z "$(system_calls keyctl run --no-new-keyring --bundle "$BUNDLE" "$ID")" ]
	# An exec does as create did.
	set_args sleep 1000
	h create --no-new-keyring --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1
	[ -z "$(system_calls keyctl exec "$ID" true)" ]
}

@test "--no-subreaper: run adopts nobody" {
	require_strace
	set_args true
	[ "$(system_calls prctl run --bundle "$BUNDLE" "$ID" | grep -c PR_SET_CHILD_SUBREAPER)" -eq 1 ]
	[ "$(system_calls prctl run --no-subreaper --bundle "$BUNDLE" "$ID" | grep -c PR_SET_CHILD_SUBREAPER)" -eq 0 ]
	h create --no-subreaper --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1
}

# bats test_tags=quick
@test "--config names the configuration, relative to the working directory" {
	jq '.process.args = ["echo", "from the other file"]' "$BUNDLE/config.json" >"$TEST_DIR/other.json"
	rm "$BUNDLE/config.json"
	run h run --bundle "$BUNDLE" --config "$TEST_DIR/other.json" "$ID"
	expect_output "from the other file"
	cd "$TEST_DIR"
	run h run -b bundle -f other.json "$ID"
	expect_output "from the other file"
	run h run --bundle "$BUNDLE" -f none.json "$ID"
	expect_error 'none.json'
}

# bats test_tags=quick
@test "--keep leaves a container that can be looked at and deleted" {
	set_args sh -c 'exit 5'
	run h run --keep --bundle "$BUNDLE" "$ID"
	expect_status 5
	[ "$(container_status)" = stopped ]
	h delete "$ID"
}

# ---- exec -------------------------------------------------------------------------------------------

# bats test_tags=quick
@test "exec: short options, and several values" {
	update_config '.process.env += ["A=old"]'
	start_sleeper
	run h exec -e A=1 -e B=2 -u 1000:1000 -g 100,101 -g 102 -c CAP_KILL "$ID" sh -c 'echo $A $B; id -u; id -G'
	expect_output "1 2
1000
1000 100 101 102"
	run h exec -e A "$ID" true
	expect_error '--env .A.: must be NAME=VALUE'
	run h exec -g 1,x "$ID" true
	expect_error '--additional-gids'
	run h exec --cwd relative "$ID" true
	expect_error '--cwd .relative.: must be an absolute path'
	run h exec -c CAP_NONE "$ID" true
	expect_match 'CAP_NONE'
}

@test "exec: a label needs its security module" {
	start_sleeper
	if in_microvm; then # where the host's mean nothing
		run h exec --apparmor no-such-profile-hull --process-label system_u:system_r:container_t:s0 "$ID" echo fine
		expect_output fine
		return
	fi
	if [ -d /sys/kernel/security/apparmor ]; then
		run h exec --apparmor no-such-profile-hull "$ID" true
		expect_error 'no-such-profile-hull'
		run h exec --apparmor unconfined "$ID" true
		expect_status 0
	else
		run h exec --apparmor hull-test "$ID" true
		expect_error '/process/apparmorProfile: AppArmor is not active'
	fi
	[ -d /sys/fs/selinux ] || {
		update_config '.process.selinuxLabel = "system_u:system_r:container_t:s0"'
		run h run --bundle "$BUNDLE" "$ID-2"
		expect_error "^hull: /process/selinuxLabel \(takes SELinux, .*: set .system_u"
		run h exec --process-label system_u:system_r:container_t:s0 "$ID" true
		expect_error 'container_t'
	}
}

@test "exec --ignore-paused waits for resume" {
	require_controller freezer
	start_sleeper
	h pause "$ID"
	h exec --ignore-paused "$ID" echo thawed </dev/null >"$TEST_DIR/said" 2>&1 &
	exec=$!
	sleep 0.5
	[ ! -s "$TEST_DIR/said" ]
	h resume "$ID"
	wait $exec
	[ "$(cat "$TEST_DIR/said")" = thawed ]
}

# bats test_tags=quick
@test "exec --cgroup enters a cgroup below the container's" {
	if in_microvm; then
		update_config '(.mounts[] | select(.type == "cgroup") | .options) |= map(select(. != "ro"))'
		start_sleeper
		h exec "$ID" mkdir /sys/fs/cgroup/below
		run h exec --cgroup /below "$ID" cat /proc/self/cgroup
		expect_output "0::/below"
		run h exec --cgroup / "$ID" cat /proc/self/cgroup
		expect_output "0::/"
		run h exec --cgroup none "$ID" true
		expect_error '/none'
		return
	fi
	start_sleeper
	mapfile -t dirs < <(find /sys/fs/cgroup -type d -name "*$ID*")
	[ ${#dirs[@]} -gt 0 ] || skip "there are no cgroups"
	for dir in "${dirs[@]}"; do
		mkdir "$dir/below"
		# A v1 cpuset takes no process before it has been given something.
		for file in cpuset.cpus cpuset.mems; do
			[ ! -e "$dir/below/$file" ] || [ -e "$dir/cgroup.controllers" ] || cat "$dir/$file" >"$dir/below/$file"
		done
	done
	h exec --detach --pid-file "$TEST_DIR/pid" --cgroup /below "$ID" sleep 1000 </dev/null >/dev/null 2>&1
	run cat "/proc/$(cat "$TEST_DIR/pid")/cgroup"
	[ "$(grep -c "$ID/below$" <<<"$output")" -eq ${#dirs[@]} ] || fail "$output"
	# The container's own.
	h exec --detach --pid-file "$TEST_DIR/pid" --cgroup / "$ID" sleep 1000 </dev/null >/dev/null 2>&1
	run cat "/proc/$(cat "$TEST_DIR/pid")/cgroup"
	[ "$(grep -c "$ID$" <<<"$output")" -eq ${#dirs[@]} ] || fail "$output"
	run h exec --cgroup none "$ID" true
	expect_error '--cgroup .none.: '
	run h exec --cgroup ../.. "$ID" true
	expect_error '--cgroup .*[.][.]'
}

@test "exec --cgroup with controllers of cgroup v1 leaves the others alone" {
	[ -d /sys/fs/cgroup/memory ] && [ -d /sys/fs/cgroup/pids ] || skip "no cgroup v1 here"
	start_sleeper
	memory=$(find /sys/fs/cgroup/memory/ -type d -name "*$ID*") pids=$(find /sys/fs/cgroup/pids/ -type d -name "*$ID*")
	mkdir "$memory/a" "$pids/b"
	h exec --detach --pid-file "$TEST_DIR/pid" --cgroup memory:a --cgroup freezer,pids:/b "$ID" sleep 1000 \
		</dev/null >/dev/null 2>&1 && fail "the freezer has no b"
	h exec --detach --pid-file "$TEST_DIR/pid" --cgroup memory:a --cgroup pids:/b "$ID" sleep 1000 \
		</dev/null >/dev/null 2>&1
	run cat "/proc/$(cat "$TEST_DIR/pid")/cgroup"
	expect_match ":memory:.*$ID/a$"
	expect_match ":pids:.*$ID/b$"
	expect_match ":freezer:.*$ID$"
	# A process that stayed in the caller's cgroup would have escaped: what is not everywhere is refused.
	run h exec --cgroup a "$ID" true
	expect_error 'does not exist in'
	run h exec --cgroup nosuch:a "$ID" true
	expect_error 'names no controller'
}

# ---- how much is done -------------------------------------------------------------------------------

# clones FROM TO: records of as many containers that have stopped.
clones()
{
	local i

	for ((i = $1; i <= $2; i++)); do
		cp -r "$ROOT/$ID" "$ROOT/$ID-$i"
		sed -i "s/\"id\": *\"$ID\"/\"id\": \"$ID-$i\"/" "$ROOT/$ID-$i/state.json"
	done
}

count_calls()
{
	system_calls all "$@" | wc -l
}

@test "list makes a few system calls a container and reads the users once, state none for the others" {
	require_strace
	set_args true
	start_container
	wait_stopped
	wait_until 10 '[ ! -e "/proc/$(jq .pid "$ROOT/$ID/state.json")" ]' # a zombie takes another look
	state_alone=$(count_calls state "$ID")
	clones 1 20
	few=$(count_calls list)
	clones 21 120
	many=$(count_calls list)
	[ "$(h list --quiet | wc -l)" -eq 121 ]
	[ $((many - few)) -le 2000 ] || fail "$(((many - few) / 100)) system calls a container"
	state_of_many=$(count_calls state "$ID")
	[ "$state_of_many" -eq "$state_alone" ] || fail "$state_alone, $state_of_many" "$(cat "$TEST_DIR/calls")"
	system_calls openat list >/dev/null
	[ "$(grep -c '"/etc/passwd"' "$TEST_DIR/calls")" -eq 1 ]
	system_calls openat list --format json >/dev/null
	[ "$(grep -c '"/etc/passwd"' "$TEST_DIR/calls")" -eq 1 ]
	[ "$(h list --format json | jq 'map(select(.owner == "root")) | length')" -eq 121 ]
}

@test "a start without systemd's variables makes no call for them" {
	require_strace
	set_args true
	unset NOTIFY_SOCKET LISTEN_FDS
	run system_calls all run --bundle "$BUNDLE" "$ID"
	expect_no_match 'notify|AF_UNIX, SOCK_DGRAM'
}
