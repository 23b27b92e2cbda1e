#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Attacks on what hull does with files: images, and volumes whose content changes meanwhile, that
# would have it mount, make, write or show what is the host's. See attacks.bats.

load helpers

teardown()
{
	stop_swapping
	hull_teardown
}

add_mount()
{
	update_config --argjson m "$1" '.mounts += [$m]'
}

bind()
{
	add_mount '{"destination": "'"$1"'", "source": "'"$2"'", "options": ["bind"]}'
}

# Takes away what lies over the image's own directory: without_mount DESTINATION...
without_mount()
{
	update_config '.mounts |= map(select(.destination | IN($ARGS.positional[]) | not))' --args -- "$@"
}

# swap A B: in an endless loop, beside the test, as a container could that shares the volume.
swap()
{
	"$HELPERS/attacker" swap "$1" "$2" >"$TEST_DIR/swap" 2>&1 3>&- 4>&- &
	ATTACKER=$!
	wait_until 10 'grep -q swapping "$TEST_DIR/swap"'
}

stop_swapping()
{
	[ -z "${ATTACKER:-}" ] || kill "$ATTACKER"
	ATTACKER=
}

# A directory of the host's, in which nothing may appear, and one of the same name in the image.
make_outside()
{
	outside=$TEST_DIR/outside
	mkdir -p "$outside" "$BUNDLE/rootfs$outside"
}

expect_nothing_outside()
{
	[ -z "$(ls -A "$outside")" ] || fail "made outside:" "$(ls -lA "$outside")"
}

# A volume on /proc that has what a runtime might write to, and names what it might mount on.
make_false_proc()
{
	false=$TEST_DIR/false-proc
	mkdir -p "$false/self/fd" "$false/self/attr/apparmor" "$false/sys/net/ipv4"
	touch "$false/self/attr/exec" "$false/self/attr/apparmor/exec" "$false/self/attr/current" \
		"$false/self/oom_score_adj" "$false/sys/net/ipv4/ip_default_ttl"
	for fd in {0..63}; do
		ln -s /decoy "$false/self/fd/$fd"
	done
	mkdir "$BUNDLE/rootfs/decoy"
	add_mount '{"destination": "/decoy", "type": "tmpfs", "source": "tmpfs"}'
	without_mount /proc
	bind /proc "$false"
	update_config 'del(.linux.maskedPaths, .linux.readonlyPaths)'
}

expect_false_proc_untouched()
{
	[ -z "$(find "$false" -type f -size +0)" ] || fail "written to:" "$(find "$false" -type f -size +0)"
}

# ---- links ------------------------------------------------------------------------------------------

# bats test_tags=quick
@test "CVE-2019-18837: links on the way to a mount point, and in its place, stay inside" {
	make_outside
	mkdir "$TEST_DIR/data"
	touch "$TEST_DIR/data/f"
	ln -s "$outside" "$BUNDLE/rootfs/absolute"
	ln -s "../../../../../../../..$outside" "$BUNDLE/rootfs/dots"
	ln -s "$outside/file" "$BUNDLE/rootfs/file"
	bind /absolute/made/here "$TEST_DIR/data"
	bind /dots "$TEST_DIR/data"
	bind /file "$TEST_DIR/data/f"
	bind /absolute/deep/file "$TEST_DIR/data/f"
	update_config --arg o "$outside" '.process.cwd = "/absolute/cwd"'
	run_script "ls /absolute/made/here /dots; ls $outside; pwd"
	expect_nothing_outside
	expect_status 0
	[ "$(grep -c '^f$' <<<"$output")" -ge 2 ]
	expect_match "^$outside/cwd$"
}

# bats test_tags=quick
@test "CVE-2023-27561, CVE-2023-28642: /proc, /sys and /dev that are links are refused" {
	make_outside
	for name in proc sys dev; do
		rm -rf "${BUNDLE:?}/rootfs/$name"
		for target in "$outside" etc /tmp; do
			ln -sfn "$target" "$BUNDLE/rootfs/$name"
			run h run --bundle "$BUNDLE" "$ID"
			expect_nothing_outside
			expect_error "\`/$name\` in the root file system is or leads through a symbolic link"
		done
		rm "$BUNDLE/rootfs/$name"
		mkdir "$BUNDLE/rootfs/$name"
	done
}

# bats test_tags=quick
@test "CVE-2026-41579: a /dev of the image that is a link has no nodes and links made behind it" {
	make_outside
	rm -rf "$BUNDLE/rootfs/dev"
	update_config '.mounts |= map(select(.destination | startswith("/dev") | not))'
	for target in "$outside" "../../../../../../../..$outside"; do
		ln -sfn "$target" "$BUNDLE/rootfs/dev"
		run_script true
		expect_nothing_outside
		expect_error '/dev'
	done
}

