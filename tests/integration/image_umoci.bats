#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Trees that `hull image unpack` makes are those that umoci makes, entry by entry, for everything that a tar can hold. Where they
# differ on purpose, the test says it, and the manual page.
# lab cgroups: none

bats_require_minimum_version 1.5.0
load image

setup()
{
	require_image_tools "owners and devices" umoci jq busybox python3
	tree=$BATS_TEST_TMPDIR/tree
}

# One tree by each, of the image in `layout`.
same_as_umoci()
{
	rm -rf by-umoci by-hull
	umoci unpack --image layout:latest by-umoci >umoci.log 2>&1 || { cat umoci.log; return 1; }
	"$HULL" image unpack oci:layout:latest by-hull
	same_trees by-umoci/rootfs by-hull/rootfs
}

# Everything that GNU tar can take from a file system.
make_tree()
{
	local long

	long=$(printf 'n%.0s' {1..255})
	mkdir -p "$tree"/{bin,etc,tmp,sgid,deep,empty,closed}
	echo text >"$tree/etc/file"
	cp "$(command -v busybox)" "$tree/bin/busybox"
	ln "$tree/bin/busybox" "$tree/bin/sh"
	ln "$tree/bin/busybox" "$tree/deep/again"
	echo x >"$tree/etc/one"
	ln "$tree/etc/one" "$tree/etc/two"
	ln -s etc/file "$tree/link"
	ln -s /nowhere/at/all "$tree/dangling"
	ln "$tree/dangling" "$tree/dangling-too"
	mkfifo -m 622 "$tree/fifo"
	mknod -m 666 "$tree/null" c 1 3
	mknod -m 640 "$tree/block" b 259 1048575
	echo x >"$tree/$long"
	mkdir -p "$tree/deep/$long/$long/$long"
	echo x >"$tree/deep/$long/$long/$long/$long"
	echo x >"$tree/$(printf 'new\nline')"
	echo x >"$tree/$(printf 'latin-1 \xe9')"
	echo x >"$tree/na ïve"
	echo x >"$tree/suid"
	echo x >"$tree/owner"
	chown 5:6 "$tree/suid"
	chmod 6755 "$tree/suid"
	chown 3000000:4000000 "$tree/owner"
	chown -h 7:8 "$tree/link"
	chown 9:10 "$tree/sgid"
	chmod 2775 "$tree/sgid"
	echo x >"$tree/sgid/in"
	chown 0:0 "$tree/sgid/in"
	chmod 1777 "$tree/tmp"
	echo x >"$tree/closed/in"
	chmod 000 "$tree/closed/in" "$tree/closed"
	# Holes in front, between and behind.
	truncate -s 3M "$tree/sparse"
	printf middle | dd of="$tree/sparse" bs=1 seek=1048576 conv=notrunc status=none
	truncate -s 5M "$tree/hole"
	: >"$tree/nothing"
	head -c 3000000 /dev/urandom >"$tree/random"
	touch -d '1960-05-06 07:08:09' "$tree/etc/one"
	touch -d '2001-02-03 04:05:06.123456789' "$tree/etc/file" "$tree/fifo" "$tree/null"
	touch -hd '2002-02-03 04:05:06.987654321' "$tree/link"
	touch -d '2120-01-01' "$tree/owner"
}

add_xattrs()
{
	setfattr -n user.note -v hello "$tree/etc/file" 2>/dev/null || skip "no extended attributes here"
	setfattr -n user.note -v 'of a directory' "$tree/etc"
	setfattr -n user.binary -v 0x000102ff "$tree/etc/file"
	setfattr -n trusted.note -v root "$tree/etc/file" "$tree/tmp"
	if command -v setcap >/dev/null; then
		setcap cap_net_raw+ep "$tree/bin/busybox"
	fi
	if command -v setfacl >/dev/null; then
		setfacl -m u:5:r,g:6:rw "$tree/random"
		setfacl -m u:5:rx -m d:u:5:rx "$tree/deep"
	fi
}

pack_tree()
{
	tar -C "$tree" --numeric-owner -cf "$@" .
	# Directories that were entered last must not look so.
	touch -d '1999-01-01 00:00:00.5' "$tree"
}

# bats test_tags=quick
@test "umoci: kinds, owners, modes, names, links, times with nanoseconds, before 1970 and after 2100" {
	make_tree
	for format in pax gnu; do
		pack_tree layer.tar --format=$format
		tar_image layout "gzip -n" layer.tar
		same_as_umoci
	done
}

