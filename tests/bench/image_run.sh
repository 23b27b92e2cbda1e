#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times `hull run --image` of an image in the store, beside `hull run` of a bundle of it, and podman where it is installed: from the
# command to the end of a container that does nothing. Asserts nothing.
#
# usage: tests/bench/image_run.sh [ROUNDS]      (default: 50)
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
HULL_BUILD=${HULL_BUILD:-$top/build}
HULL=${HULL:-$HULL_BUILD/bin/hull}
rounds=${1:-50}

[ "$(id -u)" -eq 0 ] || { echo "bench: needs root" >&2; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/hull-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
export BATS_TEST_TMPDIR=$dir # where image.bash puts what it needs
# shellcheck source=tests/integration/image.bash
. "$top/tests/integration/image.bash"

mkdir -p "$dir/tree"/{bin,dev,etc,proc,sys,tmp}
cp "$(command -v busybox)" "$dir/tree/bin/busybox"
ln -s busybox "$dir/tree/bin/true"
tar -C "$dir/tree" -cf "$dir/layer.tar" .
# shellcheck disable=SC2034 # for tar_image
image_config='{"Cmd": ["/bin/true"]}'
tar_image "$dir/layout" cat "$dir/layer.tar"
"$HULL" image pull --quiet --store "$dir/store" "oci:$dir/layout" bench
"$HULL" image unpack --quiet "oci:$dir/layout" "$dir/bundle"

# Each container has an id of its own: one that ends takes a moment to be gone.
commands=(run-image "$HULL" run --store "$dir/store" --image bench
	-- run-bundle "$HULL" run -b "$dir/bundle" "bench-$$")
if command -v podman >/dev/null; then
	podman --root "$dir/podman" --runroot "$dir/podman-run" pull --quiet "oci:$dir/layout" >/dev/null
	image=$(podman --root "$dir/podman" --runroot "$dir/podman-run" images --quiet)
	commands+=(-- podman podman --root "$dir/podman" --runroot "$dir/podman-run" run --rm --network none "$image")
fi
echo "From an image in the store to the end of /bin/true:"
"$HULL_BUILD/bench/compare" "$rounds" "${commands[@]}"