# bats test_tags=quick
@test "CVE-2026-88264: a /dev/console of the image that is a link is not followed" {
	make_outside
	mkdir "$TEST_DIR/host"
	echo secret >"$TEST_DIR/host/file"
	without_mount /dev
	mkdir -p "$BUNDLE/rootfs/dev/pts"
	update_config '.process.terminal = true | .process.user = {uid: 1000, gid: 1000}'
	for target in "$outside/new" "$TEST_DIR/host/file" "../../../../../../../..$outside/new"; do
		ln -sf "$target" "$BUNDLE/rootfs/dev/console"
		set_args sh -c 'stat -c %t /dev/console; echo text >/dev/console'
		run "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null
		expect_nothing_outside
		[ "$(cat "$TEST_DIR/host/file") $(stat -c %u "$TEST_DIR/host/file")" = "secret 0" ]
		expect_status 0
		expect_match '^88' # a pseudo-terminal
		expect_match '^text'
	done
}

# bats test_tags=quick
@test "CVE-2025-31133: the image's /dev/null masks nothing" {
	update_config '.mounts |= map(select(.destination | startswith("/dev") | not))
		| .linux.maskedPaths = ["/secret-file", "/secret-dir"]'
	mkdir "$BUNDLE/rootfs/secret-dir" "$TEST_DIR/dev"
	echo secret | tee "$BUNDLE/rootfs/secret-file" >"$BUNDLE/rootfs/secret-dir/f"
	echo false >"$BUNDLE/rootfs/false"
	# A link and a file in the image are refused; in a volume hull does not look at them.
	for false in 'ln -s ../false' 'touch'; do
		rm -f "$BUNDLE/rootfs/dev/null"
		$false "$BUNDLE/rootfs/dev/null"
		run_script true
		expect_error '/dev|null'
	done
	rm "$BUNDLE/rootfs/dev/null"
	ln -s ../false "$TEST_DIR/dev/null"
	bind /dev "$TEST_DIR/dev"
	run_script 'cat /secret-file; ls /secret-dir; echo overwritten | tee /secret-file /secret-dir/f; stat -c "mask %t %T" /secret-file'
	expect_no_match '^(secret|f)$'
	expect_match '^mask 1 3$'
	[ "$(cat "$BUNDLE/rootfs/secret-file" "$BUNDLE/rootfs/secret-dir/f" "$BUNDLE/rootfs/false")" = "secret
secret
false" ]
}

# ---- a false /proc --------------------------------------------------------------------------------------

# bats test_tags=quick
@test "CVE-2019-16884, CVE-2019-19921: what is said to the kernel does not go to a volume on /proc" {
	make_false_proc
	update_config '.process.oomScoreAdj = 500'
	start_sleeper
	in_microvm || [ "$(cat "/proc/$(container_pid)/oom_score_adj")" = 500 ]
	h delete --force "$ID"
	expect_false_proc_untouched
	! in_microvm || return 0 # where labels mean nothing
	# A label is set, or it is an error.
	update_config '.process.selinuxLabel = "system_u:system_r:container_t:s0"'
	run_script true
	[ "$status" -ne 0 ] || [ -d /sys/fs/selinux ] || fail "the label went nowhere"
	expect_false_proc_untouched
	update_config 'del(.process.selinuxLabel) | .process.apparmorProfile = "no-such-profile"'
	run_script true
	[ "$status" -ne 0 ] || fail "a profile that nobody has loaded was accepted"
	expect_false_proc_untouched
}

# bats test_tags=quick
@test "CVE-2025-52881: sysctls are set in the container's namespaces, whatever is on /proc" {
	make_false_proc
	update_config '.linux.sysctl = {"net.ipv4.ip_default_ttl": "99"}'
	before=$(cat /proc/sys/net/ipv4/ip_default_ttl)
	start_sleeper
	in_microvm || [ "$(nsenter --net="/proc/$(container_pid)/ns/net" cat /proc/sys/net/ipv4/ip_default_ttl)" = 99 ]
	[ "$(cat /proc/sys/net/ipv4/ip_default_ttl)" = "$before" ]
	expect_false_proc_untouched
}

# bats test_tags=quick
@test "CVE-2026-115521: the root is made read-only, not what a false /proc leads to" {
	make_false_proc
	update_config '.root.readonly = true'
	run_script 'touch /x; touch /decoy/y && echo decoy'
	expect_match '/x: Read-only file system'
	expect_match '^decoy$'
	[ ! -e "$BUNDLE/rootfs/x" ]
}

# ---- volumes that change meanwhile ------------------------------------------------------------------------

# A directory of a volume and a link to outside, which an attacker swaps; and mounts on that directory.
@test "CVE-2021-30465: a mount point that is swapped for a link leads no mount out of the root" {
	make_outside
	mkdir -p "$TEST_DIR/vol/target"
	ln -s "$outside" "$TEST_DIR/vol/link"
	bind /vol "$TEST_DIR/vol"
	update_config '.mounts += [range(60) | {destination: "/vol/target", type: "tmpfs", source: "swapped\(.)"}]'
	swap "$TEST_DIR/vol/target" "$TEST_DIR/vol/link"
	for _ in $(races 3); do
		run_script "grep -c ' - tmpfs swapped' /proc/self/mountinfo"
		expect_status 0
		expect_output 60
		expect_nothing_outside
	done
}

@test "CVE-2024-45310: nothing is made outside for mount points whose parent is swapped for a link" {
	make_outside
	mkdir -p "$TEST_DIR/vol/dir" "$TEST_DIR/data"
	touch "$TEST_DIR/data/f"
	ln -s "$outside" "$TEST_DIR/vol/link"
	bind /vol "$TEST_DIR/vol"
	update_config --arg f "$TEST_DIR/data/f" '.process.cwd = "/vol/dir/cwd" | .mounts += [range(30) |
		{destination: "/vol/dir/\(.)/made", type: "tmpfs", source: "made"},
		{destination: "/vol/dir/file\(.)", source: $f, options: ["bind"]}]
		| .linux.devices = [range(10) | {path: "/vol/dir/dev\(.)/null", type: "c", major: 1, minor: 3}]'
	swap "$TEST_DIR/vol/dir" "$TEST_DIR/vol/link"
	for _ in $(races 5); do
		rm -rf "$TEST_DIR/vol/dir/"* "$TEST_DIR/vol/link/"* 2>/dev/null || true
		run_script true # whether it works depends on when the names are swapped
		expect_nothing_outside
	done
}

