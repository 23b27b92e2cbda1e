#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What the lab promises to the tests that run in it: pure cgroup v2 with its controllers, systemd with a manager for an
# ordinary user, CRIU, and a KVM that boots the guest kernel. On other machines there is nothing to test.

load helpers

setup()
{
	[ -n "${HULL_LAB:-}" ] || skip "not in the lab"
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/machine.XXXXXX")
}

teardown()
{
	rm -rf "$TEST_DIR"
}

@test "cgroup v2 has every controller that limits a container" {
	cgroup_is_v2
	for controller in cpuset cpu io memory hugetlb pids rdma misc; do
		has_controller "$controller" || fail "no $controller in $(cat /sys/fs/cgroup/cgroup.controllers)"
	done
}

@test "hull is installed, and it is the one of this checkout" {
	cmp "$(command -v hull)" /hull/build/bin/hull
	cmp /usr/local/libexec/hull/vmlinux /hull/build/libexec/hull/vmlinux
	hull --version
}

@test "systemd runs, and nothing of it has failed" {
	run systemctl is-system-running
	expect_output running
}

@test "an ordinary user has a systemd manager with controllers to give" {
	run runuser -l lab -c 'XDG_RUNTIME_DIR=/run/user/1000 systemd-run --user --wait --pipe --quiet \
		--property=MemoryMax=100M sh -c "cat /sys/fs/cgroup\$(cut -d: -f3 /proc/self/cgroup)/memory.max"'
	expect_status 0
	expect_output 104857600
}

@test "criu says that it looks good" {
	run criu check
	expect_status 0
	expect_match 'Looks good'
}

@test "KVM boots the guest kernel to a program of ours, and that kernel has what containers need" {
	[ -w /dev/kvm ]
	mkdir "$TEST_DIR/root" "$TEST_DIR/disk"
	echo hello >"$TEST_DIR/disk/hello"
	mkfs.erofs --quiet -zlz4 "$TEST_DIR/disk.erofs" "$TEST_DIR/disk"
	cp "$HELPERS/guest_init" "$TEST_DIR/root/init"
	(cd "$TEST_DIR/root" && echo init | busybox cpio -o -H newc >"$TEST_DIR/initrd" 2>/dev/null)

	timeout 120 qemu-system-x86_64 -M microvm,accel=kvm -cpu host -smp 2 -m 256 \
		-nodefaults -no-user-config -display none -no-reboot -global virtio-mmio.force-legacy=false \
		-kernel /usr/local/libexec/hull/vmlinux -initrd "$TEST_DIR/initrd" \
		-append 'console=ttyS0 quiet reboot=t panic=-1 pci=off' -serial "file:$TEST_DIR/serial" \
		-drive "if=none,id=disk,file=$TEST_DIR/disk.erofs,format=raw,readonly=on" -device virtio-blk-device,drive=disk \
		-device virtio-rng-device -device virtio-balloon-device,free-page-reporting=on \
		-device virtio-serial-device -device virtconsole,chardev=none -chardev null,id=none \
		-device virtio-net-device,netdev=net -netdev user,id=net,restrict=on

	tr -d '\r' <"$TEST_DIR/serial" >"$TEST_DIR/said"
	grep -qx 'done' "$TEST_DIR/said" || fail 'the guest said:' "$(cat "$TEST_DIR/said")"
	! grep '^not ok' "$TEST_DIR/said" || fail 'the guest kernel lacks what is listed above'
	[ "$(grep -c '^ok' "$TEST_DIR/said")" -ge 60 ] || fail 'the guest said too little:' "$(cat "$TEST_DIR/said")"
}
