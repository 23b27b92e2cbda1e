#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# modes: container microvm
# hull clone: many workloads from one checkpoint, each with an identity and files of its own.

load helpers
load checkpoint

setup()
{
	hull_setup
	require_checkpoints
	IMAGE=$TEST_DIR/checkpoint
	mkdir -p "$BUNDLE/rootfs/etc" "$BUNDLE/rootfs/var/lib/dbus"
	echo 0123456789abcdef0123456789abcdef >"$BUNDLE/rootfs/etc/machine-id"
	ln -s /etc/machine-id "$BUNDLE/rootfs/var/lib/dbus/machine-id"
}

# A checkpoint of a container that has ended.
make_checkpoint()
{
	start_counter
	h checkpoint --image-path "$IMAGE" "$ID"
	h delete "$ID"
}

# clone [OPTION...] ID...: what it says comes last, for a machine keeps the streams that it was started with.
clone()
{
	local status=0

	h clone --bundle "$BUNDLE" "${options[@]}" "$IMAGE" "$@" >"$TEST_DIR/said" 2>&1 </dev/null || status=$?
	cat "$TEST_DIR/said"
	[ "$status" -eq 0 ] || grep -h Error "$ROOT"/*/criu/restore.log || true
	return "$status"
}

# What the counter of the clone $1 has come to.
last_of()
{
	h exec "$1" cat /tmp/last
}

# It counts on from where the bundle was, $2.
expect_counting()
{
	wait_until 20 "[ \$(last_of $1) -gt $(($2 + 3)) ]"
	[ "$(h exec "$1" sed -n "$(($2 + 1))p" /tmp/count)" = $(($2 + 1)) ]
}

# bats test_tags=microvm
@test "three clones go on where it was, each with its own name, machine id and files" {
	options=()
	make_checkpoint
	before=$(last)
	cp -a "$BUNDLE/rootfs" "$TEST_DIR/saved"
	ids=("$ID-a" "$ID-b" "$ID-c")
	run clone --jobs 3 "${ids[@]}"
	expect_status 0
	[ "$(sort <<<"$output")" = "$(printf '%s\n' "${ids[@]}")" ]
	for id in "${ids[@]}"; do
		[ "$(container_status "$id")" = running ]
		expect_counting "$id" "$before"
		[ "$(h exec "$id" hostname)" = "$id" ]
		h exec "$id" cat /etc/machine-id >>"$TEST_DIR/ids"
		[ "$(h exec "$id" cat /var/lib/dbus/machine-id)" = "$(tail -n 1 "$TEST_DIR/ids")" ]
		jq -e --arg id "$id" '.hostname == $id' "$ROOT/$id/config.json"
	done
	[ "$(grep -xE '[0-9a-f]{32}' "$TEST_DIR/ids" | sort -u | grep -vc 0123456789abcdef)" = 3 ]
	h exec "$ID-a" sh -c 'echo a >/file; rm /etc/passwd; chmod 700 /home'
	run h exec "$ID-b" sh -c '[ ! -e /file ] && [ -e /etc/passwd ] && stat -c %a /home'
	expect_output "$(stat -c %a "$BUNDLE/rootfs/home")"
	# The bundle is as it was.
	diff -r --no-dereference "$TEST_DIR/saved" "$BUNDLE/rootfs"
	run h checkpoint --image-path "$IMAGE.2" "$ID-a"
	expect_error 'is a clone'
	h kill "$ID-a" KILL
	wait_stopped "$ID-a"
	h delete "$ID-a"
	h delete --force "$ID-b" "$ID-c"
	expect_nothing_left
	[ -z "$(ls -A "$ROOT")" ]
}

@test "files, pipes, TCP, inotify and memory go on in each; state directories may be on a tmpfs" {
	mkdir "$ROOT" 2>/dev/null || true
	mount -t tmpfs tmpfs "$ROOT"
	options=(--tcp-established)
	start_workload
	h checkpoint --tcp-established --image-path "$IMAGE" "$ID"
	h delete "$ID"
	before=$(number)
	clone "$ID-a" "$ID-b"
	for id in "$ID-a" "$ID-b"; do
		wait_until 20 "[ \$(h exec $id sed -n 's/ files.*//p' /tmp/status) -gt $((before + 20)) ]" || fail "$(h exec "$id" cat /tmp/status)"
		files=$(h exec "$id" sed 's/.*files //' /tmp/status)
		h exec "$id" touch "/watch/new.$RANDOM"
		wait_until 10 "h exec $id grep -q 'files $((files + 1))' /tmp/status" || fail "$(h exec "$id" cat /tmp/status)"
		h delete --force "$id"
	done
	umount "$ROOT"
}

