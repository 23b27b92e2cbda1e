#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull-vmm on its own. The kernel of most tests is tests/guests/guest.c, which any KVM runs, and whose command line says what it does,
# a letter each; the last tests run Linux.

load helpers

VMM=$(dirname "$HULL")/../libexec/hull/hull-vmm
GUESTS=$HULL_BUILD/guests
KERNEL=$(dirname "$HULL")/../libexec/hull/vmlinux

setup()
{
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/vmm.XXXXXX")
}

teardown()
{
	[ -z "${vmm_pid:-}" ] || kill -KILL "$vmm_pid" 2>/dev/null || true
	rm -rf "$TEST_DIR"
}

require_kvm()
{
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that we may use"
}

# Not a paravirtual KVM, which needs no virtualisation in the processor.
require_linux_kvm()
{
	require_kvm
	[ ! -e /sys/module/kvm_pvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo || skip "this host's KVM does not run Linux"
	[ -r "$KERNEL" ] || skip "no guest kernel; 'make kernel' builds it"
}

# guest LETTERS [OPTION...]: the small kernel, entered as $entry says, its serial port on standard output.
guest()
{
	local letters=$1

	shift
	timeout 60 "$VMM" --kernel "$GUESTS/guest-${entry:-pvh}" --cmdline "$letters" --serial - "$@"
}

# The same in the background: its process is $vmm_pid, its output $TEST_DIR/out.
start_guest()
{
	rm -f "$TEST_DIR/out" # of an earlier one
	"$VMM" --kernel "$GUESTS/guest-pvh" --cmdline "$1" --serial - "${@:2}" >"$TEST_DIR/out" 2>"$TEST_DIR/err" 3>&- 4>&- &
	vmm_pid=$!
}

# One line on standard error, and nothing else.
expect_one_line()
{
	[ "$(wc -l <<<"$output")" -eq 1 ] || fail "more than one line:" "$output"
	expect_match "^hull-vmm: .*$1"
}

# ---- the command line -------------------------------------------------------------------------------

# bats test_tags=quick
@test "it says how it is used" {
	run "$VMM" --help
	expect_status 0
	expect_match '^usage: hull-vmm --kernel PATH'
	expect_match '--memory MIB'
	run "$VMM" --version
	expect_status 0
	expect_match '^hull-vmm [0-9]'
}

@test "what it cannot do is one line and the status 2" {
	for words in '' '--nonsense' '--kernel' '--kernel /nonexistent' '--kernel fd:99' '--kernel /dev/null x' '--cpus 0' '--cpus 255' \
		'--cpus 1x' '--memory 0' '--memory 1G' '--disk /dev/null,rw' '--disk /nonexistent' '--serial /tmp' '--control 7'; do
		# shellcheck disable=SC2086
		run "$VMM" $words
		expect_status 2
		expect_one_line .
	done
}

# ---- no KVM -----------------------------------------------------------------------------------------

# Runs it with an empty /dev that COMMAND fills: with_dev COMMAND
with_dev()
{
	require_root
	unshare --mount sh -c "mount -t tmpfs none /dev && $1 && exec \"\$@\"" sh "$VMM" --kernel "$GUESTS/guest-pvh"
}

@test "a host without KVM, with another thing there, and one who may not use it: one line each" {
	run with_dev 'true'
	expect_status 1
	expect_one_line 'open `/dev/kvm` \(this host has no KVM.*No such file'
	run with_dev 'mknod /dev/kvm c 1 3'
	expect_status 1
	expect_one_line '`/dev/kvm` is not KVM'
	run with_dev 'mknod -m 600 /dev/kvm c 10 232 && chmod 600 /dev/kvm && set -- setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
	expect_status 1
	expect_one_line 'open `/dev/kvm`.*Permission denied'
}

# ---- kernels ----------------------------------------------------------------------------------------

# bats test_tags=quick
@test "a kernel is entered by PVH where it has the note, else by Linux' 64-bit protocol" {
	require_kvm
	for entry in pvh linux; do
		run guest ehp
		expect_status 0
		expect_output "$entry"$'\nhello'
	done
}

@test "the kernel gets its command line, its initrd, its memory and its tables" {
	require_kvm
	echo 'this is the initrd' >"$TEST_DIR/initrd"
	for entry in pvh linux; do
		run guest 'imncp the rest' --initrd "$TEST_DIR/initrd" --memory 300
		expect_status 0
		expect_output $'this is the initrd\nram 300\ntables 2\np the rest'
	done
}

@test "memory goes on above the hole" {
	require_kvm
	for entry in pvh linux; do
		run guest mp --memory 5000
		expect_status 0
		expect_output 'ram 5000'
	done
}

@test "files come as descriptors, too" {
	require_kvm
	echo 'by descriptor' >"$TEST_DIR/initrd"
	run "$VMM" --kernel fd:5 --initrd fd:6 --cmdline ip --serial fd:7 5<"$GUESTS/guest-pvh" 6<"$TEST_DIR/initrd" 7>"$TEST_DIR/serial"
	expect_status 0
	[ "$(cat "$TEST_DIR/serial")" = 'by descriptor' ]
}

# bats test_tags=quick
@test "a file that is no kernel, or is cut off, is one line" {
	require_kvm
	: >"$TEST_DIR/empty"
	echo 'not a kernel' >"$TEST_DIR/text"
	head -c 100 "$GUESTS/guest-pvh" >"$TEST_DIR/cut"
	head -c 4500 "$GUESTS/guest-pvh" >"$TEST_DIR/cut-later"
	head -c 4096 /dev/zero >"$TEST_DIR/zeros"
	mkfifo "$TEST_DIR/fifo"
	for file in empty text cut cut-later zeros fifo; do
		run timeout 60 "$VMM" --kernel "$TEST_DIR/$file"
		expect_status 1
		expect_one_line 'the kernel: '
	done
	run "$VMM" --kernel "$HULL"
	expect_status 1
	expect_one_line 'the kernel: segment .* below 1 MiB'
}

@test "what does not fit into memory is one line" {
	require_kvm
	truncate -s 100M "$TEST_DIR/initrd"
	run guest p --initrd "$TEST_DIR/initrd" --memory 64
	expect_status 1
	expect_one_line 'the initrd: 100 MiB do not fit above the kernel in 64 MiB'
	run guest "$(head -c 3000 /dev/zero | tr '\0' h)"
	expect_status 1
	expect_one_line 'command line has 3000 characters; it takes at most 2047'
	run "$VMM" --kernel "$GUESTS/guest-pvh" --memory 1
	expect_status 1
	expect_one_line 'at least 2 MiB of memory'
}

# ---- devices ----------------------------------------------------------------------------------------

@test "the first virtio device is where it should be, and elsewhere is nothing" {
	require_kvm
	truncate -s 1M "$TEST_DIR/disk"
	for entry in pvh linux; do
		run guest vxp
		expect_status 0
		expect_output $'virt 4\nport ff\naddress ffffffff'
		run guest vp --disk "$TEST_DIR/disk,ro,id=one"
		expect_status 0
		expect_output 'virt 2'
		run guest vp --console -
		expect_status 0
		expect_output 'virt 3'
	done
}

# ---- ends -------------------------------------------------------------------------------------------

# bats test_tags=quick
@test "a guest that switches off, or resets in any way, ends with 0" {
	require_kvm
	for letter in p a r; do
		run guest "h$letter"
		expect_status 0
		expect_output hello
	done
}

@test "a triple fault is a crash, and so is a panic; what the guest said last is told" {
	require_kvm
	run guest ht
	expect_status 1
	expect_match '^hull-vmm: processor 0: triple fault'
	run guest hk
	expect_status 1
	expect_match "^hull-vmm: the guest's kernel panicked: this is a test$"
	run "$VMM" --kernel "$GUESTS/guest-pvh" --cmdline hk
	expect_status 1
	expect_match '^hull-vmm: \| hello$'
	expect_match '^hull-vmm: \| CPU: 0$'
}

# A machine with a device of each kind and the kernel that hammers them: hammer SEED THOUSANDS
hammer()
{
	local dir=$TEST_DIR/hammer

	rm -rf "$dir"
	mkdir -p "$dir/tree" "$dir/vsock"
	echo hello >"$dir/tree/file"
	truncate -s 4M "$dir/disk"
	# (What is confined cannot be searched for leaks: that takes another process.)
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 timeout 120 "$HELPERS/sockets" listener "$dir/vsock/vsock.sock" \
		"$HELPERS/sockets" pair "$VMM" --file-server fd:9 --root fd:6 -- \
		"$VMM" --kernel "$GUESTS/guest-${entry:-pvh}" --cmdline "w$1,$2.p" --serial fd:7 --console - \
		--disk "$dir/disk" --disk "$dir/disk,ro,id=second" --net mac=02:00:00:00:00:01,mtu=1400 \
		--fs fd:9,tag=hull --vsock fd:8 --vsock-dir "$dir/vsock" \
		6<"$dir/tree" 7>"$dir/serial" </dev/null >"$dir/console" 2>"$dir/err" 3>&- 4>&- || fail "seed $1: status $?" "$(cat "$dir/err")"
	[ "$(tr -d '\r' <"$dir/serial")" = "hammered $1" ] || fail "seed $1:" "$(cat "$dir/serial" "$dir/err")"
	! grep -vE '^hull-vmm: warning: virtio-[a-z]*: ' "$dir/err" || fail "seed $1"
}

# HULL_HAMMER_SECONDS: how long (make hammer).
@test "a guest that writes to all devices at random, in any order, harms nobody" {
	require_kvm
	end=$((SECONDS + ${HULL_HAMMER_SECONDS:-0}))
	seed=${HULL_HAMMER_SEED:-$(date +%s)}
	for entry in pvh linux; do
		hammer "$seed" 5
	done
	while [ $SECONDS -lt $end ]; do
		seed=$((seed + 1))
		hammer "$seed" 20
		echo "# seed $seed: $((end - SECONDS)) s left" >&3
	done
}

@test "the crash on a KVM that does not run Linux says so" {
	require_kvm
	[ -e /sys/module/kvm_pvm ] || skip "not such a KVM"
	run guest t
	expect_match 'runs only kernels made for it'
	run guest p --debug
	expect_status 0
	expect_match 'warning: .*runs only kernels made for it'
}

@test "signals end it, as a shell shows it" {
	require_kvm
	for signal in TERM:143 INT:130 HUP:129 QUIT:131 KILL:137; do
		start_guest hs
		wait_until 20 '[ -s "$TEST_DIR/out" ]'
		kill -"${signal%:*}" "$vmm_pid"
		status=0
		wait "$vmm_pid" || status=$?
		expect_status "${signal#*:}"
	done
}

@test "a signal that means nothing to it does nothing" {
	require_kvm
	start_guest b
	wait_until 20 '[ -s "$TEST_DIR/out" ]'
	kill -USR1 "$vmm_pid"
	kill -PIPE "$vmm_pid"
	kill -WINCH "$vmm_pid"
	count=$(wc -l <"$TEST_DIR/out")
	wait_until 20 "[ \$(wc -l <'$TEST_DIR/out') -gt $((count + 100)) ]"
	kill -TERM "$vmm_pid"
	status=0
	wait "$vmm_pid" || status=$?
	expect_status 143
}

@test "a guest that floods its serial port waits for nobody, and is ended at once" {
	require_kvm
	mkfifo "$TEST_DIR/pipe"
	exec 8<>"$TEST_DIR/pipe"
	"$VMM" --kernel "$GUESTS/guest-pvh" --cmdline hf --serial fd:8 >"$TEST_DIR/out" 2>&1 3>&- 4>&- &
	vmm_pid=$!
	# The reader takes the first line only; the pipe fills up, and then the guest goes on.
	read -r line <&8
	[ "$line" = hello ]
	spent=$(awk '{ print $14 + $15 }' "/proc/$vmm_pid/stat")
	wait_until 30 "[ \$(awk '{ print \$14 + \$15 }' /proc/$vmm_pid/stat) -gt $((spent + 100)) ]"
	kill -TERM "$vmm_pid"
	status=0
	wait "$vmm_pid" || status=$?
	exec 8>&-
	expect_status 143
}

# ---- Linux ------------------------------------------------------------------------------------------

# An initramfs with guest_init as its /init: $TEST_DIR/initrd.
make_initrd()
{
	mkdir "$TEST_DIR/root"
	cp "$HELPERS/guest_init" "$TEST_DIR/root/init"
	(cd "$TEST_DIR/root" && echo init | busybox cpio -o -H newc >"$TEST_DIR/initrd" 2>/dev/null)
}

# linux ARGUMENT [OPTION...]: runs it with the argument for its init; what it says on its console is $TEST_DIR/said.
linux()
{
	local argument=$1

	shift
	status=0
	timeout 300 "$VMM" --kernel "$KERNEL" --initrd "$TEST_DIR/initrd" --serial fd:7 --memory 256 \
		--cmdline "console=ttyS0 reboot=k panic=-1 pci=off -- $argument" "$@" 7>"$TEST_DIR/serial" >"$TEST_DIR/out" 2>&1 || status=$?
	tr -d '\r' <"$TEST_DIR/serial" >"$TEST_DIR/said"
	output=$(cat "$TEST_DIR/out")
}

@test "Linux boots to a program of ours, which finds all that containers need, and resets" {
	require_linux_kvm
	require_cmd mkfs.erofs busybox
	make_initrd
	mkdir "$TEST_DIR/disk"
	echo hello >"$TEST_DIR/disk/hello"
	mkfs.erofs --quiet -zlz4 "$TEST_DIR/disk.erofs" "$TEST_DIR/disk"
	linux check --disk "$TEST_DIR/disk.erofs,ro" --console fd:8 8<>"$TEST_DIR/console"
	expect_status 0
	grep -qx 'done' "$TEST_DIR/said" || fail 'the guest said:' "$(cat "$TEST_DIR/said")"
	! grep '^not ok' "$TEST_DIR/said" || fail 'the guest lacks what is listed above'
	[ "$(grep -c '^ok' "$TEST_DIR/said")" -ge 60 ] || fail 'the guest said too little:' "$(cat "$TEST_DIR/said")"
}

@test "Linux runs on two processors, and switches off" {
	require_linux_kvm
	require_cmd busybox
	make_initrd
	linux brief --cpus 2
	expect_status 0
	grep -qx 'processors: 2' "$TEST_DIR/said" || fail 'the guest said:' "$(cat "$TEST_DIR/said")"
}

@test "Linux that panics ends the machine with its reason" {
	require_linux_kvm
	: >"$TEST_DIR/initrd"
	linux check
	expect_status 1
	expect_match "^hull-vmm: the guest's kernel panicked: VFS: Unable to mount root fs"
}
