#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Every mount option of the specification (config.md, "Linux mount options") and crun's own ones, as
# the kernel shows them afterwards in the container's mount table.
# modes: container microvm

load helpers

add_mount()
{
	update_config --argjson m "$1" '.mounts += [$m]'
}

# A tree with a mount below, as source of bind mounts; both have the options given.
make_tree()
{
	mkdir -p "$TEST_DIR/tree/sub"
	mount -t tmpfs -o "${1:-rw}" tree "$TEST_DIR/tree"
	mkdir -p "$TEST_DIR/tree/sub" 2>/dev/null || { mount -o remount,rw "$TEST_DIR/tree"; mkdir "$TEST_DIR/tree/sub"; mount -o "remount,$1" "$TEST_DIR/tree"; }
	mount -t tmpfs -o "${1:-rw}" sub "$TEST_DIR/tree/sub"
}

drop_tree()
{
	umount "$TEST_DIR/tree/sub" "$TEST_DIR/tree"
}

# The options of mounts in the container: options_of DESTINATION
options_of()
{
	awk -v d="$1" '$5 == d { print $6 }' <<<"$output"
}

superblock_of()
{
	awk -v d="$1" '$5 == d { print $NF }' <<<"$output"
}

# has LIST WORD, lacks LIST WORD
has()
{
	grep -qw -- "$2" <<<"$1" || fail "no $2 in: $1"
}

lacks()
{
	! grep -qw -- "$2" <<<"$1" || fail "$2 in: $1"
}

# bats test_tags=quick
@test "each attribute of a mount is set and taken back" {
	i=0
	for pair in ro:ro nosuid:nosuid nodev:nodev noexec:noexec noatime:noatime nodiratime:nodiratime nosymfollow:nosymfollow; do
		for type in tmpfs bind; do
			mkdir -p "$TEST_DIR/src"
			add_mount '{"destination": "/on-'$type-"${pair%:*}"'", "source": "'"$TEST_DIR"'/src", "type": "'$type'", "options": ["'"${pair%:*}"'"]}'
		done
		i=$((i + 1))
	done
	add_mount '{"destination": "/strict", "source": "t", "type": "tmpfs", "options": ["strictatime"]}'
	add_mount '{"destination": "/rel", "source": "t", "type": "tmpfs", "options": ["strictatime", "relatime"]}'
	add_mount '{"destination": "/nostrict", "source": "t", "type": "tmpfs", "options": ["strictatime", "nostrictatime"]}'
	add_mount '{"destination": "/norel", "source": "t", "type": "tmpfs", "options": ["relatime", "norelatime"]}'
	add_mount '{"destination": "/back", "source": "t", "type": "tmpfs",
		"options": ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow",
			"rw", "suid", "dev", "exec", "atime", "diratime", "symfollow", "defaults"]}'
	run_script 'cat /proc/self/mountinfo'
	expect_status 0
	for option in ro nosuid nodev noexec noatime nodiratime nosymfollow; do
		has "$(options_of "/on-tmpfs-$option")" $option
		has "$(options_of "/on-bind-$option")" $option
		lacks "$(options_of /back)" $option
	done
	lacks "$(options_of /strict)" relatime
	lacks "$(options_of /strict)" noatime
	for d in /rel /nostrict /norel; do
		has "$(options_of $d)" relatime
	done
	has "$(options_of /back)" rw
	has "$(options_of /back)" relatime
}

# bats test_tags=quick
@test "each recursive attribute reaches mounts below" {
	make_tree
	for option in rro rnosuid rnodev rnoexec rnoatime rnodiratime rnosymfollow rstrictatime rrelatime; do
		add_mount '{"destination": "/'$option'", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "'$option'"]}'
	done
	run_script 'cat /proc/self/mountinfo'
	drop_tree
	expect_status 0
	for option in rro rnosuid rnodev rnoexec rnoatime rnodiratime rnosymfollow; do
		has "$(options_of "/$option")" "${option#r}"
		has "$(options_of "/$option/sub")" "${option#r}"
	done
	lacks "$(options_of /rstrictatime/sub)" relatime
	lacks "$(options_of /rstrictatime/sub)" noatime
	has "$(options_of /rrelatime/sub)" relatime
}

