#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Attacks on the processes that hull starts: what they are before they are the workload, what they
# hold, and what they may. See attacks.bats.

load helpers

# A file of the host's that a container must not reach, and a program that it must not run.
make_host_files()
{
	mkdir -p "$TEST_DIR/host"
	echo secret >"$TEST_DIR/host/secret"
	cp /bin/busybox "$TEST_DIR/host/busybox"
}

# ---- descriptors --------------------------------------------------------------------------------

# bats test_tags=quick
@test "CVE-2024-21626: the program is not found through a descriptor of hull's or of its caller's" {
	make_host_files
	update_config '.root.readonly = false'
	for fd in {3..12} 20; do
		for up in . ..; do
			set_args "/proc/self/fd/$fd/$up/host/busybox" echo ESCAPED
			run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
			expect_no_match ESCAPED
		done
	done
	# Through a link in the image, and as the interpreter of a script in it.
	for fd in {3..8} 20; do
		for up in . ..; do
			ln -sf "/proc/self/fd/$fd/$up/host/busybox" "$BUNDLE/rootfs/bin/linked"
			printf '#!/proc/self/fd/%s/%s/host/busybox echo ESCAPED\n' "$fd" "$up" >"$BUNDLE/rootfs/bin/script"
			chmod +x "$BUNDLE/rootfs/bin/script"
			for program in linked script; do
				set_args "$program" echo ESCAPED
				run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
				expect_no_match ESCAPED
			done
		done
	done
}

