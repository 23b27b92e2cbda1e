# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every integration test uses: a bundle with a busybox root file system, `h` to call hull with
# a state directory of its own, and a teardown that fails a test which left anything behind.
#
# A test file loads this, and each test finds: TEST_DIR (its directory), BUNDLE, ROOT (hull's
# --root), ID (an unused container id that no other test has; longer ids may start with it), OUT
# (where a container started by create_container or start_container writes).

bats_require_minimum_version 1.5.0

top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
: "${HULL_BUILD:=$top/build}"
: "${HULL:=$HULL_BUILD/bin/hull}"
: "${HULL_TEST_WORK:=${BATS_RUN_TMPDIR:-/tmp}}"
: "${HULL_VIEW:=native}"
HELPERS=$HULL_BUILD/helpers
# What `sh -c` runs in containers that have to stay: SIGTERM ends it, it says when it is ready.
# shellcheck disable=SC2016,SC2034 # for the container's shell, and for those who load this
SLEEPER='trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done'
unset NOTIFY_SOCKET LISTEN_FDS LISTEN_PID LISTEN_FDNAMES # of whoever runs the tests

# ---- what a test needs ------------------------------------------------------------------------

require_root()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}

require_cmd()
{
	local cmd

	for cmd in "$@"; do
		command -v "$cmd" >/dev/null || skip "$cmd is not installed"
	done
}

cgroup_is_v2()
{
	[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]
}

# A test of what a microVM has not, or has in another way: container_only REASON. The reasons are hull-microvm(7)'s.
container_only()
{
	! in_microvm || skip "in a microVM $1"
}

in_microvm()
{
	[ "${HULL_SANDBOX:-}" = microvm ]
}

# An option of setpriv(1): the groups of an ordinary user, who may use KVM where that is what a test is about.
user_groups()
{
	if in_microvm; then echo "--groups=$(stat -c %g /dev/kvm)"; else echo --clear-groups; fi
}

# Whether a controller can be used in the view that the test sees.
has_controller()
{
	if cgroup_is_v2; then
		case $1 in
		freezer | devices) true ;; # these (the latter by eBPF) belong to cgroup v2 itself
		blkio) grep -qw io /sys/fs/cgroup/cgroup.controllers ;;
		*) grep -qw "$1" /sys/fs/cgroup/cgroup.controllers ;;
		esac
	else
		sed -n 's/.* - cgroup [^ ]* //p' /proc/self/mountinfo | tr , '\n' | grep -qx "$1" ||
			grep -qw "$1" /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null
	fi
}

require_controller()
{
	has_controller "$1" || skip "the $1 controller is not available in the $HULL_VIEW view"
}

require_systemd()
{
	[ -d /run/systemd/system ] || skip "systemd does not run here"
	cgroup_is_v2 || skip "needs pure cgroup v2"
}

# Sanitizers need memory maps, descriptors and a shared libasan that some tests take away.
skip_sanitized()
{
	[ -z "${HULL_SANITIZE:-}" ] || skip "not with sanitizers: $1"
}

# ---- hull and what it printed -----------------------------------------------------------------

# bats waits for whoever holds its descriptor 3, so no container may inherit that. (`run … 3>&-`
# would take it from `run` itself, which warns there of status 127.)
without_bats()
{
	"$@" 3>&- 4>&-
}

h()
{
	without_bats "$HULL" --root "$ROOT" "$@"
}

fail()
{
	printf '%s\n' "$@" >&2
	return 1
}

# After `run`: the exit status is the one given; else says what there was instead.
expect_status()
{
	# shellcheck disable=SC2154 # bats sets status and output
	[ "$status" -eq "$1" ] || fail "exit status $status, expected $1; output:" "$output"
}

# After `run`: it failed with a message of hull's own that has the given text.
expect_error()
{
	[ "$status" -ne 0 ] || fail "succeeded, expected an error with: $1" "$output"
	[ "$status" -lt 128 ] || [ "$status" -eq 255 ] || fail "died (status $status), expected an error with: $1" "$output"
	grep -qiE -- "$1" <<<"$output" || fail "the message has no \"$1\":" "$output"
}

expect_output()
{
	[ "$output" = "$1" ] || fail "expected output:" "$1" "found:" "$output"
}

expect_match()
{
	grep -qE -- "$1" <<<"$output" || fail "output has no match of: $1" "$output"
}

expect_no_match()
{
	! grep -qE -- "$1" <<<"$output" || fail "output has a match of: $1" "$output"
}

# Waits until a shell command succeeds: wait_until SECONDS COMMAND. A machine takes longer than a container.
wait_until()
{
	local end=$((SECONDS + $1 + 1))

	! in_microvm || end=$((SECONDS + 4 * $1 + 1))
	until eval "$2" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { fail "not within $1 s: $2"; return 1; }
		sleep 0.05
	done
}