@test "each recursive attribute is taken from mounts below" {
	make_tree ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow
	for option in rrw rsuid rdev rexec ratime rdiratime rsymfollow; do
		add_mount '{"destination": "/'$option'", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "'$option'"]}'
	done
	run_script 'cat /proc/self/mountinfo'
	drop_tree
	expect_status 0
	for pair in rrw:ro rsuid:nosuid rdev:nodev rexec:noexec ratime:noatime rdiratime:nodiratime rsymfollow:nosymfollow; do
		for d in "/${pair%:*}" "/${pair%:*}/sub"; do
			lacks "$(options_of "$d")" "${pair#*:}"
		done
	done
	has "$(options_of /rrw/sub)" nosuid # and nothing else
}

@test "norelatime and nostrictatime below leave those modes" {
	make_tree strictatime
	add_mount '{"destination": "/m", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "rnostrictatime"]}'
	add_mount '{"destination": "/n", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "rnoatime", "rnorelatime"]}'
	run_script 'cat /proc/self/mountinfo'
	drop_tree
	expect_status 0
	has "$(options_of /m/sub)" relatime
	lacks "$(options_of /n/sub)" noatime
}

# bats test_tags=quick
@test "what is mounted below is a mount with its own options, whatever its place is" {
	make_tree nosuid
	mkdir "$TEST_DIR/tree/a b" "$TEST_DIR/tree/sub/deep" "$TEST_DIR/tree/hidden"
	touch "$TEST_DIR/tree/file" "$TEST_DIR/one"
	mount -t tmpfs -o noexec blank "$TEST_DIR/tree/a b"
	mount -t tmpfs -o nodev deep "$TEST_DIR/tree/sub/deep"
	mkdir "$TEST_DIR/tree/hidden/below"
	mount -t tmpfs -o noexec below "$TEST_DIR/tree/hidden/below"
	mount -t tmpfs -o nodev over "$TEST_DIR/tree/hidden"
	mount --bind "$TEST_DIR/one" "$TEST_DIR/tree/file"
	mount -o remount,bind,ro "$TEST_DIR/tree/file"
	add_mount '{"destination": "/all", "source": "'"$TEST_DIR"'/tree", "options": ["rbind", "suid"]}'
	add_mount '{"destination": "/top", "source": "'"$TEST_DIR"'/tree", "options": ["bind"]}'
	run_script 'cat /proc/self/mountinfo; echo x >/all/file || echo file: $?; touch /all/x && echo written'
	umount -l "$TEST_DIR/tree" # all of it
	expect_status 0
	has "$(options_of '/all/a\\040b')" noexec
	has "$(options_of /all/sub)" nosuid
	lacks "$(options_of /all/sub)" nodev
	has "$(options_of /all/sub/deep)" nodev
	lacks "$(options_of /all)" nosuid
	has "$(options_of /all/hidden)" nodev
	has "$(options_of /all/file)" ro
	has "$(options_of /top)" nosuid
	[ -z "$(options_of /top/sub)" ]
	expect_match '^file: 1$'
	expect_match '^written$'
}

# bats test_tags=quick
@test "options of the superblock are set and taken back" {
	for option in sync dirsync lazytime; do
		add_mount '{"destination": "/'$option'", "source": "t", "type": "tmpfs", "options": ["'$option'"]}'
	done
	add_mount '{"destination": "/back", "source": "t", "type": "tmpfs", "options": ["sync", "async", "lazytime", "nolazytime", "mand", "nomand"]}'
	run_script 'cat /proc/self/mountinfo'
	expect_status 0
	for option in sync dirsync lazytime; do
		has "$(superblock_of /$option)" $option
		lacks "$(superblock_of /back)" $option
	done
}

@test "mand, silent, loud, iversion and noiversion are taken; what the file system does not know is not" {
	for option in mand silent loud iversion noiversion; do
		add_mount '{"destination": "/'$option'", "source": "t", "type": "tmpfs", "options": ["'$option'", "size=1m"]}'
	done
	run_script 'cat /proc/self/mountinfo'
	expect_status 0
	for option in mand silent loud iversion noiversion; do
		has "$(superblock_of /$option)" size=1024k
	done
}

