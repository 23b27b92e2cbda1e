#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The root file system: mounts, devices, masks. What hostile images do is in attacks_mounts.bats.

load helpers

add_mount()
{
	update_config --argjson m "$1" '.mounts += [$m]'
}

# bats test_tags=quick
@test "a host directory is bound, read-write and read-only" {
	mkdir "$TEST_DIR/rw" "$TEST_DIR/ro"
	add_mount '{"destination": "/rw", "source": "'"$TEST_DIR"'/rw", "type": "bind", "options": ["bind"]}'
	add_mount '{"destination": "/ro", "source": "'"$TEST_DIR"'/ro", "options": ["rbind", "ro"]}'
	run_script 'echo text >/rw/file; echo text >/ro/file || echo refused'
	expect_status 0
	expect_match refused
	[ "$(cat "$TEST_DIR/rw/file")" = text ]
	[ ! -e "$TEST_DIR/ro/file" ]
}

@test "a file is bound, and its mount point made" {
	echo secret >"$TEST_DIR/file"
	add_mount '{"destination": "/deep/er/file", "source": "'"$TEST_DIR"'/file", "options": ["bind", "ro"]}'
	run_script 'cat /deep/er/file'
	expect_output secret
	[ ! -s "$BUNDLE/rootfs/deep/er/file" ]
}

@test "a relative source is below the bundle" {
	mkdir "$BUNDLE/data"
	echo here >"$BUNDLE/data/f"
	add_mount '{"destination": "/data", "source": "data", "options": ["bind"]}'
	run_script 'cat /data/f'
	expect_output here
}

@test "a source that does not exist is an error that names it" {
	add_mount '{"destination": "/x", "source": "/no/such/source", "options": ["bind"]}'
	run_script true
	expect_error "/no/such/source"
	expect_nothing_left
}

@test "mount flags are in force" {
	mkdir "$TEST_DIR/m"
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m",
		"options": ["bind", "nosuid", "nodev", "noexec", "noatime"]}'
	add_mount '{"destination": "/t", "type": "tmpfs", "source": "tmpfs",
		"options": ["nosuid", "nodev", "size=1m", "mode=1750"]}'
	run_script 'grep -E " /(m|t) " /proc/self/mountinfo; stat -c %a /t; cp /bin/busybox /m/sh; /m/sh true'
	expect_match ' /m .*nosuid.*nodev.*noexec.*noatime'
	expect_match ' /t .*nosuid.*nodev.*size=1024k'
	expect_match '^1750$'
	expect_match '[Pp]ermission denied'
}

@test "rro makes mounts below read-only, too; ro only the one" {
	mkdir -p "$TEST_DIR/tree/sub"
	mount -t tmpfs none "$TEST_DIR/tree/sub"
	add_mount '{"destination": "/all", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "rro"]}'
	add_mount '{"destination": "/one", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "ro"]}'
	run_script 'touch /one/sub/x && echo one; touch /all/sub/y || echo all'
	umount "$TEST_DIR/tree/sub"
	expect_match '^one$'
	expect_match '^all$'
}

@test "a later mount lies over an earlier one" {
	mkdir "$TEST_DIR/a" "$TEST_DIR/b"
	touch "$TEST_DIR/a/from-a" "$TEST_DIR/b/from-b"
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/a", "options": ["bind"]}'
	add_mount '{"destination": "/m/../m", "source": "'"$TEST_DIR"'/b", "options": ["bind"]}'
	run_script 'ls /m'
	expect_output from-b
}

@test "options that are no flag go to the file system; wrong ones are an error" {
	add_mount '{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption=1"]}'
	run_script true
	expect_error "/t"
	expect_nothing_left
}

# bats test_tags=quick
@test "the root is read-only where it shall be" {
	update_config '.root.readonly = true'
	run_script 'touch /x; touch /dev/shm/y && echo shm'
	expect_match 'Read-only file system'
	expect_match '^shm$'
	[ ! -e "$BUNDLE/rootfs/x" ]
}

# bats test_tags=quick
@test "default devices and links are there, and are what they are called" {
	run_script 'for d in null zero full random urandom tty; do stat -c "%n %t %T %a" /dev/$d; done
		for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); done
		echo x >/dev/null && head -c 4 /dev/zero | wc -c'
	expect_status 0
	expect_match '^/dev/null 1 3 666$'
	expect_match '^/dev/zero 1 5 666$'
	expect_match '^/dev/full 1 7 666$'
	expect_match '^/dev/random 1 8 666$'
	expect_match '^/dev/urandom 1 9 666$'
	expect_match '^/dev/tty 5 0 666$'
	expect_match '^fd /proc/self/fd$'
	expect_match '^stdin /proc/self/fd/0$'
	expect_match '^stdout /proc/self/fd/1$'
	expect_match '^stderr /proc/self/fd/2$'
	expect_match '^ptmx (/dev/)?pts/ptmx$'
	expect_match '^4$'
}

