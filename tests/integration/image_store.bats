#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The image store: what is there is not fetched again, a kill or a full disk at any moment leaves it whole, commands do not
# disturb each other, and nothing that is in use is removed. HULL_STORE_KILLS says how many moments a pull is killed at (30).
# lab cgroups: none

bats_require_minimum_version 1.5.0
load image

setup()
{
	require_image_tools "owners and overlays" jq busybox python3
	store=$BATS_TEST_TMPDIR/store
}

teardown()
{
	local dir

	for dir in "$BATS_TEST_TMPDIR"/mnt*; do
		if mountpoint -q "$dir"; then umount "$dir"; fi
	done
	if mountpoint -q "$BATS_TEST_TMPDIR/small"; then umount "$BATS_TEST_TMPDIR/small"; fi
	[ -z "${open:-}" ] || rm -rf "$open"
}

image()
{
	local command=$1

	shift
	"$HULL" image "$command" --store "$store" "$@"
}

verified()
{
	image verify >verify.out 2>&1 || { cat verify.out; return 1; }
	grep -q ': 0 problems$' verify.out
	[ -z "$(ls "$store/tmp")" ]
}

# Three layers: files of all kinds; changes; one that says only a part of what is beneath. The second image shares the first.
make_images()
{
	mkdir -p base/{etc,bin,dir/sub,gone,opaque} change/{dir,etc,opaque} part/etc
	cp "$(command -v busybox)" base/bin/busybox
	ln base/bin/busybox base/bin/sh
	ln -s etc/one base/link
	mkfifo base/fifo
	mknod base/null c 1 3
	echo one >base/etc/one
	echo two >base/etc/two
	touch base/dir/removed base/dir/sub/file base/gone/x base/opaque/old
	head -c 3000000 /dev/urandom >base/random
	chown 5:6 base base/etc/one
	chmod 1775 base
	chmod 6755 base/bin/busybox
	touch change/dir/.wh.removed change/.wh.gone change/opaque/.wh..wh..opq change/opaque/new
	echo changed >change/etc/one
	head -c 2000000 /dev/urandom >change/random-too
	ln base/etc/two base/etc/hard
	tar -C base -cf base.tar --exclude=./etc/hard .
	tar -C base -cf part.tar etc/two etc/hard
	tar --delete -f part.tar etc/two
	tar -C change -cf change.tar dir etc .wh.gone opaque random-too
	mkdir src
	tar_image src/one "gzip -n" base.tar change.tar part.tar change.tar
	tar_image src/two "gzip -n" base.tar part.tar
}

# What reads of the source say: its blobs are gone, so they cannot have been fetched.
without_layers()
{
	local config manifest

	manifest=$(jq -r '.manifests[0].digest' "$1/index.json" | cut -d: -f2)
	config=$(jq -r .config.digest "$1/blobs/sha256/$manifest" | cut -d: -f2)
	find "$1/blobs/sha256" -type f ! -name "$manifest" ! -name "$config" -delete
}

# bats test_tags=quick
@test "a pull of what is there fetches nothing; images share blobs and layers" {
	make_images
	run -0 --separate-stderr image pull oci:src/one
	[[ $output == "one:latest sha256:"* ]]
	[ "$(find "$store/layers" -mindepth 1 -maxdepth 1 | wc -l)" = 3 ]
	before=$(find "$store/blobs" "$store/layers" -maxdepth 2 -printf '%p %i %T@\n' | sort)
	without_layers src/one
	image pull oci:src/one again
	[ "$(find "$store/blobs" "$store/layers" -maxdepth 2 -printf '%p %i %T@\n' | sort)" = "$before" ]
	# Of `two` all is there but manifest, configuration, and the upper layer over another one beneath.
	without_layers src/two
	image pull oci:src/two
	[ "$(find "$store/layers" -mindepth 1 -maxdepth 1 | wc -l)" = 4 ]
	[ "$(image list --quiet)" = "$(printf 'again:latest\none:latest\ntwo:latest')" ]
	[ "$(image list --format json | jq 'map(.layers) | add')" = 10 ]
	image list | grep -qE '^one:latest +sha256:[0-9a-f]{12} +4 +[0-9.]+ MiB +[0-9.]+ MiB '
	verified
}

@test "inspect prints manifest, configuration, and layers with their sizes" {
	make_images
	image pull --no-layers oci:src/one
	image inspect one | jq -e '(.layers | length) == 4 and (.layers | all(.unpacked | not)) and
		.manifest.schemaVersion == 2 and .config.config.Cmd == ["/bin/sh"] and .layers[0].size > 3000000'
	image pull oci:src/one
	image inspect one | jq -e '.layers | all(.unpacked and .entries > 0)'
	run -1 image inspect nothing
	[[ $output == *"no image \`nothing:latest\`"* ]]
}