@test "all superblock options at once, each twice" {
	add_mount '{"destination": "/t", "source": "t", "type": "tmpfs", "options":
		["sync", "dirsync", "lazytime", "mand", "async", "nolazytime", "nomand",
		"sync", "dirsync", "lazytime", "mand", "async", "nolazytime", "nomand", "sync", "lazytime"]}'
	run_script 'cat /proc/self/mountinfo'
	expect_status 0
	for option in sync dirsync lazytime; do
		has "$(superblock_of /t)" $option
	done
}

# bats test_tags=quick
@test "remount changes what is named and leaves the rest" {
	add_mount '{"destination": "/t", "source": "t", "type": "tmpfs", "options": ["size=1m", "nosuid", "lazytime", "sync"]}'
	add_mount '{"destination": "/t", "type": "none", "options": ["remount", "size=2m", "noexec", "async"]}'
	run_script 'cat /proc/self/mountinfo'
	expect_status 0
	has "$(options_of /t)" nosuid
	has "$(options_of /t)" noexec
	has "$(superblock_of /t)" size=2048k
	has "$(superblock_of /t)" lazytime
	lacks "$(superblock_of /t)" sync
}

@test "each propagation is in force" {
	mkdir "$TEST_DIR/src"
	mount -t tmpfs src "$TEST_DIR/src"
	mount --make-shared "$TEST_DIR/src"
	for p in private slave shared unbindable rprivate rslave rshared runbindable; do
		add_mount '{"destination": "/'$p'", "source": "'"$TEST_DIR"'/src", "options": ["rbind", "'$p'"]}'
	done
	update_config '.linux.rootfsPropagation = "rslave"'
	run_script 'cat /proc/self/mountinfo'
	umount "$TEST_DIR/src"
	expect_status 0
	expect_match ' /private [^ ]* - '
	expect_match ' /rprivate [^ ]* - '
	if ! in_microvm; then # whose kernel sees nothing of what the host mounts later
		expect_match ' /slave [^ ]* master:[0-9]+ - '
		expect_match ' /rslave [^ ]* master:[0-9]+ - '
	fi
	expect_match ' /shared [^ ]* shared:[0-9]+ '
	expect_match ' /rshared [^ ]* shared:[0-9]+ '
	expect_match ' /unbindable [^ ]* unbindable - '
	expect_match ' /runbindable [^ ]* unbindable - '
}

# ---- tmpcopyup ----------------------------------------------------------------------------------

# bats test_tags=quick
@test "tmpcopyup: the tmpfs has a copy of what it covers, whatever that is" {
	d=$BUNDLE/rootfs/data
	mkdir -p "$d/sub/deeper"
	echo text >"$d/file"
	ln "$d/file" "$d/sub/hard"
	ln -s file "$d/link"
	ln -s /etc/passwd "$d/absolute"
	mkfifo -m 640 "$d/sub/fifo"
	truncate -s 1T "$d/sparse"
	echo end >>"$d/sparse"
	chown 12:34 "$d/file" "$d/sub"
	chmod 4755 "$d/file"
	chmod 1775 "$d/sub"
	touch -d '2001-02-03 04:05:06 UTC' "$d/file" "$d/sub/deeper"
	chmod 711 "$d"
	add_mount '{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=4m", "nosuid"]}'
	run_script 'cd /data && stat -c "%n %a %u %g %h" file sub; cat sub/hard; readlink link; readlink absolute
		[ -p sub/fifo ] && stat -c "%a" sub/fifo; stat -c %Y file sub/deeper; stat -c "%s" sparse; tail -c 4 sparse
		[ file -ef sub/hard ] && echo same; stat -c "top %a" /data; echo inside >new; grep " /data " /proc/self/mountinfo'
	expect_status 0
	expect_match '^file 4755 12 34 2$'
	expect_match '^sub 1775 12 34 '
	expect_match '^text$'
	expect_match '^/etc/passwd$'
	expect_match '^640$'
	[ "$(grep -c '^981173106$' <<<"$output")" -eq 2 ] || fail "$output"
	expect_match '^1099511627780$'
	expect_match '^end$'
	expect_match '^same$'
	expect_match '^top 711$'
	expect_match ' /data .* - tmpfs '
	[ ! -e "$d/new" ]
	rm "$d/sparse"
}

