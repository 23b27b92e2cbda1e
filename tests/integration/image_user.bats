#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images of an ordinary user who has sub-ids: layers and bundles keep their owners, and what is made with other ids is not confused
# with them.
# lab cgroups: none

bats_require_minimum_version 1.5.0
load image

USER_ID=54321
FIRST=200000 # of the sub-ids

setup()
{
	require_image_tools "an ordinary user" jq busybox python3 setpriv unshare newuidmap newgidmap
	# The directories of bats, and perhaps the build, are out of an ordinary user's reach.
	open=$(mktemp -d)
	chmod 755 "$open"
	mkdir -p "$open/bin" "$open/libexec/hull" "$open/home/run" "$open/src"
	cp "$HULL" "$open/bin/hull"
	cp "$(dirname "$HULL")/../libexec/hull/hull-image" "$open/libexec/hull"
	ranges "test:$FIRST:65536"
	{ cat /etc/passwd; echo "test:x:$USER_ID:$USER_ID::$open/home:/bin/sh"; } >"$open/passwd"
	chown -R $USER_ID:$USER_ID "$open/home"
	cd "$open/home" || return 1
	store=$open/home/.local/share/hull
}

teardown()
{
	cd /
	[ -z "${open:-}" ] || rm -rf "$open"
}

# What /etc/subuid and /etc/subgid say to the user's commands.
ranges()
{
	printf '%s\n' "$@" >"$open/ranges"
}

# Runs a command as the user, in a mount namespace in which the files say who that is; and where /proc hides no processes.
as_user()
{
	# shellcheck disable=SC2016 # for that shell
	unshare -m sh -ec 'open=$0
		mount --bind "$open/passwd" /etc/passwd
		for file in subuid subgid; do mount --bind "$open/ranges" /etc/$file; done
		! grep -q "^[^ ]* /proc .*hidepid=" /proc/mounts || mount -t proc proc /proc
		exec "$@"' "$open" \
		setpriv --reuid $USER_ID --regid $USER_ID --clear-groups env -i HOME="$open/home" PATH="$PATH" \
		XDG_RUNTIME_DIR="$open/home/run" "$@"
}

user()
{
	as_user "$open/bin/hull" image "$@"
}

# The extended attributes of a file, a line each: NAME HEX.
attributes()
{
	python3 -c 'import os, sys
for name in sorted(os.listxattr(sys.argv[1])): print(name, os.getxattr(sys.argv[1], name).hex())' "$1"
}

# A tree of files that belong to several, as a layer; and one that changes it.
make_user_image()
{
	mkdir -p "$BATS_TEST_TMPDIR"/{base/{etc,bin,dir,gone,opaque},change/{dir,opaque}}
	(
		cd "$BATS_TEST_TMPDIR" || exit 1
		cp "$(command -v busybox)" base/bin/busybox
		ln base/bin/busybox base/bin/sh
		cp "$HULL_BUILD/helpers/probe" base/bin/probe
		echo one >base/etc/one
		echo two >base/etc/two
		ln -s etc/one base/link
		mkfifo base/fifo
		touch base/dir/removed base/gone/x base/opaque/old
		chown 5:6 base/etc/one base/dir base
		chown -h 7:8 base/link
		chown 60000:60001 base/etc/two
		chmod 600 base/etc/two
		chmod 2750 base/dir
		chmod 6755 base/bin/busybox
		chmod 4755 base/bin/probe
		touch change/dir/.wh.removed change/.wh.gone change/opaque/.wh..wh..opq
		echo new >change/opaque/new
		chown 9:9 change/opaque/new
		touch -d '2001-02-03 04:05:06.5' base/etc/one change/opaque/new
		tar -C base --format=pax -cf base.tar .
		tar -C change --format=pax -cf change.tar dir opaque .wh.gone
	)
	tar_image "$open/src/one" "gzip -n" "$BATS_TEST_TMPDIR/base.tar" "$BATS_TEST_TMPDIR/change.tar"
	chmod -R a+rX "$open/src"
}

