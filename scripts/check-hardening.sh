#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that programs carry the hardening that the Makefile asks for: a compiler that ignores a
# flag, or a library built without it, must not go unnoticed.
#
# usage: scripts/check-hardening.sh PROGRAM...      (hull and hull-vmm must be static, too)
set -euo pipefail

status=0
fail()
{
	echo "$1: $2" >&2
	status=1
}

for program in "$@"; do
	header=$(readelf -hW "$program")
	segments=$(readelf -lW "$program")
	dynamic=$(readelf -dW "$program")
	symbols=$(readelf -sW "$program")

	grep -q 'Type: *DYN' <<<"$header" || fail "$program" "not position independent (PIE)"
	grep -q 'FLAGS_1.*PIE' <<<"$dynamic" || fail "$program" "not marked as PIE"
	grep -q GNU_RELRO <<<"$segments" || fail "$program" "no RELRO"
	grep -qE '(BIND_NOW|FLAGS_1.*NOW)' <<<"$dynamic" || fail "$program" "no BIND_NOW: RELRO is not full"
	grep -q 'GNU_STACK.* RW ' <<<"$segments" || fail "$program" "the stack is executable"
	grep -q ' RWE ' <<<"$segments" && fail "$program" "a segment is writable and executable"
	grep -q '__stack_chk_fail' <<<"$symbols" || fail "$program" "no stack protector"
	if [[ "$(basename "$program")" =~ ^hull(-vmm)?$ ]]; then
		grep -q INTERP <<<"$segments" && fail "$program" "not static: it has an interpreter"
		grep -q NEEDED <<<"$dynamic" && fail "$program" "not static: it needs a shared library"
	else
		grep -qE '__[a-z]+_chk' <<<"$symbols" || fail "$program" "no _FORTIFY_SOURCE"
	fi
done
exit $status
