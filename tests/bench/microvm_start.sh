#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times `hull run --sandbox microvm` to the first line of a static program beside QEMU's microvm machine with the same kernel, memory and
# processor, whose initramfs is that program, all in one run. hull does more of it: it shares the root file system, makes a container in
# the guest, and cleans up. "hull" goes on from a template, which its first round makes; "hull-boot" boots. Needs a KVM that runs
# Linux, as the lab has. Asserts nothing.
#
# usage: tests/bench/microvm_start.sh [ROUNDS]      (default: 20)
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${HULL_BUILD:-$top/build}
hull=${HULL:-$build/bin/hull}
kernel=$build/libexec/hull/vmlinux
[ -r "$kernel" ] || kernel=/usr/local/libexec/hull/vmlinux
memory=256 # MiB
rounds=${1:-${BENCH_ROUNDS:-20}}

[ -w /dev/kvm ] || { echo "bench: no /dev/kvm that we may use" >&2; exit 1; }
[ -r "$kernel" ] || { echo "bench: no guest kernel: make kernel" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/hull-bench.XXXXXX")

cleanup()
{
	"$hull" --root "$work/state" delete --force bench >"$work/out" 2>&1 || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir -p "$work/bundle/rootfs" "$work/initramfs/dev"
cp "$build/bench/hello" "$work/bundle/rootfs/hello"
"$hull" spec --bundle "$work/bundle"
jq --arg memory "$memory" '.process.terminal = false | .process.args = ["/hello"]
	| .annotations["run.hull.vm.memory"] = $memory' "$work/bundle/config.json" >"$work/config.json"
mv "$work/config.json" "$work/bundle/config.json"
cp -r "$work/bundle" "$work/boot"
jq '.annotations["run.hull.vm.template"] = "false"' "$work/bundle/config.json" >"$work/boot/config.json"
commands=(hull "$hull" --root "$work/state" run --sandbox microvm --bundle "$work/bundle" bench)

commands+=(-- hull-boot "$hull" --root "$work/state" run --sandbox microvm --bundle "$work/boot" bench)

# Process 1 of QEMU's guest: the kernel opens its console for it, prints nothing else, and panics when it ends.
cp "$build/bench/hello" "$work/initramfs/init"
mknod "$work/initramfs/dev/console" c 5 1
(cd "$work/initramfs" && printf '%s\n' init dev dev/console | busybox cpio -o -H newc >"$work/initrd" 2>"$work/out")
commands+=(-- qemu qemu-system-x86_64 -M 'microvm,accel=kvm' -cpu host -m "$memory" -nodefaults -no-user-config -display none
	-no-reboot -serial stdio -kernel "$kernel" -initrd "$work/initrd"
	-append 'console=ttyS0 quiet reboot=t panic=-1 pci=off')

echo "$rounds rounds, $(uname -sr), $(nproc) processors; to the first line of a static program"
"$build/bench/compare" --first-byte "$rounds" "${commands[@]}"
