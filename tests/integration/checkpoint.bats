#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# modes: container microvm
# hull checkpoint, hull restore: containers by CRIU, microVMs by hull-vmm.

load helpers
load checkpoint

setup()
{
	hull_setup
	require_checkpoints
	IMAGE=$TEST_DIR/checkpoint
}

@test "what cannot be done of a microVM is refused, and it runs on" {
	in_microvm || skip 'of microVMs'
	start_counter
	run h checkpoint --pre-dump --image-path "$IMAGE" "$ID"
	expect_error '--pre-dump'
	[ "$(container_status)" = running ]
	checkpoint --leave-running
	h delete --force "$ID"
	# Another network than its cards are for, and a terminal that it never had.
	update_config '.process.terminal = true'
	run h restore --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
	expect_error 'terminal'
	update_config '.process.terminal = false'
	# A file that it has open.
	rm "$BUNDLE/rootfs/tmp/count"
	run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
	expect_error 'the open file .*count. is missing'
	expect_nothing_left
	restore
	[ "$(container_status)" = running ]
}

@test "what was printed and not read, and what was typed and not taken, goes on with a microVM" {
	in_microvm || skip 'of a container it is in pipes of the host'
	set_args sh -c 'seq 60000; read word; echo "read $word"; sleep 1000'
	mkfifo "$TEST_DIR/in" "$TEST_DIR/out"
	exec 8<>"$TEST_DIR/in" 9<>"$TEST_DIR/out"
	h create --bundle "$BUNDLE" "$ID" <"$TEST_DIR/in" >"$TEST_DIR/out" 2>&1 3>&- 4>&- 8>&- 9>&-
	h start "$ID"
	sleep 2
	echo hello >&8
	h checkpoint --image-path "$IMAGE" "$ID" 8>&- 9>&-
	h delete "$ID"
	# What the first one had written, and then the second one's.
	timeout 1 cat <&9 >"$TEST_DIR/text" || true
	h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID" </dev/null >"$TEST_DIR/rest" 2>&1 3>&- 4>&- 8>&- 9>&-
	wait_until 30 'grep -q "^read hello" "$TEST_DIR/rest"'
	cat "$TEST_DIR/rest" >>"$TEST_DIR/text"
	{ seq 60000; echo 'read hello'; } | cmp - "$TEST_DIR/text"
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
	[ "$(sed -n "$((before + 1))p" "$BUNDLE/rootfs/tmp/count")" = $((before + 1)) ]
	h exec "$ID" true
	h kill "$ID" KILL
	wait_stopped
}

@test "files, pipes, TCP, tmpfs, inotify and memory go on, three times from one checkpoint, under other ids, too" {
	start_workload
	checkpoint --tcp-established
	h delete "$ID"
	first=$ID
	for ID in "$first" "$first-b" "$first-c"; do
		restore --tcp-established
		expect_alive "$(saved_number)"
		h delete --force "$ID"
	done
	ID=$first
	h checkpoint inspect "$IMAGE" | grep -q "^kind: *${HULL_SANDBOX:-container}"
	h checkpoint inspect --format json "$IMAGE" | jq -e '.formatVersion == 1 and (.files | length >= 3)'
}

@test "--leave-running: it runs on, and the next checkpoint takes the place of the first" {
	start_workload
	checkpoint --tcp-established --leave-running
	[ "$(container_status)" = running ]
	before=$(number)
	expect_alive "$before"
	digest=$(sha256sum <"$IMAGE/manifest.json")
	checkpoint --tcp-established --leave-running
	[ "$digest" != "$(sha256sum <"$IMAGE/manifest.json")" ]
	[ "$(find "$TEST_DIR" -maxdepth 1 -name '*checkpoint*')" = "$IMAGE" ]
	h delete --force "$ID"
	restore --tcp-established
	before=$(number)
	wait_until 10 "[ \$(number) -ne $before ]"
	run ! grep broken "$BUNDLE/rootfs/tmp/status"
}