# The volume is all of /dev: the terminal's devpts is mounted in it, and the attacker's file has the terminal's name.
@test "CVE-2025-52565: a /dev/pts that is swapped puts nothing else on /dev/console" {
	mkdir -p "$TEST_DIR/dev/pts" "$TEST_DIR/dev/false" "$TEST_DIR/dev/shm" "$TEST_DIR/dev/mqueue"
	for n in {0..9}; do
		echo false >"$TEST_DIR/dev/false/$n"
	done
	update_config --arg d "$TEST_DIR/dev" '.process.terminal = true | (.mounts[] | select(.destination == "/dev")) =
		{destination: "/dev", source: $d, options: ["bind"]}'
	set_args sh -c 'stat -c "console %t" /dev/console; echo overwritten >/dev/console'
	swap "$TEST_DIR/dev/pts" "$TEST_DIR/dev/false"
	ran=0 tries=0
	while [ $ran -eq 0 ] || [ $tries -lt "$(races 40 | wc -l)" ]; do
		tries=$((tries + 1))
		run "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null
		[ "$status" -eq 0 ] || continue # /dev/pts was no devpts just then
		expect_match '^console 88'
		ran=$((ran + 1))
	done
	stop_swapping
	wait
	[ "$(cat "$TEST_DIR"/dev/{pts,false}/? 2>/dev/null | sort -u)" = false ]
}

@test "a device that is swapped for a file has that file's owner unchanged" {
	without_mount /dev
	mkdir -p "$BUNDLE/rootfs/dev/pts" "$BUNDLE/rootfs/dev/shm" "$BUNDLE/rootfs/dev/mqueue"
	mknod "$BUNDLE/rootfs/dev/mine" c 1 3
	touch "$BUNDLE/rootfs/dev/other"
	ln "$BUNDLE/rootfs/dev/other" "$TEST_DIR/other"
	update_config '.linux.devices = [range(100) | {path: "/dev/mine", type: "c", major: 1, minor: 3, uid: 1000, gid: 1000}]'
	swap "$BUNDLE/rootfs/dev/mine" "$BUNDLE/rootfs/dev/other"
	for _ in $(races 40); do
		run_script true
		[ "$(stat -c %u "$TEST_DIR/other")" = 0 ] || fail "it was given to the container's user"
	done
}

# ---- cgroups and /sys --------------------------------------------------------------------------------------

without_cgroup_namespace()
{
	update_config '.linux.namespaces |= map(select(.type != "cgroup"))'
}