@test "tmpcopyup: read-only and without space" {
	mkdir "$BUNDLE/rootfs/data"
	head -c 2000000 /dev/urandom >"$BUNDLE/rootfs/data/big"
	add_mount '{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro", "mode=755"]}'
	run_script 'cmp /data/big /data/big && touch /data/x || wc -c </data/big'
	expect_status 0
	expect_match 2000000
	expect_match 'Read-only'
	update_config '.mounts[-1].options = ["tmpcopyup", "size=1m"]'
	run_script true
	expect_error '/mounts/[0-9]+: `tmpcopyup` to `/data`.*`big`.*No space'
	expect_nothing_left
}

@test "tmpcopyup: a place that is not there yet, and extended attributes" {
	require_cmd setcap getcap
	mkdir "$BUNDLE/rootfs/data"
	echo x >"$BUNDLE/rootfs/data/f"
	setcap cap_net_raw=ep "$BUNDLE/rootfs/data/f"
	add_mount '{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}'
	add_mount '{"destination": "/new", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}'
	start_sleeper
	# (the host does not see what a microVM has mounted)
	if ! in_microvm; then
		run getcap "/proc/$(container_pid)/root/data/f"
		expect_match 'cap_net_raw=ep$'
	fi
	h exec "$ID" ls /new
}

@test "tmpcopyup: in a user namespace, and what belongs to nobody there is no program of root's" {
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 1000}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 1000}]'
	chmod 755 "$HULL_TEST_WORK" "$TEST_DIR" "$BUNDLE"
	mkdir "$BUNDLE/rootfs/data"
	touch "$BUNDLE/rootfs/data/mine" "$BUNDLE/rootfs/data/foreign"
	chown -R -h 100000:100000 "$BUNDLE/rootfs"
	chown 100012:100034 "$BUNDLE/rootfs/data/mine"
	chown 5:5 "$BUNDLE/rootfs/data/foreign" # has no id in the container
	chmod 6755 "$BUNDLE/rootfs/data/mine" "$BUNDLE/rootfs/data/foreign"
	add_mount '{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}'
	run_script 'stat -c "%n %a %u %g" /data/mine /data/foreign'
	expect_status 0
	expect_match '^/data/mine 6755 12 34$'
	expect_match '^/data/foreign 755 0 0$'
}

@test "tmpcopyup: links in the image show nothing of the host, and devices are not opened" {
	mkdir -p "$TEST_DIR/host" "$BUNDLE/rootfs/data"
	touch "$TEST_DIR/host/secret"
	ln -s "$TEST_DIR/host" "$BUNDLE/rootfs/data/dir"
	ln -s "$TEST_DIR/host/secret" "$BUNDLE/rootfs/data/secret"
	ln -s ../../../../../../../../.."$TEST_DIR/host/secret" "$BUNDLE/rootfs/data/up"
	mkfifo "$BUNDLE/rootfs/data/fifo" # opening it would hang
	ln -s "$TEST_DIR/host" "$BUNDLE/rootfs/outside"
	add_mount '{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}'
	add_mount '{"destination": "/outside", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}'
	echo "the host's" >"$TEST_DIR/host/secret"
	run_script 'cat /data/secret /data/up /data/dir/secret /outside/secret; ls -R /data'
	expect_no_match "the host's"
	expect_match 'No such file'
}

@test "tmpcopyup: a tree deeper than is sane is refused" {
	dir=$BUNDLE/rootfs/data
	mkdir "$dir"
	(cd "$dir" && for i in {1..200}; do mkdir d && cd d || exit 1; done)
	add_mount '{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}'
	run_script true
	expect_error 'directories deep'
	expect_nothing_left
}