@test "of two checkpoints the later is restored first, and then the earlier, and a restored one is checkpointed again" {
	start_counter
	# Paused, so that the files are those of the checkpoint.
	h pause "$ID"
	checkpoint --leave-running
	h resume "$ID"
	first=$(tail -n 1 "$TEST_DIR/saved/tmp/count")
	mv "$TEST_DIR/saved" "$TEST_DIR/saved.1"
	mv "$IMAGE" "$IMAGE.1"
	wait_until 10 "[ \$(tail -n 1 $BUNDLE/rootfs/tmp/count) -gt $((first + 10)) ]"
	checkpoint
	h delete "$ID"
	restore
	second=$(tail -n 1 "$TEST_DIR/saved/tmp/count")
	wait_until 20 "[ \$(tail -n 1 $BUNDLE/rootfs/tmp/count) -gt $second ]"
	checkpoint
	h delete "$ID"
	third=$(tail -n 1 "$TEST_DIR/saved/tmp/count")
	[ "$third" -gt "$second" ]
	restore
	wait_until 20 "[ \$(tail -n 1 $BUNDLE/rootfs/tmp/count) -gt $third ]"
	[ "$(uniq -d "$BUNDLE/rootfs/tmp/count")" = "" ]
	h delete --force "$ID"
	rm -rf "$TEST_DIR/saved"
	mv "$TEST_DIR/saved.1" "$TEST_DIR/saved"
	IMAGE=$IMAGE.1 restore
	first=$(tail -n 1 "$TEST_DIR/saved/tmp/count")
	wait_until 20 "[ \$(tail -n 1 $BUNDLE/rootfs/tmp/count) -gt $first ]"
	[ "$(sed -n "$((first + 1))p" "$BUNDLE/rootfs/tmp/count")" = $((first + 1)) ]
}

@test "a paused container stays paused, and can be checkpointed" {
	start_counter
	h pause "$ID"
	checkpoint --leave-running
	[ "$(container_status)" = paused ]
	h resume "$ID"
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
}

@test "pre-dumps, each building on the one before" {
	container_only 'all of the memory is in one checkpoint: --pre-copy'
	start_workload
	first=$IMAGE.1 second=$IMAGE.2
	h checkpoint --pre-dump --image-path "$first" "$ID"
	h checkpoint --pre-dump --image-path "$second" --parent-path ../checkpoint.1 "$ID"
	[ "$(container_status)" = running ]
	checkpoint --tcp-established --parent-path ../checkpoint.2
	# Of some twenty MiB.
	[ "$(cat "$first"/pages-*.img | wc -c)" -gt 20000000 ]
	[ "$(cat "$IMAGE"/pages-*.img | wc -c)" -lt 5000000 ]
	h delete "$ID"
	run h restore --detach --bundle "$BUNDLE" --image-path "$first" "$ID"
	expect_error 'pre-dump'
	restore --tcp-established
	expect_alive "$(saved_number)"
	h delete --force "$ID"
	printf x | dd of="$first/$(cd "$first" && ls pages-1.img)" bs=1 seek=100 conv=notrunc status=none
	run restore --tcp-established
	expect_error 'parent.*pages-1.img. was altered'
	run h checkpoint --image-path "$TEST_DIR/other" --parent-path ../nothing "$ID"
	expect_error 'parent-path|does not exist'
}

