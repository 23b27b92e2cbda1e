#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull as the runtime under a real containerd: its own daemon, sockets and state in a temporary
# directory, an image made here, no network.
# modes: cgroupfs systemd microvm

load helpers
load containerd

setup_file()
{
	# What is missing is told by setup(): bats takes a skip in here for a failure.
	has_containerd || return 0
	containerd_configure io.containerd.grpc.v1.cri
	containerd_start
	make_image "$DIR/image"
	tar -C "$DIR/image" -cf "$DIR/image.tar" .
	c image import --base-name test/busybox "$DIR/image.tar" >&2
	IMAGE=$(c image list --quiet | head -n 1)
	export IMAGE
	[ -n "$IMAGE" ]
}

teardown_file()
{
	containerd_remove
}

setup()
{
	require_containerd
	ID=ht-$$-$BATS_TEST_NUMBER-$RANDOM
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/t.XXXXXX")
	OUT=$TEST_DIR/out
	# The shim's own default for the runtime's state.
	ROOT=$DIR/runc
	RUNTIME=$HULL
	[ "${HULL_TEST_MODE:-}" != microvm ] || RUNTIME=$HULL-vm
	CGROUP=()
	[ "${HULL_TEST_MODE:-}" != systemd ] || CGROUP=(--runc-systemd-cgroup --cgroup "system.slice:ctr:$ID")
}

# bats heeds only the status of the whole.
teardown()
{
	[ -n "${TEST_DIR:-}" ] || return 0
	c task delete --force "$ID" >/dev/null 2>&1 || true
	c container delete "$ID" >/dev/null 2>&1 || true
	[ -n "${BATS_TEST_COMPLETED:-}" ] || { containerd_log; cat "$OUT"; } 2>/dev/null || true
	rm -rf "$TEST_DIR"
	expect_nothing_left
}

# ctr run with hull as the runtime: container_run [OPTION...] -- [COMMAND...]
container_run()
{
	local options=()

	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	# No CPU shares, which ctr sets by itself: a v2 view on a hybrid host has no cpu controller.
	c run --cpu-shares 0 --snapshotter native --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" --runc-root "$ROOT" \
		"${CGROUP[@]}" "${options[@]}" "$IMAGE" "$ID" "$@"
}

start_task()
{
	container_run --detach -- sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done' </dev/null >"$OUT" 2>&1
}

# A limit of memory as it is on the host: a microVM has 64 MiB for the guest's kernel, and 32 for what is around the machine.
host_limit()
{
	[ "${HULL_TEST_MODE:-}" = microvm ] && echo $(($1 + (96 << 20))) || echo "$1"
}

task_status()
{
	c task list | awk -v id="$ID" '$1 == id { print $3 }'
}

# bats test_tags=everyday
@test "ctr run: output and exit status" {
	run container_run --rm -- echo "hello from containerd" </dev/null
	expect_status 0
	expect_output "hello from containerd"
	run container_run --rm -- sh -c 'exit 7' </dev/null
	expect_status 7
}

# bats test_tags=everyday
@test "ctr task exec" {
	start_task
	run c task exec --exec-id e1 "$ID" echo "second process"
	expect_status 0
	expect_output "second process"
	run c task exec --exec-id e2 "$ID" sh -c 'exit 9'
	expect_status 9
	run c task exec --exec-id e3 --cwd /tmp --user 1000 "$ID" sh -c 'pwd; id -u'
	expect_output "/tmp
1000"
}

# bats test_tags=everyday
@test "ctr task pause and resume" {
	start_task
	c task pause "$ID"
	[ "$(task_status)" = PAUSED ]
	c task resume "$ID"
	[ "$(task_status)" = RUNNING ]
	run c task exec --exec-id e1 "$ID" echo back
	expect_output back
}

# bats test_tags=everyday
@test "ctr task kill and delete" {
	start_task
	c task kill --signal SIGTERM "$ID"
	wait_until 10 '[ "$(task_status)" = STOPPED ]'
	c task delete "$ID"
	c container delete "$ID"
	expect_nothing_left
}

# bats test_tags=microvm
@test "ctr task kill --all, of an init that ignores SIGTERM" {
	container_run --detach -- sh -c 'trap "" TERM; sleep 1000 & while :; do sleep 0.05; done' </dev/null >"$OUT" 2>&1
	c task kill --signal SIGTERM "$ID"
	sleep 0.3
	[ "$(task_status)" = RUNNING ]
	c task kill --all --signal SIGKILL "$ID"
	wait_until 10 '[ "$(task_status)" = STOPPED ]'
}

