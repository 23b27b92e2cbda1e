#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times hull-vmm from its execution to the guest's first instructions beside the kernel's own cost of a virtual machine
# (kvmfloor) and QEMU's microvm machine with the same kernel, all in one run: absolute times drift from run to run, ratios within one run
# do not. Asserts nothing.
#
# usage: tests/bench/vmm_start.sh [ROUNDS]      (default: 100)
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${HULL_BUILD:-$top/build}
rounds=${1:-${BENCH_ROUNDS:-100}}
vmm=$build/libexec/hull/hull-vmm
kernel=$build/libexec/hull/vmlinux

[ -w /dev/kvm ] || { echo "bench: no /dev/kvm that we may use" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/hull-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The small kernel writes one byte to the serial port and ends the machine: by the keyboard controller, or else by a triple fault.
guest=(--kernel "$build/guests/guest-pvh" --cmdline q --serial -)
commands=(kvmfloor "$build/bench/kvmfloor" 128 -- hull-vmm "$vmm" "${guest[@]}"
	-- "2 cpus" "$vmm" "${guest[@]}" --cpus 2 -- "4 GiB" "$vmm" "${guest[@]}" --memory 4096)
# What loading the real kernel costs: the small one as its initrd's equal in size.
if [ -r "$kernel" ]; then
	commands+=(-- "initrd" "$vmm" "${guest[@]}" --initrd "$kernel")
fi
if command -v qemu-system-x86_64 >/dev/null; then
	commands+=(-- qemu qemu-system-x86_64 -M 'microvm,accel=kvm' -m 128 -nodefaults -no-user-config -display none -no-reboot
		-serial stdio -kernel "$build/guests/guest-pvh" -append q)
fi

echo "$rounds rounds, $(uname -sr), $(nproc) processors; to the first byte that the guest writes"
"$build/bench/compare" --first-byte "$rounds" "${commands[@]}"
echo
echo "to the end of the process"
"$build/bench/compare" "$rounds" "${commands[@]}"