@test "--pre-copy: the memory is copied while it runs, and the stop is short; all in one directory" {
	start_workload
	checkpoint --tcp-established --pre-copy --leave-running >"$TEST_DIR/said" 2>&1 || fail "$(cat "$TEST_DIR/said")"
	first=$(sed -n 's/^pre-copy, round 1: \([0-9]*\) pages$/\1/p' "$TEST_DIR/said")
	rounds=$(sed -n 's/^pre-copy: after \([0-9]*\) rounds.*/\1/p' "$TEST_DIR/said")
	left=$(sed -n 's/^pre-copy: after .* rounds \([0-9]*\) pages were left for the stop$/\1/p' "$TEST_DIR/said")
	[ "$first" -gt 5000 ] || fail "$(cat "$TEST_DIR/said")"
	[ "$rounds" -ge 1 ] && [ "$rounds" -le 5 ]
	[ "$left" -lt $((first / 4)) ] || fail "$(cat "$TEST_DIR/said")"
	h checkpoint inspect --format json "$IMAGE" >"$TEST_DIR/json"
	jq -e --argjson r "$rounds" --argjson p "$left" '.preCopy == {rounds: $r, pages: $p}' "$TEST_DIR/json"
	in_microvm || jq -e --argjson r "$rounds" '.parent == "pre-copy-\($r)" and (.files | map(.name) | index("pre-copy-1/pages-1.img"))' "$TEST_DIR/json"
	h checkpoint inspect "$IMAGE" | grep -q "^pre-copy: $rounds rounds, $left pages"
	expect_alive "$(saved_number)"
	# Of many rounds each builds on the one before; what was there is replaced with all of its rounds.
	checkpoint --tcp-established --pre-copy=1 2>"$TEST_DIR/said"
	[ "$(grep -c round "$TEST_DIR/said")" = 2 ]
	in_microvm || [ "$(cd "$IMAGE" && echo pre-copy-*)" = pre-copy-1 ]
	h delete "$ID"
	mv "$IMAGE" "$IMAGE.moved"
	IMAGE=$IMAGE.moved
	restore --tcp-established
	expect_alive "$(saved_number)"
	h delete --force "$ID"
	! in_microvm || return 0 # all rounds of those are in one file
	cp -a "$IMAGE" "$TEST_DIR/whole"
	broken()
	{
		run restore --tcp-established
		expect_error "$1"
		rm -rf "$IMAGE"
		cp -a "$TEST_DIR/whole" "$IMAGE"
	}
	printf x | dd of="$IMAGE/pre-copy-1/pages-1.img" bs=1 seek=5000 conv=notrunc status=none
	broken 'pre-copy-1/pages-1.img. was altered'
	touch "$IMAGE/pre-copy-1/extra.img"
	broken 'pre-copy-1/extra.img. does not belong'
	rm "$IMAGE/pre-copy-1/pages-1.img"
	broken 'pre-copy-1/pages-1.img'
	mkdir "$IMAGE/pre-copy-2"
	touch "$IMAGE/pre-copy-2/pages-1.img"
	broken 'pre-copy-2/pages-1.img. does not belong'
	ln -s ../../other "$IMAGE/pre-copy-1/parent"
	broken 'pre-copy-1/parent. was altered'
	ln -sfn ../other "$IMAGE/parent"
	broken '.parent. was altered'
	mv "$IMAGE/pre-copy-1" "$TEST_DIR/elsewhere"
	ln -s "$TEST_DIR/elsewhere" "$IMAGE/pre-copy-1"
	broken 'pre-copy-1'
	restore --tcp-established
}

@test "--pre-copy of what writes memory all the time ends; of what is paused there are no rounds" {
	cp "$HELPERS/workload" "$BUNDLE/rootfs/bin/workload"
	start_workload
	for options in --pre-copy=0 --pre-copy=x '--pre-copy --pre-dump' '--pre-copy --parent-path=x'; do
		run h checkpoint $options --image-path "$IMAGE" "$ID"
		expect_error 'pre-copy'
	done
	h pause "$ID"
	run checkpoint --tcp-established --pre-copy --leave-running
	expect_no_match 'pre-copy'
	h resume "$ID"
	h delete --force "$ID"
	# dd's buffer is written anew again and again.
	rm -f "$BUNDLE/rootfs/tmp/last"
	set_args sh -c 'echo 9 >/tmp/last; exec dd if=/dev/zero of=/dev/null bs=16M'
	start_quiet
	wait_until 10 "[ \$(last) -gt 3 ]"
	run checkpoint --pre-copy=20
	expect_status 0
	[ "$(grep -c 'pre-copy, round' <<<"$output")" -lt 6 ]
	h delete "$ID"
	restore
	[ "$(container_status)" = running ]
}

