# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of podman and buildah share: an engine with storage, state and configuration of its own, hull as its
# runtime, an image of busybox made here, no network. Load it after helpers. ENGINE is a directory.
#
# HULL_TEST_MODE says who calls the engine, and who makes the cgroups: root and the runtime itself (`cgroupfs`, the
# default) or in microVMs (`microvm`), root and systemd (`systemd`), an ordinary user (`rootless`), or one and systemd's manager of that user
# (`rootless-systemd`).

: "${HULL_TEST_MODE:=cgroupfs}"
case $HULL_TEST_MODE in
*systemd) CGROUP_MANAGER=systemd ;;
*) CGROUP_MANAGER=cgroupfs ;;
esac
# The ordinary user: one that has ids to map.
case $HULL_TEST_MODE in
rootless*) OWNER=$(sed -n 's/:.*//p' /etc/subuid 2>/dev/null | head -n 1) OWNER_ID=$(id -u "$OWNER" 2>/dev/null) || OWNER_ID= ;;
*) OWNER=root OWNER_ID=0 ;;
esac
IMAGE=localhost/busybox

is_rootless()
{
	[[ $HULL_TEST_MODE = rootless* ]]
}

# Whether this machine has what the mode takes, and the programs named: engine_can PROGRAM...
engine_can()
{
	local program

	ENGINE_LACKS=
	[ "$(id -u)" -eq 0 ] || ENGINE_LACKS="needs root"
	for program; do
		type -P "$program" >/dev/null || ENGINE_LACKS="$program is not installed"
	done
	[ $CGROUP_MANAGER = cgroupfs ] || [ -d /run/systemd/system ] || ENGINE_LACKS="systemd does not run here"
	if is_rootless; then
		type -P newuidmap >/dev/null || ENGINE_LACKS="newuidmap is not installed"
		[ -n "$OWNER_ID" ] && [ -S "/run/user/$OWNER_ID/bus" ] ||
			ENGINE_LACKS="no ordinary user with ids to map and a systemd manager"
	fi
	[ -z "$ENGINE_LACKS" ]
}

# Makes ENGINE, with the configuration, and a hull that its user can reach.
engine_create()
{
	ENGINE=$(mktemp -d "$HULL_TEST_WORK/engine.XXXXXX")
	export ENGINE
	mkdir -p "$ENGINE/home" "$ENGINE/bin" "$ENGINE/libexec"
	cp "$HULL" "$ENGINE/bin/hull"
	ln -s hull "$ENGINE/bin/hull-vm"
	cp -a "$(dirname "$HULL")/../libexec/hull" "$ENGINE/libexec/hull"
	cat >"$ENGINE/containers.conf" <<-CONF
		[containers]
		log_driver = "k8s-file"
		[engine]
		cgroup_manager = "$CGROUP_MANAGER"
		events_logger = "file"
		lock_type = "file"
		runtime = "hull"
		runtime_supports_json = ["crun", "runc", "hull"]
		runtime_supports_nocgroup = ["crun", "hull"]
		[engine.runtimes]
		hull = ["$ENGINE/bin/$([ "$HULL_TEST_MODE" = microvm ] && echo hull-vm || echo hull)"]
	CONF
	[ ! -x /usr/bin/catatonit ] || sed -i '/^events_logger/i init_path = "/usr/bin/catatonit"' "$ENGINE/containers.conf"
	chown -R "$OWNER_ID:$OWNER_ID" "$ENGINE"
	engine_command
}

# How the engines are called: ENGINE_RUN, as whom; PODMAN and BUILDAH, with storage and state below ENGINE.
engine_command()
{
	local storage=(--root "$ENGINE/root" --runroot "$ENGINE/runroot")

	export CONTAINERS_CONF=$ENGINE/containers.conf
	ENGINE_RUN=(env)
	! is_rootless || ENGINE_RUN=(setpriv --reuid "$OWNER_ID" --regid "$OWNER_ID" --init-groups env -i -C / PATH="$PATH"
		HOME="$ENGINE/home" XDG_RUNTIME_DIR="/run/user/$OWNER_ID" CONTAINERS_CONF="$CONTAINERS_CONF"
		DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$OWNER_ID/bus")
	PODMAN=("${ENGINE_RUN[@]}" podman "${storage[@]}" --tmpdir "$ENGINE/tmp" --network-config-dir "$ENGINE/networks")
	# shellcheck disable=SC2034 # for those who load this
	BUILDAH=("${ENGINE_RUN[@]}" buildah --cgroup-manager "$CGROUP_MANAGER" "${storage[@]}")
	# Where hull has its state.
	HULL_STATE=/run/hull
	# shellcheck disable=SC2034
	! is_rootless || HULL_STATE=/run/user/$OWNER_ID/hull
}

# podman. bats waits for whoever has its descriptors, and conmon would.
p()
{
	timeout --foreground 180 "${PODMAN[@]}" "$@" 3>&- 4>&-
}

# The image of all tests.
podman_image()
{
	tar -C "$(cached_rootfs)" -c . | p import --change 'CMD ["sh"]' - "$IMAGE" >"$ENGINE/import.log" 2>&1 ||
		fail "$(cat "$ENGINE/import.log")"
}

# Takes away containers, mounts, processes and cgroups of the engine, and ENGINE itself.
engine_remove()
{
	local pid

	[ -n "${ENGINE:-}" ] || return 0
	# podman keeps a process for the user namespace of an ordinary user, which must go with the mounts in there.
	! is_rootless || p system migrate >/dev/null 2>&1 || true
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
