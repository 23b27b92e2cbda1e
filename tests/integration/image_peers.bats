#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `hull image unpack` beside its peers: images that umoci and skopeo made come out as from umoci, in every form.
# lab cgroups: none

bats_require_minimum_version 1.5.0
load image

setup()
{
	require_image_tools "owners and devices" umoci skopeo busybox jq
}

teardown()
{
	[ -z "${open:-}" ] || rm -rf "$open"
}

# The command itself where it is built, else the helper behind it.
image()
{
	if [ -x "$HULL" ]; then
		"$HULL" image "$@"
	else
		"$HULL_BUILD/libexec/hull/hull-image" "$@"
	fi
}

same_as_umoci()
{
	rm -rf by-umoci by-hull
	umoci unpack --image "$1" by-umoci
	image unpack "oci:$1" by-hull
	same_trees by-umoci/rootfs by-hull/rootfs
}

# A layout `layout` with the tags base, second and third: files of every kind; changes of every kind.
make_layout()
{
	local root=work/rootfs

	umoci init --layout layout
	umoci new --image layout:base
	umoci unpack --image layout:base work
	mkdir -p $root/{bin,etc,tmp,usr/lib,gone/sub/deep,emptied/x,swap-dir,deep/a/b/c,"with space"}
	cp "$(command -v busybox)" $root/bin/busybox
	ln $root/bin/busybox $root/bin/sh
	ln -s usr/lib $root/lib
	ln -s /etc/passwd $root/absolute
	ln -s nowhere $root/dangling
	printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n' >$root/etc/passwd
	printf 'root:x:0:\nwheel:x:10:app\napp:x:1001:\n' >$root/etc/group
	printf 'x' >$root/gone/sub/deep/file
	printf 'x' >$root/emptied/x/y
	printf 'x' >$root/emptied/z
	printf 'x' >$root/swap-file
	printf 'x' >$root/deep/a/b/c/file
	printf 'x' >"$root/with space/naïve"
	mkdir -p "$root/$(printf 'long%.0s' {1..40})/$(printf 'name%.0s' {1..40})"
	mkfifo $root/fifo
	mknod $root/null c 1 3
	mknod $root/block b 7 99
	truncate -s 1M $root/sparse
	touch $root/suid $root/sgid
	chown 5:6 $root/suid $root/sgid
	chmod 4755 $root/suid
	chmod 2711 $root/sgid
	chmod 1777 $root/tmp
	if command -v setfattr >/dev/null; then
		setfattr -n user.note -v hello $root/etc/group || true
	fi
	touch -d '2001-02-03 04:05:06.789' $root/etc/group
	touch -hd '2002-02-03 04:05:06' $root/absolute
	touch -d '1999-01-01 00:00:00' $root/usr/lib $root/deep/a
	umoci repack --image layout:base work

	rm -rf $root/gone $root/emptied $root/fifo $root/swap-dir $root/swap-file $root/absolute
	mkdir $root/emptied $root/swap-file $root/fifo
	printf 'new' >$root/emptied/new
	printf 'now a file' >$root/swap-dir
	printf 'x' >$root/usr/lib/second
	chmod 0700 $root/tmp
	ln -s /bin $root/absolute
	umoci repack --image layout:second work

	printf 'x' >$root/swap-file/in
	rm $root/bin/sh
	rm -rf $root/deep/a/b/c
	ln $root/etc/passwd $root/etc/passwd-
	umoci repack --image layout:third work
	rm -rf work
}

# bats test_tags=quick
@test "image: one layer with files of every kind" {
	make_layout
	same_as_umoci layout:base
}

# bats test_tags=quick
@test "image: layers that remove and replace" {
	make_layout
	same_as_umoci layout:second
	same_as_umoci layout:third
}

@test "image: files inserted by umoci, and an opaque directory" {
	make_layout
	mkdir -p insert/sub
	printf 'inserted' >insert/sub/file
	umoci insert --image layout:second --tag inserted insert /etc/inserted
	umoci insert --image layout:inserted --tag opaque --opaque insert/sub /etc
	umoci insert --image layout:opaque --tag whiteout --whiteout /usr/lib/second
	same_as_umoci layout:inserted
	same_as_umoci layout:opaque
	[ ! -e by-hull/rootfs/etc/passwd ]
	[ -e by-hull/rootfs/etc/file ]
	same_as_umoci layout:whiteout
	[ ! -e by-hull/rootfs/usr/lib/second ]
}

@test "image: an archive, and names without a prefix" {
	make_layout
	image unpack oci:layout:third expected
	list_tree expected/rootfs >expected.list
	skopeo copy -q oci:layout:third oci-archive:image.tar:third
	gzip -k image.tar
	cp image.tar 'with:colon.tar'
	for source in oci-archive:image.tar:third oci-archive:image.tar oci-archive:image.tar.gz \
		image.tar image.tar:third with:colon.tar with:colon.tar:third layout:third; do
		rm -rf bundle
		image unpack "$source" bundle
		list_tree bundle/rootfs | diff expected.list -
	done
	run image unpack image.tar:other bundle2
	[ "$status" -eq 1 ]
	[[ $output == *"has the tags: third"* ]]
	[ ! -e bundle2 ]
}