# bats test_tags=quick
@test "a mounted image is the tree that unpacking makes, entry by entry" {
	make_images
	image pull oci:src/one
	"$HULL" image unpack oci:src/one flat
	image unpack one flat-too
	mkdir mnt
	image mount one mnt
	same_trees flat/rootfs flat-too/rootfs
	same_trees flat/rootfs mnt
	run touch mnt/file
	[ "$status" -ne 0 ]
	run -1 image mount one "$store/images"
	run -1 image mount one nowhere
	image umount mnt
	run ! mountpoint -q mnt
	[ -z "$(ls "$store/uses")" ]
	run -1 image umount mnt
	[[ $output == *"no image is mounted there"* ]]
}

@test "a mount with an upper directory takes changes, and keeps the layers" {
	make_images
	image pull oci:src/one
	mkdir mnt changes
	image mount --upper changes one mnt
	[ "$(stat -c '%a %u %g' mnt)" = "1775 5 6" ]
	echo new >mnt/etc/one
	rm mnt/etc/two
	[ "$(cat changes/upper/etc/one)" = new ]
	mkdir mnt-too
	run -1 image mount --upper changes one mnt-too
	[[ $output == *"another mount writes its changes there"* ]]
	image umount mnt
	verified
	image mount --upper changes one mnt
	[ "$(cat mnt/etc/one)" = new ]
	[ ! -e mnt/etc/two ]
	image umount mnt
}

# bats test_tags=quick
@test "what is mounted stays, whatever is removed, and goes afterwards" {
	make_images
	image pull oci:src/one
	mkdir mnt
	image mount one mnt
	image remove one
	image prune
	[ -z "$(image list --quiet)" ]
	[ "$(cat mnt/etc/one)" = changed ]
	cmp mnt/random base/random
	verified
	# Not by us, and with another mount namespace that still has it.
	unshare -m --propagation private sleep 60 3>&- &
	for _ in {1..100}; do
		[ "$(readlink "/proc/$!/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ] || break
		sleep 0.05
	done
	umount mnt
	image prune
	[ -n "$(ls "$store/layers")" ]
	kill $!
	wait $! || true
	image prune
	[ -z "$(ls "$store/layers")" ]
	[ -z "$(ls "$store/uses")" ]
	[ -z "$(ls "$store/blobs/sha256")" ]
}

@test "remove takes the data that no other image needs" {
	make_images
	image pull oci:src/one
	image pull oci:src/two
	run -1 image remove one nothing
	[ "$(image list --quiet | wc -l)" = 2 ]
	image remove one
	verified
	image unpack two bundle
	cmp bundle/rootfs/random base/random
	[ ! -e "$store/layers/diff-sha256-$(sha256sum <change.tar | cut -d' ' -f1)" ]
	image remove two
	[ -z "$(ls "$store/blobs/sha256")" ]
}