# bats test_tags=quick
@test "umoci: extended attributes, capabilities, access control lists as attributes" {
	make_tree
	add_xattrs
	# As Go's tools write it: every attribute as it is. GNU tar leaves out those of ACLs.
	python3 - "$tree" layer.tar <<-'END'
		import os, sys, tarfile
		os.chdir(sys.argv[1])
		tar = tarfile.open(sys.argv[2] if sys.argv[2][0] == '/' else os.path.join('..', sys.argv[2]), 'w', format=tarfile.PAX_FORMAT)
		def add(path):
		    info = tar.gettarinfo(path)
		    if info is None:
		        return
		    for name in os.listxattr(path, follow_symlinks=False):
		        value = os.getxattr(path, name, follow_symlinks=False)
		        info.pax_headers['SCHILY.xattr.' + name] = value.decode('utf-8', 'surrogateescape')
		    tar.addfile(info, open(path, 'rb') if info.isreg() else None)
		for where, dirs, files in os.walk('.'):
		    add(where)
		    for name in files + [d for d in dirs if os.path.islink(os.path.join(where, d))]:
		        add(os.path.join(where, name))
		tar.close()
	END
	tar_image layout "gzip -n" layer.tar
	same_as_umoci
	! command -v setcap >/dev/null || getcap by-hull/rootfs/bin/busybox | grep -q cap_net_raw
	! command -v setfacl >/dev/null || getfacl -cn by-hull/rootfs/deep | grep -q default:user:5:r-x
}

@test "umoci: sparse files in every format of GNU tar's" {
	make_tree
	for version in 0.0 0.1 1.0; do
		pack_tree layer.tar --format=pax --sparse --sparse-version=$version
		tar_image layout "gzip -n" layer.tar
		same_as_umoci
		[ "$(stat -c %b by-hull/rootfs/hole)" -lt 100 ] # the holes are there still
	done
}

@test "umoci: a known difference: it refuses sparse files of GNU's own format, tar and hull take them" {
	make_tree
	pack_tree layer.tar --format=gnu --sparse
	tar_image layout cat layer.tar
	"$HULL" image unpack oci:layout:latest by-hull
	mkdir by-tar
	tar -C by-tar --numeric-owner -xpf layer.tar
	same_trees by-tar by-hull/rootfs
	[ "$(stat -c %b by-hull/rootfs/sparse)" -lt 100 ]
}

# bats test_tags=quick
@test "umoci: layers that remove, hide, replace and link to what is in others" {
	make_tree
	pack_tree 1.tar --format=pax
	rm -rf "$tree"
	mkdir -p "$tree"/{etc,deep,bin,suid,empty/sub}
	touch "$tree"/etc/.wh.file "$tree"/.wh.link "$tree"/deep/.wh..wh..opq
	echo new >"$tree/deep/new"
	echo now >"$tree/fifo"
	echo in >"$tree/suid/in"
	# A hard link whose target only the lower layer has.
	touch "$tree/etc/one"
	ln "$tree/etc/one" "$tree/bin/linked"
	touch -d '2003-01-01 00:00:00.25' "$tree/etc" "$tree/bin" "$tree/deep" "$tree/empty"
	tar -C "$tree" --numeric-owner --format=pax -cf 2.tar etc/one bin deep suid empty fifo .wh.link etc/.wh.file etc
	tar --delete -f 2.tar etc/one
	# And what it removed is made again, the link removed.
	rm -rf "$tree"
	mkdir -p "$tree/etc" "$tree/bin"
	echo again >"$tree/etc/file"
	touch "$tree/bin/.wh.linked"
	tar -C "$tree" --numeric-owner --format=pax -cf 3.tar .
	tar_image layout "gzip -n" 1.tar 2.tar
	same_as_umoci
	[ by-hull/rootfs/bin/linked -ef by-hull/rootfs/etc/one ]
	[ ! -e by-hull/rootfs/link ]
	[ "$(ls by-hull/rootfs/deep)" = new ]
	tar_image layout "gzip -n" 1.tar 2.tar 3.tar
	same_as_umoci
	[ ! -e by-hull/rootfs/bin/linked ]
}

@test "umoci: a whole root file system" {
	root=${HULL_TEST_ROOTFS:-}
	[ -n "$root" ] || skip "HULL_TEST_ROOTFS names no tar of a root file system"
	tar_image layout "gzip -n1" "$root"
	same_as_umoci
	[ "$(find by-hull/rootfs | wc -l)" -ge 10000 ]
}
