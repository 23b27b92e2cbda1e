#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the guest kernel of hull's microVMs from Debian's package linux-source-6.12 and hull.config, and
# prints its path. It is kept in $XDG_CACHE_HOME/hull (~/.cache/hull), keyed by the version of the source, the
# configuration and the compiler: only the first call costs minutes. The same key gives the same bytes.
#
# usage: microvm/kernel/build.sh [--verify]
#
#   --verify   build it anew beside the kept one and compare the two, byte by byte
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hull
package=linux-source-6.12
tarball=/usr/src/$package.tar.xz
export LC_ALL=C

die()
{
	echo "kernel: $*" >&2
	exit 1
}

verify=
case ${1:-} in
'') ;;
--verify) verify=1 ;;
*) sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2 ;;
esac

version=$(dpkg-query -W -f '${Version}' $package 2>/dev/null) && [ -r $tarball ] ||
	die "$package is not installed; run 'make deps'"
key=$({
	echo "$version"
	gcc --version | head -n 1
	ld --version | head -n 1
	cat "$here/hull.config" "$0"
} | sha256sum | cut -c1-16)
kernel=$cache/kernel-$key/vmlinux

mkdir -p "$cache"
exec 9>"$cache/kernel.lock"
flock -n 9 || { echo 'kernel: waiting for another build of it' >&2; flock 9; }
if [ -f "$kernel" ] && [ -z "$verify" ]; then
	touch "$cache/kernel-$key"
	echo "$kernel"
	exit 0
fi

work=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The bytes depend on nothing but the key: not on who builds, when, or where.
source_date=$(stat -c %Y "$tarball")
export KBUILD_BUILD_TIMESTAMP="@$source_date" KBUILD_BUILD_USER=hull KBUILD_BUILD_HOST=hull KBUILD_BUILD_VERSION=1
export SOURCE_DATE_EPOCH=$source_date
unset KBUILD_OUTPUT KCFLAGS KCPPFLAGS LDFLAGS CFLAGS MAKEFLAGS MFLAGS MAKELEVEL

# configure: everything off but what hull.config says, and every line of that must have come out as written.
configure()
{
	local line name wrong=
	make -s KCONFIG_ALLCONFIG="$here/hull.config" allnoconfig >"$work/log" 2>&1 || return 1
	while read -r line; do
		case $line in
		CONFIG_*) grep -qxF -- "$line" .config || wrong+=" $line" ;;
		'# CONFIG_'*' is not set')
			name=${line#\# }
			! grep -q "^${name% is not set}=" .config || wrong+=" ${name%% *}"
			;;
		esac
	done <"$here/hull.config"
	[ -z "$wrong" ] || die "hull.config asks for what this source does not give:$wrong"
}

# A segment's place in the file need not be aligned to 2 MiB as it is in memory: the linker is told 4 KiB, or a third
# of the file would be zeros. (The linker script itself aligns the segments' addresses.)
link_flags='-z max-page-size=4096 --build-id=sha1 --orphan-handling=error'

echo "kernel: building $package $version (some minutes, once)" >&2
start=$SECONDS
mkdir "$work/source"
# Of what no option of ours builds, only the Kconfig files and the like are needed.
tar -C "$work/source" --strip-components=1 -xJf "$tarball" \
	--exclude='*/Documentation/*.rst' --exclude='*/Documentation/*.yaml' --exclude='*/tools/testing' --exclude='*/tools/perf' \
	--exclude='*/sound/*.[ch]' --exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/media/*.[ch]' \
	--exclude='*/drivers/net/ethernet/*.[ch]' --exclude='*/drivers/net/wireless/*.[ch]' --exclude='*/drivers/scsi/*.[ch]' \
	--exclude='*/drivers/staging/*.[ch]' --exclude='*/drivers/infiniband/*.[ch]' --exclude='*/drivers/iio/*.[ch]' \
	--exclude='*/arch/arm*/*.[chS]' --exclude='*/arch/arm*/*.dts*' --exclude='*/arch/mips/*.[chS]' --exclude='*/arch/powerpc/*.[chS]'
cd "$work/source"
configure || { cat "$work/log" >&2; die 'its configuration failed'; }
if ! make -s -j"$(($(nproc) + 1))" KCFLAGS="-pipe -w" LDFLAGS_vmlinux="$link_flags" vmlinux >"$work/log" 2>&1; then
	tail -n 30 "$work/log" >&2
	die 'its build failed; the last lines are above'
fi
mkdir "$work/kernel"
strip --strip-all -o "$work/kernel/vmlinux" vmlinux
cp .config "$work/kernel/config"

if [ -n "$verify" ] && [ -f "$kernel" ]; then
	cmp "$work/kernel/vmlinux" "$kernel" || die "two builds differ: $kernel and a new one"
	echo "kernel: a second build gave the same bytes ($(sha256sum <"$kernel" | cut -c1-16)...)" >&2
else
	rm -rf "$cache/kernel-$key"
	mv "$work/kernel" "$cache/kernel-$key"
	# A kernel that nobody asked for in a month goes.
	find "$cache" -maxdepth 1 -name 'kernel-*' -type d -mtime +30 -exec rm -rf {} +
	size=$(stat -c %s "$kernel")
	echo "kernel: $((size / 1024)) KiB, $((SECONDS - start)) s" >&2
fi
echo "$kernel"