# list_as_user DIR: list_tree with the ids that the user's namespace shows.
list_as_user()
{
	cp "$BATS_TEST_DIRNAME/image.bash" "$open/image.bash"
	# shellcheck disable=SC2016 # for that shell
	as_user unshare --map-root-user --map-auto bash -c '. "$1" && list_tree "$2"' - "$open/image.bash" "$1"
}

# bats test_tags=quick
@test "a user's pull unpacks layers with their owners, as sub-ids, in the form that a user namespace mounts" {
	make_user_image
	user pull "oci:$open/src/one"
	run -0 user verify
	[[ $output == *" 2 layers, 1 images: 0 problems"* ]]
	tree=$(echo "$store"/layers/chain-*/tree)
	[ "$(stat -c '%u %g %a' "$tree/etc/one")" = "$((FIRST + 4)) $((FIRST + 5)) 644" ]
	[ "$(stat -c '%u %g %a' "$tree/etc/two")" = "$((FIRST + 59999)) $((FIRST + 60000)) 600" ]
	[ "$(stat -c '%u %g %a' "$tree/bin/busybox")" = "$USER_ID $USER_ID 6755" ]
	tree=$(echo "$store"/layers/diff-*/tree)
	[ "$(stat -c '%F %t:%T' "$tree/gone")" = "character special file 0:0" ]
	[ "$(attributes "$tree/opaque")" = "user.overlay.opaque 79" ]
	jq -e --arg map "0 $USER_ID 1, 1 $FIRST 65536" '.uids == $map and .gids == $map' "$store"/layers/diff-*/record
	# What overlayfs makes of them is what unpacking makes, but for the root itself, of which the upper layer says nothing.
	user unpack one flat
	mkdir mnt
	chown $USER_ID mnt
	# shellcheck disable=SC2016 # for that shell
	as_user unshare --map-root-user --map-auto --mount bash -ec '. "$1"
		mount -t overlay -o "userxattr,ro,lowerdir=$(echo "$2"/layers/diff-*/tree):$(echo "$2"/layers/chain-*/tree)" overlay mnt
		diff <(list_tree flat/rootfs | grep -v "^|d|") <(list_tree mnt | grep -v "^|d|")' - \
		"$BATS_TEST_DIRNAME/image.bash" "$store"
	user remove one
	[ -z "$(ls "$store/layers")" ]
	[ -z "$(ls "$store/tmp")" ]
}

# bats test_tags=quick
@test "a user's bundle is the tree that root unpacks, by the ids of its user namespace, and runs" {
	make_user_image
	"$HULL" image unpack "oci:$open/src/one" by-root
	list_tree by-root/rootfs >"$BATS_TEST_TMPDIR/by-root.list"
	rm -rf by-root
	user unpack "oci:$open/src/one" bundle
	list_as_user bundle/rootfs >"$BATS_TEST_TMPDIR/by-user.list"
	diff "$BATS_TEST_TMPDIR/by-root.list" "$BATS_TEST_TMPDIR/by-user.list"
	[ "$(stat -c '%u %a' bundle)" = "$USER_ID 700" ]
	jq -e --argjson id $USER_ID --argjson first $FIRST '.linux.uidMappings == .linux.gidMappings and .linux.uidMappings ==
		[{containerID: 0, hostID: $id, size: 1}, {containerID: 1, hostID: $first, size: 65536}]' bundle/config.json
	jq '.process.args = ["sh", "-c", "stat -c \"%n %u %g\" /etc/one /etc/two; cat /etc/two; touch /made; chown 11:12 /made"]
		| .process.capabilities |= map_values(. + ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]) | del(.linux.resources) | .mounts |= map(select(.type != "cgroup"))' bundle/config.json >config
	cp config bundle/config.json
	run as_user "$open/bin/hull" run --bundle bundle user-test
	echo "$output"
	[ "$output" = $'/etc/one 5 6\n/etc/two 60000 60001\ntwo' ]
	[ "$(stat -c '%u %g' bundle/rootfs/made)" = "$((FIRST + 10)) $((FIRST + 11))" ]
}

