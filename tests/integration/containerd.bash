# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of ctr and of the CRI share: a containerd of their own, with its daemon, sockets and state in DIR, images
# made here, and no network but its own. Load it after helpers.
#
# HULL_TEST_MODE=systemd makes the containers' cgroups by systemd.

has_containerd()
{
	[ "$(id -u)" -eq 0 ] && type -P containerd && type -P ctr && type -P umoci
} >/dev/null

require_containerd()
{
	require_root
	require_cmd containerd ctr umoci
	[ "${HULL_TEST_MODE:-cgroupfs}" != systemd ] || require_systemd
}

# containerd_configure [DISABLED_PLUGIN...]: makes DIR and its configuration, to which more can be appended.
containerd_configure()
{
	DIR=$(mktemp -d "$HULL_TEST_WORK/ctrd.XXXXXX")
	export DIR
	cat >"$DIR/config.toml" <<-TOML
		version = 2
		root = "$DIR/root"
		state = "$DIR/state"
		disabled_plugins = [$(for plugin; do printf '"%s", ' "$plugin"; done) "io.containerd.internal.v1.opt",
			"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
			"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
			"io.containerd.tracing.processor.v1.otlp"]
		[grpc]
		address = "$DIR/c.sock"
		[ttrpc]
		address = "$DIR/t.sock"
		[debug]
		level = "warn"
	TOML
}

# Also after containerd_stop. It has a network of its own, for what a CNI plugin does there.
containerd_start()
{
	unshare --net containerd --config "$DIR/config.toml" </dev/null >>"$DIR/log" 2>&1 3>&- 4>&- &
	echo $! >"$DIR/pid"
	wait_until 20 'ctr --address "$DIR/c.sock" version' || fail "$(cat "$DIR/log")"
}

containerd_stop()
{
	[ -s "$DIR/pid" ] || return 0
	kill "$(cat "$DIR/pid")" 2>/dev/null || true
	wait_until 10 '! kill -0 "$(cat "$DIR/pid")"' || kill -KILL "$(cat "$DIR/pid")"
	rm "$DIR/pid"
}

containerd_remove()
{
	[ -n "${DIR:-}" ] || return 0
	containerd_stop
	awk -v dir="$DIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r -n1 umount -l
	rm -rf --one-file-system "$DIR"
}

# containerd's complaints, for a test that failed.
containerd_log()
{
	grep -vE 'level=(info|warning)' "$DIR/log" | tail -n 10
}

# ctr, of this containerd.
c()
{
	timeout 60 ctr --address "$DIR/c.sock" "$@" 3>&- 4>&-
}