# How often to try what is a race: so many numbers, or fewer where each takes long (HULL_RACES: percent).
races()
{
	seq $((($1 * ${HULL_RACES:-100} + 99) / 100))
}

# ---- bundles ----------------------------------------------------------------------------------

# Makes the root file system of all tests once, and prints where it is.
cached_rootfs()
{
	local cache=$HULL_TEST_WORK/rootfs new

	if [ ! -d "$cache" ]; then
		new=$(mktemp -d "$HULL_TEST_WORK/rootfs.XXXXXX")
		mkdir -p "$new"/{bin,dev,etc,home,proc,root,sys,tmp,usr,var}
		chmod 755 "$new" # others than root are in there, too
		chmod 1777 "$new/tmp"
		cp "$(command -v busybox)" "$new/bin/busybox"
		"$new/bin/busybox" --list | while read -r applet; do
			[ "$applet" = busybox ] || ln -s busybox "$new/bin/$applet"
		done
		[ ! -x "$HELPERS/probe" ] || cp "$HELPERS/probe" "$new/bin/probe"
		printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n' >"$new/etc/passwd"
		printf 'root:x:0:\nuser:x:1000:\nextra:x:2000:user\n' >"$new/etc/group"
		# Another test may have been quicker; then its copy is as good.
		mv -T "$new" "$cache" 2>/dev/null || rm -rf "$new"
	fi
	echo "$cache"
}

# Makes a bundle: make_bundle DIR. The default configuration of `hull spec`, without a terminal and
# with a writable root; the process can be told from others by HULL_TEST in its environment.
make_bundle()
{
	local bundle=$1

	mkdir -p "$bundle"
	cp -a "$(cached_rootfs)" "$bundle/rootfs"
	h spec --bundle "$bundle"
	BUNDLE=$bundle update_config '.process.terminal = false | .root.readonly = false
		| .process.env += ["HULL_TEST=" + env.ID]'
	! in_microvm || BUNDLE=$bundle update_config '.annotations["run.hull.sandbox"] = "microvm"'
	# To try a test against another runtime: what its default configuration needs to run here.
	[ -z "${HULL_TEST_CONFIG:-}" ] || BUNDLE=$bundle update_config "$HULL_TEST_CONFIG"
}

# Makes an OCI image layout at DIR with the tag `latest`, by umoci from the busybox root file system.
make_image()
{
	local cache=$HULL_TEST_WORK/image new

	if [ ! -d "$cache" ]; then
		new=$(mktemp -d "$HULL_TEST_WORK/image.XXXXXX")
		cp -a "$(cached_rootfs)" "$new/rootfs"
		mkdir "$new/rootfs/opaque"
		touch "$new/rootfs/etc/removed" "$new/rootfs/etc/changed" "$new/rootfs/opaque/old"
		ln "$new/rootfs/etc/passwd" "$new/rootfs/etc/passwd.hard"
		{
			umoci init --layout "$new/layout"
			umoci new --image "$new/layout:latest"
			umoci insert --image "$new/layout:latest" "$new/rootfs" /
			umoci config --image "$new/layout:latest" --config.workingdir /tmp \
				--config.env PATH=/bin --config.env VALUE=value \
				--config.cmd sh --config.cmd -c \
				--config.cmd 'echo "from the image: $VALUE in $(pwd)"'
		} >"$new/log" 2>&1 || { fail "$(cat "$new/log")"; return 1; }
		mv -T "$new/layout" "$cache" 2>/dev/null || true
		rm -rf "$new"
	fi
	cp -a "$cache" "$1"
}

# Edits config.json: update_config [JQ OPTION...] FILTER
update_config()
{
	local new

	new=$(ID=$ID jq "$@" <"$BUNDLE/config.json")
	printf '%s\n' "$new" >"$BUNDLE/config.json"
}

# The container's command.
set_args()
{
	# shellcheck disable=SC2016 # jq's variable, not the shell's
	update_config '.process.args = $ARGS.positional' --args -- "$@"
}

# Runs a shell script as the container, and waits: as after `run`, status and output are set.
run_script()
{
	set_args sh -c "$1"
	run h run --bundle "$BUNDLE" "$ID"
}

# ---- containers -------------------------------------------------------------------------------

