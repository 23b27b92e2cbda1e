# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of podman and buildah share: an engine with storage, state and configuration of its own, hull as its
# runtime, an image of busybox made here, no network. Load it after helpers.
#
# HULL_TEST_CGROUP_MANAGER says who makes the cgroups, cgroupfs (the default) or systemd. ENGINE is a directory; who runs
# the engine must be able to write there.

: "${HULL_TEST_CGROUP_MANAGER:=cgroupfs}"
IMAGE=localhost/busybox

# What `sh -c` runs in containers that have to stay: SIGTERM ends it, it says when it is ready.
# shellcheck disable=SC2016,SC2034 # for the container's shell, and for those who load this
SLEEPER='trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done'

# Writes the configuration that CONTAINERS_CONF names.
engine_configure()
{
	mkdir -p "$ENGINE"
	export CONTAINERS_CONF=$ENGINE/containers.conf
	cat >"$CONTAINERS_CONF" <<-CONF
		[containers]
		log_driver = "k8s-file"
		[engine]
		cgroup_manager = "$HULL_TEST_CGROUP_MANAGER"
		events_logger = "file"
		lock_type = "file"
		runtime = "hull"
		runtime_supports_json = ["crun", "runc", "hull"]
		runtime_supports_nocgroup = ["crun", "hull"]
		[engine.runtimes]
		hull = ["$HULL"]
	CONF
	[ ! -x /usr/bin/catatonit ] || sed -i '/^events_logger/i init_path = "/usr/bin/catatonit"' "$CONTAINERS_CONF"
}

# podman's options: storage and state below ENGINE.
podman_command()
{
	PODMAN=(podman --root "$ENGINE/root" --runroot "$ENGINE/runroot" --tmpdir "$ENGINE/tmp"
		--network-config-dir "$ENGINE/networks")
}

# podman, as who runs the test. bats waits for whoever has its descriptors, and conmon would.
p()
{
	timeout --foreground 180 "${PODMAN[@]}" "$@" 3>&- 4>&-
}

# The image of all tests: podman_image COMMAND..., which is how podman is called.
podman_image()
{
	tar -C "$(cached_rootfs)" -c . | "$@" import --change 'CMD ["sh"]' - "$IMAGE" >"$ENGINE/import.log" 2>&1 ||
		fail "$(cat "$ENGINE/import.log")"
}

# Whether hull knows a mount option; who asks for one that it does not is refused.
require_mount_option()
{
	"$HULL" features | jq -e --arg option "$1" '.mountOptions | index($option)' >/dev/null ||
		skip "hull does not have the mount option $1"
}

# Takes away containers, mounts, processes and cgroups of the engine, and ENGINE itself.
engine_remove()
{
	local pid

	for pid in $(grep -laF -e "$ENGINE" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3); do
		[ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] || kill -KILL "$pid" 2>/dev/null || true
	done
	awk -v dir="$ENGINE/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
		xargs -r -n1 umount -l 2>/dev/null || true
	# The parent that podman makes for all; somebody else's container in it stays.
	find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} + 2>/dev/null || true
	rm -rf --one-file-system "$ENGINE"
}

# Containers that the last test left, a line each. Storage says it without a podman, which takes seconds in the lab.
engine_containers()
{
	jq -r '.[].id' "$ENGINE"/root/*-containers/containers.json 2>/dev/null
}