@test "capabilities of files are those of the user namespace's root, whatever root the layer says; devices are skipped" {
	python3 - "$BATS_TEST_TMPDIR/layer.tar" <<-'END'
		import sys, tarfile, struct
		tar = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT)
		def add(name, root):
		    info = tarfile.TarInfo(name)
		    data = struct.pack('<5I', (0x02000000 if root is None else 0x03000000) | 1, 1 << 13, 0, 0, 0)
		    data += b'' if root is None else struct.pack('<I', root)
		    info.pax_headers['SCHILY.xattr.security.capability'] = data.decode('utf-8', 'surrogateescape')
		    tar.addfile(info)
		add('two', None)
		add('three', 1000)
		add('stranger', 3000000)
		info = tarfile.TarInfo('null')
		info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
		tar.addfile(info)
		tar.close()
	END
	tar_image "$open/src/caps" cat "$BATS_TEST_TMPDIR/layer.tar"
	chmod -R a+rX "$open/src"
	run -0 user unpack "oci:$open/src/caps" bundle
	[[ $output == *"device \`null\` of the image is skipped"* ]]
	[ ! -e bundle/rootfs/null ]
	root=$(printf '%08x' $USER_ID | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/')
	for file in two three stranger; do
		# Version 3, effective, CAP_NET_RAW, and the root that it is for.
		[ "$(attributes bundle/rootfs/$file)" = "security.capability 0100000300200000000000000000000000000000$root" ]
	done
	user pull "oci:$open/src/caps"
	run -0 user verify
}