# bats test_tags=microvm
@test "one that fails is named and leaves nothing, the others stay" {
	options=()
	make_checkpoint
	before=$(last)
	start_sleeper "$ID-taken"
	run clone --jobs 1 "$ID-a" "$ID-taken" "$ID-b"
	expect_status 1
	expect_match "clone .$ID-taken.: .*exists already"
	expect_match "^$ID-a$"
	expect_match "^$ID-b$"
	expect_counting "$ID-a" "$before"
	expect_counting "$ID-b" "$before"
	[ "$(container_status "$ID-taken")" = running ]
	# A hook that fails for one of them.
	update_config --arg id "$ID-d" '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "! grep -q " + $id]}]'
	run clone "$ID-c" "$ID-d"
	expect_status 1
	expect_match "clone .$ID-d.: .*createRuntime"
	[ "$(container_status "$ID-c")" = running ]
	[ ! -e "$ROOT/$ID-d" ]
	for options in "$ID-e $ID-e" "--pid-file $TEST_DIR/pid $ID-e $ID-f" "--netns $ID-e $ID-e" "--netns $ID-g=/x $ID-e"; do
		run h clone --bundle "$BUNDLE" "$IMAGE" $options
		[ "$status" -eq 1 ]
	done
	run ! ls "$ROOT/$ID-e"
	printf x >>"$IMAGE/manifest.json"
	options=()
	run clone "$ID-e"
	expect_error 'manifest.json'
	run h clone "$IMAGE"
	expect_error 'argument is missing'
}

@test "options: layers elsewhere, the host name as it was, a cgroup for each, a pid file" {
	mkdir "$TEST_DIR/layers"
	update_config --arg path "/$ID-group" '.hostname = "first" | .linux.cgroupsPath = $path + "/x"'
	options=(--layers "$TEST_DIR/layers" --keep-hostname --work-path "$TEST_DIR/work")
	make_checkpoint
	before=$(last)
	clone "$ID-a" "$ID-b"
	[ "$(ls "$TEST_DIR/layers" | wc -l)" -eq 2 ]
	for id in "$ID-a" "$ID-b"; do
		expect_counting "$id" "$before"
		[ "$(h exec "$id" hostname)" = first ]
		in_microvm || [ -s "$TEST_DIR/work/$id/restore.log" ]
		grep -q "/$ID-group/$id$" "/proc/$(container_pid "$id")/cgroup"
	done
	h exec "$ID-a" sh -c 'mkdir /deep && chmod 0 /deep && echo x >/file'
	clone --pid-file "$TEST_DIR/pid" "$ID-c"
	[ "$(cat "$TEST_DIR/pid")" = "$(container_pid "$ID-c")" ]
	h delete --force "$ID-a" "$ID-b" "$ID-c"
	[ -z "$(ls -A "$TEST_DIR/layers")" ]
	find /sys/fs/cgroup -depth -type d -name "$ID-group" -exec rmdir {} +
	options=(--layers "$TEST_DIR/nothing")
	run clone "$ID-a"
	expect_error 'nothing'
	[ ! -e "$ROOT/$ID-a" ]
}

@test "a network namespace with a path is for one; --netns gives each its own" {
	options=()
	for n in "" -a -b; do
		ip netns add "$ID$n"
	done
	update_config --arg ns "/run/netns/$ID" '(.linux.namespaces[] | select(.type == "network")).path = $ns'
	make_checkpoint
	run clone "$ID-a" "$ID-b"
	expect_error 'cannot share.*--netns'
	clone --netns "$ID-a=/run/netns/$ID-a" --netns "$ID-b=/run/netns/$ID-b" "$ID-a" "$ID-b"
	for n in -a -b; do
		[ "$(stat -Lc %i "/proc/$(container_pid "$ID$n")/ns/net")" = "$(stat -Lc %i "/run/netns/$ID$n")" ]
	done
	clone "$ID-c"
	[ "$(stat -Lc %i "/proc/$(container_pid "$ID-c")/ns/net")" = "$(stat -Lc %i "/run/netns/$ID")" ]
	h delete --force "$ID-a" "$ID-b" "$ID-c"
	for n in "" -a -b; do
		ip netns delete "$ID$n"
	done
}

@test "a read-only root and a user namespace; links in the root lead nowhere" {
	options=()
	echo 00000000000000000000000000000000 >"$TEST_DIR/outside"
	ln -sf "$TEST_DIR/outside" "$BUNDLE/rootfs/etc/machine-id"
	rm "$BUNDLE/rootfs/var/lib/dbus/machine-id"
	mkfifo "$BUNDLE/rootfs/var/lib/dbus/machine-id"
	chown -R 100000:100000 "$BUNDLE/rootfs"
	update_config '.linux.namespaces += [{type: "user"}] | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = .linux.uidMappings | .root.readonly = true
		| .mounts += [{destination: "/tmp", type: "tmpfs", source: "tmpfs"}]'
	set_args sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/tmp/last; sleep 0.05; done'
	start_quiet
	wait_until 10 "[ \$(h exec $ID cat /tmp/last) -gt 3 ]"
	h checkpoint --image-path "$IMAGE" "$ID"
	h delete "$ID"
	clone "$ID-a" "$ID-b"
	for id in "$ID-a" "$ID-b"; do
		before=$(last_of "$id")
		wait_until 10 "[ \$(last_of $id) -gt $before ]"
		run ! h exec "$id" touch /file
		in_microvm || grep -q '^Uid:.100000' "/proc/$(container_pid "$id")/status"
	done
	[ "$(cat "$TEST_DIR/outside")" = 00000000000000000000000000000000 ]
}

