#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Files of the host in a virtual machine: hull-vmm, its file server, and Linux, which mounts what that serves. The unit tests
# (test_fs_*.c) have the rest, with this host's kernel as the client.

load helpers

VMM=$(dirname "$HULL")/../libexec/hull/hull-vmm
KERNEL=$(dirname "$HULL")/../libexec/hull/vmlinux

setup()
{
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/virtiofs.XXXXXX")
	mkdir "$TEST_DIR/tree"
}

teardown()
{
	rm -rf "$TEST_DIR"
}

@test "a wrong option of the file server is one line and the status 2" {
	for words in '' 'fd:99' '9' 'fd:0 --root 5' 'fd:0 --nonsense' 'fd:0 more'; do
		# shellcheck disable=SC2086
		run "$VMM" --file-server $words
		expect_status 2
		[ "$(wc -l <<<"$output")" -eq 1 ] || fail "more than one line:" "$output"
	done
	run "$VMM" --kernel "$KERNEL" --fs fd:0
	expect_status 2
	expect_match 'fd:N,tag=TEXT'
}

@test "a file server ends when its monitor does" {
	run timeout 20 "$HELPERS/sockets" pair "$VMM" --file-server fd:9 --root fd:8 -- true 8<"$TEST_DIR/tree"
	expect_status 0
}

@test "a file server that has nothing to do takes little memory" {
	skip_sanitized "their memory is counted, too"
	cat >"$TEST_DIR/memory" <<-'SCRIPT'
		tries=0
		while [ $((tries += 1)) -lt 400 ]; do
			for pid in $(cat /proc/$PPID/task/$PPID/children); do
				# It is ready when it has made its event loop.
				ls -l /proc/$pid/fd 2>/dev/null | grep -q eventpoll || continue
				sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$pid/status
				exit 0
			done
			sleep 0.05
		done
		exit 1
	SCRIPT
	run "$HELPERS/sockets" pair "$VMM" --file-server fd:9 --root fd:8 -- sh "$TEST_DIR/memory" 8<"$TEST_DIR/tree"
	expect_status 0
	[ "$output" -lt 1300 ] || fail "$output KiB"
}

# ---- Linux ------------------------------------------------------------------------------------------

# Not a paravirtual KVM, which needs no virtualisation in the processor.
require_linux_kvm()
{
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that we may use"
	[ ! -e /sys/module/kvm_pvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo || skip "this host's KVM does not run Linux"
	[ -r "$KERNEL" ] || skip "no guest kernel; 'make kernel' builds it"
	require_root
	require_cmd busybox
}

# guest [OPTION...]: boots Linux, which mounts T/tree (served with these options) at /mnt and runs there the script on standard input.
# What that prints is $output. It must end with "done".
guest()
{
	mkdir "$TEST_DIR/root"
	mkdir "$TEST_DIR/root/"{bin,mnt,proc,dev}
	cp "$(command -v busybox)" "$HELPERS/files" "$TEST_DIR/root/bin"
	{
		cat <<-'SCRIPT'
			#!/bin/busybox sh
			/bin/busybox --install -s /bin
			mount -t proc proc /proc
			mount -t virtiofs hull /mnt || echo "not ok mount"
			cd /mnt
			rule() { name=$1; shift; "$@" && echo "ok $name" || echo "not ok $name"; }
		SCRIPT
		cat
		printf '%s\n' 'cd /; umount /mnt || echo "not ok umount"' 'echo done' 'poweroff -f'
	} >"$TEST_DIR/root/init"
	chmod 755 "$TEST_DIR/root/init"
	(cd "$TEST_DIR/root" && find . | busybox cpio -o -H newc >"$TEST_DIR/initrd" 2>/dev/null)
	rm -rf "$TEST_DIR/root"
	status=0
	timeout 600 "$HELPERS/sockets" pair "$VMM" --file-server fd:9 --root fd:8 "$@" -- \
		"$VMM" --kernel "$KERNEL" --initrd "$TEST_DIR/initrd" --memory 256 --fs fd:9,tag=hull --serial fd:7 \
		--cmdline 'console=ttyS0 reboot=k panic=-1 pci=off loglevel=4' \
		7>"$TEST_DIR/serial" 8<"$TEST_DIR/tree" >"$TEST_DIR/out" 2>&1 3>&- 4>&- || status=$?
	output=$(tr -d '\r' <"$TEST_DIR/serial")
	[ "$status" -eq 0 ] || fail "status $status" "$(cat "$TEST_DIR/out")" "$output"
	grep -qx 'done' <<<"$output" || fail 'the guest said:' "$output"
	! grep '^not ok' <<<"$output" || fail 'the guest said:' "$output"
}

@test "a guest reads and writes the host's files, by the rules" {
	require_linux_kvm
	echo 'from the host' >"$TEST_DIR/tree/host"
	mkdir "$TEST_DIR/tree/dir"
	ln -s ../../../etc "$TEST_DIR/tree/link"
	guest <<-'SCRIPT'
		rule 'read' [ "$(cat host)" = 'from the host' ]
		rule 'link' [ "$(readlink link)" = ../../../etc ]
		echo 'from the guest' >guest
		mkdir rules
		files rules rules
		rule 'many' sh -c 'for i in $(seq 300); do echo $i >dir/$i || exit 1; done'
		rule 'list' [ "$(ls dir | wc -l)" = 300 ]
		rm -r dir
		rule 'removed' [ ! -e dir ]
	SCRIPT
	[ "$(grep -c '^ok' <<<"$output")" -ge 36 ] || fail 'the guest said too little:' "$output"
	[ "$(cat "$TEST_DIR/tree/guest")" = 'from the guest' ]
	[ ! -e "$TEST_DIR/tree/dir" ]
}

@test "what a guest does at random is what it should be, on both sides" {
	require_linux_kvm
	guest <<-'SCRIPT'
		mkdir names
		rule 'content' files content content 400 "$(date +%s)"
		rule 'names' files names names 1500 "$(date +%s)"
		md5sum content
	SCRIPT
	expect_match "$(cd "$TEST_DIR/tree" && md5sum content)"
}

@test "a tree that is served read-only cannot be changed" {
	require_linux_kvm
	echo hello >"$TEST_DIR/tree/file"
	guest --read-only <<-'SCRIPT'
		rule 'read' [ "$(cat file)" = hello ]
		rule 'write' sh -c '! echo x >file'
		rule 'make' sh -c '! mkdir dir'
		rule 'chmod' sh -c '! chmod 700 file'
		rule 'remount' sh -c 'mount -o remount,rw /mnt; ! rm file'
	SCRIPT
	[ "$(cat "$TEST_DIR/tree/file")" = hello ]
}

@test "another file system in the tree is another one in the guest" {
	require_linux_kvm
	mkdir "$TEST_DIR/tree/sub" "$TEST_DIR/tree/plain"
	mount -t tmpfs none "$TEST_DIR/tree/sub"
	echo inside >"$TEST_DIR/tree/sub/file"
	guest <<-'SCRIPT'
		rule 'read' [ "$(cat sub/file)" = inside ]
		rule 'devices' [ "$(stat -c %d sub)" != "$(stat -c %d .)" ]
		rule 'device' [ "$(stat -c %d plain)" = "$(stat -c %d .)" ]
		echo outside >sub/new
	SCRIPT
	[ "$(cat "$TEST_DIR/tree/sub/new")" = outside ]
	umount "$TEST_DIR/tree/sub"
}
