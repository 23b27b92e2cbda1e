#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times `hull image unpack` beside umoci and tar, into a directory that is new each time. Asserts nothing.
#
# usage: tests/bench/unpack.sh [ROUNDS]      (default: 5)
#
# The image is a Debian root file system with a compiler and such, made once with mmdebstrap and kept in
# ~/.cache/hull; where that cannot be, a generated tree of as many files. UNPACK_ROOTFS=FILE.tar: another one.
# UNPACK_DIR: where to unpack, a directory that is made and removed (default: below $TMPDIR).
#
# tar does not hash; hull checks the digests of both the compressed and the uncompressed layer, as umoci does.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
HULL_BUILD=${HULL_BUILD:-$top/build}
HULL=${HULL:-$HULL_BUILD/bin/hull}
rounds=${1:-${UNPACK_ROUNDS:-5}}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hull

[ "$(id -u)" -eq 0 ] || { echo "bench: needs root" >&2; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/hull-bench.XXXXXX")
target=${UNPACK_DIR:-$dir/target}
trap 'rm -rf "$dir" "$target"' EXIT
trap 'exit 130' INT TERM
export BATS_TEST_TMPDIR=$dir # where image.bash puts what it needs
# shellcheck source=tests/integration/image.bash
. "$top/tests/integration/image.bash"

debian_tar()
{
	local tar=$cache/bench-debian.tar

	if [ ! -s "$tar" ]; then
		command -v mmdebstrap >/dev/null || return 1
		mkdir -p "$cache"
		mmdebstrap --quiet --variant=apt --include=build-essential,gdb,git,perl,python3,systemd,vim,cmake \
			bookworm "$dir/new.tar" >"$dir/log" 2>&1 || return 1
		mv "$dir/new.tar" "$tar"
	fi
	echo "$tar"
}

# Some 28,000 files of 9 kB, all machine code, where no root file system can be had.
generated_tar()
{
	local i

	mkdir "$dir/tree"
	head -c 1250000 "$(command -v bash)" >"$dir/code"
	for i in $(seq 200); do
		mkdir "$dir/tree/$i"
		split -a 3 -b 9000 "$dir/code" "$dir/tree/$i/file-"
	done
	tar -C "$dir/tree" -cf "$dir/generated.tar" .
	rm -rf "$dir/tree"
	echo "$dir/generated.tar"
}

tar=${UNPACK_ROOTFS:-$(debian_tar || generated_tar)}

# compare TITLE COMPRESSION [TAR-OPTION...]
compare()
{
	local title=$1 pack=$2 packed=$dir/layer
	local commands=(hull "$HULL" image unpack --quiet "oci:$dir/layout:latest" "$target/hull")

	shift 2
	tar_image "$dir/layout" "$pack" "$tar"
	$pack <"$tar" >"$packed"
	if [[ $title != *zstd* ]] && command -v umoci >/dev/null; then
		commands+=(-- umoci umoci unpack --image "$dir/layout:latest" "$target/umoci")
	fi
	while [ $# -gt 0 ]; do
		read -ra option <<<"$2"
		commands+=(-- "$1" tar "${option[@]}" -C "$target" -xf "$packed")
		shift 2
	done
	printf '\n%s: %d MB, %d MB of tar, %d entries\n' "$title" $(($(stat -c %s "$packed") / 1000000)) \
		$(($(stat -Lc %s "$tar") / 1000000)) "$(tar -tf "$tar" | wc -l)"
	"$HULL_BUILD/bench/compare" --clean "$target" "$rounds" "${commands[@]}"
}

peers=(tar-gzip -z)
! command -v igzip >/dev/null || peers+=(tar-isal '-I igzip')
echo "unpacking, $rounds rounds, cold target on $(stat -f -c %T "$(dirname "$target")"), $(nproc) processors"
compare gzip 'gzip -n' "${peers[@]}"
if command -v zstd >/dev/null; then
	compare zstd 'zstd -q' tar-zstd --zstd
fi