# bats test_tags=microvm
@test "killed at many points, it leaves clones that run, and what delete --force removes" {
	make_checkpoint
	mkdir "$TEST_DIR/layers"
	ids=("$ID-a" "$ID-b" "$ID-c")
	for delay in $(races 8); do
		"$HULL" --root "$ROOT" clone --bundle "$BUNDLE" --layers "$TEST_DIR/layers" --jobs 2 "$IMAGE" "${ids[@]}" >/dev/null 2>&1 </dev/null 3>&- 4>&- &
		pid=$!
		sleep "$(awk "BEGIN { print $delay * $delay * 0.06 }")"
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		for id in "${ids[@]}"; do
			h delete --force "$id"
		done
		expect_nothing_left
		[ -z "$(ls -A "$TEST_DIR/layers")" ]
	done
	options=()
	clone "${ids[@]}"
	h delete --force "${ids[@]}"
}

# What a clone's guest has written of its memory, in KiB; and all that its two processes hold for themselves.
memory_of()
{
	local vmm server

	vmm=$(container_pid "$1")
	server=$(jq .fileServer "$ROOT/$1/state.json")
	# The guest's memory is one range of addresses, with mappings of the checkpoint and others between them.
	awk '/^[0-9a-f]+-/ { split($1, at, "-"); if (at[1] != last || $2 ~ /^---/) { if (is_guest) sum += block; block = 0; is_guest = 0 }
			last = at[2]; is_guest = is_guest || $6 ~ /machine$/ }
		/^Anonymous:/ { block += $2 }
		END { print sum + (is_guest ? block : 0) }' "/proc/$vmm/smaps"
	awk '/^Private_Dirty:/ { sum += $2 } END { print sum }' "/proc/$vmm/smaps_rollup" "/proc/$server/smaps_rollup"
}

@test "many microVMs from one checkpoint hold little more than what they write, and no two are the same" {
	in_microvm || skip 'of microVMs'
	options=()
	count=${HULL_CLONES:-8} # each takes seconds in an emulated machine
	for n in $(seq 0 "$count"); do
		ip netns add "$ID-$n"
		ip link add "h$$-$n" type veth peer name eth0 netns "$ID-$n"
		ip -n "$ID-$n" address add "10.77.$n.2/24" dev eth0
		ip -n "$ID-$n" link set eth0 up
		[ "$n" -eq 0 ] || options+=(--netns "$ID-c$n=/run/netns/$ID-$n")
	done
	update_config --arg ns "/run/netns/$ID-0" '(.linux.namespaces[] | select(.type == "network")).path = $ns'
	# Quiet, lest so many keep an emulated machine busy, and each writes some memory once it is told to.
	update_config '.mounts += [{destination: "/scratch", type: "tmpfs", source: "tmpfs"}]'
	set_args sh -c 'while [ ! -e /go ]; do sleep 2; done; head -c 6000000 /dev/urandom >/scratch/file; while :; do sleep 100; done'
	start_quiet
	h checkpoint --image-path "$IMAGE" "$ID"
	h delete "$ID"
	mapfile -t ids < <(seq -f "$ID-c%g" "$count")
	clone "${ids[@]}"
	for id in "${ids[@]}"; do
		h exec "$id" sh -c 'touch /go; cat /etc/machine-id; head -c 32 /dev/urandom | sha256sum; cat /proc/sys/kernel/random/uuid
			cat /sys/class/net/eth0/address; ip -4 -o address show dev eth0 | awk "{ print \$4 }"; hostname' >>"$TEST_DIR/identities"
	done
	for id in "$ID-c1" "$ID-c$count"; do
		wait_until 20 "[ \$(h exec $id stat -c %s /scratch/file) -eq 6000000 ]"
	done
	sleep 2
	[ "$(wc -l <"$TEST_DIR/identities")" -eq $((6 * count)) ]
	[ "$(sort -u "$TEST_DIR/identities" | wc -l)" -eq $((6 * count)) ] || fail "$(sort "$TEST_DIR/identities" | uniq -d)"
	for id in "${ids[@]}"; do
		read -r written held < <(memory_of "$id" | xargs)
		[ "$written" -gt 6000 ]
		[ "$held" -le $((written * 115 / 100)) ] || fail "$id holds $held KiB, and wrote $written"
	done
	h delete --force "${ids[@]}"
	for n in $(seq 0 "$count"); do
		ip netns delete "$ID-$n"
	done
}
