#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times how long it takes until the guest of a saved machine of 128 MiB runs, beside the same machine's start: with the tests' small kernel,
# and, where the KVM runs Linux, of a microVM that hull has checkpointed, beside what hull needs to boot one. All in one run. Asserts nothing.
#
# usage: tests/bench/restore.sh [ROUNDS]      (default: 50)
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${HULL_BUILD:-$top/build}
hull=${HULL:-$build/bin/hull}
rounds=${1:-${BENCH_ROUNDS:-50}}
vmm=$build/libexec/hull/hull-vmm
[ -x "$vmm" ] || vmm=/usr/local/libexec/hull/hull-vmm
machine=$build/bench/machine

[ -w /dev/kvm ] || { echo "bench: no /dev/kvm that we may use" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/hull-bench.XXXXXX")

cleanup()
{
	"$hull" --root "$work/state" delete --force bench >"$work/out" 2>&1 || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
cd "$work"

guest=(--kernel "$build/guests/guest-pvh" --cmdline b --memory 128)
"$machine" save "$work/saved" "$vmm" "${guest[@]}"
echo "$rounds rounds, $(uname -sr), $(nproc) processors; until the guest of 128 MiB runs"
"$build/bench/compare" --first-byte "$rounds" start "$machine" start - "$vmm" "${guest[@]}" -- restore "$machine" restore "$work/saved" "$vmm"

grep -qwE 'vmx|svm' /proc/cpuinfo || exit 0
mkdir -p "$work/bundle/rootfs"
cp "$build/bench/hello" "$work/bundle/rootfs/hello"
"$hull" spec --bundle "$work/bundle"
jq '.process.terminal = false | .process.args = ["/hello"] | .annotations["run.hull.vm.memory"] = "128"
	| .annotations["run.hull.vm.template"] = "false"' "$work/bundle/config.json" >"$work/config.json"
cp -r "$work/bundle" "$work/boot"
mv "$work/config.json" "$work/boot/config.json"
cp "$(command -v busybox)" "$work/bundle/rootfs/busybox"
jq '.process.args = ["/busybox", "sleep", "1000"]' "$work/boot/config.json" >"$work/bundle/config.json"
"$hull" --root "$work/state" run --detach --sandbox microvm --bundle "$work/bundle" bench </dev/null >"$work/out" 2>&1
sleep 1
timeout 100 "$hull" --root "$work/state" checkpoint --image-path "$work/checkpoint" bench
"$hull" --root "$work/state" delete --force bench
# shellcheck disable=SC2016
again='"$0" "$@" --detach one && echo && "$0" --root "$PWD/state" delete --force one'
echo
echo "a microVM of 128 MiB: to its first line from a cold boot, and until its guest goes on from a checkpoint"
"$build/bench/compare" --first-byte "$rounds" boot "$hull" --root "$work/state" run --sandbox microvm --bundle "$work/boot" bench \
	-- restore "$machine" restore "$work/checkpoint/machine" "$vmm" \
	-- "hull restore" sh -c "$again" "$hull" --root "$work/state" restore --bundle "$work/bundle" --image-path "$work/checkpoint"