@test "a terminal is handed over again, and the foreground has one, too" {
	update_config '.process.terminal = true'
	cp "$HELPERS/workload" "$BUNDLE/rootfs/bin/workload"
	mkdir -p "$BUNDLE/rootfs/watch" "$BUNDLE/rootfs/scratch"
	set_args workload 1
	without_bats "$HELPERS/console" "$TEST_DIR/tty.sock" </dev/null >"$TEST_DIR/console" 2>&1 &
	wait_until 10 '[ -S "$TEST_DIR/tty.sock" ]'
	h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null >"$OUT" 2>&1
	h start "$ID"
	wait_until 20 'grep -q "^3" "$TEST_DIR/console"'
	checkpoint --tcp-established
	h delete "$ID"
	rm -f "$TEST_DIR/tty.sock"
	run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
	expect_error 'console-socket'
	without_bats "$HELPERS/console" "$TEST_DIR/tty.sock" </dev/null >"$TEST_DIR/console2" 2>&1 &
	wait_until 10 '[ -S "$TEST_DIR/tty.sock" ]'
	restore --tcp-established --console-socket "$TEST_DIR/tty.sock"
	wait_until 20 "tr -d '\r' <$TEST_DIR/console2 | grep -qx $(($(saved_number) + 5))"
	h delete --force "$ID"
	rm -rf "$BUNDLE/rootfs" && cp -a "$TEST_DIR/saved" "$BUNDLE/rootfs"
	h restore --bundle "$BUNDLE" --image-path "$IMAGE" --tcp-established "$ID" >"$TEST_DIR/foreground" 2>&1 </dev/null &
	wait_until 20 "tr -d '\r' <$TEST_DIR/foreground | grep -qx $(($(saved_number) + 5))"
	h kill "$ID" KILL
	status=0
	wait $! || status=$?
	[ "$status" -eq 137 ]
}

@test "in the foreground: pipes are ours, signals are passed on, the exit status is the workload's" {
	set_args sh -c 'trap "echo the end; exit 7" TERM; echo begin; i=0; while :; do i=$((i + 1)); echo $i >/tmp/last; sleep 0.05; done'
	h run --bundle "$BUNDLE" "$ID" </dev/null 2>&1 | cat >"$TEST_DIR/first" &
	wait_until 10 "[ \$(last) -gt 3 ]"
	checkpoint
	wait_until 10 "! h state $ID"
	grep -q begin "$TEST_DIR/first"
	mkfifo "$TEST_DIR/pipe"
	cat "$TEST_DIR/pipe" >"$TEST_DIR/second" &
	rm -rf "$BUNDLE/rootfs" && cp -a "$TEST_DIR/saved" "$BUNDLE/rootfs"
	"$HULL" --root "$ROOT" restore --bundle "$BUNDLE" --image-path "$IMAGE" --pid-file "$TEST_DIR/pid" "$ID" </dev/null >"$TEST_DIR/pipe" 2>&1 3>&- 4>&- &
	hull=$!
	before=$(sed -n 1p "$TEST_DIR/saved/tmp/last")
	wait_until 20 "[ \$(last) -gt $((before + 3)) ]"
	[ "$(cat "$TEST_DIR/pid")" = "$(container_pid)" ]
	kill -TERM "$hull"
	status=0
	wait "$hull" || status=$?
	[ "$status" -eq 7 ] || fail "status $status" "$(cat "$TEST_DIR/second")"
	wait_until 5 'grep -q "the end" "$TEST_DIR/second"'
}

