#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times hull beside crun, runc and the kernel's own cost of a container, all in one run: absolute
# times drift from run to run, ratios within one run do not. Asserts nothing.
#
# usage: tests/bench/run.sh [ROUNDS]      (default: 100)
#
# BENCH_CONTAINERS (1000; 0: none) is how many containers `list`, and `state` of one, are timed with.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
HULL_BUILD=${HULL_BUILD:-$top/build}
export HULL=${HULL:-$HULL_BUILD/bin/hull} HULL_BUILD
rounds=${1:-${BENCH_ROUNDS:-100}}
containers=${BENCH_CONTAINERS:-1000}

[ "$(id -u)" -eq 0 ] || { echo "bench: needs root" >&2; exit 1; }

# crun refuses hybrid hosts, so that all are timed in a pure v2 view: a mount namespace of our own.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
	exec unshare --mount sh -c \
		'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh "$0" "$rounds"
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/hull-bench.XXXXXX")
runtimes=()

cleanup()
{
	for name in "${runtimes[@]}"; do
		find "$dir/$name" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' 2>/dev/null |
			xargs -r -n 1 -P "$(nproc)" "$(program "$name")" --root "$dir/$name" delete --force >/dev/null 2>&1 || true
	done
	rm -rf --one-file-system "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

program()
{
	if [ "$1" = hull ]; then echo "$HULL"; else command -v "$1"; fi
}

# The same bundle for all: the default configuration with a program that does nothing. Without
# resource limits and device rules, which Debian 12's crun cannot set where it may not raise limits,
# and of a version that it takes.
mkdir -p "$dir/bundle/rootfs/bin"
cp "$(command -v busybox)" "$dir/bundle/rootfs/bin/busybox"
ln -s busybox "$dir/bundle/rootfs/bin/true"
ln -s busybox "$dir/bundle/rootfs/bin/sleep"
"$HULL" spec --bundle "$dir/bundle"
jq '.ociVersion = "1.0.2" | .process.terminal = false | .process.args = ["/bin/true"]
	| del(.process.rlimits) | del(.linux.resources)' \
	"$dir/bundle/config.json" >"$dir/config.json"
mv "$dir/config.json" "$dir/bundle/config.json"

# Only those that are installed and work here.
for name in hull crun runc; do
	path=$(program "$name") || { echo "bench: $name is not installed"; continue; }
	if "$path" --root "$dir/$name" run --bundle "$dir/bundle" bench </dev/null >"$dir/out" 2>&1; then
		runtimes+=("$name")
	else
		echo "bench: $name does not work here: $(tail -n 1 "$dir/out")"
	fi
done
echo "$rounds rounds, pure cgroup v2 view, $(uname -sr), $(nproc) processors"
for name in "${runtimes[@]}"; do
	echo "  $name: $("$(program "$name")" --version | head -n 1)"
done

# compare TITLE ARGUMENT...: what each runtime does with those arguments.
compare()
{
	local title=$1 command=() name

	shift
	for name in "${runtimes[@]}"; do
		[ ${#command[@]} -eq 0 ] || command+=(--)
		command+=("$name" "$(program "$name")" --root "$dir/$name" "$@")
	done
	if [ "$title" = run ]; then
		command+=(-- floor "$HULL_BUILD/bench/floor" "$dir/bundle/rootfs" /bin/true)
	fi
	printf '\n%s\n' "$title"
	"$HULL_BUILD/bench/compare" "$rounds" "${command[@]}"
}

compare run run --bundle "$dir/bundle" bench

jq '.process.args = ["/bin/sleep", "100000"]' "$dir/bundle/config.json" >"$dir/config.json"
mv "$dir/config.json" "$dir/bundle/config.json"
for name in "${runtimes[@]}"; do
	"$(program "$name")" --root "$dir/$name" run --detach --bundle "$dir/bundle" bench </dev/null >"$dir/out" 2>&1
done
compare exec exec bench /bin/true
compare state state bench

[ "$containers" -gt 0 ] || exit 0
echo
echo "starting $containers containers of each"
for name in "${runtimes[@]}"; do
	for i in $(seq 2 "$containers"); do
		"$(program "$name")" --root "$dir/$name" run --detach --bundle "$dir/bundle" "bench$i" </dev/null >"$dir/out" 2>&1
	done
done
[ "$rounds" -le 20 ] || rounds=20
compare "list of $containers containers, $rounds rounds" list
compare "state of one of $containers" state bench
