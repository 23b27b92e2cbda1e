#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the initramfs of a microVM: process 1 as /init, and the console that the kernel opens for it. Written here
# entry by entry (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source), so that a
# device needs no root, and the same program gives the same bytes.
#
# usage: microvm/kernel/initramfs.sh PROGRAM OUTPUT
set -euo pipefail

program=$1 output=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ino=0
# entry NAME MODE SIZE MAJOR MINOR: a header, to be followed by SIZE bytes and pad SIZE.
entry()
{
	local name=$1 size=$3
	ino=$((ino + 1))
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
		$ino "$2" 0 0 1 0 "$size" 0 0 "$4" "$5" $((${#name} + 1)) 0 "$name"
	pad $((110 + ${#name} + 1))
}

# pad LENGTH: what is missing to a multiple of four bytes.
pad()
{
	head -c $(((4 - $1 % 4) % 4)) /dev/zero
}

strip -s -o "$work/init" "$program"
size=$(stat -c %s "$work/init")
{
	entry dev $((0040755)) 0 0 0
	entry dev/console $((0020600)) 0 5 1
	entry root $((0040755)) 0 0 0
	entry init $((0100755)) "$size" 0 0
	cat "$work/init"
	pad "$size"
	entry TRAILER!!! 0 0 0 0
} | gzip -9n >"$work/initramfs"
mv "$work/initramfs" "$output"