@test "mounts: what is the host's is the host's again, read-only stays read-only, masked stays masked" {
	mkdir -p "$TEST_DIR/rw" "$TEST_DIR/ro" "$TEST_DIR/tree/sub" "$BUNDLE/rootfs/real"
	ln -s real "$BUNDLE/rootfs/link"
	echo there >"$TEST_DIR/ro/file"
	echo one >"$TEST_DIR/one"
	mount -t tmpfs tmpfs "$TEST_DIR/tree/sub"
	echo below >"$TEST_DIR/tree/sub/file"
	update_config --arg dir "$TEST_DIR" '.mounts += [
		{destination: "/link/rw", source: ($dir + "/rw"), options: ["bind"]},
		{destination: "/ro", source: ($dir + "/ro"), options: ["rbind", "ro"]},
		{destination: "/etc/one", source: ($dir + "/one"), options: ["bind", "ro"]},
		{destination: "/tree", source: ($dir + "/tree"), options: ["rbind"]}]
		| .linux.maskedPaths += ["/etc/passwd"]'
	start_counter
	checkpoint
	h delete "$ID"
	restore
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
	h exec "$ID" sh -c 'echo new >/real/rw/new && cat /ro/file /etc/one /tree/sub/file && ! echo x >/ro/x && ! echo x >/etc/one &&
		[ ! -s /etc/passwd ] && [ ! -s /proc/kcore ] && [ -z "$(ls -A /sys/firmware)" ] && ! echo x >/proc/sys/kernel/hostname' 2>/dev/null
	[ "$(cat "$TEST_DIR/rw/new")" = new ]
	h delete --force "$ID"
	# What the bundle's configuration does not have any more cannot be taken from it.
	update_config '.mounts |= map(select(.destination != "/ro"))'
	run restore
	expect_error 'bind mount on `/(ro|etc/one)`'
	umount "$TEST_DIR/tree/sub"
}