@test "image: layers in zstd and without compression, and Docker's media types" {
	make_layout
	image unpack oci:layout:third expected
	list_tree expected/rootfs >expected.list
	skopeo copy -q --dest-compress-format zstd oci:layout:third oci:zstd:t
	skopeo copy -q --dest-decompress oci:layout:third dir:plain
	skopeo copy -q dir:plain oci:back:t
	grep -q 'tar+zstd' zstd/blobs/sha256/*
	skopeo copy -q --format v2s2 oci:layout:third dir:docker
	# A layout of Docker's manifest, which skopeo would convert.
	mkdir -p docker-layout/blobs/sha256
	cp layout/oci-layout docker-layout/
	for blob in docker/*; do
		cp "$blob" "docker-layout/blobs/sha256/$(sha256sum "$blob" | cut -d' ' -f1)"
	done
	jq -n --arg d "sha256:$(sha256sum docker/manifest.json | cut -d' ' -f1)" \
		--argjson s "$(stat -c %s docker/manifest.json)" '{schemaVersion: 2, manifests: [{size: $s, digest: $d,
		mediaType: "application/vnd.docker.distribution.manifest.v2+json"}]}' >docker-layout/index.json
	grep -q 'docker.image.rootfs.diff.tar' docker/manifest.json
	for source in oci:zstd:t oci:back:t oci:docker-layout; do
		rm -rf bundle
		image unpack "$source" bundle
		list_tree bundle/rootfs | diff expected.list -
	done
}

# bats test_tags=quick
@test "image: config.json says what the image says" {
	make_layout
	umoci config --image layout:third --tag configured --config.user app --config.env A=b \
		--config.entrypoint /bin/busybox --config.cmd sleep --config.cmd 1 --config.workingdir /etc \
		--config.volume /data --config.exposedports 80/tcp --config.label x=y \
		--config.stopsignal SIGQUIT --author me
	image unpack oci:layout:configured bundle
	run jq -r '.process | [.user.uid, .user.gid, .user.additionalGids[0], .cwd, .args[], .terminal // false] | join(" ")' \
		bundle/config.json
	[ "$output" = "1000 1001 10 /etc /bin/busybox sleep 1 false" ]
	run jq -r '.process.env[]' bundle/config.json
	[[ $output == *A=b* ]]
	[[ $output == *PATH=* ]]
	run jq -r '.annotations | [.x, ."org.opencontainers.image.author",
		."org.opencontainers.image.stopSignal", ."org.opencontainers.image.exposedPorts"] | join(" ")' \
		bundle/config.json
	[ "$output" = "y me SIGQUIT 80/tcp" ]
	[ "$(jq -r '.mounts[] | select(.destination == "/data") | .type' bundle/config.json)" = tmpfs ]
	[ "$(jq -r .root.path bundle/config.json)" = rootfs ]
	[ "$(stat -c %a bundle)" = 700 ]
}

@test "image: names are the same in every locale" {
	make_layout
	for locale in C C.UTF-8 de_DE.UTF-8; do
		rm -rf bundle
		LC_ALL=$locale image unpack oci:layout:base bundle
		[ -e "bundle/rootfs/with space/naïve" ]
	done
}

@test "image: a damaged blob leaves nothing" {
	make_layout
	find layout/blobs -size +100k -exec dd if=/dev/zero of={} bs=1 count=64 seek=5000 conv=notrunc status=none \;
	run image unpack oci:layout:base bundle
	[ "$status" -eq 1 ]
	[[ $output == *"has another digest"* ]]
	[ "${#lines[@]}" -eq 1 ]
	[ ! -e bundle ]
}

@test "image: a signal leaves nothing" {
	umoci init --layout layout
	umoci new --image layout:big
	umoci unpack --image layout:big work
	head -c 200M /dev/urandom >work/rootfs/random
	umoci repack --image layout:big work
	rm -rf work
	for signal in INT TERM; do
		# In the background a shell ignores SIGINT.
		env --default-signal=INT "$HULL_BUILD/libexec/hull/hull-image" unpack oci:layout:big bundle >output 2>&1 &
		pid=$!
		for _ in {1..400}; do
			[ ! -e bundle ] || break
			sleep 0.05
		done
		kill -s $signal $pid
		status=0
		wait $pid || status=$?
		[ $status -ne 0 ]
		grep -q interrupted output
		[ ! -e bundle ]
	done
}

# bats test_tags=quick
@test "image: the command line" {
	run image --help
	[ "$status" -eq 0 ]
	[[ $output == *"image unpack"* ]]
	run image unpack
	[ "$status" -eq 1 ]
	run image unpack --no-such-option a b
	[ "$status" -eq 1 ]
	[[ $output == *no-such-option* ]]
	run image unpack oci:nowhere:x bundle
	[ "$status" -eq 1 ]
	[[ $output == "hull: image unpack: "*nowhere* ]]
	mkdir full
	touch full/x
	umoci init --layout layout
	umoci new --image layout:empty
	run image unpack oci:layout:empty full
	[ "$status" -eq 1 ]
	[[ $output == *"not empty"* ]]
	run image unpack --log log.json --log-format json oci:layout:none bundle
	[ "$status" -eq 1 ]
	[ "$(jq -r .level log.json)" = error ]
	image unpack oci:layout:empty bundle/
	[ -d bundle/rootfs ]
	[ -f bundle/config.json ]
}

@test "image: without root, in a directory of one's own" {
	command -v setpriv >/dev/null || skip "setpriv is not installed"
	open=$(mktemp -d /tmp/hull-image.XXXXXX) # bats's own is closed to other users
	cd "$open"
	make_layout
	mkdir own
	chown 65534:65534 own
	chmod 755 .
	chmod -R a+rX layout
	cp "$HULL_BUILD/libexec/hull/hull-image" .
	run setpriv --reuid 65534 --regid 65534 --clear-groups ./hull-image unpack oci:layout:third own/bundle
	[ "$status" -eq 0 ]
	[[ $output == *"is skipped: it needs root"* ]]
	[ "$(stat -c %u own/bundle/rootfs/suid)" = 65534 ]
	[ ! -e own/bundle/rootfs/null ]
	[ "$(jq -r '[.linux.namespaces[].type] | index("user") != null' own/bundle/config.json)" = true ]
}