@test "devices of the configuration are made with mode and owner" {
	update_config '.linux.devices = [
		{path: "/dev/mine", type: "c", major: 1, minor: 3, fileMode: 416, uid: 5, gid: 6},
		{path: "/dev/sub/pipe", type: "p"}]'
	run_script 'stat -c "%n %F %t %T %a %u %g" /dev/mine; stat -c "%F" /dev/sub/pipe'
	expect_status 0
	expect_match '^/dev/mine character special file 1 3 640 5 6$'
	expect_match '^fifo$'
}

@test "devices of each type, and what is in their place already" {
	local block='{path: "/dev/block", type: "b", major: 7, minor: 9, fileMode: 25008, uid: 1, gid: 2},' shown="/dev/block block special file 7 9 660 1 2
"
	local outside='major: 10, minor: 1048575' outside_shown='a fffff'
	! in_microvm || block='' shown='' outside='major: 1, minor: 7' outside_shown='1 7' # which has none of the host's
	update_config '.linux.devices = ['"$block"'
		{path: "/dev/unbuffered", type: "u", major: 1, minor: 5}, {path: "/outside/of/dev", type: "c", '"$outside"'},
		{path: "/dev/null", type: "c", major: 1, minor: 3}, {path: "/dev/pipe", type: "p", fileMode: 384, uid: 3, gid: 4}]'
	run_script 'stat -c "%n %F %t %T %a %u %g" '"${block:+/dev/block}"' /dev/unbuffered /outside/of/dev /dev/null /dev/pipe'
	expect_status 0
	expect_output "$shown/dev/unbuffered character special file 1 5 666 0 0
/outside/of/dev character special file $outside_shown 666 0 0
/dev/null character special file 1 3 666 0 0
/dev/pipe fifo 0 0 600 3 4"
	update_config '.linux.devices = [{path: "/dev/null", type: "c", major: 1, minor: 5}]'
	run_script true
	expect_error '/linux/devices/0: .*something else is in its place'
	echo data >"$BUNDLE/rootfs/file"
	update_config '.linux.devices = [{path: "/file", type: "c", major: 1, minor: 5}]'
	run_script true
	expect_error '/linux/devices/0: .*something else is in its place'
	[ "$(cat "$BUNDLE/rootfs/file")" = data ]
}

@test "numbers that no device has are refused, not cut" {
	update_config '.linux.devices = [{path: "/dev/x", type: "c", major: 4294967297, minor: 3}]'
	run_script true
	expect_error '/linux/devices/0/major: 4294967297 is out of range'
	update_config '.linux.devices = [{path: "/dev/x", type: "b", major: 1, minor: 1048576}]'
	run_script true
	expect_error '/linux/devices/0/minor: 1048576 is out of range'
	expect_nothing_left
}

@test "in a user namespace devices are the host's, if they are those of the configuration" {
	update_config '.linux.namespaces += [{type: "user"}] | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = .linux.uidMappings
		| .linux.devices = [{path: "/dev/full", type: "c", major: 1, minor: 7}, {path: "/dev/pipe", type: "p", uid: 5, gid: 6}]'
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	run_script 'stat -c "%n %F %t %T" /dev/full; stat -c "%F %u %g" /dev/pipe'
	expect_status 0
	expect_output "/dev/full character special file 1 7
fifo 5 6"
	update_config '.linux.devices = [{path: "/dev/full", type: "c", major: 1, minor: 3}]'
	run_script true
	expect_error "/linux/devices/0: bind the device .*: the host's is not that device \(1:3\)"
	expect_nothing_left
}

@test "where nodes cannot be made, those of the host are bound" {
	require_cmd setpriv
	set_args sh -c 'echo x >/dev/null && head -c 4 /dev/zero | wc -c; stat -c "%n %t %T" /dev/full'
	run without_bats setpriv --bounding-set=-mknod "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output "4
/dev/full 1 7"
	! in_microvm || return 0 # where they can be made
	update_config '.linux.devices = [{path: "/dev/nosuch", type: "c", major: 10, minor: 229}]'
	run without_bats setpriv --bounding-set=-mknod "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_error '/dev/nosuch'
}