@test "CVE-2024-21626: nor is that of an exec" {
	make_host_files
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
@test "CVE-2024-21626: the workload sees no descriptor but its own three" {
	set_args sh -c 'ls /proc/self/fd | wc -l; ls -l /proc/1/fd'
	run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
	expect_status 0
	[ "${lines[0]}" = 4 ] # ls has its own directory open
	expect_no_match "$TEST_DIR"
}

# bats test_tags=quick
@test "CVE-2024-21626: the working directory cannot be a descriptor of the host's" {
	make_host_files
	set_args sh -c 'cat host/secret ../host/secret ../../host/secret 2>/dev/null; pwd'
	for fd in {3..9} 20; do
		update_config --arg cwd "/proc/self/fd/$fd" '.process.cwd = $cwd'
		run h run --bundle "$BUNDLE" "$ID" 20<"$TEST_DIR"
		expect_no_match secret
	done
}

# bats test_tags=quick
@test "CVE-2026-88265: standard streams are the caller's, and keep their owners" {
	make_host_files
	# What a runtime would open that takes the image's /dev/null for the kernel's.
	update_config '.mounts |= map(select(.destination != "/dev")) | .process.user = {uid: 1000, gid: 1000}'
	ln -s "$TEST_DIR/host/secret" "$BUNDLE/rootfs/dev/null"
	set_args sh -c 'echo written; echo written >&2'
	run h run --bundle "$BUNDLE" "$ID" </dev/null
	expect_error '/dev|null'
	rm "$BUNDLE/rootfs/dev/null"
	touch "$TEST_DIR/host/out"
	h run --bundle "$BUNDLE" "$ID" <"$TEST_DIR/host/secret" >"$TEST_DIR/host/out" 2>/dev/null
	[ "$(cat "$TEST_DIR/host/out")" = written ]
	[ "$(stat -c %u "$TEST_DIR/host/secret" "$TEST_DIR/host/out" /dev/null | sort -u)" = 0 ]
	# Streams that are closed.
	h run --bundle "$BUNDLE" "$ID" <&- >&- 2>&-
	[ "$(cat "$TEST_DIR/host/secret")" = secret ]
	[ "$(stat -c %u "$TEST_DIR/host/secret" /dev/null | sort -u)" = 0 ]
}

# bats test_tags=quick
@test "the caller's terminal stays the caller's" {
	update_config '.process.user = {uid: 1000, gid: 1000}'
	set_args true
	run script -qec "stat -c %u \$(tty); $HULL --root $ROOT run --bundle $BUNDLE $ID; stat -c %u \$(tty)" /dev/null
	[ "$(tr -d '\r\000' <<<"$output" | grep -E '^[0-9]+$' | sort -u)" = 0 ] || fail "$output"
}

# ---- hull's own program ---------------------------------------------------------------------------

# bats test_tags=quick
@test "CVE-2019-5736: /proc/self/exe is nothing that can be run" {
	skip_sanitized "they keep the program mapped"
	update_config '.root.readonly = false'
	ln -sf /proc/self/exe "$BUNDLE/rootfs/bin/me"
	printf '#!/proc/self/exe\n' >"$BUNDLE/rootfs/bin/script"
	chmod +x "$BUNDLE/rootfs/bin/script"
	for program in /proc/self/exe me script; do
		set_args "$program" --version
		run h run --bundle "$BUNDLE" "$ID"
		[ "$status" -ne 0 ]
		expect_no_match 'hull version'
	done
}

@test "CVE-2019-5736: no process that joins shows a container hull's program" {
	skip_sanitized "they keep the program mapped"
	before=$(sha256sum "$HULL")
	start_snooper CAP_SYS_PTRACE
	for _ in $(races 20); do
		h exec "$ID" true
	done
	stop_snooper
	expect_no_match '^exe$'
	[ "$(sha256sum "$HULL")" = "$before" ]
}

# ---- processes that are half made -------------------------------------------------------------------

# start_snooper [CAPABILITY]: a container whose first process looks at all others; see helpers/attacker.c.
start_snooper()
{
	[ $# -eq 0 ] || update_config --arg cap "$1" '.process.capabilities |= map_values(. + [$cap])'
	make_host_files
	cp "$HELPERS/attacker" "$BUNDLE/rootfs/bin/attacker"
	set_args attacker snoop "$TEST_DIR/host/secret" ../host/secret "$(stat -c %i "$HULL")"
	start_container
	wait_until 10 'grep -q snooping "$OUT"'
}

# What it found is in $output. It must have seen something.
stop_snooper()
{
	h kill "$ID" TERM
	wait_stopped
	run cat "$OUT"
	expect_match '^seen [1-9]'
}

# The next containers are in the pid namespace of the one that runs.
join_pid_namespace()
{
	update_config --arg path "/proc/$(container_pid)/ns/pid" \
		'(.linux.namespaces[] | select(.type == "pid")).path = $path'
}

# A filter of the kind that engines write, without no_new_privs.
use_privileged_filter()
{
	update_config '.process.noNewPrivileges = false | .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW",
		syscalls: [{names: ["clone3", "close_range", "kexec_load"], action: "SCMP_ACT_ERRNO", errnoRet: 38}]}'
}

@test "CVE-2016-9962: a container with CAP_SYS_PTRACE never sees the host's root during exec" {
	start_snooper CAP_SYS_PTRACE
	for _ in $(races 40); do
		(cd "$TEST_DIR" && h exec "$ID" true)
	done
	stop_snooper
	expect_no_match '^(root|cwd|fd|admin)$'
}

@test "CVE-2016-9962: without that capability it cannot even look into the process" {
	skip_sanitized "they keep the program mapped"
	start_snooper
	for _ in $(races 40); do
		h exec "$ID" true
	done
	stop_snooper
	expect_no_match '^(readable|root|cwd|fd|exe|terminal)$'
}

@test "CVE-2016-9962: nor sees it the terminal of whoever calls exec" {
	start_snooper CAP_SYS_PTRACE
	for _ in $(races 20); do
		"$HELPERS/terminal" "$HULL" --root "$ROOT" exec --tty "$ID" true </dev/null >/dev/null 3>&- 4>&-
	done
	stop_snooper
	expect_no_match '^terminal$'
}

@test "CVE-2016-9962: nor a process that keeps CAP_SYS_ADMIN for its filter" {
	container_only "only a network namespace can be joined"
	use_privileged_filter
	start_snooper CAP_SYS_PTRACE
	for _ in $(races 30); do
		h exec "$ID" sh -c 'grep -q "^Seccomp:.2" /proc/self/status'
	done
	join_pid_namespace
	set_args sh -c 'grep -q "^Seccomp:.2" /proc/self/status'
	for i in $(races 5); do
		create_container "$ID-$i"
		h start "$ID-$i"
	done
	stop_snooper
	expect_no_match '^admin$'
}

# CVE-2016-9962 the other way round, which crun 1.31 closed.
@test "pid namespace: nobody in it reaches the host through a container that joins" {
	container_only "only a network namespace can be joined"
	start_snooper CAP_SYS_PTRACE
	join_pid_namespace
	set_args sh -c 'ls -d /proc/1 && readlink /proc/self/ns/pid'
	for i in $(races 40); do
		run h run --bundle "$BUNDLE" "$ID-$i"
		expect_status 0
		[ "${lines[1]}" = "$(readlink "/proc/$(container_pid)/ns/pid")" ]
	done
	stop_snooper
	expect_no_match '^(root|cwd|fd|admin)$'
}

@test "pid namespace: nobody in it finds the caller's environment in a container that waits there" {
	container_only "only a network namespace can be joined"
	skip_sanitized "they keep the program mapped"
	start_snooper CAP_SYS_PTRACE
	join_pid_namespace
	SECRET=of-the-caller create_container "$ID-b"
	run h exec "$ID" attacker memory of-the-caller
	expect_output ""
	# It does look at something: the new container's command.
	run h exec "$ID" attacker memory snoop
	expect_output found
	h kill "$ID" TERM
}

@test "pid namespace: hooks of a container that joins are not in it, and see the host" {
	container_only "only a network namespace can be joined"
	start_snooper CAP_SYS_PTRACE
	join_pid_namespace
	update_config --arg out "$TEST_DIR/hook" '.hooks = {
		createRuntime: [{path: "/bin/sh", args: ["sh", "-c", "readlink /proc/self/ns/pid >\($out).1"]}],
		createContainer: [{path: "/bin/sh", args: ["sh", "-c", "readlink /proc/self/ns/pid >\($out).2"]}]}'
	set_args true
	for i in $(races 10); do
		h run --bundle "$BUNDLE" "$ID-$i"
	done
	stop_snooper
	expect_no_match '^(root|cwd|fd|admin)$'
	[ "$(cat "$TEST_DIR/hook.1")" = "$(readlink /proc/self/ns/pid)" ]
	[ "$(cat "$TEST_DIR/hook.2")" = "$(readlink /proc/self/ns/pid)" ]
}

