#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what hull needs on Debian and Ubuntu, by group. What is installed already costs one
# dpkg-query and no network, so `make deps` may run before everything else, every time.
#
# usage: scripts/deps.sh [build|test|kernel|lab|lint|all]...      (default: all)
set -euo pipefail

build=(gcc make pkg-config libyajl-dev libseccomp-dev libarchive-dev libssl-dev libcurl4-openssl-dev libzstd-dev libisal-dev libsystemd-dev
	protobuf-c-compiler libprotobuf-c-dev)
test=(libcmocka-dev bats jq python3-jsonschema busybox-static procps runc crun containerd containernetworking-plugins
	umoci skopeo docker-registry openssl python3 strace valgrind curl protobuf-compiler acpica-tools uidmap erofs-utils)
kernel=(linux-source-6.12 xz-utils flex bison bc libelf-dev)
lab=(mmdebstrap qemu-system-x86 qemu-utils openssh-client e2fsprogs erofs-utils zstd socat util-linux)
# libclang-rt-14-dev holds the sanitizers' and the fuzzer's runtime for clang 14.
lint=(clang clang-format clang-tidy cppcheck mandoc shellcheck libclang-rt-14-dev)

usage()
{
	sed -n 's/^# usage: /usage: /p' "$0" >&2
	exit 2
}

wanted=()
for group in "${@:-all}"; do
	case $group in
	build) wanted+=("${build[@]}") ;;
	kernel) wanted+=("${kernel[@]}") ;;
	lab) wanted+=("${lab[@]}") ;;
	test) wanted+=("${test[@]}") ;;
	lint) wanted+=("${lint[@]}") ;;
	all) wanted+=("${build[@]}" "${test[@]}" "${kernel[@]}" "${lab[@]}" "${lint[@]}") ;;
	*) usage ;;
	esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian or Ubuntu. Install what your system calls these packages:"
	echo "  ${wanted[*]}"
	exit 0
fi

# A package counts as there when it, or one that provides it, is installed.
missing=()
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' | grep '^installed ' || true)
for package in "${wanted[@]}"; do
	grep -qE "[ ,]${package//+/\\+}([ ,]|$)" <<<"$installed" || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
	echo "deps: everything is installed"
	exit 0
fi

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if [ "$(id -u)" -ne 0 ]; then
	echo "deps: not root; run this as root:"
	echo "  ${install[*]}"
	exit 1
fi

echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A fresh machine has no package lists, an old one has stale lists: update only then.
if ! "${install[@]}" </dev/null >/dev/null 2>&1; then
	apt-get update </dev/null
	"${install[@]}" </dev/null
fi