@test "a read-only root, another user, a user namespace" {
	chmod 777 "$BUNDLE/rootfs" "$BUNDLE/rootfs/tmp"
	update_config '.process.user = {uid: 1000, gid: 1000} | .root.readonly = true
		| .mounts += [{destination: "/tmp", type: "bind", source: "rootfs/tmp", options: ["bind"]}]'
	start_counter
	checkpoint
	h delete "$ID"
	restore
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
	[ "$(h exec "$ID" id -u)" = 1000 ]
	run ! h exec "$ID" touch /file
	h delete --force "$ID"
	rm -rf "$TEST_DIR/saved" "$BUNDLE"/rootfs/tmp/*
	update_config '.linux.namespaces += [{type: "user"}] | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = .linux.uidMappings | .process.user = {uid: 0, gid: 0}'
	start_counter
	checkpoint
	h delete "$ID"
	restore
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
	in_microvm || grep -q '^Uid:.100000' "/proc/$(container_pid)/status"
	run ! h exec "$ID" touch /file
}

@test "a network namespace of others is joined again" {
	ip netns add "$ID"
	update_config --arg ns "/run/netns/$ID" '(.linux.namespaces[] | select(.type == "network")).path = $ns'
	start_counter
	checkpoint
	h delete "$ID"
	ip netns delete "$ID"
	ip netns add "$ID-new"
	update_config --arg ns "/run/netns/$ID-new" '(.linux.namespaces[] | select(.type == "network")).path = $ns'
	restore
	[ "$(stat -Lc %i "/proc/$(container_pid)/ns/net")" = "$(stat -Lc %i "/run/netns/$ID-new")" ]
	h delete --force "$ID"
	update_config '(.linux.namespaces[] | select(.type == "network")) |= del(.path)'
	if ! in_microvm; then
		run restore
		expect_error 'network namespace of others'
	fi
	ip netns delete "$ID-new"
}

@test "limits and cgroups below the container's own are there again" {
	container_only 'they are in its memory'
	cgroup_is_v2 || skip "needs cgroup v2"
	update_config '.linux.resources.pids.limit = 123
		| (.mounts[] | select(.destination == "/sys/fs/cgroup")) |= (.options -= ["ro"])'
	set_args sh -c 'mkdir /sys/fs/cgroup/sub; echo $$ >/sys/fs/cgroup/sub/cgroup.procs; i=0
		while :; do i=$((i + 1)); echo $i >/tmp/last; sleep 0.05; done'
	start_quiet
	wait_until 10 "[ \$(last) -gt 3 ]"
	checkpoint
	h delete "$ID"
	ID=$ID-b restore
	ID=$ID-b
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
	grep -q "$ID/sub" "/proc/$(container_pid)/cgroup"
	[ "$(limit pids pids.max pids.max)" = 123 ]
	h pause "$ID"
	[ "$(container_status)" = paused ]
	h resume "$ID"
}

@test "with systemd's cgroups" {
	require_systemd
	set_args sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/tmp/last; sleep 0.05; done'
	h --systemd-cgroup create --bundle "$BUNDLE" "$ID" >/dev/null 2>&1 </dev/null
	h start "$ID"
	wait_until 10 "[ \$(last) -gt 3 ]"
	checkpoint
	h delete "$ID"
	h --systemd-cgroup restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID" >"$OUT" 2>&1 </dev/null || fail "$(cat "$OUT")"
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
	grep -q "hull-$ID.scope" "/proc/$(container_pid)/cgroup"
}

@test "hooks: prestart and createRuntime at a restore, poststop at the end" {
	update_config --arg out "$TEST_DIR/hooks" '.hooks = ({prestart, createRuntime, poststop} | with_entries(.key as $k | .value =
		[{path: "/bin/sh", env: ["PATH=/usr/bin:/bin"], args: ["sh", "-c", ("jq -j .status,.pid\\>0 >>" + $out + "; echo \" " + $k + "\" >>" + $out)]}]))'
	start_counter
	checkpoint
	h delete "$ID"
	rm "$TEST_DIR/hooks"
	restore
	run cat "$TEST_DIR/hooks"
	expect_output $'creatingtrue prestart\ncreatingtrue createRuntime'
	h delete --force "$ID"
	tail -n 1 "$TEST_DIR/hooks" | grep -q 'stoppedfalse poststop'
}

@test "an altered byte in any file, one that is missing, and one too many are found" {
	start_counter
	checkpoint
	h delete "$ID"
	cp -a "$IMAGE" "$TEST_DIR/whole"
	for file in $(cd "$IMAGE" && ls); do
		size=$(stat -c %s "$IMAGE/$file")
		[ "$size" -gt 0 ] || continue
		at=$((RANDOM * 32768 + RANDOM)) at=$((at % size))
		byte=$(od -An -tu1 -j "$at" -N 1 "$IMAGE/$file" | tr -d ' ')
		printf "\\x$(printf %02x $(((byte + 1) % 256)))" | dd of="$IMAGE/$file" bs=1 seek="$at" conv=notrunc status=none
		run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
		[ "$status" -ne 0 ] || fail "$file at $at: not found"
		[[ $file = manifest.* ]] || expect_error "$file. was altered"
		cp -a "$TEST_DIR/whole/$file" "$IMAGE/$file"
	done
	file=$(cd "$IMAGE" && ls core-*.img machine 2>/dev/null | head -n 1)
	rm "$IMAGE/$file"
	run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
	expect_error "$file"
	cp -a "$TEST_DIR/whole/$file" "$IMAGE/$file"
	touch "$IMAGE/extra.img"
	run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
	expect_error 'extra.img. does not belong'
	rm "$IMAGE/extra.img" "$IMAGE/manifest.json"
	run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
	expect_error 'not complete'
	run h checkpoint inspect "$IMAGE"
	expect_error 'not complete'
}

@test "another format, kind, machine and processor are refused with the reason" {
	start_counter
	checkpoint
	h delete "$ID"
	cp "$IMAGE/manifest.json" "$TEST_DIR/whole"
	refused()
	{
		jq "$1" <"$TEST_DIR/whole" >"$IMAGE/manifest.json"
		sha256sum <"$IMAGE/manifest.json" | cut -d' ' -f1 >"$IMAGE/manifest.sha256"
		run h restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID"
		expect_error "$2"
	}
	refused '.formatVersion = 2' 'format 2.*newer hull'
	in_microvm || refused '.kind = "microvm"' 'machine'
	refused '.kind = "jail"' 'of a `jail`'
	refused '.host.machine = "riscv64"' 'another kind: riscv64'
	refused '.host.cpuFlags += " avx512_fp16 amx_tile"' 'lacks.*avx512_fp16 amx_tile'
	refused '.externalMounts = [{key: "hull-mount-9]:/etc", destination: "/x", path: ""}]' 'externalMounts|/mounts'
	refused '.externalMounts = [{key: "hull-mount-9", destination: "/proc", path: "/../../etc"}]' 'externalMounts|/mounts'
	refused '.files[0].name = "../x"' 'name'
}

@test "killed at many points, a checkpoint leaves the container running, or a checkpoint that is whole" {
	start_counter
	for delay in $(races 10); do
		rm -rf "$IMAGE"
		rounds=()
		[ $((delay % 2)) = 0 ] || rounds=(--pre-copy)
		"$HULL" --root "$ROOT" checkpoint "${rounds[@]}" --image-path "$IMAGE" "$ID" 2>/dev/null 3>&- 4>&- &
		pid=$!
		sleep "$(awk "BEGIN { print $delay * $delay * 0.03 }")"
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		# What it started goes on without it, and then lets others in.
		wait_until 30 "flock --nonblock $ROOT/$ID true"
		if [ -d "$IMAGE" ]; then
			[ "$(container_status)" = stopped ]
			h delete "$ID"
			restore
		fi
		[ "$(container_status)" = running ]
		before=$(last)
		wait_until 10 "[ \$(last) -gt $before ]"
	done
}

@test "killed at many points, a restore leaves what delete --force removes" {
	start_counter
	checkpoint
	h delete "$ID"
	for delay in $(races 8); do
		"$HULL" --root "$ROOT" restore --detach --bundle "$BUNDLE" --image-path "$IMAGE" "$ID" >/dev/null 2>&1 </dev/null 3>&- 4>&- &
		pid=$!
		sleep "$(awk "BEGIN { print $delay * $delay * 0.03 }")"
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		h delete --force "$ID"
		expect_nothing_left
		rm -rf "$BUNDLE/rootfs" && cp -a "$TEST_DIR/saved" "$BUNDLE/rootfs"
	done
	restore
	[ "$(container_status)" = running ]
}

@test "a full disk: the container runs on, and the checkpoint that was there stays whole" {
	start_counter
	mkdir "$TEST_DIR/small"
	mount -t tmpfs -o "size=$(in_microvm && echo 64m || echo 3m)" tmpfs "$TEST_DIR/small"
	IMAGE=$TEST_DIR/small/checkpoint
	h checkpoint --leave-running --image-path "$IMAGE" "$ID"
	digest=$(sha256sum <"$IMAGE/manifest.json")
	dd if=/dev/zero of="$TEST_DIR/small/fill" bs=64k status=none || true
	run h checkpoint --image-path "$IMAGE" "$ID"
	expect_error 'No space|CRIU failed'
	[ "$(ls -A "$TEST_DIR/small")" = $'checkpoint\nfill' ]
	[ "$digest" = "$(sha256sum <"$IMAGE/manifest.json")" ]
	[ "$(container_status)" = running ]
	before=$(last)
	wait_until 10 "[ \$(last) -gt $before ]"
	h delete --force "$ID"
	h checkpoint inspect "$IMAGE" >/dev/null
	umount "$TEST_DIR/small"
}

@test "what cannot be done is refused, and the container runs on" {
	container_only 'those are options of CRIU'
	start_counter
	for option in --lazy-pages --auto-dedup --page-server=127.0.0.1:1 --status-fd=3 --empty-ns=ipc --manage-cgroups-mode=no --network-lock=no; do
		run h checkpoint --image-path "$IMAGE" $option "$ID"
		expect_error "${option%=*}"
	done
	mkdir "$IMAGE" && touch "$IMAGE/mine"
	run h checkpoint --image-path "$IMAGE" "$ID"
	expect_error 'not empty, and holds no checkpoint'
	[ "$(container_status)" = running ]
	h delete --force "$ID"
	run h checkpoint --image-path "$IMAGE.2" "$ID"
	expect_error 'does not exist'
	start_sleeper
	run h checkpoint --image-path "$IMAGE.2" "$ID"
	expect_error 'standard (output|error) is .* of the host'
	h kill "$ID" KILL
	wait_stopped
	run h checkpoint --image-path "$IMAGE.2" "$ID"
	expect_error 'it is stopped'
	[ ! -e "$IMAGE.2" ]
}

@test "help and the probes of podman" {
	h checkpoint --help | grep -q -- --tcp-skip-in-flight
	h restore --help | grep -q -- --lsm-mount-context
	run h restore --lsm-mount-context
	expect_error 'requires an argument'
	run h restore -no-subreaper --image-path "$TEST_DIR/nothing" "$ID"
	expect_error 'No such file'
}