@test "pid namespace: the terminal of a container that joins is as ever" {
	container_only "only a network namespace can be joined"
	start_snooper CAP_SYS_PTRACE
	join_pid_namespace
	update_config '.process.terminal = true | .process.user = {uid: 1000, gid: 1000}'
	set_args sh -c 'tty; stat -c "%u %t" /dev/console; echo to the tty >/dev/tty; sleep 0.1 & kill %1 && echo job control'
	run "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID-b" </dev/null
	expect_status 0
	output=$(tr -d '\r' <<<"$output")
	expect_match '^/dev/(console|pts/0)$'
	expect_match '^1000 88$'
	expect_match '^to the tty$'
	expect_match '^job control$'
	stop_snooper
}

# ---- privileges -------------------------------------------------------------------------------------

# bats test_tags=quick
@test "CVE-2022-29162: exec, also with --cap, has nothing inheritable" {
	update_config '.process.capabilities += {inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"]}'
	start_sleeper
	for cap in "" --cap=CAP_NET_RAW; do
		run h exec $cap "$ID" grep -E '^Cap(Inh|Amb)' /proc/self/status
		expect_output "CapInh:	0000000000000000
CapAmb:	0000000000000000"
	done
	run h exec --cap=CAP_NET_RAW "$ID" grep CapEff /proc/self/status
	[ $((0x${output##*	} & 1 << 13)) -ne 0 ]
}

# bats test_tags=quick
@test "CVE-2026-30892: exec --user is a number to its end, or an error" {
	start_sleeper
	for user in 1 1:2 65534 4294967294; do
		run h exec --user "$user" "$ID" sh -c 'echo $(id -u):$(id -g)'
		[[ "$user" == *:* ]] || user=$user:0
		expect_output "$user"
	done
	for user in "" : :0 :1 1: 1x 1:1x x 0x1 -1 +1 " 1" "1 " 1:2:3 4294967295 4294967296 18446744073709551617 1,0 root; do
		run h exec --user "$user" "$ID" id -u
		expect_error '--user'
	done
}
