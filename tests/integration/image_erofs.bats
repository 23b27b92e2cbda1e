#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull image unpack --format erofs`: the file has all that the image has, the same image gives the same bytes, and nothing else is left
# whatever happens. An ordinary user's is in image_user.bats.
# lab cgroups: none

bats_require_minimum_version 1.5.0
load image

setup()
{
	require_image_tools "owners and devices" jq busybox python3 mkfs.erofs fsck.erofs
}

teardown()
{
	local dir

	for dir in mnt small; do
		if mountpoint -q "$BATS_TEST_TMPDIR/$dir"; then umount "$BATS_TEST_TMPDIR/$dir"; fi
	done
}

make_erofs_image()
{
	local i

	mkdir -p base/{bin,etc,tmp,dir,closed} change/dir
	cp "$(command -v busybox)" base/bin/busybox
	ln base/bin/busybox base/bin/sh
	ln base/bin/busybox base/dir/again
	echo text >base/etc/file
	ln -s etc/file base/link
	mkfifo -m 622 base/fifo
	mknod -m 666 base/null c 1 3
	mknod -m 640 base/block b 259 1048575
	echo x >"base/$(printf 'n%.0s' {1..254})" # 255 are too many for version 1.5 of erofs-utils
	echo x >"base/$(printf 'new\nline')"
	: >base/empty
	truncate -s 100K base/sparse
	echo gone >base/dir/gone
	echo x >base/closed/in
	chown 3000000:4000000 base/dir
	chown -h 7:8 base/link
	chown 5:6 base/bin/busybox
	chmod 6755 base/bin/busybox
	chmod 1777 base/tmp
	chmod 000 base/closed/in base/closed
	touch -d '1960-05-06 07:08:09' base/etc/file
	touch -d '2120-01-01' base/dir/gone
	touch -hd '2001-02-03 04:05:06.123456789' base/link base/fifo base/null
	for i in {1..30}; do
		echo $i >base/etc/$i
		! command -v setfattr >/dev/null || setfattr -n user.note -v $((i % 3)) base/etc/$i
	done
	! command -v setfattr >/dev/null || setfattr -n trusted.note -v t base/etc
	touch change/dir/.wh.gone
	echo new >change/dir/new
	# As Go's tools write it: every attribute as it is.
	python3 - <<-'END'
		import os, struct, tarfile
		os.chdir('base')
		tar = tarfile.open('../base.tar', 'w', format=tarfile.PAX_FORMAT)
		def add(path):
		    info = tar.gettarinfo(path)
		    for name in os.listxattr(path, follow_symlinks=False):
		        value = os.getxattr(path, name, follow_symlinks=False)
		        info.pax_headers['SCHILY.xattr.' + name] = value.decode('utf-8', 'surrogateescape')
		    if path == './etc/1':
		        info.pax_headers['SCHILY.xattr.security.capability'] = struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0).decode()
		        info.pax_headers['SCHILY.acl.access'] = 'user::rw-,user:5:r--,group::r--,mask::r--,other::---'
		    tar.addfile(info, open(path, 'rb') if info.isreg() else None)
		for where, dirs, files in os.walk('.'):
		    add(where)
		    for name in files + [d for d in dirs if os.path.islink(os.path.join(where, d))]:
		        add(os.path.join(where, name))
		tar.close()
	END
	tar -C change -cf change.tar dir
	mkdir src
	tar_image src/one "gzip -n" base.tar change.tar
}

no_leftovers()
{
	[ -z "$(find . -maxdepth 1 -name '.*.hull')" ]
}

# A mkfs.erofs that makes nothing: it says that it runs, and waits.
slow_mkfs()
{
	mkdir slow
	printf '#!/bin/sh\necho $$ >%s/running\nexec sleep 300\n' "$PWD" >slow/mkfs.erofs
	chmod 755 slow/mkfs.erofs
}

wait_for()
{
	local i

	for i in {1..600}; do
		! eval "$1" || return 0
		sleep 0.05
	done
	return 1
}

# bats test_tags=quick
@test "the file is the tree that unpacking makes, entry by entry" {
	make_erofs_image
	"$HULL" image unpack --format erofs oci:src/one file
	"$HULL" image unpack --format dir oci:src/one bundle
	no_leftovers
	fsck.erofs file
	[ "$(stat -c '%a %F' file)" = "644 regular file" ]
	mkdir mnt
	mount -t erofs -o loop,ro file mnt || skip "this host cannot mount it"
	same_trees bundle/rootfs mnt
	[ "$(stat -c '%a %u %g' mnt)" = "$(stat -c '%a %u %g' bundle/rootfs)" ]
}

# bats test_tags=quick
@test "the same image gives the same bytes, from a layout and from the store" {
	make_erofs_image
	"$HULL" image unpack --format erofs oci:src/one first
	"$HULL" image pull --store store oci:src/one
	sleep 1.1 # a time that is in the file would be another
	"$HULL" image unpack --format erofs --store store one second
	cmp first second
	no_leftovers
	# Another image is another file system.
	tar_image src/two "gzip -n" base.tar
	"$HULL" image unpack --format erofs oci:src/two third
	[ "$(dump.erofs -s first | grep UUID)" != "$(dump.erofs -s third | grep UUID)" ]
}

