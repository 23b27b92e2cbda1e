#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What an attacker would do who owns the image, or who is root in the container. Each of these got
# through a version of hull, or of another runtime, that lacked one guard.

load helpers

# A file of the host's that the image must not reach, and a program of the host's that it must not run.
make_host_files()
{
	mkdir -p "$TEST_DIR/host"
	echo secret >"$TEST_DIR/host/secret"
	cp /bin/busybox "$TEST_DIR/host/busybox"
}

# bats test_tags=quick
@test "the program is not found through a descriptor of hull's or of its caller's (CVE-2024-21626)" {
	make_host_files
	for fd in {3..20}; do
		for up in . .. ../.. ../../..; do
			echo "/proc/self/fd/$fd/$up/host/busybox"
		done
	done >"$TEST_DIR/paths"
	while read -r path; do
		update_config --arg p "$path" '.process.args = [$p, "echo", "ESCAPED"]'
		run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
		expect_no_match ESCAPED
	done < <(grep -E 'fd/([3-9]|1[0-2]|20)/(\.|\.\.)/' "$TEST_DIR/paths")
	# Through a link in the image, and as the interpreter of a script in it.
	update_config '.root.readonly = false'
	for fd in 3 4 5 6 7 8 20; do
		ln -sf "/proc/self/fd/$fd/../host/busybox" "$BUNDLE/rootfs/bin/linked"
		printf '#!/proc/self/fd/%s/../host/busybox echo ESCAPED\n' "$fd" >"$BUNDLE/rootfs/bin/script"
		chmod +x "$BUNDLE/rootfs/bin/script"
		for program in linked script; do
			set_args "$program" echo ESCAPED
			run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
			expect_no_match ESCAPED
		done
	done
}

@test "the same for exec" {
	make_host_files
	update_config '.root.readonly = false'
	start_sleeper
	for fd in {3..15} 20; do
		for path in "/proc/self/fd/$fd/../host/busybox" "/proc/self/fd/$fd/host/busybox" \
			"/proc/self/fd/$fd/1/root$TEST_DIR/host/busybox"; do
			run h exec "$ID" "$path" echo ESCAPED 20<"$TEST_DIR"
			expect_no_match ESCAPED
		done
	done
}

# bats test_tags=quick
@test "the workload sees no descriptor but its own three" {
	set_args sh -c 'ls /proc/self/fd | wc -l; ls -l /proc/1/fd'
	run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
	expect_status 0
	[ "${lines[0]}" = 4 ] # ls has its own directory open
	expect_no_match "$TEST_DIR"
}

# bats test_tags=quick
@test "the working directory cannot be a descriptor of the host's" {
	for fd in 3 4 5 6 7 8 20; do
		update_config --arg cwd "/proc/self/fd/$fd" '.process.cwd = $cwd'
		set_args sh -c 'cat host/secret ../host/secret ../../host/secret 2>/dev/null; pwd'
		make_host_files
		run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
		expect_no_match secret
	done
}

# bats test_tags=quick
@test "/proc/self/exe is nothing that can be run or written (CVE-2019-5736)" {
	without_bats true 2>/dev/null || true
	skip_sanitized
	before=$(sha256sum "$HULL")
	update_config '.root.readonly = false'
	set_args /proc/self/exe --version
	run h run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	expect_no_match 'hull version'
	ln -sf /proc/self/exe "$BUNDLE/rootfs/bin/me"
	set_args me --version
	run h run --bundle "$BUNDLE" "$ID"
	expect_no_match 'hull version'
	printf '#!/proc/self/exe\n' >"$BUNDLE/rootfs/bin/script"
	chmod +x "$BUNDLE/rootfs/bin/script"
	set_args script
	run h run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 0 ]
	[ "$(sha256sum "$HULL")" = "$before" ]
}

@test "a container with CAP_SYS_PTRACE never sees the host's root during exec (CVE-2016-9962)" {
	update_config '.process.capabilities |= map_values(. + ["CAP_SYS_PTRACE"])'
	make_host_files
	update_config '.root.readonly = false'
	# Only what the shell does itself, so that the loop is quick: [ -e ] of a path is access to it.
	set_args sh -c "while :; do n=2; while [ \$n -lt 120 ]; do
		[ ! -e /proc/\$n/root$TEST_DIR/host/secret ] || echo root >>/found
		[ ! -e /proc/\$n/cwd/host/secret ] || echo cwd >>/found
		[ ! -e /proc/\$n/fd/3/../host/secret ] || echo fd >>/found
		n=\$((n + 1))
	done; done"
	start_container
	for _ in {1..40}; do
		(cd "$TEST_DIR" && h exec "$ID" true)
	done
	h kill "$ID" KILL
	wait_stopped
	[ ! -s "$BUNDLE/rootfs/found" ] || fail "found:" "$(head -3 "$BUNDLE/rootfs/found")"
}

@test "a host whose mounts are shared gets none of the container's" {
	set_args sh -c 'mount | grep -c .'
	run unshare -m sh -c 'mount --make-rshared /; "$@"; echo "status $?"; grep -c "$0" /proc/self/mountinfo' \
		"$TEST_DIR" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_match '^status 0$'
	[ "${lines[-1]}" = 0 ] || fail "mounts on the host:" "$output"
}

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
	expect_error '/hostname'
	[ "$(hostname)" = "$host" ]
	update_config 'del(.hostname) | .linux.sysctl = {"net.ipv4.ip_default_ttl": "63"}
		| (.linux.namespaces[] | select(.type == "network")).path = "/proc/self/ns/net"'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error '/linux/sysctl'
	[ "$(cat /proc/sys/net/ipv4/ip_default_ttl)" != 63 ]
}

# bats test_tags=quick
@test "/proc, /sys and /dev of the image that are links are refused, and nothing is made behind them" {
	for name in proc sys dev; do
		mkdir -p "$TEST_DIR/behind"
		rm -rf "${BUNDLE:?}/rootfs/$name"
		ln -s "$TEST_DIR/behind" "$BUNDLE/rootfs/$name"
		run h run --bundle "$BUNDLE" "$ID"
		[ "$status" -ne 0 ]
		[ -z "$(ls -A "$TEST_DIR/behind")" ]
		rm "$BUNDLE/rootfs/$name"
		mkdir "$BUNDLE/rootfs/$name"
	done
}

# bats test_tags=quick
@test "the caller's terminal stays the caller's" {
	update_config '.process.user = {uid: 1000, gid: 1000}'
	set_args true
	run script -qec "stat -c %u \$(tty); $HULL --root $ROOT run --bundle $BUNDLE $ID; stat -c %u \$(tty)" /dev/null
	[ "$(tr -d '\r\000' <<<"$output" | grep -E '^[0-9]+$' | sort -u)" = 0 ] || fail "$output"
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

# bats test_tags=quick
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