# bats test_tags=microvm
@test "ctr task ps names the processes" {
	start_task
	run c task ps "$ID"
	expect_status 0
	[ "$(wc -l <<<"$output")" -ge 2 ]
	pid=$(c task list | awk -v id="$ID" '$1 == id { print $2 }')
	expect_match "^$pid"
}

# bats test_tags=everyday
@test "limits are in force" {
	require_controller memory
	container_run --detach --memory-limit 33554432 -- sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done' \
		</dev/null >"$OUT" 2>&1
	[ "$(limit memory memory.limit_in_bytes memory.max)" = "$(host_limit 33554432)" ]
	if [ "${HULL_TEST_MODE:-}" = systemd ]; then
		[ "$(cgroup_of memory)" = "/sys/fs/cgroup/system.slice/ctr-$ID.scope" ]
		[ "$(systemctl show --value --property MemoryMax "ctr-$ID.scope")" = 33554432 ]
	fi
}

# The shim reads them from the cgroup of the process that hull reported.
# bats test_tags=everyday
@test "ctr task metrics" {
	cgroup_is_v2 && has_controller memory || skip "the shim's metrics are those of cgroup v2 with its controllers here"
	container_run --detach --memory-limit 33554432 -- sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done' \
		</dev/null >"$OUT" 2>&1
	run c task metrics --format json "$ID"
	expect_status 0
	[ "$(jq -r '.memory.usage_limit' <<<"$output")" = "$(host_limit 33554432)" ]
	[ "$(jq -r '.memory.usage' <<<"$output")" -gt 0 ]
	[ "$(jq -r '.pids.current' <<<"$output")" -ge 1 ]
}

# bats test_tags=microvm
@test "a program that does not exist is an error with hull's words" {
	run container_run --rm -- /no/such/program </dev/null
	[ "$status" -ne 0 ]
	expect_match "/no/such/program.*([Nn]o such file|not found)"
}

# ctr passes its terminal's size on a moment after the start.
# bats test_tags=microvm
@test "a terminal" {
	[ -x "$HELPERS/terminal" ] || skip "the helper programs are not built"
	run "$HELPERS/terminal" timeout --foreground 60 ctr --address "$DIR/c.sock" run --cpu-shares 0 --rm --tty --snapshotter native \
		--runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" --runc-root "$ROOT" "$IMAGE" "$ID" \
		sh -c 'tty; until probe tty | grep -v " 0 0"; do sleep 0.05; done; printf "> "; read line; echo "got <$line>"' <<<"a line"
	expect_status 0
	output=$(tr -d '\r' <<<"$output")
	expect_match '^/dev/(console|pts/0)$'
	expect_match '^tty 33 77$'
	expect_match '^got <a line>$'
}

@test "ctr task checkpoint, and a task that is restored from it" {
	[ "${HULL_TEST_MODE:-}" != microvm ] || skip "checkpoints of microVMs are not supported yet"
	require_cmd criu
	criu check >/dev/null 2>&1 || skip "CRIU does not work here"
	container_run --detach -- sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/tmp/last; sleep 0.05; done' </dev/null >"$OUT" 2>&1
	number()
	{
		cat "/proc/$(c task list | awk -v id="$ID" '$1 == id { print $2 }')/root/tmp/last"
	}
	wait_until 10 '[ "$(number)" -gt 3 ]'
	c task checkpoint --image-path "$TEST_DIR/image" --work-path "$TEST_DIR/work" "$ID" >>"$OUT" 2>&1
	h checkpoint inspect "$TEST_DIR/image" | grep -q '^kind: *container'
	before=$(number)
	wait_until 10 "[ \$(number) -gt $before ]"
	c container checkpoint --rw --image --task "$ID" "test/$ID" >>"$OUT" 2>&1
	before=$(number)
	c task kill --signal KILL "$ID"
	wait_until 10 '[ "$(task_status)" = STOPPED ]'
	c task delete "$ID" >>"$OUT" 2>&1 || true # the status is the workload's
	c container delete "$ID"
	c container restore --rw --live "$ID" "test/$ID" >>"$OUT" 2>&1 </dev/null
	[ "$(task_status)" = RUNNING ]
	wait_until 10 "[ \$(number) -gt $before ]"
	c image delete "test/$ID" >>"$OUT" 2>&1
}

@test "containerd restarted finds the task again" {
	start_task
	containerd_stop
	containerd_start
	wait_until 10 '[ "$(task_status)" = RUNNING ]'
	run c task exec --exec-id e1 "$ID" echo "still here"
	expect_output "still here"
}