# bats test_tags=quick
@test "an altered byte is found, in a blob and in a layer, and what is damaged is not used" {
	make_images
	image pull oci:src/one
	blob=$(find "$store/blobs" -type f -size +1000k | head -n 1)
	printf x | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
	run -1 image verify
	[[ $output == *"$(basename "$blob"): its content has another digest"* ]]
	[[ $output == *"image \`one:latest\`"*"verify --repair"* ]]
	[[ $output == *": 2 problems"* ]]
	run -1 image unpack one bundle
	[ ! -e bundle ]
	run -1 image export one oci:out
	[ -z "$(find . -maxdepth 1 -name 'out*' -o -maxdepth 1 -name '.hull*')" ]
	image remove one
	image pull oci:src/one
	verified
	chmod 700 "$store"/layers/chain-*/tree/etc/one
	run -1 image verify
	[[ $output == *"is not what was unpacked"*"image \`one:latest\`"*": 2 problems"* ]]
	rm -f "$store"/images/*
	image prune
	image pull oci:src/one
	rm "$store/blobs/sha256/$(jq -r '.manifests[0].digest' src/one/index.json | cut -d: -f2)"
	run -1 image verify
	[[ $output == *one:latest* ]]
	image pull --no-layers oci:src/two
	run -1 image list
	[[ $output == *one:latest* && $output == *"two:latest "* ]]
	# Nobody knows what the image needs: nothing may go.
	run -1 image prune
	[[ $output == *"nothing is removed"* ]]
	[ "$(find "$store/layers" -mindepth 1 -maxdepth 1 | wc -l)" = 3 ]
}

@test "a blob with another digest is refused, and nothing of it is kept" {
	make_images
	blob=$(find src/one/blobs -type f -size +1000k | head -n 1)
	printf x | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
	run -1 image pull oci:src/one
	[[ $output == *"$(basename "$blob")"*"digest"* ]]
	[ ! -e "$store/blobs/sha256/$(basename "$blob")" ]
	[ -z "$(image list --quiet)" ]
	verified
}

@test "names are checked, and become files in one directory" {
	make_images
	for name in ../x /x a//b 'a b' -x .x 'a
b' "$(printf 'n%.0s' {1..300})" ''; do
		run -1 image pull oci:src/one -- "$name"
	done
	image pull --no-layers oci:src/one example.org:5000/dir/name:tag@x
	[ "$(image list --quiet)" = example.org:5000/dir/name:tag@x ]
	[ "$(find "$store/images" -type f | wc -l)" = 1 ]
	verified
}

@test "a directory that is no store, or another's, is left alone" {
	make_images
	mkdir other
	touch other/file
	run -1 "$HULL" image pull --store other oci:src/one
	[[ $output == *"no image store"* ]]
	[ "$(ls -A other)" = file ]
	run -1 image prune
	[[ $output == *"there is none"* ]]
	[ "$(image list --format json)" = '[]' ]
	[ ! -e "$store" ]
	image pull --no-layers oci:src/one
	chmod 777 "$store"
	run -1 image list
	[[ $output == *"others may write"* ]]
	chmod 700 "$store"
	chown 1 "$store"
	run -1 image list
	[[ $output == *"another user"* ]]
}

# The blobs and layers that are whole, with their inodes.
list_complete()
{
	find "$store/blobs" "$store/layers" -mindepth 2 -maxdepth 2 -printf '%p %i\n' | LC_ALL=C sort
}

@test "a pull that is killed at any moment leaves a store that is whole" {
	local i n=${HULL_STORE_KILLS:-30} killed=0 time pid complete

	make_images
	image pull --quiet oci:src/one
	rm -rf "$store"
	# How long one takes, so that the moments are spread over all of it.
	time=$(date +%s%N)
	image pull --quiet oci:src/one
	time=$(($(date +%s%N) - time))
	rm -rf "$store"
	for ((i = 0; killed < n; i++)); do
		[ $i -lt $((20 * n)) ]
		# Not the function: its shell would be what is killed.
		"$HULL" image pull --store "$store" --quiet oci:src/one >pull.out 2>&1 3>&- &
		pid=$!
		sleep "$(awk -v t=$time -v r=$RANDOM 'BEGIN { printf "%.4f", t / 1e9 * r / 32768 }')"
		kill -9 $pid 2>/dev/null || true
		if wait $pid; then
			verified
			rm -rf "$store"
			continue
		fi
		killed=$((killed + 1))
		[ -e "$store/version" ] || continue
		image verify >verify.out 2>&1 || { cat verify.out; return 1; }
		# Every other time the next attempt is killed, too.
		[ $((i % 2)) -eq 0 ] || continue
		complete=$(list_complete)
		image pull --quiet oci:src/one
		verified
		# What was complete was not made again.
		[ -z "$(comm -13 <(list_complete) - <<<"$complete")" ] || [ -z "$complete" ]
		rm -rf "$store"
	done
	echo "# $i pulls, $killed of them killed on the way" >&3
}

@test "a full disk leaves a store that is whole, and a clear message" {
	local size full=0

	make_images
	mkdir small
	for size in 64k 200k 1m 3m 4m 6m 8m 9m 10m 11m 12m 13m; do
		mount -t tmpfs -o size=$size tmpfs small
		store=$BATS_TEST_TMPDIR/small/store
		if ! image pull --quiet oci:src/one >pull.out 2>&1; then
			full=$((full + 1))
			grep -q 'No space left on device; nothing incomplete was kept' pull.out || { cat pull.out; return 1; }
			[ ! -e "$store/tmp" ] || [ -z "$(ls "$store/tmp")" ]
			[ ! -e "$store/version" ] || image verify
			mount -o remount,size=64m small
			image pull --quiet oci:src/one
		fi
		verified
		umount small
	done
	[ $full -gt 3 ]
}

@test "pulls, removals and prunes at once" {
	local i

	make_images
	for i in 1 2 3; do
		(
			exec 3>&-
			for _ in 1 2 3 4; do
				image pull --quiet oci:src/one "name$i" && image pull --quiet oci:src/two "two$i" &&
					image remove --quiet "name$i" || exit 1
				[ "$i" != 2 ] || image prune --quiet || exit 1
			done
		) >"worker$i" 2>&1 &
	done
	for i in 1 2 3; do
		wait -n || { cat worker?; return 1; }
	done
	[ "$(image list --quiet)" = "$(printf 'two%d:latest\n' 1 2 3)" ]
	image prune
	verified
	image unpack two1 bundle
	cmp bundle/rootfs/random base/random
}

@test "two pulls of one image fetch each blob once" {
	make_images
	image pull oci:src/one first >first.out 2>&1 3>&- &
	image pull oci:src/one second >second.out 2>&1
	wait $!
	[ "$(cat first.out second.out | grep -c ' fetched, ')" = 3 ]
	verified
}

@test "an export is an image layout that other tools read" {
	command -v skopeo >/dev/null || skip "skopeo is not installed"
	command -v umoci >/dev/null || skip "umoci is not installed"
	make_images
	image pull oci:src/one
	mkdir out
	image export one oci:out:tag
	image export one oci-archive:out.tar
	[ -z "$(find . -maxdepth 1 -name '.hull*')" ]
	want=$(jq -r '.manifests[0].digest' src/one/index.json)
	[ "$(skopeo inspect oci:out:tag | jq -r .Digest)" = "$want" ]
	[ "$(skopeo inspect oci-archive:out.tar:latest | jq -r .Digest)" = "$want" ]
	umoci unpack --image out:tag theirs >umoci.log 2>&1 || { cat umoci.log; return 1; }
	image unpack one ours
	same_trees theirs/rootfs ours/rootfs
	run -1 image export one oci:out
	[[ $output == *"there already"* ]]
	run -1 image export one oci-archive:out.tar
	[[ $output == *"there already"* ]]
	rm -rf "$store"
	image pull oci-archive:out.tar
	[ "$(image list --quiet)" = out:latest ]
}

@test "without root images are pulled and unpacked, and not mounted" {
	command -v setpriv >/dev/null || skip "setpriv is not installed"
	make_images
	# The directories of bats are out of an ordinary user's reach.
	open=$(mktemp -d)
	cp -r src "$open/src"
	chown -R 65534:65534 "$open"
	cd "$open"
	user()
	{
		HOME=$open XDG_DATA_HOME='' setpriv --reuid 65534 --regid 65534 --clear-groups "$HULL" image "$@"
	}
	user list || skip "the build is out of an ordinary user's reach"
	user pull oci:src/one
	[ -e .local/share/hull/version ]
	[ -z "$(ls .local/share/hull/layers)" ]
	user unpack one bundle
	cmp bundle/rootfs/random "$BATS_TEST_TMPDIR/base/random"
	user verify
	run -1 user mount one src
	[[ $output == *"takes root"* ]]
	user remove one
	[ -z "$(ls .local/share/hull/blobs/sha256)" ]
}

@test "options and arguments that a command does not take are refused" {
	run -1 image list --upper x
	[[ $output == *"list takes no option --upper"* ]]
	run -1 image mount one
	[[ $output == *"mount takes two arguments"* ]]
	run -1 image frobnicate
	[[ $output == *"unknown command"* ]]
	run -1 image export one docker:x
}

# bats test_tags=quick
@test "verify reads what is unpacked: a byte that changed in a file of the same size and time is found, and repaired" {
	make_images
	image pull --quiet oci:src/one one
	verified
	file=$(echo "$store"/layers/*/tree/random)
	touch -r "$file" time
	printf x | dd of="$file" bs=1 seek=1234567 conv=notrunc status=none
	touch -r time "$file"
	run -1 image verify
	[[ $output == *"/tree\`"*"\`random\` has another content"* ]]
	run -1 image verify --repair
	image pull --quiet oci:src/one one
	verified
}

# bats test_tags=quick
@test "verify of layers with sparse files, files that come twice, and names by way of links" {
	mkdir -p twice/real sparse
	truncate -s 3M sparse/hole
	printf x | dd of=sparse/hole bs=1 seek=2000000 conv=notrunc status=none
	ln -s real twice/link
	echo first >twice/real/file
	tar -C twice -cf twice.tar .
	echo second, longer >twice/real/file
	tar -C twice -rf twice.tar ./real/file
	tar -C twice -rf twice.tar ./link/file
	tar -C sparse -Scf sparse.tar .
	tar_image odd cat twice.tar sparse.tar
	image pull --quiet oci:odd odd
	verified
	printf y | dd of="$(echo "$store"/layers/*/tree/hole)" bs=1 seek=100 conv=notrunc status=none
	run -1 image verify
}
