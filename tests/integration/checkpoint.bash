# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Workloads that are checkpointed, and how they are told to be the same afterwards. Tests set IMAGE, the checkpoint's directory.

require_criu()
{
	require_cmd criu
	criu check >/dev/null 2>&1 || skip "CRIU does not work here: $(criu check 2>&1 | grep -m 1 Error)"
}

# What makes checkpoints of this kind of isolation.
require_checkpoints()
{
	in_microvm || require_criu
	[ -x "$HULL_BUILD/libexec/hull/hull-criu" ] || [ -x /usr/local/libexec/hull/hull-criu ] || skip "hull-criu is not built"
}

# What a container prints to a file of the host's cannot be checkpointed.
start_quiet()
{
	h create --bundle "$BUNDLE" "$ID" >/dev/null 2>&1 </dev/null
	h start "$ID"
}

# A container that counts in a file, by a descriptor that it keeps open.
start_counter()
{
	set_args sh -c 'exec 3>>/tmp/count; i=0; while :; do i=$((i + 1)); echo $i >&3; echo $i >/tmp/last; sleep 0.05; done'
	start_quiet
	wait_until 20 "[ \$(cat $BUNDLE/rootfs/tmp/last) -gt 3 ]"
}

last()
{
	cat "$BUNDLE/rootfs/tmp/last"
}

# checkpoint [OPTION...], and what is in the root file system is kept for restores after the first: CRIU wants open files as they were.
checkpoint()
{
	rm -rf "$TEST_DIR/saved"
	h checkpoint --image-path "$IMAGE" --work-path "$TEST_DIR/work" "$@" "$ID" && cp -a "$BUNDLE/rootfs" "$TEST_DIR/saved" || {
		grep -h Error "$TEST_DIR"/work/*.log
		return 1
	}
}

# restore [OPTION...]: in the background, of a root file system as it was.
restore()
{
	[ ! -d "$TEST_DIR/saved" ] || { rm -rf "$BUNDLE/rootfs" && cp -a "$TEST_DIR/saved" "$BUNDLE/rootfs"; }
	h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" --work-path "$TEST_DIR/work" "$@" "$ID" >>"$OUT" 2>&1 </dev/null || {
		cat "$OUT"
		grep -h Error "$TEST_DIR"/work/restore.log
		return 1
	}
}

# The container of all that there is to keep (helpers/workload.c).
start_workload()
{
	cp "$HELPERS/workload" "$BUNDLE/rootfs/bin/workload"
	mkdir -p "$BUNDLE/rootfs/watch" "$BUNDLE/rootfs/scratch"
	update_config '.mounts += [{destination: "/scratch", type: "tmpfs", source: "tmpfs"}]'
	set_args workload "${MIB:-20}"
	start_quiet
	wait_until 60 '[ "$(number)" -gt 2 ]'
}

number()
{
	sed -n 's/ files.*//p' "$BUNDLE/rootfs/tmp/status"
}

# It counts on, behind number $1, nothing is broken, and inotify tells it of a new file.
expect_alive()
{
	local files

	wait_until 20 "[ \$(number) -gt $(($1 + 20)) ]" || fail "$(cat "$BUNDLE/rootfs/tmp/status")"
	[ "$(sed -n "$(($1 + 1))p" "$BUNDLE/rootfs/tmp/count")" = $(($1 + 1)) ]
	files=$(sed 's/.*files //' "$BUNDLE/rootfs/tmp/status")
	h exec "$ID" touch "/watch/new.$RANDOM"
	wait_until 10 "grep -q 'files $((files + 1))' $BUNDLE/rootfs/tmp/status" || fail "$(cat "$BUNDLE/rootfs/tmp/status")"
}

saved_number()
{
	sed -n 's/ files.*//p' "$TEST_DIR/saved/tmp/status"
}