use_user_namespace()
{
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
}

# bats test_tags=quick
@test "CVE-2023-25809: without a cgroup namespace of its own a container cannot write to its cgroups" {
	without_cgroup_namespace
	update_config '.mounts |= map(select(.type != "cgroup" and .type != "cgroup2"))
		| .mounts += [{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "rw"]}]'
	for user in no yes; do
		[ "$user" = no ] || use_user_namespace
		run_script 'grep -E " - cgroup2? " /proc/self/mountinfo | cut -d" " -f6
			for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/escape 2>/dev/null && [ -e $d/escape/cgroup.procs ] && echo ESCAPED; done; true'
		expect_status 0
		expect_match '^ro'
		expect_no_match '^rw|ESCAPED'
	done
}

# What rootless engines ask for where sysfs cannot be mounted; the host's cgroups are mounted in it.
@test "CVE-2023-25809: a /sys of the host's is read-only with all that is mounted in it" {
	without_cgroup_namespace
	update_config '.mounts |= map(select(.type != "cgroup" and .type != "cgroup2" and .type != "sysfs"))
		| .mounts = [{destination: "/sys", source: "/sys", options: ["rbind", "nosuid", "nodev", "noexec", "ro"]}] + .mounts'
	run_script 'grep " /sys" /proc/self/mountinfo | cut -d" " -f6'
	expect_status 0
	expect_match '^ro'
	expect_no_match '^rw'
	! in_microvm || return 0
	# Where hull itself takes the host's, because it may not mount one.
	update_config '.mounts[0] = {destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "nodev", "noexec", "ro"]}
		| .linux.namespaces |= map(select(.type != "network"))'
	use_user_namespace
	run_script 'grep " /sys" /proc/self/mountinfo | cut -d" " -f6'
	expect_status 0
	expect_match '^ro'
	expect_no_match '^rw'
}

# ---- propagation, and namespaces of others -----------------------------------------------------------------

@test "a host whose mounts are shared gets none of the container's" {
	set_args sh -c 'mount | grep -c .'
	run unshare -m sh -c 'mount --make-rshared /; "$@"; echo "status $?"; grep -c "$0" /proc/self/mountinfo' \
		"$TEST_DIR" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	[ "${lines[-1]}" = 0 ] || fail "mounts on the host:" "$output"
	expect_match '^status 0$'
}

# The path of the root is the host's, but it is looked up in a mount namespace whose owner may have put a link there.
@test "a root file system in a mount namespace of others is in there, not behind a descriptor of hull's" {
	container_only "only a network namespace can be joined"
	echo secret >"$BUNDLE/secret"
	update_config '.linux.namespaces |= map(select(.type != "pid"))'
	start_sleeper
	root=/proc/$(container_pid)/root
	mkdir -p "$root$BUNDLE"
	update_config --arg path "/proc/$(container_pid)/ns/mnt" 'del(.root.readonly, .linux.maskedPaths, .linux.readonlyPaths)
		| .mounts = [] | (.linux.namespaces[] | select(.type == "mount")).path = $path'
	set_args /rootfs/bin/busybox cat /secret # as in the bundle, which hull has open
	for fd in {3..15}; do
		ln -sfn "/proc/self/fd/$fd" "$root$BUNDLE/rootfs"
		run h run --bundle "$BUNDLE" "$ID-b"
		expect_no_match '^secret'
		[ "$status" -ne 0 ]
	done
	# Where it is a directory in there, all is well.
	rm "$root$BUNDLE/rootfs"
	cp -a "$(cached_rootfs)" "$root$BUNDLE/rootfs"
	set_args cat /etc/passwd
	run h run --bundle "$BUNDLE" "$ID-b"
	expect_status 0
}

# mount(2) takes a path; /proc/self/fd is the other container's there.
@test "what takes mount(2) is not mounted by way of a false /proc in a mount namespace of others" {
	container_only "only a network namespace can be joined"
	make_false_proc
	start_sleeper
	root=/proc/$(container_pid)/root
	mkdir -p "$root$BUNDLE"
	cp -a "$(cached_rootfs)" "$root$BUNDLE/rootfs"
	update_config --arg path "/proc/$(container_pid)/ns/mnt" '(.linux.namespaces[] | select(.type == "mount")).path = $path
		| .mounts = [{destination: "/t", type: "tmpfs", source: "astray", options: ["iversion"]}]'
	set_args true
	run h run --bundle "$BUNDLE" "$ID-b"
	! grep -q ' /decoy .* astray' "/proc/$(container_pid)/mountinfo" || fail "mounted on /decoy"
	expect_error 'iversion'
}
