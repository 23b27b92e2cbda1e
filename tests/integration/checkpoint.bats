#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull checkpoint, hull restore: containers, by CRIU.

load helpers

require_criu()
{
	container_only 'checkpoints are not supported yet'
	require_cmd criu
	criu check >/dev/null 2>&1 || skip "CRIU does not work here: $(criu check 2>&1 | grep -m 1 Error)"
	[ -x "$HULL_BUILD/libexec/hull/hull-criu" ] || [ -x /usr/local/libexec/hull/hull-criu ] || skip "hull-criu is not built"
}

setup()
{
	hull_setup
	require_criu
	IMAGE=$TEST_DIR/checkpoint
}

# What a container prints to a file of the host's cannot be checkpointed.
start_quiet()
{
	h create --bundle "$BUNDLE" "$@" "$ID" >/dev/null 2>&1 </dev/null
	h start "$ID"
}

# A container that counts in a file, by a descriptor that it keeps open.
start_counter()
{
	set_args sh -c 'exec 3>>/tmp/count; i=0; while :; do i=$((i + 1)); echo $i >&3; echo $i >/tmp/last; sleep 0.05; done'
	start_quiet "$@"
	wait_until 10 "[ \$(cat $BUNDLE/rootfs/tmp/last) -gt 3 ]"
}

last()
{
	cat "$BUNDLE/rootfs/tmp/last"
}

checkpoint()
{
	h checkpoint --image-path "$IMAGE" --work-path "$TEST_DIR/work" "$@" "$ID" || {
		grep -h Error "$TEST_DIR"/work/*.log
		return 1
	}
}

restore()
{
	h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" --work-path "$TEST_DIR/work" "$@" "$ID" >>"$OUT" 2>&1 </dev/null || {
		cat "$OUT"
		tail -n 40 "$TEST_DIR"/work/restore.log
		return 1
	}
}

@test "a container goes on where it was" {
	start_counter
	checkpoint
	[ "$(container_status)" = stopped ]
	before=$(last)
	h delete "$ID"
	restore
	[ "$(container_status)" = running ]
	wait_until 10 "[ \$(last) -gt $before ]"
	[ "$(head -n $((before + 1)) "$BUNDLE/rootfs/tmp/count" | tail -n 1)" = $((before + 1)) ]
}
