#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull mounts add and remove: mounts of a container that runs, and what its processes may do about it.
# modes: container microvm

load helpers

# mounts_file JSON: writes the list to $TEST_DIR/list
mounts_file()
{
	printf '%s\n' "$1" >"$TEST_DIR/list"
}

add()
{
	mounts_file "$1"
	run h mounts add "$ID" "$TEST_DIR/list"
}

remove()
{
	mounts_file "$1"
	run h mounts remove "$ID" "$TEST_DIR/list"
}

inside()
{
	run h exec "$ID" sh -c "$1"
}

allow_mounts()
{
	update_config '.process.capabilities |= map_values(. + ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])'
}

# bats test_tags=quick,microvm
@test "a directory and a file of the host's are added, with options, and removed" {
	mkdir "$TEST_DIR/dir"
	echo text >"$TEST_DIR/dir/f"
	start_sleeper
	list='[{"destination": "/new/dir", "source": "'"$TEST_DIR"'/dir", "options": ["rbind", "ro", "nosuid"]},
		{"destination": "/file", "source": "'"$TEST_DIR"'/dir/f", "type": "bind"}]'
	add "$list"
	expect_status 0
	inside 'cat /new/dir/f /file; touch /new/dir/x; grep " /new/dir " /proc/self/mountinfo'
	expect_match '^text$'
	expect_match 'Read-only'
	expect_match ' /new/dir ro,nosuid'
	remove "$list"
	expect_status 0
	inside 'ls -A /new/dir; cat /file; cut -d" " -f5 /proc/self/mountinfo'
	expect_no_match 'text|^/new|^/file'
	remove "$list"
	expect_error '/mounts/1/destination: nothing is mounted on `/file`'
	run grep -c "$TEST_DIR/dir" /proc/self/mountinfo
	expect_output 0
}

@test "what is mounted below a source comes along, with its options and the recursive ones, and goes" {
	mkdir -p "$TEST_DIR/dir/sub"
	mount -t tmpfs -o noexec sub "$TEST_DIR/dir/sub"
	start_sleeper
	list='[{"destination": "/new", "source": "'"$TEST_DIR"'/dir", "options": ["rbind", "rnosuid"]}]'
	add "$list"
	expect_status 0
	inside 'grep " /new/sub " /proc/self/mountinfo'
	expect_match ' /new/sub rw,nosuid,noexec'
	remove "$list"
	expect_status 0
	inside 'grep -c " /new" /proc/self/mountinfo'
	expect_output 0
	# Only now: where the source's mount is shared, an umount reaches the container.
	umount "$TEST_DIR/dir/sub"
}