@test "what is in the way is kept, and what cannot be made is said" {
	make_erofs_image
	echo mine >file
	run -1 "$HULL" image unpack --format erofs oci:src/one file
	[[ $output == *"file \`file\`: it is there already"* ]]
	[ "$(cat file)" = mine ]
	run -1 "$HULL" image unpack --format erofs oci:src/one "$(printf 'n%.0s' {1..252})"
	[[ $output == *"File name too long"* ]]
	for name in . .. /; do
		run -1 "$HULL" image unpack --format erofs oci:src/one $name
		[[ $output == *"no name of a new file"* ]]
	done
	run -1 "$HULL" image unpack --format erofs oci:src/one nowhere/file
	run -1 "$HULL" image unpack --format erofs --rootless oci:src/one other
	[[ $output == *"has the owners of all files"* ]]
	run -1 "$HULL" image unpack --format tar oci:src/one other
	[[ $output == *"--format of unpack is dir or erofs"* ]]
	# Another's directory, where everybody may write.
	mkdir .other.hull
	chown 1 .other.hull
	run -1 "$HULL" image unpack --format erofs oci:src/one other
	[[ $output == *"somebody replaced the directory"* ]]
	[ -d .other.hull ]
	rmdir .other.hull
	mkdir empty
	run -1 env PATH="$PWD/empty" "$HULL" image unpack --format erofs oci:src/one other
	[[ $output == *"there is no mkfs.erofs: install erofs-utils"* ]] || [ -e /usr/sbin/mkfs.erofs ]
	mkdir broken
	printf '#!/bin/sh\necho chatter; echo one >&2; echo "it broke" >&2; exit 3\n' >broken/mkfs.erofs
	chmod 755 broken/mkfs.erofs
	run -1 env PATH="$PWD/broken:$PATH" "$HULL" image unpack --format erofs oci:src/one other
	[[ $output == *"mkfs.erofs failed (exit status 3): it broke"* ]]
	[ ! -e other ]
	no_leftovers
}

@test "a full disk leaves nothing, and a clear message" {
	local size full=0

	make_erofs_image
	mkdir small
	for size in 100k 1m 2m 3m 4m; do
		mount -t tmpfs -o size=$size tmpfs small
		if ! "$HULL" image unpack --format erofs oci:src/one small/file >unpack.out 2>&1; then
			full=$((full + 1))
			grep -q 'No space left on device.*nothing incomplete was kept' unpack.out || { cat unpack.out; return 1; }
			[ -z "$(ls -A small)" ]
		else
			[ "$(ls -A small)" = file ]
		fi
		umount small
	done
	[ $full -gt 1 ]
}

# bats test_tags=quick
@test "a kill leaves what the next command removes, and no mkfs.erofs; meanwhile another command is refused" {
	make_erofs_image
	slow_mkfs
	PATH="$PWD/slow:$PATH" "$HULL" image unpack --format erofs oci:src/one file >one.out 2>&1 3>&- &
	wait_for '[ -s running ]'
	run -1 "$HULL" image unpack --format erofs oci:src/one file
	[[ $output == *"another command makes it at this moment"* ]]
	kill -9 $!
	wait $! || true
	wait_for "! kill -0 $(cat running) 2>/dev/null"
	[ ! -e file ]
	[ -d .file.hull/rootfs ]
	"$HULL" image unpack --format erofs oci:src/one file
	fsck.erofs file
	no_leftovers
}

@test "from the store nothing is unpacked once more, and what is used of it is given back, also after a kill" {
	make_erofs_image
	slow_mkfs
	"$HULL" image pull --store store oci:src/one
	PATH="$PWD/slow:$PATH" "$HULL" image unpack --store store --format erofs one file >one.out 2>&1 3>&- &
	wait_for '[ -s running ]'
	[ -z "$(ls .file.hull/rootfs)" ]
	[ -n "$(ls store/tmp)" ]
	run -0 "$HULL" image list --store store
	[ -n "$(ls store/tmp)" ]
	kill -9 $!
	wait $! || true
	wait_for "! kill -0 $(cat running) 2>/dev/null"
	"$HULL" image unpack --store store --format erofs one file
	no_leftovers
	[ -z "$(ls store/tmp)" ]
	run ! grep -q hull: /proc/self/mountinfo
	# Layers that are not there are unpacked beside the file.
	rm -r store/layers/*
	"$HULL" image unpack --store store --format erofs one again
	cmp file again
	[ -z "$(ls store/layers)" ]
}

@test "a signal ends it, mkfs.erofs too, and nothing is left" {
	make_erofs_image
	slow_mkfs
	PATH="$PWD/slow:$PATH" "$HULL" image unpack --format erofs oci:src/one file >one.out 2>&1 3>&- &
	wait_for '[ -s running ]'
	kill -TERM $!
	status=0
	wait $! || status=$?
	[ $status = 143 ]
	run ! kill -0 "$(cat running)"
	[ ! -e file ]
	no_leftovers
}

@test "a hole of a layer, which takes no room in it, does not fill the disk" {
	mkdir base src
	truncate -s 2G base/hole
	tar -C base --format=pax --sparse -cf base.tar .
	tar_image src/hole "gzip -n" base.tar
	[ "$(stat -c %s base.tar)" -lt 100000 ]
	run -1 "$HULL" image unpack --format erofs --max-size 1M oci:src/hole file
	[[ $output == *"larger than the image may unpack to; --max-size"* ]]
	[ ! -e file ]
	no_leftovers
}