# bats test_tags=quick
@test "masked paths show nothing, read-only paths cannot be written" {
	mkdir "$BUNDLE/rootfs/secret-dir"
	echo secret >"$BUNDLE/rootfs/secret-dir/f"
	echo secret >"$BUNDLE/rootfs/secret-file"
	mkdir "$BUNDLE/rootfs/fixed"
	update_config '.linux.maskedPaths += ["/secret-dir", "/secret-file", "/not/there"]
		| .linux.readonlyPaths += ["/fixed", "/not/there/either"]'
	run_script 'ls -A /secret-dir; cat /secret-file; touch /secret-dir/x /fixed/x
		touch /proc/sys/kernel/x; echo 1 >/proc/sys/vm/drop_caches; ls -A /proc/acpi; cat /proc/kcore | head -c 1'
	expect_no_match secret$
	expect_match '/secret-dir/x: (Read-only|Permission)'
	expect_match '/fixed/x: Read-only'
	expect_match 'drop_caches: Read-only'
}

@test "the host's mounts are gone" {
	run_script 'cut -d" " -f5 /proc/self/mountinfo'
	expect_no_match "$TEST_DIR"
	expect_no_match '^/(old|\.old|put_old)'
	[ "$(sort <<<"$output" | uniq -d)" = "" ] || fail "mounted twice:" "$output"
}

@test "mounts of the container do not reach the host" {
	update_config '.process.capabilities.bounding += ["CAP_SYS_ADMIN"]
		| .process.capabilities.effective += ["CAP_SYS_ADMIN"]
		| .process.capabilities.permitted += ["CAP_SYS_ADMIN"]'
	mkdir "$TEST_DIR/m"
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind"]}'
	set_args sh -c 'mount -t tmpfs none /m && touch /m/inside && echo mounted; sleep 1000'
	start_container
	wait_until 5 'grep -q mounted "$OUT"'
	[ -z "$(ls -A "$TEST_DIR/m")" ]
	run grep "$TEST_DIR/m" /proc/self/mountinfo
	expect_output ""
}

@test "a shared mount receives and sends where its propagation says so" {
	mkdir "$TEST_DIR/shared"
	mount -t tmpfs none "$TEST_DIR/shared"
	mount --make-shared "$TEST_DIR/shared"
	mkdir "$TEST_DIR/shared/sub"
	add_mount '{"destination": "/slave", "source": "'"$TEST_DIR"'/shared", "options": ["rbind", "rslave"]}'
	add_mount '{"destination": "/private", "source": "'"$TEST_DIR"'/shared", "options": ["rbind", "rprivate"]}'
	update_config '.linux.rootfsPropagation = "rslave"'
	start_sleeper
	mount -t tmpfs none "$TEST_DIR/shared/sub"
	touch "$TEST_DIR/shared/sub/late"
	run h exec "$ID" sh -c 'ls /slave/sub; ls /private/sub'
	h delete --force "$ID"
	umount -R "$TEST_DIR/shared"
	expect_output late
}

@test "an idmapped mount shows other owners" {
	mkdir "$TEST_DIR/m"
	touch "$TEST_DIR/m/file"
	chown 10000:10000 "$TEST_DIR/m/file"
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/m", "options": ["bind", "idmap"],
		"uidMappings": [{"containerID": 10000, "hostID": 0, "size": 1}],
		"gidMappings": [{"containerID": 10000, "hostID": 0, "size": 1}]}'
	run_script 'stat -c "%u %g" /m/file'
	[ "$status" -eq 0 ] || [[ "$output" != *"Invalid argument"* ]] || skip "this file system has no idmapped mounts"
	expect_status 0
	expect_match '^(0 0|65534 65534)$'
}

@test "a mount label is ignored where there is no SELinux, and one that is none is refused" {
	[ -d /sys/fs/selinux ] || {
		update_config '.linux.mountLabel = "system_u:object_r:container_file_t:s0:c1,c2"'
		add_mount '{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}'
		run_script 'grep " /t " /proc/self/mountinfo'
		expect_status 0
		expect_no_match context
	}
	update_config '.linux.mountLabel = "a\"b"'
	run_script true
	expect_error '/linux/mountLabel'
}

@test "the container's cgroups are seen read-only" {
	update_config '.mounts |= map(select(.type != "cgroup"))
		| .mounts += [{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup",
			options: ["nosuid", "noexec", "nodev", "relatime", "ro"]}]'
	run_script 'ls -d /sys/fs/cgroup/*; mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x'
	expect_match '/sys/fs/cgroup/(memory|cgroup.procs|unified)'
	expect_match '(Read-only|Permission|No such)'
	expect_no_match "$ID"
}

@test "the root file system may be a link, and must be a directory" {
	mv "$BUNDLE/rootfs" "$TEST_DIR/real"
	ln -s "$TEST_DIR/real" "$BUNDLE/rootfs"
	run_script 'echo ok'
	[ "$status" -ne 0 ] || expect_output ok
	rm "$BUNDLE/rootfs"
	touch "$BUNDLE/rootfs"
	run_script 'echo ok'
	expect_error "rootfs"
}