# bats test_tags=quick
@test "a tmpfs is added from standard input, also to a container that is only created" {
	set_args sh -c 'grep -c " /t .*size=1024k" /proc/self/mountinfo; ls /t'
	create_container
	mkdir -p "$BUNDLE/rootfs/t"
	echo '[{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "tmpcopyup"]}]' >"$TEST_DIR/list"
	touch "$BUNDLE/rootfs/t/copied"
	h mounts add "$ID" - <"$TEST_DIR/list"
	h start "$ID"
	wait_stopped
	[ "$(cat "$OUT")" = "1
copied" ]
}

@test "the topmost mount is removed, the last of a list first" {
	mkdir "$TEST_DIR/a" "$TEST_DIR/b"
	touch "$TEST_DIR/a/from-a" "$TEST_DIR/b/from-b"
	start_sleeper
	add '[{"destination": "/m", "source": "'"$TEST_DIR"'/a", "options": ["bind"]}, {"destination": "/m", "source": "'"$TEST_DIR"'/b", "options": ["bind"]}]'
	inside 'ls /m'
	expect_output from-b
	remove '[{"destination": "/m"}]'
	inside 'ls /m'
	expect_output from-a
	add '[{"destination": "/m/../n", "type": "tmpfs"}, {"destination": "/n/sub", "type": "tmpfs"}]'
	expect_status 0
	remove '[{"destination": "/n"}, {"destination": "/n/sub"}]'
	expect_status 0
	inside 'cut -d" " -f5 /proc/self/mountinfo'
	expect_no_match '^/n'
}

# bats test_tags=quick,microvm
@test "in a user namespace, with mapped ids, too" {
	chmod 755 "$TEST_DIR" "$BUNDLE" "$HULL_TEST_WORK"
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	mkdir "$TEST_DIR/m"
	mount -t tmpfs m "$TEST_DIR/m"
	touch "$TEST_DIR/m/f"
	start_sleeper
	add '[{"destination": "/plain", "source": "'"$TEST_DIR"'/m", "options": ["bind"]},
		{"destination": "/mapped", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"]},
		{"destination": "/t", "type": "tmpfs", "options": ["mode=700"]}]'
	added=$status said=$output
	inside 'stat -c %u /plain/f /mapped/f /t'
	umount -l "$TEST_DIR/m"
	[[ "$said" != *"cannot map the ids"* ]] || skip "this kernel has no idmapped tmpfs"
	[ "$added" -eq 0 ] || fail "$said"
	expect_output "65534
0
0"
	in_microvm || [ "$(stat -c %u "/proc/$(container_pid)/root/t")" = 100000 ]
	remove '[{"destination": "/plain"}, {"destination": "/mapped"}, {"destination": "/t"}]'
	expect_status 0
	inside 'ls /plain; grep -c " /t " /proc/self/mountinfo'
	expect_output 0
}

# bats test_tags=quick
@test "what cannot be is refused, with its place" {
	start_sleeper
	add '{"destination": "/x"}'
	expect_error 'list`: /mounts: expected an array'
	add '[{"type": "tmpfs"}]'
	expect_error '/mounts/0/destination'
	add '[{"destination": "/x", "source": "/no/such", "options": ["bind"]}]'
	expect_error '/mounts/0/source: bind `/no/such`'
	add '[{"destination": "/x"}]'
	expect_error '/mounts/0/type'
	for type in proc cgroup cgroup2; do
		add '[{"destination": "/x", "type": "'$type'"}]'
		expect_error '/mounts/0/type: `'$type'`'
	done
	add '[{"destination": "/", "type": "tmpfs"}]'
	expect_error 'root directory'
	add '[{"destination": "/x", "type": "tmpfs", "options": ["iversion"]}]'
	expect_error 'iversion'
	remove '[{"destination": "/"}]'
	expect_error 'is the root directory'
	remove '[{"destination": "/etc"}]'
	expect_error 'nothing is mounted'
	remove '[{"destination": "/no/such/place"}]'
	expect_error '/mounts/0/destination: open'
	run h mounts change "$ID" "$TEST_DIR/list"
	expect_error 'mounts: .change. is neither add nor remove'
	run h mounts add nosuch "$TEST_DIR/list"
	expect_error 'does not exist'
	run h mounts add "$ID" "$TEST_DIR/nosuch"
	expect_error nosuch
	h kill "$ID" KILL
	wait_stopped
	add '[{"destination": "/x", "type": "tmpfs"}]'
	expect_error 'container not running'
}

# ---- a container that is hostile ----------------------------------------------------------------------

# bats test_tags=quick
@test "links and descriptors in a container lead nowhere but into it" {
	mkdir "$TEST_DIR/outside" "$TEST_DIR/data"
	touch "$TEST_DIR/data/f"
	ln -s "$TEST_DIR/outside" "$BUNDLE/rootfs/link"
	ln -s "../../../../../../../..$TEST_DIR/outside" "$BUNDLE/rootfs/up"
	ln -s /proc/self/fd/3 "$BUNDLE/rootfs/fd"
	ln -s /proc/1/root "$BUNDLE/rootfs/magic"
	start_sleeper
	for d in /link /up/made /link/made; do
		add '[{"destination": "'$d'", "source": "'"$TEST_DIR"'/data", "options": ["bind"]}]'
		expect_status 0
	done
	for n in {3..12}; do
		for d in /proc/self/fd/$n /proc/1/fd/$n /proc/self/fd/$n/made /proc/self/cwd/made; do
			add '[{"destination": "'$d'", "source": "'"$TEST_DIR"'/data", "options": ["bind"]}]'
			[ "$status" -ne 0 ] || fail "mounted on $d"
			remove '[{"destination": "'$d'"}]'
			[ "$status" -ne 0 ] || fail "unmounted $d"
		done
	done
	for d in /magic /magic/made /fd /fd/made; do
		add '[{"destination": "'$d'", "source": "'"$TEST_DIR"'/data", "options": ["bind"]}]'
		[ "$status" -ne 0 ] || fail "mounted on $d"
	done
	[ -z "$(ls -A "$TEST_DIR/outside")" ] || fail "made outside: $(ls -A "$TEST_DIR/outside")"
	run grep -c "$TEST_DIR/outside" /proc/self/mountinfo
	expect_output 0
}

@test "a false /proc in the container does not redirect an unmount" {
	allow_mounts
	set_args sh -c 'mkdir -p /victim /t && mount -t tmpfs victim /victim && mount -t tmpfs target /t &&
		mount -t tmpfs false /proc && mkdir -p /proc/self/fd && for n in $(busybox seq 0 60); do ln -s /victim /proc/self/fd/$n; done
		touch /proc/ready; trap "exit 0" TERM; while :; do sleep 0.05; done'
	start_container
	wait_until 20 "h exec $ID test -e /proc/ready"
	remove '[{"destination": "/t"}]'
	expect_status 0
	if in_microvm; then
		run h exec "$ID" stat -c %d / /victim /t
		[ "${lines[0]}" != "${lines[1]}" ] && [ "${lines[0]}" = "${lines[2]}" ] || fail "$output"
		return
	fi
	run cut -d" " -f5 "/proc/$(container_pid)/mountinfo"
	expect_match '^/victim$'
	expect_no_match '^/t$'
}

@test "a place that is swapped all the time is mounted on inside, or not at all" {
	mkdir "$TEST_DIR/outside" "$TEST_DIR/data"
	mkdir -p "$BUNDLE/rootfs/a"
	ln -s "$TEST_DIR/outside" "$BUNDLE/rootfs/b"
	set_args sh -c 'trap "exit 0" TERM; while :; do mv a c; mv b a; mv a b; mv c a; done'
	start_container
	for _ in {1..40}; do
		add '[{"destination": "/a/made", "source": "'"$TEST_DIR"'/data", "options": ["bind"]}]'
		[ -z "$(ls -A "$TEST_DIR/outside")" ] || fail "made outside: $(ls -A "$TEST_DIR/outside")"
	done
	run grep -c "$TEST_DIR/outside" /proc/self/mountinfo
	expect_output 0
}

@test "no process of hull is seen by the container meanwhile, nor left behind" {
	mkdir "$TEST_DIR/data"
	set_args sh -c 'trap "exit 0" TERM; while :; do for p in /proc/[0-9]*; do case $p in /proc/1) ;; *) echo "$p" >>/seen ;; esac; done; done'
	start_container
	for _ in {1..15}; do
		add '[{"destination": "/m", "source": "'"$TEST_DIR"'/data", "options": ["bind"]}]'
		expect_status 0
		remove '[{"destination": "/m"}]'
		expect_status 0
	done
	[ ! -s "$BUNDLE/rootfs/seen" ] || fail "seen:" "$(sort -u "$BUNDLE/rootfs/seen")"
}