@test "with other sub-ids layers are refused, with more of them they are not, and without them nothing is confused" {
	make_user_image
	user pull "oci:$open/src/one"
	ranges "test:$FIRST:65536" "$USER_ID:400000:1000"
	run -0 user verify
	run -0 user pull "oci:$open/src/one" again
	ranges "test:300000:65536"
	run -1 user verify
	[[ $output == *"was unpacked with other sub-ids (uids 0 $USER_ID 1, 1 $FIRST 65536;"* ]]
	run -1 user pull "oci:$open/src/one"
	[[ $output == *"was unpacked with other sub-ids"* ]]
	# Blobs are nobody's in particular.
	user unpack one bundle
	[ "$(stat -c %u bundle/rootfs/etc/one)" = 300004 ]
	ranges ''
	run -0 user pull "oci:$open/src/one"
	[[ $output == *"layers are not unpacked"*"grants no ids to this user"* ]]
	run -0 user list
	run -1 user verify
	[[ $output == *"than there are now (uids none)"* ]]
	user unpack --rootless one alone
	[ "$(stat -c %u alone/rootfs/etc/one)" = $USER_ID ]
	# Root's layers are no use to a user, nor the other way round.
	cp -a "$store" other
	sed -i 's/,"uids.*}/}/' other/layers/*/record
	ranges "test:$FIRST:65536"
	run -1 user verify --store other
	[[ $output == *"was unpacked by root of the host"* ]]
}

@test "without sub-ids, or without newuidmap, all belongs to the user, and a line says why" {
	make_user_image
	ranges "somebody:1:2" "test:5" "test:x:10" "test:$FIRST:0" "test:4294967290:10"
	run -0 user unpack "oci:$open/src/one" bundle
	[[ $output == *"all files will belong to this user: \`/etc/subuid\` grants no ids to this user"* ]]
	[ -z "$(find bundle ! -uid $USER_ID)" ]
	jq -e '.linux.uidMappings | length == 1' bundle/config.json
	run -0 user pull "oci:$open/src/one"
	[[ $output == *"layers are not unpacked, as their owners cannot be kept"* ]]
	[ -z "$(ls "$store/layers")" ]
	run -0 user list
	[[ $output != *warning* ]]
	ranges "test:$FIRST:65536"
	mkdir "$open/tools"
	ln -s "$(command -v env)" "$open/tools/env"
	run -0 as_user "$open/tools/env" PATH="$open/tools" "$open/bin/hull" image unpack one other
	[[ $output == *"all files will belong to this user: run newgidmap (package uidmap)"* ]]
	# The word is not said to those who want it so.
	run -0 user unpack --rootless one third
	[[ $output != *"will belong"* ]]
	run -1 user unpack --rootless --format erofs one file
	[[ $output == *"has the owners of all files: that takes root, or ids of the user's"* ]]
}

@test "an owner that the user's ids do not reach is named, and nothing is left" {
	make_user_image
	ranges "test:$FIRST:100"
	run -1 user unpack "oci:$open/src/one" bundle
	[[ $output == *"etc/two"*"owner 60000:60001 is not among the ids of this user"* ]]
	[ ! -e bundle ]
	run -1 user pull "oci:$open/src/one"
	[ -z "$(ls "$store/tmp")" ]
	[ -z "$(find "$store/layers" -name 'chain-*')" ]
}

@test "a user's mount is refused, with what to do instead" {
	make_user_image
	user pull "oci:$open/src/one"
	mkdir mnt
	run -1 user mount one mnt
	[[ $output == *"mounting an image takes root"*"use \`hull image unpack\`"* ]]
}

# bats test_tags=quick
@test "a user's EROFS file has the owners of the image" {
	command -v mkfs.erofs >/dev/null || skip "mkfs.erofs is not installed"
	make_user_image
	"$HULL" image unpack --format erofs "oci:$open/src/one" by-root
	user unpack --format erofs "oci:$open/src/one" by-user
	cmp by-root by-user
	user pull "oci:$open/src/one"
	user unpack --format erofs one from-store
	cmp by-root from-store
	[ -z "$(ls "$store/tmp")" ]
	[ "$(find . -maxdepth 1 -name '.*.hull')" = "" ]
}

@test "what a killed pull of a user leaves, which belongs to sub-ids, the next command removes" {
	make_user_image
	user pull "oci:$open/src/one"
	mkdir -p "$store/tmp/layer-left/tree/dir"
	touch "$store/tmp/layer-left/tree/dir/file"
	chown -R $USER_ID:$USER_ID "$store/tmp/layer-left"
	chown -R $((FIRST + 3)):$((FIRST + 3)) "$store/tmp/layer-left/tree"
	chmod 700 "$store/tmp/layer-left/tree" "$store/tmp/layer-left/tree/dir"
	# Without the ids it cannot, and is not kept from its own work.
	ranges ''
	run -0 user list --quiet
	[ "$output" = one:latest ]
	[ -e "$store/tmp/layer-left" ]
	ranges "test:$FIRST:65536"
	user list
	[ -z "$(ls "$store/tmp")" ]
}

# bats test_tags=quick
@test "a user's image is run: with all owners, with programs that are set-user-id, and nothing is left of what it changes" {
	make_user_image
	hull_run=(as_user "$open/bin/hull" run -q --image "oci:$open/src/one")
	# shellcheck disable=SC2016 # for the container's shell
	run -0 "${hull_run[@]}" box sh -c 'busybox stat -c %u:%g /etc/two; busybox chown 3:4 /etc/one
		busybox mkdir /dir/deep; busybox chown 5 /dir/deep; echo x >/dir/deep/file; busybox ls /; busybox ls /opaque'
	[ "${lines[0]}" = 60000:60001 ]
	[[ $output == *$'\nnew' ]] && [[ $output != *gone* ]]
	[ -z "$(ls "$store/uses")" ]
	run -0 "${hull_run[@]}" box sh -c 'busybox stat -c %u:%g /etc/one; busybox ls /dir'
	[ "$output" = 5:6 ]
	# Its namespace is the one that the files belong to, or the kernel would not look at the bit.
	run -0 "${hull_run[@]}" -u 5 box probe open /etc/two
	[ "$output" = ok ]
	run -0 "${hull_run[@]}" -u 5 --security-opt no-new-privileges box probe open /etc/two
	[ "$output" = EACCES ]
	as_user "$open/bin/hull" run -d -q --image "oci:$open/src/one" box busybox sleep 1000 </dev/null >/dev/null 2>&1 3>&- 4>&-
	user prune
	run -0 as_user "$open/bin/hull" exec box busybox cat /etc/one
	[ "$output" = one ]
	as_user "$open/bin/hull" delete --force box
	[ -z "$(ls "$store/uses")" ]
	run -0 user verify
}

@test "without sub-ids an image is not run, and the message says what they are" {
	make_user_image
	ranges "other:$FIRST:65536"
	run -1 as_user "$open/bin/hull" run -q --image "oci:$open/src/one" box
	[[ $output == *"an ordinary user's images take sub-ids"*"/etc/subuid"* ]]
}