# create_container [ID [OPTION...]]: what it prints, and hull's own messages, go to $OUT.
create_container()
{
	local id=${1:-$ID}

	[ $# -eq 0 ] || shift
	h create --bundle "$BUNDLE" "$@" "$id" >>"$OUT" 2>&1 </dev/null ||
		fail "create $id failed:" "$(cat "$OUT")"
}

# start_container [ID [OPTION...]]: creates and starts.
start_container()
{
	create_container "$@"
	h start "${1:-$ID}" || fail "start ${1:-$ID} failed"
}

# A container that runs until it is killed, and ends at once at SIGTERM.
start_sleeper()
{
	set_args sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	start_container "$@"
}

container_status()
{
	h state "${1:-$ID}" | jq -r .status
}

container_pid()
{
	h state "${1:-$ID}" | jq -r .pid
}

wait_stopped()
{
	wait_until 10 "[ \"\$(container_status ${1:-$ID})\" = stopped ]"
}

# ---- limits -----------------------------------------------------------------------------------

# The container's directory of a controller, in this view: v1 where there is one, else v2.
cgroup_of()
{
	local dir

	for dir in "/sys/fs/cgroup/$1" /sys/fs/cgroup/*"$1"* /sys/fs/cgroup/unified /sys/fs/cgroup; do
		[ -d "$dir" ] || continue
		dir=$(find "$dir" -type d -name "*$ID*" 2>/dev/null | head -n 1)
		[ -z "$dir" ] || { echo "$dir"; return; }
	done
	return 1
}

# Reads a file of the container's cgroup in the guest.
guest_limit()
{
	h exec "$ID" cat "/sys/fs/cgroup/$1"
}

# Reads a limit by its v1 or its v2 file: limit CONTROLLER V1FILE V2FILE. In a microVM those of processes and memory are the
# guest's, where the container is ours and no engine's.
limit()
{
	local dir

	if in_microvm && [[ $1 =~ ^(memory|pids)$ ]] && [ -d "${ROOT:-/none}/$ID" ]; then
		guest_limit "$3"
		return
	fi
	dir=$(cgroup_of "$1")
	if [ -e "$dir/$2" ]; then cat "$dir/$2"; else cat "$dir/$3"; fi
}

# has_one_filter CGROUP: of devices (cgroup v2). That of a microVM is the guest's.
has_one_filter()
{
	in_microvm || [ "$("$HELPERS/bpf_devices" "$1")" = 1 ]
}

# ---- before and after -------------------------------------------------------------------------

# What the containers of this test left behind, a line each.
leftovers()
{
	local pid

	find /sys/fs/cgroup -type d -name "*$ID*" -printf 'cgroup %p\n' 2>/dev/null
	awk -v dir="$TEST_DIR" 'index($0, dir) { print "mount", $5 }' /proc/self/mountinfo
	for pid in $(grep -laE "HULL_TEST=$ID" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3) \
		$(grep -laF -e "$ID" -e "$TEST_DIR" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3); do
		# grep found itself, too, but that is gone by now.
		[ ! -e "/proc/$pid/status" ] || [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] ||
			echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
	done | sort -u
	find "$ROOT" -mindepth 1 -name "*$ID*" -printf 'file %p\n' 2>/dev/null
}

expect_nothing_left()
{
	local left end=$((SECONDS + 3))

	while left=$(leftovers) && [ -n "$left" ]; do
		[ $SECONDS -lt $end ] || { fail "left behind:" "$left"; return 1; }
		sleep 0.1
	done
}

delete_all()
{
	local id

	for id in $(h list --quiet 2>/dev/null; ls -A "$ROOT" 2>/dev/null); do
		h delete --force "$id" >/dev/null 2>&1 || true
	done
}

hull_setup()
{
	require_root
	[ -x "$HULL" ] || fail "$HULL is not built"
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/t.XXXXXX")
	ROOT=$TEST_DIR/state
	BUNDLE=$TEST_DIR/bundle
	OUT=$TEST_DIR/out
	ID=ht-$$-$BATS_TEST_NUMBER-$RANDOM
	make_bundle "$BUNDLE"
}

hull_teardown()
{
	local status=0

	[ -n "${TEST_DIR:-}" ] || return 0
	delete_all
	expect_nothing_left || status=1
	if [ "$status" -ne 0 ]; then
		# Do not let one failure make the next test fail.
		leftovers | awk '$1 == "process" { print $2 }' | xargs -r kill -KILL 2>/dev/null
		leftovers | awk '$1 == "mount" { print $2 }' | sort -r | xargs -r -n1 umount -l 2>/dev/null
		sleep 0.2
		leftovers | awk '$1 == "cgroup" { print $2 }' | sort -r | xargs -r rmdir 2>/dev/null
	fi
	[ -z "${BATS_TEST_COMPLETED:-}" ] && [ -s "${OUT:-}" ] && sed 's/^/out: /' "$OUT"
	rm -rf --one-file-system "$TEST_DIR"
	return $status
}

setup()
{
	hull_setup
}

teardown()
{
	hull_teardown
}
