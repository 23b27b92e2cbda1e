#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From an OCI image made by another tool (umoci) to a running container, each step as the command
# that a person would type, with its output; and at the end the same bundle in a microVM, in the lab where this host has no
# KVM for it. Works in a temporary directory and cleans up at exit.
#
# usage: scripts/demo.sh [microvm]      (microvm: only that part, on this host)
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
HULL=${HULL:-$top/build/bin/hull}
PATH=$(dirname "$HULL"):$PATH
[ "$(id -u)" -eq 0 ] || { echo "demo: needs root: sudo make demo" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/hull-demo.XXXXXX")
name=demo
! hull state $name >/dev/null 2>&1 || name=demo-$$
made=

cleanup()
{
	local status=$?

	[ -z "$made" ] || hull delete --force $name >/dev/null 2>&1 || true
	cd /
	rm -rf --one-file-system "$dir"
	[ $status -eq 0 ] || echo "demo: failed with status $status" >&2
}
trap cleanup EXIT
cd "$dir"

say()
{
	printf '\n# %s\n' "$*"
}

# Prints a command line and runs it.
step()
{
	printf '$ %s\n' "$1"
	eval "$1"
}

# Whether this host can limit what CONTROLLER controls, on cgroup v1, hybrid or v2.
has_controller()
{
	grep -qw "$1" /sys/fs/cgroup/cgroup.controllers 2>/dev/null ||
		[ -n "$(awk -v c="$1" '$(NF - 2) == "cgroup" && ("," $NF ",") ~ ("," c ",")' /proc/self/mountinfo)" ]
}

# ---- an image, a bundle ----------------------------------------------------------------------

make_bundle()
{
	say "an image with busybox in it, made by umoci, which is not ours"
	step "mkdir -p files/bin && cp $(command -v busybox) files/bin/busybox"
	step "for tool in sh ls cat id ps sleep hostname echo wc; do ln -s busybox files/bin/\$tool; done"
	step "umoci init --layout image && umoci new --image image:latest"
	step "umoci insert --image image:latest files /"
	# shellcheck disable=SC2016 # the variables are the container's
	step 'umoci config --image image:latest --config.env PATH=/bin --config.cmd sh --config.cmd -c \
	    --config.cmd '\''trap "exit 0" TERM; echo "hello from $(hostname)"; while :; do sleep 0.1; done'\'

	say "hull unpacks it to a bundle: a root file system and a config.json"
	step "hull image unpack oci:image:latest bundle"
	step "ls bundle bundle/rootfs"
}

# ---- a container ---------------------------------------------------------------------------

show_container()
{
	say "limits: 64 MiB of memory, 20 processes"
	limits='.process.terminal = false'
	for limit in memory:67108864 pids:20; do
		controller=${limit%:*}
		if has_controller "$controller"; then
			limits+=" | .linux.resources.$controller.limit = ${limit#*:}"
		else
			echo "(this host offers no $controller controller: that limit is left out)"
			limits+=" | del(.linux.resources.$controller)"
		fi
	done
	step "jq '$limits' bundle/config.json >new.json && mv new.json bundle/config.json"

	say "create sets everything up, and waits; start lets the program run"
	made=1
	step "hull create --bundle bundle $name >output 2>&1"
	step "hull state $name"
	step "hull start $name"
	for _ in {1..50}; do
		[ ! -s output ] || break
		sleep 0.1
	done
	step "cat output"

	say "another process in the same container"
	step "hull exec $name ps"
	step "hull exec $name sh -c 'id; ls /; hostname'"

	say "from the outside"
	step "hull list"
	step "hull ps $name"

	say "the limits in force"
	pid=$(hull state $name | jq .pid)
	for file in memory.limit_in_bytes memory.max pids.max; do
		controller=${file%%.*}
		# cgroup v1: a mount a controller; v2: one for all.
		for mount in "/sys/fs/cgroup/$controller" /sys/fs/cgroup; do
			path=$(sed -n "s/^[0-9]*:\($controller\|[^:]*,$controller\|$controller,[^:]*\|\)://p" "/proc/$pid/cgroup" | head -n 1)
			[ ! -e "$mount$path/$file" ] || { step "cat $mount$path/$file"; break; }
		done
	done
	if has_controller pids; then
		# It fails, as it shall: no more than 20 processes.
		step "hull exec $name sh -c 'i=0; while [ \$i -lt 30 ]; do sleep 1 & i=\$((i + 1)); done' 2>&1 | tail -n 1" || true
	else
		echo "(none: this host offers no controller here)"
	fi

	say "the end"
	step "hull kill $name TERM"
	for _ in {1..50}; do
		[ "$(hull state $name | jq -r .status)" != stopped ] || break
		sleep 0.1
	done
	step "hull list"
	step "hull delete $name"
	made=
	step "hull list"

	say "in one: run creates, starts, waits and deletes; its status is the program's"
	step "jq '.process.args = [\"sh\", \"-c\", \"echo all in one; exit 7\"]' bundle/config.json >new.json && mv new.json bundle/config.json"
	step "hull run --bundle bundle $name || echo \"status \$?\""
}

# ---- a microVM -----------------------------------------------------------------------------

show_microvm()
{
	say "the same bundle in a virtual machine, which has a kernel of its own"
	step "uname -r"
	step "jq '.process.terminal = false | .process.args = [\"sleep\", \"1000\"] | del(.linux.resources)' bundle/config.json >new.json && mv new.json bundle/config.json"
	made=1
	step "hull run --sandbox microvm --detach --bundle bundle $name"
	step "hull exec $name cat /proc/version"
	step "hull exec $name sh -c 'id; ps'"
	step "hull list"
	step "hull kill $name KILL"
	step "hull delete --force $name"
	made=
}

case ${1:-} in
microvm)
	make_bundle >/dev/null
	show_microvm
	exit
	;;
'') ;;
*) sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2 ;;
esac
make_bundle
show_container
unfit=$(hull check --format json | jq --raw-output '[.[] | select((.name == "KVM" or .name == "guest kernel") and .status != "ok") | .detail][0] // ""')
if [ -z "$unfit" ]; then
	show_microvm
else
	say "a microVM needs more than this host has ($unfit): so in the lab, a machine that is emulated here"
	"$top/tests/lab/run" -- env HULL=/usr/local/bin/hull scripts/demo.sh microvm
fi
say "done; 'make test' shows the rest"