# ---- links as sources and places ------------------------------------------------------------------

# bats test_tags=quick,microvm
@test "copy-symlink makes the link anew, and nothing else is put in its place" {
	ln -s /some/where "$TEST_DIR/link"
	mkdir "$TEST_DIR/dir"
	touch "$TEST_DIR/dir/f"
	add_mount '{"destination": "/copied/link", "source": "'"$TEST_DIR"'/link", "options": ["bind", "copy-symlink"]}'
	add_mount '{"destination": "/plain", "source": "'"$TEST_DIR"'/dir", "options": ["bind", "copy-symlink"]}'
	run_script 'readlink /copied/link; ls /plain'
	expect_output "/some/where
f"
	run_script 'readlink /copied/link' # the same link again
	expect_match '^/some/where$'
	rm "$BUNDLE/rootfs/copied/link"
	echo other >"$BUNDLE/rootfs/copied/link"
	run_script true
	expect_error 'is not a symbolic link to'
	update_config '.mounts[-2].options += ["src-nofollow"]'
	run_script true
	expect_error '/mounts/[0-9]+/options'
	expect_nothing_left
}

@test "src-nofollow binds the link itself, dest-nofollow binds on the link itself" {
	ln -s /from/the/host "$TEST_DIR/link"
	echo content >"$TEST_DIR/file"
	ln -s real "$BUNDLE/rootfs/on-link"
	ln -s real "$BUNDLE/rootfs/on-link2"
	echo untouched >"$BUNDLE/rootfs/real"
	add_mount '{"destination": "/a", "source": "'"$TEST_DIR"'/link", "options": ["bind", "src-nofollow"]}'
	add_mount '{"destination": "/on-link", "source": "'"$TEST_DIR"'/link", "options": ["bind", "src-nofollow", "dest-nofollow"]}'
	add_mount '{"destination": "/on-link2", "source": "'"$TEST_DIR"'/file", "options": ["bind", "dest-nofollow"]}'
	add_mount '{"destination": "/new/file", "source": "'"$TEST_DIR"'/file", "options": ["bind", "dest-nofollow"]}'
	run_script 'readlink /a; readlink /on-link; cat /on-link2 /real /new/file'
	expect_output "/from/the/host
/from/the/host
content
untouched
content"
}

@test "dest-nofollow does not leave the root by links on the way" {
	mkdir "$TEST_DIR/outside" "$TEST_DIR/data"
	ln -s "$TEST_DIR/outside" "$BUNDLE/rootfs/way"
	touch "$TEST_DIR/file"
	add_mount '{"destination": "/way/made", "source": "'"$TEST_DIR"'/file", "options": ["bind", "dest-nofollow"]}'
	add_mount '{"destination": "/way/dir", "source": "'"$TEST_DIR"'/data", "options": ["bind", "dest-nofollow"]}'
	run_script true
	[ -z "$(ls -A "$TEST_DIR/outside")" ] || fail "made outside: $(ls -A "$TEST_DIR/outside")"
}

@test "options that contradict themselves are refused, with their place" {
	mkdir "$TEST_DIR/src"
	for m in '{"destination": "/x", "type": "tmpfs", "source": "t", "options": ["copy-symlink"]}' \
		'{"destination": "/x", "source": "'"$TEST_DIR"'/src", "options": ["bind", "tmpcopyup"]}' \
		'{"destination": "/x", "type": "tmpfs", "source": "t", "options": ["idmap"]}'; do
		add_mount "$m"
		run_script true
		expect_error '/mounts/[0-9]+/options'
		update_config '.mounts |= .[:-1]'
	done
	expect_nothing_left
}

# bats test_tags=quick
@test "features lists every option of the specification" {
	run h features
	for option in async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
		nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime \
		rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
		rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared \
		silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap copy-symlink src-nofollow \
		dest-nofollow; do
		jq -e --arg o "$option" '.mountOptions | index($o)' <<<"$output" >/dev/null || fail "no $option"
	done
	[ "$(jq .linux.mountExtensions.idmap.enabled <<<"$output")" = true ]
}
